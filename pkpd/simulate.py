"""Simulate people under regimens: the plain call, and the trajectory it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import STATUS, Method
from .errors import RegimenError, SolverError
from .individuals import individuals as _individuals
from .model import Model
from .population import Prepared
from .regimen import Dose, Regimen
from .schedule import Schedule
from .steady import past_doses
from .system import system

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Trajectory", "check_regimen", "schedule_for", "simulate"]


@dataclass(frozen=True)
class Trajectory:
    """Predicted outputs over time.

    Attributes:
        model: whose outputs.
        times: shape (T,), in the model's time unit.
        values: by output name, shape (people, T), in the output's unit.
        integrals: by output name, ∫output dt from the first event on, shape (people, T); empty unless asked for.
        parameters: individual parameters, shape (people, parameters).
        weights: weight of each person (draw) in quantiles, shape (people,), summing to 1; None means equal.
    """

    model: Model
    times: np.ndarray
    values: dict[str, np.ndarray]
    parameters: np.ndarray
    integrals: dict[str, np.ndarray] = field(default_factory=dict)
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, output: str) -> np.ndarray:
        return self.values[output]

    def quantiles(self, output: str, probabilities: Sequence[float] = (0.05, 0.5, 0.95)) -> np.ndarray:
        """Quantiles over people at each time, shape (probabilities, T)."""
        return weighted_quantiles(self.values[output], self.weights, probabilities)

    def to_dataframe(self) -> pd.DataFrame:
        """Long table: person, time, and a column for each output (units in the column names)."""
        import pandas as pd

        people, T = len(self), len(self.times)
        columns: dict[str, Any] = {
            "person": np.repeat(np.arange(people), T),
            f"time [{self.model.time_unit}]": np.tile(self.times, people),
        }
        for o in self.model.outputs:
            columns[f"{o.name} [{o.unit}]"] = self.values[o.name].ravel()
            if o.name in self.integrals:
                columns[f"AUC of {o.name} [{o.unit}*{self.model.time_unit}]"] = self.integrals[o.name].ravel()
        return pd.DataFrame(columns)

    def plot(self, output: str | None = None, ax: Any = None) -> Any:
        """Draw one output: each person's line, or median and 5–95 % band of many; returns the Axes."""
        from .plotting import trajectory_plot

        return trajectory_plot(self, output, ax)


def weighted_quantiles(
    values: np.ndarray, weights: np.ndarray | None, probabilities: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Quantiles over the first axis of (people, T) with weights; shape (probabilities, T)."""
    if weights is None:
        return np.quantile(values, probabilities, axis=0)
    order = np.argsort(values, axis=0)
    ranked = np.take_along_axis(values, order, axis=0)
    cumulative = np.cumsum(weights[order], axis=0) - 0.5 * weights[order]
    return np.stack([np.interp(probabilities, cumulative[:, i], ranked[:, i]) for i in range(values.shape[1])], axis=1)


def check_regimen(model: Model, regimen: Regimen) -> None:
    """Raise one RegimenError listing every dose that this model cannot take."""
    known, problems = {r.name: r for r in model.routes}, []
    for dose in regimen.doses:
        route = known.get(dose.route)
        if route is None:
            problems.append(f"{dose}: model '{model.id}' has no route '{dose.route}'; it has {', '.join(known)}")
            continue
        infused = dose.duration is not None or dose.rate is not None or dose.modelled is not None
        if ("infusion" if infused else "bolus") not in route.kinds:
            problems.append(f"{dose}: route '{dose.route}' takes {' or '.join(sorted(route.kinds))} only")
        if dose.modelled is not None and getattr(route, dose.modelled) is None:
            problems.append(f"{dose}: route '{dose.route}' has no parameter for a modelled {dose.modelled}")
        if dose.steady_state == 2 and not system(model).linear:
            problems.append(f"{dose}: adding a steady state (SS 2) holds for linear models only")
    if problems:
        raise RegimenError(problems)


def schedule_for(model: Model, regimen: Regimen, times: np.ndarray, parameters: np.ndarray) -> Schedule:
    """Events of a regimen seen at these times, for people with these parameters."""
    check_regimen(model, regimen)
    first = min([float(times[0]), *(e.time for e in regimen.events)])
    schedule = Schedule(model, first)
    schedule.observe(times)
    m = len(model.individual_units)
    past = max([past_doses(model, d, parameters[:, :m]) for d in regimen.doses if d.steady_state], default=0)
    schedule.regimen(regimen, float(times[-1]), past=past)
    return schedule


def simulate(
    model: Model,
    individuals: np.ndarray | None = None,
    regimen: Regimen | Dose | Sequence[Regimen] = (),
    times: Sequence[float] | np.ndarray = (),
    *,
    covariates: Any = None,
    eta: Any = None,
    method: Method | None = None,
    integrals: bool = False,
) -> Trajectory:
    """Simulate people under a regimen (or one each).

    An output at the time of a dose is the one just before it (a trough). Times need not be regular; the model's linear
    part is advanced exactly.

    Args:
        model: the model.
        individuals: parameters of shape (people, parameters), from :func:`doseloop.individuals`; None: the typical
            person, or those of ``covariates`` and ``eta``.
        regimen: a Regimen, one Dose, or a sequence of Regimens, one for each person.
        times: when to look, non-decreasing, in the model's time unit.
        covariates, eta: as for :func:`doseloop.individuals`, where ``individuals`` is None.
        method: how time is advanced; default exact for linear models, else adaptive at 1e-8.
        integrals: also return ∫output dt (AUC).

    Raises:
        RegimenError: doses that the model cannot take, or times that do not ascend.
        SolverError: an integration that failed, with the persons it failed for.
    """
    times = np.ascontiguousarray(times, dtype=float)
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise RegimenError("times must be a non-empty, non-decreasing list of finite numbers")
    parameters = _individuals(model, covariates, eta) if individuals is None else np.asarray(individuals, dtype=float)
    if parameters.ndim != 2 or parameters.shape[1] != len(model.individual_units):
        raise RegimenError(f"individuals have shape {parameters.shape}; wanted (people, {len(model.individual_units)})")
    regimens = (
        [Regimen(regimen)]
        if isinstance(regimen, Dose)
        else [regimen]
        if isinstance(regimen, Regimen)
        else list(regimen)
    )
    regimens = regimens or [Regimen()]
    if len(regimens) not in (1, len(parameters)):
        if len(parameters) != 1:
            raise RegimenError(f"{len(regimens)} regimens for {len(parameters)} people")
        parameters = np.repeat(parameters, len(regimens), axis=0)
    each = len(regimens) > 1
    schedules = [
        schedule_for(model, r, times, parameters[i : i + 1] if each else parameters) for i, r in enumerate(regimens)
    ]
    s = system(model, integrals=integrals)
    Y, status = Prepared(s, schedules, method or Method()).run(parameters)
    if status.any():
        bad = np.flatnonzero(status)
        raise SolverError([f"person {i}: {STATUS[int(status[i])]}" for i in bad[:20]])
    Y = Y.reshape(len(parameters), len(times), -1)
    names = model.names("outputs")
    sums = {n: Y[:, :, len(names) + i] for i, n in enumerate(names)} if integrals else {}
    return Trajectory(model, times, {n: Y[:, :, i] for i, n in enumerate(names)}, parameters, sums)
