"""Steady states: the state just before a dose that has been given every interval for ever.

Linear models: one interval from an empty body gives the affine map's constant, the propagator its matrix; one linear
solve gives the state (and, with directions, its derivatives) to rounding. Others: Broyden's method on the interval map.
"""

from __future__ import annotations

import ctypes

import numpy as np

from . import drive as d
from .engine import Method, People, execute, make_plan
from .errors import SolverError
from .lanes import LANES
from .model import Model
from .regimen import Dose
from .schedule import Schedule, interval_schedule, pack
from .system import System

__all__ = ["past_doses", "steady_states"]

CONSTANT = 24.0  # the "interval" over which a constant infusion's fixed point is taken


def past_doses(model: Model, dose: Dose, parameters: np.ndarray) -> int:
    """How many earlier doses of this steady state may still be under way at its record (most over all people)."""
    if dose.constant:
        return 0
    names, route = list(model.individual_units), model.route(dose.route)
    value = lambda n, default: parameters[:, names.index(n)] if n else np.full(len(parameters), default)  # noqa: E731
    lag, F = value(route.lag, 0.0), value(route.bioavailability, 1.0)
    if dose.duration is not None:
        length = np.full(len(parameters), dose.duration)
    elif dose.rate is not None:
        length = F * dose.amount / dose.rate
    elif dose.modelled == "duration":
        length = value(route.duration, 0.0)
    elif dose.modelled == "rate":
        length = F * dose.amount / value(route.rate, np.inf)
    else:
        length = np.zeros(len(parameters))
    most = float(np.max((lag + length) / dose.interval))
    if not np.isfinite(most) or most > 10_000:
        raise SolverError(f"steady state of {dose}: doses last {most:.3g} intervals")
    return int(np.ceil(most))


def _interval(system: System, method: Method, dose: Dose, parameters: np.ndarray, x0: np.ndarray) -> np.ndarray:
    """State after one interval from ``x0``, (people, rows_x)."""
    if dose.constant:
        assert dose.rate is not None
        # begun long ago, so that a lag is nothing, and without end
        dose = Dose(0.0, dose.rate * 1e12, dose.route, rate=dose.rate, interval=CONSTANT, steady_state=1)
        schedule = Schedule(system.model, 0.0)
        schedule.dose(dose, elapsed=1e4 * CONSTANT)
        schedule.snapshot(CONSTANT)
    else:
        schedule = interval_schedule(system.model, dose, past_doses(system.model, dose, parameters))
    people = People(
        schedule=np.zeros(len(parameters), dtype=np.int64),
        parameters=parameters,
        segment=np.arange(len(parameters)),
        x0=x0,
        table=np.zeros((1, system.rows_x)),
        table_base=np.zeros(len(parameters), dtype=np.int64),
        t0=np.zeros(len(parameters)),
        y_base=np.zeros(len(parameters), dtype=np.int64),
        snap_base=np.arange(len(parameters)),
    )
    plan = make_plan(system, method, schedule.doses)
    _, snaps, status = execute(plan, pack([schedule]), people, 0, len(parameters))
    if status.any():
        raise SolverError(f"steady state of {dose}: the interval could not be simulated")
    return snaps


def _propagator(system: System, h: float, parameters: np.ndarray) -> np.ndarray:
    """Dense exp of the model's own states, (people, 1 + K, n, n)."""
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(system.kernel("propagator"))
    n, K = system.n_model, system.directions
    rows, cols = (np.array(v) for v in system._pattern.get_triplet())
    inside = (rows < n) & (cols < n)
    dense = np.zeros((len(parameters), 1 + K, n, n))
    s, out = np.full((2, LANES), h), np.zeros((system.rows_propagator, LANES))
    for first in range(0, len(parameters), LANES):
        p = np.repeat(parameters[first : first + 1].T, LANES, axis=1).copy()
        some = parameters[first : first + LANES]
        p[:, : len(some)] = some.T
        call(s.ctypes.data, None, p.ctypes.data, None, None, out.ctypes.data)
        entries = out.reshape(1 + K, len(rows), LANES)
        for lane in range(len(some)):
            dense[first + lane][:, rows[inside], cols[inside]] = entries[:, inside, lane]
    return dense


def steady_states(system: System, method: Method, dose: Dose, parameters: np.ndarray) -> np.ndarray:
    """States (and directions) just before ``dose`` at its steady state, (people, rows_x); integrals are 0.

    Raises:
        SolverError: where there is no steady state (nothing eliminates the drug, or less than is given).
    """
    n, K = system.n_model, system.directions
    x0 = np.zeros((len(parameters), system.rows_x))
    interval = CONSTANT if dose.constant else dose.interval
    view = lambda X: X.reshape(len(parameters), 1 + K, system.n)[:, :, :n]  # noqa: E731
    result = np.zeros_like(x0)
    if method.resolve(system.model, system.linear) == d.EXACT:
        c = view(_interval(system, method, dose, parameters, x0))
        M = _propagator(system, interval, parameters)
        lhs = np.eye(n) - M[:, 0]
        try:
            x = np.linalg.solve(lhs, c[:, 0, :, None])[..., 0]
            view(result)[:, 0] = x
            for k in range(K):
                right = c[:, k + 1] + _times(M[:, k + 1], x)
                view(result)[:, k + 1] = np.linalg.solve(lhs, right[..., None])[..., 0]
        except np.linalg.LinAlgError:
            x = np.full((len(parameters), n), np.nan)
        _require(dose, x)
        return result
    x = _broyden(system, method, dose, parameters)
    view(result)[:, 0] = x
    if K:
        _implicit(system, method, dose, parameters, result)
    return result


def _require(dose: Dose, x: np.ndarray) -> None:
    scale = np.abs(x).max(axis=1, keepdims=True)
    if (
        not np.isfinite(x).all()
        or (x < -1e-9 * scale).any()
        or (scale > 1e12 * max(dose.amount, dose.rate or 0.0)).any()
    ):
        raise SolverError(f"{dose}: there is no steady state: the drug is not eliminated as fast as it is given")


def _times(M: np.ndarray, v: np.ndarray) -> np.ndarray:
    """M v for each person; written as plain sums, whose bits do not depend on how many people there are."""
    total = M[:, :, 0] * v[:, 0, None]
    for j in range(1, v.shape[1]):
        total = total + M[:, :, j] * v[:, j, None]
    return total


def _broyden(system: System, method: Method, dose: Dose, parameters: np.ndarray) -> np.ndarray:
    n, people = system.n_model, len(parameters)

    def interval_map(x: np.ndarray) -> np.ndarray:
        start = np.zeros((people, system.rows_x))
        start[:, :n] = x
        return _interval(system, method, dose, parameters, start)[:, :n]

    x = np.zeros((people, n))
    r = interval_map(x) - x
    scale = np.abs(r).max(axis=1, keepdims=True)
    inverse, done = np.tile(np.eye(n), (people, 1, 1)), np.zeros(people, dtype=bool)
    for _ in range(300):
        new = x + _times(inverse, r)
        new = np.where(new < 0, 0.5 * x, new)  # amounts stay amounts
        new = np.where(done[:, None], x, new)  # who has arrived does not move on with the others
        step = new - x
        x = new
        r_new = interval_map(x) - x
        # relative to x, but an x far above one interval's gain is no excuse for gaining further
        tolerance = 10 * method.rtol * (np.minimum(np.abs(x), 100 * scale) + 1e-3 * scale)
        done |= np.all(np.abs(r_new) <= tolerance, axis=1)
        if done.all():
            _require(dose, x)
            return x
        # inverse of the Jacobian of x − G(x), Broyden's good update by Sherman and Morrison
        y = r - r_new
        Hy, sH = _times(inverse, y), _times(inverse.transpose(0, 2, 1), step)
        bottom, size = (_times(step[:, None, :], v)[:, 0] for v in (Hy, step))
        good = np.abs(bottom) > 1e-14 * size
        update = (step - Hy)[:, :, None] * sH[:, None, :] / np.where(good, bottom, 1.0)[:, None, None]
        inverse = inverse + np.where(good[:, None, None], update, 0.0)
        r = r_new
        if not np.isfinite(x).all() or (np.abs(x).max(axis=1, keepdims=True) > 1e9 * scale).any():
            break
    raise SolverError(f"{dose}: no steady state was found: the drug may not be eliminated as fast as it is given")


def _implicit(system: System, method: Method, dose: Dose, parameters: np.ndarray, result: np.ndarray) -> None:
    """Derivatives of the fixed point: (I − ∂G/∂x) S = ∂G/∂direction; ∂G/∂x by directions in the starting state."""
    n, K, people = system.n_model, system.directions, len(parameters)
    get = lambda X: X.reshape(people, 1 + K, system.n)[:, :, :n]  # noqa: E731
    start = np.zeros_like(result)
    get(start)[:, 0] = get(result)[:, 0]
    c = get(_interval(system, method, dose, parameters, start))[:, 1:]
    frozen = parameters.copy()
    frozen[:, system.m :] = 0.0
    G = np.zeros((people, n, n))
    for first in range(0, n, K):
        columns = range(first, min(n, first + K))
        start = np.zeros_like(result)
        get(start)[:, 0] = get(result)[:, 0]
        for j, column in enumerate(columns):
            get(start)[:, 1 + j, column] = 1.0
        out = get(_interval(system, method, dose, frozen, start))
        for j, column in enumerate(columns):
            G[:, :, column] = out[:, 1 + j]
    for k in range(K):
        get(result)[:, 1 + k] = np.linalg.solve(np.eye(n) - G, c[:, k][..., None])[..., 0]
