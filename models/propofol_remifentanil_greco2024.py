"""Propofol and remifentanil on BIS: a Greco surface with synergy, identified by Yumuk and others 2024.

Numbers as the Python Anesthesia Simulator transcribes them (full text not seen). Kinetics and effect sites are
Schnider's and Minto's, by our choice: what the paper put under its surface was not in what we read.
"""

from __future__ import annotations

import math
from typing import Any

from ..pkpd.model import Effect, Model, Parameter, Printed
from ..pkpd.ops import exp
from . import propofol_adult_schnider1998 as propofol
from . import propofol_remifentanil_bouillon2004 as bouillon
from . import remifentanil_adult_minto1997 as remifentanil
from ._bis import bis_of, monitor_delay
from ._two_drugs import OUTPUTS, ROUTES, STATES, concentrations, flows, individuals, suffixed

TABLE = "Yumuk 2024 (as transcribed by one or two; full text not seen)"
LOG = "variance log(1 + CV^2): the simulated CV is then the printed one"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Schnider, Minto, and the surface's potencies, steepness and interaction."""
    return {
        **individuals(propofol.individual, remifentanil.individual, theta, cov, eta),
        "ce50": theta.ce50 * exp(eta.ce50),
        "ce50_remifentanil": theta.ce50_remifentanil * exp(eta.ce50_remifentanil),
        "gamma": theta.gamma * exp(eta.gamma),
        "interaction": theta.interaction * exp(eta.interaction),
        "e0": theta.e0 * exp(eta.e0),
        "delay": monitor_delay(cov.age, theta.delay_age),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and an effect site for each drug."""
    return flows(x, p)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Concentrations; BIS before the monitor's delay."""
    hypnotic, opioid = x.effect / p.ce50, x.effect_remifentanil / p.ce50_remifentanil
    potency = hypnotic + opioid + p.interaction * hypnotic * opioid
    return {**concentrations(x, p), "bis": bis_of(potency, p.gamma, p.e0)}


MODEL = Model(
    id="propofol_remifentanil_greco2024",
    drug="propofol, remifentanil",
    title="Data-driven identification and comparison of full multivariable models for propofol-remifentanil induced "
    "general anesthesia",
    citation="Yumuk E, Copot D, Ionescu CM, and others. J Process Control 2024;139:103243. "
    "doi:10.1016/j.jprocont.2024.103243; kinetics: Schnider TW, and others. 1998; Minto CF, and others. 1997",
    time_unit="min",
    states=STATES,
    parameters=[
        *propofol.PARAMETERS,
        *suffixed(remifentanil.PARAMETERS),
        Parameter("ce50", 7.66, "ug/mL", f"{TABLE}: C50 of propofol alone"),
        Parameter("ce50_remifentanil", 149.62, "ng/mL", f"{TABLE}: C50 of remifentanil alone"),
        Parameter("gamma", 4.07, "1", TABLE),
        Parameter("interaction", 15.03, "1", f"{TABLE}: Greco's alpha; above 0 is synergy"),
        Parameter("e0", 93.97, "1", f"{TABLE}: BIS without drug"),
        Parameter("delay_age", 0.0517399, "1/year", bouillon.DELAY),
    ],
    covariates=bouillon.COVARIATES,
    effects=[
        *propofol.EFFECTS,
        *suffixed(remifentanil.EFFECTS),
        Effect("ce50", math.log1p(0.297**2), f"{TABLE}: 29.7 %CV; {LOG}"),
        Effect("ce50_remifentanil", math.log1p(0.545**2), f"{TABLE}: 54.5 %CV; {LOG}"),
        Effect("gamma", math.log1p(0.448**2), f"{TABLE}: 44.8 %CV; {LOG}"),
        Effect("interaction", math.log1p(0.539**2), f"{TABLE}: 53.9 %CV; {LOG}"),
        Effect("e0", math.log1p(0.0112**2), f"{TABLE}: 1.12 %CV; {LOG}"),
    ],
    individual_units={**bouillon.INDIVIDUAL_UNITS, "interaction": "1"},
    individual=individual,
    rhs=rhs,
    outputs=[*OUTPUTS, bouillon.BIS],
    outputs_of=outputs,
    routes=ROUTES,
    printed=[
        Printed("C50 of propofol, ug/mL", 7.66, 3, TABLE, lambda p: p.ce50),
        Printed("C50 of remifentanil, ng/mL", 149.62, 5, TABLE, lambda p: p.ce50_remifentanil),
        Printed("gamma", 4.07, 3, TABLE, lambda p: p.gamma),
        Printed("interaction", 15.03, 4, TABLE, lambda p: p.interaction),
        Printed("BIS without drug", 93.97, 4, TABLE, lambda p: p.e0),
    ],
    notes="The transcription caps BIS without drug at 100; with its 1.1 %CV that is 5.5 SD away.",
)
