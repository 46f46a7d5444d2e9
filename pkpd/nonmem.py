"""Patients' records from NONMEM-style tables (CSV or pandas).

``read(source, layout)`` ends in records or in one `RecordError` that lists every problem with its row, its column and
what to do. The format and every rule: docs/records.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .columns import Columns, Problems, Units
from .csvtext import KEPT, Source, load
from .errors import RecordError
from .layout import CovariateSpec, Layout, OutputSpec, RouteSpec
from .record import CovariateRow, Measurement, Record
from .regimen import Dose, Regimen, Reset
from .rules import Rows, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    columns = Columns(table, layout, units or {}, ignore, decimal, problems)
    rows = check(columns, layout) if len(columns) else None
    records: list[Record] = []
    if rows is not None and not problems.total:
        for index in range(len(rows.starts)):
            try:
                records.append(_record(columns, layout, rows, index))
            except RecordError as error:  # nothing should be left over by now; if it is, it ends in the list
                first = int(columns.lines[rows.starts[index]])
                for p in error.problems[:KEPT]:
                    problems.add(f"patient {rows.ids[rows.starts[index]]}: {p.message}", row=first)
    if problems.total:
        raise RecordError(problems.sorted(), source=table.source, total=problems.total)
    return records


def _record(columns: Columns, layout: Layout, rows: Rows, index: int) -> Record:
    start = int(rows.starts[index])
    stop = int(rows.starts[index + 1]) if index + 1 < len(rows.starts) else len(columns)
    here = range(start, stop)
    times = columns["TIME"].values
    given = Regimen(*_events(columns, layout, rows, here))
    observed = tuple(
        Measurement(
            time=float(times[i]),
            output=layout.outputs[rows.output[i]].name,
            value=float(columns["DV"].values[i]),
            lloq=_or_none(columns["LLOQ"].values[i]),
            censored=bool(rows.censored[i]),
            order=int(columns.lines[i]),
        )
        for i in here
        if rows.level[i]
    )
    return Record(
        id=rows.ids[start],
        covariates=tuple(_covariates(columns, layout, start, stop)),
        given=given,
        observed=observed,
        now=max(float(times[stop - 1]), given.last),
        occasions=_occasions(rows.occasion[start:stop], times[start:stop]),
    )


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _events(columns: Columns, layout: Layout, rows: Rows, here: range) -> Iterator[Dose | Reset]:
    values = {item: columns[item].values for item in ("TIME", "AMT", "RATE", "DUR", "II", "ADDL", "SS")}

    def number(item: str, i: int) -> float:
        value = float(values[item][i])
        return 0.0 if np.isnan(value) else value

    for i in here:
        order = int(columns.lines[i])
        if rows.evid[i] == 3:
            yield Reset(time=number("TIME", i), order=order)
        elif rows.dose[i]:
            rate, duration = number("RATE", i), number("DUR", i)
            yield Dose(
                time=number("TIME", i),
                amount=number("AMT", i),
                route=layout.routes[rows.route[i]].name,
                duration=duration if duration > 0 else None,
                rate=rate if rate > 0 else None,
                modelled={-1.0: "rate", -2.0: "duration"}.get(rate),
                additional=int(number("ADDL", i)),
                interval=number("II", i),
                steady_state=int(number("SS", i)),
                reset=bool(rows.evid[i] == 4),
                order=order,
            )


def _covariates(columns: Columns, layout: Layout, start: int, stop: int) -> Iterator[CovariateRow]:
    """The first and last row of every run of equal covariates: between them nothing changes."""
    named: Mapping[str, NDArray[np.float64]] = {
        c.name: columns[c.name].values[start:stop]
        if columns.has(c.name)
        else np.full(stop - start, np.nan if c.default is None else c.default)
        for c in layout.covariates
    }
    known = {name: v for name, v in named.items() if not np.isnan(v[0])}
    if not known:
        return
    table = np.column_stack(list(known.values()))
    new = np.flatnonzero(np.concatenate(([True], (table[1:] != table[:-1]).any(axis=1))))
    ends = np.append(new[1:] - 1, -1)[:-1]
    times = columns["TIME"].values[start:stop]
    for i in np.unique(np.concatenate((new, ends))).astype(int).tolist():
        yield CovariateRow(float(times[i]), {name: float(v[i]) for name, v in known.items()})


def _occasions(occasion: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[float, ...]:
    if np.isnan(occasion).any() or (occasion == occasion[0]).all():
        return ()
    return tuple(times[np.flatnonzero(np.concatenate(([True], occasion[1:] != occasion[:-1])))].tolist())
