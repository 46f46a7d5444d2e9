"""The guard for many patients at once: arrays in, allowed amounts and masks of reason codes out.

The kernel says the rules of `guard` a second time, in numbers only; the tests hold the two equal, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernel import Bounds, Numbers, Row, Table, judge
from .limits import Limits
from .parts import Bound, DoseLimits, Kind, LimitsError, RateLimits, Unlimited
from .reasons import Code
from .values import per_hour

__all__ = ["Batch", "OwnLimits", "Tables", "guard_batch", "tables_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLimits:
    """Limits of n single patients within the table of a batch; each holds together with the table's, never loosens it.

    So a batch of many patients has the table of the widest, and each patient is judged as by a table of his own, in
    which the number stands (`guard` and `guard_batch` then give the same bits). None: the patient's own is the table's.
    The first three are those of the asked action, in its unit.

    Attributes:
        maximum: (n,) largest single amount or rate.
        unmeasured_max: (n,) the most while a measurement is missing, stale, poor or not plausible.
        unpredicted_max: (n,) the most without a prediction or projection.
        total: (n, w) the most in each rolling window of the table, in its order.
        high: (n, f) the upper bound of each projection of the table, in its order.

    Raises:
        LimitsError: a number is NaN or negative, or an array is of another shape or dtype; every one is listed.
            Infinity says that the patient has no own limit.
    """

    maximum: NDArray[Any] | None = None
    unmeasured_max: NDArray[Any] | None = None
    unpredicted_max: NDArray[Any] | None = None
    total: NDArray[Any] | None = None
    high: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        found: list[str] = []
        for name, axes in _OWN.items():
            value = getattr(self, name)
            if value is None:
                continue
            array = np.array(value)
            bad = np.flatnonzero(~(array >= 0.0)) if array.dtype.kind in "fiu" else None
            if bad is None:
                found.append(f"{name}: dtype {array.dtype} where float64 is meant")
            elif array.ndim != len(axes):
                found.append(f"{name}: shape {array.shape} where ({', '.join(axes)}) is meant")
            elif bad.size:
                found.append(f"{name}: not 0 or more: {bad[:5].tolist()}")
            else:
                object.__setattr__(self, name, array.astype(np.float64))
        if found:
            raise LimitsError(*found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """n requests of one kind by one route, with what is known of each patient; the fields follow `Asked` and `Context`.

    Numbers are arrays of real dtype, NaN where a number is missing; k is the most doses any patient has, m, h and f are
    the numbers of measurements, harms and projections of the table, in its order. Units hold for the whole batch;
    history is in the table's units. `Ledger` keeps the history of many patients in this form.

    Attributes:
        kind: kind of every request.
        route: route of every request.
        unit: unit of ``amount``.
        weight_unit: unit of ``weight``.
        measurement_units: m units.
        projection_units: f units.
        amount: (n,) asked amounts or rates.
        time: (n,) when they start (h).
        duration: (n,) over how long (h).
        now: (n,) time of the decision (h).
        weight: (n,) body weight.
        record_time: (n,) newest entry of the record (h).
        given_count: (n,) integers: how many entries of the next six are filled.
        given_amount: (n, k) amounts or rates given or planned.
        given_time: (n, k) their starts (h).
        given_duration: (n, k) their durations (h).
        given_rate: (n, k) booleans: the entry is a rate.
        given_total: (n, k) booleans: the entry is a total of several (then ``given_rate`` is not read).
        given_planned: (n, k) booleans: the entry is planned, not given.
        measured: (n, m) booleans: there is a reading.
        measurement: (n, m) readings.
        measurement_time: (n, m) when they were taken (h).
        quality: (n, m) quality of their signal (%); read where the table has a least one.
        has_previous: (n, m) booleans: there is a reading before.
        previous: (n, m) the readings before.
        previous_time: (n, m) when they were taken (h).
        predicted: (n, h) booleans: there is a prediction.
        probability: (n, h) predicted probabilities.
        projected: (n, f) booleans: there is a projection.
        projected_amount: (n, f) the amount that it is of.
        if_nothing: (n, f) the quantity if nothing is given.
        if_given: (n, f) the quantity if that amount is given.
        own: limits of the single patients; None if there are none but the table's.
    """

    kind: Kind
    route: str
    unit: str
    weight_unit: str
    measurement_units: tuple[str, ...]
    projection_units: tuple[str, ...]
    amount: NDArray[Any]
    time: NDArray[Any]
    duration: NDArray[Any]
    now: NDArray[Any]
    weight: NDArray[Any]
    record_time: NDArray[Any]
    given_count: NDArray[Any]
    given_amount: NDArray[Any]
    given_time: NDArray[Any]
    given_duration: NDArray[Any]
    given_rate: NDArray[Any]
    given_total: NDArray[Any]
    given_planned: NDArray[Any]
    measured: NDArray[Any]
    measurement: NDArray[Any]
    measurement_time: NDArray[Any]
    quality: NDArray[Any]
    has_previous: NDArray[Any]
    previous: NDArray[Any]
    previous_time: NDArray[Any]
    predicted: NDArray[Any]
    probability: NDArray[Any]
    projected: NDArray[Any]
    projected_amount: NDArray[Any]
    if_nothing: NDArray[Any]
    if_given: NDArray[Any]
    own: OwnLimits | None


_FLOATS = {
    "amount": "n", "time": "n", "duration": "n", "now": "n", "weight": "n", "record_time": "n",
    "given_amount": "nk", "given_time": "nk", "given_duration": "nk",
    "measurement": "nm", "measurement_time": "nm", "quality": "nm", "previous": "nm", "previous_time": "nm",
    "probability": "nh", "projected_amount": "nf", "if_nothing": "nf", "if_given": "nf",
}  # fmt: skip
_BOOLS = {
    "given_rate": "nk", "given_total": "nk", "given_planned": "nk", "measured": "nm", "has_previous": "nm",
    "predicted": "nh", "projected": "nf",
}  # fmt: skip
_INTS = {"given_count": "n"}
_OWN = {"maximum": "n", "unmeasured_max": "n", "unpredicted_max": "n", "total": "nw", "high": "nf"}


def guard_batch(batch: Batch, limits: Limits) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Judge every request of a batch as `guard` would, each by itself.

    Args:
        batch: the requests.
        limits: the therapy's table.

    Returns:
        Allowed amounts (n,), and masks (n,) whose bit ``Code.X.bit`` is set where reason X was found. A request at
        fault is refused, and its allowed amount is 0.

    Raises:
        TypeError: an argument is of another class.
        ValueError: arrays of the wrong shape or dtype; every one is listed. A fault of the program, not of data.
    """
    if not isinstance(batch, Batch) or not isinstance(limits, Limits):
        raise TypeError(f"guard_batch wants Batch and Limits, not {type(batch).__name__} and {type(limits).__name__}")
    arrays = _arrays(batch, limits)
    n = arrays["amount"].size
    allowed, mask = np.empty(n), np.empty(n, dtype=np.int64)
    tables = tables_of(
        limits, batch.kind, batch.route, batch.unit, batch.weight_unit, batch.measurement_units, batch.projection_units
    )
    # Compiled code warns of nothing; the same code uncompiled would warn of inf times 0 where a limit is off.
    with np.errstate(all="ignore"):
        judge(Numbers(**arrays), *tables, allowed, mask)
    return allowed, mask


class Tables(NamedTuple):
    """A table of limits as `kernel.judge` reads it, for requests of one kind, route and units."""

    request_faults: int
    weight_unit_is_wrong: bool
    table: Table
    bounds: Bounds
    rows: Row


def tables_of(
    limits: Limits,
    kind: Kind,
    route: str,
    unit: str,
    weight_unit: str,
    measurement_units: Sequence[str],
    projection_units: Sequence[str],
) -> Tables:
    """A table of limits in numbers, for a loop that calls `kernel.judge` itself on arrays that it keeps.

    The arguments are fields of `Batch`; their units stand in the order of the table's rows.
    """
    faults = 0
    action = limits.action(kind, route)
    if action is None:
        faults |= Code.ACTION_UNKNOWN.bit
        # Its numbers are not read: a fault of the request comes before every limit.
        action = limits.actions[0]
    elif unit != action.unit:
        faults |= Code.UNIT_WRONG.bit
    return Tables(
        faults,
        weight_unit != "kg",
        _table(limits, action),
        _bounds(limits, projection_units),
        _rows(limits, measurement_units),
    )


def _lower_limit(limit: Bound | Unlimited) -> float:
    return limit.value if isinstance(limit, Bound) else -math.inf


def _table(limits: Limits, action: DoseLimits | RateLimits) -> Table:
    infusion = infusion_per_kg = math.inf
    if isinstance(action, DoseLimits):
        rate, rate_per_kg = action.infusion_rate_max, action.infusion_rate_max_per_kg
        infusion, infusion_per_kg = rate.value * per_hour(rate.unit), rate_per_kg.value * per_hour(rate_per_kg.unit)
    rate_unit = limits.rate_unit
    return Table(
        increment=float(action.increment.value),
        minimum=float(action.minimum.value),
        maximum=float(action.maximum.value),
        maximum_per_kg=float(action.maximum_per_kg.value),
        duration_min=float(action.duration_min.value),
        duration_max=float(action.duration_max.value),
        interval_min=float(_lower_limit(action.interval_min)),
        increase_factor=float(action.increase_factor.value),
        increase_base=float(action.increase_base.value),
        unmeasured_max=float(action.unmeasured_max.value),
        unpredicted_max=float(action.unpredicted_max.value),
        infusion_per_hour=float(infusion),
        infusion_per_hour_per_kg=float(infusion_per_kg),
        is_rate=action.kind is Kind.RATE,
        rate_hours=per_hour(rate_unit or ""),
        has_rates=rate_unit is not None,
        course_total=float(limits.course_total.value),
        course_total_per_kg=float(limits.course_total_per_kg.value),
        weight_low=float(limits.weight.low.value),
        weight_high=float(limits.weight.high.value),
        record_age_max=float(limits.record_age_max.value),
        ahead_max=float(limits.ahead_max.value),
        suspension_max=float(limits.suspension_max.value),
    )


def _column(numbers: Iterable[float]) -> NDArray[np.float64]:
    return np.array(list(numbers), dtype=np.float64)


def _bounds(limits: Limits, units: Sequence[str]) -> Bounds:
    rolling, projected = limits.rolling, limits.projected
    return Bounds(
        window=_column(x.window.value for x in rolling),
        total=_column(x.total.value for x in rolling),
        total_per_kg=_column(x.total_per_kg.value for x in rolling),
        harm=_column(x.probability_max.value for x in limits.predicted),
        high=_column(x.high.value for x in projected),
        low=_column(_lower_limit(x.low) for x in projected),
        steepness=_column(x.steepness.value for x in projected),
        projection_unit_is_wrong=np.array([unit != x.unit for unit, x in zip(units, projected)], dtype=np.bool_),
    )


def _rows(limits: Limits, units: Sequence[str]) -> Row:
    rows = limits.measured
    return Row(
        low=_column(x.low.value for x in rows),
        high=_column(x.high.value for x in rows),
        quality_min=_column(_lower_limit(x.quality_min) for x in rows),
        age_max=_column(x.age_max.value for x in rows),
        stop_below=_column(_lower_limit(x.stop_below) for x in rows),
        stop_above=_column(x.stop_above.value for x in rows),
        change_max=_column(x.change_max.value for x in rows),
        fall_max=_column(x.fall_max.value for x in rows),
        fall_below=_column(x.fall_below.value for x in rows),
        stop_age_max=_column(x.stop_age_max.value for x in rows),
        unit_is_wrong=np.array([unit != x.unit for unit, x in zip(units, rows)], dtype=np.bool_),
    )


def _arrays(batch: Batch, limits: Limits) -> dict[str, NDArray[Any]]:
    """Every array in its dtype; ValueError lists all that do not fit."""
    sizes = {
        "m": len(limits.measured),
        "h": len(limits.predicted),
        "f": len(limits.projected),
        "w": len(limits.rolling),
    }
    found: dict[str, NDArray[Any]] = {}
    problems: list[str] = []
    for names, kinds, dtype in ((_FLOATS, "fiu", np.float64), (_BOOLS, "b", np.bool_), (_INTS, "iu", np.int64)):
        for name, axes in names.items():
            array = np.asarray(getattr(batch, name))
            shape = tuple(sizes.setdefault(axis, size) for axis, size in zip(axes, array.shape))
            if array.dtype.kind not in kinds:
                problems.append(f"{name}: dtype {array.dtype} where {np.dtype(dtype).name} is meant")
            elif array.ndim != len(axes) or array.shape != shape:
                wanted = ", ".join(f"{axis}={sizes[axis]}" if axis in sizes else axis for axis in axes)
                problems.append(f"{name}: shape {array.shape} where ({wanted}) is meant")
            else:
                # Arrays of one layout only: for another, compiled code would be compiled anew.
                ready = array.flags.carray and array.dtype == dtype
                found[name] = array if ready else np.require(array, dtype, ["C", "A", "W"])
    count = found.get("given_count")
    if count is not None and "k" in sizes and not np.all((count >= 0) & (count <= sizes["k"])):
        problems.append(f"given_count: outside 0 to {sizes['k']}")
    for name, axis in (("measurement_units", "m"), ("projection_units", "f")):
        units = getattr(batch, name)
        if len(units) != sizes[axis]:
            problems.append(f"{name}: {len(units)} where {sizes[axis]} are meant")
    if problems:
        raise ValueError("\n".join(problems))
    for name, axes in _OWN.items():
        own = None if batch.own is None else getattr(batch.own, name)
        shape = tuple(sizes[axis] for axis in axes)
        array = np.full(shape, math.inf) if own is None else own
        if array.shape != shape:
            problems.append(f"own.{name}: shape {array.shape} where {shape} is meant")
        found[name] = array
    if problems:
        raise ValueError("\n".join(problems))
    return found
