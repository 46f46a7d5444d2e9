"""The compiled loop of an operation: one control interval of a block, tick by tick."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..pkpd.calls import call_kernel, copy_row, fill_row, get, geti, put, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.vcode import Code, Rows, marked
from . import core as c
from .faults import DEPTH, RING, WIDTH, drifted, keep_first, occluded, report
from .monitors import (
    M_RING,
    N_TICK,
    W_ACTIVE,
    W_BACK,
    W_DRIFT,
    W_MONITOR,
    W_QUALITY,
    W_SHOWN,
    W_STAMP,
    W_STARTS,
    W_TIME,
    W_TOTAL,
    W_WIDE,
    monitor_admit,
    monitor_artefact,
    monitor_delayed,
    monitor_keep,
    pressure_read,
)
from .pumps import S_SAID, SYRINGE_ROWS, SYRINGE_SETTINGS, syringe_admit
from .surgery import G_STOP, SURGERY_ROWS, missing_blood, stimulation, surgery_admit, surgery_move

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
    COMMAND,  # kernels of the pumps
    RUN,
    ENDS,  # kernels of a tick's end
    STIMULATED,
    QUALITY,  # kernels of the monitor
    READING,
    SPARE,  # working memory: see W_… (blocks, W_ROWS, 8)
) = range(c.OWN, c.OWN + 29)
# rows behind those of the monitor: rates asked; 1 where a line is blocked; who comes to a new piece of the profile;
# BIS of the model, with stimulation, what stimulation adds to the pressure; whose BIS is not finite
W_ASKED, W_BLOCKED, W_MOVED, W_MODEL, W_BIS, W_PRESSURE, W_BROKEN, W_ROWS = range(W_MONITOR, W_MONITOR + 8)

# what may differ from lane to lane, all factors: on parameters, on stimulation, on the monitor's noise and artefacts
VARIES = ("clearance", "volume", "ce50", "stimulation", "sensor_noise")
STIMULATION, NOISE = 3, 4
SHARES = {
    "clearance": ("cl", "q2", "q3"),
    "volume": ("v1", "v2", "v3"),
    "ce50": ("ce50",),
}

# (constants of other modules that fall into the range are in it too; nobody looks them up)
SLOTS = {n: v for n, v in globals().items() if n.isupper() and isinstance(v, int) and c.OWN <= v < c.OWN + 29}


@lru_cache(maxsize=1)
def tick_kernels() -> tuple[int, int]:
    """Of a tick's end, before the monitor; working memory in ``out``, the profile of stimulation in ``u``.

    The first moves the clocks on (``x``), writes the time (ticks being ``p`` min) and the monitors' counters (``k``,
    integers), and marks who comes to a new piece of the profile. The second adds the profile to the model's BIS.
    """
    ends, truth = Code(), Code()
    ticks = ends.load("x", 0) + 1.0
    ends.store("x", 0, ticks)
    ends.store("k", 0, (ticks + 1.0).whole())
    time = ticks * ends.load("p", N_TICK)
    ends.store("out", W_TIME, time)
    ends.mark("out", W_MOVED, time >= Rows(ends, "u")[G_STOP])

    w = Rows(truth, "out")
    offset, w[W_PRESSURE] = stimulation(Rows(truth, "u"), w[W_TIME])
    bis = w[W_MODEL] + offset
    bis = truth.where(bis < 0.0, 0.0, truth.where(bis > 100.0, 100.0, bis))
    truth.mark("out", W_BROKEN, ~bis.finite())
    w[W_BIS] = truth.where(bis.finite(), bis, 0.0)
    return ends.address("operation, tick ends", "world"), truth.address("operation, true BIS", "world")


@jit
def _true_bis(job, b):
    """BIS of a block without the monitor, into the working memory (0 and a mark where it is not finite)."""
    spare, y = c.block(job, SPARE, W_ROWS, b), c.block(job, c.Y, geti(job, c.ROWS_Y), b)
    copy_row(spare + W_MODEL * c.LINE, y + geti(job, c.TRUE) * c.LINE)
    call_kernel(geti(job, STIMULATED), 0, 0, 0, c.block(job, STIMULUS, SURGERY_ROWS, b), 0, spare)


@jit
def _observe(job, b, drawn, every):
    """Sample the monitors at a block's clocks, and write what is seen: of all, or of the mask's lanes."""
    tick, width, ring = get(geti(job, c.NUMBERS), 0), geti(job, c.BLOCKS) * LANES, geti(job, RING_TICKS)
    many, f, spare = geti(job, c.FAULTS), geti(job, MONITOR), c.block(job, SPARE, W_ROWS, b)
    watch, faults = c.block(job, WATCH, M_RING + ring, b), c.block(job, c.FAULT, many * WIDTH, b)
    clock, key, mask = geti(job, c.CLOCK) + b * c.LINE, geti(job, c.KEY) + b * c.LINE, geti(job, c.MASK) + b * c.LINE
    copy_row(spare + W_WIDE * c.LINE, c.block(job, c.VARY, geti(job, c.VARY_ROWS), b) + NOISE * c.LINE)
    fill_row(spare + W_ACTIVE * c.LINE, 1.0)
    if not every:
        for lane in range(LANES):
            put(spare, W_ACTIVE * LANES + lane, 1.0 if geti(mask, lane) else 0.0)
    call_kernel(geti(job, QUALITY), 0, watch, f, 0, drawn, spare)
    starts, counts = marked(spare + W_STARTS * c.LINE), c.block(job, c.COUNTS, 1, b)
    for lane in range(LANES):
        count = geti(counts, lane) - 1
        if starts & (1 << lane):
            monitor_artefact(f, watch, lane, geti(key, lane), geti(key, width + lane), count)
        total = monitor_delayed(f, watch, lane, ring, count, get(spare, W_BACK * LANES + lane))
        put(spare, W_TOTAL * LANES + lane, total)
        if many > 0:
            put(spare, W_DRIFT * LANES + lane, drifted(faults, many, lane, count * tick))
    call_kernel(geti(job, READING), 0, 0, f, 0, drawn, spare)
    out, line, memory = geti(job, c.OUT) + b * c.LINE, 8 * width, c.block(job, MEMORY, RING + DEPTH, b)
    if many > 0:
        for lane in range(LANES):
            if every or geti(mask, lane):
                at = W_SHOWN * LANES + lane
                t = get(spare, W_TIME * LANES + lane)
                shown, stamp = report(faults, many, lane, memory, get(spare, at), t, tick)
                put(spare, at, shown)
                put(spare, W_STAMP * LANES + lane, stamp)
    if every:
        copy_row(out + c.O_READING * line, spare + W_SHOWN * c.LINE)
        copy_row(out + c.O_STAMP * line, spare + W_STAMP * c.LINE)
        copy_row(out + c.O_QUALITY * line, spare + W_QUALITY * c.LINE)
        fill_row(out + c.O_ANNOUNCED * line, 0.0)
        fill_row(out + c.O_PRESSURE * line, math.nan)
        copy_row(out + c.O_ENDED * line, geti(job, c.ENDED) + b * c.LINE)
        copy_row(out + c.O_CLOCK * line, spare + W_TIME * c.LINE)
    else:
        for lane in range(LANES):
            if geti(mask, lane):
                i, at = b * LANES + lane, spare + 8 * lane
                shown, stamp, quality = get(at, W_SHOWN * LANES), get(at, W_STAMP * LANES), get(at, W_QUALITY * LANES)
                ended, t = get(geti(job, c.ENDED), i), get(at, W_TIME * LANES)
                c.say(geti(job, c.OUT), width, i, shown, stamp, quality, 0.0, math.nan, ended, t)
    if geti(job, MAP_ROW) >= 0:
        y = c.block(job, c.Y, geti(job, c.ROWS_Y), b)
        for lane in range(LANES):
            if every or geti(mask, lane):
                true = get(y, geti(job, MAP_ROW) * LANES + lane) + get(spare, W_PRESSURE * LANES + lane)
                seed, patient, count = geti(key, lane), geti(key, width + lane), np.int64(get(clock, lane))
                put(out, c.O_PRESSURE * width + lane, pressure_read(f, seed, patient, count, true))


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
def _give(job, b, begin):
    """What the pumps push into a block in the tick that ends."""
    actions, count, spare = geti(job, c.ACTIONS), geti(job, c.FAULTS), c.block(job, SPARE, W_ROWS, b)
    pump, syringes = (
        c.block(job, PUMP, SYRINGE_SETTINGS * actions, b),
        c.block(job, SYRINGES, SYRINGE_ROWS * actions, b),
    )
    rates = c.block(job, c.U, geti(job, c.ROWS_U), b) + geti(job, ROUTE_ROW) * c.LINE
    action, clock = geti(job, c.ACTION) + b * c.LINE * actions, geti(job, c.CLOCK) + b * c.LINE
    tick = geti(job, MONITOR) + N_TICK * c.LINE
    for d in range(actions):
        s, a = pump + d * SYRINGE_SETTINGS * c.LINE, syringes + d * SYRINGE_ROWS * c.LINE
        if begin:
            for lane in range(LANES):
                put(spare, W_ASKED * LANES + lane, get(action, lane * actions + d))
            call_kernel(geti(job, COMMAND), spare + W_ASKED * c.LINE, a, s, 0, 0, 0)
        if count > 0:
            faults = c.block(job, c.FAULT, count * WIDTH, b)
            for lane in range(LANES):
                t = np.int64(get(clock, lane)) * get(tick, 0)
                blocked = occluded(faults, count, lane, np.float64(d), t)
                put(spare, W_BLOCKED * LANES + lane, 1.0 if blocked else 0.0)
        call_kernel(geti(job, RUN), spare + W_BLOCKED * c.LINE, a, s, 0, tick, rates + d * c.LINE)


@jit
def _end(job, b, j):
    """A tick of a block ends: clocks, the truth, what the monitors show."""
    width, i, ring = geti(job, c.BLOCKS) * LANES, b * LANES, geti(job, RING_TICKS)
    spare, stimulus = c.block(job, SPARE, W_ROWS, b), c.block(job, STIMULUS, SURGERY_ROWS, b)
    counts, clock = c.block(job, c.COUNTS, 1, b), geti(job, c.CLOCK) + b * c.LINE
    call_kernel(geti(job, ENDS), 0, clock, geti(job, MONITOR), stimulus, counts, spare)
    moved = marked(spare + W_MOVED * c.LINE)
    if moved:
        for lane in range(LANES):
            if moved & (1 << lane):
                surgery_move(stimulus, lane, get(spare, W_TIME * LANES + lane))
    _true_bis(job, b)
    broken = marked(spare + W_BROKEN * c.LINE)
    if broken:
        for lane in range(LANES):
            if broken & (1 << lane):
                put(geti(job, c.ENDED), i + lane, np.float64(c.NOT_FINITE))
    copy_row(geti(job, c.TRUTH) + 8 * (j * width + i), spare + W_BIS * c.LINE)
    if geti(job, MAP_ROW) >= 0:
        y = c.block(job, c.Y, geti(job, c.ROWS_Y), b) + geti(job, MAP_ROW) * c.LINE
        for lane in range(LANES):
            pressure = get(y, lane) + get(spare, W_PRESSURE * LANES + lane)
            put(geti(job, PRESSURES), j * width + i + lane, pressure)
    watch = c.block(job, WATCH, M_RING + ring, b)
    for lane in range(LANES):
        monitor_keep(watch, lane, ring, geti(counts, lane) - 1, get(spare, W_BIS * LANES + lane))
    _observe(job, b, c.draw(job, b), True)


@jit
def anaesthesia_step(job, first, last):
    """Move blocks by one control interval."""
    tick, ticks, actions = get(geti(job, c.NUMBERS), 0), geti(job, c.TICKS), geti(job, c.ACTIONS)
    every, width, out = np.int64(max(1.0, math.floor(1.0 / tick + 0.5))), geti(job, c.BLOCKS) * LANES, geti(job, c.OUT)
    for b in range(first, last):
        clock, syringes = geti(job, c.CLOCK) + b * c.LINE, c.block(job, SYRINGES, SYRINGE_ROWS * actions, b)
        for j in range(ticks):
            _give(job, b, j == 0)
            if geti(job, BLEEDS) > 0:
                for lane in range(LANES):
                    at = np.int64(get(clock, lane))
                    if at % every == 0:
                        _bleed(job, b, lane, at * tick)
                c.propagate(job, b)
            c.advance(job, b, 1)
            _end(job, b, j)
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
        table, counts, clock = (
            geti(job, STIMULUS_NUMBERS),
            c.block(job, c.COUNTS, 1, b),
            geti(job, c.CLOCK) + b * c.LINE,
        )
        spare, how = c.block(job, SPARE, W_ROWS, b), c.block(job, STIMULUS_SETTINGS, 3, b)
        for lane in range(LANES):
            puti(counts, lane, np.int64(get(clock, lane)) + 1)
            put(spare, W_TIME * LANES + lane, get(clock, lane) * get(geti(job, c.NUMBERS), 0))
            i = b * LANES + lane
            if geti(geti(job, c.MASK), i):
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
                    geti(geti(job, c.KEY), i),
                    geti(geti(job, c.KEY), width + i),
                )
                for d in range(actions):
                    syringe_admit(pump + d * SYRINGE_SETTINGS * c.LINE, syringes + d * SYRINGE_ROWS * c.LINE, lane)
        _true_bis(job, b)
        for lane in range(LANES):
            i = b * LANES + lane
            if geti(geti(job, c.MASK), i) == 0:
                continue
            own = 0.0
            if geti(job, DELAY_ROW) >= 0:
                own = get(c.block(job, c.P, geti(job, c.ROWS_P), b), geti(job, DELAY_ROW) * LANES + lane)
            seed, patient = geti(geti(job, c.KEY), i), geti(geti(job, c.KEY), width + i)
            bis = get(spare, W_BIS * LANES + lane)
            monitor_admit(geti(job, MONITOR), watch, lane, ring, seed, patient, own, bis)
            keep_first(c.block(job, MEMORY, RING + DEPTH, b), lane, bis)
            for d in range(actions):
                put(geti(job, c.OUT), (c.O_DELIVERED + d) * width + i, 0.0)
        _observe(job, b, c.draw(job, b), False)
