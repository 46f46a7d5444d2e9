"""A statement laid out as arrays for compiled loops, at the places that `twin.motion` names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..pkpd.individuals import individual_kernel
from ..pkpd.march import March, march_of
from .follow import Follow

__all__ = ["Layout", "layout_of"]


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
        move, added: (tail, tail) transition and covariance added of the rows that enter readings linearly (offset,
            coloured errors); ``sensed`` (tail,) 1 for those whose value is part of a reading.
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
    move: np.ndarray
    added: np.ndarray
    sensed: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled functions take as ``A``."""
        return (self.sizes, self.numbers, self.floor, self.keep, self.gained, self.relative, self.absolute,
                self.effect_of, self.signal_of, self.scale, self.onset, self.first,
                self.move, self.added, self.sensed)  # fmt: skip


def layout_of(f: Follow) -> Layout:
    """The statement's arrays; compiles the model's kernels where they are not yet."""
    m, model = march_of(f.model, f.interval, f.step), f.model
    S = m.system
    effects, names = tuple(f.effects or ()), model.names("states")
    nx, q, d = len(names), len(effects), len(f.disturbed)
    L = f.size
    at_offset = nx + q + d if f.offset is not None else -1
    fixed = len(model.parameters) + len(model.covariates)
    outputs = model.names("outputs")
    sizes = (L, nx, q, d, at_offset, S.m, S.nu, len(model.effects), fixed, m.steps,
             outputs.index(f.output), len(outputs), m.rows_k, individual_kernel(model, False), m.kernel, m.propagator,
             m.outputs, nx + q + d, outputs.index(str(f.truth)))  # fmt: skip
    w, s = f.watch, f.sensor
    numbers = (m.h, f.interval, s.additive, s.proportional, w.gate, w.settle, w.patience, 1 / w.memory, w.alarm, w.most)
    keep, gained, first = np.ones(L), np.zeros(L), np.zeros(L)
    for i, e in enumerate(effects):
        keep[nx + i] = math.exp(-f.interval / f.memory_of(e))
    for i, x in enumerate(f.disturbed):
        row, wander = nx + q + i, x.wander
        keep[row], gained[row], first[row] = wander.keep(f.interval), wander.gained(f.interval), wander.first
    tail = L - nx - q - d
    move, added, sensed, at = np.zeros((tail, tail)), np.zeros((tail, tail)), np.zeros(tail), 0
    for wander in ((f.offset,) if f.offset is not None else ()) + f.sensor.slow:
        rows = slice(at, at + wander.order)
        move[rows, rows], added[rows, rows], first[nx + q + d + at : nx + q + d + at + wander.order] = wander.motion(
            f.interval
        )
        sensed[at] = 1.0
        at += wander.order
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
        np.array([float(x.scale) for x in f.disturbed]), np.array(onset, dtype=np.int64), first, move, added, sensed,
    )  # fmt: skip
