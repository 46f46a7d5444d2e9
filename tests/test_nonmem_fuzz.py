"""Malformed files by the hundred: each ends in one RecordError with its rows, or in the right answer; nothing else."""

import contextlib
import csv
import io
import random
import time
from pathlib import Path

import doseloop
import numpy as np
import pandas as pd
import pytest
from doseloop.pkpd.errors import RecordError, UnitError
from doseloop.pkpd.nonmem import CovariateSpec, Layout, OutputSpec, RouteSpec, read
from doseloop.pkpd.record import Record
from doseloop.pkpd.units import convert, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LAYOUT = Layout(
    (RouteSpec("iv", 1, "mg"), RouteSpec("oral", 2, "mg", frozenset({"bolus"}))),
    (OutputSpec("concentration", "mg/L", 1, 0, 200),),
    (CovariateSpec("weight", "kg", ("WT",), 0.3, 200),),
)
INFANTS = Layout(
    (RouteSpec("iv", 1, "mg"),),
    (OutputSpec("concentration", "mg/L", 1, 0, 200),),
    (CovariateSpec("weight", "kg", ("WT",), 0.3, 6), CovariateSpec("apgar", "", ("APGAR",), 0, 10)),
)
HEADER = [
    *("ID", "TIME[h]", "AMT[mg]", "RATE[mg/h]", "DUR[h]", "EVID", "MDV", "CMT", "II[h]", "ADDL", "SS"),
    *("DV[mg/L]", "LLOQ[mg/L]", "BLQ", "OCC", "WT[kg]"),
]
GOOD = [
    row.split()
    for row in (
        "1 0 100 0 0 1 1 1 12 3 0 . . . 1 70",
        "1 2 . . . 0 0 . . . . 8.5 0.5 0 1 70",
        "1 40 50 25 0 1 1 1 0 0 0 . . . 2 71",
        "1 44 . . . 0 0 . . . . 5.5 0.5 0 2 71",
        "1 44 60 0 0.5 4 1 1 0 0 0 . . . 2 71",
        "2 0 300 0 0 1 1 2 24 0 1 . . . 1 55",
        "2 5 . . . 0 0 . . . . 0.5 0.5 1 1 55",
    )
]
fuzz = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def text(rows, header=HEADER, separator=","):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def outcome(source, layout=LAYOUT, **options):
    """Records or the error; anything else is raised, and an error must be fit to print."""
    try:
        records = read(source, layout, **options)
    except RecordError as caught:
        return printed(caught)
    assert records
    for record in records:
        assert Record.from_json(record.to_json()) == record
        assert record.given.last <= record.now
        assert all(np.isfinite(d.amount) and d.amount >= 0 for d in record.given.doses)
    return records


def printed(error):
    assert error.problems
    assert error.total >= len(error.problems)
    assert all(p.message for p in error.problems)
    assert len(str(error).splitlines()) <= 60
    return error


def facts(records):
    """Doses and levels as plain numbers."""
    doses = [(r.id, d.time, d.amount) for r in records for d in r.given.doses]
    return doses, [(r.id, m.time, m.value) for r in records for m in r.observed]


def number(cell):
    return 0.0 if cell.strip() in (".", "", "NA") else float(cell)


def naive(rows, header):
    """What the rows say, read as simply as can be: right whenever the reader accepts."""
    names = [h.split("[")[0] for h in header]
    doses, levels = [], []
    for cells in rows:
        row = {name: number(c) for name, c in zip(names[1:], cells[1:], strict=True)}
        who = cells[0].strip()
        if row["EVID"] in (1, 4):
            doses.append((who, row["TIME"], row["AMT"]))
        elif row["EVID"] == 0 and row["MDV"] != 1:
            below = row["BLQ"] == 1 or (
                cells[names.index("BLQ")].strip() in (".", "", "NA") and row["DV"] < row["LLOQ"]
            )
            levels.append((who, row["TIME"], row["LLOQ"] if below and row["LLOQ"] else row["DV"]))
    return doses, levels


def test_the_good_file_is_good():
    records = outcome(text(GOOD).encode())
    assert facts(records) == naive(GOOD, HEADER)
    assert [len(r.given) for r in records] == [3, 1]
    assert records[0].occasions == (0.0, 40.0)
    assert records[1].observed[0].censored


# ---------------------------------------------------------------- a table of known faults

NOT_NUMBERS = [
    *(
        "abc",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1_0",
        "0x1A",
        "1,5",
        "1.2.3",
        "٣",
        "12 mg",
        "<1",
        "=A1",
        "1e",
        "--1",
    ),
    *("½", "1:30", "True", "None", "\x1b[0m", "+", "1 2", "1e5e5", "N/A", "9" * 400, "1\u00a02", "∞", "²", "1;2"),
]
NUMERIC = [i for i, h in enumerate(HEADER) if h != "ID"]


@pytest.mark.parametrize("cell", NOT_NUMBERS, ids=ascii)
@pytest.mark.parametrize("column", NUMERIC, ids=[HEADER[i] for i in NUMERIC])
def test_a_cell_that_is_no_number_is_named(column, cell):
    for index in (0, 3):
        rows = [list(r) for r in GOOD]
        rows[index][column] = cell
        error = outcome(text(rows).encode())
        assert isinstance(error, RecordError)
        assert (index + 2, HEADER[column].split("[")[0]) in {(p.row, p.column) for p in error.problems}


def swap(i, j):
    rows = list(GOOD)
    rows[i], rows[j] = rows[j], rows[i]
    return rows


def cell(row, column, value):
    rows = [list(r) for r in GOOD]
    rows[row][[h.split("[")[0] for h in HEADER].index(column)] = value
    return rows


FAULTS = {
    "unsorted times": (swap(0, 2), 3),
    "unsorted levels": (swap(1, 3), 4),
    "patients mixed": (swap(4, 5), 7),
    "duplicate dose": ([GOOD[0], *GOOD], 3),
    "duplicate level": ([*GOOD[:2], GOOD[1], *GOOD[2:]], 4),
    "level before any dose": (GOOD[1:], 2),
    "negative dose": (cell(0, "AMT", "-100"), 2),
    "zero dose": (cell(0, "AMT", "0"), 2),
    "missing dose": (cell(0, "AMT", "."), 2),
    "negative time": (cell(0, "TIME", "-1"), 2),
    "missing time": (cell(3, "TIME", "."), 5),
    "absurd time": (cell(3, "TIME", "1e9"), 5),
    "absurd weight": (cell(0, "WT", "70000"), 2),
    "weight in g": (cell(0, "WT", "7e4"), 2),
    "negative weight": (cell(0, "WT", "-70"), 2),
    "absurd level": (cell(1, "DV", "8500"), 3),
    "negative level": (cell(1, "DV", "-8.5"), 3),
    "zero level": ([*GOOD[:3], ["1", "44", ".", ".", ".", "0", "0", ".", ".", ".", ".", "0", ".", ".", "2", "71"]], 5),
    "missing level": (cell(1, "DV", "."), 3),
    "missing ID": (cell(0, "ID", ""), 2),
    "unknown EVID": (cell(0, "EVID", "7"), 2),
    "half EVID": (cell(0, "EVID", "0.5"), 2),
    "unknown MDV": (cell(0, "MDV", "3"), 2),
    "unknown CMT": (cell(0, "CMT", "9"), 2),
    "infusion by mouth": (cell(5, "RATE", "50"), 7),
    "rate on level": (cell(1, "RATE", "5"), 3),
    "unknown RATE": (cell(0, "RATE", "-9"), 2),
    "RATE and DUR": (cell(2, "DUR", "2"), 4),
    "ADDL, no II": (cell(0, "II", "0"), 2),
    "SS, no II": (cell(5, "II", "."), 7),
    "SS 4": (cell(5, "SS", "4"), 7),
    "II idle": (cell(0, "ADDL", "0"), 2),
    "BLQ 5": (cell(6, "BLQ", "5"), 8),
    "BLQ against LLOQ": (cell(1, "BLQ", "1"), 3),
    "occasions back": (cell(3, "OCC", "1"), 5),
    "dose and level on one row": ([[*GOOD[0][:6], ".", *GOOD[0][7:11], "3", *GOOD[0][12:]], *GOOD[1:]], 2),
    "one cell short": ([*GOOD[:4], GOOD[4][:-1]], 6),
    "one cell over": ([*GOOD[:4], [*GOOD[4], "x"]], 6),
    "half a row": ([*GOOD[:4], GOOD[4][:4]], 6),
}


@pytest.mark.parametrize(("rows", "line"), FAULTS.values(), ids=list(FAULTS))
def test_a_fault_is_told_with_its_row(rows, line):
    error = outcome(text(rows).encode())
    assert isinstance(error, RecordError)
    assert line in {p.row for p in error.problems}


@pytest.mark.parametrize("left_out", range(len(HEADER)), ids=HEADER)
def test_missing_columns(left_out):
    rows = [[c for i, c in enumerate(r) if i != left_out] for r in GOOD]
    header = [h for i, h in enumerate(HEADER) if i != left_out]
    result = outcome(text(rows, header).encode())
    if HEADER[left_out] in ("LLOQ[mg/L]", "BLQ", "OCC", "MDV", "EVID"):
        # What is left says the same, or the file is refused; EVID is told by AMT and DV, except that 4 becomes 1.
        assert isinstance(result, list)
    elif HEADER[left_out] in ("RATE[mg/h]", "DUR[h]", "SS", "ADDL"):
        # Nothing in the file can tell that an infusion was meant; a repeat without its partner is told.
        assert isinstance(result, list) == (HEADER[left_out] in ("RATE[mg/h]", "DUR[h]"))
    else:
        assert isinstance(result, RecordError)


@pytest.mark.parametrize("item", [h for h in HEADER if "[" in h])
def test_missing_units(item):
    name = item.split("[")[0]
    error = outcome(text(GOOD, [name if h == item else h for h in HEADER]).encode())
    assert isinstance(error, RecordError)
    assert {p.column for p in error.problems} == {name}
    unit = item.split("[")[1].rstrip("]")
    again = outcome(text(GOOD, [name if h == item else h for h in HEADER]).encode(), units={name: unit})
    assert facts(again) == naive(GOOD, HEADER)


def test_no_header():
    assert isinstance(outcome(text(GOOD[1:], GOOD[0]).encode()), RecordError)


ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "latin-1", "cp1252", "utf-7"]
ENCODINGS += ["cp037", "shift_jis", "big5", "koi8-r", "mac-roman", "iso-8859-15", "gb18030", "cp500", "hz"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["1", "Zoë", "患者"])
def test_other_encodings_end_in_an_error_or_in_the_same_facts(encoding, name):
    rows = [[name if c == "1" and i == 0 else c for i, c in enumerate(r)] for r in GOOD]
    raw = text(rows).encode(encoding, errors="replace")
    result = outcome(raw)
    if isinstance(result, list):
        assert [d[1:] for d in facts(result)[0]] == [d[1:] for d in naive(rows, HEADER)[0]]
    declared = outcome(raw, encoding=encoding)
    assert isinstance(declared, list)
    assert [d[1:] for d in facts(declared)[0]] == [d[1:] for d in naive(rows, HEADER)[0]]


# ---------------------------------------------------------------- hypothesis


@fuzz
@given(st.binary(max_size=400))
def test_any_bytes(data):
    outcome(data)
    outcome(",".join(HEADER).encode() + b"\n" + data)


@fuzz
@given(st.text(max_size=200), st.sampled_from([",", ";", "\t"]))
def test_any_text_below_a_header(body, separator):
    outcome(io.StringIO(separator.join(HEADER) + "\n" + body))


@fuzz
@given(st.integers(0, len(text(GOOD)) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_bytes_changed_in_a_good_file(place, put, cut):
    raw = text(GOOD).encode()
    outcome(raw[:place] + put + raw[place + cut :])


@pytest.mark.parametrize("size", range(0, len(text(GOOD)), 3))
def test_a_file_cut_short(size):
    result = outcome(text(GOOD).encode()[:size])
    if isinstance(result, list):  # cut at the end of a row, or within its last cell
        whole = naive(GOOD, HEADER)
        assert all(d in whole[0] for d in facts(result)[0])
        assert all(m in whole[1] for m in facts(result)[1])


CELLS = st.one_of(
    st.sampled_from(
        [".", "", "NA", "0", "1", "2", "3", "4", "-1", "-2", "12", "0.5", "70", " 8 ", "1e-3", "5,5", "x", "NaN"]
    ),
    st.floats().map(repr),
    st.integers(-5, 300).map(str),
    st.text(max_size=4),
)
TIMES = st.lists(st.integers(0, 60).map(str), min_size=1, max_size=6)


@fuzz
@given(st.data())
def test_a_few_cells_changed(data):
    rows = [list(r) for r in GOOD]
    for _ in range(data.draw(st.integers(1, 3))):
        rows[data.draw(st.integers(0, len(rows) - 1))][data.draw(st.integers(0, len(HEADER) - 1))] = data.draw(CELLS)
    result = outcome(text(rows).encode())
    if isinstance(result, list):
        assert sorted(facts(result)[1]) == sorted(naive(rows, HEADER)[1])
        assert sorted(facts(result)[0]) == sorted(naive(rows, HEADER)[0])
    else:
        assert any(p.row is not None or p.column is not None for p in result.problems)


@fuzz
@given(st.permutations(GOOD), st.integers(1, len(GOOD)))
def test_rows_in_any_order(rows, kept):
    result = outcome(text(rows[:kept]).encode())
    if isinstance(result, list):
        assert sorted(facts(result)[0]) == sorted(naive(rows[:kept], HEADER)[0])


@fuzz
@given(TIMES, st.data())
def test_rows_made_of_anything(moments, data):
    pool = st.sampled_from([".", "0", "1", "2", "-1", "12", "50"])
    rows = [["1", t, *(data.draw(pool) for _ in HEADER[2:-1]), "70"] for t in sorted(moments, key=int)]
    result = outcome(text(rows).encode())
    if isinstance(result, list):
        doses, levels = facts(result)
        assert len(doses) == sum(r[5] in ("1", "4") for r in rows if r[5] != "3")
        assert len(levels) == sum(r[5] == "0" and r[6] != "1" for r in rows)


@fuzz
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.none(),
                st.floats(),
                st.integers(),
                st.text(max_size=3),
                st.booleans(),
                st.dates(),
                st.complex_numbers(),
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=6,
        max_size=6,
    )
)
def test_any_data_frame(columns):
    names = ["ID", "TIME[h]", "AMT[mg]", "EVID", "DV[mg/L]", "WT[kg]"]
    outcome(pd.DataFrame({n: pd.Series(c, dtype=object) for n, c in zip(names, columns, strict=True)}))
    outcome(pd.DataFrame(dict(zip(names, columns, strict=True))))


@fuzz
@given(st.lists(st.text(alphabet="IDTAMVEWS[](),;\t\"' x/^1", max_size=9), max_size=8))
def test_any_header(names):
    outcome(io.StringIO(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n"))


@fuzz
@given(st.one_of(st.text(max_size=12), st.text(alphabet="mguhLkIU%µ²*/^()- 0123456789", max_size=45)))
def test_any_unit(unit):
    for use in (lambda: parse(unit), lambda: convert(1.0, unit, "mg/L"), lambda: convert(1.0, "mg/L", unit)):
        with contextlib.suppress(UnitError):
            use()
    head = f'ID,TIME[h],AMT[mg],EVID,"DV[{unit}]",WT[kg]'
    outcome(io.StringIO(f"{head}\n1,0,5,1,.,70\n1,1,.,0,3,70\n"))


# ---------------------------------------------------------------- 10-MB files


def infants():
    return (Path(doseloop.__file__).parent / "therapies" / "data" / "phenobarbital_neonates.csv").read_text()


def large(size=10_000_000):
    header, *rows = infants().splitlines()
    parts, length = [header], 0
    for copy in range(10_000):
        parts += [f"{copy}x{row}" for row in rows]
        length += sum(map(len, rows))
        if length > size:
            break
    return "\n".join(parts) + "\n"


def printable(size):
    return bytes(random.Random(1).choices([*range(32, 127), 10], k=size))


LARGE = {
    "binary noise": lambda: random.Random(1).randbytes(10_000_000),
    "zeros": lambda: bytes(10_000_000),
    "noise that can be printed": lambda: printable(10_000_000),
    "noise below a header": lambda: infants().splitlines()[0].encode() + b"\n" + printable(10_000_000),
    "commas": lambda: b"," * 10_000_000,
    "one long cell": lambda: infants().encode() + b"1" * 10_000_000,
    "an open quote": lambda: infants().encode() + b'"' + infants().encode() * 400,
    "empty lines": lambda: b"\n" * 10_000_000,
    "cut within the last row": lambda: large().encode()[:-9],
    "a fault in every row": lambda: large().replace(",1.4,", ",-1.4,").encode(),
    "unsorted": lambda: "\n".join([(all_rows := large().splitlines())[0], *all_rows[:0:-1]]).encode(),
}


@pytest.mark.parametrize("make", LARGE.values(), ids=list(LARGE))
def test_a_large_malformed_file_ends_quickly_in_one_error(make):
    data = make()
    began = time.process_time()
    assert isinstance(outcome(data, INFANTS), RecordError)
    assert time.process_time() - began < 10


@pytest.mark.slow
def test_a_large_good_file_is_read():
    data = large().encode()
    began = time.process_time()
    records = read(data, INFANTS)
    assert time.process_time() - began < 20
    assert sum(len(r.given) for r in records) == 589 * len(records) // 59
