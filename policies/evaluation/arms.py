"""The arms of an evaluation: under what the patients are met, as keywords of the environment.

``nominal`` is the environment as it is by default. ``shifted`` changes the people and what surrounds them while the
plant stays the same model. ``other`` puts another published model in the patient's place: what a controller believes,
and what a network was trained on, is then wrong in structure. ``unannounced`` (glucose) tells of no meal. ``unguarded``
is ``nominal`` without the environment's own guard of plain rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ...pkpd.errors import DoseloopError
from ...virtual.levels import Levels
from ...virtual.meals import Meals
from ...virtual.monitors import Monitor
from ...virtual.sensors import CGM
from ...virtual.surgery import Surgery

__all__ = ["ARMS", "ENVS", "Arm", "arm"]

ENVS = {
    "glucose": "doseloop/Glucose-v0",
    "propofol": "doseloop/Propofol-v0",
    "vancomycin": "doseloop/Vancomycin-v0",
    "phenobarbital": "doseloop/Phenobarbital-v0",
}


@dataclass(frozen=True)
class Arm:
    """One arm: its name, what it is in words, the environment's keywords, and whether meals are announced in it."""

    name: str
    what: str
    keywords: Mapping[str, Any]
    announced: bool = True


def _arm(name: str, what: str, announced: bool = True, **keywords: Any) -> Arm:
    return Arm(name, what, MappingProxyType({"guard": True, **keywords}), announced)


NOMINAL = _arm("nominal", "as the environment is by default")
UNGUARDED = _arm("unguarded", "nominal, without the environment's own guard", guard=False)


FEWER: Mapping[str, Any] = {"missing": 0.3, "delay": (6.0, 12.0)}  # of the laboratory's results, h

ARMS: Mapping[str, Sequence[Arm]] = {
    "doseloop/Glucose-v0": (
        NOMINAL,
        _arm(
            "shifted",
            "carbohydrate counted with an SD of the log of 0.4 (nominal 0.26), 15 % of the meals not announced, the "
            "rest up to 20 min late; dawn, daily changes of sensitivity, exercise; a Dexcom G5 that is worn (gaps, "
            "compression lows)",
            meals=Meals(error=0.4, silent=0.15, late=(0.0, 20.0)),
            life="usual",
            sensor=CGM.named("dexcom_g5", worn=True),
        ),
        _arm("other", "the patient is Hovorka 2004", model="glucose_t1d_hovorka2004"),
        _arm("unannounced", "no meal is announced", False, meals="unannounced"),
        UNGUARDED,
    ),
    "doseloop/Propofol-v0": (
        NOMINAL,
        _arm(
            "shifted",
            "stimuli 1.6 times as strong, monitor noise of SD 6.5 (nominal 4.4)",
            surgery=Surgery(scale=1.6, random=True),
            sensor=Monitor(noise=6.5),
        ),
        _arm("other", "the patient is Bouillon 2004 on Schnider 1998", model="propofol_adult_bouillon2004"),
        UNGUARDED,
    ),
    "doseloop/Vancomycin-v0": (
        NOMINAL,
        _arm(
            "shifted",
            "everybody's kidneys are injured on the way; 30 % of the levels are lost, results take 6 to 12 h",
            renal="injury",
            levels=replace(Levels.named("usual"), **FEWER),
        ),
        _arm("other", "the patient is Buelga 2005", model="vancomycin_adult_buelga2005"),
        UNGUARDED,
    ),
    "doseloop/Phenobarbital-v0": (
        NOMINAL,
        _arm(
            "shifted",
            "clearance rises by 5 % of the first day's every day; 30 % of the levels are lost, results take 6 to 12 h",
            maturation=0.05,
            levels=replace(Levels.named("usual"), **FEWER),
        ),
        UNGUARDED,
    ),
}


def arm(env: str, name: str) -> Arm:
    """An arm of an environment by name.

    Raises:
        DoseloopError: there is none; it says why where that is known.
    """
    found = {a.name: a for a in ARMS[env]}
    if name in found:
        return found[name]
    why = "; there is one published model of it here" if name == "other" else ""
    raise DoseloopError(f"{env} has no arm '{name}'{why}; there are {', '.join(found)}")
