"""Where a recommendation comes from: hashes of the data and of the models, versions, solver, tolerances, machine."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..pkpd.digest import model_digest
from ..pkpd.engine import Method
from ..pkpd.objects import processor
from ..pkpd.record import Record
from ..therapies import Therapy

if TYPE_CHECKING:
    from .recommend import Options

__all__ = ["provenance"]

PACKAGES = ("casadi", "llvmlite", "numba", "numpy", "scipy")


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    from .. import __version__

    return {"doseloop": __version__, "python": platform.python_version()} | {p: metadata.version(p) for p in PACKAGES}


def provenance(therapy: Therapy, record: Record, options: Options) -> dict[str, Any]:
    """All that is needed to tell whether two recommendations were made alike; plain values, no clock, no names."""
    from .ocp import PENALTY, SMOOTH, SOLVER

    method = Method()
    return {
        "record": record.digest(),
        "models": {m.id: model_digest(m) for m in therapy.models},
        "limits": hashlib.sha256(repr(therapy.limits).encode()).hexdigest(),
        "goal": hashlib.sha256(
            repr((therapy.goal, therapy.harms, therapy.horizon, therapy.prior_weights)).encode()
        ).hexdigest(),
        "versions": dict(_versions()),
        "processor": hashlib.sha256(processor().encode()).hexdigest()[:16],
        "solver": {"name": SOLVER, "smooth": SMOOTH, "penalty": PENALTY},
        "tolerances": {"method": method.name, "rtol": method.rtol, "atol": method.atol},
        "options": asdict(options),
    }
