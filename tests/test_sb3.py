"""Stable-Baselines3 over the vector environments: what it is told, that its algorithms run, that they learn."""

import subprocess
import sys
from pathlib import Path

import doseloop
import gymnasium
import numpy as np
import pytest
import torch
from doseloop.envs.sb3 import SB3VecEnv
from doseloop.pkpd.errors import DoseloopError
from gymnasium.vector import AutoresetMode
from helpers_walk import Walk
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.monitor import Monitor

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
torch.set_num_threads(1)  # two would wait for each other, and for whatever else runs
GLUCOSE = "doseloop.envs:doseloop/Glucose-v0"


def many(n, **how):
    return gymnasium.make_vec(GLUCOSE, num_envs=n, autoreset_mode="SameStep", **{"patients": 20} | how)


def test_what_a_finished_lane_is_told():
    """Against the same lanes without autoreset, added up by hand."""
    env, plain = SB3VecEnv(Walk(4, AutoresetMode.SAME_STEP)), Walk(4, AutoresetMode.NEXT_STEP)
    assert env.seed(3) == [3, 4, 5, 6]
    first = env.reset()
    again, _ = plain.reset(seed=3)
    assert np.array_equal(first, again)
    returns, lengths, ends = np.zeros(4), np.zeros(4, dtype=int), set()
    generator, over = np.random.default_rng(0), np.zeros(4, dtype=bool)
    pending = [generator.uniform(-1, 1, (4, 1)) for _ in range(40)]
    for action in pending:
        _, rewards, done, infos = env.step(action)
        plain.done[:] = False  # by hand: nothing is reset at the next step
        last, r, terminated, truncated, told = plain.step(action)
        returns, lengths, over = returns + r, lengths + 1, terminated | truncated
        assert np.array_equal(rewards, r)
        assert np.array_equal(done, over)
        for k in range(4):
            if not over[k]:
                assert infos[k] == {}
                continue
            ends.add(bool(truncated[k]))
            assert np.array_equal(infos[k]["terminal_observation"], last[k])
            assert infos[k]["TimeLimit.truncated"] == truncated[k]
            assert infos[k]["place"] == told["place"][k]
            assert infos[k]["episode"]["r"] == pytest.approx(returns[k], abs=1e-12)
            assert infos[k]["episode"]["l"] == lengths[k]
            assert infos[k]["episode"]["t"] >= 0
            returns[k], lengths[k] = 0.0, 0
        if over.any():
            plain.episode[over] += 1
            plain.begin(over)
    assert ends == {True, False}


def test_costs_and_notes():
    env = SB3VecEnv(many(3, hours=0.5), notes=("cost", "reward/risk"))
    env.seed(0)
    env.reset()
    total = 0.0
    for _ in range(6):
        _, _, done, infos = env.step(np.full((3, 2), 1.0))
        cost = env.info.get("final_info", env.info)["cost"]
        total += cost[1]
        assert [i["reward/risk"] for i in infos] == pytest.approx(
            env.info.get("final_info", env.info)["reward/risk"].tolist()
        )
    assert done.all()
    assert infos[1]["episode"]["cost"] == pytest.approx(total)


def test_seeds_are_used_once():
    env = SB3VecEnv(many(3, hours=0.5))
    env.seed(5)
    a = env.reset()
    b = env.reset()
    env.seed(5)
    assert np.array_equal(env.reset(), a)
    assert not np.array_equal(a, b)
    env.set_options({"reset_mask": np.array([True, False, False])})
    assert np.array_equal(env.reset()[1:], a[1:])
    env.set_options([{}, {"a": 1}, {}])
    with pytest.raises(DoseloopError, match="options of all lanes are one"):
        env.reset()


def test_what_is_asked_of_each_lane():
    env = SB3VecEnv(Walk(4, AutoresetMode.SAME_STEP))
    env.seed(3)
    env.reset()
    assert env.get_attr("seeds") == [3, 4, 5, 6]
    assert env.get_attr("seeds", [1, 3]) == [4, 6]
    assert env.get_attr("num_envs") == [4] * 4
    env.set_attr("seeds", 9, 2)
    assert env.env.seeds.tolist() == [3, 4, 9, 6]
    env.set_attr("label", "walk")
    assert env.get_attr("label", 0) == ["walk"]
    with pytest.raises(DoseloopError, match="'label' is one for all 4 lanes"):
        env.set_attr("label", "run", 2)
    assert [o.tolist() for o in env.env_method("observe", indices=[1, 2])] == env.env.observe()[1:3].tolist()
    assert not env.has_attr("action_masks")
    assert env.env_is_wrapped(Monitor) == [True] * 4
    with pytest.raises(DoseloopError, match="SameStep"):
        SB3VecEnv(Walk(4, AutoresetMode.NEXT_STEP))


def test_its_absence_is_one_sentence():
    root = Path(doseloop.__file__).parents[1]
    code = "import sys; sys.modules['stable_baselines3'] = None; import doseloop.envs; import doseloop.envs.sb3"
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith('needs stable-baselines3: pip install "doseloop[rl]"')


def test_check_env_of_sb3_is_clean():
    for id in doseloop_ids():
        check_env(gymnasium.make(id, patients=20).unwrapped)


def doseloop_ids():
    from doseloop.envs.registration import IDS

    return list(IDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PPO", "SAC", "RecurrentPPO", "MaskablePPO"])
def test_algorithms_run(name):
    import sb3_contrib
    import stable_baselines3

    make = getattr(stable_baselines3, name, None) or getattr(sb3_contrib, name)
    env = SB3VecEnv(many(8, hours=1, grid=[0.0, 1.0, 2.0] if name == "MaskablePPO" else None))
    how = {"learning_starts": 16} if name == "SAC" else {"n_steps": 16, "batch_size": 32, "n_epochs": 1}
    model = make("MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy", env, seed=0, device="cpu", **how)
    model.learn(256)
    assert len(model.ep_info_buffer) >= 8
    assert all(e["l"] == 12 for e in model.ep_info_buffer)


@pytest.mark.slow
def test_ppo_learns_to_treat():
    """From nothing to far beyond no insulin, and beyond its own beginning, on patients it has not met."""
    from stable_baselines3 import PPO

    how = {"hours": 6, "patients": 300}
    env = SB3VecEnv(many(64, **how))
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=36,
        batch_size=768,
        learning_rate=3e-3,
        gamma=0.98,
        seed=1,
        device="cpu",
        policy_kwargs={"log_std_init": -0.7, "net_arch": [32, 32]},
    )

    def score(act):
        seat = many(200, **how, split="validation")
        seen, _ = seat.reset(seed=10**6)
        total, goes_on = np.zeros(200), np.ones(200, dtype=bool)
        for _ in range(72):
            seen, reward, terminated, truncated, _ = seat.step(act(seen))
            total += reward * goes_on
            goes_on &= ~(terminated | truncated)
        assert not goes_on.any()
        return total

    def learned(seen):
        return model.predict(seen, deterministic=True)[0]

    none, before = score(lambda o: np.full((len(o), 2), -1.0)), score(learned)
    model.learn(92_000)
    after = score(learned)
    for other in (none, before):
        gain = after - other
        assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))
