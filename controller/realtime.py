"""The real-time back end: condensed Gauss-Newton on compiled lane kernels, for one patient or many."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from .plan import Plan
from .problem import Problem
from .snapshot import Snapshot

__all__ = ["Fault", "Options", "RealTime", "solve_many"]


class Fault(enum.IntEnum):
    """A fault injected on purpose, per patient, to test what stands on the solver."""

    NONE = 0
    FAIL = 1  # no plan: Status.FAILED
    LATE = 2  # the deadline has passed before the first iteration: the best start, Status.LATE


@dataclass(frozen=True, slots=True)
class Options:
    """How hard to try.

    Args:
        iterations: most Gauss-Newton iterations of a patient's solve.
        tolerance: solved when the expected decrease is below tolerance · (1 + |cost|).
        deadline: seconds for each patient's solve; checked between iterations.
        threads: slices of patients solved at once; default 1.
    """

    iterations: int = 60
    tolerance: float = 1e-9
    deadline: float = math.inf
    threads: int = 1


class RealTime:
    """A problem with its compiled kernels and working memory. Solves one patient or a batch; not for two threads at once.

    Args:
        problem: what to solve.
        options: how hard to try.
    """

    def __init__(self, problem: Problem, options: Options | None = None) -> None:
        self.problem, self.options = problem, options or Options()

    def solve(
        self,
        snapshot: Snapshot,
        warm: Plan | None = None,
        *,
        elapsed: float | None = None,
        deadline: float | None = None,
        faults: np.ndarray | None = None,
    ) -> Plan:
        """Plans of the snapshot's n patients.

        Args:
            snapshot: the patients now.
            warm: their last plans (n of them); shifted by ``elapsed``. Rows without a plan start cold.
            elapsed: time since the last plans began; default ``problem.renewed``.
            deadline: seconds for each patient, instead of the options' one.
            faults: (n,) `Fault` to inject.

        Raises:
            SolverError: arrays of wrong shapes, listed all at once. A solve never raises: see `Plan.status`.
        """
        raise NotImplementedError


def solve_many(
    problem: Problem,
    snapshot: Snapshot,
    warm: Plan | None = None,
    *,
    elapsed: float | None = None,
    options: Options | None = None,
    faults: np.ndarray | None = None,
) -> Plan:
    """`RealTime(problem, options).solve(...)`, with kernels and memory kept from call to call."""
    raise NotImplementedError
