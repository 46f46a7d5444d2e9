"""Runs the event loop over a population: kernels chosen, memory kept, threads shared out.

Blocks of patients are independent, so two threads give the same bits as one.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from . import drive as d
from .errors import SolverError
from .lanes import LANES
from .model import Model
from .system import System

__all__ = ["STATUS", "Method", "execute", "make_plan", "set_threads", "workspace"]

STATUS = {
    d.OK: "ok",
    d.NOT_FINITE: "a prediction was not a finite number",
    d.STEP_UNDERFLOW: "the integrator could not reach the next event within its smallest step",
    d.QUEUE_FULL: "more doses were under way at once than room was made for",
    d.BAD_ROUTE: "a dose's bioavailability, lag, rate or duration is negative, zero or not a number",
}

_threads = [max(1, int(os.environ.get("DOSELOOP_THREADS", os.cpu_count() or 1)))]


def set_threads(count: int) -> None:
    """Number of threads for large populations (default: the machine's processors, or $DOSELOOP_THREADS)."""
    if count < 1:
        raise ValueError(f"threads must be 1 or more, not {count}")
    _threads[0] = int(count)


@dataclass(frozen=True, slots=True)
class Method:
    """How time is advanced.

    Args:
        name: "auto" (exact where the model is linear, else "adaptive" or what the model asks for), "exact", "rk4",
            "adaptive" (Dormand–Prince 5(4)) or "stiff" (Rodas4).
        rtol, atol: error control of the adaptive methods; ``atol`` in units of each state, per unit of ``scale``.
        step: RK4's step, and an upper bound for the adaptive ones, in the model's time unit.
    """

    name: str = "auto"
    rtol: float = 1e-8
    atol: float = 1e-10
    step: float = np.inf

    def resolve(self, model: Model, linear: bool) -> int:
        """The method's number in the event loop."""
        if self.name == "auto":
            if linear:
                return d.EXACT
            return d.STIFF if model.method == "stiff" else d.ADAPTIVE
        codes = {"exact": d.EXACT, "rk4": d.RK4, "adaptive": d.ADAPTIVE, "stiff": d.STIFF}
        if self.name not in codes:
            raise ValueError(f"method '{self.name}' is unknown; known: auto, {', '.join(codes)}")
        if self.name == "exact" and not linear:
            raise ValueError(f"model '{model.id}' is not linear in its states: use 'adaptive', 'rk4' or 'stiff'")
        if self.name == "rk4" and not np.isfinite(self.step):
            raise ValueError("method 'rk4' needs a finite step")
        return codes[self.name]


_STEPPERS = {d.EXACT: "propagator", d.RK4: "rk4", d.ADAPTIVE: "dopri5", d.STIFF: "jacobian"}


def make_plan(system: System, method: Method, queue: int) -> d.Plan:
    """Sizes and kernel addresses for one run; compiles what is not yet compiled."""
    code = method.resolve(system.model, system.linear)
    exact = code == d.EXACT
    return d.Plan(
        code,
        system.n,
        system.n_model,
        system.m,
        system.nu,
        system.ny,
        system.directions,
        len(system.model.inputs),
        system.rows_propagator if exact else 0,
        max(1, queue),
        0 if exact and not system.directions else system.kernel("rhs"),
        system.kernel("outputs"),
        system.kernel(_STEPPERS[code]),
        system.kernel("advance") if exact else 0,
        float(method.rtol),
        float(method.step),
    )


@lru_cache(maxsize=256)
def _route_table(model: Model) -> np.ndarray:
    states, parameters = model.names("states"), list(model.individual_units)
    find = lambda n: parameters.index(n) if n else -1  # noqa: E731
    rows = [
        [states.index(r.into), find(r.bioavailability), find(r.lag), find(r.duration), find(r.rate)] for r in model.routes
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


_local = threading.local()


def workspace(system: System, plan: d.Plan, atol: float) -> d.Lanes:
    """Working memory of this thread for this plan; kept, and so alive, for the life of the thread."""
    store: dict[Any, d.Lanes] = _local.__dict__.setdefault("store", {})
    key = (system.model, plan.method, plan.directions, system.integrals, plan.queue, atol)
    if key in store:
        return store[key]
    W, n, K, q = LANES, system.rows_x, plan.directions, plan.queue
    stiff = plan.method == d.STIFF
    rows_out = max(3 * n, system.rows_y, (2 + n) * n if stiff else 0)
    zeros = np.zeros
    routes = _route_table(system.model)
    store[key] = d.Lanes(
        s=zeros((2, W)),
        x=zeros((2, n, W)),
        p=zeros((system.rows_p, W)),
        u=zeros((max(1, system.rows_u), W)),
        out=zeros((rows_out, W)),
        first=zeros((n, W)),
        prop=zeros((d.SLOTS, max(1, plan.rows_propagator), W)),
        prop_h=zeros((d.SLOTS, W)),
        t=zeros(W),
        target=zeros(W),
        h=zeros(W),
        integer=zeros((9, W), dtype=np.int64),
        active=zeros((max(1, len(routes)), W), dtype=np.int64),
        q_time=zeros((q, W)),
        q_kind=zeros((q, W), dtype=np.int64),
        q_route=zeros((q, W), dtype=np.int64),
        q_amount=zeros((q, W)),
        q_stop=zeros((q, W)),
        q_da=zeros((q, max(1, K), W)),
        q_dt=zeros((q, max(1, K), W)),
        q_ds=zeros((q, max(1, K), W)),
        scratch=zeros(n),
        M=zeros((W, n, n) if stiff else (1, 1, 1)),
        pivots=zeros((W, n) if stiff else (1, 1), dtype=np.int64),
        stages=zeros((6, n, W) if stiff else (1, 1, 1)),
        b=zeros((n, W)),
        atol=np.full(n, atol),
        routes=routes,
    )
    return store[key]


_pool: list[ThreadPoolExecutor] = []


def _run(
    system: System, plan: d.Plan, atol: float, ev: d.Events, people: d.People, blocks: range, Y: Any, snaps: Any, status: Any
) -> None:
    d.drive(plan, ev, people, workspace(system, plan, atol), blocks.start, blocks.stop, Y, snaps, status)


def execute(
    system: System, plan: d.Plan, atol: float, ev: d.Events, people: d.People, observations: int, snapshots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run everybody. Returns outputs (observations, rows_y), snapshots (snapshots, rows_x), status per patient."""
    patients = len(people.schedule)
    _check(system, ev, people)
    Y = np.full((observations, system.rows_y), np.nan)
    snaps = np.full((max(1, snapshots), system.rows_x), np.nan)
    status = np.zeros(patients, dtype=np.int64)
    blocks = -(-patients // LANES)
    parts = min(_threads[0], max(1, blocks // 4))
    if parts == 1:
        _run(system, plan, atol, ev, people, range(blocks), Y, snaps, status)
    else:
        # small parts, so that a slow block does not leave a thread idle
        edges = np.linspace(0, blocks, min(blocks, parts * 8) + 1).astype(int)
        if not _pool or _pool[0]._max_workers < parts:
            _pool[:] = [ThreadPoolExecutor(parts, thread_name_prefix="doseloop")]
        jobs = [
            _pool[0].submit(_run, system, plan, atol, ev, people, range(a, b), Y, snaps, status)
            for a, b in zip(edges[:-1], edges[1:])
        ]
        for job in jobs:
            job.result()
    return Y, snaps, status


def _check(system: System, ev: d.Events, people: d.People) -> None:
    """Sizes and dtypes of all that the loop and the kernels will read through bare pointers."""
    patients = len(people.schedule)
    checks = {
        "parameters": (people.parameters.ndim == 2 and people.parameters.shape[1] == system.rows_p),
        "x0": people.x0.shape == (patients, system.rows_x),
        "table": people.table.ndim == 2 and people.table.shape[1] == system.rows_x,
        "schedule": patients > 0 and 0 <= people.schedule.min() and people.schedule.max() < len(ev.start) - 1,
        "segment": 0 <= people.segment.min() and people.segment.max() < len(people.parameters),
        "events": ev.start[-1] == len(ev.time) == len(ev.kind) == len(ev.index),
    }
    bad = [name for name, good in checks.items() if not good]
    if bad:
        raise SolverError([f"the run's {name} has the wrong shape for model '{system.model.id}'" for name in bad])
