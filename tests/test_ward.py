"""The ward's gate and policies: plain rules by hand, what is refused, and that better knowledge treats better."""

import numpy as np
import pytest
from doseloop import therapies
from doseloop.envs.phenobarbital import PhenobarbitalVectorEnv
from doseloop.envs.vancomycin import VancomycinVectorEnv
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.episodes import play, with_doses
from doseloop.policies.ward import Nomogram, UsualProtocol
from doseloop.policies.ward_mpc import WardMPC
from doseloop.safety import Code
from doseloop.therapies.bedside_gate import KINETICS, BedsideGate, infusion_of
from doseloop.virtual.bedside_cohort import vancomycin_cohort
from doseloop.virtual.bedside_world import BedsideWorld
from scipy.stats import norm

VANCOMYCIN = therapies.load("vancomycin")


def ward(n, **how):
    people = vancomycin_cohort(n=n)
    world = BedsideWorld(people, infusion=infusion_of(VANCOMYCIN), **how)
    gate, everybody = BedsideGate(VANCOMYCIN, n, 12.0), np.ones(n, dtype=bool)
    seen = world.reset(1)
    gate.reset(people.known, everybody)
    gate.see(seen, everybody)
    return people, world, gate, everybody


def test_probabilities_of_harm_are_those_worked_out_by_hand():
    people, world, gate, _ = ward(40, renal="stable", levels="none")
    seen = world.observe()
    gate.judge(np.full(40, 1500.0))
    q, w = KINETICS["vancomycin"], people.known["weight"]
    k = people.known
    clear = (140 - k["age"]) * w / (72 * seen.creatinine) * np.where(k["sex"] > 0.5, 0.85, 1.0)
    cl, v = (3.66 + 0.689 * clear) * 0.06, 0.9 * w
    t = np.linspace(0, 12, 48001)[:, None]
    rate = 1500 / 2.5
    during = rate / cl * (1 - np.exp(-cl / v * np.minimum(t, 2.5)))
    level = during * np.exp(-cl / v * np.maximum(t - 2.5, 0))
    area = np.trapezoid(level, t[:, 0], axis=0)
    due = np.where(clear > 60, 12.0, np.where(clear > 20, 24.0, 48.0))
    trough = level[-1] * np.exp(-cl / v * (due - 12))
    wanted = norm.sf(np.log(np.array([677 / area, 20 / trough])) / q.spread).T
    np.testing.assert_allclose(gate._numbers.probability, wanted, atol=1e-7)
    refused = (wanted > [0.2, 0.35]).any(axis=1)
    assert 0 < refused.sum() < 40
    np.testing.assert_array_equal(gate.allowed, np.where(refused, 0.0, 1500.0))
    assert ((gate.masks & Code.HARM_LIKELY.bit) != 0).tolist() == refused.tolist()


def test_a_level_moves_the_ratio_by_its_share_of_the_doubt():
    _, world, gate, everybody = ward(400, renal="stable", levels="daily")
    for _ in range(3):
        seen = world.step(np.full((400, 1), 750.0))
        gate.see(seen, everybody)
    value = seen.levels[:, 0]
    told = value > 0
    assert 0.8 < told.mean() < 1
    variance = 0.35**2 + 1.5 * 0.1**2
    error = 0.2**2 + (2.0 / value[told]) ** 2
    left = variance * error / (variance + error)
    np.testing.assert_allclose(gate.expected["doubt"][told] ** 2, left, rtol=1e-12)
    assert (gate.expected["ratio"][~np.isfinite(value)] == 0).all()
    ratio, true = gate.expected["ratio"], np.log(world.outputs["concentration"] / gate.expected["level"])
    # what is expected comes nearer to the truth
    assert np.abs(true[told]).mean() < np.abs((true + ratio)[told]).mean() - 0.02


@pytest.mark.parametrize("bad", [np.nan, np.inf, -250.0])
def test_what_is_no_dose_is_refused(bad):
    _, _, gate, _ = ward(3)
    allowed, masks = gate.judge(np.array([500.0, bad, 500.0]))
    assert allowed.tolist() == [500.0, 0.0, 500.0]
    assert masks[1] & (Code.AMOUNT_INVALID.bit | Code.AMOUNT_NEGATIVE.bit)


def test_doses_below_a_step_and_beyond_limits():
    _, _, gate, _ = ward(3)
    allowed, _ = gate.judge(np.array([0.0, 499.0, 9000.0]))
    assert allowed.tolist()[:2] == [0.0, 250.0]
    assert allowed[2] <= 3000.0


def test_gate_on_two_threads_is_the_gate_on_one():
    people = vancomycin_cohort(n=300)
    world, out = BedsideWorld(people, infusion=infusion_of(VANCOMYCIN)), []
    seen, everybody = world.reset(1), np.ones(300, dtype=bool)
    for threads in (1, 2):
        gate = BedsideGate(VANCOMYCIN, 300, 12.0, threads)
        gate.reset(people.known, everybody)
        gate.see(seen, everybody)
        out.append([a.copy() for a in gate.judge(np.linspace(0, 3000, 300))])
    np.testing.assert_array_equal(out[0][0], out[1][0])
    np.testing.assert_array_equal(out[0][1], out[1][1])


def returns(kind, policy, n=60, **how):
    env = kind(n, split="validation", patients=n, action="dose", **how)
    return play(env, with_doses(policy(env)), 5).reward


def test_better_knowledge_treats_better_and_random_does_not():
    usual = returns(VancomycinVectorEnv, lambda env: UsualProtocol(env.therapy))
    planned = returns(VancomycinVectorEnv, lambda env: WardMPC(env.therapy))
    oracle = returns(VancomycinVectorEnv, lambda env: WardMPC(env.therapy, truth=env.privileged))
    nomogram = returns(VancomycinVectorEnv, lambda env: Nomogram())
    env = VancomycinVectorEnv(60, split="validation", patients=60)
    env.action_space.seed(0)
    random = play(env, lambda env, _: env.action_space.sample(), 5).reward
    assert random.mean() < min(usual.mean(), nomogram.mean()) - 0.8
    assert max(usual.mean(), nomogram.mean()) < planned.mean() - 0.2
    assert planned.mean() < oracle.mean() - 0.1


def test_reward_parts_are_the_distance_from_the_band_worked_out_from_the_truth():
    env = VancomycinVectorEnv(30, guard=False, renal="stable")
    env.reset(seed=3)
    areas = []
    for k in range(14):
        _, reward, _, truncated, info = env.step(np.random.default_rng(k).uniform(-1, 1, (30, 1)))
        areas.append(env.world.exposure[:, 0])
        total = np.sum(areas[-2:], axis=0) * (2.0 if k == 0 else 1.0)
        np.testing.assert_allclose(info["reward/under"], -0.5 * np.maximum(0, 1 - total / 400), atol=1e-12)
        np.testing.assert_allclose(info["reward/over"], -0.5 * np.clip(total / 300 - 2, 0, 2), atol=1e-12)
        np.testing.assert_array_equal(info["cost/toxic"], total > 600)
        assert info["cost/guard"].sum() == 0
        parts = info["reward/under"] + info["reward/over"] + info["reward/end"]
        np.testing.assert_allclose(reward, parts, atol=1e-12)
    assert truncated.all()
    after = env.world.ahead(24.0)[1]
    np.testing.assert_allclose(info["reward/end"], -np.clip((after - 600) / 300, 0, 2), atol=1e-12)
    assert info["reward/end"].min() < 0  # what is on board at the end is not free


def test_phenobarbital_parts_are_of_the_course():
    env = PhenobarbitalVectorEnv(30, guard=False)
    env.reset(seed=3)
    for k in range(6):
        _, _, _, _, info = env.step(np.random.default_rng(k).uniform(-1, 1, (30, 1)))
        truth = env.world.truth
        under = np.maximum(0, (15 - truth) / 15).mean(axis=1)
        over = np.minimum(2, np.maximum(0, (truth - 40) / 20)).mean(axis=1)
        np.testing.assert_allclose(info["reward/under"], -0.5 * under, atol=1e-12)
        np.testing.assert_allclose(info["reward/over"], -0.5 * over, atol=1e-12)
        np.testing.assert_allclose(info["cost/high"], (truth > 40).mean(axis=1), atol=1e-12)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [({"action": "cup"}, "action 'cup'"), ({"guard": "on"}, "True or False"), ({"days": 0.3}, "whole number")],
)
def test_arguments_that_do_not_fit(how, complaint):
    with pytest.raises(DoseloopError, match=complaint):
        VancomycinVectorEnv(2, patients=5, **how)
