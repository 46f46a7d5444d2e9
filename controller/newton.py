"""Gauss-Newton with line search on the moves of one patient: compiled, anytime.

Every iterate is a course of the model (single shooting), inside its bounds, and of no higher merit than the last, so
that the loop can stop at any iteration. The clock is the system's monotonic one, read by address without the GIL.
"""
# Compiled functions carry no annotations: Numba infers the types. J is the table's address.

from __future__ import annotations

import numpy as np

from ..pkpd.calls import call_kernel, geti, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import memory as m
from .horizon import keep, roll, set_lane, spread
from .memory import ivec, mat, vec
from .quadratic import box, rates

__all__ = ["at", "clock", "descend", "judge", "put_at", "start", "step"]

W = LANES
SOLVED, STALLED, ITERATIONS, LATE = range(4)  # `plan.Status`
ARMIJO = 1e-4
LEFT = 5.0
STARTS = 7


@jit
def clock(J):
    """Seconds of the monotonic clock; 0 where the system's has no address."""
    if geti(J, m.CLOCK) == 0:
        return 0.0
    call_kernel(geti(J, m.CLOCK), geti(J, m.CLOCK_ID), geti(J, m.TICKS), 0, 0, 0, 0)
    return geti(geti(J, m.TICKS), 0) + 1e-9 * geti(geti(J, m.TICKS), 1)


@jit
def at(J):
    """The current course: which half of Z, lane, merit, cost, violation."""
    reals = vec(J, m.REALS, m.NUMBERS)
    return geti(J, m.WHICH), geti(J, m.LANE), reals[m.AT_MERIT], reals[m.AT_COST], reals[m.AT_MISS]


@jit
def put_at(J, here):
    """Note the current course."""
    reals = vec(J, m.REALS, m.NUMBERS)
    puti(J, m.WHICH, here[0])
    puti(J, m.LANE, here[1])
    reals[m.AT_MERIT], reals[m.AT_COST], reals[m.AT_MISS] = here[2], here[3], here[4]


@jit
def judge(J, which, candidates):
    """`costs`, by address."""
    call_kernel(geti(J, m.DO_COSTS), J, which, candidates, 0, 0, 0)


@jit
def _candidate(J, c, kind, nc):
    """Write a start into V[c]: the moves NOW, the reference, what is given, the least, half-way to the reference,
    a quarter of the scale, or all of it (with no drug about, nothing tells which way to go).
    """
    moves = geti(J, m.MOVES)
    v, low, V = vec(J, m.NOW, nc), vec(J, m.LOW, nc), mat(J, m.V, W, nc)
    ref, last = vec(J, m.REF, moves), vec(J, m.LAST, moves)
    for j in range(nc):
        a = j % moves
        if kind == 0:
            V[c, j] = v[j]
        elif kind == 1:
            V[c, j] = ref[a]
        elif kind == 2:
            V[c, j] = last[a]
        elif kind == 3:
            V[c, j] = low[j]
        elif kind == 4:
            V[c, j] = 0.5 * (v[j] + ref[a])
        else:
            V[c, j] = 0.25 if kind == 5 else 1.0
    keep(J, V[c])


@jit
def _warm(J):
    """The last plan shifted, as block means, into NOW (the reference where there is none); whether there is one."""
    N, moves, blocks = geti(J, m.STAGES), geti(J, m.MOVES), geti(J, m.BLOCKS)
    v, ref, scale = vec(J, m.NOW, blocks * moves), vec(J, m.REF, moves), vec(J, m.SCALE, moves)
    first, shift, have = ivec(J, m.FIRST_OF, blocks + 1), vec(J, m.REALS, m.NUMBERS)[m.SHIFT], geti(J, m.WARM) != 0
    for j in range(blocks * moves):
        v[j] = ref[j % moves]
    if not have:
        return False
    plan = mat(J, m.B_WARM, N, moves)
    for k in range(N):
        for a in range(moves):
            have = have and np.isfinite(plan[k, a])
    if not have:
        return False
    for a in range(moves):
        for c in range(blocks):
            total = 0.0
            for k in range(first[c], first[c + 1]):
                when = min(k + shift, N - 1.0)
                k0 = int(when)
                k1, part = min(k0 + 1, N - 1), when - k0
                total += (1.0 - part) * plan[k0, a] + part * plan[k1, a]
            v[c * moves + a] = total / (first[c + 1] - first[c]) / scale[a]
    return True


@jit
def start(J):
    """Roll the starts and take the best into NOW.

    `at` then says which course, lane, merit (infinite where no start has a finite course), cost, violation.
    """
    nc = geti(J, m.BLOCKS) * geti(J, m.MOVES)
    warm = _warm(J)
    first = 0 if warm else 1
    v, V, merit, acc = vec(J, m.NOW, nc), mat(J, m.V, W, nc), vec(J, m.MERIT, W), mat(J, m.ACC, 3, W)
    reals = vec(J, m.REALS, m.NUMBERS)
    if geti(J, m.DRAWS) == 1:
        for lane in range(W):
            _candidate(J, lane, lane if first <= lane and lane < STARTS else first, nc)
            set_lane(J, V[lane], lane)
        roll(J, 0)
        judge(J, 0, W)
        lane = 0
        for c in range(1, W):
            if merit[c] < merit[lane]:
                lane = c
        for j in range(nc):
            v[j] = V[lane, j]
        put_at(J, (0, lane, merit[lane], merit[lane] - acc[1, lane], acc[2, lane]))
        return
    which, least, cost, violation = 0, np.inf, np.inf, np.inf
    for kind in range(first, STARTS):
        if warm and kind > 1 and kind != 5:
            continue
        _candidate(J, 0, kind, nc)
        spread(J, V[0])
        roll(J, 1 - which)
        judge(J, 1 - which, 1)
        if merit[0] < least:
            which, least, cost, violation = 1 - which, merit[0], reals[m.COST], reals[m.VIOLATION]
            for j in range(nc):
                V[1, j] = V[0, j]
    for j in range(nc):
        v[j] = V[1, j]
    put_at(J, (which, 0, least, cost, violation))


@jit
def _search(J, which, least, slope):
    """Along the step D from NOW: the lowest merit that falls enough. Returns lane (−1: none), merit, cost, miss."""
    nc = geti(J, m.BLOCKS) * geti(J, m.MOVES)
    v, V, merit, acc = vec(J, m.NOW, nc), mat(J, m.V, W, nc), vec(J, m.MERIT, W), mat(J, m.ACC, 3, W)
    low, high, d = vec(J, m.LOW, nc), vec(J, m.HIGH, nc), vec(J, m.D, nc)
    single, reals = geti(J, m.DRAWS) == 1, vec(J, m.REALS, m.NUMBERS)
    length = 1.0
    for _ in range(2 if single else 14):
        lanes = W if single else 1
        for lane in range(lanes):
            for j in range(nc):
                V[lane, j] = min(max(v[j] + length * 0.5**lane * d[j], low[j]), high[j])
            if single:
                set_lane(J, V[lane], lane)
        if not single:
            spread(J, V[0])
        roll(J, 1 - which)
        judge(J, 1 - which, lanes)
        best = -1
        for lane in range(lanes):
            enough = merit[lane] <= least + ARMIJO * length * 0.5**lane * slope and merit[lane] < least
            if enough and (best < 0 or merit[lane] < merit[best]):
                best = lane
        if best >= 0:
            for j in range(nc):
                v[j] = V[best, j]
            if single:
                return best, merit[best], merit[best] - acc[1, best], acc[2, best]
            return best, merit[best], reals[m.COST], reals[m.VIOLATION]
        length *= 0.5**lanes
    return -1, least, 0.0, 0.0


@jit
def step(J):
    """The quadratic program's step into D; the expected decrease and the slope along it into REALS."""
    moves = geti(J, m.MOVES)
    nc = geti(J, m.BLOCKS) * moves
    ld = (nc + W - 1) // W * W
    H, g, d, v, y = mat(J, m.H, ld, ld), vec(J, m.G, nc), vec(J, m.D, nc), vec(J, m.NOW, nc), vec(J, m.QY, nc)
    low, high, lb, ub = vec(J, m.LOW, nc), vec(J, m.HIGH, nc), vec(J, m.LB, nc), vec(J, m.UB, nc)
    largest = 0.0
    for j in range(nc):
        largest = max(largest, H[j, j])
    reals = vec(J, m.REALS, m.NUMBERS)
    add = (1e-12 + reals[m.DAMPING]) * largest + 1e-300
    for j in range(nc):
        H[j, j] += add
        d[j] = 0.0
        lb[j], ub[j] = low[j] - v[j], high[j] - v[j]
    L, slopes, trial, index = mat(J, m.L, ld, ld), vec(J, m.SLOPE, nc), vec(J, m.TRIAL, nc), ivec(J, m.INDEX, 3 * nc)
    box(H, g, lb, ub, d, nc, L, y, slopes, trial, index)
    if geti(J, m.LIMITED) != 0:
        rates(H, g, lb, ub, d, nc, moves, v, vec(J, m.RATE, moves), L, y, slopes, trial, index)
    slope, curve = 0.0, 0.0
    for j in range(nc):
        H[j, j] -= add
        slope += g[j] * d[j]
        y[j] = 0.0
    for r in range(nc):
        if d[r] != 0.0:
            for c in range(nc):
                y[c] += H[r, c] * d[r]
    for j in range(nc):
        curve += y[j] * d[j]
    reals[m.EXPECTED], reals[m.DOWNHILL] = -(slope + 0.5 * curve), slope


@jit
def _residual(J):
    """Largest entry of the projected gradient. (Largest changes are not projected out: then it is an upper bound.)"""
    nc, worst = geti(J, m.BLOCKS) * geti(J, m.MOVES), 0.0
    v, g, low, high = vec(J, m.NOW, nc), vec(J, m.G, nc), vec(J, m.LOW, nc), vec(J, m.HIGH, nc)
    for j in range(nc):
        if not ((v[j] <= low[j] and g[j] > 0.0) or (v[j] >= high[j] and g[j] < 0.0)):
            worst = max(worst, abs(g[j])) if g[j] == g[j] else np.inf
    return worst


@jit
def descend(J, here, done, iterations, tolerance, deadline):
    """Lower the merit from NOW until solved, stalled, out of iterations or late.

    ``here`` is what `at` gives. Returns status, iterations in all, residual, the new ``here``.
    """
    which, lane, merit, cost, violation = here
    residual, reals = np.inf, vec(J, m.REALS, m.NUMBERS)
    while True:
        if done >= iterations:
            return ITERATIONS, done, residual, (which, lane, merit, cost, violation)
        if clock(J) > deadline:
            return LATE, done, residual, (which, lane, merit, cost, violation)
        call_kernel(geti(J, m.DO_LINEARISE), J, which, lane, 0, 0, 0)
        residual = _residual(J)
        if not np.isfinite(residual):
            return STALLED, done, residual, (which, lane, merit, cost, violation)
        reals[m.DAMPING] = 0.0
        call_kernel(geti(J, m.DO_STEP), J, 0, 0, 0, 0, 0)
        if reals[m.EXPECTED] <= tolerance * (1.0 + abs(merit)):
            return SOLVED, done, residual, (which, lane, merit, cost, violation)
        found, new_merit, new_cost, new_violation = -1, merit, cost, violation
        for _ in range(4):
            found, new_merit, new_cost, new_violation = _search(J, which, merit, reals[m.DOWNHILL])
            if found >= 0:
                break
            reals[m.DAMPING] = 1e-3 if reals[m.DAMPING] == 0.0 else reals[m.DAMPING] * 30.0
            call_kernel(geti(J, m.DO_STEP), J, 0, 0, 0, 0, 0)
        done += 1
        if found < 0:
            return STALLED, done, residual, (which, lane, merit, cost, violation)
        gained = merit - new_merit
        which, lane, merit, cost, violation = 1 - which, found, new_merit, new_cost, new_violation
        # Gauss-Newton's steps gain some ten times less each: what is left is below the tolerance
        if (
            gained <= LEFT * tolerance * (1.0 + abs(merit))
            and reals[m.DAMPING] == 0.0
            and reals[m.EXPECTED] < 2.0 * gained
        ):
            return SOLVED, done, residual, (which, lane, merit, cost, violation)
