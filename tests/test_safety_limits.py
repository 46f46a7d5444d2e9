"""An incomplete or contradictory table cannot be built, and its one error lists everything; what a verdict says."""

# ruff: noqa: E501 (a case a line)

import importlib.util
import math
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest
from doseloop.safety import (
    ActionLimits,
    Bound,
    Code,
    DoseLimits,
    HarmLimit,
    Kind,
    Limits,
    LimitsError,
    MeasurementLimits,
    ProjectionLimits,
    RateLimits,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
    guard,
    values,
)

spec = importlib.util.spec_from_file_location("safety_edges", Path(__file__).with_name("test_safety_edges.py"))
edges = importlib.util.module_from_spec(spec)
spec.loader.exec_module(edges)
b, OFF, table, dose_limits, rate_limits = edges.b, edges.OFF, edges.table, edges.dose_limits, edges.rate_limits
ask, knows, gave, added, level, glucose, chance, board, pressure, read = (
    edges.ask,
    edges.knows,
    edges.gave,
    edges.added,
    edges.level,
    edges.glucose,
    edges.chance,
    edges.board,
    edges.pressure,
    edges.read,
)
projects, sugar, changed = edges.projects, edges.sugar, edges.changed


def problems(**changes):
    with pytest.raises(LimitsError) as caught:
        table(**changes)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def dose(**changes):
    return {"actions": (dose_limits(**changes),)}


def rate(**changes):
    return {"actions": (rate_limits(**changes),)}


def measurement(**changes):
    return {"measurements": (replace(edges.LIMITS.measured[0], **changes),)}


def second(**changes):
    """The measurement with limits on its rate of change."""
    return {"measurements": (replace(edges.LIMITS.measured[1], **changes),)}


def projection(**changes):
    return {"projections": (replace(edges.LIMITS.projected[1], **changes),)}


def rolling(**changes):
    row = {"window": b(24, "h"), "total": b(250, "mg"), "total_per_kg": OFF}
    return {"rolling": (RollingTotal(**(row | changes)),)}


def test_nothing_given_lists_every_field():
    with pytest.raises(LimitsError) as caught:
        Limits()
    assert caught.value.problems == (
        "therapy: not given",
        "unit: not given",
        "weight: not given",
        "actions: not given",
        "rolling: not given",
        "course_total: not given",
        "course_total_per_kg: not given",
        "measurements: not given",
        "harms: not given",
        "projections: not given",
        "suspension_max: not given",
        "record_age_max: not given",
        "ahead_max: not given",
        "safe_action: not given",
    )
    assert isinstance(caught.value, ValueError)


def test_empty_parts_list_every_field():
    found = problems(
        actions=(DoseLimits(), RateLimits()),
        rolling=(RollingTotal(),),
        weight=WeightRange(),
        measurements=(MeasurementLimits(),),
        harms=(HarmLimit(),),
        projections=(ProjectionLimits(),),
        suspension_max=Unlimited(),
        safe_action=SafeAction(),
        course_total=Bound(),
        ahead_max=Unlimited(),
        record_age_max=Unlimited(),
    )
    expected = ["weight.low: not given", "weight.high: not given"]
    for i, kind in enumerate((DoseLimits, RateLimits)):
        expected += [f"actions[{i}].{f.name}: not given" for f in fields(kind)]
    expected += [f"rolling[0].{f.name}: not given" for f in fields(RollingTotal)]
    expected += ["course_total.unit: not given", "course_total.source: not given", "course_total.value: not given"]
    expected += [f"measurements[0].{f.name}: not given" for f in fields(MeasurementLimits)]
    expected += ["harms[0].name: not given", "harms[0].probability_max: not given"]
    expected += [f"projections[0].{f.name}: not given" for f in fields(ProjectionLimits)]
    expected += ["suspension_max.reason: not given"]
    expected += ["record_age_max.reason: not given", "ahead_max: may not be switched off"]
    expected += ["safe_action.sentence: not given", "safe_action.source: not given"]
    assert found == expected


@pytest.mark.parametrize("name", [f.name for f in fields(Limits)])
def test_each_field_of_the_table_is_needed(name):
    given = {f.name: getattr(edges.LIMITS, f.name) for f in fields(Limits) if f.name != name}
    with pytest.raises(LimitsError, match=f"^{name}: not given"):
        Limits(**given)


PARTS = [
    ("actions", edges.LIMITS.actions[0]),
    ("actions", edges.LIMITS.actions[1]),
    ("rolling", edges.LIMITS.rolling[0]),
    ("measurements", edges.LIMITS.measured[0]),
    ("harms", edges.LIMITS.predicted[0]),
    ("projections", edges.LIMITS.projected[0]),
    ("projections", edges.LIMITS.projected[1]),
]


@pytest.mark.parametrize(("where", "name", "part"), [(w, f.name, p) for w, p in PARTS for f in fields(p)])
def test_each_field_of_each_row_is_needed(where, name, part):
    given = {f.name: getattr(part, f.name) for f in fields(part) if f.name != name}
    assert f"{where}[0].{name}: not given" in problems(**{where: (type(part)(**given),)})


ONE = [
    # Numbers that are none, and numbers out of place.
    (dose(maximum=b(math.nan, "mg")), "actions[0].maximum: value is not a number (NaN)"),
    (dose(maximum=b(math.inf, "mg")), "actions[0].maximum: value is infinite"),
    (dose(maximum=b("9", "mg")), "actions[0].maximum: value is text ('9'), not a number"),
    (dose(maximum=b(True, "mg")), "actions[0].maximum: value is a yes-or-no value, not a number"),
    (dose(maximum=b(None, "mg")), "actions[0].maximum: value is missing"),
    (dose(maximum=None), "actions[0].maximum: wants Bound, not None"),
    (dose(maximum=100.0), "actions[0].maximum: wants Bound, not 100.0"),
    (dose(maximum_per_kg=b(0.0, "mg/kg")), "actions[0].maximum_per_kg: value 0 must be over 0"),
    (dose(maximum_per_kg=b(-1.0, "mg/kg")), "actions[0].maximum_per_kg: value -1 must be over 0"),
    (dose(minimum=b(0, "mg")), "actions[0].minimum: value 0 must be over 0"),
    (dose(maximum=b(0, "mg")), "actions[0].maximum: value 0 must be over 0"),
    (rolling(window=b(0, "h")), "rolling[0].window: value 0 must be over 0"),
    (dose(increment=b(0, "mg")), "actions[0].increment: value 0 must be over 0"),
    (dose(increase_base=b(0, "mg")), "actions[0].increase_base: value 0 must be over 0"),
    (dose(infusion_rate_max=b(0, "mg/h")), "actions[0].infusion_rate_max: value 0 must be over 0"),
    (dose(infusion_rate_max_per_kg=b(0, "mg/kg/h")), "actions[0].infusion_rate_max_per_kg: value 0 must be over 0"),
    (dose(unmeasured_max=b(-0.5, "mg")), "actions[0].unmeasured_max: value -0.5 must be 0 or more"),
    (dose(unpredicted_max=b(-0.5, "mg")), "actions[0].unpredicted_max: value -0.5 must be 0 or more"),
    (dose(interval_min=b(-1, "h")), "actions[0].interval_min: value -1 must be 0 or more"),
    (dose(duration_min=b(-1, "h")), "actions[0].duration_min: value -1 must be 0 or more"),
    (rate(duration_min=b(0, "h")), "actions[0].duration_min: value 0 must be over 0"),
    (rolling(total=b(0, "mg")), "rolling[0].total: value 0 must be over 0"),
    (rolling(total_per_kg=b(0, "mg/kg")), "rolling[0].total_per_kg: value 0 must be over 0"),
    ({"course_total": b(0, "mg")}, "course_total: value 0 must be over 0"),
    ({"course_total_per_kg": b(0, "mg/kg")}, "course_total_per_kg: value 0 must be over 0"),
    ({"weight": WeightRange(low=b(0, "kg"), high=b(9, "kg"))}, "weight.low: value 0 must be over 0"),
    ({"record_age_max": b(-1, "h")}, "record_age_max: value -1 must be 0 or more"),
    ({"ahead_max": b(-1, "h")}, "ahead_max: value -1 must be 0 or more"),
    ({"suspension_max": b(-1, "h")}, "suspension_max: value -1 must be 0 or more"),
    (second(change_max=b(0, "mg/dL/min"), fall_max=b(0, "mg/dL/min")), "measurements[0].change_max: value 0 must be over 0"),
    (second(fall_max=b(-1, "mg/dL/min")), "measurements[0].fall_max: value -1 must be 0 or more"),
    (second(quality_min=b(-1, "%")), "measurements[0].quality_min: value -1 must be 0 or more"),
    (second(stop_age_max=b(-1, "h")), "measurements[0].stop_age_max: value -1 must be 0 or more"),
    # Sources and reasons.
    (dose(maximum=Bound(100.0, "mg", "")), "actions[0].maximum.source: wants some text, not ''"),
    (dose(maximum=Bound(100.0, "mg", " ")), "actions[0].maximum.source: wants some text, not ' '"),
    (dose(maximum=Bound(100.0, "mg", 3)), "actions[0].maximum.source: wants some text, not 3"),
    (dose(maximum=Bound(100.0, "mg")), "actions[0].maximum.source: not given"),
    (dose(maximum=Unlimited("")), "actions[0].maximum.reason: wants some text, not ''"),
    ({"measurements": Unlimited("")}, "measurements.reason: wants some text, not ''"),
    ({"harms": Unlimited()}, "harms.reason: not given"),
    ({"projections": Unlimited(" ")}, "projections.reason: wants some text, not ' '"),
    ({"therapy": ""}, "therapy: wants some text, not ''"),
    (dose(route=3), "actions[0].route: wants some text, not 3"),
    ({"safe_action": SafeAction(sentence="x", source="")}, "safe_action.source: wants some text, not ''"),
    ({"safe_action": SafeAction(sentence="", source="x")}, "safe_action.sentence: wants some text, not ''"),
    # Units.
    (dose(maximum=b(0.1, "g")), "actions[0].maximum: unit 'g' where mg is meant"),
    (dose(minimum=b(1, "mg/kg")), "actions[0].minimum: unit 'mg/kg' where mg is meant"),
    (dose(maximum_per_kg=b(1, "mg")), "actions[0].maximum_per_kg: unit 'mg' where mg/kg is meant"),
    (dose(interval_min=b(360, "min")), "actions[0].interval_min: unit 'min' where h is meant"),
    (dose(duration_max=b(4, "d")), "actions[0].duration_max: unit 'd' where h is meant"),
    (dose(increase_factor=b(2, "%")), "actions[0].increase_factor: unit '%' where 1 is meant"),
    (dose(infusion_rate_max=b(2, "mg/s")), "actions[0].infusion_rate_max: unit 'mg/s' where mg/h or mg/min is meant"),
    (
        dose(infusion_rate_max_per_kg=b(2, "mg/min")),
        "actions[0].infusion_rate_max_per_kg: unit 'mg/min' where mg/kg/h or mg/kg/min is meant",
    ),
    (rate(maximum_per_kg=b(1, "mg/kg/h")), "actions[0].maximum_per_kg: unit 'mg/kg/h' where mg/kg/min is meant"),
    (rolling(total_per_kg=b(1, "mg")), "rolling[0].total_per_kg: unit 'mg' where mg/kg is meant"),
    (measurement(age_max=b(15, "min")), "measurements[0].age_max: unit 'min' where h is meant"),
    (measurement(low=b(0, "mg/dL")), "measurements[0].low: unit 'mg/dL' where mg/L is meant"),
    (measurement(stop_above=b(9, "mg/dL")), "measurements[0].stop_above: unit 'mg/dL' where mg/L is meant"),
    ({"course_total": b(9, "g")}, "course_total: unit 'g' where mg is meant"),
    ({"course_total_per_kg": b(9, "mg")}, "course_total_per_kg: unit 'mg' where mg/kg is meant"),
    ({"weight": WeightRange(low=b(1, "kg"), high=b(9, "g"))}, "weight.high: unit 'g' where kg is meant"),
    ({"record_age_max": b(1, "d")}, "record_age_max: unit 'd' where h is meant"),
    ({"ahead_max": b(1, "d")}, "ahead_max: unit 'd' where h is meant"),
    ({"harms": (HarmLimit(name="x", probability_max=b(10, "%")),)}, "harms[0].probability_max: unit '%' where 1 is meant"),
    ({"suspension_max": b(1, "d")}, "suspension_max: unit 'd' where h is meant"),
    (second(quality_min=b(50, "1")), "measurements[0].quality_min: unit '1' where % is meant"),
    (second(change_max=b(8, "mg/dL")), "measurements[0].change_max: unit 'mg/dL' where mg/dL/min is meant"),
    (second(fall_max=b(3, "mg/dL/h")), "measurements[0].fall_max: unit 'mg/dL/h' where mg/dL/min is meant"),
    (second(fall_below=b(110, "mmol/L")), "measurements[0].fall_below: unit 'mmol/L' where mg/dL is meant"),
    (second(stop_age_max=b(60, "min")), "measurements[0].stop_age_max: unit 'min' where h is meant"),
    (projection(high=b(110, "kPa")), "projections[0].high: unit 'kPa' where mmHg is meant"),
    (projection(low=b(60, "kPa")), "projections[0].low: unit 'kPa' where mmHg is meant"),
    (projection(steepness=b(2, "%")), "projections[0].steepness: unit '%' where 1 is meant"),
    # Limits that may never be off.
    *[
        (dose(**{name: OFF}), f"actions[0].{name}: may not be switched off")
        for name in ("increment", "minimum", "duration_min", "duration_max", "increase_base")
    ],
    (rolling(window=OFF), "rolling[0].window: may not be switched off"),
    (measurement(low=OFF), "measurements[0].low: may not be switched off"),
    (measurement(high=OFF), "measurements[0].high: may not be switched off"),
    (projection(steepness=OFF), "projections[0].steepness: may not be switched off"),
    (projection(low=OFF, high=OFF), "projections[0]: low and high may not both be switched off"),
    ({"weight": WeightRange(low=OFF, high=b(9, "kg"))}, "weight.low: may not be switched off"),
    ({"weight": WeightRange(low=b(9, "kg"), high=OFF)}, "weight.high: may not be switched off"),
    ({"harms": (HarmLimit(name="x", probability_max=OFF),)}, "harms[0].probability_max: may not be switched off"),
    ({"weight": OFF}, f"weight: wants WeightRange, not {OFF!r}"),
    ({"rolling": OFF}, f"rolling: wants tuple, not {OFF!r}"),
    (dose(maximum=OFF, maximum_per_kg=OFF), "actions[0]: maximum and maximum_per_kg may not both be switched off"),
    (rolling(total=OFF), "rolling[0]: total and total_per_kg may not both be switched off"),
    # Contradictions.
    (dose(minimum=b(100.5, "mg")), "actions[0]: minimum 100.5 is over maximum 100"),
    (dose(minimum=b(1.25, "mg")), "actions[0]: minimum 1.25 is not a whole number of increments of 0.5"),
    (dose(minimum=b(0.25, "mg")), "actions[0]: minimum 0.25 is not a whole number of increments of 0.5"),
    (
        dose(increment=b(1e-8, "mg"), maximum=b(10.5, "mg"), maximum_per_kg=OFF),
        "actions[0]: the largest amount is more than 1e9 increments",
    ),
    (
        dose(increment=b(1e-8, "mg"), maximum=OFF, maximum_per_kg=b(0.07, "mg/kg")),
        "actions[0]: the largest amount is more than 1e9 increments",
    ),
    (dose(increment=b(1, "mg"), maximum=b(1e9 + 0.5, "mg"), maximum_per_kg=OFF), "actions[0]: the largest amount is more than 1e9 increments"),
    (dose(increment=b(1e-8, "mg"), minimum=b(11, "mg"), maximum=OFF, maximum_per_kg=b(0.01, "mg/kg")), "actions[0]: the largest amount is more than 1e9 increments"),
    (dose(duration_min=b(4.5, "h")), "actions[0]: duration_min 4.5 is over duration_max 4"),
    (
        dose(increase_factor=b(0.99, "1")),
        "actions[0]: increase_factor is under 1: every dose would have to be smaller than the last",
    ),
    (dose(increase_base=b(100.5, "mg")), "actions[0]: increase_base is over maximum"),
    (measurement(low=b(200, "mg/L"), stop_above=OFF), "measurements[0]: low 200 is not under high 200"),
    (measurement(stop_above=b(200.5, "mg/L")), "measurements[0]: stop_above 200.5 is outside 0 to 200"),
    (
        measurement(low=b(5, "mg/L"), stop_below=b(4.5, "mg/L")),
        "measurements[0]: stop_below 4.5 is outside 5 to 200",
    ),
    (
        measurement(stop_below=b(40.5, "mg/L")),
        "measurements[0]: stop_below 40.5 is over stop_above 40: every reading would stop the drug",
    ),
    ({"harms": (HarmLimit(name="x", probability_max=b(1.01, "1")),)}, "harms[0]: probability_max is over 1"),
    ({"harms": (HarmLimit(name="", probability_max=b(1, "1")),)}, "harms[0].name: wants some text, not ''"),
    (measurement(name=""), "measurements[0].name: wants some text, not ''"),
    (projection(name=""), "projections[0].name: wants some text, not ''"),
    (projection(low=b(110.5, "mmHg")), "projections[0]: low 110.5 is over high 110"),
    (projection(steepness=b(0.99, "1")), "projections[0]: steepness is under 1"),
    (second(quality_min=b(100.5, "%")), "measurements[0]: quality_min is over 100 %"),
    (second(fall_max=OFF), "measurements[0]: fall_below has no fall_max to go with"),
    (second(fall_max=b(8.5, "mg/dL/min")), "measurements[0]: fall_max 8.5 is over change_max 8"),
    (second(stop_age_max=b(0.24, "h")), "measurements[0]: stop_age_max 0.24 is under age_max 0.25: a reading that counts would not stop the drug"),
    (second(age_max=OFF), "measurements[0]: stop_age_max 1 is under age_max inf: a reading that counts would not stop the drug"),
    ({"weight": WeightRange(low=b(9, "kg"), high=b(9, "kg"))}, "weight: low 9 is not under high 9"),
    ({"rolling": (RollingTotal(window=None, total=b(1, "mg"), total_per_kg=OFF), edges.LIMITS.rolling[1])}, "rolling[0].window: wants Bound, not None"),
    (rolling(window=b(23, "h")), "rolling: has no total over 24 h"),
    # Rows.
    ({"measurements": ()}, "measurements: has no rows; say Unlimited(reason) if there are none"),
    ({"actions": ()}, "actions: has no rows"),
    ({"measurements": edges.LIMITS.measured * 2}, None),
    ({"measurements": edges.LIMITS.measured[:1] * 2}, "measurements: two rows have the name 'level'"),
    ({"harms": edges.LIMITS.predicted * 2}, "harms: two rows have the name 'toxic level'"),
    ({"projections": edges.LIMITS.projected[:1] * 2}, "projections: two rows have the name 'on board'"),
    ({"projections": ()}, "projections: has no rows; say Unlimited(reason) if there are none"),
    ({"projections": (3,)}, "projections[0]: wants ProjectionLimits, not 3"),
    ({"rolling": edges.LIMITS.rolling[:1] * 2}, "rolling: two rows have the window 24.0"),
    ({"actions": (dose_limits(), rate_limits(), dose_limits())}, "actions: two rows have the kind and route 'dose by iv'"),
    ({"actions": (rate_limits(), rate_limits())}, "actions: two rows have the kind and route 'rate by iv'"),
    ({"harms": (3,)}, "harms[0]: wants HarmLimit, not 3"),
    ({"harms": 3}, "harms: wants tuple, not 3"),
    ({"actions": (OFF,)}, f"actions[0]: wants DoseLimits or RateLimits, not {OFF!r}"),
    ({"actions": [dose_limits()]}, None),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "problem"), [o for o in ONE if o[1]], ids=[o[1][:90] for o in ONE if o[1]])
def test_one_problem_is_found_and_no_other(changes, problem):
    assert problems(**changes) == [problem]


def test_units_that_are_not_known():
    known = "IU, U, g, kU, mU, mg, mmol, mol, ng, nmol, ug, umol"
    assert problems(unit="grain")[0] == f"unit: unit 'grain' is not one of {known}"
    assert problems(unit=[])[0] == f"unit: unit [] is not one of {known}"
    assert problems(unit=3)[0] == f"unit: unit 3 is not one of {known}"
    assert problems(**dose(unit="g"))[0] == "actions[0].unit: unit 'g' is not one of mg"
    assert problems(**rate(unit="mg"))[0] == "actions[0].unit: unit 'mg' is not one of mg/h, mg/min"
    found = problems(**measurement(unit="mg per L"))
    assert found[0].startswith(
        "measurements[0].unit: unit 'mg per L' is not one of %, 1, 1/min, 10^9/L, IU/L, IU/dL, IU/mL, U/L"
    )
    found = problems(**projection(unit="pressure"))
    assert found[0].startswith("projections[0].unit: unit 'pressure' is not one of %, 1, 1/min, 10^9/L, IU, IU/L")
    both = (rate_limits(), rate_limits(route="sc", **per_h()))
    assert problems(actions=both) == ["actions: rates are in mg/h and mg/min; one table has one unit for all of them"]


def per_h():
    return {
        "unit": "mg/h",
        "increment": b(1, "mg/h"),
        "minimum": b(1, "mg/h"),
        "maximum": b(9, "mg/h"),
        "maximum_per_kg": b(1, "mg/kg/h"),
        "increase_base": b(1, "mg/h"),
        "unmeasured_max": b(1, "mg/h"),
        "unpredicted_max": OFF,
    }


def test_edges_of_the_table_itself():
    """Each contradiction at the point where it is none yet."""
    table(**dose(minimum=b(100, "mg")))
    table(**dose(increase_factor=b(1.0, "1"), increase_base=b(100, "mg")))
    table(**dose(duration_min=b(4, "h")))
    table(**dose(increment=b(1e-7, "mg"), maximum_per_kg=OFF))
    table(**dose(increment=b(1e-8, "mg"), maximum=b(10, "mg"), maximum_per_kg=OFF, increase_base=b(1, "mg")))
    table(**dose(duration_min=b(0, "h"), interval_min=b(0, "h"), unmeasured_max=b(0, "mg"), unpredicted_max=b(0, "mg")))
    table(**dose(maximum=OFF, increase_base=b(1e6, "mg")))
    table(**dose(maximum_per_kg=OFF))
    table(**dose(increment=b(0.1, "mg"), minimum=b(0.3, "mg")))
    table(**measurement(stop_below=b(0, "mg/L"), stop_above=b(200, "mg/L")))
    table(**measurement(stop_below=b(40, "mg/L"), stop_above=b(40, "mg/L")))
    table(**measurement(stop_below=OFF, stop_above=OFF, age_max=b(0, "h")))
    table(harms=(HarmLimit(name="x", probability_max=b(1, "1")),))
    table(harms=(HarmLimit(name="x", probability_max=b(0, "1")),))
    table(record_age_max=b(0, "h"), ahead_max=b(0, "h"))
    table(weight=WeightRange(low=b(1, "kg"), high=b(1.001, "kg")))
    table(**second(quality_min=b(100, "%"), fall_max=b(8, "mg/dL/min"), stop_age_max=b(0.25, "h")))
    table(**second(quality_min=b(0, "%"), fall_max=b(0, "mg/dL/min"), age_max=b(0, "h"), stop_age_max=b(0, "h")))
    table(**second(quality_min=OFF, change_max=OFF, fall_below=OFF, stop_age_max=OFF))
    table(**second(change_max=OFF, fall_max=OFF, fall_below=OFF))
    table(**projection(low=b(110, "mmHg"), steepness=b(1, "1")))
    table(**projection(high=OFF))
    table(**projection(low=b(0, "mmHg"), high=b(0, "mmHg")))
    table(**projection(unit="U", low=OFF, high=b(0, "U")))
    table(suspension_max=b(0, "h"), projections=OFF)
    table(**dose(maximum=b(np.float64(100), "mg"), minimum=b(1, "mg")))


def test_problems_together_come_in_one_error():
    found = problems(
        therapy="",
        course_total=b(-1, "mg"),
        harms=(HarmLimit(name="x", probability_max=b(2, "1")),),
        actions=(dose_limits(maximum=b(math.nan, "g"), minimum=None), 3),
    )
    assert found == [
        "therapy: wants some text, not ''",
        "actions[0].minimum: wants Bound, not None",
        "actions[0].maximum: unit 'g' where mg is meant",
        "actions[0].maximum: value is not a number (NaN)",
        "actions[1]: wants DoseLimits or RateLimits, not 3",
        "course_total: value -1 must be over 0",
        "harms[0]: probability_max is over 1",
    ]


def test_other_drugs_and_pumps():
    """Insulin in U and U/h, ranges and units of their own."""
    pump = rate_limits(
        route="sc",
        unit="U/h",
        increment=b(0.05, "U/h"),
        minimum=b(0.05, "U/h"),
        maximum=b(5, "U/h"),
        maximum_per_kg=b(0.1, "U/kg/h"),
        increase_base=b(0.5, "U/h"),
        unmeasured_max=b(1, "U/h"),
    )
    limits = table(
        unit="U",
        actions=(pump,),
        rolling=(RollingTotal(window=b(24, "h"), total=b(100, "U"), total_per_kg=b(1.5, "U/kg")),),
        course_total=OFF,
        course_total_per_kg=OFF,
    )
    assert limits.rate_unit == "U/h"
    verdict = guard(edges.ask_rate(6.0, route="sc", unit="U/h"), knows(), limits)
    assert verdict.codes == {Code.SINGLE_MAX}
    assert verdict.allowed.amount == 5.0


def test_lookups():
    limits = edges.LIMITS
    assert limits.action(Kind.DOSE, "iv") is limits.actions[0]
    assert limits.action(Kind.RATE, "iv") is limits.actions[1]
    assert limits.action(Kind.DOSE, "oral") is limits.actions[2]
    assert limits.action(Kind.RATE, "oral") is None
    assert limits.measured is limits.measurements
    assert limits.predicted is limits.harms
    assert limits.projected is limits.projections
    assert limits.action(Kind.TOTAL, "iv") is None
    assert table(projections=OFF).projected == ()
    assert table(measurements=OFF).measured == ()
    assert table(harms=OFF).predicted == ()
    assert (OFF.value, OFF.unit, OFF.source) == (math.inf, "", "not limited in this test")
    assert isinstance(limits.actions[0], ActionLimits)


def test_frozen():
    for part in (
        edges.LIMITS,
        edges.LIMITS.actions[0],
        b(1, "h"),
        OFF,
        ask(),
        knows(),
        gave(1, 1),
        level(),
        chance(),
        board(),
        read(1, 1),
    ):
        with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
            part.anything = 1
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, 1)
    verdict = guard(ask(), knows(), edges.LIMITS)
    with pytest.raises(FrozenInstanceError):
        verdict.allowed = None
    assert repr(Bound()) == "Bound(value=MISSING, unit=MISSING, source=MISSING)"


SENTENCES = [
    (ask(), knows(), "50 mg is within every limit."),
    (ask(101.0), knows(), "100 mg of the 101 asked. The asked dose of 101 mg is over 100 mg, the largest single dose."),
    (
        ask(edges.up(100.0)),
        knows(),
        "100 mg of the 100 asked. The asked dose of 100.00000000000001 mg is over 100 mg, the largest single dose.",
    ),
    (
        ask(123.456),
        knows(weight=110.0),
        "100 mg of the 123.456 asked. The asked dose of 123.5 mg is over 100 mg, the largest single dose. The asked dose of 123.5 mg is over 120 mg, the most that may run in over 60 min (2 mg/min). The asked dose of 123.5 mg is over 120 mg, what is left of 120 mg in 2 h after 0 mg.",
    ),
    (
        ask(100.000012345),
        knows(),
        "100 mg of the 100 asked. The asked dose of 100.00001 mg is over 100 mg, the largest single dose.",
    ),
    (
        ask(100.00001),
        knows(),
        "100 mg of the 100 asked. The asked dose of 100.00001 mg is over 100 mg, the largest single dose.",
    ),
    (
        ask(50.0),
        knows(weight=4.13),
        "41 mg of the 50 asked. The asked dose of 50 mg is over 41.3 mg, the largest for 4.13 kg (10 mg/kg). 41.3 mg is "
        "rounded down to 41, in steps of 0.5 mg.",
    ),
    (
        ask(61.0, duration=0.5),
        knows(),
        "60 mg of the 61 asked. The asked dose of 61 mg is over 60 mg, the most that may run in over 30 min (2 mg/min).",
    ),
    (
        ask(46.0, duration=0.5),
        knows(weight=6.0),
        "45 mg of the 46 asked. The asked dose of 46 mg is over 45 mg, the most that may run in over 30 min at 6 kg "
        "(0.25 mg/kg/min).",
    ),
    (
        ask(50.0),
        knows(given=(gave(210, 90),)),
        "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, what is left of 250 mg in 24 h after 210 mg.",
    ),
    (
        ask(50.0),
        knows(weight=8.0, given=(gave(360, 0),)),
        "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, what is left of 50 mg/kg in the whole course "
        "after 360 mg.",
    ),
    (
        ask(50.0),
        knows(given=(gave(560, 0),)),
        "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, what is left of 600 mg in the whole course after "
        "560 mg.",
    ),
    (
        ask(50.0),
        knows(given=(gave(8, 0),)),
        "20 mg of the 50 asked. The asked dose of 50 mg is over 20 mg, 2 times the last dose (counted as 10 mg).",
    ),
    (
        ask(50.0),
        knows(measurements=(level(), glucose(time=99.0 - 1 / 60))),
        "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, the most while the glucose reading is 61 min old, "
        "over 15 min.",
    ),
    (
        ask(50.0),
        knows(measurements=(glucose(),)),
        "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, the most while there is no level reading.",
    ),
    (
        ask(50.0),
        knows(predictions=()),
        "30 mg of the 50 asked. The asked dose of 50 mg is over 30 mg, the most while there is no prediction of toxic "
        "level.",
    ),
    (
        edges.ask_rate(3.5, duration=0.5),
        knows(),
        "3 mg/min of the 3.5 asked. The asked rate of 3.5 mg/min is over 3 mg/min, the largest single rate.",
    ),
    (ask(0.5), knows(), "Give no dose now. 0.5 mg is under 1 mg, the smallest dose given."),
    (
        ask(0.25),
        knows(),
        "Give no dose now. 0.25 mg is rounded down to 0, in steps of 0.5 mg. 0 mg is under 1 mg, the smallest dose given.",
    ),
    (ask(duration=0.2), knows(weight=99), "Give no dose now. The dose is asked over 12 min; 15 min is the shortest. The asked dose of 50 mg is over 24 mg, the most that may run in over 12 min (2 mg/min)."),
    (ask(duration=5.0), knows(), "Give no dose now. The dose is asked over 5 h; 4 h is the longest."),
    (ask(), knows(given=(gave(50, 96.5),)), "Give no dose now. The dose would start 3.5 h after the last one; 6 h is the shortest interval."),
    (ask(), knows(given=(gave(50, 98.5),)), "Give no dose now. The dose would start 90 min after the last one; 360 min is the shortest interval."),
    (ask(), knows(given=(gave(50, 98.0),)), "Give no dose now. The dose would start 2 h after the last one; 6 h is the shortest interval."),
    (ask(time=99.5), knows(), "Give no dose now. The dose is asked for a time that passed 30 min ago."),
    (ask(time=225.0), knows(), "Give no dose now. The dose is asked for 125 h from now; decisions reach 120 h ahead at most."),
    (ask(duration=-1.0), knows(), "Give no dose now. The duration of the asked dose is negative (-1 h)."),
    (ask(-1.0), knows(), "Give no dose now. The asked dose is negative (-1)."),
    (ask(unit="g"), knows(), "Give no dose now. The dose is asked in 'g'; testdrug takes it in mg."),
    (ask(route="im"), knows(), "Give no dose now. testdrug has no limits for a dose by the route 'im'."),
    (edges.ask_rate(route="oral"), knows(), "Give no dose now. testdrug has no limits for a rate by the route 'oral'."),
    (ask(1.0), knows(weight=0.4), "Give no dose now. The body weight of 0.4 kg is under the 0.5 kg that testdrug is meant for."),
    (ask(), knows(weight=151), "Give no dose now. The body weight of 151 kg is over the 150 kg that testdrug is meant for."),
    (ask(), knows(weight_unit="g"), "Give no dose now. The body weight is in 'g'; it is wanted in kg."),
    (ask(), knows(record_time=25.0), "Give no dose now. The newest entry in the record is 75 h old; 72 h is the oldest to act on."),
    (ask(), knows(record_time=103.0), "Give no dose now. The newest entry in the record is 3 h in the future."),
    (ask(), knows(measurements=(level(-1.0), glucose())), "Give no dose now. The level reading of -1 mg/L is under 0 mg/L and cannot be real."),
    (ask(), knows(measurements=(level(201), glucose())), "Give no dose now. The level reading of 201 mg/L is over 200 mg/L and cannot be real."),
    (ask(), knows(measurements=(level(41), glucose())), "Give no dose now. The level reading of 41 mg/L is over 40 mg/L, which stops the drug."),
    (ask(), knows(measurements=(level(), glucose(69))), "Give no dose now. The glucose reading of 69 mg/dL is under 70 mg/dL, which stops the drug."),
    (ask(), knows(measurements=(level(time=100.5), glucose())), "Give no dose now. The level reading is 30 min in the future."),
    (ask(), knows(measurements=(level(unit="g"), glucose())), "Give no dose now. The level reading is in 'g'; it is wanted in mg/L."),
    (ask(), knows(measurements=(level(), glucose(), level(name="BIS"))), "Give no dose now. testdrug knows no measurement 'BIS'."),
    (ask(), knows(measurements=(level(), glucose(), None)), "Give no dose now. A measurement is missing."),
    (ask(20), knows(given=None), "Give no dose now. The list of doses given or planned cannot be read: what the patient got is not known."),
    (ask(), knows(measurements=None, predictions=None, projections=None), "Give no dose now. The list of measurements cannot be read. The list of predictions cannot be read. The list of projections cannot be read. The asked dose of 50 mg is over 40 mg, the most while there is no level reading. The asked dose of 50 mg is over 40 mg, the most while there is no glucose reading. The asked dose of 50 mg is over 30 mg, the most while there is no prediction of toxic level. The asked dose of 50 mg is over 30 mg, the most while there is no projection of on board. The asked dose of 50 mg is over 30 mg, the most while there is no projection of pressure."),
    (ask(), knows(predictions=(chance(), None)), "Give no dose now. A prediction is missing."),
    (ask(), knows(predictions=(chance(), chance(harm="pain"))), "Give no dose now. testdrug knows no harm called 'pain'."),
    (ask(), knows(predictions=(chance(0.25),)), "Give no dose now. The predicted probability of toxic level is 25 %, over the 10 % that is accepted."),
    (ask(), knows(predictions=(chance(2),)), "Give no dose now. The predicted probability of toxic level is 2, not between 0 and 1."),
    (ask(), knows(**projects(board(0, 75, 50))), "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, what keeps on board at 60 mg or less (75 is projected)."),
    (ask(), knows(**projects(pressure(80, 55, 50))), "20 mg of the 50 asked. The asked dose of 50 mg is over 20 mg, what keeps pressure at 60 mmHg or more (55 is projected)."),
    (ask(), knows(**projects(board(0, 20, 40))), "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, the most that on board was projected for."),
    (ask(), knows(**projects(board(0, 0, -40))), "Give no dose now. The projected on board is of a negative amount (-40)."),
    (ask(), knows(**projects(board(-1e308, 1e308, 40))), "Give no dose now. The projected on board changes by more than a number can hold."),
    (ask(), knows(**projects(board(0, 0, -0.5))), "Give no dose now. The projected on board is of a negative amount (-0.5)."),
    (ask(0.0), knows(**projects(board(-1e308, 1e308, 0.0))), "Give no dose now. The projected on board changes by more than a number can hold."),
    (ask(), knows(projections=(board(), pressure(), None)), "Give no dose now. A projection is missing."),
    (ask(), knows(projections=(board(), pressure(), board(name="pain"))), "Give no dose now. testdrug has no bound on 'pain'."),
    (ask(), knows(projections=(board(unit="g"), pressure())), "Give no dose now. The projected on board is in 'g'; it is wanted in mg."),
    (ask(), knows(**sugar(quality=49.0)), "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, the most while the signal of the glucose reading is at 49 %, under 50 %."),
    (ask(), knows(**sugar(quality=101.0)), "Give no dose now. The signal quality of the glucose reading is 101 %, not between 0 and 100."),
    (ask(), knows(**changed(300.0, 150.0)), "40 mg of the 50 asked. The asked dose of 50 mg is over 40 mg, the most while the glucose reading changed by 10 mg/dL per min, over the 8 that can be real."),
    (ask(), knows(**changed(100.0, 160.0)), "Give no dose now. The glucose reading of 100 mg/dL falls by 4 mg/dL per min; more than 3 per min under 110 mg/dL stops the drug."),
    (ask(), knows(**sugar(previous=read(90.0, 99.8))), "Give no dose now. The reading before the newest of glucose was not taken before it."),
    (ask(), knows(**sugar(previous=read(-1.7e308, 99.7499999))), "Give no dose now. The reading before the newest of glucose is too far from it to be real."),
    (ask(), knows(**sugar(previous=90.0)), "Give no dose now. The reading before the newest of glucose is of type float, not a reading."),
    (ask(), knows(given=(gave(50, -111),)), "50 mg is within every limit. Nothing has run in for 210 h, and no reading stops the drug; 200 h is the longest."),
    (ask(101), knows(given=(gave(90, -111),)), "100 mg of the 101 asked. Nothing has run in for 210 h, and no reading stops the drug; 200 h is the longest. The asked dose of 101 mg is over 100 mg, the largest single dose."),
    (ask(20), knows(given=(gave(1, 5, unit="g"), gave(1, 5, unit="U"), gave(9, 9)), planned=(1, 2)), "Give no dose now. 2 of the doses given or planned cannot be read: what the patient got is not known. Doses given are in U, g; testdrug counts in mg and nothing is converted."),
    (ask(20, time=110), knows(given=(gave(9, 101),), planned=(gave(9, 99),)), "Give no dose now. 2 of the doses given or planned have an impossible time: a given one after now, or a planned one not between now and the asked dose."),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "context", "sentence"), SENTENCES, ids=[s[2][:70] for s in SENTENCES])
def test_what_a_clinician_reads(asked, context, sentence):
    verdict = guard(asked, context, edges.LIMITS)
    assert verdict.sentence == sentence
    for reason in verdict.reasons:
        assert reason.source == "" or reason.source.startswith("retyped ")


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        (2.0, 3.0, ("2 h", "3 h")),
        (1.99, 3.0, ("119.4 min", "180 min")),
        (3.0, -1.99, ("180 min", "-119.4 min")),
        (0.0, 24.0, ("0 min", "1440 min")),
        (1.9 / 60, 2.0 / 60, ("1.9 min", "2 min")),
        (1.9 / 60, 1.99 / 60, ("114 s", "119.4 s")),
        (-1.9 / 60, -1.99 / 60, ("-114 s", "-119.4 s")),
        (30 / 3600, 31 / 3600, ("30 s", "31 s")),
        (0.25, 0.25 + 2**-24, ("15 min", "15.000004 min")),
    ],
)
def test_spans_of_time_in_words(left, right, words):
    assert values.hours(left, right) == words


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (2.0, "2 h"),
        (24.0, "24 h"),
        (1.99, "119.4 min"),
        (2 / 60, "2 min"),
        (5 / 3600, "5 s"),
        (-3.0, "-3 h"),
        (1 / 3, "20 min"),
    ],
)
def test_a_span_of_time_in_words(time, words):
    assert values.span(time) == words


SOURCES = [
    (ask(101.0), knows(), "retyped 100.0 mg"),
    (ask(50.0), knows(weight=4.0), "retyped 10.0 mg/kg"),
    (ask(duration=5.0), knows(), "retyped 4.0 h"),
    (ask(20.0, duration=0.2), knows(), "retyped 0.25 h"),
    (ask(), knows(given=(gave(50, 96.5),)), "retyped 6.0 h"),
    (ask(50.25), knows(), "retyped 0.5 mg"),
    (ask(0.5), knows(), "retyped 1.0 mg"),
    (ask(time=225.0), knows(), "retyped 120.0 h"),
    (ask(1.0), knows(weight=0.4), "retyped 0.5 kg"),
    (ask(), knows(weight=151), "retyped 150.0 kg"),
    (ask(), knows(record_time=25.0), "retyped 72.0 h"),
    (ask(), knows(measurements=(level(-1.0), glucose())), "retyped 0.0 mg/L"),
    (ask(), knows(measurements=(level(201), glucose())), "retyped 200.0 mg/L"),
    (ask(), knows(measurements=(level(41), glucose())), "retyped 40.0 mg/L"),
    (ask(), knows(measurements=(level(), glucose(69))), "retyped 70.0 mg/dL"),
    (ask(), knows(predictions=(chance(0.25),)), "retyped 0.1 1"),
    (ask(), knows(measurements=(glucose(),)), "retyped 40.0 mg"),
    (ask(), knows(predictions=()), "retyped 30.0 mg"),
    (ask(), knows(given=(gave(4, 0),)), "retyped 2.0 1"),
    (ask(), knows(given=(gave(240, 90),)), "retyped 250.0 mg"),
    (ask(), knows(given=(gave(590, 0),)), "retyped 600.0 mg"),
    (ask(61, duration=0.5), knows(), "retyped 2.0 mg/min"),
    (ask(46, duration=0.5), knows(weight=6.0), "retyped 0.25 mg/kg/min"),
    (ask(50), knows(**projects(board(0, 75, 50))), "retyped 60.0 mg"),
    (ask(50), knows(**projects(pressure(80, 55, 50))), "retyped 60.0 mmHg"),
    (ask(50), knows(**projects(pressure(80, 140, 50))), "retyped 110.0 mmHg"),
    (ask(50), knows(**projects(board(0, 20, 40))), ""),
    (ask(50), knows(projections=(board(),)), "retyped 30.0 mg"),
    (ask(50), knows(**sugar(quality=49.0)), "retyped 40.0 mg"),
    (ask(50), knows(**changed(300.0, 150.0)), "retyped 40.0 mg"),
    (ask(50), knows(**changed(100.0, 160.0)), "retyped 3.0 mg/dL/min"),
    (ask(50), knows(given=(gave(50, -111),)), "retyped 200.0 h"),
]


@pytest.mark.parametrize(("asked", "context", "source"), SOURCES, ids=[s[2] for s in SOURCES])
def test_each_limit_names_its_source(asked, context, source):
    assert [r.source for r in guard(asked, context, edges.LIMITS).reasons] == [source]
