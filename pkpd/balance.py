"""The units check: a model's functions run on ``pint`` quantities, and every equation must balance.

In dimension *and* in size. The result with units, converted to the declared unit, must be the number that the
simulator gets from bare floats; so a bare 0.06 between mL/min and L/h, or a bare 1000 between mg and ug, is found:
units would convert by themselves, floats do not. Such a factor is written ``const(1000, "ug/mg")``. A factor that looks
like a conversion (1000, 60, 24, …) and carries no unit is refused even where nothing else betrays it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import operator
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import ops, reference
from .errors import ModelError, UnitError
from .fields import Fields
from .model import Function, Model
from .units import parse, registry

__all__ = ["check_units"]

POINTS = 5
RTOL = 1e-9

# factors between the units that clinical data use; 10 and 100 are too common as plain numbers
_CONVERSIONS = (1e3, 1e6, 1e9, 60.0, 3600.0, 24.0, 1440.0, 7.0 * 24.0, 60.0 / 1000.0, 1000.0 / 60.0)
_SUSPECTS = tuple(v for c in _CONVERSIONS for v in (c, 1 / c))


class ImbalanceError(UnitError):
    """Two quantities that do not go together."""


@functools.cache
def _quantity() -> type:
    """pint's quantity, with comparisons that never pass for want of a common unit."""
    base = registry().Quantity

    class Quantity(base):  # type: ignore[misc, valid-type]
        """A quantity whose comparisons need equal dimensions (pint's ``==`` is False where they differ)."""

        def __eq__(self, other: object) -> Any:
            return operator.eq(*_alike("==", self, other))

        def __ne__(self, other: object) -> Any:
            return operator.ne(*_alike("!=", self, other))

        def __lt__(self, other: object) -> Any:
            return operator.lt(*_alike("<", self, other))

        def __le__(self, other: object) -> Any:
            return operator.le(*_alike("<=", self, other))

        def __gt__(self, other: object) -> Any:
            return operator.gt(*_alike(">", self, other))

        def __ge__(self, other: object) -> Any:
            return operator.ge(*_alike(">=", self, other))

        __hash__ = base.__hash__

    ops.register(
        Quantity,
        {
            "exp": functools.partial(_pure, "exp", ops.exp),
            "log": functools.partial(_pure, "log", ops.log),
            "tanh": functools.partial(_pure, "tanh", ops.tanh),
            "sqrt": lambda x: x**0.5 if x.magnitude >= 0 else x * math.nan,
            "absolute": abs,
            "power": _power,
            "maximum": functools.partial(_pick, "maximum", ops.maximum),
            "minimum": functools.partial(_pick, "minimum", ops.minimum),
            "where": _where,
        },
    )
    return Quantity


def _is(x: Any) -> bool:
    return isinstance(x, registry().Quantity)


def _alike(word: str, a: Any, b: Any) -> tuple[float, float]:
    """Both as numbers of one unit; a bare 0 goes with every unit, any other bare number only with pure ones."""
    if not _is(a):
        b, a = _alike(word, b, a)
        return a, b
    if not _is(b):
        if b == 0 or b != b or abs(b) == math.inf:
            return float(a.magnitude), float(b)
        b = _quantity()(b, "")
    if a.dimensionality != b.dimensionality:
        raise ImbalanceError(f"{word} of {_unit(a)} and {_unit(b)}")
    return float(a.magnitude), float(b.to(a.units).magnitude)


def _unit(x: Any) -> str:
    return re.sub(r"\bl\b", "L", f"{x.units:~}") or "a pure number"


def _pure(word: str, plain: Callable[[float], float], x: Any) -> Any:
    if not x.dimensionless:
        raise ImbalanceError(f"{word} of a quantity in {_unit(x)}: its argument must be a pure number")
    return _quantity()(plain(float(x.to("").magnitude)), "")


def _power(x: Any, y: Any) -> Any:
    if _is(y):
        if not y.dimensionless:
            raise ImbalanceError(f"power with an exponent in {_unit(y)}: it must be a pure number")
        if _is(x) and not x.dimensionless:
            raise ImbalanceError(f"power of a quantity in {_unit(x)} by an exponent that is not a plain number")
        y = float(y.to("").magnitude)
    if _is(x) and not x.dimensionless:
        return x**y
    return _quantity()(ops.power(float(x.to("").magnitude) if _is(x) else x, y), "")


def _pick(word: str, plain: Callable[[float, float], float], a: Any, b: Any) -> Any:
    left, right = _alike(word, a, b)
    return _quantity()(plain(left, right), a.units if _is(a) else b.units)


def _where(condition: Any, a: Any, b: Any) -> Any:
    if not (_is(a) or _is(b)):
        return a if condition else b
    left, right = _alike("where", a, b)
    return _quantity()(left if condition else right, a.units if _is(a) else b.units)


def _const(value: float, unit: str) -> Any:
    return _quantity()(float(value), parse(unit))


class _Units:
    """While it lasts, `pkpd.ops.const` returns quantities."""

    def __enter__(self) -> None:
        ops._CONST.append(_const)

    def __exit__(self, *_: object) -> None:
        ops._CONST.pop()


def _points(model: Model) -> list[dict[str, dict[str, float]]]:
    """A few points over the covariates' ranges, with states, parameters and inputs to go with them."""
    rng = np.random.Generator(np.random.Philox(key=20250101))
    points = []
    for _ in range(POINTS):
        cov = {c.name: float(rng.uniform(c.low, c.high)) for c in model.covariates}
        eta = {e.name: float(rng.normal(0.0, math.sqrt(e.variance))) for e in model.effects}
        states = {s.name: float(math.exp(rng.normal(1.0, 2.0))) for s in model.states}
        inputs = {i.name: float(rng.uniform(0.5, 2.0)) for i in model.inputs}
        points.append({"cov": cov, "eta": eta, "x": states, "u": inputs, "t": {"t": float(rng.uniform(1.0, 50.0))}})
    return points


def _units_of(items: Sequence[Any]) -> dict[str, str]:
    return {i.name: i.unit for i in items}


def _check(
    model: Model,
    function: Function,
    declared: dict[str, str],
    arguments: Sequence[tuple[str, dict[str, float], dict[str, str]]],
    time: float | None,
) -> dict[str, float]:
    """Run a function on floats and on quantities; raise where they differ. Returns the plain numbers."""
    Quantity = _quantity()
    plain_args = [Fields(kind, values) for kind, values, _ in arguments]
    unit_args = [
        Fields(kind, {n: Quantity(v, parse(units[n])) for n, v in values.items()}) for kind, values, units in arguments
    ]
    t_plain, t_unit = ([], []) if time is None else ([time], [Quantity(time, parse(model.time_unit))])
    plain = reference.run(model, function, tuple(declared), *t_plain, *plain_args)
    with _Units():
        got = reference.run(model, function, tuple(declared), *t_unit, *unit_args)
    problems: list[str] = []
    first: str | None = None
    for name, unit in declared.items():
        problem = _difference(name, unit, got[name], float(plain[name]))
        if problem:
            problems.append(f"model '{model.id}': {problem}")
            first = first or name
    if problems:
        file, line = reference.place(function, key=first)
        raise ModelError(problems, file=file, line=line, function=function.__name__)
    return {n: float(v) for n, v in plain.items()}


def _difference(name: str, unit: str, got: Any, plain: float) -> str:
    wanted = parse(unit)
    if not _is(got):
        if got == 0 or got != got:
            return ""
        got = _quantity()(float(got), "")
    if got.dimensionality != _quantity()(1.0, wanted).dimensionality:
        return f"'{name}' is declared in {unit} but comes out in {_unit(got)}"
    number = float(got.to(wanted).magnitude)
    if abs(number - plain) > RTOL * max(abs(number), abs(plain)):
        ratio = number / plain if plain else math.inf
        return (
            f"'{name}' is declared in {unit} and has the right dimension but the wrong size: by units {number:.6g}, as "
            f"computed {plain:.6g} (a factor of {ratio:.6g}); write the conversion as const(factor, unit)"
        )
    return ""


def _bare_factors(model: Model, function: Function) -> None:
    """Literals that look like conversions and multiply or divide without a unit."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):  # typed at a prompt: there is no text to read
        return
    code = function.__code__
    for node in ast.walk(tree):
        sides: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
            sides = [node.left, node.right]
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Mult | ast.Div):
            sides = [node.value]
        if sides and all(isinstance(s, ast.Constant) for s in sides):
            continue  # a number made of numbers, such as 1 / 24 inside const
        for side in sides:
            value = side.value if isinstance(side, ast.Constant) else None
            if isinstance(value, int | float) and any(math.isclose(value, c, rel_tol=1e-6) for c in _SUSPECTS):
                message = (
                    f"model '{model.id}': the bare factor {value:g} looks like a conversion; give it its unit, as in "
                    f'const(1000, "ug/mg"), or write const({value:g}, "1") if it has none'
                )
                line = code.co_firstlineno + side.lineno - 1
                raise ModelError(message, file=code.co_filename, line=line, function=function.__name__)


def _known_units(model: Model) -> dict[str, str]:
    """Every declared unit parses; returns the units of the derivatives."""
    kinds = ("states", "parameters", "covariates", "outputs", "inputs")
    declared = [(f"{k[:-1]} '{i.name}'", i.unit) for k in kinds for i in getattr(model, k)]
    declared += [(f"individual parameter '{n}'", u) for n, u in model.individual_units.items()]
    declared += [("time", model.time_unit)]
    problems = []
    for what, unit in declared:
        try:
            parse(unit)
        except UnitError as e:
            problems.append(f"model '{model.id}': {what}: {e}")
    if problems:
        raise ModelError(problems, file=model.place[0], line=model.place[1], function="Model")
    return {s.name: f"({s.unit})/{model.time_unit}" if s.unit != "1" else f"1/{model.time_unit}" for s in model.states}


def _check_routes(model: Model) -> None:
    """Bioavailability is a pure number, lag and duration are times, a rate is the state's amount per time."""
    states = _units_of(model.states)
    problems = []
    for r in model.routes:
        amount = f"({states[r.into]})/{model.time_unit}"
        wanted = {"bioavailability": "1", "lag": model.time_unit, "duration": model.time_unit, "rate": amount}
        for what, unit in wanted.items():
            name = getattr(r, what)
            if name is not None:
                stated = model.individual_units[name]
                if parse(stated) != parse(unit):
                    where = f"model '{model.id}': route '{r.name}'"
                    problems.append(f"{where}: its {what} '{name}' is in {stated}, not {unit}")
    if problems:
        raise ModelError(problems, file=model.place[0], line=model.place[1], function="Model")


def check_units(model: Model) -> None:
    """Check that every equation of the model balances in dimension and in size, at a few random points.

    Raises:
        ModelError: naming file, function and line of the first equation that does not, or of a unit not known.
    """
    derivatives = _known_units(model)
    _check_routes(model)
    theta = ("parameter", dict(zip(model.names("parameters"), model.theta.tolist())), _units_of(model.parameters))
    pure = dict.fromkeys(model.names("effects"), "1")
    functions = [model.individual, model.rhs, model.outputs_of, *([model.initial] if model.initial else [])]
    for function in functions:
        _bare_factors(model, function)
    for point in _points(model):
        cov = ("covariate", point["cov"], _units_of(model.covariates))
        eta, units = ("random effect", point["eta"], pure), dict(model.individual_units)
        p = _check(model, model.individual, units, [theta, cov, eta], None)
        P, X = ("individual parameter", p, units), ("state", point["x"], _units_of(model.states))
        U, t = ("input", point["u"], _units_of(model.inputs)), point["t"]["t"]
        _check(model, model.rhs, derivatives, [X, P, U], t)
        _check(model, model.outputs_of, _units_of(model.outputs), [X, P], t)
        if model.initial is not None:
            _check(model, model.initial, _units_of(model.states), [P], None)
