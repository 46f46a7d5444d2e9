"""A plan simulated again before it is followed: over every draw, by the simulator, not by the optimiser's coarse steps.

The optimiser predicts with as few steps per stage as are stable. Here the same model is advanced by its own step (or a
finer one; linear models exactly), and what follows is counted: probabilities of each chance, misses of each limit, and
how far the optimiser's own prediction was off.
"""
# Compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.march import march_of, prepare
from ..pkpd.threads import share, slices
from .plan import Plan
from .problem import Problem
from .snapshot import Snapshot, check

__all__ = ["Verification", "courses", "verify"]

W = LANES


@dataclass(frozen=True, eq=False)
class Verification:
    """What the plans of n patients do, simulated accurately.

    Attributes:
        outputs: (n, draws, stages, watched) at the ends of the stages, offsets included.
        finite: (n,) whether all of that is finite.
        discrepancy: (n, watched) largest distance from the plan's own prediction over draws and stages.
        probability: (n, chances) weight of the draws in which each chance's event happens.
        violation: (n,) largest amount by which a path limit is missed in any draw, 0 where none is.
    """

    outputs: np.ndarray
    finite: np.ndarray
    discrepancy: np.ndarray
    probability: np.ndarray
    violation: np.ndarray


@jit
def _courses(first, last, kernel, propagator, outputs, h, rows_k, states, parameters, held, moves, columns, time,
             interval, D, Y):  # fmt: skip
    """Outputs Y (pairs, stages, outputs) of pairs (patient, draw), eight at once, blocks first … last − 1."""
    pairs, n = states.shape
    m, N, nu, ny = parameters.shape[1], held.shape[1], held.shape[2], Y.shape[2]
    s, x, p = np.zeros((2, W)), np.zeros((n, W)), np.zeros((m, W))
    u, k, out = np.zeros((nu, W)), np.zeros((max(1, rows_k), W)), np.zeros((ny, W))
    sa, xa, pa = s.ctypes.data, x.ctypes.data, p.ctypes.data
    ua, ka, oa = u.ctypes.data, k.ctypes.data, out.ctypes.data
    begin = np.zeros(W)
    for block in range(first, last):
        for lane in range(W):
            q = min(block * W + lane, pairs - 1)
            for j in range(n):
                x[j, lane] = states[q, j]
            for j in range(m):
                p[j, lane] = parameters[q, j]
        for lane in range(W):
            begin[lane] = time[min(min(block * W + lane, pairs - 1) // D, time.shape[0] - 1)]
        prepare(propagator, sa, pa, ka, h)
        for lane in range(W):
            s[1, lane] = h
        for stage in range(N):
            for lane in range(W):
                i = min(block * W + lane, pairs - 1) // D
                for j in range(nu):
                    u[j, lane] = held[min(i, held.shape[0] - 1), stage, j]
                for j in range(moves.shape[2]):
                    u[columns[j], lane] = moves[i, stage, j]
            for lane in range(W):
                s[0, lane] = begin[lane] + stage * interval
            call_kernel(kernel, sa, xa, pa, ua, ka, xa)
            for lane in range(W):
                s[0, lane] = begin[lane] + (stage + 1) * interval
            call_kernel(outputs, sa, xa, pa, ua, 0, oa)
            for lane in range(min(W, pairs - block * W)):
                for j in range(ny):
                    Y[block * W + lane, stage, j] = out[j, lane]


def verify(plan: Plan, snapshot: Snapshot, *, step: float | None = None, threads: int = 1) -> Verification:
    """Simulate every plan over the snapshot's draws.

    Args:
        plan: what was planned from the snapshot.
        snapshot: the patients the plans start from.
        step: longest RK4 step; default the model's own. (Linear models advance exactly.)
        threads: slices simulated at once.
    """
    return _counted(plan, snapshot, courses(plan.problem, snapshot, plan.moves, step=step, threads=threads))


def courses(
    problem: Problem, snapshot: Snapshot, given: np.ndarray, *, step: float | None = None, threads: int = 1
) -> np.ndarray:
    """What becomes of n patients under moves (n, stages, moves): (n, draws, stages, watched) at the stages' ends,
    offsets included. Arguments as of `verify`.
    """
    check(problem, snapshot)
    model, n, D, N = problem.model, len(snapshot), problem.draws, problem.stages
    how = march_of(model, problem.interval, step)
    typical = [*(i.typical for i in model.inputs), *(0.0 for _ in model.routes)]
    wide = any(np.ndim(v) == 2 and len(np.asarray(v)) > 1 for v in snapshot.inputs.values())
    held = np.empty((n if wide else 1, N, len(typical)))
    held[:] = typical
    for name, values in snapshot.inputs.items():
        held[:, :, model.names("inputs").index(name)] = values
    flat = lambda a: np.ascontiguousarray(np.asarray(a, dtype=float).reshape(n * D, -1))  # noqa: E731
    Y = np.full((n * D, N, len(model.outputs)), np.nan)
    arguments: tuple[Any, ...] = (
        how.kernel,
        how.propagator,
        how.outputs,
        how.h,
        how.rows_k,
        flat(snapshot.states),
        flat(snapshot.parameters),
        held,
        np.ascontiguousarray(given),
        problem.columns.astype(np.int64),
        np.atleast_1d(np.asarray(snapshot.time, dtype=float)),
        problem.interval,
        D,
        Y,
    )
    blocks = -(-n * D // W)
    bounds = slices(blocks, 4 * threads if threads > 1 else 1)
    share(lambda first, last: _courses(first, last, *arguments), bounds, threads)
    watched = [model.names("outputs").index(o) for o in problem.watched]
    y = Y[:, :, watched].reshape(n, D, N, len(watched))
    if snapshot.offset is not None:
        y = y + np.asarray(snapshot.offset)[:, :, None]
    return y


def _counted(plan: Plan, snapshot: Snapshot, y: np.ndarray) -> Verification:
    problem, n, D = plan.problem, len(y), plan.problem.draws
    weights = np.full((n, D), 1.0 / D) if snapshot.weights is None else np.asarray(snapshot.weights, dtype=float)
    weights = weights / weights.sum(axis=1, keepdims=True)
    finite = np.isfinite(y).reshape(n, -1).all(axis=1)
    violation, probability = np.zeros(n), np.zeros((n, len(problem.chances)))
    for q, item in enumerate(problem.items):
        a, b = problem.window(item)
        low, high = item.range
        course = y[:, :, a:b, problem.watched.index(item.output)]
        margin = np.minimum(course - low, high - course).min(axis=2)
        if q < len(problem.limits):
            violation = np.maximum(violation, (-margin).max(axis=1))
        else:  # what is not a number counts as an event
            probability[:, q - len(problem.limits)] = (weights * ~(margin >= 0)).sum(axis=1)
    off = np.abs(y - plan.outputs).max(axis=(1, 2)) if n else np.zeros((0, len(problem.watched)))
    return Verification(y, finite, off, probability, violation)
