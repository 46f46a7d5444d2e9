"""10,000 people, two compartments, oral, ten doses, 241 hourly levels: patients per second, and how wrong.

The exact, adaptive and RK4 paths, on one thread and two. The truth is mpmath's matrix exponential, 40 digits. Peers:
benchmarks/simulation.py.

    .venv/bin/python benchmarks/population.py [--patients 10000] [--rounds 5]
"""

from __future__ import annotations

import argparse

import doseloop as dl
import mpmath
import numpy as np
from common import rounds, save
from doseloop.pkpd.engine import set_threads
from problems import TIMES, population, regimen, two_compartment_oral

DOSES = 12.0 * np.arange(10)


def truth(p: np.ndarray) -> np.ndarray:
    """Concentrations of one person at 40 digits."""
    with mpmath.workdps(40):
        cl, v1, q, v2, ka = (mpmath.mpf(float(v)) for v in p)
        A = mpmath.matrix([[-ka, 0, 0], [ka, -(cl + q) / v1, q / v2], [0, q / v1, -q / v2]])
        step, x, out = mpmath.expm(A, method="taylor"), mpmath.matrix(3, 1), []
        for t in TIMES:
            out.append(x[1] / v1)
            if t in DOSES:
                x[0] += 100
            x = step * x
        return np.array([float(v) for v in out])


def errors(got: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Largest error relative to the level (wherever above a millionth of its peak), and relative to the peak."""
    peak = exact.max(axis=-1, keepdims=True)
    seen = exact > 1e-6 * peak
    off = np.abs(got - exact)
    return {
        "largest_relative_error": float(np.max(off[seen] / exact[seen])),
        "error_of_peak": float(np.max(off / peak)),
    }


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = two_compartment_oral()
    P = population(model, args.patients)
    few = np.arange(0, args.patients, max(1, args.patients // 8))[:8]
    exact = np.array([truth(P[i]) for i in few])
    irregular = np.sort(np.random.default_rng(2).uniform(0, 240, 241))
    # the tolerance that keeps the largest relative error under 1e-7
    methods = {
        "exact": dl.Method(),
        "adaptive": dl.Method("adaptive", rtol=3e-7, atol=1e-8),
        "rk4": dl.Method("rk4", step=0.1),
    }

    def run(method: dl.Method, threads: int, times: np.ndarray = TIMES) -> dl.Trajectory:
        set_threads(threads)
        return dl.simulate(model, P, regimen(), times, method=method)

    work = {f"{name}, 1 thread": (lambda m=m: run(m, 1)) for name, m in methods.items()}
    work |= {f"{name}, 2 threads": (lambda m=m: run(m, 2)) for name, m in methods.items()}
    work["exact, 241 irregular times, 1 thread"] = lambda: run(methods["exact"], 1, irregular)
    seconds = rounds(work, args.rounds)
    results = {}
    for name, s in seconds.items():
        results[name] = {"patients_per_second": args.patients / s["median"], "seconds": s}
    for name, m in methods.items():
        results[f"{name}, 1 thread"] |= errors(run(m, 1)["concentration"][few], exact)
    save("population", {"patients": args.patients, "results": results})
    for name, r in results.items():
        known = r.get("largest_relative_error")
        error = "" if known is None else f", error {known:.1e} ({r['error_of_peak']:.1e} of the peak)"
        print(f"{name:<40} {r['patients_per_second']:10,.0f} patients/s{error}")


if __name__ == "__main__":
    main()
