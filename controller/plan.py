"""What a solve hands back: a plan for each of n patients, and how the solve ended."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from .problem import Problem

__all__ = ["Plan", "Status"]


class Status(enum.IntEnum):
    """How a solve ended. Every status but NONFINITE and FAILED comes with a plan that may be given."""

    SOLVED = 0  # the expected decrease fell below the tolerance; every limit holds
    STALLED = 1  # no step along the search direction lowers the cost any more (a kink, or rounding)
    ITERATIONS = 2  # the budget of iterations ran out; the best iterate is returned
    LATE = 3  # the deadline came first; the best iterate is returned
    INFEASIBLE = 4  # a path limit or a chance cannot be met; the least violation found is returned
    NONFINITE = 5  # no start has a finite course (states, parameters or bounds are not numbers); no plan
    FAILED = 6  # the back end failed, or a fault was injected; no plan

    @property
    def usable(self) -> bool:
        """Whether the moves may be considered (finite, inside every bound, no worse than the start)."""
        return self not in (Status.NONFINITE, Status.FAILED)


@dataclass(frozen=True, eq=False)
class Plan:
    """Plans of n patients.

    Attributes:
        problem: what was solved.
        moves: (n, stages, moves), the moves' units; every one inside its bounds, the first also inside its largest
            change. NaN where there is no plan.
        outputs: (n, draws, stages, watched) predicted outputs at the ends of the stages, offsets included.
        cost: (n,) the objective.
        status: (n,) `Status` as integers.
        iterations: (n,) Gauss-Newton iterations.
        residual: (n,) largest entry of the projected gradient in scaled moves (0 at a KKT point), where the model was
            last linearised.
        violation: (n,) largest amount by which a path limit (or an enforced chance) is missed, the output's unit.
        probability: (n, chances) counted probability of each chance constraint's event under the plan.
        seconds: (n,) wall time of each patient's solve.
        duals: multipliers of the path limits, which warm the next solve; None where there are none.
    """

    problem: Problem
    moves: np.ndarray
    outputs: np.ndarray
    cost: np.ndarray
    status: np.ndarray
    iterations: np.ndarray
    residual: np.ndarray
    violation: np.ndarray
    probability: np.ndarray
    seconds: np.ndarray
    duals: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.moves)

    @property
    def first(self) -> np.ndarray:
        """The first moves, (n, moves): a copy."""
        return self.moves[:, 0].copy()

    @property
    def usable(self) -> np.ndarray:
        """(n,) where the moves may be considered."""
        return self.status < int(Status.NONFINITE)
