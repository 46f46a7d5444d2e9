"""Tunes the PID of BIS: least mean IAE over an operation, on the train split; looked at on the validation split.

Induction and Struys's profile of stimulation, 60 min, patients of Eleveld's cohort, the usual monitor (noise, delay,
artefacts) and pump. Differential evolution over seven numbers (the three gains of each phase and the low-pass). The
defaults of `policies.pid` are these, rounded to two digits; tests/test_pid.py holds them to the saved results.

    .venv/bin/python benchmarks/pid_tuning.py [--patients 200] [--generations 20] [--surgery struys2004]

Eleven minutes on one of two shared cores. With another ``--surgery`` the results stand in a file of that name.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

import numpy as np
from common import save, show
from doseloop.policies.pid import PID, Gains, PIDTuning
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_scores import anaesthesia_scores
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from scipy.optimize import differential_evolution

MODEL, MINUTES = "propofol_eleveld2018", 60
BOUNDS = {  # kp mg/min per BIS at 70 kg; the rest min
    "induction kp": (0.3, 15),
    "induction ti": (1, 100),
    "induction td": (0.02, 4),
    "maintenance kp": (0.1, 6),
    "maintenance ti": (0.5, 30),
    "maintenance td": (0.02, 4),
    "filter": (0.02, 1),
}


def tuning_of(logs: np.ndarray) -> PIDTuning:
    v = [float(f"{x:.2g}") for x in np.exp(logs)]
    return PIDTuning(Gains(*v[:3]), Gains(*v[3:6]), v[6])


class Operations:
    """The same patients, noise and stimulation for every tuning."""

    def __init__(self, split: str, n: int, surgery: str) -> None:
        self.people = anaesthesia_cohort(MODEL, split, n)
        self.world = AnaesthesiaWorld(self.people, surgery=surgery, keep=True)

    def bis(self, tuning: PIDTuning, seed: int = 1) -> np.ndarray:
        """(n, ticks) true BIS."""
        policy = PID(self.world.interval, tuning)
        seen = self.world.reset(seed=seed)
        policy.reset(self.people.known, len(self.people))
        for _ in range(round(MINUTES / self.world.interval)):
            seen = self.world.step(policy.act(seen))
        return self.world.trace

    def scores(self, tuning: PIDTuning, seed: int = 1) -> dict[str, float]:
        whole = self.bis(tuning, seed)
        late = anaesthesia_scores(whole, since=10.0)
        early = anaesthesia_scores(whole, until=10.0)
        return {
            "mean IAE, BIS·s": float(anaesthesia_scores(whole)["iae"].mean()),
            "in 40-60, 10-60 min, %": float(late["in_range"].mean()),
            "MDAPE, 10-60 min, %": float(late["mdape"].mean()),
            "wobble, 10-60 min, %": float(late["wobble"].mean()),
            "below 40 in induction, % of cases": float(100 * early["went_below40"].mean()),
            "median settling, min": float(np.median(late["settling"])),
        }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--patients", type=int, default=200)
    arguments.add_argument("--generations", type=int, default=20)
    arguments.add_argument("--surgery", default="struys2004")
    a = arguments.parse_args()
    train, start = Operations("train", a.patients, a.surgery), time.perf_counter()

    def cost(logs: np.ndarray) -> float:
        return float(anaesthesia_scores(train.bis(tuning_of(logs)))["iae"].mean())

    def progress(logs: np.ndarray, convergence: float) -> None:
        print(f"{time.perf_counter() - start:6.0f} s  {cost(logs):8.0f}  {tuning_of(logs)}", flush=True)

    found = differential_evolution(
        cost,
        [tuple(np.log(b)) for b in BOUNDS.values()],
        maxiter=a.generations,
        popsize=10,
        rng=1,
        polish=False,
        tol=1e-3,
        callback=progress,
    )
    best = tuning_of(found.x)
    results = {
        "patients": a.patients,
        "surgery": a.surgery,
        "evaluations": int(found.nfev),
        "tuning": asdict(best),
        "train": train.scores(best),
        "validation": Operations("validation", a.patients, a.surgery).scores(best, seed=2),
    }
    save("pid_tuning" if a.surgery == "struys2004" else f"pid_tuning_{a.surgery}", results)
    show([(k, f"{v:.2f}") for k, v in results["validation"].items()])


if __name__ == "__main__":
    main()
