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
from typing import Any

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


@compiled
def _empty(i: Any, slot: Any, amounts: Any, times: Any, durations: Any, totals: Any, planned: Any) -> None:
    amounts[i, slot], times[i, slot], durations[i, slot] = 0.0, EMPTY, 0.0
    totals[i, slot], planned[i, slot] = True, False


@compiled
def _merge(i: Any, slot: Any, amount: Any, begin: Any, end: Any, amounts: Any, times: Any, durations: Any) -> None:
    """Add a delivery to a total; the end never moves earlier by rounding."""
    if times[i, slot] != EMPTY:
        amount += amounts[i, slot]
        end = max(end, times[i, slot] + durations[i, slot])
        begin = min(begin, times[i, slot])
    duration = end - begin
    while begin + duration < end:
        duration = np.nextafter(duration, math.inf)
    amounts[i, slot], times[i, slot], durations[i, slot] = amount, begin, duration


@compiled
def _fold(
    i: Any,
    amount: Any,
    begin: Any,
    end: Any,
    widths: Any,
    firsts: Any,
    counts: Any,
    indices: Any,
    forget: Any,
    amounts: Any,
    times: Any,
    durations: Any,
) -> None:
    """Put a delivery into the finest bucket that is free for it; what stood there moves on to a coarser one."""
    for level in range(widths.size):
        index = math.floor(begin / widths[level])
        slot = firsts[level] + int(index % counts[level])
        if times[i, slot] == EMPTY or indices[i, slot] == index:
            indices[i, slot] = index
            _merge(i, slot, amount, begin, end, amounts, times, durations)
            return
        if indices[i, slot] < index:
            older = amounts[i, slot], times[i, slot], times[i, slot] + durations[i, slot]
            times[i, slot], indices[i, slot] = EMPTY, index
            _merge(i, slot, amount, begin, end, amounts, times, durations)
            amount, begin, end = older
    if not (math.isnan(amount) and end <= forget):
        _merge(i, amounts.shape[1] - 1, amount, begin, end, amounts, times, durations)


@compiled
def _record(
    slot: Any,
    planned_slot: Any,
    hours: Any,
    amount: Any,
    time: Any,
    duration: Any,
    where: Any,
    longest: Any,
    widths: Any,
    firsts: Any,
    counts: Any,
    indices: Any,
    amounts: Any,
    times: Any,
    durations: Any,
    totals: Any,
    planned: Any,
) -> None:
    for i in range(amount.size):
        if not where[i]:
            continue
        _empty(i, planned_slot, amounts, times, durations, totals, planned)
        new = amount[i]
        if not (math.isfinite(new) and new >= 0.0):
            new = math.nan
        place = slot + 1
        if new != 0.0:
            place = slot
            if times[i, slot] != EMPTY:
                start, length = times[i, slot], durations[i, slot]
                delivered = amounts[i, slot] * length * hours if hours > 0.0 else amounts[i, slot]
                forget = time[i] - longest
                _fold(
                    i, delivered, start, start + length, widths, firsts, counts, indices, forget, amounts, times,
                    durations,
                )  # fmt: skip
            _empty(i, slot + 1, amounts, times, durations, totals, planned)
        amounts[i, place], times[i, place], durations[i, place] = new, time[i], duration[i]
        totals[i, place] = False


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
        widths: list[float] = []
        counts: list[int] = []
        for window in windows:
            width = max(interval, window / parts)
            count = math.ceil(window / width - 1e-9) + 1
            if widths and width <= widths[-1]:
                counts[-1] = max(count, counts[-1])
            else:
                widths.append(width)
                counts.append(count)
        self._hours = {Kind.DOSE: 0.0, Kind.RATE: per_hour(limits.rate_unit or "")}
        course = isinstance(limits.course_total, Unlimited) and isinstance(limits.course_total_per_kg, Unlimited)
        # A faulty amount older than every window is forgotten, unless the table limits the whole course.
        self._longest = windows[-1] if course else math.inf
        self._widths, self._counts = np.array(widths), np.array(counts)
        self._firsts = RING + np.cumsum([0, *counts[:-1]])
        self.slots = RING + sum(counts) + 1
        shape = (n, self.slots)
        self._indices = np.zeros(shape, dtype=np.int64)
        self._latest = np.full(n, -math.inf)
        self._count = np.full(n, self.slots)
        self._amounts, self._times, self._durations = np.zeros(shape), np.full(shape, EMPTY), np.zeros(shape)
        self._totals, self._planned = np.ones(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        self._rates = np.zeros(shape, dtype=np.bool_)
        self._rates[:, [NEWEST[Kind.RATE], NEWEST[Kind.RATE] + 1, PLANNED[Kind.RATE]]] = True

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
            NEWEST[kind], PLANNED[kind], self._hours[kind], amount, time, duration, where, self._longest, self._widths,
            self._firsts, self._counts, self._indices, self._amounts, self._times, self._durations, self._totals,
            self._planned,
        )  # fmt: skip
        self._latest[where] = time[where]

    def plan(self, kind: Kind, amount: Any, time: Any, duration: Any, where: Any = True) -> None:
        """What is decided but not delivered yet, one dose and one rate a patient: the next of that kind replaces it."""
        amount, time, duration, where = self._checked(kind, amount, time, duration, where)
        slot = PLANNED[kind]
        self._amounts[where, slot] = amount[where]
        self._times[where, slot] = time[where]
        self._durations[where, slot] = duration[where]
        self._totals[where, slot] = False
        self._planned[where, slot] = True

    def reset(self, where: Any = True) -> None:
        """Forget everything of some patients: (n,) booleans."""
        chosen = np.broadcast_to(np.asarray(where, dtype=np.bool_), self._latest.shape)
        self._amounts[chosen], self._times[chosen], self._durations[chosen] = 0.0, EMPTY, 0.0
        self._totals[chosen], self._planned[chosen], self._latest[chosen] = True, False, -math.inf

    def fields(self) -> dict[str, NDArray[Any]]:
        """The fields ``given_…`` of a `Batch`: the ledger's own arrays, not copies."""
        return {
            "given_count": self._count,
            "given_amount": self._amounts,
            "given_time": self._times,
            "given_duration": self._durations,
            "given_rate": self._rates,
            "given_total": self._totals,
            "given_planned": self._planned,
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
