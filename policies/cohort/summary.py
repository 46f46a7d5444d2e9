"""The summary of a cohort, streamed over its blocks' files: one score of all patients at a time.

What grows with the cohort is one column: 4 bytes a patient as it is kept, 8 while a percentile is taken, a byte each
for groups and targets; 20 MB for a million. The files are read once for each score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...safety import Code
from ...virtual.glucose_scores import SCORES
from ...virtual.ratios import GROUPS
from ...virtual.world import ENDINGS
from .block import PARTS, column
from .plan import Plan

__all__ = ["PERCENTILES", "TARGETS", "summarise"]

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
# Battelino 2019: of a person, over weeks; here over as long as was run
TARGETS = {"tir": (">", 70.0), "tbr": ("<", 4.0), "tbr54": ("<", 1.0)}  # % of time
EDGES = {"tir": np.arange(0, 101, 2.0), "tbr": np.arange(0, 100.25, 0.25), "tbr54": np.arange(0, 100.25, 0.25)}


def summarise(plan: Plan, patients: int, folder: Path) -> dict[str, Any]:
    """Everything that is reported of the first ``patients``, whose blocks are all there.

    Returns:
        ``scores[group][score]``: mean, SD (of a sample) and percentiles; ``targets[group]``: share (%) of persons who
        reach each of `TARGETS`, and all; ``ended[group]``: persons by reason; ``histograms[group][score]``: persons
        between ``edges``; ``guard``: decisions by reason; ``work``; ``digest`` of all scores in the patients' order,
        which does not depend on the size of blocks. Groups: "all", then each that has somebody.
    """
    indices = [k for k, _, _ in plan.blocks(patients)]
    code = _all(folder, indices, "group")
    masks: dict[str, np.ndarray | slice] = {"all": slice(None)}
    masks |= {g: code == k for k, g in enumerate(GROUPS) if (code == k).any() and not (code == k).all()}
    scores: dict[str, dict[str, Any]] = {g: {} for g in masks}
    targets: dict[str, dict[str, float]] = {g: {} for g in masks}
    histograms: dict[str, dict[str, list[int]]] = {g: {} for g in masks}
    every, digest = np.ones(len(code), dtype=bool), hashlib.sha256()
    for name in SCORES:
        values = _all(folder, indices, name)
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
        reached = None
        if name in TARGETS:
            sign, limit = TARGETS[name]
            reached = values > limit if sign == ">" else values < limit
            every &= reached
        for g, mask in masks.items():
            mine = values[mask].astype(float)
            scores[g][name] = _spread(mine)
            if reached is not None:
                targets[g][name] = 100.0 * float(reached[mask].mean())
            if name in EDGES:
                histograms[g][name] = np.histogram(mine, EDGES[name])[0].tolist()
    for g, mask in masks.items():
        targets[g]["all of them"] = 100.0 * float(every[mask].mean())
    ending = _all(folder, indices, "ending")
    reasons = {k: why for k, why in ENDINGS.items() if why}
    guard = sum(column(folder, k, "guard") for k in indices)
    return {
        "patients": patients,
        "persons": {g: len(code[m]) for g, m in masks.items()},
        "scores": scores,
        "targets": targets,
        "ended": {g: {why: int((ending[m] == k).sum()) for k, why in reasons.items()} for g, m in masks.items()},
        "edges": {k: v.tolist() for k, v in EDGES.items()},
        "histograms": histograms,
        "guard": {c.name: int(count) for c, count in zip(Code, np.asarray(guard)) if count},
        "work": _work(folder, indices, patients),
        "digest": digest.hexdigest(),
    }


def _all(folder: Path, indices: Sequence[int], name: str) -> np.ndarray:
    return np.concatenate([column(folder, k, name) for k in indices])


def _spread(values: np.ndarray) -> dict[str, float]:
    found = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan")}
    return found | {f"p{p}": float(v) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES))}


def _work(folder: Path, indices: Sequence[int], patients: int) -> Mapping[str, Any]:
    """What it took: seconds of workers by part, and the most that one held."""
    seconds = np.sum([column(folder, k, "seconds") for k in indices], axis=0)
    cpu = float(sum(column(folder, k, "cpu") for k in indices))
    memory = [float(column(folder, k, "memory")) for k in indices]
    pids = {int(column(folder, k, "pid")) for k in indices}
    return {
        "seconds": dict(zip(PARTS, seconds.tolist())),
        "cpu_seconds": cpu,
        "cpu_ms_a_patient": 1000.0 * cpu / patients,
        "peak_memory_of_a_worker_mb": max(memory),
        "processes": len(pids),
        "blocks": len(indices),
    }
