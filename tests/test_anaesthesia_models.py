"""The anaesthesia models beyond what tests/test_models.py asks of every model: what the reference page works out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from doseloop import models
from doseloop.pkpd import reference
from doseloop.pkpd.engine import Method
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.march import march_of
from doseloop.pkpd.model import Covariate, Effect
from doseloop.pkpd.physiology import fat_free_mass_al_sallami, lean_body_mass_james
from doseloop.pkpd.regimen import Bolus, Infusion, Regimen
from doseloop.pkpd.system import system
from helpers_models import Points
from helpers_pk import compiled, run_all
from scipy.linalg import expm
from scipy.optimize import minimize_scalar

REFERENCE = {"age": 35.0, "weight": 70.0, "height": 170.0, "sex": 0.0}
ONE = [
    "propofol_eleveld2018",
    "propofol_adult_schnider1998",
    "propofol_adult_marsh1991",
    "remifentanil_adult_minto1997",
    "remifentanil_eleveld2017",
    "propofol_adult_bouillon2004",
]
TWO = ["propofol_remifentanil_bouillon2004", "propofol_remifentanil_greco2024"]
SU = "propofol_remifentanil_su2023"


def parameters(id: str, eta=None, **covariates: float) -> dict[str, float]:
    model = models.load(id)
    cov = {c.name: {**REFERENCE, **covariates}.get(c.name, c.typical) for c in model.covariates}
    return reference.individual(model, cov, eta)


def matrix(p: dict[str, float], suffix: str = "") -> np.ndarray:
    """d/dt of the amounts in three compartments and of the effect-site concentration, written here once more."""
    v1, v2, v3, cl, q2, q3, ke0 = (p[n + suffix] for n in ("v1", "v2", "v3", "cl", "q2", "q3", "ke0"))
    return np.array(
        [
            [-(cl + q2 + q3) / v1, q2 / v2, q3 / v3, 0],
            [q2 / v1, -q2 / v2, 0, 0],
            [q3 / v1, 0, -q3 / v3, 0],
            [ke0 / v1, 0, 0, -ke0],
        ]
    )


def advance(A: np.ndarray, x: np.ndarray, rate: float, time: float) -> np.ndarray:
    """By SciPy's matrix exponential, the rate as one more state."""
    n = len(A)
    B = np.zeros((n + 1, n + 1))
    B[:n, :n], B[0, n] = A, 1.0
    return (expm(B * time) @ np.append(x, rate))[:n]


def peak(id: str) -> tuple[float, float]:
    """Time (s) and height of the effect-site peak after 1 mg (µg), by expm."""
    A = matrix(parameters(id))

    def ce(t: float) -> float:
        return (expm(A * t) @ np.eye(4)[0])[3]

    at = minimize_scalar(lambda t: -ce(t), bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9}).x
    return 60 * at, ce(at)


# kinetics ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [*ONE, *TWO])
def test_kinetics_agree_with_the_matrix_exponential(id):
    model = models.load(id)
    assert system(model).linear
    at, rng = Points(model, 6), np.random.Generator(np.random.Philox(7))
    steps = rng.uniform(0.2, 3.0, 8)
    rates = {r.name: rng.uniform(0, 100, 8) for r in model.routes}
    ends = np.cumsum(steps)
    events = [
        Infusion(float(rate * h), float(end - h), duration=float(h), route=name)
        for name, values in rates.items()
        for rate, h, end in zip(values, steps, ends)
    ]
    got, status = run_all(model, at.p, Regimen(*events), ends, Method())
    assert not status.any()
    names = list(model.names("outputs"))
    for i, row in enumerate(at.p):
        p = dict(zip(model.individual_units, row))
        for name, values in rates.items():
            suffix = "_remifentanil" if id in TWO and name == "remifentanil" else ""
            A, x, expected = matrix(p, suffix), np.zeros(4), []
            for rate, h in zip(values, steps):
                x = advance(A, x, rate, h)
                expected.append((x[0] / p["v1" + suffix], x[3]))
            columns = [names.index("cp" + suffix), names.index("ce" + suffix)]
            assert got[i][:, columns] == pytest.approx(np.array(expected), rel=1e-10)


def test_the_page_s_profile_and_that_two_drug_models_take_over_one_drug_s_kinetics():
    """Eleveld with opioid, 2 mg/s for 60 s, then 0.2 mg/s: the reference page prints Cp and Ce to seven digits."""
    printed = {60: (13.95605, 1.07421), 120: (8.73237, 2.41892), 600: (4.01431, 3.80878)}
    regimen = Regimen(Infusion(120, 0, duration=1, route="propofol"), Infusion(108, 1, duration=9, route="propofol"))
    for id, method in (("propofol_eleveld2018", Method()), (SU, Method("adaptive", rtol=1e-10, atol=1e-12))):
        model = models.load(id)
        got, _ = run_all(model, list(parameters(id).values()), regimen, [s / 60 for s in printed], method)
        for row, expected in zip(got[0], printed.values()):
            assert [round(v, 5) for v in row[:2]] == list(expected), id


@pytest.mark.parametrize(
    ("id", "seconds"),
    [
        ("propofol_eleveld2018", 189.7),
        ("propofol_adult_schnider1998", 89.8),
        ("remifentanil_adult_minto1997", 82.5),
        ("remifentanil_eleveld2017", 67.9),
    ],
)
def test_times_to_peak_effect(id, seconds):
    assert round(peak(id)[0], 1) == seconds
    model = models.load(id)  # and the compiled model peaks there
    times = [(seconds - 2) / 60, seconds / 60, (seconds + 2) / 60]
    regimen = Regimen(Bolus(100, 0, route=model.routes[0].name))
    ce = run_all(model, list(parameters(id).values()), regimen, times, Method())[0][0, :, 1]
    assert ce[1] > max(ce[0], ce[2])


@pytest.mark.parametrize(("id", "mg"), [("propofol_eleveld2018", 128.17), ("propofol_adult_schnider1998", 53.05)])
def test_the_bolus_whose_peak_effect_is_3(id, mg):
    assert round(3 / peak(id)[1], 2) == mg


def test_the_plasma_hold_at_3():
    p = parameters("propofol_eleveld2018")
    assert round(3 * p["v1"], 2) == 18.85
    for minutes, printed in ((0, 12.66), (10, 9.75), (60, 6.69)):
        back = sum(p[q] * math.exp(-p[q] / p[v] * minutes) for q, v in (("q2", "v2"), ("q3", "v3")))
        assert round(3 * (p["cl"] + back), 2) == printed


# covariates and random effects ---------------------------------------------------------------------------------------


def test_the_individual_s_volumes_stand_in_the_clearances_between_compartments():
    """The trap of the reference page: Q2 and Q3 follow V2 and V3, random effects included."""
    for id in ("propofol_eleveld2018", "remifentanil_eleveld2017"):
        p = parameters(id)
        for v, q in (("v2", "q2"), ("v3", "q3")):
            other = parameters(id, {**dict.fromkeys(models.load(id).names("effects"), 0.0), v: 0.8})
            assert other[v] / p[v] == pytest.approx(math.exp(0.8))
            assert other[q] / p[q] == pytest.approx(math.exp(0.6)), (id, q)


def test_the_paper_s_spreads_are_standard_deviations_of_the_log():
    """Read as variances they would double the spread of CL and Ce50."""
    printed = {
        "v1": 0.610,
        "v2": 0.565,
        "v3": 0.597,
        "cl": 0.265,
        "q2": 0.346,
        "q3": 0.209,
        "ce50": 0.242,
        "ke0": 0.702,
    }
    model = models.load("propofol_eleveld2018")
    got = dict(zip(model.names("effects"), np.sqrt(np.diag(model.omega))))
    assert {n: round(float(v), 3) for n, v in got.items()} == printed
    eta = np.random.Generator(np.random.Philox(5)).multivariate_normal(np.zeros(8), model.omega, 20000)
    p = individuals(model, REFERENCE | {"opioid": 1, "venous": 0}, eta)
    spread = dict(zip(model.individual_units, np.log(p).std(axis=0)))
    for n in ("v1", "v2", "v3", "cl", "ce50", "ke0"):
        assert spread[n] == pytest.approx(printed[n], rel=0.02)
    assert spread["q2"] == pytest.approx(math.hypot(0.346, 0.75 * 0.565), rel=0.02)
    assert spread["q3"] == pytest.approx(math.hypot(0.209, 0.75 * 0.597), rel=0.02)


def test_covariates_act_as_the_page_says():
    p = parameters("propofol_eleveld2018")
    woman = parameters("propofol_eleveld2018", sex=1.0)
    assert woman["cl"] / p["cl"] == pytest.approx(2.100221888 / 1.789583659)
    assert woman["v1"] == p["v1"]
    old = parameters("propofol_eleveld2018", age=75.0)
    assert old["v2"] / p["v2"] == pytest.approx(math.exp(-0.015633 * 40))
    assert old["ce50"] / p["ce50"] == pytest.approx(math.exp(-0.00634837 * 40))
    assert 60 * old["delay"] == pytest.approx(15 + math.exp(0.0517399 * 75))
    heavy = parameters("propofol_eleveld2018", weight=140.0)
    assert heavy["ke0"] / p["ke0"] == pytest.approx(2**-0.25)
    newborn = parameters("propofol_eleveld2018", age=0.0, weight=3.5, height=50.0)
    ripe = [w**9.054845239 / (w**9.054845239 + 42.27601906**9.054845239) for w in (40, 1860)]  # weeks
    opioid = math.exp(0.00285709 * 35)  # which lowers clearance by age
    assert newborn["cl"] / p["cl"] == pytest.approx((3.5 / 70) ** 0.75 * ripe[0] / ripe[1] * opioid)
    girl = parameters("remifentanil_eleveld2017", age=25.0, sex=1.0)
    boy = parameters("remifentanil_eleveld2017", age=25.0)
    lean = fat_free_mass_al_sallami(25.0, 70.0, 170.0, 1.0) / fat_free_mass_al_sallami(25.0, 70.0, 170.0, 0.0)
    up, down = 25**6 / (25**6 + 12**6), 45**6 / (45**6 + 25**6)
    assert girl["cl"] / boy["cl"] == pytest.approx(lean**0.75 * (1 + 0.470 * up * down))


def test_fat_free_and_lean_body_mass():
    """The adult limits of Al-Sallami are Janmahasatian's formula, written out; James's peak is at BMI 43 (men)."""
    assert fat_free_mass_al_sallami(60.0, 80.0, 180.0, 0.0) == pytest.approx(
        9270 * 80 / (6680 + 216 * 80 / 1.8**2), rel=1e-7
    )
    assert fat_free_mass_al_sallami(0.0, 3.5, 50.0, 0.0) == pytest.approx(0.88 * 9270 * 3.5 / (6680 + 216 * 14))
    assert fat_free_mass_al_sallami(0.0, 3.5, 50.0, 1.0) == pytest.approx(1.11 * 9270 * 3.5 / (8780 + 244 * 14))
    assert fat_free_mass_al_sallami(7.1, 23.0, 120.0, 1.0) == pytest.approx(
        1.055 * 9270 * 23 / (8780 + 244 * 23 / 1.2**2)
    )
    assert lean_body_mass_james(70.0, 170.0, 0.0) == pytest.approx(1.1 * 70 - 128 * (70 / 170) ** 2)
    assert lean_body_mass_james(60.0, 165.0, 1.0) == pytest.approx(1.07 * 60 - 148 * (60 / 165) ** 2)
    best = max(np.arange(50.0, 200.0), key=lambda w: lean_body_mass_james(w, 170.0, 0.0))
    assert 42.5 < best / 1.7**2 < 43.5


# BIS -----------------------------------------------------------------------------------------------------------------


def bis_at(id: str, ce: float, cr: float = 0.0, **changed: float) -> float:
    model = models.load(id)
    p = {**parameters(id), **changed}
    x = {**dict.fromkeys(model.names("states"), 1.0), "effect": ce, "effect_remifentanil": cr}
    x = {n: x[n] for n in model.names("states")}
    return float(dict(zip(model.names("outputs"), reference.outputs(model, 0.0, x, p)))["bis"])


def test_bis_is_half_at_ce50_and_flatter_above():
    ce50 = 3.0794469
    for id in ("propofol_eleveld2018", SU):
        assert bis_at(id, 0.0) == 92.9824
        assert bis_at(id, ce50) == pytest.approx(92.9824 / 2)
        assert bis_at(id, 2.0) == pytest.approx(92.9824 / (1 + (2 / ce50) ** 1.89390))
        assert bis_at(id, 6.0) == pytest.approx(92.9824 / (1 + (6 / ce50) ** 1.47362))


def test_the_surfaces():
    additive, synergy = TWO
    assert bis_at(additive, 0.0) == 97.4
    assert bis_at(additive, 4.47) == pytest.approx(97.4 / 2)
    assert bis_at(additive, 0.0, 19.3) == pytest.approx(97.4 / 2)
    assert bis_at(additive, 4.47 / 4, 19.3 * 3 / 4) == pytest.approx(97.4 / 2), "on the line of equal effect"
    assert bis_at(additive, 3.0, 5.0) == pytest.approx(97.4 / (1 + (3 / 4.47 + 5 / 19.3) ** 1.43))
    assert bis_at(synergy, 7.66) == pytest.approx(93.97 / 2)
    u = 4.5 / 7.66 + 4 / 149.62 + 15.03 * (4.5 / 7.66) * (4 / 149.62)
    assert bis_at(synergy, 4.5, 4.0) == pytest.approx(93.97 / (1 + u**4.07))
    assert bis_at(synergy, 7.66 / 4, 149.62 * 3 / 4) < 93.97 / 2, "below the line: more than the sum"


def test_the_derivative_of_bis_by_its_exponent_is_a_number_where_there_is_no_drug():
    """0^gamma has none by CasADi's rules; an estimator starts there."""
    for id in ("propofol_eleveld2018", *TWO, SU):
        model = models.load(id)
        K = len(model.effects)
        p, dp = np.array(list(parameters(id).values())), np.zeros((K, len(model.individual_units)))
        dp[:, list(model.individual_units).index("e0")] = 1.0
        kernel_rows = np.hstack([p, dp.ravel()])
        S = system(model, K)
        x = np.zeros((S.rows_x, 1))
        if model.initial is not None:
            x[: S.n_model, 0] = reference.initial(model, p)
        got = compiled(S.outputs())(
            np.zeros((2, 1)), x, kernel_rows[:, None], np.zeros((S.rows_u, 1)), np.empty((0, 0))
        )
        assert np.isfinite(got).all(), id


# blood pressure and heart rate ---------------------------------------------------------------------------------------


def test_at_rest_excitement_goes_and_the_circulation_settles():
    model = models.load(SU)
    p = parameters(SU)
    got, _ = run_all(model, list(p.values()), Regimen(), [0.0, 240.0], Method("adaptive", rtol=1e-10, atol=1e-12))
    pressure, rate = got[0][:, 5], got[0][:, 6]
    assert pressure[0] == pytest.approx(0.0163 * 56.1 * 1.121 * 82.2 * 1.0899)
    assert rate[0] == pytest.approx(56.1 * 1.121)
    # settled: each of the three is its base times y = RMAP^-0.661, and RMAP is what they make of it
    y = rate[1] / 56.1
    filling = 1 - 0.312 * math.log(y / 1.121)
    ratio = y**3 / (1.121 * 1.0899) * filling
    assert y == pytest.approx(ratio**-0.661, rel=1e-6)
    assert pressure[1] == pytest.approx(0.0163 * 56.1 * 82.2 * y**3 * filling, rel=1e-6)


def test_both_drugs_lower_blood_pressure_and_together_heart_rate():
    model, p = models.load(SU), list(parameters(SU).values())
    how, times = Method("adaptive", rtol=1e-9, atol=1e-11), [0.0, 20.0, 60.0]
    induction = [Infusion(140, 0, duration=1, route="propofol"), Infusion(600, 1, duration=59, route="propofol")]
    opioid = [Infusion(600, 0, duration=60, route="remifentanil")]
    rest, alone, both = (
        run_all(model, p, Regimen(*events), times, how)[0][0] for events in ([], induction, [*induction, *opioid])
    )
    for at in (1, 2):
        assert both[at, 5] < alone[at, 5] < rest[at, 5] - 10
        assert both[at, 6] < alone[at, 6]
    assert 40 < both[2, 5] < 75


def operation(seed: int) -> Regimen:
    """Two hours: induction, then rates that change every three minutes."""
    rng = np.random.Generator(np.random.Philox(seed))
    doses = [Infusion(140, 0, duration=0.5, route="propofol"), Infusion(70, 0, duration=1, route="remifentanil")]
    for k in range(40):
        doses.append(Infusion(float(rng.uniform(5, 60)), 0.5 + 3 * k, duration=3, route="propofol"))
        doses.append(Infusion(float(rng.uniform(10, 120)), 1 + 3 * k, duration=3, route="remifentanil"))
    return Regimen(*doses)


def test_the_fixed_step_s_error_over_an_operation():
    """Against adaptive 1e-11, 300 random people: BIS 5e-6, blood pressure 2e-3 mmHg, heart rate 5e-4 /min."""
    model, times = models.load(SU), np.arange(1, 121.0)
    at = Points(model, 300)
    exact, status = run_all(model, at.p, operation(3), times, Method("adaptive", rtol=1e-11, atol=1e-13))
    assert not status.any()
    fixed, status = run_all(model, at.p, operation(3), times, Method("rk4", step=model.step))
    assert not status.any()
    worst = dict(zip(model.names("outputs"), np.abs(fixed - exact).max(axis=(0, 1))))
    assert worst["bis"] <= 1e-3, "what the issue allows"
    assert worst["map"] <= 5e-3
    assert worst["hr"] <= 2e-3
    assert march_of(model, 5 / 60).steps == 5


# declarations of two-drug models -------------------------------------------------------------------------------------


def test_two_drug_models_hold_the_one_drug_models_declarations():
    for id, propofol, remifentanil in (
        (TWO[0], ONE[1], ONE[3]),
        (TWO[1], ONE[1], ONE[3]),
        (SU, ONE[0], ONE[4]),
    ):
        model = models.load(id)
        theirs = models.load(propofol), models.load(remifentanil)
        for kind in ("parameters", "effects", "states"):
            held = set(getattr(model, kind))
            for one, suffix in zip(theirs, ("", "_remifentanil")):
                expected = {dataclasses.replace(q, name=q.name + suffix) for q in getattr(one, kind)}
                assert expected <= held, (id, kind)
        assert isinstance(model.covariates[0], Covariate)
        assert isinstance(model.effects[0], Effect)
