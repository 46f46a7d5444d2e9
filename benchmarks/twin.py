"""The twin: MAP, posterior, local optima; beside SciPy's optimiser on the same likelihood.

.venv/bin/python benchmarks/twin.py [--rounds 5]
"""

from __future__ import annotations

import argparse

import doseloop as dl
import numpy as np
from common import rounds, save, show
from doseloop import models
from doseloop.twin.cohort import Cohort
from doseloop.twin.layout import lay_out
from doseloop.twin.posterior import posterior, starting_points
from scipy.optimize import minimize
from twin_cases import phenytoin_record, vancomycin_record


def map_of(model: dl.Model, records: list[dl.Record], count: int) -> dict[str, float]:
    """Milliseconds for one patient's MAP from one start and from eight, laid out and in a cohort; local optima."""
    cohort = Cohort([lay_out(model, r) for r in records])
    starts = starting_points(model.omega)
    n, K = len(records), cohort.K
    one = [Cohort([lay_out(model, r)]) for r in records[:10]]
    everybody = np.repeat(np.arange(n), len(starts))
    seconds = rounds(
        {
            "cohort, 1 start": lambda: cohort.fit(np.arange(n), np.zeros((n, K))),
            "cohort, 8 starts": lambda: cohort.fit(everybody, np.tile(starts, (n, 1))),
            "alone, 1 start": lambda: [c.fit(np.zeros(1, dtype=int), np.zeros((1, K))) for c in one],
            "alone, 8 starts": lambda: [c.fit(np.zeros(8, dtype=int), starts) for c in one],
            "alone, 8 starts, from the record": lambda: [
                Cohort([lay_out(model, r)]).fit(np.zeros(8, dtype=int), starts) for r in records[:10]
            ],
        },
        count,
    )
    out = {f"{k}, ms": 1e3 * s["median"] / (n if k.startswith("cohort") else 10) for k, s in seconds.items()}
    single, several = cohort.fit(np.arange(n), np.zeros((n, K))), cohort.fit(everybody, np.tile(starts, (n, 1)))
    best = several["f"].reshape(n, -1).min(axis=1)
    out["patients whose first start ends in a worse optimum than the best of eight"] = int(
        (single["f"] > best + 1e-6).sum()
    )
    fail = several["state"].reshape(n, -1)
    out["patients with no converged start"] = int((~np.isin(fail, (1, 2)).any(axis=1)).sum())
    out["patients"] = n
    c0 = one[0]
    out["SciPy L-BFGS-B on the same compiled likelihood, ms"] = (
        1e3
        * rounds({"s": lambda: minimize(lambda e: c0.objective(0, e[None, :])[0], np.zeros(K), method="L-BFGS-B")}, 3)[
            "s"
        ]["median"]
    )
    return out


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    therapy = dl.therapies.load("phenobarbital")
    infants = dl.example(therapy)
    goti, mm = models.load("vancomycin_adult_goti2018"), models.load("phenytoin_adult_grasela1983")
    adults = [vancomycin_record(i, goti) for i in range(60)]
    results = {
        "MAP phenobarbital (59 infants, closed form)": map_of(therapy.models[0], infants, args.rounds),
        "MAP vancomycin Goti (60 simulated, two compartments)": map_of(goti, adults, args.rounds),
        "MAP phenytoin (60 simulated, Michaelis-Menten ODE)": map_of(
            mm, [phenytoin_record(i, mm) for i in range(60)], args.rounds
        ),
    }
    for name, model, records in (
        ("phenobarbital", therapy.models[0], infants[:10]),
        ("vancomycin Goti", goti, adults[:10]),
    ):
        s = rounds({"p": lambda m=model, r=records: [posterior([m], x, draws=2000) for x in r]}, args.rounds)["p"]
        parts = [posterior([model], x, draws=2000).parts[0] for x in records]
        results[f"posterior {name}"] = {
            "ms": 1e3 * s["median"] / len(records),
            "least effective draws of 2000": min(p.ess for p in parts),
            "median effective draws": float(np.median([p.ess for p in parts])),
        }
    save("twin", {"results": results})
    for title, values in results.items():
        print(title)
        show([(f"  {k}", f"{v:.4g}") for k, v in values.items()])


if __name__ == "__main__":
    main()
