"""Stimulation profiles as they are published, random ones, and blood loss."""

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.surgery import PROFILES, BloodLoss, Surgery
from helpers_world import ELEVELD, people


def offsets(surgery, n=4, minutes=60.0, seed=1, tick=1 / 12):
    """What stimulation adds to BIS at the end of each tick, (ticks, n), under a constant dose."""
    group = people(ELEVELD, 1)

    def run(what):
        world = AnaesthesiaWorld(group, n=n, surgery=what, monitor="ideal", keep=True, tick=tick, interval=tick)
        world.reset(seed)
        for _ in range(round(minutes / tick)):
            world.step(np.full((n, 1), 12.0))
        return world.trace.T

    return run(surgery) - run("none")


@pytest.mark.parametrize("name", ["struys2004", "dumont2009", "step"])
def test_profiles_come_back_as_broken_lines(name):
    got = offsets(name)
    t, bis, _ = np.array(PROFILES[name]).T
    time = np.arange(1, len(got) + 1) / 12
    expected = np.interp(time, t, bis)
    late = time > 9  # before, BIS may be cut at 100 or so
    np.testing.assert_allclose(got[late], np.tile(expected[late][:, None], 4), atol=1e-9)
    assert np.abs(expected).max() == {"struys2004": 30, "dumont2009": 20, "step": 10}[name]


def test_scale_and_shift_by_patient():
    got = offsets(Surgery.named("step", scale=[0.0, 1.0, 2.0, -1.0], shift=[0.0, 0.0, 0.0, 5.0]), minutes=30)
    time = np.arange(1, len(got) + 1) / 12
    np.testing.assert_allclose(got[(time > 11) & (time < 15)].mean(axis=0), [0, 10, 20, 0], atol=1e-9)
    np.testing.assert_allclose(got[(time > 16) & (time < 19)].mean(axis=0), [0, 10, 20, -10], atol=1e-9)
    np.testing.assert_allclose(got[(time > 21) & (time < 24)].mean(axis=0), [0, 0, 0, -10], atol=1e-9)


def test_random_operations_differ_and_have_their_parts():
    got = offsets("random", n=64, minutes=150)
    time = np.arange(1, len(got) + 1) / 12
    assert np.abs(got[time < 4]).max() < 1e-9
    tube = got[(time >= 4) & (time < 11)].max(axis=0)
    assert 12 < np.median(tube) < 18
    during = got[(time > 30) & (time < 50)]
    assert 5 < np.median(during) < 11
    assert (during.max(axis=0) > np.median(during, axis=0) + 3).mean() > 0.7
    assert len(np.unique(got[240 * 2])) > 50
    np.testing.assert_allclose(got[time > 145], 0, atol=1e-9)
    np.testing.assert_array_equal(got, offsets("random", n=64, minutes=150))


def test_bis_stays_within_0_and_100():
    world = AnaesthesiaWorld(people(ELEVELD, 2), surgery=Surgery(((0, 500, 0), (5, -500, 0))), keep=True)
    world.reset(1)
    for _ in range(80):
        world.step(np.zeros((2, 1)))
    assert world.trace.max() == 100
    assert world.trace[:, -1].max() == 0


def test_blood_loss_scales_volume_and_clearances_and_takes_its_drug_along():
    group = people(ELEVELD, 2)
    loss = BloodLoss(5.0, 5.0, [0.3, 0.0], replaced=20.0)
    world = AnaesthesiaWorld(group, blood_loss=loss)
    world.reset(1)
    names, states = list(group.model.individual_units), list(group.model.names("states"))
    row, central = names.index("v1"), states.index("central")
    rate = np.full((2, 1), 10.0)

    def until(minute):
        while world.time < minute - 1e-9:
            world.step(rate)

    def v1():
        return world._state["P"][0, row, :2] / group.parameters[:, row]

    until(5)
    np.testing.assert_allclose(v1(), 1)
    until(12)
    np.testing.assert_allclose(v1(), [0.7, 1.0])
    for other, share in (("cl", 0.7), ("q2", 0.7), ("q3", 0.7), ("v2", 1.0), ("ke0", 1.0)):
        k = names.index(other)
        np.testing.assert_allclose(world._state["P"][0, k, 0] / group.parameters[0, k], share)
    until(30)
    np.testing.assert_allclose(v1(), 1)
    # while blood runs out the concentration does not jump: amount and volume shrink alike
    world.reset(1)
    until(6 - 1 / 12)
    cp = []
    for _ in range(3):  # volume shrinks by 6 % at minute 6
        world.step(rate)
        cp.append(world.outputs["cp"])
    growth = np.diff(np.log(cp), axis=0)
    np.testing.assert_allclose(growth[0], growth[1], atol=0.01)
    assert (
        world.state[0, central] < 0.96 * world.state[1, central] * group.parameters[0, row] / group.parameters[1, row]
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Surgery.named("x"),
        lambda: Surgery(((0, 0, 0), (0, 1, 0))),
        lambda: Surgery(((0, np.nan, 0),)),
        lambda: Surgery(length=(5, 1)),
        lambda: AnaesthesiaWorld(people(ELEVELD, 1), surgery=Surgery(tuple((k, 0, 0) for k in range(60)))),
        lambda: AnaesthesiaWorld(people(ELEVELD, 1), pumps={}),
        lambda: BloodLoss(0, 0, 0.1),
        lambda: BloodLoss(0, 1, 0.7),
        lambda: BloodLoss(5, 5, 0.1, replaced=6),
    ],
)
def test_operations_that_cannot_be(make):
    with pytest.raises(DoseloopError):
        make()
