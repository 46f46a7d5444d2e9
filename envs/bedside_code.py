"""Compiled parts of the ward's environments: what a bedside has, and what the truth costs."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

from ..pkpd.jit import jit
from ..pkpd.lanes import LANES

__all__ = ["BELIEF", "KIDNEYS", "WARD", "auc_parts", "level_parts", "ward_features"]

WARD, KIDNEYS, BELIEF = 14, 3, 4  # columns that `ward_features` fills
LONG = 999.0  # h: never


@jit
def ward_features(out, m, weight, clock, values, times, serum, before, kidneys, belief, volume, per_day):
    """Fill the first columns of ``out`` (n, features) from the record: see `envs.bedside.FEATURES`.

    Args:
        m: `therapies.bedside_rules.Memory`. weight: (n,) kg. clock: (n,) h.
        values, times: (8, n) results, the newest sample first. serum, before: (n,) mg/dL.
        kidneys, belief: whether these columns are there. volume: L/kg of the plain rules. per_day: intervals.
    """
    for i in range(weight.size):
        w = weight[i]
        out[i, 0] = clock[i]
        for r in range(2):
            known, at = times[r, i] >= 0.0, 1 + 4 * r
            out[i, at] = values[r, i] if known else 0.0
            out[i, at + 1] = clock[i] - times[r, i] if known else LONG
            out[i, at + 2], out[i, at + 3] = LONG, 0.0
            if known:
                for j in range(m.count[i]):
                    if m.amount[i, j] > 0.0 and m.time[i, j] < times[r, i]:
                        out[i, at + 2], out[i, at + 3] = times[r, i] - m.time[i, j], m.amount[i, j] / w
                        break
        for j in range(3):
            out[i, 9 + j] = m.amount[i, j] / w if j < m.count[i] else 0.0
        since = LONG
        for j in range(m.count[i]):
            if m.amount[i, j] > 0.0:
                since = clock[i] - m.time[i, j]
                break
        out[i, 12] = since
        out[i, 13] = m.given[i] / w
        at = 14
        if kidneys:
            out[i, at] = serum[i]
            out[i, at + 1] = math.log(serum[i] / before[i]) if before[i] > 0.0 else 0.0
            out[i, at + 2] = m.clear[i]
            at += 3
        if belief:
            factor, area = math.exp(m.ratio[i]), 0.0
            for j in range(min(per_day, m.count[i])):
                area += m.area[i, j]
            out[i, at] = factor * m.now[i] / (volume * w)
            out[i, at + 1] = factor * area
            out[i, at + 2], out[i, at + 3] = m.ratio[i], math.sqrt(m.doubt[i])


@jit
def auc_parts(parts, exposure, course, true, elapsed, share, n, asked, allowed, step):
    """Rewards below and above the band, and costs: AUC24 over 600, trough over 20, guard.

    Args:
        parts: (5, n) to fill. exposure: (blocks, intervals of a day, 8) AUC. course: (blocks, ticks, rows, 8).
        true: the row of the level. elapsed: (n,) intervals before this one. share: of a day that an interval is.
        asked, allowed: (n,) mg. step: mg that rounding may take.
    """
    per_day, last = exposure.shape[1], course.shape[1] - 1
    for i in range(n):
        b, lane, total = i // LANES, i % LANES, 0.0
        for r in range(per_day):
            total += exposure[b, r, lane]
        if elapsed[i] + 1 < per_day:
            total *= per_day / (elapsed[i] + 1.0)
        parts[0, i] = -share * max(0.0, (400.0 - total) / 400.0)
        parts[1, i] = -share * min(2.0, max(0.0, (total - 600.0) / 300.0))
        parts[2, i] = 1.0 if total > 600.0 else 0.0
        parts[3, i] = 1.0 if course[b, last, true, lane] > 20.0 else 0.0
        parts[4, i] = 1.0 if asked[i] - allowed[i] > step else 0.0


@jit
def level_parts(parts, course, true, share, n, asked, allowed, step):
    """Rewards below and above the band, and costs: share of the interval over 40, over 50 mg/L, guard; as above."""
    ticks = course.shape[1]
    for i in range(n):
        b, lane, under, over, high, toxic = i // LANES, i % LANES, 0.0, 0.0, 0.0, 0.0
        for j in range(ticks):
            level = course[b, j, true, lane]
            under += max(0.0, (15.0 - level) / 15.0)
            over += min(2.0, max(0.0, (level - 40.0) / 20.0))
            high += 1.0 if level > 40.0 else 0.0
            toxic += 1.0 if level > 50.0 else 0.0
        parts[0, i], parts[1, i] = -share * under / ticks, -share * over / ticks
        parts[2, i], parts[3, i] = high / ticks, toxic / ticks
        parts[4, i] = 1.0 if asked[i] - allowed[i] > step else 0.0
