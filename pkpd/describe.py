"""A model's declarations as plain values and as text: what it is, every number with unit and source."""

from __future__ import annotations

import math
from typing import Any

from .model import Model, Residual
from .text import number, paragraph, table

__all__ = ["model_dict", "model_text"]


def _residual(r: Residual | None, unit: str) -> str:
    if r is None:
        return "not measured"
    if r.log:
        return f"log-normal, SD {number(r.log)}"
    parts = [f"{number(r.additive)} {unit}"] if r.additive else []
    parts += [f"{number(100 * r.proportional)} %"] if r.proportional else []
    return " and ".join(parts)


def _route(model: Model, name: str) -> str:
    r = model.route(name)
    unit = next(s.unit for s in model.states if s.name == r.into)
    extras = [f"{what} {p}" for what in ("bioavailability", "lag", "duration", "rate") if (p := getattr(r, what))]
    return f"{r.name}: {' or '.join(sorted(r.kinds))} into {r.into}, in {unit}" + "".join(f", {e}" for e in extras)


def model_dict(model: Model) -> dict[str, Any]:
    """The declarations as plain values, ready for JSON."""
    return {
        "id": model.id,
        "drug": model.drug,
        "title": model.title,
        "citation": model.citation,
        "time_unit": model.time_unit,
        "states": [{"name": s.name, "unit": s.unit, "note": s.note} for s in model.states],
        "parameters": [
            {"name": p.name, "value": p.value, "unit": p.unit, "source": p.source} for p in model.parameters
        ],
        "individual_parameters": dict(model.individual_units),
        "variability": [
            {"name": e.name, "variance": e.variance, "occasion": e.occasion, "source": e.source} for e in model.effects
        ],
        "covariances": [
            {"first": c.first, "second": c.second, "value": c.value, "source": c.source} for c in model.covariances
        ],
        "covariates": [
            {"name": c.name, "unit": c.unit, "typical": c.typical, "low": c.low, "high": c.high, "source": c.source}
            for c in model.covariates
        ],
        "outputs": [
            {
                "name": o.name,
                "unit": o.unit,
                "residual": None
                if o.residual is None
                else {
                    "additive": o.residual.additive,
                    "proportional": o.residual.proportional,
                    "log": o.residual.log,
                    "source": o.residual.source,
                },
            }
            for o in model.outputs
        ],
        "routes": [
            {
                "name": r.name,
                "into": r.into,
                "kinds": sorted(r.kinds),
                "bioavailability": r.bioavailability,
                "lag": r.lag,
                "duration": r.duration,
                "rate": r.rate,
            }
            for r in model.routes
        ],
        "notes": model.notes,
    }


def _unit(unit: str) -> str:
    return "–" if unit in ("", "1") else unit


def model_text(model: Model) -> str:
    """The declarations as text."""
    out = [model.id, paragraph(f"{model.drug}: {model.title}", "  "), paragraph(model.citation, "  "), ""]
    out.append("  states       " + ", ".join(f"{s.name} ({s.unit})" for s in model.states))
    out.append("  routes       " + "\n               ".join(_route(model, r.name) for r in model.routes))
    out.append(
        "  outputs      "
        + "\n               ".join(
            f"{o.name} ({o.unit}); residual error {_residual(o.residual, o.unit)}" for o in model.outputs
        )
    )
    out += ["  time         " + model.time_unit, ""]
    rows = [[p.name, number(p.value), _unit(p.unit), p.source] for p in model.parameters]
    out += [table(["parameter", "value", "unit", "source"], rows, "lrll"), ""]
    if model.effects:
        rows = [
            [e.name + (" (occasion)" if e.occasion else ""), number(100 * math.sqrt(e.variance), 3), e.source]
            for e in model.effects
        ]
        rows += [[f"{c.first}, {c.second}", f"cov {number(c.value, 3)}", c.source] for c in model.covariances]
        out += [table(["variability on", "SD, %", "source"], rows, "lrl"), ""]
    if model.covariates:
        rows = [
            [c.name, _unit(c.unit), number(c.typical), f"{number(c.low)} to {number(c.high)}", c.source]
            for c in model.covariates
        ]
        out += [table(["covariate", "unit", "typical", "covered", "source"], rows, "llrll"), ""]
    sources = [f"residual error: {o.residual.source}" for o in model.outputs if o.residual and o.residual.source]
    out += [paragraph(s, "  ", "    ") for s in [*sources, model.notes] if s]
    return "\n".join(out)
