"""Environments: one lane equals a single environment bit for bit, autoreset, seeds, refusals."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

IDS = ("doseloop/Glucose-v0", "doseloop/Phenobarbital-v0", "doseloop/Propofol-v0", "doseloop/Vancomycin-v0")
SMALL = {
    "doseloop/Glucose-v0": {"patients": 30, "hours": 2},
    "doseloop/Phenobarbital-v0": {"patients": 30},
    "doseloop/Propofol-v0": {"patients": 30, "minutes": 2},
    "doseloop/Vancomycin-v0": {"patients": 30},
}


def many(id, n, **how):
    return gymnasium.make_vec(f"doseloop.envs:{id}", num_envs=n, **SMALL[id] | how)


def one(id, **how):
    return gymnasium.make(f"doseloop.envs:{id}", **SMALL[id] | how)


def rollout(env, seed, actions):
    first, _ = env.reset(seed=seed)
    return first, [env.step(a) for a in actions]


@pytest.fixture(params=IDS, scope="module")
def id(request):
    return request.param


def test_check_env_is_clean(id):
    check_env(one(id).unwrapped)


@pytest.mark.parametrize("stack", [0, 3])
def test_a_lane_is_the_single_environment_with_its_seed(id, stack):
    env = many(id, 20, stack=stack)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(30)]
    first, steps = rollout(env, 5, actions)
    alone = one(id, stack=stack)
    for k in (0, 13):
        seen, _ = alone.reset(seed=5 + k)
        assert np.array_equal(seen, first[k])
        done = False
        for t, (obs, reward, terminated, truncated, info) in enumerate(steps):
            if done:  # NEXT_STEP: this step only begins the next episode
                seen, _ = alone.reset()
                assert (np.array_equal(seen, obs[k]), reward[k], terminated[k], truncated[k]) == (True, 0, False, False)
                done = False
                continue
            seen, r, over, cut, notes = alone.step(actions[t][k])
            assert np.array_equal(seen, obs[k])
            assert (r, over, cut) == (reward[k], terminated[k], truncated[k])
            assert notes["cost"] == info["cost"][k]
            done = over or cut


def test_same_step_is_next_step_without_the_empty_steps(id):
    n = 12
    actions = np.random.default_rng(1).uniform(-1, 1, (60, *many(id, n).action_space.shape)).astype(np.float32)
    late, soon = many(id, n, stack=2), many(id, n, stack=2, autoreset_mode="SameStep")
    assert soon.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    now, _ = soon.reset(seed=3)
    then, _ = late.reset(seed=3)
    assert np.array_equal(now, then)
    for a in actions[:25]:
        now, r, over, cut, info = soon.step(a)
        then, r2, over2, cut2, _ = late.step(a)
        done = over | cut
        assert np.array_equal(r, r2)
        assert np.array_equal(done, over2 | cut2)
        if done.any():
            assert done.all()  # nobody dies within two hours here
            assert info["_final_obs"].tolist() == done.tolist()
            assert np.array_equal(np.stack(info["final_obs"]), then)
            then, zero, *_ = late.step(a)
            assert not zero.any()
        assert np.array_equal(now, then)


def test_seeds(id):
    env = many(id, 3)
    a, _ = env.reset(seed=[4, 9, 4])
    assert np.array_equal(a[0], a[2])
    assert not np.array_equal(a[0], a[1])
    b, _ = env.reset()
    assert not np.array_equal(a[0], b[0])
    c, _ = env.reset(seed=[4, None, 8])
    assert np.array_equal(c[0], a[0])
    assert not np.array_equal(c[1], b[1])
    before, _ = env.reset(seed=1)
    after, _ = env.reset(seed=1, options={"reset_mask": np.array([False, True, False])})
    assert np.array_equal(before, after)
    assert env.unwrapped.episode.tolist() == [0, 0, 0]
    for bad in (-1, 1.5, [1, 2], [1, 2, "x"]):
        with pytest.raises((DoseloopError, TypeError)):
            env.reset(seed=bad)


def test_what_is_no_action_is_refused(id):
    env = many(id, 3)
    env.reset(seed=0)
    good = env.action_space.sample()
    bad = good.copy()
    bad[1, 0] = np.nan
    with pytest.raises(DoseloopError, match=r"environment 1: action .*nan"):
        env.step(bad)
    with pytest.raises(DoseloopError, match=r"actions are \(3, "):
        env.step(good[:2])
    with pytest.raises(DoseloopError, match="reset first"):
        many(id, 3).step(good)
    env = many(id, 2, autoreset_mode="Disabled", max_episode_steps=1)
    env.reset(seed=0)
    env.step(good[:2])
    with pytest.raises(DoseloopError, match=r"episodes of lanes \[0, 1\] are over"):
        env.step(good[:2])
