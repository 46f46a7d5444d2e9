"""doseloop: a treatment digital twin for drug dosing.

::

    import doseloop as dl

    therapy = dl.therapies.load("phenobarbital")
    infant = dl.example(therapy)[0]
    twin = dl.sync(therapy, infant)
    answer = dl.recommend(therapy, twin)
    print(answer.sentence)

Names are loaded when they are first used: ``import doseloop`` itself imports nothing large.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import models, therapies
    from .controller.outcome import Outcome
    from .controller.plotting import plot_recommendation
    from .controller.recommend import Candidate, Options, Recommendation, recommend
    from .controller.saved import Replay, load, replay, save
    from .pkpd import errors, ops
    from .pkpd.balance import check_units
    from .pkpd.engine import Method
    from .pkpd.errors import DoseloopError
    from .pkpd.individuals import individuals
    from .pkpd.layout import Layout
    from .pkpd.model import (
        Covariance,
        Covariate,
        Effect,
        Input,
        Model,
        Output,
        Parameter,
        Printed,
        Residual,
        Route,
        State,
    )
    from .pkpd.nonmem import read
    from .pkpd.record import CovariateRow, Measurement, Record
    from .pkpd.regimen import Bolus, Dose, Infusion, Oral, Regimen, Reset
    from .pkpd.simulate import Trajectory, simulate
    from .safety import Limits, guard
    from .therapies import Therapy
    from .twin.diagnostics import Diagnostics, diagnose
    from .twin.forecast import Forecast, compare, forecast
    from .twin.posterior import Posterior
    from .twin.sync import sync

__version__ = "0.5.0"

# Where each name lives; the imports above say the same to type checkers, and a test holds the two together.
_HOMES = {
    "controller.outcome": ("Outcome",),
    "controller.plotting": ("plot_recommendation",),
    "controller.recommend": ("Candidate", "Options", "Recommendation", "recommend"),
    "controller.saved": ("Replay", "load", "replay", "save"),
    "pkpd.balance": ("check_units",),
    "pkpd.engine": ("Method",),
    "pkpd.errors": ("DoseloopError",),
    "pkpd.individuals": ("individuals",),
    "pkpd.layout": ("Layout",),
    "pkpd.model": (
        "Covariance", "Covariate", "Effect", "Input", "Model", "Output", "Parameter", "Printed", "Residual", "Route",
        "State",
    ),
    "pkpd.nonmem": ("read",),
    "pkpd.record": ("CovariateRow", "Measurement", "Record"),
    "pkpd.regimen": ("Bolus", "Dose", "Infusion", "Oral", "Regimen", "Reset"),
    "pkpd.simulate": ("Trajectory", "simulate"),
    "safety": ("Limits", "guard"),
    "therapies": ("Therapy",),
    "twin.diagnostics": ("Diagnostics", "diagnose"),
    "twin.forecast": ("Forecast", "compare", "forecast"),
    "twin.posterior": ("Posterior",),
    "twin.sync": ("sync",),
}  # fmt: skip
_MODULES = {"errors": "pkpd.errors", "models": "models", "ops": "pkpd.ops", "therapies": "therapies"}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Bolus",
    "Candidate",
    "Covariance",
    "Covariate",
    "CovariateRow",
    "Diagnostics",
    "Dose",
    "DoseloopError",
    "Effect",
    "Forecast",
    "Infusion",
    "Input",
    "Layout",
    "Limits",
    "Measurement",
    "Method",
    "Model",
    "Options",
    "Oral",
    "Outcome",
    "Output",
    "Parameter",
    "Posterior",
    "Printed",
    "Recommendation",
    "Record",
    "Regimen",
    "Replay",
    "Reset",
    "Residual",
    "Route",
    "State",
    "Therapy",
    "Trajectory",
    "__version__",
    "check_units",
    "compare",
    "diagnose",
    "errors",
    "example",
    "forecast",
    "guard",
    "individuals",
    "load",
    "models",
    "ops",
    "plot_recommendation",
    "read",
    "recommend",
    "replay",
    "save",
    "simulate",
    "sync",
    "therapies",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(f".{_MODULES[name]}", __name__)
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'doseloop' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def example(therapy: Therapy | str) -> list[Record]:
    """The real patients whose data ship with a therapy (docs/records.md says where they come from).

    Args:
        therapy: a therapy, or its id.

    Raises:
        DoseloopError: no such therapy, or none of its data ship with doseloop.
    """
    from importlib import resources

    from . import therapies
    from .pkpd.errors import DoseloopError
    from .pkpd.nonmem import read

    treatment = therapies.load(therapy) if isinstance(therapy, str) else therapy
    if treatment.data is None:
        raise DoseloopError(f"no patients' data ship with the therapy '{treatment.id}'")
    with resources.as_file(resources.files(therapies) / "data" / treatment.data) as path:
        return read(path, treatment.layout)
