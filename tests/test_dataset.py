"""Data sets from vector rollouts: episodes cut where they end, the same as a single environment plays, written and read
back."""

import sys

import gymnasium
import minari
import numpy as np
import pytest
from doseloop.envs.dataset import create_dataset, datasets_in, record
from doseloop.pkpd.errors import DoseloopError
from gymnasium.vector import AutoresetMode
from helpers_walk import Walk

ID = "doseloop.envs:doseloop/Glucose-v0"
HOW = {"patients": 20, "hours": 0.5}


class Costly(Walk):
    def told(self):
        return {**super().told(), "cost": self.elapsed.astype(float)}


def swing(env, observations):
    """Actions that depend on what was seen."""
    return 0.4 * np.sign(observations[:, :1])


@pytest.mark.parametrize("episodes", [1, 5, 12, 13])
def test_episodes_are_those_of_single_environments(episodes):
    """Against each lane played alone; walks end by the wall or by time, each at its own length."""
    lanes = min(5, episodes)
    found = record(Costly(lanes), swing, episodes, seed=3)
    assert len(found) == episodes
    kinds = set()
    for k in range(lanes):
        alone = Costly(1, AutoresetMode.DISABLED)
        seen, _ = alone.reset(seed=[3 + k])
        for r, e in enumerate(found[k::lanes]):
            assert e["seed"] == (3 + k if r == 0 else None)
            for t in range(len(e["rewards"])):
                assert np.array_equal(e["observations"][t], seen[0])
                action = swing(alone, seen)
                assert np.array_equal(e["actions"][t], action[0])
                seen, reward, terminated, truncated, info = alone.step(action)
                assert e["rewards"][t] == reward[0]
                assert (e["terminations"][t], e["truncations"][t]) == (terminated[0], truncated[0])
                assert e["infos"]["cost"][t + 1] == info["cost"][0]
            assert np.array_equal(e["observations"][-1], seen[0])
            assert e["infos"]["cost"][0] == 0
            assert e["terminations"].sum() + e["truncations"].sum() == 1
            kinds.add(bool(terminated[0]))
            seen, _ = alone.reset()
    assert episodes < 12 or kinds == {True, False}


def test_what_cannot_be_recorded():
    class Remembers:
        def begin(self, env):
            self.env = env

        def __call__(self, env, observations):
            return swing(env, observations)

    record(Walk(3), Remembers(), 3, notes=())
    with pytest.raises(DoseloopError) as e:
        record(Walk(3, AutoresetMode.SAME_STEP), Remembers(), 4)
    assert len(e.value.problems) == 2
    with pytest.raises(DoseloopError, match="0 episodes"):
        record(Walk(3), swing, 0)


def middle(env, observations):
    return np.zeros(env.action_space.shape, dtype=np.float32)


def test_round_trip(tmp_path, monkeypatch):
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    made = create_dataset(
        "doseloop/glucose/middle-v0", ID, middle, expert=middle, episodes=7, num_envs=3, seed=4, references=5, how=HOW,
        author="a", author_email="a@b", description="half an hour each", folder=tmp_path,
    )  # fmt: skip
    assert "MINARI_DATASETS_PATH" not in __import__("os").environ
    with datasets_in(tmp_path):
        read = minari.load_dataset("doseloop/glucose/middle-v0")
    played = record(gymnasium.make_vec(ID, num_envs=3, **HOW), middle, 7, seed=4)
    assert read.total_episodes == made.total_episodes == 7
    assert read.total_steps == sum(len(e["rewards"]) for e in played)
    for stored, e in zip(read.iterate_episodes(), played):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            assert np.array_equal(getattr(stored, name), e[name]), name
        assert np.array_equal(stored.infos["cost"], e["infos"]["cost"])
    meta = read.storage.metadata
    scored = record(gymnasium.make_vec(ID, num_envs=5, **HOW), middle, 5, seed=4 + 10**6, notes=())
    assert meta["ref_max_score"] == pytest.approx(np.mean([e["rewards"].sum() for e in scored]))
    assert np.isfinite(meta["ref_min_score"])
    assert meta["ref_min_score"] != meta["ref_max_score"]
    env = read.recover_environment()
    assert env.observation_space == read.observation_space
    seen, _ = env.reset(seed=4)
    assert np.array_equal(seen, next(iter(read.iterate_episodes())).observations[0])


def test_its_absence_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ModuleNotFoundError, match=r'data sets need minari: pip install "doseloop\[rl\]"'):
        create_dataset(
            "a-v0", ID, middle, expert=middle, episodes=1, author="a", author_email="a", description="a", references=1
        )
