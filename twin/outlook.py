"""From a belief: draws for a controller with scenarios, and predictions over the coming intervals."""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import numpy as np

from ..pkpd.jit import jit
from .algebra import cholesky, normals
from .motion import (
    ADDITIVE,
    EFFECTS,
    INTERVAL,
    PARAMETERS,
    PROPORTIONAL,
    SIZE,
    STATES,
    TOP,
    W,
    individual,
    new_work,
    set_person,
)
from .ukf import WIDENESS, expect, new_memory, predict


@jit
def ahead(A, first, last, clock, u, held, wanted, fixed, eta, centre, omega, m, P, s, out):
    """Predict over the coming intervals of A: out (n, wanted, 4) mean and variance of the truth, then of the reading.

    ``clock`` is (n,) now, ``u`` (n or 1, H, signals), ``held`` (n, signals) what was held last, ``wanted`` which of the
    H, in rising order. The beliefs are left as they are.
    """
    L, interval, signals = A[0][SIZE], A[1][INTERVAL], u.shape[2]
    work, memory = new_work(A[0]), new_memory(A[0])
    rose = np.zeros(max(1, signals), dtype=np.bool_)
    mi, Pi = np.zeros(L), np.zeros((L, L))
    for i in range(first, last):
        set_person(work, fixed[i], eta[i])
        for r in range(L):
            mi[r] = m[i, r]
            for c in range(L):
                Pi[r, c] = P[i, r, c]
        row, place = i if u.shape[0] > 1 else 0, 0
        for k in range(u.shape[1]):
            for r in range(signals):
                rose[r] = u[row, k, r] > 0.0 and not (u[row, k - 1, r] if k > 0 else held[i, r]) > 0.0
            t = clock[i] + k * interval
            predict(A, mi, Pi, centre[i], omega[i], s[i, WIDENESS], u[row, k], rose, t, work, memory)
            if place >= wanted.shape[0] or wanted[place] != k:
                continue
            a, b, c, d, _ = expect(A, mi, Pi, t + interval, work, memory)
            white = A[1][ADDITIVE] ** 2 + (A[1][PROPORTIONAL] * c) ** 2
            out[i, place, 0], out[i, place, 1], out[i, place, 2], out[i, place, 3] = a, b, c, d + white
            place += 1


@jit
def draw(A, first, last, slots, seed, fixed, eta, m, P, z, parameters):
    """Draws of the augmented state z (n, k, L) and their parameters (n, k, m): the mean, then antithetic pairs.

    With an even k the last draw is alone in its pair.
    """
    sizes, floor = A[0], A[2]
    L, k = sizes[SIZE], z.shape[1]
    work = new_work(sizes)
    C, normal, Z = np.zeros((L, L)), np.zeros(L), np.zeros((max(1, sizes[TOP]), W))
    for i in range(first, last):
        set_person(work, fixed[i], eta[i])
        cholesky(P[i], C)
        for d in range(k):
            if d == 0:
                for r in range(L):
                    normal[r] = 0.0
            elif d % 2 == 1:
                normals(seed[i], slots[i] * 65536 + d, normal)
            else:
                for r in range(L):
                    normal[r] = -normal[r]
            for r in range(L):
                z[i, d, r] = m[i, r]
            for j in range(L):
                for r in range(j, L):
                    z[i, d, r] += normal[j] * C[j, r]
            for r in range(sizes[STATES]):
                z[i, d, r] = max(z[i, d, r], floor[r])
        for start in range(0, k, W):
            for lane in range(W):
                d = min(start + lane, k - 1)
                for e in range(sizes[EFFECTS]):
                    Z[sizes[STATES] + e, lane] = z[i, d, sizes[STATES] + e]
            individual(A, Z, work)
            for lane in range(min(W, k - start)):
                for r in range(sizes[PARAMETERS]):
                    parameters[i, start + lane, r] = work[3][r, lane]
