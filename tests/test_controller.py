"""The controller: what it optimises, what it recommends, how it ends."""

import sys
from dataclasses import replace

import doseloop.controller.ocp as ocp
import numpy as np
import pytest
from doseloop import therapies
from doseloop.controller import Options, Outcome, recommend
from doseloop.controller.situation import Grid, courses, quantity, unit_courses
from doseloop.pkpd.errors import SolverError
from doseloop.pkpd.record import CovariateRow, Measurement, Record
from doseloop.pkpd.regimen import Infusion, Regimen
from doseloop.safety import Decision
from doseloop.therapies import Action, Goal, Harm
from doseloop.twin.posterior import posterior
from doseloop.twin.sync import sync
from scipy.optimize import minimize

ADULT = {"weight": 82.0, "age": 61.0, "sex": 0.0, "scr": 1.1, "dialysis": 0.0}


@pytest.fixture(scope="module")
def vancomycin():
    return therapies.load("vancomycin")


@pytest.fixture(scope="module")
def phenobarbital():
    return therapies.load("phenobarbital")


def adult(*levels, now=40.0, covariates=ADULT, **later):
    rows = (CovariateRow(0.0, covariates), *((CovariateRow(34.0, covariates | later),) if later else ()))
    given = Regimen(Infusion(1750, 0, duration=3), Infusion(1250, 12, duration=2.5, every=12, times=3))
    return Record("adult", rows, given, tuple(Measurement(t, "concentration", v) for t, v in levels), now)


def infant(*levels, weight=1.4, apgar=7.0, now=113.0):
    given = Regimen(Infusion(25, 0, duration=0.1), Infusion(3.5, 12, duration=0.1, every=12, times=9))
    rows = (CovariateRow(0.0, {"weight": weight, "apgar": apgar}),)
    return Record("infant", rows, given, tuple(Measurement(t, "concentration", v) for t, v in levels), now)


def problem(therapy, record, interval, draws=40):
    twin = sync(therapy, record, draws=500)
    drawn = twin.equal_draws(draws)
    grid = Grid.of(therapy, record, record.covariates_at(record.now)["weight"], interval, None)
    return grid, drawn, courses(drawn, therapy.output, record, [Regimen()], grid.times)


def units_of(therapy, grid, drawn):
    most = therapy.action.amounts(grid.weight)[-1]
    return unit_courses(drawn, therapy, grid.record, [grid.length(most)], grid.lags())


def objective_of(therapy, grid, drawn, amounts):
    """The objective by simulating the whole regimen, without the controller's matrices."""
    regimen = Regimen(
        *[replace(unit_dose(therapy, grid, t), amount=a) for a, t in zip(amounts, grid.starts) if a > 1e-9]
    )
    course = courses(drawn, therapy.output, grid.record, [regimen], grid.times)
    q = ocp.along_horizon(therapy.goal.quantity, course, grid)
    most = therapy.action.amounts(grid.weight)[-1]
    smooth = 1e-3 * np.sum((np.diff(amounts) / most) ** 2)
    return np.mean((q / therapy.goal.target - 1) ** 2) + smooth, course


def unit_dose(therapy, grid, time):
    most = therapy.action.amounts(grid.weight)[-1]
    return therapy.action.dose(most, float(time), grid.weight)


def test_optimum_is_that_of_an_independent_minimiser(vancomycin):
    """Without active harms, SciPy on the simulated objective finds the same optimum."""
    therapy = replace(vancomycin, harms=())
    grid, drawn, base = problem(therapy, adult((14.6, 31.0), (35.5, 18.4)), 12.0)
    plan = ocp.solve(grid, drawn, base, units_of(grid.therapy, grid, drawn))
    most = therapy.action.amounts(82.0)[-1]
    found = minimize(
        lambda a: objective_of(therapy, grid, drawn, a * most)[0],
        np.full(len(grid.starts), 0.3),
        bounds=[(0, 1)] * len(grid.starts),
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    ours = objective_of(therapy, grid, drawn, plan.amounts)[0]
    assert ours <= found.fun + 1e-7
    assert plan.objective == pytest.approx(ours, abs=1e-6)


def test_solvers_agree(vancomycin, monkeypatch):
    grid, drawn, base = problem(vancomycin, adult((14.6, 31.0), (35.5, 18.4)), 12.0)
    objectives = []
    for name in ("highs", "qpoases"):
        monkeypatch.setattr(ocp, "SOLVER", name)
        ocp._conic.cache_clear()
        objectives.append(ocp.solve(grid, drawn, base, units_of(grid.therapy, grid, drawn)).objective)
    ocp._conic.cache_clear()
    assert objectives[0] == pytest.approx(objectives[1], abs=1e-6)


@pytest.mark.parametrize("target", [900.0, 2000.0])
def test_chance_constraints_hold(vancomycin, target):
    """A goal beyond the harms: the optimum stops where the stated probability of harm is reached, not later."""
    therapy = replace(vancomycin, goal=replace(vancomycin.goal, target=target))
    grid, drawn, base = problem(therapy, adult((14.6, 31.0), (35.5, 18.4)), 12.0)
    plan = ocp.solve(grid, drawn, base, units_of(grid.therapy, grid, drawn))
    assert plan.success
    assert plan.feasible
    _, course = objective_of(therapy, grid, drawn, plan.amounts)
    level = {h.name: h.probability_max.value for h in therapy.limits.predicted}
    probability = {}
    for harm in therapy.harms:
        q = quantity(harm.quantity, course, grid.times, float(grid.starts[0]))[:, 0]
        probability[harm.name] = float((q > harm.above * (1 + 1e-6)).mean())
        assert probability[harm.name] <= level[harm.name]
    # and the constraint is what stops it: without harms the exposure goes higher
    unbound = replace(therapy, harms=())
    free = ocp.solve(replace(grid, therapy=unbound), drawn, base, units_of(unbound, grid, drawn))
    assert free.amounts.sum() > plan.amounts.sum() + 1.0


def test_rolling_totals_bound_the_plan(vancomycin):
    therapy = replace(vancomycin, goal=replace(vancomycin.goal, target=5000.0), harms=())
    grid, drawn, base = problem(therapy, adult((14.6, 31.0)), 8.0)
    plan = ocp.solve(grid, drawn, base, units_of(grid.therapy, grid, drawn))
    for i in range(len(grid.starts)):
        window = (grid.starts > grid.starts[i] - 24.0) & (grid.starts <= grid.starts[i])
        assert plan.amounts[window].sum() <= 6000.0 + 1e-3


def nonlinear(therapy):
    """A therapy with a Michaelis-Menten model, for the sequential programming (not a real treatment)."""
    return replace(
        therapy,
        model_ids=("phenytoin_adult_grasela1983",),
        prior_weights=(1.0,),
        action=Action(
            "iv", "mg", lambda w: tuple(25.0 * k for k in range(2, 25)), (12.0,), lambda a, w: 1.0, True, "test"
        ),
        goal=Goal("trough", 10.0, 20.0, 14.0, "mg/L", "test"),
        harms=(
            Harm(therapy.harms[0].name, "peak", 30.0, "mg/L", "test"),
            Harm(therapy.harms[1].name, "trough", 25.0, "mg/L", "test"),
        ),
        horizon=36.0,
    )


def phenytoin_record(therapy):
    covariates = {c.name: c.typical for c in therapy.models[0].covariates}
    given = Regimen(Infusion(900, 0, duration=1), Infusion(150, 12, duration=1, every=12, times=3))
    return Record("p", (CovariateRow(0.0, covariates),), given, (Measurement(36.0, "concentration", 13.0),), 37.0)


def test_nonlinear_problem_reaches_a_local_optimum(vancomycin):
    therapy = nonlinear(vancomycin)
    record = phenytoin_record(therapy)
    grid, drawn, base = problem(therapy, record, 12.0, draws=12)
    plan = ocp.solve(grid, drawn, base, None)
    assert plan.success
    best = objective_of(therapy, grid, drawn, plan.amounts)[0]
    for i in range(len(plan.amounts)):
        for step in (-15.0, 15.0):
            moved = plan.amounts + step * np.eye(len(plan.amounts))[i]
            if (moved >= 0).all():
                assert objective_of(therapy, grid, drawn, moved)[0] >= best - 1e-6


@pytest.mark.parametrize("which", ["vancomycin", "phenytoin"])
def test_judged_is_what_is_simulated(vancomycin, which):
    """The bands of a candidate come back from a plain simulation of its regimen over the same draws."""
    therapy = vancomycin if which == "vancomycin" else nonlinear(vancomycin)
    record = adult((14.6, 31.0), (35.5, 18.4), scr=1.4) if which == "vancomycin" else phenytoin_record(therapy)
    options = Options(draws=500, plan_draws=40, ocp_draws=12, around=2)
    twin = sync(therapy, record, draws=500)
    answer = recommend(therapy, twin, options)
    assert answer.candidates
    for c in answer.candidates:
        grid = Grid.of(therapy, record, record.covariates_at(record.now)["weight"], c.interval, None)
        course = courses(twin.equal_draws(40), therapy.output, record, [c.regimen], grid.times)
        for name, band in c.bands.items():
            q = quantity(name, course, grid.times, float(grid.starts[0]))[:, 0]
            assert np.quantile(q, (0.05, 0.5, 0.95)) == pytest.approx(band, rel=1e-9)
        q = quantity(therapy.goal.quantity, course, grid.times, float(grid.starts[0]))[:, 0]
        assert c.p_target == np.mean((q >= therapy.goal.low) & (q <= therapy.goal.high))


def test_recommended_regimen_is_practical_and_passes_the_guard(vancomycin, phenobarbital):
    for therapy, record in (
        (vancomycin, adult((14.6, 31.0), (35.5, 18.4))),
        (phenobarbital, infant((2.0, 17.3), (112.5, 31.0))),
    ):
        answer = recommend(therapy, record)
        assert answer.outcome is Outcome.RECOMMENDED
        weight = record.covariates_at(record.now)["weight"]
        amounts = therapy.action.amounts(weight)
        for c in answer.candidates:
            assert c.interval in therapy.action.intervals
            assert all(d.amount in amounts for d in c.regimen.doses)
            assert all(v.decision is Decision.PASSED for v in c.verdicts)
            assert len(c.verdicts) == len(c.regimen.doses)
            assert c.allowed
        assert answer.regimen == answer.candidates[0].regimen
        assert all(d.time >= record.now for d in answer.regimen.doses)
        assert [c.utility for c in answer.candidates] == sorted((c.utility for c in answer.candidates), reverse=True)


def test_time_in_range_as_the_goal(phenobarbital):
    """The share of time is that of a fine simulation; the chosen regimen keeps the level inside better than none."""
    therapy = replace(phenobarbital, goal=Goal("time_in_range", 20.0, 30.0, 25.0, "mg/L", "test"))
    record = infant((2.0, 17.3), (112.5, 24.0))
    twin = sync(therapy, record, draws=500)
    answer = recommend(therapy, twin, Options(draws=500, plan_draws=40, ocp_draws=20, around=2))
    assert answer.outcome is Outcome.RECOMMENDED
    best = answer.candidates[0]
    grid = Grid.of(therapy, record, 1.4, best.interval, None)
    fine = np.linspace(grid.starts[0], grid.times[-1], 5000)
    level = courses(twin.equal_draws(40), therapy.output, record, [best.regimen], fine).levels[:, 0]
    assert best.p_target == pytest.approx(np.mean((level >= 20) & (level <= 30)), abs=0.01)
    assert best.p_target > answer.hold.p_target
    assert "of the time" in answer.sentence


def test_renal_failure_lowers_the_exposure_asked_for(vancomycin):
    well = recommend(vancomycin, adult((14.6, 28.0), scr=1.1))
    ill = recommend(vancomycin, adult((14.6, 28.0), scr=3.5))
    assert well.outcome is Outcome.RECOMMENDED

    def daily(r):
        doses = () if r.regimen is None else r.regimen.doses
        return sum(d.amount for d in doses) / (r.candidates[0].interval * max(1, len(doses)))

    assert daily(ill) < daily(well)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (infant((2.0, 17.3), weight=9.0), "weight"),
        (infant((2.0, 17.3), (112.5, 55.0)), "50"),
        (replace(infant((2.0, 17.3)), now=400.0), "old"),
        (infant((2.0, 250.0)), "200"),
    ],
)
def test_faults_of_the_data_end_without_a_dose(phenobarbital, record, words):
    answer = recommend(phenobarbital, record)
    assert answer.outcome is Outcome.DATA
    assert answer.regimen is None
    assert words in " ".join(answer.reasons)
    assert answer.forecast is not None  # the prediction is shown even when no dose is advised


def test_level_too_high_for_any_dose_is_a_hold(phenobarbital):
    answer = recommend(phenobarbital, infant((2.0, 30.0), (60.0, 45.0), (112.0, 49.0), (112.5, 49.0)))
    assert answer.outcome is Outcome.HOLD
    assert answer.regimen is None
    assert "40 mg/L" in answer.sentence


def test_newest_level_that_does_not_fit_gives_no_dose_until_checked(phenobarbital):
    """A level a seventh of what is expected would call for more drug: believed only once somebody has checked it."""
    record = infant((2.0, 17.3), (112.5, 4.0))
    answer = recommend(phenobarbital, record)
    assert answer.outcome is Outcome.DATA
    assert answer.regimen is None
    assert "implausible" in answer.sentence
    assert "laboratory" in answer.sentence
    checked = recommend(phenobarbital, record, Options(verified=True))
    assert checked.outcome is Outcome.RECOMMENDED
    assert any("implausible" in r for r in checked.reasons)


def test_older_level_that_does_not_fit_is_said(phenobarbital):
    answer = recommend(phenobarbital, infant((2.0, 17.3), (60.0, 2.0), (112.5, 31.0)))
    assert answer.outcome is Outcome.RECOMMENDED
    assert any("implausible" in r for r in answer.reasons)


def test_missing_covariate_ends_in_words(phenobarbital):
    record = Record("x", (CovariateRow(0.0, {"weight": 1.4}),), Regimen(Infusion(25, 0, duration=0.1)), (), 5.0)
    answer = recommend(phenobarbital, record)
    assert answer.outcome is Outcome.DATA
    assert answer.regimen is None
    assert "apgar" in answer.sentence


def test_untrusted_posterior_gives_no_dose(phenobarbital, monkeypatch):
    twin = sync(phenobarbital, infant((2.0, 17.3)))
    part = replace(twin.parts[0], ess=3.0, pareto_k=2.0, notes=("the draws are few",))
    answer = recommend(phenobarbital, replace(twin, parts=(part,)))
    assert answer.outcome is Outcome.UNTRUSTED
    assert answer.regimen is None
    assert "few" in answer.sentence


def test_failed_simulation_gives_no_dose(phenobarbital, monkeypatch):
    def broken(*a, **k):
        raise SolverError("the integrator gave up")

    monkeypatch.setattr(sys.modules["doseloop.controller.recommend"], "courses", broken)
    answer = recommend(phenobarbital, infant((2.0, 17.3)))
    assert answer.outcome is Outcome.FAILED
    assert answer.regimen is None
    assert "gave up" in answer.sentence


def test_failed_optimiser_is_said_and_the_grid_still_answers(phenobarbital, monkeypatch):
    monkeypatch.setattr(
        ocp, "solve", lambda grid, *a: ocp.Plan(np.zeros(len(grid.starts)), np.inf, False, False, "none")
    )
    answer = recommend(phenobarbital, infant((2.0, 10.0), (112.5, 14.0)))
    assert answer.regimen is None or all(v.decision is Decision.PASSED for v in answer.candidates[0].verdicts)
    assert answer.outcome in (Outcome.RECOMMENDED, Outcome.HOLD)
    if answer.outcome is Outcome.RECOMMENDED:
        assert any("not solved" in r for r in answer.reasons)


def test_posterior_given_or_made_is_the_same(phenobarbital):
    record = infant((2.0, 17.3), (112.5, 31.0))
    twin = posterior(phenobarbital.models, record)
    assert recommend(phenobarbital, twin).candidates == recommend(phenobarbital, record).candidates
