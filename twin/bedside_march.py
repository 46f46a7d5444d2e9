"""Dose intervals of a linear model for many patients with several points each, in ticks, eight at a time."""
# The compiled function carries no annotations: Numba infers the types.

from __future__ import annotations

import os

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.march import march, march_of, prepare
from ..pkpd.model import Model
from ..pkpd.threads import share, slices

__all__ = ["DAY", "TICK", "Intervals"]

TICK, DAY = 0.5, 24.0  # h
THREAD = 512  # ticks of blocks; fewer are done sooner than a thread is woken


class Intervals:
    """Advances n patients with S points each by dose intervals.

    Args:
        model: the model, linear.
        interval: h, a whole number of ticks.
        output, route: what is looked at, and how doses are given.
        threads: at most; default the processors. The bits are the same.
    """

    def __init__(
        self,
        model: Model,
        interval: float,
        *,
        output: str = "concentration",
        route: str = "iv",
        threads: int | None = None,
    ) -> None:
        self.how, self.ticks, self.threads = march_of(model, TICK, integrals=True), round(interval / TICK), threads
        S = self.how.system
        level, rate = model.names("outputs").index(output), len(model.inputs) + model.names("routes").index(route)
        self.rows = S.rows_x  # of a state: the model's, then the integral of each output
        self._places = (S.n_model, S.n_model + level, level, rate)
        self._per_day = round(DAY / interval)

    def run(
        self,
        parameters: np.ndarray,
        state: np.ndarray,
        dose: np.ndarray,
        length: np.ndarray,
        *,
        count: np.ndarray | None = None,
        kept: int = 1,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advance by H intervals.

        Args:
            parameters: (n, S, parameters), or (n, S, days, parameters) where the first interval begins a day.
            state: (n, S, rows) at the start.
            dose, length: (n, H) mg that begin with each interval, and h over which they run in.
            count: (n,) how many of the intervals each patient is advanced by; default all.
            kept: levels of an interval, evenly spaced, the last at its end.

        Returns:
            state (n, S, rows) at the end, AUC (n, S, H), levels (n, S, H, kept); NaN where ``count`` ends before.
        """
        how, (n, points), H = self.how, state.shape[:2], dose.shape[1]
        N = n * points
        p = np.ascontiguousarray(parameters, dtype=float).reshape(N, -1, parameters.shape[-1])
        x = np.array(state, dtype=float).reshape(N, -1)
        area, levels = np.full((N, H), np.nan), np.full((N, H, kept), np.nan)
        many = np.full(n, H) if count is None else np.asarray(count, dtype=np.int64)
        given, over = (np.ascontiguousarray(v, dtype=float) for v in (dose, length))
        blocks, S = -(-N // LANES), how.system
        sizes = (self.ticks, self.ticks // kept, points, self._per_day, *self._places)

        def work(first: int, last: int) -> None:
            memory = [np.zeros((r, LANES)) for r in (S.rows_x, S.rows_p, S.rows_u, S.rows_y, how.rows_k, 2)]
            _run(
                how.kernel, how.propagator, how.outputs, how.h, sizes, p, x, given, over, many, area, levels, *memory,
                first, last,
            )  # fmt: skip

        parts = min(self.threads or os.cpu_count() or 1, max(1, blocks * H * self.ticks // THREAD))
        share(work, slices(blocks, parts), parts)
        return x.reshape(n, points, -1), area.reshape(n, points, H), levels.reshape(n, points, H, kept)


@jit
def _run(kernel, propagator, outputs, h, sizes, P, X, dose, length, many, area, levels, x, p, u, y, k, s, first, last):
    """Blocks first … last − 1 of the points; of those that are done, the state stays as it was at their end."""
    ticks, every, points, per_day, own, total, level, rate = sizes
    people, days = X.shape[0], P.shape[1]
    xs, ps, us, ys, ks, ss = x.ctypes.data, p.ctypes.data, u.ctypes.data, y.ctypes.data, k.ctypes.data, s.ctypes.data
    for b in range(first, last):
        most = 0
        for lane in range(LANES):
            i = min(b * LANES + lane, people - 1)
            most = max(most, many[i // points])
            for r in range(X.shape[1]):
                x[r, lane] = X[i, r]
        for j in range(most):
            if j == 0 or (days > 1 and j % per_day == 0):
                for lane in range(LANES):
                    i = min(b * LANES + lane, people - 1)
                    for r in range(P.shape[2]):
                        p[r, lane] = P[i, min(j // per_day, days - 1), r]
                prepare(propagator, ss, ps, ks, h)
            for r in range(own, X.shape[1]):
                for lane in range(LANES):
                    x[r, lane] = 0.0
            for t in range(ticks):
                for lane in range(LANES):
                    q = min(b * LANES + lane, people - 1) // points
                    u[rate, lane] = dose[q, j] / length[q, j] if t * TICK < length[q, j] - 1e-9 else 0.0
                march(kernel, ss, xs, ps, us, ks, t * TICK, h)
                if (t + 1) % every == 0:
                    for lane in range(LANES):
                        s[0, lane] = (t + 1) * TICK
                    call_kernel(outputs, ss, xs, ps, us, ks, ys)
                    for lane in range(min(LANES, people - b * LANES)):
                        i = b * LANES + lane
                        if j < many[i // points]:
                            levels[i, j, (t + 1) // every - 1] = y[level, lane]
            for lane in range(min(LANES, people - b * LANES)):
                i = b * LANES + lane
                if j < many[i // points]:
                    area[i, j] = x[total, lane]
                    for r in range(X.shape[1]):
                        X[i, r] = x[r, lane]
