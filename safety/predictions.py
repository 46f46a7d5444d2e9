"""What was predicted for the asked dose: probabilities of harm, and quantities that have to keep a bound."""

from __future__ import annotations

import math
from typing import NamedTuple

from .asked import Context, Prediction, Projection
from .limits import Limits
from .parts import Bound, ProjectionLimits
from .readings import Blind
from .reasons import Code, Reason
from .values import fault, number, pair

__all__ = ["Cap", "check_predictions", "check_projections", "most"]


class Cap(NamedTuple):
    """The most that a projection leaves: code, amount, the end of a sentence, source of the limit."""

    code: Code
    amount: float
    words: str
    source: str


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
            shown, edge = pair(100.0 * probability, 100.0 * bound.value)
            sentence = f"The predicted probability of {harm} is {shown} %, over the {edge} % that is accepted."
            out.append(Reason(Code.HARM_LIKELY, sentence, bound.source))
    blind += [
        (Code.PREDICTION_MISSING, f"there is no prediction of {row.name}") for row in rows if row.name not in seen
    ]
    return blind


def check_projections(context: Context, limits: Limits, out: list[Reason]) -> tuple[list[Cap], Blind]:
    """Report every projection at fault; what the others leave, and the quantities without one, are handed back."""
    rows = limits.projected
    caps: list[Cap] = []
    seen: set[str] = set()
    projections = context.projections
    if not isinstance(projections, tuple | list):
        out.append(Reason(Code.PREDICTION_INVALID, "The list of projections cannot be read."))
        projections = ()
    for projection in projections:
        if not isinstance(projection, Projection):
            out.append(Reason(Code.PREDICTION_INVALID, f"A projection {fault(projection)}."))
            continue
        name = projection.name
        row = next((row for row in rows if isinstance(name, str) and row.name == name), None)
        if row is None:
            out.append(Reason(Code.PREDICTION_UNKNOWN, f"{limits.therapy} has no bound on {name!r}."))
            continue
        seen.add(name)
        if not isinstance(projection.unit, str) or projection.unit != row.unit:
            sentence = f"The projected {name} is in {projection.unit!r}; it is wanted in {row.unit}."
            out.append(Reason(Code.PREDICTION_UNIT_WRONG, sentence))
            continue
        caps += _caps(projection, row, out)
    blind = [(Code.PREDICTION_MISSING, f"there is no projection of {row.name}") for row in rows if row.name not in seen]
    return caps, blind


def _caps(projection: Projection, row: ProjectionLimits, out: list[Reason]) -> list[Cap]:
    """What one projection leaves; nothing if one of its numbers is at fault, which is reported."""
    name, unit = row.name, row.unit
    for value, what in (
        (projection.amount, f"The amount of the projected {name}"),
        (projection.if_nothing, f"The projected {name}, if nothing is given,"),
        (projection.if_given, f"The projected {name}, if it is given,"),
    ):
        if number(value) is None:
            out.append(Reason(Code.PREDICTION_INVALID, f"{what} {fault(value)}."))
            return []
    amount, nothing, given = float(projection.amount), float(projection.if_nothing), float(projection.if_given)
    if amount < 0.0 or not math.isfinite(given - nothing):
        why = f"is of a negative amount ({amount:g})" if amount < 0.0 else "changes by more than a number can hold"
        out.append(Reason(Code.PREDICTION_INVALID, f"The projected {name} {why}."))
        return []
    caps = [Cap(Code.PROJECTION_BEYOND, amount, f"the most that {name} was projected for", "")]
    steepness = row.steepness.value
    if given > row.high.value:
        cap = most(amount, nothing, given, row.high.value, steepness)
        shown, edge = pair(given, row.high.value)
        words = f"what keeps {name} at {edge} {unit} or less ({shown} is projected)"
        caps.append(Cap(Code.PROJECTION_HIGH, cap, words, row.high.source))
    if isinstance(row.low, Bound) and given < row.low.value:
        cap = most(amount, -nothing, -given, -row.low.value, steepness)
        shown, edge = pair(given, row.low.value)
        words = f"what keeps {name} at {edge} {unit} or more ({shown} is projected)"
        caps.append(Cap(Code.PROJECTION_LOW, cap, words, row.low.source))
    return caps


def most(amount: float, nothing: float, given: float, edge: float, steepness: float) -> float:
    """The most that keeps a quantity at or under an edge, which ``amount`` takes it over (``given > edge``).

    Infinite where giving lowers the quantity, which no smaller amount would mend; 0 where nothing keeps it.
    """
    if given < nothing:
        return math.inf
    if given == nothing:
        return 0.0
    return amount * max((edge - nothing) / (given - nothing), 0.0) / steepness
