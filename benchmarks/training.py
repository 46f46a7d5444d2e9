"""Where the time of PPO goes: environment, bridge, network, bookkeeping, learning; and its decisions a second.

Stable-Baselines3's PPO on one thread, in four manners: 256 lanes, minibatches of 4,096 and SB3's other defaults (what
README's row is about); glucose as it ships (`doseloop train glucose --algo ppo`); and what a user would do without
native vectors: `gymnasium.make` and SB3's defaults, one lane. Each part is the processor time inside its calls less
that of the parts it calls; every iteration (rollout and updates) is a round.

    .venv/bin/python benchmarks/training.py [--rounds 5] [--only NAME] [--quick]

With ``--throughput``: decisions a second of PPO at 256 and 1,024 lanes, for SB3's ten epochs, for three and for one,
which may suffice where so many patients are seen at once; one thread, by the wall clock and by processor time (saved
with the load). Two cores are two runs (``--workers 2``: as many seeds side by side, their decisions added up by the
wall clock): PyTorch's second thread spins where others use the core, and on a busy machine it made training ten
times slower.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium
import torch
from common import RESULTS, save
from doseloop.envs.registration import IDS
from doseloop.envs.sb3 import SB3VecEnv
from doseloop.policies.training.settings import settings
from frame import quartiles
from report import committed, compared, number, put, table, told
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

# what is told, and of which calls it is the time (less that of the calls inside them)
PARTS = {
    "environment": "`env.step`, `env.reset`",
    "bridge": "`SB3VecEnv` or `DummyVecEnv` around it",
    "network": "`policy.forward` of the rollout",
    "bookkeeping": "the rest of `collect_rollouts`: buffers, callbacks, conversions",
    "minibatches": "the rest of `train`: shuffling, losses",
    "forward": "`evaluate_actions` of the updates",
    "backward": "`Tensor.backward`",
    "optimiser": "`optimizer.step`, with the clipping of gradients",
}


class Clock:
    """Processor time of named calls, each less what the named calls inside it took.

    Attributes:
        spent: seconds by name.
    """

    def __init__(self, now: Callable[[], float] = time.process_time) -> None:
        self.now, self.spent = now, dict.fromkeys(PARTS, 0.0)
        self._inner: list[float] = []

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, its time added to ``name``."""

        def run(*args: Any, **kwargs: Any) -> Any:
            began = self.now()
            self._inner.append(0.0)
            try:
                return call(*args, **kwargs)
            finally:
                took = self.now() - began
                self.spent[name] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return run

    def taken(self) -> dict[str, float]:
        """What was spent since it was last asked."""
        spent, self.spent = self.spent, dict.fromkeys(PARTS, 0.0)
        return spent


@contextlib.contextmanager
def watched(model: Any, inner: list[Any]) -> Iterator[Clock]:
    """A clock on a model's calls and on those of the environments ``inner`` to its bridge, while the block lasts."""
    clock, backward, clip = Clock(), torch.Tensor.backward, torch.nn.utils.clip_grad_norm_
    for env in inner:
        env.step, env.reset = clock.timed("environment", env.step), clock.timed("environment", env.reset)
    bridge, policy = model.env, model.policy
    bridge.step_wait = clock.timed("bridge", bridge.step_wait)
    policy.forward = clock.timed("network", policy.forward)
    policy.evaluate_actions = clock.timed("forward", policy.evaluate_actions)
    policy.optimizer.step = clock.timed("optimiser", policy.optimizer.step)
    model.collect_rollouts = clock.timed("bookkeeping", model.collect_rollouts)
    model.train = clock.timed("minibatches", model.train)
    torch.Tensor.backward = clock.timed("backward", backward)  # type: ignore[method-assign]
    torch.nn.utils.clip_grad_norm_ = clock.timed("optimiser", clip)
    try:
        yield clock
    finally:
        torch.Tensor.backward, torch.nn.utils.clip_grad_norm_ = backward, clip  # type: ignore[method-assign]


def native(id: str, lanes: int, keywords: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """SB3's `VecEnv` over the native vector, and what is inside."""
    env = gymnasium.make_vec(id, num_envs=lanes, autoreset_mode="SameStep", **keywords)
    return SB3VecEnv(env), [env]


def plain(id: str) -> tuple[Any, list[Any]]:
    """One lane through `gymnasium.make`, as SB3's tutorials do."""
    env = DummyVecEnv([lambda: gymnasium.make(id)])
    return env, list(env.envs)


def manners() -> dict[str, tuple[Callable[[], tuple[Any, list[Any]]], dict[str, Any]]]:
    """By name: what makes the environment, and PPO's keywords."""
    usual = {"n_steps": 128, "batch_size": 4096}
    out: dict[str, Any] = {}
    for id in IDS:
        name = id.split("/")[1].split("-")[0].lower()
        out[f"{name}, 256 lanes, SB3's ten epochs"] = (partial(native, id, 256, {}), usual)
    s = settings("glucose", "ppo")
    shipped = {k: v for k, v in s.sb3.items() if k in ("n_steps", "batch_size", "n_epochs")}
    out[f"glucose as it ships, {s.lanes} lanes, {shipped['n_epochs']} epochs"] = (
        partial(native, s.env, s.lanes, s.kwargs), shipped,
    )  # fmt: skip
    out["glucose, gymnasium.make and SB3's defaults"] = (partial(plain, "doseloop/Glucose-v0"), {})
    return out


def profile(
    name: str, make: Callable[[], tuple[Any, list[Any]]], how: Mapping[str, Any], rounds: int
) -> dict[str, Any]:
    """Where an iteration's processor time goes."""
    env, inner = make()
    model = PPO("MlpPolicy", env, seed=0, device="cpu", **how)
    size = model.n_steps * env.num_envs
    model.learn(size)  # compiles, fills caches
    parts: list[dict[str, float]] = []
    cpu, wall = [], []
    with watched(model, inner) as clock:
        for _ in range(rounds):
            clock.taken()
            began = time.process_time(), time.perf_counter()
            model.learn(size, reset_num_timesteps=False)
            cpu.append(time.process_time() - began[0])
            wall.append(time.perf_counter() - began[1])
            parts.append(clock.taken())
    for p, c in zip(parts, cpu):
        p["rest"] = c - sum(p.values())
    each = 1e3 / (size / 1e3)  # ms of a thousand decisions
    return {
        "name": name, "side": "doseloop", "decisions of an iteration": size,
        "cpu ms": quartiles([c * each for c in cpu]), "wall ms": quartiles([w * each for w in wall]),
        "shares": {k: median(p[k] / c for p, c in zip(parts, cpu)) for k in (*PARTS, "rest")},
        "decisions per second": {"processor": size / median(cpu), "wall": size / median(wall)},
        "environment's steps per second": size / median(p["environment"] for p in parts),
    }  # fmt: skip


def page(results: Mapping[str, Any]) -> str:
    """The table for docs/benchmarks.md."""
    lines = results["lines"]
    body = [
        [k, *(f"{100 * x['shares'][k]:.1f} %" for x in lines), PARTS.get(k, "logging, the schedule")]
        for k in (*PARTS, "rest")
    ]
    for of in ("processor", "wall"):
        body.append([f"decisions/s by {of}", *(number(x["decisions per second"][of]) for x in lines), ""])
    return "\n".join(
        [told(results["machine"]), "", *table(["of an iteration", *(x["name"] for x in lines), "is"], body)]
    )


def one_run(id: str, envs: int, epochs: int, updates: int, seed: int, start: Any = None) -> tuple[float, float, float]:
    """Train; when it began and ended by the wall clock, and seconds of processor."""
    torch.set_num_threads(1)
    env = SB3VecEnv(gymnasium.make_vec(id, num_envs=envs, autoreset_mode="SameStep"))
    batch = {"batch_size": 128 * envs // 4, "n_epochs": epochs}
    model = PPO("MlpPolicy", env, n_steps=128, **batch, seed=seed, device="cpu")
    model.learn(128 * envs)
    if start is not None:
        start.wait()
    began, spent = time.time(), time.process_time()
    model.learn(updates * 128 * envs)
    return began, time.time(), time.process_time() - spent


def throughput(id: str, updates: int, workers: int) -> list[dict[str, float]]:
    """PPO's decisions a second, by lanes and epochs, of so many runs side by side."""
    rows = []
    for envs, epochs in ((256, 10), (256, 3), (1024, 3), (1024, 1)):
        if workers == 1:
            runs = [one_run(id, envs, epochs, updates, 0)]
        else:
            spawn = multiprocessing.get_context("spawn")
            with spawn.Manager() as manager, ProcessPoolExecutor(workers, mp_context=spawn) as pool:
                start = manager.Barrier(workers)
                tasks = [pool.submit(one_run, id, envs, epochs, updates, k, start) for k in range(workers)]
                runs = [t.result() for t in tasks]
        begins, ends, spent = zip(*runs)
        each = updates * 128 * envs
        rows.append(
            {
                "envs": envs,
                "epochs": epochs,
                "batch": 128 * envs // 4,
                "workers": workers,
                "decisions_per_second": round(workers * each / (max(ends) - min(begins))),
                "decisions_per_second_processor": round(workers * each / sum(spent)),
            }
        )
        print(id, rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of a name; then nothing is saved")
    parser.add_argument("--quick", action="store_true", help="two rounds, into out/")
    parser.add_argument("--write", action="store_true", help="measure nothing: the page from the JSON")
    parser.add_argument("--throughput", action="store_true", help="see above")
    parser.add_argument("--updates", type=int, default=4, help="of --throughput")
    parser.add_argument("--workers", type=int, default=1, help="runs side by side, of --throughput")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.throughput:
        name = "ppo" if args.workers == 1 else f"ppo_{args.workers}"
        save(name, {id: throughput(id, args.updates, args.workers) for id in IDS if args.only.lower() in id.lower()})
        return
    if args.write:
        now = json.loads((RESULTS / "training.json").read_text(encoding="utf-8"))
    else:
        load, last, rounds = round(os.getloadavg()[0], 2), committed("training"), 2 if args.quick else args.rounds
        lines = []
        for name, (make, how) in manners().items():
            if args.only in name:
                print(name, file=sys.stderr, flush=True)
                lines.append(profile(name, make, how, rounds))
        about = {"load_before": load, "rounds": rounds, "torch": torch.__version__, "torch_threads": 1}
        if args.only or args.quick:
            now = save("training", {"lines": lines}, Path("out"), **about)
        else:
            now = save("training", {"lines": lines}, **about)
        print(compared(now, last))
    print("\n" + page(now))
    if not (args.only or args.quick):
        put("training", page(now))


if __name__ == "__main__":
    main()
