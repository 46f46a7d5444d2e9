"""Glucose in type 1 diabetes: insulin by a pump, decided at every reading of a sensor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..safety import Kind, Limits, OwnLimits
from ._glucose_limits import GROUPS, glucose_limits_of_many
from .closed_loop import Actuator, Band, LoopTherapy, Measured
from .monitor import GlucoseMonitor

CLASSES = ("child", "teen", "adult", "resistant")
FIRST = (2, 1, 0)  # of the covariate ``group``: 0 adult, 1 adolescent, 2 child
LARGE_MEAL = 1.5  # g/kg, our own: the meal whose usual bolus a class has to allow


def classes(known: Mapping[str, np.ndarray]) -> list[str]:
    """The limits' age class of each patient: that of the age, or the next that allows the programmed basal rate and the
    usual bolus of a large meal (``largest_meal`` g where it is known). At the bedside the prescriber sets it."""
    meal = known.get("largest_meal", LARGE_MEAL * np.asarray(known["weight"], dtype=float))
    bolus = np.asarray(meal, dtype=float) / known["carb_ratio"]
    chosen = []
    for group, basal, most in zip(known["group"], known["basal"], bolus):
        fits = [c for c in CLASSES[FIRST[int(group)] :] if GROUPS[c][0] >= most and GROUPS[c][1] >= basal]
        chosen.append(fits[0] if fits else CLASSES[-1])
    return chosen


def _limits(known: Mapping[str, np.ndarray]) -> Mapping[str, tuple[Limits, Mapping[Kind, OwnLimits]]]:
    return {"sc": glucose_limits_of_many(classes(known), np.asarray(known["basal"], dtype=float))}


THERAPY = LoopTherapy(
    id="glucose",
    drug="insulin",
    title="Glucose in type 1 diabetes, hybrid closed loop",
    purpose="Simulation and research of automated insulin delivery in type 1 diabetes, meals announced or not. Not "
    "for dosing people: automated insulin dosing is a regulated function (US: 21 CFR 862.1356).",
    model_ids=("glucose_t1d_uvapadova2008", "glucose_t1d_hovorka2004"),
    interval=5.0,
    horizon=300.0,
    actuators=(
        Actuator("basal", "sc", Kind.RATE, "U/h", 1 / 60),
        Actuator("bolus", "sc", Kind.DOSE, "U", 1.0),
    ),
    output="glucose",
    sensor="sensor",
    measured=(Measured("glucose"),),
    unit="mg/dL",
    band=Band(
        70.0,
        180.0,
        120.0,
        "mg/dL",
        "70-180 mg/dL: consensus on time in range (Battelino 2019, Diabetes Care 42:1593); the target is our choice",
    ),
    known={
        "weight": "kg",
        "basal": "U/h",
        "carb_ratio": "g/U",
        "correction": "mg/dL/U",
        "group": "0 adult, 1 teen, 2 child",
    },
    limits_of_many=_limits,
    monitor=GlucoseMonitor,
    sources="sensors sample every 5 min (Dexcom G6); insulin acts for 5 h and more",
)
