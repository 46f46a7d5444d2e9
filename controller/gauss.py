"""The Gauss-Newton model of the merit at a known course: Jacobians, sensitivities, Hessian and gradient; compiled.

The Jacobians of 8 stages are evaluated at once in the lanes, and sensitivities carry 8 decisions at once.
"""
# Compiled functions carry no annotations: Numba infers the types. J is the table's address.

from __future__ import annotations

from ..pkpd.calls import call_kernel, geti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import memory as m
from .horizon import beyond, goal_terms, output, spread
from .memory import cube, imat, ivec, mat, vec

__all__ = ["draw_rows", "jacobians", "linearise", "sensitivities"]

W = LANES
ROW = 8 * LANES  # bytes


@jit
def jacobians(J, which, d, lane):
    """Jacobians along the current course of draw d (``lane``: the candidate, where there is one), 8 stages at once."""
    n, rows, parameters = geti(J, m.STATES), geti(J, m.STATES) + geti(J, m.WATCHED), geti(J, m.PARAMETERS)
    N, blocks, inputs, rows_k = geti(J, m.STAGES), geti(J, m.LANE_BLOCKS), geti(J, m.INPUTS), geti(J, m.ROWS_K)
    block, place = (0, lane) if geti(J, m.DRAWS) == 1 else (d // W, d % W)
    p, k = cube(J, m.P, blocks, parameters, W), cube(J, m.K, blocks, rows_k, W)
    p1, k1, s = mat(J, m.P1, parameters, W), mat(J, m.K1, rows_k, W), mat(J, m.S, 2, W)
    x1, u1, U = mat(J, m.X1, n, W), mat(J, m.U1, inputs, W), cube(J, m.U, N, inputs, W)
    z = cube(J, m.Z, 2 * blocks * (N + 1), rows, W)
    reals = vec(J, m.REALS, m.NUMBERS)
    for j in range(parameters):
        for t in range(W):
            p1[j, t] = p[block, j, place]
    for j in range(rows_k):
        for t in range(W):
            k1[j, t] = k[block, j, place]
    first = (which * blocks + block) * (N + 1)
    kernel, size = geti(J, m.JACOBIAN), geti(J, m.ENTRIES) * ROW
    for group in range((N + W - 1) // W):
        for t in range(W):
            stage = min(group * W + t, N - 1)
            s[0, t] = reals[m.TIME] + stage * reals[m.INTERVAL]
            for j in range(n):
                x1[j, t] = z[first + stage, j, place]
            for j in range(inputs):
                u1[j, t] = U[stage, j, 0]
        to = geti(J, m.JAC) + group * size
        call_kernel(kernel, geti(J, m.S), geti(J, m.X1), geti(J, m.P1), geti(J, m.U1), geti(J, m.K1), to)


@jit
def sensitivities(J):
    """Sensitivities of the watched outputs at each stage by each decision, into Y (rows: stage, output)."""
    N, moves, ny, relevant = geti(J, m.STAGES), geti(J, m.MOVES), geti(J, m.WATCHED), geti(J, m.RELEVANT)
    height, columns = relevant + max(moves, ny), (geti(J, m.BLOCKS) * moves + W - 1) // W
    sens, Y = cube(J, m.SENS, 2 * columns, height, W), mat(J, m.Y, N * ny, columns * W)
    block_of, scale = ivec(J, m.BLOCK_OF, N), vec(J, m.SCALE, moves)
    base, entries, kernel = geti(J, m.SENS), geti(J, m.ENTRIES) * ROW, geti(J, m.CARRY)
    here, known = 0, 0  # groups of columns that have begun
    for k in range(N):
        first = block_of[k] * moves
        groups = (first + moves - 1) // W + 1
        for c in range(known, groups):  # those that begin now start from zero
            for j in range(relevant):
                for lane in range(W):
                    sens[here * columns + c, j, lane] = 0.0
        known = groups
        jacobian = geti(J, m.JAC) + (k // W) * entries + (k % W) * 8
        for c in range(groups):
            for a in range(moves):
                for lane in range(W):
                    sens[here * columns + c, relevant + a, lane] = 0.0
                lane = first + a - c * W
                if lane >= 0 and lane < W:
                    sens[here * columns + c, relevant + a, lane] = scale[a]
            source, to = base + (here * columns + c) * height * ROW, base + ((1 - here) * columns + c) * height * ROW
            call_kernel(kernel, 0, source, 0, 0, jacobian, to)
            for r in range(ny):
                for lane in range(W):
                    Y[k * ny + r, c * W + lane] = sens[(1 - here) * columns + c, relevant + r, lane]
        here = 1 - here


@jit
def _add_rows(H, g, Y, rows, used, count):
    """H += Σ curvature y y' (lower triangle), g += Σ slope y, over the rows of one draw, four at a time."""
    r = 0
    while r + 4 <= count:
        a0, a1, a2, a3 = rows[r, 1], rows[r + 1, 1], rows[r + 2, 1], rows[r + 3, 1]
        s0, s1, s2, s3 = rows[r, 0], rows[r + 1, 0], rows[r + 2, 0], rows[r + 3, 0]
        for i in range(used[r + 3]):
            y0, y1, y2, y3 = Y[r, i], Y[r + 1, i], Y[r + 2, i], Y[r + 3, i]
            g[i] += s0 * y0 + s1 * y1 + s2 * y2 + s3 * y3
            y0, y1, y2, y3 = a0 * y0, a1 * y1, a2 * y2, a3 * y3
            for j in range(i + 1):
                H[i, j] += y0 * Y[r, j] + y1 * Y[r + 1, j] + y2 * Y[r + 2, j] + y3 * Y[r + 3, j]
        r += 4
    for q in range(r, count):
        for i in range(used[q]):
            a = rows[q, 1] * Y[q, i]
            g[i] += rows[q, 0] * Y[q, i]
            for j in range(i + 1):
                H[i, j] += a * Y[q, j]


@jit
def draw_rows(J, which, d, lane):
    """Slope and curvature of the merit by each watched output of draw d at each stage, into ROWS."""
    n, ny, N, D = geti(J, m.STATES), geti(J, m.WATCHED), geti(J, m.STAGES), geti(J, m.DRAWS)
    goals, items, blocks = geti(J, m.GOALS), geti(J, m.ITEMS), geti(J, m.LANE_BLOCKS)
    offset, target, weight = mat(J, m.B_OFFSET, D, ny), mat(J, m.B_TARGET, N, goals), vec(J, m.B_WEIGHTS, D)[d]
    z, rows = cube(J, m.Z, 2 * blocks * (N + 1), n + ny, W), mat(J, m.ROWS, N * ny, 2)
    goal, goal_row = mat(J, m.GOAL, goals, 6), ivec(J, m.GOAL_ROW, goals)
    for r in range(N * ny):
        rows[r, 0] = rows[r, 1] = 0.0
    for g in range(goals):
        r, terms = goal_row[g], goal[g]
        for k in range(N):
            y = output(J, z, offset, which, d, lane, k, r)
            _, slope, curve = goal_terms(terms, y, target[k, g], k == N - 1)
            rows[k * ny + r, 0] += weight * slope
            rows[k * ny + r, 1] += weight * curve
    if items == 0:
        return
    item, item_row, window = mat(J, m.ITEM, items, 4), ivec(J, m.ITEM_ROW, items), imat(J, m.WINDOW, items, 2)
    duals, rho, on = cube(J, m.DUALS, D, N, items), vec(J, m.RHO, items), imat(J, m.ON, items, D)
    for q in range(items):
        if on[q, d] != 0:
            r = item_row[q]
            for k in range(window[q, 0], window[q, 1]):
                over = beyond(item[q], output(J, z, offset, which, d, lane, k, r), duals[d, k, q], rho[q])
                rows[k * ny + r, 0] += rho[q] * over
                if over != 0.0:
                    rows[k * ny + r, 1] += rho[q]


@jit
def linearise(J, which, lane):
    """Gauss-Newton model of the merit at the current course (in ``lane``, where there is one draw), into H and G."""
    N, ny, moves, blocks = geti(J, m.STAGES), geti(J, m.WATCHED), geti(J, m.MOVES), geti(J, m.BLOCKS)
    nc = blocks * moves
    ld = (nc + W - 1) // W * W
    H, g, v, Y = mat(J, m.H, ld, ld), vec(J, m.G, nc), vec(J, m.NOW, nc), mat(J, m.Y, N * ny, ld)
    rows, used = mat(J, m.ROWS, N * ny, 2), ivec(J, m.USED, N * ny)
    spread(J, v)
    for r in range(nc):
        g[r] = 0.0
        for c in range(r + 1):
            H[r, c] = 0.0
    for d in range(geti(J, m.DRAWS)):
        call_kernel(geti(J, m.DO_JACOBIANS), J, which, d, lane, 0, 0)
        call_kernel(geti(J, m.DO_SENSITIVITIES), J, 0, 0, 0, 0, 0)
        call_kernel(geti(J, m.DO_DRAW_ROWS), J, which, d, lane, 0, 0)
        _add_rows(H, g, Y, rows, used, N * ny)
    move, first = mat(J, m.MOVE, moves, 3), ivec(J, m.FIRST_OF, blocks + 1)
    ref, last = vec(J, m.REF, moves), vec(J, m.LAST, moves)
    for a in range(moves):
        before = last[a]
        for c in range(blocks):
            r = c * moves + a
            weight, change = 2.0 * move[a, 0] * (first[c + 1] - first[c]), 2.0 * move[a, 1]
            g[r] += weight * (v[r] - ref[a]) + change * (v[r] - before)
            H[r, r] += weight + change
            if c > 0:
                g[r - moves] -= change * (v[r] - before)
                H[r - moves, r - moves] += change
                H[r, r - moves] -= change
            before = v[r]
    for r in range(nc):
        for c in range(r):
            H[c, r] = H[r, c]
