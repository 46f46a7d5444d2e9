"""The quadratic program of a Gauss-Newton step: bounds on each variable, and on the differences of neighbours.

    minimise ½ d'H d + g'd    subject to    low ≤ d ≤ high,    −R_m ≤ (v + d)_b,m − (v + d)_{b−1},m ≤ R_m   (b ≥ 1)

Bounds by projected Newton with an active set (Bertsekas 1982, SIAM J Control Optim 20:221), Cholesky on the free set;
differences (rate limits) by an augmented Lagrangian around it. H is stored whole, with rows longer than needed.
"""
# Compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import numpy as np

from ..pkpd.jit import jit

__all__ = ["box", "box_and_rates"]

NEWTON = 40  # a step changes the active set; each of some tens of variables changes sides a few times at most
UPDATES = 30  # of the multipliers of the rate limits
SAFE = 1e-12  # least pivot, relative to the largest entry of the diagonal


@jit
def factor(U, m):
    """Cholesky U'U of the matrix in U's upper triangle, in place; row operations only, so that they vectorise."""
    largest = 0.0
    for i in range(m):
        largest = max(largest, U[i, i])
    least = SAFE * largest + 1e-300
    j = 0
    while j < m:
        two = j + 1 < m  # two pivots at once: half the passes over the rest
        U[j, j] = np.sqrt(max(U[j, j], least))
        inverse = 1.0 / U[j, j]
        for k in range(j + 1, m):
            U[j, k] *= inverse
        if two:
            a = U[j, j + 1]
            for k in range(j + 1, m):
                U[j + 1, k] -= a * U[j, k]
            U[j + 1, j + 1] = np.sqrt(max(U[j + 1, j + 1], least))
            inverse = 1.0 / U[j + 1, j + 1]
            for k in range(j + 2, m):
                U[j + 1, k] *= inverse
            for i in range(j + 2, m):
                a, b = U[j, i], U[j + 1, i]
                for k in range(i, m):
                    U[i, k] -= a * U[j, k] + b * U[j + 1, k]
            j += 2
        else:
            j += 1


@jit
def back(U, m, y):
    """Solve U'U x = y in place."""
    for j in range(m):
        y[j] /= U[j, j]
        a = y[j]
        for k in range(j + 1, m):
            y[k] -= a * U[j, k]
    for j in range(m - 1, -1, -1):
        a = y[j]
        for k in range(j + 1, m):
            a -= U[j, k] * y[k]
        y[j] = a / U[j, j]


@jit
def box(H, g, low, high, d, n, U, y, slope, trial, index):
    """Minimise over the box, starting from d. Returns Newton steps taken."""
    size = 0.0
    for i in range(n):
        d[i] = min(max(d[i], low[i]), high[i])
        size = max(size, abs(g[i]))
    for step in range(NEWTON):
        for i in range(n):
            slope[i] = g[i]
        for j in range(n):
            a = d[j]
            if a != 0.0:
                for i in range(n):
                    slope[i] += a * H[j, i]
        m, worst = 0, 0.0
        for i in range(n):
            held = (d[i] <= low[i] and slope[i] > 0.0) or (d[i] >= high[i] and slope[i] < 0.0)
            if not held and low[i] < high[i]:
                index[m] = i
                m += 1
                worst = max(worst, abs(slope[i]))
        if worst <= 1e-12 * size or m == 0:
            return step
        for a in range(m):
            i = index[a]
            y[a] = -slope[i]
            for b in range(a, m):
                U[a, b] = H[i, index[b]]
        factor(U, m)
        back(U, m, y)
        length, accepted = 1.0, False
        for _ in range(30):  # along the projected path; the whole step nearly always serves
            change = 0.0
            for i in range(n):
                trial[i] = 0.0
            for a in range(m):
                i = index[a]
                trial[i] = min(max(d[i] + length * y[a], low[i]), high[i]) - d[i]
            for a in range(m):
                i = index[a]
                if trial[i] != 0.0:
                    s = 0.0
                    for b in range(m):
                        s += H[i, index[b]] * trial[index[b]]
                    change += trial[i] * (slope[i] + 0.5 * s)
            if change <= 0.0:
                accepted = True
                break
            length *= 0.5
        if not accepted:
            return step
        moved = 0.0
        for a in range(m):
            i = index[a]
            moved = max(moved, abs(trial[i]))
            d[i] += trial[i]
        if moved <= 1e-14:
            return step + 1
    return NEWTON


@jit
def box_and_rates(H, g, low, high, d, n, nd, v, rate, lam, H2, g2, U, y, slope, trial, index):
    """The same with rate limits: ``rate`` (nd,) bounds the change of each move from block to block.

    ``v`` (n,) is where the step starts from, and must itself keep the limits; ``lam`` (n,) are the multipliers of the
    differences, kept as a warm start. Afterwards every limit holds to 1e-12 and d is clipped to keep them exactly.
    """
    largest = 0.0
    for i in range(n):
        largest = max(largest, H[i, i])
    rho = 10.0 * largest
    steps = 0
    for i in range(n):
        for j in range(n):
            H2[i, j] = H[i, j]
    for update in range(UPDATES):
        # semismooth Newton on the augmented Lagrangian: which differences are beyond their limits is held, then renewed
        for _ in range(NEWTON):
            for i in range(n):
                g2[i] = g[i]
                H2[i, i] = H[i, i]
                if i >= nd:
                    H2[i, i - nd] = H[i, i - nd]
                    H2[i - nd, i] = H[i - nd, i]
            for i in range(nd, n):
                r = rate[i % nd]
                c = v[i] - v[i - nd]
                t = c + d[i] - d[i - nd] + lam[i] / rho
                side = 1.0 if t > r else (-1.0 if t < -r else 0.0)
                index[n + i] = int(side)
                if side != 0.0:  # ½ρ (c + d_i − d_{i−nd} + λ/ρ − side·r)²
                    a = rho * (c + lam[i] / rho - side * r)
                    g2[i] += a
                    g2[i - nd] -= a
                    H2[i, i] += rho
                    H2[i - nd, i - nd] += rho
                    H2[i, i - nd] -= rho
                    H2[i - nd, i] -= rho
            steps += box(H2, g2, low, high, d, n, U, y, slope, trial, index)
            same = True
            for i in range(nd, n):
                r = rate[i % nd]
                t = v[i] - v[i - nd] + d[i] - d[i - nd] + lam[i] / rho
                side = 1.0 if t > r else (-1.0 if t < -r else 0.0)
                if int(side) != index[n + i]:
                    same = False
            if same:
                break
        worst = 0.0
        for i in range(nd, n):
            r = rate[i % nd]
            c = v[i] - v[i - nd] + d[i] - d[i - nd]
            t = c + lam[i] / rho
            over = t - min(max(t, -r), r)
            worst = max(worst, abs(c) - r)
            lam[i] = rho * over
        if worst <= 1e-12 * (1.0 + abs(rho)) / (1.0 + abs(rho)) + 1e-13:
            break
        if update % 5 == 4:
            rho *= 10.0
    for i in range(n):
        a = v[i] + d[i]
        if i >= nd:
            before = v[i - nd] + d[i - nd]
            a = min(max(a, before - rate[i % nd]), before + rate[i % nd])
        d[i] = min(max(a - v[i], low[i]), high[i])
    return steps
