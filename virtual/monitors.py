"""Monitors of an operation: BIS with its noise, signal quality and delay; mean arterial pressure.

**Noise.** White noise through a critically damped second-order low-pass, which is how the noise of BIS in VitalDB
records was identified for the Python Anesthesia Simulator (its ``add_noise``: white SD 35, damping 1, cut-off 0.04
rad/s at −3 dB, so a natural frequency of 0.0622 rad/s; at 1 s a standard deviation of 4.4 BIS). The filter is
discretised exactly, so that the standard deviation and the colour do not depend on the sampling interval.

**Signal quality.** The index (SQI, 0 to 100) wanders around its mean as a first-order process; episodes of artefact
(diathermy, muscle) pull it down and bias the reading. Above 50 a reading counts as good, below 15 the monitor shows
none (BIS Vista operating manual). How often and how long artefacts come is ours: no paper was found that gives it.

**Delay.** The patient's own (Eleveld 2018: 15 + exp(0.0517 age) s, the model's parameter ``delay``), and 120 (1 −
SQI/100) s more as quality falls (Wahlquist 2025).
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
from .streams import PRESSURE, SENSOR, SIGNAL, normal_of, uniforms

__all__ = ["Monitor", "noise_filter"]


@dataclass(frozen=True, slots=True)
class Monitor:
    """A BIS monitor and an arterial line.

    Args:
        noise: standard deviation of BIS. frequency: natural frequency of its colour, rad/s (infinite: white).
        quality, quality_sd, quality_minutes: mean, SD and time constant of the signal quality index.
        episodes: artefacts per hour. episode_seconds: their mean length (exponential). episode_quality: the index
            falls to a level uniform between these two. episode_bias: SD of what they add to BIS.
        blank: no reading below this index.
        delay_max: s of delay at an index of 0, beyond the patient's own.
        own_delay: False leaves the patient's own delay out.
        window: s over which the reading is averaged (0: not at all; the patient's own delay already holds the monitor's
            smoothing).
        missing: share of samples that do not arrive.
        step: readings are rounded to it.
        pressure_noise: SD of the pressure, mmHg (5: Python Anesthesia Simulator 1.0). pressure_every: min.
    """

    noise: float = 4.4
    frequency: float = 0.0622
    quality: float = 92.0
    quality_sd: float = 4.0
    quality_minutes: float = 2.0
    episodes: float = 4.0
    episode_seconds: float = 30.0
    episode_quality: tuple[float, float] = (5.0, 60.0)
    episode_bias: float = 10.0
    blank: float = 15.0
    delay_max: float = 120.0
    own_delay: bool = True
    window: float = 0.0
    missing: float = 0.002
    step: float = 0.1
    pressure_noise: float = 5.0
    pressure_every: float = 1.0

    def __post_init__(self) -> None:
        bad = []
        for name in (
            "noise",
            "quality_sd",
            "episodes",
            "episode_bias",
            "delay_max",
            "window",
            "step",
            "pressure_noise",
        ):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                bad.append(f"{name} must be 0 or above, not {getattr(self, name)}")
        for name in ("frequency", "quality_minutes", "episode_seconds", "pressure_every"):
            if not getattr(self, name) > 0:
                bad.append(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.missing < 1:
            bad.append(f"missing is a share below 1, not {self.missing}")
        if not 0 <= self.episode_quality[0] <= self.episode_quality[1] <= 100 or not 0 <= self.quality <= 100:
            bad.append("signal quality lies between 0 and 100")
        if bad:
            raise DoseloopError([f"monitor: {b}" for b in bad])

    @classmethod
    def named(cls, name: str) -> Monitor:
        """ "usual" (all of the above), "white" (white noise of SD 3, as the simulator's first release; no artefacts),
        "clean" (noise and delay, no artefacts, nothing missing), "ideal" (the truth at once).
        """
        quiet = {"episodes": 0.0, "missing": 0.0, "quality": 100.0, "quality_sd": 0.0}
        still = {"noise": 0.0, "own_delay": False, "delay_max": 0.0, "step": 0.0, "pressure_noise": 0.0}
        known = {
            "usual": {},
            "white": {"noise": 3.0, "frequency": math.inf, **quiet},
            "clean": quiet,
            "ideal": quiet | still | {"pressure_every": 1e-9},
        }
        if name not in known:
            raise DoseloopError(f"monitor '{name}' is unknown; known: {', '.join(known)}")
        return cls(**known[name])  # type: ignore[arg-type]


def noise_filter(sd: float, frequency: float, dt: float) -> np.ndarray:
    """Transition (2, 2) then Cholesky factor (2, 2) of the noise over dt seconds: (y, y') of a critically damped
    filter.

    y'' = −2 ω y' − ω² y + white noise, scaled so that y has standard deviation ``sd``: then y' has ω·sd, and the two
    are uncorrelated. An infinite frequency is white noise.
    """
    if not math.isfinite(frequency):
        return np.array([[[0.0, 0.0], [0.0, 0.0]], [[sd, 0.0], [0.0, 0.0]]])
    w = frequency
    A = math.exp(-w * dt) * np.array([[1 + w * dt, dt], [-w * w * dt, 1 - w * dt]])
    P = np.diag([sd * sd, (w * sd) ** 2])
    Q = P - A @ P @ A.T
    a = math.sqrt(max(Q[0, 0], 0.0))
    b = Q[1, 0] / a if a > 0 else 0.0
    return np.array([A, [[a, 0.0], [b, math.sqrt(max(Q[1, 1] - b * b, 0.0))]]])


# the monitor's numbers, one row of floats for all patients
(
    N_A00,
    N_A01,
    N_A10,
    N_A11,
    N_L00,
    N_L10,
    N_L11,
    N_SD,
    N_RATE,  # natural frequency
    N_QUALITY,
    N_QUALITY_SD,
    N_QUALITY_KEEP,
    N_START,  # chance of an artefact's start in a tick
    N_STOP,
    N_LEVEL,
    N_LEVEL_RANGE,
    N_BIAS,
    N_BLANK,
    N_DELAY,  # min
    N_OWN,
    N_WINDOW,  # ticks
    N_MISSING,
    N_STEP,
    N_PRESSURE,
    N_PRESSURE_TICKS,
    NUMBERS,
) = range(26)


def monitor_numbers(m: Monitor, tick: float) -> np.ndarray:
    """A monitor's numbers for ticks of that many minutes."""
    A, L = noise_filter(m.noise, m.frequency, 60 * tick)
    out = np.zeros(NUMBERS)
    out[N_A00 : N_L11 + 1] = [A[0, 0], A[0, 1], A[1, 0], A[1, 1], L[0, 0], L[1, 0], L[1, 1]]
    out[N_SD], out[N_RATE] = m.noise, m.frequency if math.isfinite(m.frequency) else 0.0
    out[N_QUALITY], out[N_QUALITY_SD] = m.quality, m.quality_sd
    out[N_QUALITY_KEEP] = math.exp(-tick / m.quality_minutes)
    out[N_START] = -math.expm1(-m.episodes / 60 * tick)
    out[N_STOP] = -math.expm1(-60 * tick / m.episode_seconds)
    out[N_LEVEL], out[N_LEVEL_RANGE] = m.episode_quality[0], m.episode_quality[1] - m.episode_quality[0]
    out[N_BIAS], out[N_BLANK], out[N_DELAY], out[N_OWN] = m.episode_bias, m.blank, m.delay_max / 60, m.own_delay
    out[N_WINDOW] = max(1, round(m.window / 60 / tick))
    out[N_MISSING], out[N_STEP] = m.missing, m.step
    out[N_PRESSURE], out[N_PRESSURE_TICKS] = m.pressure_noise, max(1, round(m.pressure_every / tick))
    return out


# rows of the state; the ring of past true BIS follows
M_NOISE, M_SLOPE, M_QUALITY, M_EPISODE, M_LEVEL, M_BIAS, M_DELAY, M_FIRST, M_RING = range(9)


def ring_ticks(m: Monitor, own: float, tick: float) -> int:
    """Ticks of past BIS to keep: the longest delay there can be, and the window; a power of two."""
    longest = (own if m.own_delay else 0.0) + m.delay_max / 60
    need = math.ceil(longest / tick) + max(1, round(m.window / 60 / tick)) + 2
    return 1 << (need - 1).bit_length()


@jit
def monitor_admit(f, a, lane, ring, seed, patient, own, bis):
    """A monitor just connected: stationary noise and quality, the patient's own delay (min), BIS as it was so far."""
    u0, u1, u2, _ = uniforms(seed, patient, SENSOR, 0)
    put(a, M_NOISE * LANES + lane, get(f, N_SD) * normal_of(u0))
    put(a, M_SLOPE * LANES + lane, get(f, N_SD) * get(f, N_RATE) * normal_of(u1))
    put(a, M_QUALITY * LANES + lane, normal_of(u2))
    put(a, M_EPISODE * LANES + lane, 0.0)
    put(a, M_LEVEL * LANES + lane, 0.0)
    put(a, M_BIAS * LANES + lane, 0.0)
    put(a, M_DELAY * LANES + lane, own * get(f, N_OWN))
    for r in range(M_RING, M_RING + ring):
        put(a, r * LANES + lane, bis)


@jit
def monitor_keep(a, lane, ring, count, bis):
    """Remember the true BIS at tick ``count``."""
    put(a, (M_RING + (count & (ring - 1))) * LANES + lane, bis)


@jit
def _delayed(a, lane, ring, count, back):
    """BIS ``back`` ticks before tick ``count``, between ticks by a line."""
    whole = np.int64(back)
    share = back - whole
    new = get(a, (M_RING + ((count - whole) & (ring - 1))) * LANES + lane)
    old = get(a, (M_RING + ((count - whole - 1) & (ring - 1))) * LANES + lane)
    return new + share * (old - new)


@jit
def monitor_read(f, a, lane, ring, seed, patient, count, tick, drift, wide, drawn):
    """One sample at tick ``count`` (0, 1, …): the reading (NaN: none) and the signal quality index.

    ``drift`` is added before the range cuts; ``wide`` is a factor on noise and on what artefacts add. ``drawn`` is the
    address of four rows of uniforms, then three of normals, of draw ``count + 1`` of the stream "sensor" (draw 0 was
    the admission's).
    """
    u3 = get(drawn, 3 * LANES + lane)
    z0, z1, z2 = get(drawn, 4 * LANES + lane), get(drawn, 5 * LANES + lane), get(drawn, 6 * LANES + lane)
    noise, slope = get(a, M_NOISE * LANES + lane), get(a, M_SLOPE * LANES + lane)
    fresh = get(f, N_A00) * noise + get(f, N_A01) * slope + get(f, N_L00) * z0
    put(
        a,
        M_SLOPE * LANES + lane,
        get(f, N_A10) * noise + get(f, N_A11) * slope + get(f, N_L10) * z0 + get(f, N_L11) * z1,
    )
    put(a, M_NOISE * LANES + lane, fresh)
    keep = get(f, N_QUALITY_KEEP)
    wander = keep * get(a, M_QUALITY * LANES + lane) + math.sqrt(1 - keep * keep) * z2
    put(a, M_QUALITY * LANES + lane, wander)
    quality = get(f, N_QUALITY) + get(f, N_QUALITY_SD) * wander
    bias = 0.0
    if get(a, M_EPISODE * LANES + lane) > 0:
        quality, bias = min(quality, get(a, M_LEVEL * LANES + lane)), get(a, M_BIAS * LANES + lane)
        if u3 < get(f, N_STOP):
            put(a, M_EPISODE * LANES + lane, 0.0)
    elif u3 < get(f, N_START):
        v0, v1, _, _ = uniforms(seed, patient, SIGNAL, count)
        put(a, M_EPISODE * LANES + lane, 1.0)
        put(a, M_LEVEL * LANES + lane, get(f, N_LEVEL) + get(f, N_LEVEL_RANGE) * v0)
        put(a, M_BIAS * LANES + lane, get(f, N_BIAS) * normal_of(v1))
    quality = min(100.0, max(0.0, quality))
    back = (get(a, M_DELAY * LANES + lane) + get(f, N_DELAY) * (1 - quality / 100)) / tick
    window = np.int64(get(f, N_WINDOW))
    total = 0.0
    for w in range(window):
        total += _delayed(a, lane, ring, count, back + w)
    shown = total / window + wide * fresh + wide * bias + drift
    if quality < get(f, N_BLANK):
        return math.nan, quality
    if u3 > 1.0 - get(f, N_MISSING):  # its other end starts and stops artefacts
        return math.nan, quality
    shown = min(100.0, max(0.0, shown))
    step = get(f, N_STEP)
    return (step * math.floor(shown / step + 0.5) if step > 0 else shown), quality


@jit
def pressure_read(f, seed, patient, count, true):
    """Mean arterial pressure at tick ``count``, NaN between samples."""
    if count % np.int64(get(f, N_PRESSURE_TICKS)) != 0:
        return math.nan
    u0, _, _, _ = uniforms(seed, patient, PRESSURE, count)
    return true + get(f, N_PRESSURE) * normal_of(u0)
