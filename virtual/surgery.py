"""Surgical stimulation as an offset of BIS and of the mean arterial pressure over time, and blood loss.

Stimulation acts on the measured effect, not on the drug: the offset is added to the patient's true BIS (no opioid
blunts it: studies that compare controllers do the same). A profile is a broken line.

- "struys2004": the profile of Struys 2004 (Anesthesiology 100:640) for comparing controllers: intubation, incision, a
  pause, sharp stimuli over continuous surgery, closing. Numbers as the Python Anesthesia Simulator lists them (its
  "realistic").
- "dumont2009": one stimulus that wears off (Dumont 2009; the same simulator's "simple").
- "step": +10 BIS from minute 10 to 20 (Aubouin-Pairault 2025).

Numbers in public code differ between releases in the pressure columns; the papers show figures only.

**Blood loss** is a simplification: while a share of the blood volume is missing, V1 and all clearances are smaller by
that share (distribution volume and cardiac output follow blood volume), and the drug in the lost blood leaves with it,
so that concentrations do not jump. Johnson 2003 saw the same direction and size in bled pigs. Replacement brings
volume back without drug.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.vcode import Real, Rows
from .streams import SURGERY, normal_of, uniforms

__all__ = ["PROFILES", "BloodLoss", "Surgery"]

# minutes, BIS, mmHg
PROFILES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "none": ((0, 0, 0),),
    "struys2004": (
        (9.9, 0, 0), (10, 20, 10), (12, 20, 10), (13, 0, 0), (19.9, 0, 0), (20.2, 20, 10), (21, 20, 10), (21.5, 0, 0),
        (26, -20, -10), (27, 20, 10), (28, 10, 7), (36, 10, 7), (37, 30, 15), (37.5, 30, 15), (38, 10, 5), (41, 10, 5),
        (41.5, 30, 10), (42, 30, 10), (43, 10, 5), (47, 10, 5), (47.5, 30, 10), (50, 30, 8), (51, 10, 5), (56, 10, 5),
        (56.5, 0, 0),
    ),
    "dumont2009": (
        (19.9, 0, 0), (20, 20, 5), (23, 20, 10), (24, 15, 10), (26, 12.5, 6), (30, 10.5, 4), (37, 10, 4), (40, 4, 2),
        (45, 0.5, 0.1), (50, 0, 0),
    ),
    "step": ((10 - 1e-3, 0, 0), (10, 10, 5), (20, 10, 5), (20 + 1e-3, 0, 0)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Surgery:
    """What is done to the patient.

    Args:
        points: (k, 3) minutes (rising), BIS offset, mmHg offset; before the first and after the last they hold.
        scale: factor on the offsets, one for all or (n,).
        shift: minutes added to the times, one for all or (n,).
        random: draw a profile for each patient instead (from the stream "surgery"): intubation between 4 and 8 min,
            incision 5 to 15 min later, continuous surgery with short stimuli for ``length`` minutes, closing. Sizes
            are spread around those of Struys 2004.
        length: minutes from incision to closing, least and most.
    """

    points: tuple[tuple[float, float, float], ...] = PROFILES["none"]
    scale: Any = 1.0
    shift: Any = 0.0
    random: bool = False
    length: tuple[float, float] = (40.0, 120.0)

    def __post_init__(self) -> None:
        table = np.asarray(self.points, dtype=float)
        bad = []
        if table.ndim != 2 or table.shape[1:] != (3,) or not len(table) or not np.isfinite(table).all():
            bad.append("points are (minutes, BIS, mmHg), finite")
        elif (np.diff(table[:, 0]) <= 0).any():
            bad.append("the points' times must rise")
        if not 0 < self.length[0] <= self.length[1]:
            bad.append(f"length {self.length}: least and most, above 0")
        if bad:
            raise DoseloopError([f"surgery: {b}" for b in bad])

    @classmethod
    def named(cls, name: str, scale: Any = 1.0, shift: Any = 0.0) -> Surgery:
        """ "none", "struys2004", "dumont2009", "step" or "random"."""
        if name == "random":
            return cls(scale=scale, shift=shift, random=True)
        if name not in PROFILES:
            raise DoseloopError(f"stimulation '{name}' is unknown; known: {', '.join(PROFILES)}, random")
        return cls(PROFILES[name], scale, shift)


@dataclass(frozen=True, slots=True)
class BloodLoss:
    """A share of the blood volume is lost, and perhaps replaced.

    Args:
        start: min. duration: min over which it runs out.
        share: of the blood volume, below 0.6; one for all or (n,).
        replaced: when replacement begins (default never); it takes as long as the loss did.
        parameters, central: the model's parameters and states that follow (those that the model has).
    """

    start: float
    duration: float
    share: Any
    replaced: float = math.inf
    parameters: tuple[str, ...] = tuple(n + s for n in ("v1", "cl", "q2", "q3") for s in ("", "_remifentanil"))
    central: tuple[str, ...] = ("central", "central_remifentanil")

    def __post_init__(self) -> None:
        share = np.asarray(self.share, dtype=float)
        if not (self.duration > 0 and self.start >= 0 and self.replaced >= self.start + self.duration):
            raise DoseloopError("blood loss: start ≥ 0, duration > 0, and replacement begins after the loss has ended")
        if not ((share >= 0) & (share < 0.6)).all():
            raise DoseloopError("blood loss: the share lies between 0 and 0.6 of the blood volume")


# rows of the state: where in the profile the clock stands; the piece of it from there on (start and stop, BIS and mmHg
# at both); then the profile as breakpoints
POINTS = 48
G_NOW, G_START, G_STOP, G_BIS_NOW, G_BIS_NEXT, G_MAP_NOW, G_MAP_NEXT, G_TIME = range(8)
G_BIS, G_MAP = G_TIME + POINTS, G_TIME + 2 * POINTS
SURGERY_ROWS = G_TIME + 3 * POINTS
FAR = 1e9  # minutes: after everything


@jit
def _point(a, lane, k, t, bis, pressure):
    """Append a breakpoint; returns the next free place."""
    if k < POINTS:
        put(a, (G_TIME + k) * LANES + lane, t)
        put(a, (G_BIS + k) * LANES + lane, bis)
        put(a, (G_MAP + k) * LANES + lane, pressure)
    return k + 1


@jit
def _bump(a, lane, k, t, rise, hold, low, high):
    """From ``low`` up to ``high`` within ``rise`` minutes, held, and back as fast."""
    k = _point(a, lane, k, t, low, low / 2)
    k = _point(a, lane, k, t + rise, high, high / 2)
    k = _point(a, lane, k, t + rise + hold, high, high / 2)
    return _point(a, lane, k, t + 2 * rise + hold, low, low / 2)


@jit
def surgery_admit(table, points, a, lane, scale, shift, random, least, most, seed, patient):
    """Lay out a patient's profile: a given table (rows of minutes, BIS, mmHg), or a random one."""
    put(a, G_NOW * LANES + lane, 0.0)
    for r in range(POINTS):
        put(a, (G_TIME + r) * LANES + lane, FAR + r)
        put(a, (G_BIS + r) * LANES + lane, 0.0)
        put(a, (G_MAP + r) * LANES + lane, 0.0)
    if random == 0:
        for k in range(points):
            _point(a, lane, k, get(table, 3 * k), get(table, 3 * k + 1), get(table, 3 * k + 2))
        last = points - 1
    else:
        u0, u1, u2, u3 = uniforms(seed, patient, SURGERY, 0)
        tube = 4.0 + 4.0 * u0
        k = _bump(a, lane, 0, tube, 0.1, 0.5 + 2.0 * u1, 0.0, max(0.0, 15.0 + 5.0 * normal_of(u2)))
        cut = tube + 5.0 + 10.0 * u3
        v0, v1, v2, _ = uniforms(seed, patient, SURGERY, 1)
        level = max(0.0, 8.0 + 3.0 * normal_of(v0))
        stop = cut + least + (most - least) * v1
        k = _point(a, lane, k, cut, 0.0, 0.0)
        k = _point(a, lane, k, cut + 0.3, max(level, 20.0 + 5.0 * normal_of(v2)), 10.0)
        k = _point(a, lane, k, cut + 2.0, level, level / 2)
        t, draw = cut + 2.0, 2
        while k + 6 <= POINTS:
            w0, w1, w2, _ = uniforms(seed, patient, SURGERY, draw)
            draw += 1
            t += 1.0 - 8.0 * math.log(w0)
            hold = 0.3 + 2.0 * w1
            if t + hold + 2.0 > stop:
                break
            k = _bump(a, lane, k, t, 0.5, hold, level, level + max(0.0, 12.0 + 6.0 * normal_of(w2)))
            t += hold + 1.0
        k = _point(a, lane, k, stop, level, level / 2)
        last = _point(a, lane, k, stop + 5.0, 0.0, 0.0) - 1
    for r in range(last + 1):
        put(a, (G_TIME + r) * LANES + lane, get(a, (G_TIME + r) * LANES + lane) + shift)
        put(a, (G_BIS + r) * LANES + lane, get(a, (G_BIS + r) * LANES + lane) * scale)
        put(a, (G_MAP + r) * LANES + lane, get(a, (G_MAP + r) * LANES + lane) * scale)
    for r in range(last + 1, POINTS):  # what was last holds
        put(a, (G_BIS + r) * LANES + lane, get(a, (G_BIS + last) * LANES + lane))
        put(a, (G_MAP + r) * LANES + lane, get(a, (G_MAP + last) * LANES + lane))
    surgery_move(a, lane, 0.0)


@jit
def surgery_move(a, lane, t):
    """Put the piece of the profile that is under way at t at hand; t never goes back."""
    now = np.int64(get(a, G_NOW * LANES + lane))
    while now + 1 < POINTS and t >= get(a, (G_TIME + now + 1) * LANES + lane):
        now += 1
    put(a, G_NOW * LANES + lane, now)
    last = now + 1 >= POINTS
    after = now if last else now + 1
    put(a, G_START * LANES + lane, get(a, (G_TIME + now) * LANES + lane))
    put(a, G_STOP * LANES + lane, math.inf if last else get(a, (G_TIME + after) * LANES + lane))
    put(a, G_BIS_NOW * LANES + lane, get(a, (G_BIS + now) * LANES + lane))
    put(a, G_BIS_NEXT * LANES + lane, get(a, (G_BIS + after) * LANES + lane))
    put(a, G_MAP_NOW * LANES + lane, get(a, (G_MAP + now) * LANES + lane))
    put(a, G_MAP_NEXT * LANES + lane, get(a, (G_MAP + after) * LANES + lane))


def stimulation(a: Rows, t: Real) -> tuple[Real, Real]:
    """Code: offsets (BIS, mmHg) at t, within the piece at hand."""
    where, start, bis, pressure = a.code.where, a[G_START], a[G_BIS_NOW], a[G_MAP_NOW]
    early, share = t <= start, (t - start) / (a[G_STOP] - start)
    return (
        where(early, bis, bis + share * (a[G_BIS_NEXT] - bis)),
        where(early, pressure, pressure + share * (a[G_MAP_NEXT] - pressure)),
    )


@jit
def missing_blood(t, start, duration, share, replaced):
    """The share of the blood volume that is missing at t."""
    lost = min(1.0, max(0.0, (t - start) / duration))
    back = min(1.0, max(0.0, (t - replaced) / duration)) if replaced < math.inf else 0.0
    return share * (lost - back)
