"""A replayed loop written down for the peers (benchmarks/peers/ocp.py), and one judge of every side's plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from doseloop.controller.casadi_problem import cases
from doseloop.controller.smooth import smoothed
from doseloop.pkpd.trace import casadi_functions
from mpc_cases import Replay, advance

__all__ = ["costs", "excess", "write"]

SAMPLES = 64  # points that set the scale of each kink


def write(replay: Replay, case: Mapping[str, Any], folder: Path) -> None:
    """Leave a case for all sides; ``case``: what `mpc_cases.replay` was asked, from which doseloop makes it again."""
    problem, model = replay.problem, replay.problem.model
    (move,), outputs = problem.moves, model.names("outputs")
    every = [cases(problem, s)[0] for s in replay.snapshots]
    offset = np.zeros((len(every), problem.draws, len(outputs)))
    for i, name in enumerate(problem.watched):
        offset[:, :, outputs.index(name)] = [c.offset[:, i] for c in every]
    bounds = {k: getattr(every[0], k)[problem.block_of, 0] for k in ("low", "high")}
    arrays = {
        "x0": np.array([c.x0 for c in every]), "p": every[0].p, "held": np.array([c.held for c in every]),
        "offset": offset, "last": np.array([c.last[0] for c in every]),
        "reference": np.array([c.reference[0] for c in every]), **bounds,
    }  # fmt: skip
    what = {
        "stages": problem.stages,
        "interval": problem.interval,
        "substeps": problem.substeps or 1,
        "shift": round(problem.renewed / problem.interval),
        "column": int(problem.columns[0]),
        "scale": float(every[0].scale[0]),
        "weight": move.weight,
        "change_weight": move.change_weight,
        "goals": [
            {"output": outputs.index(g.output), "target": float(g.target)}  # type: ignore[arg-type]
            | {k: getattr(g, k) for k in ("weight", "low_weight", "high_weight", "terminal")}
            | {k: getattr(g, k) for k in ("low", "high") if getattr(g, f"{k}_weight")}
            for g in problem.goals
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "snapshots.npz", **arrays)
    (folder / "statement.json").write_text(json.dumps(what), encoding="utf-8")
    (folder / "case.json").write_text(json.dumps(dict(case)), encoding="utf-8")
    functions, rng = casadi_functions(model), np.random.Generator(np.random.Philox(key=[1, 1]))
    # a kink's width is a share of what its arguments differ by in these samples: with a meal inside, where there is one
    # (S2008 divides by the meal's size, and what that gives without a meal is no scale of anything)
    rows, inputs = arrays["held"].reshape(-1, arrays["held"].shape[2]), model.names("inputs")
    if "meal" in inputs and rows[:, inputs.index("meal")].any():
        rows = rows[rows[:, inputs.index("meal")] > 0]
    x0 = arrays["x0"][:, 0]
    samples = [
        [np.zeros(1), x0[i % len(x0)] * np.exp(rng.normal(0, 0.3, x0.shape[1])), every[0].p[0], rows[j]]
        for i, j in enumerate(rng.integers(0, len(rows), SAMPLES))
    ]
    smoothed(functions["rhs"], samples).save(str(folder / "rhs.casadi"))
    smoothed(functions["outputs"], [s[:3] for s in samples]).save(str(folder / "outputs.casadi"))


def costs(replay: Replay, moves: np.ndarray, first: int = 0) -> np.ndarray:
    """The objective of plans by the exact reading of the model, advanced as its simulator advances it (a step of 20 s
    to 15 min by model; linear models exactly), whatever the side that planned used.

    Args:
        moves: (plans, stages), of the snapshots from ``first`` on.

    Returns:
        (plans,); NaN where a plan is no plan.
    """
    problem, model, n = replay.problem, replay.problem.model, len(moves)
    (move,), D, names = problem.moves, problem.draws, problem.model.names("outputs")
    every = [cases(problem, s)[0] for s in replay.snapshots[first : first + n]]
    see = casadi_functions(model)["outputs"]
    x, p = (np.concatenate([getattr(c, k) for c in every]) for k in ("x0", "p"))
    weight = np.concatenate([c.weights for c in every])
    offset = np.concatenate([c.offset for c in every])
    scale, reference, last = (np.array([getattr(c, k)[0] for c in every]) for k in ("scale", "reference", "last"))
    total, before = np.zeros(n), last
    for k in range(problem.stages):
        u = np.repeat([c.held[k] for c in every], D, axis=0)
        u[:, problem.columns[0]] = np.repeat(moves[:, k], D)
        x = advance(model, x, p, u, problem.interval)
        y = np.array(see(0, x.T, p.T))
        share = np.zeros(n * D)
        for g in problem.goals:
            v = y[names.index(g.output)] + offset[:, problem.watched.index(g.output)]
            one = g.weight * (v - float(g.target)) ** 2  # type: ignore[arg-type]
            if g.low_weight:
                one = one + g.low_weight * np.maximum(0, g.low - v) ** 2
            if g.high_weight:
                one = one + g.high_weight * np.maximum(0, v - g.high) ** 2
            share += weight * one * (g.terminal if k == problem.stages - 1 else 1.0)
        total += share.reshape(n, D).sum(axis=1)
        total += move.weight * ((moves[:, k] - reference) / scale) ** 2
        total += move.change_weight * ((moves[:, k] - before) / scale) ** 2
        before = moves[:, k]
    return total


def excess(found: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of every side, how much its plans cost more than the cheapest that any side found: median and largest share.

    ``found``: costs (plans,) of each side; a plan that is none counts as infinitely more.
    """
    best = np.fmin.reduce(list(found.values()))
    out = {}
    for name, cost in found.items():
        over = np.where(np.isfinite(cost), (cost - best) / np.abs(best), np.inf)
        out[name] = {"median": float(np.median(over)), "max": float(over.max())}
    return out
