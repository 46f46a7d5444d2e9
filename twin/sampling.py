"""From a density known at points to weighted draws: importance sampling, its diagnosis, and MCMC where it fails.

All functions take ``objective(eta) -> −log density`` for arrays of points (n, K): nothing here knows what a patient is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Chains", "Draws", "effective_chain_size", "importance_sample", "metropolis", "pareto_k", "split_rhat"]

Objective = Callable[[np.ndarray], np.ndarray]
DEGREES = 5.0  # of freedom of the t proposals: tails heavier than any log-normal prior's posterior
DEFENCE = 0.1  # share of proposals from the prior: keeps the weights bounded wherever the prior has mass


@dataclass(frozen=True)
class Draws:
    """Weighted draws.

    Attributes:
        eta: (draws, K).
        weights: (draws,), summing to 1.
        log_evidence: log of the integral of the density (log marginal likelihood).
        ess: effective sample size, 1/Σw².
        pareto_k: tail index of the weights (below 0.7 they can be trusted).
    """

    eta: np.ndarray
    weights: np.ndarray
    log_evidence: float
    ess: float
    pareto_k: float


def pareto_k(log_weights: np.ndarray) -> float:
    """Shape of a generalised Pareto law fitted to the largest weights (Zhang & Stephens 2009; Vehtari et al. 2024).

    The fifth of the weights that is largest, but no more than 3√n of them; −inf where they are all equal.
    """
    n = len(log_weights)
    tail = int(min(0.2 * n, 3 * np.sqrt(n)))
    if tail < 5:
        return np.inf
    w = np.sort(np.exp(log_weights - log_weights.max()))
    x = w[-tail:] - w[-tail - 1]
    if x[-1] <= 0 or (x[0] <= 0 and np.count_nonzero(x) < 5):
        return -np.inf
    x = x[x > 0]
    m = len(x)
    grid = 30 + int(np.sqrt(m))
    quartile = x[int(m / 4 + 0.5) - 1]
    theta = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    k = np.mean(np.log1p(-theta[:, None] * x[None, :]), axis=1)
    profile = m * (np.log(-theta / k) - k - 1)
    weight = np.exp(profile - np.logaddexp.reduce(profile))
    best = float(np.sum(theta * weight))
    shape = float(np.mean(np.log1p(-best * x)))
    return (m * shape + 10 * 0.5) / (m + 10)  # the weak prior of the method's authors, towards 0.5


def _log_t(x: np.ndarray, centre: np.ndarray, chol: np.ndarray) -> np.ndarray:
    K = len(centre)
    z = np.linalg.solve(chol, (x - centre).T)
    q = np.einsum("kn,kn->n", z, z)
    constant = math.lgamma((DEGREES + K) / 2) - math.lgamma(DEGREES / 2) - 0.5 * K * np.log(DEGREES * np.pi)
    return constant - np.log(np.diag(chol)).sum() - 0.5 * (DEGREES + K) * np.log1p(q / DEGREES)


def _log_normal(x: np.ndarray, chol: np.ndarray) -> np.ndarray:
    z = np.linalg.solve(chol, x.T)
    q = np.einsum("kn,kn->n", z, z)
    return -0.5 * q - np.log(np.diag(chol)).sum() - 0.5 * len(chol) * np.log(2 * np.pi)


def importance_sample(
    objective: Objective,
    modes: np.ndarray,
    covariances: np.ndarray,
    prior: np.ndarray,
    draws: int,
    rng: np.random.Generator,
) -> Draws:
    """Draws from a mixture of t laws at the modes and the prior, weighted by density over proposal.

    Args:
        objective: −log density.
        modes: (modes, K); ``covariances`` (modes, K, K): Laplace's, one for each.
        prior: covariance of the normal prior (mean 0).
        draws: how many.
        rng: where the randomness comes from.
    """
    K = modes.shape[1]
    chols = np.linalg.cholesky(covariances)
    prior_chol = np.linalg.cholesky(prior)
    # stratified: the same share of draws from each part of the mixture, whatever the seed
    shares = np.array([*[(1 - DEFENCE) / len(modes)] * len(modes), DEFENCE])
    part = np.searchsorted(np.cumsum(shares), (np.arange(draws) + 0.5) / draws).clip(0, len(modes))
    z = rng.standard_normal((draws, K))
    scale = np.sqrt(DEGREES / rng.chisquare(DEGREES, draws))
    eta = np.empty((draws, K))
    for i in range(len(modes)):
        mine = part == i
        eta[mine] = modes[i] + (z[mine] @ chols[i].T) * scale[mine, None]
    mine = part == len(modes)
    eta[mine] = z[mine] @ prior_chol.T
    parts = [np.log(shares[i]) + _log_t(eta, modes[i], chols[i]) for i in range(len(modes))]
    parts.append(np.log(shares[-1]) + _log_normal(eta, prior_chol))
    log_w = -objective(eta) - np.logaddexp.reduce(parts, axis=0)
    if not np.isfinite(log_w).any():
        return Draws(eta, np.full(draws, 1 / draws), -np.inf, 0.0, np.inf)
    total = np.logaddexp.reduce(log_w)
    w = np.exp(log_w - total)
    return Draws(eta, w, float(total - np.log(draws)), float(1 / np.sum(w**2)), pareto_k(log_w))


@dataclass(frozen=True)
class Chains:
    """MCMC draws (one chain after the other), the worst R-hat and the smallest effective size over coordinates."""

    eta: np.ndarray
    rhat: float
    ess: float
    acceptance: float

    @property
    def converged(self) -> bool:
        """R-hat ≤ 1.01 and at least 400 effective draws (Vehtari et al. 2021)."""
        return bool(self.rhat <= 1.01 and self.ess >= 400)


def split_rhat(chains: np.ndarray) -> float:
    """Split R-hat of (steps, chains) (Gelman et al. 2013): 1 where the chains agree."""
    half = len(chains) // 2
    parts = np.concatenate([chains[:half], chains[half : 2 * half]], axis=1)
    within = parts.var(axis=0, ddof=1).mean()
    between = half * parts.mean(axis=0).var(ddof=1)
    return float(np.sqrt(((half - 1) / half * within + between / half) / within)) if within > 0 else np.inf


def effective_chain_size(chains: np.ndarray) -> float:
    """Effective number of draws of (steps, chains): Geyer's initial monotone sequence on the mean autocovariance."""
    steps, count = chains.shape
    centred = chains - chains.mean(axis=0)
    size = 2 ** int(np.ceil(np.log2(2 * steps)))
    spectrum = np.fft.rfft(centred, size, axis=0)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), size, axis=0)[:steps].mean(axis=1) / steps
    within = covariance[0] * steps / (steps - 1)
    pooled = within * (steps - 1) / steps + chains.mean(axis=0).var(ddof=1)
    if not pooled > 0:
        return 0.0
    rho = 1 - (within - covariance * steps / (steps - 1)) / pooled
    pairs = rho[0 : 2 * (steps // 2) : 2] + rho[1 : 2 * (steps // 2) : 2]
    stop = int(np.argmax(pairs < 0)) if (pairs < 0).any() else len(pairs)
    tau = -1 + 2 * np.minimum.accumulate(pairs[:stop]).sum()
    return float(steps * count / max(tau, 1e-9)) if stop else float(steps * count)


def metropolis(objective: Objective, start: np.ndarray, steps: int, rng: np.random.Generator, most: int = 16) -> Chains:
    """Differential-evolution Metropolis on many chains (ter Braak 2006), halves updating each other.

    Runs ``steps`` after as many of warm-up, and doubles until converged or ``most`` times as long.

    Args:
        objective: −log density.
        start: (chains, K), an even number of chains, over-dispersed.
        steps: kept steps of the first try.
        rng: where the randomness comes from.
        most: how many times ``steps`` at the most (halves of 32 chains reach R-hat 1.01 near 3,200 effective draws).
    """
    count, K = start.shape
    x, f = start.copy(), objective(start)
    half = count // 2
    groups = (np.arange(half), np.arange(half, 2 * half))
    gamma = 2.38 / np.sqrt(2 * K)
    kept: list[np.ndarray] = []
    accepted = total = 0
    warm, limit = steps, steps * most
    while True:
        for step in range(warm + steps):
            for mine, other in (groups, groups[::-1]):
                a = other[rng.integers(half, size=half)]
                b = other[(rng.integers(1, half, size=half) + np.searchsorted(other, a)) % half]
                # now and then a whole difference, which jumps between modes
                factor = 1.0 if step % 10 == 9 else gamma
                proposal = x[mine] + factor * (x[a] - x[b]) + 1e-5 * rng.standard_normal((half, K))
                g = objective(proposal)
                yes = np.log(rng.random(half)) < f[mine] - g
                x[mine[yes]], f[mine[yes]] = proposal[yes], g[yes]
                if step >= warm:
                    accepted, total = accepted + int(yes.sum()), total + half
            if step >= warm:
                kept.append(x.copy())
        chains = np.array(kept)
        rhat = max(split_rhat(chains[:, :, k]) for k in range(K))
        ess = min(effective_chain_size(chains[:, :, k]) for k in range(K))
        result = Chains(chains.transpose(1, 0, 2).reshape(-1, K), rhat, ess, accepted / total)
        if result.converged or len(kept) >= limit:
            return result
        warm, steps = 0, len(kept)
