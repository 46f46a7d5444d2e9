"""The integrators: observed order, stability at infinity, stiff problems, error control, and an end that comes."""

import math
import time

import numpy as np
import pytest
from doseloop.pkpd import drive, stiff
from doseloop.pkpd.engine import Method
from doseloop.pkpd.lanes import LANES
from doseloop.pkpd.model import Route
from doseloop.pkpd.ops import exp, sqrt
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Bolus, Infusion, Regimen
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.system import system
from helpers_pk import call_address, make_model, michaelis_menten_model, relative, run, run_all, values
from scipy.integrate import solve_ivp

NOTHING = Regimen()


def problem():
    """Nonlinear, time in the equations, two states; with s = t/50 + t²/2 the solution is

    a = a0/√(1 + 2 a0² s), b = b0 (1 + s)/√(1 + 2 a0² s). It begins slowly, so that the first step is not cut short.
    """

    def rhs(t, x, p, u):
        s, rate = 0.02 * t + 0.5 * t * t, 0.02 + t
        return {"a": -rate * x.a * x.a * x.a, "b": rate * x.b * (1.0 / (1.0 + s) - x.a * x.a)}

    return make_model(
        "order",
        {"a0": 1.3, "b0": 0.7},
        ["a", "b"],
        rhs,
        {"y": lambda x, p: x.b},
        [Route("iv", "a")],
        initial=lambda p: {"a": p.a0, "b": p.b0},
    )


def solution(t):
    s = 0.02 * np.asarray(t) + 0.5 * np.asarray(t) ** 2
    return 0.7 * (1 + s) / np.sqrt(1 + 2 * 1.69 * s)


PROBLEM = problem()


def orders(errors):
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def error_at(method, ends=(1.0, 1.6, 2.0, 3.2)):
    """Sum of the errors at these ends, each of its own run."""
    got = [run(PROBLEM, values(PROBLEM), NOTHING, [t], method)[0] for t in ends]
    return float(np.sum(np.abs(got / solution(ends) - 1)))


def test_rk4_has_order_4():
    seen = orders([error_at(Method("rk4", step=h)) for h in (0.1, 0.05, 0.025, 0.0125)])
    assert np.all(np.abs(seen - 4) < 0.35), seen
    assert abs(seen[-1] - 4) < 0.15


def forced(name, steps):
    """Errors with the error control switched off: all steps have one length."""
    return [error_at(Method(name, rtol=100.0, atol=1e-3, step=h)) for h in steps]


def test_dormand_prince_has_order_5():
    seen = orders(forced("adaptive", (0.1, 0.05, 0.025, 0.0125)))
    assert np.all(np.abs(seen - 5) < 0.6), seen
    assert abs(seen[-1] - 5) < 0.25


def test_rodas_has_order_4():
    seen = orders(forced("stiff", (0.1, 0.05, 0.025, 0.0125)))
    assert np.all(np.abs(seen - 4) < 0.6), seen
    assert abs(seen[-1] - 4) < 0.25


def dopri5_step(t, h, x):
    """One step of the kernel: new state, error estimate, last stage."""
    S = system(PROBLEM)
    full = lambda v: np.repeat(np.atleast_1d(np.asarray(v, dtype=float))[:, None], LANES, axis=1)  # noqa: E731
    p, u, first = full(values(PROBLEM)), np.zeros((S.rows_u, LANES)), np.zeros((2, LANES))
    call_address(S.kernel("rhs"), full([t, 0]), full(x), p, u, None, first)
    out = np.zeros((6, LANES))
    call_address(S.kernel("dopri5"), full([t, h]), full(x), p, u, first, out)
    assert np.array_equal(out, np.repeat(out[:, :1], LANES, axis=1))
    return out[:2, 0], out[2:4, 0], out[4:6, 0]


def test_dormand_prince_step_and_its_error_estimate():
    """Local error falls as h⁶, the estimate (the embedded order 4) as h⁵; the last stage is f at the new point."""
    x, t0 = np.array([1.0, 0.8]), 0.5

    def f(t, y):
        s, rate = 0.02 * t + 0.5 * t * t, 0.02 + t
        return np.array([-rate * y[0] ** 3, rate * y[1] * (1 / (1 + s) - y[0] ** 2)])

    steps = (0.08, 0.04, 0.02)
    results = [dopri5_step(t0, h, x) for h in steps]
    exact = [solve_ivp(f, (t0, t0 + h), x, "DOP853", rtol=3e-14, atol=1e-16).y[:, -1] for h in steps]
    local = orders([np.abs(r[0] - e).sum() for r, e in zip(results, exact)])
    estimate = orders([np.abs(r[1]).sum() for r in results])
    assert np.all(np.abs(local - 6) < 0.5), local
    assert np.all(np.abs(estimate - 5) < 0.5), estimate
    assert np.allclose(results[0][2], f(t0 + steps[0], results[0][0]), rtol=1e-14)


# Rodas4's stability, from its numbers ---------------------------------------------------------------------------------


def growth(z):
    """R(z): what one step makes of y' = z y, y = 1, by the steps of `stiff_step`."""
    u = np.zeros(stiff.STAGES, dtype=complex)
    for i in range(stiff.STAGES):
        y = 1 + stiff.A[i, :i] @ u[:i]
        u[i] = (z * y + stiff.C[i, :i] @ u[:i]) / (1 / stiff.GAMMA - z)
    return 1 + stiff.A[-1, :-1] @ u[:-1] + u[-1]


def test_rodas_is_l_stable():
    """R(∞) = 0, |R| ≤ 1 on the imaginary axis, and no pole on the left: A-stable, and damped at infinity."""
    assert abs(growth(-1e6)) < 1e-5
    assert abs(growth(-1e9)) < 1e-8
    assert abs(growth(-1e9)) < abs(growth(-1e6)) / 900  # falls as 1/z: the limit is 0, not a small number
    y = np.concatenate([np.logspace(-4, 8, 4000), np.linspace(0, 40, 4000)])
    assert max(abs(growth(1j * v)) for v in y) <= 1 + 1e-13
    assert stiff.GAMMA > 0  # all poles at 1/γ


def test_rodas_is_stiffly_accurate_and_of_order_4_on_the_linear_equation():
    errors = [abs(growth(-h) - math.exp(-h)) for h in (0.4, 0.2, 0.1)]
    assert np.all(np.abs(orders(errors) - 5) < 0.3)
    assert stiff.ALPHA[-1] == 1.0
    row = stiff.A.sum(axis=1)  # the last two stages stand at the end of the step
    assert row.shape == (6,)


def test_a_fast_decay_is_damped_in_one_step():
    """x' = −10⁸ (x − s), s slow: with the error control off, one step of 0.5 lands on the slow curve."""
    model = make_model(
        "fast",
        {"fast": 1e8, "slow": 0.1, "a": 1.0},
        ["s", "x"],
        lambda t, x, p, u: {"s": -p.slow * x.s * x.s, "x": -p.fast * (x.x - x.s)},
        {"y": lambda x, p: x.x},
        [Route("iv", "s")],
        initial=lambda p: {"s": p.a, "x": 5.0 * p.a},
    )
    got = run(model, values(model), NOTHING, [1.0, 2.0], Method("stiff", rtol=1e-6, atol=1e-9))
    assert np.allclose(got, 1 / (1 + 0.1 * np.array([1.0, 2.0])), rtol=1e-5)


# stiff problems -------------------------------------------------------------------------------------------------------


def robertson():
    return make_model(
        "robertson",
        {"a": 0.04, "b": 1e4, "c": 3e7},
        ["x", "y", "z"],
        lambda t, x, p, u: {
            "x": -p.a * x.x + p.b * x.y * x.z,
            "y": p.a * x.x - p.b * x.y * x.z - p.c * x.y * x.y,
            "z": p.c * x.y * x.y,
        },
        {"x": lambda x, p: x.x, "y": lambda x, p: x.y, "z": lambda x, p: x.z},
        [Route("iv", "x")],
        initial=lambda p: {"x": 1.0 + 0.0 * p.a, "y": 0.0, "z": 0.0},
        method="stiff",
    )


def test_robertson():
    """Nine orders of magnitude of time; the mass stays 1."""
    model, t = robertson(), 4.0 * 10.0 ** np.arange(-3, 6)
    Y, status = run_all(model, values(model), NOTHING, t, Method("stiff", rtol=1e-8, atol=1e-12))
    assert not status.any()
    f = lambda t, s: [  # noqa: E731
        -0.04 * s[0] + 1e4 * s[1] * s[2],
        0.04 * s[0] - 1e4 * s[1] * s[2] - 3e7 * s[1] ** 2,
        3e7 * s[1] ** 2,
    ]
    ref = solve_ivp(f, (0, t[-1]), [1, 0, 0], "Radau", t_eval=t, rtol=1e-11, atol=1e-15).y.T
    assert np.max(np.abs(Y[0] / ref - 1)) <= 1e-6
    assert np.max(np.abs(Y[0].sum(axis=1) - 1)) <= 1e-12


def van_der_pol(mu, method="auto"):
    return make_model(
        f"van_der_pol_{method}",
        {"mu": mu},
        ["x", "v"],
        lambda t, x, p, u: {"x": x.v, "v": p.mu * (1.0 - x.x * x.x) * x.v - x.x},
        {"x": lambda x, p: x.x},
        [Route("iv", "x")],
        initial=lambda p: {"x": 2.0 + 0.0 * p.mu, "v": 0.0},
        method=method,
    )


@pytest.mark.parametrize("mu", [5.0, 1000.0])
def test_van_der_pol(mu):
    model = van_der_pol(mu, "stiff")
    t = np.array([0.1, 0.4, 0.7]) * mu
    got = run(model, values(model), NOTHING, t, Method("stiff", rtol=1e-9, atol=1e-11))
    f = lambda t, s: [s[1], mu * (1 - s[0] ** 2) * s[1] - s[0]]  # noqa: E731
    ref = solve_ivp(f, (0, t[-1]), [2, 0], "Radau", t_eval=t, rtol=1e-11, atol=1e-13).y[0]
    assert np.max(np.abs(got - ref)) <= 1e-6


def test_a_model_may_ask_for_the_stiff_method():
    model = van_der_pol(1000.0, "stiff")
    assert Method().resolve(model, False) == drive.STIFF
    assert Method().resolve(PROBLEM, False) == drive.ADAPTIVE
    begin = time.process_time()
    run(model, values(model), NOTHING, [700.0], Method())
    assert time.process_time() - begin < 5


# error control --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "times_rtol"), [("adaptive", 60), ("stiff", 300)])
def test_the_error_follows_the_tolerance(name, times_rtol):
    t = np.linspace(0.25, 12, 30)
    tolerances = [1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10]
    found = [
        relative(run(PROBLEM, values(PROBLEM), NOTHING, t, Method(name, rtol=r, atol=r)), solution(t))
        for r in tolerances
    ]
    assert all(e <= times_rtol * r for e, r in zip(found, tolerances)), found
    assert found[-1] < 1e-3 * found[0]  # it is followed, not merely kept


def test_a_jump_is_not_stepped_over():
    """A pulse of three minutes in a day: the steps restart at each event."""
    model = michaelis_menten_model()
    pulse = Regimen(Infusion(50.0, 11.0, duration=0.05))
    fine = run(model, values(model), pulse, [24.0], Method("rk4", step=0.005))
    for name in ("adaptive", "stiff"):
        got = run(model, values(model), pulse, [24.0], Method(name, rtol=1e-9, atol=1e-11))
        assert got == pytest.approx(fine, rel=1e-7), name


def test_looking_often_changes_nothing_beyond_the_tolerance():
    model = michaelis_menten_model()
    regimen = Regimen(Bolus(300.0, 0.0, every=12.0, times=3))
    dense = np.arange(0.05, 48.0001, 0.05)
    for name in ("adaptive", "stiff"):
        method = Method(name, rtol=1e-8, atol=1e-10)
        often = run(model, values(model), regimen, dense, method)[-1]
        once = run(model, values(model), regimen, dense[-1:], method)[0]
        assert often == pytest.approx(once, rel=3e-7), name


def test_a_largest_step_is_kept():
    """With a step bound of 0.05 even a tolerance of nothing is accurate."""
    assert error_at(Method("adaptive", rtol=1e9, atol=1e9, step=0.05)) < 1e-6
    assert error_at(Method("adaptive", rtol=1e9, atol=1e9)) > 1e-4


def test_methods_are_refused_with_a_reason():
    with pytest.raises(ValueError, match="needs a finite step"):
        run(PROBLEM, values(PROBLEM), NOTHING, [1.0], Method("rk4"))
    with pytest.raises(ValueError, match="not linear"):
        run(PROBLEM, values(PROBLEM), NOTHING, [1.0], Method("exact"))
    with pytest.raises(ValueError, match="unknown; known"):
        run(PROBLEM, values(PROBLEM), NOTHING, [1.0], Method("euler"))


# inputs ---------------------------------------------------------------------------------------------------------------


def test_an_input_is_held_between_its_rows():
    model = make_model(
        "driven",
        {"k": 0.5},
        ["x"],
        lambda t, x, p, u: {"x": p.k * (u.target - x.x)},
        {"y": lambda x, p: x.x},
        [Route("iv", "x")],
        inputs=["target"],
    )
    t = np.array([0.5, 1.0, 2.0, 2.5, 4.0])
    expected, level = [], 6.0 * (1 - math.exp(-0.5))
    for v in t:
        expected.append(6.0 * (1 - math.exp(-0.5 * v)) if v <= 1 else level * math.exp(-0.5 * (min(v, 2) - 1)))
        if v > 2:
            expected[-1] = 3.0 + (expected[-1] - 3.0) * math.exp(-0.5 * (v - 2))
    for method in (Method(), Method("adaptive", rtol=1e-10, atol=1e-12), Method("rk4", step=0.01), Method("stiff")):
        s = Schedule(model, 0.0)
        s.observe(t)
        for when, value in ((0.0, 6.0), (1.0, 0.0), (2.0, 3.0)):
            s.set_input(when, 0, value)
        Y, status = Prepared(system(model), [s], method).run(values(model)[None])
        assert not status.any()
        assert np.allclose(Y[:, 0], expected, rtol=1e-6 if method.name == "stiff" else 1e-9), method.name


# an end that comes ----------------------------------------------------------------------------------------------------


def hostile(name):
    """Equations whose solution ends, blows up, or never was a number."""
    rhs = {
        "blow up": lambda t, x, p, u: {"x": p.k * x.x * x.x},
        "faster blow up": lambda t, x, p, u: {"x": p.k * exp(x.x)},
        "below the root": lambda t, x, p, u: {"x": -p.k * sqrt(x.x)},
        "never a number": lambda t, x, p, u: {"x": p.k * x.x * x.x + 0.0 * sqrt(-1.0 - x.x * x.x)},
    }[name]
    return make_model(
        "hostile_" + name.replace(" ", "_"),
        {"k": 1.0},
        ["x"],
        rhs,
        {"y": lambda x, p: x.x},
        [Route("iv", "x")],
        initial=lambda p: {"x": 1.0 + 0.0 * p.k},
    )


@pytest.mark.parametrize("method", [Method(), Method("stiff"), Method("rk4", step=0.01)], ids=lambda m: m.name)
@pytest.mark.parametrize("name", ["blow up", "faster blow up", "below the root", "never a number"])
def test_a_solution_that_ends_is_a_status_and_never_a_hang(name, method):
    model = hostile(name)
    run_all(model, values(model), NOTHING, [0.01], method)  # compiled now, timed below
    begin = time.process_time()
    Y, status = run_all(model, values(model), NOTHING, [0.5, 3.0, 5.0], method)
    assert time.process_time() - begin < 3
    assert status[0] in (drive.NOT_FINITE, drive.STEP_UNDERFLOW)
    assert not np.isfinite(Y[0, 1:]).any()


@pytest.mark.parametrize("method", [Method(), Method("stiff"), Method("rk4", step=0.01)], ids=lambda m: m.name)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_parameters_that_are_no_numbers(method, bad):
    model = hostile("blow up")
    run_all(model, values(model), NOTHING, [0.01], method)
    begin = time.process_time()
    Y, status = run_all(model, np.array([[0.1], [bad], [0.2]]), NOTHING, [0.5, 1.0], method)
    assert time.process_time() - begin < 0.2  # one such draw among thousands costs no seconds
    assert status[[0, 2]].tolist() == [0, 0]
    assert status[1] in (drive.NOT_FINITE, drive.STEP_UNDERFLOW)
    assert np.allclose(Y[[0, 2], :, 0], 1 / (1 - np.outer([0.1, 0.2], [0.5, 1.0])), rtol=1e-6)
