"""Gauss-Newton with line search on the moves of one patient: compiled, anytime.

Every iterate is a course of the model (single shooting), inside its bounds, and of no higher merit than the last, so
that the loop can stop at any iteration. The clock is the system's monotonic one, read by address without the GIL.
"""
# Compiled functions carry no annotations: Numba infers the types. f, b, w are Fixed, Batch, Work; i is the patient.

from __future__ import annotations

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from .gauss import linearise
from .horizon import costs, keep, roll, set_lane, spread
from .quadratic import box, box_and_rates

__all__ = ["clock", "descend", "start"]

W = LANES
SOLVED, STALLED, ITERATIONS, LATE = range(4)  # `plan.Status`
ARMIJO = 1e-4


@jit
def clock(f, w):
    """Seconds of the monotonic clock; 0 where the system's has no address."""
    if f.clock == 0:
        return 0.0
    call_kernel(f.clock, f.clock_id, w.now.ctypes.data, 0, 0, 0, 0)
    return w.now[0] + 1e-9 * w.now[1]


@jit
def _candidate(f, w, c, kind, v):
    """Write a start into V[c]: v itself, the reference, what is given now, the least, or half-way to the reference."""
    for j in range(f.nb * f.nd):
        m = j % f.nd
        if kind == 0:
            a = v[j]
        elif kind == 1:
            a = w.ref[m]
        elif kind == 2:
            a = w.last[m]
        elif kind == 3:
            a = w.low[j]
        else:
            a = 0.5 * (v[j] + w.ref[m])
        w.V[c, j] = a
    keep(f, w, w.V[c])


@jit
def _warm(f, b, w, i):
    """The last plan shifted, as block means, into w.v (the reference where there is none); whether there is one."""
    have = b.warm.shape[0] > 0 and np.isfinite(b.warm[min(i, b.warm.shape[0] - 1), 0, 0])
    for m in range(f.nd):
        for c in range(f.nb):
            j = c * f.nd + m
            w.v[j] = w.ref[m]
            if have:
                total = 0.0
                for k in range(f.first_of[c], f.first_of[c + 1]):
                    at = k + f.shift
                    k0 = min(int(at), f.N - 1)
                    k1, part = min(k0 + 1, f.N - 1), at - int(at)
                    total += (1.0 - part) * b.warm[i, k0, m] + part * b.warm[i, k1, m]
                w.v[j] = total / (f.first_of[c + 1] - f.first_of[c]) / w.scale[m]
    return have


@jit
def start(f, b, w, i, time):
    """Roll the starts and take the best into w.v.

    Returns which course, lane, merit (infinite where no start has a finite course), cost, violation.
    """
    warm = _warm(f, b, w, i)
    starts = 5 if f.D == 1 else 4
    first = 0 if warm else 1
    if f.D == 1:
        for lane in range(W):
            _candidate(f, w, lane, lane if first <= lane < starts else first, w.v)
            set_lane(f, w, w.V[lane], lane)
        roll(f, w, 0, time)
        costs(f, b, w, i, 0, W)
        lane = 0
        for c in range(1, W):
            if w.merit[c] < w.merit[lane]:
                lane = c
        for j in range(f.nb * f.nd):
            w.v[j] = w.V[lane, j]
        return 0, lane, w.merit[lane], w.merit[lane] - w.acc[1, lane], w.acc[2, lane]
    which, merit, cost, violation = 0, np.inf, np.inf, np.inf
    for kind in range(first, starts if not warm else 2):
        _candidate(f, w, 0, kind, w.v)
        spread(f, w, w.V[0])
        roll(f, w, 1 - which, time)
        some, miss = costs(f, b, w, i, 1 - which, 1)
        if w.merit[0] < merit:
            which, merit, cost, violation = 1 - which, w.merit[0], some, miss
            for j in range(f.nb * f.nd):
                w.V[1, j] = w.V[0, j]
    for j in range(f.nb * f.nd):
        w.v[j] = w.V[1, j]
    return which, 0, merit, cost, violation


@jit
def _search(f, b, w, i, which, merit, slope, time):
    """Along w.d from w.v: the lowest merit that falls enough. Returns lane (−1: none), merit, cost, violation."""
    nc = f.nb * f.nd
    length = 1.0
    if f.D == 1:
        for _ in range(2):
            for lane in range(W):
                for j in range(nc):
                    w.V[lane, j] = min(max(w.v[j] + length * w.d[j], w.low[j]), w.high[j])
                w.slope[lane] = length
                length *= 0.5
                set_lane(f, w, w.V[lane], lane)
            roll(f, w, 1 - which, time)
            costs(f, b, w, i, 1 - which, W)
            best = -1
            for lane in range(W):
                enough = w.merit[lane] <= merit + ARMIJO * w.slope[lane] * slope and w.merit[lane] < merit
                if enough and (best < 0 or w.merit[lane] < w.merit[best]):
                    best = lane
            if best >= 0:
                for j in range(nc):
                    w.v[j] = w.V[best, j]
                return best, w.merit[best], w.merit[best] - w.acc[1, best], w.acc[2, best]
        return -1, merit, 0.0, 0.0
    for _ in range(14):
        for j in range(nc):
            w.V[0, j] = min(max(w.v[j] + length * w.d[j], w.low[j]), w.high[j])
        spread(f, w, w.V[0])
        roll(f, w, 1 - which, time)
        cost, violation = costs(f, b, w, i, 1 - which, 1)
        if w.merit[0] <= merit + ARMIJO * length * slope and w.merit[0] < merit:
            for j in range(nc):
                w.v[j] = w.V[0, j]
            return 0, w.merit[0], cost, violation
        length *= 0.5
    return -1, merit, 0.0, 0.0


@jit
def _step(f, w, damping):
    """The quadratic program's step into w.d. Returns the expected decrease and the slope along it."""
    nc, largest = f.nb * f.nd, 0.0
    for j in range(nc):
        largest = max(largest, w.H[j, j])
    add = (1e-12 + damping) * largest + 1e-300
    for j in range(nc):
        w.H[j, j] += add
        w.d[j] = 0.0
        w.lb[j], w.ub[j] = w.low[j] - w.v[j], w.high[j] - w.v[j]
    if f.limited:
        box_and_rates(w.H, w.g, w.lb, w.ub, w.d, nc, f.nd, w.v, w.rate, w.lam, w.H2, w.g2, w.L, w.y, w.slope, w.trial,
                      w.index)  # fmt: skip
    else:
        box(w.H, w.g, w.lb, w.ub, w.d, nc, w.L, w.y, w.slope, w.trial, w.index)
    slope, curve = 0.0, 0.0
    for j in range(nc):
        w.H[j, j] -= add
        slope += w.g[j] * w.d[j]
        w.y[j] = 0.0
    for r in range(nc):
        if w.d[r] != 0.0:
            for c in range(nc):
                w.y[c] += w.H[r, c] * w.d[r]
    for j in range(nc):
        curve += w.y[j] * w.d[j]
    return -(slope + 0.5 * curve), slope


@jit
def _residual(f, w):
    """Largest entry of the projected gradient. (Rate limits are not projected out: then it is an upper bound.)"""
    worst = 0.0
    for j in range(f.nb * f.nd):
        if not ((w.v[j] <= w.low[j] and w.g[j] > 0.0) or (w.v[j] >= w.high[j] and w.g[j] < 0.0)):
            worst = max(worst, abs(w.g[j]))
    return worst


@jit
def descend(f, b, w, i, at, done, iterations, tolerance, deadline, time):
    """Lower the merit from w.v until solved, stalled, out of iterations or late.

    ``at`` is (which course, lane, merit, cost, violation). Returns status, iterations in all, residual, the new ``at``.
    """
    which, lane, merit, cost, violation = at
    residual = np.inf
    while True:
        if done >= iterations:
            return ITERATIONS, done, residual, (which, lane, merit, cost, violation)
        if clock(f, w) > deadline:
            return LATE, done, residual, (which, lane, merit, cost, violation)
        linearise(f, b, w, i, which, lane, time)
        residual = _residual(f, w)
        if not np.isfinite(residual):
            return STALLED, done, residual, (which, lane, merit, cost, violation)
        expected, slope = _step(f, w, 0.0)
        if expected <= tolerance * (1.0 + abs(merit)):
            return SOLVED, done, residual, (which, lane, merit, cost, violation)
        damping, found = 0.0, -1
        for _ in range(4):
            found, merit_new, cost_new, violation_new = _search(f, b, w, i, which, merit, slope, time)
            if found >= 0:
                break
            damping = 1e-3 if damping == 0.0 else damping * 30.0
            expected, slope = _step(f, w, damping)
        done += 1
        if found < 0:
            return STALLED, done, residual, (which, lane, merit, cost, violation)
        which, lane = 1 - which, found
        merit, cost, violation = merit_new, cost_new, violation_new
