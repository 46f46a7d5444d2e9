"""The compiled loop of a glucose world: one control interval of a block, minute by minute.

Slots of the job beyond `virtual.core`'s stand first. What all 8 patients need is done by kernels for all at once, what
few of them need in a given minute (a bite, a sample) one by one.
"""
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
from .faults import DEPTH, RING, UNANNOUNCED, WIDTH, drifted, keep_first, occluded, report, under
from .life import LIFE_ROWS, SETTINGS, life_admit, needs
from .meal import eat
from .meals import EATEN, LAST, LIST, NEXT, NEXT_WORD, PLANNED, START, bite, meals_admit, word
from .pumps import (
    BLOCKED,
    INSULIN_SETTINGS,
    NEXT_BOLUS,
    PUMP_ROWS,
    QUEUE,
    SAID_BASAL,
    SAID_BOLUS,
    insulin_admit,
    insulin_minute,
)
from .sensors import CGM_ROWS, COUNT, DUE, cgm_admit, cgm_sample

__all__ = ["SLOTS", "glucose_reset", "glucose_step"]

(
    SENSOR,  # floats, one set for all
    WORN,  # the sensor's state
    EVERY,  # minutes between samples
    MEMORY,  # readings kept for faults
    PUMP,
    PUMPING,
    SCENARIO,  # floats
    PLACES,
    MEALS_GIVEN,
    EATING,
    LIVES,
    LIVES_NUMBERS,
    LIVING,
    CHANGES,
    PERSON,  # (people, 2): weight, basal rate that runs at admission
    MIDNIGHT,  # (patients,) minutes from the midnight before to admission
    CARBS_ROW,  # rows among the model's inputs
    MEAL_ROW,  # -1: the model does not read it
    SENSITIVITY_ROW,
    DAWN_ROW,
    RATE_ROW,
    STOMACH,  # rows of states that hold the stomach's content
    STOMACH_COUNT,
    PAUSES,  # float: minutes without food that end a meal
    SHOWN,  # since the last decision: the newest reading, its time stamp, what was said of meals: (3, patients)
    EATS,  # (ticks, patients) carbohydrate eaten, g
    INFUSED,  # (ticks, patients) insulin that entered, U
    COMMAND,  # kernels of the pumps
    TURN,
    RUN,
    BEGINS,  # kernels of a minute
    ENDS,
    SPARE,  # working memory: see W_… (blocks, 5, 8)
) = range(c.OWN, c.OWN + 33)
# rows: basal rates and boluses asked, or insulin that enters; in whom a meal is due, a run over, a sample due
W_UNITS, W_BOLUS, W_HUNGRY, W_OVER, W_DUE = range(5)
W_ROWS = 5

# (constants of other modules that fall into the range are in it too; nobody looks them up)
SLOTS = {n: v for n, v in globals().items() if n.isupper() and isinstance(v, int) and c.OWN <= v < c.OWN + 33}
# what may differ from lane to lane: of meals (`virtual.meals`), a factor on insulin's action, one on the sensor's error
VARIES = ("carbohydrate_error", "meal_size", "silent", "sensitivity", "sensor_noise")
V_SENSITIVITY, V_NOISE = 3, 4
LOWEST, HIGHEST = 10.0, 600.0  # mg/dL: a run ends outside (the usual benchmark's limits)


@jit
def _draw(job, b):
    """The random numbers of a block's next samples."""
    counts, worn = c.block(job, c.COUNTS, 1, b), c.block(job, WORN, CGM_ROWS, b)
    for lane in range(LANES):
        puti(counts, lane, np.int64(get(worn, COUNT * LANES + lane)))
    return c.draw(job, b)


@jit
def _sample(job, b, lane, minute, drawn):
    """Read the sensor at ``minute`` and keep what arrives as the newest reading."""
    width = geti(job, c.BLOCKS) * LANES
    i, key, count = b * LANES + lane, geti(job, c.KEY), geti(job, c.FAULTS)
    faults = c.block(job, c.FAULT, count * WIDTH, b)
    value = cgm_sample(
        geti(job, SENSOR),
        c.block(job, WORN, CGM_ROWS, b),
        lane,
        geti(key, i),
        geti(key, width + i),
        minute,
        minute + get(geti(job, MIDNIGHT), i),
        get(c.block(job, c.Y, geti(job, c.ROWS_Y), b), geti(job, c.SENSED) * LANES + lane),
        drifted(faults, count, lane, minute),
        c.varied(job, b, V_NOISE, lane),
        drawn,
    )
    memory = c.block(job, MEMORY, RING + DEPTH, b)
    value, stamp = report(faults, count, lane, memory, value, minute, np.float64(geti(job, EVERY)))
    put(geti(job, SHOWN), i, value)
    put(geti(job, SHOWN), width + i, stamp)


@jit
def _hear(job, b, lane, minute):
    """Keep what is said of meals by ``minute``."""
    places, i = geti(job, PLACES), b * LANES + lane
    eating = c.block(job, EATING, LIST + 4 * places, b)
    if minute + get(geti(job, MIDNIGHT), i) >= get(eating, NEXT_WORD * LANES + lane):
        grams = word(eating, lane, places, minute + get(geti(job, MIDNIGHT), i))
        count = geti(job, c.FAULTS)
        hit, _, _ = under(c.block(job, c.FAULT, count * WIDTH, b), count, lane, UNANNOUNCED, minute)
        put(geti(job, SHOWN), 2 * geti(job, c.BLOCKS) * LANES + i, 0.0 if hit else grams)


@jit
def _forget(job, b, lane):
    """Nothing has been seen or heard yet."""
    width, shown = geti(job, c.BLOCKS) * LANES, geti(job, SHOWN) + 8 * (b * LANES + lane)
    put(shown, 0, math.nan)
    put(shown, width, math.nan)
    put(shown, 2 * width, 0.0)


@jit
def _tell(job, b):
    """Write what is seen of a block now."""
    width, first = geti(job, c.BLOCKS) * LANES, b * LANES
    line, out, shown = 8 * width, geti(job, c.OUT) + 8 * first, geti(job, SHOWN) + 8 * first
    pumping, hours = c.block(job, PUMPING, PUMP_ROWS, b), geti(job, c.TICKS) / 60.0
    copy_row(out + c.O_READING * line, shown)
    copy_row(out + c.O_STAMP * line, shown + line)
    fill_row(out + c.O_QUALITY * line, 100.0)
    copy_row(out + c.O_ANNOUNCED * line, shown + 2 * line)
    fill_row(out + c.O_PRESSURE * line, math.nan)
    copy_row(out + c.O_ENDED * line, geti(job, c.ENDED) + 8 * first)
    copy_row(out + c.O_CLOCK * line, geti(job, c.CLOCK) + 8 * first)
    copy_row(out + (c.O_DELIVERED + 1) * line, pumping + SAID_BOLUS * c.LINE)
    for lane in range(LANES):
        put(out, c.O_DELIVERED * width + lane, get(pumping, SAID_BASAL * LANES + lane) / hours)
    for lane in range(LANES):
        pending = get(pumping, NEXT_BOLUS * LANES + lane) + get(pumping, QUEUE * LANES + lane)
        put(out, (c.O_DELIVERED + 3) * width + lane, pending)


@jit
def _meal(job, b, lane, now, carbs):
    """A minute with food: the model's ``meal`` input."""
    x, eating, grams = (
        c.block(job, c.X, geti(job, c.ROWS_X), b),
        c.block(job, EATING, LIST + 4 * geti(job, PLACES), b),
        0.0,
    )
    for k in range(geti(job, STOMACH_COUNT)):
        grams += get(x, geti(geti(job, STOMACH), k) * LANES + lane) / 1000.0
    start, eaten, _ = eat(
        get(eating, START * LANES + lane),
        get(eating, EATEN * LANES + lane),
        now - get(eating, LAST * LANES + lane),
        carbs,
        grams,
        1.0,
        get(geti(job, PAUSES), 0),
    )
    put(eating, START * LANES + lane, start)
    put(eating, EATEN * LANES + lane, eaten)
    put(eating, LAST * LANES + lane, now + 1.0)
    put(c.block(job, c.U, geti(job, c.ROWS_U), b), geti(job, MEAL_ROW) * LANES + lane, start + eaten)


@lru_cache(maxsize=1)
def minute_kernels() -> tuple[int, int]:
    """What all of a block need at a minute's beginning, and at its end.

    The first reads clocks (``s``), the list of meals (``u``) and midnights (``k``), and marks in ``out`` in whom a meal
    is due. The second moves clocks on (``x``), reads endings (``s``), sensors (``p``) and the truth (``u``), writes
    that to ``k`` and marks in ``out`` whose run is over and whose sample is due.
    """
    begins, ends = Code(), Code()
    eating, now = Rows(begins, "u"), begins.load("s", 0) + begins.load("k", 0)
    begins.mark("out", W_HUNGRY, (now >= eating[NEXT]) | (eating[PLANNED] > 0.0))
    minute, true = ends.load("x", 0) + 1.0, ends.load("u", 0)
    ends.store("x", 0, minute)
    ends.store("k", 0, true)
    ends.mark("out", W_OVER, (ends.load("s", 0) > 0.0) | ~((true >= LOWEST) & (true <= HIGHEST)))
    ends.mark("out", W_DUE, minute >= ends.load("p", DUE))
    return begins.address("glucose world, minute begins", "world"), ends.address("glucose world, minute ends", "world")


@jit
def _inputs(job, b, j):
    """Everything that enters a block in the minute that begins: meals, insulin, life."""
    width, first, places = geti(job, c.BLOCKS) * LANES, b * LANES, geti(job, PLACES)
    clock, midnight = geti(job, c.CLOCK) + 8 * first, geti(job, MIDNIGHT) + 8 * first
    u, eating = c.block(job, c.U, geti(job, c.ROWS_U), b), c.block(job, EATING, LIST + 4 * places, b)
    carbs, units = u + geti(job, CARBS_ROW) * c.LINE, u + geti(job, RATE_ROW) * c.LINE
    pumping, count, key = c.block(job, PUMPING, PUMP_ROWS, b), geti(job, c.FAULTS), geti(job, c.KEY)
    spare = c.block(job, SPARE, W_ROWS, b)
    call_kernel(geti(job, BEGINS), clock, 0, 0, eating, midnight, spare)
    fill_row(carbs, 0.0)
    hungry = marked(spare + W_HUNGRY * c.LINE)
    if hungry:
        for lane in range(LANES):
            if hungry & (1 << lane):
                i, now = first + lane, get(clock, lane) + get(midnight, lane)
                weight = get(geti(job, PERSON), 2 * geti(geti(job, c.WHO), i))
                seed, patient = geti(key, i), geti(key, width + i)
                own = c.block(job, c.VARY, geti(job, c.VARY_ROWS), b)
                eaten = bite(geti(job, SCENARIO), own, eating, lane, places, now, weight, seed, patient)
                put(carbs, lane, eaten)
                if eaten > 0 and geti(job, MEAL_ROW) >= 0:
                    _meal(job, b, lane, now, eaten)
    if count > 0:
        faults = c.block(job, c.FAULT, count * WIDTH, b)
        for lane in range(LANES):
            put(pumping, BLOCKED * LANES + lane, 1.0 if occluded(faults, count, lane, 0.0, get(clock, lane)) else 0.0)
    insulin_minute(geti(job, TURN), geti(job, RUN), c.block(job, PUMP, INSULIN_SETTINGS, b), pumping, units)
    copy_row(geti(job, EATS) + 8 * (j * width + first), carbs)
    copy_row(geti(job, INFUSED) + 8 * (j * width + first), units)
    if geti(job, CHANGES) > 0:
        lives, living = c.block(job, LIVES, SETTINGS, b), c.block(job, LIVING, LIFE_ROWS, b)
        for lane in range(LANES):
            if np.int64(get(clock, lane)) % 5 == 0:
                i, now = first + lane, get(clock, lane) + get(midnight, lane)
                factor, dawn = needs(
                    lives, geti(job, LIVES_NUMBERS), living, lane, now, geti(key, i), geti(key, width + i)
                )
                put(u, geti(job, SENSITIVITY_ROW) * LANES + lane, factor * c.varied(job, b, V_SENSITIVITY, lane))
                put(u, geti(job, DAWN_ROW) * LANES + lane, dawn)


@jit
def _outcome(job, b, j):
    """After a minute: clocks, the truth, endings, and a sample where one is due."""
    width, first = geti(job, c.BLOCKS) * LANES, b * LANES
    clock, ends = geti(job, c.CLOCK) + 8 * first, geti(job, c.ENDED) + 8 * first
    y = c.block(job, c.Y, geti(job, c.ROWS_Y), b) + geti(job, c.TRUE) * c.LINE
    truth, worn = geti(job, c.TRUTH) + 8 * (j * width + first), c.block(job, WORN, CGM_ROWS, b)
    spare = c.block(job, SPARE, W_ROWS, b)
    call_kernel(geti(job, ENDS), ends, clock, worn, y, truth, spare)
    if marked(spare + W_OVER * c.LINE):
        for lane in range(LANES):
            true, ended = get(y, lane), get(ends, lane)
            if ended == 0 and not (LOWEST <= true <= HIGHEST):
                ended = np.float64(c.LOW if true < LOWEST else c.HIGH if true > HIGHEST else c.NOT_FINITE)
                put(ends, lane, ended)
            if ended > 0:
                put(truth, lane, LOWEST - 1 if ended == c.LOW else HIGHEST + 1)
    due = marked(spare + W_DUE * c.LINE)
    if due:
        drawn = _draw(job, b)
        for lane in range(LANES):
            if due & (1 << lane):
                _sample(job, b, lane, get(clock, lane), drawn)


@jit
def _begin(job, b):
    """A control interval of a block begins: what is asked of the pumps."""
    pump, pumping = c.block(job, PUMP, INSULIN_SETTINGS, b), c.block(job, PUMPING, PUMP_ROWS, b)
    action, spare = geti(job, c.ACTION) + 16 * LANES * b, c.block(job, SPARE, W_ROWS, b)
    for lane in range(LANES):
        put(spare, W_UNITS * LANES + lane, get(action, 2 * lane))
        put(spare, W_BOLUS * LANES + lane, get(action, 2 * lane + 1))
    call_kernel(geti(job, COMMAND), spare, pumping, pump, 0, 0, 0)
    width, shown = geti(job, c.BLOCKS) * LANES, geti(job, SHOWN) + b * c.LINE
    fill_row(shown, math.nan)
    fill_row(shown + 8 * width, math.nan)
    fill_row(shown + 16 * width, 0.0)


@jit
def glucose_step(job, first, last):
    """Move blocks by one control interval, two at a time."""
    for b in range(first, last, 2):
        count = min(2, last - b)
        for q in range(b, b + count):
            _begin(job, q)
        for j in range(geti(job, c.TICKS)):
            for q in range(b, b + count):
                _inputs(job, q, j)
            c.advance(job, b, count)
            for q in range(b, b + count):
                _outcome(job, q, j)
        for q in range(b, b + count):
            for lane in range(LANES):
                _hear(job, q, lane, get(geti(job, c.CLOCK), q * LANES + lane))
            _tell(job, q)


@jit
def glucose_reset(job, first, last):
    """Admit the patients of the mask: steady on their basal rate, sensor and pump fresh, today's meals to come."""
    width, places, factor_row = geti(job, c.BLOCKS) * LANES, geti(job, PLACES), geti(job, SENSITIVITY_ROW)
    for b in range(first, last):
        fresh = False
        for lane in range(LANES):
            if geti(geti(job, c.MASK), b * LANES + lane):
                c.admit(job, b, lane)
                fresh = True
        if not fresh:
            continue
        c.propagate(job, b)
        c.outputs_of(job, b)
        eating, given = c.block(job, EATING, LIST + 4 * places, b), c.block(job, MEALS_GIVEN, 4 * places, b)
        u = c.block(job, c.U, geti(job, c.ROWS_U), b)
        for lane in range(LANES):
            i = b * LANES + lane
            if geti(geti(job, c.MASK), i) == 0:
                continue
            seed, patient = geti(geti(job, c.KEY), i), geti(geti(job, c.KEY), width + i)
            now, person = get(geti(job, MIDNIGHT), i), geti(job, PERSON) + 16 * geti(geti(job, c.WHO), i)
            own, weight = c.block(job, c.VARY, geti(job, c.VARY_ROWS), b), get(person, 0)
            meals_admit(geti(job, SCENARIO), given, own, eating, lane, places, now, weight, seed, patient)
            insulin_admit(c.block(job, PUMPING, PUMP_ROWS, b), lane, get(person, 1))
            lives, living = c.block(job, LIVES, SETTINGS, b), c.block(job, LIVING, LIFE_ROWS, b)
            life_admit(lives, geti(job, LIVES_NUMBERS), living, lane, now, seed, patient)
            put(u, factor_row * LANES + lane, c.varied(job, b, V_SENSITIVITY, lane))
            cgm_admit(geti(job, SENSOR), c.block(job, WORN, CGM_ROWS, b), lane, seed, patient)
            keep_first(c.block(job, MEMORY, RING + DEPTH, b), lane, math.nan)
            _forget(job, b, lane)
            _hear(job, b, lane, 0.0)
        drawn = _draw(job, b)
        for lane in range(LANES):
            if geti(geti(job, c.MASK), b * LANES + lane):
                _sample(job, b, lane, 0.0, drawn)
        _tell(job, b)
