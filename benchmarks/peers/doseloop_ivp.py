"""doseloop on a problem of benchmarks/ivp_problems.py: the march (`course`), or the event loop of `simulate`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import doseloop as dl
from doseloop.pkpd.march import march_of
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.system import system
from doseloop.virtual.course import course
from ivp_problems import PROBLEMS, Ivp
from worker import serve


def schedules(q: Ivp, n: int) -> list[Schedule]:
    """Doses, inputs and observations of the first n patients; one that all share where they differ in nothing."""
    model, inputs, out = q.model, len(q.model.inputs), []
    for i in range(1 if not q.u.any() else n):
        s = Schedule(model, 0.0)
        doses = list(q.doses.doses)
        for k in range(q.u.shape[2]):
            rows = q.u[i, :, k]
            starts = np.flatnonzero(np.diff(rows, prepend=np.nan) != 0)
            for a, b in zip(starts, [*starts[1:], len(rows)]):
                begin, end, value = q.edges[a], q.edges[b], float(rows[a])
                if k < inputs:
                    s.set_input(begin, k, value)
                elif value > 0:
                    route = model.routes[k - inputs].name
                    doses.append(dl.Infusion(value * (end - begin), begin, duration=end - begin, route=route))
        s.observe(q.times)
        s.regimen(dl.Regimen(*doses), q.times[-1])
        out.append(s)
    return out


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    q = PROBLEMS[(folder / "name.txt").read_text(encoding="utf-8")]()
    made: dict[Any, Any] = {}
    minutes = round(q.edges[-1] / q.interval)

    def marched(step: float, n: int) -> Callable[[], np.ndarray]:
        which = np.searchsorted(q.edges, (np.arange(minutes) + 0.5) * q.interval) - 1
        how, U = march_of(q.model, q.interval, step), np.ascontiguousarray(q.u[:n, which])
        seen = np.round(q.times / q.interval).astype(int) - 1
        return lambda: course(how, q.p[:n], q.x0[:n], U)[0][:, seen][:, :, q.columns]

    def looped(how: dict[str, Any], n: int) -> Callable[[], np.ndarray]:
        fixed = how["method"] == "rk4"
        method = (
            dl.Method("rk4", step=how["setting"])
            if fixed
            else dl.Method(how["method"], rtol=how["setting"] or 1e-8, atol=(how["setting"] or 1e-8) * how["absolute"])
        )
        prepared = Prepared(system(q.model), schedules(q, n), method)

        def run() -> np.ndarray:
            Y, status = prepared.run(q.p[:n], x0=q.x0[:n])
            if status.any():
                raise RuntimeError(f"{int((status > 0).sum())} patients could not be followed")
            return Y.reshape(n, len(q.times), -1)[:, :, q.columns]

        return run

    def run(how: dict[str, Any]) -> np.ndarray:
        key = (how["method"], how["setting"], how["patients"])
        if key not in made:
            n = how["patients"]
            made[key] = marched(how["setting"], n) if how["method"] == "course" else looped(how, n)
        return made[key]()

    return run


if __name__ == "__main__":
    serve(start, "doseloop", "numba", "llvmlite", "casadi", "numpy")
