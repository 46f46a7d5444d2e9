"""Doses, resets and regimens: what is refused, and what repeats, steady state and cancelling mean."""

import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError, ModelError, Problem, RecordError, RegimenError
from doseloop.pkpd.regimen import MAX_ADDITIONAL, Bolus, Dose, Infusion, Oral, Regimen, Reset
from hypothesis import given
from hypothesis import strategies as st

REFUSED = {
    "time is nan": {"time": math.nan},
    "time is inf": {"time": math.inf},
    "time is '3', not a number": {"time": "3"},
    "amount is -1, must not be negative": {"amount": -1.0},
    "amount is nan": {"amount": math.nan},
    "amount is None, not a number": {"amount": None},
    "amount is True, not a number": {"amount": True},
    "amount is 0": {"amount": 0.0},
    "amount is 0 (allowed only": {"amount": 0.0, "rate": 2.0, "steady_state": 2},
    "route is ''": {"route": ""},
    "route is ' '": {"route": " "},
    "route is 1": {"route": 1},
    "duration is 0, must be positive": {"duration": 0.0},
    "duration is -1": {"duration": -1.0},
    "rate is 0, must be positive": {"rate": 0.0},
    "rate is inf": {"rate": math.inf},
    "give only one of": {"rate": 1.0, "duration": 1.0},
    "give only one of duration, rate and modelled": {"rate": 1.0, "modelled": "rate"},
    "modelled is 'lag'": {"modelled": "lag"},
    "additional is -1": {"additional": -1, "interval": 1.0},
    "additional is 1.0, must be a whole number": {"additional": 1.0, "interval": 1.0},
    "additional is True": {"additional": True, "interval": 1.0},
    f"must be from 0 to {MAX_ADDITIONAL}": {"additional": MAX_ADDITIONAL + 1, "interval": 1.0},
    "repeats need an interval": {"additional": 2},
    "interval is -6": {"additional": 2, "interval": -6.0},
    "interval is nan": {"additional": 2, "interval": math.nan},
    "an interval without repeats": {"interval": 12.0},
    "steady_state is 3": {"steady_state": 3, "interval": 12.0},
    "steady state needs an interval": {"steady_state": 1},
    "reset is 1": {"reset": 1},
    "order is 0.5": {"order": 0.5},
}


@pytest.mark.parametrize(("says", "fields"), REFUSED.items(), ids=list(REFUSED))
def test_a_dose_that_cannot_be_given_is_refused(says, fields):
    with pytest.raises(RegimenError) as caught:
        Dose(**{"time": 1.0, "amount": 5.0, "route": "iv"} | fields)
    assert says in str(caught.value)


def test_every_problem_of_a_dose_is_listed_at_once():
    with pytest.raises(RegimenError) as caught:
        Dose(time="x", amount=-1, route="", rate=0, duration=1, additional=3)
    assert len(caught.value.problems) == 6
    assert len(str(caught.value).splitlines()) == 6


@pytest.mark.parametrize("time", [math.nan, "noon", None])
def test_a_reset_needs_a_time(time):
    with pytest.raises(RegimenError, match="time is"):
        Reset(time)


def test_numpy_numbers_become_plain_ones_and_minus_zero_zero():
    dose = Dose(np.float64(-0.0), np.int64(5), "iv", additional=np.int64(2), interval=np.float32(6))
    assert [type(v) for v in (dose.time, dose.amount, dose.additional, dose.interval)] == [float, float, int, float]
    assert repr(dose.time) == "0.0"
    assert dose == Dose(0, 5, "iv", additional=2, interval=6)


def test_constructors():
    assert Bolus(25) == Dose(0.0, 25.0, "iv")
    assert Oral(300, 1, every=12, times=4) == Dose(1.0, 300.0, "oral", additional=3, interval=12.0)
    assert Infusion(500, 2, duration=0.5) == Dose(2.0, 500.0, "iv", duration=0.5)
    assert Infusion(500, rate=250, route="line") == Dose(0.0, 500.0, "line", rate=250.0)
    assert Bolus(5, every=8, steady_state=True).steady_state == 1
    assert Infusion(0, rate=3, steady_state=True).constant
    assert Bolus(1, -3).time == -3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bolus(1, times=0),
        lambda: Bolus(1, times=2),
        lambda: Bolus(1, times=1.5, every=2),
        lambda: Bolus(1, steady_state=1, every=2),
        lambda: Bolus(1, steady_state=True),
        lambda: Infusion(1),
        lambda: Infusion(1, rate=1, duration=1),
        lambda: Infusion(0, duration=1),
        lambda: Oral(math.nan),
        lambda: Regimen(Bolus(1), "later"),
        lambda: Regimen([Bolus(1)]),
        lambda: Regimen(Bolus(1)).scaled(0),
        lambda: Regimen(Bolus(1)).scaled(-1),
        lambda: Regimen(Bolus(1)).shifted(math.nan),
    ],
)
def test_constructors_refuse(make):
    with pytest.raises(RegimenError):
        make()


def test_length_of_an_infusion():
    assert Bolus(5).length == 0
    assert Infusion(5, duration=2).length == 2
    assert Infusion(5, rate=10).length == 0.5
    assert Dose(0, 5, "iv", modelled="duration").length is None
    assert Infusion(0, rate=10, steady_state=True).length is None


def test_events_are_taken_by_time_then_order_then_as_written():
    a, b, c = Bolus(1, 5), Dose(0, 2, "iv", order=9), Dose(0, 3, "iv", order=2)
    assert Regimen(a, b, c).events == (c, b, a)
    assert Regimen(Reset(5), a).events == (Reset(5), a)
    assert Regimen(a, Reset(5)).events == (a, Reset(5))
    assert len(Regimen(a, b)) == 2
    assert list(Regimen(a)) == [a]


def test_a_regimen_is_a_value():
    r = Regimen(Bolus(1, every=6, times=3), Infusion(2, 7, rate=1))
    assert r == Regimen(*reversed(r.events))
    assert hash(r) == hash(Regimen(*r.events))
    assert r != Regimen()
    assert r != "r"
    assert pickle.loads(pickle.dumps(r)) == r
    assert repr(r) == "Regimen(1 iv at 0 every 6 × 3; 2 iv at 7 at rate 1)"
    with pytest.raises(AttributeError):
        r.events = ()
    with pytest.raises(AttributeError):
        del r.events


def test_expanded_unrolls_by_multiplication():
    r = Regimen(Dose(0.1, 3, "iv", additional=3, interval=0.1)).expanded()
    assert [d.time for d in r.doses] == [0.1, 0.1 + 1 * 0.1, 0.1 + 2 * 0.1, 0.1 + 3 * 0.1]
    assert all(d.additional == 0 and d.interval == 0 for d in r.doses)


def test_steady_state_and_reset_stay_on_the_first_dose_only():
    first, *rest = Regimen(Dose(0, 3, "iv", additional=2, interval=12, steady_state=2, reset=True)).expanded()
    assert (first.steady_state, first.interval, first.reset) == (2, 12.0, True)
    assert [(d.steady_state, d.interval, d.reset) for d in rest] == [(0, 0.0, False)] * 2


@pytest.mark.parametrize(
    ("canceller", "left"),
    [
        (Reset(24), [0, 12]),
        (Reset(25), [0, 12, 24]),
        (Dose(13, 5, "iv", reset=True), [0, 12]),
        (Dose(13, 5, "iv", steady_state=1, interval=8), [0, 12]),
        (Dose(13, 5, "iv", steady_state=2, interval=8), [0, 12, 24, 36]),
        (Bolus(5, 13), [0, 12, 24, 36]),
        (Reset(-1), [0, 12, 24, 36]),
    ],
)
def test_a_reset_cancels_pending_repeats_as_in_nonmem(canceller, left):
    regimen = Regimen(Bolus(1, every=12, times=4), canceller)
    assert [d.time for d in regimen.expanded().doses if d.amount == 1] == left
    assert regimen.last == max([*left, canceller.time])


def test_a_reset_does_not_cancel_its_own_repeats():
    regimen = Regimen(Dose(0, 1, "iv", additional=2, interval=6, reset=True))
    assert len(regimen.expanded()) == 3
    assert regimen.last == 12


def test_within_is_half_open_and_expands():
    r = Regimen(Bolus(1, every=12, times=4), Reset(40), Infusion(5, 10, duration=30))
    assert [e.time for e in r.within(12, 36)] == [12, 24]
    assert [e.time for e in r.within(10, 12)] == [10]
    assert [e.time for e in r.within(36, 41)] == [36, 40]
    assert len(r.within(100, 200)) == 0
    assert r.within(-math.inf, math.inf) == r.expanded()


def test_until_cuts_repeats_at_the_time_and_keeps_the_rest_as_written():
    r = Regimen(Bolus(1, every=12, times=4), Bolus(2, 24), Bolus(3, 24.5))
    assert r.until(24) == Regimen(Bolus(1, every=12, times=3), Bolus(2, 24))
    assert r.until(0) == Regimen(Bolus(1))
    assert r.until(-1) == Regimen()
    assert r.until(1000) == r
    steady = Regimen(Bolus(1, every=12, times=4, steady_state=True))
    assert steady.until(5) == Regimen(Bolus(1, every=12, steady_state=True))


def test_totals():
    r = Regimen(Infusion(0, -1, rate=1, steady_state=True), Bolus(10, every=12, times=4), Oral(3, 12))
    assert r.total() == 43
    assert r.total(0, 24) == 23
    assert r.total(0, 24, route="oral") == 3
    assert Regimen().total() == 0


def test_plus_shifted_scaled():
    a, b = Regimen(Bolus(1), Reset(3)), Regimen(Infusion(4, rate=2))
    assert a.plus(b).events == (Bolus(1), *b.events, Reset(3))
    assert a.shifted(2) == Regimen(Bolus(1, 2), Reset(5))
    assert b.scaled(3) == Regimen(Infusion(12, rate=6))
    assert b.scaled(3).doses[0].length == b.doses[0].length
    assert Regimen().last == -math.inf


times = st.floats(-1e4, 1e4)
amounts = st.floats(1e-6, 1e6)
orders = st.integers(0, 5)


@st.composite
def doses(draw):
    fields = {"time": draw(times), "amount": draw(amounts), "route": draw(st.sampled_from(["iv", "oral"]))}
    fields["order"] = draw(orders)
    fields |= draw(
        st.sampled_from([{}, {"duration": 0.5}, {"rate": 3.0}, {"modelled": "rate"}, {"modelled": "duration"}])
    )
    additional, steady = draw(st.integers(0, 6)), draw(st.integers(0, 2))
    if additional or steady:
        fields |= {"interval": draw(st.floats(0.1, 100)), "additional": additional, "steady_state": steady}
    return Dose(**fields, reset=draw(st.booleans()))


regimens = st.lists(st.one_of(doses(), st.builds(Reset, times, orders)), max_size=6).map(lambda e: Regimen(*e))


@given(regimens)
def test_json_brings_the_regimen_back(regimen):
    assert Regimen.from_dicts(json.loads(json.dumps(regimen.to_dicts(), allow_nan=False))) == regimen


@given(regimens)
def test_expanding_twice_changes_nothing(regimen):
    assert regimen.expanded().expanded() == regimen.expanded()
    assert regimen.expanded().last == regimen.last


@given(regimens, times)
def test_two_windows_make_the_whole(regimen, cut):
    parts = regimen.within(-math.inf, cut), regimen.within(cut, math.inf)
    assert parts[0].plus(parts[1]).events == regimen.expanded().events


@given(regimens, times)
def test_until_keeps_exactly_what_started(regimen, time):
    started = {e.time for e in regimen.until(time).expanded()}
    assert all(t <= time for t in started)
    assert {e.time for e in regimen.expanded() if e.time <= time} <= started


@given(regimens, st.floats(0.1, 10))
def test_scaling_scales_the_total(regimen, factor):
    assert regimen.scaled(factor).total() == pytest.approx(factor * regimen.total(), rel=1e-12)


@pytest.mark.parametrize(
    "dicts",
    [
        [{}],
        [{"event": "meal"}],
        [{"event": "dose"}],
        [{"event": "reset", "time": 0, "colour": 1}],
        [3],
        ["dose"],
        [None],
        [{"event": [], "time": 0}],
        [{"event": "dose", "time": 0, "amount": -3, "route": "iv"}],
    ],
)
def test_dictionaries_that_are_no_events_are_refused(dicts):
    with pytest.raises(RegimenError, match="event 0"):
        Regimen.from_dicts(dicts)


def test_errors_print_every_problem_and_cross_processes():
    error = ModelError(["a is off", "b is off"], file="m.py", line=3, function="rhs")
    assert str(error) == "m.py:3, in rhs: a is off\nb is off"
    for e in (error, RegimenError("x"), RecordError([Problem(3, "AMT", "wrong", "mend it")], source="f.csv", total=9)):
        again = pickle.loads(pickle.dumps(e))
        assert isinstance(again, DoseloopError)
        assert (str(again), again.problems, again.total) == (str(e), e.problems, e.total)


def test_a_long_list_is_cut_in_print_and_counted():
    error = RecordError([Problem(i, None, "bad") for i in range(80)], source="f.csv")
    assert len(error.problems) == 80
    assert str(error).splitlines()[0] == "f.csv: 80 problems"
    assert str(error).splitlines()[-1] == "… and 30 more"


def test_regimens_import_nothing_heavy():
    code = (
        "import sys;"
        "import doseloop.pkpd.regimen as r, doseloop.pkpd.record;"
        "heavy = {'pandas', 'pint', 'casadi', 'numba'} & set(sys.modules); sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
