"""Judgements of single readings: against refits, by hand, and that a wrong level is called out and others are not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from doseloop.pkpd.errors import RecordError
from doseloop.pkpd.model import Residual
from doseloop.pkpd.record import Measurement, Record
from doseloop.pkpd.regimen import Bolus, Regimen
from doseloop.twin import diagnostics
from doseloop.twin.diagnostics import diagnose, shrinkage
from doseloop.twin.posterior import posterior
from doseloop.twin.predictive import Predictive, predictive
from helpers_twin import PHENOBARBITAL, infants, levels, one_compartment
from scipy.optimize import brentq
from scipy.stats import norm

LONGEST = max(infants(), key=lambda r: len(r.observed))


def test_left_out_as_fitted_without():
    for record in (LONGEST, infants()[5]):
        p = posterior([PHENOBARBITAL], record, draws=8000)
        for i, r in enumerate(diagnose(p).readings):
            others = tuple(m for k, m in enumerate(record.observed) if k != i)
            again = posterior([PHENOBARBITAL], replace(record, observed=others), draws=8000, seed=9)
            law = predictive(again, r.measurement)
            assert r.method == "reweighted"
            assert abs(r.pit - law.cdf(r.measurement.value)[0]) < 0.03
            np.testing.assert_allclose([r.low, r.expected, r.high], law.quantiles(), rtol=0.03)


def test_a_refit_where_reweighting_is_not_believed(monkeypatch):
    larger = [replace(q, value=q.value * (1.3 if q.name == "v" else 1)) for q in PHENOBARBITAL.parameters]
    rival = replace(PHENOBARBITAL, id="rival", parameters=larger)
    p = posterior([PHENOBARBITAL, rival], LONGEST, prior_weights=[1, 3], draws=4000)
    assert abs(p.model_weights[0] - 0.25) > 0.05
    by_weights = diagnose(p).readings
    monkeypatch.setattr(diagnostics, "FEWEST", 1e9)
    by_refit = diagnose(p).readings
    assert {r.method for r in by_refit} == {"refitted"}
    np.testing.assert_allclose([r.pit for r in by_refit], [r.pit for r in by_weights], atol=0.04)
    np.testing.assert_allclose(diagnostics._prior_weights(p), [0.25, 0.75])


@pytest.mark.parametrize("factor", [0.1, 0.35, 2.5, 10.0, 1000.0])
@pytest.mark.parametrize("i", [0, 2])
def test_a_wrong_level_is_called_out_and_the_others_are_not(factor, i):
    record = infants()[8]
    wrong = replace(record.observed[i], value=factor * record.observed[i].value)
    observed = tuple(wrong if k == i else m for k, m in enumerate(record.observed))
    d = diagnose(posterior([PHENOBARBITAL], replace(record, observed=observed)))
    assert [r.verdict for r in d.readings] == ["implausible" if k == i else "consistent" for k in range(4)]
    assert d.worst == "implausible"
    sentence = d.readings[i].sentence
    assert sentence in d.notes
    assert sentence.startswith(f"implausible: {wrong.value:.4g} mg/L at {wrong.time:.4g} h where ")
    assert "check the sample time, the dose times and the laboratory report" in sentence
    assert 0 <= d.readings[i].p < 1e-3


def test_verdicts_on_the_infants():
    """5 of 155 readings draw a remark and none is implausible."""
    found = [r for record in infants() for r in diagnose(posterior([PHENOBARBITAL], record, draws=1000)).readings]
    counts = {v: sum(r.verdict == v for r in found) for v in ("consistent", "surprising", "implausible")}
    assert counts["implausible"] == 0
    assert counts["surprising"] <= 7
    u = np.sort([r.pit for r in found])
    assert np.abs(u - (np.arange(155) + 0.5) / 155).max() < 0.12


def test_p_values_by_hand():
    """One reading is judged by the prior: log-normal V and reading, 0.3 each."""
    model = one_compartment("halves", sd=0.3, residual=Residual(log=0.3))
    sd = 0.3 * math.sqrt(2)
    for z, verdict in ((1.9, "consistent"), (2.2, "surprising"), (-3.2, "surprising"), (3.4, "implausible")):
        m = Measurement(0.0, "concentration", 10 * math.exp(z * sd), order=1)
        d = diagnose(posterior([model], Record("h", (), Regimen(Bolus(100, 0.0)), (m,), 0.0), draws=20000))
        (r,) = d.readings
        assert r.verdict == verdict
        assert math.isclose(r.p, 2 * norm.sf(abs(z)), rel_tol=0.15)
        assert r.pit == pytest.approx(norm.cdf(z), abs=0.01)
        assert r.ipred == pytest.approx(10 * math.exp(z * sd / 2), rel=1e-5)
        assert r.iwres == pytest.approx(z * sd / 2 / 0.3, rel=1e-5)


def test_a_censored_reading():
    model = one_compartment("halves", sd=0.3, residual=Residual(log=0.3))
    for lloq, z in ((10.0, 0.0), (3.0, math.log(0.3) / (0.3 * math.sqrt(2)))):
        m = Measurement(0.0, "concentration", lloq, lloq=lloq, censored=True, order=1)
        d = diagnose(posterior([model], Record("h", (), Regimen(Bolus(100, 0.0)), (m,), 0.0), draws=20000))
        (r,) = d.readings
        assert r.p == pytest.approx(norm.cdf(z), rel=0.1)
        assert r.pit == r.p / 2
        assert r.iwres is None
    assert r.sentence.startswith("surprising (p = 0.0")
    assert "below 3 mg/L at 0 h" in r.sentence
    assert "<3" in d.table()


def test_iwres_at_the_map():
    p = posterior([PHENOBARBITAL], LONGEST)
    f = levels(PHENOBARBITAL, LONGEST, lambda t: p.best.map)
    for r, y in zip(diagnose(p).readings, f):
        assert r.ipred == pytest.approx(y, rel=1e-9)
        assert r.iwres == pytest.approx((r.measurement.value - y) / (0.115 * y), rel=1e-9)


def test_multiplicity():
    d = diagnose(posterior([PHENOBARBITAL], LONGEST))
    n = len(LONGEST.observed)
    assert n == 6
    assert all(r.p_adjusted == min(1.0, n * r.p) for r in d.readings)


def test_nothing_measured():
    d = diagnose(posterior([PHENOBARBITAL], replace(LONGEST, observed=())))
    assert d.readings == ()
    assert d.worst == "consistent"
    assert abs(d.information["cl"]) < 0.1


def test_json():
    d = diagnose(posterior([PHENOBARBITAL], LONGEST))
    got = json.loads(json.dumps(d.to_dict()))
    assert got["readings"][0]["measurement"]["value"] == LONGEST.observed[0].value
    assert got["models"] == {PHENOBARBITAL.id: 1.0}


def test_quantiles_of_mixtures():
    rng = np.random.default_rng(0)
    f, w = np.exp(rng.normal(3, 0.5, 500)), rng.dirichlet(np.full(500, 0.3))
    log = np.arange(500) % 2 == 0
    cases = [
        Predictive(f, 0.1 * f, np.zeros(500, bool), w),
        Predictive(f, np.where(log, 0.3, 0.2 * f), log, w),
        Predictive(np.array([1.0, 100.0]), np.array([0.01, 0.01]), np.zeros(2, bool), np.array([0.5, 0.5])),
    ]
    for law in cases:
        q = law.quantiles((0.01, 0.05, 0.3, 0.95))
        np.testing.assert_allclose(law.cdf(q), (0.01, 0.05, 0.3, 0.95), atol=1e-9)
        below, above = law.tails(q[2])
        assert below + above == pytest.approx(1)
        h = 1e-5 * q[2]
        density = (law.cdf(q[2] + h) - law.cdf(q[2] - h))[0] / (2 * h)
        assert law.log_density(q[2]) == pytest.approx(math.log(density), rel=1e-4)
    two = cases[2]
    assert two.quantiles((0.25,))[0] == pytest.approx(1.0, abs=1e-6)
    assert brentq(lambda y: two.cdf(y)[0] - 0.9, 99, 101) == pytest.approx(two.quantiles((0.9,))[0])


def test_shrinkage_by_hand():
    model = one_compartment("halves", sd=0.3, residual=Residual(log=0.3))
    posteriors = []
    for i, y in enumerate((5.0, 12.0, 20.0)):
        m = Measurement(0.0, "concentration", y, order=1)
        posteriors.append(posterior([model], Record(f"{i}", (), Regimen(Bolus(100, 0.0)), (m,), 0.0), draws=300))
    s = shrinkage(posteriors)
    half = 0.5 * np.log(
        np.array([5.0, 12.0, 20.0]) / 10
    )  # each effect takes half of the distance, and so does the error
    assert s.eta["cl"] == pytest.approx(1.0, abs=1e-6)
    assert s.eta["v"] == pytest.approx(1 - half.std(ddof=1) / 0.3, rel=1e-5)
    assert s.epsilon == pytest.approx(1 - half.std(ddof=1) / 0.3, rel=1e-5)
    assert (s.patients, s.readings) == (3, 3)
    with pytest.raises(RecordError, match="two patients or more"):
        shrinkage(posteriors[:1])


def test_an_unknown_output_is_refused():
    p = posterior([PHENOBARBITAL], LONGEST, draws=300)
    with pytest.raises(RecordError, match="no model predicts 'sodium'"):
        predictive(p, Measurement(1.0, "sodium", 140.0))
