"""Propofol alone on BIS: the edge of Bouillon's surface of 2004 without opioid, on Schnider's kinetics.

`propofol_remifentanil_bouillon2004` without its second drug, for environments with one pump: another patient than
Eleveld's, in kinetics, effect site and steepness.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from ..pkpd.model import Model, Output, Printed, Route
from ..pkpd.ops import exp
from . import propofol_adult_schnider1998 as kinetics
from . import propofol_remifentanil_bouillon2004 as surface
from ._bis import bis_of, monitor_delay
from ._three_compartments import AMOUNTS_PROPOFOL, flow

OWN = ("ce50", "gamma", "e0", "delay_age")


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Schnider, and the surface's potency and steepness of propofol."""
    return {
        **kinetics.individual(theta, cov, eta),
        "ce50": theta.ce50 * exp(eta.ce50),
        "gamma": theta.gamma * exp(eta.gamma),
        "e0": theta.e0,
        "delay": monitor_delay(cov.age, theta.delay_age),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and the effect site."""
    return flow(x, p)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Plasma and effect-site concentration; BIS before the monitor's delay."""
    return {**kinetics.outputs(t, x, p), "bis": bis_of(x.effect / p.ce50, p.gamma, p.e0)}


MODEL = Model(
    id="propofol_adult_bouillon2004",
    drug="propofol",
    title=f"{surface.MODEL.title} (propofol alone)",
    citation=surface.MODEL.citation,
    time_unit="min",
    states=AMOUNTS_PROPOFOL,
    parameters=[*kinetics.PARAMETERS, *(p for p in surface.MODEL.parameters if p.name in OWN)],
    covariates=surface.COVARIATES,
    effects=[*kinetics.EFFECTS, *(e for e in surface.MODEL.effects if e.name in ("ce50", "gamma"))],
    individual_units={**kinetics.INDIVIDUAL_UNITS, "ce50": "ug/mL", "gamma": "1", "e0": "1", "delay": "min"},
    individual=individual,
    rhs=rhs,
    outputs=[Output("cp", "ug/mL", high=20.0), Output("ce", "ug/mL", high=20.0), surface.BIS],
    outputs_of=outputs,
    routes=[Route("propofol", "central")],
    printed=[
        Printed("C50 of propofol, ug/mL", 4.47, 3, surface.TABLE, attrgetter("ce50")),
        *(
            Printed(n, v, kinetics.DIGITS[n], "Schnider's own", attrgetter(n), kinetics.REFERENCE)
            for n, v in kinetics.PRINTED.items()
        ),
    ],
    notes="20 volunteers. Correlations of the random effects not in what we read.",
)
