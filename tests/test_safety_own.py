"""The own limits of single patients in a batch: they only tighten, and they are as a table of the patient's own."""

import importlib.util
from dataclasses import fields, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from doseloop.safety import (
    Batch,
    Code,
    Given,
    Kind,
    Ledger,
    LimitsError,
    OwnLimits,
    RollingTotal,
    guard,
    guard_batch,
)

spec = importlib.util.spec_from_file_location("safety_edges", Path(__file__).with_name("test_safety_edges.py"))
edges = importlib.util.module_from_spec(spec)
spec.loader.exec_module(edges)
NAN, INF, LIMITS = edges.NAN, edges.INF, edges.LIMITS
b = edges.b


def batch(n, ledger=None, kind=Kind.DOSE, amount=50.0, time=100.0, limits=LIMITS, **changes):
    full = {
        "amount": amount, "time": time, "duration": 1.0, "now": time, "weight": 100.0, "record_time": time,
    }  # fmt: skip
    m, h, f = len(limits.measured), len(limits.predicted), len(limits.projected)
    history = (ledger or Ledger(n, limits, 1.0)).fields()
    return Batch(
        kind=kind,
        route="iv",
        unit="mg" if kind is Kind.DOSE else "mg/min",
        weight_unit="kg",
        measurement_units=tuple(row.unit for row in limits.measured),
        projection_units=tuple(row.unit for row in limits.projected),
        **{name: np.broadcast_to(np.asarray(value, dtype=float), n) for name, value in full.items()},
        **history,
        **{
            "measured": np.ones((n, m), dtype=bool),
            "measurement": np.tile([10.0, 100.0][:m], (n, 1)),
            "measurement_time": np.full((n, m), time),
            "quality": np.full((n, m), 100.0),
            "has_previous": np.zeros((n, m), dtype=bool),
            "previous": np.zeros((n, m)),
            "previous_time": np.zeros((n, m)),
            "predicted": np.ones((n, h), dtype=bool),
            "probability": np.zeros((n, h)),
            "projected": np.ones((n, f), dtype=bool),
            "projected_amount": np.full((n, f), 1e6),
            "if_nothing": np.tile([0.0, 80.0][:f], (n, 1)),
            "if_given": np.tile([0.0, 80.0][:f], (n, 1)),
            "own": None,
            **changes,
        },
    )


NONE = np.zeros((3, 2), dtype=bool)


def judged(own, **changes):
    allowed, masks = guard_batch(batch(3, own=own, **changes), LIMITS)
    return allowed.tolist(), [{code.name for code in Code if int(m) & code.bit} for m in masks]


@pytest.mark.parametrize(
    ("own", "changes", "code"),
    [
        ({"maximum": [30, 30.5, INF]}, {}, "SINGLE_MAX"),
        ({"unmeasured_max": [30, 30.5, INF]}, {"amount": 39.5, "measured": NONE}, "MEASUREMENT_MISSING"),
        ({"unpredicted_max": [20, 20.5, INF]}, {"amount": 29.5, "predicted": NONE[:, :1]}, "PREDICTION_MISSING"),
        ({"total": [[30, INF], [INF, 30.5], [INF, INF]]}, {}, "ROLLING_MAX"),
    ],
)
def test_an_own_limit_holds_where_it_is_the_lower(own, changes, code):
    first, second = (30.0, 30.5) if code != "PREDICTION_MISSING" else (20.0, 20.5)
    amount = changes.get("amount", 50.0)
    assert judged(OwnLimits(**{k: np.array(v) for k, v in own.items()}), **changes) == (
        [first, second, amount],
        [{code}, {code}, set()],
    )


def test_an_own_bound_on_a_projection():
    own = OwnLimits(high=np.array([[40.0, INF], [INF, 90.0], [INF, INF]]))
    projected = {"projected_amount": np.full((3, 2), 60.0), "if_given": np.tile([60.0, 110.0], (3, 1))}
    # 40 of 60 on board; 10 of 30 mmHg, on a line drawn twice as steep.
    assert judged(own, amount=60.0, **projected) == (
        [40.0, 10.0, 60.0],
        [{"PROJECTION_HIGH"}, {"PROJECTION_HIGH"}, set()],
    )


@pytest.mark.parametrize("huge", [1e9, INF])
def test_an_own_limit_never_loosens_the_tables(huge):
    own = OwnLimits(
        maximum=np.full(3, huge),
        unmeasured_max=np.full(3, huge),
        unpredicted_max=np.full(3, huge),
        total=np.full((3, 2), huge),
        high=np.full((3, 2), huge),
    )
    for changes in (
        {"amount": 200.0},
        {"measured": np.zeros((3, 2), dtype=bool)},
        {"projected": np.zeros((3, 2), dtype=bool)},
        {"if_given": np.full((3, 2), 1e8)},
    ):
        assert judged(own, **changes) == judged(None, **changes)
        assert judged(own, **changes)[1][0]


def test_own_limits_of_0():
    zero = np.zeros(3)
    for own in (OwnLimits(maximum=zero), OwnLimits(total=np.zeros((3, 2)))):
        assert judged(own)[0] == [0.0] * 3


def test_own_limits_are_as_a_table_of_the_patients_own():
    own = OwnLimits(
        maximum=np.array([45.0, 33.3]),
        unmeasured_max=np.array([11.0, 22.0]),
        unpredicted_max=np.array([13.0, 9.0]),
        total=np.array([[100.0, 50.0], [70.0, 90.0]]),
        high=np.array([[33.0, 100.0], [44.0, 95.0]]),
    )
    given = [Given(kind=Kind.DOSE, amount=40.0, unit="mg", time=90.0, duration=1.0)]
    ledger = Ledger(2, LIMITS, 1.0)
    ledger.record(Kind.DOSE, 40.0, 90.0, 1.0)
    for i in range(2):
        action = replace(
            LIMITS.actions[0],
            maximum=b(own.maximum[i], "mg"),
            unmeasured_max=b(own.unmeasured_max[i], "mg"),
            unpredicted_max=b(own.unpredicted_max[i], "mg"),
        )
        rolling = tuple(
            RollingTotal(window=r.window, total=b(own.total[i, j], "mg"), total_per_kg=r.total_per_kg)
            for j, r in enumerate(LIMITS.rolling)
        )
        projections = tuple(replace(p, high=b(own.high[i, j], p.unit)) for j, p in enumerate(LIMITS.projected))
        limits = replace(LIMITS, actions=(action, *LIMITS.actions[1:]), rolling=rolling, projections=projections)
        for amount in np.arange(0.5, 60, 1.7):
            for seen, foreseen in ((True, True), (False, True), (True, False)):
                context = edges.knows(
                    given=tuple(given),
                    measurements=(edges.level(), edges.glucose()) if seen else (),
                    predictions=(edges.chance(0.0),) if foreseen else (),
                    projections=(edges.board(10, 70, 60), edges.pressure(80, 120, 60)),
                    record_time=100.0,
                )
                verdict = guard(edges.ask(float(amount)), context, limits)
                allowed, masks = guard_batch(
                    batch(
                        2, ledger, amount=amount, own=own, measured=np.full((2, 2), seen),
                        predicted=np.full((2, 1), foreseen), projected_amount=np.full((2, 2), 60.0),
                        if_nothing=np.tile([10.0, 80.0], (2, 1)), if_given=np.tile([70.0, 120.0], (2, 1)),
                    ),
                    LIMITS,
                )  # fmt: skip
                assert verdict.mask == masks[i]
                assert float(verdict.allowed.amount).hex() == float(allowed[i]).hex()


def test_own_limits_that_cannot_be_are_all_listed():
    with pytest.raises(LimitsError) as caught:
        OwnLimits(
            maximum=np.array([1.0, NAN, -1.0, -1e-300]),
            unmeasured_max=np.array(["1"]),
            unpredicted_max=np.zeros((1, 1)),
            total=np.zeros(3),
            high=np.array([[0.0, -INF]]),
        )
    assert list(caught.value.problems) == [
        "maximum: not 0 or more: [1, 2, 3]",
        "unmeasured_max: dtype <U1 where float64 is meant",
        "unpredicted_max: shape (1, 1) where (n) is meant",
        "total: shape (3,) where (n, w) is meant",
        "high: not 0 or more: [1]",
    ]
    with pytest.raises(LimitsError, match=r"^maximum: not 0 or more: \[1\]$"):
        OwnLimits(maximum=np.array([0.0, -1e-300]))
    with pytest.raises(LimitsError, match=r"^maximum: not 0 or more: \[0, 1, 2, 3, 4\]$"):
        OwnLimits(maximum=np.full(7, NAN))


def test_own_limits_are_a_copy():
    maximum = np.array([30, 30, 30])
    own = OwnLimits(maximum=maximum)
    maximum[:] = 99
    assert own.maximum.tolist() == [30.0, 30.0, 30.0]
    assert own.maximum.dtype == np.float64
    assert OwnLimits() == OwnLimits(total=None)


def test_own_limits_of_another_shape_are_listed():
    own = OwnLimits(maximum=np.zeros(2), total=np.zeros((3, 3)), high=np.zeros((1, 2)))
    with pytest.raises(ValueError, match="own") as caught:
        guard_batch(batch(3, own=own), LIMITS)
    assert str(caught.value).splitlines() == [
        "own.maximum: shape (2,) where (3,) is meant",
        "own.total: shape (3, 3) where (3, 2) is meant",
        "own.high: shape (1, 2) where (3, 2) is meant",
    ]
    with pytest.raises(ValueError, match=r"^projection_units: 1 where 2 are meant$"):
        guard_batch(replace(batch(3), projection_units=("mg",)), LIMITS)


def test_arrays_without_any_length_are_listed():
    plain = batch(3, own=OwnLimits(maximum=np.zeros(3)))
    none = {f.name: np.zeros((), a.dtype) for f in fields(plain) if isinstance(a := getattr(plain, f.name), np.ndarray)}
    with pytest.raises(ValueError, match=r"^amount: shape \(\) where \(n\) is meant\n") as caught:
        guard_batch(replace(plain, **none), LIMITS)
    assert len(str(caught.value).splitlines()) == len(none)


def test_a_total_is_one_whatever_else_its_flags_say():
    """A ledger's empty slots of rates are totals of 0; their flag of a rate is not read."""
    ledger = Ledger(3, LIMITS, 1.0)
    for _ in range(2):
        ledger.record(Kind.DOSE, 40.0, 90.0, 2.0)
    plain = batch(3, ledger, amount=20.0)
    marked = replace(plain, given_rate=plain.given_rate | plain.given_total)
    assert np.count_nonzero(marked.given_rate & (plain.given_amount > 0)) == 3
    for kind, unit in ((Kind.DOSE, "mg"), (Kind.RATE, "mg/min")):
        one, two = (
            guard_batch(replace(x, kind=kind, unit=unit, amount=np.full(3, 0.25)), LIMITS) for x in (plain, marked)
        )
        assert [a.tolist() for a in one] == [a.tolist() for a in two]
    one, two = (guard_batch(x, LIMITS) for x in (plain, marked))
    assert [a.tolist() for a in one] == [a.tolist() for a in two] == [[20.0] * 3, [0] * 3]


def test_what_is_marked_as_not_there_is_not_read():
    garbage = np.full((3, 2), 1e8)
    assert judged(None, projected=NONE, if_given=garbage) == ([30.0] * 3, [{"PREDICTION_MISSING"}] * 3)
    assert judged(None, measured=NONE, measurement=garbage) == ([40.0] * 3, [{"MEASUREMENT_MISSING"}] * 3)
    assert judged(None, predicted=NONE[:, :1], probability=garbage[:, :1]) == ([30.0] * 3, [{"PREDICTION_MISSING"}] * 3)
    assert judged(None, previous=garbage) == ([50.0] * 3, [set()] * 3)


def test_without_a_reading_before_there_is_no_rate():
    row = replace(LIMITS.measured[1], change_max=b(0.5, "mg/dL/min"), fall_max=b(0, "mg/dL/min"), fall_below=edges.OFF)
    limits = replace(LIMITS, measurements=(LIMITS.measured[0], row))
    assert guard_batch(batch(3), limits)[1].tolist() == [0] * 3


def test_compiled_code_gets_arrays_of_one_layout_and_those_that_have_it_as_they_are():
    plain = batch(4)
    odd = replace(
        plain,
        weight=np.full(4, 70, dtype=np.int32),
        now=np.repeat(plain.now, 2)[::2],
        quality=np.asfortranarray(plain.quality),
        given_count=np.zeros(4, dtype=np.uint8),
    )
    odd.measurement.flags.writeable = False
    with patch("doseloop.safety.batch.judge") as judge:
        guard_batch(odd, LIMITS)
    (numbers, *_), _ = judge.call_args
    for name, array in numbers._asdict().items():
        kind = "b" if name.startswith(("has_", "given_r", "given_to", "given_pl")) else "f"
        kind = {"measured": "b", "predicted": "b", "projected": "b", "given_count": "i"}.get(name, kind)
        assert (array.dtype.kind, array.dtype.itemsize) == (kind, 1 if kind == "b" else 8), name
        assert array.flags.carray, name
    assert numbers.previous is odd.previous
    assert numbers.given_rate is odd.given_rate
    assert numbers.measurement is not odd.measurement
    assert numbers.weight.tolist() == [70.0] * 4


def test_arrays_of_any_layout_are_read_alike():
    """Views of one number, of another order, read-only: the same bits, and the compiled code is not compiled anew."""
    plain = batch(4, amount=61.0)
    odd = replace(
        plain,
        amount=np.broadcast_to(61.0, 4),
        if_given=np.asfortranarray(plain.if_given),
        weight=np.repeat(plain.weight, 2)[::2],
    )
    odd.if_given.flags.writeable = False
    for one, two in zip(guard_batch(plain, LIMITS), guard_batch(odd, LIMITS)):
        assert one.tobytes() == two.tobytes()
