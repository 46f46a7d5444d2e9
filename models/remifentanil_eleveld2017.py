"""Remifentanil from newborns to the elderly: Eleveld and others 2017, three compartments and an effect site.

Typical values read in the abstract; covariate functions and variances as the Python Anesthesia Simulator transcribes
them (full text not seen). Its effect is the spectral edge frequency, not BIS: concentrations only.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Route
from ..pkpd.ops import const, exp, power, where
from ..pkpd.physiology import fat_free_mass_al_sallami
from ._three_compartments import AMOUNTS_REMIFENTANIL, CLEARANCES, VOLUMES, flow

ABSTRACT = "Eleveld 2017, abstract: 35 years, 70 kg, male"
TEXT = "Eleveld 2017 (as transcribed by one or more; full text not seen)"
VARIANCE = "Eleveld 2017, variances (as transcribed by one; as SDs they would make the CV of CL 2 %, Minto's is 14 %)"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Size by fat-free mass, maturation by weight, ageing; CL, V2 and Q2 higher in women between 12 and 45 years."""
    ffm = fat_free_mass_al_sallami(cov.age, cov.weight, cov.height, cov.sex)
    ffm_ref = fat_free_mass_al_sallami(const(35.0, "year"), const(70.0, "kg"), const(170.0, "cm"), 0.0)
    size, older = ffm / ffm_ref, cov.age - const(35.0, "year")

    def mature(weight: Any) -> Any:
        square = weight * weight
        return square / (square + theta.half_weight * theta.half_weight)

    def sigmoid(half: Any) -> Any:
        raised = power(cov.age / half, 6)
        return raised / (raised + 1.0)

    fertile = sigmoid(const(12.0, "year")) * (1.0 - sigmoid(const(45.0, "year")))
    sex = where(cov.sex > 0.5, 1.0 + theta.women * fertile, 1.0)
    slow, middle = exp(theta.ageing_v1 * older), exp(theta.ageing_v2 * older)
    v2 = theta.v2 * size * middle * sex * exp(eta.v2)
    v3 = theta.v3 * size * exp(theta.ageing_v3 * older) * exp(theta.v3_weight * (cov.weight - const(70.0, "kg")))
    v3 = v3 * exp(eta.v3)
    maturation = mature(cov.weight) / mature(const(70.0, "kg"))
    return {
        "v1": theta.v1 * size * slow * exp(eta.v1),
        "v2": v2,
        "v3": v3,
        "cl": theta.cl * power(size, 0.75) * maturation * sex * middle * exp(eta.cl),
        "q2": theta.q2 * power(v2 / theta.v2, 0.75) * slow * sex * exp(eta.q2),
        "q3": theta.q3 * power(v3 / theta.v3, 0.75) * slow * exp(eta.q3),
        "ke0": theta.ke0 * exp(theta.ageing_ke0 * older) * exp(eta.ke0),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and the effect site."""
    return flow(x, p)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Blood and effect-site concentration."""
    return {"cp": x.central / p.v1, "ce": x.effect}


PRINTED = {"v1": 5.81, "v2": 8.82, "v3": 5.03, "cl": 2.58, "q2": 1.72, "q3": 0.124, "ke0": 1.09}

COVARIATES = (
    Covariate("age", "year", 35, 5 / 365, 85, "Eleveld 2017 abstract: 5 days to 85 years", ("AGE",)),
    Covariate("weight", "kg", 70, 2.5, 106, "Eleveld 2017 abstract: 2.5-106 kg", ("WT", "WEIGHT", "WGT")),
    Covariate("height", "cm", 170, 49, 193, "Eleveld 2017 abstract: 49-193 cm", ("HT", "HEIGHT", "HGT")),
    Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX", "M1F2")),
)

VARIANCES = {"v1": 0.104, "v2": 0.115, "v3": 0.810, "cl": 0.0197, "q2": 0.0547, "q3": 0.285, "ke0": 1.26}
EFFECTS = tuple(Effect(n, v, VARIANCE) for n, v in VARIANCES.items())

PARAMETERS = (
    *(Parameter(n, v, {**VOLUMES, **CLEARANCES, "ke0": "1/min"}[n], ABSTRACT) for n, v in PRINTED.items()),
    Parameter("half_weight", 2.88, "kg", f"{TEXT}: theta 1, weight at half of CL's maturation"),
    Parameter("ageing_v1", -0.00554, "1/year", f"{TEXT}: theta 2; V1, Q2, Q3"),
    Parameter("ageing_v2", -0.00327, "1/year", f"{TEXT}: theta 3; V2, CL"),
    Parameter("ageing_v3", -0.0315, "1/year", f"{TEXT}: theta 4"),
    Parameter("women", 0.470, "1", f"{TEXT}: theta 5; CL, V2 and Q2 of women between 12 and 45 years"),
    Parameter("v3_weight", -0.0260, "1/kg", f"{TEXT}: theta 6"),
    Parameter("ageing_ke0", -0.0289, "1/year", f"{TEXT}: PD theta 1"),
)

INDIVIDUAL_UNITS = {**VOLUMES, **CLEARANCES, "ke0": "1/min"}

MODEL = Model(
    id="remifentanil_eleveld2017",
    drug="remifentanil",
    title="An allometric model of remifentanil pharmacokinetics and pharmacodynamics",
    citation="Eleveld DJ, Proost JH, Vereecke H, and others. Anesthesiology 2017;126:1005-1018. "
    "doi:10.1097/ALN.0000000000001634",
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
    printed=[Printed(f"{n}, 35 years, 70 kg, 170 cm, male", v, 3, ABSTRACT, attrgetter(n)) for n, v in PRINTED.items()],
    notes="131 people. V2 and V3 inside Q2 and Q3 are the individual's, random effects included, as in the same "
    "authors' propofol model.",
)
