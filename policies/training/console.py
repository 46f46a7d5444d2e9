"""`doseloop train`: a live line, a table of the examinations, the networks' files."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...pkpd.errors import DoseloopError
from ...pkpd.typed import Problems, writable
from .settings import settings

__all__ = ["train"]

MISSING = 'training needs PyTorch, Stable-Baselines3, sb3-contrib, PyYAML and TensorBoard: pip install "doseloop[rl]"'


def train(args: argparse.Namespace, bridge: Callable[[], Callable[[Any], Any]]) -> int:
    """Run the command; the arguments are those of ``doseloop train --help``.

    Args:
        args: parsed.
        bridge: gives the class that makes SB3's `VecEnv` of a vector environment (it stands in another room).
    """
    problems, chosen, out = Problems(), None, Path()
    with problems.collect():
        chosen = settings(args.task, args.algo, args.steps, limit=args.lagrangian, imitate=args.imitate)
    with problems.collect():
        out = writable(args.out)
    if not 1 <= args.seeds <= 1000 or args.seed < 0 or args.threads < 1:
        problems.found.append(
            f"--seeds {args.seeds} --seed {args.seed} --threads {args.threads}: 1 to 1000, 0 or more, 1 or more"
        )
    if args.imitate and args.algo == "recurrent_ppo":
        problems.found.append("--imitate: lessons are for networks without a memory: ppo, sac, tqc")
    if args.steps == 0 and not args.imitate:
        problems.found.append("--steps 0 learns nothing; with --imitate it is the imitation alone")
    problems.done()
    assert chosen is not None
    try:
        import torch
        from torch.utils.tensorboard import SummaryWriter

        make = bridge()
        from .run import Run
    except ModuleNotFoundError as e:
        raise DoseloopError(f"{MISSING} ({e})") from e
    torch.set_num_threads(args.threads)
    rows = []
    for seed in range(args.seed, args.seed + args.seeds):
        with _Line() as line:
            folder = out / _folder(args) / f"seed-{seed}"
            run = Run(chosen, seed, folder, make, resume=args.resume, tell=line)
            if not run.finished or not run.curve:
                line.begin(run.name, chosen.rounds * chosen.round * chosen.lanes, run.model.num_timesteps)
                with SummaryWriter(str(folder / "events"), purge_step=run.model.num_timesteps + 1) as writer:
                    run.log_to(writer)
                    run.learn()
        assert run.best is not None
        rows.append((run.name, run.best, run.curve[-1], folder / "best.npz"))
        print(_row(*rows[-1]), flush=True)
    scores = [row[1]["score"] for row in rows]
    if len(rows) > 1:
        spread = f"{np.min(scores):.4g} to {np.max(scores):.4g}"
        print(f"\nbest scores of {len(rows)} seeds: median {np.median(scores):.4g} ({spread})")
    print(
        "\nThe score is the mean return of 300 episodes of the validation split, without exploration; the best network "
        "of each run is kept.\nJudge it on the test split: doseloop evaluate. Curves: tensorboard --logdir "
        f"{out / _folder(args)}"
    )
    return 0


def _folder(args: argparse.Namespace) -> str:
    safe = "" if args.lagrangian is None else f"-cost-{args.lagrangian:g}"
    return f"train-{args.task}-{args.algo}{safe}{'-imitate' if args.imitate else ''}"


def _row(name: str, best: Mapping[str, float], last: Mapping[str, float], file: Path) -> str:
    score = f"score {best['score']:.4g} (cost {best['cost']:.3g}) after {best['steps']:,.0f} steps"
    return f"{name}: {score} of {last['steps']:,.0f}, {last['cpu_seconds']:.0f} s of processor: {file}"


class _Line:
    """One live line: steps, the return of recent episodes while learning, and the score on the validation split."""

    def __enter__(self) -> _Line:
        from tqdm import tqdm

        self._bar = tqdm(unit="step", unit_scale=True, file=sys.stderr, disable=None, leave=False, mininterval=0.3)
        self._score = self._best = math.nan
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, name: str, total: int, done: int) -> None:
        """What runs, and where it stands."""
        self._bar.set_description_str(name)
        self._bar.total = total
        self._bar.reset(total)
        self._bar.update(done)

    def __call__(self, what: str, values: Mapping[str, Any]) -> None:
        """What a run tells."""
        bar = self._bar
        if what == "lesson":
            bar.set_postfix_str(", ".join(f"{k} {v:.4g}" for k, v in values.items()), refresh=False)
            bar.update(0)
            return
        if what == "exam":
            self._score, self._best = values["score"], values["best"]
            if bar.disable:
                print(f"{values['steps']:>12,} steps  score {self._score:.4g}  best {self._best:.4g}  "
                      f"cost {values['cost']:.3g}  {values['seconds']:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
        recent = f"training {values['recent']:.4g}, " if "recent" in values else ""
        bar.set_postfix_str(f"{recent}score {self._score:.4g}, best {self._best:.4g}", refresh=False)
        bar.update(values["steps"] - bar.n)
