"""Each event rule of NONMEM/PREDPP, against superposition of closed forms; where we differ, the test says so.

The oracle knows doses only as arrivals: (time, amount, length, into). What a rule means is said by listing arrivals.
"""

import mpmath
import numpy as np
import pytest
from doseloop.pkpd import drive
from doseloop.pkpd.engine import STATUS, Method
from doseloop.pkpd.errors import SolverError
from doseloop.pkpd.model import Route
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Bolus, Dose, Infusion, Oral, Regimen, Reset
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.simulate import simulate
from doseloop.pkpd.system import system
from helpers_forms import Response, disposition, oral
from helpers_pk import (
    METHODS,
    directions_of,
    linear_model,
    make_model,
    michaelis_menten_model,
    relative,
    run,
    run_all,
    schedule,
    values,
)

MODEL = linear_model(2)
P = dict(zip(MODEL.individual_units, MODEL.theta.tolist()))  # F 0.7, lag 0.4, dur 1.5, rate 40
TIMES = np.array([0.001, 0.2, 0.45, 1.0, 1.9, 2.5, 4.1, 5.9, 6.3, 8.0, 11.7, 12.2, 13.3, 18.1, 23.9, 30.0, 47.0])
CLOSE = 1e-12


def exponentials(p, into):
    terms = disposition(p, 2)
    return oral(terms, p["ka"]) if into == "depot" else terms


def superposed(arrivals, times=TIMES, **changed):
    """Concentration at ``times`` from (time, amount, length, into) and from trains, at 30 digits."""
    p = P | changed
    with mpmath.workdps(30):
        terms = {into: exponentials(p, into) for into in ("central", "depot")}
        total = np.zeros(len(times), dtype=object)
        for start, amount, length, into, *more in arrivals:
            lag, interval = more or (0.0, 0.0)
            r = Response(terms[into], amount, length, lag)
            total += [(r.steady(t - start, interval) if interval else r(t - start)) if t > start else 0 for t in times]
        return total.astype(float)


def simulated(*events, times=TIMES, **changed):
    return run(MODEL, values(MODEL, **changed), Regimen(*events), times)


def same(got, expected):
    assert relative(got, expected) <= CLOSE


# bioavailability, duration, rate, lag ---------------------------------------------------------------------------------

F, LAG = P["F"], P["lag"]
INTO = {"full": "central", "fulloral": "depot"}


@pytest.mark.parametrize("route", ["full", "fulloral"])
@pytest.mark.parametrize(
    ("given", "amount", "length"),
    [
        pytest.param({}, F * 200, 0.0, id="bolus: F times the amount"),
        pytest.param({"rate": 50.0}, F * 200, F * 200 / 50, id="rate given: the rate is kept, F shortens it"),
        pytest.param({"duration": 3.0}, F * 200, 3.0, id="duration given: kept, F lowers the rate"),
        pytest.param({"modelled": "rate"}, F * 200, F * 200 / P["rate"], id="RATE -1: the model's rate, F shortens it"),
        pytest.param(
            {"modelled": "duration"}, F * 200, P["dur"], id="RATE -2: the model's duration, F lowers the rate"
        ),
    ],
)
def test_what_bioavailability_scales(route, given, amount, length):
    """In every case the amount that arrives is F times the dose, after the lag."""
    same(simulated(Dose(1.0, 200.0, route, **given)), superposed([(1.0 + LAG, amount, length, INTO[route])]))


def test_a_bioavailability_of_0_gives_nothing():
    for given in ({}, {"rate": 50.0}, {"duration": 3.0}, {"modelled": "rate"}, {"modelled": "duration"}):
        assert not simulated(Dose(1.0, 200.0, "full", **given), F=0.0).any(), given


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {"F": -0.1}),
        ({}, {"F": np.nan}),
        ({}, {"F": np.inf}),
        ({}, {"lag": -1.0}),
        ({}, {"lag": np.nan}),
        ({}, {"lag": np.inf}),
        ({"modelled": "rate"}, {"rate": 0.0}),
        ({"modelled": "rate"}, {"rate": -5.0}),
        ({"modelled": "rate"}, {"rate": np.nan}),
        ({"modelled": "duration"}, {"dur": 0.0}),
        ({"modelled": "duration"}, {"dur": -2.0}),
        ({"modelled": "duration"}, {"dur": np.inf}),
    ],
)
def test_an_impossible_dose_is_a_status_and_no_number(given, changed):
    regimen = Regimen(Dose(1.0, 200.0, "full", **given))
    p = np.array([values(MODEL), values(MODEL, **changed), values(MODEL)])
    Y, status = run_all(MODEL, p, regimen, TIMES)
    assert status.tolist() == [drive.OK, drive.BAD_ROUTE, drive.OK]
    assert "bioavailability" in STATUS[drive.BAD_ROUTE]
    assert np.isnan(Y[1, TIMES > 1.0]).all()
    assert np.array_equal(Y[0], Y[2])
    assert np.isfinite(Y[0]).all()


# repeats --------------------------------------------------------------------------------------------------------------


def test_repeats_are_at_time_plus_k_intervals():
    same(
        simulated(Dose(0.5, 100.0, "iv", duration=1.0, additional=3, interval=6.0)),
        superposed([(0.5 + 6 * k, 100.0, 1.0, "central") for k in range(4)]),
    )


def test_repeats_go_on_under_later_doses():
    same(
        simulated(Dose(0.0, 100.0, "iv", additional=3, interval=6.0), Bolus(70.0, 7.0)),
        superposed([*((6.0 * k, 100.0, 0.0, "central") for k in range(4)), (7.0, 70.0, 0.0, "central")]),
    )


def test_only_the_first_of_repeats_is_at_steady_state():
    """With SS and ADDL the further doses are plain ones."""
    past = train(0.0, 6.0, 100.0)
    later = [(6.0 * k, 100.0, 0.0, "central") for k in range(1, 4)]
    same(simulated(Dose(0.0, 100.0, "iv", additional=3, interval=6.0, steady_state=1)), superposed(past + later))


# steady state ---------------------------------------------------------------------------------------------------------


def train(start, interval, amount, length=0.0, into="central", lag=0.0):
    """Doses at start − k·interval for every k ≥ 0, each arriving after the lag; seen from ``start`` on."""
    return [(start, amount, length, into, lag, interval)]


def test_implied_doses_lie_before_and_nothing_follows():
    same(simulated(Bolus(100.0, 1.0, every=8.0, steady_state=True))[4:], superposed(train(1.0, 8.0, 100.0))[4:])


@pytest.mark.parametrize("lag", [0.4, 3.0, 5.99, 6.0, 6.01, 9.6, 12.0, 27.3])
@pytest.mark.parametrize("route", ["full", "fulloral"])
def test_steady_state_with_lag(route, lag):
    """Shorter than the interval: NONMEM's C(t) = Css(t − L + II). Longer: ours is the exact periodic train, doses
    arrive at t0 + L − k·II for every k ≥ 0 (NONMEM clamps the phase to 0: the table in docs/simulation.md)."""
    got = simulated(Dose(0.0, 100.0, route, interval=6.0, steady_state=1), lag=lag)
    same(got, superposed(train(0.0, 6.0, F * 100, 0.0, INTO[route], lag)))


@pytest.mark.parametrize("length", [2.0, 5.9, 6.0, 6.1, 9.0, 12.0, 20.0])
def test_steady_infusion_longer_than_its_interval(length):
    """Implied infusions still run after the record, each to its own end."""
    got = simulated(Infusion(100.0, 0.0, duration=length, every=6.0, steady_state=True))
    same(got, superposed(train(0.0, 6.0, 100.0, length)))


@pytest.mark.parametrize("given", [{"rate": 8.0}, {"duration": 9.0}, {"modelled": "rate"}, {"modelled": "duration"}])
@pytest.mark.parametrize("lag", [0.0, 4.5, 7.7])
def test_steady_infusion_with_lag_and_bioavailability(given, lag):
    """With L > II − T the previous cycle's infusion keeps running past the record."""
    changed = {"lag": lag, "rate": 9.0, "dur": 8.0}
    length = {"rate": F * 100 / 8.0, "duration": 9.0}.get(next(iter(given)))
    if "modelled" in given:
        length = F * 100 / 9.0 if given["modelled"] == "rate" else 8.0
    got = simulated(Dose(0.0, 100.0, "full", interval=6.0, steady_state=1, **given), **changed)
    same(got, superposed(train(0.0, 6.0, F * 100, length, "central", lag)))


def test_steady_state_long_infusion_then_repeats():
    """nmtests 12: 100 at 8.33 per hour every 6 hours with 12 further doses."""
    length = 100 / 8.33
    got = simulated(Dose(0.0, 100.0, "iv", rate=8.33, interval=6.0, additional=12, steady_state=1))
    later = [(6.0 * k, 100.0, length, "central") for k in range(1, 13)]
    same(got, superposed(train(0.0, 6.0, 100.0, length) + later))


@pytest.mark.parametrize("route", ["iv", "full"])
def test_constant_infusion_ends_at_its_record(route):
    """AMT 0, RATE, II 0, SS 1: the state is the steady state of the rate, which stops at the record. F leaves the
    rate as it is, and a lag of something that has run for ever is nothing."""
    got = simulated(Dose(1.0, 0.0, route, rate=12.0, steady_state=1))
    length = 2000.0
    same(got[TIMES > 1.0], superposed([(1.0 - length, 12.0 * length, length, "central")])[TIMES > 1.0])


def test_constant_infusion_goes_on_with_an_ordinary_one():
    got = simulated(Dose(1.0, 0.0, "iv", rate=12.0, steady_state=1), Infusion(12.0 * 100, 1.0, rate=12.0))
    assert relative(got[TIMES > 1.0], np.full(np.sum(TIMES > 1.0), 12.0 / P["cl"])) <= CLOSE


def test_ss_1_replaces_everything_before_it():
    """Amounts, infusions in progress, doses under way and pending repeats are gone."""
    before = [
        Bolus(500.0, 0.0),
        Infusion(900.0, 0.0, duration=40.0),
        Dose(1.9, 400.0, "full"),  # lag 0.4: arrives at 2.3
        Dose(0.5, 300.0, "iv", additional=9, interval=4.0),
    ]
    steady = Bolus(100.0, 2.0, every=8.0, steady_state=True)
    later = TIMES > 2.0
    same(simulated(*before, steady)[later], superposed(train(2.0, 8.0, 100.0))[later])


def test_ss_2_adds_to_everything_before_it():
    """Infusions in progress, doses under way and pending repeats go on."""
    before = [
        Bolus(500.0, 0.0),
        Infusion(900.0, 0.0, duration=40.0),
        Dose(1.9, 400.0, "full"),
        Dose(0.5, 300.0, "iv", additional=9, interval=4.0),
    ]
    got = simulated(*before, Dose(2.0, 100.0, "oral", interval=8.0, steady_state=2))
    later = TIMES > 2.0
    extra = superposed(train(2.0, 8.0, 100.0, 0.0, "depot"))
    assert relative(got[later], (simulated(*before) + extra)[later]) <= CLOSE


def test_two_steady_states_in_one_day():
    """A morning and an evening dose of unequal size: SS 1, then SS 2 on top, 12 h later in phase."""
    got = simulated(
        Dose(0.0, 100.0, "oral", interval=24.0, steady_state=1),
        Dose(0.0, 60.0, "full", interval=24.0, steady_state=2),
    )
    evening = train(0.0, 24.0, F * 60, 0.0, "central", LAG)
    same(got, superposed(train(0.0, 24.0, 100.0, 0.0, "depot") + evening))


def test_steady_state_on_every_method():
    regimen = Regimen(Dose(0.0, 100.0, "full", rate=9.0, interval=6.0, additional=2, steady_state=1))
    exact = run(MODEL, values(MODEL), regimen, TIMES)
    for method, reached in (("adaptive", 1e-8), ("rk4", 1e-8), ("stiff", 1e-6)):
        assert relative(run(MODEL, values(MODEL), regimen, TIMES, method), exact) <= reached, method


def test_every_patient_has_their_own_steady_state():
    rng = np.random.default_rng(1)
    p = np.exp(rng.normal(0, 0.3, (20, len(P)))) * values(MODEL)
    regimen = Regimen(Dose(0.0, 100.0, "full", modelled="rate", interval=6.0, steady_state=1))
    Y, status = run_all(MODEL, p, regimen, TIMES)
    assert not status.any()
    for row, y in zip(p[::4], Y[::4, :, 0]):
        q = dict(zip(P, row.tolist()))
        arrivals = train(0.0, 6.0, q["F"] * 100, q["F"] * 100 / q["rate"], "central", q["lag"])
        same(y, superposed(arrivals, **q))


def no_steady_state(model, p, regimen, times, method="exact"):
    """A sound person, this one, a sound person: only this one has a status and no numbers."""
    people = np.array([values(model), p, values(model)])
    Y, status = run_all(model, people, regimen, times, method)
    return status.tolist() == [0, drive.NO_STEADY, 0] and np.isnan(Y[1]).any() and np.isfinite(Y[[0, 2]]).all()


@pytest.mark.parametrize(
    "dose", [Bolus(100.0, every=8.0, steady_state=True), Infusion(0.0, rate=5.0, steady_state=True)]
)
def test_no_steady_state_is_a_status_and_an_error(dose):
    p = np.array(values(MODEL, cl=0.0))
    assert no_steady_state(MODEL, p, Regimen(dose), TIMES)
    with pytest.raises(SolverError, match="there is no steady state"):
        simulate(MODEL, p[None, :], Regimen(dose), TIMES)


@pytest.mark.parametrize("dose", [240.5, 241.0, 300.0, 2000.0])
def test_saturable_elimination_above_its_maximum_has_no_steady_state(dose):
    """Vmax 20 mg/h eliminates at most 240 mg in 12 h."""
    model = michaelis_menten_model()
    regimen = Regimen(Bolus(dose, every=12.0, steady_state=True))
    with pytest.raises(SolverError, match="there is no steady state"):
        simulate(model, np.array(values(model))[None, :], regimen, [1.0])


def test_saturable_elimination_just_below_its_maximum_has_one():
    model = michaelis_menten_model()
    c = run(
        model, values(model), Regimen(Bolus(200.0, every=12.0, times=3, steady_state=True)), [12.0, 24.0], "adaptive"
    )
    assert c[0] == pytest.approx(c[1], rel=1e-7)


# resets ---------------------------------------------------------------------------------------------------------------

BUSY = [
    Bolus(500.0, 0.0),
    Infusion(900.0, 0.0, duration=40.0),
    Dose(1.9, 400.0, "full"),  # under way at 2.0
    Oral(250.0, 1.0),
    Dose(0.5, 300.0, "iv", additional=9, interval=4.0),  # pending
]
BEFORE, AFTER = TIMES <= 2.0, TIMES > 2.0


def test_evid_3_clears_all():
    got = simulated(*BUSY, Reset(2.0))
    assert not got[AFTER].any()
    assert np.array_equal(got[BEFORE], simulated(*BUSY)[BEFORE])


def test_evid_3_then_new_doses():
    got = simulated(*BUSY, Reset(2.0), Bolus(80.0, 3.0), Dose(2.0, 100.0, "full", order=1))
    expected = superposed([(3.0, 80.0, 0.0, "central"), (2.0 + LAG, F * 100, 0.0, "central")])
    same(got[AFTER], expected[AFTER])


@pytest.mark.parametrize("given", [{}, {"duration": 3.0}, {"modelled": "rate"}])
def test_evid_4_clears_all_and_gives_its_dose(given):
    got = simulated(*BUSY, Dose(2.0, 100.0, "full", reset=True, **given))
    length = {"duration": 3.0, "modelled": F * 100 / P["rate"]}.get(next(iter(given), ""), 0.0)
    same(got[AFTER], superposed([(2.0 + LAG, F * 100, length, "central")])[AFTER])


def test_only_the_first_of_repeats_resets():
    got = simulated(*BUSY, Dose(2.0, 100.0, "oral", reset=True, additional=3, interval=5.0))
    same(got[AFTER], superposed([(2.0 + 5 * k, 100.0, 0.0, "depot") for k in range(4)])[AFTER])


def test_evid_4_at_steady_state_is_evid_1_at_steady_state():
    steady = {"interval": 8.0, "steady_state": 1}
    one, four = (simulated(*BUSY, Dose(2.0, 100.0, "full", reset=r, **steady)) for r in (False, True))
    assert np.array_equal(one, four)


def test_a_reset_puts_the_starting_values_back():
    """A_0 holds again after EVID 3."""
    model = make_model(
        "baseline",
        {"k": 0.2, "start": 30.0},
        ["central"],
        lambda t, x, p, u: {"central": -p.k * x.central},
        {"c": lambda x, p: x.central},
        [Route("iv", "central")],
        initial=lambda p: {"central": p.start},
    )
    t = np.array([0.0, 1.0, 4.0, 5.0])
    got = run(model, values(model), Regimen(Bolus(100.0, 2.0), Reset(3.0)), t)
    assert np.allclose(got, 30.0 * np.exp(-0.2 * np.array([0.0, 1.0, 1.0, 2.0])), rtol=1e-13)


# routes, overlaps, ties -----------------------------------------------------------------------------------------------


def test_several_routes_into_one_model():
    events = [Oral(100.0, 0.0), Bolus(50.0, 1.5), Infusion(80.0, 2.0, duration=5.0), Dose(3.0, 60.0, "fulloral")]
    arrivals = [(0.0, 100.0, 0.0, "depot"), (1.5, 50.0, 0.0, "central"), (2.0, 80.0, 5.0, "central")]
    same(simulated(*events), superposed([*arrivals, (3.0 + LAG, F * 60, 0.0, "depot")]))


def test_infusions_of_one_route_add_where_they_overlap():
    events = [Infusion(90.0, 0.1 * k, duration=3.0 + 0.7 * k) for k in range(6)]
    same(simulated(*events), superposed([(0.1 * k, 90.0, 3.0 + 0.7 * k, "central") for k in range(6)]))


def test_infusions_at_the_same_time():
    same(
        simulated(Infusion(60.0, 1.0, duration=3.0), Infusion(60.0, 1.0, duration=3.0), Infusion(30.0, 1.0, rate=20.0)),
        superposed([(1.0, 120.0, 3.0, "central"), (1.0, 30.0, 1.5, "central")]),
    )


def test_after_the_last_infusion_the_rate_is_0_to_the_bit():
    """0.1 + 0.2 − 0.1 − 0.2 is 3e-17, and for ever after a trickle; the count of running infusions decides instead."""
    events = [Infusion(0.1 * 2, 0.0, rate=0.1), Infusion(0.2 * 3, 0.5, rate=0.2), Infusion(0.3 * 7, 0.6, rate=0.3)]
    times = np.array([400.0, 2000.0, 20000.0])
    got = simulated(*events, times=times)
    assert got[2] < 1e-300
    same(
        got[:2],
        superposed([(0.0, 0.2, 2.0, "central"), (0.5, 0.6, 3.0, "central"), (0.6, 2.1, 7.0, "central")], times[:2]),
    )


def test_an_observation_asked_for_by_time_is_before_a_dose_of_that_moment():
    t = [0.0, 6.0, 12.0]
    got = simulated(Bolus(100.0, 0.0, every=6.0, times=4), times=t)
    same(got, superposed([(6.0 * k, 100.0, 0.0, "central") for k in range(3)], t))
    assert got[0] == 0.0


def test_asked_for_by_time_a_level_at_a_steady_state_dose_is_its_trough():
    """Also where a reset stands at the same moment; a level row before the dose's row sees what was there before."""
    dose = Bolus(100.0, 2.0, every=8.0, times=2, steady_state=True)
    for events in ([dose], [Reset(2.0), dose], [Bolus(30.0, 1.0), dose]):
        at, later = run(MODEL, values(MODEL), Regimen(*events), [2.0, 10.0])
        assert at > 0
        assert at == pytest.approx(later, rel=1e-12)
    row = Dose(2.0, 100.0, "iv", interval=8.0, steady_state=1, order=5)
    assert run(MODEL, values(MODEL), [row], [2.0], orders=[4])[0] == 0.0


def test_in_a_record_the_order_of_rows_decides():
    """Dose row first: the level sees the bolus; level row first: it does not. An infusion then begins at 0."""
    for dose, shown in ((Dose(1.0, 90.0, "iv", order=5), 3.0), (Dose(1.0, 90.0, "iv", rate=9.0, order=5), 0.0)):
        assert run(MODEL, values(MODEL), [dose], [1.0], orders=[4])[0] == 0.0
        assert run(MODEL, values(MODEL), [dose], [1.0], orders=[6])[0] == pytest.approx(shown, rel=1e-15)


def test_a_lagged_dose_that_arrives_at_an_observation_is_not_seen_by_it():
    """A level is drawn before a dose of its moment, a lagged one too (NONMEM's order is not documented)."""
    got = run(MODEL, values(MODEL, lag=0.5, F=1.0), [Dose(1.0, 90.0, "full")], [1.5, 1.5])
    assert np.array_equal(got, [0.0, 0.0])
    assert run(MODEL, values(MODEL, lag=0.5, F=1.0), [Dose(1.0, 90.0, "full")], [np.nextafter(1.5, 2)])[
        0
    ] == pytest.approx(3.0)


def test_ties_of_resets_and_doses_keep_their_order():
    later = [1.5, 4.0]
    dose = superposed([(1.0, 90.0, 0.0, "central")], later)
    same(simulated(Reset(1.0, order=1), Bolus(90.0, 1.0), times=later), 0 * dose)  # the dose has order 0: first
    same(simulated(Reset(1.0, order=0), Dose(1.0, 90.0, "iv", order=1), times=later), dose)


def test_observations_at_the_same_time_are_all_answered():
    got = simulated(Bolus(100.0, 0.0), times=[2.0, 2.0, 2.0])
    assert got[0] > 0
    assert got[0] == got[1] == got[2]


def test_observations_need_not_be_in_order():
    t = np.array([4.0, 1.0, 2.0])
    assert np.array_equal(
        simulated(Bolus(100.0, 0.0), times=t)[[1, 2, 0]], simulated(Bolus(100.0, 0.0), times=np.sort(t))
    )


def test_a_stop_and_a_start_at_the_same_moment_leave_no_gap():
    chained = simulated(*(Infusion(20.0, 0.25 * k, duration=0.25) for k in range(40)))
    same(chained, superposed([(0.0, 800.0, 10.0, "central")]))


def test_negative_times():
    """The clock's zero is no special time."""
    t = np.array([-30.0, -11.0, -3.5, 0.0, 2.0, 9.0])
    events = [Bolus(100.0, -24.0, every=12.0, times=4), Dose(-5.0, 70.0, "full", duration=8.0), Reset(-18.0)]
    plain = [Bolus(100.0, 0.0, every=12.0, times=4), Dose(19.0, 70.0, "full", duration=8.0), Reset(6.0)]
    same(simulated(*events, times=t)[1:], simulated(*plain, times=t + 24)[1:])
    assert simulated(*events, times=t)[0] == 0.0


def test_shifting_the_clock_changes_nothing():
    events = Regimen(Oral(100.0, 0.0, every=8.0, times=5, steady_state=True), Dose(3.0, 50.0, "full", duration=2.0))
    moved = run(MODEL, values(MODEL), events.shifted(-512.0), TIMES - 512.0, start=-512.0)
    assert np.allclose(moved, simulated(*events.events), rtol=1e-10, atol=0)


# parameters that change -----------------------------------------------------------------------------------------------


def segmented(rows, changes, events, times):
    """One patient whose parameters are ``rows[i]`` from ``changes[i]`` on."""
    s = Schedule(MODEL, 0.0)
    s.observe(times)
    for i, t in enumerate(changes[1:], 1):
        s.segment(t, i)
    s.regimen(Regimen(*events), float(max(times)), segment_at=changes)
    Y, status = Prepared(system(MODEL), [s], Method()).run(np.array(rows), segment=np.array([0]))
    assert not status.any()
    return Y[:, 0]


def test_bioavailability_and_lag_are_those_of_the_dose_s_moment():
    """A dose under way when they change keeps its own."""
    rows = [values(MODEL), values(MODEL, F=0.2, lag=3.0)]
    got = segmented(rows, [0.0, 1.2], [Dose(1.0, 100.0, "full"), Dose(2.0, 100.0, "full", duration=2.0)], TIMES)
    same(got, superposed([(1.0 + LAG, F * 100, 0.0, "central"), (2.0 + 3.0, 20.0, 2.0, "central")]))


def test_each_repeat_reads_the_parameters_of_its_own_time():
    """NONMEM freezes F, lag and D at the first: a deviation (docs/simulation.md). R is read at the dose, too."""
    rows = [values(MODEL), values(MODEL, F=0.2, lag=3.0, rate=10.0)]
    dose = Dose(1.0, 100.0, "full", modelled="rate", additional=1, interval=6.0)
    arrivals = [(1.0 + LAG, F * 100, F * 100 / P["rate"], "central"), (7.0 + 3.0, 20.0, 2.0, "central")]
    same(segmented(rows, [0.0, 1.5], [dose], TIMES), superposed(arrivals))


def test_clearance_changes_at_its_row_and_not_before():
    """After the change the curve is that of a patient who always had the new values, started from the same amounts."""
    old, new = values(MODEL), values(MODEL, cl=15.0)
    got = segmented([old, new], [0.0, 4.5], [Bolus(100.0, 0.0)], TIMES)
    early = TIMES < 4.5
    assert np.array_equal(got[early], simulated(Bolus(100.0, 0.0))[early])
    assert (got[~early] < simulated(Bolus(100.0, 0.0))[~early]).all()


@pytest.mark.parametrize("method", ["exact", "adaptive", "rk4", "stiff"])
def test_clearance_that_changes_between_equal_steps(method):
    """Hourly looks, one compartment: the propagator kept from the last hour must not serve the next one."""
    model = linear_model(1)
    rows = [values(model), values(model, cl=15.0), values(model, cl=1.0)]
    s = Schedule(model, 0.0)
    s.observe(np.arange(1.0, 9.0))
    s.segment(3.0, 1)
    s.segment(6.0, 2)
    s.regimen(Regimen(Bolus(90.0)), 8.0)
    Y, status = Prepared(system(model), [s], METHODS[method]).run(np.array(rows), segment=np.array([0]))
    assert not status.any()
    exponent = np.cumsum([5.0] * 3 + [15.0] * 3 + [1.0] * 2) / 30.0
    assert relative(Y[:, 0], 3.0 * np.exp(-exponent)) <= {"exact": 1e-13, "stiff": 1e-7}.get(method, 1e-9)


# sensitivities --------------------------------------------------------------------------------------------------------

SENSITIVE = {
    "bolus": Dose(0.3, 200.0, "full"),
    "oral": Dose(0.3, 200.0, "fulloral"),
    "fixed duration": Dose(0.3, 200.0, "full", duration=2.0),
    "fixed rate": Dose(0.3, 200.0, "full", rate=50.0),
    "modelled duration": Dose(0.3, 200.0, "full", modelled="duration"),
    "modelled rate": Dose(0.3, 200.0, "fulloral", modelled="rate"),
    "repeats": Dose(0.3, 200.0, "full", modelled="rate", additional=3, interval=6.0),
    "steady bolus": Dose(0.3, 100.0, "full", interval=6.0, steady_state=1),
    "steady oral": Dose(0.3, 100.0, "fulloral", interval=6.0, additional=2, steady_state=1),
    "steady modelled rate": Dose(0.3, 100.0, "full", modelled="rate", interval=6.0, steady_state=1),
    "steady modelled duration": Dose(0.3, 100.0, "full", modelled="duration", interval=1.2, steady_state=1),
    "steady fixed rate": Dose(0.3, 100.0, "full", rate=10.0, interval=6.0, additional=1, steady_state=1),
    "steady long lag": Dose(0.3, 100.0, "full", duration=1.0, interval=0.3, steady_state=1),
    "steady adding": Dose(0.3, 100.0, "fulloral", interval=6.0, steady_state=2),
    "constant infusion": Dose(0.3, 0.0, "iv", rate=8.0, steady_state=1),
}
SEEN = np.array([0.45, 0.9, 1.5, 2.25, 3.3, 5.1, 6.6, 7.4, 9.9, 14.0])


def finite_differences(model, p, regimen, times, method):
    """(times, parameters) by the five-point rule."""
    columns = []
    for j in range(len(p)):
        step, y = 2e-4 * abs(p[j]), {}
        for k in (-2, -1, 1, 2):
            q = p.copy()
            q[j] += k * step
            y[k] = run(model, q, regimen, times, method)
        columns.append((8 * (y[1] - y[-1]) - (y[2] - y[-2])) / (12 * step))
    return np.array(columns).T


def check_directions(model, regimen, method, limit, times=SEEN):
    p = values(model)
    Y, status = run_all(model, p, regimen, times, method, directions=True)
    assert not status.any()
    plain = run(model, p, regimen, times, method)
    assert relative(Y[0, :, 0], plain) <= 1e-7
    expected = finite_differences(model, p, regimen, times, method)
    got = Y[0, :, 1:]
    size = np.maximum(np.abs(expected), 1e-3 * np.abs(plain)[:, None] / p)
    error = np.where(size > 0, np.abs(got - expected) / np.where(size > 0, size, 1), np.abs(got))
    assert error.max() <= limit, (
        error.max(),
        np.unravel_index(error.argmax(), error.shape),
        list(model.individual_units),
    )


@pytest.mark.parametrize("case", sorted(SENSITIVE))
def test_sensitivities_of_a_linear_model(case):
    """To every parameter, lag, F, duration and rate too, against differences: rel 1e-6 (of C/p at least)."""
    check_directions(MODEL, Regimen(Bolus(30.0, 0.0), SENSITIVE[case]), "exact", 1e-6)


@pytest.mark.parametrize("case", ["bolus", "oral", "fixed rate", "modelled duration", "modelled rate", "repeats"])
def test_sensitivities_of_a_saturable_model(case):
    method = Method("adaptive", rtol=1e-12, atol=1e-14)
    check_directions(michaelis_menten_model(), Regimen(Bolus(30.0, 0.0), SENSITIVE[case]), method, 1e-6)


@pytest.mark.parametrize("case", ["steady bolus", "steady oral", "steady fixed rate", "steady modelled rate"])
def test_sensitivities_of_a_saturable_steady_state(case):
    method = Method("adaptive", rtol=1e-12, atol=1e-14)
    check_directions(michaelis_menten_model(), Regimen(SENSITIVE[case]), method, 1e-6)


@pytest.mark.parametrize(("method", "limit"), [("rk4", 1e-6), ("stiff", 1e-4)])
def test_sensitivities_of_the_other_methods(method, limit):
    model = michaelis_menten_model()
    p, regimen = values(model), Regimen(Bolus(30.0, 0.0), SENSITIVE["modelled rate"])
    fine = Method("adaptive", rtol=1e-12, atol=1e-14)
    expected, _ = run_all(model, p, regimen, SEEN, fine, directions=True)
    got, status = run_all(model, p, regimen, SEEN, method, directions=True)
    assert not status.any()
    size = np.maximum(np.abs(expected[0]), 1e-3 * np.abs(expected[0, :, :1]))
    assert (np.abs(got[0] - expected[0]) <= limit * size).all()


def test_several_directions_are_what_one_by_one_gives():
    """Directions of 1, 3 and all parameters: the same columns."""
    regimen, p = Regimen(SENSITIVE["repeats"]), values(MODEL)
    whole, _ = run_all(MODEL, p, regimen, SEEN, directions=True)
    for j in (0, 5, 6):
        S = system(MODEL, 1)
        row = np.concatenate([p, np.eye(len(p))[j]])[None]
        Y, _ = Prepared(S, [schedule(MODEL, p, regimen, SEEN)], Method()).run(row)
        assert np.allclose(Y[:, 1], whole[0, :, 1 + j], rtol=1e-11, atol=1e-13)
    assert directions_of(MODEL, p).shape == (1, len(p) * (1 + len(p)))
