"""UVA/Padova S2008 beside `simglucose` 0.2.11: all thirty patients, 24 h, three meals with boluses, the same inputs.

simglucose is run in an environment of its own (made on the first run, or named by ``--python``): its own right-hand
side, tightened to rtol 1e-12 and restarted at each minute's inputs. Ours is the compiled march at the model's declared
step, and at 0.01 min. Parameters are read from that environment at run time; neither they nor the courses are kept.

    .venv/bin/python benchmarks/uvapadova.py [--python /elsewhere/bin/python]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from common import save
from doseloop.pkpd.march import march_of
from doseloop.virtual.course import course
from doseloop.virtual.meal import FASTING, SIMGLUCOSE, eat, stomach_rows
from doseloop.virtual.people import People
from doseloop.virtual.ratios import held_inputs
from doseloop.virtual.table import simglucose_people
from peers.environment import python_with

MINUTES = 1440
MEALS = ((7 * 60, 45.0), (12 * 60, 70.0), (18 * 60 + 30, 80.0))  # g; the usual benchmark's means
EAT = 5.0  # g/min


def day_inputs(people: People) -> tuple[np.ndarray, np.ndarray]:
    """Carbohydrate g/min and insulin U/min, (n, minutes); a meal's bolus by the patient's own ratio, in one minute."""
    n = len(people)
    carbs, insulin = np.zeros((n, MINUTES)), np.repeat(people.known["basal"][:, None] / 60, MINUTES, axis=1)
    for start, grams in MEALS:
        carbs[:, start : start + round(grams / EAT)] = EAT
        insulin[:, start] += grams / people.known["carb_ratio"]
    return carbs, insulin


def follow(people: People, carbs: np.ndarray, insulin: np.ndarray, step: float | None) -> tuple[np.ndarray, np.ndarray]:
    """(n, minutes, 2): plasma and subcutaneous glucose, mg/dL; and the inputs held, (n, minutes, inputs + routes)."""
    model, n = people.model, len(people)
    how, names = march_of(model, 1.0, step), model.names("inputs")
    stomach, memory = list(stomach_rows(model)), [FASTING] * n
    x, levels, given = people.start, [], []
    for minute in range(MINUTES):
        u = held_inputs(model, 1, insulin[:, minute])
        u[:, 0, names.index("carbs")] = carbs[:, minute]
        for i in range(n):
            memory[i] = eat(*memory[i], carbs[i, minute], x[i, stomach].sum() / 1000, 1.0, SIMGLUCOSE)
            u[i, 0, names.index("meal")] = memory[i][0] + memory[i][1]
        y, x = course(how, people.parameters, x, u)
        levels.append(y[:, 0])
        given.append(u[:, 0])
    return np.stack(levels, axis=1), np.stack(given, axis=1)


def ours(people: People, carbs: np.ndarray, insulin: np.ndarray, step: float | None) -> np.ndarray:
    """(n, minutes, 2): plasma and subcutaneous glucose, mg/dL, at each minute's end."""
    return follow(people, carbs, insulin, step)[0]


def held(people: People, carbs: np.ndarray, insulin: np.ndarray) -> np.ndarray:
    """The inputs of every minute, the meal's size among them, (n, minutes, inputs + routes)."""
    return follow(people, carbs, insulin, 0.05)[1]


def package_folder(python: Path) -> Path:
    """Where simglucose stands in that interpreter's environment."""
    find = "import importlib.util as u; print(u.find_spec('simglucose').origin)"
    return Path(subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.strip()).parent


def main() -> None:
    """Run and save the errors (no trajectory, no parameter)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="an interpreter that has simglucose")
    args = parser.parse_args()
    python = args.python or python_with("simglucose")
    if python is None:
        raise SystemExit(1)
    people = simglucose_people(package_folder(python))
    carbs, insulin = day_inputs(people)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "in.npz", names=people.ids, carbs=carbs, insulin=insulin)
        subprocess.run([python, Path(__file__).parent / "peers" / "simglucose_rhs.py", folder], check=True)
        theirs = np.load(Path(folder) / "out.npy")
    results = {}
    for name, step in {"declared step": None, "0.01 min": 0.01}.items():
        off = np.abs(ours(people, carbs, insulin, step) - theirs)
        results[name] = {
            "step": people.model.step if step is None else step,
            "worst_of_all": float(off.max()),
            "median_over_patients_of_the_worst": float(np.median(off.max(axis=(1, 2)))),
        }
    span = {"lowest_glucose": float(theirs[:, :, 0].min()), "highest_glucose": float(theirs[:, :, 0].max())}
    save("uvapadova", {"patients": len(people), "hours": MINUTES / 60, "unit": "mg/dL", **span, "results": results})
    for name, r in results.items():
        print(f"{name:<14} worst {r['worst_of_all']:.2e} mg/dL over {len(people)} patients and 24 h")
    print(f"glucose from {span['lowest_glucose']:.0f} to {span['highest_glucose']:.0f} mg/dL")


if __name__ == "__main__":
    main()
