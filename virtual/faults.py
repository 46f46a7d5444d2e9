"""Faults put in on purpose: what each does, when, to whom.

Times are minutes since the patient's admission. Several may overlap; each acts as it says:

| kind | what happens | size |
|---|---|---|
| ``lost`` | no reading arrives | – |
| ``stuck`` | the last value before the fault is reported again and again, with new time stamps | – |
| ``drift`` | the value runs away, size × hours since the start | mg/dL (BIS) per hour |
| ``delayed`` | readings arrive late, with their own, old time stamps | minutes |
| ``clock`` | time stamps are wrong | minutes added |
| ``duplicated`` | every other reading is the one before it once more, old time stamp included | – |
| ``spike`` | the value is off, out of the sensor's range if need be | mg/dL (BIS) added |
| ``occluded`` | the line is blocked: nothing enters the patient (`virtual.pumps`) | drug: 0 first, 1 second |
| ``unannounced`` | meals are eaten without a word | – |
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import core as c

__all__ = ["KINDS", "Fault", "random_faults"]

KINDS = ("lost", "stuck", "drift", "delayed", "clock", "duplicated", "spike", "occluded", "unannounced")
LOST, STUCK, DRIFT, DELAYED, CLOCK, DUPLICATED, SPIKE, OCCLUDED, UNANNOUNCED = range(len(KINDS))

KIND, START, STOP, SIZE = range(4)  # rows of one fault
WIDTH = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        kind: one of `KINDS`. start, duration: min. size: see the table above.
        patients: whom it befalls (indices), default everybody.
    """

    kind: str
    start: float
    duration: float
    size: float = 0.0
    patients: Sequence[int] | None = None


def fault_rows(faults: Sequence[Fault], n: int) -> tuple[int, np.ndarray]:
    """How many for each patient at most, and (blocks, that many · 4, 8).

    Raises:
        DoseloopError: listing every fault that cannot be.
    """
    bad: list[str] = []
    each: list[list[tuple[float, ...]]] = [[] for _ in range(n)]
    for i, f in enumerate(faults):
        if f.kind not in KINDS:
            bad.append(f"fault {i}: kind '{f.kind}' is unknown; known: {', '.join(KINDS)}")
            continue
        if not (math.isfinite(f.start) and f.duration > 0 and math.isfinite(f.size)):
            bad.append(f"fault {i} ({f.kind}): start {f.start}, duration {f.duration}, size {f.size}")
        if f.kind == "delayed" and not f.size > 0:
            bad.append(f"fault {i} (delayed): by {f.size} min; it must be above 0")
        whom = range(n) if f.patients is None else f.patients
        if any(not 0 <= k < n for k in whom):
            bad.append(f"fault {i} ({f.kind}): patients are numbered 0 to {n - 1}")
            continue
        for k in whom:
            each[k].append((KINDS.index(f.kind), f.start, f.start + f.duration, f.size))
    if bad:
        raise DoseloopError(bad)
    most = max(map(len, each))
    table = np.full((n, max(1, most), WIDTH), -1.0)
    for k, rows in enumerate(each):
        table[k, : len(rows)] = np.array(rows).reshape(-1, WIDTH)
    flat = table.reshape(n, -1)
    flat = np.concatenate([flat, np.repeat(flat[-1:], -n % LANES, axis=0)])
    return most, np.ascontiguousarray(flat.reshape(-1, LANES, flat.shape[1]).transpose(0, 2, 1))


def random_faults(
    n: int,
    horizon: float,
    seed: int,
    kinds: Sequence[str] = KINDS,
    every: float = 720.0,
    duration: tuple[float, float] = (15.0, 120.0),
    sizes: dict[str, tuple[float, float]] | None = None,
) -> list[Fault]:
    """Faults for n patients: one each ``every`` minutes on average, of a kind drawn from ``kinds``.

    Args:
        n: patients. horizon: min.
        seed: of the draw.
        kinds: from which to draw. every: mean minutes between faults of a patient (exponential).
        duration: least and most, min (log-uniform).
        sizes: least and most by kind, uniform; the defaults suit a CGM.
    """
    rng = np.random.default_rng([seed, c.OWN])
    range_of = {"drift": (-60.0, 60.0), "delayed": (5.0, 30.0), "clock": (-60.0, 60.0), "spike": (-120.0, 200.0)}
    range_of |= sizes or {}
    found = []
    for k in range(n):
        t = rng.exponential(every)
        while t < horizon:
            kind = str(rng.choice(list(kinds)))
            long = math.exp(rng.uniform(math.log(duration[0]), math.log(duration[1])))
            low, high = range_of.get(kind, (0.0, 0.0))
            found.append(Fault(kind, t, long, float(rng.uniform(low, high)), (k,)))
            t += long + rng.exponential(every)
    return found


# compiled -----------------------------------------------------------------------------------------------------------


# ``faults`` is the address of a block's faults, ``count`` how many each patient can have


@jit
def under(faults, count, lane, kind, t):
    """The first fault of a kind under way at t: (True, minutes since its start, size)."""
    for f in range(count):
        r = f * WIDTH
        start = get(faults, (r + START) * LANES + lane)
        if get(faults, (r + KIND) * LANES + lane) == kind and start <= t < get(faults, (r + STOP) * LANES + lane):
            return True, t - start, get(faults, (r + SIZE) * LANES + lane)
    return False, 0.0, 0.0


@jit
def occluded(faults, count, lane, drug, t):
    """Whether the line of that drug is blocked at t."""
    for f in range(count):
        r = f * WIDTH
        here = get(faults, (r + KIND) * LANES + lane) == OCCLUDED and get(faults, (r + SIZE) * LANES + lane) == drug
        if here and get(faults, (r + START) * LANES + lane) <= t < get(faults, (r + STOP) * LANES + lane):
            return True
    return False


@jit
def drifted(faults, count, lane, t):
    """How far the sensor's value has run away at t."""
    hit, since, size = under(faults, count, lane, DRIFT, t)
    return size * since / 60.0 if hit else 0.0


# what a sensor keeps so that its readings can be late or stuck: rows of a block, then the ring of its past values
FROZEN, COUNT, RING = range(3)
DEPTH = 64  # samples in the ring


@jit
def keep_first(a, lane, value):
    """Begin a sensor's memory."""
    put(a, FROZEN * LANES + lane, value)
    put(a, COUNT * LANES + lane, 0.0)
    for r in range(RING, RING + DEPTH):
        put(a, r * LANES + lane, value)


@jit
def report(faults, count, lane, a, value, t, every):
    """What arrives of a sample (NaN: none was made) taken at t by a sensor that samples each ``every`` min.

    Returns the value and its time stamp, NaN both where nothing arrives.
    """
    if count == 0:
        return value, t if value == value else math.nan
    n = np.int64(get(a, COUNT * LANES + lane))
    put(a, COUNT * LANES + lane, n + 1.0)
    put(a, (RING + n % DEPTH) * LANES + lane, value)
    shown, stamp = value, t
    hit, _, size = under(faults, count, lane, DELAYED, t)
    if hit:
        back = np.int64(min(np.floor(size / every + 0.5), DEPTH - 1.0))
        shown, stamp = math.nan, t - back * every
        if back <= n:
            shown = get(a, (RING + (n - back) % DEPTH) * LANES + lane)
    hit, _, _ = under(faults, count, lane, DUPLICATED, t)
    if hit and n % 2 == 1:
        shown, stamp = get(a, (RING + (n - 1) % DEPTH) * LANES + lane), stamp - every
    hit, _, size = under(faults, count, lane, SPIKE, t)
    if hit:
        shown += size
    hit, _, _ = under(faults, count, lane, STUCK, t)
    if hit:
        shown = get(a, FROZEN * LANES + lane)
    elif shown == shown:
        put(a, FROZEN * LANES + lane, shown)
    hit, _, size = under(faults, count, lane, CLOCK, t)
    if hit:
        stamp += size
    hit, _, _ = under(faults, count, lane, LOST, t)
    if hit or shown != shown:
        return math.nan, math.nan
    return shown, stamp
