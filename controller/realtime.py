"""The real-time back end: condensed Gauss-Newton on compiled lane kernels, for one patient or many.

Single shooting; the outputs' sensitivities by the (blocked) moves are condensed to one quadratic program with bounds.
Its cost is cubic in the number of decisions and linear in stages and draws: beyond about 100 stages, block the moves.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np

from ..pkpd.errors import SolverError
from ..pkpd.threads import share, slices
from .memory import BATCH, FIRST_BATCH, SHIFT, SLOTS
from .plan import Plan
from .problem import Problem
from .snapshot import Snapshot, check
from .solve import solve_slice
from .stage import stage_of
from .workspace import Buffers, Memory, sizes, tables

__all__ = ["Fault", "RealTime", "SolverOptions", "solve_many"]


class Fault(enum.IntEnum):
    """A fault injected on purpose, per patient, to test what stands on the solver."""

    NONE = 0
    FAIL = 1  # no plan: Status.FAILED
    LATE = 2  # the deadline has passed before the first iteration: the best start, Status.LATE


@dataclass(frozen=True, slots=True)
class SolverOptions:
    """How hard to try.

    Args:
        iterations: most Gauss-Newton iterations of a patient's solve.
        tolerance: solved when the expected decrease is below tolerance · (1 + |cost|).
        feasibility: by how much of its size a path limit may be missed.
        deadline: seconds for each patient's solve; checked between iterations.
        threads: slices of patients solved at once.
    """

    iterations: int = 100
    tolerance: float = 1e-8
    feasibility: float = 1e-5
    deadline: float = math.inf
    threads: int = 1


OPTIONAL = ("offset", "weights", "low", "high", "reference", "scale", "target")
_OPTIONAL_OF = attrgetter(*OPTIONAL)


class RealTime:
    """A problem with its compiled kernels and working memory: solves one patient or many.

    Not for two callers at once (each thread of a batch has memory of its own).

    Args:
        problem: what to solve.
        options: how hard to try.
    """

    def __init__(self, problem: Problem, options: SolverOptions | None = None) -> None:
        self.problem, self.options = problem, options or SolverOptions()
        model, outputs = problem.model, problem.model.names("outputs")
        watched = tuple(outputs.index(o) for o in problem.watched)
        columns = tuple(int(c) for c in problem.columns)
        self.stage = stage_of(model, problem.interval, columns, watched, problem.substeps)
        self._sizes, self._tables = sizes(problem, self.stage), tables(problem, self.options.feasibility)
        self._tables["REALS"] = np.array([self.stage.h, problem.interval, *[0.0] * 10])
        self._memory = [Memory(self._sizes, self._tables)]
        self._inputs = {name: i for i, name in enumerate(model.names("inputs"))}
        N, D, moves, items = problem.stages, problem.draws, len(problem.moves), self._sizes["ITEMS"]
        self._shapes: dict[str, tuple[int, ...]] = {
            "states": (D, self.stage.states),
            "parameters": (D, self.stage.parameters),
            "offset": (D, self.stage.watched),
            "weights": (D,),
            "held": (N, self.stage.inputs),
            **dict.fromkeys(("last", "reference", "scale"), (moves,)),
            **dict.fromkeys(("low", "high", "warm", "moves"), (N, moves)),
            "target": (N, len(problem.goals)),
            **dict.fromkeys(("time", "fault"), (1,)),
            **dict.fromkeys(("warm_duals", "duals"), (D, N, items)),
            "outputs": (D, N, self.stage.watched),
            "numbers": (4,),
            "probability": (self._sizes["CHANCES"],),
            "ends": (2,),
        }
        self._defaults: dict[str, Any] = {
            "offset": 0.0,
            "weights": 1.0 / D,
            "held": np.array([*(i.typical for i in model.inputs), *(0.0 for _ in model.routes)]),
            "low": np.array([m.low for m in problem.moves]),
            "high": np.array([m.high for m in problem.moves]),
            "reference": np.array([m.reference for m in problem.moves]),
            "scale": np.array([m.high if m.scale is None else m.scale for m in problem.moves]),
            "target": problem.targets(),
        }
        self._kept: dict[tuple[int | bool, ...], Buffers] = {}

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
        check(self.problem, snapshot)
        n, p = len(snapshot), self.problem
        if warm is not None and warm.moves.shape != (n, *self._shapes["warm"]):
            raise SolverError(
                f"the warm plan's moves have shape {warm.moves.shape}; {(n, *self._shapes['warm'])} is meant"
            )
        elapsed = p.renewed if elapsed is None else elapsed
        if not (elapsed >= 0 and math.isfinite(elapsed)):
            raise SolverError(f"elapsed is {elapsed}; a finite number of at least 0 is meant")
        b = self._fill(snapshot, warm, faults)
        o = self.options
        effort = (o.iterations, o.tolerance, float(o.deadline if deadline is None else deadline))
        parts = max(1, min(o.threads, n))
        while len(self._memory) < parts:
            self._memory.append(Memory(self._sizes, self._tables))
        for memory in self._memory[:parts]:
            memory.table[FIRST_BATCH : FIRST_BATCH + 2 * len(BATCH)] = b.slots
            memory.table[SLOTS["WARM"]] = warm is not None
            memory.table[SLOTS["WARM_DUALS"]] = warm is not None and warm.duals is not None
            memory.arrays["REALS"][SHIFT] = elapsed / p.interval
        if parts == 1:
            solve_slice(self._memory[0].address, 0, n, *effort)
        else:
            self._share(n, parts, effort)
        a = {name: b.arrays[name].copy() for name in ("moves", "outputs", "numbers", "probability", "ends")}
        numbers, ends = a["numbers"], a["ends"]
        return Plan(
            p,
            a["moves"],
            a["outputs"],
            numbers[:, 0],
            ends[:, 0],
            ends[:, 1],
            numbers[:, 1],
            numbers[:, 2],
            a["probability"],
            numbers[:, 3],
            b.arrays["duals"].copy() if self._sizes["ITEMS"] else None,
        )

    def _share(self, n: int, parts: int, effort: tuple[Any, ...]) -> None:
        """Slices of patients to threads; small ones, so that a slow patient does not leave a thread idle."""
        free = self._memory[:parts]

        def run(first: int, last: int) -> None:
            memory = free.pop()  # there are as many as threads
            try:
                solve_slice(memory.address, first, last, *effort)
            finally:
                free.append(memory)

        share(run, slices(n, parts * 8), parts)

    def _fill(self, snap: Snapshot, warm: Plan | None, faults: np.ndarray | None) -> Buffers:
        """Copy a snapshot into the buffers (made once for each n and each choice of what is given)."""
        n = len(snap)
        given = _OPTIONAL_OF(snap)
        wide = any(np.ndim(v) == 2 and len(v) > 1 for v in snap.inputs.values())  # type: ignore[arg-type]
        key = (n, wide, np.ndim(snap.time), warm is None, faults is None, *(v is None for v in given))
        if key not in self._kept:
            if len(self._kept) > 8:
                self._kept.clear()
            one = {name for name, value in zip(OPTIONAL, given) if value is None}
            one |= set() if wide else {"held"}
            one |= {"time"} if np.ndim(snap.time) == 0 else set()
            one |= {"warm", "warm_duals"} if warm is None else set()
            one |= {"fault"} if faults is None else set()
            fresh = self._kept[key] = Buffers(n, self._shapes, frozenset(one))
            for name in one & self._defaults.keys():
                fresh.arrays[name][:] = self._defaults[name]
        b = self._kept[key]
        a = b.arrays
        a["states"][:], a["parameters"][:], a["last"][:] = snap.states, snap.parameters, snap.last
        for name, value in zip(OPTIONAL, given):
            if value is not None:
                held = a[name].ndim == 3 and np.ndim(value) == 2
                a[name][:] = np.asarray(value)[:, None] if held and name != "offset" else value
        if snap.weights is not None:
            a["weights"] /= a["weights"].sum(axis=1, keepdims=True)
        if snap.inputs:
            a["held"][:] = self._defaults["held"]
            for name, values in snap.inputs.items():
                a["held"][:, :, self._inputs[name]] = values
        a["time"][:, 0] = snap.time
        if warm is not None:
            a["warm"][:] = warm.moves
            if warm.duals is not None:
                a["warm_duals"][:] = warm.duals
        if faults is not None:
            a["fault"][:, 0] = faults
        return b


@lru_cache(maxsize=16)
def _solver(problem: Problem, options: SolverOptions) -> RealTime:
    return RealTime(problem, options)


def solve_many(
    problem: Problem,
    snapshot: Snapshot,
    warm: Plan | None = None,
    *,
    elapsed: float | None = None,
    options: SolverOptions | None = None,
    faults: np.ndarray | None = None,
) -> Plan:
    """`RealTime(problem, options).solve(...)`; kernels and memory of the last 16 problems are kept."""
    return _solver(problem, options or SolverOptions()).solve(snapshot, warm, elapsed=elapsed, faults=faults)
