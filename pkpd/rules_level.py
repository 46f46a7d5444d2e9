"""The rules of level rows and covariates: DV, MDV, DVID, LLOQ, BLQ, and what is physically possible."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .columns import Columns
from .layout import CovariateSpec, Layout, OutputSpec
from .rules_dose import repeated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .rules import Rows

__all__ = ["check", "fill"]


def check(columns: Columns, layout: Layout, rows: Rows) -> None:
    """Judge the levels and covariates; sets ``rows.level``, ``output``, ``censored`` and converts DV, LLOQ, covariates.

    A censored level's DV becomes its LLOQ, and covariates are filled as `fill` says.
    """
    dv, mdv, blq = columns["DV"], columns["MDV"], columns["BLQ"]
    rows.level[:] = (rows.evid == 0) & (mdv.values != 1) & ~mdv.bad
    _outputs(columns, layout, rows)
    for index, output in enumerate(layout.outputs):
        here = rows.output == index
        columns.convert("DV", output.unit, key=output.name, where=here)
        columns.convert("LLOQ", output.unit, key=output.name, where=here)
    if columns.has("DV"):
        columns.problems.flag(
            rows.level & dv.missing & ~blq.positive,
            columns.lines,
            "DV",
            lambda i: "a level row without a level",
            "write the level; MDV 1 or EVID 2 says that there is none",
        )
    written = dv.values.copy()
    _censoring(columns, rows)
    _values(columns, layout, rows, written)
    _before_any_dose(columns, layout, rows)
    _twice(columns, rows)
    for covariate in layout.covariates:
        _covariate(columns, covariate, rows)


def _outputs(columns: Columns, layout: Layout, rows: Rows) -> None:
    dvid, flag, lines = columns["DVID"], columns.problems.flag, columns.lines
    known = ", ".join(f"{o.dvid} {o.name}" for o in layout.outputs) or "none"
    for index, output in enumerate(layout.outputs):
        rows.output[rows.level & (dvid.values == output.dvid)] = index
    silent = rows.level & (dvid.missing | (dvid.values == 0)) & (rows.output < 0)
    if len(layout.outputs) == 1:
        rows.output[silent] = 0
    else:
        flag(silent, lines, "DVID", lambda i: "which output was measured is not stated", f"DVID is one of: {known}")
    strange = rows.level & dvid.stated & (rows.output < 0) & ~silent
    flag(strange, lines, "DVID", lambda i: f"{dvid.values[i]:g} is not known", f"DVID is one of: {known}")


def _censoring(columns: Columns, rows: Rows) -> None:
    dv, blq, lloq = columns["DV"], columns["BLQ"], columns["LLOQ"]
    flag, lines = columns.problems.flag, columns.lines
    b, limit = blq.values, lloq.values
    flag(blq.stated & ~np.isin(b, (0, 1)), lines, blq.label, lambda i: f"{b[i]:g} is not known", "BLQ is 0 or 1")
    flag(
        rows.level & ~(limit > 0) & lloq.stated,
        lines,
        "LLOQ",
        lambda i: f"{limit[i]:g} must be above 0",
        "write the assay's limit, or '.'",
    )
    comparable = rows.level & ~dv.unscaled & ~lloq.unscaled
    flagged = rows.level & (b == 1)
    below = comparable & (dv.values < limit)
    rows.censored[:] = flagged | (below & blq.missing)
    flag(
        below & (b == 0),
        lines,
        "DV",
        lambda i: f"{dv.values[i]:g} is below the LLOQ {limit[i]:g}, and BLQ says it is not",
        "write BLQ 1, or correct the LLOQ",
    )
    flag(
        flagged & comparable & (dv.values > limit),
        lines,
        "DV",
        lambda i: f"{dv.values[i]:g} is above the LLOQ {limit[i]:g}, and BLQ says it is below",
        "write BLQ 0, or correct the LLOQ",
    )
    # As in Monolix, the value of a flagged level without LLOQ is the limit.
    limit[:] = np.where(flagged & lloq.missing & (dv.values > 0), dv.values, limit)
    flag(
        flagged & np.isnan(limit) & ~lloq.bad & ~dv.bad,
        lines,
        blq.label,
        lambda i: "a level below the limit of quantification, and no limit",
        "state the limit in a column LLOQ",
    )
    dv.values[:] = np.where(rows.censored, limit, dv.values)


def _values(columns: Columns, layout: Layout, rows: Rows, written: NDArray[np.float64]) -> None:
    flag, lines = columns.problems.flag, columns.lines
    dosed = _doses_so_far(rows) > 0
    for index, output in enumerate(layout.outputs):
        here = rows.level & (rows.output == index)
        zero = here & (written == 0)
        flag(
            zero & dosed & ~rows.censored & (not output.endogenous),
            lines,
            "DV",
            lambda i: "a level of 0 after a dose is one below the limit of quantification",
            "write BLQ 1 and the limit in a column LLOQ (MDV 1 leaves the level out)",
        )
        judged = here & ~columns["DV"].unscaled & ~(zero & (rows.censored | (not output.endogenous)))
        flag(
            judged & ((written < output.low) | (written > output.high)),
            lines,
            "DV",
            partial(_outside, output, written),
            "check the number and its unit (MDV 1 leaves the level out)",
        )


def _outside(output: OutputSpec, values: NDArray[np.float64], i: int) -> str:
    return f"{output.name} {values[i]:g} {output.unit} is outside {output.low:g} to {output.high:g}"


def _doses_so_far(rows: Rows) -> NDArray[np.int64]:
    count = np.cumsum(rows.dose)
    first = rows.starts[rows.patient]
    return np.asarray(count - (count - rows.dose)[first])


def _before_any_dose(columns: Columns, layout: Layout, rows: Rows) -> None:
    v = columns["DV"].values
    foreign = np.array([not o.endogenous for o in layout.outputs] + [False])[rows.output]
    columns.problems.flag(
        rows.level & foreign & (_doses_so_far(rows) == 0) & (v > 0) & ~rows.censored & ~rows.torn,
        columns.lines,
        "DV",
        lambda i: f"a level of {v[i]:g} before any dose",
        "add the earlier doses, or put the dose's row first if it was given first; MDV 1 leaves the level out",
    )


def _twice(columns: Columns, rows: Rows) -> None:
    values = (columns["TIME"].values, rows.output.astype(float), columns["DV"].values, rows.censored.astype(float))
    good = rows.level & columns["TIME"].stated & ~np.isnan(columns["DV"].values)
    first = repeated([rows.patient.astype(float), *values], good)
    columns.problems.flag(
        first >= 0,
        columns.lines,
        None,
        lambda i: f"the same level at the same time as in line {columns.lines[first[i]]}: entered twice?",
        "remove one (MDV 1 leaves a level out)",
    )


def _covariate(columns: Columns, covariate: CovariateSpec, rows: Rows) -> None:
    if not columns.has(covariate.name):
        return
    columns.convert(covariate.name, covariate.unit)
    column, flag, lines = columns[covariate.name], columns.problems.flag, columns.lines
    v, unit = column.values, f" {covariate.unit}" if covariate.unit else ""
    flag(
        ((v < covariate.low) | (v > covariate.high)) & ~column.unscaled,
        lines,
        column.label,
        lambda i: f"{covariate.name} {v[i]:g}{unit} is outside {covariate.low:g} to {covariate.high:g}",
        "check the number and its unit",
    )
    unknown = np.logical_and.reduceat(column.missing, rows.starts) if len(columns) else np.zeros(0, dtype=bool)
    if covariate.required:
        never = np.zeros(len(columns), dtype=bool)
        never[rows.starts] = unknown & ~rows.torn[rows.starts]
        flag(
            never,
            lines,
            column.label,
            lambda i: f"patient {rows.ids[i]} has no {covariate.name} in any row",
            "state it in one row at least",
        )
    v[:] = fill(v, rows.starts, rows.patient)
    if covariate.default is not None:
        v[:] = np.where(np.isnan(v), covariate.default, v)


def fill(values: NDArray[np.float64], starts: NDArray[np.int64], patient: NDArray[np.int64]) -> NDArray[np.float64]:
    """NaN replaced by the patient's last value before it, or else by the first after it."""
    n = len(values)
    if not n:
        return values
    stops = np.append(starts[1:], n) - 1
    known = ~np.isnan(values)
    index = np.arange(n)
    last = np.maximum.accumulate(np.where(known, index, -1))
    following = np.minimum.accumulate(np.where(known, index, n)[::-1])[::-1]
    take = np.where(last >= starts[patient], last, np.where(following <= stops[patient], following, index))
    return np.asarray(values[take])
