"""A sigma-point Kalman filter with central-difference weights (Norgaard, Poulsen & Ravn, Automatica 2000;36:1627).

The points of the unscented filter, at a distance of √3 SDs, with weights under which the covariance is a sum of squares
of first and second differences: it cannot become indefinite, at any dimension, where the unscented weights of 24 rows
would carry a negative centre. Exact for linear models. Points stand in the 8 lanes of the march's kernels, so a
patient's bits do not depend on the batch. The covariance is kept whole and factorised by a Cholesky that takes
singular matrices (a known state has no spread).

Non-negative states: points are put on 0 before the model reads them (`twin.augmented`), and so is the mean. A log
transform instead would make known zeros (no drug given yet, nothing eaten) impossible to state.
"""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .algebra import cholesky
from .motion import (
    ADDITIVE,
    ALARM,
    DISTURBED,
    EFFECTS,
    FORGET,
    GATE,
    MOST,
    OFFSET,
    PATIENCE,
    PROPORTIONAL,
    SETTLE,
    SIZE,
    STATES,
    TOP,
    W,
    carry,
    read,
)

DISTANCE = math.sqrt(3.0)  # of a point from the centre, in SDs: right to the fourth moment of a normal law
FIRST = 0.5 / DISTANCE
SECOND = math.sqrt(DISTANCE**2 - 1.0) / (2.0 * DISTANCE**2)
BEND = 0.5 / DISTANCE**2
FARTHEST = 6.0  # prior SDs

# a belief's row of figures
(LOG_EVIDENCE, INCREMENT, INNOVATION, CONSISTENCY, WIDENESS, GATED, IN_ROW, WIDENED, EXPECTED, EXPECTED_SD, TRUTH,
 TRUTH_SD, ESS) = range(13)  # fmt: skip
FIGURES = 13
FATE_USED, FATE_MISSING, FATE_IMPLAUSIBLE, FATE_GATED, FATE_WIDENED, FATE_DUPLICATE, FATE_LATE = range(7)
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@jit
def new_memory(sizes):
    """Working memory of one thread: factor, points moved, differences, a block, readings."""
    L, top = sizes[SIZE], sizes[TOP]
    points = 1 + 2 * top
    return (
        np.zeros((L, L)),  # 0 columns of the factor
        np.zeros((points, sizes[STATES])),  # 1 states of the points after the interval
        np.zeros((L, L)),  # 2 first differences, by column
        np.zeros((top, sizes[STATES])),  # 3 second differences, by column
        np.zeros((max(1, top), W)),  # 4 a block of points
        np.zeros((2, W)),  # 5 their readings: measured, true
        np.zeros((2, points)),  # 6 readings of all points
        np.zeros(L),  # 7 first differences of the reading
        np.zeros(L),  # 8 covariance of state and reading
        np.zeros(L),  # 9 gain
    )


@jit
def place(m, C, point, rows, Z, lane):
    """Write sigma point ``point`` (0 the mean, then plus and minus of each column) into a lane."""
    if point == 0:
        for r in range(rows):
            Z[r, lane] = m[r]
    else:
        column, sign = (point - 1) // 2, DISTANCE if point % 2 == 1 else -DISTANCE
        for r in range(rows):
            Z[r, lane] = m[r] + sign * C[column, r]


@jit
def predict(A, m, P, centre, omega, wideness, u, rose, t, work, memory):
    """Move mean and covariance of one patient over an interval, in place."""
    sizes, keep, gained, relative, absolute = A[0], A[3], A[4], A[5], A[6]
    L, nx, top, q, d = sizes[SIZE], sizes[STATES], sizes[TOP], sizes[EFFECTS], sizes[DISTURBED]
    C, moved, D1, D2, Z = memory[0], memory[1], memory[2], memory[3], memory[4]
    onset, first, move, added = A[10], A[11], A[12], A[13]
    for i in range(d):  # a meal is mis-counted anew: forget what was thought of the last
        if onset[i] >= 0 and rose[onset[i]]:
            row = nx + q + i
            m[row] = 0.0
            for r in range(L):
                P[row, r] = 0.0
                P[r, row] = 0.0
            P[row, row] = first[row] * first[row]
    cholesky(P, C)
    points = 1 + 2 * top
    for start in range(0, points, W):
        for lane in range(W):
            place(m, C, min(start + lane, points - 1), top, Z, lane)
        carry(A, Z, u, t, work)
        for lane in range(min(W, points - start)):
            for r in range(nx):
                moved[start + lane, r] = Z[r, lane]
    for r in range(nx):  # what is not a number stays where the centre is, and the centre where it was
        if math.isfinite(moved[0, r]):
            m[r] = moved[0, r]
        for point in range(points):
            if not math.isfinite(moved[point, r]):
                moved[point, r] = m[r]
    for j in range(top):
        for r in range(nx):
            up, down = moved[1 + 2 * j, r] - moved[0, r], moved[2 + 2 * j, r] - moved[0, r]
            m[r] += BEND * (up + down)
            D1[j, r] = FIRST * (up - down)
            D2[j, r] = SECOND * (up + down)
        for r in range(nx, top):
            D1[j, r] = keep[r] * C[j, r]
    for j in range(top, L):
        for r in range(top):
            D1[j, r] = 0.0
    for j in range(L):
        for a in range(L - top):
            D1[j, top + a] = 0.0
            for b in range(L - top):
                D1[j, top + a] += move[a, b] * C[j, top + b]
    for r in range(q):
        m[nx + r] = centre[r] + keep[nx + r] * (m[nx + r] - centre[r])
    for r in range(nx + q, top):
        m[r] *= keep[r]
    spare = memory[9]
    for a in range(L - top):
        spare[a] = m[top + a]
    for a in range(L - top):
        m[top + a] = 0.0
        for b in range(L - top):
            m[top + a] += move[a, b] * spare[b]
    for r in range(L):
        for c in range(r + 1):
            P[r, c] = 0.0
    for j in range(L):
        for r in range(L):
            f = D1[j, r]
            if f != 0.0:
                for c in range(r + 1):
                    P[r, c] += f * D1[j, c]
    for j in range(top):
        for r in range(nx):
            f = D2[j, r]
            if f != 0.0:
                for c in range(r + 1):
                    P[r, c] += f * D2[j, c]
    for r in range(nx):
        P[r, r] += wideness * (absolute[r] + relative[r] * m[r] * m[r])
    for r in range(q):
        for c in range(r + 1):
            P[nx + r, nx + c] += wideness * (1.0 - keep[nx + r] * keep[nx + c]) * omega[r, c]
    for r in range(nx + q, top):
        P[r, r] += wideness * gained[r] * gained[r]
    for a in range(L - top):
        for b in range(a + 1):
            P[top + a, top + b] += wideness * added[a, b]
    symmetric(P)


@jit
def symmetric(P):
    """Copy the lower half into the upper one."""
    for r in range(P.shape[0]):
        for c in range(r):
            P[c, r] = P[r, c]


@jit
def spread_of(A, m, C, y, D, sensed):
    """Mean and variance of an output read at all points, with the offset and, if sensed, the sensor's coloured error.

    Leaves its first differences in D.
    """
    sizes = A[0]
    L, top, off, part = sizes[SIZE], sizes[TOP], sizes[OFFSET], A[14]
    for point in range(1, y.shape[0]):
        if not math.isfinite(y[point]):
            y[point] = y[0]
    mean, variance = y[0], 0.0
    for j in range(top):
        up, down = y[1 + 2 * j] - y[0], y[2 + 2 * j] - y[0]
        mean += BEND * (up + down)
        D[j] = FIRST * (up - down)
        variance += (SECOND * (up + down)) ** 2
    for j in range(top, L):
        D[j] = 0.0
    for r in range(top, L):
        if r == off or (sensed and part[r - top] > 0.0):
            mean += m[r]
            for j in range(L):
                D[j] += C[j, r]
    for j in range(L):
        variance += D[j] * D[j]
    return mean, variance


@jit
def expect(A, m, P, t, work, memory):
    """Mean and variance of the truth (with its offset), then of the measured output with the coloured error.

    Last, the covariance of the two. Leaves the covariance of state and reading in ``memory[8]``.
    """
    sizes = A[0]
    L, top = sizes[SIZE], sizes[TOP]
    C, Z, y, all_y, D, cross = memory[0], memory[4], memory[5], memory[6], memory[7], memory[8]
    cholesky(P, C)
    points = 1 + 2 * top
    for start in range(0, points, W):
        for lane in range(W):
            place(m, C, min(start + lane, points - 1), top, Z, lane)
        read(A, Z, t, work, y)
        for lane in range(min(W, points - start)):
            all_y[0, start + lane], all_y[1, start + lane] = y[0, lane], y[1, lane]
    mean, variance = spread_of(A, m, C, all_y[1], D, False)
    both = memory[8]
    for j in range(L):
        both[j] = D[j]
    whole, spread = spread_of(A, m, C, all_y[0], D, True)
    shared = 0.0
    for j in range(L):
        shared += both[j] * D[j]
    for j in range(top):
        bend = all_y[1, 1 + 2 * j] + all_y[1, 2 + 2 * j] - 2.0 * all_y[1, 0]
        shared += SECOND * SECOND * bend * (all_y[0, 1 + 2 * j] + all_y[0, 2 + 2 * j] - 2.0 * all_y[0, 0])
    for r in range(L):
        cross[r] = 0.0
    for j in range(L):
        for r in range(j, L):
            cross[r] += D[j] * C[j, r]
    return mean, variance, whole, spread, shared


@jit
def judge(A, s, z):
    """What becomes of a reading z predicted SDs away; keeps the row of figures, returns the fate."""
    numbers = A[1]
    squared = min(z * z, numbers[GATE] ** 2)
    s[INNOVATION] = z
    s[CONSISTENCY] += numbers[FORGET] * (squared - s[CONSISTENCY])
    if s[CONSISTENCY] > numbers[ALARM]:
        s[WIDENESS] = min(numbers[MOST], s[WIDENESS] * math.sqrt(s[CONSISTENCY] / numbers[ALARM]))
    else:
        s[WIDENESS] = max(1.0, s[WIDENESS] * max(0.0, 1.0 - 3.0 * numbers[FORGET]))
    if abs(z) <= numbers[GATE]:
        s[IN_ROW] = 0.0
        return FATE_USED
    s[GATED] += 1.0
    s[IN_ROW] += 1.0
    if s[IN_ROW] < numbers[PATIENCE]:
        return FATE_GATED
    s[IN_ROW] = 0.0
    s[GATED] -= 1.0
    s[WIDENED] += 1.0
    return FATE_WIDENED


@jit
def wanted_of(residual, settle, mean, white):
    """Variance (white error apart) that puts a residual ``settle`` SDs away; the mean itself is SD enough."""
    return min((residual / settle) ** 2 - white, mean * mean + 100.0 * white)


@jit
def widen(A, P, omega, wanted, spread):
    """Multiply SDs until the reading's variance is near the wanted one; effects no wider than twice the population."""
    sizes = A[0]
    f = math.sqrt(min(max(wanted / max(spread, 1e-300), 1.0), 1e4))
    for r in range(sizes[SIZE]):
        g = f
        e = r - sizes[STATES]
        if 0 <= e < sizes[EFFECTS]:
            g = max(1.0, min(f, 2.0 * math.sqrt(omega[e, e] / max(P[r, r], 1e-300))))
        for c in range(sizes[SIZE]):
            P[r, c] *= g
            P[c, r] *= g


@jit
def update(A, m, P, s, centre, omega, t, reading, noise, work, memory):
    """Compare with a reading (NaN: none) and learn from it, in place. Returns the reading's fate."""
    sizes, numbers, floor = A[0], A[1], A[2]
    L = sizes[SIZE]
    true, variance, mean, spread, shared = expect(A, m, P, t, work, memory)
    s[TRUTH], s[TRUTH_SD] = true, math.sqrt(variance)
    white = noise * (numbers[ADDITIVE] ** 2 + (numbers[PROPORTIONAL] * mean) ** 2)
    S = spread + white
    s[EXPECTED], s[EXPECTED_SD] = mean, math.sqrt(S)
    s[INCREMENT] = 0.0
    if not math.isfinite(reading):
        return FATE_MISSING
    z = (reading - mean) / math.sqrt(S)
    fate = judge(A, s, z)
    if fate == FATE_GATED:
        return fate
    s[INCREMENT] = -HALF_LOG_2PI - 0.5 * math.log(S) - 0.5 * z * z
    s[LOG_EVIDENCE] += s[INCREMENT]
    cross, gain = memory[8], memory[9]
    if fate == FATE_WIDENED:
        widen(A, P, omega, wanted_of(reading - mean, numbers[SETTLE], mean, white), spread)
        true, variance, mean, spread, shared = expect(A, m, P, t, work, memory)
        S = spread + white
    most = numbers[GATE] * math.sqrt(S)  # a widened belief follows a mad reading so far and no further
    residual = min(max(reading - mean, -most), most)
    s[TRUTH] = true + shared / S * residual
    s[TRUTH_SD] = math.sqrt(max(variance - shared * shared / S, 0.0))
    for r in range(L):
        gain[r] = cross[r] / S
        m[r] += gain[r] * residual
    for r in range(L):
        for c in range(r + 1):
            P[r, c] -= gain[r] * cross[c]
        P[r, r] = max(P[r, r], 0.0)
    symmetric(P)
    for r in range(sizes[STATES]):
        m[r] = max(m[r], floor[r])
    for e in range(sizes[EFFECTS]):  # nobody is further from the population than that
        r = sizes[STATES] + e
        most = FARTHEST * math.sqrt(omega[e, e])
        m[r] = min(max(m[r], centre[e] - most), centre[e] + most)
    return fate
