"""Plans simulated again by the accurate simulator."""

import doseloop as dl
import numpy as np
import pytest
from doseloop.controller.problem import Chance, PathLimit
from doseloop.controller.realtime import RealTime
from doseloop.controller.verify import verify
from helpers_mpc import glucose, patients, propofol


def test_the_optimiser_s_prediction_is_close_and_the_fine_one_closer():
    for problem, apart in ((glucose(draws=3), 0.1), (glucose("glucose_t1d_uvapadova2008", draws=3), 0.5)):
        snap = patients(problem, 5)
        plan = RealTime(problem).solve(snap)
        coarse = verify(plan, snap)
        assert coarse.finite.all()
        assert (coarse.discrepancy > 0).all()
        assert (coarse.discrepancy < apart).all()
        fine, finer = verify(plan, snap, step=0.1), verify(plan, snap, step=0.05, threads=2)
        np.testing.assert_allclose(fine.outputs, finer.outputs, atol=1e-3)


def test_a_linear_model_s_prediction_is_exact():
    problem = propofol(24, draws=2)
    snap = patients(problem, 3, offset=np.full((3, 2, 1), 4.0))
    plan = RealTime(problem).solve(snap)
    v = verify(plan, snap)
    np.testing.assert_allclose(v.outputs, plan.outputs, atol=1e-9)


def test_it_is_the_simulator_s_course():
    """Against `simulate`'s adaptive method, from the model's own start."""
    problem = glucose(stages=12)
    model = problem.model
    snap = patients(problem, 1, inputs={}, target=np.array([[70.0]]))
    snap.states[0, 0] = dl.pkpd.population.starting_states(dl.pkpd.system.system(model), snap.parameters[0])
    plan = RealTime(problem).solve(snap)
    doses = [
        dl.Infusion(float(u) * 5.0, 5.0 * k, duration=5.0, route="sc") for k, u in enumerate(plan.moves[0, :, 0]) if u
    ]
    assert plan.moves[0, 0, 0] > 0  # a schedule's time begins with its first dose
    course = dl.simulate(
        model, snap.parameters[0], dl.Regimen(*doses), problem.times, method=dl.Method("adaptive", rtol=1e-10)
    )
    np.testing.assert_allclose(verify(plan, snap, step=0.1).outputs[0, 0, :, 0], course["glucose"][0], atol=1e-3)


def test_what_is_counted():
    items = {
        "limits": [PathLimit("glucose", low=100.0, start=10, stop=40)],
        "chances": [Chance("glucose", 0.5, below=105.0)],
    }
    problem = glucose(stages=12, draws=4, **items)
    snap = patients(problem, 3, meal=0.0, spread=1.0, weights=np.tile([1.0, 2.0, 3.0, 4.0], (3, 1)))
    plan = RealTime(problem).solve(snap)
    v = verify(plan, snap)
    low = v.outputs[:, :, :, 0].min(axis=2) < 105.0
    np.testing.assert_allclose(v.probability[:, 0], (low * np.array([0.1, 0.2, 0.3, 0.4])).sum(axis=1))
    np.testing.assert_allclose(v.violation, np.maximum(0, 100.0 - v.outputs[:, :, 1:8, 0].min(axis=(1, 2))))
    assert v.probability.max() > 0


def test_a_course_that_is_not_finite_is_said_to_be():
    problem = glucose(stages=12, chances=[Chance("glucose", 0.5, below=70.0)])
    snap = patients(problem, 2)
    plan = RealTime(problem).solve(snap)
    plan.moves[1, 3] = np.nan
    v = verify(plan, snap)
    assert v.finite.tolist() == [True, False]
    assert v.probability[1, 0] == 1.0  # what cannot be told counts as harm


def test_time_is_each_patient_s_own():
    """No loop model reads time; the kernels get it all the same."""
    problem = glucose(stages=6)
    snap = patients(problem, 3, time=np.array([0.0, 100.0, 1000.0]))
    assert np.isfinite(verify(RealTime(problem).solve(snap), snap).outputs).all()


@pytest.mark.parametrize("n", [1, 7, 9])
def test_any_number_of_patients(n):
    problem = glucose(stages=6, draws=3)
    snap = patients(problem, n)
    plan = RealTime(problem).solve(snap)
    assert verify(plan, snap).discrepancy.max() < 0.1
