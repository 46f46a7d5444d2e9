"""The posterior of one patient: for each rival model, and over all of them.

::

    Record ──▶ MAP (8 starts) ──▶ Laplace ──▶ importance sampling ──▶ trusted? ──▶ Posterior
                                                     │ no                ▲
                                                     └────▶ MCMC ────────┘ (R-hat, effective size)

Rival models are weighed by their marginal likelihood (the mean importance weight) times their prior weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..pkpd.errors import RecordError, SolverError
from ..pkpd.model import Model
from ..pkpd.record import Record
from .cohort import Cohort
from .gauss_newton import CONVERGED, EXHAUSTED, STALLED
from .layout import Layout, lay_out
from .sampling import Chains, Draws, importance_sample, metropolis

__all__ = ["ModelPosterior", "Posterior", "posterior", "starting_points"]

STARTS = 8
CHAINS = 32
# Signs of an 8 × 8 Hadamard matrix: starting points that differ in every pair of effects
_HADAMARD = np.array([[1 - 2 * (bin(i & j).count("1") % 2) for j in range(8)] for i in range(8)], dtype=float)


@dataclass(frozen=True)
class ModelPosterior:
    """What the data say under one model.

    Attributes:
        layout: the record laid out for the model; ``model`` the model.
        map: most probable effects, (K,); ``covariance`` Laplace's at the MAP (inverse Fisher Hessian).
        modes: every local optimum found, (modes, K), the best first.
        eta, weights: draws (n, K) and their weights (n,), summing to 1.
        log_evidence: log marginal likelihood; ``ess`` effective draws; ``pareto_k`` tail index of the weights.
        chains: the MCMC run, where importance sampling was not trusted.
        notes: sentences about anything a reader should know.
    """

    layout: Layout
    map: np.ndarray
    covariance: np.ndarray
    modes: np.ndarray
    eta: np.ndarray
    weights: np.ndarray
    log_evidence: float
    ess: float
    pareto_k: float
    chains: Chains | None
    notes: tuple[str, ...]

    @property
    def model(self) -> Model:
        """The model."""
        return self.layout.model

    @property
    def trusted(self) -> bool:
        """Whether the draws can be relied on (enough effective draws, or converged chains)."""
        return self.chains.converged if self.chains is not None else self.ess >= 200 and self.pareto_k < 0.7

    def information(self) -> dict[str, float]:
        """For each effect, the share of its prior variance that the data removed (1 − shrinkage of this patient)."""
        mean = self.weights @ self.eta
        variance = self.weights @ (self.eta - mean) ** 2
        prior = np.diag(self.layout.effects.omega)
        return dict(zip(self.layout.effects.names, 1 - variance / prior))


@dataclass(frozen=True)
class Posterior:
    """The posterior over all rival models.

    Attributes:
        record: the facts it rests on.
        parts: one for each model; ``model_weights`` their posterior probabilities.
        seed: of the draws.
    """

    record: Record
    parts: tuple[ModelPosterior, ...]
    model_weights: np.ndarray
    seed: int

    @property
    def best(self) -> ModelPosterior:
        """The part of the most probable model."""
        return self.parts[int(np.argmax(self.model_weights))]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about anything a reader should know, of models that matter (weight ≥ 1 %)."""
        return tuple(f"{p.model.id}: {n}" for p, w in zip(self.parts, self.model_weights) if w >= 0.01 for n in p.notes)

    @property
    def trusted(self) -> bool:
        """Whether the draws of every model that matters can be relied on."""
        return all(p.trusted for p, w in zip(self.parts, self.model_weights) if w >= 0.01)

    def ess(self) -> float:
        """Effective draws over all models."""
        w = np.concatenate([p.weights * m for p, m in zip(self.parts, self.model_weights)])
        return float(1 / np.sum(w**2))

    def equal_draws(self, count: int) -> list[tuple[ModelPosterior, np.ndarray]]:
        """``count`` equally weighted draws by systematic resampling: for each model its share, (n_i, K_i)."""
        rng = np.random.Generator(np.random.Philox([self.seed, 77]))
        w = np.concatenate([p.weights * m for p, m in zip(self.parts, self.model_weights)])
        edges = np.cumsum(w) / w.sum()
        picks = np.searchsorted(edges, (np.arange(count) + rng.random()) / count).clip(0, len(w) - 1)
        out, start = [], 0
        for p in self.parts:
            mine = picks[(picks >= start) & (picks < start + len(p.eta))] - start
            if len(mine):
                out.append((p, p.eta[mine]))
            start += len(p.eta)
        return out


def starting_points(omega: np.ndarray, count: int = STARTS) -> np.ndarray:
    """Deterministic starts for the MAP: the prior mean, then sign patterns 1.5 prior SDs out, (count, K)."""
    K = len(omega)
    signs = np.tile(_HADAMARD, (1, -(-K // 8)))[:count, :K].copy()
    starts = 1.5 * signs @ np.linalg.cholesky(omega).T
    starts[0] = 0.0
    return starts


def _modes(fit: dict[str, np.ndarray], inverse: np.ndarray) -> list[int]:
    """Indices of the distinct local optima that matter (within 10 nats of the best), best first."""
    usable = np.isin(fit["state"], (CONVERGED, STALLED, EXHAUSTED))
    order = [i for i in np.argsort(fit["f"]) if usable[i] and fit["f"][i] < fit["f"].min() + 10]
    kept: list[int] = []
    for i in order:
        d = fit["eta"][kept] - fit["eta"][i]
        if not kept or np.einsum("mi,ij,mj->m", d, inverse, d).min() > 1e-2:
            kept.append(int(i))
    return kept


def _one(model: Model, record: Record, draws: int, seed: int) -> ModelPosterior:
    layout = lay_out(model, record)
    cohort, omega = Cohort([layout]), layout.effects.omega
    rng = np.random.Generator(np.random.Philox([seed, 1]))
    K = cohort.K
    notes: list[str] = []
    if not layout.measurements:
        eta = rng.standard_normal((draws, K)) @ np.linalg.cholesky(omega).T
        weights = np.full(draws, 1 / draws)
        zero = np.zeros((1, K))
        return ModelPosterior(layout, zero[0], omega, zero, eta, weights, 0.0, float(draws), -np.inf, None, ())
    fit = cohort.fit(np.zeros(STARTS, dtype=np.int64), starting_points(omega))
    best = _modes(fit, cohort.inverse[0])
    if not best:
        raise SolverError(f"model '{model.id}': no starting point led to a most probable patient")
    if fit["state"][best[0]] == EXHAUSTED:
        notes.append("the most probable patient was found roughly only: some level fits no patient")
    if len(best) > 1:
        notes.append(f"the data allow {len(best)} distinct explanations; all are kept")
    covariances = np.linalg.inv(fit["H"][best])
    covariances = 0.5 * (covariances + covariances.transpose(0, 2, 1))
    objective = lambda eta: cohort.objective(0, eta)  # noqa: E731
    d = importance_sample(objective, fit["eta"][best], covariances, omega, draws, rng)
    chains = None
    if d.ess < max(200.0, 0.05 * draws) or d.pareto_k >= 0.7:
        chains, d = _chains(objective, d, omega, draws, rng)
        notes.append(
            f"importance sampling was not to be trusted; MCMC took over (R-hat {chains.rhat:.3f}, "
            f"{chains.ess:.0f} effective draws)"
        )
        if not chains.converged:
            notes.append("the MCMC has not converged: treat bands and probabilities as rough")
    eta_map = fit["eta"][best[0]]
    return ModelPosterior(
        layout, eta_map, covariances[0], fit["eta"][best], d.eta, d.weights, d.log_evidence, d.ess, d.pareto_k, chains,
        tuple(notes + _notes(layout)),
    )  # fmt: skip


def _chains(
    objective: object, d: Draws, omega: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[Chains, Draws]:
    start = d.eta[rng.choice(len(d.eta), CHAINS, p=d.weights)]
    start = start + 0.1 * rng.standard_normal(start.shape) @ np.linalg.cholesky(omega).T
    chains = metropolis(objective, start, 400, rng)  # type: ignore[arg-type]
    eta = chains.eta[np.linspace(0, len(chains.eta) - 1, draws).astype(int)]
    size = min(chains.ess, float(draws))
    return chains, Draws(eta, np.full(draws, 1 / draws), d.log_evidence, size, d.pareto_k)


def _notes(layout: Layout) -> list[str]:
    """Covariates outside the range that the paper's patients covered."""
    out = []
    for i, c in enumerate(layout.model.covariates):
        values = layout.covariates[:, i]
        odd = values[(values < c.low) | (values > c.high)]
        if len(odd):
            out.append(f"{c.name} {odd[0]:g} {c.unit} lies outside the {c.low:g} to {c.high:g} that the paper covers")
    return out


def posterior(
    models: Sequence[Model],
    record: Record,
    prior_weights: Sequence[float] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Posterior:
    """Bring a patient up to date with every dose and measurement.

    Args:
        models: rival models of the same drug.
        record: the patient's facts.
        prior_weights: of the models; default equal.
        draws: proposals for each model.
        seed: of the counter-based random stream; the same record, models and seed give the same bits.

    Raises:
        RecordError: covariates that a model needs and the record lacks, or readings of an output no model has.
        SolverError: a fit that failed from every start.
    """
    known = {o for m in models for o in m.names("outputs")}
    strange = sorted({m.output for m in record.observed} - known)
    if strange:
        raise RecordError(
            [f"record {record.id!r}: no model predicts '{s}'; known: {', '.join(sorted(known))}" for s in strange]
        )
    parts = tuple(_one(m, record, draws, seed) for m in models)
    prior = np.ones(len(models)) if prior_weights is None else np.asarray(prior_weights, dtype=float)
    evidence = np.array([p.log_evidence for p in parts])
    # where no model has any evidence at all (its draws are then marked as untrusted) the prior weights stand
    log_w = np.log(prior / prior.sum()) + (evidence if np.isfinite(evidence).any() else 0.0)
    w = np.exp(log_w - log_w.max())
    return Posterior(record, parts, w / w.sum(), seed)
