"""Faults of what is known about the patient: weight, record, readings and predictions."""

from __future__ import annotations

import math

from .asked import Context, Measurement, Prediction
from .limits import Limits
from .parts import Bound, MeasurementLimits
from .reasons import Code, Reason
from .values import CLOCK, fault, hours, number, pair

__all__ = ["Blind", "check_measurements", "check_predictions", "check_record", "weight_of"]

# What the guard is blind to: the code, and the fact in words.
Blind = list[tuple[Code, str]]


def _outside(value: float, low: Bound, high: Bound) -> tuple[Bound, str] | None:
    """The end of the range that the value is past, and on which side of it; None if it is within."""
    if value < low.value:
        return low, "under"
    if value > high.value:
        return high, "over"
    return None


def weight_of(context: Context, limits: Limits, out: list[Reason]) -> float:
    """Body weight (kg), NaN if it is not known or not believed."""
    weight = number(context.weight)
    if weight is None:
        out.append(Reason(Code.WEIGHT_INVALID, f"The body weight {fault(context.weight)}."))
        return math.nan
    if not isinstance(context.weight_unit, str) or context.weight_unit != "kg":
        sentence = f"The body weight is in {context.weight_unit!r}; it is wanted in kg."
        out.append(Reason(Code.WEIGHT_UNIT_WRONG, sentence))
        return math.nan
    outside = _outside(weight, limits.weight.low, limits.weight.high)
    if outside is not None:
        bound, side = outside
        shown, edge = pair(weight, bound.value)
        sentence = f"The body weight of {shown} kg is {side} the {edge} kg that {limits.therapy} is meant for."
        out.append(Reason(Code.WEIGHT_OUT_OF_RANGE, sentence, bound.source))
    return weight


def check_record(context: Context, limits: Limits, now: float, out: list[Reason]) -> None:
    """Report a record that is stale, or newer than now."""
    time = number(context.record_time)
    if time is None:
        sentence = f"The time of the newest entry in the record {fault(context.record_time)}."
        out.append(Reason(Code.RECORD_TIME_INVALID, sentence))
        return
    bound = limits.record_age_max
    if time > now:
        ahead, _ = hours(time - now, math.inf)
        out.append(Reason(Code.RECORD_IN_FUTURE, f"The newest entry in the record is {ahead} in the future."))
    elif now - time > bound.value + CLOCK:
        age, most = hours(now - time, bound.value)
        sentence = f"The newest entry in the record is {age} old; {most} is the oldest to act on."
        out.append(Reason(Code.RECORD_STALE, sentence, bound.source))


def check_measurements(context: Context, limits: Limits, now: float, out: list[Reason]) -> Blind:
    """Report every reading at fault; the measurements that are missing or stale are handed back."""
    rows = limits.measured
    blind: Blind = []
    fresh: set[str] = set()
    readings = context.measurements
    if not isinstance(readings, tuple | list):
        out.append(Reason(Code.MEASUREMENT_INVALID, "The list of measurements cannot be read."))
        readings = ()
    for reading in readings:
        if not isinstance(reading, Measurement):
            out.append(Reason(Code.MEASUREMENT_INVALID, f"A measurement {fault(reading)}."))
            continue
        name = reading.name
        row = next((row for row in rows if isinstance(name, str) and row.name == name), None)
        if row is None:
            out.append(Reason(Code.MEASUREMENT_UNKNOWN, f"{limits.therapy} knows no measurement {name!r}."))
            continue
        fresh.add(name)
        value, time = number(reading.value), number(reading.time)
        if value is None or time is None:
            why = fault(reading.value) if value is None else f"has a time that {fault(reading.time)}"
            out.append(Reason(Code.MEASUREMENT_INVALID, f"The {name} reading {why}."))
            continue
        if not isinstance(reading.unit, str) or reading.unit != row.unit:
            sentence = f"The {name} reading is in {reading.unit!r}; it is wanted in {row.unit}."
            out.append(Reason(Code.MEASUREMENT_UNIT_WRONG, sentence))
            continue
        outside = _outside(value, row.low, row.high)
        if outside is not None:
            real, side = outside
            shown, edge = pair(value, real.value)
            sentence = f"The {name} reading of {shown} {row.unit} is {side} {edge} {row.unit} and cannot be real."
            out.append(Reason(Code.MEASUREMENT_OUT_OF_RANGE, sentence, real.source))
        else:
            _stop(value, row, out)
        if time > now:
            ahead, _ = hours(time - now, math.inf)
            out.append(Reason(Code.MEASUREMENT_IN_FUTURE, f"The {name} reading is {ahead} in the future."))
        elif now - time > row.age_max.value + CLOCK:
            age, most = hours(now - time, row.age_max.value)
            blind.append((Code.MEASUREMENT_STALE, f"the {name} reading is {age} old, over {most}"))
    blind += [(Code.MEASUREMENT_MISSING, f"there is no {row.name} reading") for row in rows if row.name not in fresh]
    return blind


def _stop(value: float, row: MeasurementLimits, out: list[Reason]) -> None:
    if value > row.stop_above.value:
        stop, side = row.stop_above, "over"
    elif isinstance(row.stop_below, Bound) and value < row.stop_below.value:
        stop, side = row.stop_below, "under"
    else:
        return
    shown, edge = pair(value, stop.value)
    sentence = f"The {row.name} reading of {shown} {row.unit} is {side} {edge} {row.unit}, which stops the drug."
    out.append(Reason(Code.MEASUREMENT_STOP, sentence, stop.source))


def check_predictions(context: Context, limits: Limits, out: list[Reason]) -> Blind:
    """Report every prediction at fault or above its limit; the harms without a prediction are handed back."""
    rows = limits.predicted
    blind: Blind = []
    seen: set[str] = set()
    predictions = context.predictions
    if not isinstance(predictions, tuple | list):
        out.append(Reason(Code.PREDICTION_INVALID, "The list of predictions cannot be read."))
        predictions = ()
    for prediction in predictions:
        if not isinstance(prediction, Prediction):
            out.append(Reason(Code.PREDICTION_INVALID, f"A prediction {fault(prediction)}."))
            continue
        harm = prediction.harm
        row = next((row for row in rows if isinstance(harm, str) and row.name == harm), None)
        if row is None:
            out.append(Reason(Code.PREDICTION_UNKNOWN, f"{limits.therapy} knows no harm called {harm!r}."))
            continue
        seen.add(harm)
        probability = number(prediction.probability)
        bound = row.probability_max
        if probability is None:
            why = fault(prediction.probability)
            out.append(Reason(Code.PREDICTION_INVALID, f"The predicted probability of {harm} {why}."))
        elif not 0.0 <= probability <= 1.0:
            sentence = f"The predicted probability of {harm} is {probability:g}, not between 0 and 1."
            out.append(Reason(Code.PREDICTION_INVALID, sentence))
        elif probability > bound.value:
            shown, most = pair(100.0 * probability, 100.0 * bound.value)
            sentence = f"The predicted probability of {harm} is {shown} %, over the {most} % that is accepted."
            out.append(Reason(Code.HARM_LIKELY, sentence, bound.source))
    blind += [
        (Code.PREDICTION_MISSING, f"there is no prediction of {row.name}") for row in rows if row.name not in seen
    ]
    return blind
