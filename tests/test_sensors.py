"""Sensors against their published formulas: moments, autocorrelation, gaps, compression lows; the BIS monitor."""

import math
from dataclasses import replace

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.virtual import sensors
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.monitors import Monitor, noise_filter
from doseloop.virtual.sensors import CGM
from helpers_world import ELEVELD, S2008, people
from scipy.integrate import quad
from scipy.interpolate import CubicSpline

WIDE = {"low": 0.0, "high": 1e6, "step": 0.0}


def errors(sensor, n=64, days=2.0, interval=5.0, seed=2, **options):
    """Readings minus what lay under the sensor, (samples, n), and that glucose; nobody eats."""
    world = GlucoseWorld(people(S2008, 1), n=n, sensor=sensor, pump="ideal", meals="none", interval=interval, **options)
    seen, basal = world.reset(seed), world.people.known["basal"][0]
    rows, true = [seen.reading], [world.outputs["sensor"]]
    for _ in range(round(days * 1440 / interval)):
        seen = world.step(np.tile([basal, 0.0], (n, 1)))
        rows.append(seen.reading)
        true.append(world.outputs["sensor"])
    return np.array(rows) - np.array(true), np.array(true)


def near(sample, value, errors_of_mean=5.0):
    """The mean of independent patients' values lies within so many standard errors of the value."""
    sample = np.asarray(sample)
    return abs(sample.mean() - value) < errors_of_mean * sample.std(ddof=1) / math.sqrt(sample.size) + 1e-12


def test_an_ideal_sensor_shows_what_is_there():
    e, _ = errors("ideal", n=3, days=0.1)
    assert np.abs(e).max() == 0


# Breton & Kovatchev 2008 ------------------------------------------------------------


@pytest.fixture(scope="module")
def breton():
    return errors(replace(CGM.named("breton2008"), **WIDE), n=200)[0]


def johnson(e):
    return sensors.XI + sensors.LAMBDA * np.sinh((e - sensors.GAMMA) / sensors.DELTA)


def test_breton_knots_are_an_autoregression_under_johnsons_transform(breton):
    knots = breton[2::3]  # noise time 15 min, 30 min, …
    e = sensors.GAMMA + sensors.DELTA * np.arcsinh((knots - sensors.XI) / sensors.LAMBDA)
    fresh = e[1:] / 0.7 - e[:-1]  # the paper's z
    assert near(fresh.mean(axis=0), 0.0)
    assert near((fresh**2).mean(axis=0), 1.0)
    assert near((fresh[1:] * fresh[:-1]).mean(axis=0), 0.0)
    assert near((fresh**4).mean(axis=0), 3.0)


def test_breton_moments_are_those_of_the_formula(breton):
    spread = math.sqrt(0.49 / 0.51)  # of e in its steady state
    law = lambda f: quad(lambda e: f(johnson(e)) * math.exp(-((e / spread) ** 2) / 2), -9, 9)[0]  # noqa: E731
    total = law(lambda x: 1.0)
    mean, square = law(lambda x: x) / total, law(lambda x: x * x) / total
    knots = breton[2::3]
    assert near(knots.mean(axis=0), mean)
    assert near((knots**2).mean(axis=0), square)
    assert 7 < math.sqrt(square - mean**2) < 12  # mg/dL: as large as it is


def test_between_knots_runs_a_not_a_knot_spline_of_eleven(breton):
    t = 5.0 * np.arange(1, len(breton) + 1)
    for window in range(1, 19):
        inside = (t >= 150 * window) & (t <= 150 * (window + 1))
        at, noise = t[inside], breton[inside]
        knots = at % 15 == 0
        assert knots.sum() == 11
        spline = CubicSpline(at[knots], noise[knots], bc_type="not-a-knot")
        np.testing.assert_allclose(noise, spline(at), atol=1e-9)


def test_the_benchmarks_sensor_samples_every_three_minutes():
    e, _ = errors(replace(CGM.named("simglucose"), **WIDE), n=3, days=0.25, interval=3.0)
    assert np.isfinite(e).all()
    t = 3.0 * np.arange(1, len(e) + 1)
    at = (t >= 150) & (t <= 300)
    knots = t[at] % 15 == 0
    np.testing.assert_allclose(e[at], CubicSpline(t[at][knots], e[at][knots])(t[at]), atol=1e-9)


# autoregressive sensors ------------------------------------------------------------


def covariances(phi1, phi2, variance, lags):
    """Autocovariances of an AR(2) by Yule–Walker."""
    g0 = variance * (1 - phi2) / ((1 + phi2) * ((1 - phi2) ** 2 - phi1**2))
    g = [g0, g0 * phi1 / (1 - phi2)]
    while len(g) <= lags:
        g.append(phi1 * g[-1] + phi2 * g[-2])
    return np.array(g[: lags + 1])


@pytest.mark.parametrize("name", ["dexcom_g6", "dexcom_g5"])
def test_dexcom_errors_have_the_published_colour(name):
    sensor = replace(CGM.named(name), age=0.0, warmup=0.0, **WIDE)
    e, true = errors(sensor, n=300, days=1.5)
    days = np.arange(len(e))[:, None] * 5 / 1440
    if sensor.cycle:
        days = days % sensor.cycle
    a, b = (np.polynomial.polynomial.polyval(days, c) for c in (sensor.gain, sensor.offset))
    noise = e + true - a * true - b
    law = covariances(*sensor.own, 6) + (covariances(*sensor.shared, 6) if sensor.shared[2] else 0)
    assert near(noise.mean(axis=0), 0.0)
    for lag in range(7):
        got = (noise[lag:] * noise[: len(noise) - lag]).mean(axis=0)
        assert near(got, law[lag]), (lag, got.mean(), law[lag])
    assert near(noise[0] ** 2, law[0])  # in its steady state from the first sample
    assert near(noise[0] * noise[1], law[1])


def test_dexcom_g6_at_day_0_and_day_5_by_hand():
    # Vettoretti 2019, Table 1: at day 5 a = 1.048 − .165 + .05, b = −6.398 + 30.895 − 11.2
    for age, gain, offset in ((0.0, 1.048, -6.398), (5.0, 0.933, 13.297)):
        quiet = replace(CGM.named("dexcom_g6"), age=age, warmup=0.0, own=(0, 0, 0), shared=(0, 0, 0), **WIDE)
        e, true = errors(quiet, n=1, days=0.001, interval=1.0)
        assert e[0, 0] + true[0, 0] == pytest.approx(gain * true[0, 0] + offset, abs=1e-9)


def test_varied_sensors_are_drawn_from_the_published_distribution():
    world = GlucoseWorld(people(S2008, 1), n=4000, sensor="dexcom_g6_varied", meals="none")
    world.reset(1)
    rows = world._state["WORN"].transpose(1, 0, 2).reshape(sensors.CGM_ROWS, -1)
    drawn = rows[[sensors.A0, sensors.A1, sensors.A2, sensors.B0, sensors.PHI1, sensors.PHI2, sensors.SD]]
    lower = np.zeros((7, 7))
    for r, row in enumerate(sensors._COVARIANCE):
        lower[r, : r + 1] = row
    law = 0.9 * (lower + np.tril(lower, -1).T)
    sd = np.sqrt(np.diag(law))
    # the cut of what is not stationary or too wide takes a quarter of the draws
    rng = np.random.default_rng(0)
    law_drawn = rng.multivariate_normal(sensors._MEAN, law, 100_000)
    phi1, phi2, noise = law_drawn.T[4:]
    with np.errstate(divide="ignore"):
        variance = noise**2 * (1 - phi2) / ((1 + phi2) * ((1 - phi2) ** 2 - phi1**2))
    cut = law_drawn[(np.abs(phi2) < 1) & (phi2 < 1 - np.abs(phi1) - 0.02) & (variance <= 100) & (noise >= 0)].T
    assert (np.abs(drawn.mean(axis=1) - cut.mean(axis=1)) < 5 * sd / math.sqrt(4000)).all()
    assert np.abs(drawn.std(axis=1) / cut.std(axis=1) - 1).max() < 0.06
    assert np.abs(np.corrcoef(drawn) - np.corrcoef(cut)).max() < 0.08
    phi1, phi2, noise = drawn[4:]
    variance = noise**2 * (1 - phi2) / ((1 + phi2) * ((1 - phi2) ** 2 - phi1**2))
    assert (variance > 0).all()
    assert (variance <= 100.0 + 1e-9).all()


def test_range_rounding_life_and_warm_up():
    e, true = errors(replace(CGM.named("dexcom_g6"), low=118.0, high=119.0), n=20, days=0.2)
    shown = (e + true)[np.isfinite(e)]
    assert set(np.unique(np.round(shown, 9))) <= {118.0, 119.0}
    worn = replace(CGM.named("dexcom_g6"), life=0.5, age=0.0, warmup=60.0)
    e, _ = errors(worn, n=2, days=1.2)
    minutes = 5 * np.arange(len(e))
    assert (np.isnan(e).all(axis=1) == (minutes % 720 < 60)).all()


# gaps and compression lows ------------------------------------------------------------


def test_gaps_are_as_many_and_as_long_as_asked():
    e, _ = errors(replace(CGM.named("ideal"), gaps=4.0), n=200, days=5)
    gone = np.isnan(e)
    starts = gone[1:] & ~gone[:-1]
    share = gone.mean(axis=0)
    begin, end = -math.expm1(-4 * 5 / 1440), -math.expm1(-5 / 8.7)
    assert near(starts.sum(axis=0) / (~gone[:-1]).sum(axis=0), begin)
    assert near(share, begin / (begin + end))
    lengths = np.concatenate([np.diff(np.flatnonzero(np.diff(np.r_[0, g, 0])))[::2] for g in gone.T.astype(int)])
    # Facchinetti 2016: about 90 % last less than 20 min (four samples)
    assert 0.86 < (lengths * 5 < 20 + 1e-9).mean() < 0.94


def test_compression_lows_come_at_night_and_are_as_deep_and_long_as_published():
    e, _ = errors(replace(CGM.named("ideal"), compressions=1.0), n=300, days=4)
    hour = (5 * np.arange(len(e)) / 60) % 24
    low = -e
    assert low.min() > -1e-9
    assert low[(hour > 9) & (hour < 22.9)].max() < 1e-3
    nights = low[(hour > 12).argmax() :][: 288 * 3].reshape(3, 288, -1)
    depth = nights.max(axis=1).ravel()
    assert 20 < np.median(depth) < 28  # 24 mg/dL
    assert 7 < np.quantile(depth, 0.05) < 14
    assert 40 < np.quantile(depth, 0.95) < 58
    minutes = 5 * (nights > 0.5 * nights.max(axis=1, keepdims=True)).sum(axis=1).ravel()
    assert 40 <= np.median(minutes) <= 50  # 45 min


# the BIS monitor ------------------------------------------------------------


def bis(monitor, n=128, minutes=30, rate=0.0, **options):
    world = AnaesthesiaWorld(people(ELEVELD, 8), n=n, monitor=monitor, keep=True, **options)
    seen, rows, quality = world.reset(3), [], []
    for _ in range(12 * minutes):
        seen = world.step(np.full((n, 1), rate))
        rows.append(seen.reading)
        quality.append(seen.quality)
    return np.array(rows), world.trace.T, np.array(quality), world


def test_bis_noise_has_the_spread_and_colour_of_its_filter():
    loud = replace(Monitor.named("clean"), step=0.0, noise=1.0)
    shown, true, _, _ = bis(loud, n=400)
    e, w = shown - true, loud.frequency
    assert near(e.mean(axis=0), 0.0)
    for lag in (0, 1, 3, 6, 12):
        law = math.exp(-w * 5 * lag) * (1 + w * 5 * lag)  # of a critically damped filter of white noise
        assert near((e[lag:] * e[: len(e) - lag]).mean(axis=0), law), lag


def test_the_noise_does_not_depend_on_the_sampling_interval():
    a, cholesky = noise_filter(2.0, 0.05, 3.0)
    q = cholesky @ cholesky.T
    twice, double = noise_filter(2.0, 0.05, 6.0)
    np.testing.assert_allclose(twice, a @ a, atol=1e-14)
    np.testing.assert_allclose(double @ double.T, a @ q @ a.T + q, atol=1e-12)


def test_vitaldbs_filter_gives_the_default_spread():
    # white noise of SD 35 at 1 s through a critically damped filter: variance = 35² · 1 s · ω/4
    m = Monitor()
    assert 35 * math.sqrt(m.frequency / 4) == pytest.approx(m.noise, abs=0.05)
    # −3 dB of the squared filter 1/(1 + (s/ω)²)² at 0.04 rad/s
    assert 1 / (1 + (0.04 / m.frequency) ** 2) == pytest.approx(1 / math.sqrt(2), rel=1e-3)


def test_the_reading_lags_by_the_patients_delay_and_by_poor_quality():
    still = replace(Monitor.named("ideal"), own_delay=True, delay_max=120.0)
    for quality in (100.0, 50.0):
        shown, true, _, _ = bis(replace(still, quality=quality), n=8, minutes=20, rate=30.0)
        p = people(ELEVELD, 8)
        own = p.parameters[:, list(p.model.individual_units).index("delay")]
        lag = (own + 2.0 * (1 - quality / 100)) * 12
        for k in range(8):
            at = np.arange(len(true))
            expected = np.interp(at - lag[k], at, true[:, k])
            np.testing.assert_allclose(shown[60:, k], expected[60:], atol=1e-9)


def test_quality_wanders_falls_in_artefacts_and_blanks_the_reading():
    shown, true, quality, _ = bis(replace(Monitor(), missing=0.0, noise=0.0, episodes=60.0), n=200, minutes=60)
    assert (np.isnan(shown) == (quality < 15)).all()
    episode = quality < 70
    starts = (episode[1:] & ~episode[:-1]).mean() * 12 * 60
    assert 30 < starts < 60  # an hour, of those not in one already
    assert np.abs((shown - true)[~episode & ~np.isnan(shown)]).max() < 0.06
    assert 8 < np.nanstd((shown - true)[episode]) < 12
    _, _, calm, _ = bis(replace(Monitor(), episodes=0.0), n=200)
    assert near(calm.mean(axis=0), 92.0)
    assert 3.7 < calm.std() < 4.1  # SD 4, cut at 100


def test_missing_samples_and_a_window():
    shown, true, _, _ = bis(replace(Monitor.named("ideal"), missing=0.1), n=100)
    assert near(np.isnan(shown).mean(axis=0), 0.1)
    shown, true, _, _ = bis(replace(Monitor.named("ideal"), window=15.0), n=8, rate=30.0)
    mean = (true[2:] + true[1:-1] + true[:-2]) / 3
    np.testing.assert_allclose(shown[2:], mean, atol=1e-9)


def test_pressure_is_read_once_a_minute():
    world = AnaesthesiaWorld(people("propofol_remifentanil_su2023", 1), n=300, surgery="step")
    seen, off, times = world.reset(1), [], []
    assert np.isfinite(seen.pressure).all()
    for k in range(12 * 15):
        seen = world.step(np.tile([8.0, 10.0], (300, 1)))
        if np.isfinite(seen.pressure).all():
            off.append(seen.pressure - world.pressure[:, -1])
            times.append(k + 1)
        else:
            assert np.isnan(seen.pressure).all()
    assert times == list(range(12, 181, 12))
    assert near(np.mean(off, axis=0), 0.0)
    assert near(np.mean(np.square(off), axis=0), 25.0)  # SD 5 mmHg
    map_offset = world.pressure[0, -1] - world.outputs["map"][0]
    assert map_offset == pytest.approx(5.0)  # stimulation raises the pressure too
    assert np.isnan(AnaesthesiaWorld(people(ELEVELD, 2)).reset(1).pressure).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: CGM(error="x"),
        lambda: CGM(interval=2.5),
        lambda: CGM(error="autoregressive", interval=3.0),
        lambda: CGM(error="breton2008", interval=4.0),
        lambda: CGM(low=200, high=100),
        lambda: CGM(age=None),
        lambda: CGM(own=(1.9, 0.2, 1.0)),
        lambda: Monitor(noise=-1),
        lambda: Monitor(frequency=0),
        lambda: Monitor(missing=1.0),
        lambda: Monitor(episode_quality=(50, 20)),
        lambda: Monitor.named("x"),
    ],
)
def test_sensors_that_cannot_be(make):
    with pytest.raises(DoseloopError):
        make()
