"""The compiled loop of a bedside: one dose interval of a block, in ticks of half an hour; and admission.

A linear model's state advances from tick to tick by a propagator that is made anew only when a day has changed the
parameters: exact, and a matrix exponential a day instead of one a step. Every tick's outputs stay for the scores.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.calls import call_kernel, get, geti, put, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import core as c
from .lane_draws import ROWS
from .levels import KEPT, LEVEL_ROWS, NEXT, TIME, VALUE, draw_sample, levels_admit, take_results
from .renal import BEFORE, MADE, RENAL_ROWS, SCR, SHOWN, WEIGHT, renal_admit, renal_day

__all__ = ["SLOTS", "bedside_ahead", "bedside_reset", "bedside_step", "run_ticks"]

(
    COURSE,  # outputs at the end of each tick of the last interval: (blocks, ticks, rows_y, 8)
    RATE_ROW,  # of the route among the inputs
    SUM_ROW,  # of the scored output's integral among the states
    INFUSION,  # floats: shortest duration (h), fastest rate (per h)
    DOSED,  # (blocks, 2, 8): rate and ticks of the infusion under way
    DAY,  # ticks in a day
    PER_DAY,  # intervals in a day
    EXPOSURE,  # AUC of the last intervals, newest first: (blocks, PER_DAY, 8)
    INDIVIDUAL,  # kernel: effects, theta and covariates to parameters
    FIXED,  # theta and covariates of a block
    ROWS_FIXED,
    ETA,
    ROWS_ETA,
    RATIO,  # of a person's parameters to the kernel's: 1, but for those that a table gives
    LIBRARY_FIXED,
    LIBRARY_ETA,
    LIBRARY_RATIO,
    MADE_NEW,  # working memory of the kernel, for each block
    CHANGES,  # 0: parameters never change
    RENAL,  # floats; 0 rows of PERSON: the model has no creatinine
    RENALS,  # state
    PERSON,  # (people, 3): see `virtual.renal`
    HAS_RENAL,
    SCR_ROW,  # among FIXED
    CL_ROW,  # among the parameters, -1
    MATURATION,  # (patients,) rise of clearance a day, share of the first day's
    LEVEL,  # floats
    LEVELS,  # state
    TIMES,  # of samples, in ticks since admission
    SAMPLES,
    DRAW_LEVEL,  # kernels of random numbers
    DRAW_RENAL,
) = range(c.OWN, c.OWN + 32)

SLOTS = {n: v for n, v in globals().items() if n.isupper() and isinstance(v, int) and c.OWN <= v < c.OWN + 32}

# what may differ from lane to lane, all factors: on parameters, on the errors of levels and of creatinine
VARIES = ("clearance", "volume", "level_noise", "creatinine_noise")
CLEARANCE, VOLUME, LEVEL_NOISE, CREATININE_NOISE = range(4)
SHARES = {"clearance": ("cl",), "volume": ("v", "v1", "v2")}

# rows of what a world says: the laboratory's newest creatinine and the one before (mg/dL, NaN), the last dose and its
# duration (h), results since the last look, then values and times of the newest levels
O_SERUM, O_BEFORE, O_DOSE, O_DURATION, O_ENDED, O_CLOCK, O_NEW, O_LEVELS = range(8)
O_TIMES = O_LEVELS + KEPT
O_ROWS = O_TIMES + KEPT


@jit
def _draws(job, b, kernel):
    """Four uniforms, then normals of a block, at ``COUNTS``: address of their rows."""
    seeds, out = geti(job, c.KEY) + b * c.LINE, c.block(job, c.DRAWN, ROWS, b)
    call_kernel(kernel, seeds, seeds + geti(job, c.BLOCKS) * c.LINE, c.block(job, c.COUNTS, 1, b), 0, 0, out)
    return out


@jit
def infusion_ticks(shortest, fastest, tick, most, dose):
    """Whole ticks over which a dose runs in: not shorter, not faster, and not beyond ``most``."""
    ticks = math.ceil(max(shortest, dose / fastest) / tick - 1e-9)
    return min(max(ticks, 1.0), most)


@jit
def _begin_doses(job, b):
    """Take up the actions of a block: rate and duration of each infusion; the interval's integral starts at 0."""
    f, tick, most = geti(job, INFUSION), get(geti(job, c.NUMBERS), 0), np.float64(geti(job, c.TICKS))
    action, dosed, out = geti(job, c.ACTION) + b * c.LINE, c.block(job, DOSED, 2, b), geti(job, c.OUT) + b * c.LINE
    x, row = c.block(job, c.X, geti(job, c.ROWS_X), b), geti(job, SUM_ROW)
    wide = geti(job, c.BLOCKS) * LANES
    for lane in range(LANES):
        dose = get(action, lane)
        ticks = infusion_ticks(get(f, 0), get(f, 1), tick, most, dose)
        put(dosed, lane, dose / (ticks * tick))
        put(dosed, LANES + lane, ticks)
        put(out, O_DOSE * wide + lane, dose)
        put(out, O_DURATION * wide + lane, ticks * tick)
        put(x, row * LANES + lane, 0.0)


@jit
def run_ticks(job, b):
    """Move a block's plant through the interval."""
    ticks, rows_y = geti(job, c.TICKS), geti(job, c.ROWS_Y)
    x, s = c.block(job, c.X, geti(job, c.ROWS_X), b), c.block(job, c.S, 2, b)
    p, u, k = (
        c.block(job, c.P, geti(job, c.ROWS_P), b),
        c.block(job, c.U, geti(job, c.ROWS_U), b),
        c.block(job, c.K, geti(job, c.ROWS_K), b),
    )
    rate, dosed = u + geti(job, RATE_ROW) * c.LINE, c.block(job, DOSED, 2, b)
    advance, outputs, course = geti(job, c.KERNEL), geti(job, c.OUTPUTS), c.block(job, COURSE, ticks * rows_y, b)
    longest = 0.0
    for lane in range(LANES):
        put(s, lane, 0.0)
        put(s, LANES + lane, get(geti(job, c.NUMBERS), 1))
        longest = max(longest, get(dosed, LANES + lane))
    for j in range(ticks):
        if j <= longest:
            for lane in range(LANES):
                put(rate, lane, get(dosed, lane) if j < get(dosed, LANES + lane) else 0.0)
        call_kernel(advance, s, x, p, u, k, x)
        call_kernel(outputs, s, x, p, u, k, course + j * rows_y * c.LINE)
    last = course + (ticks - 1) * rows_y * c.LINE
    y = c.block(job, c.Y, rows_y, b)
    for i in range(rows_y * LANES):
        put(y, i, get(last, i))
    sums, exposure = x + geti(job, SUM_ROW) * c.LINE, c.block(job, EXPOSURE, geti(job, PER_DAY), b)
    for r in range(geti(job, PER_DAY) - 1, 0, -1):
        for lane in range(LANES):
            put(exposure, r * LANES + lane, get(exposure, (r - 1) * LANES + lane))
    for lane in range(LANES):
        put(exposure, lane, get(sums, lane))


@jit
def _sample(job, b):
    """Draw the samples that fell into the interval, then hand out the results that are due."""
    ticks, rows_y, many, true = geti(job, c.TICKS), geti(job, c.ROWS_Y), geti(job, SAMPLES), geti(job, c.TRUE)
    a, f, times, tick = (
        c.block(job, LEVELS, LEVEL_ROWS, b),
        geti(job, LEVEL),
        geti(job, TIMES),
        get(geti(job, c.NUMBERS), 0),
    )
    course, clock, counts = (
        c.block(job, COURSE, ticks * rows_y, b),
        geti(job, c.CLOCK) + b * c.LINE,
        c.block(job, c.COUNTS, 1, b),
    )
    waiting = True
    while waiting:
        waiting = False
        for lane in range(LANES):
            k = np.int64(get(a, NEXT * LANES + lane))
            puti(counts, lane, k)
            waiting |= k < many and geti(times, min(k, many - 1)) <= get(clock, lane)
        if waiting:
            d = _draws(job, b, geti(job, DRAW_LEVEL))
            for lane in range(LANES):
                k = geti(counts, lane)
                if k < many and geti(times, k) <= get(clock, lane):
                    j = geti(times, k) - np.int64(get(clock, lane)) + ticks - 1
                    level = get(course, (j * rows_y + true) * LANES + lane)
                    u1, u2, z = get(d, LANES + lane), get(d, 2 * LANES + lane), get(d, 4 * LANES + lane)
                    draw_sample(
                        f, a, lane, geti(times, k) * tick, level, u1, u2, z * c.varied(job, b, LEVEL_NOISE, lane)
                    )
                    put(a, NEXT * LANES + lane, k + 1.0)
    for lane in range(LANES):
        take_results(a, lane, get(clock, lane) * tick)


@jit
def _new_day(job, b):
    """Where a day begins: renal function and clearance of the day, creatinine measured, the propagator anew."""
    day, clock, changes, renal = (
        geti(job, DAY),
        geti(job, c.CLOCK) + b * c.LINE,
        geti(job, CHANGES),
        geti(job, HAS_RENAL),
    )
    if changes == 0 and renal == 0:
        return
    counts, fresh = c.block(job, c.COUNTS, 1, b), False
    for lane in range(LANES):
        at = np.int64(get(clock, lane))
        puti(counts, lane, at // day)
        fresh |= at % day == 0
    if not fresh:
        return
    fixed, person, who = c.block(job, FIXED, geti(job, ROWS_FIXED), b), geti(job, PERSON), geti(job, c.WHO) + b * c.LINE
    if renal:
        d = _draws(job, b, geti(job, DRAW_RENAL))
        a, f = c.block(job, RENALS, RENAL_ROWS, b), geti(job, RENAL)
        for lane in range(LANES):
            if np.int64(get(clock, lane)) % day == 0:
                at = person + geti(who, lane) * 24
                now = np.float64(geti(counts, lane))
                made, weight = get(at, MADE), get(at, WEIGHT)
                z = get(d, 5 * LANES + lane) * c.varied(job, b, CREATININE_NOISE, lane)
                scr = renal_day(f, a, lane, now, made, weight, get(d, 4 * LANES + lane), z)
                put(fixed, geti(job, SCR_ROW) * LANES + lane, scr)
    if changes == 0:
        return
    m, p, made_new = (
        geti(job, c.ROWS_P),
        c.block(job, c.P, geti(job, c.ROWS_P), b),
        c.block(job, MADE_NEW, geti(job, c.ROWS_P), b),
    )
    ratio, eta, grow = (
        c.block(job, RATIO, m, b),
        c.block(job, ETA, geti(job, ROWS_ETA), b),
        geti(job, MATURATION) + b * c.LINE,
    )
    call_kernel(geti(job, INDIVIDUAL), 0, eta, fixed, 0, 0, made_new)
    for lane in range(LANES):
        if np.int64(get(clock, lane)) % day == 0:
            for r in range(m):
                value = get(made_new, r * LANES + lane) * get(ratio, r * LANES + lane)
                if r == geti(job, CL_ROW):
                    value *= 1.0 + get(grow, lane) * geti(counts, lane)
                put(p, r * LANES + lane, value)
    c.propagate(job, b)


@jit
def _say(job, b):
    """Write what is seen of a block (the last dose aside)."""
    wide, out, tick = geti(job, c.BLOCKS) * LANES, geti(job, c.OUT) + b * c.LINE, get(geti(job, c.NUMBERS), 0)
    a, renal = c.block(job, LEVELS, LEVEL_ROWS, b), c.block(job, RENALS, RENAL_ROWS, b)
    clock, ended, y = (
        geti(job, c.CLOCK) + b * c.LINE,
        geti(job, c.ENDED) + b * c.LINE,
        c.block(job, c.Y, geti(job, c.ROWS_Y), b),
    )
    for lane in range(LANES):
        if not math.isfinite(get(y, geti(job, c.TRUE) * LANES + lane)):
            put(ended, lane, np.float64(c.NOT_FINITE))
        put(out, O_SERUM * wide + lane, get(renal, SHOWN * LANES + lane))
        put(out, O_BEFORE * wide + lane, get(renal, BEFORE * LANES + lane))
        put(out, O_ENDED * wide + lane, get(ended, lane))
        put(out, O_CLOCK * wide + lane, get(clock, lane) * tick)
        put(out, O_NEW * wide + lane, get(a, 1 * LANES + lane))
    for r in range(KEPT):
        for lane in range(LANES):
            put(out, (O_LEVELS + r) * wide + lane, get(a, (VALUE + r) * LANES + lane))
            put(out, (O_TIMES + r) * wide + lane, get(a, (TIME + r) * LANES + lane))


@jit
def bedside_step(job, first, last):
    """Move blocks by one dose interval."""
    ticks = geti(job, c.TICKS)
    for b in range(first, last):
        _begin_doses(job, b)
        run_ticks(job, b)
        clock = geti(job, c.CLOCK) + b * c.LINE
        for lane in range(LANES):
            put(clock, lane, get(clock, lane) + ticks)
        _sample(job, b)
        _new_day(job, b)
        _say(job, b)


@jit
def _admit(job, b, lane, d):
    """A person into a lane, on day 0; ``d`` the block's random numbers of that day."""
    c.admit(job, b, lane)
    who = geti(geti(job, c.WHO), b * LANES + lane)
    m, rows, e = geti(job, c.ROWS_P), geti(job, ROWS_FIXED), geti(job, ROWS_ETA)
    for r in range(rows):
        put(c.block(job, FIXED, rows, b), r * LANES + lane, get(geti(job, LIBRARY_FIXED), who * rows + r))
    for r in range(e):
        put(c.block(job, ETA, e, b), r * LANES + lane, get(geti(job, LIBRARY_ETA), who * e + r))
    for r in range(m):
        ratio = get(geti(job, LIBRARY_RATIO), who * m + r) * c.share_of(job, b, r, lane)
        put(c.block(job, RATIO, m, b), r * LANES + lane, ratio)
    for r in range(geti(job, PER_DAY)):
        put(c.block(job, EXPOSURE, geti(job, PER_DAY), b), r * LANES + lane, 0.0)
    levels_admit(c.block(job, LEVELS, LEVEL_ROWS, b), lane)
    a = c.block(job, RENALS, RENAL_ROWS, b)
    if geti(job, HAS_RENAL):
        at = geti(job, PERSON) + who * 24
        u0, u1, u2, z = get(d, lane), get(d, LANES + lane), get(d, 2 * LANES + lane), get(d, 7 * LANES + lane)
        z *= c.varied(job, b, CREATININE_NOISE, lane)
        renal_admit(geti(job, RENAL), a, lane, get(at, MADE), get(at, SCR), u0, u1, u2, z)
    else:
        for r in range(RENAL_ROWS):
            put(a, r * LANES + lane, math.nan)
    out, wide = geti(job, c.OUT) + b * c.LINE, geti(job, c.BLOCKS) * LANES
    put(out, O_DOSE * wide + lane, 0.0)
    put(out, O_DURATION * wide + lane, 0.0)


@jit
def bedside_reset(job, first, last):
    """Admit the patients of the mask, and what is seen of them then."""
    for b in range(first, last):
        fresh, counts = False, c.block(job, c.COUNTS, 1, b)
        for lane in range(LANES):
            puti(counts, lane, 0)
            fresh |= geti(geti(job, c.MASK), b * LANES + lane) != 0
        if not fresh:
            continue
        d = _draws(job, b, geti(job, DRAW_RENAL))
        for lane in range(LANES):
            if geti(geti(job, c.MASK), b * LANES + lane):
                _admit(job, b, lane, d)
        c.propagate(job, b)
        c.outputs_of(job, b)
        _say(job, b)


@jit
def bedside_ahead(job, ticks, which, states, none, course, first, last):
    """The outputs of the next ticks if nothing more is given, in blocks that ``which`` (blocks,) marks.

    ``states`` (blocks, 2, rows_x, 8) is working memory, ``none`` (rows_u, 8) zeros, ``course`` (blocks, ticks, rows_y,
    8) is filled: addresses.
    """
    rows_x, rows_y, sums = geti(job, c.ROWS_X), geti(job, c.ROWS_Y), geti(job, SUM_ROW)
    for b in range(first, last):
        if geti(which, b) == 0:
            continue
        own, s = c.block(job, c.X, rows_x, b), c.block(job, c.S, 2, b)
        x, spare = states + 2 * b * rows_x * c.LINE, states + (2 * b + 1) * rows_x * c.LINE
        p, k = c.block(job, c.P, geti(job, c.ROWS_P), b), c.block(job, c.K, geti(job, c.ROWS_K), b)
        for i in range(rows_x * LANES):
            put(x, i, 0.0 if sums * LANES <= i < (sums + 1) * LANES else get(own, i))
        for j in range(ticks):
            call_kernel(geti(job, c.KERNEL), s, x, p, none, k, spare)
            x, spare = spare, x
            call_kernel(geti(job, c.OUTPUTS), s, x, p, none, k, course + (b * ticks + j) * rows_y * c.LINE)
