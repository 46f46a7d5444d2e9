"""Simulation against closed forms: 1, 2, 3 compartments × bolus, infusion, oral × single, repeated, steady state."""

import mpmath
import numpy as np
import pytest
from doseloop.pkpd.engine import Method
from doseloop.pkpd.regimen import Bolus, Dose, Infusion, Oral, Regimen
from helpers_forms import Response, disposition, oral
from helpers_pk import METHODS, linear_model, michaelis_menten_model, relative, run, run_all, values
from scipy.special import lambertw

MODELS = {n: linear_model(n) for n in (1, 2, 3)}
TIMES = np.array([0.0, 0.01, 0.3, 0.5, 1.0, 1.7, 2.0, 4.0, 7.9, 8.3, 11.99, 13.1, 20.0, 24.7, 36.2, 47.5, 60.1, 119.0])
DOSE, TAU, TIMES_GIVEN = 320.0, 12.0, 5
KINDS = ("bolus", "infusion", "oral", "lagged bolus", "lagged infusion", "lagged oral", "long infusion")
EXACT = 1e-12


def parameters(n):
    return dict(zip(MODELS[n].individual_units, MODELS[n].theta.tolist()))


def dose_of(kind, **repeats):
    """The dose in our words, at time 0."""
    if "infusion" in kind:
        length = 30.0 if kind == "long infusion" else 2.5
        route = "full" if "lagged" in kind else "iv"
        return Infusion(DOSE, duration=length, route=route, **repeats)
    if "bolus" in kind:
        return Bolus(DOSE, route="full" if "lagged" in kind else "iv", **repeats)
    return Oral(DOSE, route="fulloral" if "lagged" in kind else "oral", **repeats)


def response_of(kind, n):
    """The closed form of the same dose."""
    p = parameters(n)
    terms = disposition(p, n)
    if "oral" in kind:
        terms = oral(terms, p["ka"])
    length = {"infusion": 2.5, "lagged infusion": 2.5, "long infusion": 30.0}.get(kind, 0.0)
    F, lag = (mpmath.mpf(p["F"]), p["lag"]) if "lagged" in kind else (1, 0.0)
    return Response(terms, F * DOSE, length, lag)


def case(n, kind, pattern):
    """(regimen, expected at TIMES)."""
    with mpmath.workdps(40):
        one = response_of(kind, n)
        if pattern == "single":
            return Regimen(dose_of(kind)), np.array([float(one(t)) for t in TIMES])
        if pattern == "multiple":
            expected = [float(mpmath.fsum(one(t - k * TAU) for k in range(TIMES_GIVEN))) for t in TIMES]
            return Regimen(dose_of(kind, every=TAU, times=TIMES_GIVEN)), np.array(expected)
        # the state at 0 is the steady state just before the dose; then the train goes on for some doses
        expected = []
        for t in TIMES:
            before = one.steady(t, TAU) - one(t)  # all doses before 0
            expected.append(float(before + mpmath.fsum(one(t - k * TAU) for k in range(TIMES_GIVEN))))
        return Regimen(dose_of(kind, every=TAU, times=TIMES_GIVEN, steady_state=True)), np.array(expected)


@pytest.mark.parametrize("pattern", ["single", "multiple", "steady"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_exact_method(n, kind, pattern):
    regimen, expected = case(n, kind, pattern)
    got = run(MODELS[n], values(MODELS[n]), regimen, TIMES)
    assert relative(got[1:], expected[1:]) <= EXACT  # what is seen at the record's own time: test_nonmem_rules


# what each method must reach here, relative, point by point
REACHED = {"adaptive": 2e-9, "rk4": 5e-9, "stiff": 1e-7}


@pytest.mark.parametrize("pattern", ["single", "multiple", "steady"])
@pytest.mark.parametrize("kind", ["bolus", "lagged infusion", "lagged oral", "long infusion"])
@pytest.mark.parametrize("method", sorted(REACHED))
def test_other_methods_at_their_tolerance(method, kind, pattern):
    regimen, expected = case(2, kind, pattern)
    got = run(MODELS[2], values(MODELS[2]), regimen, TIMES, method)
    assert relative(got[1:], expected[1:]) <= REACHED[method]


def test_constant_infusion_is_rate_over_clearance():
    for n, model in MODELS.items():
        p = parameters(n)
        c = run(model, values(model), Regimen(Infusion(0.0, rate=12.0, steady_state=True)), [1e-14])
        assert c[0] == pytest.approx(12.0 / p["cl"], rel=1e-13)


def test_many_patients_each_against_its_own_closed_form():
    """200 two-compartment oral patients with log-normal parameters, ten doses, in one batch."""
    rng = np.random.default_rng(3)
    model = MODELS[2]
    p = np.exp(rng.normal(0, 0.3, (200, len(model.theta)))) * model.theta
    times = np.array([1.0, 5.5, 23.9, 60.0, 113.0])
    regimen = Regimen(Oral(100.0, route="fulloral", every=12.0, times=10))
    Y, status = run_all(model, p, regimen, times)
    assert not status.any()
    with mpmath.workdps(40):
        for i in range(0, 200, 4):
            row = dict(zip(model.individual_units, p[i].tolist()))
            one = Response(oral(disposition(row, 2), row["ka"]), mpmath.mpf(row["F"]) * 100, 0.0, row["lag"])
            expected = [float(mpmath.fsum(one(t - 12 * k) for k in range(10))) for t in times]
            assert relative(Y[i, :, 0], expected) <= EXACT, i


def test_nearly_equal_rates_need_no_special_case():
    """ka = k is where textbook formulas divide by 0; the limit is D k t e^(−kt) / V."""
    model = MODELS[1]
    p = values(model, ka=5.0 / 30.0)
    k = 5.0 / 30.0
    expected = 100 * k * TIMES * np.exp(-k * TIMES) / 30.0
    assert relative(run(model, p, [Oral(100.0)], TIMES), expected) <= EXACT
    p = values(model, ka=k * (1 + 1e-9))
    assert relative(run(model, p, [Oral(100.0)], TIMES), expected) <= 2e-8


def test_superposition_of_many_routes():
    """Bolus, infusion and oral doses into one model add."""
    model = MODELS[3]
    doses = [Bolus(100.0, 1.3), Infusion(50.0, 2.0, rate=20.0), Oral(80.0, 0.5), Infusion(60.0, 3.0, duration=9.0)]
    alone = sum(run(model, values(model), [d], TIMES) for d in doses)
    assert np.allclose(run(model, values(model), doses, TIMES), alone, rtol=1e-13, atol=0)


# integrals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exact", "adaptive", "stiff"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_auc(n, kind, method):
    """∫C dt to each time, of five doses."""
    model, regimen = MODELS[n], Regimen(dose_of(kind, every=TAU, times=TIMES_GIVEN))
    Y, status = run_all(model, values(model), regimen, TIMES, method, integrals=True)
    assert not status.any()
    with mpmath.workdps(40):
        one = response_of(kind, n)
        expected = [float(mpmath.fsum(one.integral(t - k * TAU) for k in range(TIMES_GIVEN))) for t in TIMES]
    assert Y.shape[-1] == 2, "outputs, then the integral of each"
    assert relative(Y[0, :, 1], expected) <= {"exact": EXACT, "adaptive": 1e-10, "stiff": 1e-8}[method]


def test_auc_of_one_interval_at_steady_state_is_dose_over_clearance():
    for n, model in MODELS.items():
        regimen = Regimen(dose_of("lagged oral", every=TAU, times=2, steady_state=True))
        Y, _ = run_all(model, values(model), regimen, [0.0, TAU], integrals=True)
        p = parameters(n)
        assert Y[0, 1, 1] - Y[0, 0, 1] == pytest.approx(p["F"] * DOSE / p["cl"], rel=1e-13)


# Michaelis–Menten ----------------------------------------------------------------------------------------------------


def michaelis_menten(dose, t, vmax, km, v):
    """Concentration after a bolus: Km W(C0/Km e^((C0 − Vmax t/V)/Km)) (Beal 1983; Schnell & Mendoza 1997)."""
    c0 = dose / v
    return km * lambertw(c0 / km * np.exp((c0 - vmax / v * t) / km)).real


@pytest.mark.parametrize(("method", "reached"), [("adaptive", 1e-9), ("rk4", 1e-12), ("stiff", 1e-7)])
@pytest.mark.parametrize("dose", [10.0, 160.0, 900.0])
def test_michaelis_menten_bolus(method, reached, dose):
    model = michaelis_menten_model()
    t = np.array([0.5, 1.0, 3.0, 8.0, 15.0, 24.0, 40.0])
    p = dict(zip(model.individual_units, model.theta.tolist()))
    expected = michaelis_menten(dose, t, p["vmax"], p["km"], p["v"])
    assert relative(run(model, values(model), [Bolus(dose)], t, method), expected) <= reached


def test_michaelis_menten_constant_infusion():
    """Css = R Km / (Vmax − R)."""
    model = michaelis_menten_model()
    for rate in (2.0, 10.0, 18.0):
        regimen = Regimen(Infusion(0.0, rate=rate, steady_state=True))
        c = run(model, values(model), regimen, [0.0, 1e-9], Method("adaptive", rtol=1e-10, atol=1e-12))
        assert c[1] == pytest.approx(rate * 4.0 / (20.0 - rate), rel=1e-7)


def test_michaelis_menten_steady_state_is_a_fixed_point():
    """One interval later everything is as it was; and a long run of single doses ends there."""
    model = michaelis_menten_model()
    steady = Regimen(Oral(150.0, every=12.0, times=3, steady_state=True))
    times = [4.0, 12.0, 16.0, 24.0, 28.0]
    c = run(model, values(model), steady, times, "adaptive")
    assert relative(c[[2, 3, 4]], c[[0, 1, 0]]) <= 1e-8
    long = run(
        model, values(model), Regimen(Oral(150.0, every=12.0, times=200)), [199 * 12.0, 199 * 12.0 + 4], "adaptive"
    )
    assert relative(c[1::-1], long) <= 1e-7


def test_methods_agree_on_a_nonlinear_oral_regimen():
    model = michaelis_menten_model()
    regimen = Regimen(Oral(150.0, every=12.0, times=4), Dose(20.0, 100.0, "full", modelled="duration"))
    t = np.linspace(0.5, 60, 40)
    adaptive, rk4, stiff = (run(model, values(model), regimen, t, m) for m in ("adaptive", "rk4", "stiff"))
    assert relative(rk4, adaptive) <= 1e-8
    assert relative(stiff, adaptive) <= 1e-6


def test_the_methods_table_is_what_the_reached_table_speaks_of():
    assert METHODS["adaptive"] == Method("adaptive", rtol=1e-10, atol=1e-12)
    assert METHODS["stiff"] == Method("stiff", rtol=1e-8, atol=1e-10)
    assert METHODS["rk4"].step == 0.01
