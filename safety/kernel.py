"""The rules of the guard in numbers only, compiled: one request after the other over arrays.

A second telling of `guard`, kept apart from it on purpose: the tests hold the two equal, bit for bit. NaN stands for a
number that is missing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .compiled import compiled
from .predictions import most
from .reasons import FIRST_LOWERING, Code
from .values import CLOCK, MINUTES, WHOLE, round_down

__all__ = ["Bounds", "Numbers", "Row", "Table", "judge"]


class Table(NamedTuple):
    """The numbers of one action and of the table around it; inf where an upper limit is off, -inf for a lower one."""

    increment: float
    minimum: float
    maximum: float
    maximum_per_kg: float
    duration_min: float
    duration_max: float
    interval_min: float
    increase_factor: float
    increase_base: float
    unmeasured_max: float
    unpredicted_max: float
    infusion_per_hour: float
    infusion_per_hour_per_kg: float
    is_rate: bool
    rate_hours: float
    has_rates: bool
    course_total: float
    course_total_per_kg: float
    weight_low: float
    weight_high: float
    record_age_max: float
    ahead_max: float
    suspension_max: float


_round_down = compiled(round_down)
_most = compiled(most)
_REFUSED = 1 << FIRST_LOWERING
_BLIND = 1 << Code.MEASUREMENT_STALE | 1 << Code.MEASUREMENT_POOR | 1 << Code.MEASUREMENT_IMPLAUSIBLE
_STOPS = 1 << Code.MEASUREMENT_STOP | 1 << Code.MEASUREMENT_FALLING


@compiled
def _known(x: float) -> float:
    return x if math.isfinite(x) else math.nan


@compiled
def _times(now: float, time: float, duration: float, t: Table) -> int:
    mask = 0
    if not math.isfinite(now):
        mask |= 1 << Code.NOW_INVALID
    if not math.isfinite(time):
        mask |= 1 << Code.TIME_INVALID
    if not math.isfinite(duration) or duration < 0.0:
        mask |= 1 << Code.DURATION_INVALID
    if time < now:
        mask |= 1 << Code.TIME_PAST
    if time - now > t.ahead_max + CLOCK:
        mask |= 1 << Code.TIME_TOO_FAR
    return mask


@compiled
def _patient(now: float, weight: float, record_time: float, t: Table) -> int:
    mask = 0
    if not math.isfinite(weight):
        mask |= 1 << Code.WEIGHT_INVALID
    elif weight < t.weight_low or weight > t.weight_high:
        mask |= 1 << Code.WEIGHT_OUT_OF_RANGE
    if not math.isfinite(record_time):
        mask |= 1 << Code.RECORD_TIME_INVALID
    elif record_time > now:
        mask |= 1 << Code.RECORD_IN_FUTURE
    elif now - record_time > t.record_age_max + CLOCK:
        mask |= 1 << Code.RECORD_STALE
    return mask


class Row(NamedTuple):
    """The numbers of one measurement, as columns of an array; off as in `Table`."""

    low: Any
    high: Any
    quality_min: Any
    age_max: Any
    stop_below: Any
    stop_above: Any
    change_max: Any
    fall_max: Any
    fall_below: Any
    stop_age_max: Any
    unit_is_wrong: Any


@compiled
def _reading(
    now: float, value: float, time: float, quality: float, has_previous: bool, previous: float, previous_time: float,
    j: int, row: Row,
) -> int:  # fmt: skip
    """The codes of the j-th measurement, MEASUREMENT_MISSING aside."""
    if not math.isfinite(value) or not math.isfinite(time):
        return 1 << Code.MEASUREMENT_INVALID
    if row.unit_is_wrong[j]:
        return 1 << Code.MEASUREMENT_UNIT_WRONG
    mask, change, poor = 0, 0.0, False
    if row.quality_min[j] > -math.inf:
        if not 0.0 <= quality <= 100.0:
            mask |= 1 << Code.MEASUREMENT_INVALID
        elif quality < row.quality_min[j]:
            mask |= 1 << Code.MEASUREMENT_POOR
            poor = True
    if has_previous:
        change = (value - previous) / ((time - previous_time + CLOCK) * MINUTES)
        # A change from what is no number is none itself.
        if not (math.isfinite(previous_time) and math.isfinite(change)) or previous_time >= time:
            mask |= 1 << Code.MEASUREMENT_INVALID
    if mask & 1 << Code.MEASUREMENT_INVALID:
        return mask
    if not poor:
        if value < row.low[j] or value > row.high[j]:
            mask |= 1 << Code.MEASUREMENT_OUT_OF_RANGE
        else:
            if not now - time > row.stop_age_max[j] + CLOCK:
                if value < row.stop_below[j] or value > row.stop_above[j]:
                    mask |= 1 << Code.MEASUREMENT_STOP
                if -change > row.fall_max[j] and value < row.fall_below[j]:
                    mask |= 1 << Code.MEASUREMENT_FALLING
            if abs(change) > row.change_max[j]:
                mask |= 1 << Code.MEASUREMENT_IMPLAUSIBLE
    if time > now:
        mask |= 1 << Code.MEASUREMENT_IN_FUTURE
    elif now - time > row.age_max[j] + CLOCK:
        mask |= 1 << Code.MEASUREMENT_STALE
    return mask


@compiled
def _prediction(probability: float, most: float) -> int:
    if not 0.0 <= probability <= 1.0:
        return 1 << Code.PREDICTION_INVALID
    return 1 << Code.HARM_LIKELY if probability > most else 0


@compiled
def _capped(mask: int, target: float, amount: float, cap: float, slack: float, code: int) -> tuple[int, float]:
    if amount > cap + slack:
        return mask | 1 << code, min(target, cap)
    return mask, target


@compiled
def _history(
    now: float, time: float, count: int, amounts: Any, times: Any, durations: Any, is_rate: Any, is_total: Any,
    is_planned: Any, windows: Any, rolling: Any, t: Table,
) -> tuple[int, float, float, float, float, float]:  # fmt: skip
    """Fills ``rolling``; mask, course total, start of the newest dose, start and amount of the newest entry, end."""
    mask, course, last, newest, newest_amount, last_end = 0, 0.0, -math.inf, -math.inf, math.nan, -math.inf
    rolling[:] = 0.0
    for e in range(count):
        amount, start, duration = amounts[e], times[e], durations[e]
        sound = math.isfinite(amount) and math.isfinite(start) and math.isfinite(duration)
        if not sound or amount < 0.0 or duration < 0.0:
            mask |= 1 << Code.HISTORY_INVALID
            continue
        rate = is_rate[e] and not is_total[e]
        if rate and not t.has_rates:
            mask |= 1 << Code.HISTORY_UNIT_WRONG
            continue
        if is_planned[e]:
            if start < now or start > time:
                mask |= 1 << Code.HISTORY_MISDATED
        elif start > now:
            mask |= 1 << Code.HISTORY_MISDATED
        delivered = amount * duration * t.rate_hours if rate else amount
        course += delivered
        end = start + duration
        if amount > 0.0:
            last_end = max(last_end, end)
        since = time - end
        for w in range(rolling.size):
            if since < windows[w] - CLOCK:
                rolling[w] += delivered
        if rate == t.is_rate and not is_total[e]:
            if amount > 0.0:
                last = max(last, start)
            if start > newest:
                newest, newest_amount = start, amount
            elif start == newest:
                newest_amount = min(newest_amount, amount)
    return mask, course, last, newest, newest_amount, last_end


@compiled
def _left(total: float, already: float, delivered_by_one: float) -> float:
    return max(total - already, 0.0) / delivered_by_one


@compiled
def _misprojected(of: float, nothing: float, given: float) -> bool:
    # A difference with what is no number is none itself.
    return not (math.isfinite(of) and math.isfinite(given - nothing)) or of < 0.0


class Numbers(NamedTuple):
    """The arrays of a `Batch`, and those of its `OwnLimits`, infinite where the patient has no own limit."""

    amount: Any
    time: Any
    duration: Any
    now: Any
    weight: Any
    record_time: Any
    given_amount: Any
    given_time: Any
    given_duration: Any
    measurement: Any
    measurement_time: Any
    quality: Any
    previous: Any
    previous_time: Any
    probability: Any
    projected_amount: Any
    if_nothing: Any
    if_given: Any
    given_rate: Any
    given_total: Any
    given_planned: Any
    measured: Any
    has_previous: Any
    predicted: Any
    projected: Any
    given_count: Any
    maximum: Any
    unmeasured_max: Any
    unpredicted_max: Any
    total: Any
    high: Any


class Bounds(NamedTuple):
    """The rows of the table around an action, as arrays of columns; off as in `Table`."""

    window: Any
    total: Any
    total_per_kg: Any
    harm: Any
    high: Any
    low: Any
    steepness: Any
    projection_unit_is_wrong: Any


@compiled
def judge(
    p: Numbers, request_faults: int, weight_unit_is_wrong: bool, t: Table, b: Bounds, row: Row, allowed: Any,
    masks: Any,
) -> None:  # fmt: skip
    """Fill ``allowed`` and ``masks``; ``request_faults`` holds for the whole batch."""
    rolling = np.empty(b.window.size)
    for i in range(p.amount.size):
        amount = p.amount[i]
        now, time, duration, weight = _known(p.now[i]), _known(p.time[i]), _known(p.duration[i]), _known(p.weight[i])
        mask = request_faults | _times(now, time, duration, t)
        if duration < 0.0:
            duration = math.nan
        patient = _patient(now, weight, p.record_time[i], t)
        if weight_unit_is_wrong and patient & 1 << Code.WEIGHT_INVALID == 0:
            patient = patient & ~(1 << Code.WEIGHT_OUT_OF_RANGE) | 1 << Code.WEIGHT_UNIT_WRONG
            weight = math.nan
        found, course, last, newest, newest_amount, end = _history(
            now, time, p.given_count[i], p.given_amount[i], p.given_time[i], p.given_duration[i], p.given_rate[i],
            p.given_total[i], p.given_planned[i], b.window, rolling, t,
        )  # fmt: skip
        mask |= patient | found
        blind, unpredicted = 0, False
        for j in range(row.low.size):
            if not p.measured[i, j]:
                blind |= 1 << Code.MEASUREMENT_MISSING
                continue
            found = _reading(
                now, p.measurement[i, j], p.measurement_time[i, j], p.quality[i, j], p.has_previous[i, j],
                p.previous[i, j], p.previous_time[i, j], j, row,
            )  # fmt: skip
            blind |= found & _BLIND
            mask |= found & ~_BLIND
        if end > -math.inf and now - end > t.suspension_max + CLOCK and mask & _STOPS == 0:
            mask |= 1 << Code.SUSPENDED_LONG
        for j in range(b.harm.size):
            if p.predicted[i, j]:
                mask |= _prediction(p.probability[i, j], b.harm[j])
            else:
                unpredicted = True
        for j in range(b.high.size):
            if not p.projected[i, j]:
                unpredicted = True
            elif b.projection_unit_is_wrong[j]:
                mask |= 1 << Code.PREDICTION_UNIT_WRONG
            elif _misprojected(p.projected_amount[i, j], p.if_nothing[i, j], p.if_given[i, j]):
                mask |= 1 << Code.PREDICTION_INVALID
        if not math.isfinite(amount):
            mask |= 1 << Code.AMOUNT_INVALID
        elif amount < 0.0:
            mask |= 1 << Code.AMOUNT_NEGATIVE
        if request_faults or not math.isfinite(amount):
            allowed[i], masks[i] = 0.0, mask
            continue

        if amount > 0.0:
            if duration < t.duration_min:
                mask |= 1 << Code.DURATION_SHORT
            if duration > t.duration_max:
                mask |= 1 << Code.DURATION_LONG
            if time - last < t.interval_min - CLOCK:
                mask |= 1 << Code.INTERVAL_SHORT
        target, slack = amount, WHOLE * t.increment
        mask, target = _capped(mask, target, amount, min(t.maximum, p.maximum[i]), 0.0, Code.SINGLE_MAX)
        mask, target = _capped(mask, target, amount, weight * t.maximum_per_kg, slack, Code.SINGLE_MAX_PER_KG)
        delivered = 1.0
        if t.is_rate:
            delivered = duration * t.rate_hours
        else:
            cap = t.infusion_per_hour * duration
            mask, target = _capped(mask, target, amount, cap, slack, Code.INFUSION_RATE_MAX)
            cap = t.infusion_per_hour_per_kg * weight * duration
            mask, target = _capped(mask, target, amount, cap, slack, Code.INFUSION_RATE_MAX_PER_KG)
        if delivered > 0.0:
            for w in range(rolling.size):
                cap = _left(min(b.total[w], p.total[i, w]), rolling[w], delivered)
                mask, target = _capped(mask, target, amount, cap, slack, Code.ROLLING_MAX)
                cap = _left(b.total_per_kg[w] * weight, rolling[w], delivered)
                mask, target = _capped(mask, target, amount, cap, slack, Code.ROLLING_MAX_PER_KG)
            cap = _left(t.course_total, course, delivered)
            mask, target = _capped(mask, target, amount, cap, slack, Code.COURSE_MAX)
            cap = _left(t.course_total_per_kg * weight, course, delivered)
            mask, target = _capped(mask, target, amount, cap, slack, Code.COURSE_MAX_PER_KG)
        if newest > -math.inf:
            cap = t.increase_factor * max(newest_amount, t.increase_base)
            mask, target = _capped(mask, target, amount, cap, slack, Code.INCREASE_MAX)
        for j in range(b.high.size):
            of, nothing, given = p.projected_amount[i, j], p.if_nothing[i, j], p.if_given[i, j]
            if not p.projected[i, j] or b.projection_unit_is_wrong[j] or _misprojected(of, nothing, given):
                continue
            mask, target = _capped(mask, target, amount, of, slack, Code.PROJECTION_BEYOND)
            high = min(b.high[j], p.high[i, j])
            if given > high:
                cap = _most(of, nothing, given, high, b.steepness[j])
                mask, target = _capped(mask, target, amount, cap, slack, Code.PROJECTION_HIGH)
            if given < b.low[j]:
                cap = _most(of, -nothing, -given, -b.low[j], b.steepness[j])
                mask, target = _capped(mask, target, amount, cap, slack, Code.PROJECTION_LOW)
        if blind and amount > min(t.unmeasured_max, p.unmeasured_max[i]):
            mask, target = mask | blind, min(target, t.unmeasured_max, p.unmeasured_max[i])
        if unpredicted:
            cap = min(t.unpredicted_max, p.unpredicted_max[i])
            mask, target = _capped(mask, target, amount, cap, 0.0, Code.PREDICTION_MISSING)

        if mask & (_REFUSED - 1):
            target = 0.0
        else:
            rounded = _round_down(target, t.increment)
            if rounded < target:
                mask |= 1 << Code.INCREMENT
            if target > 0.0 and rounded < t.minimum - slack:
                mask |= 1 << Code.MINIMUM
                rounded = 0.0
            target = rounded
        # As the plain guard hands back what was asked, a zero keeps its sign.
        allowed[i], masks[i] = amount if target == amount else target, mask
