"""Propofol and remifentanil on BIS, blood pressure and heart rate: the haemodynamics of Su and others 2023.

Total peripheral resistance, stroke volume and heart rate are made and lost; mean arterial pressure feeds back on all
three. Both drugs act from the plasma, on what is made (propofol) and on what is lost (remifentanil), and propofol
changes remifentanil's slopes. At first heart rate and stroke volume stand higher, and settle (the volunteers'
excitement).

Kinetics as in the paper: Eleveld 2018 (propofol, with opioid, arterial) and Eleveld 2017 (remifentanil); BIS is Eleveld
2018's, which does not see remifentanil. Numbers as four public implementations of the paper's control stream give them
(they agree but for one digit, see docs/models.md; full text not seen).
"""

from __future__ import annotations

from typing import Any

from ..pkpd.model import Covariance, Covariate, Effect, Model, Output, Parameter, Printed, State
from ..pkpd.ops import const, exp, log, maximum, minimum, power
from . import propofol_eleveld2018 as propofol
from . import remifentanil_eleveld2017 as remifentanil
from ._three_compartments import Given
from ._two_drugs import OUTPUTS, REMIFENTANIL, ROUTES, STATES, concentrations, flows, individuals, suffixed

TABLE = "Su 2023, control stream (as transcribed by four; full text not seen)"
ADDED = "normal and added, not log-normal"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Both drugs' kinetics; resting values and some of the drugs' effects vary between people."""
    arterial = Given(cov, opioid=1.0, venous=0.0)
    drugs = individuals(propofol.individual, remifentanil.individual, theta, arterial, eta)
    # Ours: the ageing stops at 85 years, for from 91 years on propofol would make less than nothing
    ageing = minimum(cov.age, const(85.0, "year")) - const(35.0, "year")
    slope = const(1.0, "mL/ng")
    return {
        **drugs,
        "tpr0": theta.tpr0 * exp(eta.tpr),
        "sv0": theta.sv0 * exp(eta.sv),
        "hr0": theta.hr0 * exp(eta.hr),
        "excited_sv": theta.excited_sv,
        "excited_hr": theta.excited_hr,
        "kout": theta.kout,
        "settling": theta.settling,
        "feedback": theta.feedback,
        "hr_on_sv": theta.hr_on_sv,
        "fall_tpr": theta.fall_tpr,
        "c50_tpr": theta.c50_tpr * exp(eta.c50_tpr),
        "gamma_tpr": theta.gamma_tpr,
        "fall_sv": theta.fall_sv * exp(theta.fall_sv_ageing * ageing),
        "c50_sv": theta.c50_sv,
        "loss_tpr": theta.loss_tpr - eta.loss_tpr,
        "c50_tpr_remifentanil": theta.c50_tpr_remifentanil,
        "slope_sv": theta.slope_sv + slope * eta.slope_sv,
        "slope_hr": theta.slope_hr + slope * eta.slope_hr,
        "together_tpr": theta.together_tpr,
        "together_sv": theta.together_sv,
        "together_hr": theta.together_hr,
        "c50_together_hr": theta.c50_together_hr,
    }


def circulation(x: Any, p: Any) -> tuple[Any, Any, Any]:
    """Mean arterial pressure, its ratio to the resting one, and heart rate."""
    hr, hr_rest = x.hr + x.excited_hr, p.hr0 * (1.0 + p.excited_hr)
    # floors far from life, so that no logarithm or power meets 0
    filling = maximum(1.0 - p.hr_on_sv * log(maximum(hr / hr_rest, 1e-6)), 1e-3)
    pressure = x.tpr * hr * (x.sv + x.excited_sv) * filling
    rest = p.tpr0 * hr_rest * p.sv0 * (1.0 + p.excited_sv)
    return pressure, pressure / rest, hr


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Both drugs' kinetics; turnover of resistance, stroke volume and heart rate."""
    cp, cr = x.central / p.v1, x.central_remifentanil / p.v1_remifentanil
    _, ratio, _ = circulation(x, p)
    made = p.kout * power(maximum(ratio, 1e-3), -p.feedback)

    raised = power(maximum(cp / p.c50_tpr, 1e-12), p.gamma_tpr)
    bound = cr / (p.c50_tpr_remifentanil + cr)
    of_tpr = (p.together_tpr * bound - p.fall_tpr) * raised / (1.0 + raised)
    share_sv = cp / (p.c50_sv + cp)
    slope_sv = p.slope_sv - p.together_sv * share_sv
    slope_hr = p.slope_hr - p.together_hr * cp / (p.c50_together_hr + cp)
    # what is lost does not stop altogether: the control stream's cap of 0.999 on each effect
    loss_tpr = maximum(1.0 + p.loss_tpr * bound, 1e-3)
    loss_sv, loss_hr = maximum(1.0 - slope_sv * cr, 1e-3), maximum(1.0 - slope_hr * cr, 1e-3)
    return {
        **flows(x, p),
        "tpr": made * p.tpr0 * (1.0 + of_tpr) - p.kout * x.tpr * loss_tpr,
        "sv": made * p.sv0 * (1.0 - p.fall_sv * share_sv) - p.kout * x.sv * loss_sv,
        "hr": made * p.hr0 - p.kout * x.hr * loss_hr,
        "excited_sv": -p.settling * x.excited_sv,
        "excited_hr": -p.settling * x.excited_hr,
    }


def initial(p: Any) -> dict[str, Any]:
    """No drug; at rest, excited."""
    zero = dict.fromkeys((s.name for s in STATES), 0.0)
    excited = {"excited_sv": p.sv0 * p.excited_sv, "excited_hr": p.hr0 * p.excited_hr}
    return {**zero, "tpr": p.tpr0, "sv": p.sv0, "hr": p.hr0, **excited}


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Concentrations, BIS (before the monitor's delay), mean arterial pressure, heart rate."""
    pressure, _, hr = circulation(x, p)
    return {**concentrations(x, p), "bis": propofol.bis(x.effect, p), "map": pressure, "hr": hr}


CIRCULATION = (
    Parameter("tpr0", 0.0163, "mmHg*min/mL", f"{TABLE}: theta 4, base_TPR"),
    Parameter("sv0", 82.2, "mL", f"{TABLE}: theta 2, base_SV"),
    Parameter("hr0", 56.1, "1/min", f"{TABLE}: theta 3, base_HR"),
    Parameter("kout", 0.072, "1/min", f"{TABLE}: theta 1"),
    Parameter("settling", 0.067, "1/min", f"{TABLE}: theta 5"),
    Parameter("excited_hr", 0.121, "1", f"{TABLE}: theta 6, share of hr0"),
    Parameter("excited_sv", 0.0899, "1", f"{TABLE}: theta 7, share of sv0"),
    Parameter("feedback", 0.661, "1", f"{TABLE}: theta 18; the exponent is its negative"),
    Parameter("hr_on_sv", 0.312, "1", f"{TABLE}: theta 19"),
    Parameter("c50_sv", 0.44, "ug/mL", f"{TABLE}: theta 8, propofol"),
    Parameter("c50_tpr", 3.21, "ug/mL", f"{TABLE}: theta 9, propofol"),
    Parameter("fall_sv", 0.154, "1", f"{TABLE}: theta 10, -EMAX, propofol at 35 years"),
    Parameter("fall_sv_ageing", 0.0333, "1/year", f"{TABLE}: theta 20"),
    Parameter("fall_tpr", 0.778, "1", f"{TABLE}: theta 11, -EMAX, propofol"),
    Parameter("gamma_tpr", 1.83, "1", f"{TABLE}: theta 12, propofol"),
    Parameter("c50_tpr_remifentanil", 4.59, "ng/mL", f"{TABLE}: theta 13"),
    Parameter("loss_tpr", 1.0, "1", f"{TABLE}: theta 14, -EMAX, remifentanil"),
    Parameter("slope_hr", 0.0327, "mL/ng", f"{TABLE}: theta 15, remifentanil"),
    Parameter("slope_sv", 0.0581, "mL/ng", f"{TABLE}: theta 16, remifentanil"),
    Parameter("together_hr", 0.119, "mL/ng", f"{TABLE}: -theta 21 (one has 0.0119)"),
    Parameter("c50_together_hr", 0.196, "ug/mL", f"{TABLE}: theta 22"),
    Parameter("together_tpr", 1.0, "1", f"{TABLE}: theta 23"),
    Parameter("together_sv", 0.212, "mL/ng", f"{TABLE}: -theta 24; half at c50_sv"),
)

VARIATION = (
    Effect("sv", 0.0328, f"{TABLE}: variance of the log"),
    Effect("tpr", 0.0528, f"{TABLE}: variance of the log"),
    Effect("hr", 0.0242, f"{TABLE}: variance of the log"),
    Effect("c50_tpr", 0.44, f"{TABLE}: variance of the log"),
    Effect("loss_tpr", 0.449, f"{TABLE}: variance; {ADDED}"),
    Effect("slope_hr", 0.00382, f"{TABLE}: variance; {ADDED}"),
    Effect("slope_sv", 0.00868, f"{TABLE}: variance; {ADDED}"),
)

MODEL = Model(
    id="propofol_remifentanil_su2023",
    drug="propofol, remifentanil",
    title="Pharmacodynamic mechanism-based interaction model for the haemodynamic effects of remifentanil and propofol "
    "in healthy volunteers",
    citation="Su H, Koomen JV, Eleveld DJ, Struys MMRF, Colin PJ. Br J Anaesth 2023;131:222-233. "
    "doi:10.1016/j.bja.2023.04.043",
    time_unit="min",
    states=[
        *STATES,
        State("tpr", "mmHg*min/mL", "total peripheral resistance"),
        State("sv", "mL", "stroke volume, without excitement and without the effect of heart rate"),
        State("hr", "1/min", "heart rate, without excitement"),
        State("excited_sv", "mL", "what excitement adds"),
        State("excited_hr", "1/min", "what excitement adds"),
    ],
    parameters=[*propofol.PARAMETERS, *suffixed(remifentanil.PARAMETERS), *CIRCULATION],
    covariates=[
        Covariate("age", "year", 35, 18, 70, "the volunteers: 18-70 years (from memory, page not seen)", ("AGE",)),
        Covariate("weight", "kg", 70, 40, 106, "range not in what we read: adults of Eleveld 2017", ("WT", "WEIGHT")),
        Covariate("height", "cm", 170, 150, 193, "range not in what we read: adults of Eleveld 2017", ("HT", "HEIGHT")),
        Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX", "M1F2")),
    ],
    effects=[*propofol.EFFECTS, *suffixed(remifentanil.EFFECTS), *VARIATION],
    covariances=[
        Covariance("sv", "tpr", -0.0244, TABLE),
        Covariance("tpr", "hr", -0.0233, TABLE),
        Covariance("slope_hr", "slope_sv", 0.00329, TABLE),
    ],
    individual_units={
        **propofol.INDIVIDUAL_UNITS,
        **{n + REMIFENTANIL: unit for n, unit in remifentanil.INDIVIDUAL_UNITS.items()},
        **{q.name: q.unit for q in CIRCULATION if q.name != "fall_sv_ageing"},
    },
    individual=individual,
    rhs=rhs,
    outputs=[
        *OUTPUTS,
        propofol.OUTPUTS[2],
        Output("map", "mmHg", high=250.0),
        Output("hr", "1/min", high=250.0),
    ],
    outputs_of=outputs,
    routes=ROUTES,
    initial=initial,
    step=1 / 60,
    printed=[
        Printed("excited heart rate, 1/min", 62.9, 3, f"{TABLE}, worked", lambda p: p.hr0 * (1 + p.excited_hr)),
        Printed(
            "excited mean arterial pressure, mmHg",
            91.8,
            3,
            f"{TABLE}, worked",
            lambda p: p.tpr0 * p.hr0 * (1 + p.excited_hr) * p.sv0 * (1 + p.excited_sv),
        ),
    ],
    notes="36 healthy volunteers at rest: no surgical stimulus, no norepinephrine, no blood loss. Excitement decays "
    "from time 0 on. Residual errors of pressure and heart rate were not in what we read.",
)
