"""Remifentanil in adults: Minto and others 1997, three compartments and an effect site.

The numbers are the paper's as many implementations give them (abstract read; full text not seen). Its effect is the
spectral edge frequency, not BIS: concentrations only.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Route
from ..pkpd.ops import const, exp, maximum
from ..pkpd.physiology import lean_body_mass_james
from ._three_compartments import AMOUNTS_REMIFENTANIL, CLEARANCES, VOLUMES, flow

TABLE = "Minto 1997 complex model (as transcribed by many; full text not seen)"
LOG = "variance log(1 + CV^2): the simulated CV is then the printed one"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """All by age; V1, V2 and CL by lean body mass (James) too."""
    older = cov.age - const(40.0, "year")
    # Ours: James's formula falls to 0 and below in extreme obesity, and V1 with it; nobody's lean mass is below 20 kg
    lean = maximum(lean_body_mass_james(cov.weight, cov.height, cov.sex), const(20.0, "kg")) - const(55.0, "kg")
    return {
        "v1": (theta.v1 + theta.v1_age * older + theta.v1_lean * lean) * exp(eta.v1),
        "v2": (theta.v2 + theta.v2_age * older + theta.v2_lean * lean) * exp(eta.v2),
        "v3": theta.v3 * exp(eta.v3),
        "cl": (theta.cl + theta.cl_age * older + theta.cl_lean * lean) * exp(eta.cl),
        "q2": (theta.q2 + theta.q2_age * older) * exp(eta.q2),
        "q3": (theta.q3 + theta.q3_age * older) * exp(eta.q3),
        "ke0": (theta.ke0 + theta.ke0_age * older) * exp(eta.ke0),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and the effect site."""
    return flow(x, p)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Blood and effect-site concentration."""
    return {"cp": x.central / p.v1, "ce": x.effect}


REFERENCE = {"age": 35, "weight": 70, "height": 170, "sex": 0}
PRINTED = {"v1": 5.22193, "v2": 10.2576, "v3": 5.42, "cl": 2.68668, "q2": 2.2005, "q3": 0.08165, "ke0": 0.63}
DIGITS = {"v1": 6, "v2": 6, "v3": 3, "cl": 6, "q2": 5, "q3": 4, "ke0": 2}

COVARIATES = (
    Covariate("age", "year", 40, 20, 85, "Minto 1997 abstract: 20-85 years", ("AGE",)),
    Covariate(
        "weight", "kg", 70, 45, 106, "adults of Eleveld 2017's data, these among them: to 106 kg", ("WT", "WEIGHT")
    ),
    Covariate(
        "height", "cm", 170, 150, 193, "adults of Eleveld 2017's data, these among them: to 193 cm", ("HT", "HEIGHT")
    ),
    Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX", "M1F2")),
)

CVS = {"v1": 0.26, "v2": 0.29, "v3": 0.66, "cl": 0.14, "q2": 0.36, "q3": 0.41, "ke0": 0.68}
EFFECTS = tuple(Effect(n, math.log1p(cv**2), f"{TABLE}: {100 * cv:.0f} %CV; {LOG}") for n, cv in CVS.items())

PARAMETERS = (
    Parameter("v1", 5.1, "L", f"{TABLE}: at 40 years, lean body mass 55 kg"),
    Parameter("v1_age", -0.0201, "L/year", TABLE),
    Parameter("v1_lean", 0.072, "L/kg", TABLE),
    Parameter("v2", 9.82, "L", f"{TABLE}: at 40 years, lean body mass 55 kg"),
    Parameter("v2_age", -0.0811, "L/year", TABLE),
    Parameter("v2_lean", 0.108, "L/kg", TABLE),
    Parameter("v3", 5.42, "L", TABLE),
    Parameter("cl", 2.6, "L/min", f"{TABLE}: at 40 years, lean body mass 55 kg"),
    Parameter("cl_age", -0.0162, "L/min/year", TABLE),
    Parameter("cl_lean", 0.0191, "L/min/kg", TABLE),
    Parameter("q2", 2.05, "L/min", f"{TABLE}: at 40 years"),
    Parameter("q2_age", -0.0301, "L/min/year", TABLE),
    Parameter("q3", 0.076, "L/min", f"{TABLE}: at 40 years"),
    Parameter("q3_age", -0.00113, "L/min/year", TABLE),
    Parameter("ke0", 0.595, "1/min", f"{TABLE}: at 40 years"),
    Parameter("ke0_age", -0.007, "1/min/year", TABLE),
)

INDIVIDUAL_UNITS = {**VOLUMES, **CLEARANCES, "ke0": "1/min"}

MODEL = Model(
    id="remifentanil_adult_minto1997",
    drug="remifentanil",
    title="Influence of age and gender on the pharmacokinetics and pharmacodynamics of remifentanil",
    citation="Minto CF, Schnider TW, Egan TD, and others. Anesthesiology 1997;86:10-23. "
    "doi:10.1097/00000542-199701000-00004",
    time_unit="min",
    states=AMOUNTS_REMIFENTANIL,
    parameters=PARAMETERS,
    covariates=COVARIATES,
    effects=EFFECTS,
    individual_units=INDIVIDUAL_UNITS,
    individual=individual,
    rhs=rhs,
    outputs=[Output("cp", "ng/mL", high=50.0), Output("ce", "ng/mL", high=50.0)],
    outputs_of=outputs,
    routes=[Route("remifentanil", "central")],
    printed=[
        Printed(f"{n}, 35 years, 70 kg, 170 cm, male", v, DIGITS[n], f"{TABLE}, worked", attrgetter(n), REFERENCE)
        for n, v in PRINTED.items()
    ],
    notes="65 adults. Lean body mass is not taken below 20 kg (ours; it does not come into play in the paper's range).",
)
