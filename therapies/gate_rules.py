"""The guard's rules for a stream of decisions, as straight-line code on eight patients at a time.

What `safety.guard` says of one dose stands here once more for pumps that are asked every few seconds or minutes: a
request is of this moment, units fit, the history is the gate's own ledger. All else is rule for rule the same, and
`tests/test_gate_rules.py` holds it to `safety.guard`, bit for bit and reason for reason, decision by decision.

Every number of a table that is the same for all patients is written into the code; what differs from patient to
patient (`own_rows`) is read from memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pkpd.vcode import Code as Lanes
from ..pkpd.vcode import Flag, Real, Whole
from ..safety import Bound, Code, Kind, Limits, OwnLimits, Unlimited
from ..safety.reasons import FIRST_LOWERING
from ..safety.values import CLOCK, MINUTES, WHOLE, per_hour

__all__ = ["Column", "History", "column_of", "judge", "own_rows", "readings_of"]

INF = float("inf")
BLIND = Code.MEASUREMENT_STALE.bit | Code.MEASUREMENT_POOR.bit | Code.MEASUREMENT_IMPLAUSIBLE.bit
STOPS = Code.MEASUREMENT_STOP.bit | Code.MEASUREMENT_FALLING.bit


@dataclass(frozen=True, eq=False)
class Column:
    """One column of an action under its drug's table.

    Attributes:
        limits: the drug's table. action: its row for this kind and route.
        length: h that a request lasts.
        rows: of the gate's measurements, those of the table, in its order.
        first: where its own rows begin; ``names`` them, in order; ``free`` those that limit nobody.
        before: earlier columns of the same drug: (column, length, hours a rate counts; 0 for a dose).
    """

    limits: Limits
    kind: Kind
    route: str
    length: float
    rows: tuple[int, ...]
    first: int
    names: tuple[str, ...]
    free: frozenset[str]
    before: tuple[tuple[int, float, float], ...]

    @property
    def hours(self) -> float:
        """How many hours' worth a rate of this drug counts."""
        return per_hour(self.limits.rate_unit or "")


def lower(limit: Bound | Unlimited) -> float:
    """A lower limit's number; −inf where it is off."""
    return float(limit.value) if isinstance(limit, Bound) else -INF


def own_rows(
    limits: Limits, kind: Kind, route: str, own: OwnLimits, weight: np.ndarray, length: float
) -> dict[str, np.ndarray]:
    """What differs from patient to patient of an action, (n,) each: the table and the own limits in one number.

    ``mask`` holds the reasons that a patient's weight gives (bits, as the bits of float64).
    """
    n, action = len(weight), limits.action(kind, route)
    if action is None:
        raise ValueError(f"no limits for {kind} by {route}")
    kg = np.where(np.isfinite(weight), weight, np.nan)
    mask = np.where(np.isnan(kg), Code.WEIGHT_INVALID.bit, 0)
    outside = (kg < limits.weight.low.value) | (kg > limits.weight.high.value)
    mask |= np.where(outside, Code.WEIGHT_OUT_OF_RANGE.bit, 0)
    of = lambda name: np.full(n, INF) if getattr(own, name) is None else getattr(own, name)  # noqa: E731
    with np.errstate(invalid="ignore"):
        rows = {
            "mask": mask.astype(np.int64).view(np.float64),
            "single": np.minimum(float(action.maximum.value), of("maximum")),
            "single per kg": kg * float(action.maximum_per_kg.value),
            "blind": np.minimum(float(action.unmeasured_max.value), of("unmeasured_max")),
            "unpredicted": np.minimum(float(action.unpredicted_max.value), of("unpredicted_max")),
            "course": np.full(n, float(limits.course_total.value)),
            "course per kg": float(limits.course_total_per_kg.value) * kg,
        }
        if kind is Kind.DOSE:
            rate, per_kg = action.infusion_rate_max, action.infusion_rate_max_per_kg  # type: ignore[union-attr]
            rows["infusion"] = np.full(n, float(rate.value) * per_hour(rate.unit) * length)
            rows["infusion per kg"] = float(per_kg.value) * per_hour(per_kg.unit) * kg * length
        for w, row in enumerate(limits.rolling):
            mine = INF if own.total is None else own.total[:, w]
            rows[f"total {w}"] = np.minimum(float(row.total.value), mine) + np.zeros(n)
            rows[f"total per kg {w}"] = float(row.total_per_kg.value) * kg
        for f, projection in enumerate(limits.projected):
            mine = INF if own.high is None else own.high[:, f]
            rows[f"high {f}"] = np.minimum(float(projection.high.value), mine) + np.zeros(n)
    return rows


def column_of(
    limits: Limits,
    kind: Kind,
    route: str,
    length: float,
    rows: tuple[int, ...],
    first: int,
    own: dict[str, np.ndarray],
    before: tuple[tuple[int, float, float], ...],
) -> Column:
    """The column whose own rows (`own_rows`) begin at ``first``."""
    free = frozenset(k for k, v in own.items() if k != "mask" and (np.isnan(v) | (v == INF)).all())
    return Column(limits, kind, route, length, rows, first, tuple(own), free, before)


@dataclass(eq=False)
class History:
    """What was given, as `judge` reads it: drug in each rolling window and in all, when the last had run in, whether an
    entry is at fault; of this kind, the start of the newest that was not 0 and of the newest, and its amount."""

    rolling: list[Real]
    course: Real
    end: Real
    bad: Flag
    last: Real
    newest: Real
    newest_amount: Real


def readings_of(c: Lanes, now: Real, column: Column, readings: list[dict[str, Real]]) -> tuple[Whole, Whole]:
    """Reasons of the measurements: those that count as no reading, and the others."""
    blind, mask = c.bits(c.never, 0), c.bits(c.never, 0)
    for k, row in zip(column.rows, column.limits.measured):
        r = readings[k]
        there = r["seen"] > 0.5
        value, time = r["value"], r["stamp"]
        invalid, poor = ~(value.finite() & time.finite()), c.never
        unread = invalid
        if isinstance(row.quality_min, Bound):
            good = (r["quality"] >= 0.0) & (r["quality"] <= 100.0)
            poor = ~unread & good & (r["quality"] < float(row.quality_min.value))
            invalid = invalid | ~good
        had = r["had"] > 0.5
        change = (value - r["before"]) / ((time - r["before stamp"] + CLOCK) * MINUTES)
        misread = ~(r["before stamp"].finite() & change.finite()) | (r["before stamp"] >= time)
        invalid = invalid | (had & misread)
        change = c.where(had, change, 0.0)
        sound = ~invalid
        outside = (value < float(row.low.value)) | (value > float(row.high.value))
        inside = sound & ~poor & ~outside
        age = now - time
        recent = inside & ~(age > float(row.stop_age_max.value) + CLOCK)
        stop = (value < lower(row.stop_below)) | (value > float(row.stop_above.value))
        falling = (-change > float(row.fall_max.value)) & (value < float(row.fall_below.value))
        found = c.bits(invalid, Code.MEASUREMENT_INVALID.bit) | c.bits(poor, Code.MEASUREMENT_POOR.bit)
        found = found | c.bits(sound & ~poor & outside, Code.MEASUREMENT_OUT_OF_RANGE.bit)
        found = found | c.bits(recent & stop, Code.MEASUREMENT_STOP.bit)
        found = found | c.bits(recent & falling, Code.MEASUREMENT_FALLING.bit)
        jumped = inside & (abs(change) > float(row.change_max.value))
        found = found | c.bits(jumped, Code.MEASUREMENT_IMPLAUSIBLE.bit)
        ahead = sound & (time > now)
        found = found | c.bits(ahead, Code.MEASUREMENT_IN_FUTURE.bit)
        stale = sound & ~(time > now) & (age > float(row.age_max.value) + CLOCK)
        found = found | c.bits(stale, Code.MEASUREMENT_STALE.bit)
        found = c.pick(there, found, c.bits(c.always, Code.MEASUREMENT_MISSING.bit))
        blind = blind | found.only(BLIND | Code.MEASUREMENT_MISSING.bit)
        mask = mask | found.only(~(BLIND | Code.MEASUREMENT_MISSING.bit))
    return blind, mask


def _most(c: Lanes, of: Real, nothing: Real, given: Real, edge: Real, steepness: float) -> Real:
    """`safety.predictions.most`."""
    share = ((edge - nothing) / (given - nothing)).most(0.0)
    cap = of * share / steepness
    return c.where(given < nothing, INF, c.where(given.equals(nothing), 0.0, cap))


def judge(
    c: Lanes,
    column: Column,
    own: dict[str, Real],
    fault: Whole,
    now: Real,
    amount: Real,
    of: Real,
    history: History,
    readings: list[dict[str, Real]],
    projections: list[tuple[Real, Real]],
) -> tuple[Real, Whole]:
    """The allowed amount, and the mask of reasons.

    Args:
        c: the code that is written.
        column: table and structure.
        own: its own rows; ``fault``: the reasons that the patient gives.
        now: h. amount: asked. of: what the projections are of.
        history, readings: see `History`; ``seen``, ``value``, … of each measurement of the gate.
        projections: each quantity if nothing is given, and if ``of`` is; not finite where unknown.
    """
    limits, length = column.limits, column.length
    action = limits.action(column.kind, column.route)
    assert action is not None
    increment = float(action.increment.value)
    slack = WHOLE * increment
    # `now` less the newest end, and so on, are differences with −inf where there is none: never above a limit
    blind, found = readings_of(c, now, column, readings)
    mask = fault | c.bits(history.bad, Code.HISTORY_INVALID.bit) | found
    silent = (history.end > -INF) & (now - history.end > float(limits.suspension_max.value) + CLOCK)
    mask = mask | c.bits(silent & ~mask.has(STOPS), Code.SUSPENDED_LONG.bit)
    unpredicted = c.always if limits.predicted else c.never
    sound: list[Flag] = []
    for nothing, given in projections:
        there = nothing.finite() & given.finite()
        fits = of.finite() & (given - nothing).finite() & ~(of < 0.0)
        mask = mask | c.bits(there & ~fits, Code.PREDICTION_INVALID.bit)
        unpredicted = unpredicted | ~there
        sound.append(there & fits)
    finite = amount.finite()
    mask = mask | c.bits(~finite, Code.AMOUNT_INVALID.bit) | c.bits(finite & (amount < 0.0), Code.AMOUNT_NEGATIVE.bit)
    early = mask

    asks = amount > 0.0
    if length < float(action.duration_min.value):
        mask = mask | c.bits(asks, Code.DURATION_SHORT.bit)
    if length > float(action.duration_max.value):
        mask = mask | c.bits(asks, Code.DURATION_LONG.bit)
    if isinstance(action.interval_min, Bound):
        close = now - history.last < float(action.interval_min.value) - CLOCK
        mask = mask | c.bits(asks & close, Code.INTERVAL_SHORT.bit)
    target = amount

    def capped(cap: Real, room: float, code: Code, where: Flag | None = None) -> None:
        nonlocal mask, target
        over = amount > (cap + room if room else cap)
        over = over if where is None else where & over
        mask, target = mask | c.bits(over, code.bit), c.where(over, target.least(cap), target)

    def limited(name: str, room: float, code: Code, already: Real | None = None, by_one: float = 1.0) -> None:
        if name in column.free:
            return
        cap = own[name]
        if already is not None:
            cap = (cap - already).most(0.0)
            cap = cap / by_one if by_one != 1.0 else cap
        capped(cap, room, code)

    limited("single", 0.0, Code.SINGLE_MAX)
    limited("single per kg", slack, Code.SINGLE_MAX_PER_KG)
    by_one = 1.0
    if column.kind is Kind.RATE:
        by_one = length * column.hours
    else:
        limited("infusion", slack, Code.INFUSION_RATE_MAX)
        limited("infusion per kg", slack, Code.INFUSION_RATE_MAX_PER_KG)
    if by_one > 0.0:
        for w, already in enumerate(history.rolling):
            limited(f"total {w}", slack, Code.ROLLING_MAX, already, by_one)
            limited(f"total per kg {w}", slack, Code.ROLLING_MAX_PER_KG, already, by_one)
        limited("course", slack, Code.COURSE_MAX, history.course, by_one)
        limited("course per kg", slack, Code.COURSE_MAX_PER_KG, history.course, by_one)
    factor = float(action.increase_factor.value)
    if factor < INF:
        cap = factor * history.newest_amount.most(float(action.increase_base.value))
        capped(cap, slack, Code.INCREASE_MAX, history.newest > -INF)
    for f, (nothing, given) in enumerate(projections):
        row = limits.projected[f]
        capped(of, slack, Code.PROJECTION_BEYOND, sound[f])
        steep, high = float(row.steepness.value), own[f"high {f}"]
        if f"high {f}" not in column.free:
            capped(_most(c, of, nothing, given, high, steep), slack, Code.PROJECTION_HIGH, sound[f] & (given > high))
        if isinstance(row.low, Bound):
            low = float(row.low.value)
            cap = _most(c, of, -nothing, -given, c.real(-low), steep)
            capped(cap, slack, Code.PROJECTION_LOW, sound[f] & (given < low))
    over = blind.has(-1) & (amount > own["blind"])
    mask, target = mask | c.pick(over, blind, c.bits(c.never, 0)), c.where(over, target.least(own["blind"]), target)
    capped(own["unpredicted"], 0.0, Code.PREDICTION_MISSING, unpredicted)

    refused = mask.has((1 << FIRST_LOWERING) - 1)
    steps = target / increment
    whole = abs(steps - (steps + 0.5).floor()) <= WHOLE
    rounded = c.where(whole, target, steps.floor() * increment)
    passes = ~refused & finite
    mask = mask | c.bits(passes & (rounded < target), Code.INCREMENT.bit)
    small = passes & (target > 0.0) & (rounded < float(action.minimum.value) - slack)
    mask = mask | c.bits(small, Code.MINIMUM.bit)
    rounded = c.where(small, 0.0, rounded)
    # as the plain guard hands back what was asked, a zero keeps its sign
    final = c.where(refused, 0.0, rounded)
    final = c.where(final.equals(amount), amount, final)
    return c.where(finite, final, 0.0), c.pick(finite, mask, early)
