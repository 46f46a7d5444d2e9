"""What the guard of a bedside environment is told of a dose: probabilities of harm by plain rules, compiled.

One compartment, population kinetics from weight and measured creatinine, and the ratio of measured to expected levels.
It shares nothing with the twin, the controller and their models: a controller's forecast is as wrong as its model, and
that is when the guard is needed.

- **Kinetics**: V litres and CL = fixed + renal · creatinine clearance (Cockcroft and Gault, from the laboratory's
  creatinine of the day); doses as they were confirmed.
- **Ratio**: the logarithm of a true level over the expected one is normal, at first with mean 0 and SD ``spread``. A
  result moves it by its share of the doubt (a scalar Kalman filter: error of the log √(error² + (floor/level)²)), and
  every day adds ``drift`` to its SD. Results older than one that was used are left out, and those without a value.
- **Harms** of a dose, in median, over ``above``, as a normal probability of the logarithm:
  AUC24: the area of the 24 h that end when the next decision is due, in which every day's dosing counts once and no
  coming dose has to be guessed; trough: the level when the usual next dose is due, from 12 h (clearance above 60
  mL/min) over 24 h to 48 h (20 or less), with nothing given before; peak: the level at the infusion's end.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..pkpd.jit import jit

__all__ = ["AUC24", "PEAK", "TROUGH", "Kinetics", "Memory", "gate_predict", "gate_take"]

AUC24, TROUGH, PEAK = range(3)
OFTEN, SELDOM = 60.0, 20.0  # mL/min above which the usual interval is 12 h, and 24 h; else 48 h


class Kinetics(NamedTuple):
    """The plain rules' numbers.

    Attributes:
        volume: L/kg. fixed: L/h/kg, clearance that does not depend on the kidneys. base: L/h. renal: L/h per mL/min.
        spread, drift: SD of the log ratio at first, and what a day adds.
        error, floor: coefficient of variation, and mg/L, of a measured level.
        shortest, fastest: of infusions: h, mg/h. step: h, whole numbers of which an infusion lasts.
        interval: h between decisions.
    """

    volume: float
    fixed: float
    base: float
    renal: float
    spread: float
    drift: float
    error: float
    floor: float
    shortest: float
    fastest: float
    step: float
    interval: float


class Memory(NamedTuple):
    """What the gate keeps of n patients; rows of ``k`` intervals, the newest first.

    Attributes:
        count: (n,) intervals known. amount, time, duration: (n, k) doses.
        board: (n, k) drug expected in the body at the start of each interval, mg. loss: (n, k) rate, 1/h.
        area: (n, k) expected AUC of each interval, mg·h/L.
        now: (n,) drug expected in the body now. given: (n,) all that was given, mg. clear: (n,) creatinine clearance,
            mL/min.
        ratio, doubt: (n,) mean and variance of the log ratio. used: (n,) sample time of the newest result used, h.
    """

    count: Any
    amount: Any
    time: Any
    duration: Any
    board: Any
    loss: Any
    area: Any
    now: Any
    given: Any
    clear: Any
    ratio: Any
    doubt: Any
    used: Any


@jit
def _after(board, loss, rate, length, t):
    """Drug in the body (mg) t h after the start of an infusion of ``length`` h."""
    during = min(t, length)
    rest = math.exp(-loss * during)
    return (board * rest + rate / loss * (1.0 - rest)) * math.exp(-loss * (t - during))


@jit
def duration_of(q, dose):
    """h over which a dose runs in."""
    steps = max(1.0, math.ceil(max(q.shortest, dose / q.fastest) / q.step - 1e-9))
    return min(steps * q.step, q.interval)


@jit
def gate_take(q, m, weight, made, serum, given, length, clock, values, times, which, first, last):
    """The last interval's doses into the record, and new results into the ratio, of patients first … last − 1.

    Args:
        q, m: numbers, memory.
        weight: (n,) kg. made: (n,) clearance times creatinine (mL/min · mg/dL). serum: (n,) mg/dL, NaN: none.
        given, length: (n, 1) dose (mg) and (n,) duration (h) of the last interval. clock: (n,) h since admission.
        values, times: (r, n) results, the newest sample first.
        which: (n,) booleans: for whom.
    """
    k = m.amount.shape[1]
    for i in range(first, last):
        if not which[i]:
            continue
        volume = q.volume * weight[i]
        if clock[i] > 0.0:
            for r in range(k - 1, 0, -1):
                m.amount[i, r], m.time[i, r], m.duration[i, r] = (
                    m.amount[i, r - 1],
                    m.time[i, r - 1],
                    m.duration[i, r - 1],
                )
                m.board[i, r], m.loss[i, r], m.area[i, r] = m.board[i, r - 1], m.loss[i, r - 1], m.area[i, r - 1]
            loss = _loss(q, weight[i], m.clear[i])
            end = _after(m.now[i], loss, given[i, 0] / length[i], length[i], q.interval)
            m.amount[i, 0], m.time[i, 0], m.duration[i, 0] = given[i, 0], clock[i] - q.interval, length[i]
            m.board[i, 0], m.loss[i, 0] = m.now[i], loss
            m.area[i, 0] = (m.now[i] + given[i, 0] - end) / (loss * volume)
            m.now[i], m.count[i], m.given[i] = end, min(m.count[i] + 1, k), m.given[i] + given[i, 0]
            m.doubt[i] += q.drift * q.drift * q.interval / 24.0
        if serum[i] > 0.0:
            m.clear[i] = made[i] / serum[i]
        for r in range(values.shape[0] - 1, -1, -1):
            if times[r, i] > m.used[i] and values[r, i] > 0.0:
                for j in range(m.count[i]):
                    since = times[r, i] - m.time[i, j]
                    if 0.0 < since <= q.interval:
                        rate = m.amount[i, j] / m.duration[i, j]
                        level = _after(m.board[i, j], m.loss[i, j], rate, m.duration[i, j], since) / volume
                        if level > 0.0:
                            error = q.error * q.error + (q.floor / values[r, i]) ** 2
                            gain = m.doubt[i] / (m.doubt[i] + error)
                            m.ratio[i] += gain * (math.log(values[r, i] / level) - m.ratio[i])
                            m.doubt[i] *= 1.0 - gain
                m.used[i] = times[r, i]


@jit
def _loss(q, weight, clear):
    return (q.base + q.fixed * weight + q.renal * clear) / (q.volume * weight)


@jit
def _over(median, above, sd):
    """Probability that a log-normal quantity is above a number."""
    if median <= 0.0:
        return 0.0
    return 0.5 * math.erfc(math.log(above / median) / (sd * math.sqrt(2.0)))


@jit
def gate_predict(q, m, weight, asked, kinds, above, duration, probability, first, last):
    """How long the asked doses run in, (n,) h, and the probabilities of their harms, (n, harms), both filled for the
    patients first … last − 1.

    Args:
        asked: (n,) mg; what is no amount, which the guard refuses, counts as 0.
        kinds, above: (harms,) which quantity, and over what.
    """
    for i in range(first, last):
        dose = asked[i] if 0.0 <= asked[i] < 1e6 else 0.0
        length = duration_of(q, dose)
        volume, loss = q.volume * weight[i], _loss(q, weight[i], m.clear[i])
        factor, sd = math.exp(m.ratio[i]), math.sqrt(m.doubt[i])
        end = _after(m.now[i], loss, dose / length, length, length)
        duration[i] = length
        for h in range(kinds.size):
            if kinds[h] == AUC24:
                area = (m.now[i] + dose - end * math.exp(-loss * (q.interval - length))) / (loss * volume)
                for r in range(min(round(24.0 / q.interval) - 1, m.count[i])):
                    area += m.area[i, r]
                probability[i, h] = _over(factor * area, above[h], sd)
            elif kinds[h] == TROUGH:
                due = 12.0 if m.clear[i] > OFTEN else 24.0 if m.clear[i] > SELDOM else 48.0
                level = end * math.exp(-loss * (max(due, q.interval) - length)) / volume
                probability[i, h] = _over(factor * level, above[h], sd)
            else:
                probability[i, h] = _over(factor * max(end, m.now[i]) / volume, above[h], sd)
