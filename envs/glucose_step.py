"""The compiled step of the glucose environment."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.calls import call_kernel, get, geti, put
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..therapies import gate_loop as g
from ..virtual import core as c
from ..virtual.glucose_loop import MIDNIGHT, glucose_step
from . import loop_core as e

__all__ = ["glucose_admit", "glucose_env_step"]

MULTIPLE, RATE, DOSE = range(3)  # modes
WEIGHT, BASAL, RATIO, FACTOR = range(4)  # own numbers
# of the gate's monitor (`therapies.monitor.GlucoseMonitor`)
NEWEST, TIME, SLOPE, FREE, FIRST, SECOND = range(6)
CARBS = 0  # own state: announced carbohydrate that is taken to be still under way, g
ABSORBED = 40.0  # min, its time constant; ours, of the size of Hovorka's t_max
UNKNOWN = 140.0  # mg/dL shown before the first reading
TARGET, ABOVE = 140.0, 150.0  # mg/dL: the usual bolus corrects to, and from


@jit
def _ask(job, b):
    """Levers to a basal rate (U/h) and a bolus (U), among the gate's inputs."""
    gate, mode, levers = geti(job, e.GATE), geti(job, e.MODE), geti(job, e.LEVERS)
    into, monitor = e.gate_block(job, g.IN, g.ROWS_IN, b), e.gate_block(job, g.MONITOR, g.ROWS_MONITOR, b)
    at = (g.I_MEASURES + 3 * geti(gate, g.MEASURES) + 4) * LANES
    for lane in range(LANES):
        i = b * LANES + lane
        asked = geti(job, e.ASKED) + 8 * levers * i
        basal, bolus = get(asked, 0), 0.0
        if mode == MULTIPLE:
            basal *= e.own(job, i, BASAL)
            announced, glucose = e.said(job, c.O_ANNOUNCED, i), get(monitor, NEWEST * LANES + lane)
            if announced > 0.0:
                bolus = announced / e.own(job, i, RATIO)
                if glucose > ABOVE:
                    bolus += (glucose - TARGET) / e.own(job, i, FACTOR)
                bolus *= get(asked, 1)
        elif mode == DOSE:
            bolus = get(asked, 1)
        put(into, at + lane, basal)
        put(into, at + LANES + lane, bolus)


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
        put(parts, lane, -get(terms, lane) / (100.0 * ticks))
        put(parts, width + lane, get(terms, LANES + lane) / ticks)
        put(parts, 2 * width + lane, get(terms, 2 * LANES + lane) / ticks)
        put(parts, 3 * width + lane, e.violated(job, b, lane, 2))
        put(geti(job, e.ENDED), first + lane, e.said(job, c.O_ENDED, first + lane))


@jit
def _show(job, b, lane, faded, fresh):
    """What a bedside has of a patient now; ``faded``: what an interval leaves of announced carbohydrate."""
    i, world = b * LANES + lane, geti(job, e.WORLD)
    monitor = e.gate_block(job, g.MONITOR, g.ROWS_MONITOR, b)
    mine = geti(job, e.OWN_STATE) + b * geti(job, e.OWN_ROWS) * e.LINE
    e.older(job, i, fresh)
    # addresses taken once: the compiler must think that every value written could change them
    out, width, scale, row = geti(world, c.OUT) + 8 * i, geti(job, e.WIDTH), geti(job, e.SCALE), e.row_of(job, i)
    own = e.own_of(job, i)
    clock, announced = get(out, c.O_CLOCK * width), get(out, c.O_ANNOUNCED * width)
    carbs = announced
    if not fresh:
        carbs += get(mine, CARBS * LANES + lane) * faded
    put(mine, CARBS * LANES + lane, carbs)
    glucose, time = get(monitor, NEWEST * LANES + lane), get(monitor, TIME * LANES + lane)
    if math.isnan(glucose):
        glucose, time = UNKNOWN, 0.0
    minute = np.int64(clock + get(geti(world, MIDNIGHT), i)) % 1440
    day = geti(job, e.CLOCK) + 16 * minute
    slope = get(monitor, SLOPE * LANES + lane)
    e.show(scale, row, 0, glucose)
    e.show(scale, row, 1, clock - time)
    e.show(scale, row, 2, 0.0 if math.isnan(slope) else slope)
    e.show(scale, row, 3, get(monitor, FIRST * LANES + lane) + get(monitor, SECOND * LANES + lane))
    e.show(scale, row, 4, get(out, (c.O_DELIVERED + 3) * width))
    e.show(scale, row, 5, get(out, c.O_DELIVERED * width))
    e.show(scale, row, 6, get(out, (c.O_DELIVERED + 1) * width))
    e.show(scale, row, 7, announced)
    e.show(scale, row, 8, carbs)
    e.show(scale, row, 9, get(day, 0))
    e.show(scale, row, 10, get(day, 1))
    if fresh:  # who it is stays as it is written
        for k in range(4):
            e.show(scale, row, 11 + k, get(own, k))
        e.same_past(job, i)


@jit
def glucose_env_step(job, first, last):
    """One decision of blocks first … last − 1."""
    world, gate = geti(job, e.WORLD), geti(job, e.GATE)
    faded = math.exp(-geti(world, c.TICKS) / ABSORBED)
    for b in range(first, last, e.GROUP):
        end = min(b + e.GROUP, last)
        for q in range(b, end):
            _ask(job, q)
            e.guarded(job, q, 2)
        g.gate_fetch(gate, b, end)
        glucose_step(world, b, end)
        for q in range(b, end):
            _score(job, q)
            e.put_seen(job, q, 2)
        g.gate_take(gate, b, end)
        for q in range(b, end):
            for lane in range(LANES):
                _show(job, q, lane, faded, False)


@jit
def glucose_admit(job, first, last):
    """After the world's reset: the gate's lanes and the first observations of who was admitted."""
    for b in range(first, last):
        if e.admitted(job, b, 2):
            for lane in range(LANES):
                if geti(geti(geti(job, e.WORLD), c.MASK), b * LANES + lane):
                    _show(job, b, lane, 0.0, True)
