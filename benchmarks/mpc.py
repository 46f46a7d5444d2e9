"""Model-predictive control: a step's time over a replayed day, many patients at once, hard cold starts.

    .venv/bin/python benchmarks/mpc.py [--steps 288]

Each loop is replayed: what the controller was asked at every interval, in a patient whose parameters differ from the
model's, is solved again, warmed by the last plan, several times; a step's time is the median of its repeats, from
Python, on one core. Beside other solvers, against horizon and scenarios, and under load: benchmarks/mpc_peers.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import save
from doseloop.controller.casadi_solvers import Sqp
from doseloop.controller.plan import Plan, Status
from doseloop.controller.realtime import RealTime
from doseloop.controller.snapshot import Snapshot
from mpc_cases import HOVORKA, UVA, Replay, glucose, glucose_loop, hard_starts, propofol_loop


def quantiles(seconds: Any) -> dict[str, float]:
    """Median, 99 % and largest, in ms."""
    s = 1e3 * np.asarray(seconds)
    return {"median": float(np.median(s)), "p99": float(np.quantile(s, 0.99)), "max": float(s.max())}


def chain(replay: Replay, repeats: int) -> dict[str, Any]:
    """What a step of a replay takes, each plan warmed by the last."""
    solver = RealTime(replay.problem)
    plans: list[Plan] = []
    wall, cpu = [], []
    for snap in replay.snapshots:
        times, spent = [], []
        for _ in range(repeats):
            used, begin = time.process_time(), time.perf_counter()
            plan = solver.solve(snap, plans[-1] if plans else None)
            times.append(time.perf_counter() - begin)
            spent.append(time.process_time() - used)
        wall.append(np.median(times))
        cpu.append(np.median(spent))
        plans.append(plan)
    status = np.array([p.status[0] for p in plans])
    iterations = np.array([p.iterations[0] for p in plans])
    return {
        "ms": quantiles(wall),
        "cpu ms": quantiles(cpu),  # what the step costs where others want the processor too
        "iterations": {"median": float(np.median(iterations)), "max": int(iterations.max())},
        "status": {Status(int(s)).name: int((status == s).sum()) for s in np.unique(status)},
    }


def loops(steps: int, repeats: int) -> dict[str, Any]:
    """The warm step of each loop, with one draw and with 30."""
    out: dict[str, Any] = {}
    made: dict[str, Callable[[int, int], Replay]] = {
        "glucose, Hovorka, N = 48": lambda n, draws: glucose_loop(HOVORKA, n, draws),
        "glucose, UVA/Padova S2008, N = 48": lambda n, draws: glucose_loop(UVA, n, draws),
        "propofol, Eleveld, N = 60": lambda n, draws: propofol_loop(n, draws),
    }
    for name, make in made.items():
        out[name] = {
            "real time": chain(make(steps, 1), repeats),
            "real time, 30 scenarios": chain(make(min(steps, 100), 30), repeats),
        }
        show(name, out[name])
    return out


def show(name: str, results: dict[str, Any]) -> None:
    """One line for each solver."""
    print(name)
    for what, r in results.items():
        wall, cpu = r["ms"], r["cpu ms"]
        times = f"{wall['median']:9.3f} ms, p99 {wall['p99']:9.3f} (processor {cpu['median']:.3f}, {cpu['p99']:.3f})"
        print(f"  {what:<34} {times}  {r['status']}", flush=True)


def cold(count: int) -> dict[str, Any]:
    """Random hard starts with kinks: statuses, times, and the cost beside the best that any back end finds."""
    out: dict[str, Any] = {}
    for model_id in (HOVORKA, UVA):
        problem, snaps = hard_starts(model_id, count)
        mine, sqp = RealTime(problem), Sqp(problem)
        a, b = [mine.solve(s) for s in snaps], [sqp.solve(s) for s in snaps]
        best = np.fmin([p.cost[0] for p in a], [p.cost[0] for p in b])
        over = (np.array([p.cost[0] for p in a]) - best) / np.abs(best)
        usable = np.array([p.usable[0] for p in a])
        status = np.array([p.status[0] for p in a])
        out[model_id] = {
            "starts": count,
            "failed": int((~usable | ~np.isfinite(over)).sum()),
            "status": {Status(int(s)).name: int((status == s).sum()) for s in np.unique(status)},
            "excess over the best": {"median": float(np.median(over)), "p99": float(np.quantile(over, 0.99))}
            | {"max": float(over.max()), "above 0.1 %": int((over > 1e-3).sum())},
            "sqpmethod above 0.1 %": int(((np.array([p.cost[0] for p in b]) - best) / np.abs(best) > 1e-3).sum()),
            "ms": quantiles([p.seconds[0] for p in a]),
            "sqpmethod ms": quantiles([p.seconds[0] for p in b]),
        }
        print("cold starts", model_id, out[model_id], flush=True)
    return out


def batch(patients: int = 256) -> dict[str, float]:
    """Many patients at once, as closed-loop studies solve them: 5 h at 5 min in 8 blocks, warm, one thread."""
    problem = glucose(UVA, 60, blocks=(1, 1, 2, 2, 4, 6, 10, 34))
    replay = glucose_loop(UVA, 24, 1, stages=60, blocks=problem.blocks)
    solver, out = RealTime(problem), {}
    pairs = list(zip(replay.snapshots[:-1], replay.snapshots[1:]))
    many = lambda s: Snapshot(  # noqa: E731
        *(np.repeat(a, patients, axis=0) for a in (s.states, s.parameters, s.last)), s.inputs
    )
    times = []
    for before, after in pairs:
        plan = solver.solve(many(before))
        begin = time.process_time()
        plan = solver.solve(many(after), plan)
        times.append((time.process_time() - begin) / patients)
    out = {"patients": patients, "us a solve, processor, one thread": 1e6 * float(np.median(times))}
    print("batch", out, flush=True)
    return out


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=288)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--starts", type=int, default=300)
    args = parser.parse_args()
    results: dict[str, Any] = {"loops": loops(args.steps, args.repeats)}
    results["batch"] = batch()
    results["cold starts"] = cold(args.starts)
    save("mpc", results)


if __name__ == "__main__":
    main()
