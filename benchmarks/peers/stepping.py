"""Steps of environments, one patient or many: what every side of benchmarks/envs.py does in its own process.

Needs NumPy, and Gymnasium where a vector of single environments is asked for. A piece of work is a reset and so many
steps with a given action; a single environment that ends begins anew, as vectors do by themselves.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Stepping", "children_too"]


def children_too() -> float:
    """Processor seconds of this process and of its living children (the workers of an `AsyncVectorEnv`)."""
    total, tick = time.process_time(), os.sysconf("SC_CLK_TCK")
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    return total


class Stepping:
    """Runs jobs: ``env`` (a name), ``how``, ``n``, ``steps``, ``action`` of a lane (a list, or "random"), ``keywords``.

    ``how`` is "single", "sync" or "async" (Gymnasium's vectors of ``n`` single environments), or "native" (a vector
    environment of the library's own). With ``course`` the rewards of the first episodes are given, (n, steps, 1): what
    ways of running the same environment are compared by.

    Args:
        single: makes one environment, by name.
        native: makes a vector environment of n lanes, by name.
    """

    def __init__(
        self, single: Mapping[str, Callable[..., Any]], native: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self.single, self.native = single, native or {}
        self._held: dict[str, tuple[Any, Iterator[Any]]] = {}

    def __call__(self, job: Mapping[str, Any]) -> np.ndarray:
        """Do one."""
        env, actions = self.opened(job)
        if job.get("course"):
            return course(env, next(actions), job["steps"], job["how"] == "single")
        env.reset(seed=1)
        if job["how"] == "single":
            for _ in range(job["steps"]):
                _, reward, terminated, truncated, _ = env.step(next(actions))
                if terminated or truncated:
                    env.reset()
        else:
            for _ in range(job["steps"]):
                _, reward, _, _, _ = env.step(next(actions))
        return np.atleast_1d(np.asarray(reward, dtype=float))

    def opened(self, job: Mapping[str, Any]) -> tuple[Any, Iterator[Any]]:
        """The job's environment, made when it is first asked for, and the actions it gets in turn."""
        kept = {k: job.get(k) for k in ("env", "how", "n", "action", "keywords")}
        key = json.dumps(kept, sort_keys=True)
        if key not in self._held:
            how, name, n = job["how"], job["env"], job["n"]
            keywords = job.get("keywords") or {}
            if how == "native":
                env = self.native[name](num_envs=n, **keywords)
            else:
                make = partial(self.single[name], **keywords)
                env = make() if how == "single" else _vector(how)([make] * n)
            self._held[key] = env, itertools.cycle(_actions(env, job["action"], None if how == "single" else n))
        return self._held[key]


def course(env: Any, action: np.ndarray, steps: int, single: bool) -> np.ndarray:
    """Rewards of the first episode of every lane, (lanes, steps, 1); 0 after its end."""
    env.reset(seed=1)
    out, goes_on = [], np.array(True)
    for _ in range(steps):
        _, reward, terminated, truncated, _ = env.step(action)
        out.append(np.where(goes_on, reward, 0.0))
        goes_on = goes_on & ~np.asarray(terminated) & ~np.asarray(truncated)
        if single and not goes_on:
            break
    out += [np.zeros_like(out[0])] * (steps - len(out))
    return np.array(out).reshape(steps, -1).T[:, :, None]


def _vector(how: str) -> Any:
    import gymnasium

    return {"sync": gymnasium.vector.SyncVectorEnv, "async": gymnasium.vector.AsyncVectorEnv}[how]


def _actions(env: Any, action: Any, n: int | None) -> list[Any]:
    """One action, or fifty random ones (drawn beforehand: the drawing is not the environment's work)."""
    if action == "random":
        env.action_space.seed(1)
        return [env.action_space.sample() for _ in range(50)]
    row = np.asarray(action, dtype=np.float32)
    return [row if n is None else np.tile(row, (n, 1))]
