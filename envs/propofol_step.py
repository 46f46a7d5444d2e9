"""The compiled step of the propofol environment."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

from ..pkpd.calls import call_kernel, get, geti, put
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..therapies import gate_loop as g
from ..virtual import core as c
from ..virtual.anaesthesia_loop import anaesthesia_step
from . import loop_core as e

__all__ = ["propofol_admit", "propofol_env_step"]

MULTIPLE, RATE, DOSE = range(3)  # modes
WEIGHT, AGE, HEIGHT, SEX = range(4)  # own numbers
MAINTENANCE = 0.1  # mg/kg/min: 6 mg/kg/h, within the label's 6 to 12 (FDA label of propofol, maintenance of adults)
SHOWN, TIME, MEAN, GIVEN, QUALITY = range(5)  # own state: newest reading, when, mean of the last minute, mg, %
UNKNOWN = 95.0  # BIS shown before the first reading: awake


@jit
def _ask(job, b):
    """The lever to a rate (mg/min), among the gate's inputs."""
    gate, world, mode = geti(job, e.GATE), geti(job, e.WORLD), geti(job, e.MODE)
    into = e.gate_block(job, g.IN, g.ROWS_IN, b)
    at = (g.I_MEASURES + 3 * geti(gate, g.MEASURES) + 2) * LANES
    interval = geti(world, c.TICKS) * get(geti(world, c.NUMBERS), 0)
    for lane in range(LANES):
        i = b * LANES + lane
        rate = get(geti(job, e.ASKED), i)
        if mode == MULTIPLE:
            rate *= MAINTENANCE * e.own(job, i, WEIGHT)
        elif mode == DOSE:
            rate /= interval
        put(into, at + lane, rate)


@jit
def _score(job, b):
    """Reward and costs of the interval."""
    world, width, first = geti(job, e.WORLD), geti(job, e.WIDTH), b * LANES
    terms, ticks = geti(job, e.TERMS) + b * 8 * e.LINE, geti(world, c.TICKS)
    parts = geti(job, e.PARTS) + 8 * first
    for r in range(3 * LANES):
        put(terms, r, 0.0)
    for j in range(ticks):
        truth = geti(world, c.TRUTH) + 8 * (j * width + first)
        call_kernel(geti(job, e.RISK), terms, truth, terms, terms, terms, terms)
    for lane in range(LANES):
        put(parts, lane, -get(terms, lane) / ticks)
        put(parts, width + lane, get(terms, LANES + lane) / ticks)
        put(parts, 2 * width + lane, get(terms, 2 * LANES + lane) / ticks)
        put(parts, 3 * width + lane, e.violated(job, b, lane, 1))
        put(geti(job, e.ENDED), first + lane, e.said(job, c.O_ENDED, first + lane))


@jit
def _show(job, b, lane, fresh):
    """What a bedside has of a patient now."""
    i, world = b * LANES + lane, geti(job, e.WORLD)
    monitor = e.gate_block(job, g.MONITOR, g.ROWS_MONITOR, b)
    mine = geti(job, e.OWN_STATE) + b * geti(job, e.OWN_ROWS) * e.LINE
    e.older(job, i, fresh)
    # addresses taken once: the compiler must think that every value written could change them
    out, width, scale, row = geti(world, c.OUT) + 8 * i, geti(job, e.WIDTH), geti(job, e.SCALE), e.row_of(job, i)
    own = e.own_of(job, i)
    clock, reading, stamp = get(out, c.O_CLOCK * width), get(out, c.O_READING * width), get(out, c.O_STAMP * width)
    quality, rate = get(out, c.O_QUALITY * width), get(out, c.O_DELIVERED * width)
    interval, weight = geti(world, c.TICKS) * get(geti(world, c.NUMBERS), 0), get(own, WEIGHT)
    if fresh:
        put(mine, SHOWN * LANES + lane, UNKNOWN)
        put(mine, TIME * LANES + lane, 0.0)
        put(mine, MEAN * LANES + lane, UNKNOWN)
        put(mine, GIVEN * LANES + lane, 0.0)
        put(mine, QUALITY * LANES + lane, 0.0)
    if not math.isnan(reading) and not math.isnan(stamp):
        put(mine, SHOWN * LANES + lane, reading)
        put(mine, TIME * LANES + lane, stamp)
        old = get(mine, MEAN * LANES + lane)
        put(mine, MEAN * LANES + lane, old + (reading - old) * min(1.0, interval / 1.0))
    if not math.isnan(quality):
        put(mine, QUALITY * LANES + lane, quality)
    put(mine, GIVEN * LANES + lane, get(mine, GIVEN * LANES + lane) + rate * interval)
    e.show(scale, row, 0, get(mine, SHOWN * LANES + lane))
    e.show(scale, row, 1, 60.0 * (clock - get(mine, TIME * LANES + lane)))
    e.show(scale, row, 2, get(mine, QUALITY * LANES + lane))
    e.show(scale, row, 3, get(mine, MEAN * LANES + lane))
    e.show(scale, row, 4, get(monitor, geti(job, e.ROW) * LANES + lane))
    e.show(scale, row, 5, rate / weight)
    e.show(scale, row, 6, get(mine, GIVEN * LANES + lane) / weight)
    e.show(scale, row, 7, clock)
    if fresh:  # who it is stays as it is written
        for k in range(4):
            e.show(scale, row, 8 + k, get(own, k))
        e.same_past(job, i)


@jit
def propofol_env_step(job, first, last):
    """One decision of blocks first … last − 1."""
    world, gate = geti(job, e.WORLD), geti(job, e.GATE)
    for b in range(first, last, e.GROUP):
        end = min(b + e.GROUP, last)
        for q in range(b, end):
            _ask(job, q)
            e.guarded(job, q, 1)
        g.gate_fetch(gate, b, end)
        anaesthesia_step(world, b, end)
        for q in range(b, end):
            _score(job, q)
            e.put_seen(job, q, 1)
        g.gate_take(gate, b, end)
        for q in range(b, end):
            for lane in range(LANES):
                _show(job, q, lane, False)


@jit
def propofol_admit(job, first, last):
    """After the world's reset: the gate's lanes and the first observations of who was admitted."""
    for b in range(first, last):
        if e.admitted(job, b, 1):
            for lane in range(LANES):
                if geti(geti(geti(job, e.WORLD), c.MASK), b * LANES + lane):
                    _show(job, b, lane, True)
