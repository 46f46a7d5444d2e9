"""One patient's facts, as far as they are known at one time.

A `Record` holds what was given, what was measured and the covariates, all at or before ``now``. Nothing else in
doseloop reads a clock. Times are in the model's time unit, amounts, levels and covariates in the units of the therapy:
whoever builds a record converts (`doseloop.pkpd.nonmem.read` does it for files).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .errors import Problem, RecordError, RegimenError
from .regimen import Regimen

__all__ = ["CovariateRow", "Measurement", "Record"]

_FORMAT = "doseloop.record/1"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured level.

    Attributes:
        time: when the sample was drawn.
        output: name of the model's output, such as ``"concentration"``.
        value: the measured value in the output's unit; the LLOQ when ``censored``.
        lloq: lower limit of quantification, when known.
        censored: the level lies below the LLOQ (M3 in the likelihood).
        order: place among events at the same time (row number of a file).
    """

    time: float
    output: str
    value: float
    lloq: float | None = None
    censored: bool = False
    order: int = 0

    def problems(self) -> Iterator[str]:
        """What is wrong with this level, a sentence each."""
        if not isinstance(self.output, str) or not self.output:
            yield f"output is {self.output!r}, must be a name"
        if not _finite(self.time):
            yield f"time is {self.time!r}, must be a finite number"
        if not _finite(self.value):
            yield f"value is {self.value!r}, must be a finite number"
        if self.lloq is not None and not (_finite(self.lloq) and self.lloq > 0):
            yield f"LLOQ is {self.lloq!r}, must be a positive number"
        if not isinstance(self.censored, bool):
            yield f"censored is {self.censored!r}, must be True or False"
        elif self.censored and (self.lloq is None or self.value != self.lloq):
            yield f"a level below the LLOQ carries the LLOQ as its value, not {self.value!r}"
        if type(self.order) is not int:
            yield f"order is {self.order!r}, must be a whole number"


@dataclass(frozen=True, slots=True, init=False)
class CovariateRow:
    """The covariates at one time.

    As in NONMEM, the values hold for the interval that *ends* at ``time``; after the last row its values carry forward.

    Args:
        time: when.
        values: mapping or pairs of name and value, each in the unit of the model's covariate.

    Attributes:
        values: pairs ``(name, value)`` in the order of the names, so that rows hash and compare; ``dict`` is a mapping.
    """

    time: float
    values: tuple[tuple[str, float], ...]

    def __init__(self, time: float, values: Mapping[str, float] | Iterable[tuple[str, float]]) -> None:
        try:
            pairs = tuple(sorted(dict(values).items()))
        except (TypeError, ValueError) as error:
            raise RecordError(f"covariates at {time!r}: {values!r} is not a mapping of names to numbers") from error
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "values", pairs)

    def __getitem__(self, name: str) -> float:
        return self.dict[name]

    def problems(self) -> Iterator[str]:
        """What is wrong with this row, a sentence each."""
        if not _finite(self.time):
            yield f"time is {self.time!r}, must be a finite number"
        for name, value in self.values:
            if not isinstance(name, str) or not name:
                yield f"covariate name {name!r} must be a text"
            if not _finite(value):
                yield f"{name} is {value!r}, must be a finite number"

    @property
    def dict(self) -> Mapping[str, float]:
        """The values by name."""
        return {name: value for name, value in self.values}  # noqa: C416 (`dict` is this property here)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class Record:
    """One patient's facts, known at ``now``.

    Attributes:
        id: the patient's identifier.
        covariates: rows in order of time; empty when the model has none.
        given: the doses given, the last repeat at or before ``now``.
        observed: the levels, in order of ``(time, order)``, none after ``now``.
        now: the time of the last fact, or later: "nothing more has happened up to here".
        occasions: start times of the occasions, for between-occasion variability; empty when all is one occasion.

    Raises:
        RecordError: lists every problem.
    """

    id: str
    covariates: tuple[CovariateRow, ...]
    given: Regimen
    observed: tuple[Measurement, ...]
    now: float
    occasions: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("covariates", "observed", "occasions"):
            put(self, name, tuple(getattr(self, name)))
        found = list(self._problems())
        if found:
            raise RecordError([Problem(None, None, p) for p in found], source=f"record {self.id!r}")
        put(self, "now", _plain(self.now))
        put(self, "occasions", tuple(_plain(t) for t in self.occasions))
        put(self, "covariates", tuple(_plain_row(r) for r in self.covariates))
        levels = (_plain_level(m) for m in self.observed)
        put(self, "observed", tuple(sorted(levels, key=lambda m: (m.time, m.order))))

    def _problems(self) -> Iterator[str]:
        if not isinstance(self.id, str) or not self.id:
            yield f"id is {self.id!r}, must be a text"
        if not isinstance(self.given, Regimen):
            yield f"given is {type(self.given).__name__}, must be a Regimen"
        now = self.now if _finite(self.now) else math.inf
        if not _finite(self.now):
            yield f"now is {self.now!r}, must be a finite number"
        yield from self._problems_of("covariates", CovariateRow, now)
        yield from self._problems_of("level", Measurement, now)
        rows = [r.time for r in self.covariates if isinstance(r, CovariateRow) and _finite(r.time)]
        if any(b < a for a, b in itertools.pairwise(rows)):
            yield "covariate rows must be in order of time"
        if isinstance(self.given, Regimen) and self.given.last > now:
            yield f"a dose at {self.given.last:g} is later than now ({now:g}): a record holds what was given"
        if not all(_finite(t) for t in self.occasions):
            yield "occasions must start at finite times"
        elif any(b <= a for a, b in itertools.pairwise(self.occasions)):
            yield "occasions must start at increasing times"
        elif self.occasions and self.occasions[-1] > now:
            yield f"an occasion starts at {self.occasions[-1]:g}, later than now ({now:g})"

    def _problems_of(self, what: str, kind: type, now: float) -> Iterator[str]:
        for item in self.observed if kind is Measurement else self.covariates:
            if not isinstance(item, kind):
                yield f"{what}: {item!r} is not a {kind.__name__}"
                continue
            found = list(item.problems())
            yield from (f"{what} at {item.time!r}: {p}" for p in found)
            if not found and item.time > now:
                yield f"{what} at {item.time:g} is later than now ({now:g})"

    def covariates_at(self, time: float) -> Mapping[str, float]:
        """The covariates that hold at ``time``: of the first row at or after it, else of the last; empty if none."""
        for row in self.covariates:
            if row.time >= time:
                return row.dict
        return self.covariates[-1].dict if self.covariates else {}

    def until(self, time: float) -> Record:
        """The record as it was known at ``time``: every fact at or before it, and ``now = time``.

        Doses are those started at or before ``time``, their later repeats cut.

        Raises:
            RecordError: ``time`` is later than ``now`` (``dataclasses.replace(record, now=time)`` says that nothing
                happened in between), or not a number.
        """
        if not (_finite(time) and time <= self.now):
            raise RecordError(f"nothing is known at {time!r}: the record ends at {self.now:g}", source=self.id)
        return replace(
            self,
            covariates=tuple(r for r in self.covariates if r.time <= time),
            given=self.given.until(time),
            observed=tuple(m for m in self.observed if m.time <= time),
            now=time,
            occasions=tuple(t for t in self.occasions if t <= time),
        )

    def with_given(self, regimen: Regimen) -> Record:
        """The same facts with other doses given (what-if); doses after ``now`` are refused."""
        return replace(self, given=regimen)

    def digest(self) -> str:
        """SHA-256 (hex) of `to_json`: equal for equal facts, on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The record as canonical JSON: sorted keys, no spaces, floats by their shortest exact text."""
        facts = {
            "format": _FORMAT,
            "id": self.id,
            "covariates": [{"time": r.time, "values": {**r.dict}} for r in self.covariates],
            "given": self.given.to_dicts(),
            "observed": [asdict(m) for m in self.observed],
            "now": self.now,
            "occasions": list(self.occasions),
        }
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that `to_json` wrote.

        Raises:
            RecordError: not JSON, not a record, or a record with problems.
        """
        try:
            facts: Any = json.loads(text)
            if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
                raise RecordError(f"not a record: the JSON must have format {_FORMAT!r}")
            return cls(
                id=facts["id"],
                covariates=tuple(CovariateRow(r["time"], r["values"]) for r in facts["covariates"]),
                given=Regimen.from_dicts(facts["given"]),
                observed=tuple(Measurement(**m) for m in facts["observed"]),
                now=facts["now"],
                occasions=tuple(facts["occasions"]),
            )
        except RegimenError as error:
            raise RecordError(map(str, error.problems), source="record") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RecordError(f"not a record: {error!r}") from error


def _plain(value: float) -> float:
    """A Python float, −0.0 as 0.0, so that equal records have one text."""
    return float(value) + 0.0


def _is_plain(value: object) -> bool:
    return type(value) is float and (value != 0.0 or math.copysign(1.0, value) > 0)


def _plain_row(row: CovariateRow) -> CovariateRow:
    if _is_plain(row.time) and all(_is_plain(value) for _, value in row.values):
        return row
    return CovariateRow(_plain(row.time), [(name, _plain(value)) for name, value in row.values])


def _plain_level(m: Measurement) -> Measurement:
    if _is_plain(m.time) and _is_plain(m.value) and (m.lloq is None or _is_plain(m.lloq)):
        return m
    lloq = None if m.lloq is None else _plain(m.lloq)
    return replace(m, time=_plain(m.time), value=_plain(m.value), lloq=lloq)
