"""The meal as an input process: what counts as one meal, and its size."""

import math

import pytest
from doseloop import models
from doseloop.virtual.meal import FASTING, PAUSE, SIMGLUCOSE, eat, stomach_rows


def course(carbs, stomach, pause, minutes=1.0):
    """The meal input at each tick of a course of carbohydrate (g/min), the stomach's content given."""
    memory, seen = FASTING, []
    for c, q in zip(carbs, stomach):
        memory = eat(*memory, c, q, minutes, pause)
        seen.append(memory[0] + memory[1])
    return seen


def test_nothing_eaten_is_no_meal():
    assert course([0.0] * 3, [0.0] * 3, PAUSE) == [0.0] * 3


def test_a_meal_is_what_was_there_plus_what_was_eaten_and_stays_after_its_end():
    assert course([0, 5, 5, 0, 0], [7, 7, 11, 12, 10], SIMGLUCOSE) == [0, 12, 17, 17, 17]


@pytest.mark.parametrize(("pause", "second"), [(SIMGLUCOSE, 4 + 5), (PAUSE, 7 + 10)])
def test_a_minute_without_food_ends_a_meal_only_by_the_open_simulator_s_rule(pause, second):
    assert course([5, 0, 5], [7, 6, 4], pause)[-1] == second


def test_a_meal_ends_after_the_pause_and_not_within_it():
    inside = course([5] + [0] * 19 + [5], [7] * 20 + [4], PAUSE)
    edge = course([5] + [0] * 20 + [5], [7] * 21 + [4], PAUSE)
    after = course([5] + [0] * 21 + [5], [7] * 22 + [4], PAUSE)
    assert (inside[-1], edge[-1], after[-1]) == (17, 17, 9)


def test_the_tick_s_length_counts():
    assert course([2.0], [0.0], PAUSE, minutes=0.5) == [1.0]


def test_the_stomach_is_found_where_the_model_reads_a_meal():
    model = models.load("glucose_t1d_uvapadova2008")
    assert [model.states[i].name for i in stomach_rows(model)] == ["qsto1", "qsto2"]
    assert all(model.states[i].unit == "mg" for i in stomach_rows(model))
    assert stomach_rows(models.load("glucose_t1d_hovorka2004")) == ()


def test_fasting_has_never_eaten():
    assert math.isinf(FASTING[2])
    assert course([5.0], [3.0], math.inf) == [5.0], "a pause that never ends knows one meal only"
