"""Closed loops with faults put in on purpose: what happened, and whether any dose left its limits.

.venv/bin/python benchmarks/faults.py glucose  [--hours 10000]     each fault in turn, on held-out patients
.venv/bin/python benchmarks/faults.py propofol [--hours 10000]

Sensor lost, stuck, drifting, delayed, its clock shifted, samples duplicated, spikes; meals unannounced; pump occluded;
the solver failing and late; the patient another model than the controller believes in. Every allowed action is checked
here a second time, by plain arithmetic that shares nothing with the guard, against the limits' own numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from common import save
from doseloop.controller.ladder import LoopOutcome
from doseloop.controller.realtime import Fault as SolverFault
from doseloop.pkpd.individuals import individuals
from doseloop.policies.anaesthesia_mpc import AnaesthesiaMPC
from doseloop.policies.closed_loop import Run, run
from doseloop.policies.following import FollowingPolicy
from doseloop.policies.glucose_mpc import GlucoseMPC
from doseloop.safety import Code
from doseloop.therapies import load_loop
from doseloop.therapies.gate import Gate
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.faults import Fault
from doseloop.virtual.glucose_cohort import glucose_cohort
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.people import People

S2008, HOVORKA = "glucose_t1d_uvapadova2008", "glucose_t1d_hovorka2004"
# kind: (how long it lasts, size), min; every few hours of glucose, every ten minutes of an operation
GLUCOSE = {
    "none": (0.0, 0.0),
    "lost": (120.0, 0.0),
    "stuck": (120.0, 0.0),
    "drift": (240.0, 30.0),
    "delayed": (120.0, 20.0),
    "clock": (120.0, 30.0),
    "duplicated": (120.0, 0.0),
    "spike": (5.0, 150.0),
    "unannounced": (360.0, 0.0),
    "occluded": (120.0, 0.0),
}
BIS = {
    "none": (0.0, 0.0),
    "lost": (4.0, 0.0),
    "stuck": (4.0, 0.0),
    "drift": (6.0, 120.0),
    "delayed": (4.0, 1.0),
    "clock": (4.0, 2.0),
    "duplicated": (4.0, 0.0),
    "spike": (0.5, 40.0),
    "occluded": (3.0, 0.0),
}
SOLVER = {"solver fails": SolverFault.FAIL, "solver late": SolverFault.LATE}


class Failing:
    """Injects solver faults into a policy for spells of time."""

    def __init__(self, policy: FollowingPolicy, fault: SolverFault, seed: int) -> None:
        self.policy, self.fault, self.name, self.oracle = policy, fault, policy.name, False
        self._rng = np.random.default_rng(seed)

    def reset(self, known: Any, n: int) -> None:
        self._left = np.zeros(n, dtype=int)
        self.policy.reset(known, n)

    def act(self, seen: Any) -> np.ndarray:
        begins = (self._left == 0) & (self._rng.random(len(self._left)) < 0.02)
        self._left = np.where(begins, self._rng.integers(1, 30, len(self._left)), np.maximum(self._left - 1, 0))
        self.policy.faults = np.where(self._left > 0, int(self.fault), 0)
        return self.policy.act(seen)

    @property
    def outcomes(self) -> np.ndarray | None:
        return self.policy.outcomes

    def sentence(self, patient: int) -> str:
        return self.policy.sentence(patient)


class Told:
    """Counts what a policy says of each decision that was no plan of its own; silence is counted too."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.name, self.oracle = policy, policy.name, False
        self.sentences: Counter[str] = Counter()
        self.silent = 0

    def reset(self, known: Any, n: int) -> None:
        self.policy.reset(known, n)

    def act(self, seen: Any) -> np.ndarray:
        asked = self.policy.act(seen)
        for i in np.flatnonzero(self.policy.outcomes != int(LoopOutcome.PLANNED)).tolist():
            sentence = self.policy.sentence(i)
            self.sentences[sentence] += 1
            early = self.policy.outcomes[i] <= int(LoopOutcome.LIMITED)
            self.silent += not (sentence if early else "Because" in sentence)
        return asked

    @property
    def outcomes(self) -> np.ndarray | None:
        return self.policy.outcomes


def spells(kind: str, length: float, size: float, n: int, minutes: float, seed: int) -> list[Fault]:
    """One spell after another for each patient, at random times, a third of the time under it."""
    if kind == "none":
        return []
    rng, out = np.random.default_rng(seed), []
    for i in range(n):
        t = rng.uniform(0, 3 * length)
        while t < minutes:
            sign = rng.choice([-1.0, 1.0]) if kind in ("drift", "clock", "spike") else 1.0
            out.append(Fault(kind, t, length, sign * size, [i]))
            t += length * rng.uniform(1.5, 4.5)
    return out


def outside(r: Run, therapy: str) -> int:
    """Actions that are no number, below 0, above what was asked or above the patient's own limits, counted anew."""
    known = {k: np.asarray(v) for k, v in r.people.known.items()}
    ((limits, own),) = load_loop(therapy).limits_of_many(known).values()
    bad = ~np.isfinite(r.allowed) | (r.allowed < 0) | (r.allowed > np.where(r.asked > 0, r.asked, 0.0) + 1e-9)
    for j, a in enumerate(load_loop(therapy).actuators):
        most = np.minimum(limits.action(a.kind, a.route).maximum.value, own[a.kind].maximum)
        bad[:, :, j] |= r.allowed[:, :, j] > most + 1e-9
    given = sum(
        r.delivered[:, :, j] * (r.interval / 60 if a.unit.endswith("/h") else r.interval if "/min" in a.unit else 1.0)
        for j, a in enumerate(load_loop(therapy).actuators)
    )
    count = int(bad.sum())
    for k, row in enumerate(limits.rolling):
        steps = round(row.window.value * 60 / r.interval)
        if steps >= len(given):
            continue
        total = np.cumsum(np.concatenate([np.zeros((1, given.shape[1])), given]), axis=0)
        window = total[steps:] - total[:-steps]
        most = np.minimum(row.total.value, own[load_loop(therapy).actuators[0].kind].total[:, k])
        count += int((window > most * (1 + 1e-9) + 1e-6).sum())
    return count


def spread(people: People) -> People:
    """The same persons, twice as far from the typical patient in every random effect."""
    parameters = individuals(people.model, people.covariates, 2 * people.eta)
    return replace(people, parameters=parameters, eta=2 * people.eta)


def row(name: str, r: Run, gate: Gate, told: Told, therapy: str) -> dict[str, Any]:
    """What happened in one scenario."""
    hours = r.truth.shape[1] * r.tick * len(r) / 60
    outcomes = {LoopOutcome(k).name: int((r.outcomes == k).sum()) for k in np.unique(r.outcomes)}
    reasons = {c.name: k for c, k in gate.counts.items() if k and c is not Code.INCREMENT}
    out = {
        "name": name,
        "hours": hours,
        "outside limits": outside(r, therapy),
        "not finite": int((~np.isfinite(r.allowed)).sum()),
        "outcomes": outcomes,
        "fall-backs without a sentence": told.silent,
        "sentences": dict(told.sentences.most_common()),
        "guard": reasons,
        "ended": int(np.count_nonzero(r.endings)),
    }
    t = r.truth
    if therapy == "glucose":
        out |= {"in": np.mean((t >= 70) & (t <= 180)), "low": np.mean(t < 70), "very low": np.mean(t < 54)}
        out |= {"high": np.mean(t > 250)}
    else:
        later = t[:, round(5 / r.tick) :]
        out |= {"in": np.mean((later >= 40) & (later <= 60)), "low": np.mean(later < 40)}
        out |= {"very low": np.mean(later < 20), "high": np.mean(later > 70)}
    out = {k: float(v) if isinstance(v, np.floating) else v for k, v in out.items()}
    print(
        f"{name:<30} {hours:8.0f} h  outside limits {out['outside limits']}  in {100 * out['in']:.1f} %  "
        f"low {100 * out['low']:.2f}  very low {100 * out['very low']:.3f}  high {100 * out['high']:.2f}  "
        f"{' '.join(f'{k} {v}' for k, v in outcomes.items())}",
        flush=True,
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("therapy", choices=("glucose", "propofol"))
    parser.add_argument("--hours", type=float, default=10000.0, help="in all (default 10000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    glucose = args.therapy == "glucose"
    kinds = GLUCOSE if glucose else BIS
    names = [*kinds, *SOLVER, "another model as the patient" if glucose else "twice the variability"]
    each = args.hours / len(names)
    minutes = 24 * 60.0 if glucose else 60.0
    n = max(1, int(np.ceil(each * 60 / minutes)))
    rows = []
    for name in names:
        length, size = kinds.get(name, (0.0, 0.0))
        people: People
        if glucose:
            plant = HOVORKA if name.startswith("another") else S2008
            people = glucose_cohort(plant, "test", n)
        else:
            people = anaesthesia_cohort("propofol_eleveld2018", "test", n)
            if name.startswith("twice"):
                people = spread(people)
        faults = spells(name if name in kinds else "none", length, size, n, minutes, args.seed)
        if glucose:
            world: Any = GlucoseWorld(people, meals="counted", faults=faults, keep=True, threads=args.threads)
            policy: Any = GlucoseMPC(S2008, 5.0, threads=args.threads)
        else:
            world = AnaesthesiaWorld(people, surgery="struys2004", faults=faults, keep=True, threads=args.threads)
            policy = AnaesthesiaMPC(threads=args.threads)
        if name in SOLVER:
            policy = Failing(policy, SOLVER[name], args.seed)
        gate = Gate(load_loop(args.therapy), world.interval)
        if sys.stderr.isatty():
            print(f"{name} …", end="\r", file=sys.stderr)
        told = Told(policy)
        r = run(world, told, gate, minutes, seed=args.seed)
        rows.append(row(name, r, gate, told, args.therapy))
        save(f"faults_{args.therapy}", {"seed": args.seed, "rows": rows})  # a run that is stopped keeps its rows
    print(
        f"{sum(r['hours'] for r in rows):.0f} hours, {sum(r['outside limits'] for r in rows)} actions outside limits, "
        f"{sum(r['fall-backs without a sentence'] for r in rows)} fall-backs without a sentence"
    )


if __name__ == "__main__":
    main()
