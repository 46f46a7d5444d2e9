"""The patients of `benchmarks/twin.py`: real infants, simulated adults on vancomycin and on phenytoin."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import doseloop as dl
import numpy as np
from doseloop import models
from doseloop.pkpd.lanes import listing
from doseloop.pkpd.system import individual_graph, system
from doseloop.twin.layout import lay_out
from doseloop.twin.likelihood import kind_of

__all__ = ["CASES", "Case", "phenytoin_record", "vancomycin_record"]

ADULT = {"weight": 75.0, "age": 58.0, "sex": 0.0, "scr": 1.1, "dialysis": 0.0}


def vancomycin_record(i: int, model: dl.Model) -> dl.Record:
    """A simulated adult: five doses, four levels with residual error."""
    rng = np.random.default_rng([5, i])
    covariates = ADULT | {"weight": float(rng.uniform(50, 110)), "scr": float(rng.uniform(0.6, 2.5))}
    given = dl.Regimen(dl.Infusion(1250.0, 0.0, duration=2.0, every=12.0, times=5))
    eta = rng.standard_normal(len(model.effects)) @ np.linalg.cholesky(model.omega).T
    times = [3.0, 11.5, 27.0, 59.0]
    levels = dl.simulate(model, regimen=given, times=times, covariates=covariates, eta=eta)["concentration"][0]
    residual = model.outputs[0].residual
    sd = np.sqrt(residual.additive**2 + (residual.proportional * levels) ** 2)
    measured = np.maximum(levels + sd * rng.standard_normal(len(levels)), 0.5)
    observed = tuple(dl.Measurement(t, "concentration", float(v)) for t, v in zip(times, measured))
    return dl.Record(f"v{i}", (dl.CovariateRow(0.0, covariates),), given, observed, 60.0)


def phenytoin_record(i: int, model: dl.Model) -> dl.Record:
    """A simulated adult on phenytoin: fourteen doses, three levels."""
    rng = np.random.default_rng([6, i])
    covariates = {c.name: c.typical for c in model.covariates}
    given = dl.Regimen(dl.Oral(150.0, 0.0, every=12.0, times=14))
    eta = rng.standard_normal(len(model.effects)) @ np.linalg.cholesky(model.omega).T
    times = [23.5, 95.5, 167.5]
    levels = dl.simulate(model, regimen=given, times=times, covariates=covariates, eta=eta)["concentration"][0]
    measured = levels * np.exp(0.1 * rng.standard_normal(3))
    observed = tuple(dl.Measurement(t, "concentration", float(v)) for t, v in zip(times, measured))
    return dl.Record(f"p{i}", (dl.CovariateRow(0.0, covariates),), given, observed, 168.0)


@dataclass(frozen=True)
class Case:
    """A model and records; ``compared``: so many of them meet NUTS, with ``truth`` draws of it each."""

    title: str
    model: dl.Model
    records: list[dl.Record]
    compared: int
    truth: int

    def write(self, folder: Path) -> None:
        """Leave the first patients for NUTS: equations as text, events from jump to jump, levels (NaN: none)."""
        model, rows = self.model, [_events(self.model, r) for r in self.records[: self.compared]]
        most, levels = max(len(r["dt"]) for r in rows), max(len(r["y"]) for r in rows)
        arrays = {k: np.array([_padded(r[k], most) for r in rows]) for k in ("dt", "jump", "u")}
        arrays |= {"y": np.array([_padded(r["y"], levels, np.nan) for r in rows])}
        arrays |= {"at": np.array([_padded(r["at"], levels) for r in rows])}
        layouts = [lay_out(model, r) for r in self.records[: self.compared]]
        kind, a, b = kind_of(model.outputs[0].residual)
        np.savez(
            folder / "patients.npz", **arrays, omega=layouts[0].effects.omega, residual=[kind, a, b],
            p=np.array([np.concatenate([model.theta, lay.covariates[0]]) for lay in layouts]),
        )  # fmt: skip
        S = system(model)
        text = {"individual": listing(individual_graph(model, False)), "rhs": listing(S.rhs())}
        text |= {"outputs": listing(S.outputs())}
        about = {"linear": S.linear, "states": S.n, **text}
        (folder / "equations.json").write_text(json.dumps(about), encoding="utf-8")


def _padded(rows: np.ndarray, count: int, value: float = 0.0) -> np.ndarray:
    more = np.full((count - len(rows), *rows.shape[1:]), value)
    return np.concatenate([rows, more]) if len(more) else rows


def _events(model: dl.Model, record: dl.Record) -> dict[str, np.ndarray]:
    """Segments (length, jump as it begins, rates) and for each level the segment at whose end it was drawn."""
    if len(record.covariates) > 1:
        raise ValueError(f"{record.id}: covariates change")
    doses = [d for d in record.given.expanded().doses if d.time <= record.now]
    levels = sorted((m.time, m.value) for m in record.observed)
    ends = [d.time + d.duration for d in doses if d.duration]
    edges = np.unique([*(d.time for d in doses), *(e for e in ends if e < record.now), *(t for t, _ in levels)])
    states, routes = model.names("states"), model.names("routes")
    jump, u = np.zeros((len(edges) - 1, len(states))), np.zeros((len(edges) - 1, len(model.inputs) + len(routes)))
    for d in doses:
        first, k = int(np.searchsorted(edges, d.time)), routes.index(d.route)
        if d.duration:
            inside = (edges[:-1] >= d.time) & (edges[:-1] < d.time + d.duration)
            u[inside, len(model.inputs) + k] += d.amount / d.duration
        elif first < len(jump):
            jump[first, states.index(model.routes[k].into)] += d.amount
    at = np.array([np.searchsorted(edges, t) - 1 for t, _ in levels])
    if at.min() < 0:
        raise ValueError(f"{record.id}: a level before the first dose")
    return {"dt": np.diff(edges), "jump": jump, "u": u, "y": np.array([v for _, v in levels]), "at": at}


def _infants() -> Case:
    therapy = dl.therapies.load("phenobarbital")
    return Case("phenobarbital: 59 real infants, one compartment", therapy.models[0], dl.example(therapy), 4, 10_000)


def _adults() -> Case:
    model = models.load("vancomycin_adult_goti2018")
    records = [vancomycin_record(i, model) for i in range(60)]
    return Case("vancomycin: 60 simulated adults, two compartments", model, records, 4, 10_000)


def _saturable() -> Case:
    model = models.load("phenytoin_adult_grasela1983")
    records = [phenytoin_record(i, model) for i in range(60)]
    return Case("phenytoin: 60 simulated adults, Michaelis-Menten", model, records, 2, 4_000)


CASES: dict[str, Callable[[], Case]] = {"phenobarbital": _infants, "vancomycin": _adults, "phenytoin": _saturable}
