"""Faults of what is known about the patient: body weight, and the age of the record."""

from __future__ import annotations

import math

from .asked import Context
from .limits import Limits
from .readings import outside_of
from .reasons import Code, Reason
from .values import CLOCK, fault, hours, number, pair, span

__all__ = ["check_record", "weight_of"]


def weight_of(context: Context, limits: Limits, out: list[Reason]) -> float:
    """Body weight (kg), NaN if it is not known or not believed."""
    weight = number(context.weight)
    if weight is None:
        out.append(Reason(Code.WEIGHT_INVALID, f"The body weight {fault(context.weight)}."))
        return math.nan
    if not isinstance(context.weight_unit, str) or context.weight_unit != "kg":
        sentence = f"The body weight is in {context.weight_unit!r}; it is wanted in kg."
        out.append(Reason(Code.WEIGHT_UNIT_WRONG, sentence))
        return math.nan
    outside = outside_of(weight, limits.weight.low, limits.weight.high)
    if outside is not None:
        bound, side = outside
        shown, edge = pair(weight, bound.value)
        sentence = f"The body weight of {shown} kg is {side} the {edge} kg that {limits.therapy} is meant for."
        out.append(Reason(Code.WEIGHT_OUT_OF_RANGE, sentence, bound.source))
    return weight


def check_record(context: Context, limits: Limits, now: float, out: list[Reason]) -> None:
    """Report a record that is stale, or newer than now."""
    time = number(context.record_time)
    if time is None:
        sentence = f"The time of the newest entry in the record {fault(context.record_time)}."
        out.append(Reason(Code.RECORD_TIME_INVALID, sentence))
        return
    bound = limits.record_age_max
    if time > now:
        ahead = span(time - now)
        out.append(Reason(Code.RECORD_IN_FUTURE, f"The newest entry in the record is {ahead} in the future."))
    elif now - time > bound.value + CLOCK:
        age, most = hours(now - time, bound.value)
        sentence = f"The newest entry in the record is {age} old; {most} is the oldest to act on."
        out.append(Reason(Code.RECORD_STALE, sentence, bound.source))
