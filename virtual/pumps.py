"""Insulin pumps and syringe pumps: what is asked is rounded down, limited, late, and sometimes does not arrive.

Every rule errs on the side of less: amounts are rounded down to the pump's increment, what a limit cuts off is lost and
not saved up, and a pump never gives more than it was asked for. What enters the patient, what still stands in a blocked
line, in the queue or in the running remainder, and what was cut, add up to what was asked (tests/test_pumps.py).

An occlusion shows only when enough has piled up in the line (``alarm``): until then the pump confirms what it pushed
although nothing arrives. When the line opens, what piled up enters at once.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..pkpd.calls import get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES

__all__ = ["InsulinPump", "SyringePump"]

HOUR = 13  # buckets of 5 min (the last one filling): any 60 min lie within 13 of them


@dataclass(frozen=True, slots=True)
class InsulinPump:
    """An insulin pump; every field is one number for all, or one for each patient.

    Args:
        basal_step: U/h; a basal rate is rounded down to a multiple (0: any rate).
        bolus_step: U; a bolus is rounded down to a multiple (0: any amount).
        pulse: U; insulin leaves the pump in pulses of this size (0: continuously).
        max_basal: U/h. max_bolus: U, of one command. hourly: U in any 60 min (kept in buckets of 5 min, so that up to
            65 min count).
        bolus_rate: U/min at which a bolus is given.
        latency: whole minutes from command to effect; the old rate goes on meanwhile.
        alarm: U that pile up in a blocked line before the pump notices.
    """

    basal_step: float = 0.05
    bolus_step: float = 0.05
    pulse: float = 0.05
    max_basal: float = 30.0
    max_bolus: float = 30.0
    hourly: float = 60.0
    bolus_rate: float = 1.5
    latency: float = 0.0
    alarm: float = 2.0

    @classmethod
    def named(cls, name: str) -> InsulinPump:
        """ "omnipod" (steps 0.05 U, 1.5 U/min, 30 U/h and 30 U at most: its user guide), "fine" (0.025 U, 35 U/h, 25 U,
        1.5 U/min: Medtronic's 600 series guide), "ideal" (no steps, a bolus within a minute, limits out of the way),
        "simglucose" (as "ideal": that simulator's Insulet has steps of 0.05 pmol and a limit of 30 U per *minute*).

        The hourly limit is ours, twice the largest basal rate; the alarm's 2 U are of the order of measured delays
        (hours at 1 U/h; Freckmann 2018 found 2 to 4 h).
        """
        free = cls(0, 0, 0, 1800, 1800, math.inf, 1800, 0, 2.0)
        known = {
            "omnipod": cls(),
            "fine": cls(0.025, 0.025, 0.025, 35, 25, 70, 1.5),
            "ideal": free,
            "simglucose": free,
        }
        return _pick(known, name, "insulin pump")


@dataclass(frozen=True, slots=True)
class SyringePump:
    """A syringe pump for one drug; every field is one number for all, or one for each patient.

    Args:
        concentration: amount per mL (mg/mL, or µg/mL for remifentanil).
        step: mL/h; a rate is rounded down to a multiple (0: any rate).
        max_rate: mL/h.
        syringe: mL in a full one. change: minutes without drug while an empty one is changed.
        alarm: mL that pile up in a blocked line before the pump notices.
    """

    concentration: float = 20.0
    step: float = 0.1
    max_rate: float = 1200.0
    syringe: float = 50.0
    change: float = 1.0
    alarm: float = 1.0

    @classmethod
    def named(cls, name: str) -> SyringePump:
        """ "propofol" (2 %: 20 mg/mL; 1200 mL/h = 6.67 mg/s), "remifentanil" (50 µg/mL; 16.67 µg/s), "ideal" (any
        rate, never empty). Steps of 0.1 mL/h and 1200 mL/h are those of the pumps in the closed-loop literature.
        """
        known = {
            "propofol": cls(),
            "remifentanil": cls(concentration=50.0),
            "ideal": cls(1.0, 0.0, math.inf, math.inf, 0.0, math.inf),
        }
        return _pick(known, name, "syringe pump")


def _pick(known: dict[str, Any], name: str, what: str) -> Any:
    if name not in known:
        raise DoseloopError(f"{what} '{name}' is unknown; known: {', '.join(known)}")
    return known[name]


def settings(device: Any, n: int, what: str) -> np.ndarray:
    """A device's numbers as (blocks, fields, 8), one row a field in the order of declaration.

    Raises:
        DoseloopError: listing every field with the wrong shape, below 0 or NaN.
    """
    rows, bad = [], []
    for f in fields(device):
        value = np.asarray(getattr(device, f.name), dtype=float)
        if value.shape not in ((), (n,)):
            bad.append(f"{what}: {f.name} has shape {value.shape}; one number or ({n},) is meant")
        elif not (value >= 0).all():
            bad.append(f"{what}: {f.name} must be 0 or above")
        else:
            full = np.broadcast_to(value, (n,))
            rows.append(np.concatenate([full, np.repeat(full[-1:], -n % LANES)]))
    if bad:
        raise DoseloopError(bad)
    return np.ascontiguousarray(np.array(rows).reshape(len(rows), -1, LANES).transpose(1, 0, 2))


# insulin ------------------------------------------------------------------------------------------------------------

# rows of the settings, as InsulinPump declares them, then the bolus rate in whole pulses
BASAL_STEP, BOLUS_STEP, PULSE, MAX_BASAL, MAX_BOLUS, HOURLY, BOLUS_RATE, LATENCY, ALARM, BOLUS_PULSES = range(10)
INSULIN_SETTINGS = 10
# rows of the state
(
    RATE,  # U/h, in effect
    NEXT_RATE,
    NEXT_BOLUS,
    WAIT,  # minutes until the command takes effect
    QUEUE,  # U of bolus to come
    CARRY,  # U of basal due but less than a pulse
    HELD,  # U in a blocked line
    CUT,  # U that a limit or an alarm cut off, since admission
    GIVEN,  # U into the patient, since admission
    SAID_BASAL,  # U confirmed over this control interval
    SAID_BOLUS,
    BLOCKED,  # 1 where the line is blocked
    HOURS,  # U pushed in the buckets, and in the one that is filling
    FILLING,
    AGE,  # minutes it has been filling
    PLACE,  # which is the oldest bucket
    BUCKETS,
) = range(17)
PUMP_ROWS = BUCKETS + HOUR - 1


def insulin_settings(pump: InsulinPump, n: int) -> np.ndarray:
    """An insulin pump's numbers as (blocks, INSULIN_SETTINGS, 8)."""
    rows = settings(pump, n, "insulin pump")
    pulse, rate = rows[:, PULSE], rows[:, BOLUS_RATE]
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(pulse > 0, pulse * np.floor(rate / pulse + 1e-9), rate)
    return np.concatenate([rows, whole[:, None]], axis=1)


@jit
def _down(amount, step):
    """Rounded down to a multiple; a billionth over counts as reached."""
    return step * np.floor(amount / step + 1e-9) if step > 0.0 else amount


@jit
def insulin_admit(a, lane, basal):
    """A fresh pump that has been running at the basal rate (U/h)."""
    for r in range(PUMP_ROWS):
        put(a, r * LANES + lane, 0.0)
    put(a, RATE * LANES + lane, basal)
    put(a, NEXT_RATE * LANES + lane, basal)


@jit
def insulin_command(c, a, lane, basal, bolus):
    """Take a command (U/h, U): rounded down, limited, in effect after the latency."""
    rate = _down(min(basal, get(c, MAX_BASAL * LANES + lane)), get(c, BASAL_STEP * LANES + lane))
    dose = _down(min(bolus, get(c, MAX_BOLUS * LANES + lane)), get(c, BOLUS_STEP * LANES + lane))
    put(a, NEXT_RATE * LANES + lane, rate)
    put(a, NEXT_BOLUS * LANES + lane, get(a, NEXT_BOLUS * LANES + lane) + dose)
    put(a, WAIT * LANES + lane, get(c, LATENCY * LANES + lane))
    put(a, SAID_BASAL * LANES + lane, 0.0)
    put(a, SAID_BOLUS * LANES + lane, 0.0)


@jit
def _turn(a, lane):
    """After five minutes the bucket that was filling takes the place of the oldest."""
    place = np.int64(get(a, PLACE * LANES + lane))
    put(a, (BUCKETS + place) * LANES + lane, get(a, FILLING * LANES + lane))
    put(a, PLACE * LANES + lane, np.float64((place + 1) % (HOUR - 1)))
    put(a, FILLING * LANES + lane, 0.0)
    put(a, AGE * LANES + lane, 0.0)
    total = 0.0
    for r in range(BUCKETS, PUMP_ROWS):
        total += get(a, r * LANES + lane)
    put(a, HOURS * LANES + lane, total)


@jit
def insulin_minute(c, a, units):
    """Run the pumps of a block for a minute; the U that enter each patient go to the 8 numbers at ``units``."""
    for lane in range(LANES):
        if get(a, AGE * LANES + lane) >= 5.0:
            _turn(a, lane)
    for lane in range(LANES):  # no branches: LLVM does the lanes four at a time
        wait = get(a, WAIT * LANES + lane)
        fresh, waiting = get(a, NEXT_BOLUS * LANES + lane), wait > 0.0
        rate = get(a, RATE * LANES + lane) if waiting else get(a, NEXT_RATE * LANES + lane)
        queue = get(a, QUEUE * LANES + lane) + (0.0 if waiting else fresh)
        put(a, RATE * LANES + lane, rate)
        put(a, NEXT_BOLUS * LANES + lane, fresh if waiting else 0.0)
        put(a, WAIT * LANES + lane, wait - 1.0 if waiting else wait)
        due = get(a, CARRY * LANES + lane) + rate / 60.0
        basal = _down(due, get(c, PULSE * LANES + lane))
        put(a, CARRY * LANES + lane, max(0.0, due - basal))
        bolus = queue if queue <= get(c, BOLUS_RATE * LANES + lane) else get(c, BOLUS_PULSES * LANES + lane)
        put(a, QUEUE * LANES + lane, queue - bolus)
        held, blocked = get(a, HELD * LANES + lane), get(a, BLOCKED * LANES + lane) > 0.0
        room = max(0.0, get(c, HOURLY * LANES + lane) - get(a, HOURS * LANES + lane))
        # a pump that has noticed the blocked line stands still
        room = 0.0 if blocked and held >= get(c, ALARM * LANES + lane) else room
        wanted = basal + bolus
        bolus = min(bolus, room)
        basal = min(basal, room - bolus)
        pushed = basal + bolus
        put(a, CUT * LANES + lane, get(a, CUT * LANES + lane) + (wanted - pushed))
        put(a, HOURS * LANES + lane, get(a, HOURS * LANES + lane) + pushed)
        put(a, FILLING * LANES + lane, get(a, FILLING * LANES + lane) + pushed)
        put(a, AGE * LANES + lane, get(a, AGE * LANES + lane) + 1.0)
        put(a, SAID_BASAL * LANES + lane, get(a, SAID_BASAL * LANES + lane) + basal)
        put(a, SAID_BOLUS * LANES + lane, get(a, SAID_BOLUS * LANES + lane) + bolus)
        enters = 0.0 if blocked else pushed + held
        put(a, HELD * LANES + lane, held + pushed if blocked else 0.0)
        put(a, GIVEN * LANES + lane, get(a, GIVEN * LANES + lane) + enters)
        put(units, lane, enters)


# syringes -----------------------------------------------------------------------------------------------------------

# rows of the settings, as SyringePump declares them
CONCENTRATION, STEP, MAX_RATE, SYRINGE, CHANGE, LINE_ALARM = range(6)
# rows of the state
(
    S_RATE,  # amount/min, in effect
    S_LEFT,  # mL in the syringe
    S_CHANGE,  # minutes until the new syringe runs
    S_HELD,  # amount in a blocked line
    S_CUT,  # amount that an empty syringe or an alarm cut off, since admission
    S_GIVEN,  # amount into the patient, since admission
    S_SAID,  # amount confirmed over this control interval
) = range(7)
SYRINGE_ROWS, SYRINGE_SETTINGS = 7, 6


@jit
def syringe_admit(c, a, lane):
    """A full syringe at rest."""
    for r in range(SYRINGE_ROWS):
        put(a, r * LANES + lane, 0.0)
    put(a, S_LEFT * LANES + lane, get(c, SYRINGE * LANES + lane))


@jit
def syringe_command(c, a, lane, rate):
    """Take a rate (amount/min), rounded down to the pump's step and limited."""
    scale = get(c, CONCENTRATION * LANES + lane) / 60.0  # amount/min in a mL/h
    volume = _down(min(rate / scale, get(c, MAX_RATE * LANES + lane)), get(c, STEP * LANES + lane))
    put(a, S_RATE * LANES + lane, min(rate, volume * scale))
    put(a, S_SAID * LANES + lane, 0.0)


@jit
def syringe_tick(c, a, lane, dt, occluded):
    """Run the pump for ``dt`` minutes: the amount that enters the patient."""
    wanted = get(a, S_RATE * LANES + lane) * dt
    strength = get(c, CONCENTRATION * LANES + lane)
    held, left = get(a, S_HELD * LANES + lane), get(a, S_LEFT * LANES + lane)
    pushed = wanted
    if occluded and held >= get(c, LINE_ALARM * LANES + lane) * strength:
        pushed = 0.0
    if left < math.inf:
        change = get(a, S_CHANGE * LANES + lane)
        if change > 0:
            pushed, change = 0.0, change - dt
            if change <= 1e-12:
                change, left = 0.0, get(c, SYRINGE * LANES + lane)
        else:
            pushed = min(pushed, left * strength)
            left -= pushed / strength
            if left <= 1e-12:
                change = get(c, CHANGE * LANES + lane)
                left = 0.0 if change > 0 else get(c, SYRINGE * LANES + lane)
        put(a, S_CHANGE * LANES + lane, change)
        put(a, S_LEFT * LANES + lane, left)
    put(a, S_CUT * LANES + lane, get(a, S_CUT * LANES + lane) + wanted - pushed)
    put(a, S_SAID * LANES + lane, get(a, S_SAID * LANES + lane) + pushed)
    if occluded:
        put(a, S_HELD * LANES + lane, held + pushed)
        return 0.0
    put(a, S_HELD * LANES + lane, 0.0)
    put(a, S_GIVEN * LANES + lane, get(a, S_GIVEN * LANES + lane) + pushed + held)
    return pushed + held
