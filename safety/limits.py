"""The complete limits table of one therapy."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import problems
from .parts import (
    MISSING,
    Bound,
    DoseLimits,
    HarmLimit,
    Kind,
    LimitsError,
    MeasurementLimits,
    ProjectionLimits,
    RateLimits,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
)

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every limit that a dose of this therapy has to keep, each number with its unit and source.

    Attributes:
        therapy: name of the therapy.
        unit: the amount unit of all totals and of every dose ("mg", "U").
        actions: what may be given: one `DoseLimits` or `RateLimits` a kind and route, at least one. All rates share
            one unit.
        rolling: totals over rolling windows; one of them over 24 h.
        course_total: most drug in the whole course (unit), all that ``Context.given`` holds included.
        course_total_per_kg: the same per kg.
        weight: body weights the table is meant for.
        measurements: every measurement the guard may be shown; `Unlimited` if the therapy measures nothing.
        harms: every predicted harm that stops a dose; `Unlimited` if no probability is predicted.
        projections: every quantity predicted for the asked amount that has a bound; `Unlimited` if there is none.
        suspension_max: longest time without any drug (h) that no reading calls for; after it the guard says so in
            every verdict, and refuses nothing for it.
        record_age_max: oldest newest entry of the patient's record (h).
        ahead_max: how far ahead of now a dose may be decided (h). Never unlimited.
        safe_action: what is done instead of a refused dose.

    Raises:
        LimitsError: once, listing every field that is missing, every number that is not finite, negative, in an
            unknown or wrong unit or without source, and every contradiction (min over max, no 24-h total, …).
    """

    therapy: str = MISSING
    unit: str = MISSING
    actions: tuple[DoseLimits | RateLimits, ...] = MISSING
    rolling: tuple[RollingTotal, ...] = MISSING
    course_total: Bound | Unlimited = MISSING
    course_total_per_kg: Bound | Unlimited = MISSING
    weight: WeightRange = MISSING
    measurements: tuple[MeasurementLimits, ...] | Unlimited = MISSING
    harms: tuple[HarmLimit, ...] | Unlimited = MISSING
    projections: tuple[ProjectionLimits, ...] | Unlimited = MISSING
    suspension_max: Bound | Unlimited = MISSING
    record_age_max: Bound | Unlimited = MISSING
    ahead_max: Bound = MISSING
    safe_action: SafeAction = MISSING

    def __post_init__(self) -> None:
        found = problems(self)
        if found:
            raise LimitsError(*found)

    def action(self, kind: Kind, route: str) -> DoseLimits | RateLimits | None:
        """The limits of one kind of action by one route, or None if the therapy does not give it."""
        for action in self.actions:
            if action.kind is kind and action.route == route:
                return action
        return None

    @property
    def rate_unit(self) -> str | None:
        """The unit of every rate of this table, or None if it has no rates."""
        for action in self.actions:
            if action.kind is Kind.RATE:
                return action.unit
        return None

    @property
    def measured(self) -> tuple[MeasurementLimits, ...]:
        """The measurements of this table; empty if it is `Unlimited`."""
        return () if isinstance(self.measurements, Unlimited) else self.measurements

    @property
    def predicted(self) -> tuple[HarmLimit, ...]:
        """The harms of this table; empty if it is `Unlimited`."""
        return () if isinstance(self.harms, Unlimited) else self.harms

    @property
    def projected(self) -> tuple[ProjectionLimits, ...]:
        """The projections of this table; empty if it is `Unlimited`."""
        return () if isinstance(self.projections, Unlimited) else self.projections
