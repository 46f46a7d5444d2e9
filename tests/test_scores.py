"""Scores worked by hand, and basal-bolus by hand."""

import math

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.policies.basal_bolus import BasalBolus
from doseloop.virtual.anaesthesia_scores import SCORES as ANAESTHESIA
from doseloop.virtual.anaesthesia_scores import anaesthesia_scores
from doseloop.virtual.glucose_scores import SCORES, glucose_scores, kovatchev_risk, magni_risk, persist
from doseloop.virtual.world import Observation


def test_times_in_range_with_their_edges():
    s = glucose_scores([53.9, 54, 69.9, 70, 140, 140.1, 180, 180.1, 250, 250.1])
    expected = {"tir": 40, "titr": 20, "tbr": 30, "tbr54": 10, "tar": 30, "tar250": 10, "gri": 100}
    for name, value in expected.items():
        assert s[name][0] == pytest.approx(value), name
    assert set(s) == set(SCORES)
    assert glucose_scores([60, 100, 100, 100, 200, 100, 100, 300, 100, 40])["gri"][0] == pytest.approx(78.0)


def test_mean_and_variation():
    s = glucose_scores([[100, 200], [150, 150]])
    assert s["mean"].tolist() == [150, 150]
    np.testing.assert_allclose(s["cv"], [100 / 3, 0])


def test_risks_at_known_points():
    # Kovatchev 1997: the scale is symmetric: −10 … 10 on 20 … 600, 0 near 112.5 mg/dL, so risk 100 at both ends
    assert kovatchev_risk(np.array([20.0, 600.0])) == pytest.approx([-100, 100], abs=0.5)
    assert kovatchev_risk(np.array([112.517])) == pytest.approx([0], abs=1e-4)
    # by hand: ln 70 = 4.248495, ^1.084 = 4.797411, f = 1.509 (4.797411 − 5.381) = −.880636, 10 f² = 7.75521
    assert kovatchev_risk(np.array([70.0]))[0] == pytest.approx(-7.75521, abs=1e-4)
    # ln 180 = 5.192957, ^1.084 = 5.963614, f = .879165, 10 f² = 7.72931
    assert kovatchev_risk(np.array([180.0]))[0] == pytest.approx(7.72931, abs=1e-4)
    s = glucose_scores([70, 180, 112.517, 112.517])
    assert s["lbgi"][0] == pytest.approx(7.75521 / 4, abs=1e-4)
    assert s["hbgi"][0] == pytest.approx(7.72931 / 4, abs=1e-4)
    # Magni: nil where ln(G)^0.8353 = 3.7932: G = exp(3.7932^(1/0.8353)) = 138.9
    assert magni_risk(np.array([math.exp(3.7932 ** (1 / 0.8353))]))[0] == pytest.approx(0, abs=1e-12)
    assert magni_risk(np.array([10.0]))[0] > magni_risk(np.array([40.0]))[0] > magni_risk(np.array([70.0]))[0] > 20
    assert magni_risk(np.array([300.0]))[0] == pytest.approx(10 * (3.5506 * (math.log(300) ** 0.8353 - 3.7932)) ** 2)


def test_an_ending_counts_for_all_the_time_that_was_left():
    low = glucose_scores([100.0, 9.0, 100.0, np.nan], horizon=10)
    assert low["tir"][0] == 10
    assert low["tbr54"][0] == 90
    assert low["ended"][0] == 1
    high = glucose_scores([100.0, 601.0], horizon=4)
    assert high["tar250"][0] == 75
    assert high["hbgi"][0] == pytest.approx(75, abs=0.5)
    early, late = glucose_scores([9.0], horizon=100), glucose_scores([100.0] * 50 + [9.0], horizon=100)
    assert early["tir"][0] < late["tir"][0]
    _, ended = persist([[10.0, 600.0], [10.0, 600.0]])
    assert not ended.any()


def test_scores_of_nothing_are_refused():
    with pytest.raises(DoseloopError, match="not finite in 1 runs"):
        glucose_scores([[100.0, np.nan, 9.0], [9.0, np.nan, np.nan]])
    with pytest.raises(DoseloopError, match="short of 5"):
        glucose_scores([100.0, 100.0], horizon=5)
    with pytest.raises(DoseloopError, match="horizon is 1"):
        glucose_scores([100.0, 100.0], horizon=1)


# anaesthesia ------------------------------------------------------------------------------------------


def test_performance_errors_by_hand():
    bis = [45.0, 50.0, 60.0, 65.0, 35.0]  # PE −10, 0, 20, 30, −30 %
    s = anaesthesia_scores(bis, tick=1.0)
    assert set(s) == set(ANAESTHESIA)
    assert s["mdpe"][0] == 0
    assert s["mdape"][0] == 20
    assert s["wobble"][0] == 20
    # |PE| 10 0 20 30 30 over minutes 1…5: slope = Σ(t − 3)·|PE| / Σ(t − 3)² = (−20 − 0 + 0 + 30 + 60)/10 = 7 %/min
    assert s["divergence"][0] == pytest.approx(420)
    assert s["in_range"][0] == 60
    assert s["global"][0] == pytest.approx((20 + 20) / 0.6)
    assert s["below40"][0] == s["above60"][0] == 20
    assert s["went_below40"][0] == 1
    assert s["iae"][0] == (5 + 0 + 10 + 15 + 15) * 60
    assert s["overshoot"][0] == 15


def test_the_window_of_scores():
    bis = np.r_[np.full(12, 90.0), np.full(12, 50.0), np.full(12, 30.0)]
    s = anaesthesia_scores(bis, since=1.0, until=2.0)
    assert s["in_range"][0] == 100
    assert s["iae"][0] == 0
    assert anaesthesia_scores(bis, since=2.0)["below40"][0] == 100
    with pytest.raises(DoseloopError, match="no tick"):
        anaesthesia_scores(bis, since=3.0)
    with pytest.raises(DoseloopError, match="between 0 and 100"):
        anaesthesia_scores([np.nan])


def test_settling_is_the_first_half_minute_in_range():
    def settle(bis):
        return anaesthesia_scores(bis)["settling"][0]

    assert settle([90.0] * 6 + [50.0] * 20) == pytest.approx(7 / 12)
    brief = [90.0] * 6 + [50.0] * 6 + [61.0] + [60.0] * 7 + [30.0] * 9
    assert settle(brief) == pytest.approx(14 / 12)
    assert settle([90.0] * 6 + [50.0] * 6 + [30.0] * 30) == math.inf  # 25 s are not enough
    assert settle([50.0] * 3) == math.inf


# basal-bolus ------------------------------------------------------------------------------------------


def seen(reading, announced=0.0, clock=0.0, delivered=0.0, stamp=None):
    reading = np.atleast_1d(np.asarray(reading, dtype=float))
    full = lambda v: np.full(len(reading), float(v))  # noqa: E731
    stamps = np.where(np.isfinite(reading), clock if stamp is None else stamp, np.nan)
    given = np.column_stack([full(0), full(delivered)])
    return Observation(
        clock,
        reading,
        stamps,
        full(100),
        full(announced),
        given,
        full(0) > 1,
        full(clock),
        full(np.nan),
        np.zeros_like(given),
    )


def policy(**options):
    p = BasalBolus(**options)
    p.reset({"basal": np.array([1.0]), "carb_ratio": np.array([10.0]), "correction": np.array([40.0])}, 1)
    return p


def test_basal_bolus_by_hand():
    p = policy()
    assert p.act(seen(200)).tolist() == [[1.0, 0.0]]
    assert p.act(seen(200, 50)).tolist() == [[1.0, 5.0 + 60 / 40]]
    assert p.act(seen(150, 50)).tolist() == [[1.0, 5.0]]
    assert p.act(seen(60, 50)).tolist() == [[1.0, 5.0]]
    assert p.act(seen(200, clock=10))[0, 1] == 0
    assert p.act(seen(np.nan, 50, clock=20))[0, 1] == 6.5  # 10 min old
    assert p.act(seen(np.nan, 50, clock=30))[0, 1] == 5.0  # 20 min old


def test_options_of_basal_bolus():
    p = policy(on_board=True, every=60.0, suspend=70.0)
    assert p.act(seen(220, clock=0))[0, 1] == 2.0
    assert p.act(seen(220, clock=5, delivered=2.0))[0, 1] == 0.0
    # an hour later 2 U have 55/240 used up; of the wanted 2 U so much is missing
    assert p.act(seen(220, clock=60))[0, 1] == pytest.approx(2 - 2 * (1 - 55 / 240))
    assert p.act(seen(65, clock=65)).tolist() == [[0.0, 0.0]]
    assert p.act(seen(220, 30, clock=70))[0, 1] >= 3.0


def test_basal_bolus_refuses_what_it_cannot_use():
    with pytest.raises(DoseloopError) as caught:
        BasalBolus().reset({"basal": np.array([1.0]), "carb_ratio": np.array([0.0])}, 1)
    assert "carb_ratio" in str(caught.value)
    assert "correction" in str(caught.value)
    with pytest.raises(DoseloopError, match="2 patients"):
        policy().act(seen([100, 100]))
    with pytest.raises(DoseloopError):
        BasalBolus(target=160)
