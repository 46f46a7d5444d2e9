"""The most probable patient: against optima that stand on none of the twin's code."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from doseloop.pkpd import reference
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.model import Residual
from doseloop.pkpd.record import CovariateRow, Measurement, Record
from doseloop.pkpd.regimen import Bolus, Infusion, Oral, Regimen
from doseloop.twin.cohort import Cohort
from doseloop.twin.gauss_newton import CONVERGED
from doseloop.twin.layout import Effects, lay_out
from doseloop.twin.likelihood import LOG, NORMAL, deviation, kind_of, log_density, spread
from doseloop.twin.posterior import starting_points
from helpers_twin import (
    PHENOBARBITAL,
    PHENYTOIN,
    VANCOMYCIN,
    infants,
    levels,
    minus_log_likelihood,
    occasion_model,
    one_compartment,
    optimum,
    plain_objective,
    vancomycin_patients,
    with_residual,
)
from scipy.integrate import quad, solve_ivp
from scipy.stats import norm


def fit(model, records, starts=1):
    """Most probable effects (records, K) from the prior mean, or from every start (records, starts, K)."""
    cohort = Cohort([lay_out(model, r) for r in records])
    s = starting_points(cohort.omega[0], starts)
    got = cohort.fit(np.repeat(np.arange(len(records)), starts), np.tile(s, (len(records), 1)))
    assert (got["state"] == CONVERGED).all()
    return got


def assert_same_patient(model, covariates, ours, theirs):
    """Within 1e-4: in prior standard deviations, and relative in every individual parameter."""
    assert np.all(np.abs(ours - theirs) / np.sqrt(np.diag(model.omega)) < 1e-4)
    a, b = (individuals(model, covariates, e)[0] for e in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=1e-4)


# data ----------------------------------------------------------------------------------------------------------------


def test_every_infant_as_scipy_finds_it():
    records = infants()
    assert len(records) == 59
    got = fit(PHENOBARBITAL, records)
    for record, eta in zip(records, got["eta"]):
        theirs = optimum(plain_objective(PHENOBARBITAL, record), 2)
        assert_same_patient(PHENOBARBITAL, record.covariates[0].dict, eta, theirs)


def test_simulated_vancomycin_patients_as_scipy_finds_them():
    records = vancomycin_patients(56)
    got = fit(VANCOMYCIN, records)
    assert sum(len({r["scr"] for r in record.covariates}) > 1 for record in records) == 28
    for record, eta, f in zip(records, got["eta"], got["f"]):
        objective = plain_objective(VANCOMYCIN, record)
        theirs = optimum(objective, 3)
        for row in record.covariates:
            assert_same_patient(VANCOMYCIN, row.dict, eta, theirs)
        constant = 0.5 * np.linalg.slogdet(2 * np.pi * VANCOMYCIN.omega)[1]
        assert math.isclose(objective(eta) + constant, f, rel_tol=1e-9)


@pytest.mark.parametrize("which", ["infants", "vancomycin"])
def test_every_start_leads_to_one_optimum(which):
    model, records = (PHENOBARBITAL, infants()) if which == "infants" else (VANCOMYCIN, vancomycin_patients(56))
    got = fit(model, records, starts=8)
    eta, f = got["eta"].reshape(len(records), 8, -1), got["f"].reshape(len(records), 8)
    assert np.ptp(f, axis=1).max() < 1e-9
    assert (np.ptp(eta, axis=1) / np.sqrt(np.diag(model.omega))).max() < 1e-4


def test_a_fit_does_not_depend_on_its_neighbours():
    records = infants()[:13]
    together = fit(PHENOBARBITAL, records, starts=3)
    for i in (0, 5, 12):
        alone = fit(PHENOBARBITAL, [records[i]], starts=3)
        for name in ("eta", "f", "H", "iterations"):
            assert np.array_equal(together[name][3 * i : 3 * i + 3], alone[name]), name


@pytest.mark.parametrize("factor", [0.1, 0.3, 3.0, 5.0])
def test_a_level_far_off_still_has_a_most_probable_patient(factor):
    for record in infants()[:12]:
        wrong = replace(record, observed=tuple(replace(m, value=factor * m.value) for m in record.observed[:1]))
        theirs = optimum(plain_objective(PHENOBARBITAL, wrong), 2)
        got = fit(PHENOBARBITAL, [wrong], starts=8)
        for eta in got["eta"]:
            assert_same_patient(PHENOBARBITAL, record.covariates[0].dict, eta, theirs)


# other paths ---------------------------------------------------------------------------------------------------------


def test_saturable_elimination_by_integration():
    covariates = {"weight": 62.0, "age": 35.0, "japanese": 0.0}
    regimen = Regimen(Oral(400, every=24, times=6))
    times, values = (23.0, 71.0, 143.0), (7.1, 14.0, 21.0)
    observed = tuple(Measurement(t, "concentration", y) for t, y in zip(times, values))
    record = Record("p", (CovariateRow(0.0, covariates),), regimen, observed, 144.0)
    precision = np.linalg.inv(PHENYTOIN.omega)

    def objective(eta):
        p = reference.individual(PHENYTOIN, covariates, eta)

        def rhs(t, x):
            c = x[1] / p["v"]
            return (-p["ka"] * x[0], p["ka"] * x[0] - p["vmax"] * c / (p["km"] + c))

        x, now, f = np.zeros(2), 0.0, []
        for time, what in sorted([(24.0 * i, "dose") for i in range(6)] + [(t, "level") for t in times]):
            if time > now:
                x, now = solve_ivp(rhs, (now, time), x, method="DOP853", rtol=1e-9, atol=1e-8).y[:, -1], time
            if what == "dose":
                x[0] += 400
            else:
                f.append(x[1] / p["v"])
        return minus_log_likelihood(PHENYTOIN, record, f) + 0.5 * eta @ precision @ eta

    theirs = optimum(objective, 2)
    got = fit(PHENYTOIN, [record], starts=8)
    assert_same_patient(PHENYTOIN, covariates, got["eta"][0], theirs)
    assert np.ptp(got["f"]) < 1e-6


@pytest.mark.parametrize("changing", [False, True])
def test_steady_state_dose_as_many_doses(changing):
    base = {"weight": 80.0, "age": 60.0, "sex": 1.0, "dialysis": 0.0}
    rows = [CovariateRow(0.0, base | {"scr": 1.1}), CovariateRow(24.0, base | {"scr": 1.9 if changing else 1.1})]
    steady = Regimen(Infusion(1000, 0.0, duration=1.0, every=12, times=2, steady_state=True))
    many = Regimen(Infusion(1000, -1200.0, duration=1.0, every=12, times=102))
    observed = (Measurement(3.0, "concentration", 33.0), Measurement(23.5, "concentration", 15.0))
    record = Record("s", tuple(rows), steady, observed, 24.0)
    theirs = optimum(plain_objective(VANCOMYCIN, record, many), 3)
    eta = fit(VANCOMYCIN, [record])["eta"][0]
    assert_same_patient(VANCOMYCIN, rows[0].dict, eta, theirs)


KINDS = {
    "additive": Residual(additive=2.5),
    "proportional": Residual(proportional=0.115),
    "combined": Residual(additive=1.5, proportional=0.1),
    "log": Residual(log=0.12),
}


@pytest.mark.parametrize("kind", KINDS)
def test_residual_kinds_with_a_censored_level(kind):
    model = with_residual(PHENOBARBITAL, KINDS[kind], kind)
    some = [r for r in infants() if len(r.observed) >= 3][:3]
    below = lambda m: replace(m, value=18.0, lloq=18.0, censored=True)  # noqa: E731
    some = [replace(r, observed=(below(r.observed[0]), *r.observed[1:])) for r in some]
    for record, eta in zip(some, fit(model, some)["eta"]):
        theirs = optimum(plain_objective(model, record), 2)
        assert_same_patient(model, record.covariates[0].dict, eta, theirs)


# between-occasion variability ----------------------------------------------------------------------------------------


def test_occasions_are_numbered_after_the_subject_in_blocks():
    model = occasion_model()
    effects = Effects.of(model, 3)
    assert effects.names == ("cl", "v", "cl_occ@1", "v_occ@1", "cl_occ@2", "v_occ@2", "cl_occ@3", "v_occ@3")
    # columns in the model's order: cl_occ, cl, v_occ, v
    assert effects.of_occasion.tolist() == [[2, 0, 3, 1], [4, 0, 5, 1], [6, 0, 7, 1]]
    wanted = np.zeros((8, 8))
    wanted[:2, :2] = [[0.09, 0.03], [0.03, 0.05]]
    for o in (2, 4, 6):
        wanted[o : o + 2, o : o + 2] = [[0.04, 0.01], [0.01, 0.01]]
    assert np.array_equal(effects.omega, wanted)
    assert Effects.of(PHENOBARBITAL, 3).names == ("cl", "v")


def test_occasions_as_scipy_finds_them():
    model = occasion_model()
    starts = (0.0, 24.0, 60.0)
    observed = [(2, 9.0), (20, 2.2), (26, 14.0), (50, 1.1), (60, 1.4), (63, 9.1), (80, 3.9)]
    record = Record(
        "o",
        (),
        Regimen(Bolus(100, every=24, times=4)),
        tuple(Measurement(float(t), "concentration", y) for t, y in observed),
        80.0,
        starts,
    )
    got = fit(model, [record], starts=8)
    assert np.ptp(got["f"]) < 1e-9
    effects = Effects.of(model, 3)
    precision = np.linalg.inv(effects.omega)

    def objective(eta):
        def at(t):
            return eta[effects.of_occasion[max(o for o in range(3) if starts[o] <= t)]]

        # a trough at the very start of an occasion is read with the volume of the new one
        f = levels(model, record, at)
        f[4] *= math.exp(at(59.9)[2] - at(60.1)[2])
        return minus_log_likelihood(model, record, f) + 0.5 * eta @ precision @ eta

    theirs = optimum(objective, 8)
    assert np.all(np.abs(got["eta"][0] - theirs) / np.sqrt(np.diag(effects.omega)) < 1e-4)


# the likelihood of one reading ---------------------------------------------------------------------------------------

CASES = [(kind, censored, y, f) for kind in KINDS for censored in (False, True) for y, f in ((20.0, 24.0), (5.0, 4.4))]


@pytest.mark.parametrize(("kind", "censored", "y", "f"), CASES)
def test_derivative_of_the_deviation(kind, censored, y, f):
    k, a, b = kind_of(KINDS[kind])
    value, slope, curvature = deviation(y, f, k, a, b, censored)
    at = lambda x: deviation(y, x, k, a, b, censored)[0]  # noqa: E731
    h = 1e-3 * f
    numeric = (8 * (at(f + h) - at(f - h)) - at(f + 2 * h) + at(f - 2 * h)) / (12 * h)
    assert math.isclose(slope, numeric, rel_tol=1e-8)
    assert curvature > 0
    assert log_density(y, f, KINDS[kind], censored) == -value
    if censored and kind == "additive":
        second = (at(f + h) - 2 * at(f) + at(f - h)) / h**2
        assert math.isclose(curvature, second, rel_tol=1e-4)
    if not censored:
        # Fisher's information, the expected square of the slope; the second derivative where larger (log: Fisher's)
        size = float(spread(np.array([f]), KINDS[kind])[0])
        reading = (lambda z: f * math.exp(size * z)) if k == LOG else (lambda z: f + size * z)
        score = lambda z: deviation(reading(z), f, k, a, b, False)[1] ** 2 * norm.pdf(z)  # noqa: E731
        fisher = quad(score, -9, 9)[0]
        second = (deviation(y, f + h, k, a, b, False)[1] - deviation(y, f - h, k, a, b, False)[1]) / (2 * h)
        assert math.isclose(curvature, fisher if k == LOG else max(fisher, second), rel_tol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("f", [0.5, 3.0, 5.0, 6.5])
def test_m3_is_the_integral_of_the_density_below_the_limit(kind, f):
    lloq, r = 4.0, KINDS[kind]
    lowest = 1e-9 if r.log else f - 40 * float(spread(np.array([f]), r)[0])
    top = min(lloq, f * math.exp(10 * r.log) if r.log else lloq)
    mass = quad(lambda y: math.exp(log_density(y, f, r)), min(lowest, top), top, limit=400, epsabs=0, epsrel=1e-11)[0]
    assert math.isclose(math.exp(log_density(lloq, f, r, censored=True)), mass, rel_tol=1e-6)


@pytest.mark.parametrize("z", [-200.0, -37.0, -30.1, -29.9, -8.0, 0.0, 5.0])
def test_m3_far_out(z):
    value, slope, curvature = deviation(z, 0.0, NORMAL, 1.0, 0.0, True)
    assert math.isclose(value, -norm.logcdf(z), rel_tol=1e-5)
    assert math.isclose(slope, math.exp(norm.logpdf(z) - norm.logcdf(z)), rel_tol=1e-5)
    assert 0 < curvature < 1.01


def test_one_level_on_a_toy_by_hand():
    # one effect that matters: a level right after the dose says V alone
    model = one_compartment("hand", residual=Residual(log=0.3))
    record = Record("h", (), Regimen(Bolus(100, 0.0)), (Measurement(0.0, "concentration", 20.0, order=1),), 0.0)
    eta = fit(model, [record])["eta"][0]
    # log 20 = log 10 − η + ε with equal variances: η takes half of the distance
    np.testing.assert_allclose(eta, [0.0, -0.5 * math.log(2)], atol=1e-7)
