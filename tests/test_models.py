"""The one suite that every model in `doseloop.models` passes; a new file there is taken up without a line here."""

from __future__ import annotations

import dataclasses
import math
import runpy
from collections import defaultdict
from pathlib import Path

import casadi as ca
import numpy as np
import pytest
from doseloop import models
from doseloop.pkpd import engine, ops, reference
from doseloop.pkpd.balance import check_units
from doseloop.pkpd.engine import Method
from doseloop.pkpd.errors import ModelError
from doseloop.pkpd.fields import Fields
from doseloop.pkpd.individuals import individuals, individuals_with_derivatives
from doseloop.pkpd.lanes import listing
from doseloop.pkpd.model import Output, State
from doseloop.pkpd.physiology import cockcroft_gault
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Bolus, Regimen
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.system import individual_graph, system
from doseloop.pkpd.trace import casadi_functions
from helpers_models import (
    POINTS,
    Points,
    amount_of,
    central,
    holding,
    rates_of,
    regimen_of,
    signals_of,
    span_of,
    typical,
    worst,
)
from helpers_pk import compiled, run_all


@pytest.fixture(params=models.ids())
def model(request):
    return models.load(request.param)


# declarations --------------------------------------------------------------------------------------------------------


def test_units_balance(model):
    check_units(model)


def test_every_number_has_a_source(model):
    listed = [*model.parameters, *model.covariates, *model.effects, *model.covariances, *model.printed]
    listed += [o.residual for o in model.outputs if o.residual]
    assert [item for item in listed if len(item.source.strip()) < 5] == []
    assert all(text.strip() for text in (model.drug, model.title, model.citation))
    assert model.printed, "name at least one number that the paper prints"


def test_the_printed_numbers_come_back(model):
    def digits(value, count):
        return float(f"{value:.{count - 1}e}")

    for item in model.printed:
        p = reference.individual(model, {**model.typical_covariates, **item.covariates})
        got = item.compute(Fields("individual parameter", p))
        assert digits(got, item.digits) == digits(item.value, item.digits), (item.what, got)


def test_individual_parameters_are_positive_over_the_whole_range_and_a_quarter_beyond(model):
    """Outside the paper's range a prediction is an extrapolation, but a line that turns negative is a trap."""
    p = individuals(model, Points(model, beyond=1.25).cov)
    assert np.isfinite(p).all()
    assert (p > 0).all()


# the readings of one text --------------------------------------------------------------------------------------------


def test_floats_lanes_and_casadi_agree(model):
    at, functions = Points(model), casadi_functions(model)
    routes, inputs = model.names("routes"), model.names("inputs")
    plain = np.array([list(reference.individual(model, c, e).values()) for c, e in zip(at.cov, at.eta)])
    symbols = np.array([functions["individual"](model.theta, c, e) for c, e in zip(at.cov, at.eta)])[:, :, 0]
    assert worst(at.p, plain, np.abs(plain)) <= 1e-12
    assert worst(symbols, plain, np.abs(plain)) <= 1e-12

    S, flow, look = system(model), [], []
    for t, x, p, u in zip(at.t, at.x, at.p, at.u):
        split = dict(zip(inputs, u)), dict(zip(routes, u[len(inputs) :]))
        flow.append(reference.rhs(model, t, x, p, *split))
        look.append(reference.outputs(model, t, x, p))
    for name, expected, kernel in (("rhs", flow, S.rhs()), ("outputs", look, S.outputs())):
        rows = zip(at.t, at.x, at.p, at.u) if name == "rhs" else zip(at.t, at.x, at.p)
        symbols = np.array([functions[name](*row) for row in rows])[:, :, 0]
        # by the largest of a row: where terms cancel, the last digits of the terms remain
        assert worst(compiled(kernel)(*at.columns()).T, np.array(expected)) <= 1e-12
        assert worst(symbols, np.array(expected)) <= 1e-12


def test_the_random_points_see_both_sides_of_every_branch(model):
    """Else the test above has compared half of the model."""
    at, S = Points(model), system(model)
    fixed = np.hstack([np.tile(model.theta, (POINTS, 1)), at.cov])
    none = np.empty((0, 0))
    graphs = [(S.rhs(), at.columns()), (S.outputs(), at.columns())]
    graphs += [(individual_graph(model, False), (none, at.eta.T, fixed.T, none, none))]
    signs = {"lt": "<", "le": "<=", "eq": "==", "ne": "!=", "max": "<", "min": "<"}
    for graph, columns in graphs:
        lines, seen = listing(graph).splitlines(), defaultdict(set)
        for i, step in enumerate(graph.instructions):
            if step.word in signs:
                a, b = step.args
                lines[2 + i] = f"    seen[{i}].add(w{a} {signs[step.word]} w{b}); {lines[2 + i].strip()}"
        space = {**vars(ops), "seen": seen}
        exec("\n".join(lines), space)
        for j in range(POINTS):
            space[graph.name](*(c[:, j].tolist() if c.size else [] for c in columns))
        assert all(len(sides) == 2 for sides in seen.values()), (graph.name, dict(seen))


# derivatives ---------------------------------------------------------------------------------------------------------


def test_the_jacobian_agrees_with_finite_differences(model):
    at, S = Points(model, 40), system(model)
    n, kernel, flow = len(model.states), compiled(S.jacobian()), compiled(S.rhs())
    s, x, p, u, k = at.columns()
    got = kernel(s, x, p, u, k)
    F, J = got[:n], got[2 * n :].reshape(n, n, -1)  # column by column
    for j in range(n):
        step = np.zeros((n, 1))
        step[j] = 1.0
        fd = central(lambda h, step=step: flow(s, x * (1 + h * step), p, u, k), 2e-4) / x[j]
        assert worst(J[j], fd, np.abs(fd) + np.abs(F) / x[j]) <= 1e-9
    slope = central(lambda h: flow(s + np.array([[h], [0.0]]), x, p, u, k), 1e-3)
    assert worst(got[n : 2 * n], slope, np.abs(slope) + np.abs(F)) <= 1e-9


def test_parameters_derivatives_agree_with_finite_differences(model):
    at = Points(model, 40)
    p, dp = individuals_with_derivatives(model, at.cov, at.eta)
    assert worst(p, at.p, np.abs(p)) <= 1e-14  # two kernels may fuse products and sums differently
    for e, step in enumerate(np.eye(len(model.effects))):
        fd = central(lambda h, step=step: individuals(model, at.cov, at.eta + h * step), 1e-3)
        assert worst(dp[:, e], fd, np.abs(p)) <= 1e-9


def starting(model, p, dp):
    """Starting states and their derivatives by effect, (people, n·(1 + K))."""
    f = casadi_functions(model)["initial"]
    J = ca.Function("J", [f.sx_in(0)], [ca.densify(ca.jacobian(f(f.sx_in(0)), f.sx_in(0)))])
    rows = [np.vstack([np.array(f(a)).T, d @ np.array(J(a)).T]).ravel() for a, d in zip(p, dp)]
    return np.array(rows)


def test_sensitivities_of_the_outputs_agree_with_finite_differences(model):
    """Where a course crosses a kink, a difference is only right in the limit: its error must shrink with the step."""
    at, K = Points(model, 4), len(model.effects)
    tight, span, schedules = Method(rtol=1e-10, atol=1e-10), span_of(model), []
    times = np.linspace(0.05, 1, 12) * span
    for p in at.p:
        schedules.append(Schedule(model, 0.0))
        for i, value in enumerate(signals_of(model, p, 0.05).values()):
            schedules[-1].set_input(0.0, i, value)
        schedules[-1].observe(times)
        schedules[-1].regimen(regimen_of(model, p=p, part=0.05)[0], span)

    def outputs(eta, directions):
        p, dp = individuals_with_derivatives(model, at.cov, eta)
        dp = dp[:, :directions]
        rows, x0 = np.hstack([p, dp.reshape(len(p), -1)]), starting(model, p, dp)
        Y, status = Prepared(system(model, directions), schedules, tight).run(rows, x0=x0)
        assert not status.any()
        return Y.reshape(len(p), len(times), 1 + directions, len(model.outputs))

    Y = outputs(at.eta, K)
    assert worst(Y[:, :, 0], outputs(at.eta, 0)[:, :, 0], np.abs(Y[:, :, 0]).max()) <= 1e-9
    size = np.abs(Y[:, :, 0]).max(axis=1, keepdims=True)
    for k, step in enumerate(np.eye(K)):

        def difference(h, step=step):
            return central(lambda h: outputs(at.eta + h * step, 0)[:, :, 0], h)

        error = worst(Y[:, :, 1 + k], difference(1e-2), size)
        if error > 1e-6:
            nearer = worst(Y[:, :, 1 + k], difference(1e-3), size)
            assert nearer <= min(0.5 * error, 1e-4), (model.effects[k].name, error, nearer)
        moved = (np.abs(Y[:, :, 1 + k]) / np.maximum(size, 1e-300)).max()
        assert moved > 1e-7, f"the random effect {model.effects[k].name} does nothing"


# simulation ----------------------------------------------------------------------------------------------------------


def test_a_dose_by_each_route_reaches_each_output(model):
    """Of a model of several drugs: each reaches an output, and each output is reached."""
    p, reached = list(typical(model).values()), []
    for route in model.routes:
        regimen, span = regimen_of(model, [route])
        times = np.linspace(0, span, 30)
        dosed, status = run_all(model, p, regimen, times, Method())
        resting, _ = run_all(model, p, Regimen(*holding(model, span)), times, Method())
        assert not status.any()
        assert np.isfinite(dosed).all()
        reached.append(np.abs(dosed - resting)[0].max(axis=0) > 0)
        assert reached[-1].any(), f"{route.name} reaches no output"
        assert reached[-1].all() or len(groups_of(model)) > 1, f"{route.name} does not reach every output"
    assert np.any(reached, axis=0).all()


def test_scipy_agrees(model):
    for covariates in (model.typical_covariates, dict(zip(model.names("covariates"), Points(model, 1).cov[0]))):
        p = reference.individual(model, covariates)
        row = list(p.values())
        (regimen, span), signals = regimen_of(model, p=row), signals_of(model, row, part=0.2)
        starts = [d.time for d in regimen.expanded().doses]
        times = np.sort(np.concatenate([np.linspace(0, span, 20), starts]))
        # SciPy's error over a slow model's long span is some ten times what it is asked for
        tight = {"rtol": 3e-14, "atol": 1e-17} if system(model).linear else {}
        expected = reference.simulate_reference(model, p, regimen, times, u=signals, **tight)
        for method, near in {Method(): 1e-8, Method(rtol=1e-11, atol=1e-13): 1e-10}.items():
            got, status = run_all(model, row, regimen, times, method, signals=signals)
            assert not status.any()
            error = worst(got[0].T, expected.T)
            assert error <= (1e-12 if system(model).linear else near), (method, error)


def test_observed_orders_of_the_integrators(model):
    """By all states, each by how far it moves: an output may lag too far behind a dose to show an error at all."""
    states = [Output(s.name, s.unit) for s in model.states]
    every = {"outputs": states, "outputs_of": lambda t, x, p: {s.name: getattr(x, s.name) for s in states}}
    seen, p, unit = dataclasses.replace(model, **every), typical(model), 0.4 / rates_of(model)[1]
    dose, signals = Bolus(amount_of(model), 0.0, route=model.routes[0].name), signals_of(model)
    regimen = Regimen(dose, *holding(model, 16 * unit))
    looks = np.arange(1, 17) * unit
    expected = reference.simulate_reference(seen, p, regimen, looks, rtol=1e-13, atol=1e-16, u=signals)
    moved = np.ptp(expected, axis=0)
    moving = moved > 1e-3 * np.abs(expected).max(axis=0)

    def error(name, parts):
        h = unit / parts
        # tolerances that accept all, and a look at every step's end: from the second look on each step is h
        how = Method(name, rtol=1e9, atol=1e9, step=h * (1 + 1e-9))
        Y, _ = run_all(seen, list(p.values()), regimen, np.arange(1, 16 * parts + 1) * h, how, signals=signals)
        return np.sqrt(np.mean(((Y[0, parts - 1 :: parts] - expected)[:, moving] / moved[moving]) ** 2))

    for name, nominal in {"rk4": 4, "adaptive": 5, "stiff": 4}.items():
        coarse, middle, fine = (error(name, parts) for parts in (4, 8, 16))
        observed = math.log2(middle / fine if fine > 1e-13 else coarse / middle)  # below is the reference's rounding
        assert abs(observed - nominal) < 0.2, (name, observed)


# mass ----------------------------------------------------------------------------------------------------------------


def groups_of(model):
    """For each drug, the states that hold it: those in the unit of the state that its route enters."""
    units = {s.name: s.unit for s in model.states}
    dosed = dict.fromkeys(units[r.into] for r in model.routes)
    return [[s for s, unit in units.items() if unit == drug] for drug in dosed]


def test_nothing_is_made_and_flows_are_what_their_names_say(model):
    """Over all compartments only elimination is left; the names cl, vmax, km, v1, q and v2 mean what they say."""
    at, names, states = Points(model), list(model.individual_units), model.names("states")
    for t, x, row in zip(at.t, at.x, at.p):
        f, p = reference.rhs(model, t, x, row), dict(zip(names, row))
        lost, noise = [], []
        for group in groups_of(model):
            rows = [states.index(s) for s in group]
            lost.append(-f[rows].sum())
            noise.append(1e-12 * np.abs(f[rows]).sum())
            assert lost[-1] >= -noise[-1]
        lost, noise = lost[0], noise[0]
        c = reference.outputs(model, t, x, row)[0]
        if "cl" in p:
            assert lost == pytest.approx(p["cl"] * c, rel=1e-12, abs=noise)
        if {"vmax", "km"} <= set(p):
            assert lost == pytest.approx(p["vmax"] * c / (p["km"] + c), rel=1e-12, abs=noise)
        if {"v1", "q", "v2"} <= set(p) and "peripheral" in states:
            flow = p["q"] * (x[states.index("central")] / p["v1"] - x[states.index("peripheral")] / p["v2"])
            assert f[states.index("peripheral")] == pytest.approx(flow, rel=1e-12, abs=noise)


def test_amount_given_is_amount_held_plus_amount_lost(model):
    for group in groups_of(model):

        def rhs(t, x, p, u, group=group):
            flow = dict(model.rhs(t, x, p, u))
            return {**flow, "lost": -sum(flow[s] for s in group)}

        states = [*model.states, State("lost", next(s.unit for s in model.states if s.name == group[0]))]
        start = model.initial
        held = dataclasses.replace(
            model,
            states=states,
            rhs=rhs,
            initial=None if start is None else lambda p, start=start: {**start(p), "lost": 0.0},
            outputs=[Output(s.name, s.unit) for s in states],
            outputs_of=lambda t, x, p, states=states: {s.name: getattr(x, s.name) for s in states},
        )
        p, routes = typical(model), [r for r in model.routes if r.into in group]
        regimen, span = regimen_of(model, routes, hold=False)
        given = sum(d.amount * p.get(model.route(d.route).bioavailability, 1.0) for d in regimen.expanded().doses)
        rows = [i for i, s in enumerate(states) if s.name in [*group, "lost"]]
        began = reference.initial(held, p)[rows].sum()
        amounts, status = run_all(held, list(p.values()), regimen, [0.9 * span, span, 5 * span], Method())
        assert not status.any()
        assert amounts[0][:, rows].sum(axis=1) == pytest.approx(began + given, rel=1e-12)
        assert amounts[0, -1, -1] > 0.5 * given


# alone and together --------------------------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    monkeypatch.setattr(engine, "THREAD_BLOCKS", 4)  # so that two threads do share this small population
    before = engine._threads[0]
    yield engine.set_threads
    engine.set_threads(before)


def test_a_patient_gives_the_same_bits_alone_and_in_any_batch(model, threads):
    people, looks = 8 * 64, 6
    at, (regimen, span) = Points(model, people), regimen_of(model)
    schedules = []
    for k in range(3):
        s = Schedule(model, 0.0)
        s.observe(np.linspace(0.01 * k, 0.5 + 0.2 * k, looks) * span)
        s.regimen(regimen.scaled(1 + 0.3 * k), span)
        schedules.append(s)
    prepared, follows = Prepared(system(model), schedules, Method()), np.arange(people) % 3

    def run(who):
        p = individuals(model, at.cov[who], at.eta[who])
        x0 = np.array([reference.initial(model, row) for row in p])
        Y, status = prepared.run(p, schedule_of=follows[who], x0=x0)
        assert not status.any()
        return Y.reshape(len(who), looks, -1)

    threads(1)
    alone = np.concatenate([run(np.array([i])) for i in range(64)])
    for size in (1, 7, 8, 9, 64):
        who = np.random.Generator(np.random.Philox(size)).permutation(64)[:size]
        assert np.array_equal(run(who), alone[who]), size
    shuffled = np.random.Generator(np.random.Philox(1)).permutation(people)
    one = run(shuffled)
    assert np.array_equal(one[np.argsort(shuffled)][:64], alone)
    threads(2)
    assert np.array_equal(run(shuffled), one)


# the folder ----------------------------------------------------------------------------------------------------------


def test_a_model_s_id_is_its_file_s_name_and_a_wrong_id_names_the_nearest():
    assert [m.id for m in models.all_models()] == list(models.ids())
    with pytest.raises(ModelError, match="did you mean 'vancomycin_adult_goti2018'"):
        models.load("vancomycin_goti2018")


def test_the_tutorial_s_model_is_true(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    path = tmp_path / "example.py"
    path.write_text(text.split("```python\n")[1].split("```")[0], encoding="utf-8")
    example = runpy.run_path(str(path))["MODEL"]
    check_units(example)
    test_the_printed_numbers_come_back(example)
    test_scipy_agrees(example)
    assert all(id in text for id in models.ids()), "docs/models.md has a row for each model"


def test_cockcroft_gault():
    """Their own example's arithmetic: 72 kg and 1 mg/dL make it 140 less the age."""
    assert cockcroft_gault(40.0, 72.0, 0.0, 1.0) == 100.0
    assert cockcroft_gault(40.0, 72.0, 1.0, 1.0) == pytest.approx(85.0, rel=1e-15)
    assert cockcroft_gault(60.0, 70.0, 0.0, 2.0) == pytest.approx(80 * 70 / 144, rel=1e-15)
