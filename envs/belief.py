"""What ``observation="belief"`` adds: the twin's posterior mean and spread, behind the history.

The twin is the estimator of the model-predictive policies (`twin.follower`), with the same statement and the same
prior, and is fed as they feed it (`twin.tracker`): readings, confirmed doses, announcements. A lane that is reset
begins its twin anew; the other lanes' go on. Nothing here is the truth, and a lane's numbers do not depend on the other
lanes.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from ..models import load
from ..pkpd.errors import DoseloopError
from ..pkpd.model import Model
from ..twin.follow import Follow
from ..twin.statements import BRETON, DEXCOM_G6, follow_glucose, follow_propofol
from ..twin.tracker import MealTracker, Tracker
from ..virtual.glucose_prior import glucose_prior
from ..virtual.people import People
from ..virtual.world import Observation
from .spaces import Feature, Scale

__all__ = ["OBSERVATIONS", "Believed", "GlucoseBelieved", "PropofolBelieved", "believed"]

OBSERVATIONS = ("raw", "belief")
SDS = 2.0  # of the population, at which an effect is shown as −1 or 1
FAR = 8.0  # and cut off
HONEST = "running mean of squared normalised innovations; 1: the belief is honest"


class Believed(abc.ABC):
    """The columns of n lanes; a subclass says of what therapy.

    Args:
        people: whom the lanes may hold.
        interval: min between decisions.
        twin: the model the twin believes in, its id, or a statement of what is estimated; default the plant's model.
        sensed: what the plant's sensor is called, for the statement's.
        announced: whether meals are announced.

    Attributes:
        features: of the columns. follow: the statement. tracker: the twin, once somebody was admitted.
        fed: what it is fed with, in words.

    Raises:
        DoseloopError: a statement of another interval; a model that does not fit.
    """

    tracking: type[Tracker] = Tracker
    fed = "readings, confirmed doses and announcements"
    effects: tuple[str, ...] = ()  # those that a dose depends on, where the statement estimates them

    def __init__(
        self,
        people: People,
        interval: float,
        twin: Follow | Model | str | None = None,
        *,
        sensed: str = "",
        announced: bool = True,
    ) -> None:
        if isinstance(twin, Follow):
            self.follow = twin
            if not abs(twin.interval - interval) <= 1e-9 * interval:
                raise DoseloopError(f"twin: its interval is {twin.interval:g} min, the environment's {interval:g}")
        else:
            model = people.model if twin is None else load(twin) if isinstance(twin, str) else twin
            self.follow = self._statement(model, interval, sensed, announced)
        self.people, self.interval = people, interval
        self.mean, self.covariance = self._prior()
        own = self.follow.effects or ()
        self.shown = tuple(e for e in self.effects if e in own)
        self.features = tuple(self._features())
        self.scale = Scale(self.features)
        self.tracker: Tracker | None = None

    @abc.abstractmethod
    def _statement(self, model: Model, interval: float, sensed: str, announced: bool) -> Follow:
        """What is estimated."""

    def _prior(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Of the effects of everybody in the library; None: the population's."""
        return None, None

    @abc.abstractmethod
    def _features(self) -> Sequence[Feature]:
        """The columns."""

    @abc.abstractmethod
    def _given(self, seen: Observation) -> Mapping[str, np.ndarray]:
        """What was confirmed, as rates by route."""

    @abc.abstractmethod
    def _columns(self, seen: Observation) -> list[np.ndarray]:
        """(n,) each, in units."""

    def admit(self, lanes: np.ndarray, who: np.ndarray, seen: Observation) -> np.ndarray:
        """Others stand in the lanes of a mask: the columns of everybody, (n, columns) scaled.

        Args:
            lanes: (n,) mask; the first time all of them. who: (n,) which of the people. seen: now.
        """
        if self.tracker is None:
            self.tracker = self.tracking(
                self.follow, self.people.known, len(self.people), who=who, mean=self.mean, covariance=self.covariance
            )
        else:
            self.tracker.restart(lanes, who)
        self.tracker.first(seen.reading, seen.reading_time, seen.quality, lanes)
        if isinstance(self.tracker, MealTracker):
            self.tracker.announce(np.where(lanes, np.nan_to_num(seen.announced), 0.0))
        return self.scale.observe(np.column_stack(self._columns(seen)))

    def step(self, seen: Observation) -> np.ndarray:
        """An interval has passed for everybody: the columns, scaled."""
        assert self.tracker is not None
        self.tracker.step(self._given(seen), seen.reading, seen.reading_time, seen.quality)
        if isinstance(self.tracker, MealTracker):
            self.tracker.announce(np.nan_to_num(seen.announced))
        return self.scale.observe(np.column_stack(self._columns(seen)))

    def _of_effects(self) -> list[Feature]:
        """Mean and SD of each effect that is shown, on the scale of its spread in the population."""
        model, out = self.follow.model, []
        spread = np.sqrt(np.diag(model.omega))
        for e in self.shown:
            sd = float(spread[model.names("effects").index(e)])
            out += [
                Feature(f"effect {e}", "1", -SDS * sd, SDS * sd, -FAR * sd, FAR * sd, "the patient's, on a log scale"),
                Feature(f"effect {e}, SD", "1", 0.0, sd, 0.0, 3.0 * sd, "of that belief"),
            ]
        return out

    def _rows(self, names: Sequence[str]) -> list[np.ndarray]:
        """Mean and SD of rows of the belief."""
        assert self.tracker is not None
        return [v for name in names for v in self.tracker.belief.of(name)]


class GlucoseBelieved(Believed):
    """Glucose: what it is, where it goes at the present rate, what disturbs it, who the patient is."""

    tracking = MealTracker
    tracker: MealTracker | None
    effects = ("kabs", "kp3", "vmx", "p2u", "gb", "sit", "sid", "sie", "tau_g", "tau_i")

    def _statement(self, model: Model, interval: float, sensed: str, announced: bool) -> Follow:
        sensor = BRETON if sensed == "breton2008" else DEXCOM_G6
        return follow_glucose(model, interval, announced=announced, sensor=sensor)

    def _prior(self) -> tuple[np.ndarray, np.ndarray]:
        return glucose_prior(self.follow.model)(self.people.known)

    def _features(self) -> list[Feature]:
        self.at = [max(1, round(m / self.interval)) for m in (30.0, 60.0)]
        out = [
            Feature("glucose, twin", "mg/dL", 40, 260, 10, 600, "believed to be now, in plasma"),
            Feature("glucose, twin, SD", "mg/dL", 0, 40, 0, 200, "of that belief"),
        ]
        for k in self.at:
            m = f"{k * self.interval:g}"
            out += [
                Feature(f"glucose in {m} min", "mg/dL", 40, 260, 10, 600, "at the basal rate that was confirmed last"),
                Feature(f"glucose in {m} min, SD", "mg/dL", 0, 80, 0, 300, "of that prediction"),
            ]
        for d in self.follow.disturbed:
            s, what = d.wander.first, "factor on" if d.scale else "added to"
            unit = "1" if d.scale else "mg/kg/min"
            text = f"{what} {' and '.join(d.inputs)}" + (", its logarithm" if d.scale else "")
            name = "unexplained " + d.inputs[0]
            out += [
                Feature(name, unit, -2 * s, 2 * s, -8 * s, 8 * s, text),
                Feature(f"{name}, SD", unit, 0, s, 0, 3 * s, "of that belief"),
            ]
        out.append(Feature("consistency", "1", 0, 2, 0, 30, HONEST))
        return [*out, *self._of_effects()]

    def _given(self, seen: Observation) -> Mapping[str, np.ndarray]:
        return {"sc": seen.delivered[:, 0] / 60.0 + seen.delivered[:, 1] / self.interval}

    def _columns(self, seen: Observation) -> list[np.ndarray]:
        assert self.tracker is not None
        b = self.tracker.belief
        rate = np.repeat(seen.delivered[:, :1] / 60.0, self.at[1], axis=1)
        rate[:, 0] += seen.pending[:, 1] / self.interval  # what the pump is still to deliver of a bolus
        rows = [k - 1 for k in self.at]
        bands = self.tracker.follower.predict(self.tracker.ahead({"sc": rate}, self.at[1]), at=rows)
        ahead = [v for j in range(2) for v in (bands.truth[:, j], bands.truth_sd[:, j])]
        names = ["disturbed " + "+".join(d.inputs) for d in self.follow.disturbed]
        return [b.truth, b.truth_sd, *ahead, *self._rows(names), b.consistency, *self._rows(self.shown)]


class PropofolBelieved(Believed):
    """BIS: what it is, where it goes at the present rate, stimulation, who the patient is."""

    effects = ("v1", "cl", "ce50", "ke0")

    def _statement(self, model: Model, interval: float, sensed: str, announced: bool) -> Follow:
        return follow_propofol(model, interval)

    def _features(self) -> list[Feature]:
        self.every = max(1, round(1.0 / self.interval))
        out = [
            Feature("BIS, twin", "1", 0, 100, what="believed to be now, without the monitor's lag and noise"),
            Feature("BIS, twin, SD", "1", 0, 20, 0, 60, "of that belief"),
        ]
        for k in (1, 3):
            m = f"{k * self.every * self.interval:g}"
            out += [
                Feature(f"BIS in {m} min", "1", 0, 100, what="at the rate that was confirmed last"),
                Feature(f"BIS in {m} min, SD", "1", 0, 20, 0, 60, "of that prediction"),
            ]
        out += [
            Feature("stimulation", "1", -20, 20, -80, 80, "of surgery, BIS"),
            Feature("stimulation, SD", "1", 0, 10, 0, 40, "of that belief"),
            Feature("consistency", "1", 0, 2, 0, 30, HONEST),
        ]
        return [*out, *self._of_effects()]

    def _given(self, seen: Observation) -> Mapping[str, np.ndarray]:
        return {"propofol": seen.delivered[:, 0]}

    def _columns(self, seen: Observation) -> list[np.ndarray]:
        assert self.tracker is not None
        b, u = self.tracker.belief, self.tracker.signals(self._given(seen))
        bands = self.tracker.follower.predict(np.repeat(u[:, None], 3, axis=1), at=(0, 2), every=self.every)
        ahead = [v for j in range(2) for v in (bands.truth[:, j], bands.truth_sd[:, j])]
        return [b.truth, b.truth_sd, *ahead, *self._rows(["offset"]), b.consistency, *self._rows(self.shown)]


Kind = TypeVar("Kind")


def believed(kind: Callable[[], Kind], observation: str, who: str) -> Kind | None:
    """The columns that an environment's keyword ``observation`` asks for.

    Raises:
        DoseloopError: no such observation; what ``kind`` raises, under the environment's name ``who``.
    """
    if observation not in OBSERVATIONS:
        raise DoseloopError(f"{who}: observation '{observation}'; there are {', '.join(OBSERVATIONS)}")
    if observation == "raw":
        return None
    try:
        return kind()
    except DoseloopError as e:
        raise DoseloopError([f"{who}: {line}" for line in e.problems]) from None
