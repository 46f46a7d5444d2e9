"""Readings that are late, twice there, missing or mad; batches; and a belief that is wrong."""

import dataclasses

import numpy as np
import pytest
from doseloop.pkpd.engine import set_threads
from doseloop.twin.belief import Fate
from doseloop.twin.follow import Sensor
from doseloop.twin.follower import Follower
from helpers_follow import MAN, nonlinear_statement, patient, same, sound

METHODS = [("ukf", {}), ("particle", {"particles": 256}), ("horizon", {"window": 12})]
REPLAYS = METHODS[:2]  # these two promise the same bits


@pytest.mark.parametrize(("method", "options"), REPLAYS)
def test_a_late_reading_leaves_the_same_bits_as_one_in_time(method, options):
    f = nonlinear_statement()
    u, y, _ = patient(f)
    a, b = (Follower(f, MAN, count=1, method=method, **options) for _ in range(2))
    held = []
    for k in range(40):
        now = (k + 1) * f.interval
        x = a.step(u[k], y[k])
        late = k % 9 in (3, 4)
        z = b.step(u[k], np.nan if late else y[k])
        if late:
            held.append((y[k], now))
        if k % 9 == 7:  # both arrive, the newer one first
            assert not same(x, z)
            for value, time in reversed(held):
                z = b.observe(value, time)
                assert z.fate[0] == Fate.USED
            held = []
            assert same(x, z)
    assert same(x, z) == (not held)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_late_reading_counts_for_the_horizon_too(method, options):
    f = nonlinear_statement()
    u, y, _ = patient(f)
    a, b = (Follower(f, MAN, count=1, method=method, **options) for _ in range(2))
    for k in range(20):
        x = a.step(u[k], y[k])
        z = b.step(u[k], np.nan if k == 17 else y[k])
    assert not same(x, z)
    z = b.observe(y[17], 18 * f.interval)
    sd = np.sqrt(np.diag(x.covariance[0])) + 1e-9
    assert np.abs((x.mean[0] - z.mean[0]) / sd).max() < 0.02
    assert np.abs((x.covariance[0] - z.covariance[0]) / np.outer(sd, sd)).max() < 0.02


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_reading_that_comes_twice_changes_nothing(method, options):
    f = nonlinear_statement()
    u, y, _ = patient(f)
    a, b = (Follower(f, MAN, count=1, method=method, **options) for _ in range(2))
    for k in range(20):
        x = a.step(u[k], y[k])
        z = b.step(u[k], y[k])
        if k % 3 == 0:
            z = b.observe(y[k])
            assert z.fate[0] == Fate.DUPLICATE
        if k % 3 == 1:
            z = b.observe(y[k - 1] + 1.0, k * f.interval)  # another value under the same time stamp
            assert z.fate[0] == Fate.DUPLICATE
        assert same(x, z)


def test_a_time_stamp_that_was_there_is_not_moved_to_a_free_slot():
    f = nonlinear_statement()
    u, y, _ = patient(f)
    a, b = Follower(f, MAN, count=1), Follower(f, MAN, count=1)
    for k in range(10):
        x, z = a.step(u[k], y[k]), b.step(u[k], y[k])
    x, z = a.step(u[10]), b.step(u[10], y[9] + 2.0, 10 * f.interval)
    assert z.fate[0] == Fate.DUPLICATE
    assert same(x, z)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_what_is_no_reading_changes_nothing(method, options):
    f = nonlinear_statement(sensor=Sensor(additive=0.8, quality=50.0, low=0.0))
    u, y, _ = patient(f)
    a, b = (Follower(f, MAN, count=1, method=method, **options) for _ in range(2))
    mad = [(np.nan, None, None), (np.inf, None, None), (-np.inf, None, None), (1e300, None, None), (-5.0, None, None)]
    mad += [(20.0, None, 10.0), (20.0, None, np.nan), (20.0, 1e9, None), (20.0, -1e300, None), (20.0, np.nan, None)]
    for k in range(30):
        x = a.step(u[k], y[k] if k % 2 else np.nan)
        z = b.step(u[k], *((y[k], None, None) if k % 2 else mad[k // 2 % len(mad)]))
        if k % 2 == 0:
            assert z.fate[0] in (Fate.MISSING, Fate.IMPLAUSIBLE, Fate.TOO_LATE)
        assert same(x, z)


@pytest.mark.parametrize(("method", "options"), METHODS)
@pytest.mark.parametrize("mad", [0.0, 99.0, 1e9, 1e300])
def test_a_mad_sensor_leaves_a_sound_belief(method, options, mad):
    f = nonlinear_statement(sensor=Sensor(additive=0.8, low=-20.0, high=1e308))
    u, y, _ = patient(f, steps=60)
    follower = Follower(f, MAN, count=1, method=method, **options)
    for k in range(60):
        belief = follower.step(u[k], mad if 20 <= k < 40 else y[k])
        assert sound(belief)
    draws = follower.draws(64)
    assert np.isfinite(draws.parameters).all()
    assert (draws.states >= 0).all()
    assert np.isfinite(follower.predict(u[:8]).high).all()


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_one_wild_reading_is_gated_and_several_widen(method, options):
    f = nonlinear_statement()
    u, y, _ = patient(f, steps=60, seed=5)
    follower = Follower(f, MAN, count=1, method=method, **options)
    for k in range(30):
        before = follower.step(u[k], y[k])
    after = follower.step(u[30], y[30] + 30.0)
    assert after.fate[0] == Fate.GATED
    assert after.gated[0] == 1
    assert abs(after.truth[0] - before.truth[0]) < 5.0
    after = follower.step(u[31], y[31])
    assert after.fate[0] == Fate.USED
    assert after.in_row[0] == 0
    fates, widths = [], []
    for k in range(32, 38):
        belief = follower.step(u[k], y[k] + 30.0)
        fates.append(belief.fate[0])
        widths.append(belief.truth_sd[0])
    assert fates[:3] == [Fate.GATED, Fate.GATED, Fate.WIDENED]
    assert belief.widened[0] >= 1
    assert widths[2] > widths[1]
    assert abs(belief.truth[0] - y[37] - 30.0) < 10.0  # it follows where the patient went


def test_the_process_noise_rises_where_the_belief_is_wrong_and_falls_again():
    f = nonlinear_statement()
    u, y, _ = patient(f, steps=100, seed=6)
    follower = Follower(f, MAN, count=1)
    wide = []
    for k in range(100):
        swing = 4.0 * (-1) ** (k // 2) if 20 <= k < 40 else 0.0
        wide.append(follower.step(u[k], y[k] + swing).wideness[0])
    assert max(wide[:20]) == 1.0
    assert max(wide[20:40]) > 2.0
    assert wide[-1] == 1.0


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_batch_alone_and_threads_have_the_same_bits(method, options):
    f = nonlinear_statement()
    runs = [patient(f, steps=12, seed=s) for s in range(37)]
    y = np.array([r[1] for r in runs])
    y[5, 3] = np.nan
    last = {}
    for threads in (1, 2):
        set_threads(threads)
        try:
            follower = Follower(f, MAN, count=37, seed=3, method=method, **options)
            for k in range(12):
                together = follower.step(runs[0][0][k], y[:, k])
            last[threads] = (together, follower.draws(7), follower.predict(runs[0][0][:3]))
        finally:
            set_threads(2)
    assert same(last[1][0], last[2][0])
    for i in (0, 5, 36):
        follower = Follower(f, MAN, count=1, seed=3, method=method, **options)
        for k in range(12):
            alone = follower.step(runs[0][0][k], y[i, k])
        assert np.array_equal(alone.mean[0], last[2][0].mean[i])
        assert np.array_equal(alone.covariance[0], last[2][0].covariance[i])
        assert np.array_equal(follower.draws(7).parameters[0], last[2][1].parameters[i])
        assert np.array_equal(follower.predict(runs[0][0][:3]).high[0], last[2][2].high[i])


def test_a_delayed_sensor_is_read_where_it_looked():
    f = nonlinear_statement()
    late = dataclasses.replace(f, sensor=Sensor(additive=0.8, delay=6.0, low=-20.0))
    u, y, _ = patient(f)
    a, b = Follower(f, MAN, count=1), Follower(late, MAN, count=1)
    for k in range(30):
        x = a.step(u[k], y[k] if k < 27 else np.nan)
        z = b.step(u[k], y[k - 3] if k >= 3 else np.nan)
    assert np.array_equal(x.mean, z.mean)
    assert np.array_equal(x.covariance, z.covariance)


def test_the_delay_grows_as_the_quality_falls():
    f = nonlinear_statement()
    late = dataclasses.replace(f, sensor=Sensor(additive=0.8, quality_delay=8.0, quality=50.0, low=-20.0))
    u, y, _ = patient(f)
    a, b = Follower(f, MAN, count=1), Follower(late, MAN, count=1)
    for k in range(20):  # of quality 75, so 2 h late
        x = a.step(u[k], y[k] if k < 19 else np.nan)
        z = b.step(u[k], y[k - 1] if k else np.nan, quality=75.0)
    assert np.allclose(x.mean[0, 2:], z.mean[0, 2:], atol=0.05)  # (a lower quality is noisier)
    z = b.step(u[20], y[19], quality=100.0)  # at once: of this very moment
    assert z.fate[0] == Fate.USED
    z = b.step(u[21], y[20] + 0.1, quality=75.0)  # of the moment before, which has its reading: the next free one
    assert z.fate[0] == Fate.USED
