"""The words a model's equations may use beside arithmetic and comparison.

Each word takes plain floats, the symbols of the trace (CasADi SX) and, for the units check, ``pint`` quantities, so the
same function text is run by the reference, by the compilers and by the check. CasADi is not imported here: the
module that traces registers its own versions with :func:`register`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["absolute", "const", "exp", "log", "maximum", "minimum", "power", "sqrt", "tanh", "where"]

# type -> word -> function; filled by `pkpd.trace` (symbols) and `pkpd.balance` (units).
_READINGS: dict[type, dict[str, Callable[..., Any]]] = {}

# How `const` reads a number that has a unit; the units check replaces it while it runs.
_CONST: list[Callable[[float, str], Any]] = [lambda value, unit: value]


def register(kind: type, words: dict[str, Callable[..., Any]]) -> None:
    """Teach the words a further type of number (used by the trace and by the units check)."""
    _READINGS[kind] = words


def _call(word: str, plain: Callable[..., Any], *args: Any) -> Any:
    for a in args:
        words = _READINGS.get(type(a))
        if words is not None:
            return words[word](*args)
    return plain(*args)


def const(value: float, unit: str) -> Any:
    """A number with a unit inside an equation, such as ``const(70, "kg")`` or ``const(1000, "ug/mg")``.

    To the simulator it is the bare number; the units check sees the unit, so that no factor can hide.
    """
    return _CONST[-1](value, unit)


def exp(x: Any) -> Any:
    """e to the power ``x`` (dimensionless)."""
    return _call("exp", _exp, x)


def log(x: Any) -> Any:
    """Natural logarithm of ``x`` (dimensionless); −inf at 0, NaN below."""
    return _call("log", _log, x)


def sqrt(x: Any) -> Any:
    """Square root; NaN below 0."""
    return _call("sqrt", lambda v: math.sqrt(v) if v >= 0 else math.nan, x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent of ``x`` (dimensionless)."""
    return _call("tanh", math.tanh, x)


def absolute(x: Any) -> Any:
    """Magnitude of ``x``."""
    return _call("absolute", abs, x)


def power(x: Any, y: Any) -> Any:
    """``x`` to the power ``y``; ``x`` must be dimensionless unless ``y`` is a plain number."""
    return _call("power", _power, x, y)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two; NaN if either is NaN (Python's ``max`` would hide it)."""
    return _call("maximum", lambda a, b: math.nan if a != a or b != b else (a if a > b else b), a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two; NaN if either is NaN."""
    return _call("minimum", lambda a, b: math.nan if a != a or b != b else (a if a < b else b), a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, else ``b``; the replacement for a Python ``if`` on a state."""
    return _call("where", lambda c, a, b: a if c else b, condition, a, b)


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _log(x: float) -> float:
    if x == 0:
        return -math.inf
    return math.log(x) if x > 0 else math.nan


def _power(x: float, y: float) -> float:
    try:
        out = x**y
    except OverflowError:
        return math.inf
    except ZeroDivisionError:
        return math.inf
    return out if isinstance(out, float | int) else math.nan
