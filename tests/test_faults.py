"""Faults do what they say, to whom they say, and nothing else."""

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.faults import KINDS, Fault, random_faults
from doseloop.virtual.glucose_world import GlucoseWorld
from helpers_world import S2008, people


def watch(faults, n=3, steps=48, sensor="breton2008", interval=5.0):
    """Readings, stamps (steps + 1, n) and insulin given (n,); meals, so that glucose moves."""
    world = GlucoseWorld(people(S2008, 1), n=n, faults=faults, sensor=sensor, start=700.0, interval=interval)
    seen = world.reset(5)
    rows = [(seen.reading, seen.reading_time, seen.announced)]
    for _ in range(steps):
        seen = world.step(np.tile([1.2, 0.0], (n, 1)))
        rows.append((seen.reading, seen.reading_time, seen.announced))
    return [np.array(a) for a in zip(*rows)] + [world.given]


@pytest.fixture(scope="module")
def plain():
    return watch([])


TIME = 5.0 * np.arange(49)
DURING = (TIME >= 60) & (TIME < 120)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("occluded", "unannounced")])
def test_a_fault_touches_its_patient_in_its_time_and_nobody_else(plain, kind):
    reading, stamp, _, given = watch([Fault(kind, 60, 60, 20.0, [1])])
    for k in (0, 2):
        np.testing.assert_array_equal(reading[:, k], plain[0][:, k])
    np.testing.assert_array_equal(reading[~DURING], plain[0][~DURING])
    np.testing.assert_array_equal(stamp[~DURING], plain[1][~DURING])
    changed = (reading[DURING, 1] != plain[0][DURING, 1]) | (stamp[DURING, 1] != plain[1][DURING, 1])
    assert changed.sum() >= 5
    np.testing.assert_array_equal(given, plain[3])


def test_lost_is_no_reading(plain):
    reading, stamp, _, _ = watch([Fault("lost", 60, 60)])
    assert (np.isnan(reading).all(axis=1) == DURING).all()
    assert (np.isnan(stamp).all(axis=1) == DURING).all()


def test_stuck_repeats_the_last_value_with_new_stamps(plain):
    reading, stamp, _, _ = watch([Fault("stuck", 60, 60)])
    assert (reading[DURING] == plain[0][11]).all()
    np.testing.assert_array_equal(stamp, plain[1])


def test_drift_grows_by_the_hour_and_stops_at_the_sensors_range(plain):
    reading, _, _, _ = watch([Fault("drift", 60, 60, 30.0)])
    off = (reading - plain[0])[DURING]
    np.testing.assert_allclose(off, np.tile(0.5 * (TIME[DURING] - 60)[:, None], 3), atol=1e-9)
    low, _, _, _ = watch([Fault("drift", 60, 60, -1000.0)])
    assert low[DURING].min() == 39.0


def test_delayed_readings_come_with_their_own_old_stamps(plain):
    reading, stamp, _, _ = watch([Fault("delayed", 60, 60, 20.0)])
    np.testing.assert_array_equal(reading[DURING], plain[0][8:20])
    np.testing.assert_array_equal(stamp[DURING, 0], TIME[8:20])
    early, _, _, _ = watch([Fault("delayed", 0, 30, 20.0)])
    assert np.isnan(early[:4]).all()  # none was made so early


def test_a_shifted_clock_shifts_stamps_only(plain):
    reading, stamp, _, _ = watch([Fault("clock", 60, 60, -37.0)])
    np.testing.assert_array_equal(reading, plain[0])
    np.testing.assert_array_equal(stamp[DURING], plain[1][DURING] - 37)


def test_duplicates_bring_every_other_reading_twice(plain):
    reading, stamp, _, _ = watch([Fault("duplicated", 60, 60)])
    at = np.flatnonzero(DURING)
    for k in at:
        source = k if k % 2 == 0 else k - 1
        np.testing.assert_array_equal(reading[k], plain[0][source])
        assert stamp[k, 0] == TIME[source]


def test_spikes_may_leave_the_sensors_range(plain):
    reading, _, _, _ = watch([Fault("spike", 60, 5, -500.0)])
    np.testing.assert_allclose(reading[12], plain[0][12] - 500)


def test_an_occlusion_stops_insulin_and_leaves_readings_of_the_moment(plain):
    _, _, _, given = watch([Fault("occluded", 60, 60, 0, [2]), Fault("occluded", 200, 1000, 0, [1])], steps=40)
    full = watch([], steps=40)[3]
    np.testing.assert_allclose(given[[0, 2]], full[[0, 2]], atol=1e-9)  # what had piled up came
    assert given[1] == full[1]
    assert watch([Fault("occluded", 60, 1000)], steps=40)[3] == pytest.approx([1.2] * 3)


def test_several_at_once(plain):
    reading, stamp, _, _ = watch(
        [Fault("clock", 60, 60, 10.0), Fault("spike", 60, 60, 5.0), Fault("spike", 90, 90, 7.0)]
    )
    np.testing.assert_allclose(reading[DURING], plain[0][DURING] + 5)  # the first of a kind acts
    np.testing.assert_allclose(reading[24:36], plain[0][24:36] + 7)
    np.testing.assert_allclose(stamp[DURING], plain[1][DURING] + 10)


def test_bis_faults_and_the_second_drugs_line():
    group = people("propofol_remifentanil_bouillon2004", 2)

    def run(faults):
        world = AnaesthesiaWorld(group, faults=faults, monitor="clean")
        seen, rows = world.reset(1), []
        for _ in range(60):
            seen = world.step(np.tile([10.0, 5.0], (2, 1)))
            rows.append(seen.reading)
        return np.array(rows), world.given

    base, given = run([])
    lost, same = run([Fault("lost", 1, 2, 0, [0]), Fault("drift", 1, 2, -600.0, [1])])
    assert np.isnan(lost[12:34, 0]).all()
    assert np.isfinite(lost[40:]).all()
    np.testing.assert_array_equal(lost[40:], base[40:])
    np.testing.assert_allclose(lost[22, 1] - base[22, 1], -600 * (23 / 12 - 1) / 60, atol=0.11)
    np.testing.assert_array_equal(given, same)
    _, blocked = run([Fault("occluded", 0, 100, 1.0, [0])])
    np.testing.assert_array_equal(blocked[:, 0], given[:, 0])
    assert blocked[0, 1] == 0
    assert blocked[1, 1] == given[1, 1]


def test_random_faults_are_those_of_their_seed():
    a, b = (random_faults(20, 1440.0, 3) for _ in range(2))
    assert a == b
    assert a != random_faults(20, 1440.0, 4)
    assert 20 < len(a) < 60  # two a day each
    assert {f.kind for f in random_faults(200, 1440.0, 3)} == set(KINDS)
    assert all(15 <= f.duration <= 120 and 0 <= f.start < 1440 for f in a)
    assert {f.kind for f in random_faults(20, 1440.0, 3, ["lost"])} == {"lost"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("gone", 0, 1),
        Fault("lost", 0, 0),
        Fault("lost", np.nan, 1),
        Fault("delayed", 0, 1),
        Fault("lost", 0, 1, 0, [3]),
    ],
)
def test_faults_that_cannot_be(fault):
    with pytest.raises(DoseloopError, match="fault 0"):
        watch([fault])
