"""What comes from the sensor: range, quality and time stamp are looked at, and each reading gets its slot."""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .ukf import FATE_DUPLICATE, FATE_IMPLAUSIBLE, FATE_USED

MOVES = 3  # slots that a reading may move to find a free one


@jit
def intake(
    advance,
    slots,
    only,
    at,
    interval,
    low,
    high,
    least,
    quality_delay,
    delay,
    y,
    t,
    q,
    ring_y,
    stamp,
    slot,
    noise,
    fate
):  # fmt: skip
    """Give every reading its slot and the factor on its white variance; what cannot be used becomes NaN.

    A reading of a time stamp that was there is a duplicate. One whose slot is taken moves to the next free one: a delay
    that shortens lays two readings on one slot.

    Args: ``slots`` (n,) this slot of each; ``only`` (n,) who is meant; ``least`` the lowest quality that is used;
    ``delay`` (n,) min; ``y, t, q`` (n,) reading, time, quality; ``ring_y``, ``stamp`` (n, slots) readings and stamps by
    slot; ``slot, noise, fate`` (n,) are written: fate IMPLAUSIBLE or DUPLICATE, else USED.
    """
    R = ring_y.shape[1]
    for i in range(y.shape[0]):
        if not only[i]:
            continue
        now = slots[i]
        slot[i], noise[i], fate[i] = now, 1.0, FATE_USED
        if advance:
            ring_y[i, now % R] = np.nan
            stamp[i, now % R] = np.nan
        if math.isnan(y[i]):
            continue
        good = low <= y[i] <= high and least <= q[i] <= 100.0 and math.isfinite(t[i])
        age = np.rint((t[i] - at) / interval) if good else 0.0
        if not good or age > now:
            y[i], fate[i] = np.nan, FATE_IMPLAUSIBLE
            continue
        for r in range(R):
            if stamp[i, r] == t[i]:
                fate[i] = FATE_DUPLICATE
        if fate[i] == FATE_DUPLICATE:
            y[i] = np.nan
            continue
        noise[i] = (100.0 / q[i]) ** 2
        lag = np.rint((delay[i] + quality_delay * (1.0 - q[i] / 100.0)) / interval)
        to = np.int64(max(age - lag, -1e9))
        if to > now - R:
            for _ in range(MOVES):
                if to < now and math.isfinite(ring_y[i, to % R]):
                    to += 1
            stamp[i, to % R] = t[i]
        slot[i] = to
