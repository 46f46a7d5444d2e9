"""Vancomycin in adults: Thomson and others 2009, two compartments.

The paper's full text was not seen; Table 2 is taken as transcribed by five (PKPDsim, nlmixr2lib and others). The table
labels Q as 1/h but defines it as a clearance: L/h, as two transcribers noticed independently.
"""

from __future__ import annotations

from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Residual, Route, State
from ..pkpd.ops import const, exp, maximum
from ..pkpd.physiology import cockcroft_gault

TABLE = "Thomson 2009 Table 2 (as transcribed by five, PKPDsim and nlmixr2lib among them; full text not seen)"
SQUARE = "variance CV^2, as everyone who had the table reads it"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """CL linear in creatinine clearance; both volumes in proportion to weight."""
    # the paper sets creatinine below 60 umol/L to 60; 113.12 g/mol makes that 0.68 mg/dL
    scr = maximum(cov.scr, const(0.68, "mg/dL"))
    crcl = cockcroft_gault(cov.age, cov.weight, cov.sex, scr)
    # the line reaches 0 at 1.06 mL/min and patients began at 12: below 5 mL/min CL stays at its value there (6 %)
    renal = maximum(1 + theta.cl_crcl * (crcl - const(66, "mL/min")), 0.06)
    return {
        "cl": theta.cl * renal * exp(eta.cl),
        "v1": theta.v1 * cov.weight * exp(eta.v1),
        "q": theta.q * exp(eta.q),
        "v2": theta.v2 * cov.weight * exp(eta.v2),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Two compartments, elimination from the central one."""
    exchange = p.q / p.v1 * x.central - p.q / p.v2 * x.peripheral
    return {"central": -p.cl / p.v1 * x.central - exchange, "peripheral": exchange}


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Serum concentration."""
    return {"concentration": x.central / p.v1}


def _printed_covariates(crcl: float) -> dict[str, float]:
    return {"age": 60, "weight": 70, "sex": 0, "scr": (140 - 60) * 70 / (72 * crcl)}


MODEL = Model(
    id="vancomycin_adult_thomson2009",
    drug="vancomycin",
    title="Development and evaluation of vancomycin dosage guidelines designed to achieve new target concentrations",
    citation="Thomson AH, Staatz CE, Tobin CM, Gall M, Lovering AM. J Antimicrob Chemother 2009;63:1050-1057. "
    "doi:10.1093/jac/dkp085",
    time_unit="h",
    states=[State("central", "mg"), State("peripheral", "mg")],
    parameters=[
        Parameter("cl", 2.99, "L/h", f"{TABLE}: CL at CrCL 66 mL/min"),
        Parameter("cl_crcl", 0.0154, "min/mL", f"{TABLE}: slope; the paper's text: 15.4 % for each 10 mL/min"),
        Parameter("v1", 0.675, "L/kg", TABLE),
        Parameter("q", 2.28, "L/h", f"{TABLE}; printed as 1/h, defined as a clearance"),
        Parameter("v2", 0.732, "L/kg", TABLE),
    ],
    covariates=[
        Covariate(
            "weight", "kg", 72, 30, 200, "total weight; range not in what we read: a wide adult one", ("WT", "WEIGHT")
        ),
        Covariate("age", "year", 66, 16, 100, "range not in what we read: a wide adult one", ("AGE",)),
        Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX",)),
        Covariate(
            "scr",
            "mg/dL",
            1.12,
            0.3,
            8,
            "serum creatinine; 1.12 gives CrCL 66 mL/min; own range not in what we "
            "read: about what spans the paper's CrCL of 12-216",
            ("SCR", "CREATININE", "SCREAT"),
        ),
    ],
    effects=[
        Effect("cl", 0.27**2, f"{TABLE}: 27 %; {SQUARE}"),
        Effect("v1", 0.15**2, f"{TABLE}: 15 %; {SQUARE}"),
        Effect("q", 0.49**2, f"{TABLE}: 49 %; {SQUARE}"),
        Effect("v2", 1.30**2, f"{TABLE}: 130 %; {SQUARE} (log(1 + CV^2) would be 0.99)"),
    ],
    individual_units={"cl": "L/h", "v1": "L", "q": "L/h", "v2": "L"},
    individual=individual,
    rhs=rhs,
    outputs=[
        Output(
            "concentration",
            "mg/L",
            Residual(additive=1.6, proportional=0.15, source=f"{TABLE}: 15 % and 1.6 mg/L; variances add"),
            low=0.0,
            high=200.0,
        )
    ],
    outputs_of=outputs,
    routes=[Route("iv", "central")],
    printed=[
        Printed("CL at CrCL 66 mL/min, L/h", 2.99, 3, TABLE, lambda p: p.cl, _printed_covariates(66)),
        Printed(
            "rise of CL for 10 mL/min more, %",
            15.4,
            3,
            "Thomson 2009 text (as transcribed): 15.4 % per 10 mL/min",
            lambda p: 100 * (p.cl / 2.99 - 1),
            _printed_covariates(76),
        ),
        Printed(
            "steady-state volume, L/kg",
            1.4,
            2,
            "Thomson 2009 text (as transcribed by two): 1.4 L/kg",
            lambda p: (p.v1 + p.v2) / 70,
            _printed_covariates(66),
        ),
    ],
    notes="n = 398, 1557 levels; CrCL 12-216 mL/min, renal replacement excluded; CrCL is not capped. A "
    "covariance of CL and "
    "V1 of 0.01 stands in InsightRX's files only and is left out.",
)
