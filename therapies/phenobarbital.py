"""Phenobarbital in neonates: seizures, dosing to a level of 15 to 40 mg/L."""

from __future__ import annotations

from collections.abc import Mapping

from ..pkpd.layout import CovariateSpec
from ..pkpd.regimen import Regimen
from ..safety import (
    Bound,
    DoseLimits,
    HarmLimit,
    Limits,
    MeasurementLimits,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
)
from .therapy import Action, Goal, Harm, Therapy

RANGE = "therapeutic range 15-40 mg/L: University of Iowa NICU handbook; London (LHSC) and CHEO 65-170 µmol/L"
LABEL = "FDA label of SEZABY (phenobarbital sodium), 2022"
RATE = "1 mg/kg/min: neonatal manuals of LHSC, CHEO, KEMH, Iowa (SEZABY's label allows 20 mg/kg in 15 min)"
OWN = "doseloop's own choice, to be reviewed by the unit that uses it"
NO_RATE = "levels days apart, drawn by hand: their rate of change is what the model is for"
STEP = 0.5


def _amounts(weight: float) -> tuple[float, ...]:
    """Half milligrams up to 20 mg/kg."""
    return tuple(STEP * k for k in range(2, int(20 * weight / STEP + 1e-9) + 1))


def _protocol(covariates: Mapping[str, float]) -> Regimen:
    """20 mg/kg, then 2.25 mg/kg every 12 h from 12 h on (SEZABY's label)."""
    w = covariates["weight"]
    doses = [ACTION.dose(_amounts(w)[-1], 0.0, w)]  # the largest half milligram within 20 mg/kg
    doses += [ACTION.dose(max(1.0, round(2.25 * w / STEP) * STEP), 12.0 * k, w) for k in range(1, 11)]
    return Regimen(*doses)


ACTION = Action(
    route="iv",
    unit="mg",
    amounts=_amounts,
    intervals=(12.0, 24.0),
    duration=lambda amount, weight: 0.5,
    loading=True,
    source="0.5 mg is 0.1 mL of a 5 mg/mL dilution (CHEO); 12 h is the interval of the label and of the 1985 infants, "
    f"24 h of several manuals; half an hour keeps 20 mg/kg under 1 mg/kg/min; {LABEL}",
)

LIMITS = Limits(
    therapy="phenobarbital",
    unit="mg",
    actions=(
        DoseLimits(
            route="iv",
            unit="mg",
            increment=Bound(0.1, "mg", "0.02 mL of 5 mg/mL, the finest a 0.05 mL-scaled syringe lets one estimate"),
            minimum=Bound(0.5, "mg", OWN),
            maximum=Bound(120.0, "mg", f"20 mg/kg at 6 kg, the heaviest infant of this table; {OWN}"),
            maximum_per_kg=Bound(20.0, "mg/kg", f"single loading dose; {LABEL}"),
            duration_min=Bound(
                0.05, "h", "3 min: a maintenance dose is a slow injection; the rate limit rules above it"
            ),
            duration_max=Bound(2.0, "h", OWN),
            infusion_rate_max=Unlimited("the limit per kg is the lower one at every weight of this table"),
            infusion_rate_max_per_kg=Bound(1.0, "mg/kg/min", RATE),
            interval_min=Bound(8.0, "h", f"maintenance every 8 h at the most; {LABEL}"),
            increase_factor=Unlimited("a top-up load is several maintenance doses; per-kg and 24-h limits bound it"),
            increase_base=Bound(1.0, "mg", "not used while the factor is unlimited"),
            unmeasured_max=Unlimited("the per-kg limits hold with or without a level"),
            unpredicted_max=Bound(0.0, "mg", f"nothing is advised without a prediction; {OWN}"),
        ),
    ),
    rolling=(
        RollingTotal(
            window=Bound(24.0, "h", f"{LABEL}: loading phase"),
            total=Unlimited("the limit per kg is meant"),
            total_per_kg=Bound(40.0, "mg/kg", f"total load; {LABEL}; KEMH, CHEO, LHSC manuals"),
        ),
    ),
    course_total=Unlimited("the drug is given for days to weeks and eliminated; the level is what is limited"),
    course_total_per_kg=Unlimited("the drug is given for days to weeks and eliminated; the level is what is limited"),
    weight=WeightRange(
        low=Bound(0.4, "kg", "lightest viable infants; the model's own begin at 0.6 kg"),
        high=Bound(6.0, "kg", f"beyond a neonate; {OWN}"),
    ),
    measurements=(
        MeasurementLimits(
            name="concentration",
            unit="mg/L",
            low=Bound(0.0, "mg/L", "a level cannot be negative"),
            high=Bound(200.0, "mg/L", f"above any survivable level: an error of unit or sample; {OWN}"),
            age_max=Bound(240.0, "h", f"ten days; {OWN}"),
            stop_below=Unlimited("a low level is a reason to give, not to stop"),
            stop_above=Bound(50.0, "mg/L", "above 50 mg/L sedation and poor feeding (Kompy NICU manual)"),
            quality_min=Unlimited("an assay has no signal quality"),
            change_max=Unlimited(NO_RATE),
            fall_max=Unlimited(NO_RATE),
            fall_below=Unlimited(NO_RATE),
            stop_age_max=Unlimited("a toxic level stops the drug until there is a lower one"),
        ),
    ),
    harms=(
        HarmLimit(name="level above 50 mg/L", probability_max=Bound(0.05, "1", OWN)),
        HarmLimit(name="level above 40 mg/L", probability_max=Bound(0.25, "1", OWN)),
    ),
    projections=Unlimited("the harms of the forecast are limited by their probability"),
    suspension_max=Unlimited("doses are hours apart, and a dose left out shows in the plan"),
    record_age_max=Bound(48.0, "h", f"a treated neonate's chart has an entry every shift; {OWN}"),
    ahead_max=Bound(96.0, "h", f"the plan's horizon and one day; {OWN}"),
    safe_action=SafeAction(
        sentence="Give no phenobarbital now; ask the responsible physician.",
        source="half-life of 4 to 6 days: a dose left out for some hours hardly changes the level",
    ),
)

THERAPY = Therapy(
    id="phenobarbital",
    drug="phenobarbital",
    title="Phenobarbital for seizures in neonates",
    purpose="Decision support for intravenous phenobarbital maintenance and top-up in neonates of 0.6 to 3.6 kg in "
    "their first two to three weeks; a clinician confirms every dose. Not for status epilepticus.",
    model_ids=("phenobarbital_neonate_grasela1985",),
    prior_weights=(1.0,),
    output="concentration",
    action=ACTION,
    goal=Goal("trough", 15.0, 40.0, 25.0, "mg/L", RANGE),
    harms=(
        Harm("level above 50 mg/L", "peak", 50.0, "mg/L", "Kompy NICU manual"),
        Harm("level above 40 mg/L", "peak", 40.0, "mg/L", RANGE),
    ),
    limits=LIMITS,
    horizon=72.0,
    protocol=_protocol,
    covariates=(
        CovariateSpec("weight", "kg", ("WT", "WEIGHT"), 0.3, 10.0),
        CovariateSpec("apgar", "", ("APGAR",), 0.0, 10.0),
    ),
    output_range=(0.0, 200.0),
    dose_high=500.0,
    data="phenobarbital_neonates.csv",
)
