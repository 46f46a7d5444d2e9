"""Small dense algebra and counter-based random numbers for the estimators, jitted.

A covariance here may be singular (a state that is known, an effect that is held): the Cholesky factor then has a
column of zeros. Sums run in a fixed order, so the bits do not depend on who else is in the batch.
"""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit

__all__ = ["cholesky", "mix", "normals", "uniform"]

SINGULAR = 1e-13  # a pivot smaller than this share of its own variance is rounding: the row adds nothing new
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
HIGH = 1.0 / 9007199254740992.0  # 2^-53


@jit
def cholesky(P, C):
    """Lower factor of the positive semidefinite P (its lower half is read) into C, zeros above the diagonal.

    Stored by rows of columns: C[j] is column j, so that loops over a column are contiguous.
    """
    n = P.shape[0]
    for j in range(n):
        for r in range(n):
            C[j, r] = P[r, j] if r >= j else 0.0
    for j in range(n):
        pivot = C[j, j]
        if pivot > SINGULAR * P[j, j] and pivot > 0.0:
            root = math.sqrt(pivot)
            inverse = 1.0 / root
            C[j, j] = root
            for r in range(j + 1, n):
                C[j, r] *= inverse
            for c in range(j + 1, n):
                f = C[j, c]
                if f != 0.0:
                    for r in range(c, n):
                        C[c, r] -= f * C[j, r]
        else:
            for r in range(j, n):
                C[j, r] = 0.0


@jit
def mix(seed, a, b):
    """A well mixed 64-bit word from a seed and two counters (SplitMix64's finaliser, Steele and others 2014)."""
    z = np.uint64(seed) * GOLDEN
    for word in (np.uint64(a), np.uint64(b)):
        z = (z ^ word) + GOLDEN
        z = (z ^ (z >> np.uint64(30))) * FIRST
        z = (z ^ (z >> np.uint64(27))) * SECOND
        z = z ^ (z >> np.uint64(31))
    return z


@jit
def uniform(seed, a, b):
    """A uniform number in (0, 1)."""
    return (np.float64(mix(seed, a, b) >> np.uint64(11)) + 0.5) * HIGH


@jit
def normals(seed, a, out):
    """Fill the vector ``out`` with standard normals of counter ``a`` (Box and Muller 1958)."""
    n = out.shape[0]
    for i in range(0, n, 2):
        radius = math.sqrt(-2.0 * math.log(uniform(seed, a, 2 * i)))
        angle = 2.0 * math.pi * uniform(seed, a, 2 * i + 1)
        out[i] = radius * math.cos(angle)
        if i + 1 < n:
            out[i + 1] = radius * math.sin(angle)
