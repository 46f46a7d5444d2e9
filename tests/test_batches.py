"""A patient's bits do not depend on who else is simulated, how many, in which lane, or on how many threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from doseloop.pkpd import drive, engine
from doseloop.pkpd.engine import Method, set_threads
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Bolus, Dose, Infusion, Oral, Regimen, Reset
from doseloop.pkpd.system import system
from helpers_pk import directions_of, linear_model, michaelis_menten_model, schedule

LINEAR, SATURABLE = linear_model(2), michaelis_menten_model()
CASES = {
    "exact": (LINEAR, Method()),
    "adaptive": (SATURABLE, Method("adaptive", rtol=1e-7, atol=1e-9)),
    "rk4": (SATURABLE, Method("rk4", step=0.25)),
    "stiff": (SATURABLE, Method("stiff", rtol=1e-6, atol=1e-8)),
}

# quite different days: nothing at all, a bolus, trains, infusions that overlap, resets, steady states, dense sampling
REGIMENS = [
    (Regimen(Oral(100.0, 0.0, every=12.0, times=5)), np.linspace(0, 48, 25)),
    (Regimen(), np.array([0.0, 5.0])),
    (Regimen(Bolus(80.0, 3.3)), np.array([0.1, 3.3, 3.4, 30.0])),
    (Regimen(*(Infusion(20.0, 0.7 * k, duration=3.0) for k in range(9))), np.linspace(0.01, 20, 40)),
    (Regimen(Dose(0.0, 60.0, "full", modelled="rate", interval=4.0, additional=6)), np.array([1.0, 2.0, 13.0, 25.0])),
    (Regimen(Bolus(50.0, 0.0, every=6.0, times=4), Reset(9.0), Dose(11.0, 70.0, "fulloral")), np.linspace(0, 24, 9)),
    (
        Regimen(Dose(2.0, 40.0, "full", duration=1.0, interval=8.0, steady_state=1, additional=2)),
        np.linspace(2.1, 30, 13),
    ),
    (Regimen(Bolus(30.0, -6.0, every=3.0, times=9)), np.array([-5.5, -0.5, 7.7, 40.0, 40.0, 41.0])),
]


def people(model, count, seed=1):
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(0, 0.25, (count, len(model.theta)))) * model.theta


def schedules(model, parameters):
    return [schedule(model, parameters, r, t) for r, t in REGIMENS]


def apart(prepared, parameters, schedule_of):
    """Each patient's rows of the outputs, in the order of the patients, and the status."""
    Y, status = prepared.run(parameters, schedule_of)
    return np.split(Y, np.cumsum(prepared.observations[schedule_of])[:-1]), status


def equal(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b))


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setattr(engine, "_threads", [1])


@pytest.fixture(params=sorted(CASES))
def case(request):
    model, method = CASES[request.param]
    p = people(model, 17)
    return model, Prepared(system(model), schedules(model, p), method), p


@pytest.mark.usefixtures("one_thread")
class TestBits:
    def alone(self, prepared, p, follows):
        return [apart(prepared, p[i : i + 1], follows[i : i + 1])[0][0] for i in range(len(p))]

    def test_alone_and_in_batches_of_1_to_17(self, case):
        """Every batch size, every place in a block, each with neighbours of other schedules."""
        _, prepared, p = case
        follows = np.arange(17) % len(REGIMENS)
        alone = self.alone(prepared, p, follows)
        assert all(np.isfinite(a).all() for a in alone)
        for size in range(1, 18):
            got, status = apart(prepared, p[:size], follows[:size])
            assert not status.any()
            assert equal(got, alone[:size]), size

    def test_in_any_position(self, case):
        _, prepared, p = case
        follows = np.arange(17) * 5 % len(REGIMENS)
        alone = self.alone(prepared, p, follows)
        rng = np.random.default_rng(7)
        for _ in range(6):
            order = rng.permutation(17)
            got, _ = apart(prepared, p[order], follows[order])
            assert equal(got, [alone[i] for i in order])

    @pytest.mark.parametrize("count", [64, 1000])
    def test_many(self, case, count):
        """In a crowd; every 37th is run alone."""
        model, prepared, _ = case
        p, follows = people(model, count, 3), np.arange(count) * 3 % len(REGIMENS)
        got, status = apart(prepared, p, follows)
        assert not status.any()
        for i in range(0, count, 37):
            assert equal([got[i]], apart(prepared, p[i : i + 1], follows[i : i + 1])[0]), i

    def test_a_schedule_of_one_s_own(self, case):
        """Packed with others or alone, the same patient has the same bits."""
        model, prepared, p = case
        for j, (regimen, times) in enumerate(REGIMENS):
            single = Prepared(system(model), [schedule(model, p, regimen, times)], prepared.method)
            assert equal(apart(single, p[:3], np.zeros(3, dtype=int))[0], apart(prepared, p[:3], np.full(3, j))[0]), j

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_patient_of_no_numbers_hurts_nobody_else(self, case, bad):
        """They get a status; all others keep every bit. Where they stand in the block does not matter."""
        _, prepared, p = case
        follows = np.where(np.arange(17) % len(REGIMENS) == 6, 0, np.arange(17) % len(REGIMENS))
        healthy, _ = apart(prepared, p, follows)
        for at in (0, 3, 8, 16):
            if follows[at] == 1:
                continue
            q = p.copy()
            q[at, :] = bad
            got, status = apart(prepared, q, follows)
            assert status[at] != drive.OK
            assert not np.delete(status, at).any()
            assert not np.isfinite(got[at]).all()
            assert equal(got[:at] + got[at + 1 :], healthy[:at] + healthy[at + 1 :])


@pytest.mark.parametrize("name", sorted(CASES))
def test_one_thread_or_two_or_five(name, monkeypatch):
    monkeypatch.setattr(engine, "_threads", [1])
    monkeypatch.setattr(engine, "THREAD_BLOCKS", 4)
    started = []
    submit = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *a: started.append(a) or submit(*a))
    model, method = CASES[name]
    p = people(model, 64 * 8 + 3, 5)
    follows = np.arange(len(p)) * 5 % len(REGIMENS)
    prepared = Prepared(system(model), schedules(model, p[:20]), method)
    found = []
    for threads in (1, 2, 5, 2):
        set_threads(threads)
        Y, status = prepared.run(p, follows)
        assert not status.any()
        assert bool(started) == (threads > 1)
        found.append(Y)
        started.clear()
    for Y in found[1:]:
        assert np.array_equal(Y, found[0])


@pytest.mark.parametrize("name", sorted(CASES))
def test_directions_keep_their_bits_too(name):
    model, method = CASES[name]
    p = directions_of(model, people(model, 11, 9))
    follows = np.arange(11) * 3 % len(REGIMENS)
    prepared = Prepared(system(model, len(model.theta)), schedules(model, p[:, : len(model.theta)]), method)
    together, status = apart(prepared, p, follows)
    assert not status.any()
    for i in range(11):
        assert equal(apart(prepared, p[i : i + 1], follows[i : i + 1])[0], [together[i]]), i


def test_again_is_the_same():
    """No memory of the run before, whatever that was."""
    model, method = CASES["adaptive"]
    p = people(model, 9)
    prepared = Prepared(system(model), schedules(model, p), method)
    follows = np.arange(9) % len(REGIMENS)
    first, _ = prepared.run(p, follows)
    prepared.run(np.full_like(p, np.nan), np.zeros(9, dtype=int))
    prepared.run(people(model, 9, 99)[::-1], follows[::-1])
    assert np.array_equal(prepared.run(p, follows)[0], first)


def test_threads_must_be_a_positive_number():
    with pytest.raises(ValueError, match="1 or more"):
        set_threads(0)
