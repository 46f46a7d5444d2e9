"""The ledger: never less than what was given, hardly more, and the newest as they were."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doseloop.safety import Code, Kind, Ledger, RollingTotal, guard_batch

spec = importlib.util.spec_from_file_location("safety_own", Path(__file__).with_name("test_safety_own.py"))
own = importlib.util.module_from_spec(spec)
spec.loader.exec_module(own)
edges, batch = own.edges, own.batch
NAN, INF, OFF, b = edges.NAN, edges.INF, edges.OFF, edges.b

# Windows of 2 h and 24 h, no limit on the course: rings of quarters of an hour and of two hours.
OPEN = edges.table(course_total=OFF, course_total_per_kg=OFF)
# Three windows, and not in their order.
WINDOWS = tuple(RollingTotal(window=b(x, "h"), total=b(250, "mg"), total_per_kg=OFF) for x in (36.0, 2.0, 24.0))
THREE = edges.table(course_total=OFF, course_total_per_kg=OFF, rolling=WINDOWS)
INTERVAL = 0.25


def rows(ledger, i=0):
    """The filled slots of one patient: kind, amount, time, duration, planned."""
    f = ledger.fields()
    found = []
    for e in range(ledger.slots):
        if f["given_total"][i, e] and f["given_time"][i, e] == -1e300:
            assert (f["given_amount"][i, e], f["given_duration"][i, e], f["given_planned"][i, e]) == (0.0, 0.0, False)
            continue
        kind = "total" if f["given_total"][i, e] else "rate" if f["given_rate"][i, e] else "dose"
        numbers = tuple(float(f[name][i, e]) for name in ("given_amount", "given_time", "given_duration"))
        found.append((kind, *numbers, bool(f["given_planned"][i, e])))
    return found


def test_an_empty_ledger():
    ledger = Ledger(2, OPEN, INTERVAL, parts=12)
    # Newest dose and rate, each with its 0, two plans; 2 h in quarters, 24 h in twos, one more of each; the rest.
    assert ledger.slots == 6 + 9 + 13 + 1
    assert rows(ledger) == rows(ledger, 1) == []
    f = ledger.fields()
    assert {name: (a.shape, a.dtype.kind) for name, a in f.items()} == {
        "given_count": ((2,), "i"),
        "given_amount": ((2, 29), "f"),
        "given_time": ((2, 29), "f"),
        "given_duration": ((2, 29), "f"),
        "given_rate": ((2, 29), "b"),
        "given_total": ((2, 29), "b"),
        "given_planned": ((2, 29), "b"),
    }
    assert f["given_count"].tolist() == [29, 29]


@pytest.mark.parametrize(
    ("interval", "parts", "slots"),
    [
        (0.25, 24, 6 + 9 + 25 + 1),  # no bucket is narrower than the interval
        (0.001, 24, 6 + 25 + 25 + 1),
        (0.001, 10, 6 + 11 + 11 + 1),
        (2.0, 12, 6 + 13 + 1),  # one ring serves both windows
        (2.0, 24, 6 + 13 + 1),
        (24.0, 12, 6 + 2 + 1),
        (48.0, 12, 6 + 2 + 1),
        (0.3, 24, 6 + 8 + 25 + 1),
    ],
)
def test_how_many_slots(interval, parts, slots):
    assert Ledger(1, OPEN, interval, parts).slots == slots


def test_how_many_slots_three_windows_take():
    assert Ledger(1, THREE, 0.01, 12).slots == 6 + 13 + 13 + 13 + 1
    assert Ledger(1, THREE, 2.0, 12).slots == 6 + 13 + 13 + 1
    assert Ledger(1, THREE, 3.0, 12).slots == 6 + 13 + 1


def test_a_table_without_rates():
    ledger = Ledger(1, edges.table(actions=(edges.dose_limits(),)), INTERVAL)
    ledger.record(Kind.DOSE, 1.0, 0.0, 0.5)
    ledger.record(Kind.DOSE, 2.0, 1.0, 0.0)
    assert rows(ledger) == [("dose", 2, 1, 0, False), ("total", 1, 0, 0.5, False)]


def test_parts_are_24_unless_said():
    assert Ledger(1, OPEN, 0.001).slots == Ledger(1, OPEN, 0.001, 24).slots


def test_the_newest_stay_as_they_are():
    ledger = Ledger(1, OPEN, INTERVAL)
    ledger.record(Kind.DOSE, 5.0, 10.0, 0.5)
    assert rows(ledger) == [("dose", 5.0, 10.0, 0.5, False)]
    ledger.record(Kind.RATE, 0.5, 10.0, 0.25)
    ledger.record(Kind.DOSE, 0.0, 10.25, 0.0)
    assert rows(ledger) == [("dose", 5, 10, 0.5, False), ("dose", 0, 10.25, 0, False), ("rate", 0.5, 10, 0.25, False)]
    # Another 0 takes the place of the last; a dose takes both places, and what it replaces becomes a total.
    ledger.record(Kind.DOSE, 0.0, 10.5, 0.0)
    assert rows(ledger)[1] == ("dose", 0, 10.5, 0, False)
    ledger.record(Kind.DOSE, 7.0, 10.75, 0.5)
    assert rows(ledger) == [
        ("dose", 7, 10.75, 0.5, False),
        ("rate", 0.5, 10, 0.25, False),
        ("total", 5, 10, 0.5, False),
    ]
    # 0.5 mg/min for a quarter of an hour are 7.5 mg, in the same bucket as the dose that began with it.
    ledger.record(Kind.RATE, 0.25, 10.75, 0.25)
    assert rows(ledger)[2] == ("total", 12.5, 10, 0.5, False)
    ledger.record(Kind.RATE, 0.0, 11.0, 0.25)
    assert rows(ledger)[1:3] == [("rate", 0.25, 10.75, 0.25, False), ("rate", 0, 11, 0.25, False)]


def test_a_rate_per_hour():
    names = ("increment", "minimum", "maximum", "increase_base", "unmeasured_max")
    hourly = {name: b(1, "mg/h") for name in names} | {"maximum_per_kg": b(1, "mg/kg/h")}
    limits = edges.table(actions=(edges.rate_limits(unit="mg/h", **hourly),))
    ledger = Ledger(1, limits, INTERVAL)
    ledger.record(Kind.RATE, 8.0, 10.0, 0.5)
    ledger.record(Kind.RATE, 8.0, 10.5, 0.5)
    assert rows(ledger)[1] == ("total", 4.0, 10.0, 0.5, False)


def test_buckets_move_on_to_coarser_ones_and_to_the_rest():
    ledger = Ledger(1, OPEN, INTERVAL, parts=12)
    for k in range(9):
        ledger.record(Kind.DOSE, 1.0 + k, 0.25 * k, 0.0)
    assert [r[1] for r in rows(ledger)] == [9, 1, 2, 3, 4, 5, 6, 7, 8]
    # The ninth quarter wants no other's place, the tenth that of the first, which moves on to the ring of two hours.
    ledger.record(Kind.DOSE, 10.0, 2.25, 0.0)
    ledger.record(Kind.DOSE, 11.0, 2.5, 0.0)
    assert rows(ledger)[0] == ("dose", 11, 2.5, 0, False)
    assert rows(ledger)[-1] == ("total", 1, 0, 0, False)
    ledger.record(Kind.DOSE, 12.0, 2.75, 0.0)
    assert rows(ledger)[-1] == ("total", 3, 0, 0.25, False)
    for k in range(12, 26 * 4 + 1):
        ledger.record(Kind.DOSE, 1.0, 0.25 * k, 0.0)
    whole = [r for r in rows(ledger) if r[0] == "total"]
    assert sum(r[1] for r in whole) + 1.0 == sum(range(1, 13)) + 26 * 4 + 1 - 12
    assert len(whole) == 9 + 12
    for k in range(8):
        ledger.record(Kind.DOSE, 1.0, 26.25 + 0.25 * k, 0.0)
    for k in range(200):
        ledger.record(Kind.DOSE, 1.0, 30.0 + 0.25 * k, 0.0)
    rest = rows(ledger)[-1]
    # What is older than every window stands in one slot, from the very first to the last of it.
    assert (rest[0], rest[2]) == ("total", 0.0)
    assert 79.75 - 24 - 5 < rest[2] + rest[3] < 79.75 - 24
    assert sum(r[1] for r in rows(ledger)) == sum(range(1, 13)) + 26 * 4 + 1 - 12 + 8 + 200


def test_a_late_fold_goes_where_it_is_free():
    """A dose that stood newest for long is older than what took its bucket: it goes on to the coarser ring."""
    ledger = Ledger(1, OPEN, INTERVAL, parts=12)
    ledger.record(Kind.DOSE, 5.0, 0.1, 0.0)
    for k in range(12):
        ledger.record(Kind.RATE, 1.0, 0.25 * k + 0.1, 0.25)
    ledger.record(Kind.DOSE, 7.0, 3.0, 0.0)
    # The first two hours' bucket: the dose, and the quarter of an hour that had its place in the finer ring (15 mg).
    assert rows(ledger)[-1] == ("total", 35.0, 0.1, pytest.approx(0.5), False)
    assert sum(r[1] for r in rows(ledger) if r[0] == "total") == 5.0 + 11 * 15.0


def test_times_before_0():
    ledger = Ledger(1, OPEN, INTERVAL)
    for k in range(-12, 13):
        ledger.record(Kind.DOSE, 1.0, 0.25 * k, 0.1)
    found = rows(ledger)
    assert sum(r[1] for r in found) == 25.0
    assert min(r[2] for r in found) == -3.0


def delivered(entries, time, window):
    """By the guard's own rule on every single entry: whole while any of it ran in the window."""
    return sum(
        amount * (duration * 60.0 if rate else 1.0)
        for rate, amount, start, duration in entries
        if time - (start + duration) < window - 1e-6
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("interval", "parts"), [(0.25, 24), (0.01, 10), (3.0, 5)])
def test_totals_are_never_less_and_hardly_more_than_the_true_ones(interval, parts, seed):
    rng = np.random.default_rng(seed)
    limits, windows = (OPEN, (2.0, 24.0)) if seed % 4 < 2 else (THREE, (2.0, 24.0, 36.0))
    ledger, entries, time = Ledger(1, limits, interval, parts), [], -50.0
    long = seed % 2
    for step in range(900):
        time += rng.choice([0.0, interval, interval, 3.7 * interval, 5.0 * (rng.random() < 0.01)])
        rate = bool(rng.random() < 0.6)
        amount = float(rng.choice([0.0, rng.uniform(0, 3)]))
        duration = float(rng.uniform(0, 30.0 if long and rng.random() < 0.02 else interval))
        ledger.record(Kind.RATE if rate else Kind.DOSE, amount, time, duration)
        entries.append((rate, amount, time, duration))
        if step % 9:
            continue
        found = rows(ledger)
        for window in windows:
            part = max(interval, window / parts)
            told = sum(
                a * (d * 60.0 if kind == "rate" else 1.0)
                for kind, a, t, d, _ in found
                if time - (t + d) < window - 1e-6
            )
            true = delivered(entries, time, window)
            assert told >= true - 1e-9
            # No more than what ran within one bucket more, infusions of 30 h aside, that hold their bucket for as long.
            if not long:
                assert told <= delivered(entries, time, window + part + interval) + 1e-9
        assert sum(a * (d * 60.0 if k == "rate" else 1.0) for k, a, _, d, _ in found) == pytest.approx(
            delivered(entries, time, INF), rel=1e-9
        )
        for rate in (True, False):
            newest = [e for e in entries if e[0] is rate]
            mine = [r for r in found if r[0] == ("rate" if rate else "dose")]
            assert newest == [] or (mine[-1][1], mine[-1][2]) == newest[-1][1:3]
            given = [e for e in newest if e[1] > 0]
            assert given == [] or (given[-1][1], given[-1][2]) in [r[1:3] for r in mine]
        ends = [e[2] + e[3] for e in entries if e[1] > 0]
        assert ends == [] or max(t + d for _, a, t, d, _ in found if a > 0) >= max(ends)


def test_the_end_of_a_total_never_moves_earlier():
    rng = np.random.default_rng(3)
    ledger, time, end = Ledger(1, OPEN, 50.0), 0.0, -INF
    for _ in range(150):
        time += rng.uniform(0, 0.1)
        duration = rng.uniform(0, 0.3)
        end = max(end, time + duration)
        ledger.record(Kind.DOSE, 1.0, time, duration)
        ledger.record(Kind.DOSE, 1.0, time, 0.0)
        total = rows(ledger)[1]
        assert total[2] + total[3] >= end
        assert total[2] + total[3] <= end + 1e-12


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1e-9])
def test_an_amount_that_is_none_refuses_the_patient_until_it_has_left_every_window(bad):
    ledger = Ledger(2, OPEN, 2.0, parts=12)
    refused = []
    for k in range(26):
        ledger.record(Kind.DOSE, [bad if k == 2 else 1.0, 1.0], 2.0 * k, 0.0)
        allowed, masks = guard_batch(batch(2, ledger, time=2.0 * k + 7.0), OPEN)
        refused.append(bool(masks[0] & Code.HISTORY_INVALID.bit))
        assert not masks[1] & Code.HISTORY_INVALID.bit
        assert allowed[1] > 0
        assert (allowed[0] > 0) is not refused[-1]
    first, last = refused.index(True), len(refused) - 1 - refused[::-1].index(True)
    assert first == 2
    assert all(refused[first : last + 1])
    assert 24 <= 2 * (last - first) <= 24 + 3 * 2


@pytest.mark.parametrize("course", [{"course_total": b(1e5, "mg")}, {"course_total_per_kg": b(1e5, "mg/kg")}])
def test_where_the_course_is_limited_a_faulty_amount_is_never_forgotten(course):
    limits = replace(OPEN, **course)
    ledger = Ledger(1, limits, 2.0, parts=12)
    for k in range(60):
        ledger.record(Kind.DOSE, NAN if k == 2 else 1.0, 2.0 * k, 0.0)
    _, masks = guard_batch(batch(1, ledger, time=126.0), limits)
    assert masks[0] & Code.HISTORY_INVALID.bit


@pytest.mark.parametrize("bad", [NAN, INF, -1.0, -0.5, -1e-9])
def test_a_faulty_amount_does_not_hide_in_a_total(bad):
    ledger = Ledger(1, OPEN, 5.0)
    for amount in (bad, 5.0, 5.0):
        ledger.record(Kind.DOSE, amount, 1.0, 0.0)
    assert math.isnan(rows(ledger)[1][1])


@pytest.mark.parametrize(("limits", "longest"), [(OPEN, 24.0), (THREE, 36.0)])
@pytest.mark.parametrize(("late", "kept"), [(-0.5, False), (0.0, False), (0.5, True), (10.0, True)])
def test_a_faulty_amount_is_forgotten_only_after_the_longest_window(limits, longest, late, kept):
    """One that stood newest until every ring had moved on, and that ended ``late`` hours within the longest window."""
    ledger, last = Ledger(1, limits, INTERVAL, parts=12), 80.0
    for k in range(int(last / INTERVAL)):
        ledger.record(Kind.RATE, 0.001, INTERVAL * k, 0.25)
        if k == 0:
            ledger.record(Kind.DOSE, NAN, 0.0, last - longest + late)
    ledger.record(Kind.DOSE, 1.0, last, 0.0)
    assert math.isnan(rows(ledger)[-1][1]) is kept
    assert sum(math.isnan(r[1]) for r in rows(ledger)) == kept


def test_plans():
    ledger = Ledger(2, OPEN, INTERVAL)
    ledger.plan(Kind.DOSE, [5.0, 6.0], 10.0, 0.5)
    ledger.plan(Kind.RATE, 0.5, [10.0, 11.0], 0.25, where=[False, True])
    assert rows(ledger, 0) == [("dose", 5, 10, 0.5, True)]
    assert rows(ledger, 1) == [("dose", 6, 10, 0.5, True), ("rate", 0.5, 11, 0.25, True)]
    ledger.plan(Kind.DOSE, 7.0, 10.25, 0.5, where=[True, False])
    assert rows(ledger, 0) == [("dose", 7, 10.25, 0.5, True)]
    # What was delivered takes the plan's place, that of its own kind only.
    ledger.record(Kind.DOSE, 1.0, 10.0, 0.0, where=[False, True])
    assert rows(ledger, 0) == [("dose", 7, 10.25, 0.5, True)]
    assert rows(ledger, 1) == [("dose", 1, 10, 0, False), ("rate", 0.5, 11, 0.25, True)]
    ledger.record(Kind.RATE, 0.0, 10.0, 0.0)
    assert [r[0] for r in rows(ledger, 1)] == ["dose", "rate"]
    assert rows(ledger, 1)[1] == ("rate", 0, 10, 0, False)


def test_reset():
    ledger = Ledger(3, OPEN, INTERVAL)
    for k in range(30):
        ledger.record(Kind.DOSE, 1.0, 0.25 * k, 0.1)
    ledger.plan(Kind.RATE, 1.0, 9.0, 0.1)
    ledger.reset(np.array([True, False, True]))
    assert rows(ledger, 0) == rows(ledger, 2) == []
    assert sum(r[1] for r in rows(ledger, 1) if not r[4]) == 30.0
    # The clock of those who begin again may begin again too.
    ledger.record(Kind.DOSE, 1.0, 0.0, 0.0, where=[True, False, True])
    assert rows(ledger, 0) == [("dose", 1, 0, 0, False)]
    with pytest.raises(ValueError, match=r"^deliveries come in order of time; patients \[1\] do not$"):
        ledger.record(Kind.DOSE, 1.0, 0.0, 0.0)
    assert rows(ledger, 0) == [("dose", 1, 0, 0, False)]
    ledger.reset()
    assert rows(ledger, 1) == []


def test_each_patient_by_himself():
    ledger, alone = Ledger(3, OPEN, INTERVAL), Ledger(1, OPEN, INTERVAL)
    rng = np.random.default_rng(0)
    for k in range(200):
        amounts, where = rng.uniform(0, 2, 3), np.array([True, k % 3 == 0, k % 2 == 0])
        ledger.record(Kind.DOSE, amounts, 0.1 * k, 0.05, where=where)
        if where[1]:
            alone.record(Kind.DOSE, amounts[1], 0.1 * k, 0.05)
    assert rows(alone) == rows(ledger, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Kind.TOTAL, 1.0, 0.0, 0.0), r"^a ledger holds doses and rates, not <Kind.TOTAL: 'total'>$"),
        ((Kind.DOSE, 1.0, NAN, 0.0), r"^no time or duration \(h\) for patients \[0, 1\]$"),
        ((Kind.DOSE, 1.0, [0.0, INF], 0.0), r"^no time or duration \(h\) for patients \[1\]$"),
        ((Kind.DOSE, 1.0, 0.0, [-1e-9, 0.0]), r"^no time or duration \(h\) for patients \[0\]$"),
        ((Kind.DOSE, 1.0, 0.0, [INF, NAN]), r"^no time or duration \(h\) for patients \[0, 1\]$"),
        ((Kind.DOSE, [1.0] * 3, 0.0, 0.0), "broadcast"),
    ],
)
def test_what_a_ledger_does_not_take(arguments, message):
    ledger = Ledger(2, OPEN, INTERVAL)
    for method in (ledger.record, ledger.plan):
        with pytest.raises(ValueError, match=message):
            method(*arguments)
    assert rows(ledger) == rows(ledger, 1) == []


def test_what_a_ledger_does_take():
    ledger = Ledger(9, OPEN, INTERVAL)
    ledger.record(Kind.DOSE, 1, NAN, NAN, where=False)
    ledger.record(Kind.DOSE, np.ones(9, dtype=np.float32), 0, 0, where=np.arange(9) < 3)
    ledger.record(Kind.DOSE, 1, 0, 0)
    with pytest.raises(ValueError, match=r"patients \[0, 1, 2, 3, 4\] do not"):
        ledger.record(Kind.DOSE, 1, -1, 0)
    with pytest.raises(ValueError, match=r"for patients \[0, 1, 2, 3, 4\]$"):
        ledger.record(Kind.DOSE, 1, 1, -1)
