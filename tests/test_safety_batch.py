"""The compiled guard gives the bits of the plain one: on the edge table and on whatever hypothesis finds."""

import importlib.util
import math
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from doseloop.safety import Batch, Code, Kind, RollingTotal, guard, guard_batch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

spec = importlib.util.spec_from_file_location("safety_edges", Path(__file__).with_name("test_safety_edges.py"))
edges = importlib.util.module_from_spec(spec)
spec.loader.exec_module(edges)
LIMITS = edges.LIMITS
OFF = edges.OFF


def grid(rows, width, fill, dtype=float):
    array = np.full((len(rows), width), fill, dtype=dtype)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array


def batch_of(requests, limits):
    """Requests and contexts of one kind, route and set of units, as arrays."""
    asked, contexts = [r[0] for r in requests], [r[1] for r in requests]
    entries = [[(e, False) for e in c.given] + [(e, True) for e in c.planned] for c in contexts]
    k = max(len(e) for e in entries)
    by_name = [{m.name: m for m in c.measurements} for c in contexts]
    by_harm = [{p.harm: p.probability for p in c.predictions} for c in contexts]
    names = [row.name for row in limits.measured]
    harms = [row.name for row in limits.predicted]
    units = dict(zip(names, (row.unit for row in limits.measured)))
    for readings in by_name:
        units |= {m.name: m.unit for m in readings.values()}
    by_quantity = [{p.name: p for p in c.projections} for c in contexts]
    quantities = [row.name for row in limits.projected]
    projection_units = dict(zip(quantities, (row.unit for row in limits.projected)))
    for projections in by_quantity:
        projection_units |= {p.name: p.unit for p in projections.values()}
    nan, n = math.nan, len(requests)

    def columns(rows, names, value, fill=nan, dtype=float):
        return np.array([[value(r[x]) if x in r else fill for x in names] for r in rows], dtype=dtype).reshape(
            n, len(names)
        )

    return Batch(
        kind=asked[0].kind,
        route=asked[0].route,
        unit=asked[0].unit,
        weight_unit=contexts[0].weight_unit,
        measurement_units=tuple(units[name] for name in names),
        projection_units=tuple(projection_units[name] for name in quantities),
        amount=np.array([a.amount for a in asked], dtype=float),
        time=np.array([a.time for a in asked], dtype=float),
        duration=np.array([a.duration for a in asked], dtype=float),
        now=np.array([c.now for c in contexts], dtype=float),
        weight=np.array([c.weight for c in contexts], dtype=float),
        record_time=np.array([c.record_time for c in contexts], dtype=float),
        given_count=np.array([len(e) for e in entries]),
        given_amount=grid([[e.amount for e, _ in row] for row in entries], k, nan),
        given_time=grid([[e.time for e, _ in row] for row in entries], k, nan),
        given_duration=grid([[e.duration for e, _ in row] for row in entries], k, nan),
        given_rate=grid([[e.kind is Kind.RATE for e, _ in row] for row in entries], k, False, bool),
        given_total=grid([[e.kind is Kind.TOTAL for e, _ in row] for row in entries], k, False, bool),
        given_planned=grid([[planned for _, planned in row] for row in entries], k, False, bool),
        measured=columns(by_name, names, lambda m: True, False, bool),
        measurement=columns(by_name, names, lambda m: m.value),
        measurement_time=columns(by_name, names, lambda m: m.time),
        quality=columns(by_name, names, lambda m: nan if m.quality is None else m.quality),
        has_previous=columns(by_name, names, lambda m: m.previous is not None, False, bool),
        previous=columns(by_name, names, lambda m: m.previous.value if m.previous else nan),
        previous_time=columns(by_name, names, lambda m: m.previous.time if m.previous else nan),
        predicted=columns(by_harm, harms, lambda p: True, False, bool),
        probability=columns(by_harm, harms, lambda p: p),
        projected=columns(by_quantity, quantities, lambda p: True, False, bool),
        projected_amount=columns(by_quantity, quantities, lambda p: p.amount),
        if_nothing=columns(by_quantity, quantities, lambda p: p.if_nothing),
        if_given=columns(by_quantity, quantities, lambda p: p.if_given),
        own=None,
    )


def codes(mask):
    return {code.name for code in Code if mask & code.bit}


def same(requests, limits):
    allowed, masks = guard_batch(batch_of(requests, limits), limits)
    assert allowed.dtype == np.float64
    assert masks.dtype == np.int64
    for i, (asked, context) in enumerate(requests):
        verdict = guard(asked, context, limits)
        assert codes(int(masks[i])) == {c.name for c in verdict.codes}, (asked, context)
        assert int(masks[i]) == verdict.mask
        assert float(allowed[i]).hex() == float(verdict.allowed.amount).hex(), (asked, context)


def groups(requests):
    """Requests that fit one batch: a kind, a route, and units."""
    found = defaultdict(list)
    for asked, context in requests:
        units = tuple(sorted((m.name, m.unit) for m in context.measurements if m.unit in ("ug/mL", "mmol/L")))
        units += tuple(sorted((p.name, p.unit) for p in context.projections if p.unit in ("ug", "kPa")))
        found[asked.kind, asked.route, asked.unit, context.weight_unit, units].append((asked, context))
    return list(found.values())


EDGES = [(asked, context) for _, asked, context, _, _ in edges.CASES]
BAD = [edges.NAN, edges.INF, -edges.INF]
BAD_NUMBERS = [make(bad) for make, _, _ in edges.NUMBERS.values() for bad in BAD]


def test_edge_table():
    batches = groups(EDGES)
    assert sum(len(g) for g in batches) == len(edges.CASES)
    assert len(batches) > 5
    for requests in batches:
        same(requests, LIMITS)


def test_edge_table_with_other_limits():
    """The same requests where some limits are off, and where there are no rates."""
    for requests in groups([(a, c) for a, c in EDGES if a.kind is Kind.DOSE]):
        same(requests, NO_RATES)
    for limits in (LOOSE, replace(LOOSE, rolling=NO_RATES.rolling)):
        for requests in groups([(hourly(a), bare(c)) for a, c in EDGES]):
            same(requests, limits)


def hourly(one):
    return replace(one, unit="mg/h") if one.unit == "mg/min" else one


def bare(context):
    given, planned = (tuple(map(hourly, entries)) for entries in (context.given, context.planned))
    return replace(context, given=given, planned=planned, measurements=(), predictions=(), projections=())


def test_nan_and_inf_everywhere():
    for requests in groups(BAD_NUMBERS):
        same(requests, LIMITS)


def test_alone_as_in_the_batch():
    requests = max(groups(EDGES), key=len)
    allowed, masks = guard_batch(batch_of(requests, LIMITS), LIMITS)
    for i, request in enumerate(requests):
        one, mask = guard_batch(batch_of([request], LIMITS), LIMITS)
        assert one.tobytes() == allowed[i : i + 1].tobytes()
        assert mask[0] == masks[i]


NO_RATES = edges.table(actions=(edges.dose_limits(), edges.dose_limits(route="oral")))
LOOSE = edges.table(
    actions=(
        edges.dose_limits(
            increment=edges.b(0.1, "mg"),
            minimum=edges.b(0.1, "mg"),
            maximum=OFF,
            interval_min=OFF,
            increase_factor=OFF,
            unmeasured_max=OFF,
            unpredicted_max=OFF,
            infusion_rate_max=OFF,
            infusion_rate_max_per_kg=OFF,
        ),
        edges.rate_limits(
            unit="mg/h",
            increment=edges.b(0.1, "mg/h"),
            minimum=edges.b(0.1, "mg/h"),
            maximum=OFF,
            maximum_per_kg=edges.b(3, "mg/kg/h"),
            interval_min=edges.b(0.1, "h"),
            increase_base=edges.b(0.7, "mg/h"),
            unmeasured_max=edges.b(5, "mg/h"),
        ),
    ),
    rolling=(RollingTotal(window=edges.b(24, "h"), total=OFF, total_per_kg=edges.b(2.1, "mg/kg")),),
    course_total=OFF,
    record_age_max=OFF,
    measurements=OFF,
    harms=OFF,
    projections=OFF,
    suspension_max=OFF,
)


def near(*values):
    """The values, a hair and a bit to either side, and anything else a float can be."""
    around = [f(v) for v in values for f in (float, edges.up, edges.down, lambda v: v + 0.5, lambda v: v - 1e-6)]
    return st.one_of(st.sampled_from(around), st.floats(), st.floats(0, 300), st.sampled_from([0.0, -0.0, *BAD]))


def maybe(element):
    return st.one_of(st.tuples(element), st.tuples(element), st.just(()))


def entries(time, rate_unit):
    doses = st.builds(edges.gave, near(5, 20, 50, 250), time, near(0, 0.5, 1))
    rates = st.builds(lambda r, t, d: edges.ran(r, t, d, unit=rate_unit), near(0, 1, 1.5), time, near(0, 0.5, 1, 24))
    totals = st.builds(edges.added, near(5, 20, 250), time, near(0, 1, 24))
    return st.lists(st.one_of(doses, rates, totals), max_size=5).map(tuple)


def request(limits, kind):
    rate_unit = limits.rate_unit or "mg/min"
    make = {
        Kind.DOSE: st.builds(
            lambda a, t, d: edges.ask(a, time=t, duration=d),
            near(0.5, 1, 20, 40, 50, 60, 80, 100),
            near(100, 106, 220),
            near(0, 0.25, 0.5, 1, 4),
        ),
        Kind.RATE: st.builds(
            lambda a, t, d: edges.ask_rate(a, time=t, duration=d, unit=rate_unit),
            near(0.0625, 0.125, 0.375, 1, 1.5, 3),
            near(100, 106, 220),
            near(0, 0.05, 1, 2),
        ),
    }[kind]
    measured, predicted = bool(limits.measured), bool(limits.predicted)
    projected = bool(limits.projected)
    before = st.one_of(st.none(), st.builds(edges.read, near(60, 100, 140), near(99.5, 99.8, 99.9)))
    levels = maybe(st.builds(edges.level, near(0, 10, 40, 200), near(52, 99, 100)))
    sugars = maybe(
        st.builds(
            lambda value, time, quality, previous: edges.glucose(value, time, quality=quality, previous=previous),
            near(20, 70, 100, 110, 600),
            near(99, 99.75, 99.9, 100),
            st.one_of(st.just(100.0), near(0, 50, 100)),
            before,
        )
    )
    boards = maybe(st.builds(edges.board, near(0, 60, 80), near(0, 60, 80, 120), near(0, 20, 50)))
    pressures = maybe(st.builds(edges.pressure, near(50, 60, 80, 110), near(40, 60, 80, 110), near(0, 20, 50)))
    return st.tuples(
        make,
        st.builds(
            lambda now, weight, record, given, planned, level, sugar, chance, board, pressure: edges.knows(
                now=now,
                weight=weight,
                record_time=record,
                given=given,
                planned=planned,
                measurements=(level + sugar) if measured else (),
                predictions=chance if predicted else (),
                projections=(board + pressure) if projected else (),
            ),
            st.one_of(st.just(100.0), near(100)),
            near(0.5, 8, 100, 150),
            near(28, 99, 100),
            entries(near(0, 75, 76, 94, 98, 100), rate_unit),
            entries(near(100, 101, 106), rate_unit),
            levels,
            sugars,
            maybe(st.builds(edges.chance, near(0, 0.05, 0.1, 1))),
            boards,
            pressures,
        ),
    )


@pytest.mark.parametrize("limits", [LIMITS, NO_RATES, LOOSE], ids=["full", "no rates", "loose"])
@pytest.mark.parametrize("kind", [Kind.DOSE, Kind.RATE])
def test_whatever_hypothesis_finds(limits, kind):
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(request(limits, kind), min_size=1, max_size=8))
    @example([(edges.ask(-0.0, time=math.nan), edges.knows(measurements=(), predictions=(), projections=()))])
    def check(requests):
        for group in groups(requests):
            same(group, limits)

    check()


def test_units_of_the_batch():
    requests = [(edges.ask(), edges.knows())]
    batch = batch_of(requests, LIMITS)
    for changes, code in [
        ({"unit": "g"}, Code.UNIT_WRONG),
        ({"route": "im"}, Code.ACTION_UNKNOWN),
        ({"weight_unit": "g"}, Code.WEIGHT_UNIT_WRONG),
        ({"measurement_units": ("mg/L", "mmol/L")}, Code.MEASUREMENT_UNIT_WRONG),
    ]:
        allowed, masks = guard_batch(replace(batch, **changes), LIMITS)
        assert allowed.tolist() == [0.0]
        assert masks.tolist() == [code.bit]


def test_integers_and_32_bit_floats_are_numbers():
    batch = batch_of([(edges.ask(), edges.knows())], LIMITS)
    batch = replace(
        batch, amount=np.array([50]), weight=np.array([100], dtype=np.float32), given_count=np.zeros(1, "u1")
    )
    allowed, masks = guard_batch(batch, LIMITS)
    assert allowed.tolist() == [50.0]
    assert masks.tolist() == [0]


def test_entries_past_the_count_are_not_read():
    batch = batch_of([(edges.ask(), edges.knows(given=(edges.gave(250, 90),)))], LIMITS)
    assert guard_batch(batch, LIMITS)[0].tolist() == [0.0]
    assert guard_batch(replace(batch, given_count=np.zeros(1, dtype=int)), LIMITS)[0].tolist() == [50.0]


def test_an_empty_batch():
    batch = batch_of([(edges.ask(), edges.knows())], LIMITS)
    none = {f.name: getattr(batch, f.name)[:0] for f in fields(batch) if isinstance(getattr(batch, f.name), np.ndarray)}
    allowed, masks = guard_batch(replace(batch, **none), LIMITS)
    assert allowed.shape == masks.shape == (0,)


BOOLS = ("given_rate", "given_planned", "given_total")


def test_arrays_that_do_not_fit_are_all_listed():
    batch = batch_of([(edges.ask(), edges.knows(given=(edges.gave(5, 80),)))] * 2, LIMITS)
    wrong = replace(
        batch,
        amount=np.array(["50", "50"]),
        weight=np.array([100.0]),
        now=np.array([True, True]),
        time=np.array([None, 100.0]),
        given_time=np.zeros(2),
        given_rate=np.zeros((2, 1)),
        measurement=np.zeros((2, 3)),
        probability=np.zeros((2, 1, 1)),
        given_count=np.array([0, 2]),
        measurement_units=("mg/L",),
    )
    with pytest.raises(ValueError, match="amount") as caught:
        guard_batch(wrong, LIMITS)
    assert str(caught.value).splitlines() == [
        "amount: dtype <U2 where float64 is meant",
        "time: dtype object where float64 is meant",
        "now: dtype bool where float64 is meant",
        "weight: shape (1,) where (n=2) is meant",
        "given_time: shape (2,) where (n=2, k=1) is meant",
        "measurement: shape (2, 3) where (n=2, m=2) is meant",
        "probability: shape (2, 1, 1) where (n=2, h=1) is meant",
        "given_rate: dtype float64 where bool is meant",
        "given_count: outside 0 to 1",
        "measurement_units: 1 where 2 are meant",
    ]
    for count in (-1, 2):
        with pytest.raises(ValueError, match=r"^given_count: outside 0 to 1$"):
            guard_batch(replace(batch, given_count=np.array([1, count])), LIMITS)
    with pytest.raises(ValueError, match=r"^given_count: dtype float64 where int64 is meant$"):
        guard_batch(replace(batch, given_count=np.zeros(2)), LIMITS)
    flat = {
        f.name: np.array(0.0)
        for f in fields(batch)
        if f.name.startswith("given_") and f.name[6:] in ("amount", "time", "duration")
    }
    with pytest.raises(ValueError, match=r"given_amount: shape \(\) where \(n=2, k\) is meant"):
        guard_batch(replace(batch, **flat, **dict.fromkeys(BOOLS, np.array(True))), LIMITS)


def test_arguments_of_another_class_are_a_fault_of_the_program():
    batch = batch_of([(edges.ask(), edges.knows())], LIMITS)
    with pytest.raises(TypeError, match="guard_batch wants Batch and Limits, not dict and Limits"):
        guard_batch({}, LIMITS)
    with pytest.raises(TypeError, match="guard_batch wants Batch and Limits, not Batch and dict"):
        guard_batch(batch, {})
