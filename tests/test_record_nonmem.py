"""Records from NONMEM-style tables: one test a rule, each with the right answer beside the refusal."""

import io
from pathlib import Path

import doseloop
import numpy as np
import pandas as pd
import pytest
from doseloop.pkpd.errors import DoseloopError, RecordError
from doseloop.pkpd.nonmem import CovariateSpec, Layout, OutputSpec, RouteSpec, read
from doseloop.pkpd.record import CovariateRow, Measurement
from doseloop.pkpd.regimen import Dose, Regimen, Reset

DATA = Path(doseloop.__file__).parent / "therapies" / "data"
WEIGHT = CovariateSpec("weight", "kg", ("WT", "WEIGHT"), 0.3, 200)
LAYOUT = Layout(
    routes=(RouteSpec("iv", 1, "mg", high=5000), RouteSpec("oral", 2, "mg", frozenset({"bolus"}))),
    outputs=(OutputSpec("concentration", "mg/L", 1, 0, 500), OutputSpec("bis", "", 2, 0, 100, endogenous=True)),
    covariates=(
        WEIGHT,
        CovariateSpec("age", "year", ("AGE",), 0, 120, required=False, default=40.0),
        CovariateSpec("crcl", "mL/min", ("CRCL",), 0, 500, required=False),
    ),
)
SIMPLE = Layout((RouteSpec("iv", 1, "mg"),), (OutputSpec("concentration", "mg/L", 1, 0, 500),), (WEIGHT,))
HEAD = "ID,TIME[h],AMT[mg],EVID,DV[mg/L],WT[kg]"


def table(*rows, head=HEAD):
    return "\n".join([head, *rows, ""]).encode()


def problems(data, layout=SIMPLE, **options):
    with pytest.raises(RecordError) as caught:
        read(data, layout, **options)
    return [(p.row, p.column, p.message) for p in caught.value.problems]


def only(data, layout=SIMPLE, **options):
    (record,) = read(data, layout, **options)
    return record


# ---------------------------------------------------------------- the data in the package


def test_all_59_infants_read_without_a_problem():
    layout = Layout(
        (RouteSpec("iv", 1, "mg"),),
        (OutputSpec("concentration", "mg/L", 1, 0, 200),),
        (CovariateSpec("weight", "kg", ("WT",), 0.3, 6), CovariateSpec("apgar", "", ("APGAR",), 0, 10)),
    )
    records = read(DATA / "phenobarbital_neonates.csv", layout)
    assert len(records) == 59
    assert sum(len(r.given) for r in records) == 589
    assert sum(len(r.observed) for r in records) == 155
    first = records[0]
    assert first.id == "1"
    assert first.given.doses[0] == Dose(0, 25, "iv", order=2)
    assert first.observed[0] == Measurement(2, "concentration", 17.3, order=3)
    assert first.covariates == (CovariateRow(0, {"weight": 1.4, "apgar": 7}),)
    assert first.now == 112.5


def test_theophylline_reads_with_its_pre_dose_levels_left_out_but_the_zeros_kept():
    layout = Layout((RouteSpec("oral", 1, "mg"),), (OutputSpec("concentration", "mg/L", 1, 0, 50),), (WEIGHT,))
    records = read(DATA / "theophylline.csv", layout)
    assert [len(r.given) for r in records] == [1] * 12
    assert sum(len(r.observed) for r in records) == 129
    assert records[0].given.doses[0].amount == pytest.approx(4.02 * 79.6, abs=1e-9)
    assert records[0].observed[0].time == 0.25
    assert records[1].observed[0] == Measurement(0, "concentration", 0.0, order=14)
    assert records[1].given.doses[0].order == 15


# ---------------------------------------------------------------- events


def test_rows_become_events_levels_and_covariates():
    head = "ID,TIME[h],AMT[mg],RATE[mg/h],DUR[h],EVID,MDV,CMT,II[h],ADDL,SS,DV[mg/L],DVID,WT[kg]"
    record = only(
        table(
            "a,0,100,0,0,1,1,1,12,3,1,.,.,70",
            "a,1,50,25,0,1,1,1,0,0,0,.,.,70",
            "a,2,60,0,0.5,4,1,1,0,0,0,.,.,70",
            "a,2,.,.,.,0,0,.,.,.,.,7.5,1,70",
            "a,3,0,0,0,3,1,0,0,0,0,0,0,70",
            "a,4,80,-1,0,1,1,1,0,0,0,.,.,70",
            "a,5,80,-2,0,1,1,1,0,0,0,.,.,70",
            "a,6,0,5,0,1,1,1,0,0,1,.,.,70",
            "a,7,300,0,0,1,1,2,0,0,0,.,.,70",
            "a,8,.,.,.,2,1,.,.,.,.,9,.,70",
            head=head,
        ),
        LAYOUT,
        units={},
    )
    assert record.given == Regimen(
        Dose(0, 100, "iv", additional=3, interval=12, steady_state=1, order=2),
        Dose(1, 50, "iv", rate=25, order=3),
        Dose(2, 60, "iv", duration=0.5, reset=True, order=4),
        Reset(3, order=6),
        Dose(4, 80, "iv", modelled="rate", order=7),
        Dose(5, 80, "iv", modelled="duration", order=8),
        Dose(6, 0, "iv", rate=5, steady_state=1, order=9),
        Dose(7, 300, "oral", order=10),
    )
    assert record.observed == (Measurement(2, "concentration", 7.5, order=5),)
    assert record.covariates == (CovariateRow(0, {"weight": 70, "age": 40}),)
    assert record.now == 8


def test_now_is_the_last_row_or_the_last_repeat():
    head = "ID,TIME[h],AMT[mg],II[h],ADDL,DV[mg/L],WT[kg]"
    assert only(table("1,0,5,12,3,.,70", "1,10,.,.,.,4,70", head=head)).now == 36
    assert only(table("1,0,5,12,3,.,70", "1,50,.,.,.,4,70", head=head)).now == 50


def test_evid_is_derived_when_there_is_no_such_column():
    record = only(
        table("1,0,5,.,70", "1,1,.,3,70", "1,2,.,.,71", "1,3,0,4,70", head="ID,TIME[h],AMT[mg],DV[mg/L],WT[kg]")
    )
    assert len(record.given) == 1
    assert [m.value for m in record.observed] == [3, 4]
    assert [r["weight"] for r in record.covariates] == [70, 70, 71, 70]


def test_mdv_1_leaves_a_level_out():
    head = "ID,TIME[h],AMT[mg],EVID,MDV,DV[mg/L],WT[kg]"
    record = only(table("1,0,.,0,1,9,70", "1,0,5,1,1,.,70", "1,1,.,0,1,0,70", "1,2,.,0,0,3,70", head=head))
    assert [m.value for m in record.observed] == [3]


def test_a_hundred_years_are_believed():
    assert only(table("1,876600,5,1,.,70")).now == 876600


def test_ties_keep_the_order_of_the_rows():
    record = only(table("1,0,5,1,.,70", "1,8,.,0,2,70", "1,8,5,1,.,70", "1,8,.,0,9,70"))
    assert [d.order for d in record.given.doses] == [2, 4]
    assert [m.order for m in record.observed] == [3, 5]


def test_many_patients_keep_the_files_order():
    records = read(table("b,0,5,1,.,70", "a,0,5,1,.,60", "a,3,.,0,2,60"), SIMPLE)
    assert [(r.id, r.now, len(r.observed)) for r in records] == [("b", 0, 0), ("a", 3, 1)]


# one row of each is wrong: (rows, line, column, words of the message)
WRONG_ROWS = {
    "negative dose": (["1,0,-5,1,.,70"], 2, "AMT", "-5 is negative"),
    "no amount": (["1,0,.,1,.,70"], 2, "AMT", "a dose without an amount"),
    "zero amount": (["1,0,0,1,.,70"], 2, "AMT", "a dose without an amount"),
    "text in AMT": (["1,0,5mg,1,.,70"], 2, "AMT", "'5mg' is not a number"),
    "NaN in AMT": (["1,0,NaN,1,.,70"], 2, "AMT", "'NaN' is not a number"),
    "infinity in AMT": (["1,0,inf,1,.,70"], 2, "AMT", "'inf' is not a number"),
    "overflow": (["1,0,1e999,1,.,70"], 2, "AMT", "is not a number"),
    "underscore": (["1,0,1_0,1,.,70"], 2, "AMT", "is not a number"),
    "other digits": (["1,0,٣,1,.,70"], 2, "AMT", "is not a number"),
    "no time": (["1,.,5,1,.,70"], 2, "TIME", "no time"),
    "clock time": (["1,08:30,5,1,.,70"], 2, "TIME", "is not a number"),
    "negative time": (["1,-1,5,1,.,70"], 2, "TIME", "is negative"),
    "a date as time": (["1,20240131,5,1,.,70"], 2, "TIME", "over 120 years"),
    "121 years": (["1,0,5,1,.,70", f"1,{121 * 8766},6,1,.,70"], 3, "TIME", "over 120 years"),
    "time goes back": (["1,5,5,1,.,70", "1,4,.,0,3,70"], 3, "TIME", "4 comes after 5"),
    "patient comes again": (["1,0,5,1,.,70", "2,0,5,1,.,70", "1,9,.,0,2,70"], 4, "ID", "comes again"),
    "no ID": ([",0,5,1,.,70"], 2, "ID", "no patient"),
    "unknown EVID": (["1,0,5,5,.,70"], 2, "EVID", "5 is not an event"),
    "no EVID": (["1,0,5,.,.,70"], 2, "EVID", "no EVID"),
    "AMT on a level": (["1,0,5,1,.,70", "1,1,5,0,3,70"], 3, "AMT", "stands on a level"),
    "AMT on a reset": (["1,0,5,3,.,70"], 2, "AMT", "stands on a reset"),
    "AMT on EVID 2": (["1,0,5,2,.,70"], 2, "AMT", "stands on an EVID 2 row"),
    "DV on a dose": (["1,0,5,1,3,70"], 2, "DV", "stands on a dose"),
    "no DV on a level": (["1,0,5,1,.,70", "1,1,.,0,.,70"], 3, "DV", "without a level"),
    "text in DV": (["1,0,5,1,.,70", "1,1,.,0,<0.5,70"], 3, "DV", "'<0.5' is not a number"),
    "level before any dose": (["1,0,.,0,3,70", "1,0,5,1,.,70"], 2, "DV", "before any dose"),
    "level, no dose at all": (["1,0,.,0,3,70"], 2, "DV", "before any dose"),
    "level of 0 after a dose": (["1,0,5,1,.,70", "1,1,.,0,0,70"], 3, "DV", "a level of 0"),
    "level too high": (["1,0,5,1,.,70", "1,1,.,0,501,70"], 3, "DV", "outside 0 to 500"),
    "negative level": (["1,0,5,1,.,70", "1,1,.,0,-2,70"], 3, "DV", "outside 0 to 500"),
    "absurd weight": (["1,0,5,1,.,7000"], 2, "WT", "outside 0.3 to 200"),
    "weight 0": (["1,0,5,1,.,0"], 2, "WT", "outside 0.3 to 200"),
    "no weight": (["1,0,5,1,.,."], 2, "WT", "has no weight in any row"),
    "dose twice": (["1,0,5,1,.,70", "1,0,5,1,.,70"], 3, None, "same dose at the same time as in line 2"),
    "level twice": (
        ["1,0,5,1,.,70", "1,1,.,0,3,70", "1,1,.,0,3,70"],
        4,
        None,
        "same level at the same time as in line 3",
    ),
    "a cell too few": (["1,0,5,1,."], 2, None, "5 cells where the header has 6"),
    "a cell too many": (["1,0,5,1,.,70,3"], 2, None, "7 cells where the header has 6"),
    "decimal comma": (["1,0,2,5,1,.,70"], 2, None, "7 cells"),
    "stray quote": (['1,0,5,1,.,"70'], 2, None, "cannot be split"),
}


@pytest.mark.parametrize(("rows", "line", "column", "says"), WRONG_ROWS.values(), ids=list(WRONG_ROWS))
def test_a_wrong_row_is_told_with_line_and_column(rows, line, column, says):
    ((row, where, message),) = problems(table(*rows))
    assert (row, where) == (line, column)
    assert says in message


FULL = "ID,TIME[h],AMT[mg],RATE[mg/h],DUR[h],EVID,MDV,CMT,II[h],ADDL,SS,DV[mg/L],WT[kg]"
WRONG_DOSES = {
    "RATE and DUR": ("1,0,5,2,1,1,1,1,0,0,0,.,70", "DUR", "RATE 2 on one dose"),
    "RATE −1 and DUR": ("1,0,5,-1,1,1,1,1,0,0,0,.,70", "DUR", "RATE -1 on one dose"),
    "RATE −3": ("1,0,5,-3,0,1,1,1,0,0,0,.,70", "RATE", "-3 is not a rate"),
    "negative DUR": ("1,0,5,0,-1,1,1,1,0,0,0,.,70", "DUR", "-1 is negative"),
    "MDV 0 on a dose": ("1,0,5,0,0,1,0,1,0,0,0,.,70", "MDV", "MDV 0"),
    "MDV 2": ("1,0,5,0,0,1,2,1,0,0,0,.,70", "MDV", "2"),
    "unknown CMT": ("1,0,5,0,0,1,1,7,0,0,0,.,70", "CMT", "CMT 7 takes no dose"),
    "negative CMT": ("1,0,5,0,0,1,1,-1,0,0,0,.,70", "CMT", "CMT -1 takes no dose"),
    "ADDL without II": ("1,0,5,0,0,1,1,1,0,3,0,.,70", "II", "ADDL 3 without II"),
    "SS without II": ("1,0,5,0,0,1,1,1,0,0,1,.,70", "II", "SS 1 without II"),
    "II alone": ("1,0,5,0,0,1,1,1,12,0,0,.,70", "II", "says nothing"),
    "negative II": ("1,0,5,0,0,1,1,1,-12,3,0,.,70", "II", "-12 is negative"),
    "SS 3": ("1,0,5,0,0,1,1,1,12,0,3,.,70", "SS", "3 is not known"),
    "negative ADDL": ("1,0,5,0,0,1,1,1,12,-1,0,.,70", "ADDL", "-1 is not a number of doses"),
    "half an ADDL": ("1,0,5,0,0,1,1,1,12,1.5,0,.,70", "ADDL", "1.5 is not a number of doses"),
    "a billion ADDL": ("1,0,5,0,0,1,1,1,12,1e9,0,.,70", "ADDL", "not a number of doses"),
    "ADDL on a constant infusion": ("1,0,0,5,0,1,1,1,0,3,1,.,70", "ADDL", "constant infusion"),
    "constant infusion, SS 2": ("1,0,0,5,0,1,1,1,0,0,2,.,70", "AMT", "without an amount"),
}


@pytest.mark.parametrize(("row", "column", "says"), WRONG_DOSES.values(), ids=list(WRONG_DOSES))
def test_a_dose_that_contradicts_itself(row, column, says):
    found = [(c, m) for line, c, m in problems(table(row, head=FULL)) if line == 2]
    assert any(c == column and says in m for c, m in found), found


@pytest.mark.parametrize("item", ["RATE", "DUR", "II", "ADDL", "SS"])
def test_dose_items_on_a_level(item):
    head = f"ID,TIME[h],AMT[mg],EVID,DV[mg/L],WT[kg],{item}[h]"
    assert problems(table("1,0,5,1,.,70,.", "1,1,.,0,3,70,1", head=head)) == [(3, item, "1 stands on a level (EVID 0)")]


def test_routes_by_cmt_and_by_name():
    head = "ID,TIME[h],AMT[mg],RATE[mg/h],CMT,ROUTE,DV[mg/L],DVID,WT[kg]"
    rows = ["1,0,5,.,1,.,.,.,70", "1,1,5,.,.,Oral,.,.,70", "1,2,5,2,0,.,.,.,70", "1,3,5,.,2,oral,.,.,70"]
    assert [d.route for d in only(table(*rows, head=head), LAYOUT).given.doses] == ["iv", "oral", "iv", "oral"]
    for row, says in {
        "1,0,5,.,.,.,.,.,70": "may be iv or oral",
        "1,0,5,2,2,.,.,.,70": "route oral takes no infusion",
        "1,0,5,.,1,oral,.,.,70": "CMT 1 takes no dose by route 'oral'",
        "1,0,5,.,.,rectal,.,.,70": "route 'rectal' is not known",
    }.items():
        ((line, column, message),) = problems(table(row, head=head), LAYOUT)
        assert (line, column) == (2, "ROUTE")
        assert says in message


def test_a_dose_beyond_belief():
    ((line, column, message),) = problems(table("1,0,5001,1,.,70", head=HEAD + "").replace(b"EVID", b"CMT"), LAYOUT)
    assert (line, column) == (2, "AMT")
    assert "5001 mg is more than any dose (5000)" in message


# ---------------------------------------------------------------- levels


def test_outputs_by_dvid():
    head = "ID,TIME[h],AMT[mg],CMT,DV,DVID,WT[kg]"
    units = {"DV": {"concentration": "ug/L", "bis": ""}}
    rows = ["1,0,.,.,97,2,70", "1,0,5,1,.,.,70", "1,1,.,.,3000,1,70", "1,1,.,.,0,2,70"]
    record = only(table(*rows, head=head), LAYOUT, units=units)
    assert [(m.output, m.value) for m in record.observed] == [("bis", 97), ("concentration", 3), ("bis", 0)]
    assert problems(table("1,0,5,1,.,.,70", "1,1,.,.,3,.,70", head=head), LAYOUT, units=units) == [
        (3, "DVID", "which output was measured is not stated")
    ]
    assert problems(table("1,0,5,1,.,.,70", "1,1,.,.,3,3,70", head=head), LAYOUT, units=units) == [
        (3, "DVID", "3 is not known")
    ]


LIMITS = "ID,TIME[h],AMT[mg],DV[mg/L],LLOQ[mg/L],BLQ,WT[kg]"


@pytest.mark.parametrize(
    ("cells", "value", "lloq", "censored"),
    [
        ("3,0.5,0", 3, 0.5, False),
        ("3,0.5,.", 3, 0.5, False),
        ("3,.,0", 3, None, False),
        (".,0.5,1", 0.5, 0.5, True),
        ("0,0.5,1", 0.5, 0.5, True),
        ("0.2,0.5,1", 0.5, 0.5, True),
        ("0.2,0.5,.", 0.5, 0.5, True),
        ("0,0.5,.", 0.5, 0.5, True),
        ("0.5,.,1", 0.5, 0.5, True),
        ("0.5,0.5,.", 0.5, 0.5, False),
    ],
)
def test_levels_below_the_limit_of_quantification(cells, value, lloq, censored):
    for head in (LIMITS, LIMITS.replace("BLQ", "CENS")):
        record = only(table("1,0,5,.,.,.,70", f"1,1,.,{cells},70", head=head))
        assert record.observed == (Measurement(1, "concentration", value, lloq, censored, order=3),)


@pytest.mark.parametrize(
    ("cells", "column", "says"),
    [
        ("0.2,0.5,0", "DV", "BLQ says it is not"),
        ("0.9,0.5,1", "DV", "BLQ says it is below"),
        (".,.,1", "BLQ", "no limit"),
        ("0,.,1", "BLQ", "no limit"),
        ("0,.,0", "DV", "a level of 0"),
        ("3,0.5,-1", "BLQ", "-1 is not known"),
        ("3,-0.5,0", "LLOQ", "must be above 0"),
        ("3,0,0", "LLOQ", "must be above 0"),
        ("-3,0.5,.", "DV", "outside"),
        ("-3,0.5,1", "DV", "outside"),
    ],
)
def test_limits_that_contradict_the_level(cells, column, says):
    ((line, where, message),) = problems(table("1,0,5,.,.,.,70", f"1,1,.,{cells},70", head=LIMITS))
    assert (line, where) == (3, column)
    assert says in message


def test_a_zero_before_any_dose_is_kept():
    record = only(table("1,0,.,0,0,70", "1,0,5,1,.,70"))
    assert record.observed == (Measurement(0, "concentration", 0.0, order=2),)


# ---------------------------------------------------------------- covariates and occasions


def test_time_varying_covariates_keep_the_ends_of_every_run():
    weights = [70, 70, 70, 71, 71, 71, 71, 72, 72]
    record = only(table(*(f"1,{t},.,2,.,{w}" for t, w in enumerate(weights))))
    assert [(r.time, r["weight"]) for r in record.covariates] == [(0, 70), (2, 70), (3, 71), (6, 71), (7, 72)]
    for t in np.arange(0, 9, 0.25):
        assert record.covariates_at(t)["weight"] == weights[int(np.ceil(t)) if t <= 8 else -1]


def test_a_missing_covariate_is_carried_forward_then_back_within_the_patient():
    records = read(table("1,0,.,2,.,.", "1,1,.,2,.,70", "1,2,.,2,.,.", "2,0,.,2,.,60", "2,1,.,2,.,NA"), SIMPLE)
    assert [[r["weight"] for r in x.covariates] for x in records] == [[70], [60]]


def test_optional_covariates_have_a_default_or_are_left_out():
    head = "ID,TIME[h],AMT[mg],CMT,DV[mg/L],WT[kg],AGE[year],CRCL[mL/min]"
    a, b = read(table("1,0,5,1,.,70,.,.", "2,0,5,1,.,70,60,90", head=head), LAYOUT)
    assert a.covariates[0].dict == {"weight": 70, "age": 40}
    assert b.covariates[0].dict == {"weight": 70, "age": 60, "crcl": 90}


def test_two_columns_of_one_covariate():
    found = problems(table("1,0,5,1,.,70,70", head=HEAD + ",WEIGHT[kg]"))
    assert found == [(None, "WEIGHT", "columns WT and WEIGHT both hold weight")]


def test_occasions():
    head = HEAD + ",OCC"
    rows = ["1,0,5,1,.,70,1", "1,5,5,1,.,70,1", "1,9,5,1,.,70,2", "1,12,.,0,3,70,2", "2,0,5,1,.,70,3"]
    assert [r.occasions for r in read(table(*rows, head=head), SIMPLE)] == [(0.0, 9.0), ()]
    for row, says in {
        "1,9,.,0,3,70,1": "occasion 1 comes after 2",
        "1,9,.,0,3,70,.": "no occasion",
        "1,9,.,0,3,70,2.5": "not a whole number",
    }.items():
        ((line, column, message),) = problems(table("1,0,5,1,.,70,2", row, head=head))
        assert (line, column) == (3, "OCC")
        assert says in message
    assert "begin at the same time" in problems(table("1,0,5,1,.,70,1", "1,0,6,1,.,70,2", head=head))[0][2]


# ---------------------------------------------------------------- headers and units


@pytest.mark.parametrize("item", ["ID", "TIME[h]", "AMT[mg]", "DV[mg/L]", "WT[kg]"])
def test_a_missing_column_is_told(item):
    frame = pd.read_csv(io.BytesIO(table("1,0,5,1,.,70", "1,1,.,0,3,70")))
    found = problems(frame.drop(columns=item))
    name = item.split("[")[0]
    assert any(c == name or (name == "WT" and c == "weight") for _, c, _ in found)
    assert len(found) == 1


def test_every_missing_unit_is_told_in_one_error():
    head = "ID,TIME,AMT,RATE,DUR,II,ADDL,CMT,DV,LLOQ,DVID,WT,AGE,CRCL"
    rows = ["1,0,5,2,.,12,3,1,.,.,.,70,40,90", "1,1,5,.,1,.,.,1,.,.,.,70,40,90", "1,2,.,.,.,.,.,.,3,1,1,70,40,90"]
    found = problems(table(*rows, head=head), LAYOUT)
    assert sorted(c for _, c, _ in found) == sorted(
        ["TIME", "AMT", "RATE", "DUR", "II", "DV", "LLOQ", "WT", "AGE", "CRCL"]
    )
    assert all(row is None and m == "the unit is not stated" for row, _, m in found)
    units = dict.fromkeys(["TIME", "DUR", "II"], "h") | {"AMT": "mg", "RATE": "mg/h", "DV": "mg/L", "LLOQ": "mg/L"}
    units |= {"WT": "kg", "AGE": "year", "crcl": "mL/min"}
    assert only(table(*rows, head=head), LAYOUT, units=units).observed[0].value == 3


def test_without_units_signs_and_order_are_still_judged_but_not_sizes():
    head = "ID,TIME,AMT,EVID,DV,LLOQ,WT"
    rows = ["1,1e9,5e9,1,.,.,7e9", "1,0,-5,1,.,.,70", "1,2,.,0,7e9,1e9,70", "1,1,.,0,-3,1,70"]
    found = problems(table(*rows, head=head))
    assert sorted((r, c) for r, c, _ in found if r) == [(3, "AMT"), (3, "TIME"), (5, "TIME")]
    assert sum(m == "the unit is not stated" for _, _, m in found) == 5


def test_zeros_codes_and_blanks_need_no_unit():
    head = "ID,TIME[h],AMT[mg],RATE,DUR,II,DV,WT[kg]"
    assert len(only(table("1,0,5,-1,.,0,.,70", "1,1,5,0,0,0,0,70", head=head)).given) == 2


def test_units_are_converted_exactly():
    head = "id, Time (min) ,amt[ug],rate [ug/min],dur(s),ii[d],addl,evid,dv (ug/dL),wt[g]"
    rows = ["1,0,5000,.,90,2,3,1,.,1400", "1,30,5000,100,.,.,.,1,.,1400", "1,60,.,.,.,.,.,0,1730,1400"]
    record = only(table(*rows, head=head))
    assert record.given == Regimen(
        Dose(0, 5, "iv", duration=90 / 3600, additional=3, interval=48, order=2),
        Dose(0.5, 5, "iv", rate=6, order=3),
    )
    assert record.observed[0].value == pytest.approx(17.3, rel=1e-15)
    assert record.observed[0].time == 1
    assert record.covariates[0]["weight"] == 1.4


@pytest.mark.parametrize(
    ("header", "column", "says"),
    [
        ("TIME[kg]", "TIME", "another dimension"),
        ("AMT[mmol]", "AMT", "mass and moles are not converted"),
        ("DV[mg]", "DV", "another dimension"),
        ("DV[MG/L]", "DV", "did you mean mg/L"),
        ("AMT[Mg]", "AMT", "did you mean mg"),
        ("WT[stone of kg]", "WT", "is not a unit"),
        ("AMT[mg/kg]", "AMT", "another dimension"),
        ("DV[9**9**9**9]", "DV", "is not a unit"),
        ("DV[]", "DV", "another dimension"),
        ("TIME[x x x]", "TIME", "is not a unit"),
    ],
)
def test_a_wrong_unit_is_told_once(header, column, says):
    name = header.split("[")[0]
    head = ",".join(header if h.split("[")[0] == name else h for h in HEAD.split(","))
    ((row, where, message),) = problems(table("1,0,5,1,.,70", "1,1,.,0,3,70", "1,2,.,0,4,70", head=head))
    assert (row, where) == (None, column)
    assert says in message


def test_units_that_contradict_the_header_or_name_nothing():
    data = table("1,0,5,1,.,70")
    assert "units= says 'day'" in problems(data, units={"TIME": "day"})[0][2]
    assert "not a column" in problems(data, units={"DOSE": "mg"})[0][2]
    assert only(data, units={"time": "h"}).now == 0


@pytest.mark.parametrize("name", ["RTAE", "EVD", "ADL", "MVD", "RATES"])
def test_a_misspelt_column_is_not_overlooked(name):
    data = table("1,0,5,.,70,1", head=f"ID,TIME[h],AMT[mg],DV[mg/L],WT[kg],{name}")
    ((_, column, message),) = problems(data)
    assert column == name
    assert "is near to" in message
    assert len(only(data, ignore=[name]).given) == 1


@pytest.mark.parametrize("name", ["APGAR", "C", "STUDY", "HEIGHT", "TAD", ""])
def test_other_columns_are_not_looked_at(name):
    assert len(only(table("1,0,5,1,.,70,x", head=f"{HEAD},{name}" if name else f"{HEAD},''")).given) == 1


def test_a_column_twice():
    assert "both hold AMT" in problems(table("1,0,5,1,.,70,5", head=HEAD + ",amt[mg]"))[0][2]


# ---------------------------------------------------------------- text, encodings, DataFrames

GOOD = table("é1,0,5,1,.,70", "é1,1,.,0,3.5,70")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_line_ends_and_separators(encoding, end, separator):
    text = GOOD.decode().replace("\n", end).replace(",", separator)
    record = only(text.encode(encoding))
    assert (record.id, record.observed[0].value, record.observed[0].order) == ("é1", 3.5, 3)


def test_latin_1_must_be_declared():
    raw = GOOD.decode().encode("latin-1")
    ((row, _, message),) = problems(raw)
    assert row == 2
    assert message == f"byte {raw.index(0xE9)} (0xe9) is not valid utf-8"
    assert only(raw, encoding="latin-1").id == "é1"
    assert "cannot be used" in problems(raw, encoding="klingon")[0][2]
    assert "cannot be used" in problems(raw, encoding="rot13")[0][2]


def test_utf_16_without_a_mark_is_told():
    raw = GOOD.decode().encode("utf-16-le")
    assert problems(raw)[0][2].startswith(("a NUL", "byte"))
    assert only(raw, encoding="utf-16-le").id == "é1"
    assert "not valid utf-16" in problems(b"\xff\xfea")[0][2]


def test_decimal_commas_only_when_declared():
    data = b"ID;TIME[h];AMT[mg];EVID;DV[mg/L];WT[kg]\n1;0;2,5;1;.;70\n1;1;.;0;3,5;70\n"
    assert [c for _, c, _ in problems(data)] == ["AMT", "DV"]
    record = only(data, decimal=",")
    assert (record.given.doses[0].amount, record.observed[0].value) == (2.5, 3.5)
    assert "is not a number" in problems(data.replace(b"2,5", b"2.5"), decimal=",")[0][2]
    assert "separated by commas" in problems(GOOD, decimal=",")[0][2]
    assert "is not known" in problems(GOOD, decimal="x")[0][2]


def test_quotes_blank_lines_and_trailing_separators():
    data = b'\n\n"ID","TIME[h]",AMT[mg],EVID,DV[mg/L],WT[kg],\n\n"a,b",0,5,1,.,70,\n,,,,,,\n"a,b", 1 ,NA,0,3,70\n\n'
    record = only(data)
    assert (record.id, record.given.doses[0].order, record.observed[0].order) == ("a,b", 5, 7)


@pytest.mark.parametrize(
    "data", [b"", b"\n \n", b"\xef\xbb\xbf", HEAD.encode(), b"ID", b"\x00\x01\x02", b"{}", b"\x89PNG\r\n"]
)
def test_what_is_no_table_is_told(data):
    assert problems(data)


def test_sources(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(GOOD)
    wanted = read(GOOD, SIMPLE)
    assert read(path, SIMPLE) == read(str(path), SIMPLE) == read(bytearray(GOOD), SIMPLE) == wanted
    assert read(io.BytesIO(GOOD), SIMPLE) == read(io.StringIO(GOOD.decode()), SIMPLE) == wanted
    with path.open("rb") as file:
        assert read(file, SIMPLE) == wanted
    with path.open(encoding="ascii") as file:
        assert "binary mode" in str(problems_of(file))
    assert "No such file" in str(problems_of(tmp_path / "none.csv"))
    assert "cannot be opened" in str(problems_of(tmp_path))
    assert "cannot be opened" in str(problems_of("a\x00b"))
    assert "io.StringIO" in str(problems_of(GOOD.decode()))
    assert "cannot read a int" in str(problems_of(3))
    assert "cannot read a NoneType" in str(problems_of(None))
    assert str(problems_of(table("1,0,-5,1,.,70"))).startswith("data: 1 problem\nline 2, column AMT: -5 is negative; ")


def problems_of(source):
    with pytest.raises(RecordError) as caught:
        read(source, SIMPLE)
    return caught.value


def test_a_data_frame_reads_as_its_file():
    text = table("1,0,5,1,.,70", "1,1,.,0,3.5,70", "2,0,7,1,NA,60")
    for options in (
        {},
        {"dtype": str},
        {"na_values": "."},
        {"dtype": object},
    ):
        frame = pd.read_csv(io.BytesIO(text), **options)
        assert read(frame, SIMPLE) == read(text, SIMPLE)
        assert read(frame.set_index(np.arange(3)[::-1]), SIMPLE) == read(text, SIMPLE)
    frame = pd.read_csv(io.BytesIO(text), na_values=".").convert_dtypes()
    assert read(frame, SIMPLE) == read(text, SIMPLE)


def test_what_a_data_frame_may_hold_wrong():
    frame = pd.read_csv(io.BytesIO(table("1,0,5,1,.,70", "1,1,.,0,3.5,70")), na_values=".")
    assert problems(frame.iloc[:0])[0][2] == "there are no rows below the header"
    assert problems(pd.DataFrame())
    for column, value, line in (
        ("AMT[mg]", [np.inf, np.nan], 2),
        ("TIME[h]", pd.to_datetime(["2024-01-01", "2024-01-02"]), 2),
        ("TIME[h]", [True, False], 2),
        ("WT[kg]", [70, "heavy"], 3),
        ("DV[mg/L]", [None, 1j], 3),
        ("DV[mg/L]", [None, [1, 2]], 3),
    ):
        row, where, message = problems(frame.assign(**{column: value}))[0]
        assert (row, where) == (line, column.split("[")[0])
        assert "is not a number" in message


def test_every_problem_of_a_file_is_in_one_error():
    rows = ["1,0,-5,1,.,70", "1,1,x,1,.,70", "1,0.5,5,1,.,9999", "1,2,.,0,.,70", "2,0,.,0,3,70", "1,3,5,9,.,70"]
    found = problems(table(*rows))
    assert sorted((r, c) for r, c, _ in found) == sorted(
        [(2, "AMT"), (3, "AMT"), (4, "TIME"), (4, "WT"), (5, "DV"), (6, "DV"), (7, "ID"), (7, "EVID")]
    )


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        ("NaN", "write '.' when the value is not known"),
        ("-inf", "write '.' when the value is not known"),
        ("<0.5", "a column LLOQ and 1 in a column BLQ"),
        ("08:30", "time elapsed"),
        ("2024-01-31", "time elapsed"),
        ("2,5", "declare decimal=','"),
        ("5 mg", "the unit in the header"),
        ("abc", "write a finite number"),
    ],
)
def test_what_to_do_about_text_is_said(cell, advice):
    with pytest.raises(RecordError) as caught:
        read(table(f'1,0,"{cell}",1,.,70'), SIMPLE)
    assert advice in caught.value.problems[0].advice
    with pytest.raises(RecordError, match=r"write no points"):
        read(table("1,0,2.5,1,.,70").replace(b",", b";"), SIMPLE, decimal=",")


def test_rows_that_fit_are_judged_beside_rows_that_do_not():
    found = problems(table("1,0,5,1,.", "1,1,.,0,3,70", "1,2,-5,1,.,70", "2,0,5,1,.,.,.", "2,1,6,1,.,."))
    assert [(r, c) for r, c, _ in found] == [(2, None), (4, "AMT"), (5, None)]


@pytest.mark.parametrize("cells", ["x,.", ".,x"])
def test_a_row_of_unknown_event_breaks_no_further_rule(cells):
    head = "ID,TIME[h],AMT[mg],DV[mg/L],WT[kg],II[h],ADDL"
    assert len(problems(table("1,0,5,.,70,.,.", f"1,1,{cells},70,12,3", head=head))) == 1


def test_the_most_repeats():
    head = "ID,TIME[h],AMT[mg],II[h],ADDL,DV[mg/L],WT[kg]"
    assert only(table("1,0,5,0.5,10000,.,70", head=head)).now == 5000


def test_long_lists_are_capped_and_counted():
    with pytest.raises(RecordError) as caught:
        read(table(*(f"{i},0,-5,1,.,70" for i in range(1000))), SIMPLE)
    assert caught.value.total == 1000
    assert len(caught.value.problems) == 100
    assert str(caught.value).endswith("… and 950 more")


# ---------------------------------------------------------------- the layout itself


def test_a_layout_lists_its_own_slips():
    with pytest.raises(DoseloopError) as caught:
        Layout(
            (RouteSpec("iv", 1, "mg"), RouteSpec("IV", 1, "mg", frozenset({"drip"}))),
            (OutputSpec("c", "mg/L", 1, 5, 0), OutputSpec("c", "mg/L", 1, 0, 5)),
            (CovariateSpec("weight", "kg", ("WT", "DV"), 0, 1), CovariateSpec("w", "kg", ("wt",), 0, 1)),
        )
    assert len(caught.value.problems) == 7
    with pytest.raises(DoseloopError, match="at least one route"):
        Layout((), ())
