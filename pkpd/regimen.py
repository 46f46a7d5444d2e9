"""What is given, and when: doses, resets, and the regimen that holds them in the order of time.

Times are in the model's time unit (h unless a model says otherwise), amounts in the amount unit of the route, rates in
amount per time. The words follow NONMEM's data items: ``additional`` is ADDL, ``interval`` II, ``steady_state`` SS,
``reset`` EVID 4, `Reset` EVID 3, ``modelled`` RATE −1 or −2 (docs/records.md says where we differ).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .errors import RegimenError

__all__ = ["MAX_ADDITIONAL", "Bolus", "Dose", "Infusion", "Oral", "Regimen", "Reset"]

MAX_ADDITIONAL = 10_000
"""Most repeats of one dose (an hourly dose for over a year): more is a slip of the pen, and would fill the memory."""


class _Check:
    """Collects the problems of one event while its fields are made plain Python numbers."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.problems: list[str] = []

    def add(self, text: str) -> None:
        self.problems.append(f"{self.what}: {text}")

    def number(self, name: str, value: Any, *, signed: bool = False, positive: bool = False) -> float:
        if type(value) is not float:
            try:
                if isinstance(value, str | bytes | bool):
                    raise TypeError
                value = float(value)
            except (TypeError, ValueError, OverflowError):
                self.add(f"{name} is {value!r}, not a number")
                return math.nan
        if not math.isfinite(value):
            self.add(f"{name} is {value}, must be finite")
            return math.nan
        if not signed and value < 0:
            self.add(f"{name} is {value:g}, must not be negative")
        elif positive and value == 0:
            self.add(f"{name} is 0, must be positive")
        return value + 0.0  # −0.0 becomes 0.0, so that equal regimens have equal text

    def count(self, name: str, value: Any) -> int:
        if type(value) is int:
            return value
        try:
            if isinstance(value, bool):
                raise TypeError
            return operator.index(value)
        except TypeError:
            self.add(f"{name} is {value!r}, must be a whole number")
            return 0

    def flag(self, name: str, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        self.add(f"{name} is {value!r}, must be True or False")
        return False

    def done(self) -> None:
        if self.problems:
            raise RegimenError(self.problems)


@dataclass(frozen=True, slots=True)
class Dose:
    """One dose, or a dose with its repeats.

    Attributes:
        time: start of the (first) dose; any finite number, a negative one lies before the clock's zero.
        amount: amount given, in the route's amount unit; positive. 0 only for a constant infusion at steady state
            (``rate > 0, interval == 0, steady_state == 1``).
        route: name of the route, such as ``"iv"``.
        duration: length of an infusion; None with ``rate`` None is a bolus (or the route's own first-order input).
        rate: rate of an infusion, amount per time; at most one of ``duration``, ``rate``, ``modelled``.
        modelled: ``"rate"`` (RATE −1) or ``"duration"`` (RATE −2): the model's parameter says it.
        additional: number of further doses (ADDL), ``interval`` apart.
        interval: time between doses (II), for repeats and for steady state.
        steady_state: 1: the state at this dose is the steady state of this dose given every ``interval`` for ever,
            and replaces the state; 2: it is added to the state; 0: neither.
        reset: the state is set to zero just before the dose (EVID 4).
        order: events at the same time are taken in this order (row number of a file).

    Raises:
        RegimenError: lists every field that is wrong.
    """

    time: float
    amount: float
    route: str
    duration: float | None = None
    rate: float | None = None
    modelled: str | None = None
    additional: int = 0
    interval: float = 0.0
    steady_state: int = 0
    reset: bool = False
    order: int = 0

    def __post_init__(self) -> None:
        check = _Check("dose" if isinstance(self.time, str | bytes) else f"dose at {self.time!r}")
        put = object.__setattr__
        put(self, "time", check.number("time", self.time, signed=True))
        put(self, "amount", check.number("amount", self.amount))
        if not isinstance(self.route, str) or not self.route.strip():
            check.add(f"route is {self.route!r}, must be a name")
        if self.duration is not None:
            put(self, "duration", check.number("duration", self.duration, positive=True))
        if self.rate is not None:
            put(self, "rate", check.number("rate", self.rate, positive=True))
        if self.modelled not in (None, "rate", "duration"):
            check.add(f"modelled is {self.modelled!r}, must be 'rate', 'duration' or None")
        put(self, "additional", check.count("additional", self.additional))
        put(self, "interval", check.number("interval", self.interval))
        put(self, "steady_state", check.count("steady_state", self.steady_state))
        put(self, "reset", check.flag("reset", self.reset))
        put(self, "order", check.count("order", self.order))
        self._check_together(check)
        check.done()

    def _check_together(self, check: _Check) -> None:
        if (self.duration is not None) + (self.rate is not None) + (self.modelled is not None) > 1:
            check.add("give only one of duration, rate and modelled")
        if not 0 <= self.additional <= MAX_ADDITIONAL:
            check.add(f"additional is {self.additional}, must be from 0 to {MAX_ADDITIONAL}")
        if self.steady_state not in (0, 1, 2):
            check.add(f"steady_state is {self.steady_state}, must be 0, 1 or 2")
        if self.additional and self.interval == 0:
            check.add("repeats need an interval above 0")
        if self.amount == 0 and not self.constant:
            check.add("amount is 0 (allowed only for a constant infusion: rate > 0, interval 0, steady_state 1)")
        if self.steady_state and self.interval == 0 and self.amount != 0:
            check.add("steady state needs an interval above 0 (a constant infusion: amount 0, rate, interval 0)")
        if self.interval and not self.additional and not self.steady_state:
            check.add("an interval without repeats or steady state says nothing")

    @property
    def constant(self) -> bool:
        """Whether this is a constant infusion at steady state (NONMEM: AMT 0, RATE > 0, II 0, SS 1)."""
        return self.amount == 0 and bool(self.rate) and self.interval == 0 and self.steady_state == 1

    @property
    def last(self) -> float:
        """Time of the last repeat."""
        return self.time + self.additional * self.interval

    @property
    def length(self) -> float | None:
        """Length of the infusion: 0 for a bolus, infinite for a constant infusion, None when the model says it."""
        if self.modelled is not None:
            return None
        if self.rate is not None:
            return math.inf if self.amount == 0 else self.amount / self.rate
        return 0.0 if self.duration is None else self.duration

    def until(self, time: float) -> Dose | None:
        """The dose with the repeats that start at or before ``time``; None when even the first starts later."""
        if self.time > time:
            return None
        if self.last <= time:
            return self
        k = min(int((time - self.time) / self.interval) + 1, self.additional)
        while self.time + k * self.interval > time:
            k -= 1
        return replace(self, additional=k, interval=self.interval if k or self.steady_state else 0.0)

    def expanded(self, before: float = math.inf) -> Iterator[Dose]:
        """Every repeat as a dose of its own, at ``time + k·interval``; steady state and reset on the first only.

        Repeats at or after ``before`` are left out, the first dose never.
        """
        if not self.additional:
            yield self
            return
        yield replace(self, additional=0, interval=self.interval if self.steady_state else 0.0)
        for k in range(1, self.additional + 1):
            at = self.time + k * self.interval
            if at >= before:
                return
            yield replace(self, time=at, additional=0, interval=0.0, steady_state=0, reset=False)

    def __str__(self) -> str:
        words = [f"{self.amount:g} {self.route} at {self.time:g}"]
        if self.duration is not None:
            words.append(f"over {self.duration:g}")
        if self.rate is not None:
            words.append(f"at rate {self.rate:g}")
        if self.modelled is not None:
            words.append(f"with the model's {self.modelled}")
        if self.interval:
            words.append(f"every {self.interval:g}")
        if self.additional:
            words.append(f"× {self.additional + 1}")
        if self.steady_state:
            words.append("at steady state" if self.steady_state == 1 else "adding its steady state")
        if self.reset:
            words.append("after a reset")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Reset:
    """The state is set to zero and running infusions stop (EVID 3).

    Attributes:
        time: when.
        order: place among events at the same time.

    Raises:
        RegimenError: a time that is not a finite number.
    """

    time: float
    order: int = 0

    def __post_init__(self) -> None:
        check = _Check("reset")
        object.__setattr__(self, "time", check.number("time", self.time, signed=True))
        object.__setattr__(self, "order", check.count("order", self.order))
        check.done()

    def __str__(self) -> str:
        return f"reset at {self.time:g}"


Event = Dose | Reset


class Regimen:
    """Doses and resets in the order of time; immutable, hashable, compared by its events.

    Args:
        events: `Dose` and `Reset` in any order. Ties in time are taken by ``order``, then as written.

    Attributes:
        events: all events, sorted by ``(time, order)``.

    Raises:
        RegimenError: something that is neither a dose nor a reset.
    """

    __slots__ = ("_hash", "events")
    events: tuple[Event, ...]

    def __init__(self, *events: Event) -> None:
        wrong = [f"{e!r} is neither a Dose nor a Reset" for e in events if not isinstance(e, Dose | Reset)]
        if wrong:
            raise RegimenError(wrong)
        object.__setattr__(self, "events", tuple(sorted(events, key=lambda e: (e.time, e.order))))
        object.__setattr__(self, "_hash", hash(self.events))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Regimen is immutable; cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Regimen is immutable; cannot delete {name}")

    def __reduce__(self) -> tuple[type[Regimen], tuple[Event, ...]]:
        return Regimen, self.events

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __eq__(self, other: object) -> bool:
        return self.events == other.events if isinstance(other, Regimen) else NotImplemented

    def __hash__(self) -> int:
        return int(self._hash)

    def __repr__(self) -> str:
        return f"Regimen({'; '.join(str(e) for e in self.events)})"

    @property
    def doses(self) -> tuple[Dose, ...]:
        """The doses as written, repeats not expanded."""
        return tuple(e for e in self.events if isinstance(e, Dose))

    @property
    def resets(self) -> tuple[Reset, ...]:
        """The resets."""
        return tuple(e for e in self.events if isinstance(e, Reset))

    def plus(self, other: Regimen) -> Regimen:
        """Both regimens together; at equal time and order, the events of ``self`` come first."""
        return Regimen(*self.events, *other.events)

    def _cancelled(self) -> Iterator[tuple[Event, float]]:
        """Each event, with the time from which its pending repeats are cancelled."""
        cancel = math.inf
        for e in reversed(self.events):
            yield e, cancel
            if isinstance(e, Reset) or e.reset or e.steady_state == 1:
                cancel = e.time

    @property
    def last(self) -> float:
        """Time of the last event, repeats included; −inf when empty."""
        times = [-math.inf]
        for e, cancel in self._cancelled():
            if isinstance(e, Reset) or e.last < cancel:
                times.append(e.time if isinstance(e, Reset) else e.last)
            else:
                times += [x.time for x in e.expanded(cancel)][-1:]
        return max(times)

    def expanded(self) -> Regimen:
        """The same doses with no repeats left: ADDL unrolled, steady state and reset on the first dose only.

        As in NONMEM, a reset, and a dose at steady state that replaces the state, cancel the repeats then pending
        (those at the same time too: the state they would enter is replaced).
        """
        events: list[Event] = []
        for e, cancel in self._cancelled():
            events[:0] = e.expanded(cancel) if isinstance(e, Dose) else (e,)
        return Regimen(*events)

    def within(self, start: float, stop: float) -> Regimen:
        """Every event that starts in ``[start, stop)``, repeats expanded as in `expanded`.

        An infusion that started earlier and still runs at ``start`` is not among them, and a repeat whose
        steady-state dose lies before ``start`` is an ordinary dose.
        """
        return Regimen(*(e for e in self.expanded() if start <= e.time < stop))

    def until(self, time: float) -> Regimen:
        """Every event that starts at or before ``time``; repeats after it are cut, the rest stay as written."""
        kept: list[Event] = []
        for e in self.events:
            cut = e.until(time) if isinstance(e, Dose) else (e if e.time <= time else None)
            kept += [] if cut is None else [cut]
        return Regimen(*kept)

    def shifted(self, dt: float) -> Regimen:
        """Every event ``dt`` later (earlier when negative)."""
        return Regimen(*(replace(e, time=e.time + dt) for e in self.events))

    def scaled(self, factor: float) -> Regimen:
        """Every amount and every rate times ``factor`` (> 0): durations stay, a linear model's response scales."""
        return Regimen(
            *(
                replace(e, amount=e.amount * factor, rate=None if e.rate is None else e.rate * factor)
                if isinstance(e, Dose)
                else e
                for e in self.events
            )
        )

    def total(self, start: float = -math.inf, stop: float = math.inf, *, route: str | None = None) -> float:
        """Amount of the doses that start in ``[start, stop)``, of one route or of all.

        An infusion counts whole at its start, as a drug chart counts it; a constant infusion has no amount and is
        not counted.
        """
        doses = self.within(start, stop).doses
        return math.fsum(d.amount for d in doses if route is None or d.route == route)

    def to_dicts(self) -> list[dict[str, Any]]:
        """The events as plain dictionaries for JSON; fields at their default are left out."""
        listed: list[dict[str, Any]] = []
        for e in self.events:
            values = {f.name: getattr(e, f.name) for f in fields(e) if getattr(e, f.name) != f.default}
            listed.append({"event": "dose" if isinstance(e, Dose) else "reset", **values})
        return listed

    @classmethod
    def from_dicts(cls, dicts: Iterable[Mapping[str, Any]]) -> Regimen:
        """The regimen that `to_dicts` wrote.

        Raises:
            RegimenError: lists every event that cannot be read.
        """
        events: list[Event] = []
        problems: list[str] = []
        for i, given in enumerate(dicts):
            try:
                values = dict(given)
                kind = {"dose": Dose, "reset": Reset}[values.pop("event")]
                events.append(kind(**values))
            except RegimenError as error:
                problems += [f"event {i}: {p}" for p in error.problems]
            except (TypeError, ValueError, KeyError) as error:
                problems.append(f"event {i} cannot be read: {error!r}")
        if problems:
            raise RegimenError(problems)
        return cls(*events)


def _repeated(times: int, every: float, steady_state: bool, **fields: Any) -> Dose:
    check = _Check("dose")
    count = check.count("times", times)
    if not check.problems and count < 1:
        check.add(f"times is {count}, must be 1 or more")
    steady = check.flag("steady_state", steady_state)
    check.done()
    return Dose(additional=count - 1, interval=every, steady_state=int(steady), **fields)


def Bolus(  # noqa: N802
    amount: float,
    time: float = 0.0,
    *,
    route: str = "iv",
    every: float = 0.0,
    times: int = 1,
    steady_state: bool = False,
) -> Dose:
    """A bolus of ``amount`` at ``time``, given ``times`` times, ``every`` apart.

    ``steady_state=True``: given so for ever before ``time`` (SS 1). Raises RegimenError.
    """
    return _repeated(times, every, steady_state, time=time, amount=amount, route=route)


def Infusion(  # noqa: N802
    amount: float,
    time: float = 0.0,
    *,
    duration: float | None = None,
    rate: float | None = None,
    route: str = "iv",
    every: float = 0.0,
    times: int = 1,
    steady_state: bool = False,
) -> Dose:
    """An infusion of ``amount`` from ``time``, over ``duration`` or at ``rate`` (exactly one of them).

    ``Infusion(0, rate=r, steady_state=True)`` is a constant infusion at its steady state. Raises RegimenError.
    """
    if (duration is None) == (rate is None):
        raise RegimenError(f"infusion at {time!r}: give duration or rate, exactly one of them")
    return _repeated(times, every, steady_state, time=time, amount=amount, route=route, duration=duration, rate=rate)


def Oral(  # noqa: N802
    amount: float,
    time: float = 0.0,
    *,
    route: str = "oral",
    every: float = 0.0,
    times: int = 1,
    steady_state: bool = False,
) -> Dose:
    """An oral dose of ``amount`` at ``time``; absorption, lag and bioavailability are the model's.

    ``every``, ``times``, ``steady_state`` as for `Bolus`. Raises RegimenError.
    """
    return _repeated(times, every, steady_state, time=time, amount=amount, route=route)
