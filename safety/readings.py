"""Faults of the newest readings: what cannot be real, what stops the drug, and what the guard is blind to."""

from __future__ import annotations

import math

from .asked import Context, Measurement, Reading
from .limits import Limits
from .parts import Bound, MeasurementLimits, Unlimited
from .reasons import Code, Reason
from .values import CLOCK, MINUTES, fault, hours, number, pair, span

__all__ = ["Blind", "check_measurements", "outside_of"]

# What the guard is blind to: the code, and the fact in words.
Blind = list[tuple[Code, str]]


def outside_of(value: float, low: Bound, high: Bound | Unlimited) -> tuple[Bound | Unlimited, str] | None:
    """The end of the range that the value is past, and on which side of it; None if it is within."""
    if value < low.value:
        return low, "under"
    if value > high.value:
        return high, "over"
    return None


def check_measurements(context: Context, limits: Limits, now: float, out: list[Reason]) -> Blind:
    """Report every reading at fault; those that are missing, stale, poor or not plausible are handed back."""
    rows = limits.measured
    blind: Blind = []
    known: set[str] = set()
    readings = context.measurements
    if not isinstance(readings, tuple | list):
        out.append(Reason(Code.MEASUREMENT_INVALID, "The list of measurements cannot be read."))
        readings = ()
    for reading in readings:
        if not isinstance(reading, Measurement):
            out.append(Reason(Code.MEASUREMENT_INVALID, f"A measurement {fault(reading)}."))
            continue
        name = reading.name
        row = next((row for row in rows if isinstance(name, str) and row.name == name), None)
        if row is None:
            out.append(Reason(Code.MEASUREMENT_UNKNOWN, f"{limits.therapy} knows no measurement {name!r}."))
            continue
        known.add(name)
        _check(reading, row, now, out, blind)
    blind += [(Code.MEASUREMENT_MISSING, f"there is no {row.name} reading") for row in rows if row.name not in known]
    return blind


def _check(reading: Measurement, row: MeasurementLimits, now: float, out: list[Reason], blind: Blind) -> None:
    """Every rule on one reading; the rest follows only where what comes first is sound."""
    name = row.name
    value, time = number(reading.value), number(reading.time)
    if value is None or time is None:
        why = fault(reading.value) if value is None else f"has a time that {fault(reading.time)}"
        out.append(Reason(Code.MEASUREMENT_INVALID, f"The {name} reading {why}."))
        return
    if not isinstance(reading.unit, str) or reading.unit != row.unit:
        sentence = f"The {name} reading is in {reading.unit!r}; it is wanted in {row.unit}."
        out.append(Reason(Code.MEASUREMENT_UNIT_WRONG, sentence))
        return
    poor = _poor(reading, row, out, blind)
    change = _change(reading, value, time, name, out)
    if poor is None or change is None:
        return
    if not poor:
        # An age that is not known (NaN) is over nothing: it was refused where it was read.
        _judge(value, change, now - time > row.stop_age_max.value + CLOCK, row, out, blind)
    if time > now:
        ahead = span(time - now)
        out.append(Reason(Code.MEASUREMENT_IN_FUTURE, f"The {name} reading is {ahead} in the future."))
    elif now - time > row.age_max.value + CLOCK:
        age, most = hours(now - time, row.age_max.value)
        blind.append((Code.MEASUREMENT_STALE, f"the {name} reading is {age} old, over {most}"))


def _poor(reading: Measurement, row: MeasurementLimits, out: list[Reason], blind: Blind) -> bool | None:
    """Whether the signal is too poor for the value to count; None if its quality is at fault."""
    least = row.quality_min
    if not isinstance(least, Bound):
        return False
    quality = number(reading.quality)
    if quality is None or not 0.0 <= quality <= 100.0:
        why = fault(reading.quality) if quality is None else f"is {quality:g} %, not between 0 and 100"
        out.append(Reason(Code.MEASUREMENT_INVALID, f"The signal quality of the {row.name} reading {why}."))
        return None
    if quality < least.value:
        shown, edge = pair(quality, least.value)
        blind.append((Code.MEASUREMENT_POOR, f"the signal of the {row.name} reading is at {shown} %, under {edge} %"))
        return True
    return False


def _change(reading: Measurement, value: float, time: float, name: str, out: list[Reason]) -> float | None:
    """Change per minute since the reading before, 0 if there is none; None if that one is at fault."""
    before = reading.previous
    if before is None:
        return 0.0
    if not isinstance(before, Reading):
        why = f"is of type {type(before).__name__}, not a reading"
    else:
        earlier, since = number(before.value), number(before.time)
        if earlier is not None and since is not None and since < time:
            # Rounding of the clock must not make a change faster than it was.
            change = (value - earlier) / ((time - since + CLOCK) * MINUTES)
            if math.isfinite(change):
                return change
            why = "is too far from it to be real"
        elif earlier is None:
            why = fault(before.value)
        elif since is None:
            why = f"has a time that {fault(before.time)}"
        else:
            why = "was not taken before it"
    out.append(Reason(Code.MEASUREMENT_INVALID, f"The reading before the newest of {name} {why}."))
    return None


def _judge(value: float, change: float, expired: bool, row: MeasurementLimits, out: list[Reason], blind: Blind) -> None:
    """What the value and its rate of change say. ``expired``: it is too old to stop the drug."""
    name, unit = row.name, row.unit
    outside = outside_of(value, row.low, row.high)
    if outside is not None:
        real, side = outside
        shown, edge = pair(value, real.value)
        sentence = f"The {name} reading of {shown} {unit} is {side} {edge} {unit} and cannot be real."
        out.append(Reason(Code.MEASUREMENT_OUT_OF_RANGE, sentence, real.source))
        return
    below = row.stop_below if isinstance(row.stop_below, Bound) else row.low
    passed = None if expired else outside_of(value, below, row.stop_above)
    if passed is not None:
        stop, side = passed
        shown, edge = pair(value, stop.value)
        sentence = f"The {name} reading of {shown} {unit} is {side} {edge} {unit}, which stops the drug."
        out.append(Reason(Code.MEASUREMENT_STOP, sentence, stop.source))
    if not expired and -change > row.fall_max.value and value < row.fall_below.value:
        shown, edge = pair(-change, row.fall_max.value)
        where = f" under {row.fall_below.value:g} {unit}" if isinstance(row.fall_below, Bound) else ""
        sentence = (
            f"The {name} reading of {value:g} {unit} falls by {shown} {unit} per min; more than {edge} per min{where} "
            "stops the drug."
        )
        out.append(Reason(Code.MEASUREMENT_FALLING, sentence, row.fall_max.source))
    if abs(change) > row.change_max.value:
        shown, edge = pair(abs(change), row.change_max.value)
        fact = f"the {name} reading changed by {shown} {unit} per min, over the {edge} that can be real"
        blind.append((Code.MEASUREMENT_IMPLAUSIBLE, fact))
