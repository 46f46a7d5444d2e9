"""The guard at the pump: monitors against simulation, and what the gate lets through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from doseloop import models, therapies
from doseloop.pkpd.errors import DoseloopError
from doseloop.pkpd.regimen import Infusion, Regimen
from doseloop.pkpd.simulate import simulate
from doseloop.safety import Code, Kind
from doseloop.therapies.gate import Gate
from doseloop.therapies.loop_glucose import classes
from doseloop.therapies.monitor import EffectSiteMonitor, GlucoseMonitor
from doseloop.virtual.world import Observation

GLUCOSE = {
    "weight": np.array([70.0, 30.0]),
    "basal": np.array([1.0, 0.4]),
    "carb_ratio": np.array([10.0, 25.0]),
    "correction": np.array([40.0, 90.0]),
    "group": np.array([0.0, 2.0]),
}
ADULTS = {
    "age": np.array([35.0, 70.0]),
    "weight": np.array([70.0, 60.0]),
    "height": np.array([170.0, 160.0]),
    "sex": np.array([0.0, 1.0]),
}


def seen(time, reading, delivered, *, stamp=None, quality=100.0, announced=0.0, pending=None, pressure=np.nan):
    n = len(reading)
    row = lambda v: np.broadcast_to(np.asarray(v, dtype=float), (n,)).copy()  # noqa: E731
    return Observation(
        time,
        row(reading),
        row(time if stamp is None else stamp),
        row(quality),
        row(announced),
        np.asarray(delivered, dtype=float),
        np.zeros(n, dtype=bool),
        row(time),
        row(pressure),
        np.zeros_like(np.asarray(delivered, dtype=float)) if pending is None else pending,
    )


def test_loops_are_found_and_kept_apart_from_bedside_therapies():
    assert therapies.loop_ids() == ("anaesthesia", "glucose", "propofol")
    assert not set(therapies.loop_ids()) & set(therapies.ids())
    with pytest.raises(DoseloopError, match="doseloop loop glucose"):
        therapies.load("glucose")
    with pytest.raises(DoseloopError, match="did you mean 'propofol'"):
        therapies.load_loop("propofl")


def test_insulin_on_board_is_that_of_two_compartments_under_any_delivery():
    """Against a sum over every minute's delivery: share left of a bolus is (1 + t/55) exp(-t/55)."""
    rng, monitor = np.random.default_rng(1), GlucoseMonitor(GLUCOSE, 2, 5.0)
    rates, boluses = rng.uniform(0, 3, (60, 2)), rng.uniform(0, 2, (60, 2)) * (rng.random((60, 2)) < 0.2)
    for rate, bolus in zip(rates, boluses):
        monitor.given(np.column_stack([rate, bolus]))
    left = lambda t: (1 + t / 55.0) * np.exp(-t / 55.0)  # noqa: E731
    middle = (np.arange(3000) + 0.5) / 10.0  # fine slices of 300 min
    net = (np.repeat(rates, 50, axis=0) - GLUCOSE["basal"]) / 60.0 / 10.0
    expected = (net * left(300.0 - middle)[:, None]).sum(0) + (
        boluses * left(300.0 - 5.0 * np.arange(60))[:, None]
    ).sum(0)
    assert monitor.on_board == pytest.approx(expected, rel=1e-5)


def test_the_trend_is_a_line_through_the_readings():
    monitor = GlucoseMonitor(GLUCOSE, 2, 5.0)
    for k in range(9):
        value = np.array([150.0 - 2.0 * 5 * k, 100.0 + 1.0 * 5 * k])
        value = value if k != 6 else np.full(2, np.nan)
        monitor.see(value[:, None], np.full((2, 1), 5.0 * k), np.zeros(2))
    assert monitor.trend() == pytest.approx([-2.0, 1.0])
    nothing, given = monitor.project(1, np.array([1.0, 1.0]), np.zeros((2, 2)), np.zeros((2, 2)))
    assert nothing[:, 1] == pytest.approx([70.0 - 60.0, 140.0 + 30.0])
    assert given[:, 1] - nothing[:, 1] == pytest.approx([-4.0, -9.0])
    assert given[:, 0] - nothing[:, 0] == pytest.approx([1.0, 1.0])


def test_the_effect_site_peak_is_the_simulated_one():
    model = models.load("propofol_eleveld2018")
    monitor = EffectSiteMonitor(model, ADULTS, 2, 1 / 12)
    rates = np.array([200.0, 120.0])
    for k in range(18):
        monitor.given(rates[:, None] * (k < 12))
    nothing, given = monitor.project(0, rates, np.zeros((2, 1)), np.zeros((2, 1)))
    covariates = [model.typical_covariates | {k: float(v[i]) for k, v in ADULTS.items()} for i in range(2)]
    times = np.arange(1.5, 8.0, 0.01)
    for extra, got in ((0.0, nothing), (1.0, given)):
        for i, c in enumerate(covariates):
            doses = [Infusion(rates[i], 0.0, duration=1.0, route="propofol")]
            if extra:
                doses.append(Infusion(rates[i] / 12, 1.5, duration=1 / 12, route="propofol"))
            course = simulate(model, regimen=Regimen(*doses), times=times, covariates=c)["ce"][0]
            assert got[i, 0] == pytest.approx(course.max(), rel=2e-3)


def test_the_age_class_allows_the_patients_own_basal_rate_and_usual_bolus():
    known = {k: np.array([70.0, 70.0, 30.0, 30.0]) for k in GLUCOSE}
    known |= {"basal": np.array([1.0, 11.0, 0.4, 0.4]), "carb_ratio": np.array([10.0, 10.0, 25.0, 5.0])}
    known["group"] = np.array([0.0, 0.0, 2.0, 2.0])
    assert classes(known) == ["adult", "resistant", "child", "teen"]
    assert classes(known | {"largest_meal": np.full(4, 100.0)}) == ["adult", "resistant", "child", "resistant"]


def test_what_the_gate_does_with_each_reading():
    def first(reading, asked=(2.0, 1.0), **how):
        gate = Gate(therapies.load_loop("glucose"))
        gate.reset(GLUCOSE, 2)
        allowed, masks = gate.judge(seen(0.0, np.full(2, reading), np.zeros((2, 2)), **how), np.tile(asked, (2, 1)))
        return allowed, masks

    allowed, masks = first(150.0, (1.5, 1.0))
    assert allowed.tolist() == [[1.5, 1.0], [1.5, 1.0]]
    assert first(65.0)[0].tolist() == [[0.0, 0.0]] * 2
    allowed, masks = first(np.nan)  # no sensor: the programmed basal rate at most, no bolus of the loop
    assert allowed == pytest.approx(np.array([[1.0, 0.0], [0.4, 0.0]]))
    assert (masks & Code.MEASUREMENT_MISSING.bit).all()
    assert first(150.0, stamp=30.0)[0].tolist() == [[0.0, 0.0]] * 2  # a sensor whose clock is wrong
    assert first(150.0, (np.nan, np.inf))[0].tolist() == [[0.0, 0.0]] * 2
    assert first(350.0, (2.0, 99.0))[0][:, 1].tolist() == [17.0, 5.0]
    lowered, masks = first(150.0, (2.0, 99.0))
    assert (lowered[:, 1] < [17.0, 5.0]).all()  # so much would take glucose under 70 within half an hour
    assert (masks[:, 1] & Code.PROJECTION_LOW.bit).all()


def test_a_reading_of_this_moment_is_not_in_the_future_by_rounding():
    gate = Gate(therapies.load_loop("propofol"))
    gate.reset(ADULTS, 2)
    for k in range(200):
        now = seen(k / 12, np.full(2, 60.0), np.zeros((2, 1)), stamp=np.nextafter(k / 12, 1e9))
        _, masks = gate.judge(now, np.full((2, 1), 5.0))
        assert not (masks & Code.MEASUREMENT_IN_FUTURE.bit).any()


def test_a_bolus_that_is_still_running_in_counts():
    """4 of 15 U are in: the hour has room for 7 more of an adult's 22, not for 18."""
    gate = Gate(therapies.load_loop("glucose"))
    gate.reset(GLUCOSE, 2)
    gate.judge(seen(0.0, np.full(2, 400.0), np.zeros((2, 2))), np.tile([0.0, 15.0], (2, 1)))
    running = seen(5.0, np.full(2, 405.0), np.tile([0.0, 4.0], (2, 1)), pending=np.tile([0.0, 11.0], (2, 1)))
    allowed, masks = gate.judge(running, np.tile([0.0, 12.0], (2, 1)))
    assert allowed[:, 1] == pytest.approx([7.0, 0.0])
    assert masks[0, 1] & Code.ROLLING_MAX.bit
    # the rest runs in: nothing is counted twice
    done = seen(10.0, np.full(2, 410.0), np.tile([0.0, 11.0], (2, 1)))
    assert gate.judge(done, np.tile([0.0, 12.0], (2, 1)))[0][0, 1] == pytest.approx(7.0)


def test_nothing_the_gate_allows_is_ever_above_what_was_asked_or_above_the_table():
    """Random requests, readings and confirmations, some of them impossible."""
    rng, gate = np.random.default_rng(3), Gate(therapies.load_loop("glucose"))
    known = {k: np.tile(v, 16) for k, v in GLUCOSE.items()}
    gate.reset(known, 32)
    delivered = np.zeros((32, 2))
    most = {a.kind: a.maximum.value for a in gate.drugs["sc"].limits.actions}
    hour = np.zeros((0, 32))
    for k in range(200):
        reading = rng.choice([np.nan, 20.0, 65.0, 90.0, 150.0, 350.0, 900.0], 32)
        asked = rng.choice([0.0, 0.5, 2.0, 50.0, np.nan, -1.0], (32, 2))
        allowed, _ = gate.judge(seen(5.0 * k, reading, delivered), asked)
        assert (allowed >= 0).all()
        assert (allowed <= np.where(asked > 0, asked, 0.0)).all()
        assert (allowed[:, 0] <= most[Kind.RATE]).all()
        assert (allowed[:, 1] <= most[Kind.DOSE]).all()
        delivered = allowed
        hour = np.vstack([hour, allowed[:, 0] / 12 + allowed[:, 1]])[-12:]
        assert (hour.sum(axis=0) <= np.where(known["group"] == 2, 7.0, 22.0) + 1e-9).all()


# Two drugs, two measurements -----------------------------------------------------------------------------------------

SU = models.load("propofol_remifentanil_su2023")
FLOORS = np.array([55.0, 60.0])  # propofol, remifentanil


def two_drugs(pressures, asked=(20.0, 20.0), bis=50.0, delivered=(0.0, 0.0), quality=100.0):
    """A pressure (one, or one a patient; None: not measured) every minute, a decision every 5 s: what was allowed at
    the last, its masks and the gate. Until then nothing was asked, and the pumps confirmed ``delivered``."""
    gate = Gate(therapies.load_loop("anaesthesia"))
    gate.reset(ADULTS, 2)
    for k in range(12 * (len(pressures) - 1) + 1):
        value = pressures[k // 12] if k % 12 == 0 and pressures[k // 12] is not None else np.nan
        last = k == 12 * (len(pressures) - 1)
        now = seen(k / 12, np.full(2, bis), np.tile(delivered, (2, 1)), pressure=value, quality=quality)
        allowed, masks = gate.judge(now, np.tile(asked if last else (0.0, 0.0), (2, 1)))
    return allowed, masks, gate


def courses(rates, minutes, times):
    """(2, times) pressure of the typical adults under two rates for so many minutes."""
    regimen = Regimen(*(Infusion(r * minutes, 0.0, duration=minutes, route=d) for r, d in rates if r > 0))
    rows = [SU.typical_covariates | {k: float(v[i]) for k, v in ADULTS.items()} for i in range(2)]
    return simulate(SU, regimen=[regimen] * 2, times=times, covariates=rows)["map"]


def test_a_pressure_over_the_floor_lets_both_drugs_pass():
    allowed, masks, _ = two_drugs([80.0] * 6)
    assert allowed.tolist() == [[20.0, 20.0]] * 2
    assert not masks.any()


def test_under_50_mmhg_neither_drug_is_given():
    allowed, masks, gate = two_drugs([95.0] * 8 + [49.9])
    assert allowed.tolist() == [[0.0, 0.0]] * 2
    assert (masks & Code.MEASUREMENT_STOP.bit).all()
    assert gate.counts[Code.MEASUREMENT_STOP] == 4
    # the readings before it keep the projection over 60: it is the reading itself that stops
    assert not (masks & Code.PROJECTION_LOW.bit).any()
    assert (gate.monitor.pressure(np.zeros((2, 2))) > FLOORS.max()).all()


@pytest.mark.parametrize("share", [np.array([1.0, 1.0]), np.array([1.2, 0.8])])
def test_the_projected_pressure_is_the_patients_own_where_he_differs_by_a_factor(share):
    """Six minutes of both drugs, then nothing, then 5 s of each drug."""
    rates = ((25.0, "propofol"), (20.0, "remifentanil"))
    read = share[:, None] * courses(rates, 6.0, np.arange(7.0))
    _, _, gate = two_drugs(list(read.T), (0.0, 0.0), delivered=(25.0, 20.0))
    true = share * courses(rates, 6.0, [8.0])[:, 0]
    assert gate.monitor.pressure(np.zeros((2, 2))) == pytest.approx(true, rel=1e-4)
    on = ((25.0, "propofol"), (20.0, "remifentanil"))
    longer = share * courses(on, 6.0 + 1 / 12, [8.0])[:, 0]
    assert gate.monitor.pressure(np.tile([25.0, 20.0], (2, 1))) == pytest.approx(longer, rel=1e-4)
    assert (longer < true - 0.02).all()


@pytest.mark.parametrize(("now", "stopped"), [(61.0, [False, True]), (56.0, [True, True]), (66.0, [False, False])])
def test_a_pressure_that_will_fall_stops_the_opioid_first_and_then_the_hypnotic(now, stopped):
    """Drugs that have not acted yet take it under 60, or 55, within 2 min, whatever is given now."""
    rates = ((25.0, "propofol"), (20.0, "remifentanil"))
    read = courses(rates, 6.0, np.arange(7.0))
    read *= (now / read[:, -1])[:, None]
    allowed, masks, gate = two_drugs(list(read.T), delivered=(25.0, 20.0))
    ahead = gate.monitor.pressure(np.zeros((2, 2)))
    assert ((ahead < now) & (read > FLOORS[0]).all(axis=1)).all()
    assert np.array_equal(ahead[:, None] < FLOORS, np.tile(stopped, (2, 1)))
    assert np.array_equal(allowed == 0.0, np.tile(stopped, (2, 1)))
    assert np.array_equal((masks & Code.PROJECTION_LOW.bit) > 0, np.tile(stopped, (2, 1)))
    assert not (masks & Code.MEASUREMENT_STOP.bit).any()


def test_near_the_floor_a_large_rate_is_lowered_and_the_second_drug_has_what_the_first_leaves():
    """Lowered to a tenth (the table's steepness) of the line to where the floor is reached."""
    for column, steady, asked in ((0, 57.0, (400.0, 0.0)), (1, 63.0, (60.0, 400.0))):
        allowed, masks, gate = two_drugs([steady] * 7, asked)
        assert (masks[:, column] & Code.PROJECTION_LOW.bit).all()
        before = np.zeros((2, 2))
        before[:, :column] = allowed[:, :column]
        more = before.copy()
        more[:, column] = asked[column]
        nothing, given = gate.monitor.pressure(before), gate.monitor.pressure(more)
        floor = FLOORS[column]
        assert (given < floor).all()
        left = asked[column] * np.maximum(nothing - floor, 0.0) / (nothing - given) / 10
        assert allowed[:, column] == pytest.approx(left, abs=0.011)
        assert (allowed[:, column] > 0.3).all()
    assert (allowed[:, 0] > 5.0).all()  # without it the second would have more
    assert (gate.monitor.pressure(np.zeros((2, 2))) - nothing > 0.01).all()


def test_without_a_pressure_each_drug_is_held_to_its_maintenance_rate_and_that_is_said():
    for pressures, code in (
        ([None] * 3, Code.MEASUREMENT_MISSING),
        ([80.0] + [None] * 7, Code.MEASUREMENT_STALE),  # 7 min old, over 6
    ):
        allowed, masks, gate = two_drugs(pressures, (60.0, 100.0))
        assert (masks & code.bit).all()
        assert (masks & Code.PREDICTION_MISSING.bit).all()
        for j, route in enumerate(("propofol", "remifentanil")):
            most = gate.drugs[route].own[Kind.RATE].unmeasured_max
            assert allowed[:, j] == pytest.approx(most, abs=0.0101)
    allowed, masks, _ = two_drugs([80.0] + [None] * 6, (60.0, 100.0))  # 6 min: a slow cuff is no fault
    assert allowed.tolist() == [[60.0, 100.0]] * 2


def test_a_poor_signal_of_bis_leaves_the_pressure_its_say():
    allowed, masks, _ = two_drugs([45.0] * 3, (60.0, 100.0), quality=20.0)
    assert (masks & Code.MEASUREMENT_POOR.bit).all()
    assert (masks & Code.MEASUREMENT_STOP.bit).all()
    assert not allowed.any()
    # and a BIS of 15 stops the hypnotic, not the opioid
    assert two_drugs([80.0] * 3, (5.0, 5.0), bis=15.0)[0].tolist() == [[0.0, 5.0]] * 2


def test_an_impossible_pressure_is_refused_not_believed():
    allowed, masks, _ = two_drugs([80.0, 80.0, 300.0], (1.0, 1.0))
    assert (masks & Code.MEASUREMENT_OUT_OF_RANGE.bit).all()
    assert not allowed.any()


def test_each_drug_has_its_own_effect_site_and_its_own_record():
    gate = Gate(therapies.load_loop("anaesthesia"))
    gate.reset(ADULTS, 2)
    for k in range(24):
        delivered = np.tile([0.0, 60.0], (2, 1))
        gate.judge(seen(k / 12, np.full(2, 50.0), delivered, pressure=80.0), np.zeros((2, 2)))
    for column, used in ((0, False), (1, True)):
        nothing, given = gate.monitor.project(column, np.full(2, 60.0), np.zeros((2, 2)), np.zeros((2, 2)))
        assert (nothing[:, 0] > 1.0).all() == used
        assert (given[:, 0] > nothing[:, 0]).all()
    model = models.load("remifentanil_eleveld2017")
    for i in range(2):
        covariates = model.typical_covariates | {
            k: float(v[i]) for k, v in ADULTS.items() if k in model.names("covariates")
        }
        doses = Regimen(Infusion(60.0 * 23 / 12, 0.0, duration=23 / 12, route="remifentanil"))
        course = simulate(model, regimen=doses, times=np.arange(23 / 12, 8.0, 0.01), covariates=covariates)["ce"][0]
        assert nothing[i, 0] == pytest.approx(course.max(), rel=2e-3)


def test_a_table_that_demands_what_nothing_feeds_is_a_fault_of_the_program():
    therapy = therapies.load_loop("anaesthesia")
    blind = replace(therapy, measured=therapy.measured[:1])
    with pytest.raises(DoseloopError, match="demands MAP, which no field of an observation feeds"):
        Gate(blind).reset(ADULTS, 2)
    idle = replace(therapies.load_loop("propofol"), measured=therapy.measured)
    with pytest.raises(DoseloopError, match="MAP is declared, and no table has a row for it"):
        Gate(idle).reset(ADULTS, 2)
    lost = replace(therapy, actuators=(*therapy.actuators, replace(therapy.actuators[0], route="arm")))
    with pytest.raises(DoseloopError, match="'propofol' goes by route 'arm', of which there is no table"):
        Gate(lost).reset(ADULTS, 2)
