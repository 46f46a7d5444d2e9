"""Courses of many patients at once under inputs that are held, interval by interval: the fixed-step march in lanes.

For whole cohorts: what a sensor or a pump does between has no place here (`virtual.world` has it).
"""
# The compiled function carries no annotations: Numba infers the types.

from __future__ import annotations

import os

import numpy as np

from ..pkpd.calls import call_kernel, put
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.march import March, march, pack, prepare
from ..pkpd.threads import share, slices

__all__ = ["course"]

LINE = 8 * LANES  # bytes of a row


@jit
def _run(kernel, propagator, outputs, x, p, u, y, k, s, rows, many, h, interval, first, last):
    """Blocks first … last − 1; ``rows`` = of x, p, u, y; ``many`` intervals; all but numbers are addresses."""
    rows_x, rows_p, rows_u, rows_y = rows
    for b in range(first, last):
        at, own = x + b * rows_x * LINE, p + b * rows_p * LINE
        prepare(propagator, s, own, k, h)
        for i in range(many):
            now = u + (b * many + i) * rows_u * LINE
            march(kernel, s, at, own, now, k, i * interval, h)
            for lane in range(LANES):
                put(s, lane, (i + 1) * interval)
            call_kernel(outputs, s, at, own, now, k, y + (b * many + i) * rows_y * LINE)


def course(
    how: March, parameters: np.ndarray, states: np.ndarray, inputs: np.ndarray, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of n patients at the end of each interval, and their states at the end.

    Args:
        how: from `pkpd.march.march_of`.
        parameters: (n, parameters).
        states: (n, states) at the start.
        inputs: (n, intervals, inputs + routes) held over each interval: the model's inputs, then a rate for each route.
        threads: at most (default: as many as there are cores).

    Returns:
        outputs (n, intervals, outputs), states (n, states).
    """
    S, (n, many) = how.system, inputs.shape[:2]
    x, p = pack(states), pack(parameters)
    blocks = len(x)
    u = pack(inputs.reshape(n, -1)).reshape(blocks, many, S.rows_u, LANES)
    y = np.empty((blocks, many, S.rows_y, LANES))
    rows = (S.rows_x, S.rows_p, S.rows_u, S.rows_y)
    parts = min(
        threads or os.cpu_count() or 1, max(1, blocks * many // 512)
    )  # fewer are done sooner than a thread is woken

    def work(first: int, last: int) -> None:
        k, s = np.zeros((how.rows_k, LANES)), np.zeros((2, LANES))
        a = [v.ctypes.data for v in (x, p, u, y, k, s)]
        _run(how.kernel, how.propagator, how.outputs, *a, rows, many, how.h, how.interval, first, last)

    share(work, slices(blocks, parts), parts)
    flat = y.reshape(blocks, many * S.rows_y, LANES)
    ends = x.transpose(0, 2, 1).reshape(-1, S.rows_x)[:n]
    return flat.transpose(0, 2, 1).reshape(-1, many, S.rows_y)[:n].copy(), ends.copy()
