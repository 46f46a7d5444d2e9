"""Steps of the environments per second: Gymnasium's own benchmark, the parts of a step, a single environment.

    python benchmarks/envs.py [--seconds 3] [--peer] [--belief]

``benchmark_vector_step`` counts wall time and samples an action a step (random actions, so patients die and episodes
begin all the time); beside it stand processor time of a step (other work on the machine does not count, but its use of
shared caches and of the core's other thread does) under random actions without their sampling and under steady ones,
of the compiled call alone, of the world in it and of the bare integrator with its outputs. These are measured in turn,
round by round, the least of each counts. ``--peer`` runs simglucose's own environment in one of its own;
``--belief`` only says what ``observation="belief"`` costs.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import doseloop.envs  # noqa: F401  (registers the ids)
import gymnasium
import numpy as np
from common import save, show
from doseloop.pkpd.calls import geti
from doseloop.pkpd.jit import jit
from doseloop.virtual import core as c
from doseloop.virtual.bedside_loop import run_ticks
from doseloop.virtual.bedside_world import BedsideWorld
from gymnasium.utils.performance import benchmark_step, benchmark_vector_step

IDS = ("doseloop/Glucose-v0", "doseloop/Propofol-v0", "doseloop/Vancomycin-v0", "doseloop/Phenobarbital-v0")
# an action that lets nobody die: the programmed basal rate; light sedation; a usual dose
STEADY = dict(zip(IDS, (-0.5, -0.9, -0.5, -0.8)))
SIZES = (1, 64, 1024, 4096)


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


def least(work: dict[str, Callable[[], Any]], n: int, rounds: int = 15) -> dict[str, float]:
    """Least processor time of a call, ns a lane; all in turn."""
    calls, found = min(500, max(2, 20000 // n)), dict.fromkeys(work, np.inf)
    for _ in range(rounds):
        for name, run in work.items():
            run()
            start = time.process_time()
            for _ in range(calls):
                run()
            found[name] = min(found[name], (time.process_time() - start) / calls)
    return {name: 1e9 * v / n for name, v in found.items()}


def parts(id: str, n: int) -> dict[str, float]:
    """Processor time of a step and of what is in it, ns a lane, one thread."""
    env, wild = (gymnasium.make_vec(id, num_envs=n) for _ in range(2))
    inside = env.unwrapped
    action = np.full(env.action_space.shape, STEADY[id], dtype=np.float32)
    if "Glucose" in id:
        action[:, 1] = 0.0
    wild.action_space.seed(1)
    random = itertools.cycle([wild.action_space.sample() for _ in range(50)])
    for e in (env, wild):
        e.reset(seed=1)
        e.step(action)
    world, blocks = inside.world, inside.world.blocks
    plant = _integrate_ward if isinstance(world, BedsideWorld) else _integrate
    found = least(
        {
            "step": lambda: env.step(action),
            "random": lambda: wild.step(next(random)),
            "compiled": lambda: inside._loop(inside._address, 0, blocks),
            "world": lambda: world._step(world.address, 0, blocks),
            "integrator": lambda: plant(world.address, 0, blocks),
        },
        n,
    )
    return {
        **found,
        "bookkeeping": 1 - found["integrator"] / found["step"],
        "per second": 1e9 / found["step"],
        "random per second": 1e9 / found["random"],
    }


def beliefs(lanes: int = 256) -> dict[str, dict[str, float]]:
    """Processor time of a step with and without what the twin believes, µs a lane, one thread; of wards over two whole
    episodes, as the twin works most where a result has come."""
    out: dict[str, dict[str, float]] = {}
    for id in IDS:
        out[id] = {}
        ward = id in IDS[2:]
        n = lanes if ward else lanes // 4
        for observation in ("raw", "belief"):
            env = gymnasium.make_vec(id, num_envs=n, observation=observation)
            env.reset(seed=1)
            action = np.full(env.action_space.shape, STEADY[id] if ward else 0.0, dtype=np.float32)
            steps = 2 * (env.unwrapped.horizon + 1) if ward else 20
            for _ in range(steps // 2 if ward else 1):
                env.step(action)
            start = time.process_time()
            for _ in range(steps):
                env.step(action)
            out[id][f"{observation}, {n} lanes"] = 1e6 * (time.process_time() - start) / steps / n
    return out


def peer(seconds: float) -> float | None:
    """Steps a second of simglucose's environment, 3 min each."""
    from peers.environment import python_with

    python = python_with("simglucose")
    if python is None:
        return None
    script = Path(__file__).parent / "peers" / "simglucose_steps.py"
    found = subprocess.run([python, script, str(seconds)], check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


def main() -> None:
    """Run all and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--belief", action="store_true")
    args = parser.parse_args()
    if args.belief:
        found = beliefs()
        save("envs_belief", {"µs a lane and step": found})
        show([(id, "; ".join(f"{k}: {v:.1f} µs a lane and step" for k, v in row.items())) for id, row in found.items()])
        return
    out: dict[str, Any] = {"seconds": args.seconds}
    rows = []
    for id in IDS:
        out[id] = {"gymnasium": {}, "processor": {}}
        for n in SIZES:
            for threads in (1, 2):
                if n < 64 and threads > 1:
                    continue
                env = gymnasium.make_vec(id, num_envs=n, threads=threads)
                speed = benchmark_vector_step(env, args.seconds, seed=1)
                out[id]["gymnasium"][f"{n} lanes, {threads} threads"] = speed
                rows.append((f"{id}, {n} lanes, {threads} threads", f"{speed:12,.0f} steps/s of wall time"))
            found = parts(id, n)
            out[id]["processor"][f"{n} lanes"] = found
            text = ", ".join(f"{k} {v:,.0f} ns" for k, v in found.items() if k != "bookkeeping" and "second" not in k)
            share = f"{100 * found['bookkeeping']:.0f} % beside the integrator, {found['per second']:,.0f}/s"
            rows.append((f"{id}, {n} lanes, processor time", f"{text}; {share}"))
        single = gymnasium.make(id)
        start, began = time.process_time(), time.perf_counter()
        speed = benchmark_step(single, args.seconds, seed=1)
        share = (time.process_time() - start) / (time.perf_counter() - began)
        drawing = least({"sample": single.action_space.sample}, 1)["sample"]
        out[id]["single"] = {"wall": speed, "processor": speed / share, "of a step, drawing the action, ns": drawing}
        text = (
            f"{speed:,.0f} steps/s of wall time, {speed / share:,.0f}/s of processor time ({drawing:,.0f} ns to draw)"
        )
        rows.append((f"{id}, single", text))
    if args.peer:
        out["simglucose, its own environment (3 min)"] = peer(args.seconds)
        rows.append(("simglucose, its own environment", f"{out['simglucose, its own environment (3 min)']} steps/s"))
    save("envs", out)
    show(rows)


if __name__ == "__main__":
    main()
