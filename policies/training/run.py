"""One training run: rounds of learning, each ended by an examination and a checkpoint.

::

    seeds of the round ─▶ environments begun anew ─▶ learn whole episodes ─▶ examine (validation) ─▶ checkpoint ─▶ …

Every round begins its environments and its random numbers anew, from (seed, round) alone. What a checkpoint holds is
therefore all there is, and a run that was killed and resumed gives the bits of one that was not, on the same machine.

The environment's room is never imported here: `bridge` (`envs.sb3.SB3VecEnv`) is handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.utils import set_random_seed

from ...pkpd.errors import DoseloopError
from ..episodes import play
from ..network import Network
from ..network_file import FORMAT, read, write
from . import checkpoint, export
from .algorithms import events, make
from .provenance import provenance
from .settings import Settings
from .shaping import Multiplier, Shaped

__all__ = ["EXAMINED", "Run"]

EXAMINED = 300  # patients of the validation split
EXAM_SEED = 70_000  # of the first of them, the same at every examination

Told = Callable[[str, Mapping[str, Any]], None]


class Run:
    """A network in training.

    Args:
        settings: what and how.
        seed: of everything random.
        folder: of checkpoint, best network and events.
        bridge: makes SB3's `VecEnv` of a vector environment.
        resume: go on where the folder's checkpoint stands.
        examined: patients of the validation split.
        tell: called with ("lesson", …) and ("step", …) while learning and ("exam", …) after each round, for a progress
            line.

    Attributes:
        done: rounds. best: the examination whose network is kept.
        curve: one row an examination: steps, score, cost, ended, λ, wall and CPU seconds so far.

    Raises:
        DoseloopError: a checkpoint where none is to be resumed, or of other settings.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int,
        folder: Path,
        bridge: Callable[[Any], Any],
        *,
        resume: bool = False,
        examined: int = EXAMINED,
        tell: Told = lambda what, values: None,
    ) -> None:
        self.settings, self.seed, self.folder, self.tell = settings, seed, folder, tell
        self.writer: Any = None
        self.file, self.examined = folder / "checkpoint.pt", examined
        self.done, self.spent = 0, [0.0, 0.0]
        self.best: dict[str, float] | None = None
        self.curve: list[dict[str, float]] = []
        kept = checkpoint.load(self.file, settings, seed) if self.file.exists() else None
        if kept is not None and not resume:
            raise DoseloopError(f"{folder} holds a run: --resume goes on with it, another --out begins a new one")
        self.multiplier = None if settings.limit is None else Multiplier(settings.limit)
        s = settings
        env = bridge(self._environment("train", s.lanes, autoreset_mode="SameStep"))
        self.env = Shaped(env, s.reward_scale, s.reward_floor, self.multiplier)
        set_random_seed(_stream(seed, 0, 31))
        self.model: Any = None
        self.model = make(settings, self.env, self._rate)
        export.start_at(self.model, np.array(s.prior), env.env.unwrapped.actions)
        if kept is not None:
            self._restore(kept)

    @property
    def name(self) -> str:
        """Of the network."""
        s = self.settings
        safe = "" if s.limit is None else "-lagrangian"
        how = s.algorithm.replace("_", "-") if s.steps else "imitation"
        return f"{s.task}-{how}{safe}{'-warm' if s.imitate and s.steps else ''}-{self.seed}"

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return self.done >= self.settings.rounds

    def log_to(self, writer: Any) -> None:
        """Have scores and losses written to TensorBoard's `SummaryWriter`."""
        self.writer = writer
        self.model.set_logger(events(writer))

    def learn(self) -> Path:
        """All rounds that are left; the file of the network that scored best on the validation split."""
        began = time.perf_counter(), time.process_time(), *self.spent
        if not self.curve:
            self._first()
            self._examine(began)
        while not self.finished:
            self._round()
            self.done += 1
            self._examine(began)
        meta, arrays = read(self.folder / "best.npz")  # which was written in the middle of the curve
        return write(self.folder / "best.npz", {**meta, "curve": self.curve}, arrays)

    def _first(self) -> None:
        """Before the first round: the pupil's lessons."""
        if self.settings.imitate:
            from .imitate import imitate

            set_random_seed(_stream(self.seed, 0, 31))
            announced = "unannounced" not in str(self.settings.kwargs.get("meals"))
            rounds, lanes, *passes = self.settings.lessons
            how: dict[str, Any] = {"announced": announced, "lessons": (rounds, lanes)}
            how |= {"passes": passes[0]} if passes else {}
            notes = self.folder.parent / f"lessons-{self.settings.task}.npz"  # for the other seeds
            notes.parent.mkdir(parents=True, exist_ok=True)
            imitate(self.model, self._environment, self.seed, self.tell, notes=notes, **how)

    def _environment(self, split: str, lanes: int, **how: Any) -> Any:
        root = __package__.split(".")[0]
        s = self.settings
        return gymnasium.make_vec(f"{root}.envs:{s.env}", num_envs=lanes, split=split, **{**s.kwargs, **how})

    def _rate(self) -> float:
        """What is left of the learning rate: 1 at the start."""
        if self.model is None or not self.settings.decay:
            return 1.0
        return 1.0 - self.model.num_timesteps / (self.settings.rounds * self.settings.round * self.settings.lanes)

    def _round(self) -> None:
        s, model = self.settings, self.model
        set_random_seed(_stream(self.seed, self.done + 1, 31))
        model.action_space.seed(_stream(self.seed, self.done + 1, 30))
        self.env.seed(_stream(self.seed, self.done + 1, 61))
        model._last_obs = None  # so that SB3 begins the environments anew
        if s.noise is not None:
            export.explore(model, float(np.interp(self.done, [0, max(s.rounds - 1, 1)], s.noise)))
        if s.imitate:
            for p in export.actor(model).parameters():
                p.requires_grad_(self.done > 0)  # the first round is the critic's: it has seen nothing yet
        model.learn(s.round * s.lanes, callback=self._step, reset_num_timesteps=False)
        self.env.adapt()

    def _step(self, local: Mapping[str, Any], _: Mapping[str, Any]) -> bool:
        model = self.model
        recent = [e["r"] for e in model.ep_info_buffer or ()]
        self.tell("step", {"steps": model.num_timesteps, "recent": float(np.mean(recent)) if recent else np.nan})
        return True

    def _examine(self, began: tuple[float, ...]) -> None:
        """Play the validation split, keep the best, write the checkpoint."""
        network = self.network({})
        played = play(self._environment("validation", self.examined, autoreset_mode="NextStep"), network, EXAM_SEED)
        wall, cpu, wall_before, cpu_before = began
        self.spent = [wall_before + time.perf_counter() - wall, cpu_before + time.process_time() - cpu]
        row = {
            "steps": self.model.num_timesteps,
            "score": float(played.reward.mean()),
            "cost": float(played.cost.mean()),
            "ended": float(played.ended.mean()),
            "multiplier": 0.0 if self.multiplier is None else self.multiplier.value,
            "seconds": round(self.spent[0], 1),
            "cpu_seconds": round(self.spent[1], 1),
        }
        self.curve.append(row)
        if self.writer is not None:
            for key in ("score", "cost", "ended", "multiplier"):
                self.writer.add_scalar(f"validation/{key}", row[key], row["steps"])
            self.writer.flush()
        if self.best is None or self._rank(row) > self._rank(self.best):
            self.best = row
            best = self.network({"score": {k: row[k] for k in ("steps", "score", "cost", "ended")}})
            write(self.folder / "best.npz", best.meta, best.arrays)
        self._keep()
        self.tell("exam", {**row, "best": self.best["score"]})

    def _rank(self, row: Mapping[str, float]) -> tuple[bool, float]:
        """Higher is better: by score; with a limit those that hold it by score, before those that do not by cost."""
        limit = self.settings.limit
        holds = limit is None or row["cost"] <= limit
        return holds, row["score"] if holds else -row["cost"]

    def network(self, more: Mapping[str, Any]) -> Network:
        """The model as it is now, with what its file tells of it."""
        s = self.settings
        arrays, activation = export.arrays(self.model)
        meta = {
            "format": FORMAT,
            "name": self.name,
            "activation": activation,
            "head": export.head(self.model),
            "env": {"id": s.env, "kwargs": dict(s.kwargs)},
            "algorithm": s.algorithm if s.steps else "imitation",
            "seed": self.seed,
            "hyperparameters": asdict(s),
            "examined": {"split": "validation", "episodes": self.examined, "seed": EXAM_SEED},
            "curve": self.curve,
            **({"choices": many} if (many := export.choices(self.model)) else {}),
            **provenance(),
            **more,
        }
        return Network(meta, arrays)

    def _keep(self) -> None:
        told = {
            "done": self.done,
            "curve": self.curve,
            "best": self.best,
            "spent": self.spent,
            "multiplier": None if self.multiplier is None else self.multiplier.value,
        }
        checkpoint.save(self.file, self.settings, self.seed, self.model, told)

    def _restore(self, kept: Mapping[str, Any]) -> None:
        told = checkpoint.restore(self.file, kept, self.model)
        self.done, self.curve, self.best, self.spent = (told[k] for k in ("done", "curve", "best", "spent"))
        if self.multiplier is not None:
            self.multiplier.value = told["multiplier"]


def _stream(seed: int, round: int, bits: int) -> int:
    """A seed of so many bits for a round of a run."""
    words = np.random.SeedSequence([seed, round, bits]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(64 - bits))
