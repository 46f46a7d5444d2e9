"""A stiff benchmark: whole-body physiology with binding to a target and an enzyme that the drug destroys.

Rates from 2e-2 per hour (fat, enzyme turnover) to 5e4 per hour (binding to the target): six orders of magnitude in one
model. Fourteen flow-limited tissues between arterial and venous blood (the usual equations, Nestorov 2003), elimination
by a saturable enzyme in the liver that is inactivated by what it metabolises (Mayhew 2000) and turns over, a target in
venous blood that binds the drug, turns over and takes its complex away (Mager & Jusko 2001).

Volumes and flows are those of a reference man, rounded (ICRP Publication 89, from memory, page not seen). The drug is
invented: its partition, binding and elimination are round numbers chosen for the spread of rates. No paper, no patient.
"""

from __future__ import annotations

from typing import Any

import doseloop as dl
from doseloop.pkpd.ops import const, exp

SOURCE = "reference man, rounded (ICRP 89, from memory)"
INVENTED = "invented: a round number for the spread of rates"
# tissue: volume L, share of cardiac output, partition coefficient of the invented drug
TISSUES = {
    "adipose": (14.5, 0.05, 80.0),
    "bone": (10.5, 0.05, 3.0),
    "brain": (1.45, 0.12, 8.0),
    "heart": (0.33, 0.04, 4.0),
    "kidney": (0.31, 0.19, 5.0),
    "muscle": (29.0, 0.17, 3.0),
    "skin": (3.3, 0.05, 6.0),
    "rest": (5.0, 0.085, 3.0),
    "gut": (1.0, 0.15, 6.0),
    "spleen": (0.15, 0.03, 4.0),
    "liver": (1.8, 0.065, 7.0),  # its arterial flow; gut and spleen drain into it
}
INTO_LIVER = ("gut", "spleen")
LUNG, ARTERIAL, VENOUS = (0.5, 4.0), 1.8, 3.8  # L and partition; L


# name: value, unit
PARAMETERS = {
    "flow": (390.0, "L/h", SOURCE),
    "vmax": (80.0, "mg/h", INVENTED),
    "km": (0.5, "mg/L", INVENTED),
    "fat": (80.0, "1", INVENTED),
    "ka": (1.0, "1/h", INVENTED),
    "kon": (5e4, "L/mg/h", INVENTED),
    "koff": (500.0, "1/h", INVENTED),
    "kdeg": (0.05, "1/h", INVENTED),
    "kint": (0.5, "1/h", INVENTED),
    "target": (2.0, "mg", INVENTED),
    "turnover": (0.02, "1/h", INVENTED),
    "kinact": (1.0, "1/h", INVENTED),
    "ki": (0.5, "mg/L", INVENTED),
}


def _individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    out = {name: getattr(theta, name) for name in PARAMETERS}
    return out | {name: out[name] * exp(getattr(eta, name)) for name in ("flow", "vmax", "fat", "target")}


def _rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    arterial, venous = x.arterial / const(ARTERIAL, "L"), x.venous / const(VENOUS, "L")
    leaves, flow, change = {}, {}, {}
    for name, (volume, share, partition) in TISSUES.items():
        kp = p.fat if name == "adipose" else partition
        leaves[name] = getattr(x, name) / (const(volume, "L") * kp)
        flow[name] = share * p.flow
        change[name] = flow[name] * (arterial - leaves[name])
    change["gut"] = change["gut"] + p.ka * x.lumen
    drains = sum(flow[n] for n in INTO_LIVER)
    metabolised = x.enzyme * p.vmax * leaves["liver"] / (p.km + leaves["liver"])
    portal = sum(flow[n] * leaves[n] for n in INTO_LIVER)
    change["liver"] = change["liver"] + portal - drains * leaves["liver"] - metabolised
    returns = sum(flow[n] * leaves[n] for n in TISSUES if n not in INTO_LIVER) + drains * leaves["liver"]
    lung = x.lung / const(LUNG[0] * LUNG[1], "L")
    bound = p.kon * venous * x.target - p.koff * x.complex
    return {
        "lumen": -p.ka * x.lumen,
        **change,
        "lung": p.flow * (venous - lung),
        "arterial": p.flow * (lung - arterial),
        "venous": returns - p.flow * venous - bound,
        "target": p.kdeg * (p.target - x.target) - bound,
        "complex": bound - p.kint * x.complex,
        "enzyme": p.turnover * (1 - x.enzyme) - p.kinact * leaves["liver"] / (p.ki + leaves["liver"]) * x.enzyme,
    }


def _outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    return {
        "venous": x.venous / const(VENOUS, "L"),
        "adipose": x.adipose / const(TISSUES["adipose"][0], "L"),
        "enzyme": x.enzyme,
    }


STATES = ("lumen", *TISSUES, "lung", "arterial", "venous", "target", "complex", "enzyme")


def pbpk() -> dl.Model:
    """The model; time in hours, amounts in mg (target and complex in mg of the drug they hold)."""
    return dl.Model(
        id="benchmark_pbpk",
        drug="none",
        title="Whole-body physiology, target-mediated disposition, inactivated enzyme",
        citation="no paper: a benchmark",
        time_unit="h",
        states=[dl.State(s, "1" if s == "enzyme" else "mg") for s in STATES],
        parameters=[dl.Parameter(n, v, unit, source) for n, (v, unit, source) in PARAMETERS.items()],
        individual_units={n: unit for n, (_, unit, _) in PARAMETERS.items()},
        individual=_individual,
        rhs=_rhs,
        initial=lambda p: {s: {"target": p.target, "enzyme": 1.0}.get(s, 0.0) for s in STATES},
        outputs=[
            dl.Output("venous", "mg/L", dl.Residual(proportional=0.2, source=INVENTED)),
            dl.Output("adipose", "mg/L"),
            dl.Output("enzyme", "1"),
        ],
        outputs_of=_outputs,
        routes=[dl.Route("oral", "lumen")],
        effects=[
            dl.Effect("flow", 0.04, INVENTED),
            dl.Effect("vmax", 0.16, INVENTED),
            dl.Effect("fat", 0.09, INVENTED),
            dl.Effect("target", 0.09, INVENTED),
        ],
        method="stiff",
    )
