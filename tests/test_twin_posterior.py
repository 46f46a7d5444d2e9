"""The posterior: against a brute-force grid, and the diagnoses of draws against cases whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from doseloop.pkpd import reference
from doseloop.pkpd.errors import RecordError
from doseloop.pkpd.model import Effect, Parameter, Residual
from doseloop.pkpd.ops import exp
from doseloop.pkpd.record import Measurement, Record
from doseloop.pkpd.regimen import Bolus, Regimen
from doseloop.pkpd.simulate import weighted_quantiles
from doseloop.twin.posterior import posterior
from doseloop.twin.sampling import (
    effective_chain_size,
    importance_sample,
    metropolis,
    pareto_k,
    split_rhat,
)
from helpers_twin import PHENOBARBITAL, infants, levels, one_compartment
from scipy.special import logsumexp

# the grid ------------------------------------------------------------------------------------------------------------


def vector_objective(model, record):
    """−log posterior with its constant at many effects (points, 2): superposition, nothing of the twin."""
    doses, (a, b) = record.given.expanded().doses, [m.output for m in record.observed[:1]] * 2
    assert a == b
    residual = model.output(a).residual
    covariates = record.covariates[0].dict if record.covariates else None
    typical = reference.individual(model, covariates)

    def objective(eta):
        cl, v = typical["cl"] * np.exp(eta[:, 0]), typical["v"] * np.exp(eta[:, 1])
        total = 0.5 * np.einsum("ni,ij,nj->n", eta, np.linalg.inv(model.omega), eta)
        total += 0.5 * np.linalg.slogdet(2 * np.pi * model.omega)[1]
        for m in record.observed:
            f = sum(d.amount / v * np.exp(-cl / v * (m.time - d.time)) for d in doses if d.time < m.time)
            g = np.hypot(residual.additive, residual.proportional * f)
            total += 0.5 * ((m.value - f) / g) ** 2 + np.log(g * math.sqrt(2 * math.pi))
        return total

    return objective


def grid(objective, low, high, points=401):
    """Weights (points²,), places (points², 2) and log evidence by the sum over a square grid."""
    axes = [np.linspace(a, b, points) for a, b in zip(low, high)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    f = objective(places)
    cell = np.prod([a[1] - a[0] for a in axes])
    log_evidence = logsumexp(-f) + math.log(cell)
    return np.exp(-f - logsumexp(-f)), places, log_evidence


def moments(places, weights):
    mean = weights @ places
    return mean, np.sqrt(weights @ (places - mean) ** 2)


def assert_like_grid(eta, weights, log_evidence, exact, ess):
    """Within four Monte-Carlo standard errors (of a mean, an SD, a quantile, the evidence)."""
    w, places, wanted_evidence = exact
    (mean, sd), (m, s) = moments(places, w), moments(eta, weights)
    error = 4 / math.sqrt(ess)
    assert np.all(np.abs(m - mean) < error * sd)
    assert np.all(np.abs(s - sd) < error * sd)
    assert abs(log_evidence - wanted_evidence) < error
    probabilities = (0.05, 0.25, 0.5, 0.75, 0.95)
    ours, theirs = (weighted_quantiles(p, u, probabilities) for p, u in ((eta, weights), (places, w)))
    # the density is at least a tenth of its height at these quantiles
    assert np.all(np.abs(ours - theirs) < 2.5 * error * sd)


@pytest.mark.parametrize("i", [0, 7, 19, 33, 46, 58])
def test_infants_as_on_a_grid(i):
    record = infants()[i]
    exact = grid(vector_objective(PHENOBARBITAL, record), (-1.2, -1.0), (1.2, 1.0))
    p = posterior([PHENOBARBITAL], record, draws=20000)
    part = p.parts[0]
    assert part.ess > 15000
    assert part.trusted
    assert part.chains is None
    assert_like_grid(part.eta, part.weights, part.log_evidence, exact, part.ess)
    share = 1 - moments(exact[1], exact[0])[1] ** 2 / np.diag(PHENOBARBITAL.omega)
    np.testing.assert_allclose(list(part.information().values()), share, atol=0.03)


def two_humps(x):
    """30 % at (−2, 0), 70 % at (2, 1), of different widths."""
    a = math.log(0.3) - 0.5 * ((x[:, 0] + 2) / 0.4) ** 2 - 0.5 * (x[:, 1] / 0.8) ** 2 - math.log(0.32)
    b = math.log(0.7) - 0.5 * ((x[:, 0] - 2) / 0.6) ** 2 - 0.5 * ((x[:, 1] - 1) / 0.3) ** 2 - math.log(0.18)
    return -np.logaddexp(a, b) + math.log(2 * math.pi)


def banana(x):
    return 0.5 * x[:, 0] ** 2 + 0.5 * ((x[:, 1] - 0.7 * x[:, 0] ** 2) / 0.5) ** 2 + math.log(2 * math.pi * 0.5)


def test_two_humps_both_found():
    rng = np.random.default_rng(3)
    modes, covariances = np.array([[2.0, 1.0], [-2.0, 0.0]]), np.array([np.diag([0.36, 0.09]), np.diag([0.16, 0.64])])
    d = importance_sample(two_humps, modes, covariances, 9 * np.eye(2), 20000, rng)
    assert d.pareto_k < 0.7
    assert math.isclose(d.weights @ (d.eta[:, 0] < 0), 0.3, abs_tol=4 * math.sqrt(0.21 / d.ess))
    assert_like_grid(d.eta, d.weights, d.log_evidence, grid(two_humps, (-5, -4), (6, 4), 801), d.ess)
    assert abs(d.log_evidence) < 0.03


def test_curved_target():
    rng = np.random.default_rng(4)
    covariance = np.diag([1.0, 0.25])[None]
    d = importance_sample(banana, np.zeros((1, 2)), covariance, 9 * np.eye(2), 20000, rng)
    assert_like_grid(d.eta, d.weights, d.log_evidence, grid(banana, (-5, -3), (5, 20), 801), d.ess)


def test_proposals_too_narrow_are_noticed():
    rng = np.random.default_rng(5)
    narrow = importance_sample(
        lambda x: 0.5 * np.sum(x**2, axis=1), np.zeros((1, 2)), 0.01 * np.eye(2)[None], 0.01 * np.eye(2), 4000, rng
    )
    assert narrow.pareto_k > 0.7
    assert narrow.ess < 200


# rival models --------------------------------------------------------------------------------------------------------


def test_models_are_weighed_by_their_evidence():
    record = infants()[2]
    rivals = [
        PHENOBARBITAL,
        replace(
            PHENOBARBITAL,
            id="rival",
            parameters=[replace(q, value=q.value * (1.15 if q.name == "v" else 1)) for q in PHENOBARBITAL.parameters],
            effects=[replace(e, variance=e.variance * 1.6) for e in PHENOBARBITAL.effects],
        ),
    ]
    evidence = [grid(vector_objective(m, record), (-1.5, -1.2), (1.5, 1.2))[2] for m in rivals]
    p = posterior(rivals, record, prior_weights=[1, 3], draws=20000)
    wanted = np.exp(np.array(evidence) - max(evidence)) * [1, 3]
    np.testing.assert_allclose(p.model_weights, wanted / wanted.sum(), rtol=0.03)
    share = sum(len(eta) for part, eta in p.equal_draws(4000) if part.model is rivals[1]) / 4000
    assert abs(share - p.model_weights[1]) < 0.002
    single = posterior([rivals[0]], record, draws=20000)
    assert np.array_equal(single.parts[0].eta, p.parts[0].eta)
    assert p.best.model is rivals[int(np.argmax(wanted))]


# MCMC where importance sampling fails --------------------------------------------------------------------------------


def ridge(size):
    """A model whose posterior is a bent ridge: only b + 0.8 a² is known, and that to ``size``."""

    def individual(theta, cov, eta):
        return {"cl": theta.cl, "v": theta.v * exp(eta.b + theta.bend * eta.a * eta.a)}

    base = one_compartment("ridge", residual=Residual(log=size))
    return replace(
        base,
        individual=individual,
        parameters=[*base.parameters, Parameter("bend", 0.8, "1", "test")],
        effects=[Effect("a", 1.0, "test"), Effect("b", 1.0, "test")],
    )


def on_the_ridge(size):
    """Posterior of one level of 5 where 10 is typical, and its grid."""
    record = Record("r", (), Regimen(Bolus(100, 0.0)), (Measurement(0.0, "concentration", 5.0, order=1),), 0.0)

    def objective(eta):
        z = (math.log(2) - eta[:, 1] - 0.8 * eta[:, 0] ** 2) / size
        return 0.5 * z**2 + 0.5 * np.sum(eta**2, axis=1) + math.log(size) + 1.5 * math.log(2 * math.pi) + math.log(5)

    return posterior([ridge(size)], record, draws=2000), grid(objective, (-4, -6), (4, 3), 1201)


def test_mcmc_takes_over_and_converges():
    p, (w, places, _) = on_the_ridge(0.22)
    part = p.parts[0]
    assert part.chains is not None
    assert part.chains.rhat <= 1.01
    assert part.chains.ess >= 400
    assert part.chains.converged
    assert part.trusted
    assert any("MCMC took over" in n for n in p.notes)
    (mean, sd), (m, s) = moments(places, w), moments(part.eta, part.weights)
    error = 4 / math.sqrt(part.ess)  # of the draws kept, fewer than the chains have
    assert part.ess == min(part.chains.ess, 2000)
    assert np.all(np.abs(m - mean) < error * sd)
    assert np.all(np.abs(s - sd) < error * sd)
    across = lambda x: x[:, 1] + 0.8 * x[:, 0] ** 2  # noqa: E731
    narrow = math.sqrt(w @ (across(places) - w @ across(places)) ** 2)
    assert math.isclose(across(part.eta).std(), narrow, rel_tol=0.1)


@pytest.mark.slow
def test_a_posterior_that_defeats_both_says_so():
    p, _ = on_the_ridge(0.005)
    assert not p.trusted
    assert any("has not converged" in n for n in p.notes)


def test_metropolis_on_a_normal_law():
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.8], [0.8, 2.0]])
    precision = np.linalg.inv(covariance)
    chains = metropolis(lambda x: 0.5 * np.einsum("ni,ij,nj->n", x, precision, x), rng.normal(0, 2, (32, 2)), 400, rng)
    assert chains.converged
    np.testing.assert_allclose(np.cov(chains.eta.T), covariance, atol=4 * 2 * math.sqrt(2 / chains.ess))


def test_chains_that_cannot_move_are_not_called_converged():
    rng = np.random.default_rng(1)
    start = rng.standard_normal((32, 1))
    frozen = metropolis(lambda x: np.where(np.isin(x[:, 0], start[:, 0]), 0.0, np.inf), start.copy(), 50, rng, most=2)
    assert frozen.acceptance == 0
    # one chain after the other, so that draws taken at even steps come from every chain at even times
    np.testing.assert_array_equal(frozen.eta.reshape(32, -1), np.repeat(start, len(frozen.eta) // 32, axis=1))
    assert not frozen.converged


def test_chains_in_far_apart_places_are_not_called_converged():
    rng = np.random.default_rng(2)
    # two wells, and every chain's partners lie in its own
    start = np.where(np.arange(32) % 16 < 8, 0.0, 1e6)[:, None] + rng.standard_normal((32, 1))
    wells = lambda x: 0.5 * np.minimum(x[:, 0] ** 2, (x[:, 0] - 1e6) ** 2) * 1e6  # noqa: E731
    chains = metropolis(wells, start, 50, rng, most=2)
    assert not chains.converged


# known cases ---------------------------------------------------------------------------------------------------------


def chains_of(phi, steps=4000, count=4, seed=0):
    e = np.random.default_rng(seed).standard_normal((steps, count))
    x = e.copy()
    for t in range(1, steps):
        x[t] = phi * x[t - 1] + e[t] * math.sqrt(1 - phi**2)
    return x


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_effective_size_of_autoregressive_chains(phi):
    sizes = [effective_chain_size(chains_of(phi, seed=s)) / 16000 for s in range(8)]
    assert math.isclose(np.mean(sizes), (1 - phi) / (1 + phi), rel_tol=0.08)


def test_rhat():
    assert abs(split_rhat(chains_of(0.0)) - 1) < 0.002
    apart = chains_of(0.0, 2000)
    apart[:, 0] += 3.0
    # within 1, between the four means 3²·3/16·(8/7 for the split halves): 1 + B/n
    assert math.isclose(split_rhat(apart), math.sqrt(1 + 9 * 3 / 16 * 8 / 7), rel_tol=0.02)
    drifting = chains_of(0.0, 2000) + np.linspace(-1, 1, 2000)[:, None]
    assert split_rhat(drifting) > 1.1
    assert effective_chain_size(apart) < 20


def test_stuck_chains():
    stuck = np.ones((500, 4)) * np.arange(4)
    assert split_rhat(stuck) == np.inf
    assert effective_chain_size(stuck) < 4
    assert effective_chain_size(np.ones((500, 4))) == 0


@pytest.mark.parametrize("k", [0.2, 0.5, 0.7, 1.0])
def test_tail_index_of_pareto_samples(k):
    rng = np.random.default_rng(11)
    found = np.mean([pareto_k(np.log(rng.pareto(1 / k, 8000) + 1)) for _ in range(80)])
    # the weak prior pulls towards 0.5 by 10 pseudo-observations beside 268
    assert abs(found - (268 * k + 5) / 278) < 0.03


def test_tail_index_of_other_weights():
    assert pareto_k(np.zeros(1000)) == -np.inf
    assert pareto_k(np.zeros(10)) == np.inf
    uniform = np.log(np.random.default_rng(0).random(4000))
    assert pareto_k(uniform) < 0  # a bounded law
    heavy = -np.log(np.random.default_rng(0).random(4000)) * 1.5
    assert pareto_k(heavy) > 0.7
    assert pareto_k(heavy - 1000) == pytest.approx(pareto_k(heavy))


# manners -------------------------------------------------------------------------------------------------------------


def test_same_seed_same_bits():
    record = infants()[4]
    a, b, c = (posterior([PHENOBARBITAL], record, seed=s, draws=500) for s in (5, 5, 6))
    for name in ("map", "eta", "weights", "log_evidence", "ess"):
        assert np.array_equal(getattr(a.parts[0], name), getattr(b.parts[0], name))
    assert not np.array_equal(a.parts[0].eta, c.parts[0].eta)
    assert np.array_equal(a.parts[0].map, c.parts[0].map)


def test_no_measurements_is_the_prior():
    p = posterior([PHENOBARBITAL], replace(infants()[0], observed=()), draws=20000)
    part = p.parts[0]
    assert np.array_equal(part.map, [0, 0])
    assert np.all(part.weights == 1 / 20000)
    assert part.log_evidence == 0
    sd = np.sqrt(np.diag(PHENOBARBITAL.omega))
    assert np.all(np.abs(part.eta.mean(axis=0)) < 4 * sd / math.sqrt(20000))
    np.testing.assert_allclose(np.cov(part.eta.T), PHENOBARBITAL.omega, atol=4 * math.sqrt(2 / 20000) * sd.max() ** 2)


def test_a_strange_output_is_refused():
    record = infants()[0]
    odd = replace(record, observed=(replace(record.observed[0], output="sodium"),))
    with pytest.raises(RecordError, match=r"no model predicts 'sodium'; known: concentration"):
        posterior([PHENOBARBITAL], odd)


def test_the_independent_levels_agree_with_superposition():
    """The two independent forwards of these tests say the same."""
    record = infants()[3]
    f = levels(PHENOBARBITAL, record, lambda t: (0.1, -0.2))
    p = replace(record, observed=tuple(replace(m, value=y) for m, y in zip(record.observed, f)))
    objective = vector_objective(PHENOBARBITAL, p)
    eta = np.array([[0.1, -0.2]])
    prior = 0.5 * eta[0] @ np.linalg.inv(PHENOBARBITAL.omega) @ eta[0]
    prior += 0.5 * np.linalg.slogdet(2 * np.pi * PHENOBARBITAL.omega)[1]
    sizes = sum(math.log(0.115 * y * math.sqrt(2 * math.pi)) for y in f)
    assert math.isclose(objective(eta)[0], prior + sizes, rel_tol=1e-12)
