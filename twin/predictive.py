"""The law of one reading that a posterior predicts, residual error included, averaged over rival models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..pkpd.errors import RecordError
from ..pkpd.record import Measurement
from ..pkpd.simulate import weighted_quantiles
from .cohort import Cohort
from .layout import lay_out
from .likelihood import LOG, TINY, kind_of, spread
from .posterior import ModelPosterior, Posterior
from .reading_law import law, log_densities

__all__ = ["Predictive", "predictive"]

NEGLIGIBLE = 1e-6  # a model of less weight is left out


@dataclass(frozen=True)
class Predictive:
    """The law of one reading, residual error included: a mixture of one normal (or log-normal) law for each draw.

    Attributes:
        values: (draws,) the true level of each draw.
        noise: (draws,) standard deviation of a reading, of its logarithm where ``log`` holds.
        log: (draws,) whether the residual error is log-normal.
        weights: (draws,), summing to 1.
    """

    values: np.ndarray
    noise: np.ndarray
    log: np.ndarray
    weights: np.ndarray

    def cdf(self, y: float | np.ndarray) -> np.ndarray:
        """Probability of a reading below ``y``, for each of them."""
        return np.array([self._law(v)[0] for v in np.atleast_1d(np.asarray(y, dtype=float))])

    def tails(self, y: float) -> tuple[float, float]:
        """Probability of a reading below ``y``, and of one above, each exact where it is small."""
        return self._law(y)[:2]

    def log_density(self, y: float) -> float:
        """Logarithm of the density of a reading of ``y``."""
        return float(np.logaddexp.reduce(log_densities(float(y), self.values, self.noise, self.log, self.weights)))

    def quantiles(self, probabilities: Sequence[float] = (0.05, 0.5, 0.95)) -> np.ndarray:
        """Quantiles of a reading, of the exact mixture: no noise is drawn, (probabilities,)."""
        wanted = np.asarray(probabilities, dtype=float)
        reach = np.where(self.log, np.expm1(10 * np.where(self.log, self.noise, 0.0)) * self.values, 10 * self.noise)
        low = float(np.where(self.log, 0.0, self.values - 10 * self.noise).min())
        high = float((self.values + reach).max())
        start = weighted_quantiles(self.values[:, None], self.weights, wanted)[:, 0]
        return np.array([self._quantile(float(p), float(y), low, high) for p, y in zip(wanted, start)])

    def _quantile(self, probability: float, y: float, low: float, high: float) -> float:
        """Newton's steps, halving where they leave the bracket."""
        for _ in range(200):
            below, _, density = self._law(y)
            error = below - probability
            low, high = (y, high) if error < 0 else (low, y)
            step = y - error / density if density > 0 else math.inf
            step = step if low < step < high else 0.5 * (low + high)
            moved, y = abs(step - y), step
            if moved <= 1e-7 * abs(y) + TINY:  # Newton: the error left is the square of this
                break
        return y

    def _law(self, y: float) -> tuple[float, float, float]:
        """Probability of a reading below ``y``, of one above, and the density there."""
        return law(float(y), self.values, self.noise, self.log, self.weights)


def parts_of(p: Posterior, output: str | None = None) -> list[tuple[ModelPosterior, float]]:
    """The models that matter (and have this output), with their weights."""
    return [
        (part, float(w))
        for part, w in zip(p.parts, p.model_weights)
        if w > NEGLIGIBLE and (output is None or output in part.model.names("outputs"))
    ]


def outputs_of(part: ModelPosterior, eta: np.ndarray, measurements: Sequence[Measurement] | None = None) -> np.ndarray:
    """Outputs at the record's measurements (or these), (draws, measurements, outputs); NaN where a run failed."""
    layout = part.layout
    if measurements is not None:
        now = max(layout.record.now, *(m.time for m in measurements))
        layout = lay_out(part.model, replace(layout.record, observed=tuple(measurements), now=now))
    Y, status = Cohort([layout]).points(np.zeros(len(eta), dtype=np.int64)).run(eta)
    Y = Y.reshape(len(eta), len(layout.measurements), -1)[:, :, : len(part.model.outputs)]
    return np.where((status == 0)[:, None, None], Y, np.nan)


def mixture(pieces: Sequence[tuple[ModelPosterior, np.ndarray, np.ndarray]], output: str) -> Predictive:
    """The mixture over (model, levels (draws,), weights (draws,))."""
    values, noise, log, weights = [], [], [], []
    for part, f, w in pieces:
        residual = part.model.output(output).residual
        if residual is None:
            raise RecordError(f"model '{part.model.id}' has no residual error for output '{output}'")
        keep = (w > 0) & np.isfinite(f)
        values.append(f[keep])
        noise.append(spread(f[keep], residual))
        log.append(np.full(int(keep.sum()), kind_of(residual)[0] == LOG))
        weights.append(w[keep])
    w = np.concatenate(weights)
    return Predictive(np.concatenate(values), np.concatenate(noise), np.concatenate(log), w / w.sum())


def predictive(p: Posterior, measurement: Measurement) -> Predictive:
    """The law of a reading that is not in the posterior's record, averaged over rival models.

    Args:
        p: the posterior; doses of its record up to the reading count, in the order of time and rows.
        measurement: when, of what, and its place among events of the same moment; its value is not looked at.

    Raises:
        RecordError: no model has the output.
    """
    parts = parts_of(p, measurement.output)
    if not parts:
        raise RecordError(f"no model predicts '{measurement.output}'")
    pieces = []
    for part, w in parts:
        Y = outputs_of(part, part.eta, [measurement])
        pieces.append((part, Y[:, 0, part.model.names("outputs").index(measurement.output)], w * part.weights))
    return mixture(pieces, measurement.output)
