"""Lanes of a follower that begin anew: the bits of a follower made for that patient alone."""

import dataclasses

import numpy as np
import pytest
from doseloop.models import load
from doseloop.pkpd.errors import DoseloopError
from doseloop.twin.follower import Follower
from doseloop.twin.statements import follow_propofol
from helpers_follow import MAN, doses, nonlinear_statement, same

METHODS = [("ukf", {}), ("particle", {"particles": 64}), ("horizon", {"window": 8})]
OTHER = {"weight": 52.0, "age": 61.0, "japanese": 1.0}


def rows(belief, lanes):
    """Some patients of a belief, as one of their own."""
    arrays = {
        f.name: getattr(belief, f.name)[lanes]
        for f in dataclasses.fields(belief)
        if isinstance(getattr(belief, f.name), np.ndarray)
    }
    parameters = belief.parameters[lanes]
    return dataclasses.replace(belief, **arrays, individuals=lambda _: parameters)


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_a_restarted_lane_is_a_fresh_follower_and_the_others_go_on(method, options):
    f, lanes, u = nonlinear_statement(), np.array([False, True, False, True]), doses(30)
    rng = np.random.default_rng(3)
    y = 12.0 + rng.standard_normal((30, 4))
    y[7, 2] = y[19, 1] = np.nan
    late = np.array([0.0, 2.0, 0.0, 4.0])  # two lanes are heard of late: rings of slots are in use
    mean = np.array([[0.2, -0.1], [-0.3, 0.2]])
    mixed = Follower(f, MAN, 4, method=method, seed=np.arange(4), **options)
    alone = Follower(f, MAN, 4, method=method, seed=np.arange(4), **options)
    for k in range(13):
        before = mixed.step(u[k], y[k], mixed.clock - late)
        alone.step(u[k], y[k], alone.clock - late)
    kept = before.mean.copy(), before.parameters.copy()
    mixed.restart(lanes, [OTHER, MAN], mean=mean, seed=np.array([8, 9]))
    fresh = Follower(f, [OTHER, MAN], mean=mean, method=method, seed=np.array([8, 9]), **options)
    assert mixed.clock.tolist() == [26.0, 0.0, 26.0, 0.0]
    a, b = mixed.observe(y[13], only=lanes), fresh.observe(y[13, lanes])
    assert same(rows(a, lanes), b)
    assert same(rows(a, ~lanes), rows(alone.belief(), ~lanes))
    for k in range(13, 30):
        a = mixed.step(u[k], y[k], mixed.clock - late + f.interval)
        b = fresh.step(u[k], y[k, lanes], fresh.clock - late[lanes] + f.interval)
        c = alone.step(u[k], y[k], alone.clock - late + f.interval)
        assert same(rows(a, lanes), b)
        assert same(rows(a, ~lanes), rows(c, ~lanes))
    assert np.array_equal(mixed.draws(5).states[lanes], fresh.draws(5).states)
    assert np.array_equal(mixed.draws(5).states[~lanes], alone.draws(5).states[~lanes])
    bands, own = mixed.predict(u[:6]), fresh.predict(u[:6])
    assert np.array_equal(bands.reading_sd[lanes], own.reading_sd)
    assert np.array_equal(kept[0], before.mean)
    assert np.array_equal(kept[1], before.parameters)


def test_predictions_at_some_rows_only_are_those_of_all():
    follower = Follower(nonlinear_statement(), MAN, 2)
    follower.step(doses(1)[0], 9.0)
    every, some = follower.predict(doses(6)), follower.predict(doses(6), at=(1, 5))
    assert np.array_equal(every.truth_sd[:, [1, 5]], some.truth_sd)
    assert np.array_equal(every.time[[1, 5]], some.time)


def test_rows_held_for_longer_are_exact_for_a_linear_model_in_mean():
    """BIS is read from a linear plant: one stride of a minute is twelve of five seconds, but for where points stand."""
    follower = Follower(follow_propofol(load("propofol_eleveld2018")), None, 1)
    for k in range(60):
        follower.step([12.0], 90.0 - 0.5 * k)
    short, long = follower.predict(np.full((36, 1), 8.0)), follower.predict(np.full((3, 1), 8.0), every=12)
    assert long.time == pytest.approx(short.time[11::12])
    assert long.truth == pytest.approx(short.truth[:, 11::12], abs=0.3)
    assert long.truth_sd == pytest.approx(short.truth_sd[:, 11::12], rel=0.03)


def test_what_does_not_fit_is_refused():
    follower = Follower(nonlinear_statement(), MAN, 2)
    with pytest.raises(DoseloopError, match="mask of"):
        follower.restart(np.array([1, 0]), MAN)
    with pytest.raises(DoseloopError, match="mean has shape"):
        follower.restart(np.array([True, False]), MAN, mean=np.zeros(3))
    with pytest.raises(DoseloopError, match="only has shape"):
        follower.observe(3.0, only=np.array([True]))
    with pytest.raises(DoseloopError, match=r"every is 0.*\n.*rising numbers"):
        follower.predict(doses(6), at=(5, 1), every=0)
    f = follow_propofol(load("propofol_eleveld2018"))
    young, old = ({**f.model.typical_covariates, "age": a} for a in (20.0, 85.0))  # the delay rises with age
    follower, roomy = Follower(f, [young]), Follower(f, [young], longest_delay=2.0)
    with pytest.raises(DoseloopError, match="longest_delay"):
        follower.restart(np.array([True]), [old])
    roomy.restart(np.array([True]), [old])
    assert roomy.delay[0] > follower.delay[0]
