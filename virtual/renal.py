"""Renal function that changes from day to day, and the serum creatinine by which a bedside knows of it.

True creatinine clearance (mL/min) holds for a day. On day d after admission its logarithm is that of the first day plus
a course and a random walk. The course is one of four, drawn at admission:

- **stable**: 0;
- **improving**: ln(gain) · (1 − exp(−d/3)), for those below ``healthy`` mL/min, and no further than that;
- **falling**: −ln(loss) · d/7, for a week;
- **injury**: from a day of onset on, −ln(loss) · (1 − exp(−(d − onset + 1)/1)): acute kidney injury, of the factors on
  creatinine that KDIGO (2012) calls stages 1 and 2 (1.5 to 3).

Serum creatinine is behind the truth, as at a bedside: S' = (G − CrCl·S)/V with G constant and V = 0.6 L/kg (body water;
the mass balance of kinetic eGFR, Chen 2013, J Am Soc Nephrol 24:877), exactly from day to day. So in injury the
creatinine clearance worked out from it is too high for days. The model's covariate is the creatinine to which today's
clearance would lead; the laboratory reports the creatinine that there is, once a day, with a proportional error.

How often each course is, its size and the walk are ours; the frequency of kidney injury on vancomycin in trials and
cohorts is 5 to 43 % (van Hal 2013, Antimicrob Agents Chemother 57:734).
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES

__all__ = ["Renal"]

LITRES = 0.06  # mL/min to L/h


@dataclass(frozen=True, slots=True)
class Renal:
    """How renal function changes.

    Args:
        improving, falling, injury: probabilities of the three courses; the rest is stable.
        walk: SD of the daily step of the logarithm.
        gain, loss, injury_loss: factors, uniform between the two.
        onset: days, between which an injury begins (whole days, uniform).
        healthy: mL/min up to which function improves. lowest, highest: mL/min, between which it stays.
        error: coefficient of variation of the measured creatinine (assay and person within a day).
        volume: L/kg, creatinine's.
    """

    improving: float = 0.0
    falling: float = 0.0
    injury: float = 0.0
    walk: float = 0.0
    gain: tuple[float, float] = (1.2, 2.0)
    loss: tuple[float, float] = (1.2, 1.8)
    injury_loss: tuple[float, float] = (1.5, 3.0)
    onset: tuple[int, int] = (1, 5)
    healthy: float = 120.0
    lowest: float = 10.0
    highest: float = 170.0
    error: float = 0.05
    volume: float = 0.6

    @classmethod
    def named(cls, name: str) -> Renal:
        """ "stable" (nothing changes), "usual" (20 % improve, 15 % fall, 15 % injury, walk of 5 % a day), or one course
        for everybody, with the walk: "improving", "falling", "injury"."""
        known = {
            "stable": cls(),
            "usual": cls(0.20, 0.15, 0.15, 0.05),
            "improving": cls(improving=1.0, walk=0.05),
            "falling": cls(falling=1.0, walk=0.05),
            "injury": cls(injury=1.0, walk=0.05),
        }
        if name not in known:
            raise DoseloopError(f"renal function '{name}' is unknown; known: {', '.join(known)}")
        return known[name]

    def numbers(self) -> np.ndarray:
        """What the compiled loop reads, in the order of the fields.

        Raises:
            DoseloopError: listing what cannot be.
        """
        flat = [np.atleast_1d(np.asarray(getattr(self, f.name), dtype=float)) for f in fields(self)]
        bad = [
            f"{f.name} is {getattr(self, f.name)}; finite numbers of 0 or more, in order, are meant"
            for f, v in zip(fields(self), flat)
            if not (np.isfinite(v).all() and (v >= 0).all() and (np.diff(v) >= 0).all())
        ]
        if not bad:
            if self.improving + self.falling + self.injury > 1 + 1e-12:
                bad.append("improving, falling and injury sum to more than 1")
            if min(self.gain[0], self.loss[0], self.injury_loss[0]) < 1:
                bad.append("gain, loss and injury_loss are factors of 1 or more")
            if not 0 < self.lowest < self.healthy <= self.highest:
                bad.append("0 < lowest < healthy ≤ highest is meant")
            if self.volume <= 0 or self.onset[0] < 1 or any(v != int(v) for v in self.onset):
                bad.append("volume is above 0, and onset whole days from 1 on")
        if bad:
            raise DoseloopError([f"renal: {b}" for b in bad])
        return np.concatenate(flat)


# places in `Renal.numbers`
IMPROVING, FALLING, INJURY, STEP, GAIN, _, LOSS, _, HURT, _, ONSETS, _, HEALTHY, LOWEST, HIGHEST, ERROR, VOLUME = range(
    17
)
# rows of the state
KIND, SIZE, ONSET, WALK, FIRST, CLEAR, SERUM, SHOWN, BEFORE = range(9)
RENAL_ROWS = 9
# rows of a person's numbers: creatinine clearance times creatinine (mL/min · mg/dL), creatinine (mg/dL), weight (kg)
MADE, SCR, WEIGHT = range(3)


@jit
def renal_admit(f, a, lane, made, scr, u0, u1, u2, z):
    """Day 0 of a person; u0 to u2 uniform, z normal."""
    clear = made / scr
    kind, size, onset = 0.0, 0.0, 0.0
    edge = get(f, IMPROVING)
    if u0 < edge:
        kind = 1.0
        size = math.log(get(f, GAIN) + (get(f, GAIN + 1) - get(f, GAIN)) * u1)
        size = max(0.0, min(size, math.log(get(f, HEALTHY) / clear)))
    elif u0 < edge + get(f, FALLING):
        kind = 2.0
        size = -math.log(get(f, LOSS) + (get(f, LOSS + 1) - get(f, LOSS)) * u1)
    elif u0 < edge + get(f, FALLING) + get(f, INJURY):
        kind = 3.0
        size = -math.log(get(f, HURT) + (get(f, HURT + 1) - get(f, HURT)) * u1)
        onset = math.floor(get(f, ONSETS) + (get(f, ONSETS + 1) + 1.0 - get(f, ONSETS)) * u2)
    put(a, KIND * LANES + lane, kind)
    put(a, SIZE * LANES + lane, size)
    put(a, ONSET * LANES + lane, onset)
    put(a, WALK * LANES + lane, 0.0)
    put(a, FIRST * LANES + lane, clear)
    put(a, CLEAR * LANES + lane, clear)
    put(a, SERUM * LANES + lane, scr)
    put(a, SHOWN * LANES + lane, scr * math.exp(get(f, ERROR) * z))
    put(a, BEFORE * LANES + lane, math.nan)


@jit
def renal_day(f, a, lane, day, made, weight, z0, z1):
    """Begin a day (1, 2 …); z0, z1 normal. Returns the creatinine to which today's clearance leads, mg/dL."""
    clear = get(a, CLEAR * LANES + lane)
    steady, serum = made / clear, get(a, SERUM * LANES + lane)
    serum = steady + (serum - steady) * math.exp(-LITRES * clear * 24.0 / (get(f, VOLUME) * weight))
    put(a, SERUM * LANES + lane, serum)
    put(a, BEFORE * LANES + lane, get(a, SHOWN * LANES + lane))
    put(a, SHOWN * LANES + lane, serum * math.exp(get(f, ERROR) * z1))
    kind, size, walk = get(a, KIND * LANES + lane), get(a, SIZE * LANES + lane), get(a, WALK * LANES + lane)
    walk += get(f, STEP) * z0
    put(a, WALK * LANES + lane, walk)
    course = 0.0
    if kind == 1.0:
        course = size * (1.0 - math.exp(-day / 3.0))
    elif kind == 2.0:
        course = size * min(day, 7.0) / 7.0
    elif kind == 3.0:
        course = size * (1.0 - math.exp(-max(0.0, day - get(a, ONSET * LANES + lane) + 1.0)))
    clear = get(a, FIRST * LANES + lane) * math.exp(course + walk)
    clear = max(get(f, LOWEST), min(get(f, HIGHEST), clear))
    put(a, CLEAR * LANES + lane, clear)
    return made / clear
