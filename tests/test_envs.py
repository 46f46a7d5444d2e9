"""Environments: one lane equals a single environment bit for bit, autoreset, seeds, refusals."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.safety import Code
from doseloop.therapies.gate import Gate
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

IDS = ("doseloop/Glucose-v0", "doseloop/Phenobarbital-v0", "doseloop/Propofol-v0", "doseloop/Vancomycin-v0")
LOOPS = ("doseloop/Glucose-v0", "doseloop/Propofol-v0")
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


def test_a_length_is_named_by_hours_and_not_by_a_time_limit():
    """Most insulin in the last of three decisions. Gymnasium's limit cuts without what is still to act; see
    `envs.registration`."""

    def last(env):
        env.reset(seed=0)
        for k in range(3):
            *_, cut, info = env.step(np.array([-1.0, 1.0 if k == 2 else -1.0]))
            assert cut == (k == 2)
        return info["reward/end"]

    how = {"action": "dose", "guard": False}
    limited, own = one(LOOPS[0], max_episode_steps=3, **how), one(LOOPS[0], **how | {"hours": 0.25})
    batch = many(LOOPS[0], 1, max_episode_steps=3, **how).unwrapped
    assert limited.unwrapped.vector.horizon == 24
    assert own.unwrapped.vector.horizon == batch.horizon == 3
    assert last(limited) == 0.0
    assert last(own) < -1.0


@pytest.mark.parametrize("rows", ["one", "each"])
def test_several_levers_on_a_grid_are_multidiscrete(id, rows):
    """One list is for every lever, a list of lists one for each; a place of it means its value, in the lever's unit."""
    levers = many(id, 1).unwrapped.actions.levers
    each = [[0.0, 0.3 * v.high, v.high][: 3 - j] for j, v in enumerate(levers)]
    shared = [0.0, 1.0]
    grid = shared if rows == "one" else each
    env = many(id, 4, grid=grid)
    wanted = [shared] * len(levers) if rows == "one" else each
    sizes = [len(r) for r in wanted]
    if len(levers) == 1:
        assert env.unwrapped.single_action_space == gymnasium.spaces.Discrete(sizes[0])
    else:
        assert env.unwrapped.single_action_space == gymnasium.spaces.MultiDiscrete(sizes)
    free = many(id, 4)
    assert np.array_equal(env.reset(seed=3)[0], free.reset(seed=3)[0])
    env.action_space.seed(2)
    for _ in range(6):
        places = env.action_space.sample()
        columns = places.reshape(4, -1)
        values = np.column_stack([np.array(r)[columns[:, j]] for j, r in enumerate(wanted)])
        low, high = (np.array([getattr(v, k) for v in levers]) for k in ("low", "high"))
        assert np.allclose(env.unwrapped.actions.asked(places, 4, np.empty(values.shape)), values)
        a, b = env.step(places), free.step((values - low) / (high - low) * 2 - 1)
        assert np.allclose(a[0], b[0], atol=1e-5)
        assert np.allclose(a[1], b[1], atol=1e-6)
    with pytest.raises(DoseloopError, match="the grid has"):
        env.step(np.full(places.shape, 9))
    with pytest.raises(DoseloopError, match="whole numbers"):
        env.step(places.astype(float))


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


@pytest.mark.parametrize("threads", [1, 2])
def test_extreme_actions_stay_in_the_space_on_any_number_of_threads(id, threads):
    env, other = many(id, 70, threads=threads, autoreset_mode="SameStep"), many(id, 70, autoreset_mode="SameStep")
    rng = np.random.default_rng(4)
    assert np.array_equal(env.reset(seed=2)[0], other.reset(seed=2)[0])
    for _ in range(40):
        action = rng.choice([-1e30, -1.0, 0.0, 1.0, 1e30], env.action_space.shape)
        obs, reward, *_, info = env.step(action)
        again, same, *_ = other.step(action)
        assert np.array_equal(obs, again)
        assert np.array_equal(reward, same)
        assert env.observation_space.contains(obs)
        parts = sum(v for k, v in info.items() if k.startswith("reward/"))
        assert reward == pytest.approx(parts)
        assert info["cost"] == pytest.approx(sum(v for k, v in info.items() if k.startswith("cost/")))


@pytest.mark.parametrize("id", LOOPS)
def test_the_guard_inside_is_the_gate(id):
    """A world and a gate beside, fed the same: the doses allowed are the same, bit for bit."""
    env = many(id, 9).unwrapped
    env.reset(seed=8)
    gate = Gate(env.therapy, env.world.interval)
    gate.reset(dict(env.known), 9)
    rng, bolus = np.random.default_rng(1), env.action_space.shape[1] == 2
    most = np.array([4.0, 2.0])
    for _ in range(20):
        seen, action = env.seen, rng.uniform(-1, 1, env.action_space.shape)
        if bolus:
            asked = (action + 1.0) * most / 2
            newest = env.gate.monitor.row(0)
            high = np.where(newest > 150.0, (newest - 140.0) / env.known["correction"], 0.0)
            usual = np.where(seen.announced > 0, seen.announced / env.known["carb_ratio"] + high, 0.0)
            asked = np.column_stack([asked[:, 0] * env.known["basal"], usual * asked[:, 1]])
        else:
            asked = (action + 1.0) * 7.5 * (0.1 * env.known["weight"][:, None])
        allowed, masks = gate.judge(seen, asked)
        *_, info = env.step(action)
        assert np.array_equal(info["guard"], masks)
        assert info["allowed"] == pytest.approx(allowed, rel=1e-12)
        notices = Code.INCREMENT.bit | Code.MINIMUM.bit | Code.SUSPENDED_LONG.bit
        lowered = ((masks & ~notices != 0) & (allowed < asked - 1e-12)).any(axis=1)
        assert np.array_equal(info["cost/guard"], lowered), "who asked for nothing is not charged for it"


@pytest.mark.parametrize("id", LOOPS)
def test_without_the_guard_it_is_said(id):
    free = many(id, 3, guard=False)
    assert free.metadata["guard"] is False
    assert many(id, 3).metadata["guard"] is True
    free.reset(seed=0)
    *_, info = free.step(np.ones(free.action_space.shape, dtype=np.float32))
    assert not info["guard"].any()
    assert not info["cost/guard"].any()


def test_an_early_death_costs_more_than_any_survival():
    env = gymnasium.make_vec("doseloop/Glucose-v0", num_envs=16, patients=30, guard=False, action="dose", hours=12)
    env.reset(seed=0)
    total, alive = np.zeros(16), np.ones(16, dtype=bool)
    for _ in range(144):
        _, reward, over, cut, info = env.step(np.tile([1.0, 1.0], (16, 1)))
        assert (info["reward/end"][over & alive] < 0).all()
        total += np.where(alive, reward, 0.0)
        alive &= ~(over | cut)
    worst = env.unwrapped.worst
    assert not alive.any()
    assert (total < -0.5 * worst * 144).all()


def test_insulin_still_to_act_at_the_end_is_paid_for():
    def last(dose):
        env = gymnasium.make_vec("doseloop/Glucose-v0", num_envs=8, patients=30, guard=False, action="dose", hours=1)
        env.reset(seed=0)
        for k in range(12):
            action = np.tile([-0.8, dose if k == 11 else -1.0], (8, 1))
            _, reward, over, _, info = env.step(action)
        assert not over.any()
        return reward, info["reward/end"]

    (quiet, none), (late, paid) = last(-1.0), last(1.0)
    assert (paid < none).all()
    assert (late < quiet - 10).all()
