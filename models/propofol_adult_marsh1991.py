"""Propofol in adults: the three compartments of Marsh and others 1991, by weight alone.

The paper, on children, prints the adult set of Gepts 1987 as adapted for its pump. Volumes per kg, k10, k12 and k13 are
taken; k21 and k31 follow from them and round to the printed ones. Two effect-site rate constants are in use: 0.26/min
(Diprifusor) and 1.2/min ("modified Marsh", Struys 2000). Full texts were not seen.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from ..pkpd.model import Covariate, Model, Output, Parameter, Printed, Route
from ..pkpd.ops import where
from ._three_compartments import AMOUNTS_PROPOFOL, CLEARANCES, VOLUMES, flow

TABLE = "Marsh 1991, adult set (as transcribed by many; full text not seen)"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Volumes in proportion to weight; clearances from the rate constants."""
    v1 = theta.v1 * cov.weight
    return {
        "v1": v1,
        "v2": theta.v2 * cov.weight,
        "v3": theta.v3 * cov.weight,
        "cl": theta.k10 * v1,
        "q2": theta.k12 * v1,
        "q3": theta.k13 * v1,
        "ke0": where(cov.modified > 0.5, theta.ke0_modified, theta.ke0),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and the effect site."""
    return flow(x, p)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Plasma and effect-site concentration."""
    return {"cp": x.central / p.v1, "ce": x.effect}


PRINTED = {"v1": 15.96, "v2": 32.41, "v3": 202.5, "cl": 1.899, "q2": 1.788, "q3": 0.670}

MODEL = Model(
    id="propofol_adult_marsh1991",
    drug="propofol",
    title="Pharmacokinetic model driven infusion of propofol in children (its adult set)",
    citation="Marsh B, White M, Morton N, Kenny GNC. Br J Anaesth 1991;67:41-48; ke0 1.2/min: Struys MMRF, and others. "
    "Anesthesiology 2000;92:399-406",
    time_unit="min",
    states=AMOUNTS_PROPOFOL,
    parameters=[
        Parameter("v1", 0.228, "L/kg", TABLE),
        Parameter("v2", 0.463, "L/kg", TABLE),
        Parameter("v3", 2.893, "L/kg", TABLE),
        Parameter("k10", 0.119, "1/min", TABLE),
        Parameter("k12", 0.112, "1/min", TABLE),
        Parameter("k13", 0.042, "1/min", TABLE),
        Parameter("ke0", 0.26, "1/min", "Diprifusor's effect site (as transcribed by many)"),
        Parameter("ke0_modified", 1.2, "1/min", "Struys 2000 (as transcribed by many): time to peak effect 1.6 min"),
    ],
    covariates=[
        Covariate("weight", "kg", 70, 30, 150, "pumps accept 30-150 kg; the paper's range not seen", ("WT", "WEIGHT")),
        Covariate("modified", "1", 1, 0, 1, "1: ke0 1.2/min (modified Marsh), 0: 0.26/min"),
    ],
    individual_units={**VOLUMES, **CLEARANCES, "ke0": "1/min"},
    individual=individual,
    rhs=rhs,
    outputs=[Output("cp", "ug/mL", high=20.0), Output("ce", "ug/mL", high=20.0)],
    outputs_of=outputs,
    routes=[Route("propofol", "central")],
    printed=[
        *(Printed(f"{n} at 70 kg", v, 3 if n == "q3" else 4, TABLE, attrgetter(n)) for n, v in PRINTED.items()),
        Printed("k21, 1/min", 0.055, 2, TABLE, lambda p: p.q2 / p.v2),
        Printed("k31, 1/min", 0.0033, 2, TABLE, lambda p: p.q3 / p.v3),
        Printed("ke0 modified, 1/min", 1.2, 2, "Struys 2000", lambda p: p.ke0),
        Printed("ke0, 1/min", 0.26, 2, "Diprifusor", lambda p: p.ke0, {"modified": 0}),
    ],
    notes="No variability between people is published with this set. In use as the model inside pumps.",
)
