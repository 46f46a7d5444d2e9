"""What a treatment in a closed loop is: what a pump gives, what a sensor reads, where the patient should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .. import models as _models
from ..pkpd.model import Model
from ..safety import Kind, Limits, OwnLimits
from .monitor import Monitor

__all__ = ["Actuator", "Band", "LoopTherapy", "Measured"]


@dataclass(frozen=True, slots=True)
class Band:
    """Where the measured quantity should be: between ``low`` and ``high``, best at ``target`` (unit)."""

    low: float
    high: float
    target: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Actuator:
    """One column of an action.

    Attributes:
        name: what it is called ("basal", "bolus", "propofol").
        route: the models' route.
        kind: a rate that is held for the control interval, or a dose at its start.
        unit: of the column and of the limits table ("U/h", "U", "mg/min").
        per_rate: rate of the route (models' unit, per min) that one unit of a rate is, or that one unit of a dose is
            when it is spread over 1 min.
    """

    name: str
    route: str
    kind: Kind
    unit: str
    per_rate: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of the limits tables, and the fields of an observation that feed it.

    Attributes:
        name: its row in the tables ("BIS").
        value: field of the values; NaN where there is no new one.
        time: field of the time stamps on them, min.
        quality: field of the signal quality, 0 to 100; None where no monitor tells one.
    """

    name: str
    value: str = "reading"
    time: str = "reading_time"
    quality: str | None = "quality"


PRESSURE = Measured("MAP", "pressure", "clock", None)
"""Mean arterial pressure, mmHg. It has no stamp of its own, and so counts as of the moment it is seen."""


@dataclass(frozen=True, eq=False)
class LoopTherapy:
    """One treatment that runs in a closed loop, decision by decision, without a person in between. Frozen.

    Attributes:
        id, drug, title: names; ``purpose``: one sentence, what the loop is for and for whom.
        model_ids: the models a controller may believe in, the usual one first.
        interval: time between decisions (min).
        horizon: how far a plan looks ahead (min).
        actuators: the columns of an action.
        output: the model output that is scored; ``sensor`` the one that is measured.
        measured: what the guard is told of: every measurement of every table, the controlled one (``unit``) first.
        band: where the patient should be.
        known: what the usual protocol knows of a patient: names with units.
        limits_of_many: what is known of n patients to the guard's tables, one for each drug by its route, and the own
            limits of each patient by kind of action.
        monitor: (known, n, interval) to what projects for the guard.
        sources: where interval, horizon and actuators come from.
    """

    id: str
    drug: str
    title: str
    purpose: str
    model_ids: tuple[str, ...]
    interval: float
    horizon: float
    actuators: tuple[Actuator, ...]
    output: str
    sensor: str
    measured: tuple[Measured, ...]
    unit: str
    band: Band
    known: Mapping[str, str]
    limits_of_many: Callable[[Mapping[str, np.ndarray]], Mapping[str, tuple[Limits, Mapping[Kind, OwnLimits]]]]
    monitor: Callable[[Mapping[str, np.ndarray], int, float], Monitor]
    sources: str

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """The models, the usual one first."""
        return tuple(_models.load(i) for i in self.model_ids)

    @property
    def measurement(self) -> str:
        """Name of the controlled measurement."""
        return self.measured[0].name

    def __repr__(self) -> str:
        return f"<LoopTherapy {self.id}: every {self.interval * 60:g} s, {', '.join(self.model_ids)}>"
