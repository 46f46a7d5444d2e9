"""What may stand together in the rows of a data file: the rules of docs/records.md, each over whole columns at once.

`check` collects every breach; `Rows` is what the breaches leave and `doseloop.pkpd.nonmem` builds records from.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import rules_dose, rules_level
from .columns import Columns
from .layout import Layout
from .units import convert

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]

__all__ = ["Rows", "check"]


@dataclass(slots=True)
class Rows:
    """The rows of a file with what each of them is.

    Attributes:
        ids: the patient's identifier, a text a row.
        starts: index of the first row of each patient.
        patient: number of the patient, by row.
        torn: rows of a patient whose other rows stand elsewhere in the file, or may have been unreadable.
        evid: 0 level, 1 dose, 2 other, 3 reset, 4 reset and dose; −1 where it is not known.
        dose: rows with a dose (EVID 1 or 4).
        level: rows with a level that counts (EVID 0, MDV not 1).
        route: index into ``layout.routes`` of the doses, −1 elsewhere.
        output: index into ``layout.outputs`` of the levels, −1 elsewhere.
        censored: levels below their LLOQ.
        occasion: number of the occasion; NaN when the file has none.
    """

    ids: list[str]
    starts: Ints
    patient: Ints
    torn: Bools
    evid: Ints
    dose: Bools
    level: Bools
    route: Ints
    output: Ints
    censored: Bools
    occasion: Floats


def check(columns: Columns, layout: Layout) -> Rows:
    """Apply every rule to the columns, converting them to the units of ``layout`` on the way.

    The rules judge only what could be read: a cell that is already a problem breaks no further rule.
    """
    ids, starts, patient, torn = _patients(columns)
    _times(columns, layout, patient)
    evid = _evid(columns)
    rows = Rows(
        ids=ids,
        starts=starts,
        patient=patient,
        torn=torn,
        evid=evid,
        dose=(evid == 1) | (evid == 4),
        level=np.zeros(len(columns), dtype=bool),
        route=np.full(len(columns), -1),
        output=np.full(len(columns), -1),
        censored=np.zeros(len(columns), dtype=bool),
        occasion=columns["OCC"].values,
    )
    rules_dose.check(columns, layout, rows)
    rules_level.check(columns, layout, rows)
    return rows


def _patients(columns: Columns) -> tuple[list[str], Ints, Ints, Bools]:
    ids = columns.cells("ID")
    n = len(ids)
    blank = np.fromiter((not i for i in ids), dtype=bool, count=n)
    if columns.has("ID"):
        columns.problems.flag(blank, columns.lines, "ID", lambda i: "no patient is named", "state ID in every row")
    codes: dict[str, int] = {}
    code = np.fromiter((codes.setdefault(i, len(codes)) for i in ids), dtype=np.int64, count=n)
    new = np.ones(n, dtype=bool)
    new[1:] = code[1:] != code[:-1]
    starts = np.flatnonzero(new)
    first: dict[int, int] = {}
    again = np.zeros(n, dtype=bool)
    for s in starts.tolist():
        again[s] = first.setdefault(int(code[s]), s) != s
    columns.problems.flag(
        again & ~blank,
        columns.lines,
        "ID",
        lambda i: f"patient {ids[i]} began at line {columns.lines[first[int(code[i])]]} and comes again",
        "put all rows of a patient together, or give another ID",
    )
    patient = np.cumsum(new) - 1
    return ids, starts, patient, again[starts[patient]] | bool(columns.table.problems)


def _times(columns: Columns, layout: Layout, patient: Ints) -> None:
    time, flag, lines = columns["TIME"], columns.problems.flag, columns.lines
    columns.convert("TIME", layout.time_unit)
    if columns.has("TIME"):
        flag(time.missing, lines, "TIME", lambda i: "no time", "state the time of every row")
    t = time.values
    flag(t < 0, lines, "TIME", lambda i: f"{t[i]:g} is negative", "count time from 0 at the patient's first row")
    late = (t > 1e5) & ~time.unscaled
    if late.any():
        late &= t > convert(120.0, "year", layout.time_unit)
    flag(
        late, lines, "TIME", lambda i: f"{t[i]:g} {layout.time_unit} is over 120 years", "give elapsed time, not dates"
    )
    back = np.zeros(len(columns), dtype=bool)
    back[1:] = (t[1:] < t[:-1]) & (patient[1:] == patient[:-1])
    flag(
        back,
        lines,
        "TIME",
        lambda i: f"{t[i]:g} comes after {t[i - 1]:g}: time goes back",
        "sort the patient's rows by time; one clock runs through resets too",
    )
    _occasions(columns, patient)


def _occasions(columns: Columns, patient: Ints) -> None:
    if not columns.has("OCC"):
        return
    occ, t, flag, lines = columns["OCC"], columns["TIME"].values, columns.problems.flag, columns.lines
    flag(occ.missing, lines, "OCC", lambda i: "no occasion", "number the occasion of every row, or remove the column")
    o = occ.values
    part = occ.stated & (o != np.floor(o))
    flag(part, lines, "OCC", lambda i: f"{o[i]:g} is not a whole number", "number occasions 1, 2, …")
    same = patient[1:] == patient[:-1]
    back = np.zeros(len(columns), dtype=bool)
    back[1:] = same & (o[1:] < o[:-1])
    flag(
        back, lines, "OCC", lambda i: f"occasion {o[i]:g} comes after {o[i - 1]:g}", "number occasions in order of time"
    )
    change = np.flatnonzero(np.concatenate(([True], (o[1:] != o[:-1]) | ~same)))
    twice = np.zeros(len(columns), dtype=bool)
    for a, b in itertools.pairwise(change):
        twice[b] = patient[a] == patient[b] and t[a] == t[b]
    flag(twice, lines, "OCC", lambda i: "two occasions begin at the same time", "let each occasion begin later")


def _evid(columns: Columns) -> Ints:
    evid, amt, dv = columns["EVID"], columns["AMT"], columns["DV"]
    if columns.has("EVID"):
        flag, lines = columns.problems.flag, columns.lines
        advice = "EVID is 0 level, 1 dose, 2 other, 3 reset, 4 reset and dose"
        flag(evid.missing, lines, "EVID", lambda i: "no EVID", f"state it in every row: {advice}")
        known = np.isin(evid.values, (0, 1, 2, 3, 4))
        flag(evid.stated & ~known, lines, "EVID", lambda i: f"{evid.values[i]:g} is not an event", advice)
        return np.where(known, np.nan_to_num(evid.values), -1).astype(np.int64)
    blq = columns["BLQ"].positive
    given = amt.positive | (amt.values < 0) | columns["RATE"].positive
    seen = (dv.stated | blq) & ~given
    derived = np.where(given, 1, np.where(seen, 0, 2))
    return np.where((amt.bad | dv.bad) & ~given & ~seen, -1, derived).astype(np.int64)
