"""One patient's record: what is refused, what is known at a time, and its canonical text."""

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from doseloop.pkpd.errors import RecordError
from doseloop.pkpd.record import CovariateRow, Measurement, Record
from doseloop.pkpd.regimen import Bolus, Regimen, Reset

RECORD = Record(
    id="7",
    covariates=(CovariateRow(0, {"weight": 1.4, "apgar": 7}), CovariateRow(24, {"weight": 1.5, "apgar": 7})),
    given=Regimen(Bolus(25), Bolus(3.5, 12, every=12, times=4)),
    observed=(Measurement(30, "concentration", 18.0), Measurement(2, "concentration", 17.3)),
    now=60,
    occasions=(0, 24),
)


def test_a_record_is_plain_sorted_and_hashable():
    assert [m.time for m in RECORD.observed] == [2, 30]
    assert type(RECORD.now) is float
    assert RECORD.occasions == (0.0, 24.0)
    assert RECORD.covariates[0].values == (("apgar", 7.0), ("weight", 1.4))
    assert RECORD.covariates[0].dict == {"weight": 1.4, "apgar": 7}
    assert RECORD.covariates[0]["weight"] == 1.4
    assert len({RECORD, pickle.loads(pickle.dumps(RECORD))}) == 1


@pytest.mark.parametrize(
    ("says", "changed"),
    [
        ("id is ''", {"id": ""}),
        ("id is 7", {"id": 7}),
        ("given is list", {"given": []}),
        ("now is nan", {"now": math.nan}),
        ("now is '60'", {"now": "60"}),
        ("a dose at 48 is later than now (40)", {"now": 40}),
        ("level at 61 is later than now", {"observed": (Measurement(61, "c", 1),)}),
        ("value is nan", {"observed": (Measurement(1, "c", math.nan),)}),
        ("value is '3'", {"observed": (Measurement(1, "c", "3"),)}),
        ("time is inf", {"observed": (Measurement(math.inf, "c", 1),)}),
        ("output is ''", {"observed": (Measurement(1, "", 1),)}),
        ("LLOQ is 0", {"observed": (Measurement(1, "c", 1, lloq=0),)}),
        ("carries the LLOQ", {"observed": (Measurement(1, "c", 1, lloq=2, censored=True),)}),
        ("carries the LLOQ", {"observed": (Measurement(1, "c", 1, censored=True),)}),
        ("censored is 1", {"observed": (Measurement(1, "c", 1, censored=1),)}),
        ("order is 0.5", {"observed": (Measurement(1, "c", 1, order=0.5),)}),
        ("is not a Measurement", {"observed": (3,)}),
        ("is not a CovariateRow", {"covariates": ({"weight": 1},)}),
        ("weight is nan", {"covariates": (CovariateRow(0, {"weight": math.nan}),)}),
        ("time is nan", {"covariates": (CovariateRow(math.nan, {}),)}),
        ("later than now", {"covariates": (CovariateRow(61, {"weight": 1}),)}),
        ("covariate name", {"covariates": (CovariateRow(0, {"": 1}),)}),
        ("in order of time", {"covariates": RECORD.covariates[::-1]}),
        ("occasions must start at increasing", {"occasions": (3, 3)}),
        ("occasions must start at finite", {"occasions": (math.nan,)}),
        ("an occasion starts at 61", {"occasions": (61,)}),
    ],
)
def test_a_record_refuses(says, changed):
    with pytest.raises(RecordError) as caught:
        dataclasses.replace(RECORD, **changed)
    assert says in str(caught.value)


def test_every_problem_of_a_record_is_listed():
    with pytest.raises(RecordError) as caught:
        Record("", (CovariateRow(0, {"w": math.inf}),), Regimen(Bolus(1, 9)), (Measurement(3, "", math.nan),), 2)
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("values", [3, [1, 2], "ab", None])
def test_covariates_must_be_a_mapping(values):
    with pytest.raises(RecordError):
        CovariateRow(0, values)


def test_until_knows_nothing_later():
    known = RECORD.until(24)
    assert known.now == 24
    assert known.given == Regimen(Bolus(25), Bolus(3.5, 12, every=12, times=2))
    assert [m.time for m in known.observed] == [2]
    assert known.until(2).observed == known.observed
    assert RECORD.until(23.9).covariates == RECORD.covariates[:1]
    assert RECORD.until(23.9).occasions == (0.0,)
    assert RECORD.until(RECORD.now) == RECORD


@pytest.mark.parametrize("time", [60.1, math.nan, "x"])
def test_until_refuses_a_time_of_which_nothing_is_known(time):
    with pytest.raises(RecordError, match="nothing is known"):
        RECORD.until(time)


def test_covariates_hold_for_the_interval_that_ends_at_their_row():
    assert RECORD.covariates_at(0)["weight"] == 1.4
    assert RECORD.covariates_at(0.1)["weight"] == 1.5
    assert RECORD.covariates_at(24)["weight"] == 1.5
    assert RECORD.covariates_at(100)["weight"] == 1.5
    assert dataclasses.replace(RECORD, covariates=()).covariates_at(3) == {}


def test_with_given_keeps_the_facts_and_refuses_the_future():
    assert RECORD.with_given(Regimen(Bolus(1))).given == Regimen(Bolus(1))
    with pytest.raises(RecordError, match="later than now"):
        RECORD.with_given(Regimen(Bolus(1, 61)))


def test_json_brings_the_record_back_with_its_digest():
    full = dataclasses.replace(
        RECORD,
        given=RECORD.given.plus(Regimen(Reset(1, 4))),
        observed=(Measurement(1, "c", 0.1, lloq=0.1, censored=True, order=3),),
    )
    for record in (RECORD, full, Record("é", (), Regimen(), (), 0)):
        again = Record.from_json(record.to_json())
        assert again == record
        assert again.digest() == record.digest()


def test_the_digest_depends_on_facts_alone():
    assert RECORD.digest() == "7a8300faae150c2f82e238b1bb0c157df66116353e41c5734d5f298f4ade6e41"
    same = dataclasses.replace(RECORD, now=np.float64(60), observed=RECORD.observed[::-1], occasions=(-0.0, 24))
    assert same.digest() == RECORD.digest()
    assert dataclasses.replace(RECORD, now=60.000000000000007).digest() != RECORD.digest()


def _without(key):
    facts = json.loads(RECORD.to_json())
    del facts[key]
    return json.dumps(facts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"format":"doseloop.record/2"}',
        _without("now"),
        _without("given"),
        RECORD.to_json().replace("17.3", "NaN"),
        RECORD.to_json().replace('"dose"', '"meal"'),
        RECORD.to_json().replace('"covariates":[{', '"covariates":[3,{'),
        RECORD.to_json().replace('"occasions":[0.0,24.0]', '"occasions":7'),
        RECORD.to_json().replace('"occasions":[0.0,24.0]', '"occasions":["a"]'),
        RECORD.to_json().replace('"time":2.0', '"when":2.0'),
        "[" * 100_000,
    ],
)
def test_text_that_is_no_record_is_refused(text):
    with pytest.raises(RecordError):
        Record.from_json(text)
