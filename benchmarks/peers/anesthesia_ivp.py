"""python-anesthesia-simulator's own Eleveld patients (`CompartmentModel`: discretised exactly, every 10 s)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")

from ivp import read  # noqa: E402
from python_anesthesia_simulator import pk_models  # noqa: E402
from worker import serve  # noqa: E402


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    q = read(folder)
    people = json.loads((folder / "about.json").read_text(encoding="utf-8"))["extra"]
    which = np.searchsorted(q.edges, q.times - 1 / 12) - 1

    def one(i: int) -> np.ndarray:
        age, height, weight, sex = (people[k][i] for k in ("age", "height", "weight", "sex"))
        male = 1 - sex  # doseloop: 1 is female
        drug = pk_models.CompartmentModel([age, height, weight, male], 0.0, "Propofol", model="Eleveld", ts=10)
        rates = q.u[i, which, 0] / 60  # mg/s
        x = drug.full_sim(np.append(rates, 0.0))  # state k is that before rate k
        return x[[0, 3], 1:].T

    return lambda how: np.array([one(i) for i in range(how["patients"])])


if __name__ == "__main__":
    serve(start, "python-anesthesia-simulator", "control", "numpy")
