"""The guard: every dose passes it, and it only ever moves a dose towards giving nothing.

::

    asked ──▶ faults of the request, record, history, readings, predictions ──▶ any?  nothing is given
                │ none
                ▼
              limits: single, rate, rolling, course, increase, projected, blind ──▶ least of asked and all limits
                │
                ▼
              rounded down to the increment, nothing if under the smallest dose ──▶ allowed

Plain numbers in, plain numbers out: no model, no solver, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .asked import Asked, Context, Given, Verdict
from .history import History, scan
from .limits import Limits
from .parts import Bound, DoseLimits, RateLimits, Unlimited
from .patient import check_record, weight_of
from .predictions import Cap, check_predictions, check_projections
from .readings import Blind, check_measurements
from .reasons import Code, Reason
from .request import action_of, amount_of, noun, times_of
from .values import CLOCK, WHOLE, hours, pair, per_hour, round_down, span

__all__ = ["guard", "guard_regimen"]

# Reasons for which it is right that no drug runs.
STOPS = (Code.MEASUREMENT_STOP, Code.MEASUREMENT_FALLING)


def guard(asked: Asked, context: Context, limits: Limits) -> Verdict:
    """Allow a dose, lower it to the limits, or refuse it; with every reason in words.

    A number that is missing, NaN, infinite, negative, text, a boolean, of another unit, stale, in the future, or
    outside its physical range refuses the dose: nothing is clamped. A dose over a limit is lowered to the limit and
    rounded down to the increment. A dose within all limits comes back unchanged: ``verdict.allowed is asked``.

    Args:
        asked: the dose or rate.
        context: what is known of the patient.
        limits: the therapy's table.

    Returns:
        The verdict; ``allowed.amount`` is never above ``asked.amount``, and 0 whenever a reason refuses.

    Raises:
        TypeError: an argument is of another class; a fault of the program, never of a patient's data.
    """
    for value, kind in ((asked, Asked), (context, Context), (limits, Limits)):
        if not isinstance(value, kind):
            raise TypeError(f"guard wants {kind.__name__}, not {type(value).__name__}")
    out: list[Reason] = []
    action = action_of(asked, limits, out)
    amount = amount_of(asked, out)
    now, time, duration = times_of(asked, context, limits, out)
    weight = weight_of(context, limits, out)
    check_record(context, limits, now, out)
    history = scan(asked.kind, now, time, context, limits, out)
    blind = check_measurements(context, limits, now, out)
    _suspension(now, history, limits, out)
    blind += check_predictions(context, limits, out)
    caps, unprojected = check_projections(context, limits, out)
    blind += unprojected
    if amount is None or action is None:
        return Verdict(replace(asked, amount=0.0), asked, tuple(out), limits.safe_action)
    if amount > 0.0:
        _spacing(action, duration, time, history, out)
    target = _lower(amount, duration, weight, action, limits, history, caps, blind, out)
    target = 0.0 if any(reason.code.refuses for reason in out) else _practical(target, action, out)
    allowed = asked if target == amount else replace(asked, amount=target)
    return Verdict(allowed, asked, tuple(out), limits.safe_action)


def guard_regimen(asked: Sequence[Asked], context: Context, limits: Limits) -> tuple[Verdict, ...]:
    """Judge the doses of a regimen one after the other; what each is allowed is planned when the next is judged.

    Args:
        asked: the doses in order of time; one out of order is refused.
        context: what is known of the patient before the first of them.
        limits: the therapy's table.

    Returns:
        One verdict a dose.
    """
    verdicts: list[Verdict] = []
    for dose in asked:
        verdict = guard(dose, context, limits)
        verdicts.append(verdict)
        allowed = verdict.allowed
        if allowed.amount > 0:
            new = Given(
                kind=allowed.kind,
                amount=allowed.amount,
                unit=allowed.unit,
                time=allowed.time,
                duration=allowed.duration,
            )
            context = replace(context, planned=(*context.planned, new))
    return tuple(verdicts)


def _suspension(now: float, history: History, limits: Limits, out: list[Reason]) -> None:
    """Say that no drug has run for too long, where no reading stops it. To give some again is not the guard's to do."""
    bound = limits.suspension_max
    stopped = any(reason.code in STOPS for reason in out)
    if history.end > -math.inf and now - history.end > bound.value + CLOCK and not stopped:
        shown, most = hours(now - history.end, bound.value)
        sentence = f"Nothing has run in for {shown}, and no reading stops the drug; {most} is the longest."
        out.append(Reason(Code.SUSPENDED_LONG, sentence, bound.source))


def _spacing(
    action: DoseLimits | RateLimits, duration: float, time: float, history: History, out: list[Reason]
) -> None:
    """How long the dose takes, and how long after the last one it starts."""
    what = noun(action.kind)
    if duration < action.duration_min.value:
        shown, least = hours(duration, action.duration_min.value)
        sentence = f"The {what} is asked over {shown}; {least} is the shortest."
        out.append(Reason(Code.DURATION_SHORT, sentence, action.duration_min.source))
    if duration > action.duration_max.value:
        shown, most = hours(duration, action.duration_max.value)
        sentence = f"The {what} is asked over {shown}; {most} is the longest."
        out.append(Reason(Code.DURATION_LONG, sentence, action.duration_max.source))
    elapsed, interval = time - history.last, action.interval_min
    if isinstance(interval, Bound) and elapsed < interval.value - CLOCK:
        shown, least = hours(elapsed, interval.value)
        sentence = f"The {what} would start {shown} after the last one; {least} is the shortest interval."
        out.append(Reason(Code.INTERVAL_SHORT, sentence, interval.source))


def _lower(
    amount: float,
    duration: float,
    weight: float,
    action: DoseLimits | RateLimits,
    limits: Limits,
    history: History,
    caps: list[Cap],
    blind: Blind,
    out: list[Reason],
) -> float:
    """The least of the amount and of every limit; each limit that the amount exceeds is reported.

    An unknown weight or duration is NaN and exceeds nothing: it was refused where it was read.
    """
    target = amount
    # Limits that are worked out carry rounding; those that stand in the table are exact.
    slack = WHOLE * action.increment.value
    what, unit = noun(action.kind), action.unit

    def over(code: Code, cap: float, words: str, source: str) -> None:
        nonlocal target
        target = min(target, cap)
        shown, most = pair(amount, cap)
        sentence = f"The asked {what} of {shown} {unit} is over {most} {unit}, {words}."
        out.append(Reason(code, sentence, source))

    single, per_kg = action.maximum, action.maximum_per_kg
    if amount > single.value:
        over(Code.SINGLE_MAX, single.value, f"the largest single {what}", single.source)
    if amount > weight * per_kg.value + slack:
        words = f"the largest for {weight:g} kg ({per_kg.value:g} {per_kg.unit})"
        over(Code.SINGLE_MAX_PER_KG, weight * per_kg.value, words, per_kg.source)

    delivered_by_one = 1.0
    if isinstance(action, DoseLimits):
        rate, rate_per_kg = action.infusion_rate_max, action.infusion_rate_max_per_kg
        cap = rate.value * per_hour(rate.unit) * duration
        if amount > cap + slack:
            words = f"the most that may run in over {span(duration)} ({rate.value:g} {rate.unit})"
            over(Code.INFUSION_RATE_MAX, cap, words, rate.source)
        cap = rate_per_kg.value * per_hour(rate_per_kg.unit) * weight * duration
        if amount > cap + slack:
            words = f"the most that may run in over {span(duration)} at {weight:g} kg"
            words = f"{words} ({rate_per_kg.value:g} {rate_per_kg.unit})"
            over(Code.INFUSION_RATE_MAX_PER_KG, cap, words, rate_per_kg.source)
    else:
        delivered_by_one = duration * per_hour(unit)

    totals: list[tuple[Code, Bound | Unlimited, float, float, float]] = []
    for row, already in zip(limits.rolling, history.rolling):
        totals.append((Code.ROLLING_MAX, row.total, 1.0, already, row.window.value))
        totals.append((Code.ROLLING_MAX_PER_KG, row.total_per_kg, weight, already, row.window.value))
    totals.append((Code.COURSE_MAX, limits.course_total, 1.0, history.course, math.inf))
    totals.append((Code.COURSE_MAX_PER_KG, limits.course_total_per_kg, weight, history.course, math.inf))
    for code, total, size, already, window in totals:
        left = max(total.value * size - already, 0.0)
        if delivered_by_one > 0.0 and amount > left / delivered_by_one + slack:
            within = "the whole course" if math.isinf(window) else span(window)
            words = f"what is left of {total.value:g} {total.unit} in {within} after {already:g} {limits.unit}"
            over(code, left / delivered_by_one, words, total.source)

    factor = action.increase_factor
    if history.newest > -math.inf:
        base = max(history.newest_amount, action.increase_base.value)
        if amount > factor.value * base + slack:
            words = f"{factor.value:g} times the last {what} (counted as {base:g} {unit})"
            over(Code.INCREASE_MAX, factor.value * base, words, factor.source)

    for projected in caps:
        if amount > projected.amount + slack:
            over(*projected)

    for code, fact in blind:
        bound = action.unpredicted_max if code is Code.PREDICTION_MISSING else action.unmeasured_max
        if amount > bound.value:
            over(code, bound.value, f"the most while {fact}", bound.source)
    return target


def _practical(target: float, action: DoseLimits | RateLimits, out: list[Reason]) -> float:
    """Rounded down to the increment; 0 if what is left is too small to be given."""
    increment, least = action.increment, action.minimum
    rounded = round_down(target, increment.value)
    if rounded < target:
        shown, down = pair(target, rounded)
        sentence = f"{shown} {action.unit} is rounded down to {down}, in steps of {increment.value:g} {action.unit}."
        out.append(Reason(Code.INCREMENT, sentence, increment.source))
    if target > 0.0 and rounded < least.value - WHOLE * increment.value:
        shown, smallest = pair(rounded, least.value)
        sentence = f"{shown} {action.unit} is under {smallest} {action.unit}, the smallest {noun(action.kind)} given."
        out.append(Reason(Code.MINIMUM, sentence, least.source))
        return 0.0
    return rounded
