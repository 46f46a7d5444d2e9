"""How wrong the fixed steps of loops are, model by model, and which step keeps the promise.

Glucose models: a day of three meals with boluses, inputs changing by the minute, patients from the model's own
variability; the fixed step against the adaptive method at 1e-10, which restarts at every change of an input. Promise:
0.01 mg/dL over the day. Anaesthesia models that are not linear: induction, two rates and emergence over three hours in
5-s intervals. Promise: 1e-3 of BIS, 0.01 of mmHg and of beats. Linear models take one exact step and need none.

    .venv/bin/python benchmarks/steps.py [--patients 256] [--model id]
"""

from __future__ import annotations

import argparse
import itertools
import math
from typing import Any

import numpy as np
from common import save
from doseloop import models
from doseloop.pkpd.engine import Method
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.march import march_of
from doseloop.pkpd.model import Model
from doseloop.pkpd.population import Prepared, starting_states
from doseloop.pkpd.regimen import Infusion, Regimen
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.system import system
from doseloop.virtual.course import course

PROMISE = {"mg/dL": 1e-2, "1": 1e-3, "mmHg": 1e-2, "1/min": 1e-2, "bpm": 1e-2}
STEPS = (1.0, 0.5, 1 / 3, 0.25, 0.2, 0.1, 0.05)  # parts of a minute


def people(model: Model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and starting states of patients from the model's own variability, covariates in their middle half."""
    rng = np.random.Generator(np.random.Philox(key=[7, count]))
    low, high = (np.array([getattr(c, s) for c in model.covariates]) for s in ("low", "high"))
    cov = rng.uniform(0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, (count, len(low)))
    codes = [c.unit == "1" for c in model.covariates]
    cov[:, codes] = np.round(rng.uniform(low, high, cov.shape))[:, codes]
    eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, count) if model.effects else None
    p = individuals(model, cov, eta)
    return p, starting_states(system(model), p)


def day(model: Model, p: np.ndarray) -> tuple[float, np.ndarray]:
    """Glucose: (1 min, inputs (n, 1440, inputs + routes)): meals of 0.7, 1 and 0.9 g/kg over 10 min, 10 g/U."""
    names, n = list(model.individual_units), len(p)
    inputs, U = model.names("inputs"), np.zeros((n, 1440, len(model.inputs) + len(model.routes)))
    U[:, :, : len(inputs)] = [i.typical for i in model.inputs]
    at = len(inputs) + model.names("routes").index("sc")
    weight = p[:, names.index("weight")]
    U[:, :, at] = p[:, names.index("basal")][:, None] / 60
    for start, per_kg in ((7 * 60, 0.7), (12 * 60, 1.0), (19 * 60, 0.9)):
        grams, minutes = per_kg * weight, 10
        U[:, start : start + minutes, inputs.index("carbs")] = grams[:, None] / minutes
        if "meal" in inputs:
            eaten = grams[:, None] * np.minimum(np.arange(1, 1441 - start) / minutes, 1)
            U[:, start:, inputs.index("meal")] = eaten[:, : 1440 - start]
        U[:, start, at] += grams / 10
    return 1.0, U


def operation(model: Model, p: np.ndarray) -> tuple[float, np.ndarray]:
    """Anaesthesia: induction, two rates, emergence, in 5-s intervals over three hours; every route at once."""
    names, n = list(model.individual_units), len(p)
    U = np.zeros((n, 3 * 720, len(model.inputs) + len(model.routes)))
    U[:, :, : len(model.inputs)] = [i.typical for i in model.inputs]
    weight = p[:, names.index("weight")] if "weight" in names else np.full(n, 70.0)
    usual = {"propofol": (2.0, 0.15), "remifentanil": (1.0, 0.2)}  # per kg at induction; per kg and min after
    for k, route in enumerate(model.names("routes")):
        bolus, rate = usual.get(route, (1.0, 0.1))
        at = len(model.inputs) + k
        U[:, :6, at] = bolus * weight[:, None] / 0.5
        U[:, 6:720, at], U[:, 720:1440, at] = rate * weight[:, None], 0.6 * rate * weight[:, None]
    return 1 / 12, U


def exact(model: Model, p: np.ndarray, x0: np.ndarray, interval: float, U: np.ndarray) -> np.ndarray:
    """Outputs (n, intervals, outputs) by the adaptive method at 1e-10, restarted at every change of an input."""
    n, many = U.shape[:2]
    inputs, schedules = len(model.inputs), []
    times = interval * np.arange(1, many + 1)
    for rows in U:
        s, doses = Schedule(model, 0.0), []
        s.observe(times)
        for k in range(inputs + len(model.routes)):
            edges = [0, *(np.flatnonzero(np.diff(rows[:, k])) + 1).tolist(), many]
            for a, b in itertools.pairwise(edges):
                value, length = float(rows[a, k]), (b - a) * interval
                if k < inputs:
                    s.set_input(a * interval, k, value)
                elif value > 0:
                    name = model.routes[k - inputs].name
                    doses.append(Infusion(value * length, a * interval, duration=length, route=name))
        s.regimen(Regimen(*doses), times[-1])
        schedules.append(s)
    how = Method("adaptive", rtol=1e-10, atol=1e-10)
    Y, status = Prepared(system(model), schedules, how).run(p, x0=x0)
    if status.any():
        raise RuntimeError(f"{model.id}: the adaptive method failed for patients {np.flatnonzero(status).tolist()}")
    return Y.reshape(n, many, -1)


class Trial:
    """Patients of a model, what they are given, and their exact course."""

    def __init__(self, model: Model, patients: int) -> None:
        self.model = model
        self.p, self.x0 = people(model, patients)
        self.interval, self.U = (day if model.routes[0].name == "sc" else operation)(model, self.p)
        self.expected = exact(model, self.p, self.x0, self.interval, self.U)

    def errors(self, step: float) -> dict[str, float]:
        """Largest error of each output by steps of this length."""
        got, _ = course(march_of(self.model, self.interval, step), self.p, self.x0, self.U)
        worst = np.abs(got - self.expected).max(axis=(0, 1)).tolist()
        return dict(zip(self.model.names("outputs"), worst))

    def keeps(self, errors: dict[str, float]) -> bool:
        """Whether the promise is kept."""
        return all(errors[o.name] <= PROMISE[o.unit] for o in self.model.outputs if o.unit in PROMISE)


def measure(model: Model, patients: int) -> dict[str, Any]:
    """Largest error of each output at each step, and the longest step that keeps the promise."""
    trial = Trial(model, patients)
    steps = [part * min(1.0, trial.interval) for part in STEPS]
    errors = {step: trial.errors(step) for step in steps if step <= trial.interval}
    kept = [step for step, e in errors.items() if trial.keeps(e)]
    return {
        "declared_step": model.step,
        "longest_step_that_keeps_the_promise": max(kept, default=math.nan),
        "largest_error": {f"{step:.6g}": e for step, e in errors.items()},
    }


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=256)
    parser.add_argument("--model", default="")
    args = parser.parse_args()
    chosen = [models.load(args.model)] if args.model else [m for m in models.all_models() if math.isfinite(m.step)]
    results = {m.id: measure(m, args.patients) for m in chosen}
    if not args.model:
        save("steps", {"patients": args.patients, "promise": PROMISE, "results": results})
    for name, r in results.items():
        print(f"{name}: declared {r['declared_step']:g} min, kept by {r['longest_step_that_keeps_the_promise']:g} min")
        for step, errors in r["largest_error"].items():
            print(f"  {step:>8} min  " + ", ".join(f"{o} {e:.1e}" for o, e in errors.items()))


if __name__ == "__main__":
    main()
