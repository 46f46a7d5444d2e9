"""Wrappers of environments: the six-tuple tells the cost of the step, the oracle sees the truth and says so."""

import gymnasium
import numpy as np
import pytest
from doseloop.envs.registration import IDS
from doseloop.envs.wrappers import PrivilegedEnv, PrivilegedVectorEnv, SafetyEnv, SafetyVectorEnv
from doseloop.pkpd.errors import DoseloopError
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from helpers_walk import Walk

HOW = {"patients": 20, "max_episode_steps": 3}


class Costly(Walk):
    """A walk that costs its number of decisions, told of the next episode where one has begun."""

    def told(self):
        return {"cost": self.elapsed.astype(float)}


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_the_six_tuple_of_many(mode):
    env = SafetyVectorEnv(Costly(3, mode))
    env.reset(seed=1)
    ended = 0
    for _ in range(8):
        before = env.unwrapped.elapsed.copy()
        over = env.unwrapped.done.copy()
        _, rewards, costs, terminated, truncated, _info = env.step(np.zeros((3, 1)))
        assert rewards.shape == costs.shape == terminated.shape == truncated.shape == (3,)
        assert costs.tolist() == np.where(over, 0, before + 1).tolist()
        ended += int((terminated | truncated).sum())
    assert ended >= 3


@pytest.mark.parametrize("id", IDS)
def test_the_six_tuple_of_one(id):
    env = SafetyEnv(gymnasium.make(id, patients=20))
    env.reset(seed=1)
    _, reward, cost, terminated, truncated, info = env.step(env.action_space.sample())
    assert (type(reward), type(cost), terminated, truncated) == (float, float, False, False)
    assert cost == info["cost"] >= 0


@pytest.mark.parametrize("id", IDS)
def test_the_truth_for_an_oracle(id):
    plain = gymnasium.make_vec(id, num_envs=4, **HOW)
    assert "privileged" not in plain.metadata
    env = PrivilegedVectorEnv(gymnasium.make_vec(id, num_envs=4, **HOW), ("state", "who"))
    assert env.metadata["privileged"] == ("state", "who")
    assert env.oracle
    seen, _ = env.reset(seed=3)
    bare, _ = plain.reset(seed=3)
    for _ in range(4):  # over the end of an episode
        assert env.observation_space.contains(seen)
        assert np.array_equal(seen[:, : bare.shape[1]], bare)
        told = plain.unwrapped.privileged()
        assert np.array_equal(
            seen[:, bare.shape[1] :], np.hstack([told["state"], told["who"][:, None]]).astype(np.float32)
        )
        action = np.asarray(plain.action_space.sample())
        bare, seen = plain.step(action)[0], env.step(action)[0]
    with pytest.raises(DoseloopError, match="there is no 'future'; there are "):
        PrivilegedVectorEnv(plain, ("future",))
    with pytest.raises(DoseloopError, match="use NextStep"):
        PrivilegedVectorEnv(gymnasium.make_vec(id, num_envs=2, autoreset_mode="SameStep", **HOW))


@pytest.mark.filterwarnings("ignore:.*(infinity|different from the unwrapped)")
@pytest.mark.parametrize("id", IDS)
def test_the_truth_of_one(id):
    bare = gymnasium.make(id, patients=20).unwrapped
    env = PrivilegedEnv(bare)
    assert env.metadata["privileged"] == ("state",)
    check_env(env, skip_render_check=True)
    seen, _ = env.reset(seed=5)
    assert np.array_equal(seen[-bare.privileged()["state"].size :], bare.privileged()["state"][0].astype(np.float32))
