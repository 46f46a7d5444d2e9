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
from functools import lru_cache
from typing import Any

import numpy as np
from numba import types

from ..pkpd.calls import addresses
from ..pkpd.errors import SolverError
from ..pkpd.lanes import LANES
from .gauss import linearise
from .horizon import costs
from .memory import BATCH, FIRST_BATCH, SHIFT, SIZE, SLOTS
from .newton import step
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
    tolerance: float = 1e-8
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
    for c, item in enumerate(problem.items):
        chosen = c - len(problem.limits)
        low, high = item.range
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
        "ITEM_ROW": np.array(rows, dtype=np.int64),
        "ITEM": np.array(tables, dtype=float).reshape(n, 4),
        "WINDOW": np.array(windows, dtype=np.int64).reshape(n, 2),
        "CHANCE": np.array(chance, dtype=np.int64),
        "ALPHA": np.array([c.probability for c in problem.chances], dtype=float),
    }


def _tables(problem: Problem, options: SolverOptions) -> dict[str, np.ndarray]:
    """The problem's tables by slot."""
    goals = [(g.weight, g.low, g.low_weight, g.high, g.high_weight, g.terminal) for g in problem.goals]
    moves = [(m.weight, m.change_weight, m.largest_change) for m in problem.moves]
    return {
        "COLUMNS": problem.columns,
        "BLOCK_OF": problem.block_of,
        "FIRST_OF": np.concatenate([[0], np.cumsum(problem.blocks)]),
        "GOAL_ROW": np.array([problem.watched.index(g.output) for g in problem.goals]),
        "GOAL": np.array(goals, dtype=float),
        "MOVE": np.array(moves, dtype=float),
        **_items(problem, options.feasibility),
    }


@lru_cache(maxsize=1)
def _entries() -> dict[str, int]:
    """Addresses of compiled functions that the loops call, by C's convention, with the table's address and integers."""
    one, three = (types.int64,), (types.int64,) * 3
    return {
        "DO_COSTS": _entry(costs, three),
        "DO_LINEARISE": _entry(linearise, three),
        "DO_STEP": _entry(step, one),
    }


def _entry(function: Any, signature: tuple[Any, ...]) -> int:
    function.compile(signature)
    made = function.overloads[signature]
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_cfunc_wrapper_name))


def _sizes(problem: Problem, stage: Stage) -> dict[str, int]:
    clock, number = _monotonic()
    return {
        **_entries(),
        "MAP": stage.map,
        "JACOBIAN": stage.jacobian,
        "CARRY": stage.carry,
        "PROPAGATOR": stage.propagator,
        "CLOCK": clock,
        "CLOCK_ID": number,
        "STATES": stage.states,
        "PARAMETERS": stage.parameters,
        "INPUTS": stage.inputs,
        "WATCHED": stage.watched,
        "MOVES": stage.moves,
        "RELEVANT": stage.relevant,
        "ENTRIES": stage.entries,
        "ROWS_K": stage.rows_k,
        "STAGES": problem.stages,
        "BLOCKS": len(problem.blocks),
        "DRAWS": problem.draws,
        "LANE_BLOCKS": 1 if problem.draws == 1 else -(-problem.draws // LANES),
        "GOALS": len(problem.goals),
        "ITEMS": len(problem.limits) + len(problem.chances),
        "CHANCES": len(problem.chances),
        "LIMITED": int(any(math.isfinite(m.largest_change) for m in problem.moves)),
    }


def _working(s: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of a thread's working memory by slot."""
    N, moves, blocks, D, items = s["STAGES"], s["MOVES"], s["LANE_BLOCKS"], s["DRAWS"], s["ITEMS"]
    W, n, ny, nc = LANES, s["STATES"], s["WATCHED"], s["BLOCKS"] * s["MOVES"]
    ld = -(-nc // W) * W
    return {
        "S": (2, W),
        "P": (blocks, s["PARAMETERS"], W),
        "K": (blocks, s["ROWS_K"], W),
        "P1": (s["PARAMETERS"], W),
        "K1": (s["ROWS_K"], W),
        "X1": (n, W),
        "U1": (s["INPUTS"], W),
        "U": (N, s["INPUTS"], W),
        "Z": (2, blocks, N + 1, n + ny, W),
        "JAC": (-(-N // W), s["ENTRIES"], W),
        "SENS": (2, ld // W, s["RELEVANT"] + max(moves, ny), W),
        "Y": (N * ny, ld),
        "ROWS": (N * ny, 2),
        **dict.fromkeys(("H", "L"), (ld, ld)),
        "V": (W, nc),
        **dict.fromkeys(("G", "NOW", "LOW", "HIGH", "LB", "UB", "D", "BEST", "QY", "SLOPE", "TRIAL"), (nc,)),
        **dict.fromkeys(("REF", "LAST", "SCALE", "RATE"), (moves,)),
        "ACC": (3, W),
        "MERIT": (W,),
        "DUALS": (D, N, items),
        "RHO": (items,),
        "MARGIN": (D,),
        "INDEX": (3 * nc,),
        "ON": (items, D),
        "ORDER": (D,),
        "TICKS": (2,),
    }


class _Memory:
    """A thread's table and the arrays whose addresses it holds."""

    def __init__(self, sizes: dict[str, int], tables: dict[str, np.ndarray]) -> None:
        whole = ("INDEX", "ON", "ORDER", "TICKS")
        self.arrays = {k: np.zeros(v, dtype=np.int64 if k in whole else float) for k, v in _working(sizes).items()}
        self.arrays |= {
            k: np.ascontiguousarray(v, dtype=float if v.dtype.kind == "f" else np.int64) for k, v in tables.items()
        }
        self.arrays["USED"] = np.repeat((tables["BLOCK_OF"] + 1) * sizes["MOVES"], sizes["WATCHED"]).astype(np.int64)
        self.table = np.zeros(SIZE, dtype=np.int64)
        for name, value in (sizes | dict(zip(self.arrays, addresses(list(self.arrays.values()))))).items():
            self.table[SLOTS[name]] = value
        self.address = self.table.ctypes.data


class _Buffers:
    """Inputs and results of n patients, kept from solve to solve; ``shared`` inputs serve all patients with one row."""

    def __init__(self, n: int, shapes: dict[str, tuple[int, ...]], shared: frozenset[str]) -> None:
        whole = ("fault", "ends")
        self.arrays: dict[str, np.ndarray] = {}
        self.slots = np.zeros(2 * len(BATCH), dtype=np.int64)  # addresses, then steps
        for q, name in enumerate(BATCH):
            a = np.zeros((1 if name in shared else n, *shapes[name]), dtype=np.int64 if name in whole else float)
            self.arrays[name] = a
            self.slots[q], self.slots[len(BATCH) + q] = a.ctypes.data, 0 if name in shared else a[0].size


OPTIONAL = ("offset", "weights", "low", "high", "reference", "scale", "target")


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
        self._sizes, self._tables = _sizes(problem, self.stage), _tables(problem, self.options)
        self._tables["REALS"] = np.array([self.stage.h, problem.interval, *[0.0] * 7])
        self._memory = [_Memory(self._sizes, self._tables)]
        self._pool: ThreadPoolExecutor | None = None
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
        self._kept: dict[tuple[int, frozenset[str]], _Buffers] = {}

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
            self._memory.append(_Memory(self._sizes, self._tables))
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
        if self._pool is None or self._pool._max_workers < parts:
            self._pool = ThreadPoolExecutor(parts, thread_name_prefix="doseloop-mpc")
        free = self._memory[:parts]

        def run(first: int, last: int) -> None:
            memory = free.pop()  # there are as many as threads
            try:
                solve_slice(memory.address, first, last, *effort)
            finally:
                free.append(memory)

        edges = np.linspace(0, n, min(n, parts * 8) + 1).astype(int)
        for task in [self._pool.submit(run, a, b) for a, b in itertools.pairwise(edges.tolist())]:
            task.result()

    def _fill(self, snap: Snapshot, warm: Plan | None, faults: np.ndarray | None) -> _Buffers:
        """Copy a snapshot into the buffers (made once for each n and each choice of what is given)."""
        n = len(snap)
        given = {name: getattr(snap, name) for name in OPTIONAL}
        one = {name for name, value in given.items() if value is None}
        if not any(np.ndim(v) == 2 and len(v) > 1 for v in snap.inputs.values()):  # type: ignore[arg-type]
            one.add("held")
        if np.ndim(snap.time) == 0:
            one.add("time")
        if warm is None:
            one |= {"warm", "warm_duals"}
        if faults is None:
            one.add("fault")
        key = n, frozenset(one)
        if key not in self._kept:
            if len(self._kept) > 8:
                self._kept.clear()
            fresh = self._kept[key] = _Buffers(n, self._shapes, key[1])
            for name in one & self._defaults.keys():
                fresh.arrays[name][:] = self._defaults[name]
        b = self._kept[key]
        a = b.arrays
        a["states"][:], a["parameters"][:], a["last"][:] = snap.states, snap.parameters, snap.last
        for name, value in given.items():
            if value is not None:
                wide = a[name].ndim == 3 and np.ndim(value) == 2
                a[name][:] = np.asarray(value)[:, None] if wide and name != "offset" else value
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
