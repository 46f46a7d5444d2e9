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
from functools import lru_cache

import numpy as np

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.vcode import Code, Rows
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


# the monitor's numbers, each in eight columns
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
    N_QUALITY_FRESH,
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
    N_TICK,  # min
    NUMBERS,
) = range(28)


def monitor_numbers(m: Monitor, tick: float) -> np.ndarray:
    """A monitor's numbers for ticks of that many minutes, (NUMBERS, 8)."""
    A, L = noise_filter(m.noise, m.frequency, 60 * tick)
    out = np.zeros(NUMBERS)
    out[N_A00 : N_L11 + 1] = [A[0, 0], A[0, 1], A[1, 0], A[1, 1], L[0, 0], L[1, 0], L[1, 1]]
    out[N_SD], out[N_RATE] = m.noise, m.frequency if math.isfinite(m.frequency) else 0.0
    out[N_QUALITY], out[N_QUALITY_SD] = m.quality, m.quality_sd
    keep = math.exp(-tick / m.quality_minutes)
    out[N_QUALITY_KEEP], out[N_QUALITY_FRESH] = keep, math.sqrt(1 - keep * keep)
    out[N_START] = -math.expm1(-m.episodes / 60 * tick)
    out[N_STOP] = -math.expm1(-60 * tick / m.episode_seconds)
    out[N_LEVEL], out[N_LEVEL_RANGE] = m.episode_quality[0], m.episode_quality[1] - m.episode_quality[0]
    out[N_BIAS], out[N_BLANK], out[N_DELAY], out[N_OWN] = m.episode_bias, m.blank, m.delay_max / 60, m.own_delay
    out[N_WINDOW] = max(1, round(m.window / 60 / tick))
    out[N_MISSING], out[N_STEP] = m.missing, m.step
    out[N_PRESSURE], out[N_PRESSURE_TICKS] = m.pressure_noise, max(1, round(m.pressure_every / tick))
    out[N_TICK] = tick
    return np.repeat(out[:, None], LANES, axis=1)


# rows of the state; the ring of past true BIS follows
M_NOISE, M_SLOPE, M_QUALITY, M_EPISODE, M_LEVEL, M_BIAS, M_DELAY, M_FIRST, M_RING = range(9)
# rows of working memory. In: time (min), factor on noise and on what artefacts add, 1 where a sample is made (else the
# state stays), sum over the window of delayed BIS, what is added before the range cuts. Between: ticks back, noise and
# bias. Out: quality, reading (NaN: none) and time stamp; in whom an artefact starts
W_TIME, W_WIDE, W_ACTIVE, W_TOTAL, W_DRIFT, W_BACK, W_NOISE, W_BIAS, W_QUALITY, W_SHOWN, W_STAMP, W_STARTS = range(12)
W_MONITOR = 12


def ring_ticks(m: Monitor, own: float, tick: float) -> int:
    """Ticks of past BIS to keep: the longest delay there can be, and the window; a power of two."""
    longest = (own if m.own_delay else 0.0) + m.delay_max / 60
    need = math.ceil(longest / tick) + max(1, round(m.window / 60 / tick)) + 2
    return 1 << (need - 1).bit_length()


@jit
def monitor_admit(f, a, lane, ring, seed, patient, own, bis):
    """A monitor just connected: stationary noise and quality, the patient's own delay (min), BIS as it was so far."""
    u0, u1, u2, _ = uniforms(seed, patient, SENSOR, 0)
    put(a, M_NOISE * LANES + lane, get(f, N_SD * LANES) * normal_of(u0))
    put(a, M_SLOPE * LANES + lane, get(f, N_SD * LANES) * get(f, N_RATE * LANES) * normal_of(u1))
    put(a, M_QUALITY * LANES + lane, normal_of(u2))
    put(a, M_EPISODE * LANES + lane, 0.0)
    put(a, M_LEVEL * LANES + lane, 0.0)
    put(a, M_BIAS * LANES + lane, 0.0)
    put(a, M_DELAY * LANES + lane, own * get(f, N_OWN * LANES))
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


@lru_cache(maxsize=1)
def monitor_kernels() -> tuple[int, int]:
    """One sample of eight monitors, before the delayed BIS is looked up in their rings and after it.

    Numbers in ``p``, state in ``x``, working memory in ``out`` (``W_…``); ``k`` holds four rows of uniforms, then three
    of normals, of draw (tick + 1) of the stream "sensor" (draw 0 was the admission's).
    """
    c, after = Code(), Code()
    f, a, w, drawn, where = Rows(c, "p"), Rows(c, "x"), Rows(c, "out"), Rows(c, "k"), c.where
    u3, (z0, z1, z2) = drawn[3], (drawn[4 + r] for r in range(3))
    active, wide = w[W_ACTIVE] > 0.0, w[W_WIDE]
    noise, slope, wander, episode = a[M_NOISE], a[M_SLOPE], a[M_QUALITY], a[M_EPISODE]
    fresh = f[N_A00] * noise + f[N_A01] * slope + f[N_L00] * z0
    a[M_SLOPE] = where(active, f[N_A10] * noise + f[N_A11] * slope + f[N_L10] * z0 + f[N_L11] * z1, slope)
    a[M_NOISE] = where(active, fresh, noise)
    moved = f[N_QUALITY_KEEP] * wander + f[N_QUALITY_FRESH] * z2
    a[M_QUALITY] = where(active, moved, wander)
    quality, under = f[N_QUALITY] + f[N_QUALITY_SD] * moved, episode > 0.0
    quality = where(under, quality.least(a[M_LEVEL]), quality)
    bias = where(under, a[M_BIAS], 0.0)
    a[M_EPISODE] = where(active & under & (u3 < f[N_STOP]), 0.0, episode)
    c.mark("out", W_STARTS, active & ~under & (u3 < f[N_START]))
    quality = c.real(100.0).least(c.real(0.0).most(quality))
    w[W_BACK] = (a[M_DELAY] + f[N_DELAY] * (1.0 - quality / 100.0)) / f[N_TICK]
    w[W_NOISE], w[W_BIAS], w[W_QUALITY] = wide * fresh, wide * bias, quality

    f, w, drawn, where = Rows(after, "p"), Rows(after, "out"), Rows(after, "k"), after.where
    shown = w[W_TOTAL] / f[N_WINDOW] + w[W_NOISE] + w[W_BIAS] + w[W_DRIFT]
    shown, step = after.real(100.0).least(after.real(0.0).most(shown)), f[N_STEP]
    shown = where(step > 0.0, step * (shown / step + 0.5).floor(), shown)
    # the other end of the uniform that starts and stops artefacts
    none = (w[W_QUALITY] < f[N_BLANK]) | (drawn[3] > 1.0 - f[N_MISSING])
    w[W_SHOWN], w[W_STAMP] = where(none, math.nan, shown), where(none, math.nan, w[W_TIME])
    return c.address("monitor, quality", "monitor"), after.address("monitor, reading", "monitor")


@jit
def monitor_artefact(f, a, lane, seed, patient, count):
    """An artefact starts at tick ``count``: from the next sample on."""
    v0, v1, _, _ = uniforms(seed, patient, SIGNAL, count)
    put(a, M_EPISODE * LANES + lane, 1.0)
    put(a, M_LEVEL * LANES + lane, get(f, N_LEVEL * LANES) + get(f, N_LEVEL_RANGE * LANES) * v0)
    put(a, M_BIAS * LANES + lane, get(f, N_BIAS * LANES) * normal_of(v1))


@jit
def monitor_delayed(f, a, lane, ring, count, back):
    """The sum over the window of the true BIS ``back`` ticks before tick ``count``."""
    total = 0.0
    for w in range(np.int64(get(f, N_WINDOW * LANES))):
        total += _delayed(a, lane, ring, count, back + w)
    return total


@jit
def pressure_read(f, seed, patient, count, true):
    """Mean arterial pressure at tick ``count``, NaN between samples."""
    if count % np.int64(get(f, N_PRESSURE_TICKS * LANES)) != 0:
        return math.nan
    u0, _, _, _ = uniforms(seed, patient, PRESSURE, count)
    return true + get(f, N_PRESSURE * LANES) * normal_of(u0)
