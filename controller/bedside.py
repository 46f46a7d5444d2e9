"""What the guard is told: the record as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..pkpd.record import Record
from ..pkpd.regimen import Regimen
from ..safety import Asked, Context, Given, Kind, Measurement, Prediction
from ..therapies import Therapy

__all__ = ["asked_of", "context_of"]


def _length(duration: float | None, rate: float | None, amount: float) -> float:
    if duration is not None:
        return duration
    return amount / rate if rate else 0.0


def context_of(therapy: Therapy, record: Record, predictions: Mapping[str, float]) -> Context:
    """The guard's context at ``record.now``.

    Doses of a steady state (SS) count backwards over the longest rolling window, as they were given.
    """
    unit = therapy.limits.unit
    longest = max((w.window.value for w in therapy.limits.rolling), default=24.0)
    given: list[Given] = []
    for dose in record.given.doses:
        if dose.steady_state and dose.interval > 0:
            for k in range(int(np.ceil(longest / dose.interval)) + 1, 0, -1):
                length = _length(dose.duration, dose.rate, dose.amount)
                given.append(
                    Given(
                        kind=Kind.DOSE,
                        amount=dose.amount,
                        unit=unit,
                        time=dose.time - k * dose.interval,
                        duration=length,
                    )
                )
        for d in dose.expanded():
            if d.time <= record.now:
                length = _length(d.duration, d.rate, d.amount)
                given.append(Given(kind=Kind.DOSE, amount=d.amount, unit=unit, time=d.time, duration=length))
    output = therapy.models[0].output(therapy.output)
    levels = [m for m in record.observed if m.output == therapy.output]
    measurements: tuple[Measurement, ...] = ()
    if levels:
        m = levels[-1]
        measurements = (
            Measurement(name=m.output, value=m.value, unit=output.unit, time=m.time, quality=None, previous=None),
        )
    facts = [m.time for m in record.observed] + [g.time for g in given] + [r.time for r in record.covariates]
    return Context(
        now=record.now,
        weight=record.covariates_at(record.now).get("weight", float("nan")),
        weight_unit="kg",
        given=tuple(sorted(given, key=lambda g: g.time)),
        planned=(),
        measurements=measurements,
        predictions=tuple(Prediction(harm=h, probability=p) for h, p in predictions.items()),
        projections=(),
        record_time=max((t for t in facts if t <= record.now), default=record.now),
    )


def asked_of(therapy: Therapy, regimen: Regimen) -> Sequence[Asked]:
    """A regimen as requests to the guard."""
    return [
        Asked(
            kind=Kind.DOSE,
            route=d.route,
            amount=d.amount,
            unit=therapy.limits.unit,
            time=d.time,
            duration=_length(d.duration, d.rate, d.amount),
        )
        for d in regimen.doses
    ]
