"""SciPy on the problem of a folder: `solve_ivp` patient by patient, restarted at every edge; equations by Numba."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ivp import Problem, in_numba, read
from scipy.integrate import solve_ivp
from worker import serve


def solver(problem: Problem) -> Callable[[dict[str, Any]], np.ndarray]:
    """``run({"method", "rtol", "atol", "patients"})`` -> outputs (patients, times, columns)."""
    rhs, outputs = in_numba(problem)
    first, states = problem.first, problem.x0.shape[1]
    out = np.empty(64)

    def one(i: int, how: dict[str, Any]) -> np.ndarray:
        x, p, levels = problem.x0[i].copy(), problem.p[i], []
        for s, (start, stop) in enumerate(zip(problem.edges, problem.edges[1:])):
            u = problem.u[i, s]

            def f(t: float, x: np.ndarray, u: np.ndarray = u) -> np.ndarray:
                dx = np.empty(states)
                rhs(t, x, p, u, dx)
                return dx

            at = problem.times[first[s] : first[s + 1]]
            seen = at if len(at) and at[-1] == stop else np.append(at, stop)
            r = solve_ivp(
                f, (start, stop), x + problem.jump[s], how["method"], seen, rtol=how["rtol"], atol=how["atol"]
            )
            if r.status != 0:
                raise RuntimeError(r.message)
            for k, t in enumerate(at):
                outputs(t, np.ascontiguousarray(r.y[:, k]), p, u, out)
                levels.append(out[problem.columns])
            x = r.y[:, -1]
        return np.array(levels)

    return lambda how: np.array([one(i, how) for i in range(how["patients"])])


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    return solver(read(folder))


if __name__ == "__main__":
    serve(start, "scipy", "numba", "numpy")
