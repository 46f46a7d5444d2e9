"""The estimators against exact answers: a Kalman filter, a large number of particles, the static twin's MAP."""

import dataclasses
import math

import numpy as np
import pytest
from doseloop.models import load
from doseloop.pkpd.errors import DoseloopError
from doseloop.pkpd.record import CovariateRow, Measurement, Record
from doseloop.pkpd.regimen import Infusion, Regimen
from doseloop.twin import posterior
from doseloop.twin.follow import Disturbed, Follow, Process, Sensor, Wander, Watch
from doseloop.twin.follower import Follower
from doseloop.twin.horizon_casadi import CasadiWindow
from helpers_follow import (
    LINEAR,
    MAN,
    SATURABLE,
    Exact,
    linear_statement,
    nonlinear_statement,
    patient,
    with_additive_error,
)

WEIGHT = {"weight": 70.0}


def run_linear(method, steps=60, **options):
    f = linear_statement()
    rng = np.random.default_rng(1)
    exact, follower = Exact(f, WEIGHT), Follower(f, WEIGHT, count=1, method=method, **options)
    u = np.zeros((steps, 1))
    u[::8] = 300.0
    for k in range(steps):
        y = exact.H @ (exact.F @ exact.m + exact.G @ u[k]) + 0.7 * rng.standard_normal()
        y = np.nan if k % 7 == 3 else y
        exact.step(u[k], y)
        belief = follower.step(u[k], y)
    return exact, belief, follower


def difference(exact, belief):
    scale = np.sqrt(np.diag(exact.P))
    mean = np.abs(belief.mean[0] - exact.m) / scale
    return max(mean.max(), (np.abs(belief.covariance[0] - exact.P) / np.outer(scale, scale)).max())


@pytest.mark.parametrize(("method", "options"), [("ukf", {}), ("horizon", {"window": 8}), ("horizon", {"window": 70})])
def test_linear_model_gives_the_exact_kalman_filter(method, options):
    exact, belief, _ = run_linear(method, **options)
    assert difference(exact, belief) < 1e-9
    assert belief.log_evidence[0] == pytest.approx(exact.log, rel=1e-9)
    assert belief.truth[0] == pytest.approx(exact.truth @ exact.m, rel=1e-9)
    assert belief.truth_sd[0] == pytest.approx(math.sqrt(exact.truth @ exact.P @ exact.truth), rel=1e-9)


def test_predictions_of_a_linear_model_are_exact():
    exact, _, follower = run_linear("ukf")
    u = np.full((10, 1), 20.0)
    bands = follower.predict(u, 0.9)
    for k in range(10):
        exact.step(u[k], np.nan)
        wide = math.sqrt(exact.H @ exact.P @ exact.H + exact.R)
        assert bands.reading[0, k] == pytest.approx(exact.H @ exact.m, rel=1e-9)
        assert bands.high[0, k] - bands.low[0, k] == pytest.approx(2 * 1.6448536 * wide, rel=1e-7)
        assert bands.truth_sd[0, k] == pytest.approx(math.sqrt(exact.truth @ exact.P @ exact.truth), rel=1e-9)


def test_particles_converge_to_the_exact_filter():
    errors = []
    for particles in (64, 1024, 16384):
        exact, belief, _ = run_linear("particle", steps=20, particles=particles)
        errors.append(difference(exact, belief))
    assert errors[2] < 0.1
    assert errors[2] < errors[0] / 3


def test_draws_have_the_beliefs_mean_and_covariance():
    _, belief, follower = run_linear("ukf")
    draws = follower.draws(20001)
    x = np.column_stack([draws.states[0], draws.offset[0]])
    assert np.allclose(x.mean(axis=0), belief.mean[0, :3], rtol=0, atol=1e-6)  # antithetic pairs: the mean exactly
    sd = np.sqrt(np.diag(belief.covariance[0, :3, :3]))
    assert np.allclose(
        np.cov(x.T) / np.outer(sd, sd), belief.covariance[0, :3, :3] / np.outer(sd, sd), rtol=0, atol=0.05
    )
    assert np.array_equal(follower.draws(5).states, draws.states[:, :5])
    assert np.allclose(draws.states[0, 0], belief.states[0])


def test_a_window_over_everything_gives_the_static_twins_map():
    model = with_additive_error(load(SATURABLE), "concentration", 0.8)
    f = dataclasses.replace(nonlinear_statement(), model=model, states={}, memory=math.inf, step=0.05)
    u, y, _ = patient(f, steps=30, seed=4)
    follower = Follower(f, MAN, count=1, method="horizon", window=40, iterations=20)
    for k in range(30):
        belief = follower.step(u[k], y[k])
    h = f.interval
    given = Regimen(*(Infusion(r * h, k * h, duration=h, route="iv") for k, r in enumerate(u[:, 1])))
    levels = [Measurement((k + 1) * h, "concentration", float(y[k])) for k in range(30)]
    record = Record("one", (CovariateRow(0.0, MAN),), given, tuple(levels), 60.0)
    best = posterior([model], record).best
    sd = np.sqrt(np.diag(best.covariance))
    assert np.abs((belief.effects[0] - best.map) / sd).max() < 1e-5
    assert np.allclose(belief.covariance[0, 2:, 2:], best.covariance, rtol=0.05)


def test_all_methods_come_near_one_another_and_the_patient():
    f = nonlinear_statement()
    u, y, eta = patient(f, steps=60, seed=2)
    last = []
    for method, options in (("ukf", {}), ("particle", {"particles": 1024}), ("horizon", {"window": 20})):
        follower = Follower(f, MAN, count=1, method=method, **options)
        for k in range(60):
            belief = follower.step(u[k], y[k])
        last.append(np.concatenate([belief.effects[0], belief.truth]))
        sd = np.sqrt(np.diag(belief.covariance[0]))[2:]
        assert (np.abs(belief.effects[0] - eta) < 3 * sd).all()
    assert np.abs(last[0] - last[2]).max() < 0.05 * max(1.0, abs(last[0][-1]))
    assert np.abs(last[0] - last[1]).max() < 0.2 * max(1.0, abs(last[0][-1]))


def test_innovations_are_honest_where_the_model_is_right():
    f = nonlinear_statement(states={}, memory=math.inf)
    runs = [patient(f, steps=50, seed=s) for s in range(40)]
    follower = Follower(f, MAN, count=40)
    nis, inside = [], []
    for k in range(50):
        expected = follower.predict(runs[0][0][k : k + 1])
        y = np.array([r[1][k] for r in runs])
        inside.append((y > expected.low[:, 0]) & (y < expected.high[:, 0]))
        nis.append(follower.step(runs[0][0][k], y).nis)
    assert np.mean(nis) == pytest.approx(1.0, abs=0.1)  # 2,000 of chi-square 1: SD 0.032
    assert np.mean(inside) == pytest.approx(0.9, abs=0.025)


def test_a_disturbed_input_is_found():
    f = nonlinear_statement(disturbed=[Disturbed(("iv",), Wander(0.4, 1e4), scale=True)])
    u, _, _ = patient(f, steps=60, seed=3)
    from helpers_follow import truth_of

    truth = truth_of(f, 1.5 * u, np.zeros(2))  # half as much again is given as was told
    follower = Follower(f, MAN, count=1, covariance=1e-4 * np.eye(2))
    for k in range(60):
        belief = follower.step(u[k], truth[k])
    mean, sd = belief.of("disturbed iv")
    assert mean[0] == pytest.approx(math.log(1.5), abs=3 * sd[0])
    assert abs(mean[0]) > 3 * sd[0]


def test_second_order_terms_are_right():
    # told 20 mg/h, given exp(d) times that, d normal with SD 0.3: the law of the amount is known
    still = Wander(0.3, 1e9)
    f = nonlinear_statement(states={}, disturbed=[Disturbed(("oral",), still, scale=True)])
    follower = Follower(f, MAN, count=1, covariance=1e-12 * np.eye(2))
    belief = follower.step(np.array([20.0, 0.0]))
    ka = belief.parameters[0, 0]
    whole = 20.0 / ka * -math.expm1(-ka * f.interval)
    mean, sd = belief.of("depot")
    assert mean[0] == pytest.approx(whole * math.exp(0.045), rel=1e-3)
    assert sd[0] == pytest.approx(whole * math.exp(0.045) * math.sqrt(math.expm1(0.09)), rel=1e-2)


def test_particles_of_constants_do_not_collapse():
    f = nonlinear_statement(states={}, memory=math.inf)
    u, y, _ = patient(f, steps=80, seed=8)
    cloud, sigma = Follower(f, MAN, count=1, method="particle", particles=512), Follower(f, MAN, count=1)
    for k in range(80):
        a, b = cloud.step(u[k], y[k]), sigma.step(u[k], y[k])
    values = cloud.engine.cloud[0, :, 2]
    assert len(np.unique(values)) == 512
    ratio = np.sqrt(np.diag(a.covariance[0])[2:] / np.diag(b.covariance[0])[2:])
    assert (ratio > 0.5).all()
    assert (ratio < 2.0).all()
    assert a.ess[0] > 100


def test_everything_wrong_with_a_statement_is_said_at_once():
    with pytest.raises(DoseloopError) as caught:
        Follow(
            load(LINEAR), -1.0, "nothing", Sensor(), effects=["ghost"], states={"ghost": Process()}, signed=["x"],
            disturbed=[Disturbed(("ghost",), Wander(-1.0))], late=-1.0, watch=Watch(gate=-1.0),
        )  # fmt: skip
    text = str(caught.value)
    for word in ("interval", "output 'nothing'", "effect 'ghost'", "state 'ghost'", "state 'x'", "'ghost'", "late"):
        assert word in text
    assert "white error" in text
    assert "watch" in text


def test_wrong_shapes_are_refused():
    follower = Follower(nonlinear_statement(), MAN, count=2)
    for bad in (
        lambda: follower.step(np.zeros(3)),
        lambda: follower.step(np.array([np.nan, 0.0])),
        lambda: follower.step(np.zeros(2), np.zeros(3)),
        lambda: follower.predict(np.zeros((4, 3))),
        lambda: follower.draws(0),
        lambda: Follower(nonlinear_statement(), MAN, mean=np.zeros(5)),
        lambda: Follower(nonlinear_statement(), MAN, method="magic"),
    ):
        with pytest.raises(DoseloopError):
            bad()


def test_the_window_is_solved_as_casadi_solves_it():
    wanders = (Wander(0.5, 20.0, order=2), Wander(0.3, 8.0))
    f = nonlinear_statement(
        sensor=Sensor(additive=0.6, coloured=wanders, low=-20.0),
        states={"central": Process(absolute=4.0)},
        memory=300.0,
    )
    u, y, _ = patient(f, steps=15, seed=7)
    y[4] = np.nan
    follower = Follower(f, MAN, count=1, method="horizon", window=20, iterations=30)
    e = follower.engine
    mean, covariance = e.arrival[0][0].copy(), e.arrival[1][0].copy()
    window = CasadiWindow(f, 15, np.array([MAN[c] for c in f.model.names("covariates")]), np.zeros(2), f.model.omega)
    for k in range(15):
        belief = follower.step(u[k], y[k])
    found = window.solve(mean, covariance, u, np.concatenate([[np.nan], y]))
    sd = np.sqrt(np.diag(belief.covariance[0])) + 1e-9
    assert found.success
    assert np.abs((belief.mean[0] - found.states[-1]) / sd).max() < 1e-4
    assert np.abs((e.z[0, :16] - found.states) / sd).max() < 1e-4
