"""What counts as a number, which units are known, and how a number is said in a sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["AMOUNT_UNITS", "MEASUREMENT_UNITS", "fault", "hours", "number", "pair", "per_hour", "round_down", "span"]

AMOUNT_UNITS = frozenset({"ng", "ug", "mg", "g", "nmol", "umol", "mmol", "mol", "mU", "U", "kU", "IU"})
_VOLUMES = ("mL", "dL", "L")
MEASUREMENT_UNITS = frozenset(f"{a}/{v}" for a in AMOUNT_UNITS for v in _VOLUMES) | frozenset(
    {"1", "%", "s", "mmHg", "1/min", "mL/min", "10^9/L", "degC"}
)

# A millionth of an increment: far under what a syringe or pump can tell apart, far over the rounding of float64.
WHOLE = 1e-6

# 3.6 ms: the rounding left when two clock times in hours are subtracted.
CLOCK = 1e-6

# Changes of a reading are per minute, times in hours.
MINUTES = 60.0


def number(value: Any) -> float | None:
    """The value as a float when it is a finite real number; None for all else.

    None, NaN, ±infinity, text, booleans, arrays, complex and decimal numbers, and whole numbers too large for a float
    are not numbers here.
    """
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return None
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if -math.inf < value < math.inf else None


def fault(value: Any) -> str:
    """Why `number` refuses a value, as the end of a sentence: "is missing", "is text", …"""
    if value is None:
        return "is missing"
    if isinstance(value, bool | np.bool_):
        return "is a yes-or-no value, not a number"
    if isinstance(value, str):
        return f"is text ({value[:20]!r}), not a number"
    if isinstance(value, float | np.floating):
        return "is not a number (NaN)" if math.isnan(value) else "is infinite"
    return f"is of type {type(value).__name__}, not a finite number"


def per_hour(rate_unit: str) -> float:
    """How many hours' worth a rate unit counts: 60 for an amount per min, 1 for an amount per h."""
    return 60.0 if rate_unit.endswith("/min") else 1.0


def round_down(amount: float, increment: float) -> float:
    """The largest whole number of increments that is not above the amount.

    An amount within a millionth of an increment of a whole number of them is whole: it comes back as it is, bit for
    bit, so 0.3 is three times 0.1. Both ≥ 0, in one unit, and at most 1e9 increments (the limits table sees to that).
    """
    steps = amount / increment
    if abs(steps - math.floor(steps + 0.5)) <= WHOLE:
        return amount
    return math.floor(steps) * increment


def pair(left: float, right: float) -> tuple[str, str]:
    """Two numbers as text, with as many digits as it takes to tell them apart (4, 8 or 17)."""
    for digits in (4, 8):
        texts = f"{left:.{digits}g}", f"{right:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return f"{left:.17g}", f"{right:.17g}"


def _unit(short: float, long: float) -> tuple[str, float]:
    """The unit for two spans of time: s if both are under 2 min, min if one is under 2 h; how many are 1 h."""
    if long < 2.0 / 60.0:
        return "s", 3600.0
    return ("min", 60.0) if short < 2.0 else ("h", 1.0)


def hours(left: float, right: float) -> tuple[str, str]:
    """Two spans of time (h) as text with one unit, that tells them apart."""
    unit, factor = _unit(*sorted((abs(left), abs(right))))
    a, b = pair(left * factor, right * factor)
    return f"{a} {unit}", f"{b} {unit}"


def span(time: float) -> str:
    """A span of time (h) as text with a unit."""
    unit, factor = _unit(abs(time), abs(time))
    return f"{time * factor:.4g} {unit}"
