"""Anaesthesia by two drugs: propofol and remifentanil by two syringe pumps, from a BIS monitor and an arterial line.

Both tables demand BIS and mean arterial pressure. Under 50 mmHg nothing is given; nor is remifentanil that takes the
pressure under 60 within 2 minutes, nor propofol that takes it under 55. Without a pressure of the last 6 minutes each
drug is held to its maintenance rate, and that is said. A model without pressure (Eleveld's alone) has no place in this
loop: `loop_propofol` is for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import models
from ..safety import Kind, Limits, OwnLimits
from ._propofol_limits import propofol_limits_of_many, remifentanil_limits_of_many
from .closed_loop import PRESSURE, Actuator, Band, LoopTherapy, Measured
from .monitor import EffectSiteMonitor, Monitor
from .monitor_two_drugs import TwoDrugMonitor


def _limits(known: Mapping[str, np.ndarray]) -> Mapping[str, tuple[Limits, Mapping[Kind, OwnLimits]]]:
    return {
        "propofol": propofol_limits_of_many(known["age"], known["weight"], pressure=True),
        "remifentanil": remifentanil_limits_of_many(known["age"], known["weight"], pressure=True),
    }


def _monitor(known: Mapping[str, np.ndarray], n: int, interval: float) -> Monitor:
    propofol = EffectSiteMonitor(models.load("propofol_eleveld2018"), {**known, "opioid": np.ones(n)}, n, interval)
    # its effect site is six times faster: the peak is sought twice as finely
    remifentanil = EffectSiteMonitor(models.load("remifentanil_eleveld2017"), known, n, interval, step=0.125)
    return TwoDrugMonitor((propofol, remifentanil), models.load("propofol_remifentanil_su2023"), known, n, interval)


THERAPY = LoopTherapy(
    id="anaesthesia",
    drug="propofol, remifentanil",
    title="Depth of anaesthesia and blood pressure under propofol and remifentanil",
    purpose="Simulation and research of closed-loop anaesthesia by two drugs in adults, with an anaesthetist present "
    "who treats a low blood pressure and may overrule the loop at any time. Not for dosing people.",
    model_ids=("propofol_remifentanil_su2023",),
    interval=1 / 12,
    horizon=5.0,
    actuators=(
        Actuator("propofol", "propofol", Kind.RATE, "mg/min", 1.0),
        Actuator("remifentanil", "remifentanil", Kind.RATE, "ug/min", 1.0),
    ),
    output="bis",
    sensor="bis",
    measured=(Measured("BIS"), PRESSURE),
    unit="1",
    band=Band(40.0, 60.0, 50.0, "1", "BIS 40-60: general anaesthesia (manufacturer; Struys 2001, Anesthesiology 95:6)"),
    known={"age": "year", "weight": "kg", "height": "cm", "sex": "0 male, 1 female"},
    limits_of_many=_limits,
    monitor=_monitor,
    sources="as propofol alone; pressure by an arterial line",
)
