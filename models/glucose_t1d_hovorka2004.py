"""Glucose and insulin in type 1 diabetes: Hovorka 2004, with the interstitial compartment of Wilinska 2010.

Two compartments of glucose; insulin under the skin in two steps, in plasma, and three actions: on transport, disposal
and production; a meal in two steps.

- Equations and nominal kinetics: Hovorka 2004. Its insulin sensitivities are those of healthy subjects (Hovorka 2002);
  with them a typical person lives on 9 U of basal insulin a day. Taken instead: the medians and log-SDs that the McGill
  group samples virtual patients with type 1 diabetes from.
- Papers not seen: numbers as transcribed by several implementations. **One port drops VG BW from the renal term.**
"""

from __future__ import annotations

from typing import Any

from ..pkpd.model import Covariate, Effect, Input, Model, Output, Parameter, Printed, Residual, Route, State
from ..pkpd.ops import const, exp, maximum, minimum, sqrt, where

PAPER = "Hovorka 2004 (Physiol Meas 25:905) Table 1 (as transcribed by several; full text not seen)"
MCGILL = "median of the McGill group's virtual population (as transcribed; full text not seen)"
BETWEEN = "log-SD of the McGill group's virtual population (as transcribed; full text not seen)"
BOIROUX = "Boiroux 2012, Table 2.1 (as transcribed; full text not seen)"
WILINSKA = "Wilinska 2010 (JDST 4:132): rate of the interstitial compartment 0.073/min (from memory, page not seen)"
OURS = "our own choice"
GROUP = "our own: chosen so that the cohort's daily insulin per kg by age is that of ISPAD 2022 (docs/virtual.md)"

MOLAR = 180.156  # mg in a mmol of glucose


def fasting(p: Any, gb: Any) -> Any:
    """What leaves at fasting glucose gb without insulin, mmol/kg/min: brain and other tissue, and the kidney's part."""
    level = gb * const(10, "dL/L") / const(MOLAR, "mg/mmol")
    renal = const(0.003, "1/min") * maximum(level - const(9, "mmol/L"), 0) * p.vg
    return p.f01 * minimum(level / const(4.5, "mmol/L"), 1) + renal


def basal_insulin(p: Any, gb: Any) -> Any:
    """Plasma insulin (mU/L) that holds glucose at gb: the positive root of the steady state's quadratic."""
    held = p.egp0 - fasting(p, gb)
    stored = p.vg * gb * const(10, "dL/L") / const(MOLAR, "mg/mmol")
    a = p.sid * (p.egp0 * p.sie + stored * p.sit)
    b = p.egp0 * p.sie * p.k12 - held * p.sid
    return 2 * held * p.k12 / (b + sqrt(b * b + 4 * a * held * p.k12))


class _Fields:
    """Named values, as the functions above read them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Parameters by their random effects; EGP0 is what leaves without insulin plus what insulin holds back.

    So everybody needs insulin (with EGP0 and F01 drawn apart, one patient in forty would need none).
    """
    sensitivity = where(cov.group > 1.5, theta.si_child, where(cov.group > 0.5, theta.si_adolescent, 1.0))
    size = where(cov.group > 1.5, theta.egp_child, where(cov.group > 0.5, theta.egp_adolescent, 1.0))
    p: dict[str, Any] = {
        "k12": theta.k12 * exp(eta.k12),
        "ka1": theta.ka1 * exp(eta.ka1),
        "ka2": theta.ka2 * exp(eta.ka2),
        "ka3": theta.ka3 * exp(eta.ka3),
        "sit": theta.sit * sensitivity * exp(eta.sit),
        "sid": theta.sid * sensitivity * exp(eta.sid),
        "sie": theta.sie * sensitivity * exp(eta.sie),
        "ke": theta.ke * exp(eta.ke),
        "vi": theta.vi * exp(eta.vi),
        "vg": theta.vg * exp(eta.vg),
        "f01": theta.f01 * size * exp(eta.f01),
        "ag": theta.ag * exp(eta.ag),
        "tau_g": theta.tau_g * exp(eta.tau_g),
        "tau_i": theta.tau_i * exp(eta.tau_i),
        "k_ig": theta.k_ig * exp(eta.k_ig),
        "weight": cov.weight,
        "gb": theta.gb * exp(eta.gb),
    }
    p["egp0"] = fasting(_Fields(p), p["gb"]) + theta.held * size * exp(eta.held)
    insulin = basal_insulin(_Fields(p), p["gb"])
    p["basal"] = p["ke"] * p["vi"] * insulin * cov.weight * const(0.001, "U/mU") * const(60, "min/h")
    return p


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Time derivative of every state; insulin enters s1 by its route, in U."""
    volume = p.vg * p.weight
    level = 1 / volume * x.q1  # what holds only parameters stands first: it is taken out of the stages of a step
    brain = p.f01 * p.weight * minimum(1 / const(4.5, "mmol/L") * level, 1)
    renal = const(0.003, "1/min") * maximum(level - const(9, "mmol/L"), 0) * volume
    dawn = u.dawn / const(MOLAR, "mg/mmol")
    produced = (p.egp0 + dawn) * p.weight * maximum(1 - x.x3, 0)
    acting = u.sensitivity * x.i
    to, back = x.x1 * x.q1, p.k12 * x.q2
    meal, absorbed = 1 / p.tau_g, 1 / p.tau_i
    return {
        "d1": p.ag * u.carbs * const(1000, "mg/g") / const(MOLAR, "mg/mmol") - meal * x.d1,
        "d2": meal * (x.d1 - x.d2),
        "s1": -absorbed * x.s1,
        "s2": absorbed * (x.s1 - x.s2),
        "i": absorbed * const(1000, "mU/U") / (p.vi * p.weight) * x.s2 - p.ke * x.i,
        "x1": p.ka1 * (p.sit * acting - x.x1),
        "x2": p.ka2 * (p.sid * acting - x.x2),
        "x3": p.ka3 * (p.sie * acting - x.x3),
        "q1": back - to - brain - renal + meal * x.d2 + produced,
        "q2": to - back - x.x2 * x.q2,
        "c": p.k_ig * (level - x.c),
    }


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Plasma glucose, and what lies under the sensor."""
    mg = const(MOLAR, "mg/mmol") * const(0.1, "L/dL")
    return {"glucose": x.q1 / (p.vg * p.weight) * mg, "sensor": x.c * mg}


def initial(p: Any) -> dict[str, Any]:
    """Steady state on the basal rate at fasting glucose gb, nothing eaten."""
    level = p.gb * const(10, "dL/L") / const(MOLAR, "mg/mmol")
    depot = p.basal * const(1 / 60, "h/min") * p.tau_i
    i = depot / p.tau_i * const(1000, "mU/U") / (p.ke * p.vi * p.weight)
    q1 = level * p.vg * p.weight
    return {
        "d1": 0,
        "d2": 0,
        "s1": depot,
        "s2": depot,
        "i": i,
        "x1": p.sit * i,
        "x2": p.sid * i,
        "x3": p.sie * i,
        "q1": q1,
        "q2": p.sit * i * q1 / (p.k12 + p.sid * i),
        "c": level,
    }


def _log_sd(name: str, sd: float, source: str = BETWEEN) -> Effect:
    return Effect(name, sd**2, f"{sd:g}: {source}")


MODEL = Model(
    id="glucose_t1d_hovorka2004",
    drug="insulin",
    title="Nonlinear model predictive control of glucose concentration in subjects with type 1 diabetes",
    citation="Hovorka R, Canonico V, Chassin LJ, and others. Physiol Meas 2004;25:905-920; Wilinska ME and others. J "
    "Diabetes Sci Technol 2010;4:132-144",
    time_unit="min",
    states=[
        State("d1", "mmol", "carbohydrate, first"),
        State("d2", "mmol", "carbohydrate, second"),
        State("s1", "U", "subcutaneous insulin, first"),
        State("s2", "U", "subcutaneous insulin, second"),
        State("i", "mU/L", "plasma insulin"),
        State("x1", "1/min", "insulin's action on transport"),
        State("x2", "1/min", "insulin's action on disposal"),
        State("x3", "1", "insulin's action on production"),
        State("q1", "mmol", "glucose in plasma"),
        State("q2", "mmol", "glucose in the other compartment"),
        State("c", "mmol/L", "interstitial glucose"),
    ],
    parameters=[
        Parameter("k12", 0.05, "1/min", f"{MCGILL}; 0.066 in {PAPER}"),
        Parameter("ka1", 0.0035, "1/min", f"{MCGILL}; 0.006 in {PAPER}"),
        Parameter("ka2", 0.055, "1/min", f"{MCGILL}; 0.06 in {PAPER}"),
        Parameter("ka3", 0.025, "1/min", f"{MCGILL}; 0.03 in {PAPER}"),
        Parameter("sit", 18e-4, "L/(min*mU)", f"{MCGILL}; 51.2e-4 in {PAPER}"),
        Parameter("sid", 5e-4, "L/(min*mU)", f"{MCGILL}; 8.2e-4 in {PAPER}"),
        Parameter("sie", 190e-4, "L/mU", f"{MCGILL}; 520e-4 in {PAPER}"),
        Parameter("ke", 0.138, "1/min", f"{PAPER}; McGill 0.14"),
        Parameter("vi", 0.12, "L/kg", f"{PAPER}; McGill the same"),
        Parameter("vg", 0.16, "L/kg", f"{PAPER}; McGill the same"),
        Parameter("f01", 0.011, "mmol/kg/min", f"{MCGILL}; 0.0097 in {PAPER}"),
        Parameter("held", 0.006, "mmol/kg/min", f"EGP0 less F01, 17 - 11 umol/kg/min: {MCGILL}; 0.0064 in {PAPER}"),
        Parameter("ag", 0.8, "1", PAPER),
        Parameter("tau_g", 40.0, "min", PAPER),
        Parameter("tau_i", 55.0, "min", f"{PAPER}; McGill 1/0.018"),
        Parameter("k_ig", 0.073, "1/min", WILINSKA),
        Parameter("gb", 108.0, "mg/dL", f"fasting glucose that the basal rate is meant to hold, 6 mmol/L: {OURS}"),
        Parameter("si_adolescent", 0.8, "1", f"factor on the three sensitivities; {GROUP}"),
        Parameter("si_child", 1.3, "1", f"factor on the three sensitivities; {GROUP}"),
        Parameter("egp_adolescent", 1.2, "1", f"factor on EGP0 and F01; {GROUP}"),
        Parameter("egp_child", 1.6, "1", f"factor on EGP0 and F01; {GROUP}"),
    ],
    covariates=[
        Covariate("weight", "kg", 75, 15, 150, "a wide range from a child of four on; ours", ("WT", "BW", "WEIGHT")),
        Covariate("group", "1", 0, 0, 2, "0 adult, 1 adolescent (12 to 18 years), 2 child", ("GROUP",)),
    ],
    effects=[
        _log_sd("k12", 0.4),
        _log_sd("ka1", 0.4),
        _log_sd("ka2", 0.4),
        _log_sd("ka3", 0.4),
        _log_sd("sit", 0.4),
        _log_sd("sid", 0.4),
        _log_sd("sie", 0.4),
        _log_sd("ke", 0.2),
        _log_sd("vi", 0.05),
        _log_sd("vg", 0.05),
        _log_sd("f01", 0.1),
        _log_sd("held", 0.43, f"so that EGP0's log-SD is 0.2; {BETWEEN}"),
        _log_sd("ag", 0.15, f"SD of the uniform 0.7 to 1.2; {BOIROUX}"),
        _log_sd("tau_g", 0.25, BOIROUX),
        _log_sd("tau_i", 0.2),
        _log_sd("k_ig", 0.2, OURS),
        _log_sd("gb", 0.08, OURS),
    ],
    individual_units={
        "k12": "1/min",
        "ka1": "1/min",
        "ka2": "1/min",
        "ka3": "1/min",
        "sit": "L/(min*mU)",
        "sid": "L/(min*mU)",
        "sie": "L/mU",
        "ke": "1/min",
        "vi": "L/kg",
        "vg": "L/kg",
        "f01": "mmol/kg/min",
        "ag": "1",
        "tau_g": "min",
        "tau_i": "min",
        "k_ig": "1/min",
        "weight": "kg",
        "gb": "mg/dL",
        "egp0": "mmol/kg/min",
        "basal": "U/h",
    },
    individual=individual,
    rhs=rhs,
    initial=initial,
    inputs=[
        Input("carbs", "g/min", usual=0.25),
        Input("sensitivity", "1", 1.0, usual=1.1),
        Input("dawn", "mg/kg/min", usual=0.5),
    ],
    outputs=[
        Output("glucose", "mg/dL", high=1000.0),
        Output(
            "sensor",
            "mg/dL",
            Residual(
                proportional=0.113,
                source="mean absolute relative difference 9 % of a Dexcom G6 (Shah 2018; from memory) times sqrt(pi/2)",
            ),
            low=20.0,
            high=600.0,
        ),
    ],
    outputs_of=outputs,
    routes=[Route("sc", "s1")],
    step=1.0,  # errs by 2e-3 mg/dL over a day (benchmarks/steps.py)
    printed=[
        Printed("time to maximum of insulin's absorption, min", 55, 2, PAPER, lambda p: p.tau_i),
        Printed("insulin's elimination, 1/min", 0.138, 3, PAPER, lambda p: p.ke),
        Printed("EGP0, umol/kg/min", 17, 2, MCGILL, lambda p: const(1000, "1") * p.egp0),
    ],
    notes="Carbohydrate is taken as glucose, 180.156 mg/mmol; 1 U is 1000 mU. Sensitivity multiplies what drives the "
    "three actions, as in Wilinska 2010, so that it acts with their delays.",
)
