"""Moving-horizon estimation: Gauss-Newton over a window of samples, by exact forward sensitivities in lanes.

Minimises, over the augmented state at the window's start and the noise of every interval in it,

    ½ |z_a - m_a|² in P_a⁻¹  +  ½ Σ |w_k|² in Q_k⁻¹  +  ½ Σ (y_k - h(z_k))² / R_k,     z_k = f(z_{k-1}, u_k) + w_k

by single shooting: iterates are always dynamically consistent. The unknowns are written z_a = m_a + P_a α and
w_k = Q_k β_k, so P_a and Q_k may be singular (known states, constants). One Gauss-Newton step is a Kalman filter along
the linearised trajectory and a backward sweep of adjoints (modified Bryson-Frazier; Bierman 1977): these *are* the new
α and β. (The iterated Kalman smoother is Gauss-Newton: Bell 1994.) Then a line search, eight lengths in the lanes.

The arrival cost of the next window is the filter's prediction one sample on, linearised along the present optimum.
"""
# Numba functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.jit import jit
from ..pkpd.march import march, prepare
from .motion import (
    ADDITIVE,
    ALL_EFFECTS,
    EFFECTS,
    FIXED,
    OFFSET,
    OUTPUT,
    OUTPUTS,
    PARAMETERS,
    PROPORTIONAL,
    SIGNALS,
    SIZE,
    STATES,
    TOP,
    TRUE_OUTPUT,
    H,
    W,
)

# places in the second table of sizes: kernels with one direction
(D_STEP, D_PROPAGATOR, D_READ, D_INDIVIDUAL, D_ROWS_K) = range(5)
TINY = 1e-9  # relative decrease of the objective at which it is called solved


@jit
def new_memory(sizes, extra):
    """Working memory of one thread for kernels with a direction."""
    nx, m, nu, ny = sizes[STATES], sizes[PARAMETERS], sizes[SIGNALS], sizes[OUTPUTS]
    E = sizes[ALL_EFFECTS]
    return (
        np.zeros((2, W)),  # 0 t, h
        np.zeros((max(1, E), W)),  # 1 effects
        np.zeros((max(1, sizes[FIXED]), W)),  # 2 typical values, covariates
        np.zeros((m * (1 + E), W)),  # 3 parameters and their derivatives by effect
        np.zeros((2 * m, W)),  # 4 parameters and direction
        np.zeros((max(1, 2 * nu), W)),  # 5 signals and direction
        np.zeros((max(1, extra[D_ROWS_K]), W)),  # 6 propagator
        np.zeros((2 * nx, W)),  # 7 states and direction
        np.zeros((2 * nx, W)),  # 8 spare
        np.zeros((2 * ny, W)),  # 9 outputs and direction
        np.zeros((sizes[SIZE], sizes[SIZE])),  # 10 A·P
    )


@jit
def parameters(A, extra, z, memory):
    """Individual parameters of one point, with derivatives, in every lane."""
    sizes, effect_of = A[0], A[7]
    for i in range(sizes[EFFECTS]):
        for lane in range(W):
            memory[1][effect_of[i], lane] = z[sizes[STATES] + i]
    call_kernel(extra[D_INDIVIDUAL], 0, memory[1].ctypes.data, memory[2].ctypes.data, 0, 0, memory[3].ctypes.data)


@jit
def aim(A, z, u, column, lane, memory):
    """Set a lane to the point z and the direction of its row ``column``."""
    sizes, floor, effect_of, signal_of, scale = A[0], A[2], A[7], A[8], A[9]
    nx, q, m, nu = sizes[STATES], sizes[EFFECTS], sizes[PARAMETERS], sizes[SIGNALS]
    for r in range(nx):
        memory[7][r, lane] = max(z[r], floor[r])
        memory[7][nx + r, lane] = 1.0 if r == column and z[r] >= floor[r] else 0.0
    e = column - nx
    for r in range(m):
        memory[4][r, lane] = memory[3][r, lane]
        memory[4][m + r, lane] = memory[3][m * (1 + effect_of[e]) + r, lane] if 0 <= e < q else 0.0
    for r in range(nu):
        d, v, dv = signal_of[r], u[r], 0.0
        if d >= 0:
            x = z[nx + q + d]
            dv = v * math.exp(x) if scale[d] > 0.0 else 1.0
            v = dv if scale[d] > 0.0 else v + x
            if column != nx + q + d:
                dv = 0.0
        memory[5][r, lane], memory[5][nu + r, lane] = v, dv


@jit
def linearise(A, extra, z, centre, u, t, to, J, memory):
    """to = f(z, u), J = ∂f/∂z (L, L), J[c] its column c."""
    sizes, numbers, keep = A[0], A[1], A[3]
    L, nx, q, top = sizes[SIZE], sizes[STATES], sizes[EFFECTS], sizes[TOP]
    parameters(A, extra, z, memory)
    s, x, p = memory[0].ctypes.data, memory[7].ctypes.data, memory[4].ctypes.data
    k = memory[6].ctypes.data
    for c in range(L):
        for r in range(L):
            J[c, r] = 0.0
    for first in range(0, top, W):
        for lane in range(W):
            aim(A, z, u, min(first + lane, top - 1), lane, memory)
        prepare(extra[D_PROPAGATOR], s, p, k, numbers[H])
        march(extra[D_STEP], s, x, p, memory[5].ctypes.data, k, t, numbers[H])
        for lane in range(min(W, top - first)):
            for r in range(nx):
                J[first + lane, r] = memory[7][nx + r, lane]
        for r in range(nx):
            to[r] = memory[7][r, 0]
    for r in range(nx, top):
        J[r, r] = keep[r]
        to[r] = keep[r] * z[r]
    for a in range(L - top):
        to[top + a] = 0.0
        for b in range(L - top):
            J[top + b, top + a] = A[12][a, b]
            to[top + a] += A[12][a, b] * z[top + b]
    for r in range(q):
        to[nx + r] += (1.0 - keep[nx + r]) * centre[r]


@jit
def sense(A, extra, z, t, g, memory, true):
    """The measured output with offset and coloured error (``true``: the true output) and its gradient g (L,)."""
    sizes = A[0]
    L, top, ny = sizes[SIZE], sizes[TOP], sizes[OUTPUTS]
    which = sizes[TRUE_OUTPUT] if true else sizes[OUTPUT]
    parameters(A, extra, z, memory)
    none = np.zeros(max(1, sizes[SIGNALS]))
    value = 0.0
    for r in range(L):
        g[r] = 0.0
    for first in range(0, top, W):
        for lane in range(W):
            aim(A, z, none, min(first + lane, top - 1), lane, memory)
            memory[0][0, lane] = t
        call_kernel(
            extra[D_READ], memory[0].ctypes.data, memory[7].ctypes.data, memory[4].ctypes.data, memory[5].ctypes.data,
            0, memory[9].ctypes.data,
        )  # fmt: skip
        value = memory[9][which, 0]
        for lane in range(min(W, top - first)):
            g[first + lane] = memory[9][ny + which, lane]
    for r in range(top, L):
        if r == sizes[OFFSET] or (not true and A[14][r - top] > 0.0):
            value += z[r]
            g[r] = 1.0
    return value


@jit
def noise_of(A, z, omega, wideness, Q):
    """Covariance of the noise an interval adds, at the point it leads to."""
    sizes, keep, gained, relative, absolute = A[0], A[3], A[4], A[5], A[6]
    nx, q, top = sizes[STATES], sizes[EFFECTS], sizes[TOP]
    for r in range(sizes[SIZE]):
        for c in range(sizes[SIZE]):
            Q[r, c] = 0.0
    for r in range(nx):
        Q[r, r] = wideness * (absolute[r] + relative[r] * z[r] * z[r])
    for r in range(q):
        for c in range(q):
            Q[nx + r, nx + c] = wideness * (1.0 - keep[nx + r] * keep[nx + c]) * omega[r, c]
    for r in range(nx + q, top):
        Q[r, r] = wideness * gained[r] * gained[r]
    for a in range(sizes[SIZE] - top):
        for b in range(sizes[SIZE] - top):
            Q[top + a, top + b] = wideness * A[13][a, b]


@jit
def through(J, P, Q, work, out):
    """out = J P Jᵀ + Q, for J by columns."""
    L = P.shape[0]
    for r in range(L):
        for c in range(L):
            work[r, c] = 0.0
    for k in range(L):  # work = P Jᵀ: work[i] += P[i, k] J[k]
        for i in range(L):
            f = P[i, k]
            if f != 0.0:
                for c in range(L):
                    work[i, c] += f * J[k, c]
    for r in range(L):
        for c in range(L):
            out[r, c] = Q[r, c]
    for k in range(L):
        for r in range(L):
            f = J[k, r]
            if f != 0.0:
                for c in range(r + 1):
                    out[r, c] += f * work[k, c]
    for r in range(L):
        for c in range(r):
            out[c, r] = out[r, c]


@jit
def times(P, v, out):
    """out = P v."""
    for r in range(P.shape[0]):
        out[r] = 0.0
        for c in range(P.shape[0]):
            out[r] += P[r, c] * v[c]


@jit
def variance_of(A, value, noise):
    """White variance of a reading."""
    return noise * (A[1][ADDITIVE] ** 2 + (A[1][PROPORTIONAL] * value) ** 2)
