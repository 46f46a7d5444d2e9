"""doseloop's side of benchmarks/envs.py: steps of its environments, the parts of a step, a day beside simglucose's."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import doseloop.envs  # noqa: F401  (registers the ids)
import gymnasium
import numpy as np
from doseloop.pkpd.calls import geti
from doseloop.pkpd.jit import jit
from doseloop.policies.episodes import play
from doseloop.virtual import core as c
from doseloop.virtual.bedside_loop import run_ticks
from doseloop.virtual.bedside_world import BedsideWorld
from doseloop.virtual.table import simglucose_people
from stepping import Stepping, children_too
from worker import serve

IDS = {name: f"doseloop/{name.capitalize()}-v0" for name in ("glucose", "propofol", "vancomycin", "phenobarbital")}


@jit
def _integrate(job, first, last):
    """The plant of one control interval, two blocks at a time as worlds do (one for propofol's)."""
    many = 2 if geti(job, c.TICKS) > 1 else 1
    for b in range(first, last, many):
        for _ in range(geti(job, c.TICKS)):
            c.advance(job, b, min(many, last - b))


@jit
def _integrate_ward(job, first, last):
    """The plant of one dose interval."""
    for b in range(first, last):
        run_ticks(job, b)


def part(steps: Stepping, job: dict[str, Any]) -> np.ndarray:
    """``calls`` times a part of a step: "compiled" (the one compiled call), "world" in it, or "integrator" in that."""
    env, actions = steps.opened(job)
    inside = env.unwrapped
    if not inside._begun:
        env.reset(seed=1)
        env.step(next(actions))
    world = inside.world
    plant = _integrate_ward if isinstance(world, BedsideWorld) else _integrate
    work, address = {
        "compiled": (inside._loop, inside._address),
        "world": (world._step, world.address),
        "integrator": (plant, world.address),
    }[job["part"]]
    for _ in range(job["calls"]):
        work(address, 0, world.blocks)
    return np.zeros(1)


def shared_day(folder: Path, job: dict[str, Any]) -> np.ndarray:
    """simglucose's own patients in our environment, without meals and guard, at a multiple of their basal rate.

    Glucose under the skin, (patients, steps, 1), as simglucose's steps report it: the mean of their minutes.
    """
    os.environ["DOSELOOP_SIMGLUCOSE"] = (folder / "simglucose.txt").read_text(encoding="utf-8")
    people = simglucose_people()
    env = gymnasium.make_vec(
        IDS["glucose"], num_envs=16 * len(people), patients=people, meals="none", sensor="simglucose",
        pump="simglucose", interval=3.0, scored="sensor", hours=job["steps"] / 20, action="dose", guard=False,
    )  # fmt: skip

    def act(base: Any, observations: np.ndarray) -> np.ndarray:
        # whole pmol/min (6,000 in a unit), as simglucose's pump rounds; in U/h, of which the lever's end is 10
        rate = np.round(job["multiple"] * base.known["basal"] * 100.0) / 100.0
        return np.column_stack([rate / 5.0 - 1.0, np.full(base.num_envs, -1.0)])

    played = play(env, act, seed=1)
    drawn = list(people.ids[played.who])
    lanes = [drawn.index(name) for name in job["patients"]]
    return played.truth[lanes].reshape(len(lanes), -1, 3).mean(axis=2)[:, :, None]


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """Nothing is made before it is asked for."""
    steps = Stepping(
        {name: partial(gymnasium.make, id) for name, id in IDS.items()},
        {name: partial(gymnasium.make_vec, id) for name, id in IDS.items()},
    )

    def run(job: dict[str, Any]) -> np.ndarray:
        if job.get("day"):
            return shared_day(folder, job)
        return part(steps, job) if job.get("part") else steps(job)

    return run


if __name__ == "__main__":
    serve(start, "gymnasium", "numba", "numpy", clock=children_too)
