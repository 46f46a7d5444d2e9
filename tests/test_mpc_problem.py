"""A control problem's statement: every mistake at once; windows, blocks, names."""

import math

import numpy as np
import pytest
from doseloop.controller.problem import Chance, Goal, Move, PathLimit, Problem
from doseloop.controller.realtime import RealTime
from doseloop.controller.snapshot import Snapshot
from doseloop.controller.stage import stable_substeps
from doseloop.models import load
from doseloop.pkpd.errors import SolverError
from helpers_mpc import glucose, patients, propofol, two_drugs

HOVORKA = load("glucose_t1d_hovorka2004")


def test_every_mistake_is_listed_at_once():
    with pytest.raises(SolverError) as caught:
        Problem(
            HOVORKA,
            0.0,
            4,
            [Move("sc", 1.0, 0.5, weight=-1.0), Move("sc", 0, 1), Move("iv", 0, 1), Move("carbs")],
            [Goal("glucos", 110.0), Goal("glucose", [1.0, 2.0], low=80, high=70), Goal("glucose", low_weight=1.0)],
            [PathLimit("glucose"), PathLimit("sugar", low=1), PathLimit("glucose", low=9, high=3)],
            [Chance("glucose", 1.5, below=70), Chance("glucose", 0.1), Chance("glucose", 0.1, below=70, start=1e9)],
            draws=0,
            blocks=(1, 2),
            substeps=0,
            every=-1.0,
        )
    text = str(caught.value)
    expected = [
        "interval is 0.0",
        "draws is 0",
        "blocks (1, 2) sum to 3",
        "substeps is 0",
        "every is -1.0",
        "move 'sc' is named twice",
        "move 'iv' is neither a route nor an input; known: sc, carbs",
        "move 'sc': high 0.5 is below low 1",
        "move 'sc': weight is -1.0",
        "move 'carbs': high is inf",
        "'glucos' is no output",
        "target has shape (2,)",
        "the band runs from 80 to 70",
        "low_weight without low",
        "it names neither low nor high",
        "'sugar' is no output",
        "it runs from 9 to 3",
        "probability is 1.5",
        "exactly one of below and above",
        "no stage ends between 1e+09",
    ]
    assert [e for e in expected if e not in text] == []
    assert caught.value.total >= len(expected)
    assert text.count("control problem on 'glucose_t1d_hovorka2004'") == caught.value.total


def test_no_moves_and_no_goals():
    with pytest.raises(SolverError, match=r"(?s)it has no moves.*it has no goals"):
        Problem(HOVORKA, 5.0, 4, [], [])


def test_windows_blocks_and_names():
    p = glucose(stages=12, blocks=(1, 3, 8), limits=[PathLimit("sensor", low=60, start=30, stop=45)])
    assert p.window(p.limits[0]) == (5, 9)
    assert p.block_of.tolist() == [0, 1, 1, 1] + [2] * 8
    assert p.watched == ("glucose", "sensor")
    assert p.held == ("carbs", "sensitivity", "dawn")
    assert two_drugs().names == ("propofol", "remifentanil")
    assert (p.horizon, p.renewed) == (60.0, 5.0)


def test_a_snapshot_is_checked_whole():
    p = glucose(stages=12)
    good = patients(p, 2)
    bad = Snapshot(
        good.states[:, :, :-1],
        good.parameters,
        np.zeros((2, 2)),
        {"insulin": 1.0, "carbs": np.zeros(11)},
        offset=np.zeros((2, 1, 3)),
        high=np.zeros(2),
    )
    with pytest.raises(SolverError) as caught:
        RealTime(p).solve(bad)
    for part in ("states has shape", "last has shape", "'insulin' is not known", "'carbs' has shape", "offset", "high"):
        assert part in str(caught.value)
    with pytest.raises(SolverError, match="warm plan"):
        RealTime(p).solve(good, RealTime(glucose(stages=13)).solve(patients(glucose(stages=13), 2)))
    with pytest.raises(SolverError, match="elapsed"):
        RealTime(p).solve(good, elapsed=math.nan)


@pytest.mark.parametrize(
    ("model", "interval", "steps"),
    [("glucose_t1d_hovorka2004", 5.0, 1), ("glucose_t1d_uvapadova2008", 5.0, 3), ("propofol_eleveld2018", 1 / 12, 1)],
)
def test_substeps_are_stable_with_a_margin(model, interval, steps):
    """S2008's fastest rate is about 1/min: RK4 is unstable at 5 min a step, so two are the least."""
    assert stable_substeps(load(model), interval) == steps


def test_linear_models_advance_exactly_whatever_is_asked():
    assert RealTime(propofol(12, substeps=7)).stage.substeps == 1
