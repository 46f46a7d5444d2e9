"""The rules of dose and reset rows: what AMT, RATE, DUR, II, ADDL, SS, CMT and ROUTE may say together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .columns import Columns
from .dose import MAX_ADDITIONAL
from .layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .rules import Rows

__all__ = ["DOSE_ITEMS", "check", "repeated"]

DOSE_ITEMS = ("AMT", "RATE", "DUR", "II", "ADDL", "SS")


_DOSELESS = {0: "a level (EVID 0)", 2: "an EVID 2 row", 3: "a reset (EVID 3)"}


def check(columns: Columns, layout: Layout, rows: Rows) -> None:
    """Judge the doses; sets ``rows.route`` and converts AMT, RATE, DUR and II."""
    _only_on_doses(columns, rows)
    infusion = (columns["RATE"].values != 0) & columns["RATE"].stated | columns["DUR"].positive
    _routes(columns, layout, rows, infusion)
    for index, route in enumerate(layout.routes):
        here = rows.route == index
        columns.convert("AMT", route.amount_unit, key=route.name, where=here)
        columns.convert("RATE", f"{route.amount_unit}/{layout.time_unit}", key=route.name, where=here)
    columns.convert("DUR", layout.time_unit)
    columns.convert("II", layout.time_unit)
    constant = _amounts(columns, layout, rows)
    _rates(columns, rows)
    _repeats(columns, rows, constant)
    _twice(columns, rows)


def _only_on_doses(columns: Columns, rows: Rows) -> None:
    for item in DOSE_ITEMS:
        column = columns[item]
        stray = np.isin(rows.evid, tuple(_DOSELESS)) & column.stated & (column.values != 0)
        columns.problems.flag(
            stray,
            columns.lines,
            item,
            partial(_stray, column.values, rows.evid),
            "give doses rows of their own, with EVID 1",
        )
    mdv = columns["MDV"]
    columns.problems.flag(
        mdv.stated & ~np.isin(mdv.values, (0, 1)), columns.lines, "MDV", lambda i: f"{mdv.values[i]:g}", "MDV is 0 or 1"
    )
    columns.problems.flag(
        (mdv.values == 0) & rows.dose,
        columns.lines,
        "MDV",
        lambda i: "MDV 0 says that the dose row holds a level",
        "write 1, and give the level a row of its own",
    )
    dv = columns["DV"]
    columns.problems.flag(
        rows.dose & dv.stated & (dv.values != 0) & (mdv.values != 1),
        columns.lines,
        "DV",
        lambda i: f"{dv.values[i]:g} stands on a dose",
        "give the level a row of its own, with EVID 0",
    )


def _stray(values: NDArray[np.float64], evid: NDArray[np.int64], i: int) -> str:
    return f"{values[i]:g} stands on {_DOSELESS[int(evid[i])]}"


def _routes(columns: Columns, layout: Layout, rows: Rows, infusion: NDArray[np.bool_]) -> None:
    """Settle the route of each dose by ROUTE and CMT, together with whether it is infused."""
    cmt, names = columns["CMT"], columns.cells("ROUTE")
    memo: dict[tuple[str, float, bool], tuple[int, str]] = {}
    wrong: dict[int, str] = {}
    for i in np.flatnonzero(rows.dose & ~cmt.bad & ~columns["RATE"].bad & ~columns["DUR"].bad).tolist():
        number = 0.0 if cmt.missing[i] else float(cmt.values[i])
        key = (names[i].casefold(), number, bool(infusion[i]))
        if key not in memo:
            memo[key] = _route(layout, *key)
        rows.route[i], message = memo[key]
        if message:
            wrong[i] = message
    flagged = np.zeros(len(columns), dtype=bool)
    flagged[list(wrong)] = True
    known = ", ".join(f"{r.name} (CMT {r.cmt}, {' or '.join(sorted(r.kinds))})" for r in layout.routes)
    column = "ROUTE" if columns.has("ROUTE") else "CMT"
    columns.problems.flag(flagged, columns.lines, column, lambda i: wrong[i], f"the routes are: {known}")


def _route(layout: Layout, name: str, cmt: float, infused: bool) -> tuple[int, str]:
    fits = list(enumerate(layout.routes))
    if name:
        fits = [(i, r) for i, r in fits if r.name.casefold() == name]
        if not fits:
            return -1, f"route {name!r} is not known"
    if cmt != 0:
        fits = [(i, r) for i, r in fits if r.cmt == cmt]
        if not fits:
            return -1, f"CMT {cmt:g} takes no dose" + (f" by route {name!r}" if name else "")
    kind = "infusion" if infused else "bolus"
    kinds = [(i, r) for i, r in fits if kind in r.kinds]
    if not kinds:
        return -1, f"route {fits[0][1].name} takes no {kind}"
    if len(kinds) > 1:
        return -1, f"the dose may be {' or '.join(r.name for _, r in kinds)}: its CMT or ROUTE is not stated"
    return kinds[0][0], ""


def _amounts(columns: Columns, layout: Layout, rows: Rows) -> NDArray[np.bool_]:
    amt, rate, flag, lines = columns["AMT"], columns["RATE"], columns.problems.flag, columns.lines
    a = amt.values
    flag(a < 0, lines, "AMT", lambda i: f"{a[i]:g} is negative", "give doses as positive amounts")
    none = rows.dose & ~amt.bad & ~(a > 0) & ~(a < 0)
    constant = none & (columns["SS"].values == 1) & (rate.positive | rate.bad) & ~columns["II"].positive
    flag(
        none & ~constant & columns.has("AMT"),
        lines,
        "AMT",
        lambda i: "a dose without an amount",
        "state AMT above 0 (0 is a constant infusion at steady state: RATE above 0, SS 1, II 0)",
    )
    high = np.array([r.high for r in layout.routes])[rows.route]
    flag(
        rows.dose & (rows.route >= 0) & (a > high) & ~amt.unscaled,
        lines,
        "AMT",
        lambda i: f"{a[i]:g} {layout.routes[rows.route[i]].amount_unit} is more than any dose ({high[i]:g})",
        "check the number and its unit",
    )
    return np.asarray(constant)


def _rates(columns: Columns, rows: Rows) -> None:
    rate, dur, flag, lines = columns["RATE"], columns["DUR"], columns.problems.flag, columns.lines
    r, d = rate.values, dur.values
    advice = "RATE is a positive rate, 0 for a bolus, −1 or −2 when the model has the rate or the duration"
    flag((r < 0) & (r != -1) & (r != -2), lines, "RATE", lambda i: f"{r[i]:g} is not a rate", advice)
    flag(d < 0, lines, "DUR", lambda i: f"{d[i]:g} is negative", "give the infusion's length, or 0 for a bolus")
    both = rows.dose & (r != 0) & rate.stated & (d > 0)
    flag(both, lines, "DUR", lambda i: f"DUR {d[i]:g} and RATE {r[i]:g} on one dose", "state only one of them")


def _repeats(columns: Columns, rows: Rows, constant: NDArray[np.bool_]) -> None:
    addl, ii, ss, flag, lines = columns["ADDL"], columns["II"], columns["SS"], columns.problems.flag, columns.lines
    n, s, interval = addl.values, ss.values, ii.values
    whole = (n >= 0) & (n <= MAX_ADDITIONAL) & (n == np.floor(n))
    flag(
        addl.stated & ~whole,
        lines,
        "ADDL",
        lambda i: f"{n[i]:g} is not a number of doses",
        f"ADDL is a whole number from 0 to {MAX_ADDITIONAL}",
    )
    flag(
        ss.stated & ~np.isin(s, (0, 1, 2)),
        lines,
        "SS",
        lambda i: f"{s[i]:g} is not known",
        "SS is 0, 1 (replaces the state) or 2 (is added to it)",
    )
    flag(interval < 0, lines, "II", lambda i: f"{interval[i]:g} is negative", "II is the time between doses")
    none = rows.dose & ~ii.bad & ~(interval > 0) & ~(interval < 0)
    flag(none & (n > 0), lines, "II", lambda i: f"ADDL {n[i]:g} without II", "state the time between doses")
    steady = none & np.isin(s, (1, 2)) & ~constant
    flag(steady, lines, "II", lambda i: f"SS {s[i]:g} without II", "state the time between doses")
    flag(constant & (n > 0), lines, "ADDL", lambda i: "ADDL on a constant infusion", "write 0")
    silent = [c.missing | (c.values == 0) for c in (addl, ss)]
    idle = rows.dose & (interval > 0) & silent[0] & silent[1]
    flag(
        idle,
        lines,
        "II",
        lambda i: f"II {interval[i]:g} without ADDL or SS says nothing",
        "state ADDL or SS, or write 0: were repeats forgotten?",
    )


def _twice(columns: Columns, rows: Rows) -> None:
    keys = [rows.patient.astype(float), columns["TIME"].values, rows.route.astype(float)]
    keys += [np.nan_to_num(columns[item].values) for item in DOSE_ITEMS]
    good = rows.dose & columns["TIME"].stated & columns["AMT"].stated
    first = repeated(keys, good)
    columns.problems.flag(
        first >= 0,
        columns.lines,
        None,
        lambda i: f"the same dose at the same time as in line {columns.lines[first[i]]}: entered twice?",
        "remove one; if both were given, write one dose of the sum",
    )


def repeated(keys: list[NDArray[np.float64]], rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each of ``rows`` equal in every key to an earlier one, the index of the first such row; −1 elsewhere."""
    first = np.full(len(rows), -1)
    chosen = np.flatnonzero(rows)
    if len(chosen) > 1:
        table = np.column_stack([k[chosen] for k in keys]) + 0.0
        _, where, group = np.unique(table, axis=0, return_index=True, return_inverse=True)
        original = chosen[where[group.reshape(-1)]]
        first[chosen] = np.where(original == chosen, -1, original)
    return first
