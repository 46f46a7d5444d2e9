"""What is given, and when: doses, resets, and the regimen that holds them in the order of time.

Times are in the model's time unit (h unless a model says otherwise), amounts in the amount unit of the route, rates in
amount per time. The words follow NONMEM's data items: ``additional`` is ADDL, ``interval`` II, ``steady_state`` SS,
``reset`` EVID 4, `Reset` EVID 3, ``modelled`` RATE −1 or −2 (docs/records.md says where we differ).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from .dose import MAX_ADDITIONAL, Checker, Dose, Reset
from .errors import RegimenError

__all__ = ["MAX_ADDITIONAL", "Bolus", "Dose", "Infusion", "Oral", "Regimen", "Reset"]

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

    __slots__ = ("events",)
    events: tuple[Event, ...]

    def __init__(self, *events: Event) -> None:
        wrong = [f"{e!r} is neither a Dose nor a Reset" for e in events if not isinstance(e, Dose | Reset)]
        if wrong:
            raise RegimenError(wrong)
        object.__setattr__(self, "events", tuple(sorted(events, key=lambda e: (e.time, e.order))))

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
        return hash(self.events)

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
        if not any(isinstance(e, Dose) and e.additional for e in self.events):
            return self.events[-1].time if self.events else -math.inf
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
    check = Checker("dose")
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
