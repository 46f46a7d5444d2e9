"""Every word of a kernel against Python, NaN rules, the readable listing, and lane widths."""

import math

import casadi as ca
import numpy as np
import pytest
from doseloop.pkpd import lanes, objects, ops
from doseloop.pkpd.lanes import Graph, Instruction, listing, propagator_ir, straight_ir
from doseloop.pkpd.system import THRESHOLD, System
from doseloop.pkpd.trace import _WORDS, graph_of
from helpers_pk import call_address, compiled, linear_model, michaelis_menten_model, word, word_graph
from hypothesis import given, settings
from hypothesis import strategies as st

NAN, INF = math.nan, math.inf
VALUES = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 1e308, -1e308, 5e-324, 0.1, 7.0, 1e-200]
TRUTH = [0.0, 1.0]


def numpy_word(f):
    def g(*a):
        with np.errstate(all="ignore"):
            return float(f(*map(np.float64, a)))

    return g


def maximum(a, b):
    return NAN if a != a or b != b else max(a, b)


def minimum(a, b):
    return NAN if a != a or b != b else min(a, b)


# word: arity, the answer in Python, how far apart in ulp, the values it is asked for
WORDS = {
    "add": (2, numpy_word(np.add), 0, VALUES),
    "sub": (2, numpy_word(np.subtract), 0, VALUES),
    "mul": (2, numpy_word(np.multiply), 0, VALUES),
    "div": (2, numpy_word(np.divide), 0, VALUES),
    "neg": (1, lambda a: -a, 0, VALUES),
    "sq": (1, lambda a: a * a, 0, VALUES),
    "twice": (1, lambda a: a + a, 0, VALUES),
    "inv": (1, numpy_word(lambda a: 1.0 / a), 0, VALUES),
    "copy": (1, lambda a: a, 0, VALUES),
    "fabs": (1, abs, 0, VALUES),
    "sqrt": (1, numpy_word(np.sqrt), 0, VALUES),
    "exp": (1, numpy_word(np.exp), 2, VALUES),
    "log": (1, numpy_word(np.log), 2, VALUES),
    "tanh": (1, numpy_word(np.tanh), 2, VALUES),
    "pow": (2, numpy_word(np.float_power), 2, VALUES),
    "max": (2, maximum, 0, VALUES),
    "min": (2, minimum, 0, VALUES),
    "lt": (2, lambda a, b: float(a < b), 0, VALUES),
    "le": (2, lambda a, b: float(a <= b), 0, VALUES),
    "eq": (2, lambda a, b: float(a == b), 0, VALUES),
    "ne": (2, lambda a, b: float(a != b), 0, VALUES),
    "not": (1, lambda a: float(not a), 0, VALUES),
    "and": (2, lambda a, b: float(a and b), 0, TRUTH),
    "or": (2, lambda a, b: float(a or b), 0, TRUTH),
    "if": (2, lambda c, a: a if c else 0.0, 0, VALUES),
    "sign": (1, numpy_word(np.sign), 0, VALUES),
}


def close(got, expected, ulp):
    if math.isnan(expected) or math.isinf(expected):
        return got == expected or (math.isnan(got) and math.isnan(expected))
    return abs(got - expected) <= ulp * math.ulp(expected)


def test_no_word_is_left_out():
    assert set(WORDS) == set(_WORDS.values())


@pytest.mark.parametrize("name", sorted(WORDS))
def test_word(name):
    arity, answer, ulp, asked = WORDS[name]
    columns = [v.ravel() for v in np.meshgrid(*[asked] * arity)]
    got = word(name, arity)(*columns)
    for *a, g in zip(*columns, got):
        expected = answer(*map(float, a))
        assert close(float(g), expected, ulp), (name, a, g, expected)


def test_an_unknown_word_is_refused():
    with pytest.raises(NotImplementedError, match="'erf'"):
        straight_ir(word_graph("erf", 1))


def test_words_that_make_a_zero_keep_its_sign():
    assert math.copysign(1, word("neg", 1)([0.0])[0]) == -1
    assert math.copysign(1, word("mul", 2)([0.0], [-2.0])[0]) == -1
    assert math.copysign(1, word("copy", 1)([-0.0])[0]) == -1
    assert math.copysign(1, word("sqrt", 1)([-0.0])[0]) == -1


# through the trace ---------------------------------------------------------------------------------------------------


def traced_kernel(f, count, lanes=8):
    x = ca.SX.sym("x", count)
    none = ca.SX(0, 1)
    graph = graph_of("f", [none, x, none, none, none], ca.SX(f(*(x[i] for i in range(count)))))
    run = compiled(graph, lanes)
    empty = np.empty((0, 0))
    return lambda *v: run(empty, np.array(np.broadcast_arrays(*v), dtype=float), empty, empty, empty)[0]


def test_where_never_reads_the_other_branch():
    f = traced_kernel(lambda x: ops.where(x > 0, ops.log(x), ops.sqrt(-x)), 1)
    assert np.array_equal(f([1.0, -4.0, 0.0]), [0.0, 2.0, 0.0])
    g = traced_kernel(lambda c, a, b: ops.where(c > 0, a, b), 3)
    assert g([1.0], [3.0], [NAN])[0] == 3.0
    assert g([-1.0], [INF], [3.0])[0] == 3.0
    assert np.isnan(g([1.0], [NAN], [3.0])[0])
    assert g([NAN], [1.0], [2.0])[0] == 2.0  # a comparison with NaN is false, as in Python


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_maximum_and_minimum_show_a_nan(name):
    """In every place: CasADi's own fmax would hide it."""
    f = traced_kernel(getattr(ops, name), 2)
    assert np.isnan(f([NAN, 1.0, NAN], [1.0, NAN, NAN])).all()
    assert np.array_equal(
        f([INF, -INF, 2.0], [1.0, 1.0, 3.0]), [getattr(ops, name)(*v) for v in ((INF, 1), (-INF, 1), (2, 3))]
    )


NUMBERS = st.floats(-50, 50)
EXPRESSIONS = {
    "emax": lambda a, b, c: a * ops.power(ops.absolute(b), 1.7) / (ops.power(ops.absolute(c), 1.7) + 1.0),
    "gate": lambda a, b, c: ops.where(a < b, ops.exp(-ops.absolute(c)), ops.tanh(a) + 1.0),
    "clamp": lambda a, b, c: ops.minimum(ops.maximum(a, b), c) + ops.log(1.0 + a * a),
    "root": lambda a, b, c: ops.sqrt(a * a + b * b) / ops.exp(c / 40.0),
    "logic": lambda a, b, c: ops.where(a <= b, 1.0, 2.0) + ops.where(b == c, 10.0, 20.0) + ops.where(a != c, 0.0, 5.0),
    "saturable": lambda a, b, c: -ops.absolute(a) / (ops.absolute(b) + ops.absolute(c) + 0.5),
}


@pytest.mark.parametrize("name", sorted(EXPRESSIONS))
def test_a_traced_expression_equals_plain_floats(name):
    f = EXPRESSIONS[name]
    kernel = traced_kernel(f, 3)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(NUMBERS, NUMBERS, NUMBERS)
    def check(a, b, c):
        expected = f(a, b, c)
        assert kernel([a], [b], [c])[0] == pytest.approx(expected, rel=1e-14, abs=1e-300)

    check()


# listings and lane widths --------------------------------------------------------------------------------------------

READABLE = {w: getattr(ops, w) for w in ("exp", "log", "sqrt", "tanh", "maximum", "minimum", "power", "where")}


def graphs():
    linear, nonlinear = System(linear_model(3), 2), System(michaelis_menten_model(), 1)
    return {
        "linear rhs": linear.rhs(),
        "linear outputs": linear.outputs(),
        "linear propagator": linear.propagator_start(),
        "linear square": linear.propagator_square(),
        "linear advance": linear.advance(),
        "nonlinear rk4": nonlinear.rk4(),
        "nonlinear dopri5": nonlinear.dopri5(),
        "nonlinear jacobian": nonlinear.jacobian(),
    }


GRAPHS = graphs()


def random_arguments(graph, count, seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.1, 2.0, (rows, count)) for rows in graph.rows]


def size_of(values):
    """The size against which a rounding error counts: the largest entry of the same column."""
    return np.abs(values).max(axis=0, keepdims=True)


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_the_listing_runs_and_equals_the_kernel(name):
    graph = GRAPHS[name]
    space = dict(READABLE)
    exec(listing(graph), space)
    arguments = random_arguments(graph, 5, 1)
    got = compiled(graph)(*arguments)
    for column in range(5):
        expected = np.array(space[graph.name](*(a[:, column] for a in arguments)))
        assert np.max(np.abs(got[:, column] - expected)) <= 1e-14 * np.max(np.abs(expected))


def test_the_listing_of_every_word_runs():
    for name, (arity, _, _, asked) in WORDS.items():
        graph = word_graph(name, arity)
        space = dict(READABLE)
        exec(listing(graph, [[], ["first", "second"], [], [], []]), space)
        a = ([1.0, 0.0] if asked is TRUTH else [0.75, 0.5])[:arity]
        got = space[graph.name](None, a, None, None, None)[0]
        assert got == pytest.approx(WORDS[name][1](*a), rel=1e-15), name
        assert "# first" in listing(graph, [[], ["first", "second"], [], [], []])


@pytest.mark.parametrize("name", sorted(GRAPHS))
@pytest.mark.parametrize("lanes", [1, 4])
def test_lane_widths_agree(name, lanes):
    """To the bit: what is fused is decided by us, not by the compiler."""
    graph = GRAPHS[name]
    arguments = random_arguments(graph, 19, 2)
    wide, narrow = compiled(graph)(*arguments), compiled(graph, lanes)(*arguments)
    assert np.array_equal(wide, narrow)


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_lanes_do_not_mix(name):
    """Each lane alone in a block of NaN has the bits it has among others, wherever it stands."""
    graph = GRAPHS[name]
    run = compiled(graph)
    arguments = random_arguments(graph, 8, 3)
    together = run(*arguments)
    for lane in range(8):
        alone = [np.full_like(a, np.nan) for a in arguments]
        for a, b in zip(alone, arguments):
            a[:, (lane + 3) % 8] = b[:, lane]
        assert np.array_equal(run(*alone)[:, (lane + 3) % 8], together[:, lane])


def test_a_constant_keeps_every_digit():
    for value in (0.1, math.pi, 5e-324, 1.7976931348623157e308, -0.0):
        steps = (Instruction("const", 0, value=value), Instruction("output", 0, (0,)))
        graph = Graph("constant", steps, (0, 0, 0, 0, 0), 1)
        out = np.empty((1, lanes.LANES))
        call_address(objects.address("constant", straight_ir(graph), "test"), *[None] * 5, out)
        assert [v.hex() for v in out[0].tolist()] == [value.hex()] * lanes.LANES


def test_the_same_text_gives_the_same_ir():
    """The cache is named by the text: it must not change from run to run of the same equations."""
    S, T = System(linear_model(2)), System(linear_model(2))
    assert straight_ir(S.rhs()) == straight_ir(T.rhs())
    one = propagator_ir(S.propagator_start(), S.propagator_square(), THRESHOLD)
    assert one == propagator_ir(T.propagator_start(), T.propagator_square(), THRESHOLD)
