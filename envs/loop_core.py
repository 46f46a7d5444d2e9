"""What the compiled steps of the loops' environments share: guard, world, record, observation, block by block.

An environment's step is one call over blocks of 8 lanes, shared out among threads: the asked doses pass the gate's
columns, the world moves on by one interval, the gate takes in what is seen, and what a bedside has is scaled and
written as float32. Nothing of it depends on another lane.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

from ..pkpd.calls import copy_row, get, get_single, geti, put, put_single, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..therapies import gate_loop as g
from ..virtual import core as c

LINE = 8 * LANES
GROUP = 8  # blocks that go through a step together: the code of each part stays at hand, and so do their data

(
    WORLD,  # the world's job
    GATE,  # the gate's job
    PEOPLE,
    WIDTH,  # lanes
    LEVERS,
    ASKED,  # (lanes, levers), in the levers' units
    MODE,  # what the levers mean
    GUARDED,  # 0: what is asked is given
    HARMLESS,  # mask of reasons that are no violation
    PARTS,  # (rows, lanes): rewards, then costs
    ALLOWED,  # (lanes, actions)
    MASKS,  # (lanes, actions), integers
    ENDED,  # (lanes,) 1 where a run is over
    SHOWN,  # (lanes, wide) float32
    WIDE,
    FEATURES,
    STACK,
    STACKED,  # how many features are stacked
    WHICH,  # which: integers
    SCALE,  # (features, 4): factor, shift, least, most (scaled)
    OWN,  # (people, numbers): what the usual protocol knows
    OWN_COUNT,
    OWN_STATE,  # the environment's own memory: (blocks, rows, 8)
    OWN_ROWS,
    SPARE,  # a copy of a gate's and a monitor's block
    RISK,  # kernel of the reward
    CLOCK,  # (1440, 2): sine and cosine of the minute of the day
    TERMS,  # kernel's results: (blocks, 8, 8)
    ROW,  # of the gate's monitor that an observation shows, where the environment asks
) = range(29)
SLOTS = 29  # an environment's own slots start here


@jit
def own_of(job, i):
    """Address of what the usual protocol knows of the patient in lane i."""
    return geti(job, OWN) + 8 * geti(geti(geti(job, WORLD), c.WHO), i) * geti(job, OWN_COUNT)


@jit
def own(job, i, k):
    """What the usual protocol knows of the patient in lane i."""
    return get(own_of(job, i), k)


@jit
def said(job, row, i):
    """A row of what the world says, of lane i."""
    return get(geti(geti(job, WORLD), c.OUT), row * geti(job, WIDTH) + i)


@jit
def gate_block(job, slot, rows, b):
    """A block of one of the gate's arrays."""
    gate = geti(job, GATE)
    return geti(gate, slot) + b * geti(gate, rows) * LINE


@jit
def guarded(job, b, actions):
    """Judge what stands among the gate's inputs, and hand it to the world; 1 in ``PARTS``' last row where refused."""
    world, gate = geti(job, WORLD), geti(job, GATE)
    if geti(job, GUARDED) > 0:
        g.gate_column(gate, 0, b, b + 1)
        for a in range(1, actions):
            g.gate_column(gate, a, b, b + 1)
    put_in = gate_block(job, g.IN, g.ROWS_IN, b)
    out = gate_block(job, g.OUT, g.ROWS_OUT, b)
    asked = g.I_MEASURES + 3 * geti(gate, g.MEASURES) + 2 * actions
    action = geti(world, c.ACTION) + 8 * actions * LANES * b
    allowed, masks = geti(job, ALLOWED) + 8 * actions * LANES * b, geti(job, MASKS) + 8 * actions * LANES * b
    for lane in range(LANES):
        for a in range(actions):
            value, mask = get(put_in, (asked + a) * LANES + lane), 0
            if geti(job, GUARDED) > 0:
                value, mask = get(out, a * LANES + lane), geti(out, (actions + a) * LANES + lane)
            put(action, lane * actions + a, value)
            put(allowed, lane * actions + a, value)
            puti(masks, lane * actions + a, mask)


@jit
def violated(job, b, lane, actions):
    """1 where the guard allowed less than was asked, roundings aside."""
    at, harmless = 8 * actions * (LANES * b + lane), geti(job, HARMLESS)
    masks, allowed, found = geti(job, MASKS) + at, geti(job, ALLOWED) + at, 0
    asked = gate_block(job, g.IN, g.ROWS_IN, b)
    asked += (g.I_MEASURES + 3 * geti(geti(job, GATE), g.MEASURES) + 2 * actions) * LINE
    for a in range(actions):
        if get(allowed, a) < get(asked, a * LANES + lane):
            found |= geti(masks, a)
    return 1.0 if found & ~harmless else 0.0


@jit
def put_seen(job, b, actions):
    """What the world says, as the gate's inputs (one measurement)."""
    world, gate, line = geti(job, WORLD), geti(job, GATE), 8 * geti(job, WIDTH)
    into, out = gate_block(job, g.IN, g.ROWS_IN, b), geti(world, c.OUT) + b * LINE
    at = g.I_MEASURES + 3 * geti(gate, g.MEASURES)
    for lane in range(LANES):
        put(into, g.I_NOW * LANES + lane, get(out + c.O_CLOCK * line, lane) / 60.0)
    copy_row(into + g.I_ANNOUNCED * LINE, out + c.O_ANNOUNCED * line)
    copy_row(into + g.I_MEASURES * LINE, out + c.O_READING * line)
    copy_row(into + (g.I_MEASURES + 1) * LINE, out + c.O_STAMP * line)
    copy_row(into + (g.I_MEASURES + 2) * LINE, out + c.O_QUALITY * line)
    for a in range(2 * actions):
        copy_row(into + (at + a) * LINE, out + (c.O_DELIVERED + a) * line)


@jit
def admitted(job, b, actions):
    """Put new patients into the gate's lanes of the mask, and take in what is seen of them; others stay as they are."""
    gate, world = geti(job, GATE), geti(job, WORLD)
    fresh, found, all_of_them = geti(world, c.MASK) + b * LINE, 0, 1
    for lane in range(LANES):
        found |= geti(fresh, lane)
        all_of_them &= geti(fresh, lane)
    if found == 0:
        return False
    state, monitor = gate_block(job, g.GATE, g.ROWS_GATE, b), gate_block(job, g.MONITOR, g.ROWS_MONITOR, b)
    rows, more, spare = geti(gate, g.ROWS_GATE) * LANES, geti(gate, g.ROWS_MONITOR) * LANES, geti(job, SPARE)
    for lane in range(LANES):
        if geti(fresh, lane):
            g.gate_admit(gate, b, lane, geti(geti(world, c.WHO), b * LANES + lane))
    if all_of_them == 0:
        for r in range(rows):
            put(spare, r, get(state, r))
        for r in range(more):
            put(spare, rows + r, get(monitor, r))
    put_seen(job, b, actions)
    g.gate_take(gate, b, b + 1)
    if all_of_them == 0:
        for r in range(rows):
            if geti(fresh, r % LANES) == 0:
                put(state, r, get(spare, r))
        for r in range(more):
            if geti(fresh, r % LANES) == 0:
                put(monitor, r, get(spare, rows + r))
    return True


@jit
def older(job, i, fresh):
    """Move the history of lane i on by one, before its newest values are written."""
    stack, many = geti(job, STACK), geti(job, STACKED)
    if stack == 0 or fresh:
        return
    row, which = row_of(job, i), geti(job, WHICH)
    first = geti(job, FEATURES)
    for r in range(stack * many - 1, many - 1, -1):
        put_single(row, first + r, get_single(row, first + r - many))
    for r in range(many):
        put_single(row, first + r, get_single(row, geti(which, r)))


@jit
def same_past(job, i):
    """The history of a patient admitted now: as if it had always been so."""
    row, which, first = row_of(job, i), geti(job, WHICH), geti(job, FEATURES)
    many = geti(job, STACKED)
    for r in range(geti(job, STACK) * many):
        put_single(row, first + r, get_single(row, geti(which, r % many)))


@jit
def show(scale, row, k, value):
    """Write feature k of the lane whose observation stands at ``row`` (`row_of`): scaled, cut off, float32. What is no
    number is shown as 0."""
    x = value * get(scale, 4 * k) + get(scale, 4 * k + 1)
    x = min(max(x, get(scale, 4 * k + 2)), get(scale, 4 * k + 3))
    put_single(row, k, x if not math.isnan(value) else 0.0)


@jit
def row_of(job, i):
    """Address of lane i's observation."""
    return geti(job, SHOWN) + 4 * geti(job, WIDE) * i


@jit
def show_row(job, i, values):
    """Write all features of lane i from the numbers at an address, as `show` does; they are finite."""
    scale, many, out = geti(job, SCALE), geti(job, FEATURES), row_of(job, i)
    for k in range(many):
        x = get(values, k) * get(scale, 4 * k) + get(scale, 4 * k + 1)
        put_single(out, k, min(max(x, get(scale, 4 * k + 2)), get(scale, 4 * k + 3)))
