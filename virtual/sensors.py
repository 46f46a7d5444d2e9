"""Continuous glucose monitors: published error models, gaps, compression lows, the sensor's range and its life.

- **breton2008** (Breton & Kovatchev 2008): e' = 0.7 (e + z) each 15 min, z standard normal, and an error
  ξ + λ sinh((e − γ)/δ) mg/dL (Johnson's S_U). The paper's series has one value each 15 min. Between them this follows
  the open simulator `simglucose`, whose noise the usual benchmark means: ten new values at a time are joined to the
  last one of the ten before by a cubic spline (not-a-knot ends, 11 knots, 150 min), which is read at each sample. The
  noise is continuous at the seams, its slope is not.
- **dexcom_g6** (Vettoretti 2019, EMBC): CGM = a(t) IG + b(t) + v + cc; a and b quadratic in the days since insertion,
  v and cc autoregressive of order 2 at 5 min. The same curve for every sensor.
- **dexcom_g6_varied** (Vettoretti 2019, Sensors 19:5320): a(t), b, and v of order 2, their seven numbers drawn for
  each sensor from a normal distribution. Numbers, and the limits under which a draw is taken (covariance × 0.9, a
  stable v with SD at most 10 mg/dL), as the authors' group publishes them in py_replay_bg.
- **dexcom_g5** (Vettoretti 2018, IEEE TBME 65:1281): a = 1.04 + 0.02 t, b = −8.75, v of order 2; t in days since the
  last calibration, each 12 h.

**Gaps** begin at random and last as long as an exponential says: 90 % of disconnections last less than 20 min
(Facchinetti 2016), so a mean of 8.7 min; how many a day is ours. **Compression lows** come at night: a rectangle
through a first-order lag, median depth 24 mg/dL (5th–95th percentile 10–48) for 45 min (30–70), log-normal
(Facchinetti 2016: their medians and percentiles); how many nights, and the lag of 5 min, are ours.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from .streams import COMPRESSION, GAP, INSERTION, SENSOR, normal_of, uniforms

__all__ = ["CGM"]

# Vettoretti 2019 (Sensors): a0, a1, a2, b0, φ1, φ2, SD of the noise that drives v
_MEAN = (0.942287678, 0.00493988214, -0.000584874857, 6.382602204, 1.260407042, -0.4022228939, 3.251636086)
_COVARIANCE = (
    (0.013245828,),
    (-0.00395130254, 0.00185279760),
    (0.000312767433, -0.000155803322, 0.0000137459622),
    (0.157179125, -0.102880077, 0.00806858637, 29.00583819),
    (0.00268765600, -0.00139023275, 0.000120749747, 0.124083441, 0.0207935268),
    (-0.00289046338, 0.00115918522, -0.000100421354, -0.101936449, -0.0184311092, 0.0187008679),
    (-0.00318017070, -0.00272849270, 0.000111302900, 0.600753813, -0.0157218468, 0.0155233358, 0.723568380),
)


@dataclass(frozen=True, slots=True)
class CGM:
    """A glucose sensor.

    Args:
        error: "none", "breton2008" or "autoregressive".
        interval: min between samples (whole; the autoregressive models are of 5 min).
        low, high: range; values outside are shown at its edge, mg/dL. step: readings are rounded to it (0: not).
        gain, offset: a(t) and b(t): coefficients of 1, t, t², t in days; mg/dL for b.
        own: φ1, φ2 and innovation variance of v. shared: of cc.
        varied: the seven numbers are drawn for each sensor instead (`_MEAN`, `_COVARIANCE`).
        life: days a sensor is worn (then a new one, after ``warmup`` min without readings). age: days that the first
            one has been worn at admission; None: uniform over its life. cycle: days after which t starts anew
            (calibrations), 0: never.
        gaps: a day. gap_minutes: their mean length. compressions: a night.
    """

    error: str = "none"
    interval: float = 5.0
    low: float = 39.0
    high: float = 400.0
    step: float = 0.0
    gain: tuple[float, float, float] = (1.0, 0.0, 0.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    own: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shared: tuple[float, float, float] = (0.0, 0.0, 0.0)
    varied: bool = False
    life: float = math.inf
    warmup: float = 0.0
    age: float | None = 0.0
    cycle: float = 0.0
    gaps: float = 0.0
    gap_minutes: float = 8.7
    compressions: float = 0.0

    def __post_init__(self) -> None:
        bad = []
        if self.error not in ERRORS:
            bad.append(f"error '{self.error}' is unknown; known: {', '.join(ERRORS)}")
        if not (self.interval >= 1 and self.interval == int(self.interval)):
            bad.append(f"interval {self.interval} min: a whole number of minutes")
        elif self.error == "autoregressive" and self.interval != 5:
            bad.append(f"interval {self.interval} min: the autoregressive models are of 5 min")
        elif self.error == "breton2008" and 150 % self.interval:
            bad.append(f"interval {self.interval} min: the noise is laid out in windows of 150 min")
        if not 0 <= self.low < self.high:
            bad.append(f"range {self.low} to {self.high}")
        for name in ("step", "warmup", "cycle", "gaps", "compressions"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                bad.append(f"{name} must be 0 or above, not {getattr(self, name)}")
        if not (self.life > 0 and self.gap_minutes > 0):
            bad.append("life and gap_minutes must be above 0")
        if self.age is None and not math.isfinite(self.life):
            bad.append("an age drawn over the sensor's life needs a life")
        for name in ("own", "shared"):
            f1, f2, variance = getattr(self, name)
            if not (abs(f2) < 1 and abs(f1) < 1 - f2 and variance >= 0):
                bad.append(f"{name} {getattr(self, name)}: not stationary")
        if bad:
            raise DoseloopError([f"glucose sensor: {b}" for b in bad])

    @classmethod
    def named(cls, name: str, worn: bool = False) -> CGM:
        """One of "ideal", "breton2008", "simglucose" (as breton2008, 3 min, 39 to 600 mg/dL), "dexcom_g5", "dexcom_g6",
        "dexcom_g6_varied". ``worn`` adds a gap a day and a compression low in three nights of ten.
        """
        g6 = {"error": "autoregressive", "low": 40.0, "step": 1.0, "life": 10.0, "warmup": 120.0, "age": None}
        known: dict[str, dict[str, Any]] = {
            "ideal": {"low": 0.0, "high": math.inf},
            "breton2008": {"error": "breton2008"},
            "simglucose": {"error": "breton2008", "interval": 3.0, "high": 600.0},
            "dexcom_g5": g6
            | {
                "gain": (1.04, 0.02, 0.0),
                "offset": (-8.75, 0.0, 0.0),
                "own": (1.27, -0.42, 7.64),
                "life": 7.0,
                "cycle": 0.5,
            },
            "dexcom_g6": g6
            | {
                "gain": (1.048, -0.033, 0.002),
                "offset": (-6.398, 6.179, -0.448),
                "own": (1.220, -0.331, 3.641),
                "shared": (1.34, -0.492, 5.538),
            },
            "dexcom_g6_varied": g6 | {"varied": True},
        }
        if name not in known:
            raise DoseloopError(f"glucose sensor '{name}' is unknown; known: {', '.join(known)}")
        sensor = cls(**known[name])
        return replace(sensor, gaps=1.0, compressions=0.3) if worn else sensor


ERRORS = ("none", "breton2008", "autoregressive")
XI, LAMBDA, GAMMA, DELTA, KEEP = -5.47, 15.9574, -0.5444, 1.6898, 0.7  # Breton & Kovatchev 2008; mg/dL
KNOTS, SPACING = 11, 15

# the sensor's numbers, one set of floats for all patients; then the mean and the Cholesky factor of what varies (9, 9
# · 9), then the spline's weights (samples of a window, knots)
(
    F_ERROR,
    F_INTERVAL,
    F_LOW,
    F_HIGH,
    F_STEP,
    F_LIFE,
    F_WARMUP,
    F_AGE,
    F_CYCLE,
    F_GAP,
    F_GAP_END,
    F_NIGHT,
    F_LAG,
    F_VARIED,
    F_SHARED1,
    F_SHARED2,
    F_SHARED_SD,
    F_WINDOW,
    F_MEAN,
) = range(19)
VARIES = 9  # a0, a1, a2, b0, b1, b2, φ1, φ2, SD
F_FACTOR = F_MEAN + VARIES
F_SPLINE = F_FACTOR + VARIES * VARIES
MOST_SD = 10.0  # mg/dL


def spline_weights(interval: float) -> np.ndarray:
    """(samples in 150 min, 11 knots): what each knot of 15 min counts in each sample after the first knot."""
    t = np.arange(1, round((KNOTS - 1) * SPACING / interval) + 1) * interval
    return CubicSpline(np.arange(KNOTS) * SPACING, np.eye(KNOTS), bc_type="not-a-knot")(t)


def cgm_numbers(s: CGM) -> np.ndarray:
    """A sensor's numbers for the compiled functions."""
    out = np.zeros(F_SPLINE)
    out[F_ERROR], out[F_INTERVAL] = ERRORS.index(s.error), s.interval
    out[F_LOW], out[F_HIGH], out[F_STEP] = s.low, s.high, s.step
    out[F_LIFE], out[F_WARMUP], out[F_CYCLE] = s.life, s.warmup, s.cycle
    out[F_AGE] = -1.0 if s.age is None else s.age
    out[F_GAP] = -math.expm1(-s.gaps * s.interval / 1440)
    out[F_GAP_END] = -math.expm1(-s.interval / s.gap_minutes)
    out[F_NIGHT], out[F_LAG] = s.compressions, math.exp(-s.interval / 5.0)
    out[F_VARIED] = s.varied
    out[F_SHARED1], out[F_SHARED2], out[F_SHARED_SD] = s.shared[0], s.shared[1], math.sqrt(s.shared[2])
    mean, factor = np.array([*s.gain, *s.offset, s.own[0], s.own[1], math.sqrt(s.own[2])]), np.zeros((VARIES, VARIES))
    if s.varied:
        at = np.array([0, 1, 2, 3, 6, 7, 8])
        lower = np.zeros((7, 7))
        for r, row in enumerate(_COVARIANCE):
            lower[r, : r + 1] = row
        mean = np.zeros(VARIES)
        mean[at] = _MEAN
        factor[np.ix_(at, at)] = np.linalg.cholesky(0.9 * (lower + np.tril(lower, -1).T))
    out[F_MEAN:F_FACTOR], out[F_FACTOR:] = mean, factor.ravel()
    weights = spline_weights(s.interval) if s.error == "breton2008" else np.zeros((1, KNOTS))
    out[F_WINDOW] = len(weights)
    return np.concatenate([out, weights.ravel()])


# rows of the state
A0, A1, A2, B0, B1, B2, PHI1, PHI2, SD, V1, V2, C1, C2, BORN, DIES, NUMBER, COUNT = range(17)
GAPPED, DEPTH, NIGHT, FROM, UNTIL, DEEP, E_LAST, POSITION, WINDOW, DUE, KNOT = range(17, 28)
CGM_ROWS = KNOT + KNOTS


@jit
def _stationary(phi1, phi2, sd, z0, z1):
    """Two successive values of an autoregressive process of order 2 in its steady state."""
    if sd == 0.0:
        return 0.0, 0.0
    rho = phi1 / (1.0 - phi2)
    spread = sd / math.sqrt((1.0 + phi2) * ((1.0 - phi2) ** 2 - phi1**2) / (1.0 - phi2))
    return spread * z0, spread * (rho * z0 + math.sqrt(1.0 - rho * rho) * z1)


@jit
def _insert(f, a, lane, seed, patient, t, age):
    """A new sensor at t (min), worn for ``age`` days already."""
    number = get(a, NUMBER * LANES + lane)
    put(a, NUMBER * LANES + lane, number + 1.0)
    put(a, BORN * LANES + lane, t - 1440.0 * age)
    put(a, DIES * LANES + lane, t + 1440.0 * (get(f, F_LIFE) - age))
    base = np.int64(number) * 4096
    for attempt in range(200):
        draw = base + 4 * attempt
        for k in range(VARIES):
            value = get(f, F_MEAN + k)
            put(a, (A0 + k) * LANES + lane, value)
        if get(f, F_VARIED) > 0:
            for q in range(3):
                u0, u1, u2, u3 = uniforms(seed, patient, INSERTION, draw + q)
                for r in range(4):
                    j = 4 * q + r
                    if j < VARIES:
                        z = normal_of(u0 if r == 0 else u1 if r == 1 else u2 if r == 2 else u3)
                        for k in range(j, VARIES):
                            at = (A0 + k) * LANES + lane
                            put(a, at, get(a, at) + get(f, F_FACTOR + k * VARIES + j) * z)
        p1, p2 = get(a, PHI1 * LANES + lane), get(a, PHI2 * LANES + lane)
        sd = get(a, SD * LANES + lane)
        steady = -1.0 < p2 < 1.0 - abs(p1) - 0.02 and sd >= 0.0
        if get(f, F_VARIED) == 0 or (
            steady and sd * sd * (1.0 - p2) <= MOST_SD**2 * (1.0 + p2) * ((1.0 - p2) ** 2 - p1 * p1)
        ):
            break
    u0, u1, u2, u3 = uniforms(seed, patient, INSERTION, base + 3)
    v, w = _stationary(get(a, PHI1 * LANES + lane), get(a, PHI2 * LANES + lane), sd, normal_of(u0), normal_of(u1))
    put(a, V1 * LANES + lane, v)
    put(a, V2 * LANES + lane, w)
    shared = get(f, F_SHARED_SD)
    v, w = _stationary(get(f, F_SHARED1), get(f, F_SHARED2), shared, normal_of(u2), normal_of(u3))
    put(a, C1 * LANES + lane, v)
    put(a, C2 * LANES + lane, w)


@jit
def cgm_admit(f, a, lane, seed, patient):
    """The sensor as it is worn at admission."""
    for r in range(CGM_ROWS):
        put(a, r * LANES + lane, 0.0)
    put(a, NIGHT * LANES + lane, -1.0)
    age = get(f, F_AGE)
    u0, u1, _, _ = uniforms(seed, patient, GAP, 0)
    if age < 0:
        age = u0 * get(f, F_LIFE)
    _insert(f, a, lane, seed, patient, 0.0, age)
    if get(f, F_ERROR) == 1:
        e = normal_of(u1)  # the open simulator begins with a standard normal; the steady SD is 0.98
        put(a, E_LAST * LANES + lane, e)
        put(a, (KNOT + KNOTS - 1) * LANES + lane, XI + LAMBDA * math.sinh((e - GAMMA) / DELTA))


@jit
def _johnson(f, a, lane, seed, patient):
    """The next sample of Breton & Kovatchev's noise."""
    at, length = np.int64(get(a, POSITION * LANES + lane)), np.int64(get(f, F_WINDOW))
    if at == 0:
        window = np.int64(get(a, WINDOW * LANES + lane))
        put(a, WINDOW * LANES + lane, window + 1.0)
        put(a, KNOT * LANES + lane, get(a, (KNOT + KNOTS - 1) * LANES + lane))
        e = get(a, E_LAST * LANES + lane)
        for q in range(3):
            u0, u1, u2, u3 = uniforms(seed, patient, SENSOR, 3 * window + q)
            for r in range(4):
                k = 4 * q + r + 1
                if k < KNOTS:
                    e = KEEP * (e + normal_of(u0 if r == 0 else u1 if r == 1 else u2 if r == 2 else u3))
                    put(a, (KNOT + k) * LANES + lane, XI + LAMBDA * math.sinh((e - GAMMA) / DELTA))
        put(a, E_LAST * LANES + lane, e)
    total = 0.0
    for k in range(KNOTS):
        total += get(f, F_SPLINE + at * KNOTS + k) * get(a, (KNOT + k) * LANES + lane)
    put(a, POSITION * LANES + lane, np.float64((at + 1) % length))
    return total


@jit
def _dip(f, a, lane, seed, patient, t, day):
    """Compression low at t (min since admission; ``day`` min since a midnight): mg/dL to take off."""
    night = math.floor((day - 1320.0) / 1440.0)  # nights are counted from 22:00
    if get(a, NIGHT * LANES + lane) != night:
        put(a, NIGHT * LANES + lane, night)
        u0, u1, u2, u3 = uniforms(seed, patient, COMPRESSION, np.int64(night) + 1)
        put(a, UNTIL * LANES + lane, -1.0)
        if u0 < get(f, F_NIGHT):
            start = t + (1440.0 * night + 1380.0 - day) + 420.0 * u1  # between 23:00 and 6:00
            put(a, FROM * LANES + lane, start)
            # log-normal with the published median and 95th percentile
            put(a, UNTIL * LANES + lane, start + 45.0 * math.exp(math.log(70.0 / 45.0) / 1.645 * normal_of(u2)))
            put(a, DEEP * LANES + lane, 24.0 * math.exp(math.log(48.0 / 24.0) / 1.645 * normal_of(u3)))
    under = get(a, FROM * LANES + lane) <= t < get(a, UNTIL * LANES + lane)
    target = get(a, DEEP * LANES + lane) if under else 0.0
    depth = target + (get(a, DEPTH * LANES + lane) - target) * get(f, F_LAG)
    put(a, DEPTH * LANES + lane, depth)
    return depth


@jit
def cgm_sample(f, a, lane, seed, patient, t, day, true, drift, wide, drawn):
    """One sample at t (min since admission) of interstitial glucose ``true``: the reading, NaN where there is none.

    ``day`` is minutes since the midnight before admission; ``drift`` mg/dL is added before the range cuts;
    ``wide`` is a factor on the error; ``drawn`` is
    the address of four rows of uniforms, then two of normals, of draw ``COUNT`` of the stream "sensor".
    """
    count = np.int64(get(a, COUNT * LANES + lane))
    put(a, COUNT * LANES + lane, count + 1.0)
    put(a, DUE * LANES + lane, t + get(f, F_INTERVAL))
    if t >= get(a, DIES * LANES + lane):
        _insert(f, a, lane, seed, patient, t, 0.0)
    value, kind = true + drift, get(f, F_ERROR)
    if kind == 1:
        value += _johnson(f, a, lane, seed, patient)
    elif kind == 2:
        worn = (t - get(a, BORN * LANES + lane)) / 1440.0
        if get(f, F_CYCLE) > 0:
            worn -= get(f, F_CYCLE) * math.floor(worn / get(f, F_CYCLE))
        gain = get(a, A0 * LANES + lane) + worn * (get(a, A1 * LANES + lane) + worn * get(a, A2 * LANES + lane))
        offset = get(a, B0 * LANES + lane) + worn * (get(a, B1 * LANES + lane) + worn * get(a, B2 * LANES + lane))
        v, w = get(a, V1 * LANES + lane), get(a, V2 * LANES + lane)
        put(a, V2 * LANES + lane, v)
        v = get(a, PHI1 * LANES + lane) * v + get(a, PHI2 * LANES + lane) * w
        v += get(a, SD * LANES + lane) * get(drawn, 4 * LANES + lane)
        put(a, V1 * LANES + lane, v)
        value = gain * true + offset + v + drift
        if get(f, F_SHARED_SD) > 0:
            c, w = get(a, C1 * LANES + lane), get(a, C2 * LANES + lane)
            put(a, C2 * LANES + lane, c)
            c = get(f, F_SHARED1) * c + get(f, F_SHARED2) * w
            c += get(f, F_SHARED_SD) * get(drawn, 5 * LANES + lane)
            put(a, C1 * LANES + lane, c)
            value += c
    if wide != 1.0:
        value = true + drift + wide * (value - true - drift)
    if get(f, F_NIGHT) > 0:
        value -= _dip(f, a, lane, seed, patient, t, day)
    here = True
    if get(f, F_GAP) > 0:
        u0, _, _, _ = uniforms(seed, patient, GAP, count + 1)
        gapped = get(a, GAPPED * LANES + lane)
        gapped = 1.0 if u0 < (get(f, F_GAP) if gapped == 0 else 1.0 - get(f, F_GAP_END)) else 0.0
        put(a, GAPPED * LANES + lane, gapped)
        here = gapped == 0
    if not here or t - get(a, BORN * LANES + lane) < get(f, F_WARMUP):
        return math.nan
    step = get(f, F_STEP)
    if step > 0:
        value = step * math.floor(value / step + 0.5)
    return min(get(f, F_HIGH), max(get(f, F_LOW), value))
