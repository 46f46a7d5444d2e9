"""The charts of a ward laid out for the fit, for many patients at once: `twin.layout` without a loop in Python.

A chart holds doses begun at fixed decisions, covariates of each day and the newest results; a record of the same facts
gives the same arrays, bit for bit.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pkpd.drive import FIXED_DURATION, INFUSE, OBSERVE, SEGMENT
from ..pkpd.engine import Events
from ..pkpd.errors import SolverError
from ..pkpd.jit import jit
from ..pkpd.model import Model
from ..pkpd.schedule import Packed
from .bedside_march import DAY
from .cohort import Patients, error_of

__all__ = ["Chart", "patients_of"]

QUEUE = 8  # doses under way are made room for by so many, so that few sizes of working memory are kept


@dataclass(slots=True)
class Chart:
    """What is written down of n patients; times in h since admission.

    Attributes:
        interval: h between decisions, at which doses begin.
        amount, duration: (n, decisions) mg and h of the dose begun at each; 0 where none was.
        covariates: (n, days, covariates) as known at the beginning of each day; one day where they never change.
        level, level_time: (n, results) as the laboratory reports them, NaN where there is none; 0 is below ``loq``.
        loq: mg/L, limit of quantification.
    """

    interval: float
    amount: np.ndarray
    duration: np.ndarray
    covariates: np.ndarray
    level: np.ndarray
    level_time: np.ndarray
    loq: float

    def room(self, decisions: int, days: int) -> None:
        """Make room for so many decisions and days."""
        short = decisions - self.amount.shape[1]
        if short > 0:
            more = np.zeros((len(self.amount), max(short, self.amount.shape[1])))
            self.amount, self.duration = (np.concatenate([a, more], axis=1) for a in (self.amount, self.duration))
        while self.covariates.shape[1] < days:
            self.covariates = np.concatenate([self.covariates, self.covariates], axis=1)


def patients_of(model: Model, chart: Chart, rows: np.ndarray, now: np.ndarray, output: str, route: str) -> Patients:
    """Some of a chart's patients as a cohort's arrays.

    A day's covariates are a row of the record at the day's beginning, and hold for the time that ends there
    (`twin.layout`).

    Args:
        rows: (m,) which patients. now: (m,) h since admission.
        output, route: what is measured, and how doses are given.

    Raises:
        SolverError: a model with inputs or effects of occasions, or an output without a residual error.
    """
    if model.inputs or any(e.occasion for e in model.effects):
        raise SolverError(f"model '{model.id}': a chart tells no inputs and no occasions")
    m, theta, C = len(rows), model.theta, chart.covariates.shape[2]
    error = error_of(model, output)
    begins, counts = np.zeros(m), np.zeros((m, 3), dtype=np.int64)
    days = np.minimum((now // DAY).astype(np.int64) + 1, chart.covariates.shape[1])
    decisions = np.round(now / chart.interval).astype(np.int64)
    facts = (rows, now, days, decisions, chart.interval, chart.amount, chart.covariates, chart.level_time)
    _count(*facts, begins, counts)
    ends = np.concatenate([np.zeros((1, 3), dtype=np.int64), np.cumsum(counts, axis=0)])
    start, obs_start, seg_start = ends.sum(axis=1), ends[:, 0].copy(), ends[:, 2] + np.arange(m + 1)
    size = int(start[-1])
    time, amount, extra = np.zeros(size), np.zeros(size), np.zeros(size)
    kind, index = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    fixed, data = np.zeros((int(seg_start[-1]), len(theta) + C)), np.zeros((int(obs_start[-1]), 3))
    columns = np.zeros((len(data), 3), dtype=np.int64)
    data[:, 1:] = error[1:]
    columns[:, 0], columns[:, 1] = error[0], model.names("outputs").index(output)
    fixed[:, : len(theta)] = theta
    at, value = np.zeros(chart.level.shape[1]), np.zeros(chart.level.shape[1])
    _lay(
        *facts, chart.duration, chart.level, chart.loq, len(theta), counts, start, obs_start, seg_start, time, kind,
        amount, extra, index, fixed, data, columns, at, value,
    )  # fmt: skip
    where = np.full(size, model.names("routes").index(route))
    events = Events(start, time, kind, where, amount, extra, np.full(size, FIXED_DURATION), np.zeros(size), index)
    most = QUEUE * -(-int(counts[:, 1].max()) // QUEUE)
    K = len(model.effects)
    return Patients(
        model,
        Packed(events, most, counts[:, 0].copy(), begins, counts[:, 2].copy()),
        seg_start,
        fixed,
        np.tile(np.arange(K), (len(fixed), 1)),
        np.tile(model.omega, (m, 1, 1)),
        obs_start,
        data,
        columns,
    )


@jit
def _changed(covariates, i, d):
    """Whether the covariates of day d are others than those of the day before."""
    other = False
    for c in range(covariates.shape[2]):
        other |= covariates[i, d, c] != covariates[i, d - 1, c]
    return other


@jit
def _count(rows, now, days, decisions, interval, amount, covariates, level_time, begins, counts):
    """When each schedule begins, and how many results, doses and changes of covariates it has."""
    for q in range(rows.shape[0]):
        i, first = rows[q], now[q]
        for r in range(level_time.shape[1]):
            if level_time[i, r] == level_time[i, r]:
                counts[q, 0] += 1
                first = min(first, level_time[i, r])
        for k in range(decisions[q]):
            if amount[i, k] > 0.0:
                counts[q, 1] += 1
                first = min(first, k * interval)
        for d in range(1, days[q]):
            if _changed(covariates, i, d):
                counts[q, 2] += 1
        begins[q] = first


@jit
def _lay(rows, now, days, decisions, interval, amount, covariates, level_time, duration, level, loq, thetas, counts,
         start, obs_start, seg_start, time, kind, given, extra, index, fixed, data, columns, at, value):  # fmt: skip
    """Write events, covariates and results. Of one moment: results, then doses, then changes of covariates."""
    for q in range(rows.shape[0]):
        i, found = rows[q], 0
        for r in range(level_time.shape[1]):  # sorted by time, then value
            t, v = level_time[i, r], level[i, r]
            if t == t:
                p = found
                while p > 0 and (at[p - 1] > t or (at[p - 1] == t and value[p - 1] > v)):
                    at[p], value[p] = at[p - 1], value[p - 1]
                    p -= 1
                at[p], value[p] = t, v
                found += 1
        for r in range(found):
            row = obs_start[q] + r
            data[row, 0] = value[r] if value[r] > 0.0 else loq
            columns[row, 2] = 0 if value[r] > 0.0 else 1
        for c in range(covariates.shape[2]):
            fixed[seg_start[q], thetas + c] = covariates[i, 0, c]
        e, r, k, d, segment = start[q], 0, 0, 1, 0
        while e < start[q + 1]:
            while k < decisions[q] and not amount[i, k] > 0.0:
                k += 1
            while d < days[q] and not _changed(covariates, i, d):
                d += 1
            seen = at[r] if r < found else np.inf
            dosed = k * interval if k < decisions[q] else np.inf
            turned = (d - 1) * DAY if d < days[q] else np.inf
            if seen <= dosed and seen <= turned:
                time[e], kind[e], index[e] = seen, OBSERVE, r
                r += 1
            elif dosed <= turned:
                time[e], kind[e], given[e], extra[e] = dosed, INFUSE, amount[i, k], duration[i, k]
                k += 1
            else:
                segment += 1
                time[e], kind[e], index[e] = turned, SEGMENT, segment
                for c in range(covariates.shape[2]):
                    fixed[seg_start[q] + segment, thetas + c] = covariates[i, d, c]
                d += 1
            e += 1
