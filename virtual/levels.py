"""Drug levels: when a sample is drawn, the assay's error, what it cannot see, when the result comes, what is lost.

A sample is drawn at the times of a schedule (h since admission; a sample at a decision is the trough before the dose).
The assay's value is the true level plus a normal error of SD √(additive² + (proportional · level)²), the model's own
residual error unless another is given. Below the limit of quantification it says 0. The result comes after a delay, and
some never come. Results are kept as they were reported, the eight newest samples of each patient.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.model import Model

__all__ = ["KEPT", "Levels"]

KEPT = 8  # results known, and samples under way


@dataclass(frozen=True, slots=True)
class Levels:
    """The schedule of samples and the laboratory.

    Args:
        times: h since admission, ascending.
        delay: h from sample to result, uniform between the two.
        missing: probability that a sample is lost.
        loq: mg/L, limit of quantification (of the size of immunoassays').
        additive, proportional: the error's SD (mg/L) and coefficient of variation; None for the model's residual.
    """

    times: tuple[float, ...] = (24.0, 72.0, 120.0)
    delay: tuple[float, float] = (2.0, 6.0)
    missing: float = 0.05
    loq: float = 2.0
    additive: float | None = None
    proportional: float | None = None

    @classmethod
    def named(cls, name: str) -> Levels:
        """ "usual" (before the dose on days 2, 4, 6 and every second day after), "daily", "none", or "pair" (3 h and
        12 h after the first dose, then as usual)."""
        second = tuple(24.0 + 48.0 * k for k in range(15))
        known = {
            "usual": cls(second),
            "daily": cls(tuple(24.0 * (k + 1) for k in range(30))),
            "pair": cls((3.0, 12.0, *second[1:])),
            "none": cls(()),
        }
        if name not in known:
            raise DoseloopError(f"levels '{name}' is unknown; known: {', '.join(known)}")
        return known[name]

    def settings(self, model: Model, output: str, tick: float) -> tuple[np.ndarray, np.ndarray]:
        """Times in ticks (integers), and the numbers that the compiled loop reads.

        Raises:
            DoseloopError: listing what cannot be.
        """
        residual = model.output(output).residual
        sd = [
            getattr(residual, k, 0.0) if getattr(self, k) is None else float(getattr(self, k))
            for k in ("additive", "proportional")
        ]
        times, bad = np.array(self.times, dtype=float).reshape(-1), []
        ticks = np.round(times / tick)
        if residual is not None and residual.log and None in (self.additive, self.proportional):
            bad.append(f"the residual error of '{model.id}' is log-normal: give additive and proportional")
        if not (np.isfinite(times).all() and (times > 0).all() and (np.diff(times) > 0).all()):
            bad.append("times are above 0 h and ascending")
        elif (np.abs(ticks * tick - times) > 1e-9).any():
            bad.append(f"times are whole ticks of {tick} h")
        if not 0 <= self.delay[0] <= self.delay[1] < math.inf:
            bad.append(f"delay is {self.delay}; 0 ≤ least ≤ most (h)")
        elif any((times > t).sum() - (times > t + self.delay[1] + 48).sum() > KEPT for t in times):
            bad.append(f"more than {KEPT} samples wait for their results at once")
        if not 0 <= self.missing <= 1 or not 0 <= self.loq < math.inf:
            bad.append(f"missing is a probability and loq 0 or more, not {self.missing} and {self.loq}")
        if not all(0 <= v < math.inf for v in sd):
            bad.append(f"the error is {sd}; finite numbers of 0 or more")
        if bad:
            raise DoseloopError([f"levels: {b}" for b in bad])
        return np.append(ticks, 0).astype(np.int64), np.array([*self.delay, self.missing, self.loq, *sd])


DELAY, _, MISSING, LOQ, ADDITIVE, PROPORTIONAL = range(6)
# rows of the state: the next sample's place in the schedule, results since the last look, results ever; then values and
# times (h) of the newest samples known, newest first; then times, dues and values of those under way
NEXT, NEW, EVER, VALUE = range(4)
TIME = VALUE + KEPT
DRAWN, DUE, FOUND = TIME + KEPT, TIME + 2 * KEPT, TIME + 3 * KEPT
LEVEL_ROWS = TIME + 4 * KEPT


@jit
def levels_admit(a, lane):
    """Nothing is known, nothing under way."""
    for r in range(VALUE):
        put(a, r * LANES + lane, 0.0)
    for r in range(VALUE, LEVEL_ROWS):
        put(a, r * LANES + lane, math.nan)


@jit
def draw_sample(f, a, lane, time, level, u1, u2, z):
    """Draw a sample of the true level; u1, u2 uniform, z normal."""
    if u1 < get(f, MISSING):
        return
    sd = math.sqrt(get(f, ADDITIVE) ** 2 + (get(f, PROPORTIONAL) * level) ** 2)
    value = level + sd * z
    if value < get(f, LOQ):
        value = 0.0
    place = 0
    while place < KEPT - 1 and get(a, (DUE + place) * LANES + lane) >= 0.0:
        place += 1
    put(a, (DRAWN + place) * LANES + lane, time)
    put(a, (DUE + place) * LANES + lane, time + get(f, DELAY) + (get(f, DELAY + 1) - get(f, DELAY)) * u2)
    put(a, (FOUND + place) * LANES + lane, value)


@jit
def take_results(a, lane, now):
    """Move the results that are due to those known, in the order of their samples; returns how many came."""
    came = 0
    for place in range(KEPT):
        if get(a, (DUE + place) * LANES + lane) <= now:
            time, value = get(a, (DRAWN + place) * LANES + lane), get(a, (FOUND + place) * LANES + lane)
            put(a, (DUE + place) * LANES + lane, math.nan)
            came += 1
            at = KEPT - 1
            if get(a, (TIME + at) * LANES + lane) >= time:
                continue  # eight newer ones are known
            while at > 0 and not get(a, (TIME + at - 1) * LANES + lane) >= time:
                put(a, (TIME + at) * LANES + lane, get(a, (TIME + at - 1) * LANES + lane))
                put(a, (VALUE + at) * LANES + lane, get(a, (VALUE + at - 1) * LANES + lane))
                at -= 1
            put(a, (TIME + at) * LANES + lane, time)
            put(a, (VALUE + at) * LANES + lane, value)
    put(a, NEW * LANES + lane, np.float64(came))
    put(a, EVER * LANES + lane, get(a, EVER * LANES + lane) + came)
    return came
