"""The optimal control problem over the next doses, solved with CasADi.

Decision: the amounts d of the next N doses, each free between 0 and the largest. Over S posterior draws s::

    minimise   mean_s,j ((q_s,j(d) − target) / target)²  +  ρ Σ ((d_k − d_{k−1}) / d_max)²  +  M Σ_h slack_h
    subject to CVaR_{1−a_h}[ harm_h,s(d) / threshold_h − 1 ] ≤ slack_h      for every harm h, stated level a_h
               0 ≤ d ≤ d_max,   Σ of d within each rolling window ≤ its limit

The conditional value at risk bounds the chance constraint P(harm_h > threshold_h) ≤ a_h from the safe side
(Rockafellar & Uryasev 2000), and is convex. The q_s,j (the goal's quantity
at every trough or over every day) are affine in d for linear models: their coefficients come from
the compiled simulator, and the problem is one quadratic program. Otherwise it is solved again around each solution
until it stands still (sequential quadratic programming), the simulator's finite differences giving the slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import casadi as ca
import numpy as np

from ..pkpd.regimen import Regimen
from ..safety import Unlimited
from .situation import Course, Drawn, Grid, Units, courses, quantity

__all__ = ["Plan", "along_horizon", "solve"]

SMOOTH = 1e-3
PENALTY = 1e3
SOLVER = "highs"


@dataclass(frozen=True)
class Plan:
    """The continuous optimum: amounts, objective, whether the chance constraints hold, the solver's word."""

    amounts: np.ndarray
    objective: float
    feasible: bool
    success: bool
    solver: str


@lru_cache(maxsize=64)
def _conic(
    n: int, N: int, rows: bytes, columns: bytes, m: int
) -> tuple[ca.Function, ca.Sparsity, np.ndarray, ca.Sparsity]:
    """The solver for one pattern: a dense block of amounts in the objective, rows and columns of the constraints.

    Also the patterns of the matrices, and the order in which the constraints' entries fill theirs.
    """
    quiet: dict[str, Any] = {"error_on_fail": False, "print_time": False}
    if SOLVER == "highs":
        quiet["highs"] = {"output_flag": False, "threads": 1}
    h = ca.diagcat(ca.Sparsity.dense(N, N), ca.Sparsity.diag(n - N))
    row, column = np.frombuffer(rows, dtype=np.int64), np.frombuffer(columns, dtype=np.int64)
    a = ca.Sparsity.triplet(m, n, row.tolist(), column.tolist())
    return ca.conic("doses", SOLVER, {"h": h, "a": a}, quiet), h, np.lexsort((row, column)), a


def _slopes(grid: Grid, drawn: Drawn, unit: float, at: np.ndarray) -> tuple[Course, Course]:
    """Nonlinear models: course of the amounts ``at``, and slope with respect to each (per unit amount)."""
    action, weight = grid.therapy.action, grid.weight
    step = 1e-4 * unit
    whole = lambda amounts: Regimen(  # noqa: E731
        *[action.dose(float(a), float(t), weight) for a, t in zip(amounts, grid.starts) if a > 0]
    )
    shifted = [at + step * e for e in np.eye(len(at))]
    c = courses(drawn, grid.therapy.output, grid.record, [whole(v) for v in [at, *shifted]], grid.times)
    slope = lambda v: (v[:, 1:] - v[:, :1]) / step  # noqa: E731
    return c.pick([0]), Course(slope(c.levels), slope(c.integrals))


def along_horizon(name: str, course: Course, grid: Grid) -> np.ndarray:
    """The goal's quantity along the horizon (every trough, day's area or peak), (draws, columns, pieces)."""
    if name == "trough":
        return course.levels[:, :, [int(np.argmin(np.abs(grid.times - t))) for t in [*grid.starts[1:], grid.times[-1]]]]
    if name == "time_in_range":
        return course.levels[:, :, grid.times > grid.starts[0]]
    if name == "auc24":
        ends = np.arange(grid.times[-1], grid.starts[0] + 24.0 - 1e-9, -24.0)
        at = lambda t: int(np.argmin(np.abs(grid.times - t)))  # noqa: E731
        days = [course.area(at(e - 24.0), at(e)) for e in ends]
        return np.stack(days or [quantity(name, course, grid.times, float(grid.starts[0]))], axis=2)
    return _harms(name, course, grid)


def _harms(name: str, course: Course, grid: Grid) -> np.ndarray:
    """The affine pieces of a harm's quantity, (draws, columns, pieces): a peak may stand at the end of any dose."""
    if name == "peak":
        before = np.abs(grid.times[:, None] - grid.starts[None, :]).min(axis=1) < 1e-9
        return course.levels[:, :, (grid.times > grid.starts[0]) & ~before]
    return quantity(name, course, grid.times, float(grid.starts[0]))[:, :, None]


def _windows(grid: Grid) -> list[tuple[np.ndarray, float]]:
    """Rolling totals as rows over the planned doses and what each still allows."""
    limits, out = grid.therapy.limits, []
    for window in limits.rolling:
        most = min(
            np.inf if isinstance(window.total, Unlimited) else window.total.value,
            np.inf if isinstance(window.total_per_kg, Unlimited) else window.total_per_kg.value * grid.weight,
        )
        for end in grid.starts:
            row = ((grid.starts <= end) & (grid.starts > end - window.window.value)).astype(float)
            given = grid.record.given.total(end - window.window.value, grid.record.now + 1e-9)
            out.append((row, max(0.0, most - given)))
    return out


@dataclass
class _Rows:
    """Constraints A x ≤ b, gathered block by block."""

    row: list[np.ndarray]
    column: list[np.ndarray]
    value: list[np.ndarray]
    upper: list[np.ndarray]
    count: int = 0

    def add(self, upper: np.ndarray, *blocks: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """Rows with these entries (row within the block, column, value)."""
        for row, column, value in blocks:
            self.row.append((row + self.count).ravel())
            self.column.append(np.broadcast_to(column, row.shape).ravel())
            self.value.append(np.broadcast_to(value, row.shape).ravel())
        self.upper.append(upper)
        self.count += len(upper)


def _problem(grid: Grid, point: Course, slope: Course, origin: np.ndarray, most: float) -> tuple[Any, ...]:
    """The quadratic program in (d, then [z, var, slack] of each harm), amounts in units of ``most``."""
    therapy, N, S = grid.therapy, len(grid.starts), len(point.levels)
    target = therapy.goal.target
    probability = {h.name: h.probability_max.value for h in therapy.limits.predicted}
    n = N + len(therapy.harms) * (S + 2)
    q0, qd = (along_horizon(therapy.goal.quantity, c, grid) for c in (point, slope))
    pieces = q0.shape[2]
    r = ((q0[:, 0] - np.einsum("snj,n->sj", qd, origin)) / target - 1).ravel()  # residual at d = 0 of the affine model
    J = (qd * most / target).transpose(0, 2, 1).reshape(-1, N)
    D = np.diff(np.eye(N), axis=0)
    H = 2 * J.T @ J / (S * pieces) + 2 * SMOOTH * D.T @ D + 1e-8 * np.eye(N)
    g, low, high = np.zeros(n), np.zeros(n), np.full(n, np.inf)
    g[:N] = 2 * J.T @ r / (S * pieces)
    high[:N] = 1.0
    A = _Rows([], [], [], [])
    s, k = np.arange(S), np.arange(N)
    first = N
    for harm in therapy.harms:
        z, var, slack = first + s, first + S, first + S + 1
        low[var], g[slack] = -np.inf, PENALTY
        h0, hd = (_harms(harm.quantity, c, grid) for c in (point, slope))
        for j in range(h0.shape[2]):
            block = hd[:, :, j]
            rows, columns = np.broadcast_to(s[:, None], (S, N)), np.broadcast_to(k, (S, N))
            room = 1 - (h0[:, 0, j] - block @ origin) / harm.above
            A.add(
                room, (rows, columns, block * most / harm.above), (s, z, -np.ones(S)), (s, np.full(S, var), -np.ones(S))
            )
        zero, a = np.zeros(S, dtype=int), 1 / (probability[harm.name] * S)
        A.add(np.zeros(1), (zero, z, np.full(S, a)), (zero[:2], np.array([var, slack]), np.array([1.0, -1.0])))
        first += S + 2
    for window, allowed in _windows(grid):
        A.add(np.array([allowed / most]), (np.zeros(N, dtype=int), k, window))
    return H, g, A, low, high, float(r @ r / (S * pieces))


def solve(grid: Grid, drawn: Drawn, base: Course, units: Units | None) -> Plan:
    """The continuous optimum for one interval.

    Args:
        grid: dose times and horizon; ``base`` the course without further doses at its times.
        drawn: posterior draws of equal weight.
        units: courses of unit doses where every model is linear, None otherwise.
    """
    amounts = grid.therapy.action.amounts(grid.weight)
    most, N = float(amounts[-1]), len(grid.starts)
    linear = units is not None
    d = np.zeros(N) if linear else np.full(N, 0.25 * most)
    plan = Plan(d, np.inf, False, False, SOLVER)
    for _ in range(1 if linear else 12):
        if units is not None:
            point, slope = base, grid.spread(units, grid.length(most))
        else:
            point, slope = _slopes(grid, drawn, most, d)
        H, g, A, low, high, constant = _problem(grid, point, slope, d, most)
        row, column = (np.concatenate(v).astype(np.int64) for v in (A.row, A.column))
        solver, h, order, a = _conic(len(g), N, row.tobytes(), column.tobytes(), A.count)
        # the auxiliary variables get a speck of curvature: some solvers want a definite matrix
        entries = np.concatenate([H.ravel(), np.full(len(g) - N, 1e-8)])
        got = solver(
            h=ca.DM(h, entries),
            g=g,
            a=ca.DM(a, np.concatenate(A.value)[order]),
            lba=-np.inf,
            uba=np.concatenate(A.upper),
            lbx=low,
            ubx=high,
        )
        x = np.array(got["x"]).ravel()
        success = bool(solver.stats()["success"]) and bool(np.isfinite(x).all())
        if not success:
            return plan
        new = np.clip(x[:N], 0, 1) * most
        slacks = [x[N + (i + 1) * len(point.levels) + 2 * i + 1] for i in range(len(grid.therapy.harms))]
        plan = Plan(new, float(got["cost"]) + constant, max(slacks, default=0.0) < 1e-6, True, SOLVER)
        if linear or np.abs(new - d).max() < 1e-3 * most:
            break
        d = new
    return plan
