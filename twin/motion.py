"""The augmented state's motion and its reading, on blocks of 8 points in the march's lanes: what the estimators share.

``A`` is the tuple of a statement's arrays (`twin.augmented.Layout.arrays`).
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.march import march, prepare

W = LANES

# places in Layout.sizes
(SIZE, STATES, EFFECTS, DISTURBED, OFFSET, PARAMETERS, SIGNALS, ALL_EFFECTS, FIXED, STEPS, OUTPUT, OUTPUTS,
 ROWS_K, INDIVIDUAL, STEP, PROPAGATOR, READ, TOP, TRUE_OUTPUT) = range(19)  # fmt: skip
# places in Layout.numbers
(H, INTERVAL, ADDITIVE, PROPORTIONAL, GATE, SETTLE, PATIENCE, FORGET, ALARM, MOST) = range(10)


@jit
def new_work(sizes):
    """The same, made inside a compiled loop."""
    return (
        np.zeros((2, W)),
        np.zeros((max(1, sizes[ALL_EFFECTS]), W)),
        np.zeros((max(1, sizes[FIXED]), W)),
        np.zeros((max(1, sizes[PARAMETERS]), W)),
        np.zeros((max(1, sizes[SIGNALS]), W)),
        np.zeros((max(1, sizes[ROWS_K]), W)),
        np.zeros((sizes[STATES], W)),
        np.zeros((sizes[OUTPUTS], W)),
    )


@jit
def set_person(work, fixed, eta):
    """Typical values and covariates (F,), and the effects that are not estimated, in every lane."""
    for r in range(fixed.shape[0]):
        for lane in range(W):
            work[2][r, lane] = fixed[r]
    for r in range(eta.shape[0]):
        for lane in range(W):
            work[1][r, lane] = eta[r]


@jit
def individual(A, Z, work):
    """Individual parameters of a block of points Z (rows, 8)."""
    sizes, effect_of = A[0], A[7]
    for i in range(sizes[EFFECTS]):
        for lane in range(W):
            work[1][effect_of[i], lane] = Z[sizes[STATES] + i, lane]
    call_kernel(sizes[INDIVIDUAL], 0, work[1].ctypes.data, work[2].ctypes.data, 0, 0, work[3].ctypes.data)


@jit
def carry(A, Z, u, t, work):
    """Move the model's states of a block of points (rows >= TOP, 8) over one interval; other rows are left alone.

    States below their floor are put on it first: the model never sees a negative amount.
    """
    sizes, numbers, floor, signal_of, scale = A[0], A[1], A[2], A[8], A[9]
    nx, top = sizes[STATES], sizes[STATES] + sizes[EFFECTS]
    for r in range(nx):
        for lane in range(W):
            Z[r, lane] = max(Z[r, lane], floor[r])
    individual(A, Z, work)
    for r in range(sizes[SIGNALS]):
        d = signal_of[r]
        for lane in range(W):
            v = u[r]
            if d >= 0:
                v = v * math.exp(Z[top + d, lane]) if scale[d] > 0.0 else v + Z[top + d, lane]
            work[4][r, lane] = v
    s, p, k = work[0].ctypes.data, work[3].ctypes.data, work[5].ctypes.data
    prepare(sizes[PROPAGATOR], s, p, k, numbers[H])
    march(sizes[STEP], s, Z.ctypes.data, p, work[4].ctypes.data, k, t, numbers[H])


@jit
def read(A, Z, t, work, y):
    """Outputs of a block of points, without offset and sensor error, into y (2, 8): the measured one, the true one."""
    sizes, floor = A[0], A[2]
    x = work[6]
    for r in range(sizes[STATES]):
        for lane in range(W):
            x[r, lane] = max(Z[r, lane], floor[r])
    individual(A, Z, work)
    for lane in range(W):
        work[0][0, lane] = t
    call_kernel(
        sizes[READ], work[0].ctypes.data, x.ctypes.data, work[3].ctypes.data, work[4].ctypes.data, 0,
        work[7].ctypes.data,
    )  # fmt: skip
    for lane in range(W):
        y[0, lane] = work[7][sizes[OUTPUT], lane]
        y[1, lane] = work[7][sizes[TRUE_OUTPUT], lane]
