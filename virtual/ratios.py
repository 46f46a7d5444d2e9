"""Carbohydrate ratio and correction factor of virtual patients, by simulation of all of them at once.

Definitions (ours; clinics titrate towards the same):

- **Basal**: the rate that holds fasting glucose; it is a parameter of every glucose model, exact.
- **Carbohydrate ratio**, g/U: on the basal rate at fasting glucose, a meal of 0.7 g/kg is eaten evenly over 15 minutes
  and a bolus given with the first bite; the ratio is meal / bolus for the bolus that brings plasma glucose back to its
  start four hours later (the usual check of a ratio: ISPAD 2022 looks 2 to 4 hours after a meal).
- **Correction factor**, mg/dL per U: by how much a bolus of 0.02 U/kg at fasting glucose lowers plasma glucose at most
  over eight hours, per U, against the same hours without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pkpd.march import March, march_of
from ..pkpd.model import Model
from ..pkpd.population import starting_states
from ..pkpd.system import system
from .course import course

__all__ = ["GROUPS", "Ratios", "held_inputs", "ratios", "states_at_rest"]

GROUPS = ("adult", "adolescent", "child")  # the order of the covariate ``group``

INTERVAL = 5.0  # min
MEAL = 0.7  # g/kg: 50 g at 70 kg
EATING = 15.0  # min
BACK = 4 * 60.0  # min after the first bite
NUDGE = 0.02  # U/kg
WATCHED = 8 * 60.0  # min
CLOSE = 1e-3  # mg/dL
ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Ratios:
    """Of n patients, (n,) each.

    Attributes:
        carb_ratio: g/U; infinite where the meal alone does not keep glucose above its start for four hours.
        correction: mg/dL per U.
        lowest: lowest glucose in eight hours after that meal with its bolus, mg/dL.
        peak: highest rise of glucose above its start in them, mg/dL.
        rise: rise of glucose in eight hours without any insulin and food, mg/dL.
    """

    carb_ratio: np.ndarray
    correction: np.ndarray
    lowest: np.ndarray
    peak: np.ndarray
    rise: np.ndarray


def states_at_rest(model: Model, parameters: np.ndarray) -> np.ndarray:
    """(n, states): the model's basal steady states."""
    return starting_states(system(model), np.ascontiguousarray(parameters, dtype=float))


def held_inputs(model: Model, intervals: int, rate: np.ndarray) -> np.ndarray:
    """(n, intervals, inputs + routes): the inputs' typical values, insulin at ``rate`` (n,) U/min, nothing else."""
    U = np.zeros((len(rate), intervals, len(model.inputs) + len(model.routes)))
    U[:, :, : len(model.inputs)] = [i.typical for i in model.inputs]
    U[:, :, len(model.inputs) + model.names("routes").index("sc")] = rate[:, None]
    return U


class _Trial:
    """Patients at rest, a meal to come, and what glucose does under a bolus with it."""

    def __init__(self, model: Model, parameters: np.ndarray, minutes: float, threads: int | None) -> None:
        names = list(model.individual_units)
        self.threads = threads
        self.how: March = march_of(model, INTERVAL)
        self.parameters, self.start = parameters, states_at_rest(model, parameters)
        self.basal, self.weight = (parameters[:, names.index(n)] for n in ("basal", "weight"))
        self.into = model.names("states").index(model.route("sc").into)
        self.output = model.names("outputs").index("glucose")
        self.first = parameters[:, names.index("gb")]
        self.rest = held_inputs(model, round(minutes / INTERVAL), self.basal / 60)
        self.fed = self.rest.copy()
        inputs, grams = model.names("inputs"), MEAL * self.weight
        bites = round(EATING / INTERVAL)
        self.fed[:, :bites, inputs.index("carbs")] = grams[:, None] / EATING
        if "meal" in inputs:
            self.fed[:, :, inputs.index("meal")] = grams[:, None] * np.minimum(
                np.arange(1, self.fed.shape[1] + 1) / bites, 1
            )
        self.grams = grams

    def glucose(
        self, inputs: np.ndarray, bolus: np.ndarray | float, who: np.ndarray | slice = slice(None)
    ) -> np.ndarray:
        """(n, intervals) under the inputs, a bolus (U) at the start."""
        states = self.start[who].copy()
        states[:, self.into] += bolus
        return course(self.how, self.parameters[who], states, inputs[who], self.threads)[0][:, :, self.output]


def ratios(model: Model, parameters: np.ndarray, threads: int | None = None) -> Ratios:
    """Carbohydrate ratio, correction factor, and what acceptance rules ask, of n patients.

    Args:
        model: a glucose model of a route "sc" and parameters ``basal``, ``weight`` and ``gb``.
        parameters: (n, individual parameters).
        threads: at most (default: as many as there are cores).
    """
    parameters = np.ascontiguousarray(parameters, dtype=float)
    trial = _Trial(model, parameters, WATCHED, threads)
    bolus = _bolus(trial)
    fed = trial.glucose(trial.fed, bolus)
    nudge = NUDGE * trial.weight
    fall = trial.glucose(trial.rest, 0.0) - trial.glucose(trial.rest, nudge)
    off = trial.glucose(held_inputs(model, trial.rest.shape[1], 0 * trial.basal), 0.0)
    with np.errstate(divide="ignore"):
        carb_ratio = trial.grams / bolus
    return Ratios(
        carb_ratio,
        fall.max(axis=1) / nudge,
        fed.min(axis=1),
        fed.max(axis=1) - trial.first,
        off[:, -1] - trial.first,
    )


def _bolus(trial: _Trial) -> np.ndarray:
    """The bolus (U) that brings glucose back to its start after ``BACK`` minutes; 0 where none is needed.

    Regula falsi (Illinois) in the bolus, all patients at once: glucose falls steadily with it.
    """
    until = round(BACK / INTERVAL)
    fed = np.ascontiguousarray(trial.fed[:, :until])

    def excess(bolus: np.ndarray, who: np.ndarray | slice = slice(None)) -> np.ndarray:
        return trial.glucose(fed, bolus, who)[:, -1] - trial.first[who]

    low, high = np.zeros_like(trial.grams), trial.grams / 10  # 10 g/U to begin with
    above, below = excess(low), excess(high)
    for _ in range(8):  # 10 g/U, then half of that, … until it is too much
        short = np.flatnonzero(below > 0)
        if not len(short):
            break
        high[short] *= 2
        below[short] = excess(high[short], short)
    found = np.where(above <= 0, 0.0, np.nan)
    found = np.where((below > 0) & (above > 0), high, found)  # beyond 0.04 g/U nothing is sought
    for _ in range(ROUNDS):
        left = np.flatnonzero(np.isnan(found))
        if not len(left):
            break
        a, b, fa, fb = low[left], high[left], above[left], below[left]
        middle = a + (b - a) * fa / (fa - fb)
        now = excess(middle, left)
        up = now > 0
        # the end that stays is halved, so that both close in
        above[left], below[left] = np.where(up, now, fa / 2), np.where(up, fb / 2, now)
        low[left], high[left] = np.where(up, middle, a), np.where(up, b, middle)
        found[left] = np.where(np.abs(now) < CLOSE, middle, np.nan)
    return np.where(np.isnan(found), (low + high) / 2, found)
