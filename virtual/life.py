"""What changes a patient's need of insulin from hour to hour: daily pattern, day to day, exercise, dawn.

All act through two inputs of the glucose models: ``sensitivity`` (a factor on insulin's action) and ``dawn``
(endogenous glucose production on top, mg/kg/min).

- **Pattern**: insulin sensitivity differs between the parts of a day, 4 to 11, 11 to 17, 17 to 4 h, and how it does
  differs between people (Hinshaw 2013; the simulator of Visentin 2015 has such a pattern for each subject): a
  log-normal factor for each part and person.
- **Day to day**: one log-normal factor for each day and person.
- **Dawn**: production rises from 3:00 to 7:00 (Mallad 2015: by 1.5 mg/kg/min in the simulator's parameter kp1) and
  falls back until 10:00 (the fall is ours).
- **Exercise**: at most once a day, a factor on sensitivity that stays while it lasts and wears off exponentially.

The spreads of "usual" are ours: 20 % between parts of a day, 10 % between days, exercise one day in two.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from .streams import LIFE, normal_of, uniforms
from .world import lanes_of

__all__ = ["Life"]


@dataclass(frozen=True, slots=True)
class Life:
    """What changes the need of insulin. Numbers are one for all or (n,).

    Args:
        pattern: SD of the log factor of each part of the day, by person.
        daily: SD of the log factor of each day.
        dawn: mg/kg/min at 7:00.
        exercise: chance of exercise on a day. factor: on sensitivity. minutes: its length, uniform between the two.
            hours: between which it begins. lasting: min, time constant of its wearing off.
    """

    pattern: Any = 0.0
    daily: Any = 0.0
    dawn: Any = 0.0
    exercise: Any = 0.0
    factor: Any = 1.5
    minutes: tuple[float, float] = (30.0, 60.0)
    hours: tuple[float, float] = (9.0, 20.0)
    lasting: float = 120.0

    @classmethod
    def named(cls, name: str) -> Life:
        """ "even" (nothing changes, as in the usual benchmark), "dawn" (1.5 mg/kg/min), "usual" (all of it)."""
        known = {"even": cls(), "dawn": cls(dawn=1.5), "usual": cls(0.2, 0.1, 0.5, 0.5)}
        if name not in known:
            raise DoseloopError(f"life '{name}' is unknown; known: {', '.join(known)}")
        return known[name]

    def settings(self, n: int) -> np.ndarray:
        """(blocks, 5, 8): pattern, daily, dawn, exercise, factor.

        Raises:
            DoseloopError: listing what cannot be.
        """
        bad, rows = [], []
        for name in ("pattern", "daily", "dawn", "exercise", "factor"):
            row = lanes_of(getattr(self, name), n, f"life: {name}")
            if (row < 0).any() or (name == "exercise" and (row > 1).any()) or (name == "factor" and (row <= 0).any()):
                bad.append(f"life: {name} {getattr(self, name)}")
            rows.append(row)
        lengths = 0 < self.minutes[0] <= self.minutes[1] and self.lasting > 0
        if not (lengths and 4 <= self.hours[0] < self.hours[1] <= 24):
            bad.append(f"life: minutes {self.minutes}, hours {self.hours} (4 to 24), lasting {self.lasting}")
        if bad:
            raise DoseloopError(bad)
        return np.ascontiguousarray(np.array(rows).reshape(5, -1, LANES).transpose(1, 0, 2))

    @property
    def changes(self) -> bool:
        """False where nothing ever changes."""
        return any(np.any(np.asarray(getattr(self, k)) > 0) for k in ("pattern", "daily", "dawn", "exercise"))


PATTERN, DAILY, DAWN, EXERCISE, FACTOR = range(5)  # rows of the settings
SETTINGS = 5
# rows of the state
MORNING, NOON, EVENING, TODAY, FACTOR_TODAY, BEGINS, ENDS = range(7)
LIFE_ROWS = 7


@jit
def _day(c, f, a, lane, day, seed, patient):
    """Draw a day: its factor, and when there is exercise (min since the midnight before admission)."""
    u0, u1, u2, u3 = uniforms(seed, patient, LIFE, day + 2)
    put(a, TODAY * LANES + lane, np.float64(day))
    put(a, FACTOR_TODAY * LANES + lane, math.exp(get(c, DAILY * LANES + lane) * normal_of(u0)))
    if u1 < get(c, EXERCISE * LANES + lane):
        begins = 1440.0 * day + get(f, 0) + (get(f, 1) - get(f, 0)) * u2
        put(a, BEGINS * LANES + lane, begins)
        put(a, ENDS * LANES + lane, begins + get(f, 2) + (get(f, 3) - get(f, 2)) * u3)


@jit
def life_admit(c, f, a, lane, now, seed, patient):
    """Begin at ``now`` (min since the midnight before admission)."""
    u0, u1, u2, _ = uniforms(seed, patient, LIFE, 0)
    sd = get(c, PATTERN * LANES + lane)
    put(a, MORNING * LANES + lane, math.exp(sd * normal_of(u0)))
    put(a, NOON * LANES + lane, math.exp(sd * normal_of(u1)))
    put(a, EVENING * LANES + lane, math.exp(sd * normal_of(u2)))
    put(a, BEGINS * LANES + lane, -1e9)
    put(a, ENDS * LANES + lane, -1e9)
    _day(c, f, a, lane, np.int64(math.floor((now - 240.0) / 1440.0)), seed, patient)


@jit
def needs(c, f, a, lane, now, seed, patient):
    """(sensitivity, dawn mg/kg/min) at ``now`` (min since the midnight before admission)."""
    day = np.int64(math.floor((now - 240.0) / 1440.0))
    if day != np.int64(get(a, TODAY * LANES + lane)):
        _day(c, f, a, lane, day, seed, patient)
    minute = now - 1440.0 * math.floor(now / 1440.0)
    part = MORNING if 240.0 <= minute < 660.0 else NOON if 660.0 <= minute < 1020.0 else EVENING
    factor = get(a, part * LANES + lane) * get(a, FACTOR_TODAY * LANES + lane)
    begins, ends = get(a, BEGINS * LANES + lane), get(a, ENDS * LANES + lane)
    if now >= begins:
        rest = 1.0 if now < ends else math.exp(-(now - ends) / get(f, 4))
        factor *= 1.0 + (get(c, FACTOR * LANES + lane) - 1.0) * rest
    dawn = get(c, DAWN * LANES + lane)
    if dawn > 0:
        dawn *= max(0.0, min((minute - 180.0) / 240.0, (600.0 - minute) / 180.0))
    return factor, dawn
