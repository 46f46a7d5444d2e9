"""Courses over the horizon and what they cost: compiled, on addresses and arrays.

A course is rolled out stage by stage. With one draw the 8 lanes carry 8 candidates of the moves; with more they carry
draws. Moves are scaled, and stand block by block: (blocks · moves,).
"""
# Compiled functions carry no annotations: Numba infers the types. f, b, w are Fixed, Batch, Work; i is the patient.

from __future__ import annotations

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES

__all__ = ["beyond", "costs", "goal_terms", "keep", "load", "moves_cost", "roll", "set_lane", "spread"]

W = LANES
ROW = 8 * LANES  # bytes


@jit
def load(f, b, w, i):
    """Bring patient i into working memory: states, parameters, propagators, known inputs, scaled bounds."""
    for block in range(f.DB):
        for lane in range(W):
            d = min(block * W + lane, f.D - 1)
            for j in range(f.n):
                w.Z[0, block, 0, j, lane] = b.states[i, d, j]
                w.Z[1, block, 0, j, lane] = b.states[i, d, j]
            for j in range(f.m):
                w.p[block, j, lane] = b.parameters[i, d, j]
    for lane in range(W):
        w.s[1, lane] = f.h
    if f.propagator != 0:
        for lane in range(W):
            w.s[0, lane] = f.h
        for block in range(f.DB):
            p = w.p.ctypes.data + block * f.m * ROW
            call_kernel(f.propagator, w.s.ctypes.data, 0, p, 0, 0, w.k.ctypes.data + block * f.rows_k * ROW)
    held = b.held[min(i, b.held.shape[0] - 1)]
    for k in range(f.N):
        for j in range(f.nu):
            a = held[k, j]
            for lane in range(W):
                w.U[k, j, lane] = a
    lows, highs = b.low[min(i, b.low.shape[0] - 1)], b.high[min(i, b.high.shape[0] - 1)]
    reference, scale = b.reference[min(i, b.reference.shape[0] - 1)], b.scale[min(i, b.scale.shape[0] - 1)]
    good = True
    for m in range(f.nd):
        s = scale[m]
        w.scale[m], w.ref[m], w.last[m], w.rate[m] = s, reference[m] / s, b.last[i, m] / s, f.moves[m, 2] / s
        good = good and s > 0.0 and np.isfinite(w.ref[m]) and np.isfinite(w.last[m])
        for c in range(f.nb):
            least, most = -np.inf, np.inf
            for k in range(f.first_of[c], f.first_of[c + 1]):
                good = good and np.isfinite(lows[k, m]) and np.isfinite(highs[k, m])
                least, most = max(least, lows[k, m]), min(most, highs[k, m])
            least = min(least, most)  # an upper bound is never given up for a lower one
            if c == 0:
                change = f.moves[m, 2]
                inner, outer = max(least, b.last[i, m] - change), min(most, b.last[i, m] + change)
                if inner <= outer:
                    least, most = inner, outer
                else:  # what is given now lies outside the bounds by more than one change: the bounds win
                    least = most = most if b.last[i, m] > most else least
            w.low[c * f.nd + m], w.high[c * f.nd + m] = least / s, most / s
    return good


@jit
def keep(f, w, v):
    """Clip moves (nc,) to bounds and, from block to block, to the largest changes (in conflict: to bounds)."""
    for i in range(f.nb * f.nd):
        a = v[i]
        if f.limited and i >= f.nd:
            r = w.rate[i % f.nd]
            a = min(max(a, v[i - f.nd] - r), v[i - f.nd] + r)
        v[i] = min(max(a, w.low[i]), w.high[i])


@jit
def set_lane(f, w, v, lane):
    """Put moves (nc,) into one lane of the inputs."""
    for k in range(f.N):
        c = f.block_of[k] * f.nd
        for m in range(f.nd):
            w.U[k, f.columns[m], lane] = v[c + m] * w.scale[m]


@jit
def spread(f, w, v):
    """Put moves (nc,) into every lane of the inputs."""
    for k in range(f.N):
        c = f.block_of[k] * f.nd
        for m in range(f.nd):
            a = v[c + m] * w.scale[m]
            for lane in range(W):
                w.U[k, f.columns[m], lane] = a


@jit
def roll(f, w, which, time):
    """Courses of all lanes and blocks of draws under the inputs U, into Z[which]."""
    rows = (f.n + f.ny) * ROW
    s, u = w.s.ctypes.data, w.U.ctypes.data
    base = w.Z.ctypes.data + which * f.DB * (f.N + 1) * rows
    for block in range(f.DB):
        z = base + block * (f.N + 1) * rows
        p, k = w.p.ctypes.data + block * f.m * ROW, w.k.ctypes.data + block * f.rows_k * ROW
        for stage in range(f.N):
            for lane in range(W):
                w.s[0, lane] = time + stage * f.interval
            call_kernel(f.map, s, z + stage * rows, p, u + stage * f.nu * ROW, k, z + (stage + 1) * rows)


@jit
def goal_terms(f, g, y, target, last):
    """Cost, slope and curvature of one goal at an output."""
    q, low, a, high, b = f.goals[g, 0], f.goals[g, 1], f.goals[g, 2], f.goals[g, 3], f.goals[g, 4]
    e = y - target
    value, slope, curve = q * e * e, 2.0 * q * e, 2.0 * q
    if y < low:
        e = y - low
        value, slope, curve = value + a * e * e, slope + 2.0 * a * e, curve + 2.0 * a
    if y > high:
        e = y - high
        value, slope, curve = value + b * e * e, slope + 2.0 * b * e, curve + 2.0 * b
    if last:
        t = f.goals[g, 5]
        value, slope, curve = value * t, slope * t, curve * t
    return value, slope, curve


@jit
def beyond(f, w, item, d, k, y):
    """How far the shifted output of an item lies outside its limits, with sign (the Lagrangian's argument)."""
    t = y + w.duals[d, k, item] / w.rho[item]
    return t - min(max(t, f.items[item, 0]), f.items[item, 1])


@jit
def course_cost(f, b, w, i, which, block):
    """Cost, penalty (augmented Lagrangian) and largest violation of each lane of a block, into w.acc."""
    offset, target = b.offset[min(i, b.offset.shape[0] - 1)], b.target[min(i, b.target.shape[0] - 1)]
    for lane in range(W):
        w.acc[0, lane] = w.acc[1, lane] = w.acc[2, lane] = 0.0
    single = f.D == 1
    for k in range(f.N):
        for g in range(f.goal_row.shape[0]):
            r = f.goal_row[g]
            for lane in range(W):
                d = 0 if single else min(block * W + lane, f.D - 1)
                y = w.Z[which, block, k + 1, f.n + r, lane] + offset[d, r]
                w.acc[0, lane] += goal_terms(f, g, y, target[k, g], k == f.N - 1)[0]
        for item in range(f.item_row.shape[0]):
            if k >= f.window[item, 0] and k < f.window[item, 1]:
                r = f.item_row[item]
                for lane in range(W):
                    d = 0 if single else min(block * W + lane, f.D - 1)
                    if w.on[item, d]:
                        y = w.Z[which, block, k + 1, f.n + r, lane] + offset[d, r]
                        over, dual = beyond(f, w, item, d, k, y), w.duals[d, k, item]
                        w.acc[1, lane] += 0.5 * (w.rho[item] * over * over - dual * dual / w.rho[item])
                        miss = max(f.items[item, 0] - y, y - f.items[item, 1])
                        w.acc[2, lane] = max(w.acc[2, lane], miss)


@jit
def moves_cost(f, w, v):
    """What moves (nc,) cost by themselves."""
    total = 0.0
    for m in range(f.nd):
        before = w.last[m]
        for c in range(f.nb):
            a = v[c * f.nd + m]
            count = f.first_of[c + 1] - f.first_of[c]
            total += f.moves[m, 0] * count * (a - w.ref[m]) ** 2 + f.moves[m, 1] * (a - before) ** 2
            before = a
    return total


@jit
def costs(f, b, w, i, which, candidates):
    """Merit of a rolled course, into w.merit: by candidate lane where there is one draw, else in the first entry.

    Returns cost and largest violation of the first. A course that is not finite has an infinite merit.
    """
    if f.D == 1:
        course_cost(f, b, w, i, which, 0)
        for lane in range(candidates):
            total = w.acc[0, lane] + w.acc[1, lane] + moves_cost(f, w, w.V[lane])
            w.merit[lane] = total if np.isfinite(total) else np.inf
        return w.merit[0] - w.acc[1, 0], w.acc[2, 0]
    weights = b.weights[min(i, b.weights.shape[0] - 1)]
    cost, penalty, violation = moves_cost(f, w, w.V[0]), 0.0, 0.0
    for block in range(f.DB):
        course_cost(f, b, w, i, which, block)
        for lane in range(min(W, f.D - block * W)):
            cost += weights[block * W + lane] * w.acc[0, lane]
            penalty += w.acc[1, lane]
            violation = max(violation, w.acc[2, lane])
    total = cost + penalty
    w.merit[0] = total if np.isfinite(total) else np.inf
    return cost, violation
