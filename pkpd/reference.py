"""The slow reference twin: the model's own functions on plain floats, and SciPy for time.

Nothing here is compiled or traced: what the kernels and the event loop give is compared with this.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import DoseloopError, ModelError, SolverError
from .fields import Fields, UnknownField
from .model import Function, Model
from .regimen import Dose, Regimen

__all__ = ["individual", "initial", "outputs", "place", "rhs", "run", "simulate_reference"]

Values = Mapping[str, Any] | Sequence[float] | np.ndarray


def place(function: Function, error: BaseException | None = None, key: str | None = None) -> tuple[str, int]:
    """File and line to blame: the innermost frame of the error in the model's file, or where ``key`` is returned."""
    code = function.__code__
    line = code.co_firstlineno
    if error is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == code.co_filename and frame.lineno:
                line = frame.lineno
    elif key is not None:
        try:
            text, first = inspect.getsourcelines(function)
        except OSError:
            return code.co_filename, line
        hits = [first + i for i, row in enumerate(text) if f'"{key}":' in row or f"'{key}':" in row]
        line = hits[-1] if hits else line
    return code.co_filename, line


def run(model: Model, function: Function, expected: Sequence[str], *arguments: Any) -> dict[str, Any]:
    """Call one of the model's functions; a mistake in it is one ModelError with file, function and line."""
    name = function.__name__
    try:
        got = function(*arguments)
    except ModelError:
        raise
    except Exception as e:
        file, line = place(function, e)
        text = str(e) if isinstance(e, UnknownField | DoseloopError) else f"{type(e).__name__}: {e}"
        raise ModelError(f"model '{model.id}': {text}", file=file, line=line, function=name) from e
    if not isinstance(got, Mapping) or set(got) != set(expected):
        file, line = place(function)
        keys = ", ".join(map(str, got)) if isinstance(got, Mapping) else type(got).__name__
        text = f"model '{model.id}': returns {keys or 'nothing'}; declared: {', '.join(expected)}"
        raise ModelError(text, file=file, line=line, function=name)
    return {n: got[n] for n in expected}


def _fields(kind: str, names: Sequence[str], values: Values | None) -> Fields:
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        values = dict(zip(names, values, strict=True))
    return Fields(kind, {n: values[n] for n in names})


def individual(
    model: Model, covariates: Values | None = None, eta: Values | None = None, theta: Values | None = None
) -> dict[str, float]:
    """This patient's parameters by name; covariates default to typical, eta to 0, theta to the published values."""
    return run(
        model,
        model.individual,
        tuple(model.individual_units),
        _fields("parameter", model.names("parameters"), model.theta.tolist() if theta is None else theta),
        _fields("covariate", model.names("covariates"), model.typical_covariates if covariates is None else covariates),
        _fields("random effect", model.names("effects"), [0.0] * len(model.effects) if eta is None else eta),
    )


def rhs(
    model: Model,
    t: float,
    x: Values,
    p: Values,
    u: Values | None = None,
    rates: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Time derivative of every state, shape (states,): the equations plus the infusions' ``rates`` by route."""
    states = model.names("states")
    got = run(
        model,
        model.rhs,
        states,
        t,
        _fields("state", states, x),
        _fields("individual parameter", tuple(model.individual_units), p),
        _fields("input", model.names("inputs"), {i.name: i.typical for i in model.inputs} if u is None else u),
    )
    for route, rate in (rates or {}).items():
        got[model.route(route).into] += rate
    return np.array([got[s] for s in states], dtype=float)


def outputs(model: Model, t: float, x: Values, p: Values) -> np.ndarray:
    """Outputs, shape (outputs,)."""
    states, parameters = model.names("states"), tuple(model.individual_units)
    X, P = _fields("state", states, x), _fields("individual parameter", parameters, p)
    got = run(model, model.outputs_of, model.names("outputs"), t, X, P)
    return np.array(list(got.values()), dtype=float)


def initial(model: Model, p: Values) -> np.ndarray:
    """Starting values of the states, shape (states,)."""
    states = model.names("states")
    if model.initial is None:
        return np.zeros(len(states))
    got = run(model, model.initial, states, _fields("individual parameter", tuple(model.individual_units), p))
    return np.array(list(got.values()), dtype=float)


# (time, turn, place in the text, what, route, value): turns of one moment are reset, level, then everything else
_Step = tuple[float, int, int, str, str, float]
_LEVEL, _RECORD = 0, 1


def _steps(model: Model, p: Mapping[str, float], regimen: Regimen) -> list[_Step]:
    """Boluses, starts and stops of infusions, and resets, in the order in which they act."""
    steps: list[_Step] = []
    for n, event in enumerate(regimen.expanded()):
        if not isinstance(event, Dose) or event.reset:
            # what was given earlier and has not arrived is dropped; a running infusion stops
            steps = [s for s in steps if s[0] < event.time or (s[0] == event.time and s[3] != "stop")]
            steps.append((event.time, _RECORD, 2 * n, "reset", "", 0.0))  # even: before this event's own dose
        if not isinstance(event, Dose):
            continue
        if event.steady_state:
            raise SolverError("the reference simulates no steady-state dose: give many doses instead")
        route = model.route(event.route)
        F = p[route.bioavailability] if route.bioavailability else 1.0
        begin = event.time + (p[route.lag] if route.lag else 0.0)
        amount = F * event.amount
        duration, rate = event.duration, event.rate
        if event.modelled == "rate":
            rate = p[str(route.rate)]
        elif event.modelled == "duration":
            duration = p[str(route.duration)]
        if duration is None and rate is None:
            steps.append((begin, _RECORD, 2 * n + 1, "bolus", route.name, amount))
            continue
        # NONMEM: bioavailability changes the length where the rate is given, the rate where the length is given
        speed = amount / duration if duration is not None else float(rate or math.nan)
        end = begin + (duration if duration is not None else amount / speed)
        row = 2 * n + 1
        steps += [(begin, _RECORD, row, "start", route.name, speed), (end, _RECORD, row, "stop", route.name, speed)]
    return sorted(steps)


def _integrate(
    f: Callable[[float, np.ndarray], np.ndarray],
    a: float,
    b: float,
    x: np.ndarray,
    stiff: bool,
    rtol: float,
    atol: np.ndarray,
) -> np.ndarray:
    from scipy.integrate import solve_ivp

    got = solve_ivp(f, (a, b), x, method="Radau" if stiff else "DOP853", rtol=rtol, atol=atol, t_eval=[b])
    if not got.success:
        raise SolverError(f"SciPy from {a:g} to {b:g}: {got.message}")
    return np.asarray(got.y[:, -1])


def simulate_reference(
    model: Model,
    p: Mapping[str, float],
    regimen: Regimen,
    times: Sequence[float] | np.ndarray,
    rtol: float = 1e-12,
    atol: float = 1e-14,
    u: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Outputs at ``times``, shape (times, outputs), by SciPy, restarted at every event and every observation.

    An observation at a dose's time sees the state just before it; one dose arriving exactly then by its lag too.

    Args:
        model: the model.
        p: individual parameters, as `individual` gives them.
        regimen: boluses, infusions, repeats, resets; no steady-state doses.
        times: when to look, in any order, none before the first event or before 0 (where the state starts).
        rtol, atol: SciPy's tolerances; ``atol`` is per unit of the largest amount given or present at the start.
        u: the model's inputs, held constant.

    Raises:
        SolverError: SciPy failed, or the regimen has a steady-state dose.
        ModelError: a mistake in the model's functions.
    """
    steps = _steps(model, p, regimen)
    wanted = [(float(t), _LEVEL, i, "level", "", 0.0) for i, t in enumerate(times)]
    todo = sorted(wanted + steps)
    x = initial(model, p)
    largest = max([1e-6, *(abs(x)), *(d.amount for d in regimen.doses)])
    rates = {r.name: 0.0 for r in model.routes}
    running: dict[str, list[float]] = {r.name: [] for r in model.routes}
    got = np.full((len(wanted), len(model.outputs)), math.nan)
    now = min(0.0, todo[0][0]) if todo else 0.0

    def f(t: float, x: np.ndarray) -> np.ndarray:
        return rhs(model, t, x, p, u, rates)

    for time, _, n, what, route, value in todo:
        if time > now:
            x = _integrate(f, now, time, x, model.method == "stiff", rtol, np.full(len(x), atol * largest))
            now = time
        if what == "level":
            got[n] = outputs(model, now, x, p)
        elif what == "bolus":
            x[model.names("states").index(model.route(route).into)] += value
        elif what == "reset":
            x = initial(model, p)
            running = {r: [] for r in running}
        elif what == "start":
            running[route].append(value)
        elif value in running[route]:
            running[route].remove(value)
        # summed anew each time: what is left of a sum of differences would run on for ever
        rates.update({r: math.fsum(values) for r, values in running.items()})
    return got
