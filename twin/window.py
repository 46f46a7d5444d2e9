"""One Gauss-Newton solve over a window of samples (`twin.horizon`)."""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .horizon import TINY, linearise, noise_of, sense, through, times, variance_of
from .motion import DISTURBED, EFFECTS, INTERVAL, SIZE, STATES, TOP, W, carry, read
from .ring import rising

LENGTHS = (1.0, 0.75, 0.5, 0.35, 0.2, 0.1, 0.03, 0.0)  # of a step; the last is where we stand


@jit
def new_window(sizes, M):
    """Working memory of one solve over M intervals."""
    L, d = sizes[SIZE], max(1, sizes[DISTURBED])
    return (
        np.zeros((M + 1, L, L)),  # 0 J by columns, onset applied
        np.zeros((M + 1, L, L)),  # 1 Q
        np.zeros((M + 1, L)),  # 2 gradients of readings
        np.zeros((M + 1, 3)),  # 3 residual, innovation along the linearised path, its variance
        np.zeros((M + 1, L)),  # 4 predicted deviation
        np.zeros((M + 1, L)),  # 5 adjoint
        np.zeros((M + 1, d)),  # 6 new onset values
        np.zeros((M + 1, d, L)),  # 7 columns of J at an onset
        np.zeros((L, L)),  # 8 covariance
        np.zeros((L, W)),  # 9 a block of trial points
        np.zeros((2, W)),  # 10 their outputs
        np.zeros((M + 1, L)),  # 11 noise w
        np.zeros((M + 1, L)),  # 12 new noise
        np.zeros(L),  # 13 spare
        np.zeros((3, W)),  # 14 costs of trials
        np.zeros((M + 1, L)),  # 15 the point an interval starts from, onset applied
        np.zeros(L),  # 16 spare
        np.zeros((L, L)),  # 17 spare
    )


@jit
def onset_of(A, rose, i):
    """Whether disturbance i starts afresh, and its row."""
    onset, row = A[10], A[0][STATES] + A[0][EFFECTS] + i
    return onset[i] >= 0 and rose[onset[i]], row


@jit
def forward(A, extra, a, b, oldest, at, centre, omega, m, P, alpha, beta, gamma, z, Pm, u, y, noise, wide, fresh,
            memory, win, rose, out_P):  # fmt: skip
    """Linearise along the present iterate and filter along it; returns the objective. Pm gets predicted covariances.

    ``fresh``: Q is taken anew at the present trajectory (once a solve), else kept.
    """
    R, L, d, interval = z.shape[0], A[0][SIZE], A[0][DISTURBED], A[1][INTERVAL]
    J, Q, g, res, dev, C, spare = win[0], win[1], win[2], win[3], win[4], win[8], win[13]
    first, w, starts = A[11], win[11], win[15]
    cost = 0.0
    times(P, alpha, spare)
    for r in range(L):
        z[a % R, r] = m[r] + spare[r]
        dev[0, r] = -spare[r]
        cost += 0.5 * alpha[r] * spare[r]
        for c in range(L):
            C[r, c] = P[r, c]
    for i in range(b - a + 1):
        k = a + i
        at_k = k % R
        if i > 0:
            rising(u, k, oldest, rose)
            for r in range(L):
                starts[i, r] = z[(k - 1) % R, r]
            for e in range(d):
                new, row = onset_of(A, rose, e)
                if new:
                    starts[i, row] = gamma[at_k, e]
                    cost += 0.5 * gamma[at_k, e] ** 2 / max(first[row] ** 2, 1e-300)
            linearise(A, extra, starts[i], centre, u[at_k], at + (k - 1) * interval, z[at_k], J[i], memory)
            if fresh:
                noise_of(A, z[at_k], omega, wide[at_k], Q[i])
            times(Q[i], beta[at_k], w[i])
            total = win[17]
            for r in range(L):
                for c in range(L):
                    total[r, c] = Q[i, r, c]
            for e in range(d):
                new, row = onset_of(A, rose, e)
                if new:
                    for r in range(L):
                        win[7][i, e, r] = J[i, row, r]
                        for c in range(L):
                            total[r, c] += first[row] ** 2 * J[i, row, r] * J[i, row, c]
                    for r in range(L):
                        spare[r] = -gamma[at_k, e] * J[i, row, r]
                        J[i, row, r] = 0.0
                else:
                    for r in range(L):
                        win[7][i, e, r] = 0.0
            through(J[i], C, total, memory[10], Pm[at_k])
            for r in range(L):
                cost += 0.5 * beta[at_k, r] * w[i, r]
                z[at_k, r] += w[i, r]
                dev[i, r] = -w[i, r]
            for e in range(d):
                new, row = onset_of(A, rose, e)
                if new:
                    for r in range(L):
                        dev[i, r] -= gamma[at_k, e] * win[7][i, e, r]
            for c in range(L):
                f = win[16][c]
                for r in range(L):
                    dev[i, r] += J[i, c, r] * f
        else:
            for r in range(L):
                for c in range(L):
                    Pm[at_k, r, c] = C[r, c]
        for r in range(L):
            win[16][r] = dev[i, r]
            for c in range(L):
                C[r, c] = Pm[at_k, r, c]
        if math.isfinite(y[at_k]):
            value = sense(A, extra, z[at_k], at + k * interval, g[i], memory, False)
            white = variance_of(A, value, noise[at_k])
            times(Pm[at_k], g[i], spare)
            S, slope = white, 0.0
            for r in range(L):
                S += g[i, r] * spare[r]
                slope += g[i, r] * dev[i, r]
            res[i, 0], res[i, 1], res[i, 2] = y[at_k] - value, y[at_k] - value - slope, S
            win[14][2, 0] = white
            cost += 0.5 * res[i, 0] ** 2 / white
            for r in range(L):
                win[16][r] += spare[r] / S * res[i, 1]
                for c in range(L):
                    C[r, c] -= spare[r] * spare[c] / S
    for r in range(L):
        for c in range(L):
            out_P[r, c] = C[r, c]
    return cost


@jit
def backward(A, a, b, oldest, P, Pm, y, u, win, rose):
    """Adjoints of the linearised problem into win[5], new onset values into win[6], new noise into win[12]."""
    R, L, d = y.shape[0], A[0][SIZE], A[0][DISTURBED]
    J, Q, g, res, lam, hat, spare = win[0], win[1], win[2], win[3], win[5], win[13], win[16]
    first = A[11]
    for r in range(L):
        hat[r] = 0.0
    for i in range(b - a, -1, -1):
        k = a + i
        for r in range(L):
            lam[i, r] = hat[r]
        if math.isfinite(y[k % R]):
            times(Pm[k % R], g[i], spare)
            f = res[i, 1]
            for r in range(L):
                f -= spare[r] * hat[r]
            for r in range(L):
                lam[i, r] += g[i, r] * f / res[i, 2]
        if i > 0:
            rising(u, k, oldest, rose)
            times(Q[i], lam[i], win[12][i])
            for e in range(d):
                new, row = onset_of(A, rose, e)
                win[6][i, e] = 0.0
                if new:
                    for r in range(L):
                        win[6][i, e] += first[row] ** 2 * win[7][i, e, r] * lam[i, r]
            for c in range(L):
                hat[c] = 0.0
                for r in range(L):
                    hat[c] += J[i, c, r] * lam[i, r]


@jit
def drift(A, centre, Z, lane):
    """Move the rows that are no states over an interval, in one lane."""
    sizes, keep, move = A[0], A[3], A[12]
    nx, q, top = sizes[STATES], sizes[EFFECTS], sizes[TOP]
    for r in range(nx, top):
        Z[r, lane] *= keep[r]
    for r in range(q):
        Z[nx + r, lane] += (1.0 - keep[nx + r]) * centre[r]
    tail = Z[top:, lane].copy()
    for a in range(tail.shape[0]):
        Z[top + a, lane] = 0.0
        for b in range(tail.shape[0]):
            Z[top + a, lane] += move[a, b] * tail[b]


@jit
def search(A, a, b, oldest, at, centre, m, P, alpha, beta, gamma, u, y, noise, z, win, work, rose):
    """Cost of the lengths of a step, eight lanes at once; returns the best length and its cost."""
    R, L, nx, q, d = y.shape[0], A[0][SIZE], A[0][STATES], A[0][EFFECTS], A[0][DISTURBED]
    interval, first, lam, Z, out, cost = A[1][INTERVAL], A[11], win[5], win[9], win[10], win[14]
    times(P, alpha, win[13])
    times(P, lam[0], win[16])
    for lane in range(W):
        s = LENGTHS[lane]
        cost[0, lane] = 0.0
        for r in range(L):
            step = (1.0 - s) * win[13][r] + s * win[16][r]
            Z[r, lane] = m[r] + step
            cost[0, lane] += 0.5 * ((1.0 - s) * alpha[r] + s * lam[0, r]) * step
    for i in range(b - a + 1):
        k = a + i
        at_k = k % R
        if i > 0:
            rising(u, k, oldest, rose)
            for e in range(d):
                new, row = onset_of(A, rose, e)
                if new:
                    for lane in range(W):
                        s = LENGTHS[lane]
                        Z[row, lane] = (1.0 - s) * gamma[at_k, e] + s * win[6][i, e]
                        cost[0, lane] += 0.5 * Z[row, lane] ** 2 / max(first[row] ** 2, 1e-300)
            carry(A, Z, u[at_k], at + (k - 1) * interval, work)
            for lane in range(W):
                s = LENGTHS[lane]
                drift(A, centre, Z, lane)
                for r in range(L):
                    step = (1.0 - s) * win[11][i, r] + s * win[12][i, r]
                    Z[r, lane] += step
                    cost[0, lane] += 0.5 * ((1.0 - s) * beta[at_k, r] + s * lam[i, r]) * step
        if math.isfinite(y[at_k]):
            read(A, Z, at + k * interval, work, out)
            for lane in range(W):
                value = out[0, lane]
                for r in range(nx + q + d, L):
                    value += A[14][r - nx - q - d] * Z[r, lane]
                white = variance_of(A, y[at_k] - win[3][i, 0], noise[at_k])  # as at the linearisation
                cost[0, lane] += 0.5 * (y[at_k] - value) ** 2 / white
    best = W - 1
    for lane in range(W):
        if cost[0, lane] < cost[0, best]:
            best = lane
    return LENGTHS[best], cost[0, best]


@jit
def solve(A, extra, a, b, oldest, at, centre, omega, m, P, alpha, beta, gamma, z, Pm, u, y, noise, wide, iterations,
          work, memory, win, rose, out_m, out_P):  # fmt: skip
    """Up to so many Gauss-Newton steps; the belief at slot b into out_m, out_P. Returns the objective."""
    R, L, d = y.shape[0], A[0][SIZE], A[0][DISTURBED]
    cost = 0.0
    for iteration in range(iterations):
        before = forward(A, extra, a, b, oldest, at, centre, omega, m, P, alpha, beta, gamma, z, Pm, u, y, noise, wide,
                         iteration == 0, memory, win, rose, out_P)  # fmt: skip
        backward(A, a, b, oldest, P, Pm, y, u, win, rose)
        s, cost = search(A, a, b, oldest, at, centre, m, P, alpha, beta, gamma, u, y, noise, z, win, work, rose)
        for r in range(L):
            alpha[r] += s * (win[5][0, r] - alpha[r])
            for i in range(1, b - a + 1):
                beta[(a + i) % R, r] += s * (win[5][i, r] - beta[(a + i) % R, r])
        for i in range(1, b - a + 1):
            for e in range(d):
                gamma[(a + i) % R, e] += s * (win[6][i, e] - gamma[(a + i) % R, e])
        if not before - cost > TINY * (1.0 + abs(cost)):
            break
    roll(A, a, b, oldest, at, centre, m, P, alpha, beta, gamma, z, u, win, work, rose)
    for r in range(L):
        out_m[r] = z[b % R, r]
    for r in range(A[0][STATES]):
        out_m[r] = max(out_m[r], A[2][r])
    return cost


@jit
def roll(A, a, b, oldest, at, centre, m, P, alpha, beta, gamma, z, u, win, work, rose):
    """The trajectory of the present unknowns, into z."""
    R, L, d = z.shape[0], A[0][SIZE], A[0][DISTURBED]
    Z, spare = win[9], win[13]
    times(P, alpha, spare)
    for r in range(L):
        z[a % R, r] = m[r] + spare[r]
    for i in range(1, b - a + 1):
        at_k = (a + i) % R
        rising(u, a + i, oldest, rose)
        for r in range(L):
            v = z[(a + i - 1) % R, r]
            for e in range(d):
                new, row = onset_of(A, rose, e)
                if new and row == r:
                    v = gamma[at_k, e]
            for lane in range(W):
                Z[r, lane] = v
        carry(A, Z, u[at_k], at + (a + i - 1) * A[1][INTERVAL], work)
        times(win[1][i], beta[at_k], spare)
        drift(A, centre, Z, 0)
        for r in range(L):
            z[at_k, r] = Z[r, 0] + spare[r]
