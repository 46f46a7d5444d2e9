"""Vancomycin in adults with haematological malignancies: Buelga and others 2005, one compartment.

The abstract was read (CL, V and both variabilities stand in it); residual error and correlation are from Table 4, as
transcribed by PKPDsim and nlmixr2lib. Peaks were drawn 2 h or more after the infusion's end: a one-compartment model
must not be given earlier samples.
"""

from __future__ import annotations

import math
from typing import Any

from ..pkpd.model import Covariance, Covariate, Effect, Model, Output, Parameter, Printed, Residual, Route, State
from ..pkpd.ops import const, exp
from ..pkpd.physiology import cockcroft_gault

ABSTRACT = "Buelga 2005, abstract"
TABLE = "Buelga 2005 Table 4 (as transcribed by PKPDsim and nlmixr2lib)"
SQUARE = (
    "variance CV^2: the Methods treat the exponential error as first-order proportional (nlmixr2lib: log(1 + CV^2))"
)


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """CL in proportion to creatinine clearance, V to total weight."""
    crcl = cockcroft_gault(cov.age, cov.weight, cov.sex, cov.scr) * const(0.06, "L*min/(mL*h)")
    return {"cl": theta.cl * crcl * exp(eta.cl), "v": theta.v * cov.weight * exp(eta.v)}


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """First-order elimination."""
    return {"central": -p.cl / p.v * x.central}


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Serum concentration."""
    return {"concentration": x.central / p.v}


def _printed_covariates(crcl: float, weight: float) -> dict[str, float]:
    return {"age": 52, "weight": weight, "sex": 0, "scr": (140 - 52) * weight / (72 * crcl)}


MODEL = Model(
    id="vancomycin_adult_buelga2005",
    drug="vancomycin",
    title="Population pharmacokinetic analysis of vancomycin in patients with hematological malignancies",
    citation="Buelga DS, Fernandez de Gatta MM, Herrera EV, Dominguez-Gil A, Garcia MJ. Antimicrob Agents Chemother "
    "2005;49:4934-4941. PMC1315960",
    time_unit="h",
    states=[State("central", "mg")],
    parameters=[
        Parameter("cl", 1.08, "1", f"{ABSTRACT}: CL = 1.08 x CrCL, both in L/h"),
        Parameter("v", 0.98, "L/kg", f"{ABSTRACT}: V = 0.98 L/kg of total weight"),
    ],
    covariates=[
        Covariate(
            "weight",
            "kg",
            65,
            35,
            120,
            "cohort 64.7 +- 11.3 kg (as transcribed); range not in what we read: about the mean and 3 to 5 SD",
            ("WT", "WEIGHT"),
        ),
        Covariate(
            "age", "year", 52, 15, 95, "15 years or more (as transcribed); the rest a wide adult range", ("AGE",)
        ),
        Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX",)),
        Covariate(
            "scr",
            "mg/dL",
            0.88,
            0.3,
            6,
            "serum creatinine; 0.88 gives CrCL 90 mL/min (cohort 89.4 +- 39.2, as "
            "transcribed); own range not in what we read",
            ("SCR", "CREATININE", "SCREAT"),
        ),
    ],
    effects=[
        Effect("cl", 0.2816**2, f"{ABSTRACT}: 28.16 %; {SQUARE}"),
        Effect("v", 0.3715**2, f"{ABSTRACT}: 37.15 %; {SQUARE}"),
    ],
    covariances=[
        Covariance(
            "cl",
            "v",
            0.2312 * 0.2816 * 0.3715,
            f"{TABLE}: 'omega CL/V 23.12 %' read as a correlation; PKPDsim's 0.02418685 is exactly this product",
        ),
    ],
    individual_units={"cl": "L/h", "v": "L"},
    individual=individual,
    rhs=rhs,
    outputs=[
        Output("concentration", "mg/L", Residual(additive=3.52, source=f"{TABLE}: SD 3.52 mg/L"), low=0.0, high=200.0)
    ],
    outputs_of=outputs,
    routes=[Route("iv", "central")],
    printed=[
        Printed(
            "CL at CrCL 90 mL/min, L/h",
            5.832,
            4,
            f"{ABSTRACT}: 1.08 x CrCL, worked at 90 mL/min = 5.4 L/h",
            lambda p: p.cl,
            _printed_covariates(90, 65),
        ),
        Printed(
            "CrCL of 96.5 mL/min in L/h, as CL / 1.08",
            5.79,
            3,
            "Buelga 2005 Table 5 (as transcribed by one): 96.5 mL/min is 5.79 L/h",
            lambda p: p.cl / 1.08,
            _printed_covariates(96.5, 65),
        ),
        Printed(
            "V, L/kg", 0.98, 2, f"{ABSTRACT}; Table 5 repeats 0.98", lambda p: p.v / 65, _printed_covariates(90, 65)
        ),
        Printed(
            "half-life of a typical patient, h",
            7.57,
            3,
            "our own working from the abstract's numbers, 65 kg, CrCL 90",
            lambda p: math.log(2) * p.v / p.cl,
            _printed_covariates(90, 65),
        ),
    ],
    notes="n = 215, 1004 levels; intensive care excluded. Cockcroft-Gault with total weight, neither "
    "floored nor capped. "
    "A variant for acute myeloid leukaemia has 1.17 for 1.08 (abstract).",
)
