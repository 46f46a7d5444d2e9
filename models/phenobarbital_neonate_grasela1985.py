"""Phenobarbital in preterm newborns: Grasela & Donn 1985, one compartment, intravenous.

The paper's abstract was read; its full text was not seen. CL, V, the Apgar effect and both variabilities stand in the
abstract. The residual error does not: see its source.

The nlme and NONMEM books' V of 0.99 L/kg is a re-fit of the same levels without the Apgar term; it does not go with the
factor 1.13. Clearance does not mature in this model (later papers find that it does): the data end at day 16.
"""

from __future__ import annotations

import math
from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Residual, Route, State
from ..pkpd.ops import exp, where

ABSTRACT = "Grasela & Donn 1985, abstract"
FILE = "range in the 59 infants' published data (nlme's Phenobarb)"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """CL and V in proportion to birth weight; a larger V after asphyxia (5-minute Apgar below 5)."""
    asphyxia = where(cov.apgar < 5, theta.v_asphyxia, 1.0)
    return {
        "cl": theta.cl * cov.weight * exp(eta.cl),
        "v": theta.v * cov.weight * asphyxia * exp(eta.v),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """First-order elimination."""
    return {"central": -p.cl / p.v * x.central}


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Serum concentration."""
    return {"concentration": x.central / p.v}


MODEL = Model(
    id="phenobarbital_neonate_grasela1985",
    drug="phenobarbital",
    title="Neonatal population pharmacokinetics of phenobarbital derived from routine clinical data",
    citation="Grasela TH, Donn SM. Dev Pharmacol Ther 1985;8:374-383. doi:10.1159/000457062",
    time_unit="h",
    states=[State("central", "mg")],
    parameters=[
        Parameter("cl", 0.0047, "L/h/kg", f"{ABSTRACT}: clearance 0.0047 L/h/kg"),
        Parameter("v", 0.96, "L/kg", f"{ABSTRACT}: volume 0.96 L/kg (Apgar 5 or more)"),
        Parameter(
            "v_asphyxia",
            1.13,
            "1",
            f"{ABSTRACT}: V 13 % larger where the 5-minute Apgar is below 5 (rcpc transcribes 0.135, "
            "which rounds to 13 %)",
        ),
    ],
    covariates=[
        Covariate("weight", "kg", 1.52, 0.6, 3.62, f"{ABSTRACT}: birth weight 600-3620 g, mean 1520", ("WT", "WEIGHT")),
        Covariate("apgar", "1", 7, 1, 10, f"5-minute Apgar; {FILE}", ("APGAR", "APGR")),
    ],
    effects=[
        Effect("cl", 0.19**2, f"{ABSTRACT}: 19 %; first-order NONMEM of the time prints the square root of omega^2"),
        Effect("v", 0.16**2, f"{ABSTRACT}: 16 %; read as for CL"),
    ],
    individual_units={"cl": "L/h", "v": "L"},
    individual=individual,
    rhs=rhs,
    outputs=[
        Output(
            "concentration",
            "mg/L",
            Residual(
                proportional=0.115,
                source="not in the abstract. 0.115 is estimated from these infants' 155 levels: variance 0.013241 in "
                "Pharmpy's and PsN's pheno_real (NONMEM FOCEI), 0.115 in our own re-fit with the other numbers held at "
                "the paper's. rcpc transcribes 0.107 as the paper's. A check against the same infants is "
                "not independent",
            ),
            low=0.0,
            high=200.0,
        )
    ],
    outputs_of=outputs,
    routes=[Route("iv", "central")],
    printed=[
        Printed(
            "half-life, h",
            141,
            2,  # the paper's mean over infants; its own rounded CL and V give 141.6
            f"{ABSTRACT}: calculated mean half-life 141 h",
            lambda p: math.log(2) * p.v / p.cl,
        ),
        Printed(
            "V of a 1-kg infant after asphyxia, L",
            1.08,
            3,
            f"{ABSTRACT}: 0.96 L/kg increased by 13 %",
            lambda p: p.v,
            {"weight": 1.0, "apgar": 3},
        ),
        Printed("CL of a 1-kg infant, L/h", 0.0047, 2, ABSTRACT, lambda p: p.cl, {"weight": 1.0, "apgar": 3}),
    ],
    notes="Birth weight, not current weight. No effect on CL of gestational age, sex, asphyxia or duration of therapy "
    "(abstract). First 16 days of life, 0.6 to 3.6 kg.",
)
