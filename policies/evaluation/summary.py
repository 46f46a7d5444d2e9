"""What is said of a result: estimates with intervals, and differences between policies, patient by patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .clinical import SHOWN
from .match import Result
from .statistics import STATISTICS, Estimate, bootstrap, iqm, mean, paired, worst

__all__ = ["Difference", "Summary", "differences", "summary"]


@dataclass(frozen=True)
class Summary:
    """One row of a table.

    Attributes:
        returns, middle, tail: mean, interquartile mean and worst 5 % (CVaR) of the episodes' returns.
        cost: mean. harm: of it, what is not the environment's guard refusing a dose. cost_tail: mean of the 5 % of
            episodes with the highest cost.
        ended: per cent of runs that ended before their time.
        scores: clinical scores by name.
        milliseconds: of processor time a decision.
        changed, withheld: of a filter, per cent of decisions it changed, and of what was asked for that it withheld.
    """

    returns: Estimate
    middle: Estimate
    tail: Estimate
    cost: Estimate
    harm: Estimate
    cost_tail: Estimate
    ended: Estimate
    scores: Mapping[str, Estimate]
    milliseconds: float
    changed: float | None
    withheld: float | None


@dataclass(frozen=True)
class Difference:
    """A policy less another on the same patients: mean return, cost, harm, and each clinical score that has a mean."""

    policy: str
    than: str
    returns: Estimate
    middle: Estimate
    cost: Estimate
    harm: Estimate
    scores: Mapping[str, Estimate]


def summary(r: Result) -> Summary:
    """Of one result."""
    strata, told = r.group, r.filter
    decisions = r.decisions / len(r)
    return Summary(
        bootstrap(r.returns, mean, strata),
        bootstrap(r.returns, iqm, strata),
        bootstrap(r.returns, worst, strata),
        bootstrap(r.cost, mean, strata),
        bootstrap(r.harm, mean, strata),
        _negative(bootstrap(-r.cost, worst, strata)),
        bootstrap(100.0 * r.ended, mean, strata),
        {k: bootstrap(r.scores[k], STATISTICS[s.by], strata) for k, s in SHOWN[r.env].items()},
        1e3 * r.seconds / max(1, r.decisions),
        100.0 * float(told["changed"].mean()) / decisions if told else None,
        100.0 * float(told["withheld"].sum() / max(told["asked"].sum(), 1e-12)) if told else None,
    )


def differences(rows: Mapping[str, Result], reference: str = "usual", guard: str = "+guard") -> list[Difference]:
    """Each policy less the reference, and each guarded policy less itself unguarded."""
    pairs = [(p, reference) for p in rows if p != reference and reference in rows]
    pairs += [(p, p.removesuffix(guard)) for p in rows if p.endswith(guard) and p.removesuffix(guard) in rows]
    pairs += [("oracle", "mpc")] if {"oracle", "mpc"} <= set(rows) else []
    return [_difference(rows[a], rows[b]) for a, b in dict.fromkeys(pairs)]


def _difference(a: Result, b: Result) -> Difference:
    if not np.array_equal(a.who, b.who) or not np.array_equal(a.seeds, b.seeds):
        raise ValueError(f"{a.policy} and {b.policy} did not meet the same patients")
    strata = a.group
    names = [k for k, s in SHOWN[a.env].items() if s.by == "mean"]
    return Difference(
        a.policy,
        b.policy,
        paired(a.returns, b.returns, mean, strata),
        paired(a.returns, b.returns, iqm, strata),
        paired(a.cost, b.cost, mean, strata),
        paired(a.harm, b.harm, mean, strata),
        {k: paired(a.scores[k], b.scores[k], mean, strata) for k in names},
    )


def _negative(e: Estimate) -> Estimate:
    return Estimate(-e.value, -e.high, -e.low)
