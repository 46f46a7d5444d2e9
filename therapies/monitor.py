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

__all__ = ["EffectSiteMonitor", "GlucoseMonitor", "Monitor", "TwoDrugMonitor"]


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
        _keep(self.values, self.times, reading[:, 0], time[:, 0])
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
        return _line(self.values, self.times, self.TREND)[1]

    def project(
        self, column: int, asked: np.ndarray, allowed: np.ndarray, pending: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
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

    def project(
        self, column: int, asked: np.ndarray, allowed: np.ndarray, pending: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Peak effect-site concentration (the model's unit)."""
        after = np.einsum("nij,nj->ni", self.move, self.x)
        free = np.einsum("nkj,nj->nk", self.free, after)
        now = np.einsum("nj,nj->n", self.free[:, 0], self.x)
        nothing = np.maximum(now, free.max(axis=1))
        given = np.maximum(now, (free + asked[:, None] * self.forced).max(axis=1))
        return nothing[:, None], given[:, None]


class TwoDrugMonitor:
    """Propofol and remifentanil: the peak of the drug's effect site, and mean arterial pressure in 2 minutes.

    The pressure follows the line through the readings of the last 8 min (a line needs 4 min of them; until then, their
    mean), and each drug that is given lowers it by a fixed amount for each kg: the fall within 2 min that at least 9 of
    10 patients of Su 2023 stay under at maintenance (tests/test_gate.py). Without a reading of the last 6 min the
    pressure is unknown.

    Args:
        propofol, remifentanil: of each drug's effect site, for the columns 0 and 1.
        known: ``weight``, kg.
        n, interval: patients; min between decisions.
        pressure: column of the pressure among the measurements.
    """

    AHEAD, TREND, LEAST, OLDEST, KEPT = 2.0, 8.0, 4.0, 6.0, 12
    FALL = (10.0, 15.0)  # mmHg per mg/kg of propofol, per ug/kg of remifentanil

    def __init__(
        self,
        propofol: EffectSiteMonitor,
        remifentanil: EffectSiteMonitor,
        known: Mapping[str, np.ndarray],
        n: int,
        interval: float,
        pressure: int = 1,
    ) -> None:
        self.sites, self.weight = (propofol, remifentanil), np.asarray(known["weight"], dtype=float)
        self.interval, self.column, self.now = interval, pressure, np.zeros(n)
        self.values, self.times = np.full((n, self.KEPT), np.nan), np.full((n, self.KEPT), np.nan)

    def see(self, reading: np.ndarray, time: np.ndarray, announced: np.ndarray) -> None:
        """Take in the pressure (mmHg), whose time is the clock whether there is a value or not."""
        self.now = time[:, self.column]
        _keep(self.values, self.times, reading[:, self.column], time[:, self.column])

    def given(self, delivered: np.ndarray) -> None:
        """Confirmed rates (mg/min, ug/min)."""
        for j, site in enumerate(self.sites):
            site.given(delivered[:, j : j + 1])

    def pressure(self) -> np.ndarray:
        """(n,) mmHg in 2 minutes by the readings alone; NaN without a recent one."""
        newest = np.nanmax(self.times, axis=1, initial=-np.inf)
        oldest = np.nanmin(np.where(self.times >= newest[:, None] - self.TREND, self.times, np.inf), axis=1)
        level, slope, middle = _line(self.values, self.times, self.TREND)
        slope = np.where(newest - oldest >= self.LEAST, slope, 0.0)
        ahead: np.ndarray = level + slope * (self.now + self.AHEAD - middle)
        return np.where(self.now - newest <= self.OLDEST + 1e-9, ahead, np.nan)

    def project(
        self, column: int, asked: np.ndarray, allowed: np.ndarray, pending: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Peak effect-site concentration of the column's drug (the model's unit), pressure in 2 min (mmHg)."""
        nothing, given = self.sites[column].project(0, asked, allowed, pending)
        amounts = allowed * self.interval / self.weight[:, None]
        amounts[:, column] = 0.0
        free = self.pressure() - amounts @ np.array(self.FALL)
        fall = self.FALL[column] * asked * self.interval / self.weight
        return np.column_stack([nothing, free]), np.column_stack([given, free - fall])


def _keep(values: np.ndarray, times: np.ndarray, value: np.ndarray, time: np.ndarray) -> None:
    """Move new readings (n,) into the stores (n, kept), the newest last; one that is not later than the last is
    dropped."""
    new = np.isfinite(value) & ~(time <= np.nanmax(times, axis=1, initial=-np.inf))
    for store, row in ((values, value), (times, time)):
        store[new] = np.column_stack([store[new, 1:], row[new]])


def _line(values: np.ndarray, times: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares through the readings of the last ``length`` min before the newest: mean, slope per min, mean time,
    (n,) each. NaN: the slope with fewer than two, all with none."""
    newest = np.nanmax(times, axis=1, initial=-np.inf)[:, None]
    with np.errstate(invalid="ignore"):
        use = np.isfinite(values) & (times >= newest - length)
    count = use.sum(axis=1)
    t = np.where(use, times - newest, 0.0)
    y = np.where(use, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        tm, ym = t.sum(axis=1) / count, y.sum(axis=1) / count
        t, y = np.where(use, t - tm[:, None], 0.0), np.where(use, y - ym[:, None], 0.0)
        slope = np.where(count >= 2, (t * y).sum(axis=1) / (t * t).sum(axis=1), np.nan)
        return ym, slope, tm + newest[:, 0]


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
