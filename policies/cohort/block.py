"""One block of a cohort: drawn, run, scored, and written by whoever ran it, whole or not at all.

A block's patients are lanes of one world. Who patient k is and what happens to him hang on the plan and on k alone
(numbers by counter), so that blocks of any size, on any worker, in any order give the same numbers, bit for bit.
"""

from __future__ import annotations

import os
import time
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...safety import Code
from ...virtual.glucose_cohort import glucose_cohort, numbers
from ...virtual.glucose_scores import SCORES, glucose_scores
from ...virtual.ratios import GROUPS
from ..closed_loop import run
from ..scenes import SCENES
from .plan import DAY, Plan

__all__ = ["PARTS", "Task", "block", "column", "file_of", "whole"]

PARTS = ("drawing", "policy", "guard", "world", "scores")  # of a block's seconds
SLICE = 256  # patients that are scored at once: scores need some ten times the memory of the truth


@dataclass(frozen=True)
class Task:
    """A block to be run: its number, its first patient, its patients, and the folder. Can be sent anywhere."""

    plan: Plan
    index: int
    first: int
    n: int
    folder: str


def file_of(folder: Path, index: int) -> Path:
    """Where a block is kept."""
    return folder / f"block-{index:06d}.npz"


def block(task: Task) -> int:
    """Run a block and write its file; how many patients.

    The file holds float32 (n,) of each score by name; ``group`` (n,) codes, ``ending`` (n,) why a run ended
    (`virtual.world.ENDINGS`); ``guard`` how often each reason was found, in the order of `Code`; ``first``, ``n``;
    and of the work: ``seconds`` (wall, as `PARTS`), ``cpu`` seconds, ``memory`` (the process's peak so far, MB) and
    ``pid``.
    """
    plan, cpu, t = task.plan, time.process_time(), [time.perf_counter()]
    people = glucose_cohort(plan.model, plan.split, task.n, plan.group, first=task.first, threads=1)
    t.append(time.perf_counter())
    scene = SCENES[plan.therapy]()
    policy = scene.policy(plan.policy, plan.believes, 1, plan.surroundings)
    gate = scene.gate() if plan.guard else None
    done = run(
        scene.world(people, plan.surroundings, 1),
        policy,
        gate,
        DAY * plan.days,
        seed=plan.seed,
        place=numbers(task.n, plan.group, task.first),
        records=False,
    )
    t.append(time.perf_counter())
    rows = [glucose_scores(done.truth[k : k + SLICE]) for k in range(0, task.n, SLICE)]
    scores = {name: np.concatenate([r[name] for r in rows]) for name in SCORES}
    t.append(time.perf_counter())
    drawing, loop, scoring = np.diff(t)
    seconds = [drawing, done.thinking, done.guarding, loop - done.thinking - done.guarding, scoring]
    arrays = {k: v.astype(np.float32) for k, v in scores.items()}
    arrays |= {
        "group": np.array([GROUPS.index(g) for g in people.group], dtype=np.int8),
        "ending": done.endings.astype(np.int8),
        "guard": np.array([0 if gate is None else gate.counts[c] for c in Code]),
        "first": np.array(task.first),
        "n": np.array(task.n),
        "seconds": np.array(seconds),
        "cpu": np.array(time.process_time() - cpu),
        "memory": np.array(peak_memory()),
        "pid": np.array(os.getpid()),
    }
    _write(file_of(Path(task.folder), task.index), arrays)
    return task.n


def peak_memory() -> float:
    """The most this process has held so far, MB (NaN where the system does not tell)."""
    try:
        import resource
    except ImportError:  # not on Windows
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) / (1024.0**2 if os.uname().sysname == "Darwin" else 1024.0)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    half = path.with_name(
        f"{path.name}.{uuid.uuid4().hex}.part"
    )  # a block may be run twice: its worker was thought lost
    with half.open("wb") as f:
        np.savez(f, **arrays)  # type: ignore[arg-type]
        f.flush()
        os.fsync(f.fileno())
    half.replace(path)


def whole(task: Task) -> bool:
    """Whether a task's file is there, of these patients, and every byte of it is as it was written."""
    path = file_of(Path(task.folder), task.index)
    try:
        with zipfile.ZipFile(path) as stored:
            if stored.testzip() is not None:
                return False
        with np.load(path) as kept:
            sizes = {len(kept[k]) for k in (*SCORES, "group", "ending")}
            return (int(kept["first"]), int(kept["n"]), sizes) == (task.first, task.n, {task.n})
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return False


def column(folder: Path, index: int, name: str) -> np.ndarray:
    """One array of a block's file; the others are not read."""
    with np.load(file_of(folder, index)) as kept:
        return np.asarray(kept[name])
