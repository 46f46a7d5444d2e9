"""The real-time back end: condensed Gauss-Newton on compiled lane kernels, for one patient or many.

Single shooting; the outputs' sensitivities by the (blocked) moves are condensed to one quadratic program with bounds.
Its cost is cubic in the number of decisions and linear in stages and draws: beyond about 100 stages, block the moves.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import math
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..pkpd.errors import SolverError
from ..pkpd.lanes import LANES
from .memory import Batch, Fixed, Work
from .plan import Plan
from .problem import Problem
from .snapshot import Snapshot, check
from .solve import solve_slice
from .stage import Stage, stage_of

__all__ = ["Fault", "RealTime", "SolverOptions", "solve_many"]

STIFF = 10.0  # first weight of a path limit's penalty, in units of the heaviest weight on its output


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
    tolerance: float = 1e-9
    feasibility: float = 1e-5
    deadline: float = math.inf
    threads: int = 1


def _monotonic() -> tuple[int, int]:
    """Address of the system's clock_gettime and its monotonic clock's number; (0, 0) where there is none.

    Without it a deadline is not seen by compiled code: only the budget of iterations bounds a solve.
    """
    if sys.platform == "win32":
        return 0, 0
    function = ctypes.CDLL(None).clock_gettime
    return ctypes.cast(function, ctypes.c_void_p).value or 0, 6 if sys.platform == "darwin" else 1


def _items(problem: Problem, feasibility: float) -> dict[str, np.ndarray]:
    """Path limits, then chances, as tables."""
    rows, tables, windows, chance = [], [], [], []
    for c, item in enumerate([*problem.limits, *problem.chances]):
        chosen = c - len(problem.limits)
        if chosen < 0:
            low, high = item.low, item.high  # type: ignore[union-attr]
        else:  # beyond the threshold means outside these limits
            low = item.below  # type: ignore[union-attr]
            high = item.above if math.isfinite(item.above) else math.inf  # type: ignore[union-attr]
        size = max(abs(v) for v in (low, high) if math.isfinite(v)) or 1.0
        heaviest = max(
            (max(g.weight, g.low_weight, g.high_weight) for g in problem.goals if g.output == item.output), default=0.0
        )
        rows.append(problem.watched.index(item.output))
        tables.append((low, high, STIFF * (heaviest or 1.0 / size**2), feasibility * size))
        windows.append(problem.window(item))
        chance.append(max(chosen, -1))
    n = len(rows)
    return {
        "item_row": np.array(rows, dtype=np.int64),
        "items": np.array(tables, dtype=float).reshape(n, 4),
        "window": np.array(windows, dtype=np.int64).reshape(n, 2),
        "chance": np.array(chance, dtype=np.int64),
        "alpha": np.array([c.probability for c in problem.chances], dtype=float),
    }


def _fixed(problem: Problem, stage: Stage, options: SolverOptions) -> Fixed:
    clock, number = _monotonic()
    goals = [(g.weight, g.low, g.low_weight, g.high, g.high_weight, g.terminal) for g in problem.goals]
    moves = [(m.weight, m.change_weight, m.largest_change) for m in problem.moves]
    return Fixed(
        map=stage.map,
        jacobian=stage.jacobian,
        carry=stage.carry,
        propagator=stage.propagator,
        clock=clock,
        clock_id=number,
        n=stage.states,
        m=stage.parameters,
        nu=stage.inputs,
        ny=stage.watched,
        nd=stage.moves,
        nr=stage.relevant,
        entries=stage.entries,
        rows_k=stage.rows_k,
        N=problem.stages,
        nb=len(problem.blocks),
        D=problem.draws,
        DB=1 if problem.draws == 1 else -(-problem.draws // LANES),
        h=stage.h,
        interval=problem.interval,
        shift=problem.renewed / problem.interval,
        limited=any(math.isfinite(m.largest_change) for m in problem.moves),
        columns=problem.columns.astype(np.int64),
        block_of=problem.block_of.astype(np.int64),
        first_of=np.concatenate([[0], np.cumsum(problem.blocks)]).astype(np.int64),
        goal_row=np.array([problem.watched.index(g.output) for g in problem.goals], dtype=np.int64),
        goals=np.array(goals, dtype=float),
        moves=np.array(moves, dtype=float),
        **_items(problem, options.feasibility),
    )


def _work(f: Fixed) -> Work:
    nc = f.nb * f.nd
    columns = -(-nc // LANES)
    ld, long, items = columns * LANES, max(nc, LANES), len(f.item_row)
    z, whole = np.zeros, lambda *shape: np.zeros(shape, dtype=np.int64)
    return Work(
        s=z((2, LANES)),
        p=z((f.DB, f.m, LANES)),
        k=z((f.DB, max(1, f.rows_k), LANES)),
        p1=z((f.m, LANES)),
        k1=z((max(1, f.rows_k), LANES)),
        x1=z((f.n, LANES)),
        u1=z((f.nu, LANES)),
        U=z((f.N, f.nu, LANES)),
        Z=z((2, f.DB, f.N + 1, f.n + f.ny, LANES)),
        K=z((-(-f.N // LANES), f.entries, LANES)),
        S=z((2, columns, f.nr + max(f.nd, f.ny), LANES)),
        Y=z((f.N * f.ny, ld)),
        rows=z((f.N * f.ny, 2)),
        used=np.repeat((f.block_of + 1) * f.nd, f.ny).astype(np.int64),
        H=z((ld, ld)),
        g=z(ld),
        V=z((LANES, nc)),
        v=z(nc),
        low=z(nc),
        high=z(nc),
        lb=z(nc),
        ub=z(nc),
        d=z(nc),
        best=z(nc),
        ref=z(f.nd),
        last=z(f.nd),
        scale=z(f.nd),
        rate=z(f.nd),
        lam=z(nc),
        H2=z((ld, ld)),
        g2=z(nc),
        L=z((ld, ld)),
        y=z(nc),
        slope=z(long),
        trial=z(nc),
        index=whole(2 * nc),
        acc=z((3, LANES)),
        merit=z(LANES),
        duals=z((f.D, f.N, items)),
        rho=z(items),
        on=z((items, f.D), dtype=np.bool_),
        margin=z(f.D),
        order=whole(f.D),
        now=whole(2),
    )


def _three(values: np.ndarray | None, default: Any, stages: int, columns: int) -> np.ndarray:
    """Per patient and stage, from (n, columns), (n, stages, columns) or the problem's own; leading 1 serves all."""
    if values is None:
        a = np.asarray(default, dtype=float)
        a = np.broadcast_to(a, (stages, columns))[None]
    else:
        a = np.asarray(values, dtype=float)
        if a.ndim == 2:
            a = np.broadcast_to(a[:, None, :], (len(a), stages, columns))
    return np.ascontiguousarray(a)


class RealTime:
    """A problem with its compiled kernels and working memory: solves one patient or many.

    Not for two callers at once (each thread of a batch has memory of its own).

    Args:
        problem: what to solve.
        options: how hard to try.
    """

    def __init__(self, problem: Problem, options: SolverOptions | None = None) -> None:
        self.problem, self.options = problem, options or SolverOptions()
        outputs = problem.model.names("outputs")
        watched = tuple(outputs.index(o) for o in problem.watched)
        columns = tuple(int(c) for c in problem.columns)
        self.stage = stage_of(problem.model, problem.interval, columns, watched, problem.substeps)
        self.fixed = _fixed(problem, self.stage, self.options)
        self._work = [_work(self.fixed)]
        self._pool: ThreadPoolExecutor | None = None
        model = problem.model
        self._typical = np.array([*(i.typical for i in model.inputs), *(0.0 for _ in model.routes)])
        self._inputs = {name: i for i, name in enumerate(model.names("inputs"))}
        self._low, self._high = ([getattr(m, side) for m in problem.moves] for side in ("low", "high"))
        self._reference = np.array([[m.reference for m in problem.moves]])
        self._scale = np.array([[m.high if m.scale is None else m.scale for m in problem.moves]])
        self._targets = problem.targets()

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
        n, f = len(snapshot), self.fixed
        if warm is not None and (len(warm) != n or warm.moves.shape[1:] != (f.N, f.nd)):
            raise SolverError(f"the warm plan's moves have shape {warm.moves.shape}; {(n, f.N, f.nd)} is meant")
        if elapsed is not None:
            if not (elapsed >= 0 and math.isfinite(elapsed)):
                raise SolverError(f"elapsed is {elapsed}; a finite number of at least 0 is meant")
            f = f._replace(shift=elapsed / f.interval)
        batch = self._batch(snapshot, warm, faults)
        items = len(f.item_row)
        out = (
            np.empty((n, f.N, f.nd)),
            np.empty((n, f.D, f.N, f.ny)),
            np.empty((n, 4)),
            np.empty((n, len(f.alpha))),
            np.empty((n, f.D, f.N, items)),
        )
        ends = np.empty((n, 2), dtype=np.int64)
        o = self.options
        seconds = o.deadline if deadline is None else deadline
        effort = (o.iterations, o.tolerance, float(seconds))
        parts = min(o.threads, n)
        if parts <= 1:
            solve_slice(f, batch, self._work[0], 0, n, *effort, out, ends)
        else:
            self._share(f, batch, n, parts, effort, out, ends)
        numbers = out[2]
        return Plan(
            self.problem,
            out[0],
            out[1],
            numbers[:, 0],
            ends[:, 0],
            ends[:, 1],
            numbers[:, 1],
            numbers[:, 2],
            out[3],
            numbers[:, 3],
            out[4] if items else None,
        )

    def _share(self, f: Fixed, batch: Batch, n: int, parts: int, effort: tuple[Any, ...], out: Any, ends: Any) -> None:
        """Slices of patients to threads; small ones, so that a slow patient does not leave a thread idle."""
        while len(self._work) < parts:
            self._work.append(_work(self.fixed))
        if self._pool is None or self._pool._max_workers < parts:
            self._pool = ThreadPoolExecutor(parts, thread_name_prefix="doseloop-mpc")
        free = list(self._work)

        def run(first: int, last: int) -> None:
            work = free.pop()  # as many as threads
            try:
                solve_slice(f, batch, work, first, last, *effort, out, ends)
            finally:
                free.append(work)

        edges = np.linspace(0, n, min(n, parts * 8) + 1).astype(int)
        for task in [self._pool.submit(run, a, b) for a, b in itertools.pairwise(edges.tolist())]:
            task.result()

    def _batch(self, snap: Snapshot, warm: Plan | None, faults: np.ndarray | None) -> Batch:
        n, f = len(snap), self.fixed
        array = lambda a: np.ascontiguousarray(a, dtype=float)  # noqa: E731
        if snap.inputs:
            per_patient = any(np.ndim(v) == 2 and len(np.asarray(v)) > 1 for v in snap.inputs.values())
            held = np.empty((n if per_patient else 1, f.N, f.nu))
            held[:] = self._typical
            for name, values in snap.inputs.items():
                held[:, :, self._inputs[name]] = values
        else:
            held = np.ascontiguousarray(np.broadcast_to(self._typical, (1, f.N, f.nu)))
        if snap.weights is None:
            weights = np.full((1, f.D), 1.0 / f.D)
        else:
            weights = array(snap.weights)
            weights = weights / weights.sum(axis=1, keepdims=True)
        duals = np.empty((0, f.D, f.N, len(f.item_row))) if warm is None or warm.duals is None else warm.duals
        return Batch(
            states=array(snap.states),
            parameters=array(snap.parameters),
            offset=np.zeros((1, f.D, f.ny)) if snap.offset is None else array(snap.offset),
            weights=weights,
            held=held,
            last=array(snap.last),
            low=_three(snap.low, self._low, f.N, f.nd),
            high=_three(snap.high, self._high, f.N, f.nd),
            reference=self._reference if snap.reference is None else array(snap.reference),
            scale=self._scale if snap.scale is None else array(snap.scale),
            target=_three(snap.target, self._targets, f.N, len(f.goal_row)),
            time=np.atleast_1d(array(snap.time)),
            warm=np.empty((0, f.N, f.nd)) if warm is None else array(warm.moves),
            warm_duals=array(duals),
            fault=np.zeros(n, dtype=np.int64) if faults is None else np.ascontiguousarray(faults, dtype=np.int64),
        )


_solvers: weakref.WeakKeyDictionary[Problem, dict[SolverOptions, RealTime]] = weakref.WeakKeyDictionary()


def solve_many(
    problem: Problem,
    snapshot: Snapshot,
    warm: Plan | None = None,
    *,
    elapsed: float | None = None,
    options: SolverOptions | None = None,
    faults: np.ndarray | None = None,
) -> Plan:
    """`RealTime(problem, options).solve(...)`, with kernels and memory kept from call to call."""
    options = options or SolverOptions()
    kept = _solvers.setdefault(problem, {})
    key = replace(options)
    if key not in kept:
        kept[key] = RealTime(problem, key)
    return kept[key].solve(snapshot, warm, elapsed=elapsed, faults=faults)
