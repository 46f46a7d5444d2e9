"""CasADi's back ends: the smoothed reading beside the exact one, IPOPT, the QP solvers of the wheel."""

import casadi as ca
import numpy as np
import pytest
from doseloop.controller.casadi_solvers import Ipopt, Sqp
from doseloop.controller.plan import Status
from doseloop.controller.problem import Chance, PathLimit
from doseloop.controller.realtime import RealTime, SolverOptions
from doseloop.controller.smooth import smoothed
from doseloop.models import load
from doseloop.pkpd import reference
from doseloop.pkpd.errors import SolverError
from doseloop.pkpd.trace import casadi_functions
from helpers_mpc import glucose, patients, propofol, two_drugs

TIGHT = SolverOptions(tolerance=1e-10, feasibility=1e-7, iterations=300)


@pytest.mark.parametrize("qp", ["daqp", "qrqp", "osqp", "highs"])
def test_qp_solvers_of_the_wheel_agree(qp):
    problem = glucose(stages=16, move={"largest_change": 0.05})
    snap = patients(problem, 1)
    mine, theirs = RealTime(problem, TIGHT).solve(snap), Sqp(problem, qp, tolerance=1e-5).solve(snap)
    # qrqp ends 2e-5 above the others here
    assert theirs.cost[0] == pytest.approx(mine.cost[0], rel=1e-4 if qp == "qrqp" else 1e-6)


def test_an_unknown_qp_solver():
    with pytest.raises(SolverError, match="known: daqp, qrqp"):
        Sqp(glucose(), "gurobi")


IPOPT = {
    "glucose": (lambda: glucose(stages=24), 1e-6),
    "glucose, S2008": (lambda: glucose("glucose_t1d_uvapadova2008", 16), 1e-6),
    "glucose, hard limit in draws": (
        lambda: glucose(stages=16, goal={}, draws=2, limits=[PathLimit("glucose", low=90.0)]),
        1e-5,
    ),
    "propofol, draws": (lambda: propofol(24, draws=2), 1e-6),
    "two drugs, blocks and rates": (lambda: two_drugs(16, blocks=(2,) * 8), 1e-6),
}


@pytest.mark.parametrize("name", IPOPT)
def test_ipopt_on_the_smoothed_reading_finds_the_same(name):
    make, tolerance = IPOPT[name]
    problem = make()
    snap = patients(problem, 1, seed=3, meal=40.0)
    mine, theirs = RealTime(problem, TIGHT).solve(snap), Ipopt(problem).solve(snap)
    assert theirs.status[0] == mine.status[0] == Status.SOLVED
    assert theirs.cost[0] == pytest.approx(mine.cost[0], rel=tolerance)
    scale = np.array([m.scale for m in problem.moves])
    assert np.abs((mine.moves - theirs.moves) / scale).max() < 5e-3


def test_warm_starts_and_chances_go_through_casadi_too():
    chance = Chance("glucose", 0.4, below=90.0)
    problem = glucose(stages=16, goal={}, draws=3, chances=[chance])
    snap = patients(problem, 1, seed=3, meal=60.0)
    cold = Sqp(problem).solve(snap)
    warm = Sqp(problem).solve(snap, cold, elapsed=0.0)
    assert warm.cost[0] == pytest.approx(cold.cost[0], rel=1e-6)
    assert warm.iterations[0] <= cold.iterations[0]
    assert cold.probability[0, 0] <= 0.4
    impossible = glucose(stages=8, draws=3, chances=[Chance("glucose", 0.0, below=500.0)])
    assert Sqp(impossible).solve(patients(impossible, 1)).status[0] in (Status.INFEASIBLE, Status.FAILED)


@pytest.mark.parametrize(
    ("model", "minutes", "apart"),
    [
        ("glucose_t1d_hovorka2004", 1440, 0.5),
        ("glucose_t1d_uvapadova2008", 1440, 0.5),
        ("propofol_eleveld2018", 60, 0.05),
    ],
)
def test_how_far_the_smoothed_reading_is_from_the_exact_one(model, minutes, apart):
    """A day of three meals (mg/dL), an hour of anaesthesia (BIS): the largest difference of the first goal's output."""
    m = load(model)
    f = casadi_functions(m)
    p = np.array(list(reference.individual(m).values()))
    x0, steps = np.array(f["initial"](p)).ravel(), 4 * minutes
    names = (*m.names("inputs"), *m.names("routes"))
    u = np.tile([*(i.typical for i in m.inputs), *(0.0 for _ in m.routes)], (steps, 1)).astype(float)
    t = np.arange(steps) / 4
    if "carbs" in names:
        eating = sum(((t >= at) & (t < at + 15)).astype(float) for at in (420, 780, 1140))
        u[:, names.index("carbs")] = 4.0 * eating
        u[:, names.index("sc")] = 0.016 + 0.4 * eating
        if "meal" in names:
            u[:, names.index("meal")] = np.select([t < 420], [0.0], 60.0)
    else:
        u[:, 0] = np.where(t < 1, 120.0, np.where(t < 30, 12.0, 6.0))
    rng = np.random.Generator(np.random.Philox(key=[1, 1]))
    samples = [[0.0, (x0 + (x0 == 0)) * np.exp(rng.normal(0, 0.5, len(x0))), p, u[i]] for i in range(0, steps, 97)]
    goal = m.names("outputs").index("glucose" if "glucose" in m.names("outputs") else "bis")
    courses = []
    for rhs, outputs in (
        (f["rhs"], f["outputs"]),
        (smoothed(f["rhs"], samples), smoothed(f["outputs"], [s[:3] for s in samples])),
    ):
        x, v, h = ca.SX.sym("x", len(x0)), ca.SX.sym("u", len(names)), 0.25
        a = rhs(0, x, p, v)
        b = rhs(0, x + h / 2 * a, p, v)
        c = rhs(0, x + h / 2 * b, p, v)
        d = rhs(0, x + h * c, p, v)
        step = ca.Function("step", [x, v], [x + h / 6 * (a + 2 * b + 2 * c + d)]).mapaccum(steps)
        courses.append(np.array(outputs.map(steps)(0, step(x0, u.T), p))[goal])
    off = np.abs(courses[0] - courses[1]).max()
    assert 0 < off < apart
    assert np.ptp(courses[0]) > 20  # something happened


def test_every_word_that_has_a_kink_is_rounded():
    a, b = ca.SX.sym("a"), ca.SX.sym("b")
    words = {
        "max": ca.fmax(a, b),
        "min": ca.fmin(a, b),
        "abs": ca.fabs(a - b),
        "where": ca.if_else(a < b, 2.0, 3.0),
        "le": ca.if_else(a <= b, a, b),
        "and": ca.if_else(ca.logic_and(a < b, a > -5), 1.0, 0.0),
        "or": ca.if_else(ca.logic_or(a < b, a > 5), 1.0, 0.0),
        "not": ca.if_else(ca.logic_not(a < b), 1.0, 0.0),
        "sign": ca.sign(a - b),
    }
    samples = [[np.array(1.0), np.array(3.0)]]
    for name, word in words.items():
        exact = ca.Function("f", [a, b], [word])
        smooth = smoothed(exact, samples)
        for x in ((1.0, 3.0), (3.0, 1.0), (-2.0, 4.0)):
            assert float(smooth(*x)) == pytest.approx(float(exact(*x)), abs=2e-6), name
        slope = ca.Function("d", [a, b], [ca.jacobian(smooth(a, b), a)])
        at = [float(slope(2.0 + e, 2.0)) for e in (-1e-3, 0.0, 1e-3)]
        assert np.isfinite(at).all(), name
    plain = ca.Function("g", [a], [a * a])
    assert smoothed(plain, [[np.array(1.0)]]) is plain
