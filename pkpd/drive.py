"""The event loop: blocks of patients through their doses, observations and resets.

Each block holds ``LANES`` patients. Every pass of the loop does two things: lanes that have reached their next event
apply it, then all lanes take one step (exact propagator, RK4, Dormand–Prince or Rodas4) towards their own next event.
Lanes keep their own time, so patients with quite different schedules share a block, and no lane's numbers depend on
its neighbours. ``J`` is the job (`pkpd.job`); an element of row r and lane l stands at ``base[r * W + l]``.
"""
# No annotations: Numba infers the types, and every argument here is an address, an index or a float.

from __future__ import annotations

import numpy as np

from . import job as j
from .calls import call_kernel, get, geti, put, puti
from .jit import jit
from .lanes import LANES
from .steppers import adaptive, exact, fixed, stiff_step

W = LANES
EXACT, RK4, ADAPTIVE, STIFF = 0, 1, 2, 3
OBSERVE, BOLUS, INFUSE, RESET, SEGMENT, SET_STATE, ADD_STATE, INPUT, SNAPSHOT = range(9)
FIXED_DURATION, FIXED_RATE, MODEL_DURATION, MODEL_RATE = range(4)
OK, NOT_FINITE, STEP_UNDERFLOW, QUEUE_FULL, BAD_ROUTE, NO_STEADY = range(6)
P_BOLUS, P_START, P_STOP = range(3)
MAX_STEPS = 2_000_000


@jit
def _parameter(J, lane, index, default):
    return get(geti(J, j.P), index * W + lane) if index >= 0 else default


@jit
def _derivative(J, lane, index, k):
    return get(geti(J, j.P), (geti(J, j.M) * (k + 1) + index) * W + lane) if index >= 0 else 0.0


@jit
def _push(J, lane, time, kind, route, amount, stop):
    q = geti(geti(J, j.QN), lane)
    if q >= geti(J, j.QUEUE):
        return -1
    at = q * W + lane
    put(geti(J, j.Q_TIME), at, time)
    puti(geti(J, j.Q_KIND), at, kind)
    puti(geti(J, j.Q_ROUTE), at, route)
    put(geti(J, j.Q_AMOUNT), at, amount)
    put(geti(J, j.Q_STOP), at, stop)
    puti(geti(J, j.QN), lane, q + 1)
    return q


@jit
def _flow(J, lane, x):
    """Right-hand side of the block into OUT, at this lane's time."""
    put(geti(J, j.S), lane, get(geti(J, j.T), lane))
    call_kernel(geti(J, j.K_RHS), geti(J, j.S), x, geti(J, j.P), geti(J, j.U), 0, geti(J, j.OUT))


@jit
def _arrive(J, lane, q, x):
    """A dose under way arrives, an infusion starts or stops."""
    at = q * W + lane
    kind, route, amount = geti(geti(J, j.Q_KIND), at), geti(geti(J, j.Q_ROUTE), at), get(geti(J, j.Q_AMOUNT), at)
    K, n, out, scratch, u = geti(J, j.K), geti(J, j.N), geti(J, j.OUT), geti(J, j.SCRATCH), geti(J, j.U)
    q_da, q_dt, q_ds = geti(J, j.Q_DA), geti(J, j.Q_DT), geti(J, j.Q_DS)
    moving = False  # does the time of this event depend on a parameter?
    for k in range(K):
        moving = moving or get(q_dt, (q * K + k) * W + lane) != 0.0
    if moving:
        _flow(J, lane, x)
        for i in range(n):
            put(scratch, i, get(out, i * W + lane))
    if kind == P_BOLUS:
        into = geti(geti(J, j.ROUTE_TABLE), route * 5) * W + lane
        put(x, into, get(x, into) + amount)
        for k in range(K):
            row = into + n * (k + 1) * W
            put(x, row, get(x, row) + get(q_da, (q * K + k) * W + lane))
    else:
        row, nu, active = (geti(J, j.INPUTS) + route) * W + lane, geti(J, j.NU), geti(J, j.ACTIVE)
        sign = 1.0 if kind == P_START else -1.0
        running = geti(active, route * W + lane) + (1 if kind == P_START else -1)
        puti(active, route * W + lane, running)
        put(u, row, get(u, row) + sign * amount if running > 0 else 0.0)
        for k in range(K):
            r = row + nu * (k + 1) * W
            put(u, r, get(u, r) + sign * get(q_da, (q * K + k) * W + lane) if running > 0 else 0.0)
    if moving:
        # f before minus f after, times the shift of the event: how the state differs when the event comes later
        _flow(J, lane, x)
        for k in range(K):
            shift = get(q_dt, (q * K + k) * W + lane)
            for i in range(n):
                r = (n * (k + 1) + i) * W + lane
                put(x, r, get(x, r) + (get(scratch, i) - get(out, i * W + lane)) * shift)
    puti(geti(J, j.FRESH), lane, 1)
    if kind == P_START:  # the same place in the queue now waits for the stop
        puti(geti(J, j.Q_KIND), at, P_STOP)
        put(geti(J, j.Q_TIME), at, get(geti(J, j.Q_STOP), at))
        for k in range(K):
            put(q_dt, (q * K + k) * W + lane, get(q_ds, (q * K + k) * W + lane))
        return
    last = geti(geti(J, j.QN), lane) - 1
    puti(geti(J, j.QN), lane, last)
    if q != last:
        end = last * W + lane
        put(geti(J, j.Q_TIME), at, get(geti(J, j.Q_TIME), end))
        puti(geti(J, j.Q_KIND), at, geti(geti(J, j.Q_KIND), end))
        puti(geti(J, j.Q_ROUTE), at, geti(geti(J, j.Q_ROUTE), end))
        put(geti(J, j.Q_AMOUNT), at, get(geti(J, j.Q_AMOUNT), end))
        put(geti(J, j.Q_STOP), at, get(geti(J, j.Q_STOP), end))
        for k in range(K):
            to, back = (q * K + k) * W + lane, (last * K + k) * W + lane
            put(q_da, to, get(q_da, back))
            put(q_dt, to, get(q_dt, back))
            put(q_ds, to, get(q_ds, back))


@jit
def _dose(J, lane, e, x):
    """A dose record: its bioavailability, lag, rate and duration are read from this moment's parameters (NONMEM)."""
    now, route, K = get(geti(J, j.T), lane), geti(geti(J, j.E_ROUTE), e), geti(J, j.K)
    given, elapsed = get(geti(J, j.E_AMOUNT), e), get(geti(J, j.E_ELAPSED), e)
    table = geti(J, j.ROUTE_TABLE)
    i_f, i_lag = geti(table, route * 5 + 1), geti(table, route * 5 + 2)
    F, lag = _parameter(J, lane, i_f, 1.0), _parameter(J, lane, i_lag, 0.0)
    if not (0.0 <= F < np.inf and 0.0 <= lag < np.inf):
        return BAD_ROUTE
    amount = F * given
    begin = now - elapsed + lag
    q_da, q_dt, q_ds = geti(J, j.Q_DA), geti(J, j.Q_DT), geti(J, j.Q_DS)
    if geti(geti(J, j.E_KIND), e) == BOLUS:
        if elapsed > 0.0 and begin <= now:
            return OK  # a past dose that has arrived already
        q = _push(J, lane, begin, P_BOLUS, route, amount, begin)
        if q < 0:
            return QUEUE_FULL
        for k in range(K):
            at = (q * K + k) * W + lane
            put(q_da, at, _derivative(J, lane, i_f, k) * given)
            put(q_dt, at, _derivative(J, lane, i_lag, k))
    else:
        mode, extra = geti(geti(J, j.E_MODE), e), get(geti(J, j.E_EXTRA), e)
        i_dur, i_rate = geti(table, route * 5 + 3), geti(table, route * 5 + 4)
        if mode in (FIXED_RATE, MODEL_RATE):
            rate = extra if mode == FIXED_RATE else _parameter(J, lane, i_rate, np.nan)
            length = amount / rate
        else:
            length = extra if mode == FIXED_DURATION else _parameter(J, lane, i_dur, np.nan)
            rate = amount / length
        if amount == 0.0:
            return OK
        if not (0.0 < rate < np.inf and 0.0 < length < np.inf):
            return BAD_ROUTE
        stop = begin + length
        if elapsed > 0.0 and stop <= now:
            return OK
        q = _push(J, lane, begin, P_START, route, rate, stop)
        if q < 0:
            return QUEUE_FULL
        for k in range(K):
            at = (q * K + k) * W + lane
            d_amount = _derivative(J, lane, i_f, k) * given
            d_lag = _derivative(J, lane, i_lag, k)
            if mode == FIXED_RATE:
                d_rate, d_length = 0.0, d_amount / rate
            elif mode == MODEL_RATE:
                d_rate = _derivative(J, lane, i_rate, k)
                d_length = (d_amount - length * d_rate) / rate
            else:
                d_length = _derivative(J, lane, i_dur, k) if mode == MODEL_DURATION else 0.0
                d_rate = (d_amount - rate * d_length) / length
            put(q_da, at, d_rate)
            # an infusion that began before its record's steady state: the start lies in the state already
            put(q_dt, at, d_lag if begin > now or elapsed == 0.0 else 0.0)
            put(q_ds, at, d_lag + d_length)
    if begin <= now:
        _arrive(J, lane, q, x)
    return OK


@jit
def _silence(J, lane):
    """No infusion runs, nothing is under way."""
    puti(geti(J, j.QN), lane, 0)
    u, nu, inputs, routes = geti(J, j.U), geti(J, j.NU), geti(J, j.INPUTS), geti(J, j.ROUTES)
    for r in range(routes):
        puti(geti(J, j.ACTIVE), r * W + lane, 0)
        for k in range(geti(J, j.K) + 1):
            put(u, (nu * k + inputs + r) * W + lane, 0.0)


@jit
def _segment(J, lane, index):
    rows = geti(J, j.ROWS_P)
    source = (geti(geti(J, j.P_SEGMENT), geti(geti(J, j.WHO), lane)) + index) * rows
    for i in range(rows):
        put(geti(J, j.P), i * W + lane, get(geti(J, j.P_PARAMETERS), source + i))


@jit
def _record(J, lane, e, x):
    """One record of the schedule, observations excepted; returns a status."""
    kind, who = geti(geti(J, j.E_KIND), e), geti(geti(J, j.WHO), lane)
    if kind in (BOLUS, INFUSE):
        return _dose(J, lane, e, x)
    rows, index = geti(J, j.ROWS_X), geti(geti(J, j.E_INDEX), e)
    if kind == SNAPSHOT:
        row = (geti(geti(J, j.P_SNAP_BASE), who) + index) * rows
        for i in range(rows):
            put(geti(J, j.P_SNAPS), row + i, get(x, i * W + lane))
        return OK
    puti(geti(J, j.FRESH), lane, 1)
    if kind == SEGMENT:
        _segment(J, lane, index)
        for slot in range(4):
            put(geti(J, j.PROP_H), slot * W + lane, np.nan)
    elif kind == INPUT:
        put(geti(J, j.U), geti(geti(J, j.E_ROUTE), e) * W + lane, get(geti(J, j.E_AMOUNT), e))
    else:
        if kind != ADD_STATE:
            _silence(J, lane)
        base = who if kind == RESET else geti(geti(J, j.P_TABLE_BASE), who) + index
        table = geti(J, j.P_X0) if kind == RESET else geti(J, j.P_TABLE)
        for k in range(geti(J, j.K) + 1):
            for i in range(geti(J, j.N_MODEL)):
                r = geti(J, j.N) * k + i
                old = get(x, r * W + lane) if kind == ADD_STATE else 0.0
                put(x, r * W + lane, old + get(table, base * rows + r))
    return OK


@jit
def _stop(J, lane, status):
    puti(geti(J, j.DONE), lane, 1)
    put(geti(J, j.TARGET), lane, get(geti(J, j.T), lane))
    if status != OK:
        puti(geti(J, j.P_STATUS), geti(geti(J, j.WHO), lane), status)


@jit
def _settle(J, lane, x):
    """Apply what is due in one lane up to the next observation; returns that record, or −1."""
    t, e_time, q_time = get(geti(J, j.T), lane), geti(J, j.E_TIME), geti(J, j.Q_TIME)
    end, e = geti(geti(J, j.END), lane), geti(geti(J, j.EV), lane)
    while True:
        q, due = -1, np.inf
        for i in range(geti(geti(J, j.QN), lane)):
            if get(q_time, i * W + lane) < due:
                q, due = i, get(q_time, i * W + lane)
        if e >= end:  # nothing is left to be seen
            _stop(J, lane, OK)
            return -1
        listed = get(e_time, e)
        if due > t and listed > t:
            put(geti(J, j.TARGET), lane, min(due, listed))
            return -1
        # what arrives at the moment of a level acts after it: a level is drawn before a dose takes effect
        if due < listed or (due == listed and geti(geti(J, j.E_KIND), e) != OBSERVE):
            _arrive(J, lane, q, x)
            continue
        e += 1
        puti(geti(J, j.EV), lane, e)
        if geti(geti(J, j.E_KIND), e - 1) == OBSERVE:
            # most often nothing else happens now: the next target is known at once
            if due > t and e < end and get(e_time, e) > t:
                put(geti(J, j.TARGET), lane, min(due, get(e_time, e)))
            return e - 1
        status = _record(J, lane, e - 1, x)
        if status != OK:
            _stop(J, lane, status)
            return -1


@jit
def _events(J, x):
    """Apply all that is due in lanes that have arrived, and set each lane's next target."""
    t, target, done, seen, out = geti(J, j.T), geti(J, j.TARGET), geti(J, j.DONE), geti(J, j.SEEN), geti(J, j.OUT)
    rows = geti(J, j.ROWS_Y)
    while True:
        observing = False
        for lane in range(W):
            e = -1
            if geti(done, lane) == 0 and get(t, lane) >= get(target, lane):
                e = _settle(J, lane, x)
            puti(seen, lane, e)
            observing = observing or e >= 0
        if not observing:
            return
        for lane in range(W):
            put(geti(J, j.S), lane, get(t, lane))
        call_kernel(geti(J, j.K_OUTPUTS), geti(J, j.S), x, geti(J, j.P), geti(J, j.U), 0, out)
        for lane in range(W):
            e = geti(seen, lane)
            if e >= 0:
                who = geti(geti(J, j.WHO), lane)
                row = (geti(geti(J, j.P_Y_BASE), who) + geti(geti(J, j.E_INDEX), e)) * rows
                for i in range(rows):
                    v = get(out, i * W + lane)
                    put(geti(J, j.P_Y), row + i, v)
                    if not abs(v) < np.inf:
                        puti(geti(J, j.P_STATUS), who, NOT_FINITE)


@jit
def _begin(J, block):
    patients, rows = geti(J, j.PATIENTS), geti(J, j.ROWS_X)
    for i in range(geti(J, j.ROWS_U) * W):
        put(geti(J, j.U), i, 0.0)
    for i in range(geti(J, j.ROUTES) * W):
        puti(geti(J, j.ACTIVE), i, 0)
    for i in range(4 * W):
        put(geti(J, j.PROP_H), i, np.nan)
    puti(geti(J, j.RING), 0, 0)
    for lane in range(W):
        who = min(block * W + lane, patients - 1)  # spare lanes repeat the last patient and do nothing
        schedule = geti(geti(J, j.P_SCHEDULE), who)
        puti(geti(J, j.WHO), lane, who)
        puti(geti(J, j.EV), lane, geti(geti(J, j.E_START), schedule))
        puti(geti(J, j.END), lane, geti(geti(J, j.E_START), schedule + 1))
        puti(geti(J, j.DONE), lane, 1 if block * W + lane >= patients else 0)
        puti(geti(J, j.FRESH), lane, 1)
        puti(geti(J, j.QN), lane, 0)
        puti(geti(J, j.LEFT), lane, 0)
        start = get(geti(J, j.P_T0), who)
        put(geti(J, j.T), lane, start)
        put(geti(J, j.TARGET), lane, start)
        put(geti(J, j.H), lane, 0.0)
        put(geti(J, j.S), lane, start)
        put(geti(J, j.S), W + lane, 0.0)
        _segment(J, lane, 0)
        for i in range(rows):
            put(geti(J, j.X), i * W + lane, get(geti(J, j.P_X0), who * rows + i))


@jit
def _alive(J, method, last):
    """Whether any lane has further to go; a lane whose step no longer moves its clock is stopped with a status."""
    alive = False
    for lane in range(W):
        if geti(geti(J, j.DONE), lane) == 0:
            t, h = get(geti(J, j.T), lane), get(geti(J, j.H), lane)
            # no step at all (a right-hand side of inf), or one that does not move the clock
            stuck = t + 1e-3 * h == t if h > 0.0 else geti(geti(J, j.FRESH), lane) == 0
            crawling = method >= ADAPTIVE and t < get(geti(J, j.TARGET), lane) and stuck
            if crawling or last:
                _stop(J, lane, STEP_UNDERFLOW)
            else:
                alive = True
    return alive


@jit
def drive(J, first_block, last_block):
    """Run blocks ``first_block <= b < last_block`` of the patients of job ``J`` (its address).

    Writes Y (row ``y_base[patient] + index``), the snapshots and a status for each patient. Rows never reached stay as
    they were: the caller fills them with NaN.
    """
    method, size = geti(J, j.METHOD), geti(J, j.ROWS_X) * W * 8
    for block in range(first_block, last_block):
        _begin(J, block)
        x, new = geti(J, j.X), geti(J, j.X) + size
        for step in range(MAX_STEPS + 1):
            _events(J, x)
            if not _alive(J, method, step == MAX_STEPS):
                break
            if method == EXACT:
                exact(J, x, new)
            elif method == RK4:
                fixed(J, x, new)
            elif method == ADAPTIVE:
                adaptive(J, x, new)
            else:
                stiff_step(J, x, new)
            x, new = new, x
