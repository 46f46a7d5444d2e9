"""The loop, its model-predictive policies and the command: on few patients, briefly."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from doseloop.cli import main
from doseloop.controller.ladder import LoopOutcome
from doseloop.controller.realtime import Fault
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.closed_loop import run
from doseloop.policies.policy import Policy
from doseloop.policies.scenes import SCENES
from doseloop.safety import Code
from doseloop.twin.eating import Eating


@pytest.fixture(scope="module")
def scenes():
    return {name: make() for name, make in SCENES.items()}


def looped(scene, n, minutes, *, surroundings=None, policy=None, seed=1, model=None):
    people = scene.people(scene.therapy.model_ids[0], n, scene.groups[0])
    world = scene.world(people, surroundings or scene.surroundings[0], 1)
    chosen = policy or scene.policy(next(iter(scene.policies)), model)
    return run(world, chosen, scene.gate(), minutes, seed=seed), chosen


# what is eaten ------------------------------------------------------------------------------------------------------


def test_a_meal_is_eaten_at_its_pace_and_no_gram_is_lost():
    eating = Eating(2)
    eating.announce(np.array([37.0, 0.0]), np.array([3.0, 9.0]))
    carbs, meal = eating.ahead(5.0, 4)
    assert carbs[0] == pytest.approx([5.0, 2.4, 0.0, 0.0])
    assert carbs[1] == pytest.approx(np.zeros(4))
    assert meal[0] == pytest.approx([3 + 12.5, 3 + 31.0, 40.0, 40.0])
    took = [eating.pass_by(5.0)[0][0] * 5 for _ in range(4)]
    assert sum(took) == pytest.approx(37.0)
    assert not eating.under_way.any()
    eating.announce(np.array([10.0, 0.0]), np.array([20.0, 0.0]))  # the next meal begins on what is left
    assert eating.ahead(5.0, 2)[1][0] == pytest.approx([25.0, 30.0])


def test_a_second_course_belongs_to_the_meal_under_way():
    eating = Eating(1)
    eating.announce(np.array([50.0]), np.array([0.0]))
    eating.pass_by(5.0)
    eating.announce(np.array([20.0]), np.array([20.0]))
    assert eating.base[0] == 0.0
    assert eating.left[0] == pytest.approx(45.0)


# the loop -----------------------------------------------------------------------------------------------------------


class Careless(Policy):
    """Asks for far too much, and for what is no number."""

    name = "careless"

    def __init__(self, asked):
        self.asked = asked

    def reset(self, known, n):
        self.n = n

    def act(self, seen):
        return np.tile(self.asked, (self.n, 1))


@pytest.mark.parametrize(
    ("therapy", "asked"), [("glucose", [40.0, 25.0]), ("propofol", [400.0]), ("anaesthesia", [400.0, 1000.0])]
)
def test_a_careless_policy_gives_only_what_the_guard_allows(scenes, therapy, asked):
    scene = scenes[therapy]
    r, _ = looped(scene, 9, 120 if therapy == "glucose" else 10, policy=Careless(asked))
    assert (r.allowed <= r.asked).all()
    assert (r.masks != 0).any()
    if therapy == "glucose":
        hour = (r.delivered[:, :, 0] / 12 + r.delivered[:, :, 1])[:12].sum(axis=0)
        assert (hour <= 30.0).all()  # most on board: 22 U of an adult, 30 U of a resistant one (AAPS)
    else:
        weight = r.people.known["weight"]
        first = r.delivered[:60, :, 0].sum(axis=0) / 12
        assert (first <= 5.0 * weight * (1 + 1e-9)).all()  # mg/kg in five minutes


@pytest.mark.parametrize("therapy", ["glucose", "propofol", "anaesthesia"])
def test_an_action_that_is_no_number_gives_nothing(scenes, therapy):
    scene = scenes[therapy]
    r, _ = looped(scene, 2, 5 * scene.therapy.interval, policy=Careless([np.nan] * len(scene.therapy.actuators)))
    assert not r.allowed.any()
    assert (r.masks & Code.AMOUNT_INVALID.bit).all()


def test_a_policy_of_another_shape_is_told_so(scenes):
    with pytest.raises(DoseloopError, match=r"\(2, 2\) is meant"):
        looped(scenes["glucose"], 2, 10, policy=Careless([1.0]))
    with pytest.raises(DoseloopError, match="more than 0 min"):
        looped(scenes["glucose"], 2, 0)


# the policies -------------------------------------------------------------------------------------------------------


def test_glucose_is_held_and_a_meal_is_met(scenes):
    r, policy = looped(scenes["glucose"], 6, 16 * 60, surroundings="by weight")
    usual, _ = looped(
        scenes["glucose"], 6, 16 * 60, surroundings="by weight", policy=scenes["glucose"].policy("basal-bolus")
    )
    inside = (r.truth >= 70) & (r.truth <= 180)
    assert inside.mean() > 0.85
    assert (r.truth < 54).mean() <= 0.01
    assert not r.endings.any()
    assert np.array_equal(r.announced, usual.announced)  # the same day for both
    met = r.announced > 20
    assert met.any()
    assert (r.asked[:, :, 1][met & (r.reading > 100)] > 0.5).all()
    assert (r.outcomes <= LoopOutcome.LIMITED).all()
    assert policy.sentence(0).startswith(LoopOutcome.PLANNED.sentence)


def test_the_other_model_holds_glucose_too(scenes):
    r, _ = looped(scenes["glucose"], 4, 10 * 60, surroundings="by weight", model="glucose_t1d_hovorka2004")
    assert ((r.truth >= 70) & (r.truth <= 200)).mean() > 0.8
    assert not r.endings.any()


def test_anaesthesia_comes_to_its_band_and_stays(scenes):
    r, _ = looped(scenes["propofol"], 16, 12, surroundings="none")
    later = r.truth[:, 72:]
    assert ((later >= 40) & (later <= 60)).mean() > 0.85
    assert (r.truth.min(axis=1) < 35).mean() <= 0.1
    assert np.median(np.argmax(r.truth < 60, axis=1)) / 12 < 4.0


def test_a_patients_loop_does_not_depend_on_who_runs_beside(scenes):
    whole, _ = looped(scenes["glucose"], 10, 100, surroundings="by weight")
    some, _ = looped(scenes["glucose"], 3, 100, surroundings="by weight")
    assert np.array_equal(whole.truth[:3], some.truth)
    assert np.array_equal(whole.allowed[:, :3], some.allowed)


@pytest.mark.parametrize("therapy", ["glucose", "propofol", "anaesthesia"])
def test_when_the_solver_fails_the_ladder_is_walked_and_says_so(scenes, therapy):
    scene = scenes[therapy]
    policy = scene.policy("mpc")
    t, n = scene.therapy, 3
    people = scene.people(t.model_ids[0], n, scene.groups[0])
    world = scene.world(people, scene.surroundings[0], 1)
    seen = world.reset(1)
    policy.reset(people.known, n)
    told = []
    for k in range(16):
        # the first patient's solver fails for good after a while, the second's is late, the third's is sound
        policy.faults = None if k < 4 else np.array([Fault.FAIL, Fault.LATE, Fault.NONE])
        asked = policy.act(seen)
        assert np.isfinite(asked).all()
        assert (asked >= 0).all()
        told.append(policy.outcomes.copy())
        if k == 5:
            assert "the solver failed" in policy.sentence(0)
        seen = world.step(asked)
    told = np.array(told)
    assert (told[:4] == LoopOutcome.PLANNED).all()
    assert told[4, 0] == LoopOutcome.LAST_PLAN
    assert told[-1, 0] == LoopOutcome.PROTOCOL
    assert (told[4:, 1] == LoopOutcome.LATE).all()
    # with chances to keep, a plan may be the one that misses them least
    sound = [LoopOutcome.PLANNED, LoopOutcome.LIMITED] if policy.problem.chances else [LoopOutcome.PLANNED]
    assert np.isin(told[:, 2], sound).all()


@pytest.mark.parametrize(("therapy", "usual"), [("glucose", "basal"), ("propofol", None), ("anaesthesia", None)])
def test_without_a_sensor_the_usual_protocol_goes_on(scenes, therapy, usual):
    scene = scenes[therapy]
    t, n, policy, gate = scene.therapy, 2, scene.policy("mpc"), scene.gate()
    people = scene.people(t.model_ids[0], n, scene.groups[0])
    world = scene.world(people, "none", 1)
    seen = world.reset(1)
    policy.reset(people.known, n)
    gate.reset(people.known, n)
    patience = round(policy.patience / t.interval)
    for k in range(12 + patience + 8):
        if k >= 12:
            seen = replace(seen, reading=np.full(n, np.nan), reading_time=np.full(n, np.nan))
        asked = policy.act(seen)
        allowed, _ = gate.judge(seen, asked)
        seen = world.step(allowed)
        if k > 12 + patience + 2:
            assert (policy.outcomes == LoopOutcome.PROTOCOL).all()
            assert "no reading for too long" in policy.sentence(0)
            if usual:
                assert asked[:, 0] == pytest.approx(people.known[usual])
                assert allowed[:, 0] == pytest.approx(people.known[usual], abs=1e-3)  # the pump's step


# the command --------------------------------------------------------------------------------------------------------


def test_the_command_writes_scores_a_picture_and_json(tmp_path, capsys):
    assert main(["loop", "glucose", "--hours", "2", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "time in 70-180 mg/dL" in out
    assert "basal-bolus" in out
    assert (tmp_path / "loop-glucose.png").stat().st_size > 20_000
    told = json.loads((tmp_path / "loop-glucose.json").read_text(encoding="utf-8"))
    assert set(told["runs"]) == {"MPC", "basal-bolus"}
    trace = told["runs"]["MPC"]["trace"]
    assert len(trace["minutes"]) == 24
    assert np.shape(trace["truth"]) == (1, 120)
    assert "split test" in told["origin"]


def test_the_command_lists_everything_that_is_wrong(tmp_path, capsys):
    wrong = ["--scenario", "feast", "--group", "elderly", "--controller", "hal", "--hours", "-1", "--patients", "0"]
    assert main(["loop", "glucose", *wrong, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for word in ("feast", "elderly", "hal", "--hours -1", "--patients 0"):
        assert word in said
