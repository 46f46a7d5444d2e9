"""Meals and life: the scenario's statistics, what is said of it, what the model receives."""

import numpy as np
import pytest
from doseloop.pkpd.errors import DoseloopError
from doseloop.virtual.faults import Fault
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.life import Life
from doseloop.virtual.meals import Meals
from helpers_world import HOVORKA, S2008, people


def days(meals, n=200, count=3, model=S2008, interval=5.0, seed=4, **options):
    """Grams eaten each minute (n, minutes), and announced at each decision (decisions, n)."""
    world = GlucoseWorld(people(model, 1), n=n, meals=meals, sensor="ideal", pump="ideal", interval=interval, **options)
    seen, eaten, said = world.reset(seed), [], []
    said.append(seen.announced)
    for _ in range(round(count * 1440 / interval)):
        seen = world.step(np.tile([1.0, 0.0], (n, 1)))
        eaten.append(world.eaten)
        said.append(seen.announced)
    return np.concatenate(eaten, axis=1), np.array(said)


def meals_of(eaten):
    """(patient, first minute, grams) of each meal; courses that touch count as one."""
    found = []
    for k, row in enumerate(eaten):
        edges = np.flatnonzero(np.diff(np.r_[0, row > 0, 0].astype(int)))
        found += [(k, a, row[a:b].sum()) for a, b in zip(edges[::2], edges[1::2])]
    return np.array(found)


def test_the_benchmarks_scenario_has_its_numbers():
    eaten, _ = days("simglucose", n=400, count=4)
    found = meals_of(eaten)
    hour = (found[:, 1] % 1440) / 60
    days_lived = 400 * 4
    for low, high, chance, mean, sd, grams, spread in [
        (5, 9, 0.95, 7, 60, 45, 10),
        (10.01, 14, 0.95, 12, 60, 70, 10),
        (16.01, 20, 0.95, 18, 60, 80, 10),
        (20.01, 23.1, 0.30, 21.5, 30, 10, 5),
    ]:
        here = (hour >= low) & (hour < high)
        assert abs(here.sum() / days_lived - chance) < 4 * np.sqrt(chance * (1 - chance) / days_lived) + 0.01
        assert abs(hour[here].mean() - mean) < 0.1
        assert hour[here].std() * 60 < sd
        assert hour[here].std() * 60 > 0.75 * sd  # cut at two standard deviations and more
        assert abs(found[here, 2].mean() - grams) < 1.0
        assert abs(found[here, 2].std() - spread) < 1.0
    assert eaten.max() == 5.0  # g/min
    assert (found[:, 2] == np.round(found[:, 2])).all()


def test_each_patient_and_day_has_meals_of_its_own():
    eaten, _ = days("simglucose", n=20, count=3)
    first = eaten[:, :1440].argmax(axis=1)
    assert len(set(first.tolist())) > 12
    assert (eaten[:, :1440] != eaten[:, 1440:2880]).any(axis=1).all()


def test_the_benchmarks_controller_hears_of_a_meal_at_the_end_of_its_interval():
    eaten, said = days("simglucose", n=50, count=1, interval=3.0)
    for k, minute, grams in meals_of(eaten):
        if (eaten[int(k), int(minute) + 1 : int(minute) + 120] > 0).sum() > grams / 5:
            continue  # two courses
        at = int(minute) // 3 + 1
        assert said[at, int(k)] >= grams - 1e-9


def test_grams_by_weight_are_in_proportion():
    plain, _ = days("simglucose", n=40, count=1)
    scaled, _ = days("by weight", n=40, count=1)
    weight = people(S2008, 1).known["weight"][0]
    np.testing.assert_allclose(scaled.sum(axis=1), plain.sum(axis=1) * weight / 70, rtol=1e-12)


def test_what_is_said_can_be_wrong_late_or_missing():
    eaten, said = days("by weight", n=200, count=2)
    np.testing.assert_allclose(said.sum(), eaten.sum(), rtol=0.01)
    eaten, said = days("unannounced", n=50, count=1)
    assert eaten.sum() > 0
    assert said.sum() == 0
    eaten, said = days(Meals(silent=0.3), n=300, count=2)
    assert 0.65 < said.sum() / eaten.sum() < 0.75
    single = Meals(day=(Meals().day[2],), by_weight=False)
    eaten, truth = days(single, n=800, count=1)
    _, heard = days(Meals(day=single.day, by_weight=False, error=0.26, bias=0.9), n=800, count=1)
    a, b = truth.sum(axis=0), heard.sum(axis=0)
    ratio = np.log(b[a > 0] / a[a > 0])
    assert abs(ratio.mean() - np.log(0.9)) < 4 * 0.26 / np.sqrt(len(ratio))
    assert abs(ratio.std() - 0.26) < 0.02
    # Brazeau 2013: the mean absolute error is 20.9 % of the meal
    assert 18 < 100 * np.abs(np.exp(ratio - ratio.mean()) - 1).mean() < 24
    _, late = days(Meals(day=single.day, by_weight=False, late=(15.0, 45.0)), n=800, count=1)
    delay = 5 * (late.argmax(axis=0) - truth.argmax(axis=0))[a > 0]
    assert delay.min() >= 15
    assert delay.max() <= 50
    assert abs(delay.mean() - 30) < 2
    np.testing.assert_allclose(late.sum(axis=0), a)


def test_meals_by_hand():
    table = [[10.0, 50.0, 40.0, 5.0], [200.0, 12.0, 0.0, 0.0], [203.0, 8.0, 8.0, 230.0], [0.0, 0.0, 0.0, 0.0]]
    eaten, said = days(Meals.table(table), n=2, count=0.25, start=700.0)
    row = np.zeros(360)
    row[10:20] = 5.0
    row[200:205] = [5, 5, 2, 5, 3]
    np.testing.assert_array_equal(eaten[0], row)
    assert said[:, 0].nonzero()[0].tolist() == [1, 46]
    assert said[[1, 46], 1].tolist() == [40.0, 8.0]
    each = np.zeros((3, 1, 2))
    each[:, 0] = [[5, 10], [5, 20], [5, 30]]
    eaten, said = days(Meals.table(each), n=3, count=0.1)
    assert eaten.sum(axis=1).tolist() == [10, 20, 30]
    assert said.sum(axis=0).tolist() == [10, 20, 30]


def test_a_fault_silences_meals():
    table = Meals.table([[60.0, 30.0], [300.0, 30.0]])
    _, said = days(table, n=2, count=0.5, faults=[Fault("unannounced", 30, 60, 0, [1])])
    assert said.sum(axis=0).tolist() == [60.0, 30.0]


def test_the_model_sees_the_stomach_at_the_start_plus_what_was_eaten():
    world = GlucoseWorld(
        people(S2008, 1), meals=Meals.table([[5.0, 20.0], [120.0, 10.0]]), interval=1.0, sensor="ideal"
    )
    world.reset(1)
    row = list(world.people.model.names("inputs")).index("meal")
    states = list(world.people.model.names("states"))
    seen = []
    for minute in range(130):
        before = world.state[0]
        world.step(np.array([[1.0, 0.0]]))
        seen.append(world._state["U"][0, row, 0])
        if minute == 120:
            left = (before[states.index("qsto1")] + before[states.index("qsto2")]) / 1000
    assert seen[:5] == [0] * 5
    assert seen[5:9] == [5, 10, 15, 20]
    assert seen[60] == 20
    assert 0 < left < 20
    np.testing.assert_allclose(seen[120:123], [left + 5, left + 10, left + 10])


def test_carbohydrate_reaches_models_that_do_not_ask_for_the_meal():
    world = GlucoseWorld(people(HOVORKA, 2), meals=Meals.table([[5.0, 60.0]]), sensor="ideal", keep=True)
    world.reset(1)
    for _ in range(24):
        world.step(np.column_stack([world.people.known["basal"], np.zeros(2)]))
    assert (world.trace.max(axis=1) > world.trace[:, 0] + 20).all()


# life ----------------------------------------------------------------------------------------------------


def inputs(life, n=400, count=2.0, start=0.0):
    """sensitivity and dawn at each decision, (decisions, n)."""
    world = GlucoseWorld(people(S2008, 1), n=n, meals="none", life=life, start=start)
    world.reset(3)
    names, rows = list(world.people.model.names("inputs")), []
    for _ in range(round(count * 288)):
        world.step(np.tile([1.0, 0.0], (n, 1)))
        u = world._state["U"].transpose(1, 0, 2).reshape(len(names) + 1, -1)[:, :n]
        rows.append(u[[names.index("sensitivity"), names.index("dawn")]].copy())
    return np.array(rows).transpose(1, 0, 2)


def test_an_even_life_changes_nothing():
    factor, dawn = inputs("even", n=3, count=0.1)
    assert (factor == 1).all()
    assert (dawn == 0).all()


def test_dawn_rises_from_three_to_seven():
    _, dawn = inputs("dawn", n=1, count=1.0)
    at = lambda hour: dawn[round(hour * 12), 0]  # noqa: E731
    assert [at(h) for h in (2, 3, 5, 7, 8.5, 10, 20)] == pytest.approx([0, 0, 0.75, 1.5, 0.75, 0, 0])


def test_patterns_differ_by_person_and_part_of_the_day_and_days_from_each_other():
    factor, _ = inputs(Life(pattern=0.2), count=2)
    log = np.log(factor)
    parts = log[[6 * 12, 13 * 12, 20 * 12]]
    assert np.abs(parts.std(axis=1) - 0.2).max() < 0.03
    assert np.abs(parts.mean(axis=1)).max() < 0.04
    assert np.abs(np.corrcoef(parts) - np.eye(3)).max() < 0.2
    np.testing.assert_allclose(log[6 * 12], log[30 * 12])
    log = np.log(inputs(Life(daily=0.1), count=2)[0])
    assert abs(log[12 * 12].std() - 0.1) < 0.015
    assert abs(np.corrcoef(log[12 * 12], log[36 * 12])[0, 1]) < 0.2


def test_exercise_raises_sensitivity_and_wears_off():
    factor, _ = inputs(Life(exercise=0.5, factor=1.5, hours=(10.0, 12.0), minutes=(60.0, 60.0)), count=1)
    active = factor.max(axis=0) > 1.4
    assert 0.42 < active.mean() < 0.58
    one = factor[:, active][:, 0]
    begin, peak = (one > 1.01).argmax(), (one == 1.5).sum()
    assert 10 * 12 <= begin <= 12 * 12
    assert peak == 12
    after = one[begin + 12 + np.arange(0, 48, 12)] - 1
    np.testing.assert_allclose(after[1:] / after[:-1], np.exp(-60 / 120), rtol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Meals.named("x"),
        lambda: Meals(rate=0),
        lambda: Meals(silent=2),
        lambda: Meals(late=(10, 5)),
        lambda: Meals.table([[1.0]]).given_rows(2),
        lambda: Meals.table([[1.0, np.nan]]).given_rows(2),
        lambda: Meals.table(np.zeros((3, 2, 2))).given_rows(2),
        lambda: Life.named("x"),
        lambda: Life(exercise=2.0).settings(2),
        lambda: Life(factor=[1.0, 2.0]).settings(3),
        lambda: Life(hours=(3.0, 5.0)).settings(2),
    ],
)
def test_scenarios_that_cannot_be(make):
    with pytest.raises(DoseloopError):
        make()
