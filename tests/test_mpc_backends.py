"""The back ends' answers are equal: compiled Gauss-Newton, CasADi's SQP, IPOPT."""

import numpy as np
import pytest
from doseloop.controller.casadi_solvers import Sqp
from doseloop.controller.plan import Status
from doseloop.controller.problem import Chance, PathLimit
from doseloop.controller.realtime import RealTime, SolverOptions
from helpers_mpc import glucose, patients, propofol, two_drugs

TIGHT = SolverOptions(tolerance=1e-11, feasibility=1e-7, iterations=300)
BLOCKS = (1, 1, 2, 4, 8, 8, 12, 12)
HYPO = PathLimit("glucose", low=80.0)
DEEP = PathLimit("bis", low=45.0, start=0.5)

CASES = {
    "glucose": (lambda: glucose(), {}),
    "glucose, S2008": (lambda: glucose("glucose_t1d_uvapadova2008", 24), {}),
    "glucose, blocks": (lambda: glucose(blocks=BLOCKS), {}),
    "glucose, draws": (lambda: glucose(stages=24, draws=5), {"weights": np.tile([1.0, 2, 3, 4, 5], (2, 1))}),
    "glucose, rate limit": (lambda: glucose(stages=24, move={"largest_change": 0.05}), {}),
    "glucose, hard limit": (lambda: glucose(stages=36, limits=[HYPO], goal={}), {"meal": 90.0}),
    "glucose, hard limit in draws": (lambda: glucose(stages=24, limits=[HYPO], goal={}, draws=3), {"meal": 60.0}),
    "glucose, chance": (
        lambda: glucose(stages=36, chances=[Chance("glucose", 0.25, below=80.0)], goal={}, draws=4),
        {"meal": 90.0},
    ),
    "propofol": (lambda: propofol(), {}),
    "propofol, draws": (lambda: propofol(36, draws=4), {}),
    "propofol, blocks and rates": (lambda: propofol(36, blocks=(3,) * 12, move={"largest_change": 30.0}), {}),
    "propofol, hard limit": (lambda: propofol(36, limits=[DEEP]), {}),
    "two drugs": (lambda: two_drugs(), {}),
    "two drugs, rates": (lambda: two_drugs(24, blocks=(2,) * 12, draws=2), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_compiled_solver_and_sqp_agree(name):
    make, more = CASES[name]
    problem = make()
    snap = patients(problem, 2, seed=3, **more)
    mine, theirs = RealTime(problem, TIGHT).solve(snap), Sqp(problem, tolerance=1e-6).solve(snap)
    assert mine.status.tolist() == [Status.SOLVED] * 2
    # asked for more than rounding gives, SQP may stall at the optimum itself, on one processor and not on another
    assert np.isin(theirs.status, (Status.SOLVED, Status.STALLED)).all()
    np.testing.assert_allclose(mine.cost, theirs.cost, rtol=1e-6, atol=1e-9)
    scale = np.array([m.scale for m in problem.moves])
    assert np.abs((mine.moves - theirs.moves) / scale).max() < 2e-3
    np.testing.assert_allclose(mine.outputs, theirs.outputs, atol=0.05)
    if problem.limits or problem.chances:
        assert (mine.violation < 1e-3).all()
        np.testing.assert_array_equal(mine.probability, theirs.probability)
