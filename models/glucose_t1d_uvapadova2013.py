"""Glucose and insulin in type 1 diabetes: the UVA/Padova model S2013 (Dalla Man 2014), S2008 with glucagon and risk.

Added to S2008, whose functions are used as they are: insulin pulls harder below fasting glucose (risk); glucagon, its
secretion, its delayed action on production, and its absorption from under the skin. The dawn rise of production (Mallad
2015) is the input ``dawn``, as in the other glucose models.

The structure is the paper's. **Its numbers for glucagon were never published**; the open re-implementation LoopInsighT1
says so and runs on placeholders of its own. These are taken where nothing better was found, and each says so.
"""

from __future__ import annotations

from typing import Any

from ..pkpd.model import Model, Parameter, Printed, Route, State
from ..pkpd.ops import const, exp, log, maximum, minimum, power
from . import glucose_t1d_uvapadova2008 as base

PAPER = "Dalla Man 2014 (JDST 8:26)"
PLACEHOLDER = f"not published; a placeholder of LoopInsighT1's for {PAPER}"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """S2008's parameters, and those of risk and glucagon (of which liver responsivity varies between people)."""
    own = ("r1", "r3", "n", "hb", "rho", "sigma", "ih", "delta", "kh", "kh1", "kh2", "kh3", "vh")
    return {
        **base.individual(theta, cov, eta),
        **{name: getattr(theta, name) for name in own},
        "xi": theta.xi * exp(eta.xi),
    }


def risk(x: Any, p: Any) -> Any:
    """10 (ln(G)^r1 - ln(Gb)^r1)^2 below fasting glucose Gb, held at its value at 60 mg/dL below that, 0 above Gb."""
    level = minimum(maximum(1 / p.vg * x.gp, const(60, "mg/dL")), p.gb)
    unit = const(1, "mg/dL")
    apart = power(log(level / unit), p.r1) - power(log(p.gb / unit), p.r1)
    return 10 * apart * apart


def glucagon(x: Any, p: Any, slope: Any) -> dict[str, Any]:
    """Secretion (static and by the fall of glucose), plasma, delayed action, and two subcutaneous compartments.

    ``slope`` is the rate of change of plasma glucose, mg/dL/min. Insulin above its basal level restrains secretion.
    """
    level, above = 1 / p.vg * x.gp, maximum(1 / p.vi * x.ip - p.ib, 0)
    # from both sides: where glucose is above Gb secretion falls, and insulin then plays no part
    lack, excess = maximum(p.gb - level, 0), maximum(level - p.gb, 0)
    wanted = maximum(p.sigma * (lack / (1 + 1 / p.ih * above) - excess) + p.n * p.hb, 0)
    given = p.kh3 * const(1000, "ng/ug") / (p.vh * p.weight) * x.hsc2
    return {
        "srh": p.rho * (wanted - x.srh),
        "h": x.srh + p.delta * maximum(-slope, 0) + given - p.n * x.h,
        "xh": p.kh * (maximum(x.h - p.hb, 0) - x.xh),
        "hsc1": -(p.kh1 + p.kh2) * x.hsc1,
        "hsc2": p.kh1 * x.hsc1 - p.kh3 * x.hsc2,
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Time derivative of every state."""
    flow = base.glucose(x, p, u, counter=p.xi * x.xh, risk=p.r3 * risk(x, p))
    return {**base.stomach(x, p, u), **base.insulin(x, p), **flow, **glucagon(x, p, 1 / p.vg * flow["gp"])}


def initial(p: Any) -> dict[str, Any]:
    """S2008's basal steady state, glucagon at its basal level."""
    return {**base.initial(p), "srh": p.n * p.hb, "h": p.hb, "xh": 0, "hsc1": 0, "hsc2": 0}


MODEL = Model(
    id="glucose_t1d_uvapadova2013",
    drug="insulin",
    title="The UVA/Padova type 1 diabetes simulator: new features",
    citation="Dalla Man C, Micheletto F, Lv D, Breton M, Kovatchev B, Cobelli C. J Diabetes Sci Technol 2014;8:26-34. "
    "doi:10.1177/1932296813514502",
    time_unit="min",
    states=[
        *base.STATES,
        State("srh", "ng/L/min", "secretion of glucagon, static"),
        State("h", "ng/L", "glucagon in plasma"),
        State("xh", "ng/L", "glucagon acting on production"),
        State("hsc1", "ug", "subcutaneous glucagon, first"),
        State("hsc2", "ug", "subcutaneous glucagon, second"),
    ],
    parameters=[
        *base.PARAMETERS,
        Parameter("r1", 1.084, "1", f"Kovatchev 2000; {PAPER} (as transcribed by LoopInsighT1)"),
        Parameter("r3", 1.509, "1", f"Kovatchev 2000; {PAPER} (as transcribed by LoopInsighT1)"),
        Parameter("n", 0.133, "1/min", "half-life 5.2 min of Lv 2013 (DTT 15:930; as quoted by LoopInsighT1)"),
        Parameter("hb", 60.0, "ng/L", f"{PAPER} Figure 5 (as read by LoopInsighT1)"),
        Parameter("rho", 0.5, "1/min", PLACEHOLDER),
        Parameter("sigma", 0.2, "ng*dL/(L*min*mg)", PLACEHOLDER),
        Parameter("ih", 6.0, "pmol/L", "the 1 beside insulin in secretion's denominator, taken as 1 mU/L; ours"),
        Parameter("delta", 0.1, "ng*dL/(L*mg)", PLACEHOLDER),
        Parameter("xi", 0.01, "mg*L/(kg*min*ng)", PLACEHOLDER),
        Parameter("kh", 0.1, "1/min", PLACEHOLDER),
        Parameter("kh1", 0.02, "1/min", PLACEHOLDER),
        Parameter("kh2", 0.02, "1/min", PLACEHOLDER),
        Parameter("kh3", 0.2, "1/min", PLACEHOLDER),
        Parameter("vh", 0.25, "L/kg", "apparent volume of glucagon, US label of GlucaGen (from memory)"),
    ],
    covariates=base.COVARIATES,
    effects=[*base.EFFECTS, base.log_sd("xi", 0.3)],
    covariances=base.COVARIANCES,
    individual_units={
        **base.UNITS,
        "r1": "1",
        "r3": "1",
        "n": "1/min",
        "hb": "ng/L",
        "rho": "1/min",
        "sigma": "ng*dL/(L*min*mg)",
        "ih": "pmol/L",
        "delta": "ng*dL/(L*mg)",
        "kh": "1/min",
        "kh1": "1/min",
        "kh2": "1/min",
        "kh3": "1/min",
        "vh": "L/kg",
        "xi": "mg*L/(kg*min*ng)",
    },
    individual=individual,
    rhs=rhs,
    initial=initial,
    inputs=base.INPUTS,
    outputs=base.OUTPUTS,
    outputs_of=base.outputs,
    routes=[Route("sc", "isc1"), Route("glucagon", "hsc1")],
    step=0.25,  # errs by 1e-3 mg/dL over a day (benchmarks/steps.py), by 2.5e-2 at 0.5
    printed=[
        *base.MODEL.printed,
        Printed("r1", 1.084, 4, PAPER, lambda p: p.r1),
        Printed("r3", 1.509, 4, PAPER, lambda p: p.r3),
        Printed("half-life of glucagon, min", 5.2, 2, "Lv 2013", lambda p: 0.693 / p.n),
    ],
    notes="Glucagon is dosed in ug by its own route. Everything else as in glucose_t1d_uvapadova2008.",
)
