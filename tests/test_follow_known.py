"""Priors from what is known of a patient; the statements that ship; and a patient of the worlds followed by them."""

import numpy as np
import pytest
from doseloop.models import load
from doseloop.pkpd.errors import DoseloopError
from doseloop.pkpd.individuals import individuals
from doseloop.twin.follower import Follower
from doseloop.twin.known import conditioned
from doseloop.twin.statements import follow_glucose, follow_propofol

GLUCOSE = ("glucose_t1d_hovorka2004", "glucose_t1d_uvapadova2008")
BIS = ("propofol_eleveld2018", "propofol_remifentanil_bouillon2004")


def test_a_linear_feature_conditions_as_the_normal_law_says():
    rng = np.random.default_rng(0)
    omega = np.array([[0.2, 0.05, 0.0], [0.05, 0.1, 0.02], [0.0, 0.02, 0.3]])
    eta = rng.multivariate_normal(np.zeros(3), omega, 400)
    H = np.array([[1.0, -2.0, 0.0], [0.0, 1.0, 1.0]])
    known = np.array([[0.3, -0.1], [0.0, 0.4]])
    mean, covariance = conditioned(eta, eta @ H.T, known, 0.1, omega)
    S = H @ omega @ H.T + 0.01 * np.eye(2)
    K = omega @ H.T @ np.linalg.inv(S)
    assert np.allclose(mean, known @ K.T, atol=1e-10)
    assert np.allclose(covariance, omega - K @ H @ omega, atol=1e-10)
    assert np.linalg.eigvalsh(covariance).min() > 0
    shifted = eta + np.array([1.0, 2.0, 3.0])  # of a population with a mean of its own
    mean, _ = conditioned(shifted, shifted @ H.T, (shifted @ H.T).mean(axis=0), 0.1)
    assert np.allclose(mean, shifted.mean(axis=0), atol=1e-10)


@pytest.mark.parametrize("model", GLUCOSE)
def test_a_known_basal_rate_narrows_the_prior_to_patients_who_have_it(model):
    model, rng = load(model), np.random.default_rng(1)
    eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, 800)
    man = {"weight": 75.0, "group": 0.0}
    column = list(model.individual_units).index("basal")
    basal = np.log(individuals(model, [man] * 800, eta)[:, column])
    wanted = np.quantile(basal, 0.9)
    mean, covariance = conditioned(eta, basal[:, None], [[wanted]], 0.05, model.omega)
    draws = mean + rng.multivariate_normal(np.zeros(len(model.omega)), covariance, 800)
    narrow = np.log(individuals(model, [man] * 800, draws)[:, column])
    assert narrow.mean() == pytest.approx(wanted, abs=0.35 * basal.std())
    assert narrow.std() < 0.6 * basal.std()


def test_priors_refuse_what_does_not_fit():
    with pytest.raises(DoseloopError, match="too few"):
        conditioned(np.zeros((5, 2)), np.zeros((5, 1)), np.zeros((1, 1)), 0.1, np.eye(2))
    with pytest.raises(DoseloopError, match="not finite"):
        conditioned(np.zeros((50, 2)), np.full((50, 1), np.nan), np.zeros((1, 1)), 0.1, np.eye(2))
    with pytest.raises(DoseloopError, match="features"):
        conditioned(np.zeros((50, 2)), np.zeros((40, 1)), np.zeros((1, 1)), 0.1, np.eye(2))


@pytest.mark.parametrize("model", GLUCOSE)
def test_glucose_statement_follows_a_meal_and_finds_what_was_mis_counted(model):
    f = follow_glucose(load(model))
    follower = Follower(f, {"weight": 75.0, "group": 0.0}, count=1)
    basal = follower.belief().parameters[0, list(f.model.individual_units).index("basal")]
    u = np.zeros((60, len(f.signals)))
    u[:, f.signals.index("sensitivity")], u[:, f.signals.index("sc")] = 1.0, basal / 60
    u[10:13, 0] = 4.0  # 60 g announced
    if "meal" in f.signals:
        u[10:, f.signals.index("meal")] = 60.0
    u[10, f.signals.index("sc")] += 6.0 / 5
    told = [follower.step(u[k]).truth[0] for k in range(60)]
    more = Follower(f, {"weight": 75.0, "group": 0.0}, count=1)
    for k in range(34):
        rise = 0.0 if k < 13 else min(4.0 * (k - 13), 60.0)  # far more glucose than 60 g bring
        belief = more.step(u[k], told[k] + rise)
    size, _ = belief.of(next(n for n in f.names if n.startswith("disturbed carbs")))
    flux, _ = belief.of("disturbed dawn")
    assert size[0] > 0.05 or flux[0] > 0.3
    assert abs(belief.truth[0] - told[33] - 60.0) < 25.0
    assert belief.fate[0] == 0


@pytest.mark.parametrize("model", BIS)
def test_propofol_statement_tells_stimulation_from_drug(model):
    f = follow_propofol(load(model))
    man = {"age": 40.0, "weight": 70.0, "height": 170.0, "sex": 0.0, "opioid": 1.0, "venous": 0.0}
    man = {c: man[c] for c in f.model.names("covariates")}
    lone, follower = Follower(f, man, count=1), Follower(f, man, count=1)
    u = np.zeros((240, len(f.signals)))
    u[:24, f.signals.index("propofol")], u[24:, f.signals.index("propofol")] = 70.0, 9.0
    lag = round(float(follower.delay[0]) / f.interval)
    true = [lone.step(u[k]).truth[0] for k in range(240)]
    for k in range(240):
        j = max(0, k - lag)
        belief = follower.step(u[k], true[j] + (15.0 if j >= 200 else 0.0))
        if j == 199:
            before = belief.of("offset")[0][0]
    assert belief.of("offset")[0][0] > before + 6.0
    assert abs(belief.truth[0] - true[239] - 15.0) < 6.0
