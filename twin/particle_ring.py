"""The loop of the particle filter: readings in their places, late ones too (as `twin.ring`, over particles)."""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .algebra import cholesky
from .motion import EFFECTS, INTERVAL, OFFSET, STATES, new_work, set_person
from .particle import moments, new_memory, normalise, outputs, predict, start, summary, update
from .ring import fate_of, rising
from .ukf import FATE_USED, TRUTH, TRUTH_SD, WIDENESS


@jit
def copy_all(cloud, logs, common, s, to_cloud, to_logs, to_common, to_s):
    """Copy one belief."""
    for k in range(cloud.shape[0]):
        to_logs[k] = logs[k]
        for r in range(cloud.shape[1]):
            to_cloud[k, r] = cloud[k, r]
    for a in range(common.shape[0]):
        for b in range(common.shape[0]):
            to_common[a, b] = common[a, b]
    for r in range(s.shape[0]):
        to_s[r] = s[r]


@jit
def factor_of_drift(A, omega, root):
    """Factor of the covariance that the effects' drift gains over an interval."""
    q, nx, keep = A[0][EFFECTS], A[0][STATES], A[3]
    Q = np.zeros((q, q))
    for a in range(q):
        for b in range(q):
            Q[a, b] = (1.0 - keep[nx + a] * keep[nx + b]) * omega[a, b]
    cholesky(Q, root)


@jit
def begin(A, first, last, seed, m, P, s, cloud, common, ring_c, ring_l, ring_v, ring_s):
    """Particles from normal beliefs, in slot 0."""
    memory = new_memory(A[0], cloud.shape[1])
    logs = np.zeros(cloud.shape[1])
    for i in range(first, last):
        start(seed[i], m[i], P[i], A[0], cloud[i], common[i], memory)
        copy_all(cloud[i], logs, common[i], s[i], ring_c[i, 0], ring_l[i, 0], ring_v[i, 0], ring_s[i, 0])


@jit
def follow(A, first, last, slots, only, at, advance, u, slot, reading, noise, oldest, fixed, eta, centre, omega, seed,
           cloud, logs, common, m, P, s, ring_c, ring_l, ring_v, ring_s, ring_u, ring_y, ring_n, fate):  # fmt: skip
    """One step of patients first to last: see `twin.ring.follow`."""
    q, N = A[0][EFFECTS], cloud.shape[1]
    work, memory, root = new_work(A[0]), new_memory(A[0], N), np.zeros((q, q))
    R, signals, interval = ring_y.shape[1], u.shape[1], A[1][INTERVAL]
    rose = np.zeros(max(1, signals), dtype=np.bool_)
    for i in range(first, last):
        if not only[i]:
            continue
        now = slots[i]
        set_person(work, fixed[i], eta[i])
        factor_of_drift(A, omega[i], root)
        if advance:
            for r in range(signals):
                ring_u[i, now % R, r] = u[i, r]
            ring_y[i, now % R], ring_n[i, now % R] = np.nan, 1.0
        fate[i] = fate_of(slot[i], now, R, oldest[i], reading[i], ring_y[i])
        used, start = fate[i] == FATE_USED, now if advance else now + 1
        again = used and slot[i] < start
        if used:
            ring_y[i, slot[i] % R], ring_n[i, slot[i] % R] = reading[i], noise[i]
            start = min(start, slot[i])
        for k in range(start, now + 1):
            a = k % R
            if again and k == start:
                copy_all(ring_c[i, a], ring_l[i, a], ring_v[i, a], ring_s[i, a], cloud[i], logs[i], common[i], s[i])
            else:
                rising(ring_u[i], k, oldest[i], rose)
                predict(A, cloud[i], common[i], centre[i], root, s[i, WIDENESS], ring_u[i, a], rose,
                        at + (k - 1) * interval, seed[i], 2 * k, work, memory)  # fmt: skip
                copy_all(cloud[i], logs[i], common[i], s[i], ring_c[i, a], ring_l[i, a], ring_v[i, a], ring_s[i, a])
            if math.isfinite(ring_y[i, a]):
                end = update(A, cloud[i], logs[i], common[i], s[i], m[i], omega[i], at + k * interval, ring_y[i, a],
                             ring_n[i, a], seed[i], 2 * k + 1, work, memory)  # fmt: skip
                if used and k == slot[i]:
                    fate[i] = end
        weights = memory[8]
        normalise(logs[i], weights)
        summary(A, cloud[i], weights, common[i], m[i], P[i])
        outputs(A, cloud[i], at + now * interval, work, memory)
        mean, variance = moments(memory[2][1], weights)
        if A[0][OFFSET] >= 0:
            variance += common[i, 0, 0]
        s[i, TRUTH], s[i, TRUTH_SD] = mean, math.sqrt(variance)
