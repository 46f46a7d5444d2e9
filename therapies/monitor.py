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

__all__ = ["EffectSiteMonitor", "GlucoseMonitor", "Monitor"]


class Monitor(Protocol):
    """Projections of n patients, decision by decision."""

    def see(self, reading: np.ndarray, time: np.ndarray, announced: np.ndarray) -> None:
        """What was measured and announced, (n,) each; NaN where nothing was."""

    def given(self, delivered: np.ndarray) -> None:
        """What the pump confirmed over the last interval, (n, actions)."""

    def project(self, column: int, asked: np.ndarray, pending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, quantities) if nothing more is given in that column, and if ``asked`` (n,) is; NaN where unknown.
        ``pending`` (n, actions) was commanded and is still to come."""


class GlucoseMonitor:
    """Insulin on board, net of the programmed basal rate, and glucose in 30 minutes.

    - On board: two compartments of 55 min each (Hovorka 2004, tau_I), so that half is left after 92 min, 2 % after 5 h.
    - Glucose: the trend of the readings of the last 20 min, for 30 min; what was announced in the last half hour raises
      it, and insulin lowers it, by the patient's carbohydrate ratio and correction factor, of which a fifth and a tenth
      act within half an hour (our own reading of both models' courses; docs/safety.md).
    """

    DELAY, AHEAD, TREND = 55.0, 30.0, 20.0
    CARBS, INSULIN = 0.2, 0.1
    KEPT = 8

    def __init__(self, known: Mapping[str, np.ndarray], n: int, interval: float) -> None:
        self.interval, self.basal = interval, known["basal"] / 60.0
        self.drop = known["correction"]
        self.rise = known["correction"] / known["carb_ratio"]
        self.first, self.second = np.zeros(n), np.zeros(n)
        self.values, self.times = np.full((n, self.KEPT), np.nan), np.full((n, self.KEPT), np.nan)
        self.carbs = np.zeros((n, max(1, round(self.AHEAD / interval))))

    @property
    def on_board(self) -> np.ndarray:
        """(n,) U, net of basal."""
        return self.first + self.second

    def see(self, reading: np.ndarray, time: np.ndarray, announced: np.ndarray) -> None:
        """Take in readings (mg/dL) and announced carbohydrate (g)."""
        new = np.isfinite(reading) & ~(time <= np.nanmax(self.times, axis=1, initial=-np.inf))
        for store, value in ((self.values, reading), (self.times, time)):
            store[new] = np.column_stack([store[new, 1:], value[new]])
        self.carbs = np.column_stack([self.carbs[:, 1:], np.nan_to_num(announced)])

    def given(self, delivered: np.ndarray) -> None:
        """Confirmed: basal rate (U/h), bolus (U)."""
        self.first = self.first + delivered[:, 1]
        net = delivered[:, 0] / 60.0 - self.basal
        keep = np.exp(-self.interval / self.DELAY)
        share = self.interval / self.DELAY * keep
        # exact for two equal compartments under a constant rate
        steady = net * self.DELAY
        a, b = self.first - steady, self.second - steady
        self.first, self.second = a * keep + steady, b * keep + a * share + steady

    def trend(self) -> np.ndarray:
        """(n,) mg/dL per min, least squares over the last 20 min of readings; NaN with fewer than two."""
        newest = np.nanmax(self.times, axis=1, initial=-np.inf)[:, None]
        with np.errstate(invalid="ignore"):
            use = np.isfinite(self.values) & (self.times >= newest - self.TREND)
        count = use.sum(axis=1)
        t = np.where(use, self.times - newest, 0.0)
        y = np.where(use, self.values, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            tm, ym = t.sum(axis=1) / count, y.sum(axis=1) / count
            t, y = np.where(use, t - tm[:, None], 0.0), np.where(use, y - ym[:, None], 0.0)
            return np.where(count >= 2, (t * y).sum(axis=1) / (t * t).sum(axis=1), np.nan)

    def project(self, column: int, asked: np.ndarray, pending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Insulin on board (U), glucose in 30 min (mg/dL)."""
        units = asked * (self.interval / 60.0) if column == 0 else asked
        board = self.on_board + pending[:, 1] - (self.basal * self.interval if column == 0 else 0.0)
        newest = self.values[:, -1]
        # one reading has no trend yet: it is taken as steady
        slope = np.where(np.isnan(self.trend()), 0.0, self.trend())
        glucose = newest + slope * self.AHEAD + self.CARBS * self.rise * self.carbs.sum(axis=1)
        glucose -= self.INSULIN * self.drop * pending[:, 1]
        nothing = np.column_stack([board, glucose])
        return nothing, nothing + np.column_stack([units, -self.INSULIN * self.drop * units])


class EffectSiteMonitor:
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
        states, at = len(model.states), model.names("states").index("effect")
        self.x = np.zeros((n, states))
        self.move, self.push = _response(model, p, interval, 1)
        self.move, self.push = self.move[:, 0], self.push[:, 0]
        course, _ = _response(model, p, step, round(ahead / step))
        self.free = np.concatenate([np.eye(states)[None, None, at].repeat(n, 0), course[:, :, at]], axis=1)
        # after one interval of a unit rate, along the same course
        self.forced = np.einsum("nkj,nj->nk", self.free, self.push)

    def see(self, reading: np.ndarray, time: np.ndarray, announced: np.ndarray) -> None:
        """Readings say nothing of concentrations."""

    def given(self, delivered: np.ndarray) -> None:
        """Confirmed rate (mg/min)."""
        self.x = np.einsum("nij,nj->ni", self.move, self.x) + self.push * delivered[:, :1]

    def project(self, column: int, asked: np.ndarray, pending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Peak effect-site concentration (the model's unit)."""
        after = np.einsum("nij,nj->ni", self.move, self.x)
        free = np.einsum("nkj,nj->nk", self.free, after)
        now = np.einsum("nj,nj->n", self.free[:, 0], self.x)
        nothing = np.maximum(now, free.max(axis=1))
        given = np.maximum(now, (free + asked[:, None] * self.forced).max(axis=1))
        return nothing[:, None], given[:, None]


def _response(model: Model, p: np.ndarray, step: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a linear model: (n, count, states, states) after k steps from each unit state; (n, count, states) after k
    steps of a unit rate."""
    m, n, size = march_of(model, step), len(p), len(model.states)
    rows = pack(np.repeat(p, size + 1, axis=0))
    x = pack(np.tile(np.vstack([np.eye(size), np.zeros(size)]), (n, 1)))
    u = np.zeros((n * (size + 1), m.system.nu))
    u[size :: size + 1, len(model.inputs)] = 1.0
    u, s, k, spare = pack(u), np.zeros((2, 8)), np.zeros((m.rows_k, 8)), np.zeros(x.shape[1:])
    out = np.empty((n, count, size + 1, size))
    kept = np.empty((len(x), *k.shape))
    for b in range(len(x)):
        prepare(m.propagator, *addresses([s, rows[b], kept[b]]), m.h)
    for j in range(count):
        for b in range(len(x)):
            march(m.kernel, *addresses([s, x[b], spare, rows[b], u[b], kept[b]]), x.shape[1], 0.0, m.h, m.steps)
        out[:, j] = unpack(x, n * (size + 1)).reshape(n, size + 1, size)
    return out[:, :, :size].transpose(0, 1, 3, 2), out[:, :, size]
