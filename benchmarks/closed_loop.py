"""Closed loops on held-out patients: scores of the controller and of the usual protocols, same patients, same noise.

.venv/bin/python benchmarks/closed_loop.py glucose            our cohort: meals announced, mis-counted, unannounced; the
                                                              patient of another model than the controller's
.venv/bin/python benchmarks/closed_loop.py propofol           1,000 operations of 20 min, with the usual noise of the
                                                              monitor and with white noise of SD 3; 300 under Struys'
                                                              profile; then what noise, surgery and ignorance cost
.venv/bin/python benchmarks/closed_loop.py usual              the usual benchmark: simglucose's 30 patients, 10 days,
                                                              5 seeds (DOSELOOP_SIMGLUCOSE=…/site-packages/simglucose)

--quick: fewer patients and days, nothing is saved. --only TEXT: rows whose name holds it. Each row is saved as soon as
it is there (a row of the usual benchmark after each seed), beside the rows that were. Everything passes the guard, if
a row does not say otherwise. Intervals: 95 %, bootstrap over patients.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from common import RESULTS, save
from doseloop.controller.ladder import LoopOutcome
from doseloop.models import load
from doseloop.policies.anaesthesia_mpc import AnaesthesiaMPC
from doseloop.policies.basal_bolus import BasalBolus
from doseloop.policies.closed_loop import Run, run
from doseloop.policies.glucose_mpc import GlucoseMPC
from doseloop.policies.oracle import AnaesthesiaOracle
from doseloop.policies.pid import PID
from doseloop.policies.policy import Policy
from doseloop.policies.target_controlled import TargetControlled, Titration
from doseloop.therapies import load_loop
from doseloop.therapies.gate import Gate
from doseloop.twin.follow import Sensor
from doseloop.twin.statements import BRETON, bis_sensor, follow_glucose, follow_propofol
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_scores import anaesthesia_scores
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.glucose_cohort import glucose_cohort
from doseloop.virtual.glucose_scores import glucose_scores
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.table import simglucose_people
from doseloop.virtual.world import LoopWorld
from scipy.stats import bootstrap

S2008, HOVORKA = "glucose_t1d_uvapadova2008", "glucose_t1d_hovorka2004"
SHORT = {S2008: "S2008", HOVORKA: "Hovorka"}
GLUCOSE = {"tir": "TIR", "tbr": "<70", "tbr54": "<54", "tar": ">180", "ended": "ended"}
BIS = {
    "in_range": "40-60 in maintenance",
    "in_range_after": "after 3 min",
    "mdape": "MDAPE",
    "went_below40": "cases <40",
    "settling": "settling",
    "global": "global",
}


def interval(values: np.ndarray, statistic: Any = np.mean) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic over patients."""
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap((values,), statistic, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


class Rows:
    """Rows by name in ``results/closed_loop_….json``: each is written when it is there; others there stay."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.name, self.write, self.only = f"closed_loop_{args.what}", not args.quick, args.only

    def wanted(self, name: str) -> bool:
        """Whether a row was asked for."""
        return self.only in name

    def add(self, row: dict[str, Any]) -> None:
        """Write a row."""
        path = RESULTS / f"{self.name}.json"
        if self.write:
            there = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
            save(self.name, {"rows": [r for r in there if r["name"] != row["name"]] + [row]})


def closed(
    world: LoopWorld, policy: Policy, therapy: str, minutes: float, seed: int, note: str, guarded: bool = True
) -> tuple[Run, Gate]:
    """Run with a line of progress."""

    def tell(done: int, of: int, seen: Any) -> None:
        if sys.stderr.isatty() and (done % 50 == 0 or done == of):
            print(f"\r{note}: {done}/{of}  ", end="", file=sys.stderr)

    gate = Gate(load_loop(therapy), world.interval)
    result = run(world, policy, gate if guarded else None, minutes, seed=seed, progress=tell)
    if sys.stderr.isatty():
        print("\r" + " " * 78 + "\r", end="", file=sys.stderr)
    return result, gate


def glucose_row(name: str, runs: list[tuple[Run, Gate]], seeds: list[int]) -> dict[str, Any]:
    """Scores by group and of all; intervals over persons (a person's seeds are averaged)."""
    each = [glucose_scores(r.truth, r.truth.shape[1]) for r, _ in runs]
    scores = {k: np.stack([s[k] for s in each]) * (100.0 if k == "ended" else 1.0) for k in GLUCOSE}
    people = runs[0][0].people
    days = runs[0][0].truth.shape[1] / 1440
    out: dict[str, Any] = {"name": name, "patients": len(people), "days": days, "seeds": seeds, "groups": {}}
    of = np.asarray(people.group)
    for group in [*dict.fromkeys(of.tolist()), "all"]:
        use = np.ones(len(people), dtype=bool) if group == "all" else of == group
        entry = {
            k: {"mean": float(v[:, use].mean()), "interval": interval(v[:, use].mean(axis=0))}
            for k, v in scores.items()
        }
        out["groups"][group] = entry
    out["by patient"] = {
        str(n): {k: round(float(v[:, i].mean()), 3) for k, v in scores.items()} for i, n in enumerate(people.ids)
    }
    out["ended"] = [f"{people.ids[i]}, seed {seeds[s]}" for s, i in np.argwhere(scores["ended"] > 0).tolist()]
    counts: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for r, gate in runs:
        counts.update({c.name: k for c, k in getattr(gate, "counts", {}).items() if k})
        if r.outcomes is not None:
            outcomes.update({LoopOutcome(k).name: int((r.outcomes == k).sum()) for k in np.unique(r.outcomes).tolist()})
    out |= {"guard": dict(counts), "outcomes": dict(outcomes)}
    out["ms_per_decision"] = 1e3 * sum(r.thinking for r, _ in runs) / sum(r.reading.size for r, _ in runs)
    cells = "  ".join(f"{label} {out['groups']['all'][k]['mean']:.2f}" for k, label in GLUCOSE.items())
    print(f"{name:<58} {cells}  seeds {len(seeds)}", flush=True)
    return out


def glucose(args: argparse.Namespace, rows: Rows) -> None:
    """Our cohort: meals three ways, each model's patients under each model's controller."""
    n, days = (30, 1) if args.quick else (args.patients or 300, args.days or 1)
    for meals in ("by weight", "counted", "unannounced"):
        for plant in (S2008, HOVORKA):
            people = glucose_cohort(plant, split="test", n=n)
            for controller in (None, S2008, HOVORKA):
                what = f"MPC on {SHORT[controller]}" if controller else "basal-bolus"
                name = f"{SHORT[plant]} patients, meals {meals}, {what}"
                if not rows.wanted(name):
                    continue
                world = GlucoseWorld(people, meals=meals, keep=True, threads=args.threads)
                policy: Policy = BasalBolus()
                if controller:
                    policy = GlucoseMPC(controller, announced=meals != "unannounced", threads=args.threads)
                done = closed(world, policy, "glucose", 1440.0 * days, args.seed, name)
                rows.add(glucose_row(name, [done], [args.seed]))


def usual(args: argparse.Namespace, rows: Rows) -> None:
    """The usual benchmark: its patients, scenario, sensor and pump; every 3 min, scored on subcutaneous glucose."""
    people = simglucose_people()
    # children eat what adults eat there: their limits' age class has to allow it
    people = replace(people, known={**people.known, "largest_meal": np.full(len(people), 100.0)})
    days, seeds = (2, 1) if args.quick else (args.days or 10, args.seeds)
    for meals in ("simglucose", "simglucose unannounced"):
        for what in ("basal-bolus without the guard", "basal-bolus", "MPC on S2008", "MPC on Hovorka"):
            name = f"{meals}, {what}"
            if not rows.wanted(name):
                continue
            runs: list[tuple[Run, Gate]] = []
            for seed in range(args.seed, args.seed + seeds):
                world = GlucoseWorld(
                    people,
                    interval=3.0,
                    sensor="simglucose",
                    pump="simglucose",
                    meals=meals,
                    scored="sensor",
                    keep=True,
                    threads=args.threads,
                )
                policy: Policy = BasalBolus()
                for model in (S2008, HOVORKA):
                    if what == f"MPC on {SHORT[model]}":
                        policy = usual_mpc(model, meals == "simglucose", args.threads)
                guarded = what != "basal-bolus without the guard"
                runs.append(closed(world, policy, "glucose", 1440.0 * days, seed, name, guarded))
                rows.add(glucose_row(name, runs, list(range(args.seed, seed + 1))))


def usual_mpc(model_id: str, announced: bool, threads: int) -> GlucoseMPC:
    """Every 3 min, with the benchmark's own sensor error."""
    follow = follow_glucose(load(model_id), 3.0, announced=announced, sensor=BRETON)
    return GlucoseMPC(model_id, 3.0, announced=announced, follow=follow, threads=threads)


def propofol_row(name: str, r: Run, gate: Gate, induction: float = 10.0) -> dict[str, Any]:
    """Scores of operations on the true BIS: of all of it, from minute 3, and after ``induction`` min (maintenance).

    Settling counts from minute 0; a case went below 40 if BIS did at any time; MDAPE is of maintenance.
    """
    whole = anaesthesia_scores(r.truth, r.tick)
    first = anaesthesia_scores(r.truth, r.tick, until=induction)
    later = anaesthesia_scores(r.truth, r.tick, since=induction)
    scores: Mapping[str, np.ndarray] = {
        "in_range": later["in_range"],
        "in_range_after": anaesthesia_scores(r.truth, r.tick, since=3.0)["in_range"],
        "mdape": later["mdape"],
        "went_below40": 100.0 * whole["went_below40"],
        "settling": whole["settling"],
        "global": later["global"],
    }
    out: dict[str, Any] = {"name": name, "patients": len(r), "minutes": len(r.times) * r.interval}
    for key, v in scores.items():
        middle = np.median if key in ("settling", "global", "mdape") else np.mean
        finite = np.where(np.isfinite(v), v, 1e3)
        out[key] = {"value": float(middle(finite)), "interval": interval(finite, middle)}
    out["maintenance"] = {k: float(np.mean(later[k])) for k in ("in_range", "below40", "above60", "mdape", "mdpe")}
    out["cases below 40"] = {
        "induction": 100.0 * float(first["went_below40"].mean()),
        "maintenance": 100.0 * float(later["went_below40"].mean()),
    }
    out["cases below 30"] = 100.0 * float((r.truth < 30).any(axis=1).mean())
    out["settled in 3 min"] = 100.0 * float(np.mean(whole["settling"] <= 3.0))
    out["whole"] = {k: float(np.mean(whole[k])) for k in ("in_range", "below40", "above60")}
    out["guard"] = {c.name: k for c, k in getattr(gate, "counts", {}).items() if k}
    if r.outcomes is not None:
        out["outcomes"] = {LoopOutcome(k).name: int((r.outcomes == k).sum()) for k in np.unique(r.outcomes).tolist()}
    out["ms_per_decision"] = 1e3 * r.thinking / r.reading.size
    cells = "  ".join(f"{label} {out[k]['value']:.2f}" for k, label in BIS.items())
    print(f"{name:<48} {cells}  settled in 3 min {out['settled in 3 min']:.0f}", flush=True)
    return out


def told(world: AnaesthesiaWorld) -> AnaesthesiaOracle:
    """The policy with the true patient in place of what it believes: what better knowledge could bring."""
    return AnaesthesiaOracle(
        lambda: {
            "state": world.state,
            "parameters": world.people.parameters[world.who],
            "truth": world.truth,
            **world.outputs,
        }
    )


def propofol(args: argparse.Namespace, rows: Rows) -> None:
    """Held-out operations under MPC, a tuned PID and target-controlled infusion; then where the rest comes from."""
    n = 100 if args.quick else (args.patients or 1000)
    model, T = "propofol_eleveld2018", args.threads
    white, ideal = bis_sensor(3.0, None), Sensor(additive=0.3)

    def one(name: str, policy: Policy | None, who: int, minutes: float, surgery: str, monitor: str) -> None:
        name = f"{who} x {minutes:g} min, {surgery}, {monitor} noise, {name}"
        if rows.wanted(name):
            people = anaesthesia_cohort(model, args.split, who)
            world = AnaesthesiaWorld(people, surgery=surgery, monitor=monitor, keep=True, threads=T)
            r, gate = closed(world, policy or told(world), "propofol", minutes, args.seed, name)
            rows.add(propofol_row(name, r, gate) | {"seed": args.seed, "split": args.split})

    def mpc(sensor: Sensor | None = None) -> Policy:
        return AnaesthesiaMPC(follow=follow_propofol(load(model), sensor=sensor), threads=T)

    fewer = min(n, 300)
    for surgery, monitor, who, minutes in (
        ("step", "usual", n, 20.0),
        ("step", "white", n, 20.0),
        ("struys2004", "usual", fewer, 60.0),
    ):
        one("MPC", mpc(white if monitor == "white" else None), who, minutes, surgery, monitor)
        one("PID", PID(), who, minutes, surgery, monitor)
        one("TCI", TargetControlled(), who, minutes, surgery, monitor)
        one("TCI, titrated", TargetControlled(titration=Titration()), who, minutes, surgery, monitor)
    one("MPC", mpc(), fewer, 20.0, "none", "usual")
    one("MPC", mpc(ideal), fewer, 20.0, "step", "ideal")
    one("MPC told the patient", None, fewer, 20.0, "step", "usual")
    one("MPC told the patient", None, fewer, 20.0, "none", "usual")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("glucose", "propofol", "usual"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--patients", type=int)
    parser.add_argument("--days", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", default="test", help="of the cohort (propofol)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    args = parser.parse_args()
    {"glucose": glucose, "propofol": propofol, "usual": usual}[args.what](args, Rows(args))


if __name__ == "__main__":
    main()
