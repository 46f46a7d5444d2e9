"""Patients' records from NONMEM-style tables (CSV or pandas).

``read(source, layout)`` ends in records or in one `RecordError` that lists every problem with its row, its column and
what to do. The format and every rule: docs/records.md.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from .columns import Columns, Problems, Units
from .csvtext import KEPT, Source, load
from .errors import RecordError
from .layout import CovariateSpec, Layout, OutputSpec, RouteSpec
from .record import CovariateRow, Measurement, Record
from .regimen import Dose, Regimen, Reset
from .rules import Rows, check

__all__ = ["CovariateSpec", "Layout", "OutputSpec", "RouteSpec", "Source", "Units", "read"]


def read(
    source: Source,
    layout: Layout,
    *,
    units: Units | None = None,
    encoding: str | None = None,
    decimal: str = ".",
    ignore: Iterable[str] = (),
) -> list[Record]:
    """The patients of a NONMEM-style table, in the file's order, in the units of ``layout``.

    Args:
        source: path, bytes, open text or binary file (CSV separated by comma, semicolon or tab), or a pandas DataFrame.
        layout: the routes, outputs and covariates that are expected.
        units: unit by column name for columns whose header does not state it, such as ``{"TIME": "h"}``. Where routes
            or outputs differ, a mapping by their name: ``{"DV": {"concentration": "mg/L", "bis": ""}}``.
        encoding: how the bytes are encoded when it is not UTF-8 and there is no byte order mark, such as ``"latin-1"``.
        decimal: ``","`` for files with decimal commas (separated by semicolon or tab).
        ignore: columns not to look at, though their name is near to a known one.

    Returns:
        One record a patient; ``now`` is the time of the patient's last row, or of the last repeat (ADDL) if later.

    Raises:
        RecordError: lists every problem, of each kind the first 100 rows; rows are line numbers of the file, the header
            being line 1 (for a DataFrame: as if written to a file).
    """
    with _uncollected():
        return _read(source, layout, units or {}, encoding, decimal, ignore)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: a large file makes a million objects that all live, and a third of the time was theirs."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read(
    source: Source, layout: Layout, units: Units, encoding: str | None, decimal: str, ignore: Iterable[str]
) -> list[Record]:
    table = load(source, encoding=encoding)
    problems = Problems()
    for problem in table.problems:
        problems.listed.append(problem)
    problems.total = table.total
    if decimal not in (".", ","):
        problems.add(f"decimal={decimal!r} is not known", "decimal is '.' or ','")
    elif decimal == "," and table.separator == ",":
        problems.add("decimal=',' in a file separated by commas", "separate the columns by semicolons")
    if not len(table.lines) and not table.total:
        problems.add("there are no rows below the header", "give at least one row")
    columns = Columns(table, layout, units, ignore, decimal, problems)
    rows = check(columns, layout) if len(columns) else None
    records: list[Record] = []
    if rows is not None and not problems.total:
        build = _Builder(columns, layout, rows)
        for start, stop in itertools.pairwise([*rows.starts.tolist(), len(columns)]):
            try:
                records.append(build.record(start, stop))
            except RecordError as error:  # the rules leave nothing for a record to refuse; if one did, it is listed
                for p in error.problems[:KEPT]:
                    problems.add(f"patient {rows.ids[start]}: {p.message}", row=int(columns.lines[start]))
    if problems.total:
        raise RecordError(problems.sorted(), source=table.source, total=problems.total)
    return records


class _Builder:
    """Makes records of rows that broke no rule; columns are Python lists here, an order faster cell by cell."""

    def __init__(self, columns: Columns, layout: Layout, rows: Rows) -> None:
        zeros = ("AMT", "RATE", "DUR", "II", "ADDL", "SS")
        self.numbers = {item: np.nan_to_num(columns[item].values).tolist() for item in zeros}
        self.time: list[float] = columns["TIME"].values.tolist()
        self.level: list[float] = columns["DV"].values.tolist()
        self.lloq: list[float | None] = [None if v != v else v for v in columns["LLOQ"].values.tolist()]
        self.lines: list[int] = columns.lines.tolist()
        self.ids = rows.ids
        self.evid: list[int] = rows.evid.tolist()
        self.is_level: list[bool] = rows.level.tolist()
        self.censored: list[bool] = rows.censored.tolist()
        self.routes = [layout.routes[r].name for r in rows.route.tolist()]
        self.outputs = [layout.outputs[o].name if o >= 0 else "" for o in rows.output.tolist()]
        self._covariates(columns, layout, rows)
        self._occasions(rows)

    def _covariates(self, columns: Columns, layout: Layout, rows: Rows) -> None:
        n = len(columns)
        named = {
            c.name: columns[c.name].values
            if columns.has(c.name)
            else np.full(n, np.nan if c.default is None else c.default)
            for c in sorted(layout.covariates, key=lambda c: c.name)
        }
        self.names = list(named)
        self.covariates: list[list[float]] = [v.tolist() for v in named.values()]
        first = np.zeros(n + 1, dtype=bool)
        first[rows.starts] = True
        first[n] = True
        new = first.copy()
        for v in named.values():
            new[1:n] |= (v[1:] != v[:-1]) & ~(np.isnan(v[1:]) & np.isnan(v[:-1]))
        # First and last row of every run of equal covariates: between them nothing changes, after the last neither.
        self.kept: list[bool] = (new[:-1] | (new[1:] & ~first[1:])).tolist()

    def _occasions(self, rows: Rows) -> None:
        o = rows.occasion
        self.begins = np.zeros(len(o), dtype=bool)
        self.begins[rows.starts] = ~np.isnan(o[rows.starts])
        self.begins[1:] |= (o[1:] != o[:-1]) & ~np.isnan(o[1:])

    def record(self, start: int, stop: int) -> Record:
        """The record of the rows from ``start`` to before ``stop``."""
        time, here = self.time, range(start, stop)
        given = Regimen(*[self._event(i) for i in here if self.evid[i] in (1, 3, 4)])
        begins = [time[i] for i in np.flatnonzero(self.begins[start:stop]) + start]
        return Record(
            id=self.ids[start],
            covariates=tuple(self._covariate_row(i) for i in here if self.names and self.kept[i]),
            given=given,
            observed=tuple(
                Measurement(time[i], self.outputs[i], self.level[i], self.lloq[i], self.censored[i], self.lines[i])
                for i in here
                if self.is_level[i]
            ),
            now=max(time[stop - 1], given.last),
            occasions=tuple(begins) if len(begins) > 1 else (),
        )

    def _covariate_row(self, i: int) -> CovariateRow:
        pairs = [(name, column[i]) for name, column in zip(self.names, self.covariates, strict=True)]
        return CovariateRow(self.time[i], [(name, v) for name, v in pairs if v == v])

    def _event(self, i: int) -> Dose | Reset:
        if self.evid[i] == 3:
            return Reset(self.time[i], self.lines[i])
        numbers = self.numbers
        rate, duration = numbers["RATE"][i], numbers["DUR"][i]
        return Dose(
            time=self.time[i],
            amount=numbers["AMT"][i],
            route=self.routes[i],
            duration=duration if duration > 0 else None,
            rate=rate if rate > 0 else None,
            modelled={-1.0: "rate", -2.0: "duration"}.get(rate),
            additional=int(numbers["ADDL"][i]),
            interval=numbers["II"][i],
            steady_state=int(numbers["SS"][i]),
            reset=self.evid[i] == 4,
            order=self.lines[i],
        )
