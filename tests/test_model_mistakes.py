"""A mistake in a model's file is one ModelError that names file, function and line, and says what to do."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from doseloop.pkpd.balance import check_units
from doseloop.pkpd.errors import ModelError
from doseloop.pkpd.trace import traced

GOOD = """\
import math
import numpy as np
from doseloop.pkpd.model import *
from doseloop.pkpd.ops import absolute, const, exp, log, maximum, minimum, power, sqrt, tanh, where

def individual(theta, cov, eta):
    size = cov.weight / const(70, "kg")
    return {
        "ka": theta.ka,
        "cl": theta.cl * power(size, theta.power) * exp(eta.cl),
        "v": theta.v * size * exp(eta.v),
        "f": theta.f,
    }

def rhs(t, x, p, u):
    k = p.cl / p.v
    absorbed = p.ka * x.depot
    return {
        "depot": -absorbed,
        "central": absorbed - k * x.central,
    }

def outputs(t, x, p):
    c = x.central / p.v
    return {
        "concentration": c,
        "micrograms": c * const(1000, "ug/mg"),
    }

def initial(p):
    return {
        "depot": 0.0,
        "central": const(1.0, "mg/L") * p.v,
    }

MODEL = Model(
    id="test", drug="d", title="t", citation="c", time_unit="h",
    states=[State("depot", "mg"), State("central", "mg")],
    parameters=[Parameter("ka", 1.0, "1/h", "p 1"), Parameter("cl", 5.0, "L/h", "p 1"),
                Parameter("v", 30.0, "L", "p 1"), Parameter("power", 0.75, "1", "p 1"),
                Parameter("f", 0.8, "1", "p 1")],
    covariates=[Covariate("weight", "kg", 70, 40, 120, "p 1")],
    effects=[Effect("cl", 0.1, "p 1"), Effect("v", 0.1, "p 1")],
    covariances=[Covariance("cl", "v", 0.02, "p 1")],
    individual_units={"ka": "1/h", "cl": "L/h", "v": "L", "f": "1"},
    individual=individual, rhs=rhs, outputs_of=outputs, initial=initial,
    outputs=[Output("concentration", "mg/L", Residual(additive=1.0, source="p 1")), Output("micrograms", "ug/L")],
    routes=[Route("oral", "depot", bioavailability="f"), Route("iv", "central")],
)
"""

DEF = {name: f"def {name}(" for name in ("individual", "rhs", "outputs", "initial")}
MODEL = "MODEL = Model("

# what to replace, by what, the function to blame, the line to blame (None: the changed one), words of the message
TRACE = {
    "a state that does not exist": (
        "* x.central,",
        "* x.centrl,",
        "rhs",
        None,
        "no state is named 'centrl': did you mean",
    ),
    "a parameter that does not exist": ("k = p.cl", "k = p.clearance", "rhs", None, "no individual parameter is named"),
    "a covariate that does not exist": ("cov.weight", "cov.wieght", "individual", None, "did you mean 'weight'"),
    "an effect that does not exist": ("eta.v)", "eta.w)", "individual", None, "no random effect is named 'w'"),
    "an input that does not exist": ("k = p.cl", "k = u.meal * p.cl", "rhs", None, "no input is named 'meal'"),
    "a name of Python's": ("k = p.cl", "k = q.cl", "rhs", None, "NameError"),
    "a Python if on a state": (
        "k = p.cl / p.v",
        "k = p.cl if x.central > 1 else p.v",
        "rhs",
        None,
        "use where",
    ),
    "Python's max": ("k = p.cl / p.v", "k = max(p.cl / p.v, 0)", "rhs", None, "maximum"),
    "Python's and": ("k = p.cl / p.v", "k = p.cl and p.v", "rhs", None, "use where"),
    "a chained comparison": ("k = p.cl / p.v", "k = where(0 < x.central < 5, p.cl, 1) / p.v", "rhs", None, "use where"),
    "math.exp on a symbol": ("theta.v * size * exp", "theta.v * size * math.exp", "individual", None, "pkpd.ops"),
    "np.exp on a symbol": (
        "theta.v * size * exp",
        "theta.v * size * np.exp",
        "individual",
        None,
        "np.* cannot take a symbol",
    ),
    "an array that loses the symbol": (
        "k = p.cl / p.v",
        "a = np.zeros(1); a[0] = p.cl; k = a[0] / p.v",
        "rhs",
        None,
        "",
    ),
    "a change of the state": ("k = p.cl / p.v", "x.central = 1; k = p.cl", "rhs", None, "may not change its state"),
    "a missing equation": ('"depot": -absorbed,', "", "rhs", "rhs", "returns nothing for depot"),
    "an equation too many": ('"depot": -absorbed,', '"depot": -absorbed, "gut": 1,', "rhs", "rhs", "undeclared gut"),
    "a missing output": ('"concentration": c,', "", "outputs", "outputs", "returns nothing for concentration"),
    "a missing parameter": ('"f": theta.f,', "", "individual", "individual", "returns nothing for f"),
    "a list for a dictionary": ("    k = p.cl / p.v", "    return [1, 2]", "rhs", "rhs", "must return a dictionary"),
    "no return": ("    k = p.cl / p.v", "    return", "rhs", "rhs", "must return a dictionary"),
    "text for a number": ('"depot": -absorbed', '"depot": "none"', "rhs", "rhs", "not a number"),
    "a constant that is NaN": ("k = p.cl / p.v", "k = p.cl / p.v * math.nan", "rhs", "rhs", "constant"),
    "a state that nothing reaches": ('State("central", "mg")]', None, "rhs", "rhs", "reaches the state"),
    "an output of no state": (
        '"concentration": c,',
        '"concentration": p.cl,',
        "outputs",
        "outputs",
        "depend on no state",
    ),
}

UNITS = {
    "a sum of unlike things": ("absorbed - k * x.central", "absorbed - k * p.v", "rhs", None, "Cannot convert"),
    "an equation of another dimension": ('"depot": -absorbed', '"depot": -x.depot', "rhs", None, "declared in (mg)/h"),
    "a bare factor of 1000": ('c * const(1000, "ug/mg")', "c * 1000", "outputs", None, "bare factor 1000"),
    "a forgotten factor of 1000": ('c * const(1000, "ug/mg")', "c", "outputs", None, "a factor of 1000"),
    "a bare factor in disguise": ('c * const(1000, "ug/mg")', "c * 999.5", "outputs", None, "wrong size"),
    "mL/min for L/h": ('"cl", 5.0, "L/h"', '"cl", 83.0, "mL/min"', "individual", '"cl": theta', "factor of 0.06"),
    "a bare 0.06": ("k = p.cl / p.v", "k = 0.06 * p.cl / p.v", "rhs", None, "bare factor 0.06"),
    "exp of milligrams": ("k = p.cl / p.v", "k = p.cl / p.v * exp(x.central)", "rhs", None, "exp of a quantity in mg"),
    "log of litres": ("k = p.cl / p.v", "k = p.cl / p.v * log(p.v)", "rhs", None, "log of a quantity in L"),
    "tanh of hours": ("k = p.cl / p.v", "k = p.cl / p.v * tanh(t)", "rhs", None, "tanh of a quantity in h"),
    "a power of kilograms": (
        'size = cov.weight / const(70, "kg")',
        "size = cov.weight",
        "individual",
        '"cl": theta',
        "power of a quantity in kg",
    ),
    "an exponent with a unit": ("k = p.cl / p.v", "k = p.cl / p.v * power(2.0, p.v)", "rhs", None, "exponent in L"),
    "a larger of unlike things": (
        "absorbed = p.ka",
        "absorbed = maximum(p.ka, p.v)",
        "rhs",
        None,
        "maximum of 1 / h and L",
    ),
    "a choice of unlike things": (
        "absorbed = p.ka",
        "absorbed = where(t > 1, p.ka, 1)",
        "rhs",
        None,
        "> of h and a pure",
    ),
    "branches of unlike things": (
        "absorbed = p.ka",
        'absorbed = where(t > const(1, "h"), p.ka, 1)',
        "rhs",
        None,
        "where of",
    ),
    "a comparison of unlike things": (
        "k = p.cl / p.v",
        "k = where(x.central > p.v, p.cl, p.cl) / p.v",
        "rhs",
        None,
        "> of mg and L",
    ),
    "an equality of unlike things": (
        "k = p.cl / p.v",
        "k = where(x.central == p.v, p.cl, p.cl) / p.v",
        "rhs",
        None,
        "==",
    ),
    "a starting value of another dimension": (
        'const(1.0, "mg/L") * p.v',
        "1.0 * p.v",
        "initial",
        None,
        "declared in mg",
    ),
    "a unit that does not exist": ('"ka", 1.0, "1/h"', '"ka", 1.0, "1/huor"', "Model", MODEL, "parameter 'ka'"),
    "a unit in a const that does not exist": (
        'const(70, "kg")',
        'const(70, "kgg")',
        "individual",
        None,
        "is not a unit",
    ),
    "a bioavailability with a unit": (
        'bioavailability="f"',
        'bioavailability="v"',
        "Model",
        MODEL,
        "its bioavailability",
    ),
}

DECLARATIONS = {
    "two states of one name": (
        'State("depot", "mg"), ',
        'State("central", "mg"), State("depot", "mg"), ',
        "declared twice",
    ),
    "a name that is none": ('State("depot", "mg")', 'State("de pot", "mg")', "not a Python name"),
    "a route into nothing": ('Route("iv", "central")', 'Route("iv", "centre")', "route 'iv' enters 'centre'"),
    "a route's parameter that is none": ('bioavailability="f"', 'bioavailability="ff"', "not among the individual"),
    "a route of an unknown kind": ('Route("iv", "central")', 'Route("iv", "central", frozenset({"patch"}))', "kinds"),
    "a covariance that cannot be": ('"cl", "v", 0.02', '"cl", "v", 0.2', "not positive definite"),
    "a covariance of nothing": ('"cl", "v", 0.02', '"cl", "w", 0.02', "no random effect 'w'"),
    "a variance of 0": ('Effect("v", 0.1', 'Effect("v", 0.0', "must be above 0"),
    "a parameter that is NaN": ('"ka", 1.0', '"ka", math.nan', "parameter 'ka' is nan"),
    "a parameter without a source": ('"ka", 1.0, "1/h", "p 1"', '"ka", 1.0, "1/h", " "', "names no source"),
    "a typical value outside its range": ("70, 40, 120", "30, 40, 120", "outside its range"),
    "a residual of 0": ("additive=1.0", "additive=0.0", "residual error"),
    "two kinds of residual": ("additive=1.0", "additive=1.0, log=0.1", "log residual excludes"),
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write a model's file, run it, trace it, check its units; returns the path."""

    def run(text):
        path = tmp_path / "model_with_mistake.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("model_with_mistake", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "model_with_mistake", module)
        spec.loader.exec_module(module)
        traced(module.MODEL)
        check_units(module.MODEL)

    run.path = str(tmp_path / "model_with_mistake.py")
    return run


def line_of(text, fragment):
    hits = [i for i, row in enumerate(text.splitlines(), 1) if fragment in row]
    assert len(hits) == 1, (fragment, hits)
    return hits[0]


def changed(old, new):
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def expect(load, text, function, line, says):
    with pytest.raises(ModelError) as caught:
        load(text)
    error = caught.value
    assert (error.file, error.function, error.line) == (load.path, function, line), str(error)
    assert says in error.message, error.message
    assert str(error).startswith(f"{load.path}:{line}, in {function}: ")
    return error


def test_the_model_without_a_mistake_passes(load):
    load(GOOD)


@pytest.mark.parametrize("case", [*TRACE, *UNITS])
def test_a_mistake_in_an_equation(load, case):
    old, new, function, blamed, says = {**TRACE, **UNITS}[case]
    if new is None:  # a state more, and an equation for it
        text = changed(old, 'State("central", "mg"), State("far", "mg")]').replace(
            '        "depot": -absorbed,', '        "far": -k * x.far,\n        "depot": -absorbed,'
        )
        text = text.replace('        "depot": 0.0,', '        "far": 0.0,\n        "depot": 0.0,')
    else:
        text = changed(old, new)
    line = line_of(GOOD, old) if blamed is None else line_of(text, DEF.get(blamed, blamed))
    expect(load, text, function, line, says)


@pytest.mark.parametrize("case", DECLARATIONS)
def test_a_mistake_in_a_declaration(load, case):
    old, new, says = DECLARATIONS[case]
    text = changed(old, new)
    expect(load, text, "Model", line_of(text, MODEL), says)


def test_all_wrong_declarations_are_listed_at_once(load):
    text = changed('"cl", "v", 0.02', '"cl", "w", 0.02').replace('Route("iv", "central")', 'Route("iv", "centre")')
    error = expect(load, text, "Model", line_of(text, MODEL), "centre")
    assert len(error.problems) == 2


def test_the_nearest_name_is_offered_and_the_known_ones_are_listed(load):
    text = changed("* x.central,", "* x.centrl,")
    error = expect(load, text, "rhs", line_of(text, "x.centrl"), "did you mean 'central'?")
    assert "declared: depot, central" in error.message
