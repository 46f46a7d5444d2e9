"""simglucose's own patient through the day: `T1DPatient.step`, SciPy's dopri5 at its own settings, by the minute."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

from ivp import read  # noqa: E402
from simglucose.patient.t1dpatient import Action, T1DPatient  # noqa: E402
from worker import serve  # noqa: E402


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    q = read(folder)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    carbs, rate = about["extra"] or (0, q.u.shape[2] - 1)
    which = np.searchsorted(q.edges, np.arange(int(q.edges[-1])) + 0.5) - 1

    def one(i: int) -> np.ndarray:
        patient = T1DPatient.withName(about["names"][i % len(about["names"])])
        series = patient._params  # the same numbers, read faster: attributes in place of pandas
        patient._params = SimpleNamespace(**series.to_dict(), iloc=series.iloc)
        seen = []
        for k in which:
            patient.step(Action(CHO=float(q.u[i, k, carbs]), insulin=float(q.u[i, k, rate])))
            seen.append((patient.state[3] / series.Vg, patient.state[12] / series.Vg))
        return np.array(seen)[np.round(q.times).astype(int) - 1]

    return lambda how: np.array([one(i) for i in range(how["patients"])])


if __name__ == "__main__":
    serve(start, "simglucose", "scipy", "numpy")
