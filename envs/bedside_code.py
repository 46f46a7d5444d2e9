"""Compiled parts of the ward's environments: what a bedside has, what the truth costs, and the step."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

from ..pkpd.calls import floats_at, get, geti, put, puti, wholes_at
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..therapies import bedside_judge as g
from ..virtual import bedside_loop as w
from ..virtual import core as c
from . import loop_core as e

__all__ = ["BELIEF", "KIDNEYS", "WARD", "ward_admit", "ward_env_step"]

WARD, KIDNEYS, BELIEF = 14, 3, 4  # columns that `ward_features` fills
LONG = 999.0  # h: never


@jit
def ward_features(
    out, m, weight, clock, values, times, serum, before, kidneys, belief, volume, per_day, first, last
):  # fmt: skip
    """Fill the first columns of ``out`` (n, features) from the record, rows first … last − 1: see
    `envs.bedside.FEATURES`.

    Args:
        m: `therapies.bedside_rules.Memory`. weight: (n,) kg. clock: (n,) h.
        values, times: (8, n) results, the newest sample first. serum, before: (n,) mg/dL.
        kidneys, belief: whether these columns are there. volume: L/kg of the plain rules. per_day: intervals.
    """
    for i in range(first, last):
        w = weight[i]
        out[i, 0] = clock[i]
        for r in range(2):
            known, at = times[r, i] >= 0.0, 1 + 4 * r
            out[i, at] = values[r, i] if known else 0.0
            out[i, at + 1] = clock[i] - times[r, i] if known else LONG
            out[i, at + 2], out[i, at + 3] = LONG, 0.0
            if known:
                for j in range(m.count[i]):
                    if m.amount[i, j] > 0.0 and m.time[i, j] < times[r, i]:
                        out[i, at + 2], out[i, at + 3] = times[r, i] - m.time[i, j], m.amount[i, j] / w
                        break
        for j in range(3):
            out[i, 9 + j] = m.amount[i, j] / w if j < m.count[i] else 0.0
        since = LONG
        for j in range(m.count[i]):
            if m.amount[i, j] > 0.0:
                since = clock[i] - m.time[i, j]
                break
        out[i, 12] = since
        out[i, 13] = m.given[i] / w
        at = 14
        if kidneys:
            out[i, at] = serum[i]
            out[i, at + 1] = math.log(serum[i] / before[i]) if before[i] > 0.0 else 0.0
            out[i, at + 2] = m.clear[i]
            at += 3
        if belief:
            factor, area = math.exp(m.ratio[i]), 0.0
            for j in range(min(per_day, m.count[i])):
                area += m.area[i, j]
            out[i, at] = factor * m.now[i] / (volume * w)
            out[i, at + 1] = factor * area
            out[i, at + 2], out[i, at + 3] = m.ratio[i], math.sqrt(m.doubt[i])


@jit
def auc_parts(parts, exposure, course, true, elapsed, share, asked, allowed, step, first, last):
    """Rewards below and above the band, and costs: AUC24 over 600, trough over 20, guard.

    Args:
        parts: (rows, lanes) whose first 5 are filled for first … last − 1.
        exposure: (blocks, intervals of a day, 8) AUC. course: (blocks, ticks, rows, 8).
        true: the row of the level. elapsed: (n,) intervals before this one. share: of a day that an interval is.
        asked, allowed: (n,) mg. step: mg that rounding may take.
    """
    per_day, newest = exposure.shape[1], course.shape[1] - 1
    for i in range(first, last):
        b, lane, total = i // LANES, i % LANES, 0.0
        for r in range(per_day):
            total += exposure[b, r, lane]
        if elapsed[i] + 1 < per_day:
            total *= per_day / (elapsed[i] + 1.0)
        parts[0, i] = -share * max(0.0, (400.0 - total) / 400.0)
        parts[1, i] = -share * min(2.0, max(0.0, (total - 600.0) / 300.0))
        parts[2, i] = 1.0 if total > 600.0 else 0.0
        parts[3, i] = 1.0 if course[b, newest, true, lane] > 20.0 else 0.0
        parts[4, i] = 1.0 if asked[i] - allowed[i] > step else 0.0


@jit
def level_parts(parts, course, true, share, asked, allowed, step, first, last):
    """Rewards below and above the band, and costs: share of the interval over 40, over 50 mg/L, guard; as above."""
    ticks = course.shape[1]
    for i in range(first, last, LANES):  # ``first`` begins a block
        lanes = min(LANES, last - i)
        for r in range(4):
            for lane in range(lanes):
                parts[r, i + lane] = 0.0
        for j in range(ticks):
            for lane in range(lanes):  # innermost, so that eight are worked at once
                level = course[i // LANES, j, true, lane]
                parts[0, i + lane] += max(0.0, (15.0 - level) / 15.0)
                parts[1, i + lane] += min(2.0, max(0.0, (level - 40.0) / 20.0))
                parts[2, i + lane] += 1.0 if level > 40.0 else 0.0
                parts[3, i + lane] += 1.0 if level > 50.0 else 0.0
        for k in range(i, i + lanes):
            parts[0, k], parts[1, k] = -share * parts[0, k] / ticks, -share * parts[1, k] / ticks
            parts[2, k], parts[3, k] = parts[2, k] / ticks, parts[3, k] / ticks
            parts[4, k] = 1.0 if asked[k] - allowed[k] > step else 0.0


# slots of a ward's job, behind those of `loop_core`
(
    FORM,  # (lanes, features) floats: what is observed, in units
    ELAPSED,  # (lanes,) intervals before this one
    AUC,  # 1: the AUC's reward, 0: the level's
    WITH_KIDNEYS,
    WITH_BELIEF,
    OWN_NUMBERS,  # floats: see F_…
    PART_ROWS,
) = range(e.SLOTS, e.SLOTS + 7)
SLOTS = e.SLOTS + 7
# mg/kg of an action's 1 (0: it is mg), share of a day that an interval is, mg that rounding may take, L/kg
F_PER_KG, F_SHARE, F_STEP, F_VOLUME = range(4)


@jit
def _said(job, row, rows):
    """Rows of what the world says, (rows, lanes)."""
    width = geti(job, e.WIDTH)
    return floats_at(geti(geti(job, e.WORLD), c.OUT) + 8 * width * row, (rows, width))


@jit
def _ask(job, first, last):
    """The levers to doses, and those that the guard allows to the world."""
    gate, world, f = geti(job, e.GATE), geti(job, e.WORLD), geti(job, OWN_NUMBERS)
    asked, wish, weight = geti(job, e.ASKED), geti(gate, g.NUMBERS), geti(gate, g.WEIGHT)
    for i in range(first, last):
        per_kg, dose = get(f, F_PER_KG), get(asked, i)
        put(wish, i, dose * (per_kg * get(weight, i)) if per_kg != 0.0 else dose)
    action, given, masks = geti(world, c.ACTION), geti(job, e.ALLOWED), geti(job, e.MASKS)
    if geti(job, e.GUARDED) > 0:
        g.bedside_judge(gate, first, last)
    for i in range(first, last):
        dose, mask = get(wish, i), 0
        if geti(job, e.GUARDED) > 0:
            dose, mask = get(geti(gate, g.ALLOWED), i), geti(geti(gate, g.MASKS), i)
        put(action, i, dose)
        put(given, i, dose)
        puti(masks, i, mask)


@jit
def _score(job, first, last):
    """Rewards and costs of the interval, and who has ended."""
    world, f, width = geti(job, e.WORLD), geti(job, OWN_NUMBERS), geti(job, e.WIDTH)
    blocks, ticks, true = geti(world, c.BLOCKS), geti(world, c.TICKS), geti(world, c.TRUE)
    parts = floats_at(geti(job, e.PARTS), (geti(job, PART_ROWS), width))
    course = floats_at(geti(world, w.COURSE), (blocks, ticks, geti(world, c.ROWS_Y), LANES))
    asked, given = floats_at(geti(geti(job, e.GATE), g.NUMBERS), (width,)), floats_at(geti(job, e.ALLOWED), (width,))
    share, step = get(f, F_SHARE), get(f, F_STEP)
    if geti(job, AUC) > 0:
        exposure = floats_at(geti(world, w.EXPOSURE), (blocks, geti(world, w.PER_DAY), LANES))
        elapsed = wholes_at(geti(job, ELAPSED), (width,))
        auc_parts(parts, exposure, course, true, elapsed, share, asked, given, step, first, last)
    else:
        level_parts(parts, course, true, share, asked, given, step, first, last)
    for i in range(first, last):
        put(geti(job, e.ENDED), i, 1.0 if e.said(job, w.O_ENDED, i) > 0.0 else 0.0)


@jit
def _see(job, which, first, last):
    """The record takes in what is seen of those that ``which`` marks; what a bedside has of everybody, scaled."""
    gate, width, wide = geti(job, e.GATE), geti(job, e.WIDTH), geti(job, e.FEATURES)
    serum, before, clock = _said(job, w.O_SERUM, 1)[0], _said(job, w.O_BEFORE, 1)[0], _said(job, w.O_CLOCK, 1)[0]
    values, times = _said(job, w.O_LEVELS, w.KEPT), _said(job, w.O_TIMES, w.KEPT)
    given = _said(job, w.O_DOSE, 1).reshape((width, 1))
    g.bedside_see(gate, serum, given, _said(job, w.O_DURATION, 1)[0], clock, values, times, which, first, last)
    form = floats_at(geti(job, FORM), (width, wide))
    weight = floats_at(geti(gate, g.WEIGHT), (geti(gate, g.PATIENTS),))
    kidneys, belief = geti(job, WITH_KIDNEYS) > 0, geti(job, WITH_BELIEF) > 0
    volume, per_day = get(geti(job, OWN_NUMBERS), F_VOLUME), geti(geti(job, e.WORLD), w.PER_DAY)
    ward_features(
        form, g.memory_of(gate), weight, clock, values, times, serum, before, kidneys, belief, volume, per_day,
        first, last,
    )  # fmt: skip
    for i in range(first, last):
        e.show_row(job, i, geti(job, FORM) + 8 * wide * i)


@jit
def ward_env_step(job, first, last):
    """One decision of blocks first … last − 1, some of them at a time through all of it."""
    world, people = geti(job, e.WORLD), geti(job, e.PEOPLE)
    everybody = wholes_at(geti(geti(job, e.GATE), g.EVERYBODY), (people,))
    for b in range(first, last, e.GROUP):
        end = min(b + e.GROUP, last)
        at, stop = b * LANES, min(end * LANES, people)
        _ask(job, at, stop)
        w.bedside_step(world, b, end)
        _score(job, at, stop)
        _see(job, everybody, at, stop)


@jit
def ward_admit(job, first, last):
    """After the world's reset: the record and the first observations of who was admitted."""
    people = geti(job, e.PEOPLE)
    fresh = wholes_at(geti(geti(job, e.WORLD), c.MASK), (people,))
    _see(job, fresh, first * LANES, min(last * LANES, people))
