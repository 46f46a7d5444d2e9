"""The meal as an input process: what the stomach's emptying needs to know and the integrator does not keep.

In the UVA/Padova family emptying depends on Dbar, the content of the stomach at the start of the meal plus what was
eaten since (input ``meal``, g). It is advanced here, once a tick, beside the integrator, with three numbers a patient:

    start   g in the stomach when this meal began
    eaten   g eaten since
    since   minutes since the last bite (infinite before the first)

and the model's input is ``start + eaten``. Old releases of the open simulator added mg to g in that sum.

A meal begins with the first bite after more than ``pause`` minutes without one. `PAUSE` (ours) takes a course twenty
minutes later for the same meal; `SIMGLUCOSE` is that package's rule: any minute without food ends a meal.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from typing import Any

from ..pkpd.jit import jit
from ..pkpd.model import Model

__all__ = ["FASTING", "PAUSE", "SIMGLUCOSE", "eat", "stomach_rows"]

PAUSE, SIMGLUCOSE = 20.0, 0.0  # min
FASTING = (0.0, 0.0, math.inf)  # start, eaten, since: nobody has eaten yet


def stomach_rows(model: Model) -> tuple[int, ...]:
    """Which states hold the stomach's content (mg): to be summed for `eat`; empty where the model reads no meal."""
    names = model.names("states")
    return tuple(names.index(s) for s in ("qsto1", "qsto2")) if "meal" in model.names("inputs") else ()


@jit
def eat(start: Any, eaten: Any, since: Any, carbs: Any, stomach: Any, minutes: Any, pause: Any) -> Any:
    """One tick of one patient's meal: (start, eaten, since) after it; the tick's ``meal`` input is ``start + eaten``.

    Args:
        start, eaten, since: as they stand (first `FASTING`).
        carbs: eaten over this tick, g/min.
        stomach: g in the stomach as the tick begins (sum of `stomach_rows`, over 1000).
        minutes: the tick's length.
        pause: min without food that end a meal: `PAUSE` or `SIMGLUCOSE`.
    """
    if carbs > 0.0:
        if since > pause:
            start, eaten = stomach, 0.0
        # what this tick brings counts from its beginning, as in the open simulator
        return start, eaten + carbs * minutes, 0.0
    return start, eaten, since + minutes
