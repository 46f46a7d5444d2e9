"""The event loop: blocks of patients through their doses, observations and resets.

Each block holds ``LANES`` patients. Every pass of the loop does two things: lanes that have reached their next event
apply it, then all lanes take one step (exact propagator, RK4, Dormand–Prince or Rodas4) towards their own next event.
Lanes keep their own time, so patients with quite different schedules share a block, and no lane's numbers depend on
its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import stiff
from .calls import call_kernel
from .jit import jit
from .lanes import LANES

W = LANES
EXACT, RK4, ADAPTIVE, STIFF = 0, 1, 2, 3
OBSERVE, BOLUS, INFUSE, RESET, SEGMENT, SET_STATE, ADD_STATE, INPUT, SNAPSHOT = range(9)
FIXED_DURATION, FIXED_RATE, MODEL_DURATION, MODEL_RATE = range(4)
OK, NOT_FINITE, STEP_UNDERFLOW, QUEUE_FULL, BAD_ROUTE = range(5)
P_BOLUS, P_START, P_STOP = range(3)
SLOTS = 4
MAX_STEPS = 2_000_000

SOLVE_ALPHA, SOLVE_D, SOLVE_A, SOLVE_C = stiff.ALPHA, stiff.D, stiff.A, stiff.C
GAMMA = stiff.GAMMA


class Plan(NamedTuple):
    """What is run: method, sizes (see `pkpd.system`), kernel addresses."""

    method: int
    n: int  # rows of the state, integrals included
    n_model: int  # rows of the model's own states
    m: int
    nu: int
    ny: int
    directions: int
    inputs: int
    rows_propagator: int
    queue: int  # capacity for doses under way
    k_rhs: int
    k_outputs: int
    k_step: int  # rk4, dopri5, jacobian or propagator
    k_advance: int
    rtol: float
    h_max: float  # RK4's step; an upper bound for the adaptive ones


class Events(NamedTuple):
    """Schedules, one after another; schedule s is ``start[s]:start[s + 1]``, in time order."""

    start: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    route: np.ndarray
    amount: np.ndarray
    extra: np.ndarray  # duration or rate of an infusion
    mode: np.ndarray
    elapsed: np.ndarray  # how long ago a dose of a steady-state past was given
    index: np.ndarray  # row of the observation, snapshot, segment or table this event speaks of


class People(NamedTuple):
    """One row per patient (or per draw): which schedule, which parameters, where the results go."""

    schedule: np.ndarray
    parameters: np.ndarray  # (segments, rows_p)
    segment: np.ndarray  # first segment of each patient
    x0: np.ndarray  # (patients, rows_x)
    table: np.ndarray  # states to set (steady state), (entries, rows_x)
    table_base: np.ndarray
    t0: np.ndarray
    y_base: np.ndarray
    snapshot_base: np.ndarray


class Lanes(NamedTuple):
    """Working memory of one thread; allocated by the caller, who thereby keeps it alive."""

    s: np.ndarray  # (2, W): t, h
    x: np.ndarray  # (2, rows_x, W)
    p: np.ndarray
    u: np.ndarray
    out: np.ndarray  # (max(3 rows_x, rows_y), W)
    first: np.ndarray  # (rows_x, W): Dormand–Prince's first stage
    prop: np.ndarray  # (SLOTS, rows_propagator, W)
    prop_h: np.ndarray  # (SLOTS, W)
    t: np.ndarray  # (W,) floats: time, target, proposed step
    target: np.ndarray
    h: np.ndarray
    integer: np.ndarray  # (9, W): event, end, done, fresh, queue length, observing, patient, steps left, cache slot
    active: np.ndarray  # (routes, W) infusions under way
    q_time: np.ndarray  # (queue, W)
    q_kind: np.ndarray
    q_route: np.ndarray
    q_amount: np.ndarray
    q_stop: np.ndarray
    q_da: np.ndarray  # (queue, K, W) derivative of amount or rate
    q_dt: np.ndarray  # derivative of the event's time
    q_ds: np.ndarray  # derivative of the stop
    scratch: np.ndarray  # (n,)
    M: np.ndarray  # (rows_x, rows_x, W) and friends for Rodas4
    pivots: np.ndarray
    stages: np.ndarray  # (6, rows_x, W)
    b: np.ndarray
    atol: np.ndarray  # (rows_x,)
    routes: np.ndarray  # (routes, 5): into, bioavailability, lag, duration, rate


EV, END, DONE, FRESH, QN, SEEN, WHO, LEFT, RING = range(9)


@jit
def _param(L, plan, lane, index, default):
    return L.p[index, lane] if index >= 0 else default


@jit
def _dparam(L, plan, lane, index, k):
    return L.p[plan.m * (k + 1) + index, lane] if index >= 0 else 0.0


@jit
def _push(L, plan, lane, time, kind, route, amount, stop):
    q = L.integer[QN, lane]
    if q >= plan.queue:
        return -1
    L.q_time[q, lane] = time
    L.q_kind[q, lane] = kind
    L.q_route[q, lane] = route
    L.q_amount[q, lane] = amount
    L.q_stop[q, lane] = stop
    L.integer[QN, lane] = q + 1
    return q


@jit
def _apply_pending(L, plan, cur, lane, q):
    """A dose under way arrives, an infusion starts or stops."""
    kind, route, amount = L.q_kind[q, lane], L.q_route[q, lane], L.q_amount[q, lane]
    into, K, n = L.routes[route, 0], plan.directions, plan.n
    x = L.x[cur]
    moving = False  # does the time of this event depend on a parameter?
    for k in range(K):
        moving = moving or L.q_dt[q, k, lane] != 0.0
    if moving:
        L.s[0, lane] = L.t[lane]
        call_kernel(plan.k_rhs, L.s.ctypes.data, x.ctypes.data, L.p.ctypes.data, L.u.ctypes.data, 0, L.out.ctypes.data)
        for i in range(n):
            L.scratch[i] = L.out[i, lane]
    if kind == P_BOLUS:
        x[into, lane] += amount
        for k in range(K):
            x[n * (k + 1) + into, lane] += L.q_da[q, k, lane]
    else:
        row = plan.inputs + route
        sign = 1.0 if kind == P_START else -1.0
        L.active[route, lane] += 1 if kind == P_START else -1
        idle = L.active[route, lane] == 0
        L.u[row, lane] = 0.0 if idle else L.u[row, lane] + sign * amount
        for k in range(K):
            r = plan.nu * (k + 1) + row
            L.u[r, lane] = 0.0 if idle else L.u[r, lane] + sign * L.q_da[q, k, lane]
    if moving:
        # f before minus f after, times the shift of the event: how the state differs when the event comes earlier
        call_kernel(plan.k_rhs, L.s.ctypes.data, x.ctypes.data, L.p.ctypes.data, L.u.ctypes.data, 0, L.out.ctypes.data)
        for k in range(K):
            shift = L.q_dt[q, k, lane]
            for i in range(n):
                x[n * (k + 1) + i, lane] += (L.scratch[i] - L.out[i, lane]) * shift
    L.integer[FRESH, lane] = 1
    if kind == P_START:  # the same slot now waits for the stop
        L.q_kind[q, lane] = P_STOP
        L.q_time[q, lane] = L.q_stop[q, lane]
        for k in range(K):
            L.q_dt[q, k, lane] = L.q_ds[q, k, lane]
        return
    last = L.integer[QN, lane] - 1
    if q != last:
        L.q_time[q, lane] = L.q_time[last, lane]
        L.q_kind[q, lane] = L.q_kind[last, lane]
        L.q_route[q, lane] = L.q_route[last, lane]
        L.q_amount[q, lane] = L.q_amount[last, lane]
        L.q_stop[q, lane] = L.q_stop[last, lane]
        for k in range(K):
            L.q_da[q, k, lane] = L.q_da[last, k, lane]
            L.q_dt[q, k, lane] = L.q_dt[last, k, lane]
            L.q_ds[q, k, lane] = L.q_ds[last, k, lane]
    L.integer[QN, lane] = last


@jit
def _dose(L, plan, ev, cur, lane, e):
    """A dose record: its bioavailability, lag, rate and duration are read from this moment's parameters (NONMEM)."""
    now, route, K = L.t[lane], ev.route[e], plan.directions
    i_f, i_lag, i_dur, i_rate = L.routes[route, 1], L.routes[route, 2], L.routes[route, 3], L.routes[route, 4]
    F, lag = _param(L, plan, lane, i_f, 1.0), _param(L, plan, lane, i_lag, 0.0)
    if not (F >= 0.0 and lag >= 0.0 and np.isfinite(F) and np.isfinite(lag)):
        return BAD_ROUTE
    amount = F * ev.amount[e]
    begin = now - ev.elapsed[e] + lag
    if ev.kind[e] == BOLUS:
        if ev.elapsed[e] > 0.0 and begin <= now:
            return OK  # a past dose that has arrived already
        q = _push(L, plan, lane, begin, P_BOLUS, route, amount, begin)
        if q < 0:
            return QUEUE_FULL
        for k in range(K):
            L.q_da[q, k, lane] = _dparam(L, plan, lane, i_f, k) * ev.amount[e]
            L.q_dt[q, k, lane] = _dparam(L, plan, lane, i_lag, k)
    else:
        mode = ev.mode[e]
        if mode == FIXED_RATE or mode == MODEL_RATE:
            rate = ev.extra[e] if mode == FIXED_RATE else _param(L, plan, lane, i_rate, np.nan)
            length = amount / rate
        else:
            length = ev.extra[e] if mode == FIXED_DURATION else _param(L, plan, lane, i_dur, np.nan)
            rate = amount / length
        if not (rate >= 0.0 and length > 0.0 and np.isfinite(rate) and np.isfinite(length)):
            if amount == 0.0 and ev.amount[e] == 0.0:
                return OK
            return BAD_ROUTE
        stop = begin + length
        if ev.elapsed[e] > 0.0 and stop <= now:
            return OK
        q = _push(L, plan, lane, begin, P_START, route, rate, stop)
        if q < 0:
            return QUEUE_FULL
        for k in range(K):
            da = _dparam(L, plan, lane, i_f, k) * ev.amount[e]
            dlag = _dparam(L, plan, lane, i_lag, k)
            if mode == FIXED_RATE:
                drate, dlength = 0.0, da / rate
            elif mode == MODEL_RATE:
                drate = _dparam(L, plan, lane, i_rate, k)
                dlength = (da - length * drate) / rate
            else:
                dlength = _dparam(L, plan, lane, i_dur, k) if mode == MODEL_DURATION else 0.0
                drate = (da - rate * dlength) / length
            L.q_da[q, k, lane] = drate
            L.q_dt[q, k, lane] = dlag if begin > now or ev.elapsed[e] == 0.0 else 0.0
            L.q_ds[q, k, lane] = dlag + dlength
    if begin <= now:
        _apply_pending(L, plan, cur, lane, q)
    return OK


@jit
def _silence(L, plan, lane):
    """No infusion runs, nothing is under way."""
    L.integer[QN, lane] = 0
    L.active[:, lane] = 0
    for k in range(plan.directions + 1):
        for r in range(plan.inputs, plan.nu):
            L.u[plan.nu * k + r, lane] = 0.0


@jit
def _segment(L, plan, people, lane, index):
    row = people.segment[L.integer[WHO, lane]] + index
    for i in range(L.p.shape[0]):
        L.p[i, lane] = people.parameters[row, i]


@jit
def _apply(L, plan, ev, people, cur, lane, e):
    """One record of the schedule, observations excepted."""
    kind, who = ev.kind[e], L.integer[WHO, lane]
    x = L.x[cur]
    L.integer[FRESH, lane] = 1
    if kind == BOLUS or kind == INFUSE:
        return _dose(L, plan, ev, cur, lane, e)
    if kind == SEGMENT:
        _segment(L, plan, people, lane, ev.index[e])
        L.prop_h[:, lane] = np.nan
    elif kind == INPUT:
        L.u[ev.route[e], lane] = ev.amount[e]
    elif kind == RESET or kind == SET_STATE or kind == ADD_STATE:
        if kind != ADD_STATE:
            _silence(L, plan, lane)
        row = people.table_base[who] + ev.index[e]
        for k in range(plan.directions + 1):
            for i in range(plan.n_model):
                r = plan.n * k + i
                if kind == RESET:
                    x[r, lane] = people.x0[who, r]
                elif kind == SET_STATE:
                    x[r, lane] = people.table[row, r]
                else:
                    x[r, lane] += people.table[row, r]
    return OK


@jit
def _events(L, plan, ev, people, cur, Y, snapshots, status):
    """Apply all that is due in lanes that have arrived, and set each lane's next target."""
    while True:
        observing = False
        for lane in range(W):
            L.integer[SEEN, lane] = -1
            if L.integer[DONE, lane] or L.t[lane] < L.target[lane]:
                continue
            who = L.integer[WHO, lane]
            while True:
                q, due = -1, np.inf
                for j in range(L.integer[QN, lane]):
                    if L.q_time[j, lane] < due:
                        q, due = j, L.q_time[j, lane]
                e = L.integer[EV, lane]
                listed = ev.time[e] if e < L.integer[END, lane] else np.inf
                if e >= L.integer[END, lane]:
                    L.integer[DONE, lane] = 1  # nothing is left to be seen
                    L.target[lane] = L.t[lane]
                    break
                if min(due, listed) > L.t[lane]:
                    L.target[lane] = min(due, listed)
                    break
                if due <= listed:
                    _apply_pending(L, plan, cur, lane, q)
                    continue
                L.integer[EV, lane] = e + 1
                if ev.kind[e] == OBSERVE:
                    L.integer[SEEN, lane] = e
                    observing = True
                    break
                if ev.kind[e] == SNAPSHOT:
                    row = people.snapshot_base[who] + ev.index[e]
                    for i in range(L.x.shape[1]):
                        snapshots[row, i] = L.x[cur, i, lane]
                    continue
                bad = _apply(L, plan, ev, people, cur, lane, e)
                if bad != OK:
                    status[who] = bad
                    L.integer[DONE, lane] = 1
                    L.target[lane] = L.t[lane]
                    break
        if not observing:
            return
        L.s[0, :] = L.t
        call_kernel(
            plan.k_outputs, L.s.ctypes.data, L.x[cur].ctypes.data, L.p.ctypes.data, L.u.ctypes.data, 0, L.out.ctypes.data
        )
        for lane in range(W):
            e = L.integer[SEEN, lane]
            if e >= 0:
                who = L.integer[WHO, lane]
                row = people.y_base[who] + ev.index[e]
                for i in range(Y.shape[1]):
                    v = L.out[i, lane]
                    Y[row, i] = v
                    if not np.isfinite(v):
                        status[who] = NOT_FINITE


@jit
def _exact(L, plan, cur):
    """All lanes to their targets by the propagator; the last few steps' propagators are kept."""
    for lane in range(W):
        L.s[0, lane] = L.target[lane] - L.t[lane]
    slot = -1
    for c in range(SLOTS):
        same = True
        for lane in range(W):
            same = same and L.prop_h[c, lane] == L.s[0, lane]
        if same:
            slot = c
    if slot < 0:
        slot = L.integer[RING, 0] % SLOTS
        L.integer[RING, 0] += 1
        call_kernel(plan.k_step, L.s.ctypes.data, 0, L.p.ctypes.data, 0, 0, L.prop[slot].ctypes.data)
        L.prop_h[slot, :] = L.s[0, :]
    call_kernel(
        plan.k_advance, 0, L.x[cur].ctypes.data, 0, L.u.ctypes.data, L.prop[slot].ctypes.data, L.x[1 - cur].ctypes.data
    )
    L.t[:] = L.target


@jit
def _fixed(L, plan, cur):
    """One RK4 step in each lane, of the lane's own length."""
    for lane in range(W):
        if L.integer[LEFT, lane] == 0:
            span = L.target[lane] - L.t[lane]
            L.integer[LEFT, lane] = int(np.ceil(span / plan.h_max * (1 - 1e-12))) if span > 0 else 0
            L.h[lane] = span / L.integer[LEFT, lane] if span > 0 else 0.0
        L.s[0, lane] = L.t[lane]
        L.s[1, lane] = L.h[lane] if L.integer[LEFT, lane] > 0 else 0.0
    new = L.x[1 - cur]
    call_kernel(
        plan.k_step, L.s.ctypes.data, L.x[cur].ctypes.data, L.p.ctypes.data, L.u.ctypes.data, 0, new.ctypes.data
    )
    for lane in range(W):
        if L.integer[LEFT, lane] > 0:
            L.integer[LEFT, lane] -= 1
            L.t[lane] = L.target[lane] if L.integer[LEFT, lane] == 0 else L.t[lane] + L.h[lane]
        else:
            for i in range(new.shape[0]):
                new[i, lane] = L.x[cur, i, lane]


@jit
def _choose_step(L, plan, x, lane):
    """The step to try: the proposal, not beyond the target, and no crumb left behind it."""
    span = L.target[lane] - L.t[lane]
    if L.integer[DONE, lane] or span <= 0.0:
        return 0.0
    if L.h[lane] <= 0.0:  # Hairer's first guess, from the sizes of x and f
        d0, d1 = 0.0, 0.0
        for i in range(L.x.shape[1]):
            scale = L.atol[i] + plan.rtol * abs(x[i, lane])
            d0 = max(d0, abs(x[i, lane]) / scale)
            d1 = max(d1, abs(L.first[i, lane]) / scale)
        L.h[lane] = 0.01 * d0 / d1 if d0 > 1e-5 and d1 > 1e-5 else 1e-3 * span
    h = min(L.h[lane], plan.h_max)
    if h >= span:
        return span
    return 0.5 * span if 2.0 * h > span else h


@jit
def _judge(L, plan, cur, lane, h, error_row, order):
    """Accept or reject this lane's step by its error estimate; propose the next."""
    worst = 0.0
    for i in range(L.x.shape[1]):
        scale = L.atol[i] + plan.rtol * max(abs(L.x[cur, i, lane]), abs(L.x[1 - cur, i, lane]))
        ratio = abs(L.out[error_row + i, lane]) / scale
        worst = max(worst, ratio) if np.isfinite(ratio) else np.inf
    factor = 0.9 * worst ** (-1.0 / order) if worst > 0.0 else 5.0
    factor = min(5.0, max(0.2, factor))
    accepted = worst <= 1.0
    if accepted:
        whole = h >= L.target[lane] - L.t[lane]
        L.t[lane] = L.target[lane] if whole else L.t[lane] + h
        L.h[lane] = max(L.h[lane], h * factor) if h < L.h[lane] else h * factor
    else:
        L.h[lane] = h * min(factor, 0.9)
    return accepted


@jit
def _adaptive(L, plan, cur):
    """One Dormand–Prince attempt in each lane; FSAL where nothing jumped."""
    data = (L.s.ctypes.data, L.x[cur].ctypes.data, L.p.ctypes.data, L.u.ctypes.data)
    x, new, n = L.x[cur], L.x[1 - cur], L.x.shape[1]
    fresh = False
    for lane in range(W):
        L.s[0, lane] = L.t[lane]
        fresh = fresh or L.integer[FRESH, lane] == 1
    if fresh:
        call_kernel(plan.k_rhs, data[0], data[1], data[2], data[3], 0, L.out.ctypes.data)
        for lane in range(W):
            if L.integer[FRESH, lane] == 1:
                L.h[lane] = 0.0
                for i in range(n):
                    L.first[i, lane] = L.out[i, lane]
                L.integer[FRESH, lane] = 0
    for lane in range(W):
        L.s[1, lane] = _choose_step(L, plan, x, lane)
    call_kernel(plan.k_step, data[0], data[1], data[2], data[3], L.first.ctypes.data, L.out.ctypes.data)
    for lane in range(W):
        h = L.s[1, lane]
        if h > 0.0:
            for i in range(n):
                new[i, lane] = L.out[i, lane]
            if _judge(L, plan, cur, lane, h, n, 5.0):
                for i in range(n):
                    L.first[i, lane] = L.out[2 * n + i, lane]
                continue
        for i in range(n):
            new[i, lane] = x[i, lane]


@jit
def _stiff(L, plan, cur):
    """One Rodas4 attempt in each lane."""
    x, new, n = L.x[cur], L.x[1 - cur], L.x.shape[1]
    L.s[0, :] = L.t
    s, p, u, out = L.s.ctypes.data, L.p.ctypes.data, L.u.ctypes.data, L.out.ctypes.data
    call_kernel(plan.k_step, s, x.ctypes.data, p, u, 0, out)  # f, f_t, Jacobian
    for lane in range(W):
        for i in range(n):
            L.first[i, lane] = L.out[i, lane]
            L.b[i, lane] = L.out[n + i, lane]
        if L.integer[FRESH, lane] == 1:
            L.h[lane] = 0.0
            L.integer[FRESH, lane] = 0
        h = _choose_step(L, plan, x, lane)
        L.s[1, lane] = h
        if h > 0.0:
            for j in range(n):
                for i in range(n):
                    L.M[lane, i, j] = -L.out[2 * n + j * n + i, lane]
                L.M[lane, j, j] += 1.0 / (GAMMA * h)
            if not stiff.factor(L.M[lane], L.pivots[lane], n):
                L.M[lane, 0, 0] = np.nan  # the step is rejected below
    for stage in range(stiff.STAGES):
        for lane in range(W):
            L.s[0, lane] = L.t[lane] + SOLVE_ALPHA[stage] * L.s[1, lane]
            for i in range(n):
                v = x[i, lane]
                for j in range(stage):
                    v += SOLVE_A[stage, j] * L.stages[j, i, lane]
                new[i, lane] = v
        call_kernel(plan.k_rhs, s, new.ctypes.data, p, u, 0, out)
        for lane in range(W):
            h = L.s[1, lane]
            if h > 0.0:
                for i in range(n):
                    v = L.out[i, lane] + h * SOLVE_D[stage] * L.b[i, lane]
                    for j in range(stage):
                        v += SOLVE_C[stage, j] / h * L.stages[j, i, lane]
                    L.scratch[i] = v
                stiff.solve(L.M[lane], L.pivots[lane], L.scratch, n)
                for i in range(n):
                    L.stages[stage, i, lane] = L.scratch[i]
            else:
                L.stages[stage, :, lane] = 0.0
    for lane in range(W):
        h = L.s[1, lane]
        for i in range(n):
            L.out[i, lane] = L.stages[5, i, lane]
            new[i, lane] += L.stages[5, i, lane]
        if not (h > 0.0 and _judge(L, plan, cur, lane, h, 0, 4.0)):
            for i in range(n):
                new[i, lane] = x[i, lane]


@jit
def drive(plan, ev, people, L, first_block, last_block, Y, snapshots, status):
    """Run blocks ``first_block <= b < last_block`` of patients; writes Y, snapshots and a status per patient.

    Y has shape (all observations, rows_y): row ``y_base[patient] + index``. Rows never reached stay as they were (the
    caller fills them with NaN). status: see `OK`, `NOT_FINITE`, … above.
    """
    patients = people.schedule.shape[0]
    for block in range(first_block, last_block):
        L.prop_h[:] = np.nan
        L.integer[RING, 0] = 0
        L.u[:] = 0.0
        L.active[:] = 0
        L.s[:] = 0.0
        L.first[:] = 0.0
        cur = 0
        for lane in range(W):
            who = min(block * W + lane, patients - 1)  # spare lanes repeat the last patient and do nothing
            L.integer[WHO, lane] = who
            L.integer[EV, lane] = ev.start[people.schedule[who]]
            L.integer[END, lane] = ev.start[people.schedule[who] + 1]
            L.integer[DONE, lane] = 1 if block * W + lane >= patients else 0
            L.integer[FRESH, lane] = 1
            L.integer[QN, lane] = 0
            L.integer[LEFT, lane] = 0
            L.t[lane] = people.t0[who]
            L.target[lane] = people.t0[who]
            L.h[lane] = 0.0
            _segment(L, plan, people, lane, 0)
            for i in range(L.x.shape[1]):
                L.x[0, i, lane] = people.x0[who, i]
        for step in range(MAX_STEPS + 1):
            _events(L, plan, ev, people, cur, Y, snapshots, status)
            alive = False
            for lane in range(W):
                if not L.integer[DONE, lane]:
                    alive = True
                    who = L.integer[WHO, lane]
                    crawling = L.t[lane] < L.target[lane] and L.h[lane] > 0.0
                    crawling = crawling and L.t[lane] + 1e-3 * L.h[lane] == L.t[lane]
                    if (plan.method >= ADAPTIVE and crawling) or step == MAX_STEPS:
                        status[who] = STEP_UNDERFLOW
                        L.integer[DONE, lane] = 1
                        L.target[lane] = L.t[lane]
            if not alive:
                break
            if plan.method == EXACT:
                _exact(L, plan, cur)
            elif plan.method == RK4:
                _fixed(L, plan, cur)
            elif plan.method == ADAPTIVE:
                _adaptive(L, plan, cur)
            else:
                _stiff(L, plan, cur)
            cur = 1 - cur
