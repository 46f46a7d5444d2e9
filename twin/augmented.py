"""The augmented state's motion and its reading, on blocks of 8 points in the march's lanes.

What the three estimators share: sizes, kernels and constants of a `Follow` (`Layout`, `layout_of`), and the jitted
functions that carry points over one interval and read them.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.individuals import individual_kernel
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.march import March, march, march_of, prepare
from .follow import Follow

__all__ = ["Layout", "layout_of"]

W = LANES

# places in Layout.sizes
(SIZE, STATES, EFFECTS, DISTURBED, OFFSET, COLOURED, PARAMETERS, SIGNALS, ALL_EFFECTS, FIXED, STEPS, OUTPUT, OUTPUTS,
 ROWS_K, INDIVIDUAL, STEP, PROPAGATOR, READ, TOP, TRUE_OUTPUT) = range(20)  # fmt: skip
# places in Layout.numbers
(H, INTERVAL, ADDITIVE, PROPORTIONAL, GATE, SETTLE, PATIENCE, FORGET, ALARM, MOST) = range(10)


@dataclass(frozen=True, slots=True)
class Layout:
    """A statement as arrays for compiled loops.

    Attributes:
        follow, march: what it is of.
        sizes: int64: counts and the addresses of kernels; ``numbers``: float64 constants (places named above).
        floor: (states,) 0, or -inf where a state may be negative.
        keep: (L,) share kept over an interval (1 for states); ``gained`` (L,) SD added (0 for states and effects).
        relative, absolute: (states,) variances of the process noise over an interval.
        effect_of: (estimated effects,) their places among the model's.
        signal_of: (signals,) which disturbance acts on each, or -1; ``scale`` (disturbances,) 1 for a factor.
        onset: (disturbances,) the signal whose rise starts it afresh, or -1; ``first`` (L,) SD at the start.
    """

    follow: Follow
    march: March
    sizes: np.ndarray
    numbers: np.ndarray
    floor: np.ndarray
    keep: np.ndarray
    gained: np.ndarray
    relative: np.ndarray
    absolute: np.ndarray
    effect_of: np.ndarray
    signal_of: np.ndarray
    scale: np.ndarray
    onset: np.ndarray
    first: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled functions take as ``A``."""
        return (self.sizes, self.numbers, self.floor, self.keep, self.gained, self.relative, self.absolute,
                self.effect_of, self.signal_of, self.scale, self.onset, self.first)  # fmt: skip


def layout_of(f: Follow) -> Layout:
    """The statement's arrays; compiles the model's kernels where they are not yet."""
    m, model = march_of(f.model, f.interval, f.step), f.model
    S = m.system
    effects, names = tuple(f.effects or ()), model.names("states")
    nx, q, d = len(names), len(effects), len(f.disturbed)
    coloured = f.sensor.coloured
    L = f.size
    at_offset = nx + q + d if f.offset is not None else -1
    at_coloured = L - 1 if coloured is not None else -1
    fixed = len(model.parameters) + len(model.covariates)
    outputs = model.names("outputs")
    sizes = (L, nx, q, d, at_offset, at_coloured, S.m, S.nu, len(model.effects), fixed, m.steps,
             outputs.index(f.output), len(outputs), m.rows_k, individual_kernel(model, False), m.kernel, m.propagator,
             m.outputs, nx + q + d, outputs.index(str(f.truth)))  # fmt: skip
    w, s = f.watch, f.sensor
    numbers = (m.h, f.interval, s.additive, s.proportional, w.gate, w.settle, w.patience, 1 / w.memory, w.alarm, w.most)
    keep, gained, first = np.ones(L), np.zeros(L), np.zeros(L)
    for i, e in enumerate(effects):
        keep[nx + i] = math.exp(-f.interval / f.memory_of(e))
    wanders = [x.wander for x in f.disturbed] + [x for x in (f.offset, coloured) if x is not None]
    for i, wander in enumerate(wanders):
        row = nx + q + i
        keep[row], gained[row], first[row] = wander.keep(f.interval), wander.gained(f.interval), wander.first
    noise = [f.states.get(n) for n in names]
    relative = np.array([n.relative**2 * f.interval if n else 0.0 for n in noise])
    absolute = np.array([n.absolute**2 * f.interval if n else 0.0 for n in noise])
    signals = f.signals
    signal_of = np.full(max(1, len(signals)), -1, dtype=np.int64)
    for i, x in enumerate(f.disturbed):
        for name in x.inputs:
            signal_of[signals.index(name)] = i
    onset = [signals.index(x.inputs[0]) if x.onset else -1 for x in f.disturbed]
    return Layout(
        f, m, np.array(sizes, dtype=np.int64), np.array(numbers, dtype=float),
        np.array([-np.inf if n in f.signed else 0.0 for n in names]), keep, gained, relative, absolute,
        np.array([model.names("effects").index(e) for e in effects], dtype=np.int64), signal_of,
        np.array([float(x.scale) for x in f.disturbed]), np.array(onset, dtype=np.int64), first,
    )  # fmt: skip


def work(layout: Layout) -> Sequence[Any]:
    """Working memory of one block, as `carry` and `read` take it."""
    z = layout.sizes
    rows = (2, z[ALL_EFFECTS], z[FIXED], z[PARAMETERS], z[SIGNALS], z[ROWS_K], z[STATES], z[OUTPUTS])
    return tuple(np.zeros((max(1, int(r)), W)) for r in rows)


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
    march(
        sizes[STEP], s, Z.ctypes.data, work[6].ctypes.data, p, work[4].ctypes.data, k, nx, t, numbers[H], sizes[STEPS]
    )


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
