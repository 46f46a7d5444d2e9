"""What is asked of the guard, what it is told about the patient, and what it answers: plain values, no checks.

Times are hours on one clock, whose zero is the record's own. Units are spelled as in the limits table and are never
converted: any other spelling is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from .parts import Kind, SafeAction
from .reasons import Code, Decision, Reason

__all__ = ["Asked", "Context", "Given", "Measurement", "Prediction", "Projection", "Reading", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A dose (or rate) that someone wants to give.

    Attributes:
        kind: a dose or a rate.
        route: by which route, as in the table.
        amount: how much (unit); for a rate, the rate.
        unit: unit of ``amount``.
        time: when it starts (h).
        duration: over how long it runs in, 0 for a bolus or tablet; for a rate, how long it is set for (h).
    """

    kind: Kind
    route: str
    amount: float
    unit: str
    time: float
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A dose (or rate) that was given, or that is already decided; the fields are those of `Asked` without route.

    A `Kind.TOTAL` is what several of them delivered together (amount unit of the table), from the start of the first
    to the end of the last. It counts towards totals as a dose does, whole while any of it is in the window, so adding
    up never loosens a limit; it is no dose to count an interval or an increase from. Of each kind the newest entry,
    and the newest that was not 0, must therefore stay as they are.
    """

    kind: Kind
    amount: float
    unit: str
    time: float
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A value and when its sample was taken (h)."""

    value: float
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The newest reading of one measurement.

    Attributes:
        name: as in the table.
        value: the reading (unit).
        unit: its unit.
        time: when the sample was taken (h).
        quality: quality of its signal, 0 to 100 %; read where the table has a least one, else None will do.
        previous: the reading before it (in the same unit, sampled earlier); None says that there is none, and nothing
            is known of its rate of change.
    """

    name: str
    value: float
    unit: str
    time: float
    quality: float | None
    previous: Reading | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted probability (0 to 1) of one harm of the table if the asked dose is given."""

    harm: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What a quantity of the table will be, as predicted now: if nothing more is given, and if an amount is.

    "Nothing" leaves the asked dose out and keeps all that is given or planned before it.

    Attributes:
        name: as in the table.
        unit: of the quantity.
        amount: the amount (or rate) that ``if_given`` was predicted for, in the unit of the asked one; the asked amount
            itself, as a rule. More than this is not predicted and not allowed.
        if_nothing: the quantity if the asked dose is not given.
        if_given: the quantity if ``amount`` is given.
    """

    name: str
    unit: str
    amount: float
    if_nothing: float
    if_given: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known of the patient when the dose is asked for. Nothing has a default; what is not known is refused.

    Attributes:
        now: the time of the decision (h); the guard reads no clock.
        weight: body weight.
        weight_unit: its unit, "kg".
        given: every dose and rate given up to now: the whole course where the table limits it, else at least the
            longest rolling window and the newest dose. An empty tuple says that nothing was given.
        planned: doses decided but not given yet, between now and the asked dose.
        measurements: the newest reading of each measurement of the table; one that was never taken is left out.
        predictions: the predicted probability of each harm of the table; one that was not predicted is left out.
        projections: the projection of each quantity of the table; one that was not predicted is left out.
        record_time: time of the newest entry of the patient's record (h).
    """

    now: float
    weight: float
    weight_unit: str
    given: tuple[Given, ...]
    planned: tuple[Given, ...]
    measurements: tuple[Measurement, ...]
    predictions: tuple[Prediction, ...]
    projections: tuple[Projection, ...]
    record_time: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The guard's answer.

    Attributes:
        allowed: what may be given: ``asked`` itself if nothing speaks against it, else the same with a smaller amount.
        asked: what was asked.
        reasons: every reason found, in the order of the rules; empty, notices aside, if and only if the dose passed
            unchanged with sound data.
        safe_action: what the table says to do when nothing may be given.
    """

    allowed: Asked
    asked: Asked
    reasons: tuple[Reason, ...]
    safe_action: SafeAction

    @property
    def decision(self) -> Decision:
        """Passed, lowered to a limit, or refused (a reason refuses, or the limits leave nothing)."""
        if all(reason.code.notice for reason in self.reasons):
            return Decision.PASSED
        if self.allowed.amount == 0:
            return Decision.REFUSED
        return Decision.LOWERED

    @property
    def codes(self) -> frozenset[Code]:
        """The codes of all reasons."""
        return frozenset(r.code for r in self.reasons)

    @property
    def mask(self) -> int:
        """The codes as bits, as `guard_batch` gives them."""
        mask = 0
        for code in self.codes:
            mask |= code.bit
        return mask

    @property
    def sentence(self) -> str:
        """The verdict in words for a clinician: what may be given, then every reason."""
        why = " ".join(r.sentence for r in self.reasons)
        match self.decision:
            case Decision.PASSED:
                return f"{self.asked.amount:g} {self.asked.unit} is within every limit. {why}".rstrip()
            case Decision.LOWERED:
                return f"{self.allowed.amount:g} {self.asked.unit} of the {self.asked.amount:g} asked. {why}"
            case _:
                return f"{self.safe_action.sentence} {why}"
