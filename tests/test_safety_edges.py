"""Each input of the guard at, just under and just over every edge; the limits are typed here a second time."""

# ruff: noqa: E501 (a case a line)

import math
from dataclasses import replace

import numpy as np
import pytest
from doseloop.safety import (
    Asked,
    Bound,
    Code,
    Context,
    Decision,
    DoseLimits,
    Given,
    HarmLimit,
    Kind,
    Limits,
    Measurement,
    MeasurementLimits,
    Prediction,
    Projection,
    ProjectionLimits,
    RateLimits,
    Reading,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
    guard,
    guard_regimen,
)

NAN, INF = math.nan, math.inf
OFF = Unlimited("not limited in this test")


def b(value, unit):
    return Bound(value, unit, f"retyped {value} {unit}")


def dose_limits(**changes):
    fields = {
        "route": "iv",
        "unit": "mg",
        "increment": b(0.5, "mg"),
        "minimum": b(1.0, "mg"),
        "maximum": b(100.0, "mg"),
        "maximum_per_kg": b(10.0, "mg/kg"),
        "duration_min": b(0.25, "h"),
        "duration_max": b(4.0, "h"),
        "interval_min": b(6.0, "h"),
        "increase_factor": b(2.0, "1"),
        "increase_base": b(10.0, "mg"),
        "unmeasured_max": b(40.0, "mg"),
        "unpredicted_max": b(30.0, "mg"),
        "infusion_rate_max": b(2.0, "mg/min"),
        "infusion_rate_max_per_kg": b(0.25, "mg/kg/min"),
    }
    return DoseLimits(**(fields | changes))


def rate_limits(**changes):
    fields = {
        "route": "iv",
        "unit": "mg/min",
        "increment": b(0.0625, "mg/min"),
        "minimum": b(0.125, "mg/min"),
        "maximum": b(3.0, "mg/min"),
        "maximum_per_kg": b(0.1, "mg/kg/min"),
        "duration_min": b(0.05, "h"),
        "duration_max": b(2.0, "h"),
        "interval_min": OFF,
        "increase_factor": b(1.5, "1"),
        "increase_base": b(0.25, "mg/min"),
        "unmeasured_max": b(0.375, "mg/min"),
        "unpredicted_max": OFF,
    }
    return RateLimits(**(fields | changes))


def table(**changes):
    fields = {
        "therapy": "testdrug",
        "unit": "mg",
        "actions": (
            dose_limits(),
            rate_limits(),
            dose_limits(route="oral", infusion_rate_max=OFF, infusion_rate_max_per_kg=OFF, duration_min=b(0, "h")),
        ),
        "rolling": (
            RollingTotal(window=b(24.0, "h"), total=b(250.0, "mg"), total_per_kg=b(20.0, "mg/kg")),
            RollingTotal(window=b(2.0, "h"), total=b(120.0, "mg"), total_per_kg=OFF),
        ),
        "course_total": b(600.0, "mg"),
        "course_total_per_kg": b(50.0, "mg/kg"),
        "weight": WeightRange(low=b(0.5, "kg"), high=b(150.0, "kg")),
        "measurements": (
            MeasurementLimits(
                name="level",
                unit="mg/L",
                low=b(0.0, "mg/L"),
                high=b(200.0, "mg/L"),
                age_max=b(48.0, "h"),
                stop_below=OFF,
                stop_above=b(40.0, "mg/L"),
                quality_min=OFF,
                change_max=OFF,
                fall_max=OFF,
                fall_below=OFF,
                stop_age_max=OFF,
            ),
            MeasurementLimits(
                name="glucose",
                unit="mg/dL",
                low=b(20.0, "mg/dL"),
                high=b(600.0, "mg/dL"),
                age_max=b(0.25, "h"),
                stop_below=b(70.0, "mg/dL"),
                stop_above=OFF,
                quality_min=b(50.0, "%"),
                change_max=b(8.0, "mg/dL/min"),
                fall_max=b(3.0, "mg/dL/min"),
                fall_below=b(110.0, "mg/dL"),
                stop_age_max=b(1.0, "h"),
            ),
        ),
        "harms": (HarmLimit(name="toxic level", probability_max=b(0.1, "1")),),
        "projections": (
            ProjectionLimits(name="on board", unit="mg", low=OFF, high=b(60.0, "mg"), steepness=b(1.0, "1")),
            ProjectionLimits(
                name="pressure", unit="mmHg", low=b(60.0, "mmHg"), high=b(110.0, "mmHg"), steepness=b(2.0, "1")
            ),
        ),
        "suspension_max": b(200.0, "h"),
        "record_age_max": b(72.0, "h"),
        "ahead_max": b(120.0, "h"),
        "safe_action": SafeAction(sentence="Give no dose now.", source="test"),
    }
    return Limits(**(fields | changes))


LIMITS = table()


def ask(amount=50.0, **changes):
    fields = {"kind": Kind.DOSE, "route": "iv", "amount": amount, "unit": "mg", "time": 100.0, "duration": 1.0}
    return Asked(**(fields | changes))


def ask_rate(amount=1.0, **changes):
    return ask(amount, **({"kind": Kind.RATE, "unit": "mg/min", "duration": 1.0} | changes))


def gave(amount, time, duration=1.0, **changes):
    fields = {"kind": Kind.DOSE, "amount": amount, "unit": "mg", "time": time, "duration": duration}
    return Given(**(fields | changes))


def ran(rate, time, duration=1.0, **changes):
    return gave(rate, time, duration, **({"kind": Kind.RATE, "unit": "mg/min"} | changes))


def added(amount, time, duration=1.0, **changes):
    return gave(amount, time, duration, **({"kind": Kind.TOTAL} | changes))


def level(value=10.0, time=99.0, unit="mg/L", name="level", quality=None, previous=None):
    return Measurement(name=name, value=value, unit=unit, time=time, quality=quality, previous=previous)


def glucose(value=100.0, time=99.9, unit="mg/dL", quality=100.0, previous=None):
    return level(value, time, unit, "glucose", quality, previous)


def read(value, time):
    return Reading(value=value, time=time)


def board(if_nothing=0.0, if_given=0.0, amount=1e308, name="on board", unit="mg"):
    return Projection(name=name, unit=unit, amount=amount, if_nothing=if_nothing, if_given=if_given)


def pressure(if_nothing=80.0, if_given=80.0, amount=1e308, unit="mmHg"):
    return board(if_nothing, if_given, amount, "pressure", unit)


def chance(probability=0.05, harm="toxic level"):
    return Prediction(harm=harm, probability=probability)


def knows(**changes):
    fields = {
        "now": 100.0,
        "weight": 100.0,
        "weight_unit": "kg",
        "given": (),
        "planned": (),
        "measurements": (level(), glucose()),
        "predictions": (chance(),),
        "projections": (board(), pressure()),
        "record_time": 99.0,
    }
    return Context(**(fields | changes))


def up(x):
    return float(np.nextafter(x, INF))


def down(x):
    return float(np.nextafter(x, -INF))


def edge(name, asks, at, step, code, slack=0.0, **context):
    """Cases around one upper limit on the amount: at it, under it, a hair over it, a step over it, far over it."""
    # Limits that are worked out from others forgive a millionth of an increment, for the rounding of the arithmetic.
    top = at + slack
    return [
        (f"{name} at", asks(at), knows(**context), at, ()),
        (f"{name} hair under", asks(down(at)), knows(**context), down(at), ()),
        (f"{name} step under", asks(at - step), knows(**context), at - step, ()),
        (f"{name} hair over", asks(up(top)), knows(**context), at, (code,)),
        (f"{name} step over", asks(at + step), knows(**context), at, (code,)),
        *([(f"{name} slack", asks(top), knows(**context), top, ())] if slack == HALF else []),
    ]


def short(amount):
    return ask(amount, duration=0.5)


def short_rate(amount):
    return ask_rate(amount, duration=0.5)


def one(name, asked, context, allowed, *codes):
    return [(name, asked, context, allowed, codes)]


def projects(*projections):
    """A context with these projections, the others harmless."""
    names = {p.name for p in projections}
    return {"projections": (*projections, *(p for p in (board(), pressure()) if p.name not in names))}


def sugar(value=100.0, time=99.75, **changes):
    """A context with this glucose reading, sampled a quarter of an hour ago."""
    return {"measurements": (level(), glucose(value, time, **changes))}


def changed(value, before, **changes):
    """One whose reading before was taken a quarter of an hour earlier."""
    return sugar(value, previous=read(before, 99.5), **changes)


HALF, FINE = 0.5e-6, 0.0625e-6  # a millionth of an increment of each action
C = Code
at_0 = {"now": 0.0, "record_time": 0.0, "measurements": (level(time=0.0), glucose(time=0.0))}


def exact(value, before):
    """The reading before is 3.6 ms less than a quarter of an hour old, so that the rate is exact to the last bit."""
    previous = read(before, -(0.25 - 1e-6))
    return at_0 | {"measurements": (level(time=0.0), glucose(value, 0.0, previous=previous))}


CASES = [
    # Limits on the amount of one dose.
    *edge("single", ask, 100.0, 0.5, C.SINGLE_MAX),
    *edge("single per kg", ask, 80.0, 0.5, C.SINGLE_MAX_PER_KG, HALF, weight=8.0),
    *edge("infusion rate", short, 60.0, 0.5, C.INFUSION_RATE_MAX, HALF),
    *edge("infusion rate per kg", short, 45.0, 0.5, C.INFUSION_RATE_MAX_PER_KG, HALF, weight=6.0),
    *one("bolus of a drug that must run in", ask(50.0, duration=0.0), knows(), 0.0, C.DURATION_SHORT, C.INFUSION_RATE_MAX, C.INFUSION_RATE_MAX_PER_KG),
    *one("tablet has no rate", ask(50.0, route="oral", duration=0.0), knows(), 50.0),
    # Totals.
    *edge("24 h", ask, 50.0, 0.5, C.ROLLING_MAX, HALF, given=(gave(50, 77), gave(50, 82), gave(50, 88), gave(50, 94))),
    *edge("2 h by rates", ask, 60.0, 0.5, C.ROLLING_MAX, HALF, given=(ran(1.0, 98.5),)),
    *edge("24 h per kg", ask, 60.0, 0.5, C.ROLLING_MAX_PER_KG, HALF, weight=8.0, given=(gave(50, 80), gave(50, 90))),
    *edge("course", ask, 50.0, 0.5, C.COURSE_MAX, HALF, given=(gave(250, 0), gave(300, 10))),
    *edge("course per kg", ask, 50.0, 0.5, C.COURSE_MAX_PER_KG, HALF, weight=8.0, given=(gave(350, 10),)),
    *one("24 h used up", ask(), knows(given=(gave(250, 90),)), 0.0, C.ROLLING_MAX),
    *one("24 h overdrawn", ask(), knows(given=(gave(300, 90),)), 0.0, C.ROLLING_MAX),
    *one("24 h overdrawn by one step", ask(), knows(given=(gave(250.5, 90),)), 0.0, C.ROLLING_MAX),
    *one("course overdrawn", ask(), knows(given=(gave(700, 9),)), 0.0, C.COURSE_MAX),
    *one("dose ended a window ago", ask(), knows(given=(gave(250, 75),)), 50.0),
    *one("dose ended a hair less than a window ago", ask(), knows(given=(gave(250, 75 + 0.9e-6),)), 50.0),
    *one("dose ended less than a window ago", ask(), knows(given=(gave(250, 75 + 1.1e-6),)), 0.0, C.ROLLING_MAX),
    *one("long infusion still in the window", ask(), knows(given=(gave(230, 73, 4.0),)), 20.0, C.ROLLING_MAX),
    *one("window ends with the asked dose", ask(time=110.0), knows(given=(gave(250, 84),)), 50.0),
    # Increase over the last dose.
    *edge("increase", ask, 40.0, 0.5, C.INCREASE_MAX, HALF, given=(gave(20, 80),)),
    *edge("increase from the base", ask, 20.0, 0.5, C.INCREASE_MAX, HALF, given=(gave(4, 80),)),
    *edge("increase from the base itself", ask, 20.0, 0.5, C.INCREASE_MAX, HALF, given=(gave(10, 80),)),
    *edge("increase after nothing", ask, 20.0, 0.5, C.INCREASE_MAX, HALF, given=(gave(50, 80), gave(0, 90))),
    *edge("increase, newest in time", ask, 40.0, 0.5, C.INCREASE_MAX, HALF, given=(gave(20, 90), gave(50, 80))),
    *one("increase, older is smaller", ask(), knows(given=(gave(50, 90), gave(20, 80))), 50.0),
    *edge("increase, least of two together", ask, 40.0, 0.5, C.INCREASE_MAX, HALF, given=(gave(60, 90), gave(20, 90))),
    *edge("increase, least of two first", ask, 40.0, 0.5, C.INCREASE_MAX, HALF, given=(gave(20, 90), gave(60, 90))),
    *one("rates are not doses", ask(), knows(given=(ran(0.1, 98.0),)), 50.0),
    # Blind.
    *edge("no level", ask, 40.0, 0.5, C.MEASUREMENT_MISSING, measurements=(glucose(),)),
    *edge("no glucose", ask, 40.0, 0.5, C.MEASUREMENT_MISSING, measurements=(level(),)),
    *edge("stale level", ask, 40.0, 0.5, C.MEASUREMENT_STALE, measurements=(level(time=51.9), glucose())),
    *one("level old", ask(), knows(measurements=(level(time=52.0), glucose())), 50.0),
    *one("level a hair over", ask(), knows(measurements=(level(time=52.0 - 0.9e-6), glucose())), 50.0),
    *one("level over", ask(), knows(measurements=(level(time=52.0 - 1.1e-6), glucose())), 40.0, C.MEASUREMENT_STALE),
    *one("glucose old", ask(), knows(measurements=(level(), glucose(time=99.75))), 50.0),
    *one("glucose over", ask(), knows(measurements=(level(), glucose(time=99.74))), 40.0, C.MEASUREMENT_STALE),
    *one("one stale, one missing", ask(), knows(measurements=(level(time=0.0),)), 40.0, C.MEASUREMENT_STALE, C.MEASUREMENT_MISSING),
    *edge("no prediction", ask, 30.0, 0.5, C.PREDICTION_MISSING, predictions=()),
    # What can be measured out.
    *one("whole", ask(50.5), knows(), 50.5),
    *one("between", ask(50.25), knows(), 50.0, C.INCREMENT),
    *one("hair over whole", ask(50.5 + 0.4e-6), knows(), 50.5 + 0.4e-6),
    *one("over whole", ask(50.5 + 0.6e-6), knows(), 50.5, C.INCREMENT),
    *one("hair under whole", ask(50.5 - 0.4e-6), knows(), 50.5 - 0.4e-6),
    *one("under whole", ask(50.5 - 0.6e-6), knows(), 50.0, C.INCREMENT),
    *one("cap between steps", ask(50.0), knows(weight=4.13), 41.0, C.SINGLE_MAX_PER_KG, C.INCREMENT),
    *one("smallest", ask(1.0), knows(), 1.0),
    *one("under smallest", ask(0.5), knows(), 0.0, C.MINIMUM),
    *one("hair under smallest", ask(1.0 - HALF), knows(), 1.0 - HALF),
    *one("just under smallest", ask(1.0 - 0.6e-6), knows(), 0.0, C.INCREMENT, C.MINIMUM),
    *one("under a step", ask(0.25), knows(), 0.0, C.INCREMENT, C.MINIMUM),
    *one("left under smallest", ask(), knows(given=(gave(249.5, 90),)), 0.0, C.ROLLING_MAX, C.MINIMUM),
    *one("nothing", ask(0.0), knows(), 0.0),
    *one("nothing, odd duration, soon after", ask(0.0, duration=9.0), knows(given=(gave(9, 99),)), 0.0),
    *one("nothing, no duration", ask(0.0, duration=0.0), knows(), 0.0),
    *one("whole number", ask(50), knows(weight=100, now=100), 50),
    *one("numpy number", ask(np.float32(50.5)), knows(weight=np.int64(100)), 50.5),
    # Durations.
    *one("shortest", ask(20.0, duration=0.25), knows(), 20.0),
    *one("under shortest", ask(20.0, duration=down(0.25)), knows(), 0.0, C.DURATION_SHORT),
    *one("longest", ask(duration=4.0), knows(), 50.0),
    *one("over longest", ask(duration=up(4.0)), knows(), 0.0, C.DURATION_LONG),
    *one("duration negative", ask(duration=-1e-9), knows(), 0.0, C.DURATION_INVALID),
    *one("smallest dose too short", ask(1.0, duration=0.2), knows(), 0.0, C.DURATION_SHORT),
    # Interval: from start to start, of doses that were not nothing.
    *one("interval", ask(), knows(given=(gave(50, 94),)), 50.0),
    *one("interval a hair short", ask(), knows(given=(gave(50, 94 + 0.9e-6),)), 50.0),
    *one("interval short", ask(), knows(given=(gave(50, 94 + 1.1e-6),)), 0.0, C.INTERVAL_SHORT),
    *one("interval long", ask(), knows(given=(gave(50, 93.9),)), 50.0),
    *one("interval, newest first", ask(), knows(given=(gave(50, 95), gave(50, 80))), 0.0, C.INTERVAL_SHORT),
    *one("interval to nothing", ask(20.0), knows(given=(gave(50, 80), gave(0, 97))), 20.0),
    *one("interval to planned", ask(time=105.0), knows(planned=(gave(50, 101),)), 0.0, C.INTERVAL_SHORT),
    *one("interval from planned", ask(time=107.0), knows(planned=(gave(50, 101),)), 50.0),
    *one("small dose soon after", ask(1.0), knows(given=(gave(50, 99),)), 0.0, C.INTERVAL_SHORT),
    # Time of the asked dose.
    *one("asked for now", ask(time=100.0), knows(), 50.0),
    *one("asked for the past", ask(time=down(100.0)), knows(), 0.0, C.TIME_PAST),
    *one("asked far ahead", ask(time=220.0), knows(), 50.0),
    *one("asked a hair too far", ask(time=220.0 + 0.9e-6), knows(), 50.0),
    *one("asked too far", ask(time=220.0 + 1.1e-6), knows(), 0.0, C.TIME_TOO_FAR),
    # Doses given and planned.
    *one("given now", ask(0.0), knows(given=(gave(5, 100.0),)), 0.0),
    *one("given in the future", ask(), knows(given=(gave(50, 80), gave(1, up(100.0)),)), 0.0, C.HISTORY_MISDATED, C.INTERVAL_SHORT, C.INCREASE_MAX),
    *one("planned now", ask(time=106.0), knows(planned=(gave(50, 100.0),)), 50.0),
    *one("planned in the past", ask(time=106.0), knows(planned=(gave(50, down(100.0)),)), 0.0, C.HISTORY_MISDATED),
    *one("planned with the asked dose", ask(0.0, time=106.0), knows(planned=(gave(50, 106.0),)), 0.0),
    *one("planned after the asked dose", ask(0.0, time=106.0), knows(planned=(gave(50, up(106.0)),)), 0.0, C.HISTORY_MISDATED),
    *one("planned counts", ask(time=106.0), knows(given=(gave(190, 90),), planned=(gave(50, 100.0),)), 10.0, C.ROLLING_MAX),
    *one("given a hair under 0", ask(20.0), knows(given=(gave(down(0.0), 80),)), 0.0, C.HISTORY_INVALID),
    *one("given under 0", ask(20.0), knows(given=(gave(-0.5, 80),)), 0.0, C.HISTORY_INVALID),
    *one("given over less than no time", ask(20.0), knows(given=(gave(5, 80, -0.5),)), 0.0, C.HISTORY_INVALID),
    *one("given over a hair less than no time", ask(20.0), knows(given=(gave(5, 80, down(0.0)),)), 0.0, C.HISTORY_INVALID),
    *one("a huge rate", ask(), knows(given=(ran(1000.0, 90.0),)), 0.0, C.ROLLING_MAX, C.ROLLING_MAX_PER_KG, C.COURSE_MAX, C.COURSE_MAX_PER_KG),
    *one("a small weight in g", ask(), knows(weight=1.0, weight_unit="g"), 0.0, C.WEIGHT_UNIT_WRONG),
    *one("an absurd reading in another unit", ask(), knows(measurements=(level(500.0, unit="ug/mL"), glucose())), 0.0, C.MEASUREMENT_UNIT_WRONG),
    # Weight.
    *one("lightest", ask(1.0), knows(weight=0.5), 1.0),
    *one("too light", ask(1.0), knows(weight=down(0.5)), 0.0, C.WEIGHT_OUT_OF_RANGE),
    *one("heaviest", ask(), knows(weight=150.0), 50.0),
    *one("too heavy", ask(), knows(weight=up(150.0)), 0.0, C.WEIGHT_OUT_OF_RANGE),
    *one("weight in g", ask(), knows(weight_unit="g"), 0.0, C.WEIGHT_UNIT_WRONG),
    *one("absurd weight in g", ask(), knows(weight=1400.0, weight_unit="g"), 0.0, C.WEIGHT_UNIT_WRONG),
    *one("no weight in g", ask(), knows(weight=NAN, weight_unit="g"), 0.0, C.WEIGHT_INVALID),
    # Record.
    *one("record of now", ask(), knows(record_time=100.0), 50.0),
    *one("record of the future", ask(), knows(record_time=up(100.0)), 0.0, C.RECORD_IN_FUTURE),
    *one("record old", ask(), knows(record_time=28.0), 50.0),
    *one("record a hair too old", ask(), knows(record_time=28.0 - 0.9e-6), 50.0),
    *one("record too old", ask(), knows(record_time=28.0 - 1.1e-6), 0.0, C.RECORD_STALE),
    # Readings.
    *one("level 0", ask(), knows(measurements=(level(0.0), glucose())), 50.0),
    *one("level under 0", ask(), knows(measurements=(level(down(0.0)), glucose())), 0.0, C.MEASUREMENT_OUT_OF_RANGE),
    *one("level stops not", ask(), knows(measurements=(level(40.0), glucose())), 50.0),
    *one("level stops", ask(), knows(measurements=(level(up(40.0)), glucose())), 0.0, C.MEASUREMENT_STOP),
    *one("level highest", ask(), knows(measurements=(level(200.0), glucose())), 0.0, C.MEASUREMENT_STOP),
    *one("level not real", ask(), knows(measurements=(level(up(200.0)), glucose())), 0.0, C.MEASUREMENT_OUT_OF_RANGE),
    *one("glucose stops not", ask(), knows(measurements=(level(), glucose(70.0))), 50.0),
    *one("glucose stops", ask(), knows(measurements=(level(), glucose(down(70.0)))), 0.0, C.MEASUREMENT_STOP),
    *one("glucose lowest", ask(), knows(measurements=(level(), glucose(20.0))), 0.0, C.MEASUREMENT_STOP),
    *one("glucose not real", ask(), knows(measurements=(level(), glucose(down(20.0)))), 0.0, C.MEASUREMENT_OUT_OF_RANGE),
    *one("glucose highest", ask(), knows(measurements=(level(), glucose(600.0))), 50.0),
    *one("reading of now", ask(), knows(measurements=(level(time=100.0), glucose())), 50.0),
    *one("reading of the future", ask(), knows(measurements=(level(time=up(100.0)), glucose())), 0.0, C.MEASUREMENT_IN_FUTURE),
    *one("reading in another unit", ask(), knows(measurements=(level(unit="ug/mL"), glucose())), 0.0, C.MEASUREMENT_UNIT_WRONG),
    *one("stale, stops", ask(), knows(measurements=(level(), glucose(60.0, time=99.0))), 0.0, C.MEASUREMENT_STOP, C.MEASUREMENT_STALE),
    # Predictions.
    *one("harm at", ask(), knows(predictions=(chance(0.1),)), 50.0),
    *one("harm over", ask(), knows(predictions=(chance(up(0.1)),)), 0.0, C.HARM_LIKELY),
    *one("harm certain", ask(), knows(predictions=(chance(1.0),)), 0.0, C.HARM_LIKELY),
    *one("harm over 1", ask(), knows(predictions=(chance(up(1.0)),)), 0.0, C.PREDICTION_INVALID),
    *one("harm 0", ask(), knows(predictions=(chance(0.0),)), 50.0),
    *one("harm under 0", ask(), knows(predictions=(chance(down(0.0)),)), 0.0, C.PREDICTION_INVALID),
    # Projections: a straight line from what nothing gives to what the amount gives, ``steepness`` times as steep.
    *edge("on board", ask, 40.0, 0.5, C.PROJECTION_HIGH, HALF, **projects(board(0, 75, 50))),
    *edge("on board, some there", ask, 25.0, 0.5, C.PROJECTION_HIGH, HALF, **projects(board(10, 110, 50))),
    *edge("on board, negative before", ask, 40.0, 0.5, C.PROJECTION_HIGH, HALF, **projects(board(-20, 80, 50))),
    *one("on board at", ask(), knows(**projects(board(0, 60, 50))), 50.0),
    *one("on board over", ask(), knows(**projects(board(0, 60.75, 50))), 49.0, C.PROJECTION_HIGH, C.INCREMENT),
    *one("on board less than a step over", ask(), knows(**projects(board(0, up(60.0), 50))), 50.0),
    *one("on board full", ask(), knows(**projects(board(60, 80, 50))), 0.0, C.PROJECTION_HIGH),
    *one("on board nearly full", ask(), knows(**projects(board(down(60), 80, 50))), 0.0, C.PROJECTION_HIGH, C.MINIMUM),
    *one("on board over full", ask(), knows(**projects(board(90, 120, 50))), 0.0, C.PROJECTION_HIGH),
    *one("on board, giving changes nothing", ask(), knows(**projects(board(90, 90, 50))), 0.0, C.PROJECTION_HIGH),
    *one("on board, giving lowers it", ask(), knows(**projects(board(90, down(90.0), 50))), 50.0),
    *one("on board, giving lowers it enough", ask(), knows(**projects(board(90, 50, 50))), 50.0),
    *one("on board, nothing asked", ask(0.0), knows(**projects(board(90, 120, 0))), 0.0),
    *edge("pressure high", ask, 20.0, 0.5, C.PROJECTION_HIGH, HALF, **projects(pressure(90, 140, 100))),
    *edge("pressure low", ask, 20.0, 0.5, C.PROJECTION_LOW, HALF, **projects(pressure(80, 30, 100))),
    *one("pressure at its low", ask(), knows(**projects(pressure(80, 60, 50))), 50.0),
    *one("pressure a hair low", ask(), knows(**projects(pressure(80, down(60.0), 50))), 25.0 - 2**-47, C.PROJECTION_LOW),
    *one("pressure low already", ask(), knows(**projects(pressure(60, 50, 50))), 0.0, C.PROJECTION_LOW),
    *one("pressure far too low", ask(), knows(**projects(pressure(50, 40, 50))), 0.0, C.PROJECTION_LOW),
    *one("pressure low, giving changes nothing", ask(), knows(**projects(pressure(50, 50, 50))), 0.0, C.PROJECTION_LOW),
    *one("pressure low, giving lifts it", ask(), knows(**projects(pressure(50, up(50.0), 50))), 50.0),
    *one("pressure at its high", ask(), knows(**projects(pressure(80, 110, 50))), 50.0),
    *one("pressure a hair high", ask(), knows(**projects(pressure(80, up(110.0), 50))), 25.0 - 3 * 2**-48, C.PROJECTION_HIGH),
    *one("on board and pressure", ask(), knows(**projects(board(0, 75, 50), pressure(70, 30, 50))), 6.0, C.PROJECTION_HIGH, C.PROJECTION_LOW, C.INCREMENT),
    *edge("projected for less", ask, 40.0, 0.5, C.PROJECTION_BEYOND, HALF, **projects(board(0, 40, 40))),
    *one("projected for nothing", ask(), knows(**projects(board(0, 0, 0))), 0.0, C.PROJECTION_BEYOND),
    *one("projected for a hair less than nothing", ask(), knows(**projects(board(0, 0, down(0.0)))), 0.0, C.PREDICTION_INVALID),
    *one("projected for less than nothing", ask(0.0), knows(**projects(board(0, 0, -1.0))), 0.0, C.PREDICTION_INVALID),
    *one("projected for more", ask(), knows(**projects(board(0, 120, 120))), 50.0),
    *one("a change beyond numbers", ask(), knows(**projects(board(-1e308, 1e308, 50))), 0.0, C.PREDICTION_INVALID),
    *one("a change that is just a number", ask(), knows(**projects(board(-1e307, 1e307, 50))), 25.0, C.PROJECTION_HIGH),
    *edge("no board", ask, 30.0, 0.5, C.PREDICTION_MISSING, projections=(pressure(),)),
    *edge("no pressure", ask, 30.0, 0.5, C.PREDICTION_MISSING, projections=(board(),)),
    *one("neither, and no chance", ask(), knows(projections=(), predictions=()), 30.0, C.PREDICTION_MISSING),
    *one("projected in another unit", ask(), knows(**projects(board(0, 999, 9, unit="ug"))), 0.0, C.PREDICTION_UNIT_WRONG),
    *one("NaN projected in another unit", ask(), knows(**projects(board(NAN, 0, 9, unit="ug"))), 0.0, C.PREDICTION_UNIT_WRONG),
    *edge("rate, on board", ask_rate, 0.75, 0.0625, C.PROJECTION_HIGH, FINE, **projects(board(0, 80, 1))),
    # Signal quality: a poor reading counts as none, whatever it says.
    *one("quality", ask(), knows(**sugar(quality=50.0)), 50.0),
    *edge("quality under", ask, 40.0, 0.5, C.MEASUREMENT_POOR, **sugar(quality=down(50.0))),
    *one("quality full", ask(), knows(**sugar(quality=100.0)), 50.0),
    *one("quality over full", ask(), knows(**sugar(quality=up(100.0))), 0.0, C.MEASUREMENT_INVALID),
    *one("quality none", ask(), knows(**sugar(quality=0.0)), 40.0, C.MEASUREMENT_POOR),
    *one("quality a hair under none", ask(), knows(**sugar(quality=down(0.0))), 0.0, C.MEASUREMENT_INVALID),
    *one("quality under none", ask(), knows(**sugar(quality=-1.0)), 0.0, C.MEASUREMENT_INVALID),
    *one("quality not asked for", ask(), knows(measurements=(level(quality=NAN), glucose())), 50.0),
    *one("poor stops not", ask(), knows(**sugar(60.0, quality=9)), 40.0, C.MEASUREMENT_POOR),
    *one("poor, not real", ask(), knows(**sugar(1.0, quality=9)), 40.0, C.MEASUREMENT_POOR),
    *one("poor, falls", ask(), knows(**changed(90.0, 590.0, quality=9)), 40.0, C.MEASUREMENT_POOR),
    *one("poor, stale", ask(), knows(**sugar(time=99.5, quality=9)), 40.0, C.MEASUREMENT_POOR, C.MEASUREMENT_STALE),
    *one("poor, of the future", ask(), knows(**sugar(time=101.0, quality=9)), 0.0, C.MEASUREMENT_POOR, C.MEASUREMENT_IN_FUTURE),
    *one("poor, before it none", ask(), knows(**changed(100.0, INF, quality=9)), 0.0, C.MEASUREMENT_POOR, C.MEASUREMENT_INVALID),
    *one("quality at fault, stops not", ask(), knows(**sugar(60.0, time=99.0, quality=101)), 0.0, C.MEASUREMENT_INVALID),
    *one("quality of another unit", ask(), knows(**sugar(quality=9, unit="mmol/L")), 0.0, C.MEASUREMENT_UNIT_WRONG),
    # Rate of change: 8 a minute is the fastest that can be real; a fall of 3 a minute under 110 stops.
    *one("steady", ask(), knows(**changed(100.0, 100.0)), 50.0),
    *one("rise", ask(), knows(**changed(220.0, 100.0)), 50.0),
    *one("rise, exact", ask(time=0.0), knows(**exact(220.0, 100.0)), 50.0),
    *one("rise a hair too fast", ask(time=0.0), knows(**exact(up(220.0), 100.0)), 40.0, C.MEASUREMENT_IMPLAUSIBLE),
    *one("fall, exact", ask(time=0.0), knows(**exact(100.0, 145.0)), 50.0),
    *one("fall a hair too fast", ask(time=0.0), knows(**exact(100.0, up(145.0))), 0.0, C.MEASUREMENT_FALLING),
    *one("rise, clock forgiven", ask(), knows(**changed(220.0004, 100.0)), 50.0),
    *one("rise, clock not forgiven", ask(), knows(**changed(220.0006, 100.0)), 40.0, C.MEASUREMENT_IMPLAUSIBLE),
    *edge("rise far too fast", ask, 40.0, 0.5, C.MEASUREMENT_IMPLAUSIBLE, **changed(500.0, 100.0)),
    *one("fall", ask(), knows(**changed(200.0, 320.0004)), 50.0),
    *one("fall too fast", ask(), knows(**changed(200.0, 320.0006)), 40.0, C.MEASUREMENT_IMPLAUSIBLE),
    *one("fall stops not", ask(), knows(**changed(100.0, 145.0001)), 50.0),
    *one("fall stops", ask(), knows(**changed(100.0, 145.0003)), 0.0, C.MEASUREMENT_FALLING),
    *one("fall at 110", ask(), knows(**changed(110.0, 160.0)), 50.0),
    *one("fall under 110", ask(), knows(**changed(down(110.0), 160.0)), 0.0, C.MEASUREMENT_FALLING),
    *one("fall too fast and low", ask(), knows(**changed(60.0, 200.0)), 0.0, C.MEASUREMENT_STOP, C.MEASUREMENT_FALLING, C.MEASUREMENT_IMPLAUSIBLE),
    *one("rise out of range", ask(), knows(**changed(601.0, 100.0)), 0.0, C.MEASUREMENT_OUT_OF_RANGE),
    *one("before it a hair", ask(), knows(**sugar(previous=read(100.0, down(99.75)))), 50.0),
    *one("before it, a hair and a jump", ask(), knows(**sugar(previous=read(100.001, down(99.75)))), 0.0, C.MEASUREMENT_FALLING, C.MEASUREMENT_IMPLAUSIBLE),
    *one("before it, the same time", ask(), knows(**sugar(previous=read(100.0, 99.75))), 0.0, C.MEASUREMENT_INVALID),
    *one("before it, a hair later", ask(), knows(**sugar(previous=read(100.0, up(99.75)))), 0.0, C.MEASUREMENT_INVALID),
    *one("before it, by the clock's rounding", ask(), knows(**at_0 | {"measurements": (level(time=0.0), glucose(time=0.0, previous=read(90, 1e-6)))}), 0.0, C.MEASUREMENT_INVALID),
    *one("before it, out of range", ask(), knows(**changed(60.0, 0.0)), 0.0, C.MEASUREMENT_STOP),
    *one("before it, no number apart", ask(), knows(**changed(100.0, -INF)), 0.0, C.MEASUREMENT_INVALID),
    *one("before it, beyond numbers", ask(), knows(**sugar(previous=read(-1.7e308, 99.7499999))), 0.0, C.MEASUREMENT_INVALID),
    *one("level before, no limit on it", ask(), knows(measurements=(level(previous=read(1e9, 98.99)), glucose())), 50.0),
    # A reading goes on stopping the drug for an hour, though it is stale after a quarter.
    *one("low an hour ago", ask(), knows(**sugar(60.0, time=99.0)), 0.0, C.MEASUREMENT_STOP, C.MEASUREMENT_STALE),
    *one("low an hour ago, by the clock", ask(), knows(**sugar(60.0, time=99.0 - 0.9e-6)), 0.0, C.MEASUREMENT_STOP, C.MEASUREMENT_STALE),
    *one("low longer ago", ask(), knows(**sugar(60.0, time=99.0 - 1.1e-6)), 40.0, C.MEASUREMENT_STALE),
    *one("low an hour ago, exact", ask(time=0.0), knows(**at_0 | {"measurements": (level(time=0.0), glucose(60.0, -(1.0 + 1e-6)))}), 0.0, C.MEASUREMENT_STOP, C.MEASUREMENT_STALE),
    *one("fell an hour ago", ask(), knows(**sugar(100.0, time=99.0, previous=read(190.0, 98.75))), 0.0, C.MEASUREMENT_FALLING, C.MEASUREMENT_STALE),
    *one("fell longer ago", ask(), knows(**sugar(100.0, time=98.9, previous=read(190.0, 98.65))), 40.0, C.MEASUREMENT_STALE),
    *one("high level long ago", ask(), knows(measurements=(level(41.0, time=-999.0), glucose())), 0.0, C.MEASUREMENT_STOP, C.MEASUREMENT_STALE),
    *one("jumped longer ago", ask(), knows(**sugar(300.0, time=98.9, previous=read(100.0, 98.65))), 40.0, C.MEASUREMENT_STALE, C.MEASUREMENT_IMPLAUSIBLE),
    # Totals of the past: what several delivered.
    *edge("24 h, added up", ask, 50.0, 0.5, C.ROLLING_MAX, HALF, given=(added(200, 77, 18),)),
    *edge("course, added up", ask, 50.0, 0.5, C.COURSE_MAX, HALF, given=(added(550, 0, 50),)),
    *one("added up, no dose to count from", ask(), knows(given=(added(5, 94, 5.9),)), 50.0),
    *one("added up, no rate to count from", ask_rate(), knows(given=(added(0.1, 94, 5.9),)), 1.0),
    *one("added up a window ago", ask(), knows(given=(added(250, 60, 16),)), 50.0),
    *one("added up, the end in the window", ask(), knows(given=(added(250, 60, 16.1),)), 0.0, C.ROLLING_MAX),
    *one("added up of the future", ask(), knows(given=(added(5, up(100.0)),)), 0.0, C.HISTORY_MISDATED),
    *one("added up to less than nothing", ask(), knows(given=(added(-1, 90),)), 0.0, C.HISTORY_INVALID),
    # 200 h without any drug, and no reading that stops it: said, and nothing changed.
    *one("suspended", ask(), knows(given=(gave(50, -101),)), 50.0),
    *one("suspended a hair too long", ask(), knows(given=(gave(50, -101 - 0.9e-6),)), 50.0),
    *one("suspended too long", ask(), knows(given=(gave(50, -101 - 1.1e-6),)), 50.0, C.SUSPENDED_LONG),
    *one("suspended too long, exact", ask(time=0.0), knows(**at_0, given=(gave(50, -(200.0 + 1e-6), 0.0),)), 50.0),
    *one("suspended too long, nothing asked", ask(0.0), knows(given=(gave(50, -102),)), 0.0, C.SUSPENDED_LONG),
    *one("suspended by doses of 0", ask(), knows(given=(gave(50, -102), gave(0, 80), ran(0, 90))), 20.0, C.SUSPENDED_LONG, C.INCREASE_MAX),
    *one("suspended but for a rate", ask(), knows(given=(gave(50, -102), ran(0.1, -100))), 50.0),
    *one("suspended but for a total", ask(), knows(given=(added(5, -150, 51), gave(50, -102))), 50.0),
    *one("suspended but for what is planned", ask(), knows(given=(gave(50, -102),), planned=(ran(0.1, 100.0),)), 50.0),
    *one("suspended too long, all in a total", ask(), knows(given=(added(50, -190, 89),)), 50.0, C.SUSPENDED_LONG),
    *one("suspended for a low reading", ask(), knows(given=(gave(50, -102),), **sugar(60.0)), 0.0, C.MEASUREMENT_STOP),
    *one("suspended for a fall", ask(), knows(given=(gave(50, -102),), **changed(100.0, 160.0)), 0.0, C.MEASUREMENT_FALLING),
    *one("suspended for a reading at fault", ask(), knows(given=(gave(50, -102),), **sugar(601.0)), 0.0, C.MEASUREMENT_OUT_OF_RANGE, C.SUSPENDED_LONG),
    *one("suspended, stale", ask(), knows(given=(gave(50, -102),), **sugar(time=99.0)), 40.0, C.MEASUREMENT_STALE, C.SUSPENDED_LONG),
    *one("suspended, asked in g", ask(1.0, unit="g"), knows(given=(gave(50, -102),)), 0.0, C.UNIT_WRONG, C.SUSPENDED_LONG),
    *one("never given", ask(20.0), knows(given=(gave(0, -900),)), 20.0),
    # The request itself.
    *one("negative", ask(down(0.0)), knows(), 0.0, C.AMOUNT_NEGATIVE),
    *one("in g", ask(0.05, unit="g"), knows(), 0.0, C.UNIT_WRONG),
    *one("in g, far over", ask(5000.0, unit="g"), knows(), 0.0, C.UNIT_WRONG),
    *one("by an unknown route", ask(route="im"), knows(), 0.0, C.ACTION_UNKNOWN),
    *one("a total", ask(kind=Kind.TOTAL), knows(), 0.0, C.ACTION_UNKNOWN),
    *one("rate by mouth", ask_rate(route="oral"), knows(), 0.0, C.ACTION_UNKNOWN),
    # Tolerances, where the clock starts at 0 and the subtraction is exact.
    *one("ahead, exact", ask(time=120.0 + 1e-6), knows(**at_0), 50.0),
    *one("interval, exact", ask(time=0.0), knows(**at_0, given=(gave(50, -(6.0 - 1e-6)),)), 50.0),
    *one("interval, exact, short", ask(time=0.0), knows(**at_0, given=(gave(50, -down(6.0 - 1e-6)),)), 0.0, C.INTERVAL_SHORT),
    *one("window, exact", ask(time=0.0), knows(**at_0, given=(gave(250, -(24.0 - 1e-6), 0.0),)), 50.0),
    *one("window, exact, in", ask(time=0.0), knows(**at_0, given=(gave(250, -down(24.0 - 1e-6), 0.0),)), 0.0, C.ROLLING_MAX),
    *one("record, exact", ask(time=0.0), knows(**(at_0 | {"record_time": -(72.0 + 1e-6)})), 50.0),
    *one("reading, exact", ask(time=0.0), knows(**(at_0 | {"measurements": (level(time=-(48.0 + 1e-6)), glucose(time=0.0))})), 50.0),
    *one("everything over", ask(1e308), knows(), 100.0, C.SINGLE_MAX, C.SINGLE_MAX_PER_KG, C.INFUSION_RATE_MAX, C.INFUSION_RATE_MAX_PER_KG, C.ROLLING_MAX, C.ROLLING_MAX_PER_KG, C.COURSE_MAX, C.COURSE_MAX_PER_KG),
    # Rates: the amount is the rate, totals count what it delivers.
    *edge("rate", short_rate, 3.0, 0.0625, C.SINGLE_MAX),
    *edge("rate per kg", ask_rate, 1.0, 0.0625, C.SINGLE_MAX_PER_KG, FINE, weight=10.0),
    *edge("rate, 2 h total", ask_rate, 2.0, 0.0625, C.ROLLING_MAX, FINE),
    *edge("rate, 24 h total", ask_rate, 0.5, 0.0625, C.ROLLING_MAX, FINE, given=(gave(220, 90),)),
    *edge("rate, course", ask_rate, 0.5, 0.0625, C.COURSE_MAX, FINE, given=(gave(570, 0),)),
    *edge("rate, increase", ask_rate, 1.5, 0.0625, C.INCREASE_MAX, FINE, given=(ran(1.0, 90.0),)),
    *edge("rate, increase from the base", ask_rate, 0.375, 0.0625, C.INCREASE_MAX, FINE, given=(ran(0.0, 90.0),)),
    *edge("rate, no glucose", ask_rate, 0.375, 0.0625, C.MEASUREMENT_MISSING, measurements=(level(),)),
    *one("rate without prediction", ask_rate(), knows(predictions=()), 1.0),
    *one("rate right after a rate", ask_rate(), knows(given=(ran(1.0, 99.99),)), 1.0),
    *one("rate right after a dose", ask_rate(0.25), knows(given=(gave(50.0, 99.99),)), 0.25),
    *one("rate too short", ask_rate(duration=0.04), knows(), 0.0, C.DURATION_SHORT),
    *one("rate for no time", ask_rate(duration=0.0), knows(), 0.0, C.DURATION_SHORT),
    *one("rate long", ask_rate(duration=2.0), knows(), 1.0),
    *one("rate ran while asked", ask_rate(), knows(given=(ran(1.0, 98.0, 3.0),)), 0.0, C.ROLLING_MAX),
    *one("rate, kg of 24 h", ask_rate(0.5), knows(weight=10.0, given=(ran(1.0, 90.0, 3.0),)), 0.3125, C.ROLLING_MAX_PER_KG, C.INCREMENT),
    *one("rate, kg of the course", ask_rate(0.5), knows(weight=10.0, given=(gave(485, 0.0),)), 0.25, C.COURSE_MAX_PER_KG),
    *one("rate per h", ask_rate(60.0, unit="mg/h"), knows(), 0.0, C.UNIT_WRONG),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "context", "allowed", "codes"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_edge(asked, context, allowed, codes):
    verdict = guard(asked, context, LIMITS)
    assert verdict.codes == set(codes), verdict.sentence
    assert float(verdict.allowed.amount).hex() == float(allowed).hex()
    assert verdict.asked is asked
    assert len(verdict.reasons) >= len(codes)
    assert verdict.mask == sum({1 << c.value for c in codes})
    if all(c is C.SUSPENDED_LONG for c in codes):
        assert verdict.allowed is asked
        assert verdict.decision is Decision.PASSED
    elif allowed == 0 or any(c.value < 32 for c in codes):
        assert verdict.decision is Decision.REFUSED
    else:
        assert verdict.decision is Decision.LOWERED
    assert replace(verdict.allowed, amount=asked.amount) == asked


BAD = {
    "missing": None,
    "NaN": NAN,
    "inf": INF,
    "-inf": -INF,
    "text": "50",
    "true": True,
    "numpy true": np.True_,
    "too large": 10**400,
    "complex": 1j,
    "array": np.array([50.0]),
    "numpy NaN": np.float32("nan"),
}
WORDS = {
    "missing": "is missing",
    "NaN": "is not a number (NaN)",
    "inf": "is infinite",
    "-inf": "is infinite",
    "text": "is text ('50'), not a number",
    "true": "is a yes-or-no value, not a number",
    "numpy true": "is a yes-or-no value, not a number",
    "too large": "is of type int, not a finite number",
    "complex": "is of type complex, not a finite number",
    "array": "is of type ndarray, not a finite number",
    "numpy NaN": "is not a number (NaN)",
}
UNREADABLE = "{} of the doses given or planned cannot be read: what the patient got is not known."
NUMBERS = {
    "amount": (lambda x: (ask(x), knows()), C.AMOUNT_INVALID, "The asked dose {}."),
    "rate": (lambda x: (ask_rate(x), knows()), C.AMOUNT_INVALID, "The asked rate {}."),
    "time": (lambda x: (ask(time=x), knows()), C.TIME_INVALID, "The time of the asked dose {}."),
    "duration": (lambda x: (ask(duration=x), knows()), C.DURATION_INVALID, "The duration of the asked dose {}."),
    "now": (lambda x: (ask(), knows(now=x)), C.NOW_INVALID, "The present time {}."),
    "weight": (lambda x: (ask(), knows(weight=x)), C.WEIGHT_INVALID, "The body weight {}."),
    "record": (
        lambda x: (ask(), knows(record_time=x)),
        C.RECORD_TIME_INVALID,
        "The time of the newest entry in the record {}.",
    ),
    "level": (
        lambda x: (ask(), knows(measurements=(level(x), glucose()))),
        C.MEASUREMENT_INVALID,
        "The level reading {}.",
    ),
    "level time": (
        lambda x: (ask(), knows(measurements=(level(time=x), glucose()))),
        C.MEASUREMENT_INVALID,
        "The level reading has a time that {}.",
    ),
    "probability": (
        lambda x: (ask(), knows(predictions=(chance(x),))),
        C.PREDICTION_INVALID,
        "The predicted probability of toxic level {}.",
    ),
    "amount of a projection": (
        lambda x: (ask(), knows(**projects(board(0.0, 1.0, x)))),
        C.PREDICTION_INVALID,
        "The amount of the projected on board {}.",
    ),
    "projection of nothing": (
        lambda x: (ask(), knows(**projects(board(x, 1.0)))),
        C.PREDICTION_INVALID,
        "The projected on board, if nothing is given, {}.",
    ),
    "projection": (
        lambda x: (ask(), knows(**projects(board(0.0, x)))),
        C.PREDICTION_INVALID,
        "The projected on board, if it is given, {}.",
    ),
    "quality": (
        lambda x: (ask(), knows(**sugar(quality=x))),
        C.MEASUREMENT_INVALID,
        "The signal quality of the glucose reading {}.",
    ),
    "reading before": (
        lambda x: (ask(), knows(**changed(100.0, x))),
        C.MEASUREMENT_INVALID,
        "The reading before the newest of glucose {}.",
    ),
    "time before": (
        lambda x: (ask(), knows(**sugar(previous=read(100.0, x)))),
        C.MEASUREMENT_INVALID,
        "The reading before the newest of glucose has a time that {}.",
    ),
    "total": (lambda x: (ask(), knows(given=(added(x, 80),))), C.HISTORY_INVALID, UNREADABLE.format(1)),
    "given amount": (lambda x: (ask(), knows(given=(gave(x, 80),))), C.HISTORY_INVALID, UNREADABLE.format(1)),
    "given time": (
        lambda x: (ask(), knows(given=(gave(5, x), gave(5, 9, x)))),
        C.HISTORY_INVALID,
        UNREADABLE.format(2),
    ),
    "planned duration": (
        lambda x: (ask(), knows(planned=(gave(5, 100, x),))),
        C.HISTORY_INVALID,
        UNREADABLE.format(1),
    ),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", NUMBERS)
def test_what_is_not_a_finite_number_is_refused(where, bad):
    make, code, sentence = NUMBERS[where]
    verdict = guard(*make(BAD[bad]), LIMITS)
    assert verdict.codes == {code}
    assert verdict.decision is Decision.REFUSED
    assert verdict.allowed.amount == 0.0
    assert [r.sentence for r in verdict.reasons] == [sentence.format(WORDS[bad])]
    assert verdict.sentence == f"Give no dose now. {sentence.format(WORDS[bad])}"


def test_numbers_of_other_types_pass_as_they_are():
    asked = ask(np.float64(50.0), duration=np.int32(1))
    assert guard(asked, knows(given=[gave(np.int64(40), 0)], planned=[]), LIMITS).allowed is asked


GARBAGE = (None, 3, "mg", NAN, ("mg",), np.array([1.0, 2.0]), {}, b"mg", True)


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda x: (ask(kind=x), knows()), C.ACTION_UNKNOWN),
        (lambda x: (ask(route=x), knows()), C.ACTION_UNKNOWN),
        (lambda x: (ask_rate(unit=x), knows()), C.UNIT_WRONG),
        (lambda x: (ask(), knows(weight_unit=x)), C.WEIGHT_UNIT_WRONG),
        (lambda x: (ask(), knows(given=(x,))), C.HISTORY_INVALID),
        (lambda x: (ask(), knows(given=(gave(5, 80, kind=x),))), C.HISTORY_INVALID),
        (lambda x: (ask(), knows(measurements=(level(), glucose(), x))), C.MEASUREMENT_INVALID),
        (lambda x: (ask(), knows(measurements=(level(unit=x), glucose()))), C.MEASUREMENT_UNIT_WRONG),
        (lambda x: (ask(), knows(measurements=(level(), glucose(), level(name=x)))), C.MEASUREMENT_UNKNOWN),
        (lambda x: (ask(), knows(**sugar(previous=() if x is None else x))), C.MEASUREMENT_INVALID),
        (lambda x: (ask(), knows(predictions=(chance(), x))), C.PREDICTION_INVALID),
        (lambda x: (ask(), knows(projections=(board(), pressure(), x))), C.PREDICTION_INVALID),
        (lambda x: (ask(), knows(projections=(board(), pressure(), board(name=x)))), C.PREDICTION_UNKNOWN),
        (lambda x: (ask(), knows(projections=(board(), pressure(unit=x)))), C.PREDICTION_UNIT_WRONG),
        (lambda x: (ask(), knows(predictions=(chance(), chance(harm=x)))), C.PREDICTION_UNKNOWN),
    ],
)
def test_garbage_is_refused(make, code, garbage):
    verdict = guard(*make(garbage), LIMITS)
    assert verdict.codes == {code}
    assert len(verdict.reasons) == 1
    assert verdict.decision is Decision.REFUSED
    assert verdict.allowed.amount == 0.0


@pytest.mark.parametrize("garbage", [None, 3, "mg", NAN, {}, level()], ids=repr)
@pytest.mark.parametrize("where", ["given", "planned", "measurements", "predictions", "projections"])
def test_what_is_not_a_list_is_refused(where, garbage):
    codes = {"measurements": C.MEASUREMENT_INVALID, "predictions": C.PREDICTION_INVALID}
    codes["projections"] = C.PREDICTION_INVALID
    verdict = guard(ask(20.0), knows(**{where: garbage}), LIMITS)
    assert verdict.codes == {codes.get(where, C.HISTORY_INVALID)}
    assert verdict.allowed.amount == 0.0


@pytest.mark.parametrize("unit", ["g", "", "mg/min", "MG", None, 3])
def test_units_of_history_are_not_converted(unit):
    verdict = guard(ask(20.0), knows(given=(gave(5, 80, unit=unit), gave(5, 80))), LIMITS)
    assert verdict.codes == {C.HISTORY_UNIT_WRONG if isinstance(unit, str) else C.HISTORY_INVALID}
    assert verdict.allowed.amount == 0.0
    assert guard(ask(), knows(given=(ran(1, 80, unit="mg"),)), LIMITS).codes == {C.HISTORY_UNIT_WRONG}
    assert guard(ask(), knows(given=(gave(900, 99, unit="g"),)), LIMITS).codes == {C.HISTORY_UNIT_WRONG}


@pytest.mark.parametrize("entry", [gave(-1e-9, 80), gave(5, 80, -1e-9)])
def test_negative_history_is_refused(entry):
    assert guard(ask(), knows(given=(entry,)), LIMITS).codes == {C.HISTORY_INVALID}


@pytest.mark.parametrize("unit", ["g", "mg/min", ""])
def test_totals_of_the_past_are_in_the_unit_of_the_table(unit):
    assert guard(ask(20.0), knows(given=(added(5, 80, unit=unit),)), LIMITS).codes == {C.HISTORY_UNIT_WRONG}


def test_history_of_rates_needs_a_table_with_rates():
    limits = table(actions=(dose_limits(),))
    assert guard(ask(), knows(given=(ran(1, 80),)), limits).codes == {C.HISTORY_UNIT_WRONG}
    assert limits.rate_unit is None
    assert LIMITS.rate_unit == "mg/min"


def test_totals_count_what_cannot_be_dated_right():
    """A dose with an impossible time was given all the same."""
    verdict = guard(ask(), knows(given=(gave(240, 101),)), LIMITS)
    assert C.ROLLING_MAX in verdict.codes


def test_every_reason_is_listed_in_order():
    context = knows(
        weight=200.0,
        record_time=101.0,
        given=(gave(240, 97), gave(1, NAN), gave(1, 5, unit="g"), gave(1, 102)),
        measurements=(level(50.0, time=101.0), glucose(60.0, 98.5, quality=60.0, previous=read(300.0, 98.4))),
        predictions=(chance(0.5),),
        projections=(board(0.0, 150.0, 150.0, unit="ug"), pressure(80.0, 40.0, 151.0), None),
    )
    verdict = guard(ask(150.25, duration=5.0), context, LIMITS)
    assert [r.code for r in verdict.reasons] == [
        C.WEIGHT_OUT_OF_RANGE,
        C.RECORD_IN_FUTURE,
        C.HISTORY_INVALID,
        C.HISTORY_UNIT_WRONG,
        C.HISTORY_MISDATED,
        C.MEASUREMENT_STOP,
        C.MEASUREMENT_IN_FUTURE,
        C.HARM_LIKELY,
        C.PREDICTION_UNIT_WRONG,
        C.PREDICTION_INVALID,
        C.DURATION_LONG,
        C.INTERVAL_SHORT,
        C.SINGLE_MAX,
        C.ROLLING_MAX,
        C.ROLLING_MAX,
        C.INCREASE_MAX,
        C.PROJECTION_LOW,
        C.MEASUREMENT_IMPLAUSIBLE,
        C.MEASUREMENT_STALE,
    ]
    assert verdict.allowed.amount == 0.0
    assert verdict.mask == sum(1 << c for c in verdict.codes)


def test_a_table_that_measures_and_predicts_nothing():
    limits = table(measurements=OFF, harms=OFF, projections=OFF)
    bare = {"measurements": (), "predictions": (), "projections": ()}
    assert guard(ask(), knows(**bare), limits).codes == set()
    assert guard(ask(), knows(**bare | {"measurements": (level(),)}), limits).codes == {C.MEASUREMENT_UNKNOWN}
    assert guard(ask(), knows(**bare | {"predictions": (chance(),)}), limits).codes == {C.PREDICTION_UNKNOWN}
    assert guard(ask(), knows(**bare | {"projections": (board(),)}), limits).codes == {C.PREDICTION_UNKNOWN}


def test_limits_that_are_off_stop_nothing():
    limits = table(
        actions=(
            dose_limits(
                maximum=OFF,
                interval_min=OFF,
                increase_factor=OFF,
                unmeasured_max=OFF,
                unpredicted_max=OFF,
                infusion_rate_max=OFF,
                infusion_rate_max_per_kg=OFF,
            ),
        ),
        rolling=(RollingTotal(window=b(24, "h"), total=OFF, total_per_kg=b(20, "mg/kg")),),
        course_total=OFF,
        course_total_per_kg=OFF,
        record_age_max=OFF,
        measurements=(
            MeasurementLimits(
                name="level",
                unit="mg/L",
                low=b(0, "mg/L"),
                high=b(200, "mg/L"),
                age_max=OFF,
                stop_below=OFF,
                stop_above=OFF,
                quality_min=OFF,
                change_max=OFF,
                fall_max=OFF,
                fall_below=OFF,
                stop_age_max=OFF,
            ),
        ),
        projections=(ProjectionLimits(name="on board", unit="mg", low=b(0, "mg"), high=OFF, steepness=b(1, "1")),),
        suspension_max=OFF,
    )
    context = knows(
        given=(gave(5, -1e6), gave(0, 99)),
        record_time=-1e6,
        predictions=(),
        measurements=(),
        projections=(board(1.0, 1e300),),
    )
    asked = ask(1000.0)
    assert guard(asked, context, limits).reasons == ()
    assert guard(asked, replace(context, projections=()), limits).reasons == ()
    before = read(1e9, -1e6 - 1e-5)
    assert guard(asked, replace(context, measurements=(level(0.0, -1e6, previous=before),)), limits).reasons == ()
    verdict = guard(ask(1000.5), context, limits)
    assert verdict.codes == {C.SINGLE_MAX_PER_KG}
    assert verdict.allowed.amount == 1000.0


def test_a_reading_with_none_before_it_has_no_rate():
    row = replace(LIMITS.measured[1], change_max=b(0.5, "mg/dL/min"), fall_max=b(0, "mg/dL/min"), fall_below=OFF)
    limits = table(measurements=(LIMITS.measured[0], row))
    assert guard(ask(), knows(**sugar()), limits).codes == set()
    assert guard(ask(), knows(**changed(100.0, 100.0)), limits).codes == set()
    assert guard(ask(), knows(**changed(100.0, 100.001)), limits).codes == {C.MEASUREMENT_FALLING}


def test_decimal_increments_do_not_lose_a_step():
    """0.3 is three times 0.1, and 0.3 less 0.1 less 0.1 leaves 0.1."""
    action = dose_limits(increment=b(0.1, "mg"), minimum=b(0.1, "mg"), maximum=b(0.3, "mg"), increase_base=b(0.3, "mg"))
    limits = table(actions=(action,), rolling=(RollingTotal(window=b(24, "h"), total=b(0.3, "mg"), total_per_kg=OFF),))
    for asked in (0.1, 0.2, 0.3, 0.1 + 0.1):
        assert guard(ask(asked), knows(), limits).reasons == ()
    assert guard(ask(0.4), knows(), limits).allowed.amount == 0.3
    assert guard(ask(0.1), knows(given=(gave(0.1, 85), gave(0.1, 93))), limits).reasons == ()
    assert guard(ask(0.25), knows(), limits).allowed.amount == 0.2
    two = guard(ask(0.2), knows(given=(gave(0.1, 85), gave(0.1, 93))), limits)
    assert two.allowed.amount == pytest.approx(0.1, abs=1e-15)


def test_small_increments_keep_their_smallest_dose():
    action = dose_limits(increment=b(0.0005, "mg"), minimum=b(0.001, "mg"), interval_min=OFF)
    limits = table(actions=(action,))
    assert guard(ask(0.001), knows(), limits).reasons == ()
    assert guard(ask(0.0005), knows(), limits).codes == {C.MINIMUM}
    assert guard(ask(0.0005), knows(), limits).allowed.amount == 0.0
    over = guard(ask(80.001), knows(weight=8.0), limits)
    assert over.codes == {C.SINGLE_MAX_PER_KG}
    assert over.allowed.amount == 80.0


def test_a_millionth_of_an_increment_counts_as_none():
    limits = table(actions=(dose_limits(increment=b(1.0, "mg")),))
    assert guard(ask(1e-6), knows(), limits).codes == {C.MINIMUM}
    assert guard(ask(up(1e-6)), knows(), limits).codes == {C.INCREMENT, C.MINIMUM}


def test_long_text_is_cut():
    [reason] = guard(ask("0123456789" * 3), knows(), LIMITS).reasons
    assert reason.sentence == "The asked dose is text ('01234567890123456789'), not a number."


def test_infusion_rates_per_hour():
    hourly = {"infusion_rate_max": b(120.0, "mg/h"), "infusion_rate_max_per_kg": b(15.0, "mg/kg/h")}
    limits = table(actions=(dose_limits(**hourly),))
    assert guard(ask(60.5, duration=0.5), knows(), limits).allowed.amount == 60.0
    assert guard(ask(45.5, duration=0.5), knows(weight=6.0), limits).allowed.amount == 45.0


def test_codes_are_stable():
    assert {c.name: c.value for c in Code} == {
        "ACTION_UNKNOWN": 0,
        "UNIT_WRONG": 1,
        "AMOUNT_INVALID": 2,
        "AMOUNT_NEGATIVE": 3,
        "NOW_INVALID": 4,
        "TIME_INVALID": 5,
        "TIME_PAST": 6,
        "TIME_TOO_FAR": 7,
        "DURATION_INVALID": 8,
        "DURATION_SHORT": 9,
        "DURATION_LONG": 10,
        "WEIGHT_INVALID": 11,
        "WEIGHT_UNIT_WRONG": 12,
        "WEIGHT_OUT_OF_RANGE": 13,
        "RECORD_TIME_INVALID": 14,
        "RECORD_IN_FUTURE": 15,
        "RECORD_STALE": 16,
        "HISTORY_INVALID": 17,
        "HISTORY_UNIT_WRONG": 18,
        "HISTORY_MISDATED": 19,
        "INTERVAL_SHORT": 20,
        "MEASUREMENT_INVALID": 21,
        "MEASUREMENT_UNKNOWN": 22,
        "MEASUREMENT_UNIT_WRONG": 23,
        "MEASUREMENT_OUT_OF_RANGE": 24,
        "MEASUREMENT_IN_FUTURE": 25,
        "MEASUREMENT_STOP": 26,
        "PREDICTION_INVALID": 27,
        "PREDICTION_UNKNOWN": 28,
        "HARM_LIKELY": 29,
        "PREDICTION_UNIT_WRONG": 30,
        "MEASUREMENT_FALLING": 31,
        "SINGLE_MAX": 32,
        "SINGLE_MAX_PER_KG": 33,
        "INFUSION_RATE_MAX": 34,
        "INFUSION_RATE_MAX_PER_KG": 35,
        "ROLLING_MAX": 36,
        "ROLLING_MAX_PER_KG": 37,
        "COURSE_MAX": 38,
        "COURSE_MAX_PER_KG": 39,
        "INCREASE_MAX": 40,
        "MEASUREMENT_MISSING": 41,
        "MEASUREMENT_STALE": 42,
        "PREDICTION_MISSING": 43,
        "INCREMENT": 44,
        "MINIMUM": 45,
        "MEASUREMENT_POOR": 46,
        "MEASUREMENT_IMPLAUSIBLE": 47,
        "PROJECTION_HIGH": 48,
        "PROJECTION_LOW": 49,
        "PROJECTION_BEYOND": 50,
        "SUSPENDED_LONG": 60,
    }
    assert [c for c in Code if c.refuses] == [c for c in Code if c.value <= 31]
    assert [c for c in Code if c.notice] == [C.SUSPENDED_LONG]
    assert C.MINIMUM.bit == 2**45


@pytest.mark.parametrize("place", range(3))
def test_arguments_of_another_class_are_a_fault_of_the_program(place):
    arguments = [ask(), knows(), LIMITS]
    arguments[place] = {}
    with pytest.raises(TypeError, match=rf"guard wants {('Asked', 'Context', 'Limits')[place]}, not dict"):
        guard(*arguments)


def test_a_regimen_is_judged_dose_after_dose():
    asked = [ask(90.0, time=100.0 + 8 * i) for i in range(4)]
    verdicts = guard_regimen(asked, knows(given=(gave(60.0, 93.0),)), LIMITS)
    # 60 given; 24 h before 116 the dose of 93 has ended only at 94 and counts, at 124 it does not.
    assert [v.allowed.amount for v in verdicts] == [90.0, 90.0, 10.0, 20.0]
    assert [v.codes for v in verdicts] == [set(), set(), {C.ROLLING_MAX}, {C.INCREASE_MAX, C.ROLLING_MAX}]
    assert guard_regimen([], knows(), LIMITS) == ()
    small = guard_regimen([ask(1.0), ask(1.0, time=101.0)], knows(), LIMITS)
    assert [v.allowed.amount for v in small] == [1.0, 0.0]


def test_a_refused_dose_of_a_regimen_is_not_planned():
    asked = [ask(50.0, time=103.0), ask(50.0, time=106.0), ask(50.0, time=105.0)]
    verdicts = guard_regimen(asked, knows(given=(gave(50.0, 99.0),)), LIMITS)
    assert [v.allowed.amount for v in verdicts] == [0.0, 50.0, 0.0]
    assert [v.codes for v in verdicts] == [{C.INTERVAL_SHORT}, set(), {C.INTERVAL_SHORT, C.HISTORY_MISDATED}]
