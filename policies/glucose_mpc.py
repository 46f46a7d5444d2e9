"""Insulin by model-predictive control: an estimator follows the patient, a plan is made at every reading.

What it knows: the population of its model, the usual protocol's numbers of the patient (basal rate, carbohydrate ratio,
correction factor, weight, age class), its readings, what was announced and what the pump confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..controller.plan import Plan
from ..controller.problem import Goal, Move, Problem
from ..controller.realtime import RealTime, SolverOptions
from ..controller.snapshot import Snapshot
from ..models import load
from ..pkpd.model import Model
from ..twin.belief import Belief
from ..twin.follow import Disturbed, Follow, Process, Sensor, Wander
from ..twin.follower import Follower
from ..virtual.world import Observation
from .eating import Eating
from .policy import Policy

__all__ = ["GlucoseMPC", "Tuning", "follow_glucose"]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be chosen; the defaults were tuned on the cohort's train split (docs/control.md).

    Args:
        target: mg/dL; ``low``, ``high`` the soft band.
        weight, low_weight, high_weight: per (mg/dL)².
        move_weight: of ((rate - basal)/basal)² a stage.
        horizon: min.
        blocks: lengths in stages of the blocks of constant rate; what is left of the horizon is the last block.
        draws: of the belief, over which the plan is made.
        bolus: largest bolus at a meal, U; between meals ``micro`` times the basal rate is the most.
    """

    target: float = 120.0
    low: float = 85.0
    high: float = 180.0
    weight: float = 1 / 50**2
    low_weight: float = 10 / 10**2
    high_weight: float = 0.3 / 10**2
    move_weight: float = 1e-3
    horizon: float = 300.0
    blocks: tuple[int, ...] = (1, 1, 2, 2, 4, 6, 10)
    draws: int = 1
    bolus: float = 20.0
    micro: float = 4.0


def follow_glucose(
    model: Model,
    interval: float,
    *,
    dawn: Wander = Wander(0.25, 120.0),
    carbs: float = 0.15,
    effects: Sequence[str] | None = None,
    memory: float = math.inf,
    coloured: Wander = Wander(11.0, 42.0),
) -> Follow:
    """What is estimated of a patient in a glucose loop: states, the effects that matter, an unexplained flux of glucose,
    each meal's true size, the sensor's slow error."""
    uva = "meal" in model.names("inputs")
    if effects is None:
        effects = ("kp3", "vmx", "kabs", "kmax", "p2u", "kmin") if uva else model.names("effects")
    states = (
        {"gp": Process(relative=0.003), "qgut": Process(relative=0.02)}
        if uva
        else {"q1": Process(relative=0.003), "d2": Process(relative=0.02)}
    )
    return Follow(
        model,
        interval,
        "sensor",
        Sensor(additive=2.0, coloured=coloured),
        effects=effects,
        memory=memory,
        disturbed=(
            Disturbed(("dawn",), dawn),
            Disturbed(("carbs",), Wander(carbs, 1e9, start=carbs), scale=True, onset=True),
        ),
        states={k: v for k, v in states.items() if k in model.names("states")},
        signed=("x",) if uva else (),
        late=30.0,
        truth="glucose",
    )


class GlucoseMPC(Policy):
    """Model-predictive control of insulin for n patients at once.

    Args:
        model_id: the model it believes in.
        interval: min between decisions.
        tuning: see `Tuning`.
        prior: ``prior(known) -> (mean (n, effects), covariance (effects, effects))`` of the model's random effects,
            given the usual protocol's numbers.
        follow: what is estimated; default `follow_glucose`.
        threads: for the solves.
    """

    def __init__(
        self,
        model_id: str = "glucose_t1d_uvapadova2008",
        interval: float = 5.0,
        tuning: Tuning | None = None,
        prior=None,
        follow: Follow | None = None,
        threads: int = 1,
    ) -> None:
        self.name = "MPC"
        self.model, self.interval, self.tuning = load(model_id), interval, tuning or Tuning()
        self.follow = follow or follow_glucose(self.model, interval)
        self.prior = prior
        t = self.tuning
        stages = round(t.horizon / interval)
        blocks = [b for b in t.blocks]
        blocks.append(stages - sum(blocks))
        self.problem = Problem(
            self.model,
            interval,
            stages,
            moves=[Move("sc", 0.0, t.bolus / interval, reference=0.02, weight=t.move_weight, scale=0.02)],
            goals=[Goal("glucose", t.target, t.weight, t.low, t.low_weight, t.high, t.high_weight)],
            draws=t.draws,
            blocks=blocks,
        )
        self.solver = RealTime(self.problem, SolverOptions(iterations=30, tolerance=1e-6, threads=threads))
        self.stomach = [
            self.model.names("states").index(s) for s in ("qsto1", "qsto2") if s in self.model.names("states")
        ]

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        self.known, self.n = known, n
        cov = np.zeros((n, len(self.model.covariates)))
        for j, c in enumerate(self.model.covariates):
            cov[:, j] = known[c.name] if c.name in known else c.typical
        mean, covariance = self.prior(known) if self.prior else (None, None)
        self.follower = Follower(self.follow, cov, mean=mean, covariance=covariance)
        self.eating = Eating(n)
        self.basal = known["basal"] / 60.0
        self.plan: Plan | None = None
        self.past: np.ndarray | None = None

    def signals(self, carbs: np.ndarray, meal: np.ndarray) -> np.ndarray:
        """(n, signals) what is held over the coming interval, the insulin's rate left 0."""
        u = np.zeros((self.n, len(self.follow.signals)))
        for j, name in enumerate(self.follow.signals):
            u[:, j] = {"carbs": carbs, "meal": meal, "sensitivity": 1.0}.get(name, 0.0)
        return u

    def observe(self, seen: Observation) -> Belief:
        """Take in what is seen."""
        if self.past is None:
            return self.follower.observe(seen.reading, seen.reading_time)
        given = seen.delivered[:, 0] / 60.0 + seen.delivered[:, 1] / self.interval
        self.past[:, self.follow.signals.index("sc")] = given
        return self.follower.step(self.past, seen.reading, seen.reading_time)

    def act(self, seen: Observation) -> np.ndarray:
        t, n = self.tuning, self.n
        self.belief = b = self.observe(seen)
        stomach = b.states[:, self.stomach].sum(axis=1) / 1000.0 if self.stomach else np.zeros(n)
        announced = np.nan_to_num(seen.announced)
        self.eating.announce(announced, stomach)
        stages = self.problem.stages
        carbs, meal = self.eating.ahead(self.interval, stages)
        i = self.follow.names.index("disturbed carbs")
        scale = np.exp(b.mean[:, i])[:, None]
        dawn = b.mean[:, self.follow.names.index("disturbed dawn")]
        wander = self.follow.disturbed[0].wander
        decay = np.exp(-(np.arange(stages) + 0.5) * self.interval / wander.tau)
        inputs = {"carbs": carbs * scale, "dawn": dawn[:, None] * decay, "meal": meal, "sensitivity": 1.0}
        draws = self.follower.draws(t.draws) if t.draws > 1 else None
        high = np.full((n, stages, 1), np.inf)
        high[:, :, 0] = (t.micro * self.basal)[:, None]
        high[announced > 0, 0, 0] = t.bolus / self.interval
        snap = Snapshot(
            states=draws.states if draws else b.states[:, None],
            parameters=draws.parameters if draws else b.parameters[:, None],
            last=self.basal[:, None],
            inputs={k: v for k, v in inputs.items() if k in self.problem.held},
            high=high,
            reference=self.basal[:, None],
            scale=self.basal[:, None],
        )
        self.plan = self.solver.solve(snap, self.plan)
        rate = np.where(self.plan.usable, self.plan.first[:, 0], self.basal)
        ahead_carbs, ahead_meal = self.eating.pass_by(self.interval)
        self.past = self.signals(ahead_carbs, ahead_meal)
        steady = np.minimum(rate, t.micro * self.basal)
        return np.stack([steady * 60.0, (rate - steady) * self.interval], axis=1)
