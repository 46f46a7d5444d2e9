"""The controller's benchmark: every side is given the same problem, and every plan is judged by one function."""

import dataclasses

import numpy as np
import pytest
from doseloop.controller.realtime import RealTime
from doseloop.pkpd.trace import casadi_functions
from helpers_benchmarks import benchmarks_imported


@pytest.fixture(scope="module")
def modules():
    with benchmarks_imported(
        "frame", "ocp", "mpc_cases", "mpc_statement", "mpc_deadlines", "mpc_plot", "mpc_peers"
    ) as m:
        yield m


CASES = {
    "hovorka": ({"kind": "glucose", "stages": 12, "steps": 2, "skip": 12}, 1e-3),  # in a meal; RK4 of 5 min, and of 1
    "propofol": ({"kind": "propofol", "stages": 12, "steps": 2, "skip": 80}, 1e-9),
    "vancomycin": ({"kind": "vancomycin", "steps": 2, "draws": 3}, 1e-3),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, modules):
    what, tolerance = CASES[request.param]
    r = modules["mpc_cases"].replay(**what)
    return r, what, [RealTime(r.problem).solve(s) for s in r.snapshots], tolerance


def test_the_judge_finds_the_cost_that_the_solver_says(case, modules):
    r, _, plans, tolerance = case
    moves = np.array([p.moves[0, :, 0] for p in plans])
    found = modules["mpc_statement"].costs(r, moves)
    assert found == pytest.approx([p.cost[0] for p in plans], rel=tolerance)
    assert modules["mpc_statement"].costs(r, moves[1:], first=1) == pytest.approx(found[1:], rel=1e-12)
    worse = moves.copy()
    worse[0, 0] += 0.3 * r.problem.moves[0].scale
    worse[1] = np.nan
    other = modules["mpc_statement"].costs(r, worse)
    assert other[0] > found[0] * (1 + 1e-6)
    assert np.isnan(other[1])


def test_what_peers_are_given_is_the_same_problem(case, modules, tmp_path):
    r, what, plans, tolerance = case
    modules["mpc_statement"].write(r, what, tmp_path)
    q = modules["ocp"].read(tmp_path)
    exact = casadi_functions(r.problem.model)
    for k, plan in enumerate(plans):
        u, scale = plan.moves[0, :, 0], q.what["scale"]
        cost = q.what["weight"] * (((u - q.reference[k]) / scale) ** 2).sum()
        cost += q.what["change_weight"] * (np.diff([q.last[k], *u]) ** 2).sum() / scale**2
        x = dataclasses.replace(q, rhs=exact["rhs"]).rolled(k, u)
        for i in range(q.stages):
            for d in range(q.draws):
                y = exact["outputs"](0, x[i + 1, d], q.p[d]) + q.offset[k, d]
                cost += float(q.goals(y, last=i == q.stages - 1))
                near = q.outputs(0, x[i + 1, d], q.p[d]) + q.offset[k, d]
                assert np.array(near) == pytest.approx(np.array(y), rel=1e-3, abs=1e-3)
        assert cost == pytest.approx(plan.cost[0], rel=max(tolerance, 1e-5))  # theirs is Runge-Kutta's method
    assert (np.array(plans[0].moves[0, :, 0]) <= q.high + 1e-12).all()
    assert q.shifted(np.arange(q.stages)).tolist()[0] == q.what["shift"]


def test_the_smoothed_equations_of_a_meal_are_near_the_exact_ones(modules, tmp_path):
    what = {"kind": "glucose", "model": modules["mpc_cases"].UVA, "stages": 24, "steps": 4, "skip": 10}
    r = modules["mpc_cases"].replay(**what)
    modules["mpc_statement"].write(r, what, tmp_path)
    q = modules["ocp"].read(tmp_path)
    exact = casadi_functions(r.problem.model)
    u = np.full(q.stages, 0.05)
    a, b = q.rolled(3, u), dataclasses.replace(q, rhs=exact["rhs"]).rolled(3, u)
    level = lambda f, x: np.array([float(f(0, v[0], q.p[0])[q.what["goals"][0]["output"]]) for v in x])  # noqa: E731
    assert np.abs(level(q.outputs, a) - level(exact["outputs"], b)).max() < 0.05  # mg/dL


def test_a_chain_is_warmed_by_its_last_plan_and_begins_anew(modules, tmp_path):
    asked = []

    def build(job, folder):
        def solve(k, before):
            asked.append((k, before and before.memory))
            return modules["ocp"].Solved(np.array([float(k)]), k)

        return 3, solve

    run = modules["ocp"].chain(build)(tmp_path)
    assert run({"case": "a"}).tolist() == [[1.0], [2.0]]
    assert run({"case": "a", "pause": 0.0, "times": 2}).shape == (4, 4)
    # 0 is the cold start, falsy as `before`: it warms 1 every time
    assert asked == [(0, None), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0), (2, 1)]


def test_the_excess_is_over_the_cheapest_of_all_sides(modules):
    found = modules["mpc_statement"].excess(
        {"a": np.array([1.0, 2.0]), "b": np.array([1.1, 1.0]), "c": np.array([np.nan, 4.0])}
    )
    assert found["a"] == pytest.approx({"median": 0.5, "max": 1.0})
    assert found["b"] == pytest.approx({"median": 0.05, "max": 0.1})
    assert found["c"]["max"] == np.inf


def test_no_ratio_where_a_plan_costs_more(modules):
    Times = modules["frame"].Times
    cost = {"x: doseloop": np.array([1.0, 1.0]), "x: p": np.array([1.0, 1.0 + 1e-6]), "x: q": np.array([1.0, 1.1])}
    times = {k: Times(cpu=[ms], wall=[ms]) for k, ms in zip(cost, (2.0, 6.0, 1.0))}
    lines = {v["name"]: v for v in modules["mpc_peers"].judged(cost, times, {"x: r": "it broke"})}
    assert "ratio" not in lines["x: doseloop"]
    assert lines["x: p"]["ratio"]["median"] == 3.0
    assert "1.0e-01" in lines["x: q"]["ratio"]["refused"]
    assert lines["x: r"]["failed"] == "it broke"
    # our own plan may be the one that is too dear
    dear = {k: v + (k == "x: doseloop") for k, v in cost.items()}
    assert all("refused" in v["ratio"] for v in modules["mpc_peers"].judged(dear, times, {}) if "ratio" in v)


def test_lateness_counts_what_is_beyond(modules):
    steps = np.array([[0.5e-3, 1e-3, 0, 1.0], [2e-3, 1e-3, 1, 1.0], [20e-3, 1e-3, 0, 1.0], [200e-3, 1e-3, 0, 1.0]])
    found = modules["mpc_deadlines"].lateness(steps)
    assert found["beyond"] == {"1 ms": 0.75, "5 ms": 0.5, "10 ms": 0.5, "100 ms": 0.25}
    assert found["ms"]["max"] == pytest.approx(200.0)
    assert found["ended by its own deadline"] == 0.25


def test_busy_processes_end_with_the_block(modules):
    with modules["mpc_deadlines"].busy(2) as others:
        assert [p.poll() for p in others] == [None, None]
    assert all(p.poll() is not None for p in others)


def test_curves_are_in_order(modules):
    points = [
        {"axis": axis, "at": at, "side": "doseloop", "cpu ms": {"median": float(at)}}
        for axis, at in (("stages", 48), ("stages", 12), ("scenarios", 3))
    ]
    assert modules["mpc_plot"].curves(points, "stages") == {"doseloop": ([12, 48], [12.0, 48.0])}


def test_a_case_that_is_bounded_stage_by_stage_doses_at_its_times_only(modules):
    r = modules["mpc_cases"].replay(kind="vancomycin", steps=1)
    plan = RealTime(r.problem).solve(r.snapshots[0])
    rates = plan.moves[0, :, 0]
    assert (rates[np.arange(36) % 6 != 0] == 0).all()
    assert plan.outputs[0, 0, -1] == pytest.approx([500.0] * 3, rel=0.02)  # the days' AUC24, mg*h/L
