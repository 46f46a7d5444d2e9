"""Propofol and remifentanil in one loop: the pressure's estimator, the policy, its comparator, scores, the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from doseloop.cli import main
from doseloop.controller.ladder import LoopOutcome
from doseloop.models import load
from doseloop.pkpd.errors import DoseloopError
from doseloop.pkpd.individuals import individuals
from doseloop.policies.closed_loop import run
from doseloop.policies.scenes import SCENES
from doseloop.policies.target_controlled import TargetControlled
from doseloop.policies.two_drug_mpc import RELIEF, TITRATION, TWO_PUMPS, TwoDrugMPC, TwoDrugTuning
from doseloop.twin.follower import Follower
from doseloop.twin.statements import CIRCULATION, PRESSURE, follow_pressure, follow_propofol
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.pressure_scores import pressure_scores

SU = "propofol_remifentanil_su2023"


@pytest.fixture(scope="module")
def scene():
    return SCENES["anaesthesia"]()


def looped(scene, n, minutes, policy=None, surroundings="none", gate=True):
    people = anaesthesia_cohort(SU, "validation", n)
    world = scene.world(people, surroundings, 1)
    chosen = policy or scene.policy("mpc")
    return run(world, chosen, scene.gate() if gate else None, minutes, seed=1), chosen


# following the pressure ---------------------------------------------------------------------------------------------


def test_what_bis_tells_nothing_of_is_not_estimated_from_it():
    model = load(SU)
    assert set(follow_propofol(model).effects) == set(load("propofol_eleveld2018").names("effects"))
    assert follow_pressure(model).effects == PRESSURE
    assert set(PRESSURE) < set(CIRCULATION) <= set(model.names("effects"))


def test_the_pressure_is_followed_and_its_bands_hold():
    """Twenty minutes of both drugs; readings every minute with 5 mmHg of noise."""
    people = anaesthesia_cohort(SU, "validation", 40)
    world = AnaesthesiaWorld(people, surgery="step")
    seen = world.reset(seed=3)
    covariates = people.covariates
    follower = Follower(follow_pressure(people.model), covariates)
    belief = follower.observe(seen.pressure)
    first = np.abs(belief.truth - world.outputs["map"]).mean()
    rates = np.column_stack([0.12 * people.known["weight"], 0.1 * people.known["weight"]])
    errors, spreads = [], []
    for k in range(240):
        seen = world.step(rates)
        belief = follower.step(seen.delivered, seen.pressure)
        if k >= 60:
            errors.append(world.pressure[:, -1] - belief.truth)
            spreads.append(belief.truth_sd)
    errors, spreads = np.array(errors), np.array(spreads)
    assert np.abs(errors).mean() < 0.6 * first
    assert np.abs(errors).mean() < 3.0
    assert 0.8 < (np.abs(errors) < 1.645 * spreads).mean() < 0.98


# the policy ---------------------------------------------------------------------------------------------------------


def test_a_draw_is_the_hypnosis_of_one_estimator_and_the_circulation_of_the_other(scene):
    people = anaesthesia_cohort(SU, "validation", 3)
    world, policy = scene.world(people, "none", 1), scene.policy("mpc")
    seen = world.reset(1)
    policy.reset(people.known, 3)
    for _ in range(30):
        seen = world.step(policy.act(seen))
    policy.act(seen)
    states, parameters, offset = policy.draws(1)
    model, names = policy.whole, policy.whole.names
    hypnosis, pressures = policy.follower.belief(), policy.pressures.belief()
    for j, name in enumerate(names("states")):
        if name in policy.model.names("states"):
            wanted = hypnosis.states[:, policy.model.names("states").index(name)]
        else:
            wanted = pressures.states[:, j]
        assert states[:, 0, j] == pytest.approx(np.maximum(wanted, 0.0), abs=1e-12), name
    eta = np.zeros((3, len(names("effects"))))
    for source, of in ((hypnosis, policy.model.names("effects")), (pressures, PRESSURE)):
        for j, e in enumerate(of):
            eta[:, names("effects").index(e)] = source.effects[:, j]
    assert np.abs(eta).max() > 0.05  # something was learnt
    assert parameters[:, 0] == pytest.approx(individuals(model, people.covariates, eta), rel=1e-9)
    assert offset[:, 0, 1].tolist() == [0.0] * 3
    assert policy.problem.watched == ("bis", "ce_remifentanil", "map")
    # the kinetics that the plan has are those of the true regimen so far: remifentanil's are the typical patient's
    assert (states[:, 0, names("states").index("effect_remifentanil")] > 0.5).all()


def test_two_drugs_bring_bis_to_its_band_and_hold_it(scene):
    r, policy = looped(scene, 6, 12, gate=False)
    later = r.truth[:, 84:]
    assert ((later >= 40) & (later <= 60)).mean() > 0.85
    assert (r.outcomes <= LoopOutcome.LIMITED).mean() > 0.99
    assert policy.sentence(0).split(".")[0] in {o.sentence.split(".")[0] for o in LoopOutcome}
    weight = r.people.known["weight"]
    assert (r.delivered[:, :, 1].mean(axis=0) / weight > 0.03).all()  # ug/kg/min: nobody goes without opioid


def test_a_low_pressure_costs_opioid_before_depth(scene):
    """The same patients and noise, with and without the pressure in the objective."""
    few = TwoDrugTuning(draws=4)
    with_it, _ = looped(scene, 6, 12, TwoDrugMPC(tuning=few), gate=False)
    without, _ = looped(scene, 6, 12, TwoDrugMPC(tuning=replace(few, pressure_weight=0.0)), gate=False)
    opioid = [r.delivered[:, :, 1].mean() for r in (with_it, without)]
    hypnotic = [r.delivered[:, :, 0].mean() for r in (with_it, without)]
    assert opioid[0] < 0.75 * opioid[1]
    assert hypnotic[0] > 0.8 * hypnotic[1]
    low = [np.maximum(65.0 - r.true_pressure[:, 60:], 0.0).mean() for r in (with_it, without)]
    assert low[0] < 0.8 * low[1]


def test_an_older_patient_has_the_lower_target(scene):
    policy = scene.policy("mpc")
    policy.reset({"age": np.array([65.0, 66.0]), "weight": np.full(2, 70.0), "height": np.full(2, 170.0),
                  "sex": np.zeros(2)}, 2)  # fmt: skip
    assert policy.opioid.tolist() == [4.0, 2.5]


def test_a_patients_loop_does_not_depend_on_who_runs_beside(scene):
    whole, some = looped(scene, 10, 2)[0], looped(scene, 2, 2)[0]
    assert np.array_equal(whole.truth[:2], some.truth)
    assert np.array_equal(whole.allowed[:, :2], some.allowed)
    assert np.array_equal(whole.true_pressure[:2], some.true_pressure)


def test_without_a_pressure_line_both_drugs_are_held_and_the_loop_goes_on(scene):
    """Cut after 3 min: six minutes later each drug is at most at its maintenance rate."""
    people = anaesthesia_cohort(SU, "validation", 3)
    world, policy, gate = scene.world(people, "none", 1), scene.policy("mpc"), scene.gate()
    seen = world.reset(1)
    policy.reset(people.known, 3)
    gate.reset(people.known, 3)
    for k in range(12 * 12):
        if k > 36:
            seen = replace(seen, pressure=np.full(3, np.nan))
        asked = policy.act(seen)
        assert np.isfinite(asked).all()
        allowed, _ = gate.judge(seen, asked)
        if k > 36 + 75:
            for j, drug in enumerate(gate.drugs.values()):
                (most,) = {v.unmeasured_max is not None for v in drug.own.values()}
                assert most
                rate = next(v for kind, v in drug.own.items() if kind.value == "rate").unmeasured_max
                assert (allowed[:, j] <= rate + 1e-9).all()
        seen = world.step(allowed)


# the usual treatment ------------------------------------------------------------------------------------------------


def test_the_opioids_target_follows_the_pressure_and_the_hypnotics_does_not(scene):
    people = anaesthesia_cohort(SU, "validation", 3)
    world = scene.world(people, "none", 1)
    policy = TargetControlled(TWO_PUMPS, 1 / 12, TITRATION, RELIEF)
    seen = world.reset(1)
    policy.reset(people.known, 3)
    for _ in range(12 * 9):
        seen = world.step(policy.act(replace(seen, reading=np.full(3, 50.0), pressure=np.array([58.0, 72.0, np.nan]))))
    targets = policy.targets
    assert targets[0, 1] <= 4.0 - 3 * 0.5
    assert targets[1:, 1].tolist() == [4.0, 4.0]
    policy_alone = TargetControlled(TWO_PUMPS, 1 / 12)
    policy_alone.reset(people.known, 3)
    assert np.array_equal(targets[:, 0], policy_alone.targets[:, 0])


# scores, the command ------------------------------------------------------------------------------------------------


def test_scores_of_the_pressure():
    course = np.concatenate([np.full(12, 80.0), np.full(12, 60.0), np.full(6, 50.0), np.full(6, 70.0)])
    got = pressure_scores(course)
    assert got["map"] == pytest.approx([(12 * 80 + 12 * 60 + 6 * 50 + 6 * 70) / 36])
    assert got["map_below65"] == pytest.approx([50.0])
    assert got["map_below55"] == pytest.approx([100 * 6 / 36])
    assert got["map_least"] == pytest.approx([55.0])
    assert got["map_deficit"] == pytest.approx([(12 * 5 + 6 * 15) / 36])
    assert pressure_scores(course, since=2.0)["map"] == pytest.approx([60.0])
    with pytest.raises(DoseloopError, match="not finite"):
        pressure_scores([np.nan])
    with pytest.raises(DoseloopError, match=r"after 3\.0 min"):
        pressure_scores(course, since=3.0)


def test_the_command_tells_pressure_and_both_drugs(tmp_path, capsys):
    assert main(["loop", "anaesthesia", "--hours", "0.1", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for word in ("time under 65 mmHg", "remifentanil, ug/kg/h", "tci, titrated", "treats a low blood pressure"):
        assert word in out
    assert (tmp_path / "loop-anaesthesia.png").stat().st_size > 20_000
    told = json.loads((tmp_path / "loop-anaesthesia.json").read_text(encoding="utf-8"))
    trace = told["runs"]["MPC"]["trace"]
    assert np.shape(trace["true_pressure"]) == (1, 72)
    assert sum(v is not None for v in trace["pressure"][0]) == 6
    assert np.shape(trace["allowed"]) == (1, 72, 2)
