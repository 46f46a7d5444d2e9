"""A particle filter: 256 to 1,024 particles of states, effects and disturbances in the march's lanes.

- Offset and coloured error enter linearly and are marginalised (Rao-Blackwell; Schon, Gustafsson & Nordlund 2005): each
  particle carries their mean, all share their covariance. The likelihood is then as wide as both leave it, and far
  fewer particles die at a reading.
- Effects that drift are moved by their own noise; at every resampling they are shrunk to their mean and spread again
  by a kernel that keeps mean and covariance (Liu & West 2001, discount 0.98): constants do not collapse to a point.
- Systematic resampling where the effective sample size falls below half. All random numbers come from counters (seed,
  slot, particle), so a late reading replayed leaves the same bits.
"""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .algebra import cholesky, normals, uniform
from .motion import (
    ADDITIVE,
    DISTURBED,
    EFFECTS,
    GATE,
    OFFSET,
    PROPORTIONAL,
    SETTLE,
    SIZE,
    STATES,
    TOP,
    W,
    carry,
    read,
)
from .ukf import (
    ESS,
    EXPECTED,
    EXPECTED_SD,
    FATE_GATED,
    FATE_MISSING,
    FATE_WIDENED,
    HALF_LOG_2PI,
    INCREMENT,
    LOG_EVIDENCE,
    judge,
    wanted_of,
)

DISCOUNT = 0.98  # Liu & West 2001
SHRINK = (3.0 * DISCOUNT - 1.0) / (2.0 * DISCOUNT)
KERNEL = math.sqrt(1.0 - SHRINK * SHRINK)
ROOM = 1 << 20  # counters of a slot


@jit
def new_memory(sizes, N):
    """Working memory of one thread."""
    L = sizes[SIZE]
    return (
        np.zeros((max(1, sizes[TOP]), W)),  # 0 a block of particles
        np.zeros((2, W)),  # 1 its outputs
        np.zeros((2, N)),  # 2 all outputs
        np.zeros((N, L)),  # 3 spare particles
        np.zeros(L),  # 4 normals
        np.zeros((L, L)),  # 5 a factor
        np.zeros((L, L)),  # 6 a covariance
        np.zeros(L),  # 7 a mean
        np.zeros(N),  # 8 weights
    )


@jit
def start(seed, m, P, sizes, particles, common, memory):
    """Particles from a normal belief; the linear rows hold their mean, ``common`` their covariance."""
    L, top = sizes[SIZE], sizes[TOP]
    C, normal = memory[5], memory[4]
    cholesky(P, C)
    for i in range(particles.shape[0]):
        normals(seed, i, normal)
        for r in range(L):
            particles[i, r] = m[r]
        for j in range(top):
            for r in range(j, L):
                particles[i, r] += normal[j] * C[j, r]
    for a in range(L - top):
        for b in range(L - top):
            common[a, b] = 0.0
            for j in range(top, L):
                common[a, b] += C[j, top + a] * C[j, top + b]


@jit
def predict(A, particles, common, centre, root, wideness, u, rose, t, seed, slot, work, memory):
    """Move particles over an interval, with noise. ``root`` (q, q): factor of the effects' noise."""
    sizes, keep, gained, relative, absolute, onset, first = A[0], A[3], A[4], A[5], A[6], A[10], A[11]
    move, added = A[12], A[13]
    N, nx, q, d, top, L = particles.shape[0], sizes[STATES], sizes[EFFECTS], sizes[DISTURBED], sizes[TOP], sizes[SIZE]
    Z, normal, wide = memory[0], memory[4], math.sqrt(wideness)
    for i in range(d):
        if onset[i] >= 0 and rose[onset[i]]:
            for k in range(N):
                row = nx + q + i
                particles[k, row] = first[row] * math.sqrt(
                    -2.0 * math.log(uniform(seed, slot * ROOM + N + 2 + i, 2 * k))
                )
                particles[k, row] *= math.cos(2.0 * math.pi * uniform(seed, slot * ROOM + N + 2 + i, 2 * k + 1))
    for begin in range(0, N, W):
        for lane in range(W):
            k = min(begin + lane, N - 1)
            for r in range(top):
                Z[r, lane] = particles[k, r]
        carry(A, Z, u, t, work)
        for lane in range(min(W, N - begin)):
            k = begin + lane
            normals(seed, slot * ROOM + k, normal)
            for r in range(nx):
                if math.isfinite(Z[r, lane]):
                    particles[k, r] = Z[r, lane]
                v = particles[k, r]
                particles[k, r] += normal[r] * wide * math.sqrt(absolute[r] + relative[r] * v * v)
            for r in range(q):
                particles[k, nx + r] = centre[r] + keep[nx + r] * (particles[k, nx + r] - centre[r])
            for j in range(q):
                if root[j, j] > 0.0:
                    for r in range(j, q):
                        particles[k, nx + r] += wide * normal[nx + j] * root[j, r]
            for r in range(nx + q, top):
                particles[k, r] = keep[r] * particles[k, r] + wide * gained[r] * normal[r]
            for a in range(L - top):
                normal[a] = particles[k, top + a]
            for a in range(L - top):
                particles[k, top + a] = 0.0
                for b in range(L - top):
                    particles[k, top + a] += move[a, b] * normal[b]
    before = memory[5]
    for a in range(L - top):
        for b in range(L - top):
            before[a, b] = 0.0
            for c in range(L - top):
                before[a, b] += move[a, c] * common[c, b]
    for a in range(L - top):
        for b in range(L - top):
            common[a, b] = wideness * added[a, b]
            for c in range(L - top):
                common[a, b] += before[a, c] * move[b, c]


@jit
def outputs(A, particles, t, work, memory):
    """Outputs of all particles into memory[2]: measured (with offset and coloured error), true (with offset)."""
    sizes = A[0]
    N, off, top, part = particles.shape[0], sizes[OFFSET], sizes[TOP], A[14]
    Z, y, both = memory[0], memory[1], memory[2]
    for begin in range(0, N, W):
        for lane in range(W):
            k = min(begin + lane, N - 1)
            for r in range(sizes[TOP]):
                Z[r, lane] = particles[k, r]
        read(A, Z, t, work, y)
        for lane in range(min(W, N - begin)):
            k = begin + lane
            both[0, k], both[1, k] = y[0, lane], y[1, lane]
            if off >= 0:
                both[1, k] += particles[k, off]
            for a in range(part.shape[0]):
                both[0, k] += part[a] * particles[k, top + a]


@jit
def moments(values, weights):
    """Weighted mean and variance."""
    mean, variance = 0.0, 0.0
    for k in range(values.shape[0]):
        mean += weights[k] * values[k]
    for k in range(values.shape[0]):
        variance += weights[k] * (values[k] - mean) ** 2
    return mean, variance


@jit
def normalise(logs, weights):
    """Weights from their logarithms, which are put around 0; returns the log of their mean before, and the ESS."""
    N, top = logs.shape[0], -np.inf
    for k in range(N):
        top = max(top, logs[k])
    if not top > -np.inf:
        for k in range(N):
            logs[k], weights[k] = 0.0, 1.0 / N
        return -np.inf, float(N)
    total, squares = 0.0, 0.0
    for k in range(N):
        weights[k] = math.exp(logs[k] - top)
        total += weights[k]
    for k in range(N):
        weights[k] /= total
        squares += weights[k] * weights[k]
        logs[k] -= top
    return top + math.log(total / N), 1.0 / squares


@jit
def summary(A, particles, weights, common, m, P):
    """Mean and covariance of the belief."""
    N, L, top, nx, floor = particles.shape[0], A[0][SIZE], A[0][TOP], A[0][STATES], A[2]
    for r in range(L):
        m[r] = 0.0
        for c in range(L):
            P[r, c] = 0.0
    for k in range(N):
        for r in range(L):
            v = max(particles[k, r], floor[r]) if r < nx else particles[k, r]
            m[r] += weights[k] * v
    for k in range(N):
        if weights[k] > 1e-12:
            for r in range(L):
                f = weights[k] * ((max(particles[k, r], floor[r]) if r < nx else particles[k, r]) - m[r])
                for c in range(r + 1):
                    P[r, c] += f * ((max(particles[k, c], floor[c]) if c < nx else particles[k, c]) - m[c])
    for a in range(L - top):
        for b in range(a + 1):
            P[top + a, top + b] += common[a, b]
    for r in range(L):
        for c in range(r):
            P[c, r] = P[r, c]


@jit
def resample(A, particles, logs, weights, seed, slot, memory):
    """Systematic resampling; effects are shrunk to their mean and spread again."""
    N, L, nx, q = particles.shape[0], A[0][SIZE], A[0][STATES], A[0][EFFECTS]
    spare, normal, C, V, mean = memory[3], memory[4], memory[5], memory[6], memory[7]
    for a in range(q):
        mean[a] = 0.0
        for b in range(q):
            V[a, b] = 0.0
    for k in range(N):
        for a in range(q):
            mean[a] += weights[k] * particles[k, nx + a]
    for k in range(N):
        for a in range(q):
            f = weights[k] * (particles[k, nx + a] - mean[a])
            for b in range(a + 1):
                V[a, b] += f * (particles[k, nx + b] - mean[b])
    cholesky(V[:q, :q], C[:q, :q])
    pick, edge, at = 0, weights[0], uniform(seed, slot * ROOM + N, 0)
    for k in range(N):
        while (k + at) / N > edge and pick < N - 1:
            pick += 1
            edge += weights[pick]
        normals(seed, slot * ROOM + N // 2 + ROOM // 2 + k, normal)
        for r in range(L):
            spare[k, r] = particles[pick, r]
        for a in range(q):
            spare[k, nx + a] = SHRINK * spare[k, nx + a] + (1.0 - SHRINK) * mean[a]
        for j in range(q):
            for a in range(j, q):
                spare[k, nx + a] += KERNEL * normal[j] * C[j, a]
    for k in range(N):
        logs[k], weights[k] = 0.0, 1.0 / N
        for r in range(L):
            particles[k, r] = spare[k, r]


@jit
def widen(A, particles, weights, common, m, omega, wanted, spread):
    """Spread particles around their mean (`twin.ukf.widen`)."""
    sizes = A[0]
    N, L, top, nx, q = particles.shape[0], sizes[SIZE], sizes[TOP], sizes[STATES], sizes[EFFECTS]
    f = math.sqrt(min(max(wanted / max(spread, 1e-300), 1.0), 1e4))
    for r in range(L):
        mean, variance = moments(particles[:, r], weights)
        g = f
        if nx <= r < nx + q:
            g = max(1.0, min(f, 2.0 * math.sqrt(omega[r - nx, r - nx] / max(variance, 1e-300))))
        for k in range(N):
            particles[k, r] = mean + g * (particles[k, r] - mean)
    for a in range(L - top):
        for b in range(L - top):
            common[a, b] *= f * f


@jit
def update(A, particles, logs, common, s, m, omega, t, reading, noise, seed, slot, work, memory):
    """Weigh the particles by a reading; resample where few are left. Returns the reading's fate."""
    sizes, numbers = A[0], A[1]
    N, L, top = particles.shape[0], sizes[SIZE], sizes[TOP]
    both, weights, part = memory[2], memory[8], A[14]
    _, s[ESS] = normalise(logs, weights)
    fate = FATE_MISSING
    linear, mean, spread, white, S = 0.0, 0.0, 0.0, 0.0, 0.0
    for turn in range(2):
        outputs(A, particles, t, work, memory)
        linear = 0.0
        for a in range(L - top):
            for b in range(L - top):
                linear += part[a] * part[b] * common[a, b]
        mean, spread = moments(both[0], weights)
        white = noise * (numbers[ADDITIVE] ** 2 + (numbers[PROPORTIONAL] * mean) ** 2)
        S = spread + linear + white
        if turn == 1:
            break
        s[EXPECTED], s[EXPECTED_SD], s[INCREMENT] = mean, math.sqrt(S), 0.0
        if not math.isfinite(reading):
            return FATE_MISSING
        fate = judge(A, s, (reading - mean) / math.sqrt(S))
        if fate == FATE_GATED:
            return fate
        if fate != FATE_WIDENED:
            break
        wanted = wanted_of(reading - mean, numbers[SETTLE], mean, white)
        widen(A, particles, weights, common, m, omega, wanted, spread + linear)
    v = linear + white
    most = numbers[GATE] * math.sqrt(S)
    reading = min(max(reading, mean - most), mean + most)
    base, _ = normalise(logs, weights)
    for k in range(N):
        z = (reading - both[0, k]) / math.sqrt(v)
        logs[k] -= HALF_LOG_2PI + 0.5 * math.log(v) + 0.5 * z * z if math.isfinite(z) else np.inf
    after, s[ESS] = normalise(logs, weights)
    s[INCREMENT] = after - base
    if not s[INCREMENT] > -np.inf:  # no particle is near: as the predicted law has it
        s[INCREMENT] = -HALF_LOG_2PI - 0.5 * math.log(S) - 0.5 * (reading - mean) ** 2 / S
    s[LOG_EVIDENCE] += s[INCREMENT]
    for a in range(L - top):  # the linear part: a Kalman filter with one gain for all
        gain = 0.0
        for b in range(L - top):
            gain += part[b] * common[a, b]
        gain /= v
        for k in range(N):
            particles[k, top + a] += gain * (reading - both[0, k])
    shrink(common, part, v)
    if s[ESS] < 0.5 * N:
        resample(A, particles, logs, weights, seed, slot, memory)
    return fate


@jit
def shrink(common, part, v):
    """common - gain·rowᵀ for the reading that sees the sum of some linear rows."""
    size = part.shape[0]
    row = np.zeros(size)
    for a in range(size):
        for b in range(size):
            row[a] += part[b] * common[a, b]
    for a in range(size):
        for b in range(size):
            common[a, b] -= row[a] * row[b] / v
