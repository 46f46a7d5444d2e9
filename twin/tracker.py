"""A follower fed by a loop: what the sensor says, what the pump confirms, what is announced.

Policies that plan on a belief and environments that show one feed it in the same way, from here. Whoever stands in a
lane may be replaced by another person of the same library (`Tracker.restart`) while the other lanes go on.

::

    tracker = Tracker(statement, known)
    belief = tracker.first(reading, time, quality)                    # at the start, no time has passed
    while True:
        belief = tracker.step({"propofol": confirmed}, reading, time, quality)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pkpd.model import Model
from .belief import Belief
from .eating import Eating
from .follow import Follow
from .follower import Follower, delays

__all__ = ["MealTracker", "Tracker", "covariates_of"]


def covariates_of(model: Model, known: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """(n, covariates) of a model, typical where they are not known."""
    columns = [np.broadcast_to(np.asarray(known.get(c.name, c.typical), dtype=float), (n,)) for c in model.covariates]
    return np.ascontiguousarray(np.column_stack(columns)) if columns else np.zeros((n, 0))


class Tracker:
    """Follows whoever stands in n lanes.

    Args:
        follow: what is estimated.
        known: what is known of each person of a library, (people,) or one number, by name.
        people: how many persons.
        who: (n,) which of them stands in each lane; default each in a lane of their own.
        mean, covariance: prior of the random effects, (people, effects) and (effects, effects) or one for each person;
            default the model's population.

    Attributes:
        follower: the estimator. belief: what is believed now.
        begun: whether anything was seen yet.
    """

    def __init__(
        self,
        follow: Follow,
        known: Mapping[str, np.ndarray],
        people: int,
        *,
        who: np.ndarray | None = None,
        mean: np.ndarray | None = None,
        covariance: np.ndarray | None = None,
    ) -> None:
        self.follow, model = follow, follow.model
        self.covariates, self.mean, self.covariance = covariates_of(model, known, people), mean, covariance
        self.column = {name: j for j, name in enumerate(follow.signals)}
        lanes = np.arange(people) if who is None else np.asarray(who)
        self.n, self.begun = len(lanes), False
        effects = np.zeros((people, len(model.effects))) if mean is None else np.asarray(mean, dtype=float)
        longest = delays(follow, self.covariates, np.broadcast_to(effects, (people, len(model.effects))), model.theta)
        self.follower = Follower(
            follow, self.covariates[lanes], longest_delay=float(longest.max(initial=0.0)), **self._prior(lanes)
        )
        self.belief = self.follower.belief()

    def _prior(self, who: np.ndarray) -> dict[str, Any]:
        each = lambda v, whole: None if v is None else (v[who] if np.ndim(v) == whole else v)  # noqa: E731
        return {"mean": each(self.mean, 2), "covariance": each(self.covariance, 3)}

    def restart(self, lanes: np.ndarray, who: np.ndarray) -> None:
        """Others stand in the lanes of a mask: ``who`` (n,), read there. `first` tells what is seen of them."""
        people = np.asarray(who)[lanes]
        self.follower.restart(lanes, self.covariates[people], **self._prior(people))

    def first(self, reading: Any, time: Any, quality: Any, only: np.ndarray | None = None) -> Belief:
        """What is seen of patients (of a mask: the others are left alone) before any time has passed."""
        self.begun = True
        self.belief = self.follower.observe(reading, time, quality, only)
        return self.belief

    def step(
        self, given: Mapping[str, np.ndarray], reading: Any, time: Any, quality: Any, **inputs: np.ndarray | float
    ) -> Belief:
        """An interval has passed.

        Args:
            given: what was confirmed over it, by route: (n,) rates in the model's units.
            reading, time, quality: see `Follower.step`.
            inputs: of the model over it, (n,) or a number, by name; typical where they are not named.
        """
        self.belief = self.follower.step(self.signals(given, **inputs), reading, time, quality)
        return self.belief

    def signals(self, given: Mapping[str, np.ndarray], **inputs: np.ndarray | float) -> np.ndarray:
        """(n, signals) of an interval; see `step`."""
        held = np.zeros((self.n, len(self.follow.signals)))
        for i in self.follow.model.inputs:
            held[:, self.column[i.name]] = inputs.get(i.name, i.typical)
        for route, rate in given.items():
            held[:, self.column[route]] = rate
        return held


class MealTracker(Tracker):
    """A tracker of glucose: announced meals are eaten at a steady pace (`twin.eating`).

    Attributes:
        eating: what is announced and not eaten yet.
    """

    def __init__(self, *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self.eating = Eating(self.n)
        states = self.follow.model.names("states")
        self.stomach = [states.index(s) for s in ("qsto1", "qsto2") if s in states]

    def restart(self, lanes: np.ndarray, who: np.ndarray) -> None:
        """See `Tracker.restart`."""
        super().restart(lanes, who)
        self.eating.restart(lanes)

    def announce(self, grams: np.ndarray) -> None:
        """Meals announced now, (n,) g."""
        self.eating.announce(grams, self.belief.states[:, self.stomach].sum(axis=1) / 1000.0)

    def step(
        self, given: Mapping[str, np.ndarray], reading: Any, time: Any, quality: Any, **inputs: np.ndarray | float
    ) -> Belief:
        """See `Tracker.step`; ``carbs`` and ``meal`` are what was announced."""
        carbs, meal = self.eating.pass_by(self.follow.interval)
        return super().step(given, reading, time, quality, **{"carbs": carbs, "meal": meal, **inputs})

    def ahead(self, rates: Mapping[str, np.ndarray], intervals: int) -> np.ndarray:
        """(n, intervals, signals) while ``rates`` ((n, intervals) by route) are given and announced meals are eaten."""
        u = np.repeat(self.signals({})[:, None], intervals, axis=1)
        for name, value in zip(("carbs", "meal"), self.eating.ahead(self.follow.interval, intervals)):
            if name in self.column:
                u[:, :, self.column[name]] = value
        for route, rate in rates.items():
            u[:, :, self.column[route]] = rate
        return u
