"""The guard at the pump of a loop: every action of n patients passes here, decision by decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..pkpd.errors import DoseloopError
from ..safety import Batch, Code, Kind, Ledger, Limits, OwnLimits, guard_batch
from ..virtual.world import Observation
from .closed_loop import LoopTherapy

__all__ = ["Drug", "Gate"]

HOUR = 60.0
ROUNDING = 1e-6  # h
MOST = 1e6  # any unit: more is a fault, and the guard allows no more than was projected


@dataclass(frozen=True, slots=True)
class Drug:
    """One drug's table: limits, the own limits of each patient, the record, and the columns of its measured rows."""

    limits: Limits
    own: Mapping[Kind, OwnLimits]
    ledger: Ledger
    rows: np.ndarray


class Gate:
    """Judges actions by the patients' limits tables, with what the pumps confirmed and what monitors project.

    It keeps its own record: what a policy believes does not reach it. Every measurement that a table demands is taken
    from the observation's field that the therapy declares for it. One that never came is missing, one that came long
    ago is stale, and both hold the drug to what the table allows without.

    Args:
        therapy: its limits, monitor, measurements and actuators.
        interval: min between decisions (default: the therapy's).

    Attributes:
        drugs: by route, since the last reset.
        counts: how often each reason was found since the last reset, by `Code`.
    """

    def __init__(self, therapy: LoopTherapy, interval: float | None = None) -> None:
        self.therapy, self.interval = therapy, therapy.interval if interval is None else interval

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients, of whom nothing was given yet.

        Raises:
            DoseloopError: a table demands a measurement that the therapy does not declare, or the reverse, or an
                actuator's route has no table.
        """
        t = self.therapy
        self.n, self.weight = n, np.asarray(known["weight"], dtype=float)
        tables = t.limits_of_many(known)
        self._check(tables)
        names = [m.name for m in t.measured]
        self.drugs = {
            route: Drug(
                limits,
                own,
                Ledger(n, limits, self.interval / HOUR),
                np.array([names.index(r.name) for r in limits.measured], dtype=np.int64),
            )
            for route, (limits, own) in tables.items()
        }
        self.monitor = t.monitor(known, n, self.interval)
        m = len(names)
        self.seen, self.had = np.zeros((n, m), dtype=bool), np.zeros((n, m), dtype=bool)
        self.value, self.stamp = np.full((n, m), np.nan), np.full((n, m), np.nan)
        self.before, self.before_stamp = np.full((n, m), np.nan), np.full((n, m), np.nan)
        self.quality = np.full((n, m), 100.0)
        self.began, self.pending = False, np.zeros((n, len(t.actuators)))
        self.counts = dict.fromkeys(Code, 0)

    def _check(self, tables: Mapping[str, tuple[Limits, Mapping[Kind, OwnLimits]]]) -> None:
        t = self.therapy
        declared = [m.name for m in t.measured]
        demanded = {row.name: limits.therapy for limits, _ in tables.values() for row in limits.measured}
        bad = [
            f"{drug}'s table demands {name}, which no field of an observation feeds"
            for name, drug in demanded.items()
            if name not in declared
        ]
        bad += [f"{name} is declared, and no table has a row for it" for name in declared if name not in demanded]
        bad += [
            f"'{a.name}' goes by route '{a.route}', of which there is no table"
            for a in t.actuators
            if a.route not in tables
        ]
        if bad:
            raise DoseloopError([f"gate of '{t.id}': {b}" for b in bad])

    def _take(self, seen: Observation) -> None:
        """Deliveries of the last interval, newest readings."""
        if self.began:
            last = (seen.time - self.interval) / HOUR
            for j, a in enumerate(self.therapy.actuators):
                length = self.interval / HOUR if a.kind is Kind.RATE else 0.0
                # a bolus runs in over minutes: all of it counts from the moment it was commanded
                amount = seen.delivered[:, j] + seen.pending[:, j] - self.pending[:, j]
                self.drugs[a.route].ledger.record(a.kind, np.maximum(amount, 0.0), last, length)
            self.monitor.given(seen.delivered)
        self.began, self.pending = True, seen.pending.copy()
        fresh, times = np.full_like(self.value, np.nan), np.full_like(self.value, np.nan)
        now = seen.time / HOUR
        for j, m in enumerate(self.therapy.measured):
            value, stamp = getattr(seen, m.value), getattr(seen, m.time) / HOUR
            # the sensor's own stamps may lie; a sample of the past that comes late is older than what is known
            new = np.isfinite(value) & np.isfinite(stamp) & ~(stamp <= self.stamp[:, j])
            fresh[new, j], times[:, j] = value[new], getattr(seen, m.time)
            self.had[new, j] = self.seen[new, j]
            self.before[new, j], self.before_stamp[new, j] = self.value[new, j], self.stamp[new, j]
            # a reading of this very moment is not in the future by the rounding of two clocks
            stamp = np.where((stamp > now) & (stamp < now + ROUNDING), now, stamp)
            self.value[new, j], self.stamp[new, j], self.seen[new, j] = value[new], stamp[new], True
            if m.quality is not None:
                self.quality[new, j] = getattr(seen, m.quality)[new]
        self.monitor.see(fresh, times, seen.announced)

    def judge(self, seen: Observation, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Allowed actions (n, actions), and masks of the guard's reasons (n, actions).

        The columns are judged one after the other, each with what was allowed of those before it.
        """
        self._take(seen)
        n, now = self.n, np.full(self.n, seen.time / HOUR)
        allowed, masks = np.zeros(asked.shape), np.zeros(asked.shape, dtype=np.int64)
        none = np.zeros((n, 0))
        for j, a in enumerate(self.therapy.actuators):
            drug = self.drugs[a.route]
            limits, k = drug.limits, drug.rows
            length = np.full(n, self.interval / HOUR if a.kind is Kind.RATE else 1 / 3600)
            amount = np.ascontiguousarray(asked[:, j], dtype=float)
            # what is no amount is refused by the guard; projections are made for the most that can be meant
            meant = np.clip(np.where(np.isfinite(amount), amount, 0.0), 0.0, MOST)
            nothing, given = self.monitor.project(j, meant, allowed, self.pending)
            batch = Batch(
                kind=a.kind,
                route=a.route,
                unit=a.unit,
                weight_unit="kg",
                measurement_units=tuple(r.unit for r in limits.measured),
                projection_units=tuple(r.unit for r in limits.projected),
                amount=amount,
                time=now,
                duration=length,
                now=now,
                weight=self.weight,
                record_time=now,
                measured=self.seen[:, k],
                measurement=np.where(self.seen, self.value, 0.0)[:, k],
                measurement_time=np.where(self.seen, self.stamp, 0.0)[:, k],
                quality=self.quality[:, k],
                has_previous=self.had[:, k],
                previous=np.where(self.had, self.before, 0.0)[:, k],
                previous_time=np.where(self.had, self.before_stamp, 0.0)[:, k],
                predicted=none.astype(bool),
                probability=none,
                projected=np.isfinite(nothing) & np.isfinite(given),
                projected_amount=np.repeat(meant[:, None], nothing.shape[1], axis=1),
                if_nothing=np.nan_to_num(nothing),
                if_given=np.nan_to_num(given),
                own=drug.own[a.kind],
                **drug.ledger.fields(),
            )
            allowed[:, j], masks[:, j] = guard_batch(batch, limits)
            drug.ledger.plan(a.kind, allowed[:, j], now, length)
            for code in Code:
                self.counts[code] += int(np.count_nonzero(masks[:, j] & code.bit))
        return allowed, masks
