"""Following a patient by the minute or the second: what is estimated, what wanders, what the sensor does.

The common statement of all three estimators (`twin.ukf`, `twin.particle`, `twin.horizon`). The estimated ("augmented")
state of one patient is::

    z = [ the model's states | estimated random effects | disturbances of inputs | offset | coloured sensor error ]

- states move by the model, plus a process noise for what the model leaves out;
- random effects are the patient's own; they may drift, pulled back to their prior over ``memory``, so that they never
  get wider than the population (an Ornstein–Uhlenbeck process whose stationary law is the prior);
- disturbances of inputs (carbohydrate mis-counted, unexplained appearance of glucose), the output's offset (surgical
  stimulation) and the coloured part of the sensor's error wander likewise;
- the offset is part of the truth, the coloured error is not: a reading is output + offset + coloured + white noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.model import Model
from ..pkpd.system import system

__all__ = ["Disturbed", "Follow", "Process", "Sensor", "Wander", "Watch"]


@dataclass(frozen=True, slots=True)
class Wander:
    """A quantity that wanders around 0.

    Args:
        sd: stationary SD; where ``tau`` is infinite, the SD a random walk gains per square root of the time unit.
        tau: time constant with which it forgets (the model's time unit), ``math.inf`` for a random walk.
        start: SD at the start; default ``sd`` where it forgets, 0 for a walk.
        order: 1: Ornstein-Uhlenbeck, correlation exp(-t/tau). 2: smooth, white noise through a critically damped
            second-order filter of time constant tau, correlation (1 + t/tau) exp(-t/tau); it takes two rows.
    """

    sd: float
    tau: float = math.inf
    start: float | None = None
    order: int = 1

    @property
    def first(self) -> float:
        """SD at the start."""
        return self.start if self.start is not None else (0.0 if math.isinf(self.tau) else self.sd)

    def motion(self, interval: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Over an interval: transition and covariance of what is added, (order, order); then the SDs at the start."""
        if self.order == 1:
            return np.array([[self.keep(interval)]]), np.array([[self.gained(interval) ** 2]]), np.array([self.first])
        a = interval / self.tau  # rows: value, and its rate in units of sd / tau
        A = math.exp(-a) * np.array([[1 + a, a], [-a, 1 - a]])
        return A, self.sd**2 * (np.eye(2) - A @ A.T), np.array([self.first, self.sd])

    def keep(self, interval: float) -> float:
        """The share of its value kept over an interval."""
        return math.exp(-interval / self.tau)

    def gained(self, interval: float) -> float:
        """SD of what is added over an interval."""
        if math.isinf(self.tau):
            return self.sd * math.sqrt(interval)
        return self.sd * math.sqrt(-math.expm1(-2 * interval / self.tau))


@dataclass(frozen=True, slots=True)
class Process:
    """Process noise of one state, for what the model leaves out.

    Args:
        relative: SD as a share of the state's value, per square root of the time unit.
        absolute: SD in the state's unit, per square root of the time unit.
        start_relative, start_absolute: SD of the starting value around the model's own (or the given) start.
    """

    relative: float = 0.0
    absolute: float = 0.0
    start_relative: float = 0.0
    start_absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class Disturbed:
    """An input that is not quite what was announced: the model sees ``u + d``, or ``u · exp(d)`` with ``scale``.

    Args:
        inputs: names of the model's inputs (or routes) that share the disturbance d.
        wander: how d moves.
        scale: a factor exp(d) in place of a sum.
        onset: d starts afresh (mean 0, SD ``wander.first``) whenever the first of ``inputs`` rises from 0: each meal is
            mis-counted anew.
    """

    inputs: tuple[str, ...]
    wander: Wander
    scale: bool = False
    onset: bool = False


@dataclass(frozen=True, slots=True)
class Sensor:
    """The sensor that reads one output.

    Args:
        additive: SD of the white error (the output's unit); ``proportional`` its share of the value (variances add).
        coloured: the slow part of the sensor's error, no part of the truth; a `Wander` or several, which add up.
        delay: how long a reading lags behind (time unit): a number, or the name of an individual parameter.
        low, high: readings outside are no readings (default: the output's physical range).
        quality: readings whose quality (0–100) is lower are not used; above it the white variance is multiplied by
            (100 / quality)².
        quality_delay: the delay is longer by this times (1 - quality / 100).
    """

    additive: float = 0.0
    proportional: float = 0.0
    coloured: Wander | Sequence[Wander] | None = None
    delay: float | str = 0.0
    low: float | None = None
    high: float | None = None
    quality: float = 0.0
    quality_delay: float = 0.0

    @property
    def slow(self) -> tuple[Wander, ...]:
        """The parts of the coloured error."""
        if self.coloured is None:
            return ()
        return (self.coloured,) if isinstance(self.coloured, Wander) else tuple(self.coloured)


@dataclass(frozen=True, slots=True)
class Watch:
    """When a reading is thought wrong, and when the belief is.

    Args:
        gate: a reading more than this many predicted SDs away is not used, and counted …
        patience: … until that many in a row: then the belief is wrong and not the sensor. It is widened until the
            reading lies ``settle`` SDs away, and the reading is used.
        settle: see above.
        memory: number of readings over which the squared normalised innovations are averaged.
        alarm: average above which the belief is called inconsistent and its process noise is multiplied up …
        most: … by at most this factor (of the variance).
    """

    gate: float = 5.0
    patience: int = 3
    settle: float = 2.0
    memory: float = 12.0
    alarm: float = 1.6
    most: float = 25.0


@dataclass(frozen=True, eq=False)
class Follow:
    """What is followed, how it may move, and how it is measured. All times in the model's time unit.

    Args:
        model: the model the estimator believes in.
        interval: time between two calls of `Follower.step`.
        output: the measured output.
        sensor: its sensor.
        truth: the output that matters (plasma glucose, where the sensor lies elsewhere); default the measured one.
        effects: names of the random effects to estimate (default all); the others stay at their given mean.
        memory: time constant with which effects drift back to their prior; infinite: they are constants. A number, or
            one for each effect by name (the rest constants).
        states: process noise by state; states not named have none.
        disturbed: disturbances of inputs.
        offset: disturbance of the output that is part of the truth (added to both outputs where they differ).
        signed: states that may be negative; all others are held at 0 or above whenever the model reads them.
        late: how late a reading may come (beyond the sensor's delay) and still be put in its place.
        longest_delay: upper bound of the sensor's delay where that is a parameter of the patient.
        step: longest step of the fixed-step march; default the model's own.
        watch: gate and consistency.

    Raises:
        DoseloopError: listing everything wrong with the statement.
    """

    model: Model
    interval: float
    output: str
    sensor: Sensor
    truth: str | None = None
    effects: Sequence[str] | None = None
    memory: float | Mapping[str, float] = math.inf
    states: Mapping[str, Process] = field(default_factory=dict)
    disturbed: Sequence[Disturbed] = ()
    offset: Wander | None = None
    signed: Sequence[str] = ()
    late: float = 0.0
    longest_delay: float = 0.0
    step: float | None = None
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        chosen = self.model.names("effects") if self.effects is None else self.effects
        object.__setattr__(self, "effects", tuple(chosen))
        object.__setattr__(self, "truth", self.output if self.truth is None else self.truth)
        object.__setattr__(self, "disturbed", tuple(self.disturbed))
        object.__setattr__(self, "signed", tuple(self.signed))
        object.__setattr__(self, "states", dict(self.states))
        problems = _problems(self)
        if problems:
            raise DoseloopError([f"following '{self.model.id}': {p}" for p in problems])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the augmented state's rows, in order."""
        disturbances = tuple("disturbed " + "+".join(d.inputs) for d in self.disturbed)
        extra: tuple[str, ...] = ()
        named = [("offset", self.offset)] if self.offset is not None else []
        named += [("coloured" if i == 0 else f"coloured {i + 1}", w) for i, w in enumerate(self.sensor.slow)]
        for name, w in named:
            extra += (name, f"{name} rate")[: w.order]
        return self.model.names("states") + tuple(self.effects or ()) + disturbances + extra

    @property
    def size(self) -> int:
        """Number of rows of the augmented state."""
        return len(self.names)

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the columns of ``inputs``: the model's inputs, then its routes (rates)."""
        return self.model.names("inputs") + self.model.names("routes")

    def memory_of(self, effect: str) -> float:
        """Time constant of one effect's drift."""
        if isinstance(self.memory, Mapping):
            return self.memory.get(effect, math.inf)
        return self.memory


def _problems(f: Follow) -> list[str]:
    bad, m = [], f.model
    if not (f.interval > 0 and math.isfinite(f.interval)):
        bad.append(f"the interval is {f.interval}; it must be above 0")
    known = m.names("outputs")
    bad += [f"no output '{o}'; there are {', '.join(known)}" for o in {f.output, str(f.truth)} if o not in known]
    effects = tuple(f.effects or ())
    bad += [f"no random effect '{e}'" for e in effects if e not in m.names("effects")]
    if len(set(effects)) < len(effects):
        bad.append("an effect is named twice")
    for kind, names in (("states", f.states), ("signed", f.signed)):
        bad += [f"{kind}: no state '{s}'" for s in names if s not in m.names("states")]
    signals = f.signals
    for d in f.disturbed:
        bad += [f"disturbed: no input or route '{n}'" for n in d.inputs if n not in signals]
        if not d.inputs:
            bad.append("disturbed: a disturbance names no input")
    wanders = {"disturbed " + "+".join(d.inputs): d.wander for d in f.disturbed}
    wanders |= {"offset": f.offset} if f.offset else {}
    wanders |= {f"coloured {i + 1}": w for i, w in enumerate(f.sensor.slow)}
    for name, w in wanders.items():
        if w.order not in (1, 2) or (w.order == 2 and (name.startswith("disturbed") or math.isinf(w.tau))):
            bad.append(f"{name}: order {w.order}; 1, or 2 with a finite tau and for no input")
        if not (w.sd >= 0 and math.isfinite(w.sd)) or not w.tau > 0 or not (0 <= w.first < math.inf):
            bad.append(f"{name}: sd {w.sd}, tau {w.tau}, start {w.start}")
    for name, p in f.states.items():
        sizes = (p.relative, p.absolute, p.start_relative, p.start_absolute)
        if not all(v >= 0 and math.isfinite(v) for v in sizes):
            bad.append(f"process noise of '{name}' is {sizes}; finite numbers from 0 up are meant")
    times = dict(f.memory) if isinstance(f.memory, Mapping) else dict.fromkeys(effects, f.memory)
    bad += [f"memory: no estimated effect '{e}'" for e in times if e not in effects]
    bad += [f"memory of '{e}' is {v}; it must be above 0" for e, v in times.items() if not v > 0]
    s = f.sensor
    if not (s.additive >= 0 and s.proportional >= 0 and 0 < s.additive + s.proportional < math.inf):
        bad.append(f"the sensor's white error is {s.additive} and {s.proportional}; not both may be 0")
    if isinstance(s.delay, str):
        if s.delay not in m.individual_units:
            bad.append(f"the sensor's delay '{s.delay}' is no individual parameter")
        if not 0 < f.longest_delay < math.inf:
            bad.append("a delay by patient needs longest_delay")
    elif not 0 <= s.delay < math.inf:
        bad.append(f"the sensor's delay is {s.delay}")
    if not (0 <= s.quality <= 100 and 0 <= s.quality_delay < math.inf):
        bad.append(f"the sensor's quality is {s.quality}, its quality_delay {s.quality_delay}")
    if not 0 <= f.late < math.inf:
        bad.append(f"late is {f.late}")
    if not system(m).linear and not 0 < (m.step if f.step is None else f.step) < math.inf:
        bad.append("the model declares no fixed step: name one")
    a = f.watch
    if not (a.gate > a.settle > 0 and a.patience >= 1 and a.memory >= 1 and a.alarm > 1 and a.most >= 1):
        bad.append(f"watch: {a}")
    return bad
