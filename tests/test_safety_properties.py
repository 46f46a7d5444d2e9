"""What holds for every request, record and table, on numbers that hypothesis draws around the edges and far off."""

import importlib.util
import math
import random
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
from doseloop.safety import Code, Decision, Given, Kind, RollingTotal, Unlimited, guard, guard_regimen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

spec = importlib.util.spec_from_file_location("safety_edges", Path(__file__).with_name("test_safety_edges.py"))
edges = importlib.util.module_from_spec(spec)
spec.loader.exec_module(edges)
LIMITS = edges.LIMITS
check = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))

# A millionth of an increment: what the arithmetic of derived limits is forgiven.
SLACK = {Kind.DOSE: 0.5e-6, Kind.RATE: 0.0625e-6}


def near(*values):
    around = [f(v) for v in values for f in (float, edges.up, edges.down, lambda v: v + 0.5, lambda v: v - 1e-6)]
    return st.one_of(st.sampled_from(around), st.floats(0, 300))


def entries(times):
    doses = st.builds(edges.gave, near(1, 20, 50, 250), times, near(0, 0.5, 1))
    rates = st.builds(edges.ran, near(0, 1, 1.5), times, near(0, 0.5, 1))
    totals = st.builds(edges.added, near(1, 20, 250), times, near(0, 1, 12))
    return st.lists(st.one_of(doses, rates, totals), max_size=5).map(tuple)


def projection(make, *values):
    """One without numbers at fault, or none."""
    return st.one_of(st.tuples(st.builds(make, near(*values), near(*values), near(20, 50, 100))), st.just(()))


sound_contexts = st.builds(
    lambda weight, given, level, sugar, chance, board, pressure: edges.knows(
        weight=weight, given=given, measurements=level + sugar, predictions=chance, projections=board + pressure
    ),
    st.floats(0.5, 150),
    entries(st.floats(0, 100)),
    st.one_of(st.tuples(st.builds(edges.level, st.floats(0, 40), st.floats(0, 100))), st.just(())),
    st.one_of(
        st.tuples(
            st.builds(
                lambda value, time, quality, before: edges.glucose(
                    value, time, quality=quality, previous=before and edges.read(*before)
                ),
                st.floats(70, 600),
                st.floats(90, 100),
                near(0, 50, 99),
                st.one_of(st.none(), st.tuples(st.floats(0, 700), st.floats(80, 89.9))),
            )
        ),
        st.just(()),
    ).filter(lambda readings: all(0 <= r.quality <= 100 for r in readings)),
    st.one_of(st.tuples(st.builds(edges.chance, st.floats(0, 0.1))), st.just(())),
    projection(edges.board, 0, 30, 60, 90),
    projection(edges.pressure, 50, 60, 80, 110),
)
contexts = st.one_of(
    sound_contexts,
    st.builds(
        lambda context, now, weight, record, planned: replace(
            context, now=now, weight=weight, record_time=record, planned=planned
        ),
        sound_contexts,
        near(100),
        near(0.5, 150),
        near(28, 100),
        entries(near(100, 101)),
    ),
)
doses = st.builds(
    lambda a, t, d: edges.ask(a, time=t, duration=d),
    near(0.5, 1, 20, 40, 50, 60, 100),
    st.one_of(st.just(100.0), near(100, 106, 220)),
    st.one_of(st.just(1.0), near(0, 0.25, 1, 4)),
)
rates = st.builds(
    lambda a, t, d: edges.ask_rate(a, time=t, duration=d),
    near(0.0625, 0.125, 0.375, 1, 1.5, 3),
    st.one_of(st.just(100.0), near(100, 106, 220)),
    st.one_of(st.just(1.0), near(0, 0.05, 1, 2)),
)
anything = st.one_of(doses, rates)


@check
@given(anything, contexts)
def test_never_increases_and_changes_nothing_else(asked, context):
    verdict = guard(asked, context, LIMITS)
    assert 0.0 <= verdict.allowed.amount <= asked.amount
    assert replace(verdict.allowed, amount=asked.amount) == asked
    assert verdict.asked is asked


@check
@given(anything, contexts)
def test_the_guard_of_the_guard_is_the_guard(asked, context):
    first = guard(asked, context, LIMITS)
    second = guard(first.allowed, context, LIMITS)
    assert second.allowed is first.allowed
    if first.decision is Decision.LOWERED:
        assert second.decision is Decision.PASSED


@check
@given(anything, contexts)
def test_unchanged_exactly_when_without_reasons(asked, context):
    verdict = guard(asked, context, LIMITS)
    if asked.amount > 0:
        assert (verdict.allowed is asked) == all(code.notice for code in verdict.codes)
    else:
        assert verdict.allowed is asked
    assert (verdict.decision is Decision.PASSED) == all(code.notice for code in verdict.codes)
    if any(code.refuses for code in verdict.codes):
        assert verdict.allowed.amount == 0.0


@check
@given(anything, contexts, st.floats(1.0, 100.0))
def test_refused_for_its_data_stays_refused_at_every_amount(asked, context, factor):
    verdict = guard(asked, context, LIMITS)
    faults = {c for c in verdict.codes if c.refuses}
    for amount in (asked.amount * factor, asked.amount / factor):
        again = guard(replace(asked, amount=amount), context, LIMITS)
        if amount > 0 and asked.amount > 0:
            assert {c for c in again.codes if c.refuses} == faults


@check
@given(anything, contexts, st.floats(0.0, 1.0))
def test_who_asks_for_less_gets_no_more(asked, context, part):
    more = guard(asked, context, LIMITS).allowed.amount
    less = guard(replace(asked, amount=asked.amount * part), context, LIMITS).allowed.amount
    assert less <= more + 2 * SLACK[asked.kind]


def tighter(limits, rng):
    """The table with one upper limit of the dose, or one total, made smaller."""
    names = ("maximum", "maximum_per_kg", "infusion_rate_max", "infusion_rate_max_per_kg", "unmeasured_max")
    name = rng.choice((*names, "rolling", "course_total", "course_total_per_kg", "projections", "projections"))
    part = rng.uniform(0.2, 1.0)

    def smaller(bound):
        return bound if isinstance(bound, Unlimited) else replace(bound, value=bound.value * part)

    if name == "projections":
        board, pressure = limits.projections
        which = rng.choice(("board", "low", "high", "steepness"))
        if which == "board":
            board = replace(board, high=smaller(board.high))
        else:
            bound = getattr(pressure, which)
            tight = bound.value * part if which == "high" else bound.value / part
            pressure = replace(
                pressure, **{which: replace(bound, value=max(60.0, tight) if which == "high" else tight)}
            )
            pressure = replace(pressure, low=replace(pressure.low, value=min(pressure.low.value, 110.0)))
        return replace(limits, projections=(board, pressure))
    if name == "rolling":
        rolling = tuple(
            RollingTotal(window=r.window, total=smaller(r.total), total_per_kg=smaller(r.total_per_kg))
            for r in limits.rolling
        )
        return replace(limits, rolling=rolling)
    if name.startswith("course"):
        return replace(limits, **{name: smaller(getattr(limits, name))})
    first = limits.actions[0]
    return replace(limits, actions=(replace(first, **{name: smaller(getattr(first, name))}), *limits.actions[1:]))


@check
@given(doses, contexts, st.integers(0, 2**32))
def test_a_tighter_table_allows_no_more(asked, context, seed):
    tight = guard(asked, context, tighter(LIMITS, random.Random(seed))).allowed.amount
    assert tight <= guard(asked, context, LIMITS).allowed.amount + 2 * SLACK[Kind.DOSE]


@check
@given(anything, sound_contexts)
def test_what_is_allowed_keeps_every_limit(asked, context):
    """Worked out here from the limits as typed in the edge table, in another way than the guard does."""
    verdict = guard(asked, context, LIMITS)
    amount, eps = verdict.allowed.amount, SLACK[asked.kind] * 1.001
    rate = asked.kind is Kind.RATE
    if amount == 0:
        return
    kg = context.weight
    assert amount <= (3.0 if rate else 100.0)
    assert amount <= (0.125 if rate else 10.0) * kg + eps
    assert (0.05 if rate else 0.25) <= asked.duration <= (2.0 if rate else 4.0)
    if not rate:
        assert amount / asked.duration <= min(120.0, 15.0 * kg) + eps / asked.duration
    given_mg = [(e.time, e.duration, e.amount * (e.duration * 60 if e.kind is Kind.RATE else 1)) for e in context.given]
    size = asked.duration * 60 if rate else 1.0
    for window, most in ((24.0, 250.0), (24.0, 20.0 * kg), (2.0, 120.0), (math.inf, 600.0), (math.inf, 50.0 * kg)):
        # Entries within the clock's tolerance of the window's edge may count or not.
        before = sum(mg for t, d, mg in given_mg if asked.time - t - d < window - 3e-6)
        assert before + amount * size <= most + eps * size + 1e-9
    if not rate:
        assert all(asked.time - e.time >= 6.0 - 2e-6 for e in context.given if e.kind is Kind.DOSE and e.amount > 0)
    for projection in context.projections:
        line = projection.if_nothing + (projection.if_given - projection.if_nothing) * amount / projection.amount
        low, high = {"on board": (-math.inf, 60.0), "pressure": (60.0, 110.0)}[projection.name]
        # What giving makes no worse than giving nothing is not the guard's to mend.
        slope = abs(projection.if_given - projection.if_nothing) / projection.amount * eps + 1e-9
        assert line <= max(high, projection.if_nothing) + slope
        assert line >= min(low, projection.if_nothing) - slope
        assert amount <= projection.amount + eps
    if len(context.projections) < 2:
        assert rate or amount <= 30.0
    same = [e for e in context.given if e.kind is asked.kind]
    if same:
        newest = max(e.time for e in same)
        last = min(e.amount for e in same if e.time == newest)
        assert amount <= max((1.5 if rate else 2.0) * max(last, 0.25 if rate else 10.0), 0) + eps
    step = 0.0625 if rate else 0.5
    assert abs(amount / step - round(amount / step)) <= 1.001e-6
    assert amount >= (0.125 if rate else 1.0) - eps


@check
@given(anything, contexts, st.sampled_from([math.nan, math.inf, -math.inf, None, "1", True]), st.integers(0, 2**32))
def test_one_number_that_is_none_refuses_all(asked, context, bad, seed):
    """Whichever number of the request, the context or anything in it: nothing is given."""
    rng = random.Random(seed)
    places = [("asked", None, f) for f in ("amount", "time", "duration")]
    places += [("context", None, f) for f in ("now", "weight", "record_time")]
    lists = {"given": ("amount", "time", "duration"), "planned": ("amount", "time", "duration")}
    lists |= {"measurements": ("value", "time"), "predictions": ("probability",)}
    lists |= {"projections": ("amount", "if_nothing", "if_given")}
    for name, numbers in lists.items():
        places += [(name, i, f) for i in range(len(getattr(context, name))) for f in numbers]
    where, index, field = rng.choice(places)
    if where == "asked":
        asked = replace(asked, **{field: bad})
    elif where == "context":
        context = replace(context, **{field: bad})
    else:
        rows = list(getattr(context, where))
        rows[index] = replace(rows[index], **{field: bad})
        context = replace(context, **{where: tuple(rows)})
    verdict = guard(asked, context, LIMITS)
    assert verdict.decision is Decision.REFUSED
    assert verdict.allowed.amount == 0
    assert any(code.name.endswith("_INVALID") for code in verdict.codes)


@check
@given(anything, contexts)
def test_the_verdict_does_not_depend_on_the_order_of_the_record(asked, context):
    turned = replace(
        context,
        measurements=context.measurements[::-1],
        given=tuple(sorted(context.given, key=lambda e: (-e.time, e.amount))),
    )
    one, two = guard(asked, context, LIMITS), guard(asked, turned, LIMITS)
    assert one.codes == two.codes
    assert one.allowed.amount == pytest.approx(two.allowed.amount, rel=1e-12)


@check
@given(st.lists(doses, max_size=6), sound_contexts)
def test_a_regimen_keeps_its_totals(asked, context):
    asked = sorted(asked, key=lambda a: a.time)
    verdicts = guard_regimen(asked, replace(context, given=()), LIMITS)
    allowed = [v.allowed for v in verdicts if v.allowed.amount > 0]
    assert sum(a.amount for a in allowed) <= min(600.0, 50.0 * context.weight) + 1e-5
    for dose in allowed:
        window = [a.amount for a in allowed if dose.time - 24 + 3e-6 < a.time + a.duration and a.time <= dose.time]
        assert sum(window) <= min(250.0, 20 * context.weight) + 1e-5
    for one, two in pairwise(allowed):
        assert two.time - one.time >= 6.0 - 2e-6


@check
@given(anything, contexts)
def test_every_reason_says_something(asked, context):
    verdict = guard(asked, context, LIMITS)
    for reason in verdict.reasons:
        assert isinstance(reason.code, Code)
        assert reason.sentence.endswith(".")
        assert "nan" not in reason.sentence
        assert reason.source.startswith("retyped") or reason.code in DATA_FAULTS
        assert reason.sentence in verdict.sentence


DATA_FAULTS = {
    Code.AMOUNT_NEGATIVE,
    Code.DURATION_INVALID,
    Code.HISTORY_INVALID,
    Code.TIME_PAST,
    Code.RECORD_IN_FUTURE,
    Code.HISTORY_MISDATED,
    Code.MEASUREMENT_IN_FUTURE,
    Code.PROJECTION_BEYOND,
}


def test_nothing_has_a_default():
    for part in (edges.ask(), edges.knows(), edges.level(), edges.chance(), edges.board(), edges.read(1.0, 1.0)):
        for field in fields(part):
            given = {f.name: getattr(part, f.name) for f in fields(part) if f is not field}
            with pytest.raises(TypeError, match=field.name):
                type(part)(**given)
    with pytest.raises(TypeError, match="duration"):
        Given(kind=Kind.DOSE, amount=1.0, unit="mg", time=0.0)


@check
@given(anything, sound_contexts, near(0, 30, 60, 90), st.floats(0, 100))
def test_more_on_board_allows_no_more(asked, context, more, extra):
    """The same with a larger projection, of nothing and of the amount."""
    rest = tuple(p for p in context.projections if p.name != "on board")
    one, two = (
        replace(context, projections=(*rest, edges.board(more + x, more + x + 40.0, 100.0))) for x in (0.0, extra)
    )
    assert guard(asked, two, LIMITS).allowed.amount <= guard(asked, one, LIMITS).allowed.amount + 2 * SLACK[asked.kind]


@check
@given(anything, sound_contexts, st.sampled_from(["measurements", "projections"]))
def test_without_a_reading_or_projection_no_more_than_the_blind_limit(asked, context, what):
    blind = replace(context, **{what: ()})
    most = {Kind.DOSE: {"measurements": 40.0, "projections": 30.0}, Kind.RATE: {"measurements": 0.375}}
    assert guard(asked, blind, LIMITS).allowed.amount <= most[asked.kind].get(what, math.inf)
