"""The report of a cohort in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..evaluation.report import number, table
from .plan import Plan
from .summary import PERCENTILES, TARGETS

__all__ = ["report"]

SHOWN = {
    "tir": "time in 70–180 mg/dL, %",
    "titr": "time in 70–140, %",
    "tbr": "time below 70, %",
    "tbr54": "time below 54, %",
    "tar": "time above 180, %",
    "tar250": "time above 250, %",
    "mean": "mean glucose, mg/dL",
    "cv": "coefficient of variation, %",
    "lbgi": "low blood glucose index",
    "hbgi": "high blood glucose index",
    "gri": "glycaemia risk index",
}


def report(plan: Plan, found: Mapping[str, Any]) -> str:
    """The whole report, from the plan and its summary."""
    guard = "under the guard" if plan.guard else "without the guard"
    days = f"{plan.days:g} day{'s' if plan.days != 1 else ''}"
    believes = f", which believes in `{plan.believes}`" if plan.believes else ""
    lines = [
        f"# {found['patients']:,} virtual patients, {days}, {plan.policy}",
        "",
        f"Patients of `{plan.model}`, split {plan.split}, group {plan.group}; meals: {plan.surroundings}; policy "
        f"{plan.policy}{believes}, {guard}; seed {plan.seed}. Scores are of the true glucose of every minute. A run "
        "that ended stays out of range, on its side, for all the time that was left.",
        "",
        "Simulation and research; not for dosing people. These are a model's people, not a sample of a population.",
        "",
    ]
    for g, scores in found["scores"].items():
        head = [f"{g}, {found['persons'][g]:,} persons", "mean", "SD", *(f"{p} %" for p in PERCENTILES)]
        cells = ("mean", "sd", *(f"p{p}" for p in PERCENTILES))
        lines += table(head, [[SHOWN[k], *(_number(scores[k][c]) for c in cells)] for k in SHOWN])
    signs = [f"{SHOWN[k].split(',')[0]} {sign} {limit:g} %" for k, (sign, limit) in TARGETS.items()]
    reasons = next(iter(found["ended"].values()))
    rows = [
        [
            g,
            f"{found['persons'][g]:,}",
            *(f"{reached[k]:.1f}" for k in (*TARGETS, "all of them")),
            *(f"{found['ended'][g][why]:,}" for why in reasons),
        ]
        for g, reached in found["targets"].items()
    ]
    lines += table(["share of persons, %", "persons", *signs, "all of them", *(f"ended: {w}" for w in reasons)], rows)
    lines += [
        "The targets are the international consensus's (Battelino 2019) for most adults with type 1 diabetes, meant of "
        f"two weeks; here they are asked of {days}.",
        "",
    ]
    if found["guard"]:
        lines += table(["the guard's reason", "actions"], [[k, f"{v:,}"] for k, v in found["guard"].items()])
    w = found["work"]
    parts = ", ".join(f"{k} {v / sum(w['seconds'].values()):.0%}" for k, v in w["seconds"].items())
    lines += [
        f"{w['cpu_ms_a_patient']:.2f} ms of processor for each patient (time: {parts}); {w['blocks']} blocks in "
        f"{w['processes']} processes; at most {w['peak_memory_of_a_worker_mb']:.0f} MB in one.",
        "",
        f"Digest of all scores: `{found['digest'][:16]}`.",
    ]
    return "\n".join(lines)


def _number(x: float) -> str:
    return "–" if np.isnan(x) else number(x)  # the SD of one
