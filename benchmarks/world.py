"""How fast virtual patients live: the compiled simulators alone, and whole worlds with sensors, pumps and disturbances.

Asked for: S2008 at its default step 1e7 patient-minutes/s on a core, Eleveld with BIS 3e7 patient-seconds/s;
environments (issue 4) 1e6 glucose steps (5 min) and 3e6 propofol steps (5 s) per second and core. "CPU" counts the
processor's seconds, which a busy machine disturbs less than the clock on the wall.

    .venv/bin/python benchmarks/world.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from common import save
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.jit import jit
from doseloop.virtual import core
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.people import People
from doseloop.virtual.world import LoopWorld

GLUCOSE = ("glucose_t1d_uvapadova2008", "glucose_t1d_uvapadova2013", "glucose_t1d_hovorka2004")
DEPTH = ("propofol_eleveld2018", "propofol_remifentanil_bouillon2004")
SIZES = (1, 64, 1024, 4096)


@jit
def bare(job, first, last, ticks):  # type: ignore[no-untyped-def]
    """The plant alone: integrator and outputs, nothing around them."""
    for b in range(first, last, 2):
        for _ in range(ticks):
            core.advance(job, b, min(2, last - b))


def people(name: str, n: int) -> People:
    """n people of a model, a tenth of its variability (the arithmetic does not depend on it)."""
    model = load(name)
    covariates = np.tile([c.typical for c in model.covariates], (n, 1)).reshape(n, -1)
    eta = 0.1 * np.random.default_rng(1).multivariate_normal(np.zeros(len(model.effects)), model.omega, n)
    p = individuals(model, covariates, eta)
    column = dict(zip(model.individual_units, p.T))
    known = {k: column[k].copy() for k in ("weight", "basal") if "basal" in column}
    return People(model, p, covariates, known, np.arange(n), np.array(["adult"] * n), eta)


def world(name: str, n: int, threads: int = 1) -> LoopWorld:
    """The usual world of a model."""
    if name in GLUCOSE:
        return GlucoseWorld(people(name, n), start=360.0, threads=threads)
    return AnaesthesiaWorld(people(name, n), surgery="struys2004", threads=threads)


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    work, amount, unit = {}, {}, {}
    for name in (*GLUCOSE, *DEPTH):
        w = world(name, 1024)
        w.reset(1)
        ticks = 60
        key = f"{name}, bare, 1,024 patients"
        work[key] = lambda w=w, t=ticks: bare(w._address, 0, w.blocks, t)
        amount[key] = 1024 * ticks * (1 if name in GLUCOSE else 5)
        unit[key] = "patient-minutes/s" if name in GLUCOSE else "patient-seconds/s"
    for name in (GLUCOSE[0], GLUCOSE[2], *DEPTH):
        for n in SIZES:
            for threads in (1, 2) if n >= 1024 else (1,):
                w = world(name, n, threads)
                w.reset(1)
                dose = np.array([1.0, 0.0]) if name in GLUCOSE else np.full(len(w.actions), 8.0)
                action, count = np.tile(dose, (n, 1)), max(4, 20_000 // n)
                key = f"{name}, world, {n:,} patients, {threads} thread{'s' * (threads > 1)}"
                work[key] = lambda w=w, a=action, c=count: [w.step(a) for _ in range(c)]
                amount[key], unit[key] = n * count, "steps/s"
    wall: dict[str, list[float]] = {k: [] for k in work}
    cpu: dict[str, list[float]] = {k: [] for k in work}
    for run in work.values():
        run()
    for _ in range(args.rounds):
        for name, run in work.items():
            w0, c0 = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - w0)
            cpu[name].append(time.process_time() - c0)
    results = {
        k: {
            "unit": unit[k],
            "per_second": amount[k] / statistics.median(wall[k]),
            "per_cpu_second": amount[k] / statistics.median(cpu[k]),
            "best_per_cpu_second": amount[k] / min(cpu[k]),
        }
        for k in work
    }
    steps = {name: world(name, 8)._march.steps for name in (*GLUCOSE, *DEPTH)}
    save("world", {"integrator_steps_a_tick": steps, "results": results})
    for k, r in results.items():
        values = " ".join(f"{r[v] / 1e6:8.2f}" for v in ("per_second", "per_cpu_second", "best_per_cpu_second"))
        print(f"{k:<66} {values} million {r['unit']} (wall, CPU, best CPU)")


if __name__ == "__main__":
    main()
