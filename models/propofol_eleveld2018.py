"""Propofol from infants to the elderly: Eleveld and others 2018, three compartments, effect site, BIS.

The numbers are those of the paper's NONMEM control stream (supplement) as public code quotes it, to all its digits; the
paper's table rounds them to three. The full text was not seen.

Two readings that go wrong elsewhere. The maturation inside Q2 is not divided by its value at the reference, so that Q2
of the reference man is 1.83 L/min where theta is 1.75. And V2 and V3 inside Q2 and Q3 are the individual's, random
effects included.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Residual, Route
from ..pkpd.ops import const, exp, power, where
from ..pkpd.physiology import fat_free_mass_al_sallami
from ._bis import bis_of, monitor_delay
from ._three_compartments import AMOUNTS_PROPOFOL, CLEARANCES, VOLUMES, flow

STREAM = "Eleveld 2018, NONMEM control stream (as quoted in public code; full text not seen)"
LOG = "the paper's column is the SD of the log; this is its square, as the control stream has it"
TABLE = "Eleveld 2018 Table 3 (as transcribed; SD of the log)"


def _sigmoid(ratio: Any, hill: Any) -> Any:
    raised = power(ratio, hill)
    return raised / (raised + 1.0)


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Size by weight and fat-free mass, maturation by post-menstrual age, ageing; opioid and sampling site."""
    reference = const(35.0, "year")
    term, weeks = const(40.0, "week"), const(52.0, "week/year")
    pma, pma_ref = weeks * cov.age + term, weeks * reference + term
    size = cov.weight / const(70.0, "kg")
    ageing = cov.age - reference

    def opiate(slope: Any) -> Any:
        return where(cov.opioid > 0.5, exp(slope * cov.age), 1.0)

    def of_weight(weight: Any) -> Any:
        return weight / (weight + theta.v1_half_weight)

    ffm = fat_free_mass_al_sallami(cov.age, cov.weight, cov.height, cov.sex)
    ffm_ref = fat_free_mass_al_sallami(reference, const(70.0, "kg"), const(170.0, "cm"), 0.0)
    share = of_weight(cov.weight)
    v1 = theta.v1 * share / of_weight(const(70.0, "kg"))
    v1 = v1 * where(cov.venous > 0.5, 1.0 + theta.v1_venous * (1.0 - share), 1.0) * exp(eta.v1)
    v2 = theta.v2 * size * exp(theta.v2_ageing * ageing) * exp(eta.v2)
    v3 = theta.v3 * ffm / ffm_ref * opiate(theta.v3_opioid) * exp(eta.v3)
    maturation = _sigmoid(pma / theta.cl_half_age, theta.cl_hill) / _sigmoid(pma_ref / theta.cl_half_age, theta.cl_hill)
    cl = where(cov.sex > 0.5, theta.cl_female, theta.cl_male) * power(size, 0.75) * maturation
    q3_maturation = pma / (pma + theta.q3_half_age)
    q2 = theta.q2 * power(v2 / theta.v2, 0.75) * (1.0 + theta.q2_maturation * (1.0 - q3_maturation))
    q3 = theta.q3 * power(v3 / theta.v3, 0.75) * q3_maturation / (pma_ref / (pma_ref + theta.q3_half_age))
    ke0 = where(cov.venous > 0.5, theta.ke0_venous, theta.ke0) * power(size, -0.25)
    return {
        "v1": v1,
        "v2": v2,
        "v3": v3,
        "cl": cl * opiate(theta.cl_opioid) * exp(eta.cl),
        "q2": q2 * where(cov.venous > 0.5, theta.q2_venous, 1.0) * exp(eta.q2),
        "q3": q3 * exp(eta.q3),
        "ke0": ke0 * exp(eta.ke0),
        "ce50": theta.ce50 * exp(theta.ce50_ageing * ageing) * exp(eta.ce50),
        "e0": theta.e0,
        "gamma_low": theta.gamma_low,
        "gamma_high": theta.gamma_high,
        "delay": monitor_delay(cov.age, theta.delay_age),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and the effect site."""
    return flow(x, p)


def bis(ce: Any, p: Any) -> Any:
    """BIS: a sigmoid of the effect-site concentration, steeper below Ce50 than above it."""
    return bis_of(ce / p.ce50, where(ce < p.ce50, p.gamma_low, p.gamma_high), p.e0)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Plasma and effect-site concentration; BIS before the monitor's delay."""
    return {"cp": x.central / p.v1, "ce": x.effect, "bis": bis(x.effect, p)}


def _printed() -> list[Printed]:
    columns = ("v1", "v2", "v3", "cl", "q2", "q3")
    rows = {
        "with opioid": ({"opioid": 1}, (6.28308, 25.5013, 168.211, 1.61929, 1.83092, 0.771329)),
        "without opioid": ({"opioid": 0}, (6.28308, 25.5013, 272.817, 1.78958, 1.83092, 1.10854)),
        "venous, without opioid": (
            {"opioid": 0, "venous": 1},
            (9.17173, 25.5013, 272.817, 1.78958, 1.24594, 1.10854),
        ),
    }
    reference, source = "reference man, 35 years, 70 kg, 170 cm", "worked from the control stream, by several"
    out = []
    for what, (covariates, values) in rows.items():
        for name, value in zip(columns, values):
            out.append(Printed(f"{name}, {reference}, {what}", value, 6, source, attrgetter(name), covariates))
    table = "Eleveld 2018 Table 3 (as transcribed)"
    out += [
        Printed("ke0 arterial, 1/min", 0.146, 3, table, lambda p: p.ke0),
        Printed("ke0 venous, 1/min", 1.24, 3, table, lambda p: p.ke0, {"venous": 1}),
        Printed("Ce50, ug/mL", 3.08, 3, table, lambda p: p.ce50),
        Printed("BIS without drug", 93.0, 3, table, lambda p: p.e0),
        Printed("delay of BIS at 35 years, s: 15 + exp(0.0517 age)", 21.1, 3, table, lambda p: 60 * p.delay),
    ]
    return out


COVARIATES = (
    Covariate("age", "year", 35, 0.0, 88, "27 weeks post-menstrual to 88 years; here from term", ("AGE",)),
    Covariate("weight", "kg", 70, 0.68, 160, "Eleveld 2018: 0.68-160 kg", ("WT", "WEIGHT", "WGT")),
    Covariate("height", "cm", 170, 33, 204, "range not in what we read: a wide one", ("HT", "HEIGHT", "HGT")),
    Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX", "M1F2")),
    Covariate("opioid", "1", 1, 0, 1, "1 where an opioid is given with it ('concomitant techniques')", ("TECH",)),
    Covariate("venous", "1", 0, 0, 1, "1 where plasma samples are venous, 0 arterial", ("A1V2",)),
)

EFFECTS = (
    Effect("v1", 0.372531, f"{STREAM}: SD .610; {LOG}"),
    Effect("v2", 0.319203, f"{STREAM}: SD .565; {LOG}"),
    Effect("v3", 0.356362, f"{STREAM}: SD .597; {LOG}"),
    Effect("cl", 0.0702216, f"{STREAM}: SD .265; {LOG}"),
    Effect("q2", 0.11998, f"{STREAM}: SD .346, beside the individual's V2; {LOG}"),
    Effect("q3", 0.0436006, f"{STREAM}: SD .209, beside the individual's V3; {LOG}"),
    Effect("ce50", 0.0584127, f"{STREAM}: SD .242; {LOG}"),
    Effect("ke0", 0.492493, f"{STREAM}: SD .702; {LOG}"),
)

PARAMETERS = (
    Parameter("v1", 6.283078077, "L", f"{STREAM}: theta 1, at 70 kg"),
    Parameter("v2", 25.5013145, "L", f"{STREAM}: theta 2"),
    Parameter("v3", 272.8166615, "L", f"{STREAM}: theta 3"),
    Parameter("cl_male", 1.789583659, "L/min", f"{STREAM}: theta 4"),
    Parameter("q2", 1.750098374, "L/min", f"{STREAM}: theta 5, at full maturation"),
    Parameter("q3", 1.108542401, "L/min", f"{STREAM}: theta 6"),
    Parameter("cl_half_age", 42.27601906, "week", f"{STREAM}: theta 8, post-menstrual age at half of CL's maturation"),
    Parameter("cl_hill", 9.054845239, "1", f"{STREAM}: theta 9"),
    Parameter("v2_ageing", -0.015633, "1/year", f"{STREAM}: theta 10"),
    Parameter("cl_opioid", -0.00285709, "1/year", f"{STREAM}: theta 11, per year of age where an opioid is given"),
    Parameter("v1_half_weight", 33.55312488, "kg", f"{STREAM}: theta 12"),
    Parameter("v3_opioid", -0.0138166, "1/year", f"{STREAM}: theta 13, per year of age where an opioid is given"),
    Parameter("q3_half_age", 68.27679788, "week", f"{STREAM}: theta 14"),
    Parameter("cl_female", 2.100221888, "L/min", f"{STREAM}: theta 15"),
    Parameter("q2_maturation", 1.304268047, "1", f"{STREAM}: theta 16"),
    Parameter("v1_venous", 1.418904365, "1", f"{STREAM}: theta 17"),
    Parameter("q2_venous", 0.6805003109, "1", f"{STREAM}: theta 18"),
    Parameter("ce50", 3.0794469, "ug/mL", f"{STREAM}: PD theta, at 35 years"),
    Parameter("ce50_ageing", -0.00634837, "1/year", f"{STREAM}: PD theta"),
    Parameter("ke0", 0.146, "1/min", f"{TABLE}: arterial, at 70 kg (the control stream has 0.1463697)"),
    Parameter("ke0_venous", 1.24, "1/min", f"{STREAM}: PD theta, venous, at 70 kg"),
    Parameter("e0", 92.9824, "1", f"{STREAM}: PD theta, BIS without drug"),
    Parameter("gamma_low", 1.89390, "1", f"{STREAM}: PD theta, where Ce is below Ce50"),
    Parameter("gamma_high", 1.47362, "1", f"{STREAM}: PD theta, where Ce is above Ce50"),
    Parameter("delay_age", 0.0517399, "1/year", f"{STREAM}: PD theta, delay 15 s + exp(this times age) s"),
)

INDIVIDUAL_UNITS = {
    **VOLUMES,
    **CLEARANCES,
    "ke0": "1/min",
    "ce50": "ug/mL",
    "e0": "1",
    "gamma_low": "1",
    "gamma_high": "1",
    "delay": "min",
}

OUTPUTS = (
    Output("cp", "ug/mL", Residual(log=0.191307, source=f"{STREAM}: theta 7, SD of the log"), high=20.0),
    Output("ce", "ug/mL", high=20.0),
    Output("bis", "1", Residual(additive=8.03, source=f"{TABLE}: residual SD 8.03 BIS"), high=100.0),
)

MODEL = Model(
    id="propofol_eleveld2018",
    drug="propofol",
    title="Pharmacokinetic-pharmacodynamic model for propofol for broad application in anaesthesia and sedation",
    citation="Eleveld DJ, Colin P, Absalom AR, Struys MMRF. Br J Anaesth 2018;120:942-959. "
    "doi:10.1016/j.bja.2018.01.018",
    time_unit="min",
    states=AMOUNTS_PROPOFOL,
    parameters=PARAMETERS,
    covariates=COVARIATES,
    effects=EFFECTS,
    individual_units=INDIVIDUAL_UNITS,
    individual=individual,
    rhs=rhs,
    outputs=OUTPUTS,
    outputs_of=outputs,
    routes=[Route("propofol", "central")],
    printed=_printed(),
    notes="PK from 1,033 people, PD from 122. Residual errors vary between subjects in the paper; here they do not. "
    "Where the sampling site is venous, ke0 is too: both belong to one record of concentrations.",
)
