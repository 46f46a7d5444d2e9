"""Propofol in adults: Schnider and others 1998 (kinetics) and 1999 (effect-site rate constant).

Concentrations only: the 1999 paper's effect is a canonical EEG variable, not BIS. The numbers are the papers' as many
implementations give them; the full texts were not seen.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Route
from ..pkpd.ops import const, exp
from ..pkpd.physiology import lean_body_mass_james
from ._three_compartments import AMOUNTS_PROPOFOL, CLEARANCES, VOLUMES, flow

TABLE = "Schnider 1998 final model (as transcribed by many; full text not seen)"
SECOND = "Schnider 1999 (as transcribed by many; full text not seen)"
LOG = "variance log(1 + CV^2): the simulated CV is then the printed one"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """V2 and Q2 by age, CL by weight, lean body mass (James) and height."""
    older = cov.age - const(53.0, "year")
    lean = lean_body_mass_james(cov.weight, cov.height, cov.sex) - const(59.0, "kg")
    cl = theta.cl + theta.cl_weight * (cov.weight - const(77.0, "kg")) + theta.cl_lean * lean
    return {
        "v1": theta.v1 * exp(eta.v1),
        "v2": theta.v2 + theta.v2_age * older,
        "v3": theta.v3 * exp(eta.v3),
        "cl": (cl + theta.cl_height * (cov.height - const(177.0, "cm"))) * exp(eta.cl),
        "q2": theta.q2 + theta.q2_age * older,
        "q3": theta.q3 * exp(eta.q3),
        "ke0": theta.ke0,
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and the effect site."""
    return flow(x, p)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Plasma and effect-site concentration."""
    return {"cp": x.central / p.v1, "ce": x.effect}


REFERENCE = {"age": 35, "weight": 70, "height": 170, "sex": 0}
PRINTED = {"v1": 4.27, "v2": 25.938, "v3": 238, "cl": 1.63813, "q2": 1.722, "q3": 0.836, "ke0": 0.456}
DIGITS = {"v1": 3, "v2": 5, "v3": 3, "cl": 6, "q2": 4, "q3": 3, "ke0": 3}

COVARIATES = (
    Covariate("age", "year", 53, 26, 81, "Schnider 1998: 26-81 years", ("AGE",)),
    Covariate("weight", "kg", 77, 44, 123, "Schnider 1998: 44.4-122.7 kg", ("WT", "WEIGHT", "WGT")),
    Covariate("height", "cm", 177, 155, 196, "Schnider 1998: 155-196 cm", ("HT", "HEIGHT", "HGT")),
    Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX", "M1F2")),
)

EFFECTS = (
    Effect("v1", math.log1p(0.0404**2), f"{TABLE}: 4.04 %CV; {LOG}"),
    Effect("v3", math.log1p(0.1435**2), f"{TABLE}: 14.35 %CV; {LOG}"),
    Effect("cl", math.log1p(0.1005**2), f"{TABLE}: 10.05 %CV; {LOG}"),
    Effect("q3", math.log1p(0.1179**2), f"{TABLE}: 11.79 %CV; {LOG}"),
)

PARAMETERS = (
    Parameter("v1", 4.27, "L", TABLE),
    Parameter("v2", 18.9, "L", f"{TABLE}: at 53 years"),
    Parameter("v2_age", -0.391, "L/year", TABLE),
    Parameter("v3", 238, "L", TABLE),
    Parameter("cl", 1.89, "L/min", f"{TABLE}: at 77 kg, lean body mass 59 kg, 177 cm"),
    Parameter("cl_weight", 0.0456, "L/min/kg", TABLE),
    Parameter("cl_lean", -0.0681, "L/min/kg", TABLE),
    Parameter("cl_height", 0.0264, "L/min/cm", TABLE),
    Parameter("q2", 1.29, "L/min", f"{TABLE}: at 53 years"),
    Parameter("q2_age", -0.024, "L/min/year", TABLE),
    Parameter("q3", 0.836, "L/min", TABLE),
    Parameter("ke0", 0.456, "1/min", SECOND),
)

INDIVIDUAL_UNITS = {**VOLUMES, **CLEARANCES, "ke0": "1/min"}

MODEL = Model(
    id="propofol_adult_schnider1998",
    drug="propofol",
    title="The influence of method of administration and covariates on the pharmacokinetics of propofol in adult "
    "volunteers",
    citation="Schnider TW, Minto CF, Gambus PL, and others. Anesthesiology 1998;88:1170-1182; ke0 from the same "
    "authors, The influence of age on propofol pharmacodynamics, Anesthesiology 1999;90:1502-1516",
    time_unit="min",
    states=AMOUNTS_PROPOFOL,
    parameters=PARAMETERS,
    covariates=COVARIATES,
    effects=EFFECTS,
    individual_units=INDIVIDUAL_UNITS,
    individual=individual,
    rhs=rhs,
    outputs=[Output("cp", "ug/mL", high=20.0), Output("ce", "ug/mL", high=20.0)],
    outputs_of=outputs,
    routes=[Route("propofol", "central")],
    printed=[
        Printed(f"{n}, 35 years, 70 kg, 170 cm, male", v, DIGITS[n], f"{TABLE}, worked", attrgetter(n), REFERENCE)
        for n, v in PRINTED.items()
    ],
    notes="24 volunteers. CL by James's lean body mass rises again in the obese, where that mass falls: not meant for "
    "them. No variability of V2, Q2 or ke0 in what we read: they have none here.",
)
