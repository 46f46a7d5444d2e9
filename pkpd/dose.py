"""One dose and one reset, checked as they are made.

Users import them from `doseloop.pkpd.regimen`, which says what the units are and which NONMEM item each field is.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .errors import RegimenError

__all__ = ["MAX_ADDITIONAL", "Checker", "Dose", "Reset"]

MAX_ADDITIONAL = 10_000
"""Most repeats of one dose (an hourly dose for over a year): more is a slip of the pen, and would fill the memory."""


class Checker:
    """Collects the problems of one event while its fields are made plain Python numbers."""

    def __init__(self, what: str, time: Any = None) -> None:
        self.what = what
        self.time = time
        self.problems: list[str] = []

    def add(self, text: str) -> None:
        """Note a problem."""
        where = f" at {self.time!r}" if isinstance(self.time, int | float) else ""
        self.problems.append(f"{self.what}{where}: {text}")

    def number(self, name: str, value: Any, *, signed: bool = False, positive: bool = False) -> float:
        """A finite float, NaN when it is none; −0.0 becomes 0.0, so that equal regimens have equal text."""
        try:
            if isinstance(value, str | bytes | bool):
                raise TypeError
            plain = float(value)
        except (TypeError, ValueError, OverflowError):
            self.add(f"{name} is {value!r}, not a number")
            return math.nan
        if not math.isfinite(plain):
            self.add(f"{name} is {plain}, must be finite")
            return math.nan
        if not signed and plain < 0:
            self.add(f"{name} is {plain:g}, must not be negative")
        elif positive and plain == 0:
            self.add(f"{name} is 0, must be positive")
        return plain + 0.0

    def count(self, name: str, value: Any) -> int:
        """A whole number; NumPy integers pass, booleans and floats do not."""
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
        """True or False, nothing that merely acts like it."""
        if isinstance(value, bool):
            return value
        self.add(f"{name} is {value!r}, must be True or False")
        return False

    def done(self) -> None:
        """Raise a RegimenError when there was any problem."""
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
        if self._usual():
            return
        check = Checker("dose", self.time)
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

    def _usual(self) -> bool:
        """Whether this is a lone bolus of plain numbers, as nearly all are in a large file: nothing to judge."""
        return (
            type(self.time) is float
            and type(self.amount) is float
            and 0.0 < abs(self.time) < math.inf
            and 0.0 < self.amount < math.inf
            and type(self.order) is type(self.additional) is type(self.steady_state) is int
            and self.duration is None
            and self.rate is None
            and self.modelled is None
            and self.reset is False
            and type(self.interval) is float
            and self.additional == self.steady_state == self.interval == 0
            and isinstance(self.route, str)
            and not self.route.isspace()
            and self.route != ""
        )

    def _check_together(self, check: Checker) -> None:
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
        """Length of the infusion, 0 for a bolus; None when the dose does not say it (modelled, constant infusion)."""
        if self.modelled is not None or self.constant:
            return None
        if self.rate is not None:
            return self.amount / self.rate
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
        check = Checker("reset")
        object.__setattr__(self, "time", check.number("time", self.time, signed=True))
        object.__setattr__(self, "order", check.count("order", self.order))
        check.done()

    def __str__(self) -> str:
        return f"reset at {self.time:g}"
