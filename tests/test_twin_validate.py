"""The walk forward: the real infants, a case by hand, and that nothing later is looked at."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from doseloop.pkpd.errors import RecordError
from doseloop.pkpd.model import Residual
from doseloop.pkpd.record import CovariateRow, Measurement, Record
from doseloop.pkpd.regimen import Bolus, Infusion, Regimen
from doseloop.twin.validate import plot_predicted_vs_observed, plot_vpc, walk_forward
from doseloop.twin.vpc import vpc
from helpers_twin import PHENOBARBITAL, VANCOMYCIN, infants, levels, one_compartment, vancomycin_patients
from scipy.stats import norm


@pytest.fixture(scope="module")
def walked():
    calls = []
    v = walk_forward([PHENOBARBITAL], infants(), progress=lambda done, of: calls.append((done, of)))
    assert calls == [(i + 1, 59) for i in range(59)]
    return v


def test_the_twin_learns_from_the_infants_levels(walked):
    print("\n" + walked.table())
    a, same, b = walked.population, walked.population_same, walked.individual
    assert (a.levels, a.patients, b.levels, b.patients) == (155, 59, 96, 50)
    assert (same.levels, same.patients) == (96, 50)
    assert b.mape.value < 0.8 * same.mape.value
    assert b.rmse.value < 0.85 * same.rmse.value
    assert abs(b.mpe.value) < 3
    assert walked.gain.high < 0.95
    assert walked.gain.value == pytest.approx(b.mape.value / same.mape.value)
    for s in (a, same, b):
        assert 85 <= s.coverage.value <= 95
        assert s.mape.low < s.mape.value < s.mape.high
    assert b.within20.value > same.within20.value + 5
    assert b.within30.value > 90


def test_population_errors_are_those_of_the_typical_infant(walked):
    """The medians lie close to predictions of the typical infant: MPE 5.2, MAPE 16.9, RMSE 5.06, 74 and 85 %."""
    f = np.concatenate([levels(PHENOBARBITAL, r, lambda t: (0.0, 0.0)) for r in infants()])
    y = np.array([m.value for r in infants() for m in r.observed])
    e = (f - y) / y
    typical = [100 * e.mean(), 100 * abs(e).mean(), math.sqrt(np.mean((f - y) ** 2))]
    np.testing.assert_allclose(typical, [5.2, 16.9, 5.06], atol=0.06)
    assert round(100 * np.mean(abs(e) <= 0.2)) == 74
    assert round(100 * np.mean(abs(e) <= 0.3)) == 85
    median = np.array([p.population for p in walked.predictions])
    np.testing.assert_allclose(median, f, rtol=0.04)


def test_table_and_json(walked):
    text = walked.table()
    assert "RMSE, mg/L" in text
    assert "155 (59)" in text
    got = json.loads(json.dumps(walked.to_dict()))
    assert got["individual"]["mape"]["value"] == walked.individual.mape.value
    assert len(got["predictions"]) == 155


# by hand -------------------------------------------------------------------------------------------------------------


def certain():
    """A model with next to no variability: everybody is typical, CL 1 and V 10."""
    return one_compartment("certain", sd=1e-5, residual=Residual(additive=2.0))


def patient(name, levels_, doses=(100.0,), **options):
    observed = tuple(Measurement(float(t), "concentration", float(y), **options) for t, y in levels_)
    regimen = Regimen(*(Bolus(amount, 10.0 * i) for i, amount in enumerate(doses)))
    return Record(name, (), regimen, observed, max(o.time for o in observed))


def test_statistics_by_hand():
    e1, e2 = 10 * math.exp(-0.5), 10 * math.exp(-1.0)  # predictions at 5 and 10 h
    records = [patient("a", [(5, 5.0), (10, 3.0)]), patient("b", [(5, 12.0)]), patient("c", [(10, 3.4), (10, 3.0)])]
    v = walk_forward([certain()], records, draws=4000)
    predictions, y = np.array([e1, e2, e1, e2, e2]), np.array([5, 3, 12, 3.4, 3.0])
    np.testing.assert_allclose([p.population for p in v.predictions], predictions, rtol=1e-4)
    np.testing.assert_allclose([p.population_high for p in v.predictions], predictions + 2 * norm.ppf(0.95), rtol=1e-4)
    e = (predictions - y) / y
    s = v.population
    assert (s.levels, s.patients) == (5, 3)
    np.testing.assert_allclose(
        [s.mpe.value, s.mape.value, s.rmse.value],
        [100 * e.mean(), 100 * abs(e).mean(), math.sqrt(np.mean((predictions - y) ** 2))],
        rtol=1e-3,
    )
    # 12 alone lies outside e1 ± 3.29; the errors are 21.3, 22.6, −49.5, 8.2 and 22.6 %
    assert [s.coverage.value, s.within20.value, s.within30.value] == [80.0, 20.0, 80.0]
    # of the two levels at 10 h neither helps the other
    assert [p.earlier for p in v.predictions] == [0, 1, 0, 0, 0]
    assert (v.individual.levels, v.individual.patients) == (1, 1)
    assert v.individual.mape.value == pytest.approx(100 * abs(e[1]), rel=1e-3)
    assert (
        v.individual.mape.low == v.individual.mape.value == v.individual.mape.high
    )  # one patient: nothing to resample


def test_one_level_teaches_by_hand():
    """Log-normal V and reading, equally uncertain: half of the first level's surprise is carried to the second."""
    model = one_compartment("halves", sd=0.3, residual=Residual(log=0.3))
    m = Measurement(0.0, "concentration", 20.0, order=1)
    second = Measurement(1e-9, "concentration", 20.0, order=1)
    v = walk_forward([model], [Record("p", (), Regimen(Bolus(100, 0.0)), (m, second), 1e-9)], draws=20000)
    first, then = v.predictions
    assert first.population == pytest.approx(10, rel=0.01)
    assert then.individual == pytest.approx(10 * math.sqrt(2), rel=0.01)
    z = norm.ppf(0.95)
    assert math.log(first.population_high / first.population) == pytest.approx(z * 0.3 * math.sqrt(2), rel=0.03)
    assert math.log(then.individual_high / then.individual) == pytest.approx(z * 0.3 * math.sqrt(1.5), rel=0.03)


def test_censored_levels_count_in_coverage_only():
    below = patient("a", [(30, 1.0)], lloq=1.0, censored=True)
    high = patient("b", [(1, 1.0)], lloq=1.0, censored=True)  # 9.05 is expected, band from 5.8
    v = walk_forward([certain()], [below, high, patient("c", [(5, 5.0)])])
    assert v.population.coverage.value == pytest.approx(200 / 3)
    assert v.population.mape.value == pytest.approx(100 * (10 * math.exp(-0.5) - 5) / 5, rel=1e-3)


# nothing later is looked at ------------------------------------------------------------------------------------------


def test_no_look_ahead():
    record = next(r for r in infants() if len(r.observed) >= 4)
    before = walk_forward([PHENOBARBITAL], [record]).predictions
    for i in range(1, len(record.observed)):
        levels_ = list(record.observed)
        levels_[i] = replace(levels_[i], value=3 * levels_[i].value)
        after = walk_forward([PHENOBARBITAL], [replace(record, observed=tuple(levels_))]).predictions
        assert after[:i] == before[:i]
        assert after[i].observed == 3 * before[i].observed
        assert (before[i].individual, before[i].population) == (after[i].individual, after[i].population)
        if i + 1 < len(levels_):
            assert after[i + 1].individual != before[i + 1].individual
    # later doses and covariates neither, earlier ones do
    t = record.observed[1].time
    more = replace(record, given=record.given.plus(Regimen(Bolus(50, t + 0.01))), now=record.now + 1)
    after = walk_forward([PHENOBARBITAL], [more]).predictions
    assert after[:2] == before[:2]
    assert after[2] != before[2]


def test_doses_between_levels_are_facts():
    records = [patient("a", [(5, 6.0), (20.0, 5.0)], doses=(100.0, 50.0))]
    (_, p) = walk_forward([certain()], records).predictions
    assert p.individual == pytest.approx(10 * math.exp(-2) + 5 * math.exp(-1), rel=1e-3)


def test_order_decides_at_the_time_of_a_dose():
    dose = replace(Bolus(50, 10.0), order=5)
    for order, wanted in ((4, 10 * math.exp(-1)), (6, 10 * math.exp(-1) + 5)):
        m = Measurement(10.0, "concentration", 5.0, order=order)
        (p,) = walk_forward([certain()], [Record("a", (), Regimen(Bolus(100, 0.0), dose), (m,), 10.0)]).predictions
        assert p.population == pytest.approx(wanted, rel=1e-4)


def test_repeats_and_changing_covariates_are_cut_at_the_level():
    """Creatinine rows and repeats of the dose after a level do not reach its prediction."""
    record = next(r for r in vancomycin_patients(20) if len(r.covariates) == 3 and r.observed[0].time < 15)
    early = walk_forward([VANCOMYCIN], [record]).predictions[0]
    sick = [CovariateRow(row.time, dict(row.dict) | {"scr": 9.0}) for row in record.covariates[1:]]
    assert record.observed[0].time < sick[0].time
    later = replace(record, covariates=(record.covariates[0], *sick))
    assert walk_forward([VANCOMYCIN], [later]).predictions[0] == early
    d = record.given.doses[0]
    given = 1 + int(record.observed[0].time // d.interval)
    doses = [Infusion(d.amount, i * d.interval, duration=1.5) for i in range(given)]
    p = walk_forward([VANCOMYCIN], [replace(record, given=Regimen(*doses))]).predictions[0]
    assert p.population == pytest.approx(early.population, rel=1e-9)


def test_a_level_before_the_first_covariate_row():
    record = infants()[0]
    late = replace(record, covariates=(CovariateRow(record.now, record.covariates[0].dict),))
    assert walk_forward([PHENOBARBITAL], [late]).predictions == walk_forward([PHENOBARBITAL], [record]).predictions


def test_refusals():
    with pytest.raises(RecordError, match="no record has a level"):
        walk_forward([PHENOBARBITAL], [replace(infants()[0], observed=())])
    with pytest.raises(RecordError, match="same id"):
        walk_forward([PHENOBARBITAL], [infants()[0], infants()[0]])


def test_same_seed_same_numbers():
    some = infants()[:4]
    a, b, c = (walk_forward([PHENOBARBITAL], some, seed=s, draws=300) for s in (1, 1, 2))
    assert a == b
    assert a.predictions != c.predictions


# visual predictive check ---------------------------------------------------------------------------------------------


def test_vpc_of_data_from_the_model_itself():
    """Simulated infants: observed percentiles in 95 % bands about 95 % of the time."""
    rng = np.random.default_rng(7)
    chol, records = np.linalg.cholesky(PHENOBARBITAL.omega), []
    for r in infants():
        eta = chol @ rng.standard_normal(2)
        f = np.array(levels(PHENOBARBITAL, r, lambda t, eta=eta: eta))
        y = f * (1 + 0.115 * rng.standard_normal(len(f)))
        records.append(replace(r, observed=tuple(replace(m, value=float(v)) for m, v in zip(r.observed, y))))
    for corrected in (False, True):
        v = vpc([PHENOBARBITAL], records, corrected=corrected)
        assert v.count.sum() == 155
        inside = (v.simulated[:, 0] <= v.observed) & (v.observed <= v.simulated[:, 2])
        assert inside.mean() >= 0.85
        assert np.all(np.diff(v.simulated, axis=1) >= 0)
        assert np.all(np.diff(v.simulated[:, 1], axis=0) > 0)


def test_vpc_by_hand():
    """One time, a log-normal law known in closed form; correction does nothing where all predictions are equal."""
    model = one_compartment("halves", sd=0.3, residual=Residual(log=0.3))
    records = [
        Record(f"{i}", (), Regimen(Bolus(100, 0.0)), (Measurement(0.0, "concentration", 9.0, order=1),), 0.0)
        for i in range(200)
    ]
    a, b = (vpc([model], records, corrected=c, replicates=500) for c in (False, True))
    assert np.array_equal(a.simulated, b.simulated)
    assert np.array_equal(a.observed, np.full((3, 1), 9.0))
    wanted = 10 * np.exp(norm.ppf([0.05, 0.5, 0.95]) * 0.3 * math.sqrt(2))
    np.testing.assert_allclose(a.simulated[:, 1, 0], wanted, rtol=0.03)
    sd_of_median = wanted[1] * 0.3 * math.sqrt(2) * math.sqrt(math.pi / 2 / 200)
    assert a.simulated[1, 2, 0] - a.simulated[1, 0, 0] == pytest.approx(2 * 1.96 * sd_of_median, rel=0.15)


def test_correction_brings_doses_together():
    model = certain()
    records = [patient(f"{i}", [(5, y)], doses=(d,)) for i, (d, y) in enumerate([(100, 6.0), (200, 12.0), (400, 24.0)])]
    v = vpc([model], records, replicates=500)
    np.testing.assert_allclose(v.level, 12.0, rtol=1e-9)


def test_plots_are_written(walked, tmp_path):
    plot_predicted_vs_observed(walked, tmp_path / "a.png")
    plot_vpc([PHENOBARBITAL], infants(), tmp_path / "b.png", replicates=100)
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 2)
    plot_predicted_vs_observed(walked, axes)
    assert axes[0].get_xlabel() == "observed concentration (mg/L)"
    assert len(axes[1].lines[-1].get_xdata()) == 96
