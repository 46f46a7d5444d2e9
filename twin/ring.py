"""The loop of the sigma-point filter: readings in their places, late ones too.

Beliefs before their reading stand in a ring by slot (the interval's number). A reading of an earlier slot is put in its
place and everything after it is done again, so a late reading leaves the same bits as one in time.
"""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .motion import ADDITIVE, INTERVAL, PROPORTIONAL, new_work, set_person
from .ukf import (
    EXPECTED,
    EXPECTED_SD,
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
def follow(A, first, last, slots, only, at, advance, u, slot, reading, noise, oldest, fixed, eta, centre, omega,
           m, P, s, ring_m, ring_P, ring_s, ring_u, ring_y, ring_n, fate):  # fmt: skip
    """One step of patients first to last.

    Args: ``slots`` (n,) this slot of each; ``only`` (n,) who is meant, the others are left alone; ``at`` the time of
    slot 0; ``advance`` whether an interval has passed; ``u`` (n, signals) held over it; ``slot`` (n,) of the readings;
    ``noise`` (n,) factor on their white variance; ``oldest`` (n,) first slot of each patient; the ring's arrays are
    (n, slots, ...).
    """
    work, memory, interval = new_work(A[0]), new_memory(A[0]), A[1][INTERVAL]
    R, signals = ring_y.shape[1], u.shape[1]
    rose = np.zeros(max(1, signals), dtype=np.bool_)
    for i in range(first, last):
        if not only[i]:
            continue
        now = slots[i]
        set_person(work, fixed[i], eta[i])
        if advance:
            for r in range(signals):
                ring_u[i, now % R, r] = u[i, r]
            ring_y[i, now % R], ring_n[i, now % R] = np.nan, 1.0
        fate[i] = fate_of(slot[i], now, R, oldest[i], reading[i], ring_y[i])
        used, begin = fate[i] == FATE_USED, now if advance else now + 1
        again = used and slot[i] < begin  # from the belief that stood before the reading's slot was read
        if used:
            ring_y[i, slot[i] % R], ring_n[i, slot[i] % R] = reading[i], noise[i]
            begin = min(begin, slot[i])
        for k in range(begin, now + 1):
            a = k % R
            if again and k == begin:
                copy_all(ring_m[i, a], ring_P[i, a], ring_s[i, a], m[i], P[i], s[i])
            else:
                rising(ring_u[i], k, oldest[i], rose)
                t = at + (k - 1) * interval
                predict(A, m[i], P[i], centre[i], omega[i], s[i, WIDENESS], ring_u[i, a], rose, t, work, memory)
                copy_all(m[i], P[i], s[i], ring_m[i, a], ring_P[i, a], ring_s[i, a])
            if math.isfinite(ring_y[i, a]):
                t = at + k * interval
                end = update(A, m[i], P[i], s[i], centre[i], omega[i], t, ring_y[i, a], ring_n[i, a], work, memory)
                if used and k == slot[i]:
                    fate[i] = end
        if not math.isfinite(ring_y[i, now % R]):
            mean, variance, whole, spread, _ = expect(A, m[i], P[i], at + now * interval, work, memory)
            s[i, TRUTH], s[i, TRUTH_SD] = mean, math.sqrt(max(variance, 0.0))
            if not used:
                white = A[1][ADDITIVE] ** 2 + (A[1][PROPORTIONAL] * whole) ** 2
                s[i, EXPECTED], s[i, EXPECTED_SD] = whole, math.sqrt(spread + white)


@jit
def rising(ring_u, k, oldest, rose):
    """Which signals rise from 0 in slot k."""
    R = ring_u.shape[0]
    for r in range(ring_u.shape[1]):
        rose[r] = ring_u[k % R, r] > 0.0 and (k - 1 <= oldest or not ring_u[(k - 1) % R, r] > 0.0)


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
