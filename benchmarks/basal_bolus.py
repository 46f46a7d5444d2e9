"""Basal–bolus over the usual benchmark, in our world and in `simglucose` itself: the same scores?

Thirty patients (parameters read from the peer's environment at run time), random meals, its sensor noise, 3-min
control, 10 days. simglucose runs in an environment of its own and takes a quarter of an hour for each seed; ``--peer
FILE`` reads what `peers/simglucose_basal_bolus.py` wrote before.

    .venv/bin/python benchmarks/basal_bolus.py [--seeds 5] [--days 10] [--peer FILE.npz ...] [--run-peer 1 2] [--env]

``--env``: through the environment `doseloop/Glucose-v0` with the benchmark's patients, meals, sensor, pump and control
interval, its guard off as simglucose has none; beside it our loop with the seeds and persons that the environment drew,
which must give the same scores, and the kept scores of simglucose; kept in results/basal_bolus_env.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import gymnasium
import numpy as np
from common import RESULTS, save
from doseloop.policies.basal_bolus import BasalBolus
from doseloop.policies.episodes import play, with_doses
from doseloop.virtual.glucose_scores import glucose_scores
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.people import People
from doseloop.virtual.table import simglucose_people
from peers.environment import python_with
from scipy import stats

SCORES = ("tir", "tbr", "tbr54", "tar", "mean", "ended")
GROUPS = ("adult", "adolescent", "child")


def ours(
    people: People, seeds: int, days: int, drawn: np.ndarray | None = None, first: int = 1
) -> tuple[np.ndarray, float]:
    """Glucose of each 3-min step, (30 · seeds, steps), as simglucose reports it: the mean of its minutes; seconds.

    With ``drawn`` (n,) these persons, each under a seed of its own from ``first`` on, as lanes of an environment have.
    """
    who = np.tile(np.arange(len(people)), seeds) if drawn is None else drawn
    world = GlucoseWorld(
        people,
        n=len(who),
        interval=3.0,
        sensor="simglucose",
        pump="simglucose",
        meals="simglucose",
        scored="sensor",
        keep=True,
    )
    policy, began = BasalBolus(), time.perf_counter()
    seen = world.reset(1 if drawn is None else first + np.arange(len(who)), who=who)
    policy.reset({k: v[who] for k, v in people.known.items()}, world.n)
    for _ in range(days * 480):
        seen = world.step(policy.act(seen))
    seconds = time.perf_counter() - began
    return world.trace.reshape(world.n, -1, 3).mean(axis=2), seconds


def through_environment(people: People, seeds: int, days: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The same in the environment: glucose of each step, which person (each episode draws somebody), seconds."""
    env = gymnasium.make_vec(
        "doseloop.envs:doseloop/Glucose-v0",
        num_envs=len(people) * seeds,
        patients=people,
        meals="simglucose",
        sensor="simglucose",
        pump="simglucose",
        interval=3.0,
        scored="sensor",
        start=0.0,
        hours=24.0 * days,
        action="dose",
        guard=False,
    )
    began = time.perf_counter()
    played = play(env, with_doses(BasalBolus()), seed=1)
    seconds = time.perf_counter() - began
    return played.truth.reshape(len(played.who), -1, 3).mean(axis=2), played.who, seconds


def by_patient(glucose: np.ndarray, names: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Scores: each patient's mean over its runs, by group."""
    steps = glucose.shape[1]
    held = [np.where(np.isnan(row), row[np.flatnonzero(~np.isnan(row))[-1]], row) for row in glucose]
    scores = glucose_scores(np.array(held), steps)
    out: dict[str, dict[str, np.ndarray]] = {}
    for group in GROUPS:
        who = sorted({str(n) for n in names if n.startswith(group)})
        out[group] = {s: np.array([scores[s][names == n].mean() for n in who]) for s in SCORES}
    out["all"] = {s: np.concatenate([out[g][s] for g in GROUPS]) for s in SCORES}
    return out


def between(values: np.ndarray) -> list[float]:
    """95 % interval of the mean over patients (t)."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [round(float(values.mean() - half), 3), round(float(values.mean() + half), 3)]


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--peer", nargs="*", default=[], help="files that the peer's script wrote")
    parser.add_argument("--env", action="store_true", help="through the environment")
    parser.add_argument("--run-peer", type=int, nargs="*", default=[], help="seeds to run the peer with now")
    args = parser.parse_args()
    script = Path(__file__).parent / "peers" / "simglucose_basal_bolus.py"
    files = list(args.peer)
    with tempfile.TemporaryDirectory() as folder:
        if args.run_peer:
            python = python_with("simglucose")
            if python is not None:
                files.append(f"{folder}/peer.npz")
                seeds = [str(s) for s in args.run_peer]
                subprocess.run([python, script, files[-1], "--days", str(args.days), "--seeds", *seeds], check=True)
        if "DOSELOOP_SIMGLUCOSE" not in os.environ and (python := python_with("simglucose")) is not None:
            found = "import simglucose, os; print(os.path.dirname(simglucose.__file__))"
            out = subprocess.run([python, "-W", "ignore", "-c", found], check=True, capture_output=True, text=True)
            os.environ["DOSELOOP_SIMGLUCOSE"] = out.stdout.strip()
        theirs = [np.load(f) for f in files]
        people = simglucose_people()
        if args.env:
            glucose, drawn, seconds = through_environment(people, args.seeds, args.days)
            names, (loop, _) = people.ids[drawn], ours(people, args.seeds, args.days, drawn)
            apart = by_patient(loop, names)
        else:
            names = np.tile(people.ids, args.seeds)
            glucose, seconds = ours(people, args.seeds, args.days)
        if missing := set(people.ids) - set(names):
            raise SystemExit(f"nobody drew {', '.join(sorted(missing))}: more seeds are needed")
        mine = by_patient(glucose, names)
        result = {
            "days": args.days,
            "our_seeds": args.seeds,
            "our_seconds": seconds,
            "our_patient_days_per_second": len(glucose) * args.days / seconds,
            "ours": {g: {s: round(float(v.mean()), 3) for s, v in rows.items()} for g, rows in mine.items()},
            "ours_interval": {g: {s: between(v) for s, v in rows.items()} for g, rows in mine.items()},
        }
        if args.env:
            kept = json.loads((RESULTS / "basal_bolus.json").read_text(encoding="utf-8"))
            result["loop, same seeds"] = {
                g: {s: round(float(v.mean()), 3) for s, v in r.items()} for g, r in apart.items()
            }
            result |= {k: kept[k] for k in ("simglucose_runs", "simglucose")}
            runs = {str(n): glucose_scores(glucose[names == n], glucose.shape[1])["ended"] for n in sorted(set(names))}
            result["ended"] = {n: [int(v.sum()), len(v)] for n, v in runs.items() if v.any()}
            print("the loop with the same seeds: TIR", {g: r["tir"] for g, r in result["loop, same seeds"].items()})
        if theirs:
            peer = by_patient(
                np.concatenate([t["glucose"] for t in theirs]), np.concatenate([t["who"] for t in theirs])
            )
            runs, spent = sum(len(t["glucose"]) for t in theirs), sum(float(t["seconds"]) for t in theirs)
            result["simglucose_runs"] = runs
            result["simglucose_patient_days_per_second"] = runs * args.days / spent
            result["simglucose"] = {
                g: {s: round(float(v.mean()), 3) for s, v in rows.items()} for g, rows in peer.items()
            }
            result["simglucose_interval"] = {g: {s: between(v) for s, v in rows.items()} for g, rows in peer.items()}
            result["difference"] = {}
            for g in mine:
                rows = {}
                for s in SCORES:
                    d = mine[g][s] - peer[g][s]
                    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
                    rows[s] = {"mean": round(float(d.mean()), 3), "half_width_95": round(float(half), 3)}
                result["difference"][g] = rows
    save("basal_bolus_env" if args.env else "basal_bolus", result)
    for g in mine:
        line = "  ".join(f"{s} {result['ours'][g][s]:.2f}" for s in SCORES)
        print(f"{g:<11} doseloop    {line}")
        if theirs:
            print(f"{'':<11} simglucose  " + "  ".join(f"{s} {result['simglucose'][g][s]:.2f}" for s in SCORES))
            pairs = result["difference"][g].items()
            print(
                f"{'':<11} difference  " + "  ".join(f"{s} {d['mean']:+.2f}±{d['half_width_95']:.2f}" for s, d in pairs)
            )


if __name__ == "__main__":
    main()
