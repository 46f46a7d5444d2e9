"""What a solve starts from: n patients at one moment, each by D weighted draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..pkpd.errors import SolverError
from .problem import Problem

__all__ = ["Snapshot"]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """n patients now. All arrays are float64; D is ``problem.draws``; units are the model's.

    Attributes:
        states: (n, D, states).
        parameters: (n, D, individual parameters), in the order of ``model.individual_units``.
        last: (n, moves) what is given now: changes are counted from it.
        inputs: known inputs over the horizon by name, (n, stages) or (stages,) or a number; the others take their
            typical value.
        offset: (n, D, watched) added to each watched output (``problem.watched``), held over the horizon; default 0.
        weights: (n, D) of the draws; they are normalised; default equal.
        low, high: bounds of the moves, (n, moves) or (n, stages, moves); default the problem's.
        reference, scale: (n, moves) of each patient; default the problem's.
        target: (n, goals) or (n, stages, goals); default the problem's.
        time: (n,) or a number: when the first stage begins (read by models that depend on time).
    """

    states: np.ndarray
    parameters: np.ndarray
    last: np.ndarray
    inputs: Mapping[str, np.ndarray | float] = field(default_factory=dict)
    offset: np.ndarray | None = None
    weights: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    reference: np.ndarray | None = None
    scale: np.ndarray | None = None
    target: np.ndarray | None = None
    time: np.ndarray | float = 0.0

    def __len__(self) -> int:
        return len(self.states)


@lru_cache(maxsize=256)
def _meant(
    n: int, D: int, N: int, states: int, units: int, M: int, watched: int, goals: int
) -> tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]:
    """The shapes that each array of a snapshot may have."""
    return (
        ("states", ((n, D, states),)),
        ("parameters", ((n, D, units),)),
        ("last", ((n, M),)),
        ("offset", ((n, D, watched),)),
        ("weights", ((n, D),)),
        ("low", ((n, M), (n, N, M))),
        ("high", ((n, M), (n, N, M))),
        ("reference", ((n, M),)),
        ("scale", ((n, M),)),
        ("target", ((n, goals), (n, N, goals))),
        ("time", ((), (n,))),
    )


def check(problem: Problem, snap: Snapshot) -> None:
    """Shapes of all that compiled loops will read.

    Raises:
        SolverError: listing every array that does not fit. (Values that are not finite are no error: such a patient's
            plan says that it failed.)
    """
    n, N, model = len(snap.states), problem.stages, problem.model
    sizes = (len(model.states), len(model.individual_units), len(problem.moves), len(problem.watched))
    bad = []
    for name, shapes in _meant(n, problem.draws, N, *sizes, len(problem.goals)):
        value = getattr(snap, name)
        if value is None:
            continue
        shape = value.shape if isinstance(value, np.ndarray) else np.shape(value)
        if shape not in shapes:
            bad.append(f"{name} has shape {shape}; {' or '.join(map(str, shapes))} is meant")
    for name, values in snap.inputs.items():
        if name not in problem.held:
            bad.append(f"input '{name}' is not known; known: {', '.join(problem.held) or 'none'}")
        elif np.shape(values) not in ((), (N,), (n, N), (n, 1)):
            bad.append(f"input '{name}' has shape {np.shape(values)}; {(n, N)} or {(N,)} or a number is meant")
    if bad:
        raise SolverError([f"snapshot of {n} patient(s): {b}" for b in bad])
