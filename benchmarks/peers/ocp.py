"""An optimal control problem as the peers find it in their folder, and the chain of steps that every side does.

``statement.json``: stages, interval (the model's time unit), substeps, stages that pass from snapshot to snapshot
(``shift``), the move's column among the inputs, its bounds, scale and weights, the goals (see `Ocp.goals`).
``snapshots.npz``, of every snapshot: ``x0`` (count, draws, states), ``held`` (count, stages, inputs) known inputs (the
move's column is overwritten), ``offset`` (count, draws, outputs), ``last`` and ``reference`` (count,); for all:
``p`` (draws, parameters), ``low`` and ``high`` (stages,). ``rhs.casadi`` and ``outputs.casadi``: doseloop's trace of
the model, smoothed. The problem is the one at the head of `controller/problem.py`. No doseloop is imported here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np

__all__ = ["Ocp", "Solved", "chain", "read"]


@dataclass(frozen=True, eq=False)
class Ocp:
    """The problem: what is said of it, its arrays, its equations."""

    what: dict[str, Any]
    arrays: dict[str, np.ndarray]
    rhs: ca.Function
    outputs: ca.Function

    def __getattr__(self, name: str) -> np.ndarray:
        try:
            return self.arrays[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def stages(self) -> int:
        """Stages."""
        return int(self.what["stages"])

    @property
    def draws(self) -> int:
        """Draws of the patient, all of the same weight, under one sequence of moves."""
        return int(self.p.shape[0])

    @property
    def count(self) -> int:
        """Snapshots."""
        return int(self.x0.shape[0])

    @property
    def size(self) -> np.ndarray:
        """By what the states are divided, (states,)."""
        size = np.abs(self.x0).max(axis=(0, 1))
        return np.where(size > 1e-6, size, 1.0)

    def signal(self, u: Any, held: Any) -> Any:
        """All inputs of a stage under the move ``u``."""
        column = self.what["column"]
        return ca.vertcat(*(u if i == column else held[i] for i in range(self.held.shape[2])))

    def goals(self, y: Any, last: bool = False) -> Any:
        """What a draw's outputs (offsets included) cost at the end of a stage, by the draw's weight."""
        cost = 0.0
        for g in self.what["goals"]:
            v = y[g["output"]]
            one = g["weight"] * (v - g["target"]) ** 2
            if g["low_weight"]:
                one += g["low_weight"] * ca.fmax(0, g["low"] - v) ** 2
            if g["high_weight"]:
                one += g["high_weight"] * ca.fmax(0, v - g["high"]) ** 2
            cost = cost + (g["terminal"] if last else 1.0) * one
        return cost / self.draws

    def step(self) -> ca.Function:
        """States after a stage from those before it, inputs and parameters: Runge-Kutta's method of order 4."""
        n, m, r = self.x0.shape[2], self.held.shape[2], self.p.shape[1]
        x, s, p = ca.SX.sym("x", n), ca.SX.sym("s", m), ca.SX.sym("p", r)
        h, after = self.what["interval"] / self.what["substeps"], x
        for _ in range(self.what["substeps"]):
            a = self.rhs(0, after, p, s)
            b = self.rhs(0, after + h / 2 * a, p, s)
            c = self.rhs(0, after + h / 2 * b, p, s)
            d = self.rhs(0, after + h * c, p, s)
            after = after + h / 6 * (a + 2 * b + 2 * c + d)
        return ca.Function("step", [x, s, p], [after], {"cse": True})

    def rolled(self, k: int, u: np.ndarray) -> np.ndarray:
        """Courses of the states of snapshot k under moves (stages,), (stages + 1, draws, states): a first guess."""
        step, out = self.step(), [self.x0[k]]
        for i in range(self.stages):
            s = self.held[k, i].copy()
            s[self.what["column"]] = u[i]
            out.append(np.array([np.array(step(out[-1][d], s, self.p[d])).ravel() for d in range(self.draws)]))
        return np.array(out)

    def shifted(self, a: np.ndarray) -> np.ndarray:
        """The last solution along its first axis as the next one's guess: what has passed is gone, the end is held."""
        at = np.minimum(np.arange(len(a)) + self.what["shift"], len(a) - 1)
        return np.asarray(a[at])


def read(folder: Path) -> Ocp:
    """The problem of a folder."""
    with np.load(folder / "snapshots.npz") as data:
        arrays = {k: np.ascontiguousarray(data[k]) for k in data.files}
    what = json.loads((folder / "statement.json").read_text(encoding="utf-8"))
    return Ocp(what, arrays, *(ca.Function.load(str(folder / f"{n}.casadi")) for n in ("rhs", "outputs")))


def chain(
    build: Callable[[dict[str, Any], Path], tuple[int, Callable[[int, Any], Any]]],
) -> Callable[[Path], Callable[[dict[str, Any]], np.ndarray]]:
    """What `worker.serve` starts: a job names a case; all its steps but the first are done, each warmed by the last.

    ``build(job, folder)`` returns the number of snapshots and ``solve(k, before)``: a plan of snapshot k with ``moves``
    (stages,), warmed by the plan before (None: cold). With ``pause`` in the job, each step comes that many seconds
    after the last, ``times`` times over, and the output is (steps, 4): wall and processor seconds, 1 where the
    solver ran into its own deadline, and the cost it reports (NaN where it reports none).
    """

    def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
        kept: dict[str, Any] = {}

        def run(job: dict[str, Any]) -> np.ndarray:
            key = json.dumps([job["case"], job.get("how"), job.get("deadline")])
            if key not in kept:
                kept.clear()  # the large ones fill the memory
                count, solve = build(job, folder / job["case"])
                kept[key] = count, solve, solve(0, None)
            count, solve, first = kept[key]
            moves, spent = [], []
            for _ in range(job.get("times", 1)):
                plan = first
                for k in range(1, count):
                    if "pause" in job:
                        time.sleep(job["pause"])
                    wall, cpu = time.perf_counter(), time.process_time()
                    plan = solve(k, plan)
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                    spent.append((wall, cpu, float(plan.late), plan.cost))
                    moves.append(plan.moves)
            return np.array(spent) if "pause" in job else np.array(moves)

        return run

    return start


@dataclass(frozen=True, slots=True)
class Solved:
    """A peer's plan: moves (stages,), and what warms its next one."""

    moves: np.ndarray
    memory: Any
    late: bool = False
    cost: float = float("nan")
