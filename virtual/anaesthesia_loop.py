"""The compiled loop of an operation: one control interval of a block, tick by tick."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.calls import get, geti, put, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from . import core as c
from .faults import DEPTH, RING, WIDTH, drifted, keep_first, occluded, report
from .monitors import M_RING, monitor_admit, monitor_keep, monitor_read, pressure_read
from .pumps import S_SAID, SYRINGE_ROWS, SYRINGE_SETTINGS, syringe_admit, syringe_command, syringe_tick
from .surgery import SURGERY_ROWS, missing_blood, stimulation, surgery_admit

__all__ = ["SLOTS", "anaesthesia_reset", "anaesthesia_step"]

(
    MONITOR,  # floats, one set for all
    WATCH,  # the monitor's state
    WATCH_ROWS,
    RING_TICKS,
    MEMORY,  # readings kept for faults
    PUMP,  # settings, drug after drug
    SYRINGES,  # state
    STIMULUS,
    TABLE,  # the given profile
    TABLE_POINTS,
    DEALT,  # random profiles: 1
    STIMULUS_SETTINGS,  # rows: scale, shift, blood share
    STIMULUS_NUMBERS,  # floats: random profile's length least and most; blood loss start, duration, replaced
    DELAY_ROW,  # row of the parameter ``delay``, -1
    MAP_ROW,  # row of the output ``map``, -1
    BLEEDS,
    BLOOD_ROWS,  # parameters that follow the blood volume: their rows
    BLOOD_COUNT,
    CENTRAL_ROWS,
    CENTRAL_COUNT,
    ROUTE_ROW,  # first row of the routes' rates among the inputs
    PRESSURES,  # (ticks, patients) true mean arterial pressure
) = range(c.OWN, c.OWN + 22)

# what may differ from lane to lane, all factors: on parameters, on stimulation, on the monitor's noise and artefacts
VARIES = ("clearance", "volume", "ce50", "stimulation", "sensor_noise")
STIMULATION, NOISE = 3, 4
SHARES = {
    "clearance": ("cl", "q2", "q3"),
    "volume": ("v1", "v2", "v3"),
    "ce50": ("ce50",),
}

# (constants of other modules that fall into the range are in it too; nobody looks them up)
SLOTS = {n: v for n, v in globals().items() if n.isupper() and isinstance(v, int) and c.OWN <= v < c.OWN + 22}


@jit
def _true_bis(job, b, lane, t):
    """BIS of a patient without the monitor (NaN where the model's is not finite), and the offset of the pressure."""
    bis = get(c.block(job, c.Y, geti(job, c.ROWS_Y), b), geti(job, c.TRUE) * LANES + lane)
    offset, pressure = stimulation(c.block(job, STIMULUS, SURGERY_ROWS, b), lane, t)
    bis += offset
    return (0.0 if bis < 0.0 else 100.0 if bis > 100.0 else bis), pressure


@jit
def _draw(job, b):
    """The monitor's random numbers at the clocks of a block."""
    counts, clock = c.block(job, c.COUNTS, 1, b), geti(job, c.CLOCK) + b * c.LINE
    for lane in range(LANES):
        puti(counts, lane, np.int64(get(clock, lane)) + 1)
    return c.draw(job, b)


@jit
def _observe(job, b, lane, count, pressure, drawn):
    """Sample the monitor at tick ``count`` and write what is seen."""
    i, tick, width = b * LANES + lane, get(geti(job, c.NUMBERS), 0), geti(job, c.BLOCKS) * LANES
    seed, patient = geti(geti(job, c.KEY), i), geti(geti(job, c.KEY), width + i)
    t, ring, many = count * tick, geti(job, RING_TICKS), geti(job, c.FAULTS)
    watch, f, faults = c.block(job, WATCH, M_RING + ring, b), geti(job, MONITOR), c.block(job, c.FAULT, many * WIDTH, b)
    drift = drifted(faults, many, lane, t)
    wide = c.varied(job, b, NOISE, lane)
    shown, quality = monitor_read(f, watch, lane, ring, seed, patient, count, tick, drift, wide, drawn)
    shown, stamp = report(faults, many, lane, c.block(job, MEMORY, RING + DEPTH, b), shown, t, tick)
    mean = math.nan
    if geti(job, MAP_ROW) >= 0:
        true = get(c.block(job, c.Y, geti(job, c.ROWS_Y), b), geti(job, MAP_ROW) * LANES + lane) + pressure
        mean = pressure_read(f, seed, patient, count, true)
    c.say(geti(job, c.OUT), width, i, shown, stamp, quality, 0.0, mean, get(geti(job, c.ENDED), i), t)


@jit
def _bleed(job, b, lane, t):
    """Let volume and clearances follow the blood volume at t."""
    table, i = geti(job, STIMULUS_NUMBERS), b * LANES + lane
    share = get(c.block(job, STIMULUS_SETTINGS, 3, b), 2 * LANES + lane)
    left = 1.0 - missing_blood(t, get(table, 2), get(table, 3), share, get(table, 4))
    m, who = geti(job, c.ROWS_P), geti(geti(job, c.WHO), i)
    p, x = c.block(job, c.P, m, b), c.block(job, c.X, geti(job, c.ROWS_X), b)
    ratio = 1.0
    for k in range(geti(job, BLOOD_COUNT)):
        r = geti(geti(job, BLOOD_ROWS), k)
        fresh = left * (get(geti(job, c.LIBRARY_P), who * m + r) * c.share_of(job, b, r, lane))
        ratio = fresh / get(p, r * LANES + lane)
        put(p, r * LANES + lane, fresh)
    if ratio < 1.0:  # drug leaves with the blood; what replaces it brings none
        for k in range(geti(job, CENTRAL_COUNT)):
            r = geti(geti(job, CENTRAL_ROWS), k)
            put(x, r * LANES + lane, get(x, r * LANES + lane) * ratio)


@jit
def anaesthesia_step(job, first, last):
    """Move blocks by one control interval."""
    tick, ticks, actions = get(geti(job, c.NUMBERS), 0), geti(job, c.TICKS), geti(job, c.ACTIONS)
    ring, every = geti(job, RING_TICKS), np.int64(max(1.0, math.floor(1.0 / tick + 0.5)))
    width, count, map_row, rate_row = (
        geti(job, c.BLOCKS) * LANES,
        geti(job, c.FAULTS),
        geti(job, MAP_ROW),
        geti(job, ROUTE_ROW),
    )
    clock, truth, out, bleeds = geti(job, c.CLOCK), geti(job, c.TRUTH), geti(job, c.OUT), geti(job, BLEEDS)
    for b in range(first, last):
        pump, syringes = (
            c.block(job, PUMP, SYRINGE_SETTINGS * actions, b),
            c.block(job, SYRINGES, SYRINGE_ROWS * actions, b),
        )
        u, watch = c.block(job, c.U, geti(job, c.ROWS_U), b), c.block(job, WATCH, M_RING + ring, b)
        y, faults = c.block(job, c.Y, geti(job, c.ROWS_Y), b), c.block(job, c.FAULT, count * WIDTH, b)
        action = geti(job, c.ACTION) + b * c.LINE * actions
        for j in range(ticks):
            for lane in range(LANES):
                at = np.int64(get(clock, b * LANES + lane))
                for d in range(actions):
                    s, a = pump + d * SYRINGE_SETTINGS * c.LINE, syringes + d * SYRINGE_ROWS * c.LINE
                    if j == 0:
                        syringe_command(s, a, lane, get(action, lane * actions + d))
                    blocked = count > 0 and occluded(faults, count, lane, np.float64(d), at * tick)
                    put(u, (rate_row + d) * LANES + lane, syringe_tick(s, a, lane, tick, blocked) / tick)
            if bleeds > 0:
                for lane in range(LANES):
                    at = np.int64(get(clock, b * LANES + lane))
                    if at % every == 0:
                        _bleed(job, b, lane, at * tick)
                c.propagate(job, b)
            c.advance(job, b, 1)
            for lane in range(LANES):
                put(clock, b * LANES + lane, get(clock, b * LANES + lane) + 1.0)
            drawn = _draw(job, b)
            for lane in range(LANES):
                i = b * LANES + lane
                at = np.int64(get(clock, i))
                bis, pressure = _true_bis(job, b, lane, at * tick)
                if not math.isfinite(bis):
                    put(geti(job, c.ENDED), i, np.float64(c.NOT_FINITE))
                    bis = 0.0
                put(truth, j * width + i, bis)
                if map_row >= 0:
                    put(geti(job, PRESSURES), j * width + i, get(y, map_row * LANES + lane) + pressure)
                monitor_keep(watch, lane, ring, at, bis)
                _observe(job, b, lane, at, pressure, drawn)
        for lane in range(LANES):
            for d in range(actions):
                said = get(syringes, (d * SYRINGE_ROWS + S_SAID) * LANES + lane)
                put(out, (c.O_DELIVERED + d) * width + b * LANES + lane, said / (ticks * tick))


@jit
def anaesthesia_reset(job, first, last):
    """Admit the patients of the mask: everything as at the start of their operation, and what is seen then."""
    actions, ring = geti(job, c.ACTIONS), geti(job, RING_TICKS)
    width = geti(job, c.BLOCKS) * LANES
    for b in range(first, last):
        pump, syringes = (
            c.block(job, PUMP, SYRINGE_SETTINGS * actions, b),
            c.block(job, SYRINGES, SYRINGE_ROWS * actions, b),
        )
        watch, stimulus = c.block(job, WATCH, M_RING + ring, b), c.block(job, STIMULUS, SURGERY_ROWS, b)
        fresh = False
        for lane in range(LANES):
            if geti(geti(job, c.MASK), b * LANES + lane):
                c.admit(job, b, lane)
                fresh = True
        if not fresh:
            continue
        c.propagate(job, b)
        c.outputs_of(job, b)
        table, drawn = geti(job, STIMULUS_NUMBERS), _draw(job, b)
        for lane in range(LANES):
            i = b * LANES + lane
            if geti(geti(job, c.MASK), i) == 0:
                continue
            seed, patient = geti(geti(job, c.KEY), i), geti(geti(job, c.KEY), width + i)
            how = c.block(job, STIMULUS_SETTINGS, 3, b)
            surgery_admit(
                geti(job, TABLE),
                geti(job, TABLE_POINTS),
                stimulus,
                lane,
                get(how, lane) * c.varied(job, b, STIMULATION, lane),
                get(how, LANES + lane),
                geti(job, DEALT),
                get(table, 0),
                get(table, 1),
                seed,
                patient,
            )
            for d in range(actions):
                s, a = pump + d * SYRINGE_SETTINGS * c.LINE, syringes + d * SYRINGE_ROWS * c.LINE
                syringe_admit(s, a, lane)
            own = 0.0
            if geti(job, DELAY_ROW) >= 0:
                own = get(c.block(job, c.P, geti(job, c.ROWS_P), b), geti(job, DELAY_ROW) * LANES + lane)
            bis, pressure = _true_bis(job, b, lane, 0.0)
            monitor_admit(geti(job, MONITOR), watch, lane, ring, seed, patient, own, bis)
            keep_first(c.block(job, MEMORY, RING + DEPTH, b), lane, bis)
            _observe(job, b, lane, 0, pressure, drawn)
            for d in range(actions):
                put(geti(job, c.OUT), (c.O_DELIVERED + d) * width + i, 0.0)
