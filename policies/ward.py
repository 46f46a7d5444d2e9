"""Protocols of a ward: doses of vancomycin or phenobarbital from weight, age and creatinine, every interval anew."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import numpy as np

from ..therapies.therapy import Therapy
from ..virtual.bedside_cohort import clearance
from ..virtual.bedside_world import BedsideObservation
from .policy import Policy

__all__ = ["Nomogram", "UsualProtocol", "WardPolicy"]


class WardPolicy(Policy):
    """Chooses the doses (n, 1) in mg of n patients at every decision; 0 skips one. The guard has the last word."""

    @abc.abstractmethod
    def act(self, seen: BedsideObservation) -> np.ndarray:  # type: ignore[override]
        """The asked doses (n, 1), mg."""


class UsualProtocol(WardPolicy):
    """The therapy's usual protocol (`Therapy.protocol`): a first dose, then one dose at one interval for ever, chosen
    on admission (with the creatinine of that day, where there is one).

    Args:
        therapy: vancomycin or phenobarbital.
    """

    name = "usual protocol"

    def __init__(self, therapy: Therapy) -> None:
        self.therapy = therapy

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin."""
        self.known = known
        self.first, self.rest, self.every = np.zeros(n), np.zeros(n), np.ones(n)

    def _choose(self, seen: BedsideObservation) -> None:
        """Read the protocol's regimen for each patient on admission: first dose, second dose, the interval between."""
        for i in np.flatnonzero(seen.clock == 0):
            knows = {k: float(v[i]) for k, v in self.known.items()}
            if np.isfinite(seen.creatinine[i]):
                knows["scr"] = float(seen.creatinine[i])
            first, second, *_ = self.therapy.protocol(knows).doses
            self.first[i], self.rest[i], self.every[i] = first.amount, second.amount, second.time - first.time

    def act(self, seen: BedsideObservation) -> np.ndarray:  # type: ignore[override]
        """The dose that is due now."""
        self._choose(seen)
        due = np.mod(seen.clock, self.every) < 1e-9
        return np.where(seen.clock == 0, self.first, np.where(due, self.rest, 0.0))[:, None]


class Nomogram(WardPolicy):
    """Vancomycin by weight and creatinine clearance: 25 mg/kg, then what holds an AUC24 of 500 on average.

    Daily dose = 500 mg·h/L · CL with CL = 3.66 + 0.689 CrCl mL/min (Matzke 1984), CrCl by Cockcroft and Gault from the
    day's creatinine; every 12 h above 50 mL/min, 24 h above 25, else 48 h; in 250-mg steps. Levels are not looked at.
    """

    name = "nomogram"
    TARGET = 500.0

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin."""
        self.known, self.last = known, np.full(n, -np.inf)

    def act(self, seen: BedsideObservation) -> np.ndarray:  # type: ignore[override]
        """The dose that is due now."""
        k, step = self.known, lambda x, most: np.minimum(most, 250.0 * np.round(x / 250.0))
        clear = clearance(k["age"], k["weight"], k["sex"], seen.creatinine)
        every = np.where(clear > 50, 12.0, np.where(clear > 25, 24.0, 48.0))
        rest = step(self.TARGET * (3.66 + 0.689 * clear) * 0.06 * every / 24.0, 3000.0)
        due = seen.clock - self.last >= every - 1e-9
        dose = np.where(seen.clock == 0, step(25.0 * k["weight"], 3000.0), np.where(due, rest, 0.0))
        self.last = np.where(dose > 0, seen.clock, self.last)
        return dose[:, None]
