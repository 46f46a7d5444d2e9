"""What a solve starts from: n patients at one moment, each by D weighted draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


def check(problem: Problem, snap: Snapshot) -> None:
    """Shapes of all that compiled loops will read.

    Raises:
        SolverError: listing every array that does not fit. (Values that are not finite are no error: such a patient's
            plan says that it failed.)
    """
    n, D, N, M = len(snap.states), problem.draws, problem.stages, len(problem.moves)
    meant: dict[str, tuple[tuple[int, ...], ...]] = {
        "states": ((n, D, len(problem.model.states)),),
        "parameters": ((n, D, len(problem.model.individual_units)),),
        "last": ((n, M),),
        "offset": ((n, D, len(problem.watched)),),
        "weights": ((n, D),),
        "low": ((n, M), (n, N, M)),
        "high": ((n, M), (n, N, M)),
        "reference": ((n, M),),
        "scale": ((n, M),),
        "target": ((n, len(problem.goals)), (n, N, len(problem.goals))),
        "time": ((), (n,)),
    }
    bad = []
    for name, shapes in meant.items():
        value = getattr(snap, name)
        if value is not None and np.shape(value) not in shapes:
            bad.append(f"{name} has shape {np.shape(value)}; {' or '.join(map(str, shapes))} is meant")
    for name, values in snap.inputs.items():
        if name not in problem.held:
            bad.append(f"input '{name}' is not known; known: {', '.join(problem.held) or 'none'}")
        elif np.shape(values) not in ((), (N,), (n, N), (n, 1)):
            bad.append(f"input '{name}' has shape {np.shape(values)}; {(n, N)} or {(N,)} or a number is meant")
    if bad:
        raise SolverError([f"snapshot of {n} patient(s): {b}" for b in bad])
