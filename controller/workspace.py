"""Tables, sizes, addresses and memory of a problem for the real-time solver (`controller.memory` names the slots)."""

from __future__ import annotations

import ctypes
import math
import sys
from functools import lru_cache
from typing import Any

import numpy as np
from numba import types

from ..pkpd.calls import addresses
from ..pkpd.lanes import LANES
from .gauss import draw_rows, jacobians, linearise, sensitivities
from .horizon import costs, load
from .memory import BATCH, SIZE, SLOTS
from .newton import start, step
from .problem import Problem
from .solve import enforce, write
from .stage import Stage

__all__ = ["Buffers", "Memory", "sizes", "tables"]

STIFF = 10.0  # first weight of a path limit's penalty, in units of the heaviest weight on its output


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


def tables(problem: Problem, feasibility: float) -> dict[str, np.ndarray]:
    """The problem's tables by slot."""
    goals = [(g.weight, g.low, g.low_weight, g.high, g.high_weight, g.terminal) for g in problem.goals]
    moves = [(m.weight, m.change_weight, m.largest_change) for m in problem.moves]
    return {
        "COLUMNS": problem.columns,
        "BLOCK_OF": problem.block_of,
        "FIRST_OF": problem.first_of,
        "GOAL_ROW": np.array([problem.watched.index(g.output) for g in problem.goals]),
        "GOAL": np.array(goals, dtype=float),
        "MOVE": np.array(moves, dtype=float),
        **_items(problem, feasibility),
    }


@lru_cache(maxsize=1)
def _entries() -> dict[str, int]:
    """Addresses of compiled functions that the loops call, by C's convention, with the table's address and integers."""
    one, two, three, four = ((types.int64,) * k for k in (1, 2, 3, 4))
    return {
        "DO_LOAD": _entry(load, two),
        "DO_START": _entry(start, one),
        "DO_COSTS": _entry(costs, three),
        "DO_LINEARISE": _entry(linearise, three),
        "DO_JACOBIANS": _entry(jacobians, four),
        "DO_SENSITIVITIES": _entry(sensitivities, one),
        "DO_DRAW_ROWS": _entry(draw_rows, four),
        "DO_STEP": _entry(step, one),
        "DO_ENFORCE": _entry(enforce, one),
        "DO_WRITE": _entry(write, two),
    }


def _entry(function: Any, signature: tuple[Any, ...]) -> int:
    function.compile(signature)
    made = function.overloads[signature]
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_cfunc_wrapper_name))


def sizes(problem: Problem, stage: Stage) -> dict[str, int]:
    """The problem's kernels and sizes by slot."""
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


class Memory:
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


class Buffers:
    """Inputs and results of n patients, kept from solve to solve; ``shared`` inputs serve all patients with one row."""

    def __init__(self, n: int, shapes: dict[str, tuple[int, ...]], shared: frozenset[str]) -> None:
        whole = ("fault", "ends")
        self.arrays: dict[str, np.ndarray] = {}
        self.slots = np.zeros(2 * len(BATCH), dtype=np.int64)  # addresses, then steps
        for q, name in enumerate(BATCH):
            a = np.zeros((1 if name in shared else n, *shapes[name]), dtype=np.int64 if name in whole else float)
            self.arrays[name] = a
            self.slots[q], self.slots[len(BATCH) + q] = a.ctypes.data, 0 if name in shared else a[0].size
