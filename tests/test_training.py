"""Training: rounds that a kill cannot undo, what is exported, the multiplier on the cost, the command."""

import signal
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from doseloop.cli import main
from doseloop.envs.sb3 import SB3VecEnv
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies import network
from doseloop.policies.episodes import play
from doseloop.policies.training import export
from doseloop.policies.training.algorithms import make
from doseloop.policies.training.run import EXAM_SEED
from doseloop.policies.training.settings import ALGORITHMS, FOLDER, parse, settings, tasks
from doseloop.policies.training.shaping import Multiplier, Shaped
from helpers_training import GLUCOSE, Killed, run, small

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
torch.set_num_threads(1)


def without_clocks(curve):
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in curve]


SLOW = [pytest.param(a, marks=pytest.mark.slow) for a in ("tqc", "recurrent_ppo")]


@pytest.mark.parametrize("algorithm", ["ppo", "sac", *SLOW])
def test_a_kill_loses_the_round_that_ran_and_changes_nothing(tmp_path, algorithm):
    chosen = small(algorithm, limit=1.0)
    whole = run(tmp_path / "whole", chosen)
    whole.learn()
    assert [row["steps"] for row in whole.curve] == [0, 96, 192, 288]
    assert len({row["score"] for row in whole.curve}) > 2  # it changes what it does
    killed = run(tmp_path / "killed", chosen, stop=18)  # in the middle of the second round
    with pytest.raises(Killed):
        killed.learn()
    (tmp_path / "killed" / "checkpoint.pt.part").write_bytes(b"half")
    again = run(tmp_path / "killed", chosen, resume=True)
    assert again.done == 1
    again.learn()
    assert without_clocks(again.curve) == without_clocks(whole.curve)
    assert all(np.diff([row["cpu_seconds"] for row in again.curve]) >= 0)
    best, expected = (network.load(tmp_path / k / "best.npz") for k in ("killed", "whole"))
    assert all(np.array_equal(best.arrays[k], expected.arrays[k]) for k in expected.arrays)
    done = run(tmp_path / "killed", chosen, resume=True)
    assert done.finished
    assert done.multiplier.value == whole.multiplier.value != Multiplier(1.0).value


def test_a_checkpoint_belongs_to_its_run(tmp_path):
    chosen = small(steps=0)
    run(tmp_path, chosen).learn()
    with pytest.raises(DoseloopError, match="--resume goes on"):
        run(tmp_path, chosen)
    with pytest.raises(DoseloopError) as told:
        run(tmp_path, replace(chosen, lanes=9, prior=(0.0, 0.0)), resume=True)
    assert len(told.value.problems) == 2
    assert "lanes 8, now 9" in str(told.value)
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(DoseloopError, match="no checkpoint of ours"):
        run(tmp_path, chosen, resume=True)


@pytest.mark.parametrize("algorithm", ["ppo", "sac", *SLOW])
def test_the_network_does_what_the_model_does(tmp_path, algorithm):
    trained = run(tmp_path, small(algorithm))
    trained.learn()
    env = trained._environment("train", 40, autoreset_mode="NextStep")
    seen, _ = env.reset(seed=1)
    net, state, begins = trained.network({}), None, np.ones(40, dtype=bool)
    net.reset(40)
    assert net.recurrent == (algorithm == "recurrent_ppo")
    for _ in range(5):
        expected, state = trained.model.predict(seen, state=state, episode_start=begins, deterministic=True)
        got = net.act(seen)
        assert np.abs(got - expected).max() < 1e-5
        begins[:] = False
        seen = env.step(got)[0]


@pytest.mark.parametrize("algorithm", ["ppo", pytest.param("recurrent_ppo", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kwargs", "prior", "first"),
    [
        ({"grid": [[0.0, 0.5, 1.0, 2.0], [0.0, 1.0, 2.0]]}, (-0.5, 0.0), [2, 1]),
        ({"action": "rate", "grid": [0.0, 0.5, 2.0]}, (-0.9,), 1),
    ],
    ids=["two levers", "one"],
)
def test_doses_on_a_grid(tmp_path, algorithm, kwargs, prior, first):
    """The likeliest place of each lever's grid, as the model has it; before training, the prior's."""
    chosen = small(algorithm, kwargs={"hours": 1.0, "patients": 20, **kwargs}, prior=prior)
    trained = run(tmp_path, chosen)
    seen = trained._environment("train", 30).reset(seed=0)[0]
    net = trained.network({})
    net.reset(30)
    assert (net.act(seen) == first).all()
    net = network.load(trained.learn())
    assert net.meta["choices"] == ([4, 3] if len(prior) == 2 else [3])
    env = network.environment(net, num_envs=30, split="validation")
    seen, state, begins = env.reset(seed=1)[0], None, np.ones(30, dtype=bool)
    latest = trained.network({})
    latest.reset(30)
    for _ in range(4):
        expected, state = trained.model.predict(seen, state=state, episode_start=begins, deterministic=True)
        got = latest.act(seen)
        assert np.array_equal(got, expected)
        begins[:] = False
        seen = env.step(got)[0]
    played = play(network.environment(net, num_envs=9, split="validation"), net, EXAM_SEED)
    assert played.reward.mean() == pytest.approx(net.meta["score"]["score"], abs=1e-12)
    with pytest.raises(DoseloopError, match=r"out of \[.*\]; the observations and actions"):
        network.environment(net, grid=[0.0, 1.0])


def test_on_a_grid_sac_and_noise_are_refused(tmp_path):
    grid = {"grid": [0.0, 1.0], "hours": 1.0}
    with pytest.raises(DoseloopError, match="sac gives real numbers"):
        run(tmp_path / "a", small("sac", kwargs=grid))
    with pytest.raises(DoseloopError, match="without a grid"):
        run(tmp_path / "b", small(kwargs=grid, noise=[-1.0, -3.0])).learn()


def test_what_a_network_tells_of_itself(tmp_path):
    chosen = small()
    trained = run(tmp_path, chosen)
    net = network.load(trained.learn())
    assert net.name == "glucose-ppo-3"
    assert net.meta["env"] == {"id": "doseloop/Glucose-v0", "kwargs": {"hours": 1.0, "patients": 20}}
    assert net.meta["hyperparameters"]["sb3"] == chosen.sb3
    assert {"doseloop", "numpy", "torch", "stable_baselines3"} <= set(net.meta["versions"])
    assert net.meta["score"]["score"] == max(r["score"] for r in trained.curve)
    assert net.meta["curve"] == trained.curve
    assert len(trained.curve) == 4
    played = play(network.environment(net, num_envs=9, split="validation"), net, EXAM_SEED)
    assert played.reward.mean() == pytest.approx(net.meta["score"]["score"], abs=1e-12)


def test_an_untrained_network_asks_for_the_prior(tmp_path):
    for algorithm in ("ppo", "sac"):
        trained = run(tmp_path / algorithm, small(algorithm))
        seen = trained._environment("train", 30).reset(seed=0)[0]
        assert np.abs(trained.network({}).act(seen) - [-0.5, 0.0]).max() < 0.1


def test_with_a_limit_the_network_that_is_kept_holds_it(tmp_path):
    rows = [{"cost": c, "score": s} for c, s in ((9.0, -1.0), (7.0, -2.0), (4.0, -9.0), (5.0, -8.0), (6.0, -0.5))]
    bound, free = run(tmp_path / "a", small(limit=5.0)), run(tmp_path / "b", small())
    assert max(rows, key=bound._rank) == rows[3]
    assert max(rows[:2], key=bound._rank) == rows[1]
    assert max(rows, key=free._rank) == rows[4]


def test_noise_falls_along_a_line(tmp_path):
    told = []
    trained = run(tmp_path / "a", small(noise=[-1.0, -3.0]))
    trained.tell = lambda what, _: told.append(trained.model.policy.log_std.tolist()) if what == "step" else None
    trained.learn()
    assert sorted({tuple(t) for t in told}) == [(-3.0, -3.0), (-2.0, -2.0), (-1.0, -1.0)]
    assert told[0] == [-1.0, -1.0]
    with pytest.raises(DoseloopError, match="only for PPO"):
        run(tmp_path / "b", small("sac", noise=[-1.0, -3.0])).learn()


def test_the_reward_that_is_learnt_from():
    """Against the environment's own rewards and costs."""
    plain = gymnasium.make_vec(GLUCOSE, num_envs=4, hours=0.5, patients=20, autoreset_mode="SameStep")
    multiplier = Multiplier(1.0, value=0.5)
    env = Shaped(
        SB3VecEnv(gymnasium.make_vec(GLUCOSE, num_envs=4, hours=0.5, patients=20, autoreset_mode="SameStep")),
        10.0, -0.02, multiplier,
    )  # fmt: skip
    env.seed(5)
    env.reset()
    plain.reset(seed=5)
    costs, floors = np.zeros(4), 0
    for _ in range(6):
        action = np.full((4, 2), 1.0, dtype=np.float32)
        _, reward, _, _, info = plain.step(action)
        last = info.get("final_info", info)
        costs += last["cost"]
        floors += (reward < -0.02).sum()
        _, shaped, done, infos = env.step(action)
        expected = 10.0 * (np.maximum(reward, -0.02) - 0.5 * last["cost"]) / 1.5
        assert shaped == pytest.approx(expected, abs=1e-12)
    assert floors > 0
    assert done.all()
    assert env.costs == pytest.approx(costs)
    assert [i["episode"]["cost"] for i in infos] == pytest.approx(costs)
    assert costs.mean() > 0
    env.adapt()
    assert multiplier.value == pytest.approx(0.5 * np.exp(0.3 * np.clip(costs.mean() - 1.0, -1.0, 1.0)))
    assert env.costs == []
    multiplier.update(0.0)
    multiplier.update(0.0)
    assert multiplier.value < 0.5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("task", tasks())
def test_every_task_can_be_made(task, algorithm):
    if algorithm not in parse((FOLDER / f"{task}.yml").read_text(), task):
        assert task.endswith(("-grid", "-history")), "a variant has what it was made for"
        with pytest.raises(DoseloopError, match=f"no hyperparameters of '{algorithm}'"):
            settings(task, algorithm)
        return
    chosen = settings(task, algorithm)
    env = SB3VecEnv(
        gymnasium.make_vec(
            f"doseloop.envs:{chosen.env}", num_envs=2, patients=4, autoreset_mode="SameStep", **chosen.kwargs
        )
    )
    assert len(env.env.unwrapped.actions.levers) == len(chosen.prior)
    assert chosen.round % env.env.unwrapped.horizon == 0  # whole episodes
    if "n_steps" in chosen.sb3:
        assert chosen.sb3["n_steps"] * chosen.lanes % chosen.sb3["batch_size"] == 0
    few = {"buffer_size": 100} if "buffer_size" in chosen.sb3 else {"batch_size": 2 * chosen.sb3["n_steps"]}
    made = make(replace(chosen, sb3=chosen.sb3 | few), env, lambda: 1.0)
    assert export.arrays(made)[0]["w0"].shape[1] == 64


HEAD = "{env: x, kwargs: {}, prior: [0], round: 10, lessons: [1, 2], "


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("[1, 2]", ["a table is meant"]),
        ("env: [", ["no YAML"]),
        (
            "env: x\nkwargs: {}\nlessons: [1]\nppp: {}",
            ["'prior' is missing", "'round' is missing", "unknown section 'ppp'", "lessons [1]: [rounds, lanes]"],
        ),
        (HEAD + "ppo: {steps: 1}}", ["at least 'steps' and 'lanes'"]),
        (HEAD + "ppo: {steps: 1, lanes: 2, n_steps: 3}}", ["no multiple of n_st"]),
        ("!!python/object/apply:os.system [ls]", ["no YAML"]),
    ],
)
def test_a_file_of_hyperparameters_that_cannot_be_read(text, complaints):
    with pytest.raises(DoseloopError) as told:
        parse(text, "x.yml")
    assert len(told.value.problems) == len(complaints)
    assert all(c in str(told.value) for c in complaints)


def test_hyperparameters_that_the_algorithm_does_not_take(tmp_path):
    with pytest.raises(DoseloopError, match="n_stepz"):
        run(tmp_path, small(sb3={"n_stepz": 3}))


# the command
# -----------


@pytest.mark.slow
def test_the_command_trains_and_resumes(tmp_path, capsys):
    words = ["train", "phenobarbital", "--steps", "30000", "--out", str(tmp_path)]
    assert main(words) == 0
    told = capsys.readouterr().out
    folder = tmp_path / "train-phenobarbital-ppo" / "seed-0"
    assert "phenobarbital-ppo-0: score" in told
    assert network.load(folder / "best.npz").meta["algorithm"] == "ppo"
    assert len(list((folder / "events").iterdir())) == 1
    assert main(words) == 2
    assert "--resume goes on" in capsys.readouterr().err
    assert main([*words, "--resume", "--seeds", "2"]) == 0
    assert "best scores of 2 seeds" in capsys.readouterr().out
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "events")).Reload()
    assert [e.step for e in events.Scalars("validation/score")] == [0, 35840]
    assert "train/value_loss" in events.Tags()["scalars"]


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on(tmp_path, capsys):
    """SIGKILL after the first round; resumed, it ends with the bits of a process that was left alone."""
    words = ["train", "phenobarbital", "--steps", "143000", "--out"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "doseloop", *words, str(killed)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as child:
        for line in child.stderr:
            if "35,840 steps" in line:
                child.kill()
                break
    assert child.wait() == -signal.SIGKILL
    folder = "train-phenobarbital-ppo/seed-0"
    assert (killed / folder / "checkpoint.pt").exists()
    assert main([*words, str(killed), "--resume"]) == 0
    assert main([*words, str(whole)]) == 0
    again, expected = (network.load(k / folder / "best.npz") for k in (killed, whole))
    assert [row["steps"] for row in expected.meta["curve"]][-1] == 143360
    assert without_clocks(again.meta["curve"]) == without_clocks(expected.meta["curve"])
    assert all(np.array_equal(again.arrays[k], expected.arrays[k]) for k in expected.arrays)


def test_all_that_is_wrong_with_a_command_is_told_at_once(tmp_path, capsys):
    assert (
        main(["train", "insulin", "--algo", "dqn", "--seeds", "0", "--lagrangian", "-1", "--out", str(tmp_path)]) == 2
    )
    told = capsys.readouterr().err
    for complaint in ("task 'insulin': there are glucose", "algorithm 'dqn': there are ppo", "--seeds 0", "limit -1"):
        assert complaint in told
    assert main(["train", "glucose", "--steps", "0", "--out", str(tmp_path)]) == 2
    assert "--steps 0 learns nothing" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["train", "glucose", "--out", str(tmp_path)]) == 2
    assert 'pip install "doseloop[rl]"' in capsys.readouterr().err
