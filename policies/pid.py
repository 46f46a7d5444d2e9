"""Propofol by a PID controller of BIS: the usual closed loop, and the yardstick for others.

Two sets of gains, one for induction and one from the moment BIS comes near the target, as Padula 2017 (Comput Methods
Programs Biomed 144:1) found to be needed: what brings a patient quickly from 93 to 50 answers a surgeon's stimulus too
slowly. Gains are per 70 kg. The measurement is low-passed; its derivative is taken, not the error's, so that a target
that moves gives no kick; the integral stands still where the pump's limit cuts the rate and the error would drive it
further.

The defaults were tuned by ``benchmarks/pid_tuning.py`` on the train split of the Eleveld cohort.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..virtual.world import Observation
from .policy import Policy

__all__ = ["PID", "Gains", "PIDTuning"]


@dataclass(frozen=True, slots=True)
class Gains:
    """Of one phase: ``kp`` mg/min per BIS at 70 kg, ``ti`` and ``td`` min."""

    kp: float
    ti: float
    td: float


@dataclass(frozen=True, slots=True)
class PIDTuning:
    """What may be chosen.

    Args:
        induction, maintenance: gains of the two phases.
        filter: time constant of the low-pass on BIS, min.
        near: BIS above the target at which induction ends (filtered).
        target: BIS.
        limit: highest rate, mg/kg/min.
        quality: readings of a lower signal quality are left out (50: the monitor's own mark).
    """

    induction: Gains = Gains(1.4, 40.0, 0.32)
    maintenance: Gains = Gains(0.58, 24.0, 0.28)
    filter: float = 0.13
    near: float = 10.0
    target: float = 50.0
    limit: float = 2.0
    quality: float = 50.0


class PID(Policy):
    """Propofol by PID for n patients at once; a decision is plain arithmetic, some microseconds for all of them.

    A reading that is missing or of low quality is not used: the last good one holds, as do proportional part and
    derivative, while the integral goes on. Before the first reading nothing is given.

    Args:
        interval: min between decisions.
        tuning: see `PIDTuning`.
    """

    name = "pid"

    def __init__(self, interval: float = 1 / 12, tuning: PIDTuning | None = None) -> None:
        self.interval, self.tuning = interval, tuning or PIDTuning()

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients; of what is known only ``weight`` (kg) is used."""
        weight = np.broadcast_to(np.asarray(known["weight"], dtype=float), (n,))
        self._scale, self._limit = weight / 70.0, weight * self.tuning.limit
        self._depth = np.full(n, np.nan)  # filtered BIS
        self._slope = np.zeros(n)
        self._integral = np.zeros(n)
        self._near = np.zeros(n, dtype=bool)

    def act(self, seen: Observation) -> np.ndarray:
        """Propofol rates (n, 1), mg/min."""
        t, T = self.tuning, self.interval
        good = np.isfinite(seen.reading) & (seen.quality >= t.quality)
        first = good & np.isnan(self._depth)
        self._depth[first] = seen.reading[first]
        share = -np.expm1(-T / t.filter) if t.filter > 0 else 1.0
        moved = np.where(good, share * (seen.reading - self._depth), 0.0)
        self._depth += moved
        self._slope = np.where(good, moved / T, self._slope)
        seeing = np.isfinite(self._depth)
        error = np.where(seeing, self._depth - t.target, 0.0)

        kp, ti, td = self._gains()
        rate = self._integral + kp * (error + td * self._slope)
        arrived = seeing & ~self._near & (error <= t.near)
        if arrived.any():  # the new gains take over where the old ones stand
            self._near |= arrived
            before = np.clip(rate, 0.0, self._limit)
            kp, ti, td = self._gains()
            self._integral = np.where(arrived, before - kp * (error + td * self._slope), self._integral)
            rate = self._integral + kp * (error + td * self._slope)
        free = ((rate < self._limit) | (error < 0)) & ((rate > 0) | (error > 0))
        self._integral += np.where(free, kp * T / ti * error, 0.0)
        return np.where(seeing, np.clip(rate, 0.0, self._limit), 0.0)[:, None]

    def _gains(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, b = self.tuning.induction, self.tuning.maintenance

        def pick(first: float, then: float) -> np.ndarray:
            return np.asarray(np.where(self._near, then, first))

        return pick(a.kp, b.kp) * self._scale, pick(a.ti, b.ti), pick(a.td, b.td)
