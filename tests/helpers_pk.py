"""Small models, a thin way to run them, and a way to call a compiled kernel: what the simulator's tests share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from doseloop.pkpd import objects
from doseloop.pkpd.engine import Method
from doseloop.pkpd.lanes import LANES, Graph, Instruction, straight_ir
from doseloop.pkpd.model import Input, Model, Output, Parameter, Route, State
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Dose, Regimen
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.steady import past_doses
from doseloop.pkpd.system import system
from doseloop.pkpd.trace import casadi_functions

METHODS = {
    "exact": Method(),
    "adaptive": Method("adaptive", rtol=1e-10, atol=1e-12),
    "rk4": Method("rk4", step=0.01),
    "stiff": Method("stiff", rtol=1e-8, atol=1e-10),
}


# kernels -------------------------------------------------------------------------------------------------------------


def word_graph(word: str, arity: int) -> Graph:
    """The graph that is one word: out[0] = word(x[0], …)."""
    inputs = [Instruction("input", i, (1, i)) for i in range(arity)]
    steps = (*inputs, Instruction(word, arity, tuple(range(arity))), Instruction("output", 0, (arity,)))
    return Graph(f"test_{word}", steps, (0, arity, 0, 0, 0), 1)


def call_address(address: int, *arguments: np.ndarray | None) -> None:
    """kernel(scalars, x, p, u, k, out)."""
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(address)
    assert all(a is None or (a.flags.c_contiguous and a.dtype == np.float64) for a in arguments)
    function(*(None if a is None else a.ctypes.data for a in arguments))


def compiled(graph: Graph, lanes: int = LANES) -> Callable[..., np.ndarray]:
    """The kernel of a graph on arrays (rows, count) for each of the five arguments; any count."""
    address = objects.address(graph.name, straight_ir(graph, lanes), "test")

    def run(*arguments: np.ndarray) -> np.ndarray:
        count = max(a.shape[1] for a in arguments if a.size)
        out = np.empty((graph.out, count))
        for first in range(0, count, lanes):
            some = min(lanes, count - first)
            blocks = []
            for a, rows in zip(arguments, graph.rows):
                block = np.ones((max(1, rows), lanes))
                if rows:
                    block[:, :some] = a[:, first : first + some]
                blocks.append(block)
            result = np.empty((graph.out, lanes))
            call_address(address, *blocks, result)
            out[:, first : first + some] = result[:, :some]
        return out

    return run


def word(name: str, arity: int, lanes: int = LANES) -> Callable[..., np.ndarray]:
    """One compiled word as a function of equally long vectors."""
    run = compiled(word_graph(name, arity), lanes)
    none = np.empty((0, 0))
    return lambda *x: run(none, np.array(np.broadcast_arrays(*x), dtype=float), none, none, none)[0]


# models --------------------------------------------------------------------------------------------------------------


def make_model(
    name: str,
    parameters: Mapping[str, float],
    states: Sequence[str],
    rhs: Callable[..., Mapping[str, Any]],
    outputs: Mapping[str, Callable[..., Any]],
    routes: Sequence[Route],
    initial: Callable[..., Mapping[str, Any]] | None = None,
    inputs: Sequence[str] = (),
    method: str = "auto",
) -> Model:
    """A model whose individual parameters are its typical ones; outputs are functions of (x, p)."""
    names = list(parameters)
    return Model(
        id=name,
        drug="test",
        title="",
        citation="",
        time_unit="h",
        states=[State(s, "mg") for s in states],
        parameters=[Parameter(n, v, "1", "test") for n, v in parameters.items()],
        individual_units=dict.fromkeys(names, "1"),
        individual=lambda theta, cov, eta: {n: getattr(theta, n) for n in names},
        rhs=rhs,
        outputs=[Output(o, "mg/L") for o in outputs],
        outputs_of=lambda t, x, p: {o: f(x, p) for o, f in outputs.items()},
        routes=routes,
        inputs=[Input(i, "1") for i in inputs],
        initial=initial,
        method=method,
    )


PK = {"cl": 5.0, "v": 30.0, "q2": 8.0, "v2": 50.0, "q3": 1.5, "v3": 120.0, "ka": 1.2}
ROUTE = {"F": 0.7, "lag": 0.4, "dur": 1.5, "rate": 40.0}


def linear_model(compartments: int) -> Model:
    """1, 2 or 3 compartments with a depot; routes "iv", "oral", and "full"/"fulloral" with F, lag, duration, rate."""

    def rhs(t, x, p, u):
        k10 = p.cl / p.v
        d = {"depot": -p.ka * x.depot, "central": p.ka * x.depot - k10 * x.central}
        for i in range(2, compartments + 1):
            q, vi, xi = getattr(p, f"q{i}"), getattr(p, f"v{i}"), getattr(x, f"p{i}")
            flow = q / p.v * x.central - q / vi * xi
            d[f"p{i}"] = flow
            d["central"] = d["central"] - flow
        return d

    keep = ["cl", "v", "ka", *(f"{a}{i}" for i in range(2, compartments + 1) for a in ("q", "v"))]
    return make_model(
        f"linear{compartments}",
        {n: PK[n] for n in keep} | ROUTE,
        ["depot", "central", *(f"p{i}" for i in range(2, compartments + 1))],
        rhs,
        {"c": lambda x, p: x.central / p.v},
        [
            Route("iv", "central"),
            Route("oral", "depot"),
            Route("full", "central", bioavailability="F", lag="lag", duration="dur", rate="rate"),
            Route("fulloral", "depot", bioavailability="F", lag="lag", duration="dur", rate="rate"),
        ],
    )


MM = {"vmax": 20.0, "km": 4.0, "v": 40.0, "ka": 0.8} | ROUTE


def michaelis_menten_model(method: str = "auto") -> Model:
    """One compartment with saturable elimination and a depot; the routes of `linear_model`."""

    def rhs(t, x, p, u):
        c = x.central / p.v
        return {"depot": -p.ka * x.depot, "central": p.ka * x.depot - p.vmax * c / (p.km + c)}

    return make_model(
        f"michaelis_menten_{method}",
        MM,
        ["depot", "central"],
        rhs,
        {"c": lambda x, p: x.central / p.v},
        [
            Route("iv", "central"),
            Route("oral", "depot"),
            Route("full", "central", bioavailability="F", lag="lag", duration="dur", rate="rate"),
            Route("fulloral", "depot", bioavailability="F", lag="lag", duration="dur", rate="rate"),
        ],
        method=method,
    )


def values(model: Model, **changed: float) -> np.ndarray:
    """The model's typical parameters as a row, some changed."""
    unknown = set(changed) - set(model.individual_units)
    assert not unknown, unknown
    return np.array([changed.get(n, v) for n, v in zip(model.individual_units, model.theta)])


# runs ----------------------------------------------------------------------------------------------------------------


def schedule(
    model: Model,
    parameters: np.ndarray,
    regimen: Regimen,
    times: Sequence[float] | np.ndarray,
    orders: Sequence[int] | None = None,
    start: float | None = None,
    signals: Mapping[str, float] | None = None,
) -> Schedule:
    """Observations at ``times`` under ``regimen``; starts at 0 or before the first event, whichever is earlier.

    ``signals``: the model's inputs, held from the start.
    """
    first = min([0.0, *(e.time for e in regimen.events), *map(float, times)]) if start is None else start
    s = Schedule(model, first)
    for name, value in (signals or {}).items():
        s.set_input(first, model.names("inputs").index(name), value)
    s.observe(times, orders)
    p = np.atleast_2d(parameters)
    steady = [d for d in regimen.doses if d.steady_state]
    past = max((past_doses(model, d, p) for d in steady), default=1)
    s.regimen(regimen, float(max(times)), past=past)
    return s


def directions_of(model: Model, parameters: np.ndarray) -> np.ndarray:
    """Rows (people, m·(1 + m)): the parameters, then the unit directions."""
    p = np.atleast_2d(parameters)
    unit = np.eye(p.shape[1]).ravel()
    return np.hstack([p, np.tile(unit, (len(p), 1))])


def run_all(
    model: Model,
    parameters: np.ndarray,
    regimen: Regimen,
    times: Sequence[float] | np.ndarray,
    method: Method | str = "exact",
    directions: bool = False,
    integrals: bool = False,
    orders: Sequence[int] | None = None,
    start: float | None = None,
    signals: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (people, times, rows) and status of a population that shares one regimen."""
    p = np.atleast_2d(np.asarray(parameters, dtype=float))
    m = p.shape[1]
    S = system(model, m if directions else 0, integrals)
    how = METHODS[method] if isinstance(method, str) else method
    prepared = Prepared(S, [schedule(model, p, regimen, times, orders, start, signals)], how)
    x0 = np.zeros((len(p), S.rows_x))
    if model.initial is not None:
        initial = casadi_functions(model)["initial"]
        for i, row in enumerate(p):
            x0[i, : S.n_model] = np.array(initial(row)).ravel()
    Y, status = prepared.run(directions_of(model, p) if directions else p, x0=x0)
    return Y.reshape(len(p), len(times), S.rows_y), status


def run(
    model: Model,
    parameters: np.ndarray,
    regimen: Regimen | Sequence[Dose],
    times: Sequence[float] | np.ndarray,
    method: Method | str = "exact",
    **more: Any,
) -> np.ndarray:
    """The first output of one patient at ``times``; fails the test on any status but 0."""
    regimen = regimen if isinstance(regimen, Regimen) else Regimen(*regimen)
    Y, status = run_all(model, parameters, regimen, times, method, **more)
    assert not status.any(), status
    return Y[0, :, 0]


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest relative error, point by point; where 0 is expected, 0 must be got."""
    got, expected = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    zero = expected == 0
    assert np.all(got[zero] == 0), got[zero]
    assert np.isfinite(got).all()
    return float(np.max(np.abs(got - expected)[~zero] / np.abs(expected)[~zero], initial=0.0))
