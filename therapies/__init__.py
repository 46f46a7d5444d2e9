"""The treatments, one file each; a new file is found without a further line.

``load("vancomycin")`` gives a treatment whose doses are decided one by one at the bedside; ``load_loop("glucose")`` one
that runs in a closed loop, from the file ``loop_glucose.py``.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from ..pkpd.errors import DoseloopError
from .closed_loop import LoopTherapy
from .therapy import Action, Goal, Harm, Therapy

__all__ = ["Action", "Goal", "Harm", "LoopTherapy", "Therapy", "ids", "load", "load_loop", "loop_ids"]

LOOP = "loop_"
HELPERS = (
    "bedside_gate",
    "bedside_judge",
    "bedside_rules",
    "closed_loop",
    "gate",
    "gate_code",
    "gate_loop",
    "gate_rules",
    "lane_monitor",
    "monitor",
    "monitor_two_drugs",
    "therapy",
)


def _files() -> tuple[str, ...]:
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(n for n in names if n not in HELPERS and not n.startswith("_")))


def ids() -> tuple[str, ...]:
    """The ids of all therapies given at the bedside, in alphabetical order."""
    return tuple(n for n in _files() if not n.startswith(LOOP))


def loop_ids() -> tuple[str, ...]:
    """The ids of all therapies that run in a closed loop, in alphabetical order."""
    return tuple(n.removeprefix(LOOP) for n in _files() if n.startswith(LOOP))


def _unknown(id: str, known: tuple[str, ...], what: str) -> DoseloopError:
    near = difflib.get_close_matches(id, known, n=1, cutoff=0.3)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return DoseloopError(f"no {what} has the id '{id}': {hint}known: {', '.join(known)}")


def load(id: str) -> Therapy:
    """The bedside therapy of that id.

    Raises:
        DoseloopError: there is none of that id (the nearest is named), or it runs in a closed loop.
    """
    if id in loop_ids():
        raise DoseloopError(
            f"'{id}' runs in a closed loop, where no single dose is recommended: doseloop loop {id}; from Python "
            "therapies.load_loop"
        )
    if id not in ids():
        raise _unknown(id, ids(), "therapy")
    therapy = importlib.import_module(f".{id}", __name__).THERAPY
    assert isinstance(therapy, Therapy)
    return therapy


def load_loop(id: str) -> LoopTherapy:
    """The closed-loop therapy of that id.

    Raises:
        DoseloopError: there is none of that id (the nearest is named).
    """
    if id not in loop_ids():
        raise _unknown(id, loop_ids(), "closed loop")
    therapy = importlib.import_module(f".{LOOP}{id}", __name__).THERAPY
    assert isinstance(therapy, LoopTherapy)
    return therapy
