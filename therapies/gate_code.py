"""Where a gate keeps what it knows of a patient, and the kernels that work on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..pkpd.vcode import Code as Lanes
from ..pkpd.vcode import Flag, Real, Rows
from ..safety import Kind, Limits, Unlimited
from ..safety.values import CLOCK
from .closed_loop import Measured
from .gate_loop import (
    CHUNK,
    EMPTY,
    G_PENDING,
    I_ANNOUNCED,
    I_MEASURES,
    I_NOW,
    N_AMOUNT,
    N_BEGIN,
    N_DELIVERED,
    N_END,
    N_WIDTH,
    N_ZERO,
)
from .gate_rules import Column, History, judge
from .lane_monitor import LaneMonitor

__all__ = [
    "HOUR",
    "MOST",
    "Layout",
    "Place",
    "column_kernel",
    "forget_after",
    "history_kernels",
    "rings_of",
    "take_kernel",
]

HOUR = 60.0
ROUNDING = 1e-6  # h
MOST = 1e6  # any unit: more is a fault, and the guard allows no more than was projected
PARTS = 24  # buckets that the length of a window is cut into, at most

# rows of a measurement
SEEN, VALUE, STAMP, HAD, BEFORE, BEFORE_STAMP, QUALITY = range(7)
READING = 7
NAMES = ("seen", "value", "stamp", "had", "before", "before stamp", "quality")


def rings_of(limits: Limits, interval: float) -> list[tuple[int, int, int]]:
    """(intervals in a bucket, first slot, buckets) of each ring, finest first; ``interval`` in h."""
    found: dict[int, int] = {}
    for window in sorted(row.window.value for row in limits.rolling):
        ratio = max(1, int(window / PARTS / interval + 1e-9))
        found[ratio] = int(np.ceil(window / (ratio * interval) - 1e-9)) + 1
    firsts = np.cumsum([0, *found.values()]).tolist()
    return [(ratio, first, count) for (ratio, count), first in zip(found.items(), firsts)]


@dataclass(frozen=True)
class Place:
    """Of one drug: first row of its slots (amount, end, bucket of each) and how many, whole chunks; of the mask of
    chunks that were ever used; of the newest entry of each kind; of the sums."""

    slots: int
    count: int
    used: int
    newest: dict[Kind, int]
    sums: int
    windows: int


class Layout:
    """Rows of a gate's state: counters, readings, then each drug's record.

    Attributes:
        places: by drug. rows: in all. fresh: (rows,) of a new patient.
    """

    def __init__(self, tables: dict[str, Limits], interval: float, measures: int, actions: int) -> None:
        self.measures, self.actions = measures, actions
        self.readings = G_PENDING + actions
        self.places: dict[str, Place] = {}
        self.rings: dict[str, list[tuple[int, int, int]]] = {}
        at = self.readings + READING * measures
        for route, limits in tables.items():
            self.rings[route] = rings_of(limits, interval)
            count = sum(n for _, _, n in self.rings[route]) + 1  # and what is older than every ring
            count += -count % CHUNK
            used = at + 3 * count
            newest = {kind: used + 1 + i * N_WIDTH for i, kind in enumerate((Kind.DOSE, Kind.RATE))}
            sums, windows = used + 1 + 2 * N_WIDTH, len(limits.rolling)
            self.places[route] = Place(at, count, used, newest, sums, windows)
            at = sums + windows + 3
        self.rows = at
        self.fresh = np.zeros(at)
        for m in range(measures):
            first = self.readings + READING * m
            self.fresh[[first + r for r in (VALUE, STAMP, BEFORE, BEFORE_STAMP)]] = np.nan
            self.fresh[first + QUALITY] = 100.0
        for place in self.places.values():
            self.fresh[place.slots + place.count : place.slots + 2 * place.count] = EMPTY
            for n in place.newest.values():
                self.fresh[[n + N_BEGIN, n + N_END, n + N_ZERO]] = EMPTY


def take_kernel(layout: Layout, measured: Sequence[Measured], monitor: LaneMonitor | None) -> int:
    """Takes in the newest readings, and moves a monitor along; writes what of the readings is new after the masks."""
    c = Lanes()
    s, x = Rows(c, "s"), Rows(c, "x")
    now, fresh = s[I_NOW], []
    for m, what in enumerate(measured):
        value, minutes = s[I_MEASURES + 3 * m], s[I_MEASURES + 3 * m + 1]
        r = Rows(c, "x", layout.readings + READING * m)
        stamp, old, seen = minutes / HOUR, r[STAMP], r[SEEN]
        # the sensor's own stamps may lie; a sample of the past that comes late is older than what is known
        new = value.finite() & stamp.finite() & ~(stamp <= old)
        # a reading of this very moment is not in the future by the rounding of two clocks
        stamp = c.where((stamp > now) & (stamp < now + ROUNDING), now, stamp)
        before = r[VALUE]
        r[HAD], r[BEFORE] = c.where(new, seen, r[HAD]), c.where(new, before, r[BEFORE])
        r[BEFORE_STAMP] = c.where(new, old, r[BEFORE_STAMP])
        r[VALUE], r[STAMP], r[SEEN] = c.where(new, value, before), c.where(new, stamp, old), c.where(new, 1.0, seen)
        if what.quality is not None:
            r[QUALITY] = c.where(new, s[I_MEASURES + 3 * m + 2], r[QUALITY])
        fresh.append((c.where(new, value, float("nan")), minutes))
        c.store("out", 2 * layout.actions + m, fresh[-1][0])
    if monitor is not None:
        u, k = Rows(c, "u"), Rows(c, "k")
        delivered = [s[I_MEASURES + 3 * len(measured) + a] for a in range(layout.actions)]
        monitor.taken(u, k, delivered, x[0] > 0.0)
        monitor.seen(u, k, fresh, s[I_ANNOUNCED])
    return c.address("gate, what is seen", "gate")


def history_kernels(place: Place, limits: Limits) -> tuple[int, int]:
    """Of one drug: a kernel that adds a chunk of slots to the sums (drug in each window and in all, when the last had
    run in, whether an entry is at fault), and one that adds the newest entries.

    The first is called with the chunk's amounts as ``x``, their ends as ``p``, the sums as ``out``; the second with the
    gate's rows as ``x``. A chunk of empty slots adds nothing and can be left out, with the same bits.
    """
    windows = [float(w.window.value) - CLOCK for w in limits.rolling]

    def add(c: Lanes, sums: Rows, entries: list[tuple[Real, Real, Real | None]]) -> None:
        now, many = Rows(c, "s")[I_NOW], len(windows)
        rolling, course, end = [sums[w] for w in range(many)], sums[many], sums[many + 1]
        bad = sums[many + 2] > 0.5
        for delivered, ended, amount in entries:
            sound = (delivered if amount is None else amount).finite()
            bad = bad | ~sound
            counts = c.where(sound, delivered, 0.0)
            course = course + counts
            end = c.where(((counts if amount is None else amount) > 0.0) & sound & (ended > end), ended, end)
            since = now - ended
            rolling = [r + c.where(since < w, counts, 0.0) for r, w in zip(rolling, windows)]
        for w, r in enumerate(rolling):
            sums[w] = r
        sums[many], sums[many + 1], sums[many + 2] = course, end, c.where(bad, 1.0, 0.0)

    chunk, newest = Lanes(), Lanes()
    amounts, ends = Rows(chunk, "x"), Rows(chunk, "p")
    add(chunk, Rows(chunk, "out"), [(amounts[i], ends[i], None) for i in range(CHUNK)])
    x = Rows(newest, "x")
    rows = [(x[n + N_DELIVERED], x[n + N_END], x[n + N_AMOUNT]) for n in place.newest.values()]
    add(newest, Rows(newest, "x", place.sums), [*rows])
    return chunk.address("gate, record", "gate"), newest.address("gate, newest", "gate")


def _history(c: Lanes, layout: Layout, column: Column, now: Real) -> History:
    """What was given of the column's drug, and what was allowed of it a moment ago."""
    place = layout.places[column.route]
    sums, newest = Rows(c, "x", place.sums), Rows(c, "x", place.newest[column.kind])
    rolling = [sums[w] for w in range(place.windows)]
    course, end = sums[place.windows], sums[place.windows + 1]
    for j, length, hours in column.before:
        amount = c.load("out", j)
        delivered = amount * length * hours if hours else amount
        ended = now + length
        since = now - ended
        course = course + delivered
        end = c.where((amount > 0.0) & (ended > end), ended, end)
        windows = [float(w.window.value) - CLOCK for w in column.limits.rolling]
        rolling = [r + c.where(since < w, delivered, 0.0) for r, w in zip(rolling, windows)]
    amount, begin, zero = newest[N_AMOUNT], newest[N_BEGIN], newest[N_ZERO]
    there: Flag = amount.finite() & (begin > EMPTY)
    last = c.where(there, begin, -np.inf)
    later = (zero > EMPTY) & (zero > last)
    return History(
        rolling,
        course,
        end,
        sums[place.windows + 2] > 0.5,
        last,
        c.where(later, zero, last),
        c.where(later, 0.0, amount),
    )


def column_kernel(layout: Layout, column: Column, j: int, monitor: LaneMonitor | None) -> int:
    """Judges column ``j``: allowed amount and mask into the rows j and actions + j of what comes out."""
    c, deliveries = Lanes(), I_MEASURES + 3 * layout.measures
    s, own = Rows(c, "s"), Rows(c, "p", column.first)
    amount = s[deliveries + 2 * layout.actions + j]
    # what is no amount is refused by the guard; projections are made for the most that can be meant
    meant = c.where(amount.finite(), amount, 0.0).most(0.0).least(MOST)
    if monitor is None:
        k = Rows(c, "k")
        ahead = [(k[2 * f], k[2 * f + 1]) for f in range(len(column.limits.projected))]
    else:
        pending = [s[deliveries + layout.actions + a] for a in range(layout.actions)]
        ahead = monitor.ahead(Rows(c, "u"), Rows(c, "k"), j, meant, pending)
    now = s[I_NOW]
    readings = []
    for m in range(layout.measures):
        r = Rows(c, "x", layout.readings + READING * m)
        readings.append({name: r[i] for i, name in enumerate(NAMES)} if m in column.rows else {})
    rows = {name: own[i] for i, name in enumerate(column.names)}
    fault = c.load_whole("p", column.first + column.names.index("mask"))
    history = _history(c, layout, column, now)
    allowed, mask = judge(c, column, rows, fault, now, amount, meant, history, readings, ahead)
    c.store("out", j, allowed)
    c.store("out", layout.actions + j, mask)
    return c.address(f"gate, column {j}", "gate")


def forget_after(limits: Limits) -> float:
    """After how long (h) a faulty amount is forgotten: the longest window, unless the whole course is limited."""
    off = isinstance(limits.course_total, Unlimited) and isinstance(limits.course_total_per_kg, Unlimited)
    return max(float(row.window.value) for row in limits.rolling) if off else np.inf
