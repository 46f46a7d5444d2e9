"""A patient's record laid out for one model: event schedule, parameter segments, measurements.

A segment is a stretch of time over which covariates and occasion stay the same; the individual parameters are
constant within it. Covariates follow NONMEM: the values of a row hold for the time that ends at it, the last row's
carry forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..pkpd.errors import RecordError
from ..pkpd.individuals import covariate_matrix, individuals
from ..pkpd.model import Model
from ..pkpd.record import Measurement, Record
from ..pkpd.regimen import Regimen
from ..pkpd.schedule import AFTER, BEFORE, Schedule
from ..pkpd.simulate import check_regimen
from ..pkpd.steady import past_doses

__all__ = ["Effects", "Layout", "lay_out"]


@dataclass(frozen=True)
class Effects:
    """How a patient's random effects are numbered: the subject's own, then those of each occasion.

    Attributes:
        names: one name for each entry of the full vector.
        omega: prior covariance of the full vector, (K, K).
        of_occasion: (occasions, model effects): where each of the model's effects stands in the full vector.
    """

    names: tuple[str, ...]
    omega: np.ndarray
    of_occasion: np.ndarray

    @staticmethod
    def of(model: Model, occasions: int) -> Effects:
        """The full vector of a model for so many occasions."""
        own = [i for i, e in enumerate(model.effects) if not e.occasion]
        each = [i for i, e in enumerate(model.effects) if e.occasion]
        occasions = occasions if each else 1
        K = len(own) + len(each) * occasions
        where = np.zeros((occasions, len(model.effects)), dtype=np.int64)
        source = np.array(own + each * occasions, dtype=np.int64)
        block = np.array([-1] * len(own) + [o for o in range(occasions) for _ in each])
        for o in range(occasions):
            where[o, own] = np.arange(len(own))
            where[o, each] = len(own) + o * len(each) + np.arange(len(each))
        same = block[:, None] == block[None, :]
        omega = np.where(same, model.omega[np.ix_(source, source)], 0.0) if K else np.zeros((0, 0))
        names = tuple(model.effects[i].name + (f"@{b + 1}" if b >= 0 else "") for i, b in zip(source, block))
        return Effects(names, omega, where)


@dataclass(frozen=True)
class Layout:
    """One record for one model.

    Attributes:
        schedule: its events; the measurements are the first observations, in the record's order.
        covariates: (segments, covariates); ``occasion`` (segments,) which occasion each segment lies in.
        boundaries: time and order at which each segment but the first begins.
        effects: the numbering of the random effects.
        measurements: those of outputs that this model has.
        extra: observation times after the measurements (for forecasts).
    """

    model: Model
    record: Record
    schedule: Schedule
    covariates: np.ndarray
    occasion: np.ndarray
    boundaries: list[tuple[float, int]]
    effects: Effects
    measurements: tuple[Measurement, ...]
    extra: np.ndarray


def _segments(model: Model, record: Record) -> tuple[list[tuple[float, int]], np.ndarray, np.ndarray]:
    """Boundaries (time, order), and covariates and occasion of each segment."""
    names = model.names("covariates")
    if names and not record.covariates:
        raise RecordError(f"record {record.id!r} has no covariates; model '{model.id}' needs {', '.join(names)}")
    rows = covariate_matrix(model, [r.dict for r in record.covariates]) if names else np.zeros((1, 0))
    changes = [
        (record.covariates[i - 1].time, AFTER, i, -1)
        for i in range(1, len(rows))
        if not np.array_equal(rows[i], rows[i - 1])
    ]
    has_occasions = any(e.occasion for e in model.effects)
    starts = record.occasions if has_occasions else ()
    changes += [(t, BEFORE, -1, o) for o, t in enumerate(starts) if o > 0]
    boundaries: list[tuple[float, int]] = []
    covariates, occasion, row, current = [rows[0]], [0], 0, 0
    for time, order, new_row, new_occasion in sorted(changes):
        row, current = (new_row if new_row >= 0 else row), (new_occasion if new_occasion >= 0 else current)
        boundaries.append((time, order))
        covariates.append(rows[row])
        occasion.append(current)
    return boundaries, np.array(covariates), np.array(occasion)


def _past(model: Model, given: Regimen, covariates: np.ndarray) -> int:
    """Earlier doses of a steady state that may be under way: the typical person's, and two for a slower one."""
    steady = [d for d in given.doses if d.steady_state]
    if not steady:
        return 0
    typical = individuals(model, covariates)
    return max(past_doses(model, d, typical) for d in steady) + 2


def lay_out(
    model: Model,
    record: Record,
    future: Regimen | None = None,
    times: Sequence[float] | np.ndarray = (),
    like: Layout | None = None,
) -> Layout:
    """Lay a record out for a model.

    Args:
        model: the model.
        record: the patient's facts.
        future: doses yet to be given, added to those given.
        times: further observation times (predictions); at a dose's time they see the state before it.
        like: a layout of the same record for the same model, whose segments are taken over.

    Raises:
        RecordError: covariates that the model needs and the record lacks.
        RegimenError: doses that the model cannot take.
    """
    given = record.given if future is None else record.given.plus(future)
    check_regimen(model, given)
    outputs = set(model.names("outputs"))
    measurements = tuple(m for m in record.observed if m.output in outputs)
    if like is None:
        boundaries, covariates, occasion = _segments(model, record)
        effects = Effects.of(model, max(1, len(record.occasions)))
    else:
        boundaries, covariates, occasion, effects = like.boundaries, like.covariates, like.occasion, like.effects
    extra = np.asarray(times, dtype=float)
    moments = [m.time for m in measurements] + [float(t) for t in extra]
    first = min([*moments, *(e.time for e in given.events), record.now])
    last = max([*moments, record.now])
    schedule = Schedule(model, first)
    schedule.observe([m.time for m in measurements], [m.order for m in measurements])
    schedule.observe(extra)
    for i, (time, order) in enumerate(boundaries):
        schedule.segment(time, i + 1, order)
    # a steady state at the very end of a covariate row's time still belongs to that row
    holds = [-np.inf, *(np.nextafter(t, np.inf) if order == AFTER else t for t, order in boundaries)]
    schedule.regimen(given, last, segment_at=holds, past=_past(model, given, covariates))
    return Layout(model, record, schedule, covariates, occasion, boundaries, effects, measurements, extra)
