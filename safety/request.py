"""Faults of the request itself: what is asked, how much, and when."""

from __future__ import annotations

import math
from typing import Any

from .asked import Asked, Context
from .limits import Limits
from .parts import DoseLimits, Kind, RateLimits
from .reasons import Code, Reason
from .values import CLOCK, fault, hours, number, span

__all__ = ["action_of", "amount_of", "noun", "times_of"]


def noun(kind: Any) -> str:
    """What a sentence calls it."""
    return "rate" if kind is Kind.RATE else "dose"


def action_of(asked: Asked, limits: Limits, out: list[Reason]) -> DoseLimits | RateLimits | None:
    """The limits of what is asked; None if there are none, or if it is asked in another unit."""
    route = asked.route if isinstance(asked.route, str) else None
    action = None if route is None else limits.action(asked.kind, route)
    if action is None:
        sentence = f"{limits.therapy} has no limits for a {noun(asked.kind)} by the route {asked.route!r}."
        out.append(Reason(Code.ACTION_UNKNOWN, sentence))
    elif not isinstance(asked.unit, str) or asked.unit != action.unit:
        sentence = f"The {noun(asked.kind)} is asked in {asked.unit!r}; {limits.therapy} takes it in {action.unit}."
        out.append(Reason(Code.UNIT_WRONG, sentence))
        return None
    return action


def amount_of(asked: Asked, out: list[Reason]) -> float | None:
    """The asked amount; None if it is not a finite number."""
    amount = number(asked.amount)
    if amount is None:
        out.append(Reason(Code.AMOUNT_INVALID, f"The asked {noun(asked.kind)} {fault(asked.amount)}."))
    elif amount < 0.0:
        out.append(Reason(Code.AMOUNT_NEGATIVE, f"The asked {noun(asked.kind)} is negative ({amount:g})."))
    return amount


def times_of(asked: Asked, context: Context, limits: Limits, out: list[Reason]) -> tuple[float, float, float]:
    """Now, start and duration of the asked dose (h), NaN where they are not known."""
    now, time, duration = number(context.now), number(asked.time), number(asked.duration)
    if now is None:
        out.append(Reason(Code.NOW_INVALID, f"The present time {fault(context.now)}."))
        now = math.nan
    if time is None:
        out.append(Reason(Code.TIME_INVALID, f"The time of the asked {noun(asked.kind)} {fault(asked.time)}."))
        time = math.nan
    if duration is None or duration < 0.0:
        why = fault(asked.duration) if duration is None else f"is negative ({duration:g} h)"
        out.append(Reason(Code.DURATION_INVALID, f"The duration of the asked {noun(asked.kind)} {why}."))
        duration = math.nan
    if time < now:
        late = span(now - time)
        out.append(Reason(Code.TIME_PAST, f"The {noun(asked.kind)} is asked for a time that passed {late} ago."))
    ahead = limits.ahead_max
    if time - now > ahead.value + CLOCK:
        far, most = hours(time - now, ahead.value)
        sentence = f"The {noun(asked.kind)} is asked for {far} from now; decisions reach {most} ahead at most."
        out.append(Reason(Code.TIME_TOO_FAR, sentence, ahead.source))
    return now, time, duration
