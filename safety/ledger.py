"""What many patients were given, kept small: the newest doses as they were, older ones added up on the safe side.

::

    newest dose, newest rate (and the newest that was 0) ─▶ fine buckets ─▶ coarser ones, a ring a window ─▶ the rest
    planned dose, planned rate

Each delivery stands in exactly one slot, whose time runs from the start of its first to the end of its last. The guard
counts a slot whole while any of it is in a window, so a total is never less than the true one, and more by no more
than a bucket's contents: one part of the window (see ``parts``), or one control interval.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .limits import Limits
from .parts import Kind, Unlimited
from .values import per_hour

__all__ = ["Ledger"]

# The time of an empty slot (h): finite, as the guard demands, and before any window.
EMPTY = -1e300
# Slots before the rings: newest dose, newest dose that was 0, the same of rates, planned dose, planned rate.
NEWEST = {Kind.DOSE: 0, Kind.RATE: 2}
PLANNED = {Kind.DOSE: 4, Kind.RATE: 5}
RING = 6


class Slots(NamedTuple):
    """The entries, (n, slots) each, as `Batch` wants them."""

    amount: Any
    time: Any
    duration: Any
    total: Any
    planned: Any


class Rings(NamedTuple):
    """The rings of buckets, finest first: width (h), first slot, number; the bucket that stands in each slot."""

    width: Any
    first: Any
    count: Any
    index: Any


@compiled
def _empty(s: Slots, i: int, slot: int) -> None:
    s.amount[i, slot], s.time[i, slot], s.duration[i, slot] = 0.0, EMPTY, 0.0
    s.total[i, slot], s.planned[i, slot] = True, False


@compiled
def _merge(s: Slots, i: int, slot: int, amount: float, begin: float, end: float) -> None:
    """Add a delivery to a total; the end never moves earlier by rounding."""
    if s.time[i, slot] != EMPTY:
        amount += s.amount[i, slot]
        end = max(end, s.time[i, slot] + s.duration[i, slot])
        begin = min(begin, s.time[i, slot])
    duration = end - begin
    while begin + duration < end:
        duration = np.nextafter(duration, math.inf)
    s.amount[i, slot], s.time[i, slot], s.duration[i, slot] = amount, begin, duration


@compiled
def _fold(s: Slots, r: Rings, i: int, amount: float, begin: float, end: float, forget: float) -> None:
    """Put a delivery into the finest bucket that is free for it; what stood there moves on to a coarser one.

    One that is no number is forgotten with the last of them, if it ended by ``forget``.
    """
    for level in range(r.width.size):
        index = math.floor(begin / r.width[level])
        slot = r.first[level] + int(index % r.count[level])
        if s.time[i, slot] == EMPTY or r.index[i, slot] == index:
            r.index[i, slot] = index
            _merge(s, i, slot, amount, begin, end)
            return
        if r.index[i, slot] < index:
            older = s.amount[i, slot], s.time[i, slot], s.time[i, slot] + s.duration[i, slot]
            s.time[i, slot], r.index[i, slot] = EMPTY, index
            _merge(s, i, slot, amount, begin, end)
            amount, begin, end = older
    if not (math.isnan(amount) and end <= forget):
        _merge(s, i, s.amount.shape[1] - 1, amount, begin, end)


@compiled
def _record(
    s: Slots, r: Rings, slot: int, planned_slot: int, is_rate: bool, hours: float, longest: float, amount: Any,
    time: Any, duration: Any, where: Any,
) -> None:  # fmt: skip
    for i in range(amount.size):
        if not where[i]:
            continue
        _empty(s, i, planned_slot)
        new = amount[i]
        if not (math.isfinite(new) and new >= 0.0):
            new = math.nan
        place = slot + 1
        if new != 0.0:
            place = slot
            if s.time[i, slot] != EMPTY:
                begin, length = s.time[i, slot], s.duration[i, slot]
                delivered = s.amount[i, slot] * length * hours if is_rate else s.amount[i, slot]
                _fold(s, r, i, delivered, begin, begin + length, time[i] - longest)
            _empty(s, i, slot + 1)
        s.amount[i, place], s.time[i, place], s.duration[i, place] = new, time[i], duration[i]
        s.total[i, place] = False


class Ledger:
    """The history of n patients in the form that `Batch` wants.

    Args:
        n: how many patients.
        limits: the therapy's table; its windows set the buckets.
        interval: the control interval (h): no bucket is narrower.
        parts: into how many buckets the length of a window is cut, at most.

    Attributes:
        slots: entries a patient (k of `Batch`), however long the history.
    """

    def __init__(self, n: int, limits: Limits, interval: float, parts: int = 24) -> None:
        windows = sorted(row.window.value for row in limits.rolling)
        # The longest of the windows whose buckets are alike says how many there are.
        rings = {}
        for window in windows:
            width = max(interval, window / parts)
            rings[width] = math.ceil(window / width - 1e-9) + 1
        counts = list(rings.values())
        self._hours = per_hour(limits.rate_unit or "")
        course = isinstance(limits.course_total, Unlimited) and isinstance(limits.course_total_per_kg, Unlimited)
        # A faulty amount older than every window is forgotten, unless the table limits the whole course.
        self._longest = windows[-1] if course else math.inf
        self.slots = RING + sum(counts) + 1
        shape = (n, self.slots)
        self._rings = Rings(
            width=np.array(list(rings)),
            first=RING + np.cumsum([0, *counts[:-1]]),
            count=np.array(counts),
            index=np.zeros(shape, dtype=np.int64),
        )
        self._slots = Slots(
            amount=np.zeros(shape),
            time=np.full(shape, EMPTY),
            duration=np.zeros(shape),
            total=np.ones(shape, dtype=np.bool_),
            planned=np.zeros(shape, dtype=np.bool_),
        )
        self._latest = np.full(n, -math.inf)
        self._count = np.full(n, self.slots)
        self._rate = np.zeros(shape, dtype=np.bool_)
        self._rate[:, [NEWEST[Kind.RATE], NEWEST[Kind.RATE] + 1, PLANNED[Kind.RATE]]] = True

    def record(self, kind: Kind, amount: Any, time: Any, duration: Any, where: Any = True) -> None:
        """Write down what was delivered, 0 where nothing was; clears the plan of that kind.

        Args:
            kind: dose or rate.
            amount: (n,) amounts or rates, in the table's unit. One that is not a finite number ≥ 0 is written down as
                such, and the guard refuses the patient's doses until it has left every window.
            time: (n,) or one number: when it started (h), not before what was written down last.
            duration: (n,) or one number: over how long (h), ≥ 0.
            where: (n,) booleans: for which patients.

        Raises:
            ValueError: a time or duration that cannot be, or an array of another length.
        """
        amount, time, duration, where = self._checked(kind, amount, time, duration, where)
        early = where & (time < self._latest)
        if early.any():
            raise ValueError(f"deliveries come in order of time; patients {np.flatnonzero(early)[:5].tolist()} do not")
        _record(
            self._slots, self._rings, NEWEST[kind], PLANNED[kind], kind is Kind.RATE, self._hours, self._longest,
            amount, time, duration, where,
        )  # fmt: skip
        self._latest[where] = time[where]

    def plan(self, kind: Kind, amount: Any, time: Any, duration: Any, where: Any = True) -> None:
        """What is decided but not delivered yet, one dose and one rate a patient: the next of that kind replaces it."""
        amount, time, duration, where = self._checked(kind, amount, time, duration, where)
        s, slot = self._slots, PLANNED[kind]
        s.amount[where, slot] = amount[where]
        s.time[where, slot] = time[where]
        s.duration[where, slot] = duration[where]
        s.total[where, slot] = False
        s.planned[where, slot] = True

    def reset(self, where: Any = True) -> None:
        """Forget everything of some patients: (n,) booleans."""
        chosen = np.broadcast_to(np.asarray(where, dtype=np.bool_), self._latest.shape)
        s = self._slots
        s.amount[chosen], s.time[chosen], s.duration[chosen] = 0.0, EMPTY, 0.0
        s.total[chosen], s.planned[chosen], self._latest[chosen] = True, False, -math.inf

    def fields(self) -> dict[str, NDArray[Any]]:
        """The fields ``given_…`` of a `Batch`: the ledger's own arrays, not copies."""
        return {
            "given_count": self._count,
            "given_amount": self._slots.amount,
            "given_time": self._slots.time,
            "given_duration": self._slots.duration,
            "given_rate": self._rate,
            "given_total": self._slots.total,
            "given_planned": self._slots.planned,
        }

    def _checked(self, kind: Kind, *values: Any) -> tuple[NDArray[Any], ...]:
        if kind not in NEWEST:
            raise ValueError(f"a ledger holds doses and rates, not {kind!r}")
        shape = self._latest.shape
        amount, time, duration = (
            np.ascontiguousarray(np.broadcast_to(np.asarray(v, dtype=np.float64), shape)) for v in values[:3]
        )
        where = np.ascontiguousarray(np.broadcast_to(np.asarray(values[3], dtype=np.bool_), shape))
        bad = where & ~(np.isfinite(time) & np.isfinite(duration) & (duration >= 0.0))
        if bad.any():
            raise ValueError(f"no time or duration (h) for patients {np.flatnonzero(bad)[:5].tolist()}")
        return amount, time, duration, where
