"""python-anesthesia-simulator's side of benchmarks/envs.py: its patient as an environment, which it does not bring."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")

from python_anesthesia_simulator import Patient  # noqa: E402
from stepping import Stepping, children_too  # noqa: E402
from worker import serve  # noqa: E402


class Environment:
    """Reset and step around `Patient.one_step`, as thin as can be: 5 s, propofol alone, its noise, no data frame."""

    STEPS = 720

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Another patient of the same size."""
        if seed is not None:
            np.random.seed(seed)  # noqa: NPY002 - what the library draws from
        self.patient = Patient(
            [40, 170, 70, 0], model_propo="Eleveld", ts=5, random_PK=True, random_PD=True, save_data_bool=False
        )
        self.elapsed = 0
        return np.array([self.patient.bis, self.patient.map]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """``action``: mg/s."""
        bis, _, pressure, _ = self.patient.one_step(u_propo=float(action[0]), noise=True)
        self.elapsed += 1
        return np.array([bis, pressure]), -abs(float(bis) - 50.0) / 50.0, False, self.elapsed >= self.STEPS, {}


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    """One patient at a time."""
    return Stepping({"anesthesia": Environment})


if __name__ == "__main__":
    serve(start, "python-anesthesia-simulator", "control", "numpy", clock=children_too)
