"""What a treatment is: which models, what may be given, what is measured, the goal, the harms, the limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from .. import models as _models
from ..pkpd.layout import CovariateSpec, Layout, OutputSpec, RouteSpec
from ..pkpd.model import Model
from ..pkpd.regimen import Dose, Regimen
from ..safety import Limits

__all__ = ["QUANTITIES", "Action", "Goal", "Harm", "Therapy"]

QUANTITIES = {
    "time_in_range": "share of the horizon during which the level lies within the goal",
    "trough": "level just before the next dose would be due, at the end of the horizon",
    "peak": "highest level between the first planned dose and the end of the horizon",
    "auc24": "area under the curve over the last 24 h of the horizon",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """Where the patient should be: a quantity (see `QUANTITIES`) between ``low`` and ``high``, best at ``target``.

    Of "time_in_range" the three numbers are levels, and the probability of the goal is the expected share of time.
    """

    quantity: str
    low: float
    high: float
    target: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Harm:
    """What must stay unlikely: a quantity above a threshold. ``name`` is the harm's name in the limits table."""

    name: str
    quantity: str
    above: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Action:
    """What may be given in practice.

    Attributes:
        route: the models' route.
        unit: of the amounts.
        amounts: every amount that can be drawn up (ascending, the step of practice), for a body weight in kg.
        intervals: of the clinical routine (h), the usual one first.
        duration: infusion time (h) of an amount for a body weight; 0 is a bolus or a tablet.
        loading: whether the first dose may differ from the following.
        source: where increments, intervals and infusion times come from.
    """

    route: str
    unit: str
    amounts: Callable[[float], tuple[float, ...]]
    intervals: tuple[float, ...]
    duration: Callable[[float, float], float]
    loading: bool
    source: str

    def dose(self, amount: float, time: float, weight: float) -> Dose:
        """One dose of this action."""
        length = self.duration(amount, weight)
        return Dose(time, amount, self.route, duration=length if length > 0 else None)


@dataclass(frozen=True, eq=False)
class Therapy:
    """One treatment. Frozen.

    Attributes:
        id, drug, title: names; ``purpose``: one sentence, what the software's advice is for and for whom.
        model_ids, prior_weights: rival models and how far each is believed before any level.
        output: the measured output that goal and harms speak of.
        action, goal, harms, limits: what may be given, where to, what must stay unlikely, what the guard enforces.
        horizon: how far the plan looks ahead (h).
        protocol: the usual protocol: covariates to a regimen from time 0 on.
        covariates, output_range, dose_high: what a data file may hold (believable ranges).
        sources: documents named above.
    """

    id: str
    drug: str
    title: str
    purpose: str
    model_ids: tuple[str, ...]
    prior_weights: tuple[float, ...]
    output: str
    action: Action
    goal: Goal
    harms: tuple[Harm, ...]
    limits: Limits
    horizon: float
    protocol: Callable[[Mapping[str, float]], Regimen]
    covariates: tuple[CovariateSpec, ...]
    output_range: tuple[float, float]
    dose_high: float
    data: str | None = None

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """The rival models."""
        return tuple(_models.load(i) for i in self.model_ids)

    @cached_property
    def layout(self) -> Layout:
        """What is expected of a data file of this therapy."""
        model = self.models[0]
        route, output = model.route(self.action.route), model.output(self.output)
        unit = {s.name: s.unit for s in model.states}[route.into]
        return Layout(
            routes=(RouteSpec(route.name, 1, unit, frozenset(route.kinds), self.dose_high),),
            outputs=(OutputSpec(output.name, output.unit, 1, *self.output_range),),
            covariates=self.covariates,
            time_unit=model.time_unit,
        )

    def __repr__(self) -> str:
        return f"<Therapy {self.id}: {', '.join(self.model_ids)}>"
