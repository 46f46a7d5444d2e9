"""The loop of the sigma-point filter: readings in their places, late ones too.

Beliefs before their reading stand in a ring by slot (the interval's number). A reading of an earlier slot is put in its
place and everything after it is done again, so a late reading leaves the same bits as one in time.
"""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .motion import INTERVAL, new_work, set_person
from .ukf import (
    FATE_DUPLICATE,
    FATE_IMPLAUSIBLE,
    FATE_LATE,
    FATE_MISSING,
    FATE_USED,
    TRUTH,
    TRUTH_SD,
    WIDENESS,
    expect,
    new_memory,
    predict,
    update,
)


@jit
def copy_all(m, P, s, to_m, to_P, to_s):
    """Copy one belief."""
    for r in range(m.shape[0]):
        to_m[r] = m[r]
        for c in range(m.shape[0]):
            to_P[r, c] = P[r, c]
    for r in range(s.shape[0]):
        to_s[r] = s[r]


@jit
def follow(A, first, last, now, at, advance, u, slot, reading, noise, oldest, fixed, eta, centre, omega,
           m, P, s, ring_m, ring_P, ring_s, ring_u, ring_y, ring_n, fate):  # fmt: skip
    """One step of patients first to last.

    Args: ``now`` this slot; ``at`` the time of slot 0; ``advance`` whether an interval has passed; ``u`` (n, signals)
    held over it; ``slot`` (n,) of the readings; ``noise`` (n,) factor on their white variance; ``oldest`` (n,) first
    slot of each patient; the ring's arrays are (n, slots, ...).
    """
    work, memory = new_work(A[0]), new_memory(A[0])
    R, signals = ring_y.shape[1], u.shape[1]
    rose = np.zeros(max(1, signals), dtype=np.bool_)
    for i in range(first, last):
        set_person(work, fixed[i], eta[i])
        if advance:
            to = now % R
            for r in range(signals):
                ring_u[i, to, r] = u[i, r]
            ring_y[i, to], ring_n[i, to] = np.nan, 1.0
            step(A, i, now, at, rose, work, memory, oldest[i], centre[i], omega[i],
                 m[i], P[i], s[i], ring_m, ring_P, ring_s, ring_u, ring_y, ring_n)  # fmt: skip
        fate[i] = fate_of(slot[i], now, R, oldest[i], reading[i], ring_y[i])
        if fate[i] == FATE_USED:
            j = slot[i]
            a = j % R
            ring_y[i, a], ring_n[i, a] = reading[i], noise[i]
            copy_all(ring_m[i, a], ring_P[i, a], ring_s[i, a], m[i], P[i], s[i])
            fate[i] = update(
                A, m[i], P[i], s[i], centre[i], omega[i], at + j * A[1][INTERVAL], reading[i], noise[i], work, memory
            )
            for k in range(j + 1, now + 1):
                step(A, i, k, at, rose, work, memory, oldest[i], centre[i], omega[i],
                     m[i], P[i], s[i], ring_m, ring_P, ring_s, ring_u, ring_y, ring_n)  # fmt: skip
        mean, variance, _, _ = expect(A, m[i], P[i], at + now * A[1][INTERVAL], work, memory)
        s[i, TRUTH], s[i, TRUTH_SD] = mean, math.sqrt(max(variance, 0.0))


@jit
def fate_of(slot, now, slots, oldest, reading, ring_y):
    """Whether a reading can be used: USED, or why not."""
    if not math.isfinite(reading):
        return FATE_MISSING
    if slot > now:
        return FATE_IMPLAUSIBLE
    if slot < oldest or slot <= now - slots:
        return FATE_LATE
    if math.isfinite(ring_y[slot % slots]):
        return FATE_DUPLICATE
    return FATE_USED


@jit
def step(A, i, k, at, rose, work, memory, oldest, centre, omega,
         m, P, s, ring_m, ring_P, ring_s, ring_u, ring_y, ring_n):  # fmt: skip
    """From slot k-1 to slot k: predict, remember, and take in the slot's reading if there is one."""
    R, interval = ring_y.shape[1], A[1][INTERVAL]
    to, before = k % R, (k - 1) % R
    for r in range(ring_u.shape[2]):
        rose[r] = ring_u[i, to, r] > 0.0 and (k - 1 <= oldest or not ring_u[i, before, r] > 0.0)
    predict(A, m, P, centre, omega, s[WIDENESS], ring_u[i, to], rose, at + (k - 1) * interval, work, memory)
    copy_all(m, P, s, ring_m[i, to], ring_P[i, to], ring_s[i, to])
    if math.isfinite(ring_y[i, to]):
        update(A, m, P, s, centre, omega, at + k * interval, ring_y[i, to], ring_n[i, to], work, memory)
