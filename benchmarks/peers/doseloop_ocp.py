"""doseloop on a case of `benchmarks/mpc_cases.py`: its real-time solver, or its CasADi `sqpmethod`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from doseloop.controller.casadi_solvers import Sqp
from doseloop.controller.plan import Plan, Status
from doseloop.controller.realtime import RealTime, SolverOptions
from mpc_cases import replay
from ocp import chain
from worker import serve


@dataclass(frozen=True, slots=True)
class Ours:
    """A plan, as `ocp.Solved`."""

    plan: Plan

    @property
    def moves(self) -> np.ndarray:
        """(stages,)."""
        return np.asarray(self.plan.moves[0, :, 0])

    @property
    def late(self) -> bool:
        """Whether the solver's own deadline came first."""
        return bool(self.plan.status[0] == Status.LATE)

    @property
    def cost(self) -> float:
        """The objective, as the solver sees it."""
        return float(self.plan.cost[0])


def build(job: dict[str, Any], folder: Path) -> tuple[int, Callable[[int, Any], Ours]]:
    what = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    r = replay(**what)
    if job.get("how") == "sqpmethod":
        solver: Any = Sqp(r.problem)
    else:
        solver = RealTime(r.problem, SolverOptions(deadline=job.get("deadline") or math.inf))

    def solve(k: int, before: Ours | None) -> Ours:
        return Ours(solver.solve(r.snapshots[k], None if before is None else before.plan))

    return len(r.snapshots), solve


if __name__ == "__main__":
    serve(chain(build), "casadi", "numba", "numpy")
