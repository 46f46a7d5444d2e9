"""The rules of the guard in numbers only, compiled: one request after the other over arrays.

A second telling of `guard`, kept apart from it on purpose: the tests hold the two equal, bit for bit. NaN stands for a
number that is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from .reasons import FIRST_LOWERING, Code
from .values import CLOCK, WHOLE, round_down

__all__ = ["Table", "judge"]


def compiled(function: Callable[..., Any]) -> Any:
    """Numba's compiler as this room uses it."""
    # This room imports nothing of ours, so it cannot use doseloop.pkpd.jit and its content-checked cache; swap that in
    # here if the rule is ever relaxed. Numba's own cache looks at one file's time stamp only, hence cache=False.
    return numba.njit(cache=False, nogil=True, error_model="numpy")(function)


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


_round_down = compiled(round_down)
_REFUSED = 1 << FIRST_LOWERING


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


@compiled
def _reading(now: float, value: float, time: float, row: Any) -> int:
    """Row: low, high, age_max, stop_below, stop_above, whether the unit is wrong."""
    if not math.isfinite(value) or not math.isfinite(time):
        return 1 << Code.MEASUREMENT_INVALID
    if row[5] != 0.0:
        return 1 << Code.MEASUREMENT_UNIT_WRONG
    mask = 0
    if value < row[0] or value > row[1]:
        mask |= 1 << Code.MEASUREMENT_OUT_OF_RANGE
    elif value < row[3] or value > row[4]:
        mask |= 1 << Code.MEASUREMENT_STOP
    if time > now:
        mask |= 1 << Code.MEASUREMENT_IN_FUTURE
    elif now - time > row[2] + CLOCK:
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
    now: float, time: float, count: int, amounts: Any, times: Any, durations: Any, is_rate: Any, is_planned: Any,
    windows: Any, rolling: Any, t: Table,
) -> tuple[int, float, float, float, float]:  # fmt: skip
    """Fills ``rolling``; mask, course total, start of the newest dose, start and amount of the newest entry."""
    mask, course, last, newest, newest_amount = 0, 0.0, -math.inf, -math.inf, math.nan
    rolling[:] = 0.0
    for e in range(count):
        amount, start, duration = amounts[e], times[e], durations[e]
        sound = math.isfinite(amount) and math.isfinite(start) and math.isfinite(duration)
        if not sound or amount < 0.0 or duration < 0.0:
            mask |= 1 << Code.HISTORY_INVALID
            continue
        if is_rate[e] and not t.has_rates:
            mask |= 1 << Code.HISTORY_UNIT_WRONG
            continue
        if is_planned[e]:
            if start < now or start > time:
                mask |= 1 << Code.HISTORY_MISDATED
        elif start > now:
            mask |= 1 << Code.HISTORY_MISDATED
        delivered = amount * duration * t.rate_hours if is_rate[e] else amount
        course += delivered
        since = time - (start + duration)
        for w in range(rolling.size):
            if since < windows[w, 0] - CLOCK:
                rolling[w] += delivered
        if is_rate[e] == t.is_rate:
            if amount > 0.0:
                last = max(last, start)
            if start > newest:
                newest, newest_amount = start, amount
            elif start == newest:
                newest_amount = min(newest_amount, amount)
    return mask, course, last, newest, newest_amount


@compiled
def _left(total: float, already: float, delivered_by_one: float) -> float:
    return max(total - already, 0.0) / delivered_by_one


@compiled
def judge(
    amounts: Any, times: Any, durations: Any, nows: Any, weights: Any, record_times: Any,
    given_amounts: Any, given_times: Any, given_durations: Any, readings: Any, reading_times: Any, probabilities: Any,
    given_rates: Any, given_planned: Any, measured: Any, predicted: Any, given_counts: Any,
    request_faults: int, weight_unit_is_wrong: bool, t: Table, windows: Any, rows: Any, harms: Any,
    allowed: Any, masks: Any,
) -> None:  # fmt: skip
    """Fill ``allowed`` and ``masks``; arrays as in `Batch`, ``request_faults`` holds for the whole batch."""
    rolling = np.empty(windows.shape[0])
    for i in range(amounts.size):
        amount = amounts[i]
        now, time, duration, weight = _known(nows[i]), _known(times[i]), _known(durations[i]), _known(weights[i])
        mask = request_faults | _times(now, time, duration, t)
        if duration < 0.0:
            duration = math.nan
        patient = _patient(now, weight, record_times[i], t)
        if weight_unit_is_wrong and patient & 1 << Code.WEIGHT_INVALID == 0:
            patient = patient & ~(1 << Code.WEIGHT_OUT_OF_RANGE) | 1 << Code.WEIGHT_UNIT_WRONG
            weight = math.nan
        found, course, last, newest, newest_amount = _history(
            now, time, given_counts[i], given_amounts[i], given_times[i], given_durations[i], given_rates[i],
            given_planned[i], windows, rolling, t,
        )  # fmt: skip
        mask |= patient | found
        missing = stale = unpredicted = False
        for j in range(rows.shape[0]):
            if not measured[i, j]:
                missing = True
                continue
            found = _reading(now, readings[i, j], reading_times[i, j], rows[j])
            if found & 1 << Code.MEASUREMENT_STALE:
                stale = True
            mask |= found & ~(1 << Code.MEASUREMENT_STALE)
        for j in range(harms.size):
            if predicted[i, j]:
                mask |= _prediction(probabilities[i, j], harms[j])
            else:
                unpredicted = True
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
        mask, target = _capped(mask, target, amount, t.maximum, 0.0, Code.SINGLE_MAX)
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
                cap = _left(windows[w, 1], rolling[w], delivered)
                mask, target = _capped(mask, target, amount, cap, slack, Code.ROLLING_MAX)
                cap = _left(windows[w, 2] * weight, rolling[w], delivered)
                mask, target = _capped(mask, target, amount, cap, slack, Code.ROLLING_MAX_PER_KG)
            cap = _left(t.course_total, course, delivered)
            mask, target = _capped(mask, target, amount, cap, slack, Code.COURSE_MAX)
            cap = _left(t.course_total_per_kg * weight, course, delivered)
            mask, target = _capped(mask, target, amount, cap, slack, Code.COURSE_MAX_PER_KG)
        if newest > -math.inf:
            cap = t.increase_factor * max(newest_amount, t.increase_base)
            mask, target = _capped(mask, target, amount, cap, slack, Code.INCREASE_MAX)
        if missing:
            mask, target = _capped(mask, target, amount, t.unmeasured_max, 0.0, Code.MEASUREMENT_MISSING)
        if stale:
            mask, target = _capped(mask, target, amount, t.unmeasured_max, 0.0, Code.MEASUREMENT_STALE)
        if unpredicted:
            mask, target = _capped(mask, target, amount, t.unpredicted_max, 0.0, Code.PREDICTION_MISSING)

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
