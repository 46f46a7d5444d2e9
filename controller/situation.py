"""The decision as numbers: when doses could start, which amounts, and what the draws say would follow.

For linear models every regimen's course is the sum of the course without further doses and of each dose's own; the
simulator is run once for each distinct dose and the grid of regimens is summed exactly. Others are simulated whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..pkpd.engine import STATUS
from ..pkpd.errors import SolverError
from ..pkpd.record import Record
from ..pkpd.regimen import Dose, Regimen
from ..pkpd.system import system
from ..therapies import Therapy
from ..twin.cohort import Cohort
from ..twin.layout import lay_out
from ..twin.posterior import ModelPosterior

__all__ = ["Course", "Grid", "courses", "quantity"]

Drawn = list[tuple[ModelPosterior, np.ndarray]]


@dataclass(frozen=True)
class Course:
    """Courses of one output: levels and integrals at the times, (draws, regimens, times)."""

    levels: np.ndarray
    integrals: np.ndarray

    def plus(self, other: Course) -> Course:
        """Sum of two courses (linear models)."""
        return Course(self.levels + other.levels, self.integrals + other.integrals)

    def times(self, amounts: np.ndarray) -> Course:
        """Each regimen's course times its amount (linear models)."""
        return Course(self.levels * amounts[:, None], self.integrals * amounts[:, None])

    def pick(self, which: np.ndarray | Sequence[int]) -> Course:
        """The courses of some of the regimens."""
        return Course(self.levels[:, which], self.integrals[:, which])


def courses(
    drawn: Drawn, output: str, record: Record, futures: Sequence[Regimen], times: np.ndarray, history: bool = True
) -> Course:
    """What would follow each of the futures, for each draw.

    Args:
        drawn: draws by model, all of equal weight.
        output: name of the output.
        record: the patient's facts; without ``history`` its doses are left out (a dose's own course).
        futures: doses to come.
        times: ascending.

    Raises:
        SolverError: a simulation that failed.
    """
    bare = replace(record, observed=(), given=record.given if history else Regimen())
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


def quantity(name: str, course: Course, times: np.ndarray, start: float) -> np.ndarray:
    """A quantity of goal or harm (see `doseloop.therapies.therapy.QUANTITIES`), (draws, regimens)."""
    if name == "trough":
        return course.levels[:, :, -1]
    if name == "peak":
        return course.levels[:, :, times >= start - 1e-9].max(axis=2)
    if name == "auc24":
        i = int(np.argmin(np.abs(times - (times[-1] - 24.0))))
        return course.integrals[:, :, -1] - course.integrals[:, :, i]
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
            if action.route == "oral":
                moments |= set(t + np.arange(0.5, interval, 0.5))
        return Grid(therapy, record, weight, interval, starts, np.array(sorted(m for m in moments if m <= end)))

    def regimen(self, first: float, rest: float) -> Regimen:
        """A first dose, then the same dose every interval; an amount of 0 leaves doses out."""
        action = self.therapy.action
        amounts = [first] + [rest] * (len(self.starts) - 1)
        return Regimen(*[action.dose(a, float(t), self.weight) for a, t in zip(amounts, self.starts) if a > 0])

    def evaluate(self, drawn: Drawn, pairs: Sequence[tuple[float, float]], base: Course) -> Course:
        """Courses of the regimens (first, rest) of ``pairs``; ``base`` is the course without further doses."""
        output = self.therapy.output
        linear = all(system(part.model).linear for part, _ in drawn)
        if not linear:
            return courses(drawn, output, self.record, [self.regimen(a, b) for a, b in pairs], self.times)
        # a dose's course is its amount times that of one unit given over the same time
        action, weight = self.therapy.action, self.weight
        length = lambda amount: action.duration(amount, weight) if amount else 0.0  # noqa: E731
        lengths = sorted({length(v) for pair in pairs for v in pair if v})
        units: list[Regimen] = []
        for slot in (self.starts[:1], self.starts[1:]):
            units += [Regimen(*[_unit(action.route, float(t), d) for t in slot]) for d in lengths]
        own = courses(drawn, output, self.record, units, self.times, history=False)
        amounts = np.array(pairs)
        i = [lengths.index(length(a)) if a else 0 for a, _ in pairs]
        k = [len(lengths) + lengths.index(length(b)) if b else len(lengths) for _, b in pairs]
        return own.pick(i).times(amounts[:, 0]).plus(own.pick(k).times(amounts[:, 1])).plus(base)


def _unit(route: str, time: float, duration: float) -> Dose:
    return Dose(time, 1.0, route, duration=duration if duration > 0 else None)
