"""Saved recommendations: the same bits again, or what differs."""

import json

import pytest
from doseloop import therapies
from doseloop.controller import Outcome, recommend
from doseloop.controller.saved import load, replay, save, to_dict
from doseloop.pkpd.errors import RecordError
from doseloop.pkpd.record import CovariateRow, Measurement, Record
from doseloop.pkpd.regimen import Infusion, Regimen


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    record = Record(
        "infant",
        (CovariateRow(0.0, {"weight": 1.4, "apgar": 7.0}),),
        Regimen(Infusion(25, 0, duration=0.1), Infusion(3.5, 12, duration=0.1, every=12, times=9)),
        (Measurement(2.0, "concentration", 17.3), Measurement(112.5, "concentration", 31.0)),
        113.0,
    )
    answer = recommend(therapies.load("phenobarbital"), record)
    assert answer.outcome is Outcome.RECOMMENDED
    return save(answer, tmp_path_factory.mktemp("saved") / "r.json")


def test_replay_is_identical(saved):
    again = replay(saved)
    assert again.identical
    assert again.within_tolerance
    assert again.same_machine
    assert "bit for bit" in again.sentence
    assert to_dict(again.again) == load(saved)


def test_another_processor_is_said_and_the_tolerance_holds(saved):
    old = load(saved)
    old["provenance"]["processor"] = "another"
    old["forecast"]["quantiles"][2][-1] *= 1 + 1e-9
    again = replay(old)
    assert not again.identical
    assert again.within_tolerance
    assert not again.same_machine
    assert "another machine" in again.sentence
    assert any("processor" in d for d in again.differences)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["regimen"][0].__setitem__("amount", 99.0), "regimen"),
        (lambda d: d.__setitem__("sentence", "Give nothing."), "sentence"),
        (lambda d: d["forecast"]["quantiles"][2].__setitem__(3, 7.0), "quantiles"),
        (lambda d: d["record"]["observed"][1].__setitem__("value", 45.0), "record"),
    ],
)
def test_what_was_changed_is_named(saved, change, words):
    old = load(saved)
    change(old)
    again = replay(old)
    assert not again.identical
    assert not again.within_tolerance or words == "record"
    assert again.differences


def test_changed_model_is_seen(saved):
    old = load(saved)
    (key,) = old["provenance"]["models"]
    old["provenance"]["models"][key] = "0" * 64
    again = replay(old)
    assert not again.identical
    assert any("models" in d for d in again.differences)


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"format": "other"}', "\ufeff{", '{"format": "doseloop.recommendation/1"}']
)
def test_other_files_are_refused_in_words(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match="not a saved recommendation"):
        replay(path)


def test_no_file_holds_nan(saved):
    json.loads(saved.read_text(), parse_constant=lambda c: pytest.fail(f"the file holds {c}"))
