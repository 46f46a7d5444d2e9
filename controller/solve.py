"""The real-time solve of one patient: hard limits and chances around Gauss-Newton, the best iterate, what is written.

Hard path limits stand in an augmented Lagrangian. A chance is met by enforcing its threshold, in the same way, on all
draws but the worst ones, whose weight may be up to its probability.
"""
# Compiled functions carry no annotations: Numba infers the types. J is the table's address.

from __future__ import annotations

import numpy as np

from ..pkpd.calls import call_kernel, geti, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import memory as m
from .horizon import beyond, keep, output, roll, spread
from .memory import cube, imat, ivec, mat, vec
from .newton import at, clock, descend, judge, put_at

__all__ = ["enforce", "solve_slice", "write"]

W = LANES
SOLVED, STALLED, ITERATIONS, LATE, INFEASIBLE, NONFINITE, FAILED = range(7)  # `plan.Status`
FAULT_FAIL, FAULT_LATE = 1, 2  # `realtime.Fault`
OUTER = 25  # updates of the multipliers
ROUNDS = 3  # choices of the draws that a chance leaves out
GROWTH, STEEPEST = 10.0, 1e6  # of the penalty's weight, and how far it may grow
ENOUGH = 1e-9  # rounding of summed weights


@jit
def _views(J):
    """Courses and offsets, as `output` reads them."""
    n, ny, N, D = geti(J, m.STATES), geti(J, m.WATCHED), geti(J, m.STAGES), geti(J, m.DRAWS)
    z = cube(J, m.Z, 2 * geti(J, m.LANE_BLOCKS) * (N + 1), n + ny, W)
    return z, mat(J, m.B_OFFSET, D, ny)


@jit
def _reset(J):
    """Path limits on, chances off; multipliers of the last plan, shifted by whole stages."""
    N, D, items = geti(J, m.STAGES), geti(J, m.DRAWS), geti(J, m.ITEMS)
    item, chance, rho = mat(J, m.ITEM, items, 4), ivec(J, m.CHANCE, items), vec(J, m.RHO, items)
    on, duals = imat(J, m.ON, items, D), cube(J, m.DUALS, D, N, items)
    have, whole = geti(J, m.WARM_DUALS) != 0, int(vec(J, m.REALS, m.NUMBERS)[m.SHIFT] + 0.5)
    last = cube(J, m.B_WARM_DUALS, D, N, items)
    for q in range(items):
        rho[q] = item[q, 2]
        for d in range(D):
            on[q, d] = 1 if chance[q] < 0 else 0
            for k in range(N):
                duals[d, k, q] = 0.0
                if have and chance[q] < 0 and np.isfinite(last[d, min(k + whole, N - 1), q]):
                    duals[d, k, q] = last[d, min(k + whole, N - 1), q]


@jit
def _renew(J, here):
    """New multipliers at the current course; how far the items are from optimality, in units of their tolerance."""
    N, D, items = geti(J, m.STAGES), geti(J, m.DRAWS), geti(J, m.ITEMS)
    item, item_row, window = mat(J, m.ITEM, items, 4), ivec(J, m.ITEM_ROW, items), imat(J, m.WINDOW, items, 2)
    on, duals, rho = imat(J, m.ON, items, D), cube(J, m.DUALS, D, N, items), vec(J, m.RHO, items)
    z, offset = _views(J)
    worst = 0.0
    for q in range(items):
        for d in range(D):
            if on[q, d] != 0:
                for k in range(window[q, 0], window[q, 1]):
                    y = output(J, z, offset, here[0], d, here[1], k, item_row[q])
                    over = beyond(item[q], y, duals[d, k, q], rho[q])
                    worst = max(worst, abs(over - duals[d, k, q] / rho[q]) / item[q, 3])
                    duals[d, k, q] = rho[q] * over
    return worst


@jit
def _probability(J, here, q):
    """Weight of the draws in which a chance's event happens; the draws' least distances from it into MARGIN."""
    items, D = geti(J, m.ITEMS), geti(J, m.DRAWS)
    item, window, r = mat(J, m.ITEM, items, 4), imat(J, m.WINDOW, items, 2), ivec(J, m.ITEM_ROW, items)[q]
    margin, weights = vec(J, m.MARGIN, D), vec(J, m.B_WEIGHTS, D)
    z, offset = _views(J)
    total = 0.0
    for d in range(D):
        least = np.inf
        for k in range(window[q, 0], window[q, 1]):
            y = output(J, z, offset, here[0], d, here[1], k, r)
            least = min(least, y - item[q, 0], item[q, 1] - y)
        margin[d] = least
        if not least >= -item[q, 3]:
            total += weights[d]
    return total


@jit
def enforce(J):
    """Enforce every chance that is not met on all draws but the worst. ANSWER says whether there was one."""
    here = at(J)
    N, D, items = geti(J, m.STAGES), geti(J, m.DRAWS), geti(J, m.ITEMS)
    chance, alpha = ivec(J, m.CHANCE, items), vec(J, m.ALPHA, geti(J, m.CHANCES))
    margin, weights, order = vec(J, m.MARGIN, D), vec(J, m.B_WEIGHTS, D), ivec(J, m.ORDER, D)
    on, duals = imat(J, m.ON, items, D), cube(J, m.DUALS, D, N, items)
    changed = False
    for q in range(items):
        c = chance[q]
        if c < 0 or _probability(J, here, q) <= alpha[c] + ENOUGH:
            continue
        changed = True
        for d in range(D):  # insertion sort: the worst margin first
            j = d
            while j > 0 and margin[order[j - 1]] > margin[d]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = d
        left_out = 0.0
        for j in range(D):
            d = order[j]
            if left_out + weights[d] <= alpha[c] + ENOUGH:
                left_out += weights[d]
                on[q, d] = 0
                for k in range(N):
                    duals[d, k, q] = 0.0
            else:
                on[q, d] = 1
    puti(J, m.ANSWER, 1 if changed else 0)


@jit
def _again(J, here):
    """``here`` again after multipliers or enforced items changed: the same course, its merit and violation anew."""
    which, lane = here[0], here[1]
    nc = geti(J, m.BLOCKS) * geti(J, m.MOVES)
    v, V, merit, acc = vec(J, m.NOW, nc), mat(J, m.V, W, nc), vec(J, m.MERIT, W), mat(J, m.ACC, 3, W)
    for j in range(nc):
        V[lane, j] = v[j]
    judge(J, which, W)
    if geti(J, m.DRAWS) == 1:
        return which, lane, merit[lane], merit[lane] - acc[1, lane], acc[2, lane]
    reals = vec(J, m.REALS, m.NUMBERS)
    return which, lane, merit[0], reals[m.COST], reals[m.VIOLATION]


@jit
def _hold(J, status, here, done, residual, iterations, tolerance, deadline):
    """Around `descend`: multipliers until every enforced item holds. The best iterate stands in BEST."""
    nc, items = geti(J, m.BLOCKS) * geti(J, m.MOVES), geti(J, m.ITEMS)
    v, best = vec(J, m.NOW, nc), vec(J, m.BEST, nc)
    item, rho = mat(J, m.ITEM, items, 4), vec(J, m.RHO, items)
    feasible = 0.0
    for q in range(items):
        feasible = max(feasible, item[q, 3])
    best_violation, best_cost, before = np.inf, np.inf, np.inf
    for _ in range(OUTER):
        status, done, residual, here = descend(J, here, done, iterations, tolerance, deadline)
        violation = max(here[4], feasible)  # less violation where limits are missed, else less cost
        if violation < best_violation or (violation == best_violation and here[3] < best_cost):
            best_violation, best_cost = violation, here[3]
            for j in range(nc):
                best[j] = v[j]
        if items == 0 or status >= ITERATIONS:
            break
        off = _renew(J, here)
        if off <= 1.0:
            break
        if off > 0.25 * before:
            steep = True
            for q in range(items):
                if rho[q] < STEEPEST * item[q, 2]:
                    rho[q] *= GROWTH
                    steep = False
            if steep:
                break
        before = off
        here = _again(J, here)
    if items > 0 and status <= STALLED and best_violation > feasible:
        status = INFEASIBLE
    return status, done, residual, here


@jit
def _optimise(J, iterations, tolerance, deadline):
    """One patient from the starts to the end. Returns status, iterations, residual; the best moves stand in BEST."""
    call_kernel(geti(J, m.DO_START), J, 0, 0, 0, 0, 0)
    here = at(J)
    if not np.isfinite(here[2]):
        return NONFINITE, 0, np.inf
    status, done, residual = SOLVED, 0, np.inf
    for _ in range(ROUNDS):
        status, done, residual, here = _hold(J, status, here, done, residual, iterations, tolerance, deadline)
        put_at(J, here)
        if geti(J, m.CHANCES) == 0 or (status >= ITERATIONS and status <= LATE):
            break
        call_kernel(geti(J, m.DO_ENFORCE), J, 0, 0, 0, 0, 0)
        if geti(J, m.ANSWER) == 0:
            break
        here = _again(J, here)
    return status, done, residual


@jit
def _nothing(J):
    """No plan: NaN everywhere."""
    N, D, ny, moves = geti(J, m.STAGES), geti(J, m.DRAWS), geti(J, m.WATCHED), geti(J, m.MOVES)
    for slot, count in (
        (m.B_MOVES, N * moves),
        (m.B_OUTPUTS, D * N * ny),
        (m.B_NUMBERS, 3),
        (m.B_PROBABILITY, geti(J, m.CHANCES)),
        (m.B_DUALS, D * N * geti(J, m.ITEMS)),
    ):
        values = vec(J, slot, count)
        for j in range(count):
            values[j] = np.nan


@jit
def write(J, status):
    """The best moves, their courses, cost, violation and probabilities; ANSWER is the final status."""
    if status >= NONFINITE:
        _nothing(J)
        puti(J, m.ANSWER, status)
        return
    here = at(J)
    N, D, ny, moves = geti(J, m.STAGES), geti(J, m.DRAWS), geti(J, m.WATCHED), geti(J, m.MOVES)
    nc, items = geti(J, m.BLOCKS) * moves, geti(J, m.ITEMS)
    best, V, block_of = vec(J, m.BEST, nc), mat(J, m.V, W, nc), ivec(J, m.BLOCK_OF, N)
    v, known = vec(J, m.NOW, nc), True
    for j in range(nc):
        known = known and best[j] == v[j]
    if known:  # the best course is the current one
        here = _again(J, here)
    else:
        keep(J, best)
        for j in range(nc):
            V[0, j] = best[j]
        spread(J, best)
        roll(J, 0)
        judge(J, 0, 1)
        reals = vec(J, m.REALS, m.NUMBERS)
        here = (0, 0, np.inf, reals[m.COST], reals[m.VIOLATION])
    given, lows, highs = vec(J, m.B_LAST, moves), mat(J, m.B_LOW, N, moves), mat(J, m.B_HIGH, N, moves)
    move, scale, plan = mat(J, m.MOVE, moves, 3), vec(J, m.SCALE, moves), mat(J, m.B_MOVES, N, moves)
    for a in range(moves):
        before, change = given[a], move[a, 2]
        for k in range(N):  # exactly: scaling and unscaling may round
            u = min(max(best[block_of[k] * moves + a] * scale[a], before - change), before + change)
            before = min(max(u, lows[k, a]), highs[k, a])
            plan[k, a] = before
    z, offset = _views(J)
    outputs = cube(J, m.B_OUTPUTS, D, N, ny)
    for d in range(D):
        for k in range(N):
            for r in range(ny):
                outputs[d, k, r] = output(J, z, offset, here[0], d, here[1], k, r)
    chance, probability = ivec(J, m.CHANCE, items), vec(J, m.B_PROBABILITY, geti(J, m.CHANCES))
    alpha = vec(J, m.ALPHA, geti(J, m.CHANCES))
    for q in range(items):
        c = chance[q]
        if c >= 0:
            probability[c] = _probability(J, here, q)
            if status <= STALLED and probability[c] > alpha[c] + ENOUGH:
                status = INFEASIBLE
    duals, kept = vec(J, m.DUALS, D * N * items), vec(J, m.B_DUALS, D * N * items)
    for j in range(D * N * items):
        kept[j] = duals[j]
    numbers = vec(J, m.B_NUMBERS, 4)
    numbers[0], numbers[2] = here[3], max(here[4], 0.0)
    puti(J, m.ANSWER, status)


@jit
def solve_slice(J, first, last, iterations, tolerance, seconds):
    """Patients first … last − 1 of the table's batch."""
    for i in range(first, last):
        begin = clock(J)
        call_kernel(geti(J, m.DO_LOAD), J, i, 0, 0, 0, 0)
        fault = ivec(J, m.B_FAULT, 1)[0]
        vec(J, m.REALS, m.NUMBERS)[m.TIME] = vec(J, m.B_TIME, 1)[0]
        deadline = -1.0 if fault == FAULT_LATE else begin + seconds
        status, done, residual = NONFINITE, 0, np.inf
        if fault == FAULT_FAIL:
            status = FAILED
        elif geti(J, m.ANSWER) != 0:
            _reset(J)
            status, done, residual = _optimise(J, iterations, tolerance, deadline)
        call_kernel(geti(J, m.DO_WRITE), J, status, 0, 0, 0, 0)
        numbers, ends = vec(J, m.B_NUMBERS, 4), ivec(J, m.B_ENDS, 2)
        numbers[1] = residual
        numbers[3] = clock(J) - begin
        ends[0], ends[1] = geti(J, m.ANSWER), done
