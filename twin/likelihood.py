"""The likelihood of one measurement given its prediction, its slope and its curvature.

With prediction f and measured value y (all on the scale of the measurement):

- additive, proportional, combined: y ~ N(f, g²), g² = a² + (b f)² (variances add, as NONMEM's two epsilons do);
- log: log y ~ N(log f, s²);
- below the limit of quantification: the probability of a reading below it (M3 of Beal 2001).

``curvature`` is Fisher's expected information for f, which never makes a Gauss–Newton matrix indefinite, or the second
derivative where that is larger: a reading far above its prediction with a proportional error bends the function many
times more than Fisher expects, and every step would be too long. For a censored reading it is the second derivative,
positive because −log Φ is convex.
"""

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from ..pkpd.model import Residual

__all__ = ["kind_of", "log_density", "spread"]

NORMAL, LOG = 0, 1
TINY = 1e-12  # a prediction of exactly 0 has no logarithm and no proportional error
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def kind_of(residual: Residual) -> tuple[int, float, float]:
    """Kind, first and second size: (NORMAL, additive, proportional) or (LOG, s, 0)."""
    return (LOG, residual.log, 0.0) if residual.log else (NORMAL, residual.additive, residual.proportional)


@jit
def _hazard(z):
    """φ(z)/Φ(z), also far out in the left tail."""
    if z < -30.0:
        return -z + 1.0 / -z
    return math.exp(-0.5 * z * z - HALF_LOG_2PI) / (0.5 * math.erfc(-z / math.sqrt(2.0)))


@jit
def _log_cdf(z):
    if z < -30.0:
        return -0.5 * z * z - HALF_LOG_2PI - math.log(-z)
    return math.log(0.5 * math.erfc(-z / math.sqrt(2.0)))


@jit
def deviation(y, f, kind, a, b, censored):
    """−log density of one reading, its derivative and its curvature with respect to the prediction f."""
    if kind == LOG:
        f = max(f, TINY)
        z = (math.log(max(y, TINY)) - math.log(f)) / a
        if censored:
            h = _hazard(z)
            return -_log_cdf(z), h / (a * f), h * (h + z) / (a * f) ** 2
        return HALF_LOG_2PI + math.log(a) + math.log(max(y, TINY)) + 0.5 * z * z, -z / (a * f), 1.0 / (a * f) ** 2
    g2 = a * a + b * b * f * f + TINY * TINY
    g = math.sqrt(g2)
    slope = b * b * f / g  # dg/df
    z = (y - f) / g
    dz = -(1.0 + z * slope) / g
    if censored:
        h = _hazard(z)
        return -_log_cdf(z), -h * dz, max(h * (h + z), 0.0) * dz * dz
    ratio = slope / g
    bend = (b * b / g - slope * ratio) / g  # g″/g
    observed = bend - ratio * ratio + dz * dz - z * (2.0 * dz * ratio + z * bend)
    fisher = 1.0 / g2 + 2.0 * ratio * ratio
    return HALF_LOG_2PI + math.log(g) + 0.5 * z * z, ratio + z * dz, max(fisher, observed)


@jit
def total(Y, y, kind, a, b, column, censored, first, count, row):
    """−log likelihood of ``count`` readings from ``first`` on; their predictions start at Y[row]."""
    s = 0.0
    for i in range(count):
        at = first + i
        s += deviation(y[at], Y[row + i, column[at]], kind[at], a[at], b[at], censored[at])[0]
    return s


@jit
def total_of_many(Y, y, kind, a, b, column, censored, out):
    """−log likelihood for each of many draws; Y is (draws · readings, outputs)."""
    n = y.shape[0]
    for i in range(out.shape[0]):
        out[i] = total(Y, y, kind, a, b, column, censored, 0, n, i * n)


def log_density(y: float, f: float, residual: Residual, censored: bool = False) -> float:
    """log density of a reading ``y`` given the prediction ``f`` (log probability when censored)."""
    return -float(deviation(float(y), float(f), *kind_of(residual), censored)[0])


def spread(f: np.ndarray, residual: Residual) -> np.ndarray:
    """Standard deviation of a reading around the predictions ``f`` (on the log scale for a log residual)."""
    kind, a, b = kind_of(residual)
    return np.full_like(f, a) if kind == LOG else np.sqrt(a * a + (b * f) ** 2)
