"""Depth of anaesthesia: propofol by a syringe pump, decided every five seconds from a BIS monitor.

This loop reads no blood pressure: its models have none, and a table that demanded one would hold every patient to the
rate without a signal. Its purpose says who watches the pressure. `loop_anaesthesia` demands it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import models
from ..safety import Kind, Limits, OwnLimits
from ._propofol_limits import propofol_limits_of_many
from .closed_loop import Actuator, Band, LoopTherapy, Measured
from .monitor import EffectSiteMonitor, Monitor


def _limits(known: Mapping[str, np.ndarray]) -> Mapping[str, tuple[Limits, Mapping[Kind, OwnLimits]]]:
    return {"propofol": propofol_limits_of_many(known["age"], known["weight"])}


def _monitor(known: Mapping[str, np.ndarray], n: int, interval: float) -> Monitor:
    return EffectSiteMonitor(models.load("propofol_eleveld2018"), known, n, interval)


THERAPY = LoopTherapy(
    id="propofol",
    drug="propofol",
    title="Depth of anaesthesia under propofol",
    purpose="Simulation and research of closed-loop anaesthesia in adults, with an anaesthetist present who watches "
    "the blood pressure, which this loop does not read, and may overrule it at any time. Not for dosing people.",
    model_ids=("propofol_eleveld2018", "propofol_adult_schnider1998"),
    interval=1 / 12,
    horizon=5.0,
    actuators=(Actuator("propofol", "propofol", Kind.RATE, "mg/min", 1.0),),
    output="bis",
    sensor="bis",
    measured=(Measured("BIS"),),
    unit="1",
    band=Band(40.0, 60.0, 50.0, "1", "BIS 40-60: general anaesthesia (manufacturer; Struys 2001, Anesthesiology 95:6)"),
    known={"age": "year", "weight": "kg", "height": "cm", "sex": "0 male, 1 female"},
    limits_of_many=_limits,
    monitor=_monitor,
    sources="closed-loop literature steps every 1 to 5 s; the peak effect of a bolus is 2 to 4 min away",
)
