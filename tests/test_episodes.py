"""Policies inside environments: their doses arrive, an episode is counted to its end, an oracle knows the truth."""

import gymnasium
import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.basal_bolus import BasalBolus
from doseloop.policies.episodes import play, with_doses
from doseloop.policies.glucose_mpc import GlucoseMPC
from doseloop.policies.oracle import AnaesthesiaOracle, GlucoseOracle
from doseloop.policies.policy import Policy
from doseloop.therapies import load_loop
from doseloop.therapies.gate import Gate
from doseloop.virtual.glucose_cohort import glucose_cohort
from doseloop.virtual.glucose_world import GlucoseWorld

GLUCOSE, PROPOFOL = "doseloop.envs:doseloop/Glucose-v0", "doseloop.envs:doseloop/Propofol-v0"


def test_the_protocol_in_the_environment_is_the_protocol_in_the_loop():
    """Same person, same seed, same start: the world under the same policy and guard, bit for bit."""
    n, hours = 12, 12
    env = gymnasium.make_vec(GLUCOSE, num_envs=n, split="test", patients=9, action="dose", hours=hours, start=6)
    played = play(env, with_doses(BasalBolus()), seed=40)
    therapy, people = load_loop("glucose"), glucose_cohort("glucose_t1d_uvapadova2008", "test", 9, "all")
    world, policy, gate = GlucoseWorld(people, meals="counted", start=360.0, n=n), BasalBolus(), Gate(therapy)
    seen = world.reset(np.arange(40, 40 + n), who=played.who, place=np.zeros(n, dtype=int))
    known = {k: v[played.who] for k, v in people.known.items()}
    policy.reset(known, n)
    gate.reset(known, n)
    for k in range(60 * hours // 5):
        allowed, _ = gate.judge(seen, policy.act(seen))
        seen = world.step(allowed)
        assert np.array_equal(world.truth, played.truth[:, 5 * k : 5 * k + 5]), k
    assert played.length.tolist() == [144] * n


def test_an_episode_ends_where_it_ends():
    env = gymnasium.make_vec(GLUCOSE, num_envs=16, patients=20, hours=24)
    nothing = lambda e, o: np.full((16, 2), -1.0)  # noqa: E731 - no insulin: some do not live through the day
    played = play(env, nothing, seed=3)
    assert played.ended.any()
    assert (played.length[~played.ended] == 288).all()
    assert (played.length[played.ended] < 288).all()
    for k in np.flatnonzero(played.ended)[:2]:
        one = gymnasium.make(GLUCOSE, patients=20, hours=24).unwrapped
        one.reset(seed=3 + int(k))
        total, over, length, costs = 0.0, False, 0, 0.0
        while not over:
            _, reward, over, truncated, info = one.step(np.full(2, -1.0))
            total, length, costs = total + reward, length + 1, costs + info["cost"]
            assert not truncated
        assert length == played.length[k]
        assert played.reward[k] == pytest.approx(total)
        assert played.cost[k] == pytest.approx(costs)
        assert np.all(played.truth[k, length * 5 :] == played.truth[k, length * 5 - 1])
    assert sum(v for k, v in played.parts.items() if k.startswith("reward/")) == pytest.approx(played.reward)


def test_levers_have_to_be_the_actuators():
    for how, words in (({}, "the levers are × programmed, × usual"), ({"action": "dose", "grid": [0.0]}, "on a grid")):
        env = gymnasium.make_vec(GLUCOSE, num_envs=2, patients=9, **how)
        with pytest.raises(DoseloopError, match=words):
            play(env, with_doses(BasalBolus()), seed=0)
    with pytest.raises(DoseloopError, match="use NextStep"):
        play(gymnasium.make_vec(GLUCOSE, num_envs=2, patients=9, autoreset_mode="SameStep"), None, seed=0)


@pytest.mark.parametrize("which", ["glucose", "propofol"])
def test_an_oracle_is_told_the_truth_and_says_so(which):
    if which == "glucose":
        env = gymnasium.make_vec(GLUCOSE, num_envs=3, patients=9, action="dose", hours=2)
        policy = GlucoseOracle(env.unwrapped.privileged)
        output = "glucose"
    else:
        env = gymnasium.make_vec(PROPOFOL, num_envs=3, patients=9, action="rate", minutes=5)
        policy = AnaesthesiaOracle(env.unwrapped.privileged)
        output = "bis"
    assert isinstance(policy, Policy)
    assert policy.oracle
    assert "oracle" in policy.name
    assert not GlucoseMPC.oracle
    act = with_doses(policy)
    seen, _ = env.reset(seed=2)
    act.begin(env.unwrapped)
    for _ in range(20):
        told = env.unwrapped.privileged()
        action = act(env.unwrapped, seen)
        assert np.array_equal(policy.belief.states, told["state"])
        assert np.array_equal(policy.belief.parameters, told["parameters"])
        seen, *_ = env.step(action)
        truth = env.unwrapped.privileged()["truth"][:, -1]
        if output == "glucose":
            assert np.allclose(truth, env.unwrapped.privileged()[output])
    policy.act(env.unwrapped.seen)
    assert np.allclose(policy.belief.truth, truth)
