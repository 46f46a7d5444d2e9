"""Fixed steps over a control interval: what loops that run by the minute or the second stand on.

`pkpd.drive` serves schedules of doses at any times. A loop needs less: inputs held for an interval, one interval after
another, for blocks of 8 patients; called from other compiled loops by address.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .calls import call_kernel, get, put
from .jit import jit
from .lanes import LANES
from .model import Model
from .system import System, system

__all__ = ["March", "march", "march_of", "pack", "prepare", "unpack"]


@dataclass(frozen=True, slots=True)
class March:
    """How a model is advanced over one interval: kernels by address, sizes, steps.

    Attributes:
        system: the model's system (rows of state, parameters, inputs then one rate per route, outputs).
        interval: length (the model's time unit); ``steps`` of ``h`` each.
        kernel: RK4 step, or for a linear model the exact advance.
        propagator: address of the propagator kernel, 0 for RK4.
        rows_k: rows of the propagator (at least 1).
        outputs: address of the outputs' kernel.
    """

    system: System
    interval: float
    steps: int
    h: float
    kernel: int
    propagator: int
    rows_k: int
    outputs: int


@lru_cache(maxsize=64)
def march_of(
    model: Model, interval: float, step: float | None = None, directions: int = 0, integrals: bool = False
) -> March:
    """The march of a model over an interval, by steps no longer than ``step`` (default: the model's own).

    A linear model takes one exact step. ``directions`` and ``integrals`` as in `System`.

    Raises:
        ValueError: the interval is not above 0, or a model that is not linear has no step.
    """
    if not (interval > 0 and math.isfinite(interval)):
        raise ValueError(f"an interval is a number above 0, not {interval}")
    S = system(model, directions, integrals)
    if S.linear:
        address = (S.kernel("advance"), S.kernel("propagator"), S.rows_propagator)
        return March(S, interval, 1, interval, *address, S.kernel("outputs"))
    longest = model.step if step is None else step
    if not math.isfinite(longest):
        raise ValueError(f"model '{model.id}' declares no fixed step: name one")
    steps = max(1, math.ceil(interval / longest * (1 - 1e-12)))
    return March(S, interval, steps, interval / steps, S.kernel("rk4"), 0, 1, S.kernel("outputs"))


def pack(rows: np.ndarray) -> np.ndarray:
    """(n, rows) to blocks of lanes (blocks, rows, 8); the last block's idle lanes repeat the last row."""
    rows = np.asarray(rows, dtype=float)
    blocks = -(-len(rows) // LANES)
    full = np.concatenate([rows, np.repeat(rows[-1:], blocks * LANES - len(rows), axis=0)])
    return np.ascontiguousarray(full.reshape(blocks, LANES, rows.shape[1]).transpose(0, 2, 1))


def unpack(blocks: np.ndarray, n: int) -> np.ndarray:
    """Blocks of lanes (blocks, rows, 8) to (n, rows)."""
    return np.ascontiguousarray(blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])[:n])


@jit
def prepare(propagator: Any, s: Any, p: Any, k: Any, h: Any) -> None:
    """Write the propagator of a block over a step h into ``k`` (nothing to do for RK4, ``propagator`` 0)."""
    if propagator != 0:
        for lane in range(LANES):
            put(s, lane, h)
        call_kernel(propagator, s, 0, p, 0, 0, k)


@jit
def march(
    kernel: Any, s: Any, x: Any, spare: Any, p: Any, u: Any, k: Any, rows: Any, t: Any, h: Any, steps: Any
) -> None:
    """Advance one block by ``steps`` steps of h from time t; the result stands in ``x``.

    All but the last four are addresses: s (2, 8), x and spare (rows, 8), p, u, k (propagator, or anything for RK4).
    """
    for lane in range(LANES):
        put(s, LANES + lane, h)
    for i in range(steps):
        for lane in range(LANES):
            put(s, lane, t + i * h)
        call_kernel(kernel, s, x, p, u, k, spare)
        x, spare = spare, x
    if steps % 2 == 1:  # the result stands in what was the spare
        for i in range(rows * LANES):
            put(spare, i, get(x, i))
