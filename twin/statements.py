"""What is followed, and how surely: statements for glucose, propofol and blood pressure, tuned on the train splits.

The numbers are the process noise and the sensor's error as the estimator takes them; how they were chosen, and what
they cover on held-out patients of the same and of the other model, stands in docs/following.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..pkpd.model import Model
from .follow import Disturbed, Follow, Process, Sensor, Wander, Watch

__all__ = [
    "BRETON",
    "CIRCULATION",
    "DEXCOM_G6",
    "PRESSURE",
    "bis_sensor",
    "follow_glucose",
    "follow_pressure",
    "follow_propofol",
]

# Continuous glucose monitors, mg/dL and min. A Dexcom G6 (Vettoretti 2019) as the critically damped process nearest to
# its two of order 2, with a slow part (calibration).
DEXCOM_G6 = Sensor(additive=1.0, coloured=(Wander(9.0, 12.5, order=2), Wander(4.0, 1440.0)), low=40.0, high=400.0)
# Breton & Kovatchev 2008 as the usual benchmark has it: an AR(1) of 0.7 each 15 min joined by splines, and so smooth.
BRETON = Sensor(additive=0.7, coloured=Wander(11.2, 14.0, order=2), low=39.0, high=600.0)
# the effects of Su 2023 that no BIS tells of, and those that a pressure does: stroke volume and heart rate act on it as
# the resistance does, by their product, and a filter of straight lines takes three for one with a spread too wide
CIRCULATION = ("sv", "tpr", "hr", "c50_tpr", "loss_tpr", "slope_hr", "slope_sv")
PRESSURE = ("tpr", "c50_tpr", "loss_tpr", "slope_hr", "slope_sv")


def follow_glucose(
    model: Model,
    interval: float = 5.0,
    *,
    announced: bool = True,
    sensor: Sensor = DEXCOM_G6,
    effects: Sequence[str] | None = None,
    late: float = 15.0,
) -> Follow:
    """Glucose in type 1 diabetes by a continuous monitor, whatever the model of the shared conventions.

    Estimated beside the states: the patient's effects; a flux of glucose that nobody announced (input ``dawn``,
    mg/kg/min); the true size of each announced meal (a factor on ``carbs``, anew with each meal); how sensitive to
    insulin the patient is at this time of this day (a factor on ``sensitivity``); the monitor's error.

    Args:
        model: inputs ``carbs``, ``dawn`` and ``sensitivity``, outputs ``sensor`` and ``glucose``.
        interval: min between samples.
        announced: whether meals are announced; else the unexplained flux is as large as a meal's.
        sensor: the monitor's error.
        effects: to estimate, default all.
        late: how late a reading may come, min.
    """
    states, inputs = model.names("states"), model.names("inputs")
    plasma, gut = ("gp", "qgut") if "gp" in states else ("q1", "d2")
    return Follow(
        model,
        interval,
        "sensor",
        sensor,
        truth="glucose",
        effects=effects,
        memory=2500.0,
        states={plasma: Process(relative=0.012), gut: Process(relative=0.06)},
        disturbed=(
            Disturbed(("dawn",), Wander(0.8, 100.0) if announced else Wander(3.5, 70.0)),
            Disturbed(("carbs", "meal") if "meal" in inputs else ("carbs",), Wander(0.2, 1e6), scale=True, onset=True),
            Disturbed(("sensitivity",), Wander(0.15, 300.0), scale=True),
        ),
        signed=("x",) if "x" in states else (),
        late=late,
    )


BIS_NOISE = Wander(4.4, 1 / (60 * 0.0622), order=2)  # as it was identified: `virtual.monitors`
STIMULATION = Wander(8.0, 10.0, start=0.5)  # BIS, min


def bis_sensor(additive: float = 1.0, coloured: Wander | None = BIS_NOISE) -> Sensor:
    """A BIS monitor with its noise.

    Readings of a signal quality below 60 are not used; the delay is the patient's own (individual parameter ``delay``)
    and 2 min · (1 - quality / 100) more.
    """
    return Sensor(additive, coloured=coloured, delay="delay", quality=60.0, quality_delay=2.0, low=0.0, high=100.0)


def follow_propofol(
    model: Model,
    interval: float = 1 / 12,
    *,
    sensor: Sensor | None = None,
    stimulation: Wander = STIMULATION,
    effects: Sequence[str] | None = None,
    late: float = 0.25,
) -> Follow:
    """BIS under propofol, by a monitor that lags and smooths.

    Estimated beside the states: the patient's effects, the stimulation of surgery (an offset of BIS), the monitor's
    noise (a critically damped process). Stimulation that may wander faster is followed sooner and leaves less to be
    learnt about the patient; the default is what held closed loops best (docs/loop.md).

    Args:
        model: output ``bis``, individual parameter ``delay``.
        interval: min between samples.
        sensor: default `bis_sensor`.
        stimulation: BIS, min.
        effects: to estimate; default all but those of other drugs and of the circulation, of which BIS says nothing.
        late: how late a reading may come, min.
    """
    if effects is None:
        others = [e for e in model.names("effects") if e.endswith("_remifentanil") or e in CIRCULATION]
        effects = [e for e in model.names("effects") if e not in others]
    return Follow(
        model,
        interval,
        "bis",
        bis_sensor() if sensor is None else sensor,
        effects=effects,
        memory=math.inf,
        offset=stimulation,
        late=late,
        longest_delay=2.0,
        watch=Watch(),
    )


def follow_pressure(
    model: Model,
    interval: float = 1 / 12,
    *,
    effects: Sequence[str] | None = None,
    late: float = 0.25,
) -> Follow:
    """Mean arterial pressure under propofol and remifentanil, by an arterial line.

    Estimated beside the states: what the patient's circulation is and how the drugs act on it; the stimulation of
    surgery (an offset of the pressure). Kinetics stay the typical patient's: a pressure cannot tell a slow clearance
    from a sensitive circulation, and only their product acts.

    Args:
        model: output ``map`` (Su 2023).
        interval: min between two calls; readings come more rarely.
        effects: to estimate; default `PRESSURE`.
        late: how late a reading may come, min.
    """
    return Follow(
        model,
        interval,
        "map",
        Sensor(additive=5.0, low=15.0, high=250.0),
        effects=PRESSURE if effects is None else effects,
        memory=math.inf,
        offset=Wander(6.0, 25.0, start=1.0),
        late=late,
        step=interval,
        watch=Watch(),
    )
