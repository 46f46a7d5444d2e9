"""The bedside world: exact kinetics, the laboratory, kidneys; the same bits alone, in a batch, on threads; refusals."""

from dataclasses import fields, replace

import numpy as np
import pytest
from doseloop import therapies
from doseloop.models import load
from doseloop.pkpd.engine import Method
from doseloop.pkpd.errors import DoseloopError, RecordError
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.population import Prepared
from doseloop.pkpd.regimen import Regimen
from doseloop.pkpd.schedule import Schedule
from doseloop.pkpd.simulate import simulate
from doseloop.pkpd.system import system
from doseloop.virtual.bedside_cohort import clearance, phenobarbital_cohort, vancomycin_cohort
from doseloop.virtual.bedside_world import BedsideObservation, BedsideWorld, Infusion
from doseloop.virtual.levels import Levels
from doseloop.virtual.people_table import read_people
from doseloop.virtual.renal import Renal

N, STEPS = 21, 14
MODELS = ("vancomycin_adult_goti2018", "vancomycin_adult_thomson2009", "vancomycin_adult_buelga2005")


def cohort(model, n=N):
    return phenobarbital_cohort(model, "test", n) if "phenobarbital" in model else vancomycin_cohort(model, "test", n)


def doses(n, steps=STEPS, seed=0):
    return np.round(np.random.default_rng(seed).uniform(0, 12, (steps, n))) * 250.0


def play(world, seed, amounts, **how):
    """All that was seen, and the truth, after each step."""
    rows, truth = [world.reset(seed, **how)], []
    for k in range(len(amounts)):
        rows.append(world.step(amounts[k][:, None]))
        truth.append(np.concatenate([world.truth, world.exposure, world.parameters, world.covariates, world.state], 1))
    seen = {f.name: np.array([getattr(r, f.name) for r in rows]) for f in fields(BedsideObservation)}
    return seen | {"truth": np.array(truth)}


def same(a, b, lanes=slice(None), others=slice(None)):
    for name in a:
        x, y = (a[name], b[name]) if name == "time" else (a[name][:, lanes], b[name][:, others])
        np.testing.assert_array_equal(x, y, name)


def regimen(amounts, interval, weight=1.0, drug="vancomycin"):
    action = therapies.load(drug).action
    given = [action.dose(float(d), interval * k, weight) for k, d in enumerate(amounts) if d > 0]
    return Regimen(*given)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("interval", [6.0, 12.0, 24.0])
def test_course_and_auc_are_those_of_the_simulator(model, interval):
    people, amounts = cohort(model, 9), doses(9, 8)
    world = BedsideWorld(people, interval=interval, renal="stable", keep=True)
    world.reset(1)
    aucs = []
    for row in amounts:
        world.step(row[:, None])
        aucs.append(world.exposure[:, 0])
    times = np.arange(1, world.trace.shape[1] + 1) * world.tick
    for i in range(9):
        plan = regimen(amounts[:, i], interval)
        found = simulate(people.model, people.parameters[i : i + 1], plan, times, integrals=True)
        level = found.values["concentration"][0]
        np.testing.assert_allclose(world.trace[i], level, rtol=1e-9, atol=1e-11)
        assert level.max() > 10
        total = found.integrals["concentration"][0][world.ticks - 1 :: world.ticks]
        np.testing.assert_allclose(np.cumsum(np.array(aucs)[:, i]), total, rtol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_course_under_kidneys_that_change_is_that_of_the_simulator(model):
    people, amounts = cohort(model, 9), doses(9)
    world = BedsideWorld(people, renal="usual", keep=True)
    world.reset(3)
    days = []
    for k, row in enumerate(amounts):
        if k % 2 == 0:
            days.append(individuals(people.model, world.covariates, people.eta))
        np.testing.assert_allclose(world.parameters, days[-1], rtol=1e-12)
        world.step(row[:, None])
    times = np.arange(1, world.trace.shape[1] + 1) * world.tick
    S = system(people.model)
    for i in range(9):
        schedule = Schedule(people.model, 0.0)
        schedule.regimen(regimen(amounts[:, i], 12.0), times[-1])
        for d in range(len(days)):
            schedule.segment(24.0 * d, d)
        schedule.observe(times)
        y, status = Prepared(S, [schedule], Method()).run(
            np.array([day[i] for day in days]), segment=np.zeros(1, dtype=np.int64)
        )
        assert status[0] == 0
        np.testing.assert_allclose(world.trace[i], y[:, 0], rtol=1e-9, atol=1e-11)
    assert np.abs(np.array(days)[-1] / np.array(days)[0] - 1).max() > 0.3


def test_infusions_last_as_long_as_the_therapies_say():
    for drug, how, weight in (("vancomycin", Infusion(), 80.0), ("phenobarbital", Infusion(0.5, np.inf), 1.5)):
        action = therapies.load(drug).action
        amounts = np.array([a for a in action.amounts(weight) if a <= 3000])
        world = BedsideWorld(cohort(therapies.load(drug).model_ids[0]), n=len(amounts), infusion=how)
        world.reset(0)
        seen = world.step(amounts[:, None])
        assert seen.duration.tolist() == [action.duration(float(a), weight) for a in amounts]
        np.testing.assert_array_equal(seen.delivered[:, 0], amounts)


@pytest.mark.parametrize("model", [MODELS[0], "phenobarbital_neonate_grasela1985"])
def test_a_lone_patient_equals_itself_in_a_batch_at_any_place(model, monkeypatch):
    people, amounts = cohort(model), doses(N)
    whole = play(BedsideWorld(people, levels="daily"), 5, amounts)
    monkeypatch.setattr("doseloop.virtual.world.SLICE", 1)  # else one thread does so few
    same(whole, play(BedsideWorld(people, levels="daily", threads=2), 5, amounts))
    for k in (0, 7, 8, N - 1):
        alone = play(BedsideWorld(people[[k]], levels="daily"), 5, amounts[:, [k]], place=[k])
        same(whole, alone, [k], [0])
    seeds = np.arange(100, 100 + N)
    many = play(BedsideWorld(people, levels="daily"), seeds, amounts)
    same(many, play(BedsideWorld(people[[9]], levels="daily"), 109, amounts[:, [9]], place=[0]), [9], [0])
    assert (whole["levels"][5, :, 0] != many["levels"][5, :, 0]).mean() > 0.8


def test_others_go_on_while_some_are_admitted_and_a_snapshot_brings_all_back():
    people, amounts = cohort(MODELS[0]), doses(N)
    whole = play(BedsideWorld(people), 5, amounts)
    world, mask = BedsideWorld(people), np.arange(N) % 3 == 0
    world.reset(5)
    for k in range(5):
        world.step(amounts[k][:, None])
    kept = world.snapshot()
    world.reset(8, only=mask)
    assert (world.observe().clock == np.where(mask, 0.0, 60.0)).all()
    rest = play_on(world, amounts[5:])
    same_rows(whole, rest, ~mask)
    # the admitted lanes are what they would have been with that seed from the start
    fresh = play(BedsideWorld(people), 8, amounts[5:])
    np.testing.assert_array_equal(rest["truth"][:, mask], fresh["truth"][:, mask])
    np.testing.assert_array_equal(rest["levels"][:, mask], fresh["levels"][1:, mask])
    world.restore(kept)
    same_rows(whole, play_on(world, amounts[5:]), np.ones(N, dtype=bool))


def play_on(world, amounts):
    rows, truth = [], []
    for row in amounts:
        rows.append(world.step(row[:, None]))
        truth.append(np.concatenate([world.truth, world.exposure, world.parameters, world.covariates, world.state], 1))
    seen = {f.name: np.array([getattr(r, f.name) for r in rows]) for f in fields(BedsideObservation)}
    return seen | {"truth": np.array(truth)}


def same_rows(whole, rest, lanes):
    m = len(rest["time"])
    for name in rest:
        if name != "time":
            np.testing.assert_array_equal(whole[name][-m:][:, lanes], rest[name][:, lanes], name)


def test_levels_come_late_in_the_order_of_their_samples_with_the_assays_error():
    people = vancomycin_cohort(MODELS[1], "train", 400)
    times = (3.0, 11.5, 24.0, 30.0)
    how = Levels(times, delay=(2.0, 10.0), missing=0.25, loq=2.0)
    world = BedsideWorld(people, levels=how, keep=True, renal="stable")
    world.reset(2)
    seen = [world.step(np.full((400, 1), 1250.0)) for _ in range(6)]
    truth = world.trace[:, [round(t / 0.5) - 1 for t in times]]
    for k, now in enumerate(12.0 * np.arange(1, 7)):
        known = seen[k].level_times
        assert not (known[:, :4] + 2.0 > now).any()
        assert ((np.diff(known, axis=1) < 0) | np.isnan(known[:, 1:])).all()
        assert (np.isfinite(known).sum(axis=1) == np.sum([s.new for s in seen[: k + 1]], axis=0)).all()
    last, level = seen[-1].level_times, seen[-1].levels
    errors = []
    for j, t in enumerate(times):
        found = last == t
        assert 0.68 < found.sum() / 400 < 0.82
        who = np.flatnonzero(found.any(axis=1))
        value, true = level[found], truth[who, j]
        assert ((value == 0) | (value >= 2.0)).all()
        errors.append((value - true)[value > 0] / np.sqrt(1.6**2 + (0.15 * true[value > 0]) ** 2))
    z = np.concatenate(errors)
    assert abs(z.mean()) < 0.1
    assert 0.93 < z.std() < 1.07
    # a sample before the dose of that moment is a trough, and its result is not there for that dose
    assert not (seen[1].level_times == 24.0).any()
    assert BedsideWorld(people, levels="none").reset(2).new.sum() == 0


def test_creatinine_follows_clearance_late_and_is_measured_daily():
    people = vancomycin_cohort(MODELS[0], "train", 300)
    sudden = Renal(injury=1.0, onset=(2, 2), injury_loss=(3.0, 3.0), error=0.0)
    world = BedsideWorld(people, renal=sudden)
    seen, rows = world.reset(4), []
    names = people.model.names("covariates")
    first = clearance(*(people.covariates[:, names.index(k)] for k in ("age", "weight", "sex", "scr")))
    np.testing.assert_allclose(world.renal["clearance"], first, rtol=1e-12)
    for _ in range(14):
        rows.append((seen.creatinine, world.renal["clearance"] / first, world.renal["creatinine"]))
        seen = world.step(np.zeros((300, 1)))
    shown, left, serum = (np.array(r) for r in zip(*rows))
    np.testing.assert_allclose(shown, serum, rtol=1e-12)  # no error of measurement
    np.testing.assert_array_equal(shown[0::2], shown[1::2])  # one a day
    np.testing.assert_allclose(left[:4], 1.0, rtol=1e-12)
    wanted = np.maximum(3.0 ** -(1 - np.exp(-np.arange(1.0, 6.0)))[:, None], 10.0 / first)
    np.testing.assert_allclose(left[4::2], wanted, rtol=1e-12)
    ratio = shown / shown[0]
    np.testing.assert_allclose(ratio[4], 1.0, rtol=1e-12)
    assert (ratio[6] < 1 / left[6] + 1e-12).all()
    assert (np.diff(ratio[4::2], axis=0) > 0).all()
    # by hand, one day of the mass balance
    weight, clear = people.known["weight"], first * left[4]
    steady = serum[0] * first / clear
    np.testing.assert_allclose(serum[6], steady + (serum[4] - steady) * np.exp(-0.06 * clear * 24 / (0.6 * weight)))
    noisy = BedsideWorld(people, renal="stable").reset(4)
    error = np.log(noisy.creatinine / people.covariates[:, names.index("scr")])
    assert 0.043 < error.std() < 0.057


def test_courses_of_renal_function_come_as_often_as_they_should():
    people = vancomycin_cohort(MODELS[0], "train", 2000)
    world = BedsideWorld(people, renal="usual")
    world.reset(9)
    share = np.bincount(world.renal["kind"].astype(int), minlength=4) / 2000
    np.testing.assert_allclose(share, [0.5, 0.2, 0.15, 0.15], atol=0.03)
    first = world.renal["clearance"]
    for _ in range(14):
        world.step(np.zeros((2000, 1)))
    kind, change = world.renal["kind"], np.log(world.renal["clearance"] / first)
    assert abs(change[kind == 0].mean()) < 0.02
    assert change[(kind == 1) & (first < 60)].mean() > 0.2
    assert change[kind == 2].mean() < -0.3
    assert change[kind == 3].mean() < -0.55


def test_phenobarbital_has_no_kidneys_and_matures_only_if_told():
    people = phenobarbital_cohort(n=9)
    still, grown = BedsideWorld(people), BedsideWorld(people, maturation=0.05)
    for world in (still, grown):
        world.reset(0)
        for _ in range(4):
            seen = world.step(np.full((9, 1), 5.0))
        assert np.isnan(seen.creatinine).all()
    np.testing.assert_array_equal(still.parameters, people.parameters)
    np.testing.assert_allclose(grown.parameters / people.parameters, np.tile([1.1, 1.0], (9, 1)), rtol=1e-12)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"interval": 7.0}, "no whole part of a day"),
        ({"route": "oral"}, "no route 'oral'"),
        ({"output": "effect"}, "no output 'effect'"),
        ({"levels": "hourly"}, "levels 'hourly' is unknown"),
        ({"levels": Levels((5.1,))}, "whole ticks"),
        ({"levels": Levels((5.0, 5.0))}, "ascending"),
        ({"levels": Levels((5.0,), missing=1.5, loq=-1.0)}, "missing is a probability"),
        ({"levels": Levels((5.0,), proportional=np.nan)}, "error is"),
        ({"levels": Levels(tuple(0.5 * k for k in range(1, 12)))}, "wait for their results"),
        ({"renal": "failing"}, "is unknown"),
        ({"renal": Renal(injury=0.7, falling=0.7)}, "sum to more than 1"),
        ({"renal": Renal(walk=np.nan)}, "walk is nan"),
        ({"renal": Renal(gain=(2.0, 1.0))}, "in order"),
        ({"maturation": np.inf}, "not finite"),
        ({"infusion": Infusion(fastest=0.0)}, "infusion"),
    ],
)
def test_what_cannot_be_is_refused(how, complaint):
    with pytest.raises(DoseloopError, match=complaint):
        BedsideWorld(cohort(MODELS[0], 2), **how)


def test_doses_that_are_no_number_are_refused_and_say_whose():
    world = BedsideWorld(cohort(MODELS[0], 3))
    with pytest.raises(DoseloopError, match="reset the world first"):
        world.step(np.zeros((3, 1)))
    world.reset(0)
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(DoseloopError, match="patient 1"):
            world.step(np.array([[0.0], [bad], [0.0]]))


def test_a_table_that_gives_parameters_keeps_them_while_kidneys_change():
    people = cohort(MODELS[0], 5)
    own = people.parameters.copy()
    own[:, 0] *= 1.7
    changed = replace(people, parameters=own)
    a, b = BedsideWorld(people), BedsideWorld(changed)
    for world in (a, b):
        world.reset(3)
        for _ in range(6):
            world.step(np.zeros((5, 1)))
    np.testing.assert_allclose(b.parameters / a.parameters, np.tile([1.7, 1, 1, 1], (5, 1)), rtol=1e-12)


def test_cohorts_are_fixed_by_name_and_the_same_whatever_their_number():
    for model in (*MODELS, "phenobarbital_neonate_grasela1985"):
        a, b = cohort(model, 5), cohort(model, 40)
        np.testing.assert_array_equal(a.parameters, b.parameters[:5])
        assert a.ids.tolist() == b.ids[:5].tolist()
        for c, column in zip(b.model.covariates, b.covariates.T):
            assert ((column >= c.low) & (column <= c.high)).all()
    splits = [vancomycin_cohort(split=s, n=5).parameters for s in ("train", "validation", "test")]
    assert len({p.tobytes() for p in splits}) == 3
    light, other = vancomycin_cohort(MODELS[0], n=50), vancomycin_cohort(MODELS[1], n=50)
    np.testing.assert_array_equal(light.known["weight"], other.known["weight"])
    for bad, complaint in (
        ({"split": "all"}, "no split"),
        ({"n": 0}, "n must be"),
        ({"model": "phenobarbital_neonate_grasela1985"}, "no covariate 'age'"),
    ):
        with pytest.raises(DoseloopError, match=complaint):
            vancomycin_cohort(**bad)


def test_adults_and_newborns_are_as_the_module_says():
    adults = vancomycin_cohort(split="train", n=4000)
    column = dict(zip(adults.model.names("covariates"), adults.covariates.T))
    clear = clearance(column["age"], column["weight"], column["sex"], column["scr"])
    assert clear.min() >= 15
    assert clear.max() <= 170
    assert 65 < np.median(clear) < 80
    assert 0.35 < (clear < 60).mean() < 0.46
    assert abs(np.median(column["age"]) - 60) < 1.5
    assert 72 < np.median(column["weight"]) < 77
    eta = np.cov(adults.eta.T)
    np.testing.assert_allclose(np.diag(eta), np.diag(load(MODELS[0]).omega), rtol=0.08)
    newborns = phenobarbital_cohort(split="train", n=4000)
    assert abs(newborns.known["weight"].mean() - 1.53) < 0.05
    assert abs((newborns.known["apgar"] < 5).mean() - 10 / 59) < 0.02


def test_a_users_own_table_and_every_mistake_in_it(tmp_path):
    path = tmp_path / "ward.csv"
    path.write_text("id,AGE,WT,sex,scr,eta_cl,v1\na,60,80,m,1.1,0.2,50\nb,70,60,f,2.5,,\n".replace(",,\n", ",0,40\n"))
    people = read_people(path, MODELS[0])
    column = dict(zip(people.model.individual_units, people.parameters.T))
    assert column["v1"].tolist() == [50, 40]
    assert set(people.known) == {"age", "weight", "sex"}
    np.testing.assert_allclose(column["cl"][0] / np.exp(0.2), individuals(people.model, people.covariates)[0, 0])
    BedsideWorld(people).reset(0)
    path.write_text("id,age,weight,scr,mood\na,60,80,110,1\na,x,80,1.1,1\n")
    with pytest.raises(RecordError) as found:
        read_people(path, MODELS[0])
    for text in (
        "no column 'sex'",
        "'mood' is not known",
        "scr is 110; it lies between",
        "'x', not a number",
        "comes twice",
    ):
        assert text in str(found.value)
    path.write_text("id,weight,apgar\na,1.2,12\n")
    with pytest.raises(RecordError, match="apgar is 12"):
        read_people(path, "phenobarbital_neonate_grasela1985")
