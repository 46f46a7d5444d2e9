"""The gate's compiled rules against the plain guard: the same bits and the same reasons, decision by decision.

The plain guard is told what stands in the gate's record, reading by reading and delivery by delivery, under the
patient's own table. Streams are random and hostile: amounts that are no numbers, clocks of sensors that lie, pumps that
confirm nonsense, projections that are NaN.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from doseloop import therapies
from doseloop.pkpd.calls import addresses
from doseloop.safety import HarmLimit
from doseloop.therapies import gate_loop as g
from doseloop.therapies.gate import Gate
from doseloop.therapies.loop_glucose import _limits as glucose_tables
from doseloop.therapies.loop_propofol import _limits as propofol_tables
from helpers_gate import OFF, b, course, dose, rate, stream, synthetic, table


@pytest.mark.parametrize("harms", [False, True])
def test_every_rule_of_a_table_that_has_them_all(harms):
    limits = table(harms=(HarmLimit(name="harm", probability_max=b(0.1, "1")),)) if harms else table()
    therapy = synthetic(limits)
    weight = np.array([70.0, 20.0, 19.9, 151.0, 150.0, 40.0, 90.0, 100.0, 70.0, 60.0, 55.0])
    gate = Gate(therapy)
    gate.reset({"weight": weight}, len(weight))
    found = course(gate, lambda i: {"iv": limits}, weight, np.array([2.0, 30.0]), 90, 7, 90.0, 25.0)
    expected = {
        "AMOUNT_INVALID", "AMOUNT_NEGATIVE", "COURSE_MAX_PER_KG", "HISTORY_INVALID", "INCREASE_MAX", "INCREMENT",
        "INTERVAL_SHORT", "MEASUREMENT_FALLING", "MEASUREMENT_IMPLAUSIBLE", "MEASUREMENT_IN_FUTURE",
        "MEASUREMENT_INVALID", "MEASUREMENT_OUT_OF_RANGE", "MEASUREMENT_POOR", "MEASUREMENT_STALE", "MEASUREMENT_STOP",
        "MEASUREMENT_MISSING", "MINIMUM", "PREDICTION_INVALID", "PREDICTION_MISSING", "PROJECTION_BEYOND",
        "PROJECTION_HIGH", "PROJECTION_LOW", "SINGLE_MAX", "SINGLE_MAX_PER_KG", "SUSPENDED_LONG",
        "WEIGHT_OUT_OF_RANGE",
    }  # fmt: skip
    assert expected - found == set()


def test_totals_of_a_long_course():
    """Readings and projections left out of the way: windows, the course and infusion rates decide."""
    free = {"interval_min": OFF, "increase_factor": OFF, "maximum": b(1000.0, "mg")}
    slow = dose(**free | {"infusion_rate_max": b(12.0, "mg/min"), "infusion_rate_max_per_kg": b(0.2, "mg/kg/min")})
    fast = rate(maximum=b(30.0, "mg/min"), maximum_per_kg=OFF, increase_factor=OFF)
    loose = dict.fromkeys(("measurements", "projections", "course_total", "course_total_per_kg"), OFF)
    base = table(actions=(slow, fast), **loose)
    for limits in (base, replace(base, course_total=b(400.0, "mg"))):
        therapy = synthetic(limits)
        therapy.measured = ()
        weight = np.array([70.0, 40.0, 100.0])
        gate = Gate(therapy)
        gate.reset({"weight": weight}, 3)
        found = course(gate, lambda i, x=limits: {"iv": x}, weight, np.array([0.4, 1.0]), 700, 3, 90.0, 25.0, check=7)
        wanted = {"ROLLING_MAX", "ROLLING_MAX_PER_KG", "INFUSION_RATE_MAX", "INFUSION_RATE_MAX_PER_KG"}
        assert wanted - found == set()
        assert ("COURSE_MAX" in found) == (limits is not base)


def test_glucose():
    n = 9
    known = {
        "weight": np.array([70.0, 30.0, 50.0, 80.0, 9.0, 70.0, 75.0, 66.0, 40.0]),
        "basal": np.linspace(0.3, 2.0, n),
        "carb_ratio": np.linspace(5.0, 25.0, n),
        "correction": np.linspace(20.0, 90.0, n),
        "group": np.array([0.0, 2.0, 1.0] * 3),
    }
    gate = Gate(therapies.load_loop("glucose"))
    gate.reset(known, n)
    of = lambda i: {k: v[i : i + 1] for k, v in known.items()}  # noqa: E731
    tables = [{r: t for r, (t, _) in glucose_tables(of(i)).items()} for i in range(n)]
    found = course(gate, lambda i: tables[i], known["weight"], np.array([1.0, 1.0]), 320, 5, 140.0, 8.0, check=5)
    assert {"PROJECTION_LOW", "ROLLING_MAX", "MEASUREMENT_STOP", "SINGLE_MAX", "WEIGHT_OUT_OF_RANGE"} - found == set()


def test_propofol():
    n = 3
    known = {
        "age": np.array([35.0, 70.0, 50.0]),
        "weight": np.array([70.0, 60.0, 90.0]),
        "height": np.array([170.0, 160.0, 180.0]),
        "sex": np.array([0.0, 1.0, 0.0]),
    }
    gate = Gate(therapies.load_loop("propofol"))
    gate.reset(known, n)
    of = lambda i: {k: v[i : i + 1] for k, v in known.items()}  # noqa: E731
    tables = [{r: t for r, (t, _) in propofol_tables(of(i)).items()} for i in range(n)]
    found = course(gate, lambda i: tables[i], known["weight"], np.array([300.0]), 900, 5, 50.0, 3.0, check=23)
    assert {"PROJECTION_HIGH", "ROLLING_MAX", "MEASUREMENT_POOR", "SINGLE_MAX"} - found == set()


def test_a_total_is_never_less_than_the_true_one_nor_more_by_more_than_a_bucket():
    limits = table(measurements=OFF, projections=OFF)
    therapy = synthetic(limits)
    therapy.measured = ()
    gate, rng = Gate(therapy), np.random.default_rng(2)
    gate.reset({"weight": np.full(2, 70.0)}, 2)
    given, place = [], gate._layout.places["iv"]
    for k in range(600):
        delivered = rng.choice([0.0, 1.0], (2, 2)) * rng.uniform(0, 1, (2, 2))
        now = stream(rng, 2, k, 6.0, delivered, np.zeros((2, 2)), 90.0, 1.0)
        gate.judge(now, np.zeros((2, 2)))
        if k:
            given.append([delivered[:, 0] * 6.0, delivered[:, 1]])
        amounts = np.array(given).reshape(-1, 2, 2)[::-1]  # newest first; rate and dose; patients
        sums = gate._arrays["GATE"][0, place.sums : place.sums + 3, :2]
        for row, hours in zip(sums, (24.0, 2.0)):
            slots, bucket = round(hours * 10), max(1, int(hours * 10 / 24 + 1e-9))
            true = amounts[:slots, 0].sum(axis=0) + amounts[: slots - 1, 1].sum(axis=0)  # a dose is over at once
            assert (row >= true - 1e-9).all()
            assert (row <= amounts[: slots + bucket + 1].sum(axis=(0, 1)) + 1e-9).all()
        assert sums[2] == pytest.approx(amounts.sum(axis=(0, 1)))


def test_a_patient_alone_is_judged_as_among_many_and_admitted_anew():
    known = {
        "weight": np.array([70.0, 30.0, 50.0] * 4),
        "basal": np.linspace(0.3, 2.0, 12),
        "carb_ratio": np.linspace(5.0, 25.0, 12),
        "correction": np.linspace(20.0, 90.0, 12),
        "group": np.array([0.0, 2.0, 1.0] * 4),
    }
    many, alone = (Gate(therapies.load_loop("glucose")) for _ in range(2))
    many.seat(known, 20)
    who = np.arange(20) % 12
    many.admit(np.ones(20, dtype=bool), who)
    alone.reset({k: v[5:6] for k, v in known.items()}, 1)
    rng, first = np.random.default_rng(0), None
    for k in range(60):
        if k == 30:  # lane 17 begins anew, as the patient of lane 5 did
            who[17] = 5
            many.admit(np.arange(20) == 17, who)
        level, asked = rng.uniform(60, 300), rng.uniform(0, 3, 2)
        clock = np.full(20, 5.0 * k)
        clock[17] -= 150.0 if k >= 30 else 0.0
        state = (np.full(20, level), clock, np.tile(asked, (20, 1)), np.zeros((20, 2)))
        value, clock, wish, nothing = state
        seen = SimpleNamespace(
            clock=clock, announced=np.zeros(20), reading=value, reading_time=clock, quality=np.full(20, 100.0),
            delivered=wish, pending=nothing,
        )  # fmt: skip
        allowed, masks = many.judge(seen, wish)
        many.preview(rng.uniform(0, 30, (20, 2)))  # nothing of it is kept
        again = many.preview(wish)
        assert np.array_equal(again[0], allowed)
        assert np.array_equal(again[1], masks)
        lone = SimpleNamespace(**{k: v[5:6] for k, v in vars(seen).items()})
        single, mask = alone.judge(lone, wish[5:6])
        assert np.array_equal(single[0], allowed[5])
        assert np.array_equal(mask[0], masks[5])
        first = [*(first or []), (level, asked, allowed[5], masks[5])]
    assert gate_follows(known, first)


def gate_follows(known, first):
    """The same readings and requests give the same verdicts in a lane admitted anew."""
    gate = Gate(therapies.load_loop("glucose"))
    gate.seat(known, 3)
    gate.admit(np.ones(3, dtype=bool), np.array([1, 2, 3]))
    gate.admit(np.array([False, True, False]), np.array([0, 5, 0]))
    for k, (level, asked, allowed, masks) in enumerate(first):
        clock, wish = np.full(3, 5.0 * k), np.tile(asked, (3, 1))
        seen = SimpleNamespace(
            clock=clock, announced=np.zeros(3), reading=np.full(3, level), reading_time=clock,
            quality=np.full(3, 100.0), delivered=wish, pending=np.zeros((3, 2)),
        )  # fmt: skip
        got, mask = gate.judge(seen, wish)
        if not (np.array_equal(got[1], allowed) and np.array_equal(mask[1], masks)):
            return False
    return True


def test_a_clock_that_goes_back_is_refused():
    gate = Gate(therapies.load_loop("propofol"))
    known = {"age": np.full(1, 40.0), "weight": np.full(1, 70.0), "height": np.full(1, 170.0), "sex": np.zeros(1)}
    gate.reset(known, 1)
    rng = np.random.default_rng(0)
    gate.judge(stream(rng, 1, 5, 1 / 12, np.zeros((1, 1)), np.zeros((1, 1)), 50.0, 1.0), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="order of time"):
        gate.judge(stream(rng, 1, 4, 1 / 12, np.zeros((1, 1)), np.zeros((1, 1)), 50.0, 1.0), np.zeros((1, 1)))


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_names_every_chunk_that_holds_something(seed):
    # one ring of 12 buckets, so that what is older than it stands alone in the third chunk of eight
    many, slots, used = 24, 0, 72
    rows, ring = np.zeros((used + 1, 8)), np.array([2.0, 0.0, 12.0])
    rows[slots + many : slots + 2 * many] = g.EMPTY
    rng, when, held = np.random.default_rng(seed), 0.0, []
    (at,), (rings,) = addresses([rows]), addresses([ring])
    for _ in range(60):
        when += float(rng.integers(1, 9))
        g._fold(at, slots, many, used, rings, 1, 3, 1.0, when, when, -np.inf)
        full = (rows[many : 2 * many, 3] != g.EMPTY).reshape(-1, g.CHUNK).any(axis=1)
        mask = int(rows[used].view(np.int64)[3])
        assert [bool(mask >> c & 1) for c in range(3)] == full.tolist()
        held.append(int(full.sum()))
    assert held[0] == 1
    assert held[-1] == 3
    assert rows[:many, 3].sum() == 60
    assert not rows[used].view(np.int64)[[0, 1, 2, 4, 5, 6, 7]].any()
