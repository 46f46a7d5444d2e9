"""The problems that are timed."""

from __future__ import annotations

from typing import Any

import doseloop as dl
import numpy as np
from doseloop.pkpd.ops import exp

TIMES = np.arange(0.0, 241.0)


def _individual(theta: Any, cov: Any, eta: Any) -> dict[str, Any]:
    return {
        "cl": theta.cl * exp(eta.cl),
        "v1": theta.v1 * exp(eta.v1),
        "q": theta.q,
        "v2": theta.v2,
        "ka": theta.ka * exp(eta.ka),
    }


def _rhs(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
    exchange = p.q / p.v1 * x.central - p.q / p.v2 * x.peripheral
    return {
        "depot": -p.ka * x.depot,
        "central": p.ka * x.depot - p.cl / p.v1 * x.central - exchange,
        "peripheral": exchange,
    }


def _outputs(t: Any, x: Any, p: Any) -> dict[str, Any]:
    return {"concentration": x.central / p.v1}


def two_compartment_oral(name: str = "benchmark_two_compartment_oral") -> dl.Model:
    """Two compartments, first-order absorption; the round numbers of the field's own speed comparisons."""
    source = "a benchmark's round number"
    return dl.Model(
        id=name,
        drug="none",
        title="Two compartments, oral",
        citation="no paper: a benchmark",
        time_unit="h",
        states=[dl.State("depot", "mg"), dl.State("central", "mg"), dl.State("peripheral", "mg")],
        parameters=[
            dl.Parameter("cl", 5.0, "L/h", source),
            dl.Parameter("v1", 30.0, "L", source),
            dl.Parameter("q", 8.0, "L/h", source),
            dl.Parameter("v2", 50.0, "L", source),
            dl.Parameter("ka", 1.2, "1/h", source),
        ],
        individual_units={"cl": "L/h", "v1": "L", "q": "L/h", "v2": "L", "ka": "1/h"},
        individual=_individual,
        rhs=_rhs,
        outputs=[dl.Output("concentration", "mg/L", dl.Residual(proportional=0.1, source=source))],
        outputs_of=_outputs,
        routes=[dl.Route("oral", "depot")],
        effects=[dl.Effect("cl", 0.09, source), dl.Effect("v1", 0.04, source), dl.Effect("ka", 0.25, source)],
    )


def population(model: dl.Model, count: int, seed: int = 1) -> np.ndarray:
    """Individual parameters of a sampled population, (count, parameters)."""
    rng = np.random.default_rng(seed)
    return dl.individuals(model, eta=rng.standard_normal((count, 3)) * np.sqrt(np.diag(model.omega)))


def regimen() -> dl.Regimen:
    """100 mg every 12 h, ten times."""
    return dl.Regimen(dl.Oral(100.0, 0.0, every=12.0, times=10))
