"""Model-predictive control: a step's time in a replayed closed loop, beside CasADi's solvers, IPOPT and do-mpc.

    .venv/bin/python benchmarks/mpc.py [--peers] [--steps 288]

Each loop is replayed: what the controller was asked at every interval, in a patient whose parameters differ from the
model's, is solved again, warmed by the last plan, several times; a step's time is the median of its repeats, from
Python, on one core. The do-mpc environment is made by ``--peers``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from common import save
from doseloop.controller.casadi_problem import cases
from doseloop.controller.casadi_solvers import Ipopt, Sqp
from doseloop.controller.plan import Plan, Status
from doseloop.controller.realtime import RealTime
from doseloop.controller.smooth import smoothed
from doseloop.controller.snapshot import Snapshot
from doseloop.pkpd.trace import casadi_functions
from mpc_cases import HOVORKA, UVA, Replay, glucose, glucose_loop, hard_starts, propofol_loop
from peers.environment import python_with

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).parent.parent / "docs" / "img" / "mpc_speed.png"


def quantiles(seconds: Any) -> dict[str, float]:
    """Median, 99 % and largest, in ms."""
    s = 1e3 * np.asarray(seconds)
    return {"median": float(np.median(s)), "p99": float(np.quantile(s, 0.99)), "max": float(s.max())}


def chain(replay: Replay, solver: Any, repeats: int, count: int | None = None) -> tuple[list[Plan], dict[str, Any]]:
    """Plans of a replay, each warmed by the last, and what a step takes."""
    plans: list[Plan] = []
    wall, cpu = [], []
    for snap in replay.snapshots[:count]:
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
    return plans, {
        "ms": quantiles(wall),
        "cpu ms": quantiles(cpu),  # what the step costs where others want the processor too
        "iterations": {"median": float(np.median(iterations)), "max": int(iterations.max())},
        "status": {Status(int(s)).name: int((status == s).sum()) for s in np.unique(status)},
    }


def excess(plans: list[Plan], others: list[Plan]) -> dict[str, float]:
    """How much higher the cost is than of the other plans, relative."""
    a, b = (np.array([p.cost[0] for p in v]) for v in (plans, others))
    e = (a - b) / np.maximum(np.abs(b), 1e-12)
    return {"median": float(np.median(e)), "max": float(e.max())}


def loops(steps: int, repeats: int) -> dict[str, Any]:
    """The warm step of each loop, with one draw and with 30; CasADi's SQP and IPOPT beside."""
    out: dict[str, Any] = {}
    made: dict[str, Callable[[int, int], Replay]] = {
        "glucose, Hovorka, N = 48": lambda n, draws: glucose_loop(HOVORKA, n, draws),
        "glucose, UVA/Padova S2008, N = 48": lambda n, draws: glucose_loop(UVA, n, draws),
        "propofol, Eleveld, N = 60": lambda n, draws: propofol_loop(n, draws),
    }
    for name, make in made.items():
        replay = make(steps, 1)
        mine, r = chain(replay, RealTime(replay.problem), repeats)
        out[name] = {"real time": r}
        theirs, r = chain(replay, Sqp(replay.problem), 3, 72)
        out[name]["CasADi sqpmethod, daqp"] = r | {"excess": excess(theirs, mine[:72])}
        theirs, r = chain(replay, Ipopt(replay.problem), 1, 24)
        out[name]["CasADi IPOPT, multiple shooting"] = r | {"excess": excess(theirs, mine[:24])}
        replay = make(min(steps, 100), 30)
        _, r = chain(replay, RealTime(replay.problem), repeats)
        out[name]["real time, 30 scenarios"] = r
        show(name, out[name])
    return out


def show(name: str, results: dict[str, Any]) -> None:
    """One line for each solver."""
    print(name)
    for what, r in results.items():
        more = f"  excess {r['excess']['median']:.1e}, most {r['excess']['max']:.1e}" if "excess" in r else ""
        wall, cpu = r["ms"], r["cpu ms"]
        times = f"{wall['median']:9.3f} ms, p99 {wall['p99']:9.3f} (processor {cpu['median']:.3f}, {cpu['p99']:.3f})"
        print(f"  {what:<34} {times}  {r['status']}{more}", flush=True)


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


def growing(stages: int) -> tuple[int, ...]:
    """Blocks that grow: 12 single stages, then longer and longer, some twenty in all."""
    blocks, length = [1] * min(12, stages), 1.0
    while sum(blocks) < stages:
        length *= 1.35
        blocks.append(min(max(1, round(length)), stages - sum(blocks)))
    return tuple(blocks)


def scaling(repeats: int) -> dict[str, Any]:
    """A warm step against the horizon (with and without blocking; IPOPT) and against the number of scenarios."""
    horizon: dict[str, dict[int, float]] = {"real time": {}, "real time, blocked": {}, "IPOPT": {}}
    for N in (12, 24, 48, 96, 144, 192, 288):
        for name, blocks in (("real time", ()), ("real time, blocked", growing(N))):
            replay = glucose_loop(HOVORKA, 40, 1, stages=N, blocks=blocks)
            _, r = chain(replay, RealTime(replay.problem), repeats)
            horizon[name][N] = r["cpu ms"]["median"]
        if N in (12, 48, 144, 288):
            replay = glucose_loop(HOVORKA, 6, 1, stages=N)
            _, r = chain(replay, Ipopt(replay.problem), 1)
            horizon["IPOPT"][N] = r["cpu ms"]["median"]
        print("horizon", N, {k: round(v[N], 3) for k, v in horizon.items() if N in v}, flush=True)
    scenarios: dict[str, dict[int, float]] = {}
    for name, make in (
        ("glucose, Hovorka", lambda d: glucose_loop(HOVORKA, 30, d)),
        ("glucose, S2008", lambda d: glucose_loop(UVA, 30, d)),
        ("propofol", lambda d: propofol_loop(30, d)),
    ):
        scenarios[name] = {}
        for D in (1, 3, 10, 30, 100):
            replay = make(D)
            _, r = chain(replay, RealTime(replay.problem), repeats)
            scenarios[name][D] = r["cpu ms"]["median"]
        print("scenarios", name, {k: round(v, 3) for k, v in scenarios[name].items()}, flush=True)
    return {"horizon": horizon, "scenarios": scenarios}


def picture(results: dict[str, Any]) -> None:
    """Time against horizon and scenarios."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for (name, points), style in zip(results["horizon"].items(), ("o-", "s-", "^--")):
        left.loglog(list(points), list(points.values()), style, label=name)
    left.set(
        xlabel="stages of 5 min",
        ylabel="warm step from Python, ms of processor (median)",
        title="Glucose, Hovorka, one draw",
    )
    for (name, points), style in zip(results["scenarios"].items(), ("o-", "s-", "^-")):
        right.loglog(list(points), list(points.values()), style, label=name)
    right.axhline(6.0, color="grey", lw=1, ls=":")
    right.annotate("6 ms", (1.0, 6.4), color="grey")
    right.set(
        xlabel="scenarios (draws of the patient)", ylabel="ms of processor (median)", title="N = 48 (propofol: 60)"
    )
    for axis in (left, right):
        axis.grid(True, which="both", alpha=0.25)
        axis.legend()
        ticks = [12, 24, 48, 96, 144, 288] if axis is left else [1, 3, 10, 30, 100]
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=130)


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


def dompc(count: int) -> dict[str, Any] | None:
    """do-mpc on the same glucose problems, in its own environment; every plan's cost by the same function."""
    python = python_with("dompc")
    if python is None:
        return None
    replay = glucose_loop(HOVORKA, count)
    problem, model = replay.problem, replay.problem.model
    goal, move = problem.goals[0], problem.moves[0]
    names = [*model.names("inputs"), *model.names("routes")]
    patients = [cases(problem, s)[0] for s in replay.snapshots]
    functions = casadi_functions(model)
    rng = np.random.Generator(np.random.Philox(key=[1, 1]))
    x0 = np.array([c.x0[0] for c in patients])
    samples = [
        [np.zeros(1), x0[i] * np.exp(rng.normal(0, 0.3, x0.shape[1])), patients[0].p[0], patients[i].held[0]]
        for i in range(0, count, max(1, count // 30))
    ]
    with tempfile.TemporaryDirectory() as folder:
        rhs = smoothed(functions["rhs"], samples)
        rhs.save(str(Path(folder) / "rhs.casadi"))
        functions["outputs"].save(str(Path(folder) / "outputs.casadi"))
        held = np.array([c.held for c in patients])
        last = np.array([c.last for c in patients])
        np.savez(Path(folder) / "in.npz", x0=x0, p=patients[0].p[0], held=held, last=last)
        what = {
            "stages": problem.stages,
            "interval": problem.interval,
            "column": names.index(move.name),
            "output": model.names("outputs").index(goal.output),
            **{k: getattr(goal, k) for k in ("target", "weight", "low", "low_weight", "high", "high_weight")},
            "reference": float(patients[0].reference[0]),
            "move_weight": move.weight,
            "change_weight": move.change_weight,
            "lower": move.low,
            "upper": move.high,
            "scale": float(patients[0].scale[0]),
        }
        (Path(folder) / "problem.json").write_text(json.dumps(what))
        script = Path(__file__).parent / "peers" / "dompc_glucose.py"
        # A B A B: the same problems by us before and after
        mine, before = chain(replay, RealTime(problem), 5)
        single = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([python, script, folder], check=True, capture_output=True, env=single)
        mine, after = chain(replay, RealTime(problem), 5)
        got = np.load(Path(folder) / "out.npz")
    fine = Sqp(glucose(HOVORKA, substeps=10))  # both judged by ten steps a stage
    cost = lambda plans: np.array([fine.evaluate(c, m)[0] for c, m in zip(patients, plans)])  # noqa: E731
    a = cost([p.moves[0] for p in mine])
    b = cost([np.clip(m, move.low, move.high)[:, None] for m in got["moves"]])
    e = (a - b) / b
    result = {
        "problems": count,
        "ms": {"doseloop before": before["ms"], "doseloop after": after["ms"], "do-mpc": quantiles(got["seconds"])},
        "faster (medians)": float(np.median(got["seconds"]) * 1e3 / max(before["ms"]["median"], after["ms"]["median"])),
        "our excess of cost over do-mpc's": {
            "median": float(np.median(e)),
            "max": float(e.max()),
            "min": float(e.min()),
        },
        "do-mpc successes": int(got["success"].sum()),
    }
    print("do-mpc", json.dumps(result, indent=1))
    return result


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=288)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--starts", type=int, default=300)
    parser.add_argument("--peers", action="store_true", help="also do-mpc, in an environment of its own")
    args = parser.parse_args()
    results: dict[str, Any] = {"loops": loops(args.steps, args.repeats)}
    results["do-mpc"] = dompc(min(args.steps, 100)) if args.peers else None
    results["batch"] = batch()
    results["cold starts"] = cold(args.starts)
    results["scaling"] = scaling(args.repeats)
    save("mpc", results)
    picture(results["scaling"])


if __name__ == "__main__":
    main()
