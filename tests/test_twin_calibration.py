"""Simulation-based calibration (Talts and others 2018): patients drawn from the prior, with the infants' design.

Each infant's doses, sampling times and covariates serve 17 times: 1,003 patients, 2,006 ranks of effects and 2,006 new
readings. With so many the standard error of a 90 % coverage is 0.67 points (ranks), 0.8 to 0.9 (readings: two for each
patient share that patient), so 88 to 92 % are two to three of them away.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from doseloop.pkpd.record import Measurement
from doseloop.twin.posterior import posterior
from doseloop.twin.predictive import predictive
from helpers_twin import PHENOBARBITAL, infants, levels
from scipy.stats import chisquare

pytestmark = pytest.mark.slow
REPEATS, BINS = 17, 17


@pytest.fixture(scope="module")
def ranks():
    """Posterior probability below the truth, of each effect (patients, 2) and of two new readings (patients, 2)."""
    rng = np.random.default_rng(20240)
    chol = np.linalg.cholesky(PHENOBARBITAL.omega)
    effects, readings = [], []
    for repeat in range(REPEATS):
        for i, design in enumerate(infants()):
            truth = chol @ rng.standard_normal(2)
            later = [
                Measurement(design.now + wait, "concentration", 1.0, order=10**6)
                for wait in (1.0, 1.0 + 150 * rng.random())
            ]
            whole = replace(design, observed=(*design.observed, *later), now=later[1].time)
            f = np.array(levels(PHENOBARBITAL, whole, lambda t, eta=truth: eta))
            y = np.abs(f * (1 + 0.115 * rng.standard_normal(len(f))))
            observed = tuple(replace(m, value=float(v)) for m, v in zip(design.observed, y))
            p = posterior([PHENOBARBITAL], replace(design, observed=observed), draws=500, seed=repeat * 1000 + i)
            part = p.parts[0]
            effects.append([part.weights @ (part.eta[:, k] < truth[k]) for k in range(2)])
            readings.append([predictive(p, m).cdf(v)[0] for m, v in zip(later, y[-2:])])
    return np.array(effects), np.array(readings)


def assert_uniform(u):
    counts = np.bincount(np.minimum((u * BINS).astype(int), BINS - 1), minlength=BINS)
    assert chisquare(counts).pvalue > 0.001, counts


@pytest.mark.parametrize("k", [0, 1], ids=["cl", "v"])
def test_ranks_of_the_effects_are_uniform(ranks, k):
    assert len(ranks[0]) == 1003
    assert_uniform(ranks[0][:, k])


@pytest.mark.parametrize("k", [0, 1], ids=["soon", "late"])
def test_ranks_of_new_readings_are_uniform(ranks, k):
    assert_uniform(ranks[1][:, k])


@pytest.mark.parametrize("which", [0, 1], ids=["effects", "readings"])
def test_ninety_percent_bands_cover_ninety_percent(ranks, which):
    u = ranks[which]
    coverage = np.mean((u > 0.05) & (u < 0.95))
    print(f"\n90 % bands cover {100 * coverage:.1f} % of {u.size}")
    assert 0.88 < coverage < 0.92
    for level in (0.5, 0.8):
        inside = np.mean(np.abs(u - 0.5) < level / 2)
        assert abs(inside - level) < 0.035
