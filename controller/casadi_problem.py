"""The problem in CasADi's symbols, and what every CasADi back end shares: numbers of a patient, chances, the plan."""

from __future__ import annotations

import time as clock
from functools import cached_property, lru_cache
from typing import Any

import casadi as ca
import numpy as np
from scipy.linalg import expm

from ..pkpd.errors import SolverError
from ..pkpd.model import Model
from ..pkpd.system import system
from ..pkpd.trace import traced
from .plan import Plan, Status
from .problem import Chance, PathLimit, Problem
from .snapshot import Snapshot, check
from .stage import expressions, stable_substeps

__all__ = ["CasadiSolver", "Case", "cases"]

FEASIBLE = 1e-5  # by how much of its size a limit may be missed
ROUNDS = 3  # choices of the draws that a chance leaves out


def _size(item: PathLimit | Chance) -> float:
    return max([abs(v) for v in item.range if np.isfinite(v) and v != 0] or [1.0])


@lru_cache(maxsize=32)
def _matrices(model: Model) -> ca.Function:
    """A, B and c of a linear model's right-hand side A x + B u + c, of (t, x, p, u)."""
    m = traced(model)
    return ca.Function("matrices", [m.t, m.x, m.p, m.u], [ca.jacobian(m.f, m.x), ca.jacobian(m.f, m.u), m.f])


class Case:
    """One patient of a snapshot as numbers: what the solvers' parameter vectors are made of."""

    def __init__(self, problem: Problem, snap: Snapshot, i: int) -> None:
        N, moves, goals = problem.stages, problem.moves, problem.goals
        row = lambda a, default: default if a is None else np.asarray(a, dtype=float)[i]  # noqa: E731
        wide = lambda a, count: np.broadcast_to(a, (N, count)) if np.ndim(a) == 1 else a  # noqa: E731
        self.x0, self.p = np.asarray(snap.states, dtype=float)[i], np.asarray(snap.parameters, dtype=float)[i]
        self.offset = row(snap.offset, np.zeros((problem.draws, len(problem.watched))))
        weights = row(snap.weights, np.ones(problem.draws))
        self.weights = weights / weights.sum()
        self.last = np.asarray(snap.last, dtype=float)[i]
        low = wide(row(snap.low, np.array([m.low for m in moves])), len(moves))
        high = wide(row(snap.high, np.array([m.high for m in moves])), len(moves))
        self.scale = row(snap.scale, np.array([m.high if m.scale is None else m.scale for m in moves]))
        self.reference = row(snap.reference, np.array([m.reference for m in moves]))
        target = row(snap.target, problem.targets())
        self.target = wide(target, len(goals))
        model = problem.model
        self.held = np.tile([*(v.typical for v in model.inputs), *(0.0 for _ in model.routes)], (N, 1)).astype(float)
        for name, values in snap.inputs.items():
            v = np.asarray(values, dtype=float)
            self.held[:, model.names("inputs").index(name)] = v[min(i, len(v) - 1)] if v.ndim == 2 else v
        self.time = float(np.broadcast_to(snap.time, len(snap))[i])
        self.low, self.high = self._bounds(problem, low, high)
        self._entries: np.ndarray | None = None

    def _bounds(self, problem: Problem, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the blocks in the moves' units, the first also within its largest change: (blocks, moves)."""
        first = problem.first_of[:-1]
        most = np.minimum.reduceat(high, first, axis=0)
        least = np.minimum(np.maximum.reduceat(low, first, axis=0), most)
        for a, move in enumerate(problem.moves):
            inner, outer = self.last[a] - move.largest_change, self.last[a] + move.largest_change
            if max(inner, least[0, a]) <= min(outer, most[0, a]):
                least[0, a], most[0, a] = max(inner, least[0, a]), min(outer, most[0, a])
            else:
                least[0, a] = most[0, a] = most[0, a] if self.last[a] > most[0, a] else least[0, a]
        return least, most

    def entries(self, problem: Problem) -> np.ndarray:
        """Propagator entries of each draw of a linear model, (draws, entries), by SciPy's matrix exponential."""
        S = system(problem.model)
        if not S.linear:
            return np.zeros((len(self.p), 0))
        if self._entries is None:
            n, nu = S.n, S.nu
            f, out = _matrices(problem.model), []
            rows, cols = S._pattern.get_triplet()
            for p in self.p:
                A, B, c = (np.array(v) for v in f(0.0, np.zeros(n), p, np.zeros(nu)))
                M = np.zeros((n + nu + 1, n + nu + 1))
                M[:n, :n], M[:n, n : n + nu], M[:n, -1:] = A, B, c
                out.append(expm(M * problem.interval)[rows, cols])
            self._entries = np.array(out)
        return self._entries


def cases(problem: Problem, snap: Snapshot) -> list[Case]:
    """Every patient of a snapshot as a case."""
    check(problem, snap)
    return [Case(problem, snap, i) for i in range(len(snap))]


class CasadiSolver:
    """What both back ends share: the stage, the objective of moves by the exact reading, chances, and the plan.

    Args:
        problem: what to solve.
        substeps: of the model; default the problem's, then `stable_substeps`.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        model = problem.model
        outputs = model.names("outputs")
        steps = stable_substeps(model, problem.interval) if problem.substeps is None else problem.substeps
        steps = 1 if system(model).linear else steps
        self.substeps, self.h = steps, problem.interval / steps
        columns = tuple(int(c) for c in problem.columns)
        watched = tuple(outputs.index(o) for o in problem.watched)
        self.expressions = e = expressions(model, columns, watched, steps)
        self.stage = ca.Function("stage", [e.s, e.x, e.p, e.u, e.k], [e.after, e.y])
        self.nc = len(problem.blocks) * len(problem.moves)
        self.items = problem.items

    # symbols ---------------------------------------------------------------------------------------------------------

    @cached_property
    def draw_symbols(self) -> list[ca.SX]:
        """One draw: states, parameters, propagator, offsets, weight."""
        e, p = self.expressions, self.problem
        sizes = (e.x.numel(), e.p.numel(), e.k.numel(), len(p.watched), 1)
        return [ca.SX.sym(n, s) for n, s in zip(("x0", "p", "k", "offset", "weight"), sizes)]

    @cached_property
    def common_symbols(self) -> list[ca.SX]:
        """What all draws share: known inputs, targets, scale, reference and last moves (both scaled), time."""
        p, count = self.problem, len(self.problem.moves)
        return [
            ca.SX.sym("held", p.stages, self.expressions.u.numel()),
            ca.SX.sym("target", p.stages, len(p.goals)),
            ca.SX.sym("scale", count),
            ca.SX.sym("reference", count),
            ca.SX.sym("last", count),
            ca.SX.sym("time"),
        ]

    def numbers(self, case: Case) -> tuple[list[Any], list[Any]]:
        """Values of the draws' symbols (columns: draws) and of the common ones."""
        draws = [case.x0.T, case.p.T, case.entries(self.problem).T, case.offset.T, case.weights[None]]
        common = [case.held, case.target, case.scale, case.reference / case.scale, case.last / case.scale, case.time]
        return draws, common

    def packed(self, case: Case) -> np.ndarray:
        """`numbers` one behind the other, column by column: CasADi takes one vector sooner than a dozen arrays."""
        draws, common = self.numbers(case)
        return np.concatenate([np.ravel(np.asarray(a, dtype=float), order="F") for a in (*draws, *common)])

    def unpacked(self) -> tuple[ca.MX, list[ca.MX], list[ca.MX]]:
        """The symbol of `packed`, and in it the draws' symbols (columns: draws) and the common ones."""
        shapes = [(a.numel(), self.problem.draws) for a in self.draw_symbols] + [a.shape for a in self.common_symbols]
        P = ca.MX.sym("P", sum(a * b for a, b in shapes))
        ends = np.cumsum([0, *(a * b for a, b in shapes)]).tolist()
        parts = [ca.reshape(a, *b) for a, b in zip(ca.vertsplit(P, ends), shapes)]
        return P, parts[: len(self.draw_symbols)], parts[len(self.draw_symbols) :]

    def inputs_of(self, v: Any, k: int) -> Any:
        """Inputs of stage k under scaled moves v (nc,)."""
        held, _, scale, *_ = self.common_symbols
        u = ca.SX(held[k, :].T)
        for a, column in enumerate(self.problem.columns):
            u[int(column)] = v[int(self.problem.block_of[k]) * len(self.problem.moves) + a] * scale[a]
        return u

    def residuals(self, y: Any, k: int, target: Any, weight: Any) -> list[Any]:
        """Square roots of the goals' terms at the end of stage k; y: watched outputs, offsets included."""
        out = []
        for g, goal in enumerate(self.problem.goals):
            r = y[self.problem.watched.index(goal.output)]
            factor = ca.sqrt(weight * (goal.terminal if k == self.problem.stages - 1 else 1.0))
            if goal.weight:
                out.append(factor * goal.weight**0.5 * (r - target[k, g]))
            if goal.low_weight:
                out.append(factor * goal.low_weight**0.5 * ca.fmax(0, goal.low - r))
            if goal.high_weight:
                out.append(factor * goal.high_weight**0.5 * ca.fmax(0, r - goal.high))
        return out

    def move_residuals(self, v: Any) -> list[Any]:
        """Square roots of what the moves themselves cost."""
        _, _, _, reference, last, _ = self.common_symbols
        p, out = self.problem, []
        for a, move in enumerate(p.moves):
            before = last[a]
            for c, length in enumerate(p.blocks):
                x = v[c * len(p.moves) + a]
                if move.weight:
                    out.append((move.weight * length) ** 0.5 * (x - reference[a]))
                if move.change_weight:
                    out.append(move.change_weight**0.5 * (x - before))
                before = x
        return out

    @cached_property
    def course(self) -> ca.Function:
        """One draw's outputs (stages, watched) and its share of the objective, by the exact reading."""
        v = ca.SX.sym("v", self.nc)
        x0, p, k_, offset, weight = self.draw_symbols
        time, target = self.common_symbols[5], self.common_symbols[1]
        x, ys, cost = x0, [], ca.SX(0)
        for k in range(self.problem.stages):
            x, y = self.stage(ca.vertcat(time + k * self.problem.interval, self.h), x, p, self.inputs_of(v, k), k_)
            y = y + offset
            ys.append(y.T)
            cost += ca.sumsqr(ca.vertcat(*self.residuals(y, k, target, weight), 0))
        return ca.Function("course", [v, *self.draw_symbols, *self.common_symbols], [ca.vertcat(*ys), cost])

    @cached_property
    def own_cost(self) -> ca.Function:
        """What the moves themselves cost."""
        v = ca.SX.sym("v", self.nc)
        return ca.Function(
            "own", [v, *self.common_symbols], [ca.sumsqr(ca.vertcat(*self.move_residuals(v), 0))], {"allow_free": False}
        )

    @cached_property
    def _evaluated(self) -> ca.Function:
        """Objective and outputs (stages, watched · draws) of scaled moves under `packed` numbers."""
        D, v = self.problem.draws, ca.MX.sym("v", self.nc)
        P, draws, common = self.unpacked()
        one = self.course if D == 1 else self.course.map(D)
        wide = lambda a: a if D == 1 else ca.repmat(a, 1, D)  # noqa: E731
        y, share = one(wide(v), *draws, *(wide(a) for a in common))
        return ca.Function("evaluated", [v, P], [self.own_cost(v, *common) + ca.sum2(share), y])

    def evaluate(self, case: Case, moves: np.ndarray) -> tuple[float, np.ndarray]:
        """Objective and outputs (draws, stages, watched) of moves (stages, moves), by CasADi and the exact reading."""
        p = self.problem
        cost, y = self._evaluated((moves[p.first_of[:-1]] / case.scale).ravel(), self.packed(case))
        return float(cost), np.array(y).reshape(p.stages, p.draws, -1).transpose(1, 0, 2)

    # solving ----------------------------------------------------------------------------------------------------------

    def optimise(self, case: Case, v: np.ndarray, on: np.ndarray) -> tuple[np.ndarray, bool, int]:
        """Scaled moves from a start; ``on`` (items, draws) says which items are enforced. Written by a back end."""
        raise NotImplementedError

    def solve(self, snapshot: Snapshot, warm: Plan | None = None, *, elapsed: float | None = None) -> Plan:
        """Plans of the snapshot's patients, as `realtime.RealTime.solve` (without deadline or faults)."""
        p = self.problem
        n, N, M = len(snapshot), p.stages, len(p.moves)
        if warm is not None and warm.moves.shape != (n, N, M):
            raise SolverError(f"the warm plan's moves have shape {warm.moves.shape}; {(n, N, M)} is meant")
        moves, outputs = np.full((n, N, M), np.nan), np.full((n, p.draws, N, len(p.watched)), np.nan)
        cost, violation, seconds = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
        chances = np.full((n, len(p.chances)), np.nan)
        status, iterations = np.full(n, int(Status.FAILED)), np.zeros(n, dtype=np.int64)
        for i, case in enumerate(cases(p, snapshot)):
            begin = clock.perf_counter()
            v = self._start(case, None if warm is None else warm.moves[i], p.renewed if elapsed is None else elapsed)
            got, ok = v, False
            on = np.zeros((len(self.items), p.draws), dtype=bool)
            on[: len(p.limits)] = True
            for _ in range(ROUNDS):
                got, ok, count = self.optimise(case, got, on)
                iterations[i] += count
                if not np.isfinite(got).all():
                    break
                plan = np.clip(got.reshape(-1, M) * case.scale, case.low, case.high)[p.block_of]
                f, y = self.evaluate(case, plan)
                if not np.isfinite(f):
                    break
                moves[i], outputs[i], cost[i] = plan, y, f
                chances[i], violation[i], more = self._judge(case, y, on)
                status[i] = int(Status.SOLVED if ok else Status.STALLED)
                feasible = violation[i] <= 10 * FEASIBLE * max([1.0, *(_size(item) for item in self.items)])
                if not feasible or any(chances[i] > [c.probability + 1e-9 for c in p.chances]):
                    status[i] = int(Status.INFEASIBLE)
                if not more:
                    break
            seconds[i] = clock.perf_counter() - begin
        residual = np.full(n, np.nan)
        return Plan(p, moves, outputs, cost, status, iterations, residual, violation, chances, seconds)

    def _start(self, case: Case, warm: np.ndarray | None, elapsed: float) -> np.ndarray:
        p = self.problem
        u = np.tile(case.reference, (p.stages, 1))
        if warm is not None and np.isfinite(warm).all():
            at = np.minimum(np.arange(p.stages) + elapsed / p.interval, p.stages - 1)
            u = np.stack([np.interp(at, np.arange(p.stages), warm[:, a]) for a in range(u.shape[1])], axis=1)
        blocks = np.add.reduceat(u, p.first_of[:-1], axis=0) / np.array(p.blocks)[:, None]
        starts = [np.clip(u, case.low, case.high) for u in (blocks, 0.25 * case.scale + 0 * blocks)]
        if warm is not None and blocks.any():
            return (starts[0] / case.scale).ravel()
        costs = [self.evaluate(case, u[p.block_of])[0] for u in starts]
        best = int(np.nanargmin(costs)) if np.isfinite(costs).any() else 0
        return (starts[best] / case.scale).ravel()

    def _judge(self, case: Case, y: np.ndarray, on: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Counted probabilities, the largest violation of what is enforced, and whether more was put into ``on``."""
        p, violation, more, chances = self.problem, 0.0, False, []
        for q, item in enumerate(self.items):
            a, b = p.window(item)
            low, high = item.range
            course = y[:, a:b, p.watched.index(item.output)]
            margin = np.minimum(course - low, high - course).min(axis=1)
            if on[q].any():
                violation = max(violation, float(-margin[on[q]].min()))
            if q >= len(p.limits):
                chance = p.chances[q - len(p.limits)]
                probability = float(case.weights[margin < -FEASIBLE * _size(item)].sum())
                chances.append(probability)
                if probability > chance.probability + 1e-9:
                    order = np.argsort(margin, kind="stable")
                    left_out = np.zeros(p.draws, dtype=bool)
                    total = 0.0
                    for d in order:
                        if total + case.weights[d] <= chance.probability + 1e-9:
                            total += case.weights[d]
                            left_out[d] = True
                    more = True
                    on[q] = ~left_out
        return np.array(chances), violation, more

    def limits_of(self, on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of every watched output at every stage of every draw, (draws, stages, watched)."""
        p = self.problem
        low = np.full((p.draws, p.stages, len(p.watched)), -np.inf)
        high = -low
        for q, item in enumerate(self.items):
            a, b = p.window(item)
            r, (lower, upper) = p.watched.index(item.output), item.range
            low[on[q], a:b, r] = np.maximum(low[on[q], a:b, r], lower)
            high[on[q], a:b, r] = np.minimum(high[on[q], a:b, r], upper)
        return low, high

    @cached_property
    def differences(self) -> ca.DM:
        """Differences of neighbouring blocks as rows, where a move is limited in them."""
        p, rows, M = self.problem, [], len(self.problem.moves)
        for a, move in enumerate(p.moves):
            if np.isfinite(move.largest_change):
                for c in range(1, len(p.blocks)):
                    row = np.zeros(self.nc)
                    row[c * M + a], row[(c - 1) * M + a] = 1.0, -1.0
                    rows.append(row)
        return ca.sparsify(ca.DM(np.array(rows).reshape(len(rows), self.nc)))

    def largest(self, case: Case) -> np.ndarray:
        """How large the `differences` may be (scaled)."""
        p = self.problem
        most = [m.largest_change / case.scale[a] for a, m in enumerate(p.moves) if np.isfinite(m.largest_change)]
        return np.repeat(np.array(most), len(p.blocks) - 1)
