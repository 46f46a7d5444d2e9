"""The decision as numbers: when doses could start, which amounts, and what the draws say would follow.

For linear models every regimen's course is the sum of the course without further doses and of each dose's own; the
simulator is run once for each infusion length, and the grid of regimens is summed exactly. Others are simulated whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..pkpd.engine import STATUS, Method
from ..pkpd.errors import SolverError
from ..pkpd.population import Prepared
from ..pkpd.record import Record
from ..pkpd.regimen import Dose, Regimen
from ..pkpd.schedule import Schedule
from ..pkpd.system import system
from ..therapies import Goal, Therapy
from ..twin.cohort import Cohort
from ..twin.layout import lay_out
from ..twin.posterior import ModelPosterior
from .superpose import first_and_rest, regimens

__all__ = ["Course", "Grid", "Units", "courses", "linear", "quantity", "share_in_range", "unit_courses"]

Drawn = list[tuple[ModelPosterior, np.ndarray]]


@dataclass(frozen=True)
class Course:
    """Courses of one output: levels at the times, and integrals at all of them or at some.

    Attributes:
        levels: (draws, regimens, times).
        integrals: (draws, regimens, times), or (draws, regimens, columns).
        columns: of the times, ascending, where the integrals stand; None: all.
    """

    levels: np.ndarray
    integrals: np.ndarray
    columns: np.ndarray | None = None

    def area(self, first: int, last: int) -> np.ndarray:
        """Integral from one column of the times to another, (draws, regimens).

        Raises:
            ValueError: the integrals do not stand there.
        """
        if self.columns is not None:
            known = self.columns.tolist()
            first, last = known.index(first), known.index(last)
        return self.integrals[:, :, last] - self.integrals[:, :, first]

    def at(self, columns: np.ndarray) -> Course:
        """The courses at some of the times (of a course whose integrals stand at all of them)."""
        assert self.columns is None
        return Course(self.levels[:, :, columns], self.integrals[:, :, columns])

    def draws(self, which: list[int]) -> Course:
        """The courses of some of the draws."""
        return Course(self.levels[which], self.integrals[which], self.columns)

    def pick(self, which: np.ndarray | Sequence[int]) -> Course:
        """The courses of some of the regimens."""
        return Course(self.levels[:, which], self.integrals[:, which], self.columns)


def courses(drawn: Drawn, output: str, record: Record, futures: Sequence[Regimen], times: np.ndarray) -> Course:
    """What would follow each of the futures, for each draw.

    Args:
        drawn: draws by model, all of equal weight.
        output: name of the output.
        record: the patient's facts.
        futures: doses to come.
        times: ascending.

    Raises:
        SolverError: a simulation that failed.
    """
    bare = replace(record, observed=())
    levels, sums = [], []
    for part, eta in drawn:
        column, ny = part.model.names("outputs").index(output), len(part.model.outputs)
        first = lay_out(part.model, bare, futures[0], times)
        cohort = Cohort([first, *(lay_out(part.model, bare, f, times, like=first) for f in futures[1:])])
        who = np.repeat(np.arange(len(futures)), len(eta))
        Y, status = cohort.points(who, integrals=True).run(np.tile(eta, (len(futures), 1)))
        if status.any():
            raise SolverError(f"model '{part.model.id}': {STATUS[int(status[status > 0][0])]}")
        Y = Y.reshape(len(futures), len(eta), len(times), -1).transpose(1, 0, 2, 3)
        levels.append(Y[..., column])
        sums.append(Y[..., ny + column])
    return Course(np.concatenate(levels), np.concatenate(sums))


def share_in_range(goal: Goal, course: Course, times: np.ndarray, start: float) -> np.ndarray:
    """Share of the time from ``start`` on with a level within the goal, by trapezoids, (draws, regimens)."""
    inside = (course.levels >= goal.low) & (course.levels <= goal.high)
    seen = times >= start - 1e-9
    return np.trapezoid(inside[:, :, seen].astype(float), times[seen], axis=2) / (times[-1] - times[seen][0])


def quantity(name: str, course: Course, times: np.ndarray, start: float) -> np.ndarray:
    """A quantity of goal or harm (see `doseloop.therapies.therapy.QUANTITIES`), (draws, regimens)."""
    if name == "trough":
        return course.levels[:, :, -1]
    if name == "peak":
        return course.levels[:, :, np.searchsorted(times, start - 1e-9) :].max(axis=2)
    if name == "auc24":
        i = int(np.argmin(np.abs(times - (times[-1] - 24.0))))
        return course.area(i, len(times) - 1)
    raise KeyError(f"unknown quantity '{name}'")


@dataclass(frozen=True)
class Grid:
    """One interval: dose times, the times that are looked at, the amounts in question.

    Attributes:
        interval: between doses (h); ``starts``: times of the planned doses; ``times``: where courses are seen: before
            each dose, at the end of each infusion, 24 h before the end, and the end, one interval after the last dose.
    """

    therapy: Therapy
    record: Record
    weight: float
    interval: float
    starts: np.ndarray
    times: np.ndarray

    @staticmethod
    def of(therapy: Therapy, record: Record, weight: float, interval: float, start: float | None) -> Grid:
        """The grid of an interval: doses go on ``interval`` after the last one, now at the earliest."""
        last = max((d.last for d in record.given.doses), default=-np.inf)
        first = max(record.now, last + interval) if start is None else start
        count = max(1, int(np.ceil(therapy.horizon / interval - 1e-9)))
        starts = first + interval * np.arange(count)
        end = first + interval * count
        action = therapy.action
        lengths = {action.duration(a, weight) for a in action.amounts(weight)}
        moments = {*np.arange(end, first - 24.0, -24.0), *starts}
        for t in starts:
            # a bolus is seen just after it; a tablet's peak is looked for every half hour
            moments |= {t + (length if length > 0 else 1e-6) for length in lengths}
            if action.route == "oral" or therapy.goal.quantity == "time_in_range":
                moments |= set(t + np.arange(0.5, interval, 0.5))
        return Grid(therapy, record, weight, interval, starts, np.array(sorted(m for m in moments if m <= end)))

    def regimen(self, first: float, rest: float) -> Regimen:
        """A first dose, then the same dose every interval; an amount of 0 leaves doses out."""
        action = self.therapy.action
        amounts = [first] + [rest] * (len(self.starts) - 1)
        return Regimen(*[action.dose(a, float(t), self.weight) for a, t in zip(amounts, self.starts) if a > 0])

    def lags(self) -> np.ndarray:
        """Every time since a dose that is looked at, ascending."""
        since = self.times[:, None] - self.starts[None, :]
        return np.unique(since[since >= 0])

    def spread(self, units: Units, length: float) -> Course:
        """Course of a unit dose of this length at each of the starts, (draws, starts, times)."""
        since = self.times[None, :] - self.starts[:, None]
        at = np.searchsorted(units.lags, np.maximum(since, 0.0))
        i = units.lengths.index(length)
        seen = since >= 0
        return Course(np.where(seen, units.levels[:, i][:, at], 0.0), np.where(seen, units.integrals[:, i][:, at], 0.0))

    def length(self, amount: float) -> float:
        """Infusion time of an amount (0: at once)."""
        return self.therapy.action.duration(amount, self.weight)

    def evaluate(
        self, drawn: Drawn, pairs: Sequence[tuple[float, float]], base: Course, units: Units | None = None
    ) -> Course:
        """Courses of the regimens (first, rest) of ``pairs``; ``base`` is the course without further doses.

        Args:
            units: the courses of unit doses, for linear models; None where they are not known yet or do not exist.
        """
        output = self.therapy.output
        if not linear(drawn):
            return courses(drawn, output, self.record, [self.regimen(a, b) for a, b in pairs], self.times)
        lengths = sorted({self.length(v) for pair in pairs for v in pair if v})
        if units is None:
            units = unit_courses(drawn, self.therapy, self.record, lengths, self.lags())
        since = self.times[None, :] - self.starts[:, None]
        at = np.where(since >= 0, np.searchsorted(units.lags, np.maximum(since, 0.0)), -1)
        own = [units.lengths.index(d) for d in lengths]
        place = {d: j for j, d in enumerate(lengths)}
        which = np.array([[place[self.length(v)] if v else 0 for v in pair] for pair in pairs])
        amounts = np.array(pairs, dtype=float)

        def total(unit: np.ndarray, background: np.ndarray, columns: np.ndarray) -> np.ndarray:
            first, rest = first_and_rest(np.ascontiguousarray(unit[:, own]), np.ascontiguousarray(at[:, columns]))
            return regimens(np.ascontiguousarray(background[:, 0, columns]), first, rest, which, amounts)

        every, days = np.arange(len(self.times)), self.days()
        return Course(total(units.levels, base.levels, every), total(units.integrals, base.integrals, days), days)

    def days(self) -> np.ndarray:
        """Columns of ``times`` between which areas are taken: the end, and every 24 h before it."""
        ends = np.arange(self.times[-1], self.starts[0] - 24.0, -24.0)
        return np.unique([int(np.argmin(np.abs(self.times - t))) for t in ends])


@dataclass(frozen=True)
class Units:
    """Courses of one unit of drug, by infusion length and time since its start: (draws, lengths, lags)."""

    lengths: list[float]
    lags: np.ndarray
    levels: np.ndarray
    integrals: np.ndarray

    def draws(self, which: list[int]) -> Units:
        """The courses of some of the draws."""
        return Units(self.lengths, self.lags, self.levels[which], self.integrals[which])


def linear(drawn: Drawn) -> bool:
    """Whether every model is linear in its states: courses of doses then add up."""
    return all(system(part.model).linear for part, _ in drawn)


def unit_courses(drawn: Drawn, therapy: Therapy, record: Record, lengths: Sequence[float], lags: np.ndarray) -> Units:
    """Courses of one unit of drug given alone, for each draw and infusion length (linear models).

    A record holds nothing later than now, so that a patient's parameters no longer change: a dose's course depends on
    the time since it was given alone.
    """
    levels, sums = [], []
    for part, eta in drawn:
        model, names = part.model, part.model.names("outputs")
        layout = lay_out(model, replace(record, observed=(), given=Regimen()))
        points = Cohort([layout]).points(np.zeros(len(eta), dtype=np.int64))
        p = points.fill(eta).reshape(len(eta), len(layout.occasion), -1)[:, -1]
        schedules, observed = [], Schedule(model, 0.0)
        observed.observe(lags)
        for d in lengths:
            schedule = observed.copy()
            schedule.regimen(Regimen(_unit(therapy.action.route, 0.0, d)), float(lags[-1]))
            schedules.append(schedule)
        who = np.repeat(np.arange(len(lengths)), len(eta))
        prepared = Prepared(system(model, integrals=True), schedules, Method())
        Y, status = prepared.run(np.tile(p, (len(lengths), 1)), schedule_of=who)
        if status.any():
            raise SolverError(f"model '{model.id}': {STATUS[int(status[status > 0][0])]}")
        Y = Y.reshape(len(lengths), len(eta), len(lags), -1).transpose(1, 0, 2, 3)
        column = names.index(therapy.output)
        levels.append(Y[..., column])
        sums.append(Y[..., len(names) + column])
    return Units(list(lengths), lags, np.concatenate(levels), np.concatenate(sums))


def _unit(route: str, time: float, duration: float) -> Dose:
    return Dose(time, 1.0, route, duration=duration if duration > 0 else None)
