"""Meals: when, how much, and what the patient says about them.

"simglucose" is the random scenario of the usual benchmark (the open simulator's, its numbers): six possible meals a
day with chance .95 .3 .95 .3 .95 .3, times truncated normal, rounded to the minute, grams normal, rounded and not
below 0, the same for a 30-kg child as for an adult; eaten at 5 g/min; the controller hears of the whole meal at the
end of the control interval in which it began. "by weight" is ours: the same, with grams in proportion to weight
(those of the benchmark at 70 kg).

What is said can be wrong. Adults who count carbohydrate err by 21 % of the meal on average (Brazeau 2013: 15.4 g,
20.9 %), which is a log-normal error with SD 0.26; "counted" has that error. A share of the meals can be passed over
in silence ("unannounced": all of them), and what is said can come late or early. Faults of kind ``unannounced``
silence the meals of a time window.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from .streams import MEALS, normal_of, uniforms

__all__ = ["Meal", "Meals"]


@dataclass(frozen=True, slots=True)
class Meal:
    """One possible meal of a day: chance, mean time and window in hours, its SD in minutes, mean and SD in grams."""

    chance: float
    hour: float
    window: tuple[float, float]
    minutes: float
    grams: float
    spread: float


# simglucose's RandomScenario: breakfast, snack, lunch, snack, dinner, snack
USUAL = (
    Meal(0.95, 7.0, (5.0, 9.0), 60.0, 45.0, 10.0),
    Meal(0.30, 9.5, (9.0, 10.0), 30.0, 10.0, 5.0),
    Meal(0.95, 12.0, (10.0, 14.0), 60.0, 70.0, 10.0),
    Meal(0.30, 15.0, (14.0, 16.0), 30.0, 10.0, 5.0),
    Meal(0.95, 18.0, (16.0, 20.0), 60.0, 80.0, 10.0),
    Meal(0.30, 21.5, (20.0, 23.0), 30.0, 10.0, 5.0),
)


@dataclass(frozen=True, slots=True)
class Meals:
    """A scenario of meals.

    Args:
        day: the possible meals of a random day (windows between 4:00 and 28:00); none: only ``given`` ones.
        by_weight: grams × weight / 70 kg.
        rate: g/min at which one eats.
        silent: share of the meals of which nothing is said.
        error: SD of log(said / eaten). bias: factor on what is said.
        late: min from the first bite to the announcement, uniform between the two; below 0: before it.
        given: meals by hand in place of the random day: (k, 2), (k, 3) or (k, 4) or one such table for each patient,
            (n, k, …): minutes since admission, grams, grams said (default the same), minutes of saying so (default
            with the first bite). Rows with 0 grams are empty places; 0 grams said is nothing said.
    """

    day: tuple[Meal, ...] = USUAL
    by_weight: bool = True
    rate: float = 5.0
    silent: float = 0.0
    error: float = 0.0
    bias: float = 1.0
    late: tuple[float, float] = (0.0, 0.0)
    given: Any = None

    def __post_init__(self) -> None:
        bad = []
        for i, m in enumerate(self.day):
            low, high = m.window
            if not (0 <= m.chance <= 1 and 4 <= low < high <= 28 and m.minutes > 0 and m.grams >= 0 and m.spread >= 0):
                bad.append(f"meal {i}: {m}")
        if not self.rate > 0 or not 0 <= self.silent <= 1 or not self.error >= 0 or not self.bias >= 0:
            bad.append(f"rate {self.rate}, silent {self.silent}, error {self.error}, bias {self.bias}")
        if not -60 <= self.late[0] <= self.late[1] <= 240:
            bad.append(f"late {self.late}: between 60 min early and 4 h late")
        if bad:
            raise DoseloopError([f"meals: {b}" for b in bad])

    @classmethod
    def named(cls, name: str) -> Meals:
        """ "none", "simglucose", "by weight", "counted" (by weight, with the usual error), "unannounced" (by weight,
        never said), "simglucose unannounced".
        """
        known = {
            "none": cls(day=()),
            "simglucose": cls(by_weight=False, late=(1.0, 1.0)),
            "by weight": cls(),
            "counted": cls(error=0.26),
            "unannounced": cls(silent=1.0),
            "simglucose unannounced": cls(by_weight=False, silent=1.0),
        }
        if name not in known:
            raise DoseloopError(f"meals '{name}' are unknown; known: {', '.join(known)}")
        return known[name]

    @classmethod
    def table(cls, rows: Any, **changes: Any) -> Meals:
        """Meals by hand: see ``given``."""
        return replace(cls(day=(), by_weight=False, given=rows), **changes)

    @property
    def places(self) -> int:
        """Meals that can stand in the list at once."""
        return max(1, len(self.day) if self.given is None else np.shape(self.given)[-2])

    def given_rows(self, n: int) -> np.ndarray:
        """The given meals as (blocks, 4 · places, 8): rows of times, grams, times of saying, grams said.

        Raises:
            DoseloopError: shapes or numbers do not fit.
        """
        k = self.places
        full = np.zeros((n, k, 4))
        if self.given is not None:
            rows = np.asarray(self.given, dtype=float)
            if rows.ndim == 2:
                rows = np.broadcast_to(rows, (n, *rows.shape))
            if rows.ndim != 3 or len(rows) != n or rows.shape[2] not in (2, 3, 4):
                raise DoseloopError(
                    f"meals: given has shape {np.shape(self.given)}; (k, 2 to 4) or ({n}, k, 2 to 4) is meant"
                )
            if not np.isfinite(rows).all() or (rows[:, :, 1:3] < 0).any() or (rows[:, :, 0] < 0).any():
                raise DoseloopError("meals: given times and grams are finite and not below 0")
            full[:, :, : rows.shape[2]] = rows
            if rows.shape[2] < 3:
                full[:, :, 2] = full[:, :, 1]
            if rows.shape[2] < 4:
                full[:, :, 3] = full[:, :, 0]
        flat = full[:, :, [0, 1, 3, 2]].transpose(0, 2, 1).reshape(n, -1)
        flat = np.concatenate([flat, np.repeat(flat[-1:], -n % LANES, axis=0)])
        return np.ascontiguousarray(flat.reshape(-1, LANES, flat.shape[1]).transpose(0, 2, 1))


# the scenario's numbers, one set of floats for all; then 7 for each possible meal
M_COUNT, M_SCALED, M_EAT, M_SILENT, M_ERROR, M_BIAS, M_LATE, M_LATE_RANGE, M_GIVEN, M_DAY = range(10)
D_CHANCE, D_TIME, D_SD, D_FROM, D_TO, D_GRAMS, D_SPREAD = range(7)
D_WIDTH = 7

# rows of the state: g still to be eaten, when next to look (a meal or a new day), when next something is said, the
# day laid out, the meal under way for `meal.eat` (with the end of its last minute), then times, grams, times of
# saying, grams said (``places`` rows each)
PLANNED, NEXT, NEXT_WORD, DAY, START, EATEN, LAST, LIST = range(8)
FAR = 1e12
# rows of what may differ from lane to lane: SD of log(said / eaten), factor on grams, share of which nothing is said
V_ERROR, V_SIZE, V_SILENT = range(3)


def meal_numbers(m: Meals) -> np.ndarray:
    """A scenario's numbers for the compiled functions."""
    head = [len(m.day), m.by_weight, m.rate, m.silent, m.error, m.bias, m.late[0], m.late[1] - m.late[0]]
    out = [*head, float(m.given is not None)]
    for d in m.day:
        ends = [ndtr((60 * h - 60 * d.hour) / d.minutes) for h in d.window]
        out += [d.chance, 60 * d.hour, d.minutes, *ends, d.grams, d.spread]
    return np.array(out, dtype=float)


@jit
def _soonest(a, lane, first, places):
    """The earliest time among the places of a list."""
    found = FAR
    for r in range(first, first + places):
        found = min(found, get(a, r * LANES + lane))
    return found


@jit
def _plan(f, own, a, lane, places, day, now, weight, seed, patient):
    """Draw the meals of a day (minutes of ``now`` and of the list count from the midnight before admission)."""
    scale = (weight / 70.0 if get(f, M_SCALED) > 0 else 1.0) * get(own, V_SIZE * LANES + lane)
    error, silent = get(own, V_ERROR * LANES + lane), get(own, V_SILENT * LANES + lane)
    for k in range(np.int64(get(f, M_COUNT))):
        d = M_DAY + k * D_WIDTH
        draw = 2 * ((day + 1) * places + k)
        u0, u1, u2, u3 = uniforms(seed, patient, MEALS, draw)
        v0, v1, _, _ = uniforms(seed, patient, MEALS, draw + 1)
        inside = get(f, d + D_FROM) + u1 * (get(f, d + D_TO) - get(f, d + D_FROM))
        time = 1440.0 * day + math.floor(get(f, d + D_TIME) + get(f, d + D_SD) * normal_of(inside) + 0.5)
        grams = max(0.0, math.floor(get(f, d + D_GRAMS) + get(f, d + D_SPREAD) * normal_of(u2) + 0.5)) * scale
        eaten = u0 < get(f, d + D_CHANCE) and time >= now and grams > 0
        said = eaten and u3 >= silent
        word = time + get(f, M_LATE) + get(f, M_LATE_RANGE) * v1
        heard = grams * get(f, M_BIAS) * (math.exp(error * normal_of(v0)) if error > 0 else 1.0)
        put(a, (LIST + k) * LANES + lane, time if eaten else FAR)
        put(a, (LIST + places + k) * LANES + lane, grams)
        put(a, (LIST + 2 * places + k) * LANES + lane, max(word, now) if said else FAR)
        put(a, (LIST + 3 * places + k) * LANES + lane, heard)


@jit
def _look(a, lane, places):
    tomorrow = 1440.0 * (get(a, DAY * LANES + lane) + 1.0) + 240.0
    put(a, NEXT * LANES + lane, min(tomorrow, _soonest(a, lane, LIST, places)))
    put(a, NEXT_WORD * LANES + lane, _soonest(a, lane, LIST + 2 * places, places))


@jit
def meals_admit(f, given, own, a, lane, places, now, weight, seed, patient):
    """Begin at ``now`` (min since the midnight before admission): nothing eaten, today's meals to come."""
    put(a, PLANNED * LANES + lane, 0.0)
    put(a, START * LANES + lane, 0.0)
    put(a, EATEN * LANES + lane, 0.0)
    put(a, LAST * LANES + lane, -math.inf)
    for k in range(places):
        grams, said = get(given, (places + k) * LANES + lane), get(given, (3 * places + k) * LANES + lane)
        put(a, (LIST + k) * LANES + lane, now + get(given, k * LANES + lane) if grams > 0 else FAR)
        put(a, (LIST + places + k) * LANES + lane, grams)
        put(
            a,
            (LIST + 2 * places + k) * LANES + lane,
            now + get(given, (2 * places + k) * LANES + lane) if said > 0 else FAR,
        )
        put(a, (LIST + 3 * places + k) * LANES + lane, said)
    day = np.int64(math.floor((now - 240.0) / 1440.0))  # days are laid out at 4:00, when nobody eats
    put(a, DAY * LANES + lane, np.float64(day))
    if get(f, M_GIVEN) == 0:
        _plan(f, own, a, lane, places, day, now, weight, seed, patient)
    _look(a, lane, places)


@jit
def bite(f, own, a, lane, places, now, weight, seed, patient):
    """What is eaten in the minute that begins at ``now``: g/min."""
    planned = get(a, PLANNED * LANES + lane)
    if now >= get(a, NEXT * LANES + lane):
        if now >= 1440.0 * (get(a, DAY * LANES + lane) + 1.0) + 240.0:
            day = np.int64(get(a, DAY * LANES + lane)) + 1
            put(a, DAY * LANES + lane, np.float64(day))
            if get(f, M_GIVEN) == 0:
                _plan(f, own, a, lane, places, day, now, weight, seed, patient)
        for k in range(places):
            if get(a, (LIST + k) * LANES + lane) <= now:
                planned += get(a, (LIST + places + k) * LANES + lane)
                put(a, (LIST + k) * LANES + lane, FAR)
        _look(a, lane, places)
    eaten = min(planned, get(f, M_EAT))
    put(a, PLANNED * LANES + lane, planned - eaten)
    return eaten


@jit
def word(a, lane, places, now):
    """What has been said by ``now`` and not yet heard: g."""
    heard = 0.0
    if now >= get(a, NEXT_WORD * LANES + lane):
        for k in range(places):
            at = (LIST + 2 * places + k) * LANES + lane
            if get(a, at) <= now:
                heard += get(a, (LIST + 3 * places + k) * LANES + lane)
                put(a, at, FAR)
        put(a, NEXT_WORD * LANES + lane, _soonest(a, lane, LIST + 2 * places, places))
    return heard
