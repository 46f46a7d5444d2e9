"""numbalsoda's LSODA and DOP853 on the problem of a folder: patients in one compiled loop, restarted at every edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
from ivp import in_numba, read
from numbalsoda import dop853, lsoda, lsoda_sig
from worker import serve


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    problem = read(folder)
    rhs, outputs = in_numba(problem)
    m, nu = problem.p.shape[1], problem.u.shape[2]
    ny = 64

    @nb.cfunc(lsoda_sig)
    def f(t, x, dx, data):  # type: ignore[no-untyped-def]
        rhs(t, x, nb.carray(data, m), nb.carray(data, m + nu)[m:], dx)

    address = f.address

    def loop(method: Any) -> Any:
        @nb.njit(error_model="numpy")
        def everybody(n, P, X0, edges, jump, U, times, first, columns, rtol, atol):  # type: ignore[no-untyped-def]
            levels = np.empty((n, times.shape[0], columns.shape[0]))
            data, y = np.empty(m + nu), np.empty(ny)
            for i in range(n):
                x = X0[i].copy()
                data[:m] = P[i]
                for s in range(edges.shape[0] - 1):
                    data[m:] = U[i, s]
                    a, b = first[s], first[s + 1]
                    last = 1 if b > a and times[b - 1] == edges[s + 1] else 0
                    grid = np.empty(b - a + 2 - last)
                    grid[0] = edges[s]
                    grid[1 : 1 + b - a] = times[a:b]
                    grid[-1] = edges[s + 1]
                    got, ok = method(address, x + jump[s], grid, data, rtol, atol, 1_000_000)  # steps: all it takes
                    if not ok:
                        raise RuntimeError("the solver gave up")
                    for k in range(b - a):
                        outputs(grid[1 + k], got[1 + k], P[i], U[i, s], y)
                        for c in range(columns.shape[0]):
                            levels[i, a + k, c] = y[columns[c]]
                    x = got[-1].copy()
            return levels

        return everybody

    loops = {"LSODA": loop(lsoda), "DOP853": loop(dop853)}
    q = problem
    first = q.first

    def run(how: dict[str, Any]) -> np.ndarray:
        loop = loops[how["method"]]
        return loop(
            how["patients"], q.p, q.x0, q.edges, q.jump, q.u, q.times, first, q.columns, how["rtol"], how["atol"]
        )

    return run


if __name__ == "__main__":
    serve(start, "numbalsoda", "numba", "numpy")
