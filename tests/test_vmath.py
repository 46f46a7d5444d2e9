"""exp, log, tanh, pow on vector lanes: ≤ 2 ulp against mpmath over the whole range, and right at every edge."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
from helpers_pk import word
from hypothesis import given, settings
from hypothesis import strategies as st

ARITY = {"exp": 1, "log": 1, "tanh": 1, "pow": 2}
EXACT = {"exp": mpmath.exp, "log": mpmath.log, "tanh": mpmath.tanh, "pow": mpmath.power}
LIMIT = 2.0
TINY, HUGE = 5e-324, 1.7976931348623157e308
NORMAL = 2.2250738585072014e-308


@cache
def kernel(name, lanes=8):
    return word(name, ARITY[name], lanes)


def ulps(got, exact):
    """Distance in units of the last place of the exact result."""
    e = float(exact)
    if math.isinf(e) or e == 0 or got == e:
        return 0.0 if got == e else math.inf
    return float(abs(mpmath.mpf(float(got)) - exact) / mpmath.mpf(math.ulp(e)))


def worst(name, *x):
    """Largest error in ulp over the points, and the point."""
    with mpmath.workprec(200):
        got = kernel(name)(*x)
        errors = [ulps(g, EXACT[name](*map(mpmath.mpf, map(float, a)))) for g, a in zip(got, zip(*x))]
    i = int(np.argmax(errors))
    return errors[i], tuple(float(v[i]).hex() for v in x)


def check(name, *x):
    error, where = worst(name, *x)
    assert error <= LIMIT, f"{name}{where}: {error} ulp"


def random_bits(rng, count):
    """Finite doubles of every exponent, subnormals too."""
    x = rng.integers(0, 2**63, count, dtype=np.uint64).view(np.float64)
    return x[np.isfinite(x)]


def neighbours(x, reach=3):
    """Each number with the doubles next to it."""
    out = []
    for v in x:
        up = down = float(v)
        out.append(up)
        for _ in range(reach):
            up, down = math.nextafter(up, math.inf), math.nextafter(down, -math.inf)
            out += [up, down]
    return np.array(out)


def same(a, b):
    return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))


# accuracy ------------------------------------------------------------------------------------------------------------


def test_exp_accuracy():
    rng = np.random.default_rng(1)
    cuts = (np.arange(-1075, 1024) + 0.5) * math.log(2)  # where the reduction changes its k
    x = [rng.uniform(-745.14, 709.79, 8000), rng.uniform(-1, 1, 4000), rng.uniform(-745.2, -708, 2000)]
    x += [rng.uniform(709, 709.8, 1000), neighbours(cuts[::5], 1), neighbours([-708.3964185322641], 20)]
    x += [np.exp(rng.uniform(-744, 0, 2000)) * rng.choice([-1, 1], 2000)]
    check("exp", np.concatenate(x))


def test_exp_at_its_last_and_first_numbers():
    last, first = 709.782712893384, -745.1332191019411  # the largest x with a finite exp, the least with a non-zero one
    x = neighbours([last, first, math.log(NORMAL)], 10)
    check("exp", x)
    e = kernel("exp")(np.array([last, math.nextafter(last, 1e9), first, math.nextafter(first, -1e9)]))
    assert e[0] < math.inf
    assert e[1] == math.inf
    assert e[2] == TINY
    assert e[3] == 0.0


def test_log_accuracy():
    rng = np.random.default_rng(2)
    near = 1 + rng.choice([-1, 1], 4000) * 2.0 ** -rng.uniform(1, 53, 4000)
    cuts = math.sqrt(2) * 2.0 ** np.arange(-1070, 1023, 7)
    subnormal = rng.integers(1, 2**52, 3000, dtype=np.uint64).view(np.float64)
    x = [random_bits(rng, 8000), rng.uniform(0.5, 2, 6000), near, neighbours([1.0, 2.0, 0.5], 30), neighbours(cuts, 2)]
    x = np.concatenate([*x, subnormal, neighbours([NORMAL, HUGE / 2, 2.0**-1070], 5)])
    check("log", x[x > 0])


def test_tanh_accuracy():
    rng = np.random.default_rng(3)
    x = [
        rng.uniform(-25, 25, 6000),
        rng.uniform(-1, 1, 6000),
        rng.uniform(0.5, 0.6, 2000),
        neighbours([0.55, -0.55], 50),
    ]
    x += [
        np.exp(rng.uniform(-744, 1, 3000)) * rng.choice([-1, 1], 3000),
        random_bits(rng, 2000),
        neighbours([19.0616], 9),
    ]
    check("tanh", np.concatenate(x))


def test_pow_accuracy():
    """Over all x and all y with a finite result: x of every exponent, y so that y·log x fills −745 … 709."""
    rng = np.random.default_rng(4)
    x = random_bits(rng, 8000)
    x = x[x > 0]
    target = rng.uniform(-745.1, 709.78, len(x))
    y = target / np.log(x)
    check("pow", x, y)
    # near 1 the exponent is huge, and every bit of the logarithm counts
    x = 1 + rng.choice([-1, 1], 6000) * 2.0 ** -rng.uniform(1, 52, 6000)
    x = x[x != 1]
    y = rng.uniform(-745.1, 709.78, len(x)) / np.log(x)
    check("pow", x, y)


def test_pow_accuracy_at_the_ends():
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.uniform(0.5, 2, 1500), random_bits(rng, 1500)])
    x = x[(x > 0) & (x != 1)]
    for low, high in ((709, 709.79), (-745.2, -708)):
        y = rng.uniform(low, high, len(x)) / np.log(x)
        check("pow", x, y)
    subnormal = rng.integers(1, 2**52, 1500, dtype=np.uint64).view(np.float64)
    check("pow", subnormal, rng.uniform(-1, 1, 1500))
    check("pow", rng.uniform(0.01, 100, 3000), rng.uniform(-8, 8, 3000))  # an allometric power, a Hill exponent
    check("pow", rng.uniform(0.01, 100, 1500), np.exp(rng.uniform(-744, 0, 1500)))
    cuts = math.sqrt(2) * 2.0 ** np.arange(-1070, 1023, 31)
    x = neighbours(cuts, 1)
    check("pow", x, rng.uniform(-700, 700, len(x)) / np.log(x))


def test_pow_of_negative_bases():
    rng = np.random.default_rng(6)
    x, n = -np.exp(rng.uniform(-20, 20, 3000)), rng.integers(-35, 36, 3000).astype(float)
    check("pow", x, n)


def test_pow_whole_powers_are_exact_where_they_fit():
    n, x = np.meshgrid(np.arange(2.0, 12.0), np.arange(-20.0, 21.0))
    n, x = n.ravel(), x.ravel()
    whole = np.array([int(a) ** int(b) for a, b in zip(x, n)], dtype=object)
    fits = np.array([abs(w) < 2**53 for w in whole])
    got = kernel("pow")(x[fits], n[fits])
    assert np.max(np.abs(got - whole[fits].astype(float)) / np.maximum(1, np.abs(got))) <= 2.3e-16
    two = kernel("pow")(np.full(2098, 2.0), np.arange(-1074.0, 1024.0))
    assert np.array_equal(two, [math.ldexp(1.0, k) for k in range(-1074, 1024)])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(ARITY)), st.floats(allow_nan=False), st.floats(allow_nan=False, width=32))
def test_any_float_against_mpmath(name, a, b):
    """What random ranges may miss: whatever hypothesis thinks of, within 2 ulp or the edge's exact value."""
    args = (a, b)[: ARITY[name]]
    got = float(kernel(name)(*(np.array([v]) for v in args))[0])
    expected = edge(name, *args)
    if expected is not None:
        assert same(got, expected), (args, got, expected)
        return
    with mpmath.workprec(200):
        if name == "pow":
            size = b * mpmath.log(abs(mpmath.mpf(a)))
            if abs(size) > 800:
                flip = a < 0 and b == math.floor(b) and math.fmod(b, 2) != 0
                assert same(got, math.copysign(math.inf if size > 0 else 0.0, -1 if flip else 1))
                return
        elif name == "exp" and abs(a) > 800:
            assert got == (math.inf if a > 0 else 0.0)
            return
        assert ulps(got, EXACT[name](*map(mpmath.mpf, args))) <= LIMIT, args


def edge(name, a, b=0.0):
    """The C99 Annex F answer where one is prescribed, else None."""
    if name == "exp":
        return {math.inf: math.inf, -math.inf: 0.0, 0.0: 1.0}.get(a)
    if name == "log":
        return math.nan if a < 0 else {math.inf: math.inf, 0.0: -math.inf, 1.0: 0.0}.get(a)
    if name == "tanh":
        return a if a == 0 else {math.inf: 1.0, -math.inf: -1.0}.get(a)
    return annex_f_pow(a, b)


def annex_f_pow(x, y):
    """ISO C99 F.9.4.4, line by line; None where the value is an ordinary number."""
    odd = math.isfinite(y) and y == math.floor(y) and math.fmod(y, 2) != 0
    if y == 0 or x == 1:
        return 1.0
    if math.isnan(x) or math.isnan(y):
        return math.nan
    if x == 0:
        size = math.inf if y < 0 else 0.0
        return math.copysign(size, x) if odd else size
    if math.isinf(y):
        if x == -1:
            return 1.0
        return math.inf if (abs(x) > 1) == (y > 0) else 0.0
    if math.isinf(x):
        size = math.inf if y > 0 else 0.0
        return math.copysign(size, x) if odd else size
    if x < 0 and y != math.floor(y):
        return math.nan
    return None


# edges ---------------------------------------------------------------------------------------------------------------

ODD = [math.nan, math.inf, -math.inf, 0.0, -0.0]


@pytest.mark.parametrize("name", ["exp", "log", "tanh"])
def test_edges(name):
    x = np.array([*ODD, 1.0, -1.0])
    for a, got in zip(x, kernel(name)(x)):
        expected = math.nan if math.isnan(a) else edge(name, float(a))
        if expected is not None:
            assert same(float(got), expected), (name, a, got)


def test_subnormal_arguments():
    x = np.array([TINY, -TINY, NORMAL / 3, -NORMAL / 3])
    assert np.array_equal(kernel("exp")(x), np.ones(4))
    assert np.array_equal(kernel("tanh")(x), x)
    assert kernel("log")(x[:1])[0] == -744.4400719213812
    assert np.isnan(kernel("log")(-np.abs(x))).all()


def test_the_pow_table_of_annex_f():
    x = [*ODD, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, TINY, -TINY, HUGE, -HUGE, 1 + 2**-52, 1 - 2**-53, -1 - 2**-52]
    y = [*ODD, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, TINY, -TINY, 1e300, -1e300, HUGE, -HUGE]
    y += [2.0**53, 2.0**53 - 1, -(2.0**53) + 1, 2.0**52 + 1, 2.0**52 + 0.5, 2.0**51 + 0.5]
    A, B = (v.ravel() for v in np.meshgrid(x, y))
    with np.errstate(all="ignore"):
        libm = np.float_power(A, B)
    prescribed = 0
    for a, b, got, lib in zip(A.tolist(), B.tolist(), kernel("pow")(A, B).tolist(), libm.tolist()):
        expected = annex_f_pow(a, b)
        if expected is not None:
            prescribed += 1
            assert same(got, expected), (a, b, got, expected)
        elif math.isinf(lib) or lib == 0 or math.isnan(lib):
            assert same(got, lib), (a, b, got, lib)
        else:
            assert abs(got - lib) <= 3 * math.ulp(lib), (a, b, got, lib)
    assert prescribed > 250


def test_overflow_and_underflow_keep_the_sign():
    p = kernel("pow")
    x, y = np.array([-10.0, -10.0, -10.0, 10.0, -0.1]), np.array([309.0, -325.0, 310.0, -400.0, 401.0])
    assert [repr(float(v)) for v in p(x, y)] == ["-inf", "-0.0", "inf", "0.0", "-0.0"]
    assert float(kernel("exp")(np.array([-1e308]))[0]) == 0.0


# lanes ---------------------------------------------------------------------------------------------------------------


def bits(x):
    """The bits, every NaN made the same one."""
    x = np.array(x, dtype=float)
    x[np.isnan(x)] = np.nan
    return x.view(np.uint64)


def arguments(name, count, seed):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.uniform(-30, 30, count), np.exp(rng.uniform(-700, 700, count)), ODD, [1.0, 709.9, -745.9]])
    y = np.concatenate([rng.uniform(-30, 30, count), rng.uniform(-1, 1, count), ODD[::-1], [3.0, 2.0, -2.0]])
    order = rng.permutation(len(x))
    return (x[order], y[rng.permutation(len(y))])[: ARITY[name]]


@pytest.mark.parametrize("name", sorted(ARITY))
@pytest.mark.parametrize("lanes", [1, 4])
def test_every_lane_width_gives_the_same_bits(name, lanes):
    x = arguments(name, 400, 7)
    assert np.array_equal(bits(kernel(name, lanes)(*x)), bits(kernel(name, 8)(*x)))


@pytest.mark.parametrize("name", sorted(ARITY))
def test_every_lane_position_gives_the_same_bits(name):
    x = arguments(name, 60, 8)
    straight = bits(kernel(name)(*x))
    for shift in range(1, 8):
        moved = kernel(name)(*(np.concatenate([np.full(shift, np.nan), v]) for v in x))[shift:]
        assert np.array_equal(bits(moved), straight), shift
