"""What is wrong with a limits table: every missing field, impossible number and contradiction."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from .parts import (
    MISSING,
    Bound,
    DoseLimits,
    HarmLimit,
    Kind,
    MeasurementLimits,
    ProjectionLimits,
    RateLimits,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
)
from .values import AMOUNT_UNITS, MEASUREMENT_UNITS, fault, number, round_down

if TYPE_CHECKING:
    from .limits import Limits

__all__ = ["problems"]

# `round_down` tells a millionth of an increment apart up to here.
MOST_INCREMENTS = 1e9


def problems(limits: Limits) -> list[str]:
    """Everything wrong with a table, one sentence each; empty for a sound one."""
    r = _Report()
    r.text("therapy", limits.therapy)
    unit = r.unit("unit", limits.unit, AMOUNT_UNITS)
    heaviest = math.nan
    if r.part("weight", limits.weight, WeightRange):
        heaviest = r.range("weight", limits.weight, "kg", positive=True)[1]
    given: list[str] = []
    rate_units: set[str] = set()
    for where, row in r.rows("actions", limits.actions, DoseLimits, RateLimits):
        _action(r, where, row, unit, heaviest)
        given.append(f"{row.kind.value} by {row.route}")
        if row.kind is Kind.RATE:
            rate_units.add(str(row.unit))
    r.distinct("actions", given, "kind and route")
    if len(rate_units) > 1:
        r.say("actions", f"rates are in {' and '.join(sorted(rate_units))}; one table has one unit for all of them")
    windows = [_rolling(r, where, row, unit) for where, row in r.rows("rolling", limits.rolling, RollingTotal)]
    if windows and 24.0 not in windows and not any(map(math.isnan, windows)):
        r.say("rolling", "has no total over 24 h")
    r.distinct("rolling", windows, "window")
    r.bound("course_total", limits.course_total, unit, positive=True)
    r.bound("course_total_per_kg", limits.course_total_per_kg, f"{unit}/kg", positive=True)
    names = [
        _measurement(r, where, row)
        for where, row in r.rows("measurements", limits.measurements, MeasurementLimits, off=True)
    ]
    r.distinct("measurements", names, "name")
    harms = [_harm(r, where, row) for where, row in r.rows("harms", limits.harms, HarmLimit, off=True)]
    r.distinct("harms", harms, "name")
    projections = [
        _projection(r, where, row)
        for where, row in r.rows("projections", limits.projections, ProjectionLimits, off=True)
    ]
    r.distinct("projections", projections, "name")
    r.bound("suspension_max", limits.suspension_max, "h")
    r.bound("record_age_max", limits.record_age_max, "h")
    r.bound("ahead_max", limits.ahead_max, "h", fixed=True)
    if r.part("safe_action", limits.safe_action, SafeAction):
        r.text("safe_action.sentence", limits.safe_action.sentence)
        r.text("safe_action.source", limits.safe_action.source)
    return r.found


def _action(r: _Report, where: str, row: DoseLimits | RateLimits, amount: str, heaviest: float) -> None:
    r.text(f"{where}.route", row.route)
    rate = row.kind is Kind.RATE
    unit = r.unit(f"{where}.unit", row.unit, _rates(amount) if rate else (amount,))
    per_kg = unit.replace(amount, f"{amount}/kg")
    increment = r.bound(f"{where}.increment", row.increment, unit, positive=True, fixed=True)
    least = r.bound(f"{where}.minimum", row.minimum, unit, positive=True, fixed=True)
    most = r.bound(f"{where}.maximum", row.maximum, unit, positive=True)
    most_per_kg = r.bound(f"{where}.maximum_per_kg", row.maximum_per_kg, per_kg, positive=True)
    r.either(where, "maximum", row.maximum, row.maximum_per_kg)
    if least > most:
        r.say(where, f"minimum {least:g} is over maximum {most:g}")
    if any(MOST_INCREMENTS < x / increment < math.inf for x in (least, most, most_per_kg * heaviest)):
        r.say(where, "the largest amount is more than 1e9 increments")
    elif math.isfinite(least) and math.isfinite(increment) and round_down(least, increment) != least:
        r.say(where, f"minimum {least:g} is not a whole number of increments of {increment:g}")
    shortest = r.bound(f"{where}.duration_min", row.duration_min, "h", positive=rate, fixed=True)
    longest = r.bound(f"{where}.duration_max", row.duration_max, "h", fixed=True)
    if shortest > longest:
        r.say(where, f"duration_min {shortest:g} is over duration_max {longest:g}")
    r.bound(f"{where}.interval_min", row.interval_min, "h")
    if r.bound(f"{where}.increase_factor", row.increase_factor, "1") < 1.0:
        r.say(where, "increase_factor is under 1: every dose would have to be smaller than the last")
    if r.bound(f"{where}.increase_base", row.increase_base, unit, positive=True, fixed=True) > most:
        r.say(where, "increase_base is over maximum")
    r.bound(f"{where}.unmeasured_max", row.unmeasured_max, unit)
    r.bound(f"{where}.unpredicted_max", row.unpredicted_max, unit)
    if isinstance(row, DoseLimits):
        r.bound(f"{where}.infusion_rate_max", row.infusion_rate_max, *_rates(unit), positive=True)
        r.bound(f"{where}.infusion_rate_max_per_kg", row.infusion_rate_max_per_kg, *_rates(per_kg), positive=True)


def _rates(amount: str) -> tuple[str, str]:
    return f"{amount}/h", f"{amount}/min"


def _rolling(r: _Report, where: str, row: RollingTotal, unit: str) -> float:
    window = r.bound(f"{where}.window", row.window, "h", positive=True, fixed=True)
    r.bound(f"{where}.total", row.total, unit, positive=True)
    r.bound(f"{where}.total_per_kg", row.total_per_kg, f"{unit}/kg", positive=True)
    r.either(where, "total", row.total, row.total_per_kg)
    return window


def _measurement(r: _Report, where: str, row: MeasurementLimits) -> str:
    r.text(f"{where}.name", row.name)
    unit = r.unit(f"{where}.unit", row.unit, MEASUREMENT_UNITS)
    low, high = r.range(where, row, unit)
    if 100.0 < r.bound(f"{where}.quality_min", row.quality_min, "%") < math.inf:
        r.say(where, "quality_min is over 100 %")
    oldest = r.bound(f"{where}.age_max", row.age_max, "h")
    below = r.bound(f"{where}.stop_below", row.stop_below, unit)
    above = r.bound(f"{where}.stop_above", row.stop_above, unit)
    for name, stop in (("stop_below", below), ("stop_above", above)):
        if stop < low or high < stop < math.inf:
            r.say(where, f"{name} {stop:g} is outside {low:g} to {high:g}")
    if above < below < math.inf:
        r.say(where, f"stop_below {below:g} is over stop_above {above:g}: every reading would stop the drug")
    fastest = r.bound(f"{where}.change_max", row.change_max, f"{unit}/min", positive=True)
    falling = r.bound(f"{where}.fall_max", row.fall_max, f"{unit}/min")
    r.bound(f"{where}.fall_below", row.fall_below, unit)
    if falling == math.inf and isinstance(row.fall_below, Bound):
        r.say(where, "fall_below has no fall_max to go with")
    if fastest < falling < math.inf:
        r.say(where, f"fall_max {falling:g} is over change_max {fastest:g}")
    held = r.bound(f"{where}.stop_age_max", row.stop_age_max, "h")
    if held < oldest:
        r.say(
            where, f"stop_age_max {held:g} is under age_max {oldest:g}: a reading that counts would not stop the drug"
        )
    return row.name


def _harm(r: _Report, where: str, row: HarmLimit) -> str:
    r.text(f"{where}.name", row.name)
    if r.bound(f"{where}.probability_max", row.probability_max, "1", fixed=True) > 1.0:
        r.say(where, "probability_max is over 1")
    return row.name


def _projection(r: _Report, where: str, row: ProjectionLimits) -> str:
    r.text(f"{where}.name", row.name)
    unit = r.unit(f"{where}.unit", row.unit, AMOUNT_UNITS | MEASUREMENT_UNITS)
    low = r.bound(f"{where}.low", row.low, unit)
    high = r.bound(f"{where}.high", row.high, unit)
    if isinstance(row.low, Unlimited) and isinstance(row.high, Unlimited):
        r.say(where, "low and high may not both be switched off")
    if high < low < math.inf:
        r.say(where, f"low {low:g} is over high {high:g}")
    if r.bound(f"{where}.steepness", row.steepness, "1", fixed=True) < 1.0:
        r.say(where, "steepness is under 1")
    return row.name


class _Report:
    """Collects problems; each method looks at one field and hands back what later checks may compare (NaN if unfit)."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def say(self, where: str, problem: str) -> None:
        self.found.append(f"{where}: {problem}")

    def text(self, where: str, value: Any) -> None:
        if value is MISSING:
            self.say(where, "not given")
        elif not isinstance(value, str) or not value.strip():
            self.say(where, f"wants some text, not {value!r}")

    def unit(self, where: str, value: Any, known: Collection[str]) -> str:
        if value is MISSING:
            self.say(where, "not given")
        elif not isinstance(value, str) or value not in known:
            self.say(where, f"unit {value!r} is not one of {', '.join(sorted(known))}")
        return str(value)

    def part(self, where: str, value: Any, *kinds: type) -> bool:
        sound = isinstance(value, kinds)
        if value is MISSING:
            self.say(where, "not given")
        elif not sound:
            self.say(where, f"wants {' or '.join(k.__name__ for k in kinds)}, not {value!r}")
        return sound

    def rows(self, where: str, value: Any, *kinds: type, off: bool = False) -> Iterator[tuple[str, Any]]:
        """Each sound row with its place. ``off``: the whole list may be `Unlimited`."""
        if off and isinstance(value, Unlimited):
            self.text(f"{where}.reason", value.reason)
        elif self.part(where, value, tuple):
            if not value:
                self.say(where, "has no rows" + ("; say Unlimited(reason) if there are none" if off else ""))
            for i, row in enumerate(value):
                if self.part(f"{where}[{i}]", row, *kinds):
                    yield f"{where}[{i}]", row

    def bound(self, where: str, value: Any, *units: str, positive: bool = False, fixed: bool = False) -> float:
        """The number, inf if switched off, NaN if unfit. ``fixed``: may not be switched off."""
        if isinstance(value, Unlimited) and not fixed:
            self.text(f"{where}.reason", value.reason)
            return math.inf
        if isinstance(value, Unlimited):
            self.say(where, "may not be switched off")
            return math.nan
        if not self.part(where, value, Bound):
            return math.nan
        before = len(self.found)
        if value.unit is MISSING:
            self.say(f"{where}.unit", "not given")
        elif value.unit not in units:
            self.say(where, f"unit {value.unit!r} where {' or '.join(units)} is meant")
        self.text(f"{where}.source", value.source)
        x = number(value.value)
        if value.value is MISSING:
            self.say(f"{where}.value", "not given")
        elif x is None:
            self.say(where, f"value {fault(value.value)}")
        elif x < 0.0 or (positive and x == 0.0):
            self.say(where, f"value {x:g} must be {'over 0' if positive else '0 or more'}")
        elif len(self.found) == before:
            return x
        return math.nan

    def range(self, where: str, row: Any, unit: str, positive: bool = False) -> tuple[float, float]:
        low = self.bound(f"{where}.low", row.low, unit, positive=positive, fixed=True)
        high = self.bound(f"{where}.high", row.high, unit, fixed=True)
        if low >= high:
            self.say(where, f"low {low:g} is not under high {high:g}")
        return low, high

    def either(self, where: str, name: str, absolute: Any, per_kg: Any) -> None:
        if isinstance(absolute, Unlimited) and isinstance(per_kg, Unlimited):
            self.say(where, f"{name} and {name}_per_kg may not both be switched off")

    def distinct(self, where: str, keys: list[Any], what: str) -> None:
        seen: list[Any] = []
        for key in keys:
            if key in seen:
                self.say(where, f"two rows have the {what} {key!r}")
            seen.append(key)
