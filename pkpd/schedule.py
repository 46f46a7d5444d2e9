"""From doses, measurements, covariates and occasions to the flat event lists of the event loop.

Ties in time: doses, resets and covariate rows keep their order. An observation asked for by time alone sees the state
just before a dose of that moment (a trough is drawn before the dose); in a record the order of the rows decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from . import drive as d
from .engine import Events
from .model import Model
from .regimen import Dose, Regimen, Reset

__all__ = ["Packed", "Schedule", "SteadyState", "pack", "packed"]

BEFORE, AFTER = -(2**60), 2**60  # orders that stand before and after any row of a file


@dataclass(slots=True)
class SteadyState:
    """A dose whose steady state must be known before the main run; ``entry`` is its row in the table."""

    dose: Dose
    entry: int
    segment: int


@dataclass(slots=True)
class Schedule:
    """One patient's (or one regimen's) events, before they are packed; times in the model's unit."""

    model: Model
    start: float
    rows: list[tuple[float, int, int, tuple[int, int, float, float, int, float, int]]] = field(default_factory=list)
    steady: list[SteadyState] = field(default_factory=list)
    doses: int = 0
    observations: int = 0
    snapshots: int = 0

    def __post_init__(self) -> None:
        if self.rows:  # a copy brings them along
            return
        for index, signal in enumerate(self.model.inputs):  # the event loop's inputs start from 0
            if signal.typical:
                self.set_input(self.start, index, signal.typical, order=BEFORE - 3)

    def _add(self, time: float, order: int, kind: int, route: int = 0, amount: float = 0.0, extra: float = 0.0,
             mode: int = 0, elapsed: float = 0.0, index: int = 0) -> None:  # fmt: skip
        self.rows.append((time, order, len(self.rows), (kind, route, amount, extra, mode, elapsed, index)))

    def copy(self) -> Schedule:
        """The same events, to which others can be added."""
        return replace(self, rows=list(self.rows), steady=list(self.steady))

    def observe(self, times: Sequence[float] | np.ndarray, orders: Sequence[int] | None = None) -> None:
        """Outputs at these times, in the order given; without ``orders`` before any dose of the same moment."""
        for i, t in enumerate(times):
            self._add(float(t), BEFORE if orders is None else orders[i], d.OBSERVE, index=self.observations)
            self.observations += 1

    def snapshot(self, time: float) -> None:
        """The whole state at this time, before anything else of that moment."""
        self._add(time, BEFORE, d.SNAPSHOT, index=self.snapshots)
        self.snapshots += 1

    def segment(self, time: float, index: int, order: int = BEFORE) -> None:
        """From this time on the parameters of segment ``index`` hold."""
        self._add(time, order, d.SEGMENT, index=index)

    def set_input(self, time: float, index: int, value: float, order: int = BEFORE) -> None:
        """From this time on the model's input ``index`` has this value."""
        self._add(time, order, d.INPUT, route=index, amount=value)

    def dose(self, dose: Dose, elapsed: float = 0.0, at: float | None = None) -> None:
        """One dose (repeats expanded by the caller); ``elapsed`` for a dose given that long before."""
        names = self.model.names("routes")
        route = names.index(dose.route)
        kind, extra, mode = d.INFUSE, 0.0, d.FIXED_DURATION
        if dose.duration is not None:
            extra = dose.duration
        elif dose.rate is not None:
            extra, mode = dose.rate, d.FIXED_RATE
        elif dose.modelled is not None:
            mode = d.MODEL_DURATION if dose.modelled == "duration" else d.MODEL_RATE
        else:
            kind = d.BOLUS
        self._add(dose.time if at is None else at, dose.order, kind, route, dose.amount, extra, mode, elapsed)
        self.doses += 1

    def regimen(self, regimen: Regimen, until: float, segment_at: Sequence[float] = (), past: int = 1) -> None:
        """All doses and resets that start at or before ``until``.

        Args:
            regimen: what is given.
            until: nothing after this is looked at.
            segment_at: start times of the parameter segments (for the steady states).
            past: how many earlier doses of a steady state may still be under way at its record.
        """
        # expanded: a reset and a steady state that replaces cancel the repeats then pending
        events = regimen.until(until).expanded().events
        # asked for by time, the level at a steady-state dose is its trough; in a file the order of the rows decides
        early = {e.time for e in events if isinstance(e, Dose) and e.steady_state and not e.order}
        for event in events:
            if isinstance(event, Reset) or event.reset:
                self._add(event.time, BEFORE - 2 if event.time in early else event.order, d.RESET)
            if isinstance(event, Reset):
                continue
            if event.steady_state:
                segment = max(0, int(np.searchsorted(np.asarray(segment_at), event.time, side="right")) - 1)
                entry = len(self.steady)
                self.steady.append(SteadyState(event, entry, segment))
                kind = d.SET_STATE if event.steady_state == 1 else d.ADD_STATE
                self._add(event.time, BEFORE - 1 if event.time in early else event.order, kind, index=entry)
                for k in range(past, 0, -1):
                    if not event.constant:
                        self.dose(event, elapsed=k * event.interval)
            if not event.constant:
                self.dose(event)


def interval_schedule(model: Model, dose: Dose, past: int) -> Schedule:
    """One interval of a steady-state regimen from its record on, with what is still under way from before."""
    s = Schedule(model, 0.0)
    for k in range(past, 0, -1):
        s.dose(dose, elapsed=k * dose.interval, at=0.0)
    s.dose(dose, at=0.0)
    s.snapshot(dose.interval)
    return s


def pack(schedules: Sequence[Schedule]) -> Events:
    """Sort each schedule and lay all of them end to end."""
    flat: list[tuple[float, int, int, tuple[int, int, float, float, int, float, int]]] = []
    start = np.zeros(len(schedules) + 1, dtype=np.int64)
    for i, s in enumerate(schedules):
        flat += sorted(s.rows, key=lambda r: r[:3])
        start[i + 1] = len(flat)
    # one conversion for all columns: codes and rows are small whole numbers, exact as doubles
    body = np.array([r[3] for r in flat], dtype=float).reshape(-1, 7).T
    kind, route, mode, index = (body[j].astype(np.int64) for j in (0, 1, 4, 6))
    amount, extra, elapsed = (np.ascontiguousarray(body[j]) for j in (2, 3, 5))
    return Events(start, np.array([r[0] for r in flat], dtype=float), kind, route, amount, extra, mode, elapsed, index)


@dataclass(frozen=True, slots=True)
class Packed:
    """Schedules as arrays, with what else a run must know of each.

    Attributes:
        events: of all of them.
        doses: the most that one of them has. observations, starts, last_segment: (schedules,) how many, when it begins,
            the highest segment it names.
        steady: of each the doses whose steady state must be known before; empty where none has any.
    """

    events: Events
    doses: int
    observations: np.ndarray
    starts: np.ndarray
    last_segment: np.ndarray
    steady: tuple[tuple[SteadyState, ...], ...] = ()


def packed(schedules: Sequence[Schedule]) -> Packed:
    """Schedules as arrays."""
    segments = [[row[3][6] for row in s.rows if row[3][0] == d.SEGMENT] for s in schedules]
    steady = tuple(tuple(s.steady) for s in schedules)
    return Packed(
        pack(schedules),
        max(s.doses for s in schedules),
        np.array([s.observations for s in schedules]),
        np.array([s.start for s in schedules]),
        np.array([max(indices, default=0) for indices in segments]),
        steady if any(steady) else (),
    )
