"""Propofol and remifentanil on BIS: the surface of Bouillon and others 2004, additive, on Schnider and Minto.

Kinetics and effect sites are Schnider's (propofol) and Minto's (remifentanil), the usual company of this surface in
control studies; the paper's own individual kinetics were not seen. Its interaction parameter is 0 for BIS: the two
effects add, so it does not stand in the equation.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

from ..pkpd.model import Covariate, Effect, Model, Output, Parameter, Printed, Residual
from ..pkpd.ops import exp
from . import propofol_adult_schnider1998 as propofol
from . import remifentanil_adult_minto1997 as remifentanil
from ._bis import bis_of, monitor_delay
from ._two_drugs import OUTPUTS, REMIFENTANIL, ROUTES, STATES, concentrations, flows, individuals, suffixed

TABLE = "Bouillon 2004, BIS (as transcribed by several; full text not seen)"
LOG = "variance log(1 + CV^2): the simulated CV is then the printed one"
DELAY = "Eleveld 2018, NONMEM control stream (as quoted in public code): monitor's delay; none here in what we read"


def individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    """Schnider, Minto, and the surface's potencies and steepness."""
    return {
        **individuals(propofol.individual, remifentanil.individual, theta, cov, eta),
        "ce50": theta.ce50 * exp(eta.ce50),
        "ce50_remifentanil": theta.ce50_remifentanil * exp(eta.ce50_remifentanil),
        "gamma": theta.gamma * exp(eta.gamma),
        "e0": theta.e0,
        "delay": monitor_delay(cov.age, theta.delay_age),
    }


def rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    """Three compartments and an effect site for each drug."""
    return flows(x, p)


def outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    """Concentrations; BIS before the monitor's delay."""
    potency = x.effect / p.ce50 + x.effect_remifentanil / p.ce50_remifentanil
    return {**concentrations(x, p), "bis": bis_of(potency, p.gamma, p.e0)}


COVARIATES = (
    Covariate("age", "year", 40, 26, 81, "where both kinetic models were made: 26-81 years", ("AGE",)),
    Covariate("weight", "kg", 70, 45, 106, "where both kinetic models were made: 45-106 kg", ("WT", "WEIGHT", "WGT")),
    Covariate("height", "cm", 170, 155, 193, "where both kinetic models were made", ("HT", "HEIGHT", "HGT")),
    Covariate("sex", "1", 0, 0, 1, "0 male, 1 female", ("SEX", "M1F2")),
)

RESIDUAL = Residual(additive=8.03, source="Eleveld 2018's (BIS); this paper's own was not in what we read")
BIS = Output("bis", "1", RESIDUAL, high=100.0)

INDIVIDUAL_UNITS = {
    **propofol.INDIVIDUAL_UNITS,
    **{n + REMIFENTANIL: unit for n, unit in remifentanil.INDIVIDUAL_UNITS.items()},
    "ce50": "ug/mL",
    "ce50_remifentanil": "ng/mL",
    "gamma": "1",
    "e0": "1",
    "delay": "min",
}

MODEL = Model(
    id="propofol_remifentanil_bouillon2004",
    drug="propofol, remifentanil",
    title="Pharmacodynamic interaction between propofol and remifentanil regarding hypnosis, tolerance of "
    "laryngoscopy, bispectral index, and electroencephalographic approximate entropy",
    citation="Bouillon TW, Bruhn J, Radulescu L, and others. Anesthesiology 2004;100:1353-1372; kinetics: Schnider TW, "
    "and others. 1998; Minto CF, and others. 1997",
    time_unit="min",
    states=STATES,
    parameters=[
        *propofol.PARAMETERS,
        *suffixed(remifentanil.PARAMETERS),
        Parameter("ce50", 4.47, "ug/mL", f"{TABLE}: C50 of propofol alone"),
        Parameter("ce50_remifentanil", 19.3, "ng/mL", f"{TABLE}: C50 of remifentanil alone"),
        Parameter("gamma", 1.43, "1", TABLE),
        Parameter("e0", 97.4, "1", f"{TABLE}: BIS without drug"),
        Parameter("delay_age", 0.0517399, "1/year", DELAY),
    ],
    covariates=COVARIATES,
    effects=[
        *propofol.EFFECTS,
        *suffixed(remifentanil.EFFECTS),
        Effect("ce50", math.log1p(0.182**2), f"{TABLE}: 18.2 %CV; {LOG}"),
        Effect("ce50_remifentanil", math.log1p(0.888**2), f"{TABLE}: 88.8 %CV; {LOG}"),
        Effect("gamma", math.log1p(0.304**2), f"{TABLE}: 30.4 %CV; {LOG}"),
    ],
    individual_units=INDIVIDUAL_UNITS,
    individual=individual,
    rhs=rhs,
    outputs=[*OUTPUTS, BIS],
    outputs_of=outputs,
    routes=ROUTES,
    printed=[
        Printed("C50 of propofol, ug/mL", 4.47, 3, TABLE, lambda p: p.ce50),
        Printed("C50 of remifentanil, ng/mL", 19.3, 3, TABLE, lambda p: p.ce50_remifentanil),
        *(
            Printed(n + suffix, v, drug.DIGITS[n], "its own model", attrgetter(n + suffix), drug.REFERENCE)
            for drug, suffix in ((propofol, ""), (remifentanil, REMIFENTANIL))
            for n, v in drug.PRINTED.items()
        ),
    ],
    notes="20 volunteers. A steepness common to both drugs. Correlations of the random effects not in what we read.",
)
