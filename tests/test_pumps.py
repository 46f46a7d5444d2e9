"""Pumps: never more than asked, nothing lost from sight, limits, latency, occlusions, empty syringes."""

import ctypes
import math

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.virtual import pumps as p
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.faults import Fault
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.pumps import InsulinPump, SyringePump
from helpers_world import ELEVELD, S2008, people
from hypothesis import given
from hypothesis import strategies as st


def call(kernel, *arrays):
    """A kernel on arrays (None: not read)."""
    pointers = [None if a is None else a.ctypes.data for a in [*arrays, *[None] * (6 - len(arrays))]]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(kernel)(*pointers)


class Bench:
    """One insulin pump on the bench, lane 3 of a block."""

    lane = 3

    def __init__(self, pump, basal=0.0):
        self.c, self.a, self.units = p.insulin_settings(pump, 8), np.zeros((p.PUMP_ROWS, 8)), np.zeros(8)
        self.asked, self.kernels = np.zeros((2, 8)), p.insulin_kernels()
        p.insulin_admit(self.a.ctypes.data, self.lane, basal)

    def __getitem__(self, row):
        return self.a[row, self.lane]

    def command(self, basal, bolus):
        self.asked[:, self.lane] = basal, bolus
        call(self.kernels[0], self.asked, self.a, self.c)

    def run(self, minutes, occluded=False):
        """U that enter in each minute."""
        out = []
        self.a[p.BLOCKED, self.lane] = occluded
        for _ in range(minutes):
            p.insulin_minute(*self.kernels[1:], self.c.ctypes.data, self.a.ctypes.data, self.units.ctypes.data)
            out.append(self.units[self.lane])
        return np.array(out)


def test_rates_and_boluses_are_rounded_down():
    pump = Bench(InsulinPump())
    pump.command(1.07, 0.34)
    given = pump.run(60)
    assert pump[p.RATE] == pytest.approx(1.05)
    assert given.sum() == pytest.approx(1.05 + 0.30, abs=1e-9)
    pulses = given / 0.05
    np.testing.assert_allclose(pulses, np.round(pulses), atol=1e-9)
    pump.command(0.3, 0.15)  # a binary fraction just under a multiple still counts as reached
    assert pump[p.NEXT_RATE] == pytest.approx(0.3)
    assert pump[p.NEXT_BOLUS] == pytest.approx(0.15)


def test_a_bolus_takes_its_time():
    pump = Bench(InsulinPump())
    pump.command(0.0, 4.0)
    np.testing.assert_allclose(pump.run(4), [1.5, 1.5, 1.0, 0.0], atol=1e-9)
    ideal = Bench(InsulinPump.named("ideal"))
    ideal.command(0.6, 4.03)
    np.testing.assert_allclose(ideal.run(2), [4.04, 0.01], atol=1e-12)


def test_latency_lets_the_old_rate_run_on():
    pump = Bench(InsulinPump.named("ideal").__class__(0, 0, 0, 30, 30, math.inf, 30, 2.0), basal=6.0)
    pump.command(0.0, 1.0)
    np.testing.assert_allclose(pump.run(4), [0.1, 0.1, 1.0, 0.0], atol=1e-12)


def test_limits_of_a_command_and_of_an_hour():
    pump = Bench(InsulinPump(max_basal=3.0, max_bolus=2.0, hourly=4.0, bolus_rate=30.0))
    pump.command(9.0, 9.0)
    first = pump.run(60)
    assert first.sum() == pytest.approx(4.0)
    for _ in range(30):
        pump.command(3.0, 2.0)
        pump.run(5)
    totals = np.convolve(np.r_[first, pump.run(0)], np.ones(60), "full")
    assert totals.max() <= 4.0 + 1e-9
    assert pump[p.CUT] > 0


def test_the_hour_rolls():
    pump, given = Bench(InsulinPump(hourly=3.0, bolus_rate=30.0)), []
    rng = np.random.default_rng(0)
    for _ in range(200):
        pump.command(rng.uniform(0, 3), rng.choice([0.0, 0.0, 2.0]))
        given.append(pump.run(5))
    hours = np.convolve(np.concatenate(given), np.ones(60), "valid")
    assert hours.max() <= 3.0 + 1e-9
    assert hours.max() > 2.4  # it is used


@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40), st.integers(1, 12), st.booleans()), min_size=1, max_size=25),
    st.sampled_from(["omnipod", "fine", "ideal", "tight", "late"]),
)
def test_never_more_than_asked_and_nothing_out_of_sight(commands, name):
    own = {"tight": InsulinPump(hourly=2.0, max_bolus=1.0), "late": InsulinPump(latency=3.0)}
    pump = Bench(own[name] if name in own else InsulinPump.named(name))
    asked = accepted = given = 0.0
    for basal, bolus, minutes, occluded in commands:
        before = pump[p.NEXT_BOLUS]
        pump.command(basal, bolus)
        accepted += pump[p.NEXT_BOLUS] - before
        assert pump[p.NEXT_BOLUS] - before <= bolus + 1e-9
        assert pump[p.NEXT_RATE] <= basal + 1e-9
        asked += bolus
        for _ in range(minutes):
            given += pump.run(1, occluded)[0]
            accepted += pump[p.RATE] / 60
            asked += max(pump[p.RATE], basal) / 60
            assert given <= asked + 1e-6
        said = pump[p.SAID_BASAL] + pump[p.SAID_BOLUS]
        assert said >= -1e-12
    seen = given + pump[p.HELD] + pump[p.QUEUE] + pump[p.CARRY] + pump[p.NEXT_BOLUS] + pump[p.CUT]
    assert seen == pytest.approx(accepted, abs=1e-9)
    assert pump[p.GIVEN] == pytest.approx(given, abs=1e-9)


def test_an_occlusion_is_noticed_late_and_lets_go_at_once():
    pump = Bench(InsulinPump(alarm=1.0))
    pump.command(3.0, 0.0)
    blocked = pump.run(60, occluded=True)
    assert blocked.sum() == 0
    assert pump[p.HELD] == pytest.approx(1.0)
    assert pump[p.SAID_BASAL] == pytest.approx(1.0)  # confirmed, and never arrived
    assert pump[p.CUT] == pytest.approx(2.0)
    assert pump.run(1)[0] == pytest.approx(1.0 + 0.05)


# in the world ------------------------------------------------------------------------------------------


def test_insulin_in_the_world_adds_up_to_what_the_model_receives():
    group = people(S2008, 9)
    faults = [Fault("occluded", 60, 90, 0, [4])]
    world = GlucoseWorld(group, pump="omnipod", faults=faults)
    seen, entered, confirmed = world.reset(1), 0.0, 0.0
    for k in range(60):
        seen = world.step(np.tile([1.3, 2.2 * (k % 9 == 0)], (9, 1)))
        entered = entered + world.infused.sum(axis=1)
        confirmed = confirmed + seen.delivered @ [5 / 60, 1.0]
    np.testing.assert_allclose(entered, world.given, atol=1e-9)
    np.testing.assert_allclose(confirmed, world.given, atol=1e-9)  # what had piled up has come by now
    assert (world.given <= 5 * 1.3 + 7 * 2.2 + 1e-9).all()


def test_what_of_a_bolus_is_still_to_come_is_said():
    world = GlucoseWorld(people(S2008, 2), pump=InsulinPump(bolus_rate=0.2, latency=2.0))
    world.reset(1)
    seen = world.step(np.array([[1.0, 2.0], [1.0, 0.0]]))  # two minutes late, then three of 0.2 U
    np.testing.assert_allclose(seen.pending, [[0, 1.4], [0, 0]], atol=1e-9)
    np.testing.assert_allclose(seen.delivered[:, 1], [0.6, 0.0], atol=1e-9)


# syringes ------------------------------------------------------------------------------------------


def syringe(pump, commands, tick=1 / 12):
    c, a, out = p.settings(pump, 8, "pump"), np.zeros((p.SYRINGE_ROWS, 8)), []
    command, run = p.syringe_kernels()
    asked, blocked, dt, enters = np.zeros(8), np.zeros(8), np.full(8, tick), np.zeros(8)
    p.syringe_admit(c.ctypes.data, a.ctypes.data, 0)
    for rate, ticks, occluded in commands:
        asked[0], blocked[0] = rate, occluded
        call(command, asked, a, c)
        for _ in range(ticks):
            call(run, blocked, a, c, None, dt, enters)
            out.append(enters[0] * tick)
    return np.array(out), a[:, 0]


def test_syringe_rates_go_in_steps_and_have_a_limit():
    given, _ = syringe(SyringePump(), [(10.0, 12, False), (1000.0, 12, False)])
    # 10 mg/min = 30 mL/h of 20 mg/mL; steps of 0.1 mL/h = 1/30 mg/min; at most 1200 mL/h = 400 mg/min = 6.67 mg/s
    assert given[:12].sum() == pytest.approx(10.0)
    assert given[12:].sum() == pytest.approx(400.0)
    given, _ = syringe(SyringePump(), [(10.02, 12, False)])
    assert given.sum() == pytest.approx(10.0)
    given, _ = syringe(SyringePump.named("remifentanil"), [(5000.0, 12, False)])
    assert given.sum() / 60 == pytest.approx(16.667, abs=1e-3)  # µg/s
    given, _ = syringe(SyringePump.named("ideal"), [(7777.7, 12, False)])
    assert given.sum() == pytest.approx(7777.7)


def test_an_empty_syringe_is_changed():
    given, _ = syringe(SyringePump(syringe=5.0, change=1.0), [(60.0, 48, False)])  # 100 mg in it
    running = given > 0
    assert given[:20].sum() == pytest.approx(100.0)
    assert not running[20:32].any()
    assert running[33:].all()


@given(st.lists(st.tuples(st.floats(0, 500), st.integers(1, 40), st.booleans()), min_size=1, max_size=20))
def test_syringes_never_give_more_than_asked(commands):
    given, a = syringe(SyringePump(syringe=20.0), commands)
    asked = sum(rate * ticks / 12 for rate, ticks, _ in commands)
    assert given.sum() <= asked + 1e-9
    wanted = given.sum() + a[p.S_HELD] + a[p.S_CUT]
    steps = sum(min(400.0, math.floor(rate * 30 + 1e-9) / 30) * ticks / 12 for rate, ticks, _ in commands)
    assert wanted == pytest.approx(steps, rel=1e-9, abs=1e-6)


def test_drug_in_the_world_adds_up():
    group = people(ELEVELD, 5)
    world = AnaesthesiaWorld(group, faults=[Fault("occluded", 1, 1.0, 0, [2])])
    seen, confirmed = world.reset(1), 0.0
    for _ in range(48):
        seen = world.step(np.full((5, 1), 50.0))
        confirmed = confirmed + seen.delivered[:, 0] / 12
    # the alarm stands at 1 mL = 20 mg: it sounds after 24 s of the minute, and what had piled up comes
    assert world.given[:, 0] == pytest.approx([200, 200, 200 - 50 + 20.83, 200, 200], abs=0.5)
    np.testing.assert_allclose(confirmed, world.given[:, 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: InsulinPump.named("x"),
        lambda: SyringePump.named("x"),
        lambda: p.settings(InsulinPump(basal_step=-1), 3, "pump"),
        lambda: p.settings(InsulinPump(hourly=math.nan), 3, "pump"),
        lambda: p.settings(InsulinPump(max_basal=[1.0, 2.0]), 3, "pump"),
    ],
)
def test_pumps_that_cannot_be(make):
    with pytest.raises(DoseloopError):
        make()
