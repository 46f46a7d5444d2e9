"""The loop of the moving-horizon estimator: readings in their places in the window, late ones too."""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .horizon import linearise, new_memory, noise_of, sense, through, times, variance_of
from .motion import DISTURBED, EFFECTS, GATE, INTERVAL, SETTLE, SIGNALS, SIZE, STATES, new_work, set_person
from .ring import fate_of, rising
from .ukf import (
    EXPECTED,
    EXPECTED_SD,
    FARTHEST,
    FATE_GATED,
    FATE_LATE,
    FATE_USED,
    FATE_WIDENED,
    HALF_LOG_2PI,
    INCREMENT,
    LOG_EVIDENCE,
    TRUTH,
    TRUTH_SD,
    WIDENESS,
    judge,
    wanted_of,
)
from .window import forward, new_window, onset_of, solve

ROUNDING = 1e-10  # a pivot that is negative by less than this share of its own variance is rounding


@jit
def extend(A, extra, now, oldest, at, centre, omega, z, Pm, m, P, u, wide, memory, win, rose):
    """One slot more, without a reading: predicted state and covariance, in place."""
    R, L, interval, first = z.shape[0], A[0][SIZE], A[1][INTERVAL], A[11]
    J, Q, starts, to = win[0][0], win[17], win[13], now % R
    rising(u, now, oldest, rose)
    for r in range(L):
        starts[r] = z[(now - 1) % R, r]
    for e in range(A[0][DISTURBED]):
        new, row = onset_of(A, rose, e)
        if new:
            starts[row] = 0.0
    linearise(A, extra, starts, centre, u[to], at + (now - 1) * interval, z[to], J, memory)
    noise_of(A, z[to], omega, wide, Q)
    for e in range(A[0][DISTURBED]):
        new, row = onset_of(A, rose, e)
        if new:
            for r in range(L):
                for c in range(L):
                    Q[r, c] += first[row] ** 2 * J[row, r] * J[row, c]
            for r in range(L):
                J[row, r] = 0.0
    through(J, P, Q, memory[10], Pm[to])
    for r in range(L):
        m[r] = z[to, r]
        for c in range(L):
            P[r, c] = Pm[to, r, c]


@jit
def sane(A, m, P, centre, omega, C):
    """Whether a belief is finite, its covariance one (no variance was lost in a difference of far larger numbers), and
    its effects no further from the population than `twin.ukf` lets them be. C is spare."""
    n = m.shape[0]
    for j in range(n):
        if not math.isfinite(m[j]):
            return False
        for r in range(j, n):
            C[r, j] = P[r, j]
    for j in range(n):
        pivot = C[j, j]
        if not pivot >= -ROUNDING * abs(P[j, j]) or P[j, j] < 0.0:  # NaN too
            return False
        for c in range(j + 1, n):
            f = C[c, j] / pivot if pivot > ROUNDING * P[j, j] else 0.0
            for r in range(c, n):
                C[r, c] -= f * C[r, j]
    near = True
    for e in range(A[0][EFFECTS]):
        near &= abs(m[A[0][STATES] + e] - centre[e]) <= FARTHEST * math.sqrt(omega[e, e])
    return near


@jit
def follow(A, extra, first, last, slots, only, at, advance, u, slot, reading, noise, oldest, fixed, eta, centre, omega,
           M, iterations, m, P, s, begin, arrival_m, arrival_P, alpha, beta, gamma, z, Pm, ring_u, ring_y, ring_n, wide,
           fate):  # fmt: skip
    """One step of patients first to last: see `twin.ring.follow`. A late reading is put in its place in the window."""
    sizes, R, interval = A[0], ring_y.shape[1], A[1][INTERVAL]
    L = sizes[SIZE]
    work, memory, win = new_work(sizes), new_memory(sizes, extra), new_window(sizes, M)
    rose = np.zeros(max(1, sizes[SIGNALS]), dtype=np.bool_)
    g, kept_m, kept_P = np.zeros(L), np.zeros(L), np.zeros((L, L))
    for i in range(first, last):
        if not only[i]:
            continue
        now = slots[i]
        set_person(work, fixed[i], eta[i])
        set_person(memory, fixed[i], eta[i])
        if advance:
            to = now % R
            for r in range(u.shape[1]):
                ring_u[i, to, r] = u[i, r]
            ring_y[i, to], ring_n[i, to], wide[i, to] = np.nan, 1.0, s[i, WIDENESS]
            for r in range(L):
                beta[i, to, r] = 0.0
            for e in range(gamma.shape[2]):
                gamma[i, to, e] = 0.0
            if now - begin[i] > M:  # the window moves on: its new start is what the filter predicts there
                forward(A, extra, begin[i], begin[i] + 1, oldest[i], at, centre[i], omega[i], arrival_m[i],
                        arrival_P[i], alpha[i], beta[i], gamma[i], z[i], Pm[i], ring_u[i], ring_y[i], ring_n[i],
                        wide[i], True, memory, win, rose, win[17])  # fmt: skip
                begin[i] += 1
                a = begin[i] % R
                for r in range(L):
                    arrival_m[i, r] = z[i, a, r] + win[4][1, r]
                    alpha[i, r] = beta[i, a, r]
                    for c in range(L):
                        arrival_P[i, r, c] = Pm[i, a, r, c]
            extend(A, extra, now, oldest[i], at, centre[i], omega[i], z[i], Pm[i], m[i], P[i], ring_u[i], wide[i, to],
                   memory, win, rose)  # fmt: skip
        fate[i] = fate_of(slot[i], now, R, oldest[i], reading[i], ring_y[i])
        if fate[i] == FATE_USED and slot[i] < begin[i]:
            fate[i] = FATE_LATE
        if fate[i] == FATE_USED:
            j = slot[i] % R
            value = sense(A, extra, z[i, j], at + slot[i] * interval, g, memory, False)
            times(Pm[i, j], g, win[13])
            white = variance_of(A, value, noise[i])
            spread = 0.0
            for r in range(L):
                spread += g[r] * win[13][r]
            S = spread + white
            s[i, EXPECTED], s[i, EXPECTED_SD] = value, math.sqrt(S)
            residual = (reading[i] - value) / math.sqrt(S)
            fate[i] = judge(A, s[i], residual)
            if fate[i] != FATE_GATED:
                s[i, INCREMENT] = -HALF_LOG_2PI - 0.5 * math.log(S) - 0.5 * residual * residual
                s[i, LOG_EVIDENCE] += s[i, INCREMENT]
                if fate[i] == FATE_WIDENED:
                    wanted = wanted_of(reading[i] - value, A[1][SETTLE], value, white)
                    f = min(max(wanted / max(spread, 1e-300), 1.0), 1e4)
                    wide[i, j] *= f
                    S = f * spread + white
                most = A[1][GATE] * math.sqrt(S)
                ring_y[i, j], ring_n[i, j] = min(max(reading[i], value - most), value + most), noise[i]
                for r in range(L):
                    kept_m[r] = m[i, r]
                    for c in range(L):
                        kept_P[r, c] = P[i, r, c]
                solve(A, extra, begin[i], now, oldest[i], at, centre[i], omega[i], arrival_m[i], arrival_P[i], alpha[i],
                      beta[i], gamma[i], z[i], Pm[i], ring_u[i], ring_y[i], ring_n[i], wide[i], iterations, work,
                      memory, win, rose, m[i], P[i])  # fmt: skip
                if not sane(A, m[i], P[i], centre[i], omega[i], win[17]):  # begin anew, without what broke it
                    begin[i] = now
                    ring_y[i, :] = np.nan
                    beta[i, :, :] = 0.0
                    for r in range(L):
                        alpha[i, r] = 0.0
                        m[i, r] = arrival_m[i, r] = z[i, now % R, r] = kept_m[r]
                        for c in range(L):
                            P[i, r, c] = arrival_P[i, r, c] = Pm[i, now % R, r, c] = kept_P[r, c]
        mean = sense(A, extra, m[i], at + now * interval, g, memory, True)
        times(P[i], g, win[13])
        variance = 0.0
        for r in range(L):
            variance += g[r] * win[13][r]
        s[i, TRUTH], s[i, TRUTH_SD] = mean, math.sqrt(max(variance, 0.0))
