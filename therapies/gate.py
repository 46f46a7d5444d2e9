"""The guard at the pump of a loop: every action of n patients passes here, decision by decision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..safety import Batch, Code, Kind, Ledger, guard_batch
from ..virtual.world import Observation
from .closed_loop import LoopTherapy

__all__ = ["Gate"]

HOUR = 60.0
ROUNDING = 1e-6  # h
MOST = 1e6  # any unit: more is a fault, and the guard allows no more than was projected


class Gate:
    """Judges actions by the patients' limits tables, with what the pumps confirmed and what monitors project.

    It keeps its own record: what a policy believes does not reach it.

    Args:
        therapy: its limits, monitor and actuators.
        interval: min between decisions (default: the therapy's).

    Attributes:
        counts: how often each reason was found since the last reset, by `Code`.
    """

    def __init__(self, therapy: LoopTherapy, interval: float | None = None) -> None:
        self.therapy, self.interval = therapy, therapy.interval if interval is None else interval

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients, of whom nothing was given yet."""
        t = self.therapy
        self.n, self.weight = n, np.asarray(known["weight"], dtype=float)
        self.limits, self.own = t.limits_of_many(known)
        self.monitor = t.monitor(known, n, self.interval)
        self.ledger = Ledger(n, self.limits, self.interval / HOUR)
        m = len(self.limits.measured)
        self.at = [row.name for row in self.limits.measured].index(t.measurement)
        self.seen = np.zeros((n, m), dtype=bool)
        self.value, self.stamp = np.full((n, m), np.nan), np.full((n, m), np.nan)
        self.quality, self.had = np.full((n, m), 100.0), np.zeros((n, m), dtype=bool)
        self.before, self.before_stamp = np.full((n, m), np.nan), np.full((n, m), np.nan)
        self.began, self.pending = False, np.zeros((n, len(t.actuators)))
        self.counts = dict.fromkeys(Code, 0)

    def _take(self, seen: Observation) -> None:
        """Deliveries of the last interval, newest readings."""
        if self.began:
            last = (seen.time - self.interval) / HOUR
            for j, a in enumerate(self.therapy.actuators):
                length = self.interval / HOUR if a.kind is Kind.RATE else 0.0
                # a bolus runs in over minutes: all of it counts from the moment it was commanded
                amount = seen.delivered[:, j] + seen.pending[:, j] - self.pending[:, j]
                self.ledger.record(a.kind, np.maximum(amount, 0.0), last, length)
            self.monitor.given(seen.delivered)
        self.began, self.pending = True, seen.pending.copy()
        j, new = self.at, np.isfinite(seen.reading) & np.isfinite(seen.reading_time)
        # the sensor's own stamps may lie; a sample of the past that comes late is older than what is known
        new &= ~(seen.reading_time / HOUR <= self.stamp[:, j])
        self.had[new, j] = self.seen[new, j]
        self.before[new, j], self.before_stamp[new, j] = self.value[new, j], self.stamp[new, j]
        stamp, now = seen.reading_time / HOUR, seen.time / HOUR
        # a reading of this very moment is not in the future by the rounding of two clocks
        stamp = np.where((stamp > now) & (stamp < now + ROUNDING), now, stamp)
        self.value[new, j], self.stamp[new, j] = seen.reading[new], stamp[new]
        self.quality[new, j], self.seen[new, j] = seen.quality[new], True
        self.monitor.see(np.where(new, seen.reading, np.nan), seen.reading_time, seen.announced)

    def judge(self, seen: Observation, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Allowed actions (n, actions), and masks of the guard's reasons (n, actions)."""
        self._take(seen)
        n, now = self.n, np.full(self.n, seen.time / HOUR)
        allowed, masks = np.zeros_like(asked), np.zeros(asked.shape, dtype=np.int64)
        none = np.zeros((n, 0))
        for j, a in enumerate(self.therapy.actuators):
            length = np.full(n, self.interval / HOUR if a.kind is Kind.RATE else 1 / 3600)
            amount = np.ascontiguousarray(asked[:, j], dtype=float)
            # what is no amount is refused by the guard; projections are made for the most that can be meant
            meant = np.clip(np.where(np.isfinite(amount), amount, 0.0), 0.0, MOST)
            nothing, given = self.monitor.project(j, meant, self.pending)
            batch = Batch(
                kind=a.kind,
                route=a.route,
                unit=a.unit,
                weight_unit="kg",
                measurement_units=tuple(r.unit for r in self.limits.measured),
                projection_units=tuple(r.unit for r in self.limits.projected),
                amount=amount,
                time=now,
                duration=length,
                now=now,
                weight=self.weight,
                record_time=now,
                measured=self.seen,
                measurement=np.where(self.seen, self.value, 0.0),
                measurement_time=np.where(self.seen, self.stamp, 0.0),
                quality=self.quality,
                has_previous=self.had,
                previous=np.where(self.had, self.before, 0.0),
                previous_time=np.where(self.had, self.before_stamp, 0.0),
                predicted=none.astype(bool),
                probability=none,
                projected=np.isfinite(nothing) & np.isfinite(given),
                projected_amount=np.repeat(meant[:, None], nothing.shape[1], axis=1),
                if_nothing=np.nan_to_num(nothing),
                if_given=np.nan_to_num(given),
                own=self.own[a.kind],
                **self.ledger.fields(),
            )
            allowed[:, j], masks[:, j] = guard_batch(batch, self.limits)
            self.ledger.plan(a.kind, allowed[:, j], now, length)
            for code in Code:
                self.counts[code] += int(np.count_nonzero(masks[:, j] & code.bit))
        return allowed, masks
