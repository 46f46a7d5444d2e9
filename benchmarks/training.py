"""The environments' share of the time that Stable-Baselines3's PPO takes to train.

256 lanes, minibatches of 4,096, SB3's other defaults (64 x 64 networks, 10 epochs); everything on one thread. Processor
time of this thread is counted, so that whatever else the machine does is not. Beside it, how long the steps alone take.

    .venv/bin/python benchmarks/training.py [--updates 4] [--only ID]

With ``--throughput``: decisions a second of PPO at 256 and 1,024 lanes, for SB3's ten epochs, for three and for one,
which may suffice where so many patients are seen at once; one thread, by the wall clock and by processor time (saved
with the load). Two cores are two runs (``--workers 2``: as many seeds side by side, their decisions added up by the
wall clock): PyTorch's second thread spins where others use the core, and on a busy machine it made training ten
times slower.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import gymnasium
import torch
from common import save
from doseloop.envs.registration import IDS
from doseloop.envs.sb3 import SB3VecEnv
from stable_baselines3 import PPO


class Timed(SB3VecEnv):
    """Adds up the time of its steps: the environment's own, and the bridge's with it."""

    inside = bridge = 0.0

    def step_wait(self) -> Any:
        step, start = self.env.step, time.thread_time()

        def timed(actions: Any) -> Any:
            began = time.thread_time()
            result = step(actions)
            self.inside += time.thread_time() - began
            return result

        self.env.step = timed
        try:
            return super().step_wait()
        finally:
            self.env.step = step
            self.bridge += time.thread_time() - start


def share(id: str, envs: int, batch: int, steps: int, updates: int) -> dict[str, float]:
    """Train and say where the time went."""
    env = Timed(gymnasium.make_vec(id, num_envs=envs, autoreset_mode="SameStep"))
    model = PPO("MlpPolicy", env, n_steps=steps, batch_size=batch, seed=0, device="cpu")
    model.learn(steps * envs)  # compile, fill caches
    env.inside = env.bridge = 0.0
    began, wall = time.thread_time(), time.perf_counter()
    model.learn(updates * steps * envs)
    total, wall = time.thread_time() - began, time.perf_counter() - wall
    decisions = updates * steps * envs
    return {
        "share_environment": env.inside / total,
        "share_with_bridge": env.bridge / total,
        "decisions_per_second_ppo": decisions / total,
        "decisions_per_second_environment": decisions / env.inside,
        "seconds": total,
        "seconds_wall": wall,
    }


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
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--only", default="", help="an id; then nothing is saved")
    parser.add_argument("--throughput", action="store_true", help="see above")
    parser.add_argument("--workers", type=int, default=1, help="runs side by side, of --throughput")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.throughput:
        name = "ppo" if args.workers == 1 else f"ppo_{args.workers}"
        save(name, {id: throughput(id, args.updates, args.workers) for id in IDS if args.only in id})
        return
    how = {"envs": args.envs, "batch": args.batch, "steps": args.steps, "updates": args.updates}
    rows = {}
    for id in IDS:
        if args.only in id:
            rows[id] = {k: float(f"{v:.4g}") for k, v in share(id, **how).items()}
            print(id, "  ".join(f"{k} {v:g}" for k, v in rows[id].items()), flush=True)
    if not args.only:
        save("training", {**how, "torch_threads": 1, "versions_torch": torch.__version__, "rows": rows})


if __name__ == "__main__":
    main()
