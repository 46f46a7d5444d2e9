"""A lane of 4,096 is the single environment with its seed, bit for bit, into the next episode, on two threads."""

import gymnasium
import numpy as np
import pytest
from doseloop.envs.registration import IDS
from gymnasium.envs.registration import load_env_creator

MANY, STEPS, SEED = 4096, 5, 70
LANES = (0, 8, 1001, 4095)  # the ends, and others of other blocks and of the second thread's half


@pytest.mark.parametrize("id", sorted(IDS))
def test_a_lane_of_many_is_the_single_environment(id):
    env = gymnasium.make_vec(id, num_envs=MANY, max_episode_steps=STEPS, threads=2)
    single = load_env_creator(gymnasium.spec(id).entry_point)
    rng = np.random.default_rng(3)
    actions = rng.uniform(-1, 1, (STEPS + 3, *env.action_space.shape)).astype(np.float32)
    seen = [env.reset(seed=SEED)]
    seen += [env.step(a) for a in actions]
    for lane in LANES:
        alone = single(max_episode_steps=STEPS)
        observation, info = alone.reset(seed=SEED + lane)
        same(lane, seen[0], (observation, info))
        for t, row in enumerate(actions[:, lane]):
            if t == STEPS:  # NEXT_STEP: this one only begins the next episode
                observation, _ = alone.reset()
                np.testing.assert_array_equal(seen[t + 1][0][lane], observation)
                continue
            same(lane, seen[t + 1], alone.step(row))
            assert bool(seen[t + 1][3][lane]) is (t == STEPS - 1)


def same(lane, many, one):
    for ours, theirs in zip(many[:-1], one[:-1]):
        np.testing.assert_array_equal(np.asarray(ours[lane], dtype=float), np.asarray(theirs, dtype=float))
    assert many[-1].keys() == one[-1].keys()
    for key, value in one[-1].items():
        np.testing.assert_array_equal(many[-1][key][lane], value, err_msg=key)


def test_an_episode_that_begins_leaves_the_other_lanes_notes():
    for id in IDS:
        env = gymnasium.make_vec(id, num_envs=20, autoreset_mode="Disabled", guard=True)
        env.reset(seed=1)
        most = np.ones(env.action_space.shape, dtype=np.float32)
        _, _, _, _, info = env.step(most)
        assert (info["guard"] != 0).any(), id
        mask = np.arange(20) % 8 == 3
        _, after = env.reset(options={"reset_mask": mask})
        for key in ("guard", "allowed"):
            np.testing.assert_array_equal(after[key][~mask], info[key][~mask], err_msg=f"{id}: {key}")
            assert (after[key][mask] == 0).all(), id
