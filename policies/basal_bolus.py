"""The usual protocol of type 1 diabetes: the profile's basal rate, and a bolus with each announced meal.

    bolus = carbohydrate / carbohydrate ratio + (glucose − 140) / correction factor, the second part where glucose > 150

so that it does what the open simulator's ``BBController`` does, which the usual benchmark reports. Options beyond it:
insulin on board is taken off the correction (linear over ``action`` hours, on what the pump confirmed), and corrections
between meals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..pkpd.errors import DoseloopError
from ..virtual.world import Observation
from .policy import Policy

__all__ = ["BasalBolus"]


class BasalBolus(Policy):
    """Basal–bolus therapy of a batch; it knows each patient's basal rate, carbohydrate ratio and correction factor.

    Args:
        target: mg/dL to which a correction aims. above: mg/dL over which one is given.
        stale: min; a reading older than this is not corrected for.
        on_board: take insulin on board off the correction (never off the meal's part).
        action: h until a bolus is used up.
        every: min between corrections without a meal (infinite: with meals only).
        suspend: mg/dL below which the basal rate is stopped (0: never).
    """

    name = "basal-bolus"

    def __init__(
        self,
        target: float = 140.0,
        above: float = 150.0,
        stale: float = 15.0,
        on_board: bool = False,
        action: float = 4.0,
        every: float = math.inf,
        suspend: float = 0.0,
    ) -> None:
        if not (above >= target > suspend >= 0 and stale > 0 and action > 0 and every > 0):
            raise DoseloopError("basal-bolus: suspend < target ≤ above; stale, action and every above 0")
        self.target, self.above, self.stale, self.on_board = target, above, stale, on_board
        self.action, self.every, self.suspend = 60.0 * action, every, suspend
        self._n = 0

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n patients: ``basal`` U/h, ``carb_ratio`` g/U, ``correction`` mg/dL per U, (n,) each.

        Raises:
            DoseloopError: one is missing, of another shape, or not above 0.
        """
        names, bad = ("basal", "carb_ratio", "correction"), []
        for name in names:
            row = np.asarray(known.get(name, np.empty(0)), dtype=float)
            if row.shape != (n,):
                bad.append(f"known['{name}'] has shape {row.shape}; ({n},) is meant")
            elif not ((row > 0) & np.isfinite(row)).all():
                bad.append(f"known['{name}'] must be above 0")
        if bad:
            raise DoseloopError([f"basal-bolus: {b}" for b in bad])
        self._basal, self._ratio, self._correction = (np.asarray(known[k], dtype=float).copy() for k in names)
        self._n = n
        self._given: list[tuple[np.ndarray, np.ndarray]] = []
        self._reading, self._seen = np.full(n, np.nan), np.full(n, -np.inf)
        self._corrected = np.full(n, -np.inf)

    def act(self, observation: Observation) -> np.ndarray:
        """(n, 2): basal rate U/h, bolus U."""
        if len(observation.reading) != self._n:
            raise DoseloopError(f"basal-bolus: {len(observation.reading)} patients; reset was for {self._n}")
        fresh = np.isfinite(observation.reading)
        self._reading[fresh] = observation.reading[fresh]
        self._seen[fresh] = observation.reading_time[fresh]
        now, glucose = observation.clock, self._reading
        known = now - self._seen <= self.stale
        meal = observation.announced / self._ratio
        due = (observation.announced > 0) | ((now - self._corrected >= self.every) & (self.every < math.inf))
        correction = np.where(known & due & (glucose > self.above), (glucose - self.target) / self._correction, 0.0)
        if self.on_board:
            correction = np.maximum(correction - self._insulin_on_board(observation), 0.0)
        self._corrected = np.where(correction > 0, now, self._corrected)
        basal = np.where(known & (glucose < self.suspend), 0.0, self._basal)
        return np.column_stack([basal, meal + correction])

    def _insulin_on_board(self, observation: Observation) -> np.ndarray:
        """U of confirmed boluses not used up yet."""
        now = observation.clock
        self._given.append((now.copy(), observation.delivered[:, 1].copy()))
        while self._given and (now - self._given[0][0] >= self.action).all():
            self._given.pop(0)
        left = np.zeros(self._n)
        for when, units in self._given:
            left += units * np.clip(1.0 - (now - when) / self.action, 0.0, 1.0)
        return left
