"""Phenytoin: saturable (Michaelis-Menten) elimination, one compartment, oral or intravenous. A declared composite.

- Vmax, Km, the power of weight and the factors for children and Japanese patients: Grasela, Sheiner and others 1983, a
  steady-state analysis (abstract read; full text not seen).
- V: textbook value, since steady-state doses say nothing about it; it moves transients, not steady states.
- ka and residual error: a 2016 paper on fosphenytoin and oral phenytoin (its Table 2 read).

Amounts are phenytoin acid: 100 mg of phenytoin sodium are 92 mg.
"""

from __future__ import annotations

from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Residual, Route, State
from ..pkpd.ops import const, exp, power, where

ABSTRACT = "Grasela 1983, abstract"
OTHER = "Ther Drug Monit 2016;38:728-737 (PMC5113813), Table 2"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Vmax by a power of weight; Km lower in children and in Japanese patients."""
    child = where(cov.age < const(15, "year"), theta.km_child, 1.0)
    japanese = where(cov.japanese > 0.5, theta.km_japanese, 1.0)
    vmax = theta.vmax * const(1 / 24, "day/h") * power(cov.weight / const(70, "kg"), theta.vmax_weight)
    return {
        "ka": theta.ka,
        "vmax": vmax * exp(eta.vmax),
        "km": theta.km * child * japanese * exp(eta.km),
        "v": theta.v * cov.weight,
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """First-order absorption, saturable elimination."""
    absorbed = p.ka * x.depot
    concentration = x.central / p.v
    return {"depot": -absorbed, "central": absorbed - p.vmax * concentration / (p.km + concentration)}


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Serum concentration, total phenytoin."""
    return {"concentration": x.central / p.v}


EUROPEAN = {"weight": 70, "age": 40, "japanese": 0}

MODEL = Model(
    id="phenytoin_adult_grasela1983",
    drug="phenytoin",
    title="Steady-state pharmacokinetics of phenytoin from routinely collected patient data",
    citation="Grasela TH, Sheiner LB, Rambeck B, and others. Clin Pharmacokinet 1983;8:355-364; composite with "
    "Ther Drug Monit 2016;38:728-737 and a textbook volume",
    time_unit="h",
    states=[State("depot", "mg"), State("central", "mg")],
    parameters=[
        Parameter("vmax", 415, "mg/day", f"{ABSTRACT}: 415 mg/day at 70 kg"),
        Parameter("vmax_weight", 0.6, "1", f"{ABSTRACT}: power of weight/70"),
        Parameter("km", 5.7, "mg/L", f"{ABSTRACT}: 5.7 mg/L, European adults"),
        Parameter("km_child", 0.57, "1", f"{ABSTRACT}: Km 43 % lower under 15 years"),
        Parameter("km_japanese", 0.77, "1", f"{ABSTRACT}: Km 23 % lower in Japanese patients"),
        Parameter(
            "v",
            0.65,
            "L/kg",
            "textbook (Winter; Bauer; from memory, page not seen); a Saudi cohort's abstract has 0.61",
        ),
        Parameter("ka", 0.459, "1/h", f"{OTHER}: fast oral absorption"),
    ],
    covariates=[
        Covariate("weight", "kg", 70, 15, 120, "range not in the abstract: a wide one", ("WT", "WEIGHT")),
        Covariate(
            "age", "year", 40, 3, 90, "range not in the abstract, which compares under and over 15 years", ("AGE",)
        ),
        Covariate("japanese", "1", 0, 0, 1, f"{ABSTRACT}: 1 Japanese, 0 European (British, German)", ("JAPANESE",)),
    ],
    effects=[
        Effect("vmax", 0.15**2, f"{ABSTRACT}: '10-20 %'; the middle, variance CV^2 (first-order NONMEM)"),
        Effect("km", 0.50**2, f"{ABSTRACT}: 'about 50 %'; variance CV^2"),
    ],
    individual_units={"ka": "1/h", "vmax": "mg/h", "km": "mg/L", "v": "L"},
    individual=individual,
    rhs=rhs,
    outputs=[
        Output(
            "concentration",
            "mg/L",
            Residual(
                proportional=0.171,
                source=f"{OTHER}: 17.1 % (it quotes 8.6-12 % from others); the 1983 abstract prints none",
            ),
            low=0.0,
            high=100.0,
        )
    ],
    outputs_of=outputs,
    routes=[Route("oral", "depot", kinds=frozenset({"bolus"})), Route("iv", "central")],
    printed=[
        Printed("Vmax, mg/day", 415, 3, ABSTRACT, lambda p: 24 * p.vmax, EUROPEAN),
        Printed("Km, mg/L", 5.7, 2, ABSTRACT, lambda p: p.km, EUROPEAN),
        Printed(
            "steady state on 300 mg/day of acid, mg/L",
            14.87,
            4,
            "worked from the abstract: R Km / (Vmax - R)",
            lambda p: 300 * p.km / (24 * p.vmax - 300),
            EUROPEAN,
        ),
        Printed(
            "daily dose for 15 mg/L, mg",
            300.7,
            4,
            "worked from the abstract: Vmax C / (Km + C)",
            lambda p: 24 * p.vmax * 15 / (p.km + 15),
            EUROPEAN,
        ),
    ],
    notes="322 patients, 780 steady-state levels. Total concentration. The paper's doses mix salts; they "
    "are taken as acid. "
    "Do not use the 2016 paper's CV of 170 % for Km as a prior: its tails are wild.",
)
