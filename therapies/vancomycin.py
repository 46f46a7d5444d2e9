"""Vancomycin in adults: AUC-guided dosing, three rival models."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..pkpd.layout import CovariateSpec
from ..pkpd.physiology import cockcroft_gault
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

RYBAK = "Rybak 2020, Am J Health Syst Pharm 77:835-864 (consensus guideline of ASHP, IDSA, PIDS, SIDP)"
ZASOWSKI = (
    "Zasowski 2018, Antimicrob Agents Chemother 62:e01684-17: AUC24 of 677 or more, kidney injury 3 to 4 times as often"
)
CAMERA2 = "Tong 2016 (CAMERA2), Trials 17:170, table 1: starting maintenance dose of vancomycin by creatinine clearance"
OWN = "doseloop's own choice, to be reviewed by the hospital that uses it"
NO_RATE = "levels a day or more apart, drawn by hand: their rate of change is what the models are for"


def _duration(amount: float, weight: float) -> float:
    """At least an hour, and no faster than 10 mg/min, in half hours."""
    return max(1.0, math.ceil(amount / 600.0 * 2 - 1e-9) / 2)


def _protocol(covariates: Mapping[str, float]) -> Regimen:
    """25 mg/kg at first, then 15 mg/kg in 250-mg steps, at intervals by creatinine clearance on admission (`CAMERA2`):
    12 h from 60 mL/min on, 24 h from 20 on, else 48 h. Without a creatinine 12 h, over 65 years 24 h."""
    w = covariates["weight"]
    step = lambda x, most: min(most, 250.0 * max(1, round(x / 250.0)))  # noqa: E731
    if "scr" in covariates:
        clear = cockcroft_gault(covariates["age"], w, covariates["sex"], covariates["scr"])
        interval = 12.0 if clear >= 60 else 24.0 if clear >= 20 else 48.0
    else:
        interval = 24.0 if covariates["age"] > 65 else 12.0
    load, rest = step(25 * w, 3000.0), step(15 * w, 2000.0)
    return Regimen(*[ACTION.dose(load if k == 0 else rest, interval * k, w) for k in range(int(96 / interval))])


ACTION = Action(
    route="iv",
    unit="mg",
    amounts=lambda weight: tuple(250.0 * k for k in range(2, 13)),
    intervals=(12.0, 8.0, 24.0, 48.0),
    duration=_duration,
    loading=True,
    source=f"250-mg steps and intervals of hospital protocols; 10 mg/min and an hour at least: FDA label; {RYBAK}",
)

LIMITS = Limits(
    therapy="vancomycin",
    unit="mg",
    actions=(
        DoseLimits(
            route="iv",
            unit="mg",
            increment=Bound(250.0, "mg", "pharmacies prepare 250-mg steps"),
            minimum=Bound(250.0, "mg", "smallest prepared bag"),
            maximum=Bound(3000.0, "mg", f"loading dose; {RYBAK}"),
            maximum_per_kg=Bound(35.0, "mg/kg", f"loading dose; {RYBAK}"),
            duration_min=Bound(1.0, "h", "60 min at least: FDA label"),
            duration_max=Bound(24.0, "h", "a continuous infusion is another therapy"),
            infusion_rate_max=Bound(
                15.0, "mg/min", f"10 to 15 mg/min; {RYBAK}; the label says 10, which is what we plan with"
            ),
            infusion_rate_max_per_kg=Unlimited("the absolute rate is what sources limit"),
            interval_min=Bound(6.0, "h", "shortest interval of adult protocols"),
            increase_factor=Bound(3.0, "1", OWN),
            increase_base=Bound(1000.0, "mg", OWN),
            unmeasured_max=Bound(3000.0, "mg", "the first doses are given before any level"),
            unpredicted_max=Bound(0.0, "mg", f"nothing is advised without a prediction; {OWN}"),
        ),
    ),
    rolling=(
        RollingTotal(
            window=Bound(24.0, "h", "a day"),
            total=Bound(6000.0, "mg", f"a load of 3000 mg and what may follow it in a day; {OWN}"),
            total_per_kg=Bound(100.0, "mg/kg", OWN),
        ),
        RollingTotal(
            window=Bound(48.0, "h", "two days"),
            total=Bound(10500.0, "mg", f"4500 mg a day ({RYBAK}, obesity) and a load"),
            total_per_kg=Unlimited("the limit over 24 h holds per kg"),
        ),
    ),
    course_total=Unlimited("courses last days to weeks; exposure is limited day by day"),
    course_total_per_kg=Unlimited("courses last days to weeks; exposure is limited day by day"),
    weight=WeightRange(
        low=Bound(30.0, "kg", "the models' lightest adult: 33 kg"), high=Bound(260.0, "kg", "Goti 2018: 255 kg")
    ),
    measurements=(
        MeasurementLimits(
            name="concentration",
            unit="mg/L",
            low=Bound(0.0, "mg/L", "a level cannot be negative"),
            high=Bound(150.0, "mg/L", f"above any reported peak: drawn from the infusion line, or another unit; {OWN}"),
            age_max=Bound(168.0, "h", f"levels at least weekly; {RYBAK}"),
            stop_below=Unlimited("a low level is a reason to give, not to stop"),
            stop_above=Bound(100.0, "mg/L", f"sample or dosing error until shown otherwise; {OWN}"),
            quality_min=Unlimited("an assay has no signal quality"),
            change_max=Unlimited(NO_RATE),
            fall_max=Unlimited(NO_RATE),
            fall_below=Unlimited(NO_RATE),
            stop_age_max=Unlimited("a toxic level stops the drug until there is a lower one"),
        ),
    ),
    harms=(
        HarmLimit(name="AUC24 above 677 mg*h/L", probability_max=Bound(0.2, "1", OWN)),
        HarmLimit(name="trough above 20 mg/L", probability_max=Bound(0.35, "1", OWN)),
    ),
    projections=Unlimited("the harms of the forecast are limited by their probability"),
    suspension_max=Unlimited("doses are hours apart, and a dose left out shows in the plan"),
    record_age_max=Bound(72.0, "h", OWN),
    ahead_max=Bound(120.0, "h", f"the plan's horizon and two days; {OWN}"),
    safe_action=SafeAction(
        sentence="Give no vancomycin now; measure a level and ask the pharmacist.",
        source="a delayed dose is safer than accumulation in a patient whose clearance is not known",
    ),
)

THERAPY = Therapy(
    id="vancomycin",
    drug="vancomycin",
    title="Vancomycin in adults, AUC-guided",
    purpose="Decision support for intermittent intravenous vancomycin in adults of 17 years and more, MIC taken as "
    "1 mg/L; a clinician confirms every dose. Not for continuous infusion, ECMO or continuous renal replacement.",
    model_ids=("vancomycin_adult_goti2018", "vancomycin_adult_thomson2009", "vancomycin_adult_buelga2005"),
    prior_weights=(1.0, 1.0, 1.0),
    output="concentration",
    action=ACTION,
    goal=Goal("auc24", 400.0, 600.0, 500.0, "mg*h/L", f"AUC24 400-600 at MIC 1 mg/L; {RYBAK}"),
    harms=(
        Harm("AUC24 above 677 mg*h/L", "auc24", 677.0, "mg*h/L", ZASOWSKI),
        Harm(
            "trough above 20 mg/L",
            "trough",
            20.0,
            "mg/L",
            "Tsutsuura 2021, BMC Infect Dis 21:153: kidney injury OR 2.4",
        ),
    ),
    limits=LIMITS,
    horizon=48.0,
    protocol=_protocol,
    covariates=(
        CovariateSpec("weight", "kg", ("WT", "WEIGHT"), 25.0, 350.0),
        CovariateSpec("age", "year", ("AGE",), 15.0, 115.0),
        CovariateSpec("sex", "", ("SEX",), 0.0, 1.0),
        CovariateSpec("scr", "mg/dL", ("SCR", "CREATININE", "SCREAT"), 0.1, 20.0),
        CovariateSpec("dialysis", "", ("DIAL",), 0.0, 1.0, required=False, default=0.0),
    ),
    output_range=(0.0, 150.0),
    dose_high=6000.0,
)
