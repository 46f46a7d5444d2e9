"""The loop of the particle filter: readings in their places, late ones too (as `twin.ring`, over particles)."""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .algebra import cholesky
from .motion import EFFECTS, INTERVAL, OFFSET, STATES, new_work, set_person
from .particle import moments, new_memory, normalise, outputs, predict, start, summary, update
from .ring import fate_of
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
def step(A, i, k, at, rose, work, memory, oldest, centre, root, omega, seed, cloud, logs, common, m, s,
         ring_c, ring_l, ring_v, ring_s, ring_u, ring_y, ring_n):  # fmt: skip
    """From slot k-1 to slot k: predict, remember, and take in the slot's reading if there is one."""
    R, interval = ring_y.shape[1], A[1][INTERVAL]
    to, before = k % R, (k - 1) % R
    for r in range(ring_u.shape[2]):
        rose[r] = ring_u[i, to, r] > 0.0 and (k - 1 <= oldest or not ring_u[i, before, r] > 0.0)
    t = at + k * interval
    predict(A, cloud, common, centre, root, s[WIDENESS], ring_u[i, to], rose, t - interval, seed, 2 * k, work, memory)
    copy_all(cloud, logs, common, s, ring_c[i, to], ring_l[i, to], ring_v[i, to], ring_s[i, to])
    if math.isfinite(ring_y[i, to]):
        update(A, cloud, logs, common, s, m, omega, t, ring_y[i, to], ring_n[i, to], seed, 2 * k + 1, work, memory)


@jit
def begin(A, first, last, seed, m, P, s, cloud, common, ring_c, ring_l, ring_v, ring_s):
    """Particles from normal beliefs, in slot 0."""
    memory = new_memory(A[0], cloud.shape[1])
    logs = np.zeros(cloud.shape[1])
    for i in range(first, last):
        start(seed[i], m[i], P[i], A[0], cloud[i], common[i], memory)
        copy_all(cloud[i], logs, common[i], s[i], ring_c[i, 0], ring_l[i, 0], ring_v[i, 0], ring_s[i, 0])


@jit
def follow(A, first, last, now, at, advance, u, slot, reading, noise, oldest, fixed, eta, centre, omega, seed,
           cloud, logs, common, m, P, s, ring_c, ring_l, ring_v, ring_s, ring_u, ring_y, ring_n, fate):  # fmt: skip
    """One step of patients first to last: see `twin.ring.follow`."""
    q, N = A[0][EFFECTS], cloud.shape[1]
    work, memory, root = new_work(A[0]), new_memory(A[0], N), np.zeros((q, q))
    R, signals, interval = ring_y.shape[1], u.shape[1], A[1][INTERVAL]
    rose = np.zeros(max(1, signals), dtype=np.bool_)
    for i in range(first, last):
        set_person(work, fixed[i], eta[i])
        factor_of_drift(A, omega[i], root)
        if advance:
            to = now % R
            for r in range(signals):
                ring_u[i, to, r] = u[i, r]
            ring_y[i, to], ring_n[i, to] = np.nan, 1.0
            step(A, i, now, at, rose, work, memory, oldest[i], centre[i], root, omega[i], seed[i], cloud[i], logs[i],
                 common[i], m[i], s[i], ring_c, ring_l, ring_v, ring_s, ring_u, ring_y, ring_n)  # fmt: skip
        fate[i] = fate_of(slot[i], now, R, oldest[i], reading[i], ring_y[i])
        if fate[i] == FATE_USED:
            j = slot[i]
            a = j % R
            ring_y[i, a], ring_n[i, a] = reading[i], noise[i]
            copy_all(ring_c[i, a], ring_l[i, a], ring_v[i, a], ring_s[i, a], cloud[i], logs[i], common[i], s[i])
            fate[i] = update(A, cloud[i], logs[i], common[i], s[i], m[i], omega[i], at + j * interval, reading[i],
                             noise[i], seed[i], 2 * j + 1, work, memory)  # fmt: skip
            for k in range(j + 1, now + 1):
                step(A, i, k, at, rose, work, memory, oldest[i], centre[i], root, omega[i], seed[i], cloud[i], logs[i],
                     common[i], m[i], s[i], ring_c, ring_l, ring_v, ring_s, ring_u, ring_y, ring_n)  # fmt: skip
        weights = memory[8]
        normalise(logs[i], weights)
        summary(A, cloud[i], weights, common[i], m[i], P[i])
        outputs(A, cloud[i], at + now * interval, work, memory)
        mean, variance = moments(memory[2][1], weights)
        if A[0][OFFSET] >= 0:
            variance += common[i, 0, 0]
        s[i, TRUTH], s[i, TRUTH_SD] = mean, math.sqrt(variance)
