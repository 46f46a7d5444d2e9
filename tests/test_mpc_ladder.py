"""The ladder: every way down, a sentence on each rung, never a wild dose."""

from dataclasses import replace

import numpy as np
import pytest
from doseloop.controller.ladder import WHY, Ladder, LoopOutcome, Trust
from doseloop.controller.plan import Status
from doseloop.controller.problem import Chance
from doseloop.controller.realtime import Fault, RealTime
from doseloop.controller.verify import verify
from doseloop.pkpd.errors import SolverError
from helpers_mpc import glucose, patients

PROBLEM = glucose(stages=12, chances=[Chance("glucose", 0.05, below=70.0)])


def given(n, **more):
    one = np.ones((n, 1))
    return {"protocol": 0.015 * one, "safe": 0 * one, "low": 0 * one, "high": 0.3 * one, "last": 0.02 * one} | more


def setting(n=6, oldest=20.0, **trust):
    snap = patients(PROBLEM, n, meal=60.0)
    return snap, RealTime(PROBLEM), Ladder(PROBLEM, n, Trust(oldest, **trust))


def test_each_rung_has_its_ending():
    snap, solver, ladder = setting()
    first = solver.solve(snap)
    choice = ladder.choose(first, verification=verify(first, snap), **given(6))
    assert (choice.outcome == LoopOutcome.PLANNED).all()
    np.testing.assert_array_equal(choice.moves, np.clip(first.first, 0, 0.3))
    faults = np.array([Fault.NONE, Fault.FAIL, Fault.LATE, Fault.FAIL, Fault.NONE, Fault.NONE])
    second = solver.solve(snap, first, faults=faults)
    second.status[5] = Status.INFEASIBLE
    second.status[4] = Status.ITERATIONS
    choice = ladder.choose(second, verification=verify(second, snap), **given(6))
    expected = ["PLANNED", "LAST_PLAN", "LATE", "LAST_PLAN", "EARLY", "LIMITED"]
    assert [LoopOutcome(o).name for o in choice.outcome] == expected
    np.testing.assert_array_equal(choice.moves[[1, 3]], np.clip(first.moves[[1, 3], 1], 0, 0.3))  # shifted by one stage
    assert "Because the solver failed" in choice.sentence(1)
    assert choice.sentence(0) == "The optimised plan is followed. It was verified by simulation."
    assert len({choice.sentence(i) for i in (0, 1, 2, 4, 5)}) == 5


def test_the_last_plan_grows_old_and_then_the_protocol_and_then_the_safe_action():
    snap, solver, ladder = setting(2, oldest=12.0)
    first = solver.solve(snap)
    ladder.choose(first, **given(2))
    dead = solver.solve(snap, faults=np.full(2, Fault.FAIL))
    seen = []
    protocol = np.array([[0.015], [np.nan]])
    for k in range(4):
        choice = ladder.choose(dead, **given(2, protocol=protocol))
        seen.append([LoopOutcome(o).name for o in choice.outcome])
        if k < 2:
            np.testing.assert_array_equal(choice.moves, np.clip(first.moves[:, k + 1], 0, 0.3))
        else:
            np.testing.assert_array_equal(choice.moves, [[0.015], [0.0]])
    assert seen == [["LAST_PLAN"] * 2] * 2 + [["PROTOCOL", "SAFE"]] * 2
    assert "the last plan is too old" in choice.sentence(0)
    assert "the usual protocol gave no number" in choice.sentence(1)


def test_without_any_plan_from_the_start():
    _, _, ladder = setting(2)
    choice = ladder.choose(None, **given(2, protocol=np.array([[0.9], [np.nan]])))
    assert choice.outcome.tolist() == [LoopOutcome.PROTOCOL, LoopOutcome.SAFE]
    assert choice.status.tolist() == [-1, -1]
    assert choice.moves.tolist() == [[0.3], [0.0]]  # the protocol within its bounds
    assert "no solve was made" in choice.sentence(0)
    assert "too old" not in choice.sentence(0)


@pytest.mark.parametrize(
    ("what", "bit"),
    [({"finite": np.array([False])}, 2), ({"discrepancy": np.array([[31.0]])}, 4),
     ({"probability": np.array([[0.2]])}, 8), ({"violation": np.array([3.0])}, 8)],
)  # fmt: skip
def test_what_verification_finds_leaves_the_plan(what, bit):
    snap, solver, ladder = setting(1, discrepancy=(30.0,))
    plan = solver.solve(snap)
    v = verify(plan, snap)
    good = replace(v, probability=np.zeros((1, 1)))
    assert ladder.choose(plan, verification=good, **given(1)).outcome[0] == LoopOutcome.PLANNED
    choice = ladder.choose(plan, verification=replace(good, **what), **given(1))
    assert choice.why[0] & bit
    assert choice.outcome[0] == LoopOutcome.LAST_PLAN
    assert WHY[bit] in choice.sentence(0)


def test_never_a_wild_dose():
    """Whatever comes in, what goes out is finite, within bounds and, where it can be, within the largest change."""
    problem = glucose(stages=6, move={"largest_change": 0.05})
    rng = np.random.Generator(np.random.Philox(key=[9, 9]))
    n = 500
    snap = patients(problem, n)
    plan = RealTime(problem).solve(snap)
    ladder = Ladder(problem, n, Trust(20.0))
    wild = np.array([np.nan, np.inf, -np.inf, 1e9, -1e9, 0.0, 0.1])
    for _ in range(20):
        plan.moves[:] = rng.choice(wild, plan.moves.shape)
        plan.status[:] = rng.integers(0, 7, n)
        v = verify(plan, snap)
        low = rng.uniform(0, 0.1, (n, 1))
        high = low + rng.uniform(0, 0.2, (n, 1))
        last = rng.choice([np.nan, 0.0, 0.05, 0.2], (n, 1))
        choice = ladder.choose(
            plan,
            protocol=rng.choice(wild, (n, 1)),
            safe=np.zeros((n, 1)),
            low=low,
            high=high,
            last=last,
            verification=v,
        )
        assert np.isfinite(choice.moves).all()
        assert ((choice.moves >= low) & (choice.moves <= high)).all()
        reachable = np.isfinite(last) & (last + 0.05 >= low) & (last - 0.05 <= high)
        assert (np.abs(choice.moves - last)[reachable] <= 0.05 + 1e-15).all()
        assert all(choice.sentence(i).endswith((".", ".)")) for i in range(n))


def test_faults_of_the_caller_are_listed_at_once():
    ladder = Ladder(PROBLEM, 2, Trust(10.0))
    with pytest.raises(SolverError, match=r"(?s)protocol has shape.*last has shape"):
        ladder.choose(None, **given(2, protocol=np.zeros(2), last=np.zeros((3, 1))))
    with pytest.raises(SolverError, match=r"(?s)safe action is not finite.*lower bound lies above"):
        ladder.choose(None, **given(2, safe=np.full((2, 1), np.nan), low=np.ones((2, 1))))
    with pytest.raises(SolverError, match=r"(?s)oldest.*discrepancy has 2.*slack"):
        Ladder(PROBLEM, 2, Trust(-1.0, (1.0, 2.0), slack=-1.0))
