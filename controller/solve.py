"""The real-time solve of one patient: hard limits and chances around Gauss-Newton, the best iterate, what is written.

Hard path limits stand in an augmented Lagrangian. A chance is met by enforcing its threshold, in the same way, on all
draws but the worst ones, whose weight may be up to its probability.
"""
# Compiled functions carry no annotations: Numba infers the types. f, b, w are Fixed, Batch, Work; i is the patient.

from __future__ import annotations

import numpy as np

from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from .horizon import beyond, costs, keep, load, roll, spread
from .newton import clock, descend, start

__all__ = ["solve_slice"]

W = LANES
SOLVED, STALLED, ITERATIONS, LATE, INFEASIBLE, NONFINITE, FAILED = range(7)  # `plan.Status`
FAULT_FAIL, FAULT_LATE = 1, 2  # `realtime.Fault`
OUTER = 25  # updates of the multipliers
ROUNDS = 3  # choices of the draws that a chance leaves out
GROWTH, STEEPEST = 10.0, 1e6  # of the penalty's weight, and how far it may grow


@jit
def _renew(f, b, w, i, at, update):
    """How far the items are from their optimality (in units of their tolerance); with ``update``, new multipliers."""
    which, lane = at[0], at[1]
    offset = b.offset[min(i, b.offset.shape[0] - 1)]
    worst = 0.0
    for item in range(f.item_row.shape[0]):
        r, farthest = f.item_row[item], 0.0
        for d in range(f.D):
            if not w.on[item, d]:
                continue
            block, place = (0, lane) if f.D == 1 else (d // W, d % W)
            for k in range(f.window[item, 0], f.window[item, 1]):
                y = w.Z[which, block, k + 1, f.n + r, place] + offset[d, r]
                over = beyond(f, w, item, d, k, y)
                farthest = max(farthest, abs(over - w.duals[d, k, item] / w.rho[item]))
                if update:
                    w.duals[d, k, item] = w.rho[item] * over
        worst = max(worst, farthest / f.items[item, 3])
    return worst


@jit
def _margins(f, b, w, i, at, item):
    """Least distance of an item's output from its limits over its window (below 0: beyond), by draw, into w.margin."""
    which, lane = at[0], at[1]
    offset, r = b.offset[min(i, b.offset.shape[0] - 1)], f.item_row[item]
    for d in range(f.D):
        block, place = (0, lane) if f.D == 1 else (d // W, d % W)
        w.margin[d] = np.inf
        for k in range(f.window[item, 0], f.window[item, 1]):
            y = w.Z[which, block, k + 1, f.n + r, place] + offset[d, r]
            w.margin[d] = min(w.margin[d], y - f.items[item, 0], f.items[item, 1] - y)


@jit
def _probability(f, b, w, i, at, item):
    """Weight of the draws in which the event of a chance happens (w.margin holds the margins)."""
    _margins(f, b, w, i, at, item)
    weights, total = b.weights[min(i, b.weights.shape[0] - 1)], 0.0
    for d in range(f.D):
        if w.margin[d] < -f.items[item, 3]:
            total += weights[d]
    return total


@jit
def _enforce(f, b, w, i, at):
    """Enforce every chance that is not met on all draws but the worst. Returns whether anything changed."""
    changed = False
    weights = b.weights[min(i, b.weights.shape[0] - 1)]
    for item in range(f.item_row.shape[0]):
        c = f.chance[item]
        if c < 0 or _probability(f, b, w, i, at, item) <= f.alpha[c] + 1e-9:
            continue
        changed = True
        for d in range(f.D):  # insertion sort: the worst margin first
            j = d
            while j > 0 and w.margin[w.order[j - 1]] > w.margin[d]:
                w.order[j] = w.order[j - 1]
                j -= 1
            w.order[j] = d
        left_out = 0.0
        for j in range(f.D):
            d = w.order[j]
            free = left_out + weights[d] <= f.alpha[c] + 1e-9
            if free:
                left_out += weights[d]
                for k in range(f.N):
                    w.duals[d, k, item] = 0.0
            w.on[item, d] = not free
    return changed


@jit
def _reset_items(f, b, w, i):
    """Path limits on, chances off; multipliers of the last plan, shifted by whole stages."""
    whole = int(f.shift + 0.5)
    have = b.warm_duals.shape[0] > 0
    for item in range(f.item_row.shape[0]):
        w.rho[item] = f.items[item, 2]
        for d in range(f.D):
            w.on[item, d] = f.chance[item] < 0
            for k in range(f.N):
                w.duals[d, k, item] = 0.0
                if have and w.on[item, d]:
                    dual = b.warm_duals[i, d, min(k + whole, f.N - 1), item]
                    w.duals[d, k, item] = dual if np.isfinite(dual) else 0.0


@jit
def _judge(f, b, w, i, at):
    """``at`` again, after multipliers or enforced items changed: the same course, its merit and violation anew."""
    lane = at[1]
    for j in range(f.nb * f.nd):
        w.V[lane, j] = w.v[j]
    cost, violation = costs(f, b, w, i, at[0], W)
    if f.D == 1:
        return at[0], lane, w.merit[lane], w.merit[lane] - w.acc[1, lane], w.acc[2, lane]
    return at[0], lane, w.merit[0], cost, violation


@jit
def _better(violation, cost, best_violation, best_cost, feasible):
    """Whether an iterate is better: less violation where limits are missed, else less cost."""
    a, c = max(violation, feasible), max(best_violation, feasible)
    return a < c or (a == c and cost < best_cost)


@jit
def _optimise(f, b, w, i, iterations, tolerance, deadline, time):
    """One patient from the starts to the end. Returns status, iterations, residual, ``at`` of the best (in w.best)."""
    nc, items = f.nb * f.nd, f.item_row.shape[0]
    at = start(f, b, w, i, time)
    if not np.isfinite(at[2]):
        return NONFINITE, 0, np.inf, at
    feasible = 0.0
    for item in range(items):
        feasible = max(feasible, f.items[item, 3])
    done, status, residual = 0, SOLVED, np.inf
    for turn in range(ROUNDS + 1):
        best_violation, best_cost = np.inf, np.inf
        before = np.inf
        for _ in range(OUTER):
            status, done, residual, at = descend(f, b, w, i, at, done, iterations, tolerance, deadline, time)
            if _better(at[4], at[3], best_violation, best_cost, feasible):
                best_violation, best_cost = at[4], at[3]
                for j in range(nc):
                    w.best[j] = w.v[j]
            if items == 0 or status == LATE or status == ITERATIONS:  # noqa: SIM109 (Numba)
                break
            off = _renew(f, b, w, i, at, True)
            if off <= 1.0:
                break
            steep = False
            if off > 0.25 * before:
                steep = True
                for item in range(items):
                    if w.rho[item] < STEEPEST * f.items[item, 2]:
                        w.rho[item] *= GROWTH
                        steep = False
            before = off
            if steep:
                status = INFEASIBLE
                break
            at = _judge(f, b, w, i, at)
        if items > 0 and best_violation > feasible and status <= STALLED:
            status = INFEASIBLE
        stop = items == 0 or status == LATE or status == ITERATIONS
        if stop or turn == ROUNDS or not _enforce(f, b, w, i, at):
            break
        at = _judge(f, b, w, i, at)
    return status, done, residual, at


@jit
def _write(f, b, w, i, status, at, time, out):
    """The best iterate's moves and courses; NaN where there is none. Returns the final status."""
    moves, outputs, numbers, probability, duals = out
    for item in range(f.item_row.shape[0]):
        for d in range(f.D):
            for k in range(f.N):
                duals[i, d, k, item] = w.duals[d, k, item]
    if status >= NONFINITE:
        for k in range(f.N):
            for m in range(f.nd):
                moves[i, k, m] = np.nan
            for d in range(f.D):
                for r in range(f.ny):
                    outputs[i, d, k, r] = np.nan
        for c in range(f.alpha.shape[0]):
            probability[i, c] = np.nan
        numbers[i, 0] = np.nan
        numbers[i, 2] = np.nan
        return status
    lows, highs = b.low[min(i, b.low.shape[0] - 1)], b.high[min(i, b.high.shape[0] - 1)]
    keep(f, w, w.best)
    for j in range(f.nb * f.nd):
        w.V[0, j] = w.best[j]
    spread(f, w, w.best)
    roll(f, w, 0, time)
    cost, violation = costs(f, b, w, i, 0, 1)
    at = (0, 0, w.merit[0], cost, violation)
    for m in range(f.nd):
        before, change = b.last[i, m], f.moves[m, 2]
        for k in range(f.N):  # exactly: scaling and unscaling may round
            a = w.best[f.block_of[k] * f.nd + m] * w.scale[m]
            a = min(max(min(max(a, before - change), before + change), lows[k, m]), highs[k, m])
            moves[i, k, m] = before = a
    offset = b.offset[min(i, b.offset.shape[0] - 1)]
    for d in range(f.D):
        for k in range(f.N):
            for r in range(f.ny):
                outputs[i, d, k, r] = w.Z[0, d // W, k + 1, f.n + r, d % W] + offset[d, r]
    for item in range(f.item_row.shape[0]):
        c = f.chance[item]
        if c >= 0:
            probability[i, c] = _probability(f, b, w, i, at, item)
            if status <= STALLED and probability[i, c] > f.alpha[c] + 1e-9:
                status = INFEASIBLE
    numbers[i, 0], numbers[i, 2] = cost, max(violation, 0.0)
    return status


@jit
def solve_slice(f, b, w, first, last, iterations, tolerance, seconds, out, ends):
    """Patients first … last − 1.

    ``out`` is (moves, outputs, numbers, probability, duals); numbers are cost, residual, violation, seconds; ``ends``
    status and iterations.
    """
    numbers = out[2]
    for i in range(first, last):
        begin = clock(f, w)
        deadline = begin + seconds
        if b.fault[i] == FAULT_LATE:
            deadline = -1.0
        time = b.time[min(i, b.time.shape[0] - 1)]
        status, done, residual, at = NONFINITE, 0, np.inf, (0, 0, np.inf, np.inf, np.inf)
        if load(f, b, w, i) and b.fault[i] != FAULT_FAIL:
            _reset_items(f, b, w, i)
            for j in range(f.nb * f.nd):
                w.lam[j] = 0.0
            status, done, residual, at = _optimise(f, b, w, i, iterations, tolerance, deadline, time)
        if b.fault[i] == FAULT_FAIL:
            status = FAILED
        ends[i, 0] = _write(f, b, w, i, status, at, time, out)
        ends[i, 1] = done
        numbers[i, 1] = residual
        numbers[i, 3] = clock(f, w) - begin
