"""Courses over the horizon and what they cost: compiled, on the table of `controller.memory`.

A course is rolled out stage by stage. With one draw the 8 lanes carry 8 candidates of the moves; with more they carry
draws. Moves are scaled, and stand block by block: (blocks · moves,).
"""
# Compiled functions carry no annotations: Numba infers the types. J is the table's address.

from __future__ import annotations

import numpy as np

from ..pkpd.calls import call_kernel, geti, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import memory as m
from .memory import BATCH, FIRST_BATCH, STEP, THIS, cube, imat, ivec, mat, vec

__all__ = ["beyond", "costs", "goal_terms", "keep", "load", "moves_cost", "output", "roll", "set_lane", "spread"]

W = LANES
ROW = 8 * LANES  # bytes
FIELDS = len(BATCH)


@jit
def load(J, i):
    """Bring patient i into working memory: states, parameters, propagators, known inputs, scaled bounds.

    ANSWER says whether bounds, scales, references and what is given now are numbers.
    """
    for q in range(FIELDS):
        puti(J, THIS + q, geti(J, FIRST_BATCH + q) + 8 * i * geti(J, STEP + q))
    n, rows, parameters = geti(J, m.STATES), geti(J, m.STATES) + geti(J, m.WATCHED), geti(J, m.PARAMETERS)
    N, D, blocks = geti(J, m.STAGES), geti(J, m.DRAWS), geti(J, m.LANE_BLOCKS)
    states, individual = mat(J, m.B_STATES, D, n), mat(J, m.B_PARAMETERS, D, parameters)
    p, s, h = cube(J, m.P, blocks, parameters, W), mat(J, m.S, 2, W), vec(J, m.REALS, m.NUMBERS)[m.SUBSTEP]
    z = cube(J, m.Z, 2 * blocks * (N + 1), rows, W)
    for block in range(blocks):
        for lane in range(W):
            d = min(block * W + lane, D - 1)
            for j in range(n):
                z[block * (N + 1), j, lane] = states[d, j]
                z[(blocks + block) * (N + 1), j, lane] = states[d, j]
            for j in range(parameters):
                p[block, j, lane] = individual[d, j]
    for lane in range(W):
        s[0, lane] = s[1, lane] = h
    if geti(J, m.PROPAGATOR) != 0:
        for block in range(blocks):
            at, to = geti(J, m.P) + block * parameters * ROW, geti(J, m.K) + block * geti(J, m.ROWS_K) * ROW
            call_kernel(geti(J, m.PROPAGATOR), geti(J, m.S), 0, at, 0, 0, to)
    inputs = geti(J, m.INPUTS)
    U, held = cube(J, m.U, N, inputs, W), mat(J, m.B_HELD, N, inputs)
    for k in range(N):
        for j in range(inputs):
            for lane in range(W):
                U[k, j, lane] = held[k, j]
    puti(J, m.ANSWER, 1 if _bounds(J, N, geti(J, m.MOVES), geti(J, m.BLOCKS)) else 0)


@jit
def _bounds(J, N, moves, blocks):
    """Scaled bounds of each block, references, last moves and largest changes. Returns whether all are numbers."""
    lows, highs, move = mat(J, m.B_LOW, N, moves), mat(J, m.B_HIGH, N, moves), mat(J, m.MOVE, moves, 3)
    reference, scales, given = vec(J, m.B_REFERENCE, moves), vec(J, m.B_SCALE, moves), vec(J, m.B_LAST, moves)
    low, high = vec(J, m.LOW, blocks * moves), vec(J, m.HIGH, blocks * moves)
    scale, ref, last, rate = (
        vec(J, m.SCALE, moves),
        vec(J, m.REF, moves),
        vec(J, m.LAST, moves),
        vec(J, m.RATE, moves),
    )
    first = ivec(J, m.FIRST_OF, blocks + 1)
    good = True
    for a in range(moves):
        s, change = scales[a], move[a, 2]
        scale[a], ref[a], last[a], rate[a] = s, reference[a] / s, given[a] / s, change / s
        good = good and s > 0.0 and np.isfinite(ref[a]) and np.isfinite(last[a])
        for c in range(blocks):
            least, most = -np.inf, np.inf
            for k in range(first[c], first[c + 1]):
                good = good and np.isfinite(lows[k, a]) and np.isfinite(highs[k, a])
                least, most = max(least, lows[k, a]), min(most, highs[k, a])
            least = min(least, most)  # an upper bound is never given up for a lower one
            if c == 0:
                inner, outer = max(least, given[a] - change), min(most, given[a] + change)
                if inner <= outer:
                    least, most = inner, outer
                elif given[a] > most:  # what is given lies beyond the bounds by more than one change: the bounds win
                    least = most
                else:
                    most = least
            low[c * moves + a], high[c * moves + a] = least / s, most / s
    return good


@jit
def keep(J, v):
    """Clip moves (nc,) to bounds and, from block to block, to the largest changes (in conflict: to bounds)."""
    moves = geti(J, m.MOVES)
    nc, limited = geti(J, m.BLOCKS) * moves, geti(J, m.LIMITED) != 0
    low, high, rate = vec(J, m.LOW, nc), vec(J, m.HIGH, nc), vec(J, m.RATE, moves)
    for i in range(nc):
        a = v[i]
        if limited and i >= moves:
            a = min(max(a, v[i - moves] - rate[i % moves]), v[i - moves] + rate[i % moves])
        v[i] = min(max(a, low[i]), high[i])


@jit
def set_lane(J, v, lane):
    """Put moves (nc,) into one lane of the inputs."""
    N, moves = geti(J, m.STAGES), geti(J, m.MOVES)
    U, scale = cube(J, m.U, N, geti(J, m.INPUTS), W), vec(J, m.SCALE, moves)
    columns, block_of = ivec(J, m.COLUMNS, moves), ivec(J, m.BLOCK_OF, N)
    for k in range(N):
        for a in range(moves):
            U[k, columns[a], lane] = v[block_of[k] * moves + a] * scale[a]


@jit
def spread(J, v):
    """Put moves (nc,) into every lane of the inputs."""
    N, moves = geti(J, m.STAGES), geti(J, m.MOVES)
    U, scale = cube(J, m.U, N, geti(J, m.INPUTS), W), vec(J, m.SCALE, moves)
    columns, block_of = ivec(J, m.COLUMNS, moves), ivec(J, m.BLOCK_OF, N)
    for k in range(N):
        for a in range(moves):
            value = v[block_of[k] * moves + a] * scale[a]
            for lane in range(W):
                U[k, columns[a], lane] = value


@jit
def roll(J, which):
    """Courses of all lanes and blocks of draws under the inputs U, into the first (0) or second (1) half of Z."""
    N, blocks = geti(J, m.STAGES), geti(J, m.LANE_BLOCKS)
    rows, kernel = (geti(J, m.STATES) + geti(J, m.WATCHED)) * ROW, geti(J, m.MAP)
    at, u, width = geti(J, m.S), geti(J, m.U), geti(J, m.INPUTS) * ROW
    s, reals = mat(J, m.S, 2, W), vec(J, m.REALS, m.NUMBERS)
    for block in range(blocks):
        z = geti(J, m.Z) + (which * blocks + block) * (N + 1) * rows
        p = geti(J, m.P) + block * geti(J, m.PARAMETERS) * ROW
        k = geti(J, m.K) + block * geti(J, m.ROWS_K) * ROW
        for stage in range(N):
            for lane in range(W):
                s[0, lane] = reals[m.TIME] + stage * reals[m.INTERVAL]
            call_kernel(kernel, at, z + stage * rows, p, u + stage * width, k, z + (stage + 1) * rows)


@jit
def goal_terms(goal, y, target, last):
    """Cost, slope and curvature of one goal (a row of the table) at an output."""
    q = goal[0]
    e = y - target
    value, slope, curve = q * e * e, 2.0 * q * e, 2.0 * q
    if y < goal[1]:
        e = y - goal[1]
        value, slope, curve = value + goal[2] * e * e, slope + 2.0 * goal[2] * e, curve + 2.0 * goal[2]
    if y > goal[3]:
        e = y - goal[3]
        value, slope, curve = value + goal[4] * e * e, slope + 2.0 * goal[4] * e, curve + 2.0 * goal[4]
    if last:
        t = goal[5]
        value, slope, curve = value * t, slope * t, curve * t
    return value, slope, curve


@jit
def output(J, z, offset, which, d, lane, k, r):
    """Watched output r of draw d at the end of stage k; ``lane`` is the candidate, where there is one draw."""
    n, N, blocks = geti(J, m.STATES), geti(J, m.STAGES), geti(J, m.LANE_BLOCKS)
    block, place = (0, lane) if geti(J, m.DRAWS) == 1 else (d // W, d % W)
    return z[(which * blocks + block) * (N + 1) + k + 1, n + r, place] + offset[d, r]


@jit
def beyond(item, y, dual, rho):
    """How far an item's shifted output lies outside its limits, with sign (the augmented Lagrangian's argument)."""
    t = y + dual / rho
    return t - min(max(t, item[0]), item[1])


@jit
def _course(J, which, block):
    """Cost, penalty (augmented Lagrangian) and largest violation of each lane of a block, into ACC."""
    n, ny, N, D = geti(J, m.STATES), geti(J, m.WATCHED), geti(J, m.STAGES), geti(J, m.DRAWS)
    goals, items, blocks = geti(J, m.GOALS), geti(J, m.ITEMS), geti(J, m.LANE_BLOCKS)
    offset, target, acc = mat(J, m.B_OFFSET, D, ny), mat(J, m.B_TARGET, N, goals), mat(J, m.ACC, 3, W)
    z = cube(J, m.Z, 2 * blocks * (N + 1), n + ny, W)
    goal, goal_row = mat(J, m.GOAL, goals, 6), ivec(J, m.GOAL_ROW, goals)
    first = (which * blocks + block) * (N + 1) + 1
    for lane in range(W):
        acc[0, lane] = acc[1, lane] = acc[2, lane] = 0.0
    for g in range(goals):
        r, terms = goal_row[g], goal[g]
        for k in range(N):
            for lane in range(W):
                d = 0 if D == 1 else min(block * W + lane, D - 1)
                y = z[first + k, n + r, lane] + offset[d, r]
                acc[0, lane] += goal_terms(terms, y, target[k, g], k == N - 1)[0]
    if items == 0:
        return
    item, item_row, window = mat(J, m.ITEM, items, 4), ivec(J, m.ITEM_ROW, items), imat(J, m.WINDOW, items, 2)
    duals, rho, on = cube(J, m.DUALS, D, N, items), vec(J, m.RHO, items), imat(J, m.ON, items, D)
    for q in range(items):
        r = item_row[q]
        for k in range(window[q, 0], window[q, 1]):
            for lane in range(W):
                d = 0 if D == 1 else min(block * W + lane, D - 1)
                if on[q, d] != 0:
                    y, dual = z[first + k, n + r, lane] + offset[d, r], duals[d, k, q]
                    over = beyond(item[q], y, dual, rho[q])
                    acc[1, lane] += 0.5 * (rho[q] * over * over - dual * dual / rho[q])
                    acc[2, lane] = max(acc[2, lane], item[q, 0] - y, y - item[q, 1])


@jit
def moves_cost(J, v):
    """What moves (nc,) cost by themselves."""
    moves, blocks = geti(J, m.MOVES), geti(J, m.BLOCKS)
    move, first = mat(J, m.MOVE, moves, 3), ivec(J, m.FIRST_OF, blocks + 1)
    ref, last = vec(J, m.REF, moves), vec(J, m.LAST, moves)
    total = 0.0
    for a in range(moves):
        before = last[a]
        for c in range(blocks):
            x = v[c * moves + a]
            total += move[a, 0] * (first[c + 1] - first[c]) * (x - ref[a]) ** 2 + move[a, 1] * (x - before) ** 2
            before = x
    return total


@jit
def costs(J, which, candidates):
    """Merit of a rolled course of the moves V, into MERIT: lane by lane where there is one draw, else in the first.

    Cost and largest violation of the first go into REALS. A course that is not finite has an infinite merit.
    """
    D, nc = geti(J, m.DRAWS), geti(J, m.BLOCKS) * geti(J, m.MOVES)
    acc, merit, V = mat(J, m.ACC, 3, W), vec(J, m.MERIT, W), mat(J, m.V, W, nc)
    reals = vec(J, m.REALS, m.NUMBERS)
    weights = vec(J, m.B_WEIGHTS, D)
    cost, penalty, violation = moves_cost(J, V[0]), 0.0, 0.0
    for block in range(geti(J, m.LANE_BLOCKS)):
        _course(J, which, block)
        if D == 1:
            for lane in range(candidates):
                total = acc[0, lane] + acc[1, lane] + moves_cost(J, V[lane])
                merit[lane] = total if np.isfinite(total) else np.inf
            reals[m.COST], reals[m.VIOLATION] = merit[0] - acc[1, 0], acc[2, 0]
            return
        for lane in range(min(W, D - block * W)):
            cost += weights[block * W + lane] * acc[0, lane]
            penalty += acc[1, lane]
            violation = max(violation, acc[2, lane])
    total = cost + penalty
    merit[0] = total if np.isfinite(total) else np.inf
    reals[m.COST], reals[m.VIOLATION] = cost, violation
