"""Problems and replayed closed loops for the MPC's benchmarks: the patient differs from the controller's model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from doseloop.controller.problem import Goal, Move, Problem
from doseloop.controller.realtime import RealTime
from doseloop.controller.snapshot import Snapshot
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.march import march, march_of, pack, prepare, unpack
from doseloop.pkpd.model import Input, Model, Output, State
from doseloop.pkpd.population import starting_states
from doseloop.pkpd.system import system

HOVORKA, UVA, ELEVELD = "glucose_t1d_hovorka2004", "glucose_t1d_uvapadova2008", "propofol_eleveld2018"
GOTI = "vancomycin_adult_goti2018"
SUBSTEPS = {HOVORKA: 1, UVA: 2, ELEVELD: None}
MEALS = {HOVORKA: ((60, 50.0), (300, 70.0), (660, 60.0)), UVA: ((60, 50.0), (300, 70.0), (660, 60.0))}


def glucose(model_id: str, stages: int = 48, **more: object) -> Problem:
    """110 mg/dL, soft band 70-180, insulin near basal: 4 h at 5 min."""
    return Problem(
        load(model_id),
        5.0,
        stages,
        [Move("sc", 0.0, 1.0, 0.015, weight=1e-3, change_weight=1e-2, scale=0.1)],
        [Goal("glucose", 110.0, 1 / 50**2, 70.0, 10 / 10**2, 180.0, 1 / 10**2)],
        **{"substeps": SUBSTEPS[model_id]} | more,  # type: ignore[arg-type]
    )


def propofol(stages: int = 60, **more: object) -> Problem:
    """BIS 50, soft band 40-60: 5 min at 5 s."""
    return Problem(
        load(ELEVELD),
        1 / 12,
        stages,
        [Move("propofol", 0.0, 200.0, change_weight=1e-2, scale=20.0)],
        [Goal("bis", 50.0, 1 / 10**2, 40.0, 10 / 10**2, 60.0, 1 / 10**2)],
        **more,  # type: ignore[arg-type]
    )


@cache
def three_days() -> Model:
    """Goti 2018 with the AUC of each of the next three days as a state and output; inputs say which day it is."""
    base, days = load(GOTI), ("day1", "day2", "day3")

    def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
        level = base.outputs_of(t, x, p)["concentration"]
        return {**base.rhs(t, x, p, u), **{f"auc{i}": level * getattr(u, d) for i, d in enumerate(days, 1)}}

    def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
        return {**base.outputs_of(t, x, p), "auc1": x.auc1, "auc2": x.auc2, "auc3": x.auc3}

    return replace(
        base,
        id="benchmark_vancomycin_three_days",
        states=[*base.states, *(State(f"auc{i}", "mg*h/L") for i in (1, 2, 3))],
        inputs=[Input(d, "1") for d in days],
        rhs=rhs,
        outputs=[*base.outputs, *(Output(f"auc{i}", "mg*h/L") for i in (1, 2, 3))],
        outputs_of=outputs,
        step=0.25,
    )


def vancomycin(**more: object) -> Problem:
    """AUC24 500 mg·h/L, soft band 400-600, of each of three days: a 2-h infusion every 12 h, of any amount.

    The ward's dosing problem with amounts free instead of in 250-mg steps, and squares instead of absolute values. An
    AUC counts at the end of the horizon only: its weights are a millionth of what they are there.
    """
    few = 1e-6
    band = {"low": 400.0, "low_weight": few * 10 / 100**2, "high": 600.0, "high_weight": few * 10 / 100**2}
    return Problem(
        three_days(),
        2.0,
        36,
        [Move("iv", 0.0, 900.0, weight=1e-4, scale=600.0)],  # 15 mg/min
        [Goal(f"auc{i}", 500.0, few / 100**2, terminal=1 / few, **band) for i in (1, 2, 3)],
        **{"substeps": 2, "every": 12.0, "blocks": (1, 5) * 6} | more,  # type: ignore[arg-type]
    )


def advance(model: Model, x: np.ndarray, p: np.ndarray, u: np.ndarray, interval: float) -> np.ndarray:
    """States (n, states) after an interval under inputs u (n, inputs and routes), by the model's own step."""
    how = march_of(model, interval)
    X, P, U = pack(x), pack(p), pack(u)
    s, k = np.zeros((2, 8)), np.zeros((how.rows_k, 8))
    for block in range(len(X)):
        at = [a.ctypes.data for a in (s, X[block], P[block], U[block], k)]
        prepare(how.propagator, at[0], at[2], at[4], how.h)
        march(how.kernel, *at, 0.0, how.h)
    return unpack(X, len(x))


def drawn(model: Model, draws: int, spread: float, seed: int) -> np.ndarray:
    """Individual parameters of some draws around the typical patient (the first is the typical one)."""
    rng = np.random.Generator(np.random.Philox(key=[seed, draws]))
    eta = spread * rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, draws)
    eta[0] = 0.0
    return individuals(model, None, eta)


@dataclass
class Replay:
    """What a controller was asked in a closed loop, one snapshot an interval."""

    problem: Problem
    snapshots: list[Snapshot]


def _inputs(problem: Problem, carbs: np.ndarray, eaten: float) -> dict[str, np.ndarray]:
    """Known inputs: what is left of an announced meal, and what the stomach's content is counted from."""
    out = {}
    if "carbs" in problem.held:
        out["carbs"] = carbs
    if "meal" in problem.held:
        out["meal"] = np.full(problem.stages, eaten)
    return out


def glucose_loop(model_id: str, steps: int = 288, draws: int = 1, seed: int = 3, **more: object) -> Replay:
    """A day: three announced meals, a patient of other parameters, states seen with 2 % noise."""
    problem = glucose(model_id, draws=draws, **more)
    model = problem.model
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    eta = 0.5 * rng.multivariate_normal(np.zeros(len(model.omega)), model.omega)
    true, believed = individuals(model, None, eta), drawn(model, draws, 0.3, seed)
    basal = dict(zip(model.individual_units, believed[0]))["basal"] / 60.0
    x = starting_states(system(model), true)
    names = [*model.names("inputs"), *model.names("routes")]
    typical = np.array([*(i.typical for i in model.inputs), *(0.0 for _ in model.routes)])
    eating = np.zeros(steps + problem.stages)
    for minute, grams in MEALS[model_id]:
        eating[minute // 5 : minute // 5 + 3] = grams / 15.0
    eaten, solver, plan = 0.0, RealTime(problem), None
    last, replay = np.array([[basal]]), Replay(problem, [])
    for k in range(steps):
        if eating[k] and not (k and eating[k - 1]):
            eaten = float(eating[k : k + 3].sum() * 5)  # a meal begins: its size is announced
        ahead = np.zeros(problem.stages)
        if eating[k]:
            stop = k + int(np.argmax(eating[k:] == 0))
            ahead[: stop - k] = eating[k:stop]
        seen = x * (1 + 0.02 * rng.standard_normal((draws, x.shape[1])) * (x > 0))
        snap = Snapshot(seen[None], believed[None], last, _inputs(problem, ahead, eaten), reference=np.array([[basal]]))
        plan = solver.solve(snap, plan)
        replay.snapshots.append(snap)
        last = plan.first
        u = typical.copy()
        u[names.index("sc")], u[names.index("carbs")] = last[0, 0], eating[k]
        if "meal" in names:
            u[names.index("meal")] = eaten
        x = advance(model, x, true, u[None], 5.0)
    return replay


def propofol_loop(steps: int = 240, draws: int = 1, seed: int = 5, **more: object) -> Replay:
    """Induction and a stimulus of +15 BIS (six tenths of it known) from the 80th to the 130th interval."""
    problem = propofol(draws=draws, **more)
    model = problem.model
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    eta = 0.5 * rng.multivariate_normal(np.zeros(len(model.omega)), model.omega)
    true, believed = individuals(model, None, eta), drawn(model, draws, 0.3, seed)
    x, solver, plan, last = np.zeros((1, len(model.states))), RealTime(problem), None, np.zeros((1, 1))
    replay = Replay(problem, [])
    for k in range(steps):
        seen = x * (1 + 0.02 * rng.standard_normal((draws, x.shape[1])))
        offset = np.full((1, draws, 1), 9.0 if 80 <= k < 130 else 0.0)
        snap = Snapshot(seen[None], believed[None], last, offset=offset)
        plan = solver.solve(snap, plan)
        replay.snapshots.append(snap)
        last = plan.first
        x = advance(model, x, true, last, problem.interval)
    return replay


def vancomycin_loop(steps: int = 25, draws: int = 1, seed: int = 4, **more: object) -> Replay:
    """A dose every 12 h, amounts seen with 2 % noise."""
    problem = vancomycin(draws=draws, **more)
    model, N = problem.model, problem.stages
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    eta = 0.5 * rng.multivariate_normal(np.zeros(len(model.omega)), model.omega)
    true, believed = individuals(model, None, eta), drawn(model, draws, 0.3, seed)
    x, solver, plan = np.zeros((1, len(model.states))), RealTime(problem), None
    dosing = np.arange(N) % 6 == 0
    inputs = {f"day{d}": (np.arange(N) // 12 == d - 1).astype(float) for d in (1, 2, 3)}
    high = np.where(dosing, problem.moves[0].high, 0.0)[None, :, None]
    replay = Replay(problem, [])
    for _ in range(steps):
        x[:, 2:] = 0.0  # days are counted from now
        seen = x * (1 + 0.02 * rng.standard_normal((draws, x.shape[1])))
        snap = Snapshot(seen[None], believed[None], np.zeros((1, 1)), inputs, low=0.0 * high, high=high)
        plan = solver.solve(snap, plan)
        replay.snapshots.append(snap)
        for k in range(6):
            u = np.array([[0.0, 0.0, 0.0, plan.moves[0, k, 0]]])
            x = advance(model, x, true, u, problem.interval)
    return replay


def replay(kind: str, steps: int, skip: int = 0, model: str = HOVORKA, **more: Any) -> Replay:
    """The last ``steps`` snapshots of a loop that goes on for ``skip`` more before them.

    Args:
        kind: glucose (of ``model``), propofol or vancomycin; ``more`` goes to its loop and its problem.
    """
    n = skip + steps
    whole = (
        glucose_loop(model, n, **more)
        if kind == "glucose"
        else {"propofol": propofol_loop, "vancomycin": vancomycin_loop}[kind](n, **more)
    )
    return Replay(whole.problem, whole.snapshots[skip:])


def growing(stages: int) -> tuple[int, ...]:
    """Blocks that grow: 12 single stages, then longer and longer, some twenty in all."""
    blocks, length = [1] * min(12, stages), 1.0
    while sum(blocks) < stages:
        length *= 1.35
        blocks.append(min(max(1, round(length)), stages - sum(blocks)))
    return tuple(blocks)


def hard_starts(model_id: str, count: int = 300, seed: int = 7) -> tuple[Problem, list[Snapshot]]:
    """Cold starts far from anywhere: states, parameters and meals at random, glucose from 50 to 350 mg/dL."""
    problem = glucose(model_id)
    model, rng = problem.model, np.random.Generator(np.random.Philox(key=[seed, 0]))
    p = np.repeat(individuals(model, None, np.zeros(len(model.omega))), count, axis=0)
    names = list(model.individual_units)
    moved = [i for i, n in enumerate(names) if n not in ("weight", "gb", "basal", "ib")]
    p[:, moved] *= np.exp(rng.normal(0, 0.1, (count, len(moved))))
    if "f" in names:
        p[:, names.index("f")] = np.minimum(p[:, names.index("f")], 1.0)
    x0 = starting_states(system(model), p)
    states = model.names("states")
    first = states.index("gp" if "gp" in states else "q1")
    level = rng.uniform(50, 350, count) / 120.0
    x = x0 * np.exp(rng.normal(0, 0.4, x0.shape))
    for name in ("gp", "gt", "q1", "q2"):
        if name in states:
            j = states.index(name)
            x[:, j] = x0[:, j] * level * (1 if j == first else np.exp(rng.normal(0, 0.2, count)))
    out = []
    for i in range(count):
        carbs, eaten = np.zeros(problem.stages), 0.0
        for _ in range(rng.integers(0, 3)):
            j = int(rng.integers(0, 40))
            carbs[j : j + 3] = rng.uniform(10, 100) / 15.0
        eaten = float(carbs.sum() * 5)
        last = np.array([[rng.uniform(0, 0.05)]])
        out.append(Snapshot(x[None, i : i + 1], p[None, i : i + 1], last, _inputs(problem, carbs, eaten)))
    return problem, out
