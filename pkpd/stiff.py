"""Rodas4: a Rosenbrock method of order 4(3), L-stable and stiffly accurate, with the exact Jacobian.

Hairer & Wanner, Solving Ordinary Differential Equations II (1996), section IV.7 and their code RODAS; the order is
observed, and the damping at infinity computed, in ``tests/test_integrators.py``.
"""

from __future__ import annotations

import numpy as np

from .calls import get, geti, put, puti
from .jit import jit

GAMMA = 0.25
STAGES = 6
ALPHA = np.array([0.0, 0.386, 0.21, 0.63, 1.0, 1.0])
D = np.array([0.25, -0.1043, 0.1035, -0.03620000000000023, 0.0, 0.0])
A = np.zeros((6, 6))
A[1, 0] = 1.544
A[2, :2] = 0.9466785280815826, 0.2557011698983284
A[3, :3] = 3.314825187068521, 2.896124015972201, 0.9986419139977817
A[4, :4] = 1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950
A[5, :5] = 1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1.0
C = np.zeros((6, 6))
C[1, 0] = -5.6688
C[2, :2] = -2.430093356833875, -0.2063599157091915
C[3, :3] = -0.1073529058151375, -9.594562251023355, -20.47028614809616
C[4, :4] = 7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160
C[5, :5] = 8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054


@jit
def factor(M, pivots, n):
    """LU of the n × n matrix at address ``M`` with partial pivoting, in place; False where singular or not finite."""
    for c in range(n):
        best, row = abs(get(M, c * n + c)), c
        for r in range(c + 1, n):
            if abs(get(M, r * n + c)) > best:
                best, row = abs(get(M, r * n + c)), r
        if not best > 0.0 or not best < np.inf:
            return False
        puti(pivots, c, row)
        if row != c:
            for j in range(n):
                v = get(M, c * n + j)
                put(M, c * n + j, get(M, row * n + j))
                put(M, row * n + j, v)
        for r in range(c + 1, n):
            ratio = get(M, r * n + c) / get(M, c * n + c)
            put(M, r * n + c, ratio)
            if ratio != 0.0:
                for j in range(c + 1, n):
                    put(M, r * n + j, get(M, r * n + j) - ratio * get(M, c * n + j))
    return True


@jit
def solve(M, pivots, b, n):
    """Solve with the factors of :func:`factor`, in place in the vector at ``b``."""
    for c in range(n):
        r = geti(pivots, c)
        if r != c:
            v = get(b, c)
            put(b, c, get(b, r))
            put(b, r, v)
    for i in range(n):
        v = get(b, i)
        for j in range(i):
            v -= get(M, i * n + j) * get(b, j)
        put(b, i, v)
    for i in range(n - 1, -1, -1):
        v = get(b, i)
        for j in range(i + 1, n):
            v -= get(M, i * n + j) * get(b, j)
        put(b, i, v / get(M, i * n + i))
