"""A mixture of normal and log-normal laws, one for each draw of a posterior, summed in compiled loops.

Arguments: a reading ``y``; of each draw its level ``values``, the standard deviation ``noise`` of a reading (of its
logarithm where ``log`` holds), its ``weights``.
"""

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit
from .likelihood import TINY

__all__ = ["law", "log_densities"]


@jit
def _standard(y, value, size, log):
    """Standardised distance of a reading from a draw's level."""
    if not log:
        return (y - value) / size
    return (math.log(max(y, TINY)) - math.log(max(value, TINY))) / size if y > 0.0 else -math.inf


@jit
def law(y, values, noise, log, weights):
    """Probability below ``y``, above it, and the density at it."""
    below, above, density, half, one = 0.0, 0.0, 0.0, math.sqrt(0.5), 1.0 / math.sqrt(2.0 * math.pi)
    for i in range(len(values)):
        size = max(noise[i], TINY)
        z = _standard(y, values[i], size, log[i])
        tail = 0.5 * math.erfc(abs(z) * half)  # the smaller one, exactly; the other is what is left
        below += weights[i] * (tail if z < 0.0 else 1.0 - tail)
        above += weights[i] * (1.0 - tail if z < 0.0 else tail)
        density += weights[i] * one * math.exp(-0.5 * z * z) / (size * max(y, TINY) if log[i] else size)
    return below, above, density


@jit
def log_densities(y, values, noise, log, weights):
    """Logarithms of each draw's share of the density at ``y``."""
    out = np.full(len(values), -math.inf)
    for i in range(len(values)):
        if weights[i] > 0.0:
            size = max(noise[i], TINY)
            z = _standard(y, values[i], size, log[i])
            scale = size * max(y, TINY) if log[i] else size
            out[i] = math.log(weights[i]) - 0.5 * z * z - math.log(scale) - 0.5 * math.log(2.0 * math.pi)
    return out
