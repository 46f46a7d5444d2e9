"""The compiled loop of a gate: readings are taken in, deliveries recorded, the columns of an action judged.

The record of a patient and drug: the newest delivery of each kind as it was, and older ones added up in rings of
buckets, as in `safety.ledger`: each delivery stands in exactly one slot, which knows the end of its last, and a slot
counts whole while that end is in a window. So a total is never less than the
true one, and more by no more than one bucket (a 24th of the window, or one interval). Buckets are counted in whole
control intervals, so that no clock is divided.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.calls import call_kernel, get, geti, prefetch, put, puti
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES

__all__ = ["gate_admit", "gate_column", "gate_fetch", "gate_judge", "gate_take", "sweep"]

LINE = 8 * LANES
EMPTY = -1e300  # the time of an empty slot (h): finite, and before any window

(
    IN,  # what is seen and asked: (blocks, rows, 8), as all of these
    GATE,
    OWN,
    MONITOR,
    MONITOR_OWN,  # of a monitor in lanes; else the projections: (nothing, given) of each quantity
    OUT,
    ROWS_IN,
    ROWS_GATE,
    ROWS_OWN,
    ROWS_MONITOR,
    ROWS_MONITOR_OWN,
    ROWS_OUT,
    ACTIONS,
    MEASURES,
    TAKE,  # kernels
    DRUG,  # integers of each drug: see D_…
    DRUGS,  # how many
    COLUMN,  # of each action
    ACTION,  # integers of each action: see A_…
    NUMBERS,  # floats: interval (h); then of each action: length (h), hours that a rate counts (0: a dose), forget (h)
    RINGS,  # floats: (intervals in a bucket, first slot, buckets) of each ring
    LIBRARY,  # (people, rows) own numbers
    MONITOR_LIBRARY,
    FRESH,  # state of a new patient: (rows of the gate), then (rows of the monitor)
) = range(24)

# of an action: rows of its kind's newest entry, first row of the drug's slots, slots, first ring, rings, mask of chunks
A_NEWEST, A_SLOTS, A_COUNT, A_RING, A_RINGS, A_USED = range(6)
A_WIDTH = 6
# of a drug: first row of its slots, slots, mask of chunks, sums, windows, kernels (`gate_code.history_kernels`)
D_SLOTS, D_COUNT, D_USED, D_SUMS, D_WINDOWS, D_CHUNK, D_NEWEST = range(7)
D_WIDTH = 7
CHUNK, BITS = 8, 62  # slots that are added up together; chunks that a mask tells apart
# of a kind's newest entry: amount, what it delivered, start and end (h), interval, start of the newest 0
N_AMOUNT, N_DELIVERED, N_BEGIN, N_END, N_WHEN, N_ZERO = range(6)
N_WIDTH = 6
# of the gate: decisions made, then what was pending of each action
G_COUNT, G_PENDING = 0, 1
# of what comes in: now (h), announced, then value, stamp (min), quality of each measure, then delivered, pending, asked
I_NOW, I_ANNOUNCED, I_MEASURES = 0, 1, 2


@jit
def _block(job, slot, rows, b):
    return geti(job, slot) + b * geti(job, rows) * LINE


@jit
def _used(g, used, slot, lane):
    """Remember that a slot's chunk holds something."""
    puti(g, used * LANES + lane, geti(g, used * LANES + lane) | (1 << (slot // CHUNK) % BITS))


@jit
def _merge(g, s, many, slot, lane, amount, end):
    """Add a delivery to a slot."""
    delivered, ends = (s + slot) * LANES + lane, (s + many + slot) * LANES + lane
    if get(g, ends) != EMPTY:
        amount += get(g, delivered)
        end = max(end, get(g, ends))
    put(g, delivered, amount)
    put(g, ends, end)


@jit
def _fold(g, s, many, used, rings, levels, lane, amount, end, when, forget):
    """Put a delivery into the finest bucket that is free for it; what stood there moves on to a coarser one.

    One that is no number is forgotten with the last of them, if it ended by ``forget``. (Whole numbers as floats: a
    float is divided several times faster, and exactly enough.)
    """
    for level in range(levels):
        ratio, first, count = get(rings, 3 * level), get(rings, 3 * level + 1), get(rings, 3 * level + 2)
        index = math.floor(when / ratio)
        slot = np.int64(first + index - count * math.floor(index / count))
        ended, there = get(g, (s + many + slot) * LANES + lane), get(g, (s + 2 * many + slot) * LANES + lane)
        if ended == EMPTY or there == index:
            put(g, (s + 2 * many + slot) * LANES + lane, index)
            _merge(g, s, many, slot, lane, amount, end)
            _used(g, used, slot, lane)
            return
        if there < index:
            older = get(g, (s + slot) * LANES + lane)
            put(g, (s + slot) * LANES + lane, amount)
            put(g, (s + many + slot) * LANES + lane, end)
            put(g, (s + 2 * many + slot) * LANES + lane, index)
            amount, end, when = older, ended, there * ratio
    if not (math.isnan(amount) and end <= forget):
        _merge(g, s, many, many - 1, lane, amount, end)
        _used(g, used, many - 1, lane)


@jit
def _record(job, g, n, a, lane, amount, begin, when):
    """Write down what was delivered of action ``a`` in interval ``when``; one that is no number is kept as such."""
    table, numbers = geti(job, ACTION) + 8 * A_WIDTH * a, geti(job, NUMBERS) + 8 * (1 + 3 * a)
    length, hours = get(numbers, 0), get(numbers, 1)
    if not (amount >= 0.0 and amount < math.inf):
        amount = math.nan
    if amount == 0.0:
        put(g, (n + N_ZERO) * LANES + lane, begin)
        return
    older = get(g, (n + N_BEGIN) * LANES + lane)
    if older != EMPTY:
        s, many = geti(table, A_SLOTS), geti(table, A_COUNT)
        rings = geti(job, RINGS) + 24 * geti(table, A_RING)
        delivered, end = get(g, (n + N_DELIVERED) * LANES + lane), get(g, (n + N_END) * LANES + lane)
        forget = begin - get(numbers, 2)
        past = get(g, (n + N_WHEN) * LANES + lane)
        used = geti(table, A_USED)
        _fold(g, s, many, used, rings, geti(table, A_RINGS), lane, delivered, end, past, forget)
    put(g, (n + N_AMOUNT) * LANES + lane, amount)
    put(g, (n + N_DELIVERED) * LANES + lane, amount * length * hours if hours > 0.0 else amount)
    put(g, (n + N_BEGIN) * LANES + lane, begin)
    put(g, (n + N_END) * LANES + lane, begin + (length if hours > 0.0 else 0.0))
    put(g, (n + N_WHEN) * LANES + lane, when)
    put(g, (n + N_ZERO) * LANES + lane, EMPTY)


@jit
def _add_up(drug, i, g):
    """The sums of a drug's record: chunk by chunk, those that nobody of the block has used left out, then the newest
    entries."""
    sums, windows, used = g + geti(drug, D_SUMS) * LINE, geti(drug, D_WINDOWS), 0
    for lane in range(LANES):
        used |= geti(g, geti(drug, D_USED) * LANES + lane)
        for w in range(windows + 1):
            put(sums, w * LANES + lane, 0.0)
        put(sums, (windows + 1) * LANES + lane, -math.inf)
        put(sums, (windows + 2) * LANES + lane, 0.0)
    slots, many, kernel = g + geti(drug, D_SLOTS) * LINE, geti(drug, D_COUNT), geti(drug, D_CHUNK)
    for chunk in range(many // CHUNK):
        if used & (1 << chunk % BITS):
            at = slots + chunk * CHUNK * LINE
            call_kernel(kernel, i, at, at + many * LINE, sums, sums, sums)
    call_kernel(geti(drug, D_NEWEST), i, g, sums, sums, sums, sums)


@jit
def _take(job, b):
    """Readings and monitor, then deliveries of the last interval, then the sums of the record."""
    i, g, p = _block(job, IN, ROWS_IN, b), _block(job, GATE, ROWS_GATE, b), _block(job, OWN, ROWS_OWN, b)
    u, k, out = (
        _block(job, MONITOR, ROWS_MONITOR, b),
        _block(job, MONITOR_OWN, ROWS_MONITOR_OWN, b),
        _block(job, OUT, ROWS_OUT, b),
    )
    call_kernel(geti(job, TAKE), i, g, p, u, k, out)
    interval, actions = get(geti(job, NUMBERS), 0), geti(job, ACTIONS)
    deliveries = I_MEASURES + 3 * geti(job, MEASURES)
    for a in range(actions):
        n = geti(geti(job, ACTION), A_WIDTH * a + A_NEWEST)
        for lane in range(LANES):
            count = get(g, G_COUNT * LANES + lane)
            pending = get(i, (deliveries + actions + a) * LANES + lane)
            before = (G_PENDING + a) * LANES + lane
            if count > 0.0:
                # a bolus runs in over minutes: all of it counts from the moment it was commanded
                amount = get(i, (deliveries + a) * LANES + lane) + pending - get(g, before)
                if amount < 0.0:
                    amount = 0.0
                _record(job, g, n, a, lane, amount, get(i, I_NOW * LANES + lane) - interval, count - 1.0)
            put(g, before, pending)
    for lane in range(LANES):
        put(g, G_COUNT * LANES + lane, get(g, G_COUNT * LANES + lane) + 1.0)
    for d in range(geti(job, DRUGS)):
        _add_up(geti(job, DRUG) + 8 * D_WIDTH * d, i, g)


@jit
def _column(job, a, b):
    call_kernel(
        geti(geti(job, COLUMN), a),
        _block(job, IN, ROWS_IN, b),
        _block(job, GATE, ROWS_GATE, b),
        _block(job, OWN, ROWS_OWN, b),
        _block(job, MONITOR, ROWS_MONITOR, b),
        _block(job, MONITOR_OWN, ROWS_MONITOR_OWN, b),
        _block(job, OUT, ROWS_OUT, b),
    )


@jit
def gate_fetch(job, first, last):
    """Ask the caches for the records that `gate_take` will read a little later: they are too many to stay there."""
    for b in range(first, last):
        g = _block(job, GATE, ROWS_GATE, b)
        for d in range(geti(job, DRUGS)):
            drug, used = geti(job, DRUG) + 8 * D_WIDTH * d, 0
            slots, many = g + geti(drug, D_SLOTS) * LINE, geti(drug, D_COUNT)
            for lane in range(LANES):
                used |= geti(g, geti(drug, D_USED) * LANES + lane)
            for slot in range(many):
                if used & (1 << (slot // CHUNK) % BITS):
                    for column in range(3):
                        prefetch(slots + (slot + column * many) * LINE)


@jit
def gate_take(job, first, last):
    """Take in what blocks first … last − 1 show."""
    for b in range(first, last):
        _take(job, b)


@jit
def gate_column(job, a, first, last):
    """Judge one column, the projections being there."""
    for b in range(first, last):
        _column(job, a, b)


@jit
def gate_judge(job, first, last):
    """Take in, and judge all columns, each with what was allowed of those before it."""
    for b in range(first, last):
        _take(job, b)
        for a in range(geti(job, ACTIONS)):
            _column(job, a, b)


@jit
def gate_admit(job, b, lane, who):
    """A new patient in a lane, of whom nothing was given: person ``who`` of the library."""
    fresh, own, rows = geti(job, FRESH), geti(job, LIBRARY), geti(job, ROWS_OWN)
    g, p, u, k = (
        _block(job, GATE, ROWS_GATE, b),
        _block(job, OWN, ROWS_OWN, b),
        _block(job, MONITOR, ROWS_MONITOR, b),
        _block(job, MONITOR_OWN, ROWS_MONITOR_OWN, b),
    )
    for r in range(geti(job, ROWS_GATE)):
        put(g, r * LANES + lane, get(fresh, r))
    for r in range(rows):
        put(p, r * LANES + lane, get(own, who * rows + r))
    fresh += 8 * geti(job, ROWS_GATE)
    for r in range(geti(job, ROWS_MONITOR)):
        put(u, r * LANES + lane, get(fresh, r))
    if geti(job, MONITOR_LIBRARY) != 0:
        rows = geti(job, ROWS_MONITOR_OWN)
        for r in range(rows):
            put(k, r * LANES + lane, get(geti(job, MONITOR_LIBRARY), who * rows + r))


@jit
def sweep(kernel, s, x, p, rows_s, rows_x, rows_p, blocks):
    """Call a kernel for each block: ``kernel(s, x, p, s, s, s)``."""
    for b in range(blocks):
        at = s + b * rows_s * LINE
        call_kernel(kernel, at, x + b * rows_x * LINE, p + b * rows_p * LINE, at, at, at)
