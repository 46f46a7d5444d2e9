"""A table with every rule, streams of hostile decisions, and the plain guard beside the gate."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from doseloop.safety import (
    Asked,
    Bound,
    Context,
    DoseLimits,
    Given,
    Kind,
    Limits,
    Measurement,
    MeasurementLimits,
    OwnLimits,
    ProjectionLimits,
    RateLimits,
    Reading,
    RollingTotal,
    SafeAction,
    Unlimited,
    WeightRange,
    guard,
)
from doseloop.safety.asked import Projection
from doseloop.therapies import gate_loop as g
from doseloop.therapies.closed_loop import Actuator, Measured
from doseloop.therapies.gate_code import READING
from doseloop.therapies.lane_monitor import LaneMonitor

OFF = Unlimited("not limited in this test")


def b(value, unit):
    return Bound(value, unit, "typed in this test")


def dose(**changes):
    fields = {
        "route": "iv",
        "unit": "mg",
        "increment": b(0.5, "mg"),
        "minimum": b(1.0, "mg"),
        "maximum": b(100.0, "mg"),
        "maximum_per_kg": b(1.0, "mg/kg"),
        "duration_min": b(0.0, "h"),
        "duration_max": b(1.0, "h"),
        "interval_min": b(0.12, "h"),
        "increase_factor": b(2.0, "1"),
        "increase_base": b(10.0, "mg"),
        "unmeasured_max": b(40.0, "mg"),
        "unpredicted_max": b(30.0, "mg"),
        "infusion_rate_max": b(2000.0, "mg/min"),
        "infusion_rate_max_per_kg": b(25.0, "mg/kg/min"),
    }
    return DoseLimits(**(fields | changes))


def rate(**changes):
    fields = {
        "route": "iv",
        "unit": "mg/min",
        "increment": b(0.0625, "mg/min"),
        "minimum": b(0.125, "mg/min"),
        "maximum": b(3.0, "mg/min"),
        "maximum_per_kg": b(0.05, "mg/kg/min"),
        "duration_min": b(0.05, "h"),
        "duration_max": b(2.0, "h"),
        "interval_min": OFF,
        "increase_factor": b(1.5, "1"),
        "increase_base": b(0.25, "mg/min"),
        "unmeasured_max": b(0.375, "mg/min"),
        "unpredicted_max": OFF,
    }
    return RateLimits(**(fields | changes))


def reading(**changes):
    fields = {
        "name": "level",
        "unit": "mg/L",
        "low": b(0.0, "mg/L"),
        "high": b(200.0, "mg/L"),
        "age_max": b(0.25, "h"),
        "stop_below": b(20.0, "mg/L"),
        "stop_above": b(160.0, "mg/L"),
        "quality_min": b(50.0, "%"),
        "change_max": b(8.0, "mg/L/min"),
        "fall_max": b(3.0, "mg/L/min"),
        "fall_below": b(110.0, "mg/L"),
        "stop_age_max": b(0.4, "h"),
    }
    return MeasurementLimits(**(fields | changes))


def table(**changes):
    fields = {
        "therapy": "testdrug",
        "unit": "mg",
        "actions": (dose(), rate()),
        "rolling": (
            RollingTotal(window=b(24.0, "h"), total=b(250.0, "mg"), total_per_kg=b(4.0, "mg/kg")),
            RollingTotal(window=b(2.0, "h"), total=b(120.0, "mg"), total_per_kg=OFF),
        ),
        "course_total": b(600.0, "mg"),
        "course_total_per_kg": b(9.0, "mg/kg"),
        "weight": WeightRange(low=b(20.0, "kg"), high=b(150.0, "kg")),
        "measurements": (
            reading(),
            reading(
                name="other",
                quality_min=OFF,
                change_max=OFF,
                fall_max=OFF,
                fall_below=OFF,
                stop_above=OFF,
                age_max=b(1.0, "h"),
                stop_age_max=b(1.0, "h"),
                stop_below=OFF,
            ),
        ),
        "harms": OFF,
        "projections": (
            ProjectionLimits(name="on board", unit="mg", low=OFF, high=b(60.0, "mg"), steepness=b(1.0, "1")),
            ProjectionLimits(
                name="pressure", unit="mmHg", low=b(60.0, "mmHg"), high=b(110.0, "mmHg"), steepness=b(2.0, "1")
            ),
        ),
        "suspension_max": b(0.3, "h"),
        "record_age_max": b(72.0, "h"),
        "ahead_max": b(120.0, "h"),
        "safe_action": SafeAction(sentence="Give no dose now.", source="test"),
    }
    return Limits(**(fields | changes))


class Oracle:
    """Projections out of a hat: nothing true about them."""

    def __init__(self, n, quantities, seed):
        self.rng, self.n, self.quantities = np.random.default_rng(seed), n, quantities

    def see(self, *_):
        pass

    def given(self, *_):
        pass

    def project(self, column, asked, allowed, pending):
        rng, shape = self.rng, (self.n, self.quantities)
        nothing = rng.choice([0.0, 30.0, 59.0, 65.0, 80.0, 109.0, 150.0, np.nan, np.inf, -1.7e308], shape)
        given = nothing + rng.choice([0.0, 1.0, -1.0, 40.0, -40.0], shape)
        given = np.where(rng.random(shape) < 0.3, np.where(nothing < 0, -nothing, given), given)
        return nothing, np.where(rng.random(shape) < 0.03, np.nan, given)


def synthetic(limits, interval=6.0):
    """A therapy of a dose and a rate of one drug, and what is known of its patients."""
    own = lambda n: OwnLimits(maximum=np.full(n, np.inf), total=np.full((n, 2), np.inf))  # noqa: E731
    return SimpleNamespace(
        id="test",
        interval=interval,
        actuators=(
            Actuator("rate", "iv", Kind.RATE, "mg/min", 1.0),
            Actuator("dose", "iv", Kind.DOSE, "mg", 1.0),
        ),
        measured=(Measured("level"), Measured("other", "pressure", "clock", None)),
        limits_of_many=lambda known: {
            "iv": (limits, {kind: own(len(known["weight"])) for kind in (Kind.DOSE, Kind.RATE)})
        },
        monitor=lambda known, n, step: Oracle(n, len(limits.projected), 5),
    )


def entries(gate, route, i, limits):
    """What stands in a patient's record, in the order in which it is added up."""
    layout, rows = gate._layout, gate._arrays["GATE"][i // 8, :, i % 8]
    place, found = layout.places[route], []
    for k in range(place.count):
        amount, end = (rows[place.slots + q * place.count + k] for q in range(2))
        if end != g.EMPTY:  # when it began says nothing to the guard, as long as it is over
            found.append(Given(kind=Kind.TOTAL, amount=amount, unit=limits.unit, time=end, duration=0.0))
    for kind, n in place.newest.items():
        unit = limits.rate_unit if kind is Kind.RATE else limits.unit
        length = gate.interval / 60 if kind is Kind.RATE else 0.0
        amount, begin, zero = rows[n + g.N_AMOUNT], rows[n + g.N_BEGIN], rows[n + g.N_ZERO]
        if begin != g.EMPTY:
            found.append(Given(kind=kind, amount=amount, unit=unit, time=begin, duration=length))
        if zero != g.EMPTY:
            found.append(Given(kind=kind, amount=0.0, unit=unit, time=zero, duration=length))
    return tuple(found)


def measurements(gate, i, limits, names):
    found = []
    for row in limits.measured:
        first = gate._layout.readings + READING * names.index(row.name)
        seen, value, stamp, had, before, past, quality = gate._arrays["GATE"][i // 8, first : first + READING, i % 8]
        if seen:
            previous = Reading(value=before, time=past) if had else None
            found.append(
                Measurement(name=row.name, value=value, unit=row.unit, time=stamp, quality=quality, previous=previous)
            )
    return tuple(found)


def same_as_guard(gate, seen, asked, tables_of, weight, lanes):
    """Judge, and judge each of these lanes by the plain guard; how many reasons were found."""
    t, reasons = gate.therapy, set()
    allowed, masks = gate.judge(seen, asked)
    projected = getattr(gate.monitor, "kept", None)
    for i in lanes:
        for j, a in enumerate(t.actuators):
            limits = tables_of(i)[a.route]
            now = seen.clock[i] / 60
            length = gate.interval / 60 if a.kind is Kind.RATE else 1 / 3600
            amount = float(asked[i, j])
            meant = min(max(amount if math.isfinite(amount) else 0.0, 0.0), 1e6)
            if projected is not None:
                nothing, given = (v[i] for v in projected[j])
            else:
                whole = np.clip(np.where(np.isfinite(asked[:, j]), asked[:, j], 0.0), 0.0, 1e6)
                nothing, given = (v[i] for v in gate.monitor.project(j, whole, allowed, seen.pending))
            projections = tuple(
                Projection(name=row.name, unit=row.unit, amount=meant, if_nothing=float(x), if_given=float(y))
                for row, x, y in zip(limits.projected, nothing, given)
                if math.isfinite(x) and math.isfinite(y)
            )
            planned = tuple(
                Given(
                    kind=o.kind,
                    amount=allowed[i, k],
                    unit=o.unit,
                    time=now,
                    duration=gate.interval / 60 if o.kind is Kind.RATE else 1 / 3600,
                )
                for k, o in enumerate(t.actuators[:j])
                if o.route == a.route
            )
            verdict = guard(
                Asked(kind=a.kind, route=a.route, amount=amount, unit=a.unit, time=now, duration=length),
                Context(
                    now=now,
                    weight=float(weight[i]),
                    weight_unit="kg",
                    given=entries(gate, a.route, i, limits),
                    planned=planned,
                    measurements=measurements(gate, i, limits, [m.name for m in t.measured]),
                    predictions=(),
                    projections=projections,
                    record_time=now,
                ),
                limits,
            )
            assert int(masks[i, j]) == verdict.mask, (verdict.codes, i, j, seen.clock[i])
            assert float(allowed[i, j]).hex() == float(verdict.allowed.amount).hex(), (verdict, i, j)
            reasons |= verdict.codes
    return allowed, reasons


def stream(rng, n, k, interval, delivered, pending, level, spread):
    """What is seen at decision k: mostly a plausible course, sometimes not."""
    clock = np.full(n, k * interval)
    value = level + rng.normal(0, spread, n)
    odd = rng.random(n) < 0.2
    value[odd] = rng.choice([np.nan, np.inf, -5.0, 5.0, 69.0, 70.0, 300.0, 1e9], odd.sum())
    if k % 60 > 50:
        value[:] = np.nan
    stamp = clock.copy()
    odd = rng.random(n) < 0.2
    stamp[odd] += rng.choice([-90.0, -20.0, -5.0, 5.0, 1e-5, np.nan], odd.sum())
    return SimpleNamespace(
        time=k * interval,
        clock=clock,
        reading=value,
        reading_time=stamp,
        quality=rng.choice([100.0, 60.0, 50.0, 49.0, np.nan, 101.0], n, p=[0.6, 0.1, 0.1, 0.1, 0.05, 0.05]),
        announced=rng.choice([0.0, 0.0, 40.0], n),
        delivered=delivered,
        pending=pending,
        pressure=np.where(rng.random(n) < 0.7, 80.0 + rng.normal(0, 10, n), np.nan),
    )


def course(gate, tables_of, weight, scale, decisions, seed, level, spread, check=1):
    rng, n = np.random.default_rng(seed), gate.n
    a, reasons = len(gate.therapy.actuators), set()
    delivered, pending = np.zeros((n, a)), np.zeros((n, a))
    if not isinstance(gate.monitor, LaneMonitor):
        project, gate.monitor.kept = gate.monitor.project, {}

        def kept(column, *rest):
            gate.monitor.kept[column] = project(column, *rest)
            return gate.monitor.kept[column]

        gate.monitor.project = kept
    for k in range(decisions):
        seen = stream(rng, n, k, gate.interval, delivered, pending, level, spread)
        asked = np.abs(rng.normal(0, 1, (n, a))) * scale * rng.choice([0.0, 0.3, 1.0, 4.0], (n, a))
        odd = rng.random((n, a)) < 0.05
        asked[odd] = rng.choice([np.nan, np.inf, -np.inf, -1.0, -0.0, 1e9, 5e-324], odd.sum())
        lanes = range(n) if k % check == 0 else ()
        allowed, found = same_as_guard(gate, seen, asked, tables_of, weight, lanes)
        reasons |= found
        delivered = allowed * rng.choice([1.0, 1.0, 1.0, 0.5, 0.0], (n, a))
        broken = rng.random((n, a)) < (0.002 if k > decisions // 2 else 0.0)
        delivered = np.where(broken, rng.choice([np.nan, -1.0, np.inf], (n, a)), delivered)
        pending = np.where(rng.random((n, a)) < 0.2, 0.3 * scale, 0.0)
    return {c.name for c in reasons}
