"""simglucose's own right-hand side over the day in a folder's ``in.npz``; benchmarks/uvapadova.py runs it.

Each minute is integrated anew by DOP853 at rtol 1e-12, so that no step crosses a change of input. The sums of a meal
(its start, what was eaten since) are kept as in T1DPatient.step.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.integrate import solve_ivp
from simglucose.patient.t1dpatient import PATIENT_PARA_FILE, Action, T1DPatient


def day(row, carbs, insulin):
    """(minutes, 2): plasma and subcutaneous glucose, mg/dL, at each minute's end; g/min and U/min are held."""
    p = SimpleNamespace(**{k: v for k, v in row.items() if k.isidentifier()})
    x, last, start, eaten, out = row.iloc[2:15].to_numpy(dtype=float), 0.0, None, 0.0, []
    start = x[0] + x[1]
    for minute, (cho, rate) in enumerate(zip(carbs, insulin)):
        if cho > 0 and last <= 0:
            start, eaten = x[0] + x[1], 0.0
        if cho > 0:
            eaten += cho
        last = cho
        action = Action(CHO=cho, insulin=rate)
        got = solve_ivp(
            lambda t, y, a=action, s=start, e=eaten: T1DPatient.model(t, y, a, p, s, e),
            (minute, minute + 1),
            x,
            method="DOP853",
            rtol=1e-12,
            atol=1e-12,
        )
        x = got.y[:, -1]
        out.append((x[3] / p.Vg, x[12] / p.Vg))
    return np.array(out)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    data = np.load(folder / "in.npz")
    table = pd.read_csv(PATIENT_PARA_FILE)
    rows = [table.loc[table.Name == name].squeeze() for name in data["names"]]
    levels = [day(*every) for every in zip(rows, data["carbs"], data["insulin"])]
    np.save(folder / "out.npy", np.array(levels))
    (folder / "out.json").write_text(json.dumps({"patients": len(rows)}))
