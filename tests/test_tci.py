"""Target-controlled infusion: the reference page's numbers, the promise about the peak, the model's own simulation."""

from __future__ import annotations

import time

import numpy as np
import pytest
from doseloop import models
from doseloop.controller.tci import TargetControlledInfusion
from doseloop.pkpd.engine import Method
from doseloop.pkpd.errors import DoseloopError
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.regimen import Bolus, Infusion, Regimen
from helpers_models import Points
from helpers_pk import run_all

REFERENCE = {"age": 35.0, "weight": 70.0, "height": 170.0, "sex": 0.0}
PROPOFOL, REMIFENTANIL = "propofol_eleveld2018", "remifentanil_adult_minto1997"


def reference_patient(id: str):
    model = models.load(id)
    return model, individuals(model, {c.name: REFERENCE.get(c.name, c.typical) for c in model.covariates})


def people(id: str, n: int):
    model = models.load(id)
    eta = np.random.Generator(np.random.Philox(11)).multivariate_normal(np.zeros(len(model.omega)), model.omega, n)
    return model, individuals(model, {c.name: REFERENCE.get(c.name, c.typical) for c in model.covariates}, eta)


def run(tci, targets, pump=lambda rate: rate):
    """Rates, plasma and effect-site concentrations (steps, n)."""
    out = []
    for goal in targets:
        rate = pump(tci.rates(goal))
        tci.advance(rate)
        out.append((rate, tci.plasma, tci.effect))
    return (np.array(column) for column in zip(*out))


# the page's numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "mg"), [(PROPOFOL, 128.17), ("propofol_adult_schnider1998", 53.05)])
def test_the_bolus_for_an_effect_site_of_3(id, mg):
    assert TargetControlledInfusion(*reference_patient(id)).bolus(3.0).round(2).tolist() == [mg]


def test_the_plasma_hold_at_3():
    """18.85 mg, then 12.66 mg/min at 0, 9.75 at 10 min, 6.69 at 60 min."""
    short = 1e-3  # the page's rates are at a moment, ours over an interval
    for minutes, printed in ((0, 12.66), (10, 9.75), (60, 6.69)):
        tci = TargetControlledInfusion(*reference_patient(PROPOFOL), site="plasma", interval=max(minutes, short) / 600)
        first = tci.bolus(3.0)
        assert first.round(2).tolist() == [18.85]
        tci.give(first)
        for _ in range(600 if minutes else 0):
            tci.step(3.0)
        last = TargetControlledInfusion(*reference_patient(PROPOFOL), site="plasma", interval=short)
        last._z = tci._z  # the same patient, seen for a moment
        assert last.rates(3.0).round(2).tolist() == [printed]


# the promise ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [PROPOFOL, REMIFENTANIL, "remifentanil_eleveld2017", "propofol_adult_marsh1991"])
@pytest.mark.parametrize("seconds", [5, 10])
def test_the_effect_site_comes_to_the_target_and_does_not_exceed_it(id, seconds):
    model, p = people(id, 200) if models.load(id).effects else reference_patient(id)
    tci = TargetControlledInfusion(model, p, interval=seconds / 60)
    rates, plasma, effect = run(tci, [3.0] * int(40 * 60 / seconds))
    assert effect.max() <= 3.0 * 1.002
    assert (effect[-1] > 3.0 * 0.99).all()
    assert (rates >= 0).all()
    half = len(rates) // 2  # a few effect sites are so slow that they are not there by then
    there = np.abs(effect[half] - 3.0) < 0.002
    late = rates[half:, there]
    assert there.mean() > 0.95
    assert (np.abs(np.diff(late, axis=0)) < 0.02 * late[:-1]).all(), "the rate does not hunt"
    assert np.abs(plasma[-1, there] - 3.0).max() < 0.01


def test_the_first_rate_is_the_largest_whose_peak_stays_at_the_target():
    """By the model's own simulator: after one interval of it the peak is the target; a little more exceeds it."""
    model, p = people(PROPOFOL, 8)
    tci = TargetControlledInfusion(model, p)
    rate, looks = tci.rates(3.0), np.arange(1, 1200) / 60
    for share in (1.0, 1.001):
        for row, r in zip(p, rate * share):
            regimen = Regimen(Infusion(float(r) / 12, 0, duration=1 / 12, route="propofol"))
            ce = run_all(model, row, regimen, looks, Method())[0][0, :, 1]
            assert ce.max() == pytest.approx(3.0 * share, rel=2e-5)


def test_the_pump_s_belief_is_the_model_s_simulation():
    model, p = people(PROPOFOL, 5)
    tci = TargetControlledInfusion(model, p)
    goals = np.repeat([2.0, 4.0, 0.0, 3.0], 60)
    rates, plasma, effect = run(tci, goals)
    ends = np.arange(1, len(goals) + 1) / 12
    for i, row in enumerate(p):
        given = [(float(r) / 12, float(t - 1 / 12)) for r, t in zip(rates[:, i], ends) if r > 0]
        regimen = Regimen(*(Infusion(amount, t, duration=1 / 12, route="propofol") for amount, t in given))
        got = run_all(model, row, regimen, ends, Method())[0][0]
        assert plasma[:, i] == pytest.approx(got[:, 0], rel=1e-9, abs=1e-12)
        assert effect[:, i] == pytest.approx(got[:, 1], rel=1e-9, abs=1e-12)


def test_a_bolus_given_is_a_bolus_simulated():
    model, p = people(PROPOFOL, 5)
    tci = TargetControlledInfusion(model, p)
    amount = tci.bolus(3.0)
    tci.give(amount)
    tci.advance(0.0)
    for i, row in enumerate(p):
        regimen = Regimen(Bolus(float(amount[i]), 0, route="propofol"))
        got = run_all(model, row, regimen, np.arange(1, 3000) / 120, Method())[0][0]
        assert got[:, 1].max() == pytest.approx(3.0, rel=1e-5)
        assert tci.effect[i] == pytest.approx(got[9, 1], rel=1e-9)  # 5 s later


# targets that change, limits, delivery -------------------------------------------------------------------------------


def test_a_lower_target_stops_the_pump_until_it_is_reached():
    tci = TargetControlledInfusion(*reference_patient(PROPOFOL))
    rates, _, effect = run(tci, [4.0] * 120 + [2.0] * 360)
    below = np.flatnonzero(effect[:, 0] < 2.0 * 1.001)
    below = below[below > 120][0]
    assert not rates[120 : below - 1].any()
    assert effect[below:].min() > 2.0 * 0.99
    assert effect[-1, 0] == pytest.approx(2.0, rel=0.002)
    rates, _, effect = run(tci, [0.0] * 60)
    assert not rates.any()


def test_the_pump_s_limit_delays_and_does_not_change_the_end():
    model, p = reference_patient(PROPOFOL)
    slow = TargetControlledInfusion(model, p, limit=60.0)
    rates, _, effect = run(slow, [3.0] * 240)
    assert rates.max() == 60.0
    assert effect.max() <= 3.0 * 1.002
    assert effect[-1, 0] == pytest.approx(3.0, rel=0.002)
    fast = TargetControlledInfusion(model, p, limit=400.0)
    assert run(fast, [3.0] * 240).__next__().max() == 400.0


def test_what_the_pump_confirms_counts():
    """A pump that gives a tenth less, or nothing for two minutes: the target is reached all the same."""
    model, p = reference_patient(PROPOFOL)
    _, _, effect = run(TargetControlledInfusion(model, p), [3.0] * 360, pump=lambda rate: 0.9 * np.floor(rate))
    assert effect[-1, 0] == pytest.approx(3.0, rel=0.02)
    tci = TargetControlledInfusion(model, p)
    run(tci, [3.0] * 120)
    for _ in range(24):
        tci.advance(0.0)
    assert tci.effect[0] < 2.9
    _, _, effect = run(tci, [3.0] * 120)
    assert effect[-1, 0] == pytest.approx(3.0, rel=0.002)


def test_each_patient_has_its_own_target_and_reset():
    model, p = people(PROPOFOL, 3)
    tci, goals = TargetControlledInfusion(model, p), np.array([2.0, 3.0, 4.0])
    run(tci, [goals] * 400)
    assert tci.effect == pytest.approx(goals, rel=0.01)
    before = tci.effect
    tci.reset(np.array([False, True, False]))
    assert tci.effect.tolist() == [before[0], 0.0, before[2]]
    alone = TargetControlledInfusion(model, p[1])
    assert np.array_equal(alone.rates(3.0), tci.rates(goals)[1:2])


def test_two_drugs_side_by_side():
    """The same code for each; in a model of both, each drug's own compartments are found."""
    both, p = reference_patient("propofol_remifentanil_bouillon2004")
    for route, id, suffix in (
        ("propofol", "propofol_adult_schnider1998", ""),
        ("remifentanil", REMIFENTANIL, "_remifentanil"),
    ):
        alone = TargetControlledInfusion(*reference_patient(id))
        within = TargetControlledInfusion(both, p, route=route, plasma="cp" + suffix, effect="ce" + suffix)
        a, b = (np.array([tci.step(3.0)[0] for _ in range(200)]) for tci in (alone, within))
        assert b == pytest.approx(a, rel=1e-6, abs=1e-6)


def test_an_effect_site_as_fast_as_the_kinetics():
    """ke0 equal to an eigenvalue: no basis of eigenvectors, and no trouble."""
    model, p = reference_patient("propofol_adult_marsh1991")
    v1, v2, v3, cl, q2, q3 = p[0, :6]
    A = np.array([[-(cl + q2 + q3) / v1, q2 / v2, q3 / v3], [q2 / v1, -q2 / v2, 0], [q3 / v1, 0, -q3 / v3]])
    for k in range(3):
        same, near = p.copy(), p.copy()
        same[0, 6] = -np.sort(np.linalg.eigvals(A).real)[k]
        near[0, 6] = same[0, 6] * 1.001
        a, b = (TargetControlledInfusion(model, row).bolus(3.0)[0] for row in (same, near))
        assert a == pytest.approx(b, rel=1e-3)


# speed and mistakes --------------------------------------------------------------------------------------------------


def test_a_step_of_a_thousand_patients_takes_a_fraction_of_a_millisecond():
    model, p = people(PROPOFOL, 1000)
    tci, took = TargetControlledInfusion(model, p, limit=400.0), []
    for k in range(200):
        start = time.perf_counter()
        tci.step(3.0 if k < 100 else 4.0)
        took.append(time.perf_counter() - start)
    assert np.median(took) < 2e-3  # 0.12 ms when it was written


def test_mistakes_are_named_together():
    model, p = reference_patient(PROPOFOL)
    su = models.load("propofol_remifentanil_su2023")
    q = individuals(su, {n: REFERENCE[n] for n in su.names("covariates")})
    with pytest.raises(DoseloopError, match="not linear") as caught:
        TargetControlledInfusion(su, q, site="brain", interval=0.0, plasma="blood")
    for part in ("routes propofol, remifentanil: name one", "site 'brain'", "interval", "no output 'blood'"):
        assert part in str(caught.value)
    with pytest.raises(DoseloopError, match="linear in the states"):
        TargetControlledInfusion(model, p, effect="bis")
    with pytest.raises(DoseloopError, match="shape"):
        TargetControlledInfusion(model, p[:, :3])
    tci = TargetControlledInfusion(model, p)
    for bad in (np.nan, -1.0, np.inf, [1.0, 2.0]):
        with pytest.raises(DoseloopError, match="target"):
            tci.rates(bad)
    with pytest.raises(DoseloopError, match="rates"):
        tci.advance(np.nan)
    with pytest.raises(DoseloopError, match="limit"):
        TargetControlledInfusion(model, p, limit=np.nan)


def test_random_patients_of_every_linear_model():
    for id in models.ids():
        model = models.load(id)
        if "ce" not in model.names("outputs") or len(model.routes) > 1:
            continue
        tci = TargetControlledInfusion(model, Points(model, 40).p)
        _, _, effect = run(tci, [2.0] * 600)
        assert np.isfinite(effect).all(), id
        assert effect.max() <= 2.0 * 1.002, id
