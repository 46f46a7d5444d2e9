"""The parts of a limits table: a number with its unit and source, and the rows the numbers stand in.

Parts are inert: nothing is checked when one is made. `Limits` checks them all when the table is built, so that one
error can list every problem at once. No field has a usable default: what is not given is `MISSING`, and a limit is
switched off only by `Unlimited` with its reason.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "MISSING",
    "ActionLimits",
    "Bound",
    "DoseLimits",
    "HarmLimit",
    "Kind",
    "LimitsError",
    "MeasurementLimits",
    "ProjectionLimits",
    "RateLimits",
    "RollingTotal",
    "SafeAction",
    "Unlimited",
    "WeightRange",
]


class LimitsError(ValueError):
    """A limits table that is incomplete or contradicts itself; ``problems`` lists everything found, one a line."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Every problem, one sentence each."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.problems)


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""Stands in every field that was not given; a table holding one cannot be built."""


class Kind(enum.Enum):
    """What is asked for: an amount of drug, or a rate that a pump holds for a while.

    A history may also hold totals: what several doses and rates of the past delivered together. A total is never asked
    for.
    """

    DOSE = "dose"
    RATE = "rate"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit: a finite number ≥ 0 with its unit and where the number comes from.

    Attributes:
        value: the number.
        unit: its unit, spelled as the field's docstring says.
        source: document and place, or the reasoning, that the number rests on.
    """

    value: float = MISSING
    unit: str = MISSING
    source: str = MISSING


@dataclass(frozen=True, slots=True)
class Unlimited:
    """A limit that is switched off on purpose.

    Attributes:
        reason: why this therapy has no such limit.
    """

    reason: str = MISSING
    # No upper limit is exceeded by any number; lower limits are compared only where they are a `Bound`.
    value: ClassVar[float] = math.inf
    unit: ClassVar[str] = ""

    @property
    def source(self) -> str:
        """The reason, where a bound has its source."""
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLimits:
    """Limits of one kind of action by one route; use `DoseLimits` or `RateLimits`.

    Attributes:
        route: name of the route ("iv", "oral", "sc").
        unit: of the asked amount: an amount ("mg") for a dose, an amount per h or per min ("U/h", "mg/min") for a rate.
        increment: smallest step that can be measured out (unit); > 0, never unlimited.
        minimum: smallest amount that is given at all (unit), a whole number of increments; below it nothing is given.
        maximum: largest single amount or rate (unit).
        maximum_per_kg: the same per kg of body weight (unit with "/kg" after the amount: "mg/kg", "mg/kg/min"). One of
            the two must be a number.
        duration_min: shortest time over which the dose runs in, or for which a rate is set (h); 0 for a bolus or a
            tablet; > 0 for a rate. Never unlimited.
        duration_max: longest such time (h). Never unlimited.
        interval_min: least time from the start of one dose (or rate) to the start of the next of its kind (h).
        increase_factor: largest ratio ("1") to the newest dose (or rate) of the same kind; ≥ 1.
        increase_base: the newest dose (or rate) counts as at least this much (unit) when the factor is applied, so
            that a small or withheld one does not lock the next at nothing; > 0, never unlimited.
        unmeasured_max: the most that may be given while a measurement of the table is missing, stale, of poor signal
            or not plausible (unit); 0 for nothing. For a pump it is what the patient would get without the loop: the
            programmed basal rate, the usual maintenance.
        unpredicted_max: the most that may be given while a harm of the table has no predicted probability, or a
            quantity of the table no projection (unit).
    """

    route: str = MISSING
    unit: str = MISSING
    increment: Bound = MISSING
    minimum: Bound = MISSING
    maximum: Bound | Unlimited = MISSING
    maximum_per_kg: Bound | Unlimited = MISSING
    duration_min: Bound = MISSING
    duration_max: Bound = MISSING
    interval_min: Bound | Unlimited = MISSING
    increase_factor: Bound | Unlimited = MISSING
    increase_base: Bound = MISSING
    unmeasured_max: Bound | Unlimited = MISSING
    unpredicted_max: Bound | Unlimited = MISSING

    kind: ClassVar[Kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseLimits(ActionLimits):
    """Limits of a dose: an amount given at once or run in over ``duration``. Adds to `ActionLimits`:

    Attributes:
        infusion_rate_max: largest amount / duration (amount per h or per min); a bolus has no finite rate, so a
            limit here forbids it.
        infusion_rate_max_per_kg: the same per kg ("mg/kg/h" or "mg/kg/min").
    """

    infusion_rate_max: Bound | Unlimited = MISSING
    infusion_rate_max_per_kg: Bound | Unlimited = MISSING

    kind: ClassVar[Kind] = Kind.DOSE


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits(ActionLimits):
    """Limits of a rate that a pump holds for ``duration``; the fields are those of `ActionLimits`."""

    kind: ClassVar[Kind] = Kind.RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingTotal:
    """Most drug in any window of time that ends with the asked dose, all routes and kinds together.

    A dose belongs to the window while any of its infusion is less than ``window`` before the asked dose, and then
    counts whole; one that ended exactly ``window`` before no longer counts.

    Attributes:
        window: length (h); > 0.
        total: the most in the window (amount unit of the table).
        total_per_kg: the same per kg. One of the two must be a number.
    """

    window: Bound = MISSING
    total: Bound | Unlimited = MISSING
    total_per_kg: Bound | Unlimited = MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRange:
    """Body weights (kg) that the table is meant for, ends included; outside it nothing is given."""

    low: Bound = MISSING
    high: Bound = MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementLimits:
    """What is believed of one measurement.

    Attributes:
        name: as in the record ("phenobarbital", "glucose", "BIS").
        unit: of every number here ("mg/L", "mg/dL", "1").
        low: least value that can be real (unit); below it the reading is at fault and nothing is given.
        high: largest value that can be real (unit).
        quality_min: least signal quality (%) of a reading that counts; one of less is as good as none, whatever its
            value.
        age_max: oldest newest reading that still counts (h); an older one is as good as none.
        stop_below: a reading under this stops all drug (unit).
        stop_above: a reading over this stops all drug (unit).
        change_max: fastest change from the reading before, up or down, that can be real (unit with "/min"); a reading
            that changed faster is as good as none, but its stops hold.
        fall_max: a fall from the reading before that is faster than this stops all drug (unit with "/min")…
        fall_below: …where the reading is under this (unit); `Unlimited` for at every reading.
        stop_age_max: how long after its sample a reading goes on stopping the drug (h), which may be longer than it
            counts; `Unlimited` for until there is a newer one.
    """

    name: str = MISSING
    unit: str = MISSING
    low: Bound = MISSING
    high: Bound = MISSING
    quality_min: Bound | Unlimited = MISSING
    age_max: Bound | Unlimited = MISSING
    stop_below: Bound | Unlimited = MISSING
    stop_above: Bound | Unlimited = MISSING
    change_max: Bound | Unlimited = MISSING
    fall_max: Bound | Unlimited = MISSING
    fall_below: Bound | Unlimited = MISSING
    stop_age_max: Bound | Unlimited = MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmLimit:
    """A harm that is predicted for the asked dose, and the probability above which nothing is given.

    Attributes:
        name: the harm in words, as in the predictions ("trough above 40 mg/L").
        probability_max: largest probability ("1"), 0 to 1.
    """

    name: str = MISSING
    probability_max: Bound = MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionLimits:
    """Bounds on a quantity that the caller predicts for the asked amount: insulin on board, an effect-site
    concentration, glucose in half an hour, blood pressure.

    The amount is lowered until the quantity keeps the bounds, on a straight line between the two numbers that a
    `Projection` gives, that for nothing and that for its amount. The line is drawn ``steepness`` times too steep, so
    the lowered amount keeps the bound if the quantity nowhere changes faster with the amount than ``steepness`` times
    its mean change. 1 is right for a quantity linear in the amount (what linear kinetics give), and for one that bends
    away from its bound (convex under an upper, concave over a lower bound); an effect that saturates is steeper at
    first and needs more.

    Attributes:
        name: as in the projections ("insulin on board", "glucose in 30 min").
        unit: of the quantity.
        low: least value (unit).
        high: largest value (unit). One of the two must be a number.
        steepness: largest slope over mean slope ("1"), ≥ 1; never unlimited.
    """

    name: str = MISSING
    unit: str = MISSING
    low: Bound | Unlimited = MISSING
    high: Bound | Unlimited = MISSING
    steepness: Bound = MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeAction:
    """What is done when the asked dose is refused: always that no drug is given now.

    Attributes:
        sentence: how it is said to the clinician ("Give no dose now and call the pharmacist.").
        source: why this is the safe thing to do in this therapy.
    """

    sentence: str = MISSING
    source: str = MISSING
