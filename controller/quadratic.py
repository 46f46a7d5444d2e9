"""The quadratic program of a Gauss-Newton step: bounds on each variable, and on the differences of neighbours.

    minimise ½ d'H d + g'd    subject to    low ≤ d ≤ high,    −R_m ≤ (v + d)_b,m − (v + d)_{b−1},m ≤ R_m   (b ≥ 1)

Bounds alone by projected Newton with an active set (Bertsekas 1982, SIAM J Control Optim 20:221), Cholesky on the free
set; with differences (rate limits) by a primal active-set method. H is stored whole, with rows longer than needed.
"""
# Compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import numpy as np

from ..pkpd.jit import jit

__all__ = ["box", "rates"]

NEWTON = 40  # a step changes the active set; each of some tens of variables changes sides a few times at most
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
        while True:
            for a in range(m):
                i = index[a]
                y[a] = -slope[i]
                for b in range(a, m):
                    U[a, b] = H[i, index[b]]
            factor(U, m)
            back(U, m, y)
            # a variable that stands at a bound and would cross it spoils the descent: without those
            kept, steepest = 0, index[0]
            for a in range(m):
                i = index[a]
                steepest = i if abs(slope[i]) > abs(slope[steepest]) else steepest
                if not ((d[i] <= low[i] and y[a] < 0.0) or (d[i] >= high[i] and y[a] > 0.0)):
                    index[kept] = i
                    kept += 1
            if kept == m:
                break
            m = kept
            if m == 0:
                index[0], m = steepest, 1
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
            if change < 0.0:
                accepted = True
                break
            length *= 0.5
        if not accepted:
            return step
        moved = 0.0
        for a in range(m):
            i = index[a]
            moved = max(moved, abs(trial[i]))
            d[i] = min(max(d[i] + length * y[a], low[i]), high[i])  # exactly on a bound that it meets
        if moved <= 1e-14:
            return step + 1
    return NEWTON


@jit
def _groups(n, nd, at, link, group):
    """Number the groups of variables that move together (tied by active differences); −1 where a bound holds one."""
    count = 0
    for a in range(nd):
        i = a
        while i < n:
            end, held = i, at[i] != 0
            while end + nd < n and link[end + nd] != 0:
                end += nd
                held = held or at[end] != 0
            for j in range(i, end + 1, nd):
                group[j] = -1 if held else count
            count += 0 if held else 1
            i = end + nd
    return count


@jit
def _first_active(n, nd, low, high, v, rate, at, link):
    """Bounds and differences that hold at d = 0, no more than are independent."""
    for a in range(nd):
        held = False  # the group so far is held by a bound
        for i in range(a, n, nd):
            at[i] = -1 if low[i] >= 0.0 else (1 if high[i] <= 0.0 else 0)
            link[i] = 0
            if i >= nd and not (held and at[i] != 0):
                c = v[i] - v[i - nd]
                link[i] = 1 if c >= rate[a] * (1.0 - 1e-12) else (-1 if c <= -rate[a] * (1.0 - 1e-12) else 0)
            held = at[i] != 0 or (link[i] != 0 and held)


@jit
def _release(n, nd, slope, at, link, size):
    """Let go of the active constraint whose multiplier has the worst sign. Returns whether there was one."""
    worst, which, kind = -1e-11 * size, -1, 0
    for a in range(nd):
        i = a
        while i < n:
            end = i
            while end + nd < n and link[end + nd] != 0:
                end += nd
            total = 0.0
            for j in range(i, end + 1, nd):
                total += slope[j]
            force = 0.0  # of the difference between j and its predecessor
            for j in range(i, end + 1, nd):
                if link[j] != 0 and j > i and force * link[j] < worst:
                    worst, which, kind = force * link[j], j, 1
                push = 0.0
                if at[j] != 0:
                    push = total
                    if -push * at[j] < worst:
                        worst, which, kind = -push * at[j], j, 0
                force += slope[j] - push
            i = end + nd
    if which < 0:
        return False
    if kind == 0:
        at[which] = 0
    else:
        link[which] = 0
    return True


@jit
def rates(H, g, low, high, d, n, nd, v, rate, U, y, slope, trial, index):
    """After `box`, whose answer stands in d: the same with rate limits; ``rate`` (nd,) bounds each move's changes.

    ``v`` (n,) is where the step starts from, and must itself keep every limit. A primal active-set method: every
    iterate keeps all limits, and none is worse than the last. Tied and held variables form groups, so that each step
    is a Newton step in the free groups. ``index`` has 3 n entries.
    """
    broken = False
    for i in range(nd, n):
        broken = broken or abs(v[i] + d[i] - v[i - nd] - d[i - nd]) > rate[i % nd]
    if not broken:
        return 0
    group, at, link = index[:n], index[n : 2 * n], index[2 * n :]
    size = 0.0
    for i in range(n):
        d[i] = 0.0
        size = max(size, abs(g[i]))
    _first_active(n, nd, low, high, v, rate, at, link)
    for step in range(10 * n + 50):
        m = _groups(n, nd, at, link, group)
        for i in range(n):
            slope[i] = g[i]
        for j in range(n):
            if d[j] != 0.0:
                for i in range(n):
                    slope[i] += d[j] * H[j, i]
        length, block, kind, side = 1.0, -1, 0, 0
        moved = 0.0
        if m > 0:
            for a in range(m):
                y[a] = 0.0
                for b in range(m):
                    U[a, b] = 0.0
            for i in range(n):
                if group[i] >= 0:
                    y[group[i]] -= slope[i]
                    for j in range(n):
                        if group[j] >= 0:
                            U[group[i], group[j]] += H[i, j]
            factor(U, m)
            back(U, m, y)
            for i in range(n):
                trial[i] = y[group[i]] if group[i] >= 0 else 0.0
                moved = max(moved, abs(trial[i]))
            for i in range(n):
                p = trial[i]
                if p != 0.0:
                    t = ((high[i] if p > 0.0 else low[i]) - d[i]) / p
                    if t < length:
                        length, block, kind, side = max(t, 0.0), i, 0, 1 if p > 0.0 else -1
                if i >= nd and link[i] == 0:
                    p = trial[i] - trial[i - nd]
                    if p != 0.0:
                        r = rate[i % nd]
                        t = ((r if p > 0.0 else -r) - (v[i] + d[i] - v[i - nd] - d[i - nd])) / p
                        if t < length:
                            length, block, kind, side = max(t, 0.0), i, 1, 1 if p > 0.0 else -1
            for i in range(n):
                d[i] = min(max(d[i] + length * trial[i], low[i]), high[i])
        if block >= 0:
            if kind == 0:
                at[block] = side
                d[block] = high[block] if side > 0 else low[block]
            else:
                link[block] = side
            continue
        if moved > 1e-13:  # the slopes at the new point, for the multipliers
            for i in range(n):
                slope[i] = g[i]
            for j in range(n):
                if d[j] != 0.0:
                    for i in range(n):
                        slope[i] += d[j] * H[j, i]
        if not _release(n, nd, slope, at, link, size):
            return step
    return 10 * n + 50
