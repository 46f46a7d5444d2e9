"""The glucose controller's parts: what it may ask for, what its draws differ in, what is estimated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.population import starting_states
from doseloop.pkpd.reference import rhs
from doseloop.pkpd.system import system
from doseloop.policies.allowance import Allowance
from doseloop.policies.glucose_mpc import SAME, GlucoseMPC
from doseloop.policies.scenes import SCENES
from doseloop.twin.belief import Fate
from doseloop.twin.follower import Follower
from doseloop.twin.statements import BRETON, DEXCOM_G6, follow_glucose
from doseloop.virtual.meals import Meals
from doseloop.virtual.sensors import CGM

MODELS = ("glucose_t1d_hovorka2004", "glucose_t1d_uvapadova2008")


# what may be asked for ----------------------------------------------------------------------------------------------


def allowance(trust=1.0):
    return Allowance(np.array([1.0 / 60]), np.array([10.0]), np.array([50.0]), trust)


def test_a_meals_bolus_is_the_usual_one_and_closes_as_it_is_given():
    a = allowance()
    a.announce(np.array([60.0]))
    assert a.meal(np.array([100.0]), 120.0, np.array([True])) == pytest.approx([6.0])
    assert a.meal(np.array([220.0]), 120.0, np.array([True])) == pytest.approx([8.0])
    assert a.meal(np.array([220.0]), 120.0, np.array([False])) == pytest.approx([6.0])
    a.pass_by(5.0, np.array([6.0 / 5 + 1 / 60]))  # 6 U beyond the basal rate
    assert a.meal(np.array([100.0]), 120.0, np.array([False]))[0] < 0.1
    assert allowance(1.3).meal(np.array([220.0]), 120.0, np.array([True])) == pytest.approx([2.6])


def test_a_refused_bolus_stays_open_as_long_as_the_meal_is_to_come():
    a = allowance()
    a.announce(np.array([60.0]))
    left = []
    for _ in range(60):
        a.pass_by(5.0, np.array([1 / 60]))
        left.append(a.meal(np.array([100.0]), 120.0, np.array([False]))[0])
    assert left[5] == pytest.approx(6.0 * (1 + 30 / 40) * np.exp(-30 / 40))
    assert (np.diff(left) < 0).all()
    assert left[-1] < 0.03
    assert a.insulin == pytest.approx(np.zeros((1, 2)), abs=1e-12)  # the programmed rate is not on board


def test_no_correction_is_heaped_on_another():
    a = allowance()
    assert a.between(np.array([270.0]), 120.0) == pytest.approx([3.0])
    a.pass_by(5.0, np.array([3.0 / 5 + 1 / 60]))
    assert a.between(np.array([270.0]), 120.0)[0] < 0.1
    assert a.between(np.array([420.0]), 120.0) == pytest.approx([3.0], abs=0.1)
    for _ in range(60):
        a.pass_by(5.0, np.array([1 / 60]))
    assert a.between(np.array([270.0]), 120.0)[0] > 2.8
    # insulin that carbohydrate needs does not count, nor does a pause earn a larger bolus
    a.announce(np.array([60.0]))
    a.pass_by(5.0, np.array([6.0 / 5 + 1 / 60]))
    assert a.between(np.array([270.0]), 120.0)[0] > 2.8
    for _ in range(60):
        a.pass_by(5.0, np.array([0.0]))
    assert a.between(np.array([270.0]), 120.0) == pytest.approx([3.0])


def test_a_meal_announced_during_a_low_is_dosed_once_glucose_has_come_up():
    scene = SCENES["glucose"]()
    people = scene.people(MODELS[1], 2, "child")
    world = scene.world(people, Meals.table([[60.0, 60.0]]), 1)
    policy, gate = scene.policy("mpc"), scene.gate()
    seen = world.reset(1)
    policy.reset(people.known, 2)
    gate.reset(people.known, 2)
    asked, low = [], np.array([62.0, np.nan])  # the first one's sensor shows a low for a while
    for k in range(30):
        if 9 <= k < 16:
            seen = replace(seen, reading=np.where(np.isfinite(low), low, seen.reading))
        wish = policy.act(seen)
        allowed, _ = gate.judge(seen, wish)
        asked.append(allowed[:, 1])
        seen = world.step(allowed)
    asked = np.array(asked)
    assert not asked[9:16, 0].any()  # refused while the sensor says so
    assert asked[11:14, 1].max() > 1.0  # the other one's bolus, with the meal
    assert asked[16:, 0].sum() > 0.5 * asked[:, 1].sum()  # made up for afterwards


# what the draws differ in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("which", list(SAME))
def test_a_factor_on_an_input_is_one_on_these_parameters(name, which):
    model = load(name)
    units, states = list(model.individual_units), model.names("states")
    p = individuals(model, [{"weight": 70.0, "group": 0.0}], np.zeros((1, len(model.effects))))[0]
    x = starting_states(system(model), p[None])[0] * 1.3 + 0.1  # away from rest, where every term acts
    u = {i.name: i.typical for i in model.inputs} | {"carbs": 3.0}
    changed = p.copy()
    for k in SAME[which]:
        if k in units:
            changed[units.index(k)] *= 1.4
    assert (changed != p).any()
    sc = {"sc": p[units.index("basal")] / 60}
    if which == "carbs" and "qgut" in states:  # there the factor is on what appears, once it is in the gut
        x[[states.index(s) for s in ("qsto1", "qsto2", "qgut")]] = 0.0, 0.0, 2000.0
        more = x.copy()
        more[states.index("qgut")] *= 1.4
        plasma = states.index("gp")
        now, same = rhs(model, 0.0, x, changed, u, sc), rhs(model, 0.0, x, p, u, sc)
        assert now[plasma] == pytest.approx(rhs(model, 0.0, more, p, u, sc)[plasma])
        assert np.delete(now, plasma) == pytest.approx(np.delete(same, plasma))
    else:
        by_input = rhs(model, 0.0, x, p, u | {which: u[which] * 1.4}, sc)
        assert rhs(model, 0.0, x, changed, u, sc) == pytest.approx(by_input)
        assert rhs(model, 0.0, x, p, u, sc) != pytest.approx(by_input)


def test_draws_differ_in_a_meal_only_as_far_as_it_is_still_to_be_eaten():
    scene = SCENES["glucose"]()
    people = scene.people(MODELS[0], 1, "adult")
    policy = GlucoseMPC(MODELS[0])
    policy.reset(people.known, 1)
    seen = scene.world(people, "none", 1).reset(1)
    policy.act(seen)
    ag = policy.individual["ag"]

    def spread():
        draws = policy.follower.draws(8)
        return np.std(np.log(policy._own(draws)[0, :, ag] / draws.parameters[0, :, ag]))

    assert spread() == 0.0
    policy.eating.announce(np.array([50.0]), np.zeros(1))
    assert 0.05 < spread() < 0.6
    policy.eating.pass_by(5.0)
    policy.eating.pass_by(5.0)
    assert spread() == 0.0


# what is estimated --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_meals_that_nobody_announced_are_looked_for(name):
    told, untold = (follow_glucose(load(name), announced=a) for a in (True, False))
    flux = [next(d.wander for d in f.disturbed if d.inputs == ("dawn",)) for f in (told, untold)]
    assert flux[1].sd > 3 * flux[0].sd
    assert GlucoseMPC(name, announced=False).follow.disturbed == untold.disturbed
    scene = SCENES["glucose"]()
    assert scene.policy("mpc", name, surroundings="unannounced").follow.disturbed == untold.disturbed
    assert scene.policy("mpc", name, surroundings="counted").follow.disturbed == told.disturbed
    beliefs = []
    for f in (told, untold):
        follower = Follower(f, {"weight": 75.0, "group": 0.0}, count=1)
        u = np.zeros(len(f.signals))
        u[f.signals.index("sensitivity")] = 1.0
        u[f.signals.index("sc")] = follower.belief().parameters[0, list(f.model.individual_units).index("basal")] / 60
        start = follower.belief().truth[0]
        for k in range(12):
            belief = follower.step(u, start + 3.0 * 5 * max(0, k - 3))  # a meal's rise
        beliefs.append(belief.of("disturbed dawn")[0][0])
    assert beliefs[1] > 2 * beliefs[0] > 0


@pytest.mark.parametrize(("sensor", "name"), [(DEXCOM_G6, "dexcom_g6"), (BRETON, "simglucose")])
def test_a_reading_at_the_edge_of_the_sensors_range_is_used(sensor, name):
    shown = CGM.named(name)
    f = follow_glucose(load(MODELS[0]), sensor=sensor)
    follower = Follower(f, {"weight": 75.0, "group": 0.0}, count=1)
    u = np.zeros(len(f.signals))
    u[f.signals.index("sensitivity")] = 1.0
    u[f.signals.index("sc")] = follower.belief().parameters[0, list(f.model.individual_units).index("basal")] / 60
    for reading in (100, 85, 70, 60, 50, *[shown.low] * 6):
        belief = follower.step(u, float(reading))
    assert belief.fate[0] == Fate.USED
    assert belief.truth[0] < 70
    follower = Follower(f, {"weight": 75.0, "group": 0.0}, count=1)
    for reading in (150, 200, 250, 300, 350, shown.high):
        belief = follower.step(u, float(reading))
    assert belief.fate[0] in (Fate.USED, Fate.GATED, Fate.WIDENED)
