"""Patients to be followed: their true course, and all that an estimator is told of it.

Recorded once from the worlds of `doseloop.virtual` under open-loop treatment, so that every estimator sees the same
readings and the same inputs, and a prediction is scored on what was really given after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from doseloop.twin.eating import Eating
from doseloop.virtual.anaesthesia_cohort import anaesthesia_cohort
from doseloop.virtual.anaesthesia_world import AnaesthesiaWorld
from doseloop.virtual.glucose_cohort import glucose_cohort
from doseloop.virtual.glucose_world import GlucoseWorld
from doseloop.virtual.people import People

__all__ = ["Recorded", "glucose_patients", "propofol_patients", "record_glucose", "record_propofol"]

EMPTYING = 0.015  # 1/min: how fast what was eaten leaves the stomach, for the size of a next meal


@dataclass(frozen=True)
class Recorded:
    """n patients over T intervals.

    Attributes:
        people: who they are.
        interval: min.
        reading, time, quality: (T + 1, n) of each observation; the first is before any interval.
        truth: (T + 1, n) the scored output (plasma glucose, BIS with stimulation).
        given: (T, n) what the pump confirmed: insulin U/min, propofol mg/min.
        carbs, meal: (T, n) announced carbohydrate g/min and the meal's size g (glucose).
    """

    people: People
    interval: float
    reading: np.ndarray
    time: np.ndarray
    quality: np.ndarray
    truth: np.ndarray
    given: np.ndarray
    carbs: np.ndarray
    meal: np.ndarray

    def inputs(self, signals: tuple[str, ...]) -> np.ndarray:
        """(T, n, signals) for a statement with these signals."""
        known = {"carbs": self.carbs, "meal": self.meal, "sensitivity": np.ones_like(self.carbs)}
        known |= {"dawn": np.zeros_like(self.carbs), "sc": self.given, "propofol": self.given}
        return np.stack([known.get(s, np.zeros_like(self.given)) for s in signals], axis=2)


def glucose_patients(model_id: str, n: int, split: str) -> People:
    """Adults, adolescents and children of the glucose cohort, in turn."""
    return glucose_cohort(model_id, split, n)


def propofol_patients(model_id: str, n: int, split: str) -> People:
    """Adults of the anaesthesia cohort."""
    return anaesthesia_cohort(model_id, split, n)


def record_glucose(
    people: People, days: float = 1.5, interval: float = 5.0, seed: int = 1, life: str = "usual", meals: str = "counted"
) -> Recorded:
    """Basal rate, boluses and corrections, with a third of randomness on each, so that insulin is not a function of
    glucose; a worn Dexcom G6, counted meals, a usual life."""
    world = GlucoseWorld(people, interval=interval, sensor=_worn(), meals=meals, life=life)
    seen, n = world.reset(seed=seed), len(people)
    rng = np.random.Generator(np.random.Philox(key=[77, seed]))
    k, eating, stomach = people.known, Eating(n), np.zeros(n)
    rows = {name: [] for name in ("reading", "time", "quality", "truth", "given", "carbs", "meal")}
    last, latest = np.full(n, -1e9), np.full(n, 120.0)
    factor = np.ones(n)

    def keep(seen):
        rows["reading"].append(seen.reading)
        rows["time"].append(seen.reading_time)
        rows["quality"].append(seen.quality)
        rows["truth"].append(world.outputs["glucose"])

    keep(seen)
    for step in range(round(days * 1440 / interval)):
        announced = np.nan_to_num(seen.announced)
        stomach = stomach * np.exp(-EMPTYING * interval)
        eating.announce(announced, stomach)
        stomach = stomach + announced
        latest = np.where(np.isfinite(seen.reading), seen.reading, latest)
        if step % 12 == 0:
            factor = np.exp(0.2 * rng.standard_normal(n))
        noise = np.exp(0.3 * rng.standard_normal((2, n)))
        bolus = announced / k["carb_ratio"] * noise[0] * 0.85
        correct = (latest > 170) & (world.time - last > 150) & (rng.random(n) < 0.2)
        bolus = bolus + np.where(correct, (latest - 120) / k["correction"] * 0.7 * noise[1], 0.0)
        last = np.where((bolus > 0), world.time, last)
        basal = np.where(latest < 95, 0.0, k["basal"] * factor)
        carbs, meal = eating.pass_by(interval)
        seen = world.step(np.column_stack([basal, np.minimum(bolus, 25.0)]))
        rows["given"].append(seen.delivered[:, 0] / 60 + seen.delivered[:, 1] / interval)
        rows["carbs"].append(carbs)
        rows["meal"].append(meal)
        keep(seen)
    return Recorded(people, interval, **{name: np.array(v) for name, v in rows.items()})


def _worn():
    from doseloop.virtual.sensors import CGM

    return CGM.named("dexcom_g6", worn=True)


def record_propofol(people: People, minutes: float = 80.0, interval: float = 1 / 12, seed: int = 1) -> Recorded:
    """Induction by about 2 mg/kg and an infusion that is changed now and then towards a BIS of 50, half at random;
    random surgery, the usual monitor."""
    world = AnaesthesiaWorld(people, interval=interval, surgery="random", monitor="usual")
    seen, n, drug = world.reset(seed=seed), len(people), people.model.names("routes").index("propofol")
    rng = np.random.Generator(np.random.Philox(key=[78, seed]))
    weight = people.known["weight"]
    dose, minutes_of_it = 2.0 * np.exp(0.2 * rng.standard_normal(n)), rng.uniform(1.0, 3.0, n)
    rate, latest = 0.14 * weight * np.exp(0.3 * rng.standard_normal(n)), np.full(n, 90.0)
    rows = {name: [] for name in ("reading", "time", "quality", "truth", "given")}

    def keep(seen, truth):
        rows["reading"].append(seen.reading)
        rows["time"].append(seen.reading_time)
        rows["quality"].append(seen.quality)
        rows["truth"].append(truth)

    keep(seen, world.outputs["bis"])
    for step in range(round(minutes / interval)):
        now = step * interval
        latest = np.where(np.isfinite(seen.reading), 0.9 * latest + 0.1 * seen.reading, latest)
        if step % 24 == 0 and now > 5:
            towards = np.exp(np.clip((latest - 50) / 60, -0.5, 0.5) + 0.15 * rng.standard_normal(n))
            rate = np.clip(rate * towards, 0.02 * weight, 0.3 * weight)
        induction = now < minutes_of_it
        asked = np.where(induction, dose * weight / minutes_of_it, rate)
        asked = np.where(now > minutes - 8, 0.0, asked)
        action = np.zeros((n, len(world.actions)))
        action[:, drug] = asked
        seen = world.step(action)
        rows["given"].append(seen.delivered[:, drug])
        keep(seen, world.truth[:, -1])
    out = {name: np.array(v) for name, v in rows.items()}
    zero = np.zeros_like(out["given"])
    return Recorded(people, interval, **out, carbs=zero, meal=zero)
