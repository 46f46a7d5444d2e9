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
from functools import lru_cache
from typing import Any

import numpy as np

from ..pkpd.calls import call_kernel, get, put
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.vcode import Code, Real, Rows

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
def insulin_admit(a, lane, basal):
    """A fresh pump that has been running at the basal rate (U/h)."""
    for r in range(PUMP_ROWS):
        put(a, r * LANES + lane, 0.0)
    put(a, RATE * LANES + lane, basal)
    put(a, NEXT_RATE * LANES + lane, basal)


def _down(amount: Real, step: Real) -> Real:
    """Rounded down to a multiple; a billionth over counts as reached."""
    return amount.code.where(step > 0.0, step * (amount / step + 1e-9).floor(), amount)


@lru_cache(maxsize=1)
def insulin_kernels() -> tuple[int, int, int]:
    """Eight pumps at once, settings in ``p``, state in ``x``.

    Take a command (U/h and U in ``s``: rounded down, limited, in effect after the latency); let the buckets of those
    turn that have been filling for five minutes; run for a minute (the U that enter each patient go to ``out``).
    """
    command, turn, minute = Code(), Code(), Code()
    asked, c, a = Rows(command, "s"), Rows(command, "p"), Rows(command, "x")
    a[NEXT_RATE] = _down(asked[0].least(c[MAX_BASAL]), c[BASAL_STEP])
    a[NEXT_BOLUS] = a[NEXT_BOLUS] + _down(asked[1].least(c[MAX_BOLUS]), c[BOLUS_STEP])
    a[WAIT] = c[LATENCY]
    a[SAID_BASAL] = a[SAID_BOLUS] = command.real(0.0)

    a, where, nothing = Rows(turn, "x"), turn.where, turn.real(0.0)
    old, place, filling, total = a[AGE] >= 5.0, a[PLACE], a[FILLING], nothing
    for r in range(HOUR - 1):  # the bucket that was filling takes the place of the oldest
        bucket = where(old & place.equals(float(r)), filling, a[BUCKETS + r])
        a[BUCKETS + r], total = bucket, total + bucket
    a[PLACE] = where(old, where(place >= HOUR - 2.0, 0.0, place + 1.0), place)
    a[FILLING], a[AGE], a[HOURS] = where(old, 0.0, filling), where(old, 0.0, a[AGE]), where(old, total, a[HOURS])

    c, a, where = Rows(minute, "p"), Rows(minute, "x"), minute.where
    wait, fresh = a[WAIT], a[NEXT_BOLUS]
    waiting = wait > 0.0
    rate = where(waiting, a[RATE], a[NEXT_RATE])
    queue = a[QUEUE] + where(waiting, 0.0, fresh)
    a[RATE], a[NEXT_BOLUS], a[WAIT] = rate, where(waiting, fresh, 0.0), where(waiting, wait - 1.0, wait)
    due = a[CARRY] + rate / 60.0
    basal = _down(due, c[PULSE])
    a[CARRY] = minute.real(0.0).most(due - basal)
    bolus = where(queue <= c[BOLUS_RATE], queue, c[BOLUS_PULSES])
    a[QUEUE] = queue - bolus
    held, blocked = a[HELD], a[BLOCKED] > 0.0
    room = minute.real(0.0).most(c[HOURLY] - a[HOURS])
    # a pump that has noticed the blocked line stands still
    room = where(blocked & (held >= c[ALARM]), 0.0, room)
    wanted = basal + bolus
    bolus = bolus.least(room)
    basal = basal.least(room - bolus)
    pushed = basal + bolus
    for row, more in (
        (CUT, wanted - pushed),
        (HOURS, pushed),
        (FILLING, pushed),
        (AGE, minute.real(1.0)),
        (SAID_BASAL, basal),
        (SAID_BOLUS, bolus),
    ):
        a[row] = a[row] + more
    enters = where(blocked, 0.0, pushed + held)
    a[HELD], a[GIVEN] = where(blocked, held + pushed, 0.0), a[GIVEN] + enters
    minute.store("out", 0, enters)
    take, go_on, run = (k.address("insulin pump", "pump") for k in (command, turn, minute))
    return take, go_on, run


@jit
def insulin_minute(turn, minute, c, a, units):
    """Run the pumps of a block for a minute by two of `insulin_kernels`."""
    old = 0
    for lane in range(LANES):
        old |= get(a, AGE * LANES + lane) >= 5.0
    if old:
        call_kernel(turn, 0, a, c, 0, 0, 0)
    call_kernel(minute, 0, a, c, 0, 0, units)


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


@lru_cache(maxsize=1)
def syringe_kernels() -> tuple[int, int]:
    """Eight pumps at once, settings in ``p``, state in ``x``.

    Take a rate (amount/min in ``s``), rounded down to the pump's step and limited; run for ``k`` minutes, the line
    being blocked where ``s`` is above 0: the amounts a minute that enter each patient go to ``out``.
    """
    command, run = Code(), Code()
    c, a, rate = Rows(command, "p"), Rows(command, "x"), command.load("s", 0)
    scale = c[CONCENTRATION] / 60.0  # amount/min in a mL/h
    volume = _down((rate / scale).least(c[MAX_RATE]), c[STEP])
    a[S_RATE], a[S_SAID] = rate.least(volume * scale), command.real(0.0)

    c, a, where = Rows(run, "p"), Rows(run, "x"), run.where
    dt, blocked = run.load("k", 0), run.load("s", 0) > 0.0
    wanted, strength, held, left, change = a[S_RATE] * dt, c[CONCENTRATION], a[S_HELD], a[S_LEFT], a[S_CHANGE]
    pushed = where(blocked & (held >= c[LINE_ALARM] * strength), 0.0, wanted)
    empties, changing = left < math.inf, change > 0.0  # one that is never empty is never changed
    rest = change - dt
    done, full = rest <= 1e-12, c[SYRINGE]
    most = pushed.least(left * strength)
    after = left - most / strength
    out, wait = after <= 1e-12, c[CHANGE]
    pushed = where(empties, where(changing, 0.0, most), pushed)
    a[S_CHANGE] = where(empties, where(changing, where(done, 0.0, rest), where(out, wait, change)), change)
    refilled = where(out, where(wait > 0.0, 0.0, full), after)
    a[S_LEFT] = where(empties, where(changing, where(done, full, left), refilled), left)
    a[S_CUT] = a[S_CUT] + wanted - pushed
    a[S_SAID] = a[S_SAID] + pushed
    given = a[S_GIVEN]
    a[S_GIVEN] = where(blocked, given, given + pushed + held)
    a[S_HELD] = where(blocked, held + pushed, 0.0)
    run.store("out", 0, where(blocked, 0.0, pushed + held) / dt)
    return command.address("syringe pump", "pump"), run.address("syringe pump", "pump")
