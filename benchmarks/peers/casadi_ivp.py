"""CasADi's CVODES on the problem of a folder: a map over patients, restarted at every edge."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
from ivp import read
from worker import serve


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    q = read(folder)
    rhs, outputs = (ca.Function.load(str(folder / f"{n}.casadi")) for n in ("rhs", "outputs"))
    x, p, u, t = (ca.MX.sym(n, size) for n, size in zip("xput", (q.x0.shape[1], q.p.shape[1], q.u.shape[2], 1)))
    dae = {"x": x, "p": p, "u": u, "t": t, "ode": rhs(t, x, p, u)}
    # pieces between jumps; inside a piece CVODES itself restarts where an input changes
    breaks = list(range(len(q.jump) + 1))
    pieces = []
    for a, b in itertools.pairwise(breaks):
        grid = np.unique([*q.edges[a : b + 1], *q.times[(q.times > q.edges[a]) & (q.times <= q.edges[b])]])
        held = np.clip(np.searchsorted(q.edges, grid[:-1], side="right") - 1, a, b - 1)
        seen = np.flatnonzero(np.isin(grid[1:], q.times))
        pieces.append((q.jump[a], grid - grid[0], held, seen))
    see = ca.Function("see", [x, p], [outputs(0, x, p)[q.columns.tolist()]])
    made: dict[Any, Any] = {}

    def integrator(grid: np.ndarray, how: dict[str, Any]) -> Any:
        key = (how["rtol"], how["atol"], how["patients"], grid.tobytes())
        if key not in made:
            options = {"reltol": how["rtol"], "abstol": how["atol"], "max_num_steps": 1_000_000}
            one = ca.integrator("one", "cvodes", dae, 0.0, grid[1:].tolist(), options)
            made[key] = one.map(how["patients"], "serial")
        return made[key]

    def run(how: dict[str, Any]) -> np.ndarray:
        n, states, levels = how["patients"], q.x0[: how["patients"]].T, []
        P = q.p[:n].T
        for jump, grid, held, seen in pieces:
            steps = len(grid) - 1
            U = np.concatenate([q.u[i, held].T for i in range(n)], axis=1)
            r = integrator(grid, how)(x0=states + jump[:, None], p=P, u=U)
            X = r["xf"]
            full = X.full().reshape(len(jump), n, steps)
            states = full[:, :, -1]
            if len(seen):
                flat = full[:, :, seen].reshape(len(jump), -1)
                y = see.map(flat.shape[1])(flat, np.repeat(P, len(seen), axis=1)).full()
                levels.append(y.reshape(len(q.columns), n, len(seen)))
        return np.concatenate(levels, axis=2).transpose(1, 2, 0)

    return run


if __name__ == "__main__":
    serve(start, "casadi", "numpy")
