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

from .calls import call_kernel, put
from .jit import jit
from .lanes import LANES
from .model import Model
from .objects import wide
from .system import System, system

__all__ = ["March", "march", "march_of", "pack", "prepare", "unpack"]


@dataclass(frozen=True, slots=True)
class March:
    """How a model is advanced over one interval: kernels by address, sizes, steps.

    Attributes:
        system: the model's system (rows of state, parameters, inputs then one rate per route, outputs).
        interval: length (the model's time unit); ``steps`` of ``h`` each.
        kernel: the whole interval of a block; ``pair`` of two blocks that lie one behind the other in every array, 0
            where that is no faster (the registers do not hold them).
        propagator: the kernel that writes ``k`` from the parameters, a linear model's propagator or what else hangs
            on parameters alone; 0 where there is nothing.
        rows_k: rows of ``k`` (at least 1).
        outputs: address of the outputs' kernel.
    """

    system: System
    interval: float
    steps: int
    h: float
    kernel: int
    pair: int
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
    longest = interval if S.linear else model.step if step is None else step
    if not math.isfinite(longest):
        raise ValueError(f"model '{model.id}' declares no fixed step: name one")
    steps = max(1, math.ceil(interval / longest * (1 - 1e-12)))
    rows = S.rows_propagator if S.linear else S.rows_constants
    before = S.kernel("propagator" if S.linear else "constants") if rows else 0
    pair = S.interval(steps, pair=True) if wide() else 0
    h, kernel = interval / steps, S.interval(steps)
    return March(S, interval, steps, h, kernel, pair, before, max(1, rows), S.kernel("outputs"))


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
    """Write what hangs on a block's parameters (and a step h) alone into ``k``; nothing where ``propagator`` is 0."""
    if propagator != 0:
        for lane in range(LANES):
            put(s, lane, h)
        call_kernel(propagator, s, 0, p, 0, 0, k)


@jit
def march(kernel: Any, s: Any, x: Any, p: Any, u: Any, k: Any, t: Any, h: Any) -> None:
    """Advance one block (or a pair, by the pair's kernel) by an interval of steps of h from time t, in place.

    All but the last two are addresses: s (2, 8), x (rows, 8), p, u, k (from `prepare`).
    """
    for lane in range(LANES):
        put(s, lane, t)
        put(s, LANES + lane, h)
    call_kernel(kernel, s, x, p, u, k, x)
