"""What the guard of a loop is told will happen, by plain rules that share nothing with the controller.

A controller's own forecast is as wrong as its model; the guard's projections therefore come from the pump's record, the
newest readings and textbook kinetics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ..pkpd.calls import addresses
from ..pkpd.individuals import individuals
from ..pkpd.march import march, march_of, pack, prepare, unpack
from ..pkpd.model import Model
from ..pkpd.vcode import Flag, Real, Rows
from .lane_monitor import LaneMonitor

__all__ = ["EffectSiteMonitor", "GlucoseMonitor", "Monitor"]


class Monitor(Protocol):
    """Projections of n patients, decision by decision."""

    def see(self, reading: np.ndarray, time: np.ndarray, announced: np.ndarray) -> None:
        """What was measured, (n, measurements) each, NaN where nothing new was, and announced (n,)."""

    def given(self, delivered: np.ndarray) -> None:
        """What the pump confirmed over the last interval, (n, actions)."""

    def project(
        self, column: int, asked: np.ndarray, allowed: np.ndarray, pending: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, quantities) if nothing more is given in that column, and if ``asked`` (n,) is; NaN where unknown.
        ``allowed`` (n, actions) was allowed in the columns before it, ``pending`` (n, actions) was commanded earlier
        and is still to come."""


class GlucoseMonitor(LaneMonitor):
    """Insulin on board, net of the programmed basal rate, and glucose in 30 minutes.

    - On board: two compartments of 55 min each (Hovorka 2004, tau_I), so that half is left after 92 min, 2 % after 5 h.
    - Glucose: the trend of the readings of the last 20 min, for 30 min; what was announced in the last half hour raises
      it, and insulin lowers it, by the patient's carbohydrate ratio and correction factor, of which a fifth and a tenth
      act within half an hour (our own reading of both models' courses; docs/safety.md).
    """

    DELAY, AHEAD, TREND = 55.0, 30.0, 20.0
    CARBS, INSULIN = 0.2, 0.1
    KEPT = 8
    BASAL, DROP, RISE = range(3)  # own numbers: U/min, mg/dL per U, mg/dL per g
    # rows of the state; first the newest reading, its time, the trend (NaN with fewer than two readings), and what the
    # readings and meals alone make of glucose
    NEWEST, TIME, SLOPE, FREE, FIRST, SECOND, VALUES = range(7)
    TIMES = VALUES + KEPT
    MEALS = TIMES + KEPT

    def __init__(self, known: Mapping[str, np.ndarray], n: int, interval: float) -> None:
        self.interval, self.meals = float(interval), max(1, round(self.AHEAD / interval))
        correction = np.asarray(known["correction"], dtype=float)
        own = np.column_stack([known["basal"] / 60.0, correction, correction / known["carb_ratio"]])
        fresh = np.zeros(self.MEALS + self.meals)
        fresh[[self.NEWEST, self.TIME, self.SLOPE, self.FREE]] = np.nan
        fresh[self.VALUES : self.MEALS] = np.nan
        super().__init__(own, fresh, measures=1, actions=2, quantities=2)

    @property
    def on_board(self) -> np.ndarray:
        """(n,) U, net of basal."""
        return self.row(self.FIRST) + self.row(self.SECOND)

    def trend(self) -> np.ndarray:
        """(n,) mg/dL per min, least squares over the last 20 min of readings; NaN with fewer than two."""
        return self.row(self.SLOPE)

    def taken(self, x: Rows, p: Rows, delivered: list[Real], began: Flag) -> None:
        """Code: basal rate (U/h), bolus (U)."""
        c = x.code
        first, second = x[self.FIRST], x[self.SECOND]
        keep = float(np.exp(-self.interval / self.DELAY))
        share = self.interval / self.DELAY * keep
        # exact for two equal compartments under a constant rate
        steady = (delivered[0] / 60.0 - p[self.BASAL]) * self.DELAY
        a, b = first + delivered[1] - steady, second - steady
        x[self.FIRST] = c.where(began, a * keep + steady, first)
        x[self.SECOND] = c.where(began, b * keep + a * share + steady, second)

    def seen(self, x: Rows, p: Rows, readings: list[tuple[Real, Real]], announced: Real) -> None:
        """Code: readings (mg/dL) and announced carbohydrate (g)."""
        c, ((reading, time),) = x.code, readings
        values, times = ([x[first + r] for r in range(self.KEPT)] for first in (self.VALUES, self.TIMES))
        new = reading.finite() & ~(time <= times[-1])
        values = [c.where(new, b, a) for a, b in zip(values, [*values[1:], reading])]
        times = [c.where(new, b, a) for a, b in zip(times, [*times[1:], time])]
        meals = [x[self.MEALS + r] for r in range(1, self.meals)]
        meals.append(c.where(announced.equals(announced), announced, 0.0))
        newest = times[-1]
        use = [v.finite() & (t >= newest - self.TREND) for v, t in zip(values, times)]
        count = _sum([c.where(u, 1.0, 0.0) for u in use])
        t = [c.where(u, t - newest, 0.0) for u, t in zip(use, times)]
        tm = _sum(t) / count
        ym = _sum([c.where(u, v, 0.0) for u, v in zip(use, values)]) / count
        t = [c.where(u, v - tm, 0.0) for u, v in zip(use, t)]
        y = [c.where(u, v - ym, 0.0) for u, v in zip(use, values)]
        slope = _sum([a * b for a, b in zip(t, y)]) / _sum([a * a for a in t])
        slope = c.where(count >= 2.0, slope, float("nan"))
        # one reading has no trend yet: it is taken as steady
        steady = c.where(slope.equals(slope), slope, 0.0)
        rise = self.CARBS * p[self.RISE] * _sum(meals)
        for r in range(self.KEPT):
            x[self.VALUES + r], x[self.TIMES + r] = values[r], times[r]
        for r in range(self.meals):
            x[self.MEALS + r] = meals[r]
        x[self.NEWEST], x[self.TIME], x[self.SLOPE] = values[-1], newest, slope
        x[self.FREE] = values[-1] + steady * self.AHEAD + rise

    def ahead(self, x: Rows, p: Rows, column: int, asked: Real, pending: list[Real]) -> list[tuple[Real, Real]]:
        """Code: insulin on board (U), glucose in 30 min (mg/dL)."""
        units = asked * (self.interval / 60.0) if column == 0 else asked
        board = x[self.FIRST] + x[self.SECOND] + pending[1]
        if column == 0:
            board = board - p[self.BASAL] * self.interval
        drop = self.INSULIN * p[self.DROP]
        glucose = x[self.FREE] - drop * pending[1]
        return [(board, board + units), (glucose, glucose - drop * units)]


class EffectSiteMonitor(LaneMonitor):
    """The highest effect-site concentration of the next minutes, in the typical patient with these covariates.

    The asked rate runs for one interval, then nothing: as linear kinetics are, the peak is convex in the rate.

    Args:
        model: a linear model with an output ``ce`` and one route.
        known: covariates by name, (n,) each.
        n, interval: patients; min between decisions.
        ahead, step: how far and how finely the course is followed (min).
    """

    def __init__(
        self,
        model: Model,
        known: Mapping[str, np.ndarray],
        n: int,
        interval: float,
        ahead: float = 6.0,
        step: float = 0.25,
    ) -> None:
        cov = np.column_stack([np.broadcast_to(known.get(c.name, c.typical), n) for c in model.covariates])
        p = individuals(model, np.ascontiguousarray(cov, dtype=float), np.zeros((n, len(model.effects))))
        states, self.at = len(model.states), model.names("states").index("effect")
        move, push = _response(model, p, interval, 1)
        course, _ = _response(model, p, step, round(ahead / step))
        free = np.concatenate([np.eye(states)[None, None, self.at].repeat(n, 0), course[:, :, self.at]], axis=1)
        # after one interval of a unit rate, along the same course
        forced = np.einsum("nkj,nj->nk", free, push[:, 0])
        self.states, self.points = states, free.shape[1]
        own = np.concatenate([move[:, 0].reshape(n, -1), push[:, 0], free.reshape(n, -1), forced], axis=1)
        super().__init__(own, np.zeros(states), measures=1, actions=1, quantities=1)

    def _after(self, x: Rows, p: Rows) -> list[Real]:
        """Amounts after an interval without drug."""
        n, now = self.states, [x[j] for j in range(self.states)]
        return [_sum([p[i * n + j] * now[j] for j in range(n)]) for i in range(n)]

    def taken(self, x: Rows, p: Rows, delivered: list[Real], began: Flag) -> None:
        """Code: confirmed rate (mg/min)."""
        n, after = self.states, self._after(x, p)
        for i in range(n):
            x[i] = x.code.where(began, after[i] + p[n * n + i] * delivered[0], x[i])

    def seen(self, x: Rows, p: Rows, readings: list[tuple[Real, Real]], announced: Real) -> None:
        """Readings say nothing of concentrations."""

    def ahead(self, x: Rows, p: Rows, column: int, asked: Real, pending: list[Real]) -> list[tuple[Real, Real]]:
        """Code: peak effect-site concentration (the model's unit)."""
        n, after = self.states, self._after(x, p)
        nothing = given = x[self.at]
        for k in range(self.points):
            first = n * n + n + k * n
            free = _sum([p[first + j] * after[j] for j in range(n)])
            nothing = nothing.most(free)
            given = given.most(free + asked * p[n * n + n + self.points * n + k])
        return [(nothing, given)]


def _sum(values: list[Real]) -> Real:
    total = values[0]
    for v in values[1:]:
        total = total + v
    return total


def _response(model: Model, p: np.ndarray, step: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a linear model: (n, count, states, states) after k steps from each unit state; (n, count, states) after k
    steps of a unit rate."""
    m, n, size = march_of(model, step), len(p), len(model.states)
    rows = pack(np.repeat(p, size + 1, axis=0))
    x = pack(np.tile(np.vstack([np.eye(size), np.zeros(size)]), (n, 1)))
    u = np.zeros((n * (size + 1), m.system.nu))
    u[size :: size + 1, len(model.inputs)] = 1.0
    u, s, k = pack(u), np.zeros((2, 8)), np.zeros((m.rows_k, 8))
    out = np.empty((n, count, size + 1, size))
    kept = np.empty((len(x), *k.shape))
    for b in range(len(x)):
        prepare(m.propagator, *addresses([s, rows[b], kept[b]]), m.h)
    for j in range(count):
        for b in range(len(x)):
            march(m.kernel, *addresses([s, x[b], rows[b], u[b], kept[b]]), 0.0, m.h)
        out[:, j] = unpack(x, n * (size + 1)).reshape(n, size + 1, size)
    return out[:, :, :size].transpose(0, 1, 3, 2), out[:, :, size]
