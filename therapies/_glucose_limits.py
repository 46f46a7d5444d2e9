"""The limits of insulin by a pump in a closed loop, for one patient and for many.

Units: U, U/h, mg/dL, h, kg. The numbers that depend on the patient are made in one place, so that a batch of patients
under the table of the widest (`glucose_limits_of_many`) and each under a table of his own (`glucose_limits`) are judged
alike.

Numbers of AndroidAPS, oref0 and Loop are those of their source code; those of Control-IQ, Omnipod 5, MiniMed and Dexcom
of their guides and help pages; steps of t:slim X2 and the smallest rates of pumps are as commonly given.

Advice on insulin that reads a continuous sensor is a regulated function (US: 21 CFR 862.1358, which excludes automated
dosing; 862.1356 is the controller's). These limits are for simulation, and for advice that a person confirms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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

__all__ = ["GROUPS", "glucose_limits", "glucose_limits_of_many"]

AAPS = "AndroidAPS 3.2, HardLimits by age class (child, teenage, adult, resistant adult, pregnant)"
OREF = "oref0"
CONTROL_IQ = "Tandem Control-IQ"
OMNIPOD = "Omnipod 5 user guide, Automated Mode: Limited"
OWN = "doseloop's own choice, to be reviewed by whoever uses it"
PUMP = "finest step on the market: t:slim X2, 0.01 U and 0.001 U/h; a coarser pump rounds down further"
COURSE = "insulin is given for life"
STEPS = "a loop steps quickly; insulin on board, the hour's total and the projected glucose bound it"

# Smallest basal rate that a pump gives (U/h).
MINIMUM = 0.025

# By age class: largest bolus (U), largest basal rate (U/h), most on board (U): AAPS, MAX_BOLUS, MAX_BASAL, MAX_IOB_SMB.
# Last, most in 24 h (U): own choice; over 200 U a day an adult counts as severely resistant.
GROUPS = {
    "child": (5.0, 2.0, 7.0, 60.0),
    "teen": (10.0, 5.0, 13.0, 120.0),
    "adult": (17.0, 10.0, 22.0, 200.0),
    "resistant": (25.0, 12.0, 30.0, 400.0),
    "pregnant": (60.0, 25.0, 70.0, 400.0),
}


class _Numbers(NamedTuple):
    """What depends on the patient, one array (n,) each: U, U/h."""

    bolus: NDArray[np.float64]
    rate: NDArray[np.float64]
    board: NDArray[np.float64]
    day: NDArray[np.float64]
    basal: NDArray[np.float64]
    manual: NDArray[np.float64]


def glucose_limits(group: str, basal: float, manual_bolus: float = 0.0, multiple: float = 4.0) -> Limits:
    """The table of one patient.

    Args:
        group: age class, one of `GROUPS`; who sets it is the prescriber, not the birthday.
        basal: programmed basal rate (U/h), what the pump gives without the loop: all that a rate may be while the
            sensor is blind or nothing is projected.
        manual_bolus: the largest bolus (U) without a reading or a projection; 0 for a bolus that the loop decides. One
            that a person decides needs neither: then it is the size of his usual meal's.
        multiple: the largest rate, as a multiple of the programmed one; the age class bounds it too.

    Raises:
        LimitsError: no such age class, or a number that cannot be; everything wrong is listed.
    """
    return _table(_numbers([group], basal, manual_bolus, multiple))


def glucose_limits_of_many(
    groups: Sequence[str], basal: Any, manual_bolus: Any = 0.0, multiple: Any = 4.0
) -> tuple[Limits, dict[Kind, OwnLimits]]:
    """One table for n patients, and the own limits of each for a bolus and for a rate.

    ``guard_batch(Batch(kind=kind, …, own=own[kind]), limits)`` judges each patient as `guard` does by his own table.

    Args:
        groups: n age classes.
        basal: (n,) programmed basal rates (U/h).
        manual_bolus: (n,) or one number, as in `glucose_limits`.
        multiple: (n,) or one number, as in `glucose_limits`.

    Raises:
        LimitsError: as `glucose_limits`.
    """
    x = _numbers(groups, basal, manual_bolus, multiple)
    # In the order of the table's rows: the hour and the day; insulin on board, glucose (no upper bound).
    total = np.stack([x.board, x.day], axis=1)
    high = np.stack([x.board, np.full_like(x.board, np.inf)], axis=1)
    own = {
        kind: OwnLimits(maximum=most, unmeasured_max=blind, unpredicted_max=blind, total=total, high=high)
        for kind, most, blind in ((Kind.DOSE, x.bolus, x.manual), (Kind.RATE, x.rate, x.basal))
    }
    return _table(x), own


def _numbers(groups: Sequence[str], basal: Any, manual_bolus: Any, multiple: Any) -> _Numbers:
    n = len(groups)
    problems = [f"group: {g!r} is not one of {', '.join(GROUPS)}" for g in dict.fromkeys(groups) if g not in GROUPS]
    found: list[NDArray[np.float64]] = []
    for name, value, least in (
        ("basal", basal, MINIMUM),
        ("manual_bolus", manual_bolus, 0.0),
        ("multiple", multiple, 1.0),
    ):
        try:
            array = np.broadcast_to(np.asarray(value, dtype=np.float64), (n,))
        except (TypeError, ValueError):
            problems.append(f"{name}: {value!r} is not {n} numbers")
            continue
        found.append(array)
        # NaN compares false, and so is at fault.
        bad = np.flatnonzero(~((array >= least) & (array < np.inf)))
        if bad.size:
            problems.append(f"{name}: {array[bad[0]]:g} (patient {bad[0]}) is not a number of at least {least:g}")
    if problems:
        raise LimitsError(*problems)
    programmed, manual, times = found
    bolus, rate, board, day = np.array([GROUPS[g] for g in groups], dtype=np.float64).reshape(n, 4).T
    over = np.flatnonzero(programmed > rate)
    if over.size:
        i = over[0]
        raise LimitsError(f"basal: {programmed[i]:g} U/h (patient {i}) is over the {rate[i]:g} U/h of a {groups[i]}")
    return _Numbers(bolus, np.minimum(rate, times * programmed), board, day, programmed, np.minimum(manual, bolus))


def _table(x: _Numbers) -> Limits:
    """The table that is as wide as the widest of the patients' own."""
    bolus, rate, board, day, basal, manual = (float(np.max(column)) for column in x)
    return Limits(
        therapy="insulin by pump",
        unit="U",
        actions=(
            DoseLimits(
                route="sc",
                unit="U",
                increment=Bound(0.01, "U", PUMP),
                minimum=Bound(0.05, "U", "smallest bolus of t:slim X2, Omnipod, oref0's pumps"),
                maximum=Bound(bolus, "U", f"largest bolus; {AAPS}"),
                maximum_per_kg=Bound(1.0, "U/kg", f"more than a day's insulin in one bolus is an error of unit; {OWN}"),
                duration_min=Bound(0.0, "h", "a bolus"),
                duration_max=Bound(0.5, "h", f"17 U at the slowest speed of pumps, 1 U in 40 s, take 11 min; {OWN}"),
                infusion_rate_max=Unlimited("how fast a pump pushes a bolus is the pump's"),
                infusion_rate_max_per_kg=Unlimited("how fast a pump pushes a bolus is the pump's"),
                interval_min=Bound(0.05, "h", f"micro-boluses 3 min apart (SMBInterval); {OREF}"),
                increase_factor=Unlimited(STEPS),
                increase_base=Bound(0.05, "U", "not used while the factor is unlimited"),
                unmeasured_max=Bound(manual, "U", "no bolus of the loop without a reading; a person may decide one"),
                unpredicted_max=Bound(manual, "U", "no bolus of the loop without projections; a person may decide one"),
            ),
            RateLimits(
                route="sc",
                unit="U/h",
                increment=Bound(0.001, "U/h", PUMP),
                minimum=Bound(MINIMUM, "U/h", "smallest basal rate of MiniMed 670G and 780G"),
                maximum=Bound(rate, "U/h", f"age class ({AAPS}), and 4 times the programmed rate ({OREF})"),
                maximum_per_kg=Unlimited("the programmed rate tells more of the patient than his weight"),
                duration_min=Bound(0.01, "h", "36 s: half of the shortest interval of any sensor, 1 min, and some"),
                duration_max=Bound(0.5, "h", f"temporary rates of 30 min, after which the pump's own resumes; {OREF}"),
                interval_min=Unlimited("a rate replaces the last"),
                increase_factor=Unlimited(STEPS),
                increase_base=Bound(MINIMUM, "U/h", "not used while the factor is unlimited"),
                unmeasured_max=Bound(
                    basal, "U/h", f"without a sensor no more than the programmed rate; {OMNIPOD}; {CONTROL_IQ}"
                ),
                unpredicted_max=Bound(basal, "U/h", f"without projections no more than the programmed rate; {OWN}"),
            ),
        ),
        rolling=(
            RollingTotal(
                window=Bound(1.0, "h", "pumps' real limits are per hour, not per minute"),
                total=Bound(board, "U", f"no more in an hour than may be on board; {OWN}"),
                total_per_kg=Unlimited("the age class is what is limited; the day is limited per kg"),
            ),
            RollingTotal(
                window=Bound(24.0, "h", "a day"),
                total=Bound(day, "U", f"over 200 U a day is severe resistance (Clin Diabetes 2016, 34:97); {OWN}"),
                total_per_kg=Bound(
                    3.0, "U/kg", "over 3 U/kg a day: extreme resistance (Cochran 2005, Diabetes Care 28:1240)"
                ),
            ),
        ),
        course_total=Unlimited(COURSE),
        course_total_per_kg=Unlimited(COURSE),
        weight=WeightRange(
            low=Bound(10.0, "kg", f"a child of one to two years; {OWN}"),
            high=Bound(250.0, "kg", OWN),
        ),
        measurements=(
            MeasurementLimits(
                name="glucose",
                unit="mg/dL",
                low=Bound(10.0, "mg/dL", "least glucose that Loop takes as one (validManualGlucoseEntryRange)"),
                high=Bound(600.0, "mg/dL", "largest glucose that Loop takes as one, and that meters show"),
                quality_min=Unlimited("sensors tell no signal quality; a reading they do not trust is not sent"),
                age_max=Bound(0.25, "h", f"15 min: Loop; {CONTROL_IQ} (adjusts for 15 min); 12 min: {OREF}"),
                stop_below=Bound(70.0, "mg/dL", f"{CONTROL_IQ} stops at 70, Omnipod 5 under 60; level 1 hypoglycaemia"),
                stop_above=Unlimited("a high glucose is a reason to give, not to stop"),
                change_max=Bound(
                    8.0, "mg/dL/min", "40 mg/dL in 5 min is no gradual transition (LoopAlgorithm, 40 mg/dL)"
                ),
                fall_max=Bound(3.0, "mg/dL/min", "the fastest arrow of Dexcom: falling more than 3 mg/dL each minute"),
                fall_below=Bound(100.0, "mg/dL", f"at 3 mg/dL/min 70 mg/dL is 10 min away; {OWN}"),
                stop_age_max=Bound(1.0, "h", f"a pause goes on for an hour without a sensor, then ends; {OMNIPOD}"),
            ),
        ),
        harms=Unlimited("the projected glucose is limited instead; chances of harm are the controller's constraints"),
        projections=(
            ProjectionLimits(
                name="insulin on board",
                unit="U",
                low=Unlimited("less than basal on board is what a suspension leaves"),
                high=Bound(board, "U", f"beyond what the programmed rate leaves, as MAX_IOB_SMB counts; {AAPS}"),
                steepness=Bound(1.0, "1", "insulin on board is linear in what is given"),
            ),
            ProjectionLimits(
                name="glucose in 30 min",
                unit="mg/dL",
                low=Bound(70.0, "mg/dL", f"stops what takes glucose to 70 mg/dL in 30 min; {CONTROL_IQ}"),
                high=Unlimited("a high glucose is a reason to give, not to stop"),
                steepness=Bound(
                    2.5, "1", "1.2 as a rule, 2.3 at most where 70 mg/dL is crossed: tests/test_loop_limits.py"
                ),
            ),
        ),
        suspension_max=Bound(1.0, "h", f"paused no longer than an hour without a sensor; {OMNIPOD}; MiniMed: 2 h"),
        record_age_max=Bound(1.0, "h", f"a pump and a sensor write every few minutes; {OWN}"),
        ahead_max=Bound(0.5, "h", f"the length of a temporary rate; {OREF}"),
        safe_action=SafeAction(
            sentence="Give no insulin now; check glucose with a meter.",
            source="subcutaneous insulin goes on acting for hours; basal insulin missed for an hour is made good",
        ),
    )
