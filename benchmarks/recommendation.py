"""A recommendation end to end, a dose × interval grid, compiling a new model. (Starting up: startup.py.)

.venv/bin/python benchmarks/recommendation.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import doseloop as dl
import numpy as np
from common import rounds, save, show
from doseloop.controller.situation import Grid, courses, unit_courses
from doseloop.pkpd.individuals import individual_kernel
from doseloop.pkpd.system import system
from problems import _rhs as equations
from problems import two_compartment_oral
from twin_cases import vancomycin_record


def grid_seconds(count: int, draws: int) -> float:
    """11 amounts × 4 intervals for a simulated adult on vancomycin, over so many draws, exact courses of each."""
    therapy = dl.therapies.load("vancomycin")
    record = vancomycin_record(0, therapy.models[0])
    twin = dl.sync(therapy, record)
    part = twin.parts[0]
    drawn = [(part, np.tile(part.map, (draws, 1)) if draws == 1 else twin.parts[0].eta[:draws])]
    weight = record.covariates_at(record.now)["weight"]
    amounts = therapy.action.amounts(weight)
    grids = [Grid.of(therapy, record, weight, i, None) for i in therapy.action.intervals]
    bases = [courses(drawn, therapy.output, record, [dl.Regimen()], g.times) for g in grids]
    lags = np.unique(np.concatenate([g.lags() for g in grids]))
    lengths = sorted({grids[0].length(a) for a in amounts})

    def run() -> None:
        units = unit_courses(drawn, therapy, record, lengths, lags)
        for g, b in zip(grids, bases):
            g.evaluate(drawn, [(a, a) for a in amounts], b, units)

    return rounds({"grid": run}, count)["grid"]["median"]


def compile_seconds() -> float:
    """Trace and compile all kernels of a model never seen, simulation and sensitivities."""
    number = time.time() % 1000  # makes its text new, so that no cache can help

    def scaled(t: Any, x: Any, p: Any, u: Any) -> dict[str, Any]:
        return {name: v * (1.0 + 1e-12 * number) for name, v in equations(t, x, p, u).items()}

    start = time.perf_counter()
    model = replace(two_compartment_oral("new"), rhs=scaled)
    for directions in (0, 3):
        s = system(model, directions)
        for kernel in ("rhs", "outputs", "propagator", "advance"):
            s.kernel(kernel)
    individual_kernel(model, True)
    return time.perf_counter() - start


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    results: dict[str, float] = {}
    for name in ("phenobarbital", "vancomycin"):
        therapy = dl.therapies.load(name)
        infant = name == "phenobarbital"
        record = dl.example(therapy)[0] if infant else vancomycin_record(0, therapy.models[0])
        s = rounds({"r": lambda t=therapy, r=record: dl.recommend(t, r)}, args.rounds)["r"]
        results[f"recommendation {name}, warm, ms"] = 1e3 * s["median"]
    for draws in (1, 200):
        results[f"grid of 11 amounts x 4 intervals, vancomycin, {draws} draw{'s' * (draws > 1)}, ms"] = (
            1e3 * grid_seconds(args.rounds, draws)
        )
    results["a new two-compartment model traced and compiled (9 kernels), s"] = float(
        np.median([compile_seconds() for _ in range(3)])
    )
    save("recommendation", {"results": results})
    show([(k, f"{v:.3g}") for k, v in results.items()])


if __name__ == "__main__":
    main()
