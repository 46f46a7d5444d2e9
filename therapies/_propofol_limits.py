"""The limits of propofol, and of remifentanil beside it, in a closed loop that steps every few seconds.

Units: mg and mg/min (µg and µg/min: "ug"), µg/mL (ng/mL), years, kg, h. Adults with an anaesthetist at their side:
what the guard refuses, he may give by hand.

Labels and SmPCs are quoted as monographs and leaflets give them; Roberts 1988 (Anaesthesia 43 Suppl:14) and the targets
of Ultiva's SmPC are as commonly quoted, full text not seen.

What depends on age and body weight is made in one place (`_Numbers`), so that a batch of patients under the widest
table (`…_limits_of_many`) and each under a table of his own (`…_limits`) are judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..safety import (
    Bound,
    DoseLimits,
    Kind,
    Limits,
    LimitsError,
    MeasurementLimits,
    OwnLimits,
    ProjectionLimits,
    RateLimits,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
)

__all__ = ["propofol_limits", "propofol_limits_of_many", "remifentanil_limits", "remifentanil_limits_of_many"]

SMPC = "SmPC of propofol 10 mg/mL"
LABEL = "FDA label of propofol"
ULTIVA = "SmPC of Ultiva (remifentanil)"
PUMPS = "closed-loop literature: propofol 6.67 mg/s, remifentanil 16.67 ug/s (1200 mL/h of 20 mg/mL, of 50 ug/mL)"
MONITOR = "BIS monitors (Mindray, Philips): an index under 50 % is unreliable, under 15 % nothing is shown"
OWN = "doseloop's own choice, to be reviewed by the department that uses it"
TCI = "target-controlled infusion to an effect site of {} keeps it (tests/test_loop_limits.py)"
STEPS = "a rapid bolus is followed by nothing and then by maintenance; the rolling totals and the effect site bound it"
COURSE = "an operation lasts hours; the day is limited"
SECOND = 1.0 / 3600.0


@dataclass(frozen=True, slots=True)
class _Drug:
    """What the two tables do not share; pairs are for the younger and the older."""

    name: str
    unit: str
    concentration: str
    older: float  # years, from here on the second of each pair
    rate: float  # unit/min, of a man of 70 kg
    bolus: tuple[float, float]  # unit/kg
    five_minutes: tuple[float, float]  # unit/kg
    hour: tuple[float, float]  # unit/kg
    day: float  # unit/kg
    effect_site: tuple[float, float]
    blind: tuple[float, float]  # unit/kg/min
    sources: dict[str, str]


PROPOFOL = _Drug(
    name="propofol",
    unit="mg",
    concentration="ug/mL",
    older=55.0,
    rate=400.0,
    bolus=(2.5, 1.5),
    five_minutes=(5.0, 4.0),
    hour=(18.0, 15.0),
    day=100.0,
    effect_site=(8.0, 6.0),
    blind=(10.0 / 60.0, 6.0 / 60.0),
    sources={
        "bolus": f"induction 1.5 to 2.5 mg/kg up to 55 years, 1 to 1.5 above; {SMPC}",
        "five_minutes": f"induction and the first minutes, twice {LABEL}'s 2.5 mg/kg up to 55 years; "
        f"{TCI.format('5 ug/mL')}; {OWN}",
        "hour": f"5 mg/kg of induction and 12 mg/kg/h of maintenance ({SMPC}), less above 55 years; {OWN}",
        "day": f"4 mg/kg/h, the most of long sedation (propofol infusion syndrome; {SMPC}), for 24 h, rounded; {OWN}",
        "effect_site": "targets of 4 to 8 ug/mL for induction up to 55 years, lower above (Diprifusor, SmPC); "
        f"the 6 is ours; {OWN}",
        "blind": f"10 mg/kg/h, then 8, then 6 without feedback (Roberts 1988); 3 to 6 mg/kg/h above 55 years; {SMPC}",
    },
)
REMIFENTANIL = _Drug(
    name="remifentanil",
    unit="ug",
    concentration="ng/mL",
    older=65.0,
    rate=1000.0,
    bolus=(1.0, 0.5),
    five_minutes=(6.0, 5.0),
    hour=(60.0, 30.0),
    day=600.0,
    effect_site=(15.0, 8.0),
    blind=(0.25, 0.125),
    sources={
        "bolus": f"1 ug/kg over 30 s at least, half above 65 years; {ULTIVA}",
        "five_minutes": f"1 ug/kg and 1 ug/kg/min up to intubation ({ULTIVA}); above 65 years "
        f"{TCI.format('8 ng/mL')}; {OWN}",
        "hour": f"1 ug/kg/min, half above 65 years; the range of maintenance ends at 2 ({ULTIVA}); {OWN}",
        "day": f"a mean of 0.4 ug/kg/min; {OWN}",
        "effect_site": f"3 to 8 ng/mL, up to 15 for what stimulates most; {ULTIVA}; above 65 years 8; {OWN}",
        "blind": f"start of maintenance with propofol, 0.25 ug/kg/min, half above 65 years; {ULTIVA}",
    },
)


def propofol_limits(age: float, weight: float, pressure: bool = False) -> Limits:
    """The table of one patient.

    Args:
        age: years, 14 to 110.
        weight: body weight (kg), 30 to 200.
        pressure: whether mean arterial pressure is measured and projected: the table then has rows for both.

    Raises:
        LimitsError: a number that cannot be; everything wrong is listed.
    """
    return _table(PROPOFOL, _numbers(PROPOFOL, age, weight), pressure)


def propofol_limits_of_many(age: Any, weight: Any, pressure: bool = False) -> tuple[Limits, dict[Kind, OwnLimits]]:
    """One table for n patients, and the own limits of each for a bolus and for a rate.

    ``guard_batch(Batch(kind=kind, …, own=own[kind]), limits)`` judges each patient as `guard` does by his own table.

    Args:
        age: (n,) years.
        weight: (n,) kg.
        pressure: as in `propofol_limits`, for all.

    Raises:
        LimitsError: as `propofol_limits`.
    """
    return _many(PROPOFOL, age, weight, pressure)


def remifentanil_limits(age: float, weight: float, pressure: bool = False) -> Limits:
    """The same as `propofol_limits` for remifentanil (µg)."""
    return _table(REMIFENTANIL, _numbers(REMIFENTANIL, age, weight), pressure)


def remifentanil_limits_of_many(age: Any, weight: Any, pressure: bool = False) -> tuple[Limits, dict[Kind, OwnLimits]]:
    """The same as `propofol_limits_of_many` for remifentanil (µg)."""
    return _many(REMIFENTANIL, age, weight, pressure)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What depends on the patient, (n,) each, in units of the drug (per min for rates)."""

    bolus: NDArray[np.float64]
    rate: NDArray[np.float64]
    five_minutes: NDArray[np.float64]
    hour: NDArray[np.float64]
    effect_site: NDArray[np.float64]
    blind: NDArray[np.float64]


def _numbers(drug: _Drug, age: Any, weight: Any) -> _Numbers:
    try:
        years, kg = np.broadcast_arrays(*np.atleast_1d(np.asarray(age, np.float64), np.asarray(weight, np.float64)))
    except (TypeError, ValueError):
        raise LimitsError("age and weight: not numbers, one a patient each") from None
    problems = []
    for name, array, low, high, unit in (("age", years, 14.0, 110.0, "years"), ("weight", kg, 30.0, 200.0, "kg")):
        # NaN compares false, and so is at fault.
        bad = np.flatnonzero(~((array >= low) & (array <= high)))
        if bad.size:
            problems.append(f"{name}: {array[bad[0]]:g} (patient {bad[0]}) is not {low:g} to {high:g} {unit}")
    if problems:
        raise LimitsError(*problems)

    def of(pair: tuple[float, float]) -> NDArray[np.float64]:
        return np.where(years > drug.older, pair[1], pair[0])

    return _Numbers(
        bolus=of(drug.bolus) * kg,
        rate=np.minimum(drug.rate, drug.rate / 70.0 * kg),
        five_minutes=of(drug.five_minutes) * kg,
        hour=of(drug.hour) * kg,
        effect_site=of(drug.effect_site),
        blind=of(drug.blind) * kg,
    )


def _many(drug: _Drug, age: Any, weight: Any, pressure: bool) -> tuple[Limits, dict[Kind, OwnLimits]]:
    x = _numbers(drug, age, weight)
    # In the order of the table's rows: 5 min, 1 h, 24 h (per kg for all); effect site, pressure (no upper bound).
    free = np.full_like(x.rate, np.inf)
    total = np.stack([x.five_minutes, x.hour, free], axis=1)
    high = np.stack([x.effect_site, free] if pressure else [x.effect_site], axis=1)
    none = np.zeros_like(x.rate)
    own = {
        kind: OwnLimits(maximum=most, unmeasured_max=blind, unpredicted_max=blind, total=total, high=high)
        for kind, most, blind in ((Kind.DOSE, x.bolus, none), (Kind.RATE, x.rate, x.blind))
    }
    return _table(drug, x, pressure), own


def _table(drug: _Drug, x: _Numbers, pressure: bool) -> Limits:
    """The table that is as wide as the widest of the patients' own."""
    unit, rate, source = drug.unit, f"{drug.unit}/min", drug.sources
    per_kg = Unlimited("the number is the patient's own, made from his weight")
    step = 0.1 if drug is PROPOFOL else 0.05
    return Limits(
        therapy=drug.name,
        unit=unit,
        actions=(
            DoseLimits(
                route=drug.name,
                unit=unit,
                increment=Bound(1.0, unit, "0.1 mL of 10 mg/mL, 0.02 mL of 50 ug/mL"),
                minimum=Bound(1.0, unit, "one step"),
                maximum=Bound(float(np.max(x.bolus)), unit, source["bolus"]),
                maximum_per_kg=per_kg,
                duration_min=Bound(SECOND, "h", "a bolus by pump takes seconds; the infusion rate says how many"),
                duration_max=Bound(0.1, "h", f"6 min; what takes longer is a rate; {OWN}"),
                infusion_rate_max=Bound(drug.rate, rate, PUMPS),
                infusion_rate_max_per_kg=Bound(drug.rate / 70.0, f"{unit}/kg/min", f"the same of 70 kg; {PUMPS}"),
                interval_min=Bound(1.0 / 60.0, "h", f"a minute, to see what the last one does; {OWN}"),
                increase_factor=Unlimited(STEPS),
                increase_base=Bound(1.0, unit, "not used while the factor is unlimited"),
                unmeasured_max=Bound(0.0, unit, f"no bolus of the loop without a signal; {OWN}"),
                unpredicted_max=Bound(0.0, unit, f"no bolus of the loop without an effect-site projection; {OWN}"),
            ),
            RateLimits(
                route=drug.name,
                unit=rate,
                increment=Bound(0.01, rate, "0.03 mL/h of 20 mg/mL, 0.012 mL/h of 50 ug/mL: finer than pumps' 0.1"),
                minimum=Bound(0.01, rate, "one step"),
                maximum=Bound(float(np.max(x.rate)), rate, f"scaled by weight up to 70 kg; {PUMPS}"),
                maximum_per_kg=per_kg,
                duration_min=Bound(SECOND, "h", "1 s: loops step every second at the fastest"),
                duration_max=Bound(0.1, "h", f"6 min: a loop that fell silent does not go on for longer; {OWN}"),
                interval_min=Unlimited("a rate replaces the last"),
                increase_factor=Unlimited(STEPS),
                increase_base=Bound(step, rate, "not used while the factor is unlimited"),
                unmeasured_max=Bound(float(np.max(x.blind)), rate, source["blind"]),
                unpredicted_max=Bound(float(np.max(x.blind)), rate, source["blind"]),
            ),
        ),
        rolling=(
            RollingTotal(
                window=Bound(5.0 / 60.0, "h", "induction"),
                total=Bound(float(np.max(x.five_minutes)), unit, source["five_minutes"]),
                total_per_kg=per_kg,
            ),
            RollingTotal(
                window=Bound(1.0, "h", "induction and the first hour"),
                total=Bound(float(np.max(x.hour)), unit, source["hour"]),
                total_per_kg=per_kg,
            ),
            RollingTotal(
                window=Bound(24.0, "h", "a day"),
                total=Unlimited("the limit per kg is meant"),
                total_per_kg=Bound(drug.day, f"{unit}/kg", source["day"]),
            ),
        ),
        course_total=Unlimited(COURSE),
        course_total_per_kg=Unlimited(COURSE),
        weight=WeightRange(low=Bound(30.0, "kg", OWN), high=Bound(200.0, "kg", OWN)),
        measurements=(_bis(drug), _pressure()) if pressure else (_bis(drug),),
        harms=Unlimited("the effect site is limited instead; chances of harm are the controller's constraints"),
        projections=(
            ProjectionLimits(
                name="effect-site concentration",
                unit=drug.concentration,
                low=Unlimited("too light is not what the guard guards against: it never gives more"),
                high=Bound(float(np.max(x.effect_site)), drug.concentration, source["effect_site"]),
                steepness=Bound(1.0, "1", "kinetics are linear"),
            ),
            *((_projected_pressure(drug),) if pressure else ()),
        ),
        suspension_max=Bound(
            5.0 / 60.0, "h", f"after an effect-site bolus nothing runs for 3 min; longer, and the patient wakes; {OWN}"
        ),
        record_age_max=Bound(2.0 / 60.0, "h", f"pump and monitor write every few seconds; {OWN}"),
        ahead_max=Bound(1.0 / 60.0, "h", f"a minute: the loop decides the next seconds; {OWN}"),
        safe_action=SafeAction(
            sentence=f"Stop {drug.name}; the anaesthetist takes over.",
            source="an anaesthetist is present; too deep harms sooner than a minute too light",
        ),
    )


def _bis(drug: _Drug) -> MeasurementLimits:
    # Burst suppression is propofol's doing; an opioid that stops with it would leave pain.
    low: Bound | Unlimited = Unlimited("a low BIS stops the hypnotic, not the opioid")
    if drug is PROPOFOL:
        low = Bound(20.0, "1", "low alarm of BIS, closed-loop literature: alarms at 20 and 70")
    return MeasurementLimits(
        name="BIS",
        unit="1",
        low=Bound(0.0, "1", "isoelectric"),
        high=Bound(100.0, "1", "the index ends there"),
        quality_min=Bound(50.0, "%", MONITOR),
        age_max=Bound(30.0 * SECOND, "h", f"30 s: the longest smoothing of a BIS monitor (Philips); {OWN}"),
        stop_below=low,
        stop_above=Unlimited("a high BIS is a reason to give, not to stop"),
        change_max=Bound(600.0, "1/min", f"half of the scale in 5 s, under a smoothing of 15 s or more; {OWN}"),
        fall_max=Unlimited("a fast fall is what induction is"),
        fall_below=Unlimited("a fast fall is what induction is"),
        stop_age_max=Bound(2.0 / 60.0, "h", f"2 min after the last reading; longer, and the patient wakes; {OWN}"),
    )


def _pressure() -> MeasurementLimits:
    return MeasurementLimits(
        name="MAP",
        unit="mmHg",
        low=Bound(15.0, "mmHg", f"lower is a disconnected line; {OWN}"),
        high=Bound(250.0, "mmHg", f"higher is a flushed line; {OWN}"),
        quality_min=Unlimited("pressure monitors tell no signal quality"),
        age_max=Bound(6.0 / 60.0, "h", f"6 min: a cuff measures every 5 at the longest; {OWN}"),
        stop_below=Bound(
            50.0, "mmHg", f"the projection bounds it higher; under 50 nothing is given, projected or not; {OWN}"
        ),
        stop_above=Unlimited("a high pressure is no reason to stop"),
        change_max=Unlimited("a flushed or kinked line shows in the range; true pressure jumps with stimulation"),
        fall_max=Unlimited("the projection bounds what a fall leads to"),
        fall_below=Unlimited("the projection bounds what a fall leads to"),
        stop_age_max=Bound(6.0 / 60.0, "h", f"as long as it counts; {OWN}"),
    )


def _projected_pressure(drug: _Drug) -> ProjectionLimits:
    # Who wakes under the knife is harmed too: the opioid stops where the alarm is, the hypnotic where harm is known.
    low = Bound(60.0, "mmHg", "low alarm of mean arterial pressure, closed-loop literature: alarms at 60 and 110")
    if drug is PROPOFOL:
        low = Bound(
            55.0,
            "mmHg",
            "injury of kidney and heart under 55 mmHg, within minutes (Walsh 2013, Anesthesiology 119:507)",
        )
    return ProjectionLimits(
        name="MAP in 2 min",
        unit="mmHg",
        low=low,
        high=Unlimited("a high pressure is no reason to stop"),
        steepness=Bound(
            10.0, "1", "typical patients of Su 2023: 2 in maintenance, 8 from rest: tests/test_loop_limits.py"
        ),
    )
