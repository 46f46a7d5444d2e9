"""The twin of patients who are dosed by the hour: refitted when a result has come, moved ahead in between.

::

    new results ──▶ MAP by the cohort's fit, Laplace's covariance ──▶ points around it ──▶ their courses since admission
    no new results ───────────────────────────────────────────────▶ the points move by one interval

A point is a vector of effects, mode + L z with L Lᵀ the covariance: `cubature` points for mean and spread, or random z
for plans over draws. All patients are worked at once; each has a clock of its own, may be replaced while the others go
on (`restart`), and has the same bits in any batch.
"""
# The compiled function carries no annotations: Numba infers the types.

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individuals
from ..pkpd.jit import jit
from ..pkpd.model import Model
from ..pkpd.system import system
from .bedside_march import DAY, Intervals
from .chart import Chart, patients_of
from .cohort import Cohort
from .gauss_newton import CONVERGED, EXHAUSTED, STALLED
from .tracker import covariates_of

__all__ = ["BedsideTracker", "Seen", "cubature", "moments"]


class Seen(Protocol):
    """What a ward knows of n patients at one moment (`virtual.bedside_world.BedsideObservation`): clock (h since
    admission), results newest first with their times, how many are new, the day's creatinine, the last interval's dose
    (n, 1) and its duration."""

    @property
    def clock(self) -> np.ndarray: ...  # noqa: D102
    @property
    def levels(self) -> np.ndarray: ...  # noqa: D102
    @property
    def level_times(self) -> np.ndarray: ...  # noqa: D102
    @property
    def new(self) -> np.ndarray: ...  # noqa: D102
    @property
    def creatinine(self) -> np.ndarray: ...  # noqa: D102
    @property
    def delivered(self) -> np.ndarray: ...  # noqa: D102
    @property
    def duration(self) -> np.ndarray: ...  # noqa: D102


def cubature(effects: int) -> np.ndarray:
    """(2K, K) points of equal weight whose mean is 0 and covariance 1: the third-degree spherical-radial rule
    (Arasaratnam and Haykin 2009, IEEE Trans Automat Contr 54:1254)."""
    root = math.sqrt(effects) * np.eye(effects)
    return np.concatenate([root, -root])


class BedsideTracker:
    """Follows n patients; see the module.

    Args:
        model: what the twin believes in: linear, no inputs, no effects of occasions.
        known: what is known of each person of a library, (people,) or one number, by name.
        people: how many persons.
        points: (S, K) standard points.
        interval: h between decisions.
        who: (n,) which of them stands in each lane; default each in a lane of their own.
        loq: mg/L, the laboratory's limit of quantification.
        output, route, threads: see `Intervals`.

    Attributes:
        map, factor: (n, K) most probable effects, (n, K, K) Cholesky factor of their covariance: the prior's until a
            result is known.
        parameters, state: (n, S, …) of each point, of the day and now.
        level: (n, S) of each point now. areas: (n, intervals of a day, S) AUC of the last intervals, newest first.
        count: (n,) intervals since admission.
        failed: (n,) fits that found no optimum; the belief was then left as it was.

    Raises:
        DoseloopError: a model that does not fit.
    """

    def __init__(
        self,
        model: Model,
        known: Mapping[str, np.ndarray],
        people: int,
        points: np.ndarray,
        *,
        interval: float,
        who: np.ndarray | None = None,
        loq: float = 2.0,
        output: str = "concentration",
        route: str = "iv",
        threads: int | None = None,
    ) -> None:
        lanes = np.arange(people) if who is None else np.asarray(who)
        self.model, self.interval, self.points, self.n = model, interval, np.asarray(points, dtype=float), len(lanes)
        self.output, self.route = output, route
        bad = [] if system(model).linear else ["it is not linear"]
        bad += ["it has inputs"] if model.inputs else []
        bad += ["it has effects of occasions"] if any(e.occasion for e in model.effects) else []
        bad += ["it has a starting state"] if model.initial is not None else []
        if bad:
            raise DoseloopError([f"twin '{model.id}': {b}" for b in bad])
        self.plant = Intervals(model, interval, output=output, route=route, threads=threads)
        n, K, S = self.n, len(model.effects), len(self.points)
        names = model.names("covariates")
        self.library, self.daily = covariates_of(model, known, people), "scr" in names
        self._scr = names.index("scr") if self.daily else -1
        self._prior = np.linalg.cholesky(model.omega)
        none = np.full((n, 0), np.nan)
        covariates = np.zeros((n, 8 if self.daily else 1, len(names)))
        self.chart = Chart(interval, np.zeros((n, 16)), np.zeros((n, 16)), covariates, none, none, loq)
        self.map, self.factor = np.zeros((n, K)), np.zeros((n, K, K))
        self.parameters, self.state = np.zeros((n, S, len(model.individual_units))), np.zeros((n, S, self.plant.rows))
        self.level, self.areas = np.zeros((n, S)), np.zeros((n, round(DAY / interval), S))
        self.count, self.failed = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.restart(np.ones(n, dtype=bool), lanes)

    def restart(self, lanes: np.ndarray, who: np.ndarray) -> None:
        """Others stand in the lanes of a mask: ``who`` (n,), read there. `see` tells what is seen of them."""
        self.map[lanes], self.factor[lanes], self.count[lanes] = 0.0, self._prior, -1
        self.state[lanes], self.level[lanes], self.areas[lanes], self.failed[lanes] = 0.0, 0.0, 0.0, 0
        self.chart.amount[lanes], self.chart.duration[lanes] = 0.0, 0.0
        self.chart.covariates[lanes] = self.library[np.asarray(who)[lanes]][:, None]

    def see(self, seen: Seen, lanes: np.ndarray | None = None) -> None:
        """Take in what is seen at a decision, once, of everybody or of a mask.

        Raises:
            ValueError: a decision was left out or comes twice.
            DoseloopError: the model needs creatinine, and none is known.
        """
        at = np.arange(self.n) if lanes is None else np.flatnonzero(lanes)
        clock, count = seen.clock[at], self.count[at] + 1
        if (np.abs(clock - count * self.interval) > 1e-9).any():
            raise ValueError("a twin is told of every decision once, from admission on")
        self.count[at] = count
        days = (clock // DAY).astype(np.int64)
        self.chart.room(int(count.max()), int(days.max()) + 1 if self.daily else 1)
        moved = at[count > 0]
        last = self.count[moved] - 1
        self.chart.amount[moved, last], self.chart.duration[moved, last] = (
            seen.delivered[moved, 0],
            seen.duration[moved],
        )
        dawn = at[clock % DAY == 0]
        if self.daily:
            if not np.isfinite(seen.creatinine[dawn]).all():
                raise DoseloopError(f"twin '{self.model.id}': it needs a creatinine each day")
            self.chart.covariates[dawn, days[clock % DAY == 0], self._scr] = seen.creatinine[dawn]
        self.chart.level, self.chart.level_time = (np.ascontiguousarray(v) for v in (seen.levels, seen.level_times))
        fitted = self._fit(at[seen.new[at] > 0])
        fresh = np.zeros(self.n, dtype=bool)
        fresh[fitted] = True
        self._advance(moved[~fresh[moved]])
        self._replay(fitted)
        fresh[dawn if self.daily else at[count == 0]] = True
        turned = np.flatnonzero(fresh)
        if len(turned):
            self.parameters[turned] = self._individuals(turned, 0)[:, :, 0]

    def draw(self, rows: np.ndarray) -> np.ndarray:
        """Effects of the points of some patients, (m, S, K)."""
        z = np.broadcast_to(self.points, (len(rows), *self.points.shape))
        return self.map[rows, None] + np.einsum("nij,ndj->ndi", self.factor[rows], z)

    def _individuals(self, rows: np.ndarray, days: int) -> np.ndarray:
        """Parameters of the points of some patients, (m, S, days, parameters): of so many days from admission on, or of
        today where ``days`` is 0."""
        S, cov = len(self.points), self.chart.covariates
        today = np.minimum(self.count[rows] * self.interval // DAY, cov.shape[1] - 1).astype(np.int64)
        of = cov[rows, today][:, None] if days == 0 else cov[rows, :days]
        each, width = of.shape[1], len(self.model.individual_units)
        eta = np.repeat(self.draw(rows).reshape(len(rows) * S, 1, -1), each, axis=1)
        p = individuals(self.model, np.repeat(of, S, axis=0).reshape(-1, of.shape[2]), eta.reshape(-1, eta.shape[2]))
        return p.reshape(len(rows), S, each, width)

    def _fit(self, rows: np.ndarray) -> np.ndarray:
        """Mode and covariance of these patients; returns those for whom they were found."""
        if not len(rows):
            return rows
        patients = patients_of(
            self.model, self.chart, rows, self.count[rows] * self.interval, self.output, self.route
        )  # fmt: skip
        fit = Cohort(patients).fit(np.arange(len(rows)), np.zeros((len(rows), self.map.shape[1])))
        good = np.isin(fit["state"], (CONVERGED, STALLED, EXHAUSTED)) & np.isfinite(fit["H"]).all(axis=(1, 2))
        self.failed[rows[~good]] += 1
        rows = rows[good]
        self.map[rows] = fit["eta"][good]
        cov = np.linalg.inv(fit["H"][good])
        self.factor[rows] = np.linalg.cholesky(0.5 * (cov + cov.transpose(0, 2, 1)))
        return rows

    def _advance(self, rows: np.ndarray) -> None:
        """Move the points of some patients through their last interval."""
        if not len(rows):
            return
        last = self.count[rows, None] - 1
        given = (v[rows[:, None], last] for v in (self.chart.amount, self.chart.duration))
        self.state[rows], area, levels = self.plant.run(self.parameters[rows], self.state[rows], *given)
        self.level[rows] = levels[:, :, -1, -1]
        self.areas[rows, 1:] = self.areas[rows, :-1]
        self.areas[rows, 0] = area[:, :, 0]

    def _replay(self, rows: np.ndarray) -> None:
        """The course of the points of some patients since admission, anew."""
        many, m = self.count[rows], np.arange(len(rows))
        most = int(many.max(initial=0))
        if not most:
            return
        days = int((most - 1) * self.interval // DAY) + 1 if self.daily else 1
        given = (v[rows, :most] for v in (self.chart.amount, self.chart.duration))
        p = self._individuals(rows, days)
        self.state[rows], area, levels = self.plant.run(p, np.zeros_like(self.state[rows]), *given, count=many)
        self.level[rows] = levels[m, :, np.maximum(many - 1, 0), -1]
        for r in range(self.areas.shape[1]):
            past = area[m, :, np.maximum(many - 1 - r, 0)]
            self.areas[rows, r] = np.where((many > r)[:, None], past, 0.0)


@jit
def _moments(values, logs, out):
    """See `moments`."""
    n, S, q = values.shape
    for i in range(n):
        for r in range(q):
            mean, square = 0.0, 0.0
            for s in range(S):
                v = math.log(values[i, s, r]) if logs else values[i, s, r]
                mean += v
            mean /= S
            for s in range(S):
                v = math.log(values[i, s, r]) if logs else values[i, s, r]
                square += (v - mean) * (v - mean)
            out[i, r, 0], out[i, r, 1] = mean, math.sqrt(square / S)


def moments(values: np.ndarray, logs: bool = False) -> np.ndarray:
    """Mean and SD over points: (n, S, q) to (n, q, 2); of the logarithms where asked."""
    out = np.empty((len(values), values.shape[2], 2))
    _moments(np.ascontiguousarray(values), logs, out)
    return out
