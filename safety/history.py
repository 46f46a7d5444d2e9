"""What the doses given so far add up to, as far as the limits need it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .asked import Context, Given
from .limits import Limits
from .parts import Kind
from .reasons import Code, Reason
from .values import CLOCK, number, per_hour

__all__ = ["History", "scan"]


@dataclass(slots=True)
class History:
    """Sums over the doses given and planned; rates count with what they deliver.

    Attributes:
        rolling: drug in each rolling window that ends with the asked dose (amount unit).
        course: drug in all (amount unit).
        last: start of the newest dose of the asked kind that was not 0 (h); -inf if there is none.
        newest: start of the newest entry of the asked kind (h); -inf if there is none.
        newest_amount: its amount; the smallest if several start together.
        end: when the last drug of any kind had run in (h); -inf if none was given.
    """

    rolling: list[float]
    course: float = 0.0
    last: float = -math.inf
    newest: float = -math.inf
    newest_amount: float = math.nan
    end: float = -math.inf


def scan(kind: Any, now: float, time: float, context: Context, limits: Limits, out: list[Reason]) -> History:
    """Read every dose given and planned, and add them up; entries at fault are reported, once for each fault.

    Args:
        kind: kind of the asked dose.
        now: time of the decision (h); NaN if not known.
        time: start of the asked dose (h); NaN if not known.
        context: holds the doses.
        limits: holds the windows and the units.
        out: reasons found are added here.
    """
    windows = [row.window.value - CLOCK for row in limits.rolling]
    history = History([0.0] * len(windows))
    unreadable = misdated = 0
    units: set[str] = set()
    rate_unit = limits.rate_unit
    for planned, entries in ((False, context.given), (True, context.planned)):
        if not isinstance(entries, tuple | list):
            sentence = "The list of doses given or planned cannot be read: what the patient got is not known."
            out.append(Reason(Code.HISTORY_INVALID, sentence))
            continue
        for entry in entries:
            read = _entry(entry)
            if read is None:
                unreadable += 1
                continue
            amount, start, duration = read
            rate = entry.kind is Kind.RATE
            if entry.unit != (rate_unit if rate else limits.unit):
                units.add(str(entry.unit))
                continue
            # NaN compares false: an unknown time is reported where it is read, not here once more.
            if start > now if not planned else start < now or start > time:
                misdated += 1
            delivered = amount * duration * per_hour(entry.unit) if rate else amount
            history.course += delivered
            end = start + duration
            if amount > 0.0:
                history.end = max(history.end, end)
            since = time - end
            for i, window in enumerate(windows):
                if since < window:
                    history.rolling[i] += delivered
            if entry.kind is kind:
                if amount > 0.0:
                    history.last = max(history.last, start)
                if start > history.newest:
                    history.newest, history.newest_amount = start, amount
                elif start == history.newest:
                    history.newest_amount = min(history.newest_amount, amount)
    if unreadable:
        sentence = f"{unreadable} of the doses given or planned cannot be read: what the patient got is not known."
        out.append(Reason(Code.HISTORY_INVALID, sentence))
    if units:
        listed = ", ".join(sorted(units))
        sentence = f"Doses given are in {listed}; {limits.therapy} counts in {limits.unit} and nothing is converted."
        out.append(Reason(Code.HISTORY_UNIT_WRONG, sentence))
    if misdated:
        sentence = (
            f"{misdated} of the doses given or planned have an impossible time: a given one after now, or a planned "
            "one not between now and the asked dose."
        )
        out.append(Reason(Code.HISTORY_MISDATED, sentence))
    return history


def _entry(entry: Any) -> tuple[float, float, float] | None:
    """Amount, start and duration of an entry whose numbers are all sound; None otherwise."""
    if not isinstance(entry, Given) or not isinstance(entry.kind, Kind) or not isinstance(entry.unit, str):
        return None
    amount, start, duration = number(entry.amount), number(entry.time), number(entry.duration)
    if amount is None or start is None or duration is None or amount < 0.0 or duration < 0.0:
        return None
    return amount, start, duration
