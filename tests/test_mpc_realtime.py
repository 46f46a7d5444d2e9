"""The real-time solver: derivatives, anytime, bounds to the bit, batches, faults."""

from dataclasses import replace

import casadi as ca
import numpy as np
import pytest
from doseloop.controller.casadi_problem import cases
from doseloop.controller.casadi_solvers import Sqp
from doseloop.controller.plan import Status
from doseloop.controller.problem import Chance, Goal, Move, PathLimit, Problem
from doseloop.controller.realtime import Fault, RealTime, SolverOptions, solve_many
from doseloop.controller.stage import expressions
from doseloop.models import load
from helpers_mpc import glucose, patients, propofol, two_drugs


def sliced(snap, i):
    """Patient i alone."""
    row = lambda a: None if a is None else np.asarray(a)[i : i + 1]  # noqa: E731
    names = ("states", "parameters", "last", "offset", "weights", "low", "high", "reference", "scale", "target")
    return replace(snap, **{n: row(getattr(snap, n)) for n in names})


@pytest.mark.parametrize(
    ("model", "columns", "watched", "interval"),
    [
        ("glucose_t1d_hovorka2004", (3,), (0, 1), 5.0),
        ("glucose_t1d_uvapadova2008", (4,), (0,), 5.0),
        ("propofol_remifentanil_su2023", (0, 1), (0,), 0.1),
        ("phenytoin_adult_grasela1983", (0,), (0,), 1.0),
    ],
)
def test_a_stage_s_derivatives_are_those_of_its_map(model, columns, watched, interval):
    m = load(model)
    e = expressions(m, columns, watched, 2)
    rows = list(e.relevant)
    J = ca.jacobian(e.after, ca.vertcat(e.x, e.u))
    exact = [
        J[rows, rows],
        J[rows, [e.x.numel() + c for c in columns]],
        ca.jacobian(e.y, e.x),
        ca.jacobian(e.y, e.u[list(columns)]),
    ]
    f = ca.Function("f", [e.s, e.x, e.p, e.u, e.k], [e.A, e.B, e.C, *exact])
    rng = np.random.Generator(np.random.Philox(key=[1, 1]))
    for _ in range(5):
        p = rng.uniform(0.5, 1.5, e.p.numel())
        x, u, k = (rng.uniform(0.5, 1.5, v.numel()) for v in (e.x, e.u, e.k))
        A, B, C, a, b, y_x, y_u = (np.array(v) for v in f([0.0, interval / 2], x, p, u, k))
        np.testing.assert_allclose(A, a, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(B, b, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(C @ A, y_x[:, rows], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(C @ B, y_u, rtol=1e-8, atol=1e-12)


def test_more_iterations_never_cost_more():
    problem = glucose(draws=1)
    snap = patients(problem, 6, meal=80.0)
    costs = [RealTime(problem, SolverOptions(iterations=k)).solve(snap).cost for k in (0, 1, 2, 3, 5, 50)]
    assert (np.diff(costs, axis=0) <= 0).all()
    few = RealTime(problem, SolverOptions(iterations=2)).solve(snap)
    assert (few.status == Status.ITERATIONS).sum() >= 4
    cost, y = Sqp(problem).evaluate(cases(problem, snap)[0], few.moves[0])
    assert cost == pytest.approx(few.cost[0], rel=1e-12)  # the iterate is a course of the model
    np.testing.assert_allclose(y[0], few.outputs[0, 0], atol=1e-9)


def test_a_deadline_is_kept_and_the_best_so_far_returned():
    problem = glucose(draws=30)
    snap = patients(problem, 3, meal=80.0)
    full = RealTime(problem).solve(snap)
    assert (full.status == Status.SOLVED).all()
    late = RealTime(problem).solve(snap, deadline=1e-9)
    assert (late.status == Status.LATE).all()
    assert (late.iterations == 0).all()
    assert (late.cost >= full.cost).all()
    assert np.isfinite(late.moves).all()
    # a deadline amid the solve: at most one iteration more than it allows
    part = RealTime(problem).solve(snap, deadline=float(full.seconds.min()) / 3)
    assert (part.iterations < full.iterations).any()
    assert (part.cost <= late.cost).all()


def test_injected_faults():
    problem = glucose()
    snap = patients(problem, 4, meal=80.0)
    good = RealTime(problem).solve(snap)
    bad = RealTime(problem).solve(snap, faults=np.array([Fault.NONE, Fault.FAIL, Fault.LATE, Fault.NONE]))
    assert bad.status.tolist() == [Status.SOLVED, Status.FAILED, Status.LATE, Status.SOLVED]
    assert bad.usable.tolist() == [True, False, True, True]
    assert np.isnan(bad.moves[1]).all()
    assert np.isnan(bad.cost[1])
    np.testing.assert_array_equal(bad.moves[[0, 3]], good.moves[[0, 3]])


@pytest.mark.parametrize("what", ["states", "parameters", "last"])
def test_what_is_not_a_number_fails_alone(what):
    problem = glucose(draws=2)
    snap = patients(problem, 3)
    good = RealTime(problem).solve(snap)
    getattr(snap, what)[1, ..., 0] = np.nan if what != "states" else np.inf
    plan = RealTime(problem).solve(snap)
    assert plan.status.tolist() == [Status.SOLVED, Status.NONFINITE, Status.SOLVED]
    assert np.isnan(plan.moves[1]).all()
    np.testing.assert_array_equal(plan.moves[[0, 2]], good.moves[[0, 2]])


def test_moves_keep_bounds_and_largest_changes_to_the_bit():
    rng = np.random.Generator(np.random.Philox(key=[5, 1]))
    problem = propofol(24, blocks=(1, 2, 3, 6, 12), move={"largest_change": 17.3, "scale": 13.7})
    n = 40
    high = rng.uniform(20, 200, (n, 24, 1))
    low = np.minimum(rng.uniform(0, 15, (n, 24, 1)), high)
    last = rng.uniform(0, 60, (n, 1))
    snap = patients(problem, n, low=low, high=high, last=last)
    plan = RealTime(problem).solve(snap)
    assert plan.usable.all()
    assert ((plan.moves >= low) & (plan.moves <= high)).all()
    near = (plan.first >= last - 17.3) & (plan.first <= last + 17.3)
    # where what is given lies beyond the bounds by more than a change, the bounds win
    beyond = (last - 17.3 > high[:, 0]) | (last + 17.3 < low[:, 0])
    assert (near | beyond).all()
    assert (plan.first[:, 0] == np.where(last - 17.3 > high[:, 0], high[:, 0], plan.first)[:, 0]).all()


def test_a_batch_is_its_patients_bit_for_bit():
    for problem in (glucose(stages=24), propofol(24, draws=3), two_drugs(16)):
        snap = patients(problem, 11)
        together = RealTime(problem).solve(snap)
        threads = RealTime(problem, SolverOptions(threads=3)).solve(snap)
        np.testing.assert_array_equal(together.moves, threads.moves)
        for i in (0, 7, 10):
            alone = RealTime(problem).solve(sliced(snap, i))
            np.testing.assert_array_equal(together.moves[i], alone.moves[0])
            np.testing.assert_array_equal(together.outputs[i], alone.outputs[0])


def test_a_warm_plan_is_shifted_by_what_elapsed():
    problem = glucose(stages=24, every=1.0)
    snap = patients(problem, 1, meal=80.0)
    options = SolverOptions(iterations=0)
    first = RealTime(problem).solve(snap)
    same = RealTime(problem, options).solve(snap, first, elapsed=0.0)
    np.testing.assert_allclose(same.moves, first.moves, rtol=1e-12)
    later = RealTime(problem, options).solve(snap, first)  # a fifth of a stage
    mixed = 0.8 * first.moves + 0.2 * np.concatenate([first.moves[:, 1:], first.moves[:, -1:]], axis=1)
    if later.cost[0] == pytest.approx(_evaluate(problem, snap, mixed), rel=1e-9):
        np.testing.assert_allclose(later.moves, mixed, rtol=1e-9)
    assert later.cost[0] <= _evaluate(problem, snap, mixed) * (1 + 1e-12)
    again = RealTime(problem).solve(snap, first, elapsed=0.0)
    assert again.iterations[0] <= 1
    assert solve_many(problem, snap, first, elapsed=0.0).cost[0] == again.cost[0]


def _evaluate(problem, snap, moves):
    return Sqp(problem).evaluate(cases(problem, snap)[0], moves[0])[0]


def test_an_impossible_limit_is_said_and_missed_least():
    problem = glucose(stages=24, limits=[PathLimit("glucose", low=100.0)])
    snap = patients(problem, 2, meal=0.0)
    snap.states[:, :, :] *= 0.9
    snap.states[0, 0, [s.name for s in problem.model.states].index("q1")] *= 0.6
    plan = RealTime(problem).solve(snap)
    assert plan.status[0] == Status.INFEASIBLE
    assert plan.violation[0] > 5.0
    none = Sqp(problem).evaluate(cases(problem, snap)[0], 0 * plan.moves[0])[1]
    assert plan.violation[0] <= (100.0 - none.min()) + 0.05  # no insulin at all misses it least


def test_a_chance_is_met_or_said_to_be_missed():
    chance = Chance("glucose", 0.2, below=85.0)
    free, bound = glucose(stages=36, goal={}, draws=10), glucose(stages=36, goal={}, draws=10, chances=[chance])
    snap = patients(free, 8, seed=3, meal=60.0, spread=0.6)
    before, after = RealTime(free).solve(snap), RealTime(bound).solve(snap)
    counted = (after.outputs[:, :, :, 0].min(axis=2) < 85.0 - 1e-3).mean(axis=1)
    loose = (before.outputs[:, :, :, 0].min(axis=2) < 85.0).mean(axis=1)
    np.testing.assert_allclose(after.probability[:, 0], counted, atol=1e-12)
    assert (loose > 0.2).any()  # it matters
    solved = after.status == Status.SOLVED
    assert (counted[solved] <= 0.2 + 1e-9).all()
    assert solved.sum() >= 6
    assert (after.status[~solved] == Status.INFEASIBLE).all()
    assert (after.cost[solved] >= before.cost[solved] * (1 - 1e-6)).all()


def test_nothing_given_yet_is_no_dead_end():
    """Without drug about, BIS does not move with the first drops: every slope is 0 at zero."""
    plan = RealTime(propofol()).solve(patients(propofol(), 1, last=np.zeros((1, 1))))
    assert plan.first[0, 0] > 50.0
    assert plan.outputs[0, 0, -1, 0] == pytest.approx(50.0, abs=3.0)


def test_a_long_horizon():
    blocks = (1,) * 12 + (2,) * 6 + (4,) * 6 + (12,) * 6 + (24,) * 7
    problem = glucose(stages=288, blocks=blocks)
    dense = glucose(stages=288)
    snap = patients(problem, 1, meal=60.0)
    a, b = RealTime(problem).solve(snap), RealTime(dense).solve(snap)
    assert a.status[0] == b.status[0] == Status.SOLVED
    assert b.cost[0] <= a.cost[0] <= 1.1 * b.cost[0]


def test_an_input_can_be_a_move():
    m = load("glucose_t1d_hovorka2004")
    problem = Problem(m, 5.0, 12, [Move("carbs", 0.0, 2.0, weight=1e-4, scale=1.0)], [Goal("glucose", 140.0, 1e-3)])
    assert problem.held == ("sensitivity", "dawn")
    plan = RealTime(problem).solve(patients(problem, 1, last=np.zeros((1, 1)), inputs={}))
    assert plan.moves.sum() > 0.1
    assert plan.status[0] == Status.SOLVED
