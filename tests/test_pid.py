"""The PID of BIS and target-controlled infusion as policies: arithmetic, edges, and a small closed loop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from doseloop import models
from doseloop.controller.tci import concentration_for
from doseloop.pkpd.errors import DoseloopError
from doseloop.pkpd.individuals import individuals
from doseloop.policies.pid import PID, Gains, PIDTuning
from doseloop.policies.target_controlled import Pump, TargetControlled, Titration
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_scores import anaesthesia_scores
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.world import Observation

T = 1 / 12
PLAIN = PIDTuning(Gains(2.0, 10.0, 0.0), Gains(1.0, 5.0, 0.0), filter=0.0)


def seen(reading, time=0.0, quality=100.0, delivered=0.0, drugs=1):
    bis = np.atleast_1d(np.asarray(reading, dtype=float))
    n = len(bis)

    def row(v):
        return np.broadcast_to(np.asarray(v, dtype=float), (n,)).copy()

    return Observation(
        time,
        bis,
        row(time),
        row(quality),
        row(0),
        np.broadcast_to(np.asarray(delivered, dtype=float), (n, drugs)).copy(),
        row(0) > 1,
        row(time),
        row(np.nan),
        np.zeros((n, drugs)),
    )


def pid(tuning=PLAIN, weight=70.0, n=1):
    policy = PID(T, tuning)
    policy.reset({"weight": np.full(n, weight)}, n)
    return policy


# the controller's arithmetic -----------------------------------------------------------------------------------------


def test_the_proportional_and_integral_parts():
    policy = pid()
    first, second = policy.act(seen(80.0)), policy.act(seen(80.0))
    assert first.shape == (1, 1)
    assert first[0, 0] == pytest.approx(2.0 * 30)
    assert second[0, 0] == pytest.approx(2.0 * 30 * (1 + T / 10))


def test_gains_go_by_weight():
    a, b = pid(weight=70.0).act(seen(80.0)), pid(weight=105.0).act(seen(80.0))
    assert b == pytest.approx(1.5 * a)


def test_the_derivative_answers_the_measurement():
    policy = pid(dataclasses.replace(PLAIN, induction=Gains(2.0, 1e9, 0.5)))
    policy.act(seen(90.0))
    falling = policy.act(seen(88.0))
    assert falling[0, 0] == pytest.approx(2.0 * (38 + 0.5 * -2.0 / T))


def test_the_low_pass():
    policy = pid(dataclasses.replace(PLAIN, filter=0.5, induction=Gains(1.0, 1e9, 0.0)))
    policy.act(seen(90.0))
    rates = np.array([policy.act(seen(80.0))[0, 0] for _ in range(12)])
    assert rates == pytest.approx(30 + 10 * np.exp(-np.arange(1, 13) * T / 0.5))


def test_the_rate_does_not_jump_when_maintenance_begins():
    policy = pid()
    for bis in (90.0, 80.0, 70.0, 61.0):
        before = policy.act(seen(bis))[0, 0]
    expected = before - 2.0 * 1.0 + 2.0 * T / 10 * 11  # what the old gains would have given at BIS 60
    after = policy.act(seen(60.0))[0, 0]
    assert after == pytest.approx(expected)
    assert policy.act(seen(59.0))[0, 0] == pytest.approx(after + T / 5 * 10 - 1.0), "then the new ones count"


def test_the_integral_does_not_wind_up():
    """An hour at the pump's limit, or at zero: the rate answers within an interval of the error's change of sign."""
    policy = pid(dataclasses.replace(PLAIN, limit=1.0))
    for _ in range(720):
        assert policy.act(seen(93.0))[0, 0] <= 70.0
    assert policy.act(seen(45.0))[0, 0] < 70.0
    for _ in range(720):
        assert policy.act(seen(20.0))[0, 0] == 0.0 or policy.act(seen(20.0))[0, 0] < 1e-9
    assert policy.act(seen(55.0))[0, 0] > 0.0


def test_missing_and_poor_readings_hold_the_last_good_one():
    policy, other = pid(n=2), pid(n=2)
    none = policy.act(seen([np.nan, 80.0], quality=[100.0, 30.0]))
    assert none.tolist() == [[0.0], [0.0]], "nothing is given before the first reading"
    for reading, quality in (([80.0, 75.0], 100.0), ([np.nan, 20.0], [100.0, 30.0])):
        got = policy.act(seen(reading, quality=quality))
    other.act(seen([80.0, 75.0]))
    assert np.array_equal(got, other.act(seen([80.0, 75.0])))


def test_each_patient_for_itself():
    bis = np.linspace(30, 95, 40)
    many = pid(n=40)
    both = [many.act(seen(bis)), many.act(seen(bis[::-1]))]
    for i in (0, 13, 39):
        one = pid()
        assert np.array_equal(one.act(seen(bis[i]))[0], both[0][i])
        assert np.array_equal(one.act(seen(bis[::-1][i]))[0], both[1][i])


# its tuning ----------------------------------------------------------------------------------------------------------


def test_the_defaults_are_what_the_committed_script_found():
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "pid_tuning.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert dataclasses.asdict(PIDTuning()) == saved["tuning"]
    assert saved["train"].keys() == saved["validation"].keys()


def operations(policy, n=40, split="validation", minutes=60, **world):
    people = anaesthesia_cohort("propofol_eleveld2018", split, n)
    w = AnaesthesiaWorld(people, keep=True, **world)
    sight = w.reset(seed=3)
    policy.reset(people.known, n)
    for _ in range(round(minutes / w.interval)):
        sight = w.step(policy.act(sight))
    return w.trace


def iae(policy, **world):
    return anaesthesia_scores(operations(policy, surgery="struys2004", **world))["iae"].mean()


def test_the_tuned_gains_are_better_than_their_neighbours():
    best, t = iae(PID()), PIDTuning()
    for phase in ("induction", "maintenance"):
        for factor in (0.33, 3.0):
            gains = getattr(t, phase)
            other = dataclasses.replace(t, **{phase: dataclasses.replace(gains, kp=factor * gains.kp)})
            assert iae(PID(tuning=other)) > best, (phase, factor)


def test_the_loop_brings_and_holds_undisturbed_patients_in_range():
    got = anaesthesia_scores(operations(PID(), monitor="clean"), since=15.0)
    assert np.median(got["in_range"]) > 90
    assert np.median(got["settling"]) < 8


# target-controlled infusion as a policy ------------------------------------------------------------------------------


def test_the_concentration_for_a_bis():
    eleveld, bouillon = 92.9824 / 50 - 1, 97.4 / 50 - 1
    closed = {
        "propofol_eleveld2018": 3.0794469 * eleveld ** (1 / 1.89390),
        "propofol_remifentanil_bouillon2004": 4.47 * bouillon ** (1 / 1.43),
    }
    for id, ce in closed.items():
        model = models.load(id)
        covariates = {c.name: 35.0 if c.name == "age" else c.typical for c in model.covariates}
        assert concentration_for(model, individuals(model, covariates), 50.0) == pytest.approx(ce, rel=1e-9)


def test_the_typical_patient_comes_to_bis_50_and_others_do_not():
    people = anaesthesia_cohort("propofol_eleveld2018", "validation", 30)
    typical = dataclasses.replace(
        people, parameters=individuals(people.model, people.covariates), eta=np.zeros_like(people.eta)
    )
    for who, close in ((typical, 0.5), (people, 3.0)):
        w = AnaesthesiaWorld(who, monitor="ideal", pumps="ideal")
        policy, sight = TargetControlled(), w.reset(seed=0)
        policy.reset(who.known, len(who))
        for _ in range(360):
            sight = w.step(policy.act(sight))
        miss = np.abs(w.outputs["bis"] - 50.0)
        assert (miss < close).all() if who is typical else (miss > close).mean() > 0.5


def test_titration_moves_the_target_towards_the_range():
    policy = TargetControlled(titration=Titration())
    policy.reset({k: np.full(3, v) for k, v in {"age": 50.0, "weight": 70.0, "height": 170.0, "sex": 0.0}.items()}, 3)
    began, given = policy.targets[:, 0].copy(), np.zeros((3, 1))
    for k in range(12 * 12):
        given = policy.act(seen([70.0, 50.0, 30.0], time=k * T, delivered=given))
    moved = policy.targets[:, 0] - began
    assert moved[1] == 0.0
    assert moved[0] > 0.4
    assert moved[2] < -0.4
    assert np.abs(moved).max() <= 0.5 * 12 / 2


def test_titration_waits_for_the_effect_site():
    """With a pump that gives nothing the target must not climb: the effect site is nowhere near it."""
    policy = TargetControlled(titration=Titration())
    policy.reset({k: np.full(1, v) for k, v in {"age": 50.0, "weight": 70.0, "height": 170.0, "sex": 0.0}.items()}, 1)
    began = policy.targets.copy()
    for k in range(12 * 12):
        policy.act(seen([70.0], time=k * T, delivered=0.0))
    assert np.array_equal(policy.targets, began)


def test_titration_helps_in_the_loop():
    left, moved = (
        anaesthesia_scores(operations(TargetControlled(titration=t), monitor="clean"), since=15.0)["in_range"].mean()
        for t in (None, Titration())
    )
    assert moved > left + 5


def test_two_drugs_by_two_pumps():
    people = anaesthesia_cohort("propofol_remifentanil_bouillon2004", "validation", 10)
    w = AnaesthesiaWorld(people, monitor="ideal", pumps="ideal")
    pumps = Pump("propofol_adult_schnider1998", 3.0), Pump("remifentanil_adult_minto1997", 4.0)
    policy, sight = TargetControlled(pumps), w.reset(seed=0)
    policy.reset(people.known, 10)
    for _ in range(240):
        action = policy.act(sight)
        sight = w.step(action)
    assert action.shape == (10, 2)
    for column, goal in enumerate((3.0, 4.0)):
        assert policy._tci[column].effect == pytest.approx(goal, rel=0.01)
    assert np.abs(w.outputs["ce"] - 3.0).max() < 0.5, "Schnider's variability is small"
    assert np.median(np.abs(w.outputs["ce_remifentanil"] - 4.0)) < 1.5


def test_mistakes_of_a_target_controlled_policy():
    with pytest.raises(DoseloopError, match="at least one pump"):
        TargetControlled(())
    with pytest.raises(DoseloopError, match="needs age, height, sex"):
        TargetControlled().reset({"weight": np.full(2, 70.0)}, 2)
