"""Worlds: the same bits alone, in a batch, at any place, on any number of threads; snapshots; what they refuse."""

from dataclasses import astuple, fields

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.faults import random_faults
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.surgery import BloodLoss
from doseloop.virtual.world import Observation
from helpers_world import ELEVELD, HOVORKA, S2008, people

N, STEPS = 21, 40


def glucose(who, **options):
    # from 3:45 on: a new day is laid out on the way, and breakfast comes
    usual = {"sensor": "dexcom_g6_varied", "meals": "counted", "life": "usual", "start": 225.0, "keep": True}
    return GlucoseWorld(who, **(usual | options))


def anaesthesia(who, **options):
    return AnaesthesiaWorld(who, **({"surgery": "random", "keep": True} | options))


def doses(world, seen, k):
    """An action that depends on what is seen, so that a difference anywhere spreads."""
    reading = np.nan_to_num(seen.reading, nan=100.0)
    if isinstance(world, GlucoseWorld):
        return np.column_stack([0.01 * reading, seen.announced / 12 + (k % 7 == 0) * 0.5])
    return np.column_stack([0.3 * reading] * len(world.actions))


def play(world, seed, steps=STEPS, **how):
    """All that was seen, and the truth."""
    seen = world.reset(seed, **how)
    rows = [seen]
    for k in range(steps):
        seen = world.step(doses(world, seen, k))
        rows.append(seen)
    stacked = {f.name: np.array([getattr(r, f.name) for r in rows]) for f in fields(Observation)}
    return stacked | {"truth": world.trace, "state": world.state}


def same(a, b, lane=slice(None), other=slice(None)):
    for name in a:
        x, y = a[name], b[name]
        if name == "time":
            assert (x == y).all()
        elif name in ("truth", "state"):
            np.testing.assert_array_equal(x[lane], y[other], name)
        else:
            np.testing.assert_array_equal(x[:, lane], y[:, other], name)


WORLDS = [
    (glucose, S2008),
    (glucose, HOVORKA),
    (anaesthesia, ELEVELD),
    (anaesthesia, "propofol_remifentanil_su2023"),
]


@pytest.mark.parametrize(("make", "model"), WORLDS)
def test_a_lone_patient_equals_itself_in_a_batch_at_any_place(make, model):
    group = people(model, N)
    whole = play(make(group), 5)
    for k in range(1, N):
        assert (whole["reading"][:, k] == whole["reading"][:, 0]).mean() < 0.2
    for k in (0, 7, 8, N - 1):
        same(whole, play(make(group[[k]]), 5, place=[k]), [k], [0])
    order = np.random.default_rng(0).permutation(N)
    same(whole, play(make(group[order]), 5, place=order), order)


@pytest.mark.parametrize(("make", "model"), WORLDS[::2])
def test_seeds_of_lanes_equal_lone_worlds_with_that_seed(make, model):
    group, seeds = people(model, N), np.arange(100, 100 + N)
    whole = play(make(group), seeds)
    same(whole, play(make(group[[9]]), 109), [9], [0])


@pytest.mark.parametrize(("make", "model"), WORLDS)
def test_threads_change_no_bit(make, model, monkeypatch):
    """With slices as small as a pair of blocks, so that three threads have work."""
    group = people(model, 40)
    alone = play(make(group), 5)
    monkeypatch.setattr("doseloop.virtual.world.SLICE", 1)
    shared = make(group, threads=3)
    assert len(shared._edges) == 3
    assert [a for a, _ in shared._edges] + [shared.blocks] == [0] + [b for _, b in shared._edges]
    same(alone, play(shared, 5))


def test_a_small_world_wakes_no_thread():
    make, model = WORLDS[0]
    assert len(make(people(model, 8), threads=2)._edges) == 1
    assert len(make(people(model, 800), threads=2)._edges) == 2


@pytest.mark.parametrize(("make", "model"), WORLDS[::2])
def test_other_seeds_other_worlds(make, model):
    group = people(model, N)
    a, b = play(make(group), 5), play(make(group), 6)
    assert (a["reading"] == b["reading"]).mean() < 0.1


@pytest.mark.parametrize(("make", "model"), WORLDS[::2])
def test_a_snapshot_goes_on_with_the_same_bits(make, model):
    world = make(people(model, N))
    seen = world.reset(3)
    for k in range(10):
        seen = world.step(doses(world, seen, k))
    kept = world.snapshot()

    def go_on(seen):
        for k in range(10, 25):
            seen = world.step(doses(world, seen, k))
        return seen

    first, truth = go_on(seen), world.trace
    world.reset(99)
    again = go_on(world.restore(kept))
    for a, b in zip(astuple(first), astuple(again)):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(truth, world.trace)
    with pytest.raises(DoseloopError, match="another kind"):
        make(people(model, 3)).restore(kept)


@pytest.mark.parametrize(("make", "model"), WORLDS[::2])
def test_a_lane_admitted_anew_starts_over_and_the_others_do_not_notice(make, model):
    # at minute 12, so that its sensor samples between the others' samples
    options = {"interval": 2.0} if make is glucose else {}
    group, seeds = people(model, N), np.arange(N)
    plain = play(make(group, **options), seeds, 20)
    world = make(group, **options)
    seen, readings = world.reset(seeds), []
    for k in range(20):
        if k == 6:
            only = np.arange(N) == 4
            who = np.where(only, 11, np.arange(N))
            seen = world.reset(np.where(only, 77, seeds), only=only, who=who)
            assert seen.clock[4] == 0
            assert (seen.clock[~only] > 0).all()
        seen = world.step(doses(world, seen, k))
        readings.append(seen.reading)
    others = np.arange(N) != 4
    np.testing.assert_array_equal(np.array(readings)[:, others], plain["reading"][1:, others])
    np.testing.assert_array_equal(world.state[others], plain["state"][others])
    fresh = make(group[[11]], **options)
    other, alone = fresh.reset(77), []
    for k in range(6, 20):
        other = fresh.step(doses(fresh, other, k))
        alone.append(other.reading[0])
    np.testing.assert_array_equal(world.state[4], fresh.state[0])
    np.testing.assert_array_equal(np.array(readings)[6:, 4], alone)


def test_a_longer_control_interval_is_the_same_plant():
    group = people(S2008, 3)
    day = [[30.0, 60.0], [400.0, 40.0]]
    from doseloop.virtual.meals import Meals

    short, long = (glucose(group, interval=i, meals=Meals.table(day)) for i in (1.0, 10.0))
    short.reset(1), long.reset(1)
    for k in range(60):
        action = np.array([[1.0, 2.0 * (k == 3)]] * 3)
        long.step(action)
        for j in range(10):
            short.step(action * [1, j == 0])
    np.testing.assert_array_equal(short.trace, long.trace)
    np.testing.assert_array_equal(short.given, long.given)


def test_faults_keep_the_same_bits_too():
    group = people(S2008, 10)
    faults = random_faults(10, 150.0, 4, every=30.0)
    whole = play(glucose(group, faults=faults), 5)
    alone = [f for f in faults if f.patients == (6,)]
    from dataclasses import replace

    same(whole, play(glucose(group[[6]], faults=[replace(f, patients=(0,)) for f in alone]), 5, place=[6]), [6], [0])


@pytest.mark.parametrize(("make", "model"), WORLDS[::2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_actions_that_are_no_doses_are_refused_and_change_nothing(make, model, bad):
    world = make(people(model, N))
    seen = world.reset(1)
    before, action = world.state, doses(world, seen, 0)
    action[13, 0] = bad
    with pytest.raises(DoseloopError, match="patient 13"):
        world.step(action)
    np.testing.assert_array_equal(world.state, before)


def test_what_a_world_refuses():
    group = people(S2008, 4)
    world = glucose(group)
    for call, message in [
        (lambda: world.step(np.zeros((4, 2))), "reset the world first"),
        (world.observe, "reset the world first"),
        (lambda: world.reset(1.5), "whole number"),
        (lambda: world.reset([1, 2]), "seed has shape"),
        (lambda: world.reset(1, who=[0, 1, 2, 4]), "who wants"),
        (lambda: world.reset(1, only=np.array([True, False, True, True])), "admits everybody"),
        (lambda: glucose(group, interval=2.5), "whole number of ticks"),
        (lambda: glucose(group, n=0), "nobody"),
        (lambda: glucose(people(ELEVELD, 4)), "no route 'sc'"),
        (lambda: anaesthesia(group), "no output 'bis'"),
        (lambda: glucose(group, sensor="g7"), "unknown; known"),
    ]:
        with pytest.raises(DoseloopError, match=message):
            call()
    world.reset(1)
    with pytest.raises(DoseloopError, match=r"\(4, 2\)"):
        world.step(np.zeros((4, 1)))


def test_a_run_that_ends_stays_ended_and_its_truth_stays_outside():
    world = glucose(people(S2008, 8), pump="ideal", meals="none")
    world.reset(1)
    action = np.zeros((8, 2))
    action[2, 1] = 100.0
    for k in range(96):
        seen = world.step(action * (k == 0) + [1.0, 0.0])
    assert seen.ended.tolist() == [k == 2 for k in range(8)]
    assert world.endings[2] == 1
    truth = world.trace[2]
    first = np.argmax(truth < 10)
    assert (truth[:first] >= 10).all()
    assert (truth[first:] == 9.0).all()


@pytest.mark.parametrize(("make", "model"), WORLDS[::2])
def test_a_state_that_is_no_number_ends_the_run_and_shows(make, model):
    world = make(people(model, N))
    seen = world.reset(1)
    world._state["X"][1, :, 3] = np.nan
    seen = world.step(doses(world, seen, 0))
    assert seen.ended.tolist() == [k == 11 for k in range(N)]
    assert world.endings[11] == 3
    assert np.isfinite(world.truth).all()


def test_blood_loss_moves_no_concentration_at_once_and_raises_it_later():
    group = people(ELEVELD, 8)
    kept, bled = anaesthesia(group, surgery="none"), None
    loss = BloodLoss(start=10.0, duration=5.0, share=0.4)
    bled = anaesthesia(group, surgery="none", blood_loss=loss)
    for world in (kept, bled):
        world.reset(1)
    rate = np.full((8, 1), 10.0)
    for k in range(12 * 60):
        kept.step(rate), bled.step(rate)
        if k == 12 * 10 - 1:
            np.testing.assert_array_equal(kept.trace, bled.trace)
    cp, before = bled.outputs["cp"], kept.outputs["cp"]
    assert (cp > 1.2 * before).all()
    assert (bled.trace[:, -1] < kept.trace[:, -1] - 2).all()
