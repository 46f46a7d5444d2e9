"""The treatments, one file each: ``load("vancomycin")``; a new file is found without a further line."""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from ..pkpd.errors import DoseloopError
from .therapy import Action, Goal, Harm, Therapy

__all__ = ["Action", "Goal", "Harm", "Therapy", "ids", "load"]


def ids() -> tuple[str, ...]:
    """The ids of all therapies, in alphabetical order."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in names if n != "therapy" and not n.startswith("_")))


def load(id: str) -> Therapy:
    """The therapy of that id.

    Raises:
        DoseloopError: there is none of that id (the nearest is named).
    """
    known = ids()
    if id not in known:
        near = difflib.get_close_matches(id, known, n=1, cutoff=0.3)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise DoseloopError(f"no therapy has the id '{id}': {hint}known: {', '.join(known)}")
    therapy = importlib.import_module(f".{id}", __name__).THERAPY
    assert isinstance(therapy, Therapy)
    return therapy
