"""The Gauss-Newton model of the merit at a known course: Jacobians, sensitivities, Hessian and gradient; compiled.

The Jacobians of 8 stages are evaluated at once in the lanes, and sensitivities carry 8 decisions at once.
"""
# Compiled functions carry no annotations: Numba infers the types. f, b, w are Fixed, Batch, Work; i is the patient.

from __future__ import annotations

from ..pkpd.calls import call_kernel
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from .horizon import beyond, goal_terms, spread

__all__ = ["linearise"]

W = LANES
ROW = 8 * LANES  # bytes


@jit
def _jacobians(f, w, which, d, lane, time):
    """Jacobians along the current course of draw d (which stands in this lane of its block), eight stages at once."""
    block = d // W if f.D > 1 else 0
    for j in range(f.m):
        a = w.p[block, j, lane if f.D > 1 else 0]
        for t in range(W):
            w.p1[j, t] = a
    for j in range(f.rows_k):
        a = w.k[block, j, lane if f.D > 1 else 0]
        for t in range(W):
            w.k1[j, t] = a
    s, x, p, u, k = (
        w.s.ctypes.data,
        w.x1.ctypes.data,
        w.p1.ctypes.data,
        w.u1.ctypes.data,
        w.k1.ctypes.data,
    )
    out = w.K.ctypes.data
    for group in range((f.N + W - 1) // W):
        for t in range(W):
            stage = min(group * W + t, f.N - 1)
            w.s[0, t] = time + stage * f.interval
            for j in range(f.n):
                w.x1[j, t] = w.Z[which, block, stage, j, lane]
            for j in range(f.nu):
                w.u1[j, t] = w.U[stage, j, 0]
        call_kernel(f.jacobian, s, x, p, u, k, out + group * f.entries * ROW)


@jit
def _sensitivities(f, w):
    """Sensitivities of the watched outputs at each stage by each decision, into w.Y (rows: stage, output)."""
    height = w.S.shape[2] * ROW
    columns = w.S.shape[1]
    base = w.S.ctypes.data
    for c in range(columns):
        for j in range(f.nr):
            for lane in range(W):
                w.S[0, c, j, lane] = 0.0
    here = 0
    for k in range(f.N):
        first = f.block_of[k] * f.nd
        entries = w.K.ctypes.data + (k // W) * f.entries * ROW + (k % W) * 8
        for c in range((first + f.nd - 1) // W + 1):
            for m in range(f.nd):
                for lane in range(W):
                    w.S[here, c, f.nr + m, lane] = 0.0
                lane = first + m - c * W
                if 0 <= lane < W:
                    w.S[here, c, f.nr + m, lane] = w.scale[m]
            source = base + (here * columns + c) * height
            call_kernel(f.carry, 0, source, 0, 0, entries, base + ((1 - here) * columns + c) * height)
            for r in range(f.ny):
                for lane in range(W):
                    w.Y[k * f.ny + r, c * W + lane] = w.S[1 - here, c, f.nr + r, lane]
        # a group of columns that begins later starts from zero in the other buffer too
        here = 1 - here
        following = f.block_of[min(k + 1, f.N - 1)] * f.nd
        for c in range((first + f.nd - 1) // W + 1, (following + f.nd - 1) // W + 1):
            for j in range(f.nr):
                for lane in range(W):
                    w.S[here, c, j, lane] = 0.0


@jit
def _add_rows(H, g, Y, rows, used, count):
    """H += Σ curvature y y' (lower triangle), g += Σ slope y, over the rows of one draw, four at a time."""
    r = 0
    while r < count:
        size = min(4, count - r)
        width = used[r + size - 1]
        if size == 4:
            a0, a1, a2, a3 = rows[r, 1], rows[r + 1, 1], rows[r + 2, 1], rows[r + 3, 1]
            s0, s1, s2, s3 = rows[r, 0], rows[r + 1, 0], rows[r + 2, 0], rows[r + 3, 0]
            for i in range(width):
                y0, y1, y2, y3 = Y[r, i], Y[r + 1, i], Y[r + 2, i], Y[r + 3, i]
                g[i] += s0 * y0 + s1 * y1 + s2 * y2 + s3 * y3
                y0, y1, y2, y3 = a0 * y0, a1 * y1, a2 * y2, a3 * y3
                for j in range(i + 1):
                    H[i, j] += y0 * Y[r, j] + y1 * Y[r + 1, j] + y2 * Y[r + 2, j] + y3 * Y[r + 3, j]
        else:
            for q in range(r, r + size):
                for i in range(width):
                    a = rows[q, 1] * Y[q, i]
                    g[i] += rows[q, 0] * Y[q, i]
                    for j in range(i + 1):
                        H[i, j] += a * Y[q, j]
        r += size


@jit
def _draw_rows(f, b, w, i, which, d, lane):
    """Slope and curvature of the objective by each watched output of draw d at each stage, into w.rows."""
    offset, target = b.offset[min(i, b.offset.shape[0] - 1)], b.target[min(i, b.target.shape[0] - 1)]
    weight = b.weights[min(i, b.weights.shape[0] - 1), d]
    block = d // W if f.D > 1 else 0
    for k in range(f.N):
        for r in range(f.ny):
            w.rows[k * f.ny + r, 0] = w.rows[k * f.ny + r, 1] = 0.0
        for g in range(f.goal_row.shape[0]):
            r = f.goal_row[g]
            y = w.Z[which, block, k + 1, f.n + r, lane] + offset[d, r]
            _, slope, curve = goal_terms(f, g, y, target[k, g], k == f.N - 1)
            w.rows[k * f.ny + r, 0] += weight * slope
            w.rows[k * f.ny + r, 1] += weight * curve
        for item in range(f.item_row.shape[0]):
            if w.on[item, d] and k >= f.window[item, 0] and k < f.window[item, 1]:
                r = f.item_row[item]
                over = beyond(f, w, item, d, k, w.Z[which, block, k + 1, f.n + r, lane] + offset[d, r])
                w.rows[k * f.ny + r, 0] += w.rho[item] * over
                if over != 0.0:
                    w.rows[k * f.ny + r, 1] += w.rho[item]


@jit
def linearise(f, b, w, i, which, lane, time):
    """Gauss-Newton model of the merit at the current course (in this lane, where there is one draw): w.H and w.g."""
    nc = f.nb * f.nd
    spread(f, w, w.v)
    for r in range(nc):
        w.g[r] = 0.0
        for c in range(nc):
            w.H[r, c] = 0.0
    for d in range(f.D):
        at = lane if f.D == 1 else d % W
        _jacobians(f, w, which, d, at, time)
        _sensitivities(f, w)
        _draw_rows(f, b, w, i, which, d, at)
        _add_rows(w.H, w.g, w.Y, w.rows, w.used, f.N * f.ny)
    for m in range(f.nd):
        before = w.last[m]
        for c in range(f.nb):
            r = c * f.nd + m
            count = f.first_of[c + 1] - f.first_of[c]
            a, step = 2.0 * f.moves[m, 0] * count, 2.0 * f.moves[m, 1]
            w.g[r] += a * (w.v[r] - w.ref[m]) + step * (w.v[r] - before)
            w.H[r, r] += a + step
            if c > 0:
                w.g[r - f.nd] -= step * (w.v[r] - before)
                w.H[r - f.nd, r - f.nd] += step
                w.H[r, r - f.nd] -= step
            before = w.v[r]
    for r in range(nc):
        for c in range(r):
            w.H[c, r] = w.H[r, c]
