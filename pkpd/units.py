"""Units of data and models: the one pint registry, parsing, and conversion.

Nothing here guesses. A unit that is not known, one in the wrong case (``Mg/L`` is a million-gram per litre) and one of
another dimension is a `UnitError` that says what would be understood; mass is never converted to moles.
"""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import UnitError

if TYPE_CHECKING:
    import pint
    from numpy.typing import NDArray

__all__ = ["convert", "is_dimensionless", "parse", "registry", "same"]

# Spellings that clinical data use; another case of one of these is a slip, even where pint knows a unit by it.
_AMOUNTS = (
    "kg",
    "g",
    "mg",
    "ug",
    "ng",
    "pg",
    "mcg",
    "µg",
    "mol",
    "mmol",
    "umol",
    "µmol",
    "nmol",
    "pmol",
    "IU",
    "U",
    "mU",
)
_VOLUMES = ("L", "dL", "mL", "uL", "l", "dl", "ml", "ul")
_TIMES = ("h", "hr", "min", "s", "d", "day", "week", "month", "year")
_BASES = (*_AMOUNTS, *_VOLUMES, *_TIMES)
_EXACT = frozenset(
    [
        *_BASES,
        *("cm", "mm", "m^2", "kg/m^2", "mmHg", "degC", "bpm", "%"),
        *(f"{a}/{b}" for a in _BASES for b in (*_VOLUMES, *_TIMES, "kg")),
        *(f"{a}/kg/{b}" for a in (*_AMOUNTS, *_VOLUMES) for b in _TIMES),
    ]
)
_FOLDED = {u.casefold(): u for u in sorted(_EXACT, reverse=True)}
_NEAR = {u.casefold(): u for u in (*_BASES[::-1], "mg/L", "ug/L", "ng/mL", "mmol/L", "mL/min", "L/h", "mg/h")}

_ALLOWED = re.compile(r"[A-Za-z0-9_µμ%°²³¹⁻·*/^ ()-]{0,40}")
_POWER = re.compile(r"\^|\*\*")
_PLAIN_POWER = re.compile(r"(?<=[A-Za-zµμ%°])\s*(?:\^|\*\*)\s*-?[0-9]{1,2}(?![0-9])")

_DIMENSIONLESS = frozenset(["", "1", "-"])


@functools.cache
def registry() -> pint.UnitRegistry[Any]:
    """The one pint registry of the package, with ``IU`` (and ``U``, ``mU``…: not pint's enzyme unit).

    pint is imported at the first call (0.7 s); further units may be added with ``registry().define``.
    """
    import pint

    made: pint.UnitRegistry[Any] = pint.UnitRegistry(on_redefinition="ignore")
    made.define("international_unit = [international_unit] = IU = U")
    made.define("beats_per_minute = 1 / minute = bpm")
    return made


def _hint(unit: str) -> str:
    near = difflib.get_close_matches(unit.casefold(), list(_NEAR), n=1, cutoff=0.65)
    return f"; did you mean {_NEAR[near[0]]}?" if near else "; write it as in mg/L, ug, mL/min or h"


@functools.lru_cache(maxsize=1024)
def parse(unit: str) -> pint.Unit:
    """The unit of a text such as ``"mg/L"``, ``"mL/min"`` or ``""`` (dimensionless).

    Raises:
        UnitError: not a unit, or a common unit in another case.
    """
    text = unit.strip()
    if text in _DIMENSIONLESS:
        return registry().Unit("")
    if text not in _EXACT and text.casefold() in _FOLDED:
        raise UnitError(f"unit {text!r} is not written as usual; did you mean {_FOLDED[text.casefold()]}?")
    # pint evaluates what it is given: 9**9**9 would never come back.
    if not _ALLOWED.fullmatch(text) or len(_POWER.findall(text)) != len(_PLAIN_POWER.findall(text)):
        raise UnitError(f"{text[:60]!r} is not a unit{_hint(text[:60])}")
    try:
        return registry().parse_units(text)
    except Exception as error:  # pint's parser lets errors of many kinds through
        raise UnitError(f"{text!r} is not a unit that is known{_hint(text)}") from error


def is_dimensionless(unit: str) -> bool:
    """Whether a unit text says a pure number (``""``, ``"1"``, ``"%"``). Raises UnitError."""
    return unit.strip() in _DIMENSIONLESS or bool(parse(unit).dimensionless)


def same(stated: str, wanted: str) -> bool:
    """Whether two unit texts can be converted into each other. Raises UnitError for unknown ones."""
    return stated.strip() == wanted.strip() or parse(stated).dimensionality == parse(wanted).dimensionality


def convert(values: NDArray[np.float64] | float, stated: str, wanted: str) -> NDArray[np.float64]:
    """Numbers of unit ``stated`` in unit ``wanted``; NaN stays NaN.

    Whole factors are applied by one exact multiplication or division, so that 5 µg is 0.005 mg to the last bit.

    Raises:
        UnitError: an unknown unit, or another dimension.
    """
    array = np.asarray(values, dtype=np.float64)
    if stated.strip() == wanted.strip():
        return array
    if not same(stated, wanted):
        moles = "[substance]" in {*map(str, parse(stated).dimensionality), *map(str, parse(wanted).dimensionality)}
        why = "; mass and moles are not converted into each other" if moles else ""
        raise UnitError(f"{stated!r} cannot be converted to {wanted!r}: another dimension{why}")
    quantity, a, b = registry().Quantity, parse(stated), parse(wanted)
    if quantity(0.0, a).to(b).magnitude != 0.0:  # a scale with an offset: degF to degC
        return np.asarray(quantity(array, a).to(b).magnitude, dtype=np.float64)
    times, over = quantity(1.0, a).to(b).magnitude, quantity(1.0, b).to(a).magnitude
    if abs(over - round(over)) < 1e-9 * over and round(over) >= 1:
        return np.asarray(array / round(over))
    return np.asarray(array * (round(times) if abs(times - round(times)) < 1e-9 * times else times))
