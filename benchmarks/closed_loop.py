"""Closed loops on held-out patients: scores of the controller and of the usual protocols, same patients, same noise.

.venv/bin/python benchmarks/closed_loop.py glucose            our cohort: meals announced, mis-counted, unannounced; the
                                                              patient of another model than the controller's
.venv/bin/python benchmarks/closed_loop.py propofol           1,000 operations of 20 min, 1,000 under Struys' profile
.venv/bin/python benchmarks/closed_loop.py usual              the usual benchmark: simglucose's 30 patients, 10 days,
                                                              5 seeds (DOSELOOP_SIMGLUCOSE=…/site-packages/simglucose)

--quick: fewer patients and days. Everything passes the guard. Intervals: 95 %, bootstrap over patients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from common import save
from doseloop.models import load
from doseloop.policies.anaesthesia_mpc import AnaesthesiaMPC
from doseloop.policies.basal_bolus import BasalBolus
from doseloop.policies.closed_loop import Run, run
from doseloop.policies.glucose_mpc import BRETON, GlucoseMPC, follow_glucose
from doseloop.policies.pid import PID
from doseloop.policies.policy import Policy
from doseloop.policies.target_controlled import TargetControlled, Titration
from doseloop.therapies import load_loop
from doseloop.therapies.gate import Gate
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_scores import anaesthesia_scores
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.glucose_cohort import glucose_cohort
from doseloop.virtual.glucose_scores import glucose_scores
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.people import People
from doseloop.virtual.table import simglucose_people
from doseloop.virtual.world import LoopWorld
from scipy.stats import bootstrap

S2008, HOVORKA = "glucose_t1d_uvapadova2008", "glucose_t1d_hovorka2004"
SHORT = {S2008: "S2008", HOVORKA: "Hovorka"}
GLUCOSE = {"tir": "TIR", "tbr": "<70", "tbr54": "<54", "tar": ">180", "ended": "ended"}
BIS = {
    "in_range": "40-60",
    "in_range_after": "40-60 after 3 min",
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


def closed(world: LoopWorld, policy: Policy, therapy: str, minutes: float, seed: int, note: str) -> tuple[Run, Gate]:
    """Run with a line of progress."""

    def tell(done: int, of: int, seen: Any) -> None:
        if sys.stderr.isatty() and (done % 50 == 0 or done == of):
            print(f"\r{note}: {done}/{of}  ", end="", file=sys.stderr)

    gate = Gate(load_loop(therapy), world.interval)
    result = run(world, policy, gate, minutes, seed=seed, progress=tell)
    if sys.stderr.isatty():
        print("\r" + " " * 78 + "\r", end="", file=sys.stderr)
    return result, gate


def glucose_row(name: str, r: Run, gate: Gate, groups: np.ndarray, persons: np.ndarray) -> dict[str, Any]:
    """Scores by group and of all; intervals over persons (a person's seeds are averaged)."""
    scores = glucose_scores(r.truth, r.truth.shape[1])
    out: dict[str, Any] = {"name": name, "groups": {}, "guard": {c.name: k for c, k in gate.counts.items() if k}}
    for group in [*dict.fromkeys(groups.tolist()), "all"]:
        use = np.ones(len(r), dtype=bool) if group == "all" else groups == group
        entry = {}
        for key in GLUCOSE:
            v = scores[key][use] * (100.0 if key == "ended" else 1.0)
            each = np.array([v[persons[use] == p].mean() for p in np.unique(persons[use])])
            entry[key] = {"mean": float(each.mean()), "interval": interval(each)}
        out["groups"][group] = entry
    out["ms_per_decision"] = 1e3 * r.thinking / r.reading.size
    cells = "  ".join(f"{label} {out['groups']['all'][k]['mean']:.2f}" for k, label in GLUCOSE.items())
    print(f"{name:<58} {cells}", flush=True)
    return out


def glucose(args: argparse.Namespace) -> dict[str, Any]:
    """Our cohort: meals three ways, each model's patients under each model's controller."""
    n, days = (30, 1) if args.quick else (args.patients or 300, args.days or 3)
    rows = []
    for plant in (S2008, HOVORKA):
        people = glucose_cohort(plant, split="test", n=n)
        for meals in ("by weight", "counted", "unannounced"):
            policies: list[tuple[str, Policy]] = [("basal-bolus", BasalBolus())]
            policies += [(f"MPC on {SHORT[m]}", GlucoseMPC(m, 5.0, threads=args.threads)) for m in (S2008, HOVORKA)]
            for what, policy in policies:
                name = f"{SHORT[plant]} patients, meals {meals}, {what}"
                world = GlucoseWorld(people, meals=meals, keep=True, threads=args.threads)
                r, gate = closed(world, policy, "glucose", 1440.0 * days, args.seed, name)
                rows.append(glucose_row(name, r, gate, np.asarray(people.group), np.arange(len(people))))
    return {"patients": n, "days": days, "seed": args.seed, "rows": rows}


def usual(args: argparse.Namespace) -> dict[str, Any]:
    """The usual benchmark: its patients, scenario, sensor and pump; every 3 min."""
    people = simglucose_people()
    # children eat what adults eat there: their limits' age class has to allow it
    people = replace(people, known={**people.known, "largest_meal": np.full(len(people), 100.0)})
    days, seeds = (2, 1) if args.quick else (args.days or 10, args.seeds)
    persons = np.tile(np.arange(len(people)), seeds)
    groups = np.asarray(people.group)[persons]
    many = people_repeated(people, persons)
    rows = []
    for meals in ("simglucose", "simglucose unannounced"):
        for what, policy in (
            ("basal-bolus", BasalBolus()),
            *((f"MPC on {SHORT[m]}", usual_mpc(m, args.threads)) for m in (S2008, HOVORKA)),
        ):
            if args.only and args.only not in f"{meals} {what}":
                continue
            world = GlucoseWorld(
                many, interval=3.0, sensor="simglucose", pump="simglucose", meals=meals, keep=True, threads=args.threads
            )
            name = f"30 x {days} days x {seeds} seeds, {meals}, {what}"
            r, gate = closed(world, policy, "glucose", 1440.0 * days, args.seed, name)
            rows.append(glucose_row(name, r, gate, groups, persons))
    return {"days": days, "seeds": seeds, "seed": args.seed, "rows": rows}


def usual_mpc(model_id: str, threads: int) -> GlucoseMPC:
    """Every 3 min, with the benchmark's own sensor error."""
    follow = follow_glucose(load(model_id), 3.0, coloured=BRETON)
    return GlucoseMPC(model_id, 3.0, follow=follow, threads=threads)


def people_repeated(people: People, index: np.ndarray) -> People:
    """The same persons several times, each time under another name."""
    names = [f"{people.ids[i]}/{k}" for k, i in enumerate(index)]
    start = None if people.start is None else people.start[index]
    known = {k: v[index] for k, v in people.known.items()}
    eta = None if people.eta is None else people.eta[index]
    return People(
        people.model,
        people.parameters[index],
        people.covariates[index],
        known,
        np.array(names),
        np.asarray(people.group)[index],
        eta,
        start,
        people.origin,
    )


def propofol_row(name: str, r: Run, gate: Gate, since: float) -> dict[str, Any]:
    """Scores of operations: of all of it, and after induction."""
    whole = anaesthesia_scores(r.truth, r.tick)
    later = anaesthesia_scores(r.truth, r.tick, since=since)
    after = anaesthesia_scores(r.truth, r.tick, since=3.0)
    scores: Mapping[str, np.ndarray] = {
        "in_range": whole["in_range"],
        "in_range_after": after["in_range"],
        "mdape": later["mdape"],
        "went_below40": 100.0 * whole["went_below40"],
        "settling": whole["settling"],
        "global": later["global"],
    }
    out: dict[str, Any] = {"name": name, "guard": {c.name: k for c, k in gate.counts.items() if k}}
    for key, v in scores.items():
        middle = np.median if key in ("settling", "global", "mdape") else np.mean
        finite = np.where(np.isfinite(v), v, 1e3)
        out[key] = {"value": float(middle(finite)), "interval": interval(finite, middle)}
    out["maintenance"] = {k: float(np.mean(later[k])) for k in ("in_range", "below40", "above60")}
    out["settled in 3 min"] = 100.0 * float(np.mean(whole["settling"] <= 3.0))
    out["ms_per_decision"] = 1e3 * r.thinking / r.reading.size
    cells = "  ".join(f"{label} {out[k]['value']:.2f}" for k, label in BIS.items())
    print(f"{name:<40} {cells}  maintenance {out['maintenance']['in_range']:.1f}", flush=True)
    return out


def propofol(args: argparse.Namespace) -> dict[str, Any]:
    """Held-out operations under MPC, a tuned PID and target-controlled infusion."""
    n = 100 if args.quick else (args.patients or 1000)
    rows = []
    people = anaesthesia_cohort("propofol_eleveld2018", "test", n)
    for surgery, minutes in (("step", 20.0), ("struys2004", 60.0)):
        cases: list[tuple[str, People, Policy]] = [
            ("MPC", people, AnaesthesiaMPC(threads=args.threads)),
            ("PID", people, PID()),
            ("TCI", people, TargetControlled()),
            ("TCI, titrated", people, TargetControlled(titration=Titration())),
        ]
        for what, who, policy in cases:
            if args.only and args.only not in f"{surgery} {what}":
                continue
            world = AnaesthesiaWorld(who, surgery=surgery, keep=True, threads=args.threads)
            name = f"{n} x {minutes:g} min, {surgery}, {what}"
            r, gate = closed(world, policy, "propofol", minutes, args.seed, name)
            rows.append(propofol_row(name, r, gate, since=10.0))
    return {"patients": n, "seed": args.seed, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("glucose", "propofol", "usual"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--patients", type=int)
    parser.add_argument("--days", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose name holds this text; then nothing is saved")
    args = parser.parse_args()
    results = {"glucose": glucose, "propofol": propofol, "usual": usual}[args.what](args)
    if not args.quick and not args.only:
        save(f"closed_loop_{args.what}", results)


if __name__ == "__main__":
    main()
