"""One step of a block: exact propagator, RK4, Dormand–Prince 5(4), Rodas4. Each lane steps towards its own target."""
# No annotations: Numba infers the types, and every argument here is an address, an index or a float.

from __future__ import annotations

import numpy as np

from . import job as j
from . import stiff
from .calls import call_kernel, get, geti, put, puti
from .jit import jit
from .lanes import LANES

W = LANES
SLOTS = 4
SOLVE_ALPHA, SOLVE_D, SOLVE_A, SOLVE_C = stiff.ALPHA, stiff.D, stiff.A, stiff.C
GAMMA, STAGES = stiff.GAMMA, stiff.STAGES
factor, solve = stiff.factor, stiff.solve


@jit
def exact(J, x, new):
    """All lanes to their targets by the propagator; the last few steps' propagators are kept."""
    s, t, target, prop_h, rows = geti(J, j.S), geti(J, j.T), geti(J, j.TARGET), geti(J, j.PROP_H), geti(J, j.ROWS_PROP)
    for lane in range(W):
        put(s, lane, get(target, lane) - get(t, lane))
        put(t, lane, get(target, lane))
    slot = -1
    for c in range(SLOTS):
        same = True
        for lane in range(W):
            same = same and get(prop_h, c * W + lane) == get(s, lane)
        if same:
            slot = c
            break
    if slot < 0:
        ring = geti(J, j.RING)
        slot = geti(ring, 0) % SLOTS
        puti(ring, 0, slot + 1)
        call_kernel(geti(J, j.K_STEP), s, 0, geti(J, j.P), 0, 0, geti(J, j.PROP) + slot * rows * W * 8)
        for lane in range(W):
            put(prop_h, slot * W + lane, get(s, lane))
    call_kernel(geti(J, j.K_ADVANCE), s, x, geti(J, j.P), geti(J, j.U), geti(J, j.PROP) + slot * rows * W * 8, new)


@jit
def fixed(J, x, new):
    """One RK4 step in each lane, of the lane's own length."""
    s, t, target, h, left = geti(J, j.S), geti(J, j.T), geti(J, j.TARGET), geti(J, j.H), geti(J, j.LEFT)
    for lane in range(W):
        span = get(target, lane) - get(t, lane)
        if geti(left, lane) == 0 and span > 0.0:
            steps = max(1, int(np.ceil(span / get(geti(J, j.TOLERANCE), 1) * (1 - 1e-12))))
            puti(left, lane, steps)
            put(h, lane, span / steps)
        put(s, lane, get(t, lane))
        put(s, W + lane, get(h, lane) if geti(left, lane) > 0 else 0.0)
    call_kernel(geti(J, j.K_STEP), s, x, geti(J, j.P), geti(J, j.U), 0, new)
    for lane in range(W):
        steps = geti(left, lane)
        if steps > 0:
            puti(left, lane, steps - 1)
            put(t, lane, get(target, lane) if steps == 1 else get(t, lane) + get(h, lane))
        else:
            for i in range(geti(J, j.ROWS_X)):
                put(new, i * W + lane, get(x, i * W + lane))


@jit
def _choose(J, lane, x):
    """The step to try: the proposal, not beyond the target, and no crumb left behind it."""
    span = get(geti(J, j.TARGET), lane) - get(geti(J, j.T), lane)
    if geti(geti(J, j.DONE), lane) or span <= 0.0:
        return 0.0
    h, rtol = get(geti(J, j.H), lane), get(geti(J, j.TOLERANCE), 0)
    if h <= 0.0:  # Hairer's first guess, from the sizes of x and f
        d0, d1 = 0.0, 0.0
        for i in range(geti(J, j.ROWS_X)):
            v = abs(get(x, i * W + lane))
            scale = get(geti(J, j.ATOL), i) + rtol * v
            d0 = max(d0, v / scale)
            d1 = max(d1, abs(get(geti(J, j.FIRST), i * W + lane)) / scale)
        h = 0.01 * d0 / d1 if d0 > 1e-5 and d1 > 1e-5 else 1e-3 * span
        put(geti(J, j.H), lane, h)
    h = min(h, get(geti(J, j.TOLERANCE), 1))
    if h >= span:
        return span
    return 0.5 * span if 2.0 * h > span else h


@jit
def _judge(J, lane, h, x, new, error, order):
    """Accept or reject this lane's step by its error estimate; propose the next."""
    worst, rtol = 0.0, get(geti(J, j.TOLERANCE), 0)
    for i in range(geti(J, j.ROWS_X)):
        at = i * W + lane
        scale = get(geti(J, j.ATOL), i) + rtol * max(abs(get(x, at)), abs(get(new, at)))
        ratio = abs(get(error, at)) / scale
        worst = max(worst, ratio) if ratio < np.inf else np.inf
    factor = 5.0 if worst < 1e-4 else 0.9 * worst ** (-1.0 / order)
    factor = min(5.0, max(0.2, factor))
    t, target, proposed = geti(J, j.T), get(geti(J, j.TARGET), lane), get(geti(J, j.H), lane)
    if worst <= 1.0:
        now = get(t, lane)
        put(t, lane, target if h >= target - now else now + h)
        # a step cut short by an event says little about the next: keep the longer proposal
        put(geti(J, j.H), lane, max(proposed, h * factor) if h < proposed else h * factor)
        return True
    put(geti(J, j.H), lane, h * min(factor, 0.9))
    return False


@jit
def adaptive(J, x, new):
    """One Dormand–Prince attempt in each lane; the last stage serves as the next first one where nothing jumped."""
    s, p, u, out, first, fresh = (
        geti(J, j.S),
        geti(J, j.P),
        geti(J, j.U),
        geti(J, j.OUT),
        geti(J, j.FIRST),
        geti(J, j.FRESH),
    )
    n = geti(J, j.ROWS_X)
    jumped = False
    for lane in range(W):
        put(s, lane, get(geti(J, j.T), lane))
        jumped = jumped or geti(fresh, lane) == 1
    if jumped:
        call_kernel(geti(J, j.K_RHS), s, x, p, u, 0, out)
        for lane in range(W):
            if geti(fresh, lane) == 1:
                puti(fresh, lane, 0)
                put(geti(J, j.H), lane, 0.0)
                for i in range(n):
                    put(first, i * W + lane, get(out, i * W + lane))
    for lane in range(W):
        put(s, W + lane, _choose(J, lane, x))
    call_kernel(geti(J, j.K_STEP), s, x, p, u, first, out)
    for i in range(n * W):
        put(new, i, get(out, i))
    for lane in range(W):
        h = get(s, W + lane)
        if h > 0.0 and _judge(J, lane, h, x, new, out + n * W * 8, 5.0):
            for i in range(n):
                put(first, i * W + lane, get(out, (2 * n + i) * W + lane))
        else:
            for i in range(n):
                put(new, i * W + lane, get(x, i * W + lane))


@jit
def stiff_step(J, x, new):
    """One Rodas4 attempt in each lane."""
    s, p, u, out, first, b, n = (
        geti(J, j.S),
        geti(J, j.P),
        geti(J, j.U),
        geti(J, j.OUT),
        geti(J, j.FIRST),
        geti(J, j.B),
        geti(J, j.ROWS_X),
    )
    stages, scratch = geti(J, j.STAGES), geti(J, j.SCRATCH)
    for lane in range(W):
        put(s, lane, get(geti(J, j.T), lane))
    call_kernel(geti(J, j.K_STEP), s, x, p, u, 0, out)  # f, f_t, Jacobian
    for lane in range(W):
        for i in range(n):
            put(first, i * W + lane, get(out, i * W + lane))
            put(b, i * W + lane, get(out, (n + i) * W + lane))
        if geti(geti(J, j.FRESH), lane) == 1:
            put(geti(J, j.H), lane, 0.0)
            puti(geti(J, j.FRESH), lane, 0)
        h = _choose(J, lane, x)
        put(s, W + lane, h)
        if h > 0.0:
            lu = geti(J, j.LU) + lane * n * n * 8
            for c in range(n):
                for r in range(n):
                    put(lu, r * n + c, -get(out, (2 * n + c * n + r) * W + lane))
                put(lu, c * n + c, get(lu, c * n + c) + 1.0 / (GAMMA * h))
            if not factor(lu, geti(J, j.PIVOTS) + lane * n * 8, n):
                put(lu, n * n - 1, np.nan)  # the error estimate is then NaN and the step rejected
    for stage in range(STAGES):
        for lane in range(W):
            put(s, lane, get(geti(J, j.T), lane) + SOLVE_ALPHA[stage] * get(s, W + lane))
        for at in range(n * W):
            v = get(x, at)
            for i in range(stage):
                v += SOLVE_A[stage, i] * get(stages, i * n * W + at)
            put(new, at, v)
        call_kernel(geti(J, j.K_RHS), s, new, p, u, 0, out)
        for lane in range(W):
            h = get(s, W + lane)
            for i in range(n):
                v = 0.0
                if h > 0.0:
                    v = get(out, i * W + lane) + h * SOLVE_D[stage] * get(b, i * W + lane)
                    for k in range(stage):
                        v += SOLVE_C[stage, k] / h * get(stages, (k * n + i) * W + lane)
                put(scratch, i, v)
            if h > 0.0:
                solve(geti(J, j.LU) + lane * n * n * 8, geti(J, j.PIVOTS) + lane * n * 8, scratch, n)
            for i in range(n):
                put(stages, (stage * n + i) * W + lane, get(scratch, i))
    for at in range(n * W):
        put(new, at, get(new, at) + get(stages, 5 * n * W + at))
    for lane in range(W):
        h = get(s, W + lane)
        if not (h > 0.0 and _judge(J, lane, h, x, new, stages + 5 * n * W * 8, 4.0)):
            for i in range(n):
                put(new, i * W + lane, get(x, i * W + lane))
