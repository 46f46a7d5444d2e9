"""The four problems of `benchmarks/simulation.py`: who, for how long, what is given, when it is looked at.

Inputs are held between edges that all patients share, so that every side can restart where something jumps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import doseloop as dl
import numpy as np
from doseloop import models
from doseloop.pkpd.lanes import listing
from doseloop.pkpd.model import Model
from doseloop.pkpd.population import starting_states
from doseloop.pkpd.system import system
from doseloop.pkpd.trace import casadi_functions
from doseloop.virtual.table import simglucose_people
from pbpk import pbpk
from peers.environment import python_with
from problems import two_compartment_oral
from uvapadova import day_inputs, held, package_folder

__all__ = ["PROBLEMS", "Ivp", "Way"]

PATIENTS = 512


@dataclass(frozen=True)
class Way:
    """How doseloop goes: ``course`` (fixed steps of the march) or an event loop's method, and what is varied."""

    name: str
    method: str  # "course", or a name of `Method`
    settings: tuple[float, ...]  # steps (course, rk4) or relative tolerances; one that says nothing for "exact"
    absolute: float = 1e-2  # atol = rtol times this

    @property
    def fixed(self) -> bool:
        """Whether a setting is a step's length."""
        return self.method in ("course", "rk4")


@dataclass(frozen=True)
class Ivp:
    """A problem (see `peers/ivp.py` for the arrays), how doseloop solves it, and up to which difference work is equal.

    ``interval``: what the march takes at once; ``scale``: of the states, for absolute tolerances; ``stiff``: explicit
    methods and LSODA alone will not do; ``names``: of the patients in their own package.
    """

    title: str
    model: Model
    p: np.ndarray
    x0: np.ndarray
    edges: np.ndarray
    jump: np.ndarray
    u: np.ndarray
    times: np.ndarray
    columns: np.ndarray
    ways: tuple[Way, ...]
    target: float
    interval: float
    doses: dl.Regimen
    stiff: bool = False
    names: tuple[str, ...] = ()
    extra: Any = None

    def write(self, folder: Path) -> None:
        """Leave the problem in a folder for the sides."""
        arrays = {k: getattr(self, k) for k in ("p", "x0", "edges", "jump", "u", "times", "columns")}
        np.savez(folder / "problem.npz", **arrays)
        S = system(self.model)
        text = {"rhs": listing(S.rhs()), "outputs": listing(S.outputs())}
        (folder / "equations.json").write_text(json.dumps(text), encoding="utf-8")
        functions = casadi_functions(self.model)
        for name in ("rhs", "outputs"):
            functions[name].save(str(folder / f"{name}.casadi"))
        (folder / "about.json").write_text(json.dumps({"names": self.names, "extra": self.extra}), encoding="utf-8")


def _dosed(model: Model, title: str, amount: float, times: int, until: float, **more: Any) -> Ivp:
    """Oral doses every 12 h, levels every hour."""
    rng = np.random.default_rng(1)
    eta = rng.standard_normal((PATIENTS, len(model.effects))) @ np.linalg.cholesky(model.omega).T
    p = dl.individuals(model, eta=eta)
    edges = np.append(12.0 * np.arange(times), until)
    jump = np.zeros((times, len(model.states)))
    jump[:, model.names("states").index(model.routes[0].into)] = amount
    u = np.zeros((PATIENTS, times, len(model.inputs) + len(model.routes)))
    seen = np.arange(1.0, until + 1)
    doses = dl.Regimen(dl.Oral(amount, 0.0, every=12.0, times=times))
    x0 = starting_states(system(model), p)
    columns = np.arange(len(model.outputs))
    return Ivp(title, model, p, x0, edges, jump, u, seen, columns, interval=1.0, doses=doses, **more)


def linear() -> Ivp:
    """Two compartments, oral: ten doses, 240 hourly levels."""
    ways = (
        Way("exact", "exact", (0.0,)),
        Way("adaptive", "adaptive", (1e-4, 1e-6, 1e-8, 1e-10)),
        Way("RK4", "rk4", (0.5, 0.2, 0.1, 0.05)),
    )
    title = "Linear: two compartments, oral, 10 doses, 240 levels"
    return _dosed(two_compartment_oral(), title, 100.0, 10, 240.0, ways=ways, target=1e-6)


def stiff() -> Ivp:
    """Whole-body physiology with binding (benchmarks/pbpk.py): six doses, 96 hourly levels."""
    ways = (Way("Rodas4", "stiff", (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)),)
    title = "Stiff: whole-body physiology, target binding, 6 doses, 96 levels"
    return _dosed(pbpk(), title, 200.0, 6, 96.0, ways=ways, target=1e-5, stiff=True)


def glucose() -> Ivp:
    """S2008: a day of three meals with boluses for simglucose's thirty patients, glucose every 5 minutes.

    The patients are read from that package's environment; without it they are drawn from the model's variability.
    """
    python = python_with("simglucose")
    if python is None:
        raise RuntimeError("the patients of this problem are simglucose's, and its environment could not be made")
    people = simglucose_people(package_folder(python))
    U = held(people, *day_inputs(people))
    at = np.flatnonzero(np.abs(np.diff(U, axis=1)).max(axis=(0, 2)) > 0) + 1
    edges = np.array([0, *at, U.shape[1]], dtype=float)
    u = U[:, [0, *at]]
    many = np.arange(PATIENTS) % len(people)
    ways = (
        Way("march, RK4", "course", (1.0, 0.5, 0.25, 0.1, 0.05)),
        Way("adaptive", "adaptive", (1e-4, 1e-6, 1e-8, 1e-10)),
    )
    return Ivp(
        "S2008: a day, three meals, glucose every 5 min", people.model, people.parameters[many], people.start[many],
        edges, np.zeros((len(edges) - 1, people.start.shape[1])), u[many], 5.0 * np.arange(1, 289), np.array([0, 1]),
        ways, 1e-5, 1.0, dl.Regimen(), names=tuple(map(str, people.ids)),
        extra=[people.model.names("inputs").index("carbs"), U.shape[2] - 1],
    )  # fmt: skip


def operation() -> Ivp:
    """Eleveld: an hour of propofol with a new rate every minute, plasma and effect site every 10 s; typical adults."""
    model = models.load("propofol_eleveld2018")
    rng = np.random.default_rng(3)
    columns = {"age": rng.uniform(20, 80, PATIENTS), "height": rng.uniform(150, 195, PATIENTS)}
    columns |= {"weight": rng.uniform(50, 110, PATIENTS), "sex": (rng.random(PATIENTS) < 0.5) * 1.0}
    columns |= {"opioid": np.ones(PATIENTS), "venous": np.zeros(PATIENTS)}
    covariates = np.column_stack([columns[n] for n in model.names("covariates")])
    p = dl.individuals(model, covariates)
    rates = rng.uniform(4, 14, (PATIENTS, 60, 1))
    rates[:, 0] = 2.0 * columns["weight"][:, None]  # mg/min: induction
    edges = np.arange(61.0)
    ways = (Way("exact", "course", (1 / 6,)), Way("adaptive", "adaptive", (1e-4, 1e-6, 1e-8, 1e-10)))
    people = {k: columns[k].tolist() for k in ("age", "height", "weight", "sex")}
    return Ivp(
        "Eleveld: an hour, a new rate every minute, every 10 s", model, p, np.zeros((PATIENTS, len(model.states))),
        edges, np.zeros((60, len(model.states))), rates, np.arange(1, 361) / 6, np.array([0, 1]),
        ways, 1e-6, 1 / 6, dl.Regimen(), extra=people,
    )  # fmt: skip


PROBLEMS: dict[str, Callable[[], Ivp]] = {
    "linear": linear,
    "glucose": glucose,
    "operation": operation,
    "stiff": stiff,
}
