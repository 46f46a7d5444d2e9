"""From a table of cells to columns of numbers: which column is which data item, in which unit, missing or bad where.

Nothing here knows what a dose is; `doseloop.pkpd.rules` does.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .csvtext import KEPT, Table
from .errors import Problem, UnitError
from .layout import RESERVED, Layout
from .units import convert, is_dimensionless

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Column", "Columns", "Problems", "Units", "texts"]

Units = Mapping[str, "str | Mapping[str, str]"]
"""Units by column name; for AMT and RATE a mapping by route, for DV and LLOQ one by output, is also taken."""

REQUIRED = ("ID", "TIME", "AMT", "DV")
TEXTS = frozenset(["ID", "ROUTE"])
MISSING = frozenset(["", ".", "NA"])

_HEADER = re.compile(r"\s*([^\[\](]*?)\s*(?:\[(.*)\]|\((.*)\))?\s*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_NEAR = 0.75


class Problems:
    """Collects problems; of each kind the first `KEPT` rows are listed and the rest counted."""

    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.total = 0

    def add(self, message: str, advice: str = "", *, column: str | None = None, row: int | None = None) -> None:
        """Note one problem."""
        self.total += 1
        self.listed.append(Problem(row, column, message, advice))

    def flag(
        self,
        wrong: NDArray[np.bool_],
        lines: NDArray[np.int64],
        column: str | None,
        message: Callable[[int], str],
        advice: str,
    ) -> None:
        """Note a problem at every row where ``wrong``; ``message`` is given the row's index."""
        rows = np.flatnonzero(wrong)
        self.total += len(rows)
        self.listed += [Problem(int(lines[i]), column, message(int(i)), advice) for i in rows[:KEPT]]

    def sorted(self) -> list[Problem]:
        """Problems of the whole file first, then by row."""
        return sorted(self.listed, key=lambda p: (p.row is not None, p.row or 0))


@dataclass(slots=True)
class Column:
    """One column of numbers.

    Attributes:
        label: the column's name in the file.
        unit: unit stated in the header or by ``units``; None when none was.
        values: float64, NaN where missing or bad.
        missing: where nothing is stated (``.``, empty, ``NA``).
        bad: where something is stated that is not a number.
        index: place in the table; −1 when the file has no such column.
        unscaled: where the unit is not known, so that sign and order can be judged but not size.
    """

    label: str
    unit: str | Mapping[str, str] | None
    values: NDArray[np.float64]
    missing: NDArray[np.bool_]
    bad: NDArray[np.bool_]
    index: int = -1
    unscaled: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.unscaled = np.zeros(len(self.values), dtype=bool)

    @property
    def stated(self) -> NDArray[np.bool_]:
        """Where there is a number."""
        return ~(self.missing | self.bad)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Where there is a number above 0."""
        return self.values > 0


class Columns:
    """The columns of a table by data item (``"TIME"``, …) and by covariate (its ``name``).

    Args:
        table: the cells.
        layout: what is expected.
        units: units that the header does not state.
        ignore: names of columns not to look at.
        decimal: ``"."`` or ``","``.
        problems: takes what is wrong.
    """

    def __init__(
        self,
        table: Table,
        layout: Layout,
        units: Units,
        ignore: Iterable[str],
        decimal: str,
        problems: Problems,
    ) -> None:
        self.table = table
        self.lines = table.lines
        self.problems = problems
        self.decimal = decimal
        self._found: dict[str, Column] = {}
        self._match(layout, {str(k).strip().upper(): v for k, v in units.items()}, {i.upper() for i in ignore})

    def __len__(self) -> int:
        return len(self.lines)

    def has(self, item: str) -> bool:
        """Whether the file has the data item or covariate."""
        return item in self._found and self._found[item].index >= 0

    def __getitem__(self, item: str) -> Column:
        """The column; one that the file does not have is missing in every row."""
        if item not in self._found:
            n = len(self)
            none = Column(item, None, np.full(n, np.nan), np.ones(n, dtype=bool), np.zeros(n, dtype=bool))
            self._found[item] = none
        return self._found[item]

    def cells(self, item: str) -> list[str]:
        """The cells of a column of text, stripped, ``""`` where missing."""
        index = self[item].index
        return texts(self.table.columns[index]) if index >= 0 and len(self) else [""] * len(self)

    def _match(self, layout: Layout, units: dict[str, Any], ignore: set[str]) -> None:
        known = {name: name for name in RESERVED} | {"CENS": "BLQ"}
        known |= {alias: c.name for c in layout.covariates for alias in layout.aliases(c)}
        seen: dict[str, str] = {}
        strangers: list[str] = []
        for index, header in enumerate(self.table.names):
            parts = _HEADER.fullmatch(header)
            label, unit = (
                (parts[1], parts[2] if parts[2] is not None else parts[3]) if parts else (header.strip(), None)
            )
            upper = label.upper()
            if upper in ignore:
                units.pop(upper, None)
                continue
            if upper in units:
                stated = units.pop(upper)
                if unit is not None and unit != stated:
                    self.problems.add(
                        f"the header says {unit!r}, units= says {stated!r}", "state one of them", column=label
                    )
                unit = stated
            item = known.get(upper)
            if item is None:
                strangers.append(label)
            elif item in seen:
                self.problems.add(
                    f"columns {seen[item]} and {label} both hold {item}", "remove one, or ignore it", column=label
                )
            else:
                seen[item] = label
                self._found[item] = self._read(item, label, unit, index)
        self._strangers(strangers, [alias for alias, item in known.items() if item not in seen])
        for name in units:
            self.problems.add(f"units= names {name}, which is not a column", "name a column of the file")
        for name in REQUIRED:
            if name not in seen:
                self.problems.add(f"there is no column {name}", "add it, with '.' where nothing is stated", column=name)
        for c in layout.covariates:
            if c.required and c.name not in seen:
                names = " or ".join(sorted(layout.aliases(c)))
                self.problems.add(
                    f"there is no column of the covariate {c.name}", f"add a column {names}", column=c.name
                )

    def _strangers(self, labels: list[str], absent: list[str]) -> None:
        """Unknown columns are not looked at, but one that may be a data item misspelt would lose doses."""
        for label in labels:
            upper = label.upper()
            near = difflib.get_close_matches(upper, absent, n=1, cutoff=_NEAR)
            near = near or [a for a in absent if sorted(a) == sorted(upper)]
            if near:
                self.problems.add(
                    f"the name is not known but is near to {near[0]}",
                    f"rename it, or say that it is something else: ignore=[{label!r}]",
                    column=label,
                )

    def _read(self, item: str, label: str, unit: Any, index: int) -> Column:
        n = len(self)
        empty = np.zeros(n, dtype=bool)
        if not n or item in TEXTS:
            return Column(label, unit, np.full(n, np.nan), empty, empty.copy(), index)
        raw = self.table.columns[index]
        if isinstance(raw, np.ndarray):
            missing, bad = np.isnan(raw), np.isinf(raw)
            values = np.where(bad, np.nan, raw)
            self._flag_bad(bad, label, [str(v) for v in raw] if bad.any() else [])
            return Column(label, unit, values, missing, bad, index)
        memo = {cell: _number(cell, self.decimal) for cell in set(raw)}
        values = np.fromiter((memo[c] for c in raw), dtype=np.float64, count=n)
        blank = {cell for cell in memo if cell.strip() in MISSING}
        missing = np.fromiter((c in blank for c in raw), dtype=bool, count=n)
        bad = np.isnan(values) & ~missing
        self._flag_bad(bad, label, raw)
        return Column(label, unit, values, missing, bad, index)

    def _flag_bad(self, bad: NDArray[np.bool_], label: str, raw: Sequence[str]) -> None:
        rows: list[int] = np.flatnonzero(bad).tolist()
        advice = {cell: _advice(cell, self.decimal) for cell in {raw[i] for i in rows}}
        for kind in sorted(set(advice.values())):
            these = np.zeros_like(bad)
            these[[i for i in rows if advice[raw[i]] == kind]] = True
            self.problems.flag(these, self.lines, label, lambda i: f"{_shown(raw[i])} is not a number", kind)

    def convert(self, item: str, wanted: str, *, key: str = "", where: NDArray[np.bool_] | None = None) -> None:
        """Bring the numbers of a column (at ``where``) to the unit ``wanted``.

        A unit that is not stated, not known or of another dimension is a problem, told once for the column, and its
        numbers are then ``unscaled``. Zeros alone need no unit, and the codes of RATE (−1, −2) have none.
        ``key``: name of the route or output whose unit is meant, when ``units=`` states several.
        """
        column = self[item]
        rows = column.positive if item == "RATE" else column.stated
        rows = rows if where is None else rows & where
        if column.index < 0 or not rows.any() or (item in RESERVED - {"TIME"} and not column.values[rows].any()):
            return
        unit = column.unit.get(key) if isinstance(column.unit, Mapping) else column.unit
        try:
            if unit is not None:
                column.values[rows] = convert(column.values[rows], str(unit), wanted)
            elif not is_dimensionless(wanted):
                self._no_unit(column, wanted, key)
                column.unscaled |= rows
        except UnitError as error:
            column.unscaled |= rows
            self.problems.add(str(error), f"state a unit that converts to {wanted}", column=column.label)

    def _no_unit(self, column: Column, wanted: str, key: str) -> None:
        named = f" of {key}" if isinstance(column.unit, Mapping) else ""
        self.problems.add(
            f"the unit{named} is not stated",
            f"write it in the header, as in {column.label}[{wanted}], or pass units={{'{column.label}': '{wanted}'}}",
            column=column.label,
        )


def texts(raw: Sequence[str] | NDArray[np.float64]) -> list[str]:
    """Cells as stripped text, ``""`` where missing; a whole number of a DataFrame without its ``.0``."""
    if isinstance(raw, np.ndarray):
        return ["" if math.isnan(v) else (str(int(v)) if v.is_integer() else repr(v)) for v in raw.tolist()]
    return ["" if (s := cell.strip()) in MISSING else s for cell in raw]


def _number(cell: str, decimal: str) -> float:
    text = cell.strip()
    if decimal == ",":
        if "." in text:
            return math.nan
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        return math.nan
    value = float(text)
    return value if math.isfinite(value) else math.nan


def _shown(cell: str) -> str:
    text = cell.strip()
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _advice(cell: str, decimal: str) -> str:
    text = cell.strip()
    if text.upper().lstrip("+-") in ("NAN", "N/A", "NULL", "NONE", "INF", "INFINITY", "#N/A", "-"):
        return "write '.' when the value is not known"
    if re.fullmatch(r"[<>≤≥].*", text):
        return "write the limit in a column LLOQ and 1 in a column BLQ"
    if re.fullmatch(r"[0-9]{1,4}[:/-][0-9]{1,2}([:/ -].*)?", text):
        return "give the time elapsed since the patient's first row, as a number"
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text) and decimal == ".":
        return "a decimal comma? declare decimal=',' or write a point"
    if decimal == "," and "." in text:
        return "decimal=',' was declared: write no points"
    if re.fullmatch(r"[+-]?[0-9.]+\s*[A-Za-zµ%/]+", text):
        return "write the number alone, and the unit in the header"
    return "write a finite number, or '.' when it is not known"
