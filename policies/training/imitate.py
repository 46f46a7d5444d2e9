"""Imitation: a network that sees an observation learns what the MPC, which follows the patient, would have asked for.

DAgger (Ross, Gordon, Bagnell 2011): in the first round the teacher treats, later the pupil does, among patients of the
train split, while the teacher says at every decision what it would have asked for. All that was ever said is learnt
anew after each round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..network import Network
from ..network_file import FORMAT
from ..policy import Policy
from . import export
from .teachers import Lesson, teacher

__all__ = ["imitate"]

PASSES, BATCH, RATE = 40, 1024, 2e-3  # over the data after each round; samples; Adam's, falling to 0


def imitate(
    model: Any,
    make: Callable[..., Any],
    seed: int,
    tell: Callable[[str, Mapping[str, Any]], None],
    *,
    announced: bool = True,
    notes: Path | None = None,
    lessons: tuple[int, int],
    passes: int = PASSES,
) -> list[float]:
    """Teach a model's actor.

    Args:
        model: SB3's; its actor's weights are changed.
        make: ``make(split, lanes, **keywords)``, a vector environment.
        seed: of patients and batches.
        tell: called with ("lesson", …) at every decision and after each round.
        announced: whether meals are, for the teacher.
        notes: a file for all that was said; where it exists already, another seed's lessons are learnt from it, and the
            teacher, who is slow, is not asked again.
        lessons: rounds, and lanes in each.
        passes: over all that was said, after the last round; after the others no more than `PASSES`.

    Returns:
        The mean squared error of actions after each round (of one round where there were notes).
    """
    data: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    errors = []
    if notes is not None and notes.exists():
        with np.load(notes, allow_pickle=False) as kept:
            data.append((kept["seen"], kept["wanted"], kept["counts"]))
        errors.append(_learn(model, data, np.random.default_rng([seed, 0]), passes))
        tell("lesson", {"error": errors[-1]})
        return errors
    rounds, lanes = lessons
    for round in range(rounds):
        env = make("train", lanes, autoreset_mode="NextStep")
        tutor = teacher(env.unwrapped, announced)
        data.append(_treat(env, tutor, None if round == 0 else pupil(model), seed, round, tell))
        many = passes if round + 1 == rounds else min(passes, PASSES)
        errors.append(_learn(model, data, np.random.default_rng([seed, round]), many))
        tell("lesson", {"round": round + 1, "of": rounds, "error": errors[-1]})
    if notes is not None:
        half = notes.with_suffix(".part")
        with half.open("wb") as file:
            seen, wanted, counts = (np.concatenate(column) for column in zip(*data))
            np.savez_compressed(file, seen=seen, wanted=wanted, counts=counts)
        half.replace(notes)
    return errors


def pupil(model: Any) -> Network:
    """The model's actor as it is now."""
    arrays, activation = export.arrays(model)
    env = {"id": "", "kwargs": {}}
    meta = {"format": FORMAT, "name": "pupil", "activation": activation, "head": export.head(model), "env": env}
    return Network(meta, arrays)


def _treat(
    env: Any,
    tutor: Policy,
    acts: Network | None,
    seed: int,
    round: int,
    tell: Callable[[str, Mapping[str, Any]], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One episode of each lane: what was seen, what should have been asked for, how much it counts."""
    first = int(np.random.SeedSequence([seed, round, 7]).generate_state(1)[0])
    observations, _ = env.reset(seed=first)
    base = env.unwrapped
    lesson = Lesson(base)
    tutor.reset({k: v.copy() for k, v in base.known.items()}, base.num_envs)
    goes_on = np.ones(base.num_envs, dtype=bool)
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while goes_on.any():
        wanted, counts = lesson(tutor.act(base.seen), observations)
        rows.append((observations[goes_on], wanted[goes_on], counts[goes_on]))
        action = wanted if acts is None else acts.act(observations)
        observations, _, terminated, truncated, _ = env.step(action)
        goes_on &= ~(terminated | truncated)
        tell("lesson", {"round": round, "decision": len(rows), "of": base.horizon})
    seen, wanted, counts = (np.concatenate(column).astype(np.float32) for column in zip(*rows))
    return seen, wanted, counts


def _learn(model: Any, data: list[Any], rng: np.random.Generator, passes: int) -> float:
    """Least squares on all that was said; the mean squared error of the last pass."""
    seen, wanted, counts = (torch.from_numpy(np.concatenate(column)) for column in zip(*data))
    actor = export.actor(model)
    squash = torch.tanh if export.head(model) == "tanh" else torch.nn.Identity()
    optimiser = torch.optim.Adam(actor.parameters(), lr=RATE)
    steps = passes * -(-len(seen) // BATCH)
    fall = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: 1.0 - k / steps)
    total = 0.0
    for _ in range(passes):
        order, total = torch.from_numpy(rng.permutation(len(seen))), 0.0
        for rows in order.split(BATCH):
            loss = (counts[rows] * (squash(actor(seen[rows])) - wanted[rows]) ** 2).sum() / counts[rows].sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            fall.step()
            total += float(loss.detach()) * len(rows)
    return total / len(seen)
