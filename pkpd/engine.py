"""Runs the event loop over a population: kernels chosen, memory kept, threads shared out.

Blocks of patients are independent, so two threads give the same bits as one.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from . import drive as d
from .calls import addresses
from .errors import SolverError
from .job import FIELDS
from .lanes import LANES
from .model import Model
from .steppers import SLOTS
from .system import System
from .threads import share, slices

__all__ = ["STATUS", "Events", "Method", "People", "Plan", "arrays_of", "execute", "job", "make_plan", "set_threads"]

STATUS = {
    d.OK: "ok",
    d.NOT_FINITE: "a prediction was not a finite number",
    d.STEP_UNDERFLOW: "the integrator could not reach the next event within its smallest step",
    d.QUEUE_FULL: "more doses were under way at once than room was made for",
    d.NO_STEADY: "there is no steady state: the drug is not eliminated as fast as it is given",
    d.BAD_ROUTE: "a dose's bioavailability, lag, rate or duration is negative, zero or not a number",
}

THREAD_BLOCKS = 64  # fewer blocks than this for each thread are done sooner than a thread is woken
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


@dataclass(frozen=True, slots=True)
class Events:
    """Schedules laid end to end; schedule s is ``start[s]:start[s + 1]``, in time order (see `pkpd.schedule.pack`)."""

    start: np.ndarray
    time: np.ndarray
    kind: np.ndarray
    route: np.ndarray
    amount: np.ndarray
    extra: np.ndarray
    mode: np.ndarray
    elapsed: np.ndarray
    index: np.ndarray


@dataclass(frozen=True, slots=True)
class People:
    """One row per patient (or per draw): which schedule, which parameters, where the results go."""

    schedule: np.ndarray
    parameters: np.ndarray  # (segments, rows_p)
    segment: np.ndarray  # first segment of each patient
    x0: np.ndarray  # (patients, rows_x)
    table: np.ndarray  # states to set (steady state), (entries, rows_x)
    table_base: np.ndarray
    t0: np.ndarray
    y_base: np.ndarray
    snap_base: np.ndarray


@dataclass(frozen=True, slots=True)
class Plan:
    """Method, sizes and kernels of one kind of run."""

    system: System
    method: int
    queue: int
    atol: float
    fields: dict[str, int]
    tolerance: np.ndarray


def make_plan(system: System, method: Method, queue: int) -> Plan:
    """Sizes and kernel addresses for one run; compiles what is not yet compiled."""
    code = method.resolve(system.model, system.linear)
    is_exact = code == d.EXACT
    tolerance = np.array([method.rtol, method.step], dtype=float)
    fields = {
        "METHOD": code,
        "N": system.n,
        "N_MODEL": system.n_model,
        "M": system.m,
        "NU": system.nu,
        "NY": system.ny,
        "K": system.directions,
        "INPUTS": len(system.model.inputs),
        "ROUTES": len(system.model.routes),
        "ROWS_X": system.rows_x,
        "ROWS_P": system.rows_p,
        "ROWS_U": system.rows_u,
        "ROWS_Y": system.rows_y,
        "ROWS_PROP": system.rows_propagator if is_exact else 0,
        "QUEUE": max(1, queue),
        "K_RHS": 0 if is_exact and not system.directions else system.kernel("rhs"),
        "K_OUTPUTS": system.kernel("outputs"),
        "K_STEP": system.kernel(_STEPPERS[code]),
        "K_ADVANCE": system.kernel("advance") if is_exact else 0,
    }
    return Plan(system, code, max(1, queue), method.atol, fields, tolerance)


@lru_cache(maxsize=256)
def _route_table(model: Model) -> np.ndarray:
    states, parameters = model.names("states"), list(model.individual_units)
    find = lambda n: parameters.index(n) if n else -1  # noqa: E731
    rows = [
        [states.index(r.into), find(r.bioavailability), find(r.lag), find(r.duration), find(r.rate)]
        for r in model.routes
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


_local = threading.local()


def _workspace(plan: Plan) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Working memory of this thread for this plan, kept for the life of the thread, and a table with its addresses."""
    store: dict[Any, tuple[dict[str, np.ndarray], np.ndarray]] = _local.__dict__.setdefault("store", {})
    system = plan.system
    key = (id(system), plan.method, plan.queue, plan.atol)
    if key not in store:
        W, n, K, q = LANES, system.rows_x, system.directions, plan.queue
        stiff, rows_prop = plan.method == d.STIFF, max(1, plan.fields["ROWS_PROP"])
        floats = {
            "S": 2,
            "X": 2 * n,
            "P": system.rows_p,
            "U": system.rows_u,
            "OUT": max(3 * n, system.rows_y, (2 + n) * n if stiff else 0),
            "FIRST": n,
            "PROP": SLOTS * rows_prop,
            "PROP_H": SLOTS,
            "T": 1,
            "TARGET": 1,
            "H": 1,
            "Q_TIME": q,
            "Q_AMOUNT": q,
            "Q_STOP": q,
            "Q_DA": q * max(1, K),
            "Q_DT": q * max(1, K),
            "Q_DS": q * max(1, K),
            "SCRATCH": n,
            "LU": n * n if stiff else 1,
            "STAGES": 6 * n if stiff else 1,
            "B": n,
        }
        integers = {"EV": 1, "END": 1, "DONE": 1, "FRESH": 1, "QN": 1, "SEEN": 1, "WHO": 1, "LEFT": 1, "RING": 1}
        integers |= {"ACTIVE": max(1, len(system.model.routes)), "Q_KIND": q, "Q_ROUTE": q, "PIVOTS": n}
        memory = {name: np.zeros((rows, W)) for name, rows in floats.items()}
        memory |= {name: np.zeros((rows, W), dtype=np.int64) for name, rows in integers.items()}
        memory |= {"ATOL": np.full(n, plan.atol), "ROUTE_TABLE": _route_table(system.model)}
        table = np.zeros(len(FIELDS), dtype=np.int64)
        _fill(table, dict(zip(memory, addresses(list(memory.values())))))
        store[key] = memory, table
        _local.__dict__.setdefault("systems", []).append(system)  # its id is our key
    return store[key]


def job(plan: Plan, arrays: dict[str, np.ndarray], patients: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The job's table for this thread, and the arrays whose addresses it holds (keep both until the loop ends)."""
    memory, table = _workspace(plan)
    table = table.copy()
    given = arrays | {"TOLERANCE": plan.tolerance}
    _fill(table, plan.fields | {"PATIENTS": patients} | dict(zip(given, addresses(list(given.values())))))
    return table, [*memory.values(), *given.values()]


def _fill(table: np.ndarray, values: dict[str, int]) -> None:
    for name, value in values.items():
        table[FIELDS[name]] = value


def _run(plan: Plan, arrays: dict[str, np.ndarray], patients: int, first: int, last: int) -> None:
    table, held = job(plan, arrays, patients)
    d.drive(int(table.ctypes.data), first, last)
    del held  # alive until here


def arrays_of(
    events: Events, people: People, Y: np.ndarray, snaps: np.ndarray, status: np.ndarray
) -> dict[str, np.ndarray]:
    """The arrays of a job by the names of their slots."""
    arrays = {f"E_{k.upper()}": getattr(events, k) for k in Events.__slots__}
    arrays |= {f"P_{k.upper()}": getattr(people, k) for k in People.__slots__}
    return arrays | {"P_Y": Y, "P_SNAPS": snaps, "P_STATUS": status}


def execute(
    plan: Plan, events: Events, people: People, observations: int, snapshots: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run everybody. Returns outputs (observations, rows_y), snapshots (snapshots, rows_x), status per patient."""
    system, patients = plan.system, len(people.schedule)
    _check(system, events, people)
    Y = np.full((observations, system.rows_y), np.nan)
    snaps = np.full((max(1, snapshots), system.rows_x), np.nan)
    status = np.zeros(patients, dtype=np.int64)
    arrays = arrays_of(events, people, Y, snaps, status)
    blocks = -(-patients // LANES)
    parts = min(_threads[0], max(1, blocks // THREAD_BLOCKS))
    # small slices, so that a slow block does not leave a thread idle
    bounds = slices(blocks, parts * 8 if parts > 1 else 1)
    share(lambda first, last: _run(plan, arrays, patients, first, last), bounds, parts)
    return Y, snaps, status


def _check(system: System, ev: Events, people: People) -> None:
    """Sizes of all that the loop and the kernels will read through bare addresses."""
    patients = len(people.schedule)
    checks = {
        "parameters": (people.parameters.ndim == 2 and people.parameters.shape[1] == system.rows_p),
        "x0": people.x0.shape == (patients, system.rows_x),
        "table": people.table.ndim == 2 and people.table.shape[1] == system.rows_x,
        "schedule": patients > 0 and people.schedule.min() >= 0 and people.schedule.max() < len(ev.start) - 1,
        "segment": people.segment.min() >= 0 and people.segment.max() < len(people.parameters),
        "events": all(len(getattr(ev, k)) == ev.start[-1] for k in Events.__slots__ if k != "start"),
        "rows": all(
            len(getattr(people, k)) == patients for k in ("segment", "table_base", "t0", "y_base", "snap_base")
        ),
    }
    bad = [name for name, good in checks.items() if not good]
    if bad:
        raise SolverError([f"the run's {name} has the wrong shape for model '{system.model.id}'" for name in bad])
