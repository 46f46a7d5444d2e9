"""The trace: a model's functions run once on CasADi symbols, and the graphs that come of it.

The only module of this room that imports CasADi. A mistake in a model surfaces here as one :class:`ModelError` that
names file, function and line.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
import traceback
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import casadi as ca

from . import ops
from .errors import ModelError
from .fields import Fields, UnknownField
from .lanes import Graph, Instruction
from .model import Model

__all__ = ["SX", "Traced", "casadi_functions", "graph_of", "traced"]

SX = ca.SX

_WORDS = {
    ca.OP_ADD: "add",
    ca.OP_SUB: "sub",
    ca.OP_MUL: "mul",
    ca.OP_DIV: "div",
    ca.OP_NEG: "neg",
    ca.OP_SQ: "sq",
    ca.OP_TWICE: "twice",
    ca.OP_INV: "inv",
    ca.OP_ASSIGN: "copy",
    ca.OP_FABS: "fabs",
    ca.OP_SQRT: "sqrt",
    ca.OP_EXP: "exp",
    ca.OP_LOG: "log",
    ca.OP_TANH: "tanh",
    ca.OP_POW: "pow",
    ca.OP_CONSTPOW: "pow",
    ca.OP_FMAX: "max",
    ca.OP_FMIN: "min",
    ca.OP_LT: "lt",
    ca.OP_LE: "le",
    ca.OP_EQ: "eq",
    ca.OP_NE: "ne",
    ca.OP_NOT: "not",
    ca.OP_AND: "and",
    ca.OP_OR: "or",
    ca.OP_IF_ELSE_ZERO: "if",
    ca.OP_SIGN: "sign",
}

ops.register(
    ca.SX,
    {
        "exp": ca.exp,
        "log": ca.log,
        "sqrt": ca.sqrt,
        "tanh": ca.tanh,
        "absolute": ca.fabs,
        "power": lambda x, y: ca.SX(x) ** y,
        "maximum": ca.fmax,
        "minimum": ca.fmin,
        "where": ca.if_else,
    },
)


def graph_of(name: str, arguments: list[ca.SX], out: ca.SX) -> Graph:
    """The instruction list of ``out`` as a function of the five kernel arguments."""
    function = ca.Function(name, arguments, [ca.cse(ca.densify(out))])
    steps: list[Instruction] = []
    for k in range(function.n_instructions()):
        op = function.instruction_id(k)
        into, args = function.instruction_output(k), function.instruction_input(k)
        if op == ca.OP_INPUT:
            steps.append(Instruction("input", into[0], (args[0], args[1])))
        elif op == ca.OP_CONST:
            steps.append(Instruction("const", into[0], value=float(function.instruction_constant(k))))
        elif op == ca.OP_OUTPUT:
            steps.append(Instruction("output", into[1], (args[0],)))
        elif op in _WORDS:
            steps.append(Instruction(_WORDS[op], into[0], tuple(args)))
        else:
            raise NotImplementedError(f"CasADi operation {op} in '{name}' has no word in doseloop.pkpd.lanes")
    rows = tuple(a.numel() for a in arguments)
    return Graph(name, tuple(steps), rows, out.numel())


def _where(model: Model, function: Callable[..., Any], error: BaseException | None) -> tuple[str, int]:
    """File and line to blame: the innermost frame that lies in the model's own file, else the function's head."""
    code = function.__code__
    line = code.co_firstlineno
    if error is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == code.co_filename and frame.lineno:
                line = frame.lineno
    return code.co_filename, line


def _blame(model: Model, function: Callable[..., Any], message: str, error: BaseException | None) -> ModelError:
    file, line = _where(model, function, error)
    return ModelError([f"model '{model.id}': {message}"], file=file, line=line, function=function.__name__)


def _foreign_calls(function: Callable[..., Any]) -> list[int]:
    """Lines of the function that call into ``math`` or ``np``: they read a symbol as NaN."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return []
    first = function.__code__.co_firstlineno
    return [
        first + node.lineno - 1
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in ("math", "np", "numpy")
    ]


def run(
    model: Model, function: Callable[..., Any], expected: tuple[str, ...], what: str, *arguments: Any
) -> list[ca.SX]:
    """Call one of the model's functions on symbols; every way it can go wrong is one ModelError."""
    try:
        with warnings.catch_warnings():
            # CasADi only warns, and once, when NumPy is called on a symbol
            warnings.simplefilter("error", FutureWarning)
            got = function(*arguments)
    except UnknownField as e:
        raise _blame(model, function, str(e), e) from None
    except ModelError:
        raise
    except Exception as e:
        if "truth value" in str(e):
            message = (
                "a Python `if`, `and`, `or`, `max` or `min` on a symbol cannot be traced: "
                "use where(condition, a, b), maximum, minimum from pkpd.ops"
            )
            raise _blame(model, function, message, e) from e
        if isinstance(e, FutureWarning) or (isinstance(e, TypeError) and "must be real number" in str(e)):
            raise _blame(model, function, "math.* and np.* cannot take a symbol: use the words of pkpd.ops", e) from e
        raise _blame(model, function, f"{type(e).__name__}: {e}", e) from e
    if not isinstance(got, Mapping):
        raise _blame(model, function, f"must return a dictionary of {what}, not {type(got).__name__}", None)
    missing, extra = [n for n in expected if n not in got], [n for n in got if n not in expected]
    if missing or extra:
        parts = ([f"returns nothing for {', '.join(missing)}"] if missing else []) + (
            [f"returns undeclared {', '.join(map(str, extra))}"] if extra else []
        )
        raise _blame(model, function, f"{' and '.join(parts)}; declared {what}: {', '.join(expected)}", None)
    values: list[ca.SX] = []
    for n in expected:
        try:
            v = ca.SX(got[n])
        except (NotImplementedError, TypeError) as e:
            raise _blame(model, function, f"'{n}' is {type(got[n]).__name__}, not a number", None) from e
        if v.numel() != 1:
            raise _blame(model, function, f"'{n}' has shape {v.shape}; every quantity is one number", None)
        values.append(ca.densify(v))
    return values


def _check_constants(
    model: Model, function: Callable[..., Any], name: str, inputs: list[ca.SX], out: list[ca.SX]
) -> None:
    if not out:
        return
    f = ca.Function(name, inputs, [ca.vertcat(*out)])
    for k in range(f.n_instructions()):
        if f.instruction_id(k) == ca.OP_CONST and not math.isfinite(f.instruction_constant(k)):
            lines = _foreign_calls(function)
            file, head = _where(model, function, None)
            raise ModelError(
                [
                    f"model '{model.id}': a constant of the traced equations is {f.instruction_constant(k)}: a math.* "
                    "or np.* call, or an assignment into an array, lost the symbol; use the words of pkpd.ops"
                ],
                file=file,
                line=lines[0] if lines else head,
                function=function.__name__,
            )


class Traced:
    """A model's equations as CasADi expressions of its symbols.

    Attributes: ``t, x, p, u, theta, cov, eta`` (symbols); ``u`` holds the inputs, then one infusion rate for each
    route; ``f`` (rhs with the routes' rates added), ``y`` (outputs), ``individual`` (of theta, cov, eta), ``x0``.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        sym = lambda names: [ca.SX.sym(n) for n in names]  # noqa: E731
        states, parameters = model.names("states"), tuple(model.individual_units)
        self.t = ca.SX.sym("t")
        x, p = sym(states), sym(parameters)
        inputs, rates = sym(model.names("inputs")), sym([f"rate_{r}" for r in model.names("routes")])
        theta, cov, eta = (sym(model.names(k)) for k in ("parameters", "covariates", "effects"))
        stack = lambda v: ca.vertcat(*v) if v else ca.SX(0, 1)  # noqa: E731
        self.x, self.p, self.u = stack(x), stack(p), stack(inputs + rates)
        self.theta, self.cov, self.eta = stack(theta), stack(cov), stack(eta)

        fields = lambda kind, names, values: Fields(kind, dict(zip(names, values)))  # noqa: E731
        X, P = fields("state", states, x), fields("individual parameter", parameters, p)
        U = fields("input", model.names("inputs"), inputs)

        individual = run(
            model,
            model.individual,
            parameters,
            "individual parameters (individual_units)",
            fields("parameter", model.names("parameters"), theta),
            fields("covariate", model.names("covariates"), cov),
            fields("random effect", model.names("effects"), eta),
        )
        f = run(model, model.rhs, states, "states", self.t, X, P, U)
        y = run(model, model.outputs_of, model.names("outputs"), "outputs", self.t, X, P)
        x0 = run(model, model.initial, states, "states", P) if model.initial else [ca.SX(0.0)] * len(states)
        _check_constants(model, model.individual, "individual", [self.theta, self.cov, self.eta], individual)
        _check_constants(model, model.rhs, "rhs", [self.t, self.x, self.p, self.u], f)
        _check_constants(model, model.outputs_of, "outputs", [self.t, self.x, self.p], y)
        for route, rate in zip(model.routes, rates):
            f[states.index(route.into)] += rate
        self.individual, self.f, self.y, self.x0 = stack(individual), stack(f), stack(y), stack(x0)
        self._check_reach()

    def _check_reach(self) -> None:
        """Every state must be reached by a route, an input or a starting value; every output by some state."""
        model, states = self.model, self.model.names("states")
        reached = {r.into for r in model.routes}
        driven = ca.jacobian(self.f, self.u[: len(model.inputs)]).sparsity().get_triplet()[0] if model.inputs else []
        reached |= {states[i] for i in driven}
        started = ca.jacobian(self.x0, self.p).sparsity().get_triplet()[0]
        reached |= {states[i] for i in started}
        reached |= {states[i] for i in range(len(states)) if self.x0[i].is_constant() and float(self.x0[i]) != 0}
        rows, cols = ca.jacobian(self.f, self.x).sparsity().get_triplet()
        grew = True
        while grew:
            new = {states[i] for i, j in zip(rows, cols) if states[j] in reached} - reached
            reached |= new
            grew = bool(new)
        lost = [s for s in states if s not in reached]
        if lost:
            raise _blame(
                model, model.rhs, f"no dose, input or starting value reaches the state(s) {', '.join(lost)}", None
            )
        seen, by = ca.jacobian(self.y, self.x).sparsity().get_triplet()
        outputs = model.names("outputs")
        blind = [o for k, o in enumerate(outputs) if not any(i == k and states[j] in reached for i, j in zip(seen, by))]
        if blind:
            raise _blame(model, model.outputs_of, f"the output(s) {', '.join(blind)} depend on no state", None)


_cache: weakref.WeakKeyDictionary[Model, Traced] = weakref.WeakKeyDictionary()


def traced(model: Model) -> Traced:
    """The trace of a model, made once.

    Raises:
        ModelError: for a mistake in the model's functions, with file, function and line.
    """
    if model not in _cache:
        _cache[model] = Traced(model)
    return _cache[model]


def casadi_functions(model: Model) -> dict[str, ca.Function]:
    """The model for an optimiser: ``rhs(t,x,p,u)``, ``outputs(t,x,p)``, ``individual(theta,cov,eta)``, ``initial(p)``.

    Exact derivatives come with them (``f.jacobian()``, ``f.forward(1)``, …). ``u`` holds the inputs and then one
    infusion rate for each route.
    """
    m = traced(model)
    return {
        "rhs": ca.Function("rhs", [m.t, m.x, m.p, m.u], [m.f], ["t", "x", "p", "u"], ["xdot"]),
        "outputs": ca.Function("outputs", [m.t, m.x, m.p], [m.y], ["t", "x", "p"], ["y"]),
        "individual": ca.Function(
            "individual", [m.theta, m.cov, m.eta], [m.individual], ["theta", "cov", "eta"], ["p"]
        ),
        "initial": ca.Function("initial", [m.p], [m.x0], ["p"], ["x0"]),
    }
