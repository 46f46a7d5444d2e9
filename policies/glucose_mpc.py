"""Insulin by model-predictive control: an estimator follows the patient, a plan is made at every reading.

What it knows: the population of its model, the usual protocol's numbers of the patient (basal rate, carbohydrate ratio,
correction factor, weight, age class), its readings, what was announced and what the pump confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..controller.ladder import Trust
from ..controller.problem import Goal, Move, Problem
from ..controller.snapshot import Snapshot
from ..models import load
from ..twin.belief import Draws
from ..twin.eating import Eating
from ..twin.follow import Follow
from ..twin.statements import follow_glucose
from ..twin.tracker import MealTracker
from ..virtual.glucose_prior import glucose_prior
from ..virtual.world import Observation
from .allowance import Allowance
from .following import FollowingPolicy

__all__ = ["GlucoseMPC", "GlucoseTuning"]

Prior = Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]
TRUST = Trust(oldest=20.0, discrepancy=(30.0,))  # min; mg/dL: coarse steps of the optimiser and no more
# A factor on an input is the same as one on these individual parameters (of whichever model): so each draw of the
# belief has a meal and a sensitivity of its own, where a plan's inputs are the same for all draws.
SAME = {"carbs": ("f", "ag"), "sensitivity": ("kp3", "vmx", "sit", "sid", "sie")}
PATIENCE = 20.0  # min without a sensor, then the profile's basal rate (Tandem Control-IQ)


@dataclass(frozen=True, slots=True)
class GlucoseTuning:
    """What may be chosen; the defaults were tuned on the cohorts' train split (docs/control.md).

    Args:
        target: mg/dL; ``low``, ``high`` the soft band.
        weight, low_weight, high_weight: per (mg/dL)².
        move_weight: of ((rate - basal)/basal)² a stage.
        horizon: min: until insulin given now has spent itself, else its late lows are not seen.
        stage: least length of a stage of the plan, min; a whole number of decisions' intervals.
        blocks: lengths in stages of the blocks of constant rate; what is left of the horizon is the last block.
        draws: of the belief, over which the plan is made.
        bolus: largest bolus, U; for a meal at most ``trust`` times the usual one (`Allowance`).
        micro: between meals at most this multiple of the basal rate …
        share: … or as much of the usual correction of what is above ``correct_above`` (mg/dL), over an hour.
    """

    target: float = 115.0
    low: float = 92.0
    high: float = 180.0
    weight: float = 1 / 50**2
    low_weight: float = 10 / 10**2
    high_weight: float = 0.3 / 10**2
    move_weight: float = 1e-3
    horizon: float = 400.0
    stage: float = 5.0
    blocks: tuple[int, ...] = (1, 1, 2, 2, 4, 6, 10)
    draws: int = 8
    bolus: float = 20.0
    trust: float = 1.1
    micro: float = 4.0
    share: float = 0.6
    correct_above: float = 140.0


class GlucoseMPC(FollowingPolicy):
    """Model-predictive control of insulin for n patients at once.

    Args:
        model_id: the model it believes in.
        interval: min between decisions.
        tuning: see `GlucoseTuning`.
        announced: whether meals are announced; where they are not, the estimator looks for them in the readings.
        prior: what the usual protocol's numbers say of the model's random effects: mean (n, effects) and covariance;
            default `virtual.glucose_prior`.
        follow: what is estimated; default `follow_glucose`.
        threads: for the solves.
    """

    tracking = MealTracker
    tracker: MealTracker

    def __init__(
        self,
        model_id: str = "glucose_t1d_uvapadova2008",
        interval: float = 5.0,
        tuning: GlucoseTuning | None = None,
        announced: bool = True,
        prior: Prior | None = None,
        follow: Follow | None = None,
        threads: int = 1,
    ) -> None:
        self.tuning = t = tuning or GlucoseTuning()
        model = load(model_id)
        self.stage = interval * math.ceil(t.stage / interval)
        stages = math.ceil(t.horizon / self.stage)
        problem = Problem(
            model,
            self.stage,
            stages,
            moves=[Move("sc", 0.0, t.bolus / self.stage, reference=0.02, weight=t.move_weight, scale=0.02)],
            goals=[Goal("glucose", t.target, t.weight, t.low, t.low_weight, t.high, t.high_weight)],
            draws=t.draws,
            blocks=(*t.blocks, stages - sum(t.blocks)),
            every=interval,
        )
        follow = follow or follow_glucose(model, interval, announced=announced)
        super().__init__(model, interval, follow, problem, TRUST, PATIENCE, threads)
        self.prior: Prior = prior or glucose_prior(model)
        self.individual = {name: j for j, name in enumerate(model.individual_units)}
        ahead = (np.arange(stages) + 0.5) * self.stage
        # what disturbs an input: its inputs, its row of the belief, whether it is a factor, how it fades in the plan
        self.disturbed = [
            (d.inputs, self.row["disturbed " + "+".join(d.inputs)], d.scale, np.exp(-ahead / d.wander.tau))
            for d in self.follow.disturbed
        ]

    @property
    def eating(self) -> Eating:
        """What was announced and is not eaten yet."""
        return self.tracker.eating

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n patients: ``basal`` U/h, ``carb_ratio`` g/U, ``correction`` mg/dL per U, weight, group."""
        mean, covariance = self.prior(known)
        self.begin(known, n, mean, covariance)
        self.basal = np.asarray(known["basal"], dtype=float) / 60.0
        self.allowance = Allowance(self.basal, known["carb_ratio"], known["correction"], self.tuning.trust)

    def act(self, seen: Observation) -> np.ndarray:
        """(n, 2): basal rate U/h, bolus U."""
        snapshot, announced = self.perceive(seen), np.nan_to_num(seen.announced)
        assert snapshot.high is not None
        bolus = announced / self.known["carb_ratio"]
        rate = self.decide(snapshot, self.basal + bolus / self.stage, self.basal, snapshot.high[:, 0, 0])
        # what a meal's stage holds is given at once, what runs for longer goes on at the next decision
        meal = (announced > 0) | (rate > snapshot.high[:, 1, 0] * (1 + 1e-9))
        steady = np.minimum(rate, np.where(meal, 1.0, self.tuning.micro) * self.basal)
        bolus = (rate - steady) * np.where(meal, self.stage, self.interval)
        # what the pump is still to deliver of the last bolus is not asked for again
        bolus = np.maximum(bolus - seen.pending[:, 1], 0.0)
        return np.stack([steady * 60.0, bolus], axis=1)

    def perceive(self, seen: Observation) -> Snapshot:
        """Take in what is seen: the patients now, by the draws of what is believed."""
        given = seen.delivered[:, 0] / 60.0 + seen.delivered[:, 1] / self.interval
        if self.tracker.begun:
            self.allowance.pass_by(self.interval, given)
        self.observe(seen, {"sc": given})
        announced = np.nan_to_num(seen.announced)
        self.tracker.announce(announced)
        self.allowance.announce(announced)
        return self._snapshot(announced > 0)

    def _snapshot(self, fresh: np.ndarray) -> Snapshot:
        t, b, stages = self.tuning, self.belief, self.problem.stages
        carbs, meal = self.eating.ahead(self.stage, stages)
        inputs = {i.name: np.full((self.n, stages), i.typical) for i in self.model.inputs}
        inputs["carbs"] = carbs
        if "meal" in inputs:
            inputs["meal"] = meal
        for names, row, factor, fades in self.disturbed:
            off = b.mean[:, row][:, None] * fades
            for name in names:
                inputs[name] = inputs[name] * np.exp(off) if factor else inputs[name] + off
        between = t.share / 60.0 * self.allowance.between(b.truth, t.correct_above)
        most = np.maximum(t.micro * self.basal, self.basal + between)
        high = np.repeat(most[:, None], stages, axis=1)
        bolus = np.minimum(t.bolus, self.allowance.meal(b.truth, t.target, fresh))
        high[:, 0] = np.maximum(most, self.basal + bolus / self.stage)
        if t.draws > 1:
            draws = self.follower.draws(t.draws)
            states, parameters = draws.states, self._own(draws)
        else:
            states, parameters = b.states[:, None], b.parameters[:, None]
        basal = self.basal[:, None]
        return Snapshot(
            states=states,
            parameters=parameters,
            last=basal,
            inputs={k: v for k, v in inputs.items() if k in self.problem.held},
            high=high[:, :, None],
            reference=basal,
            scale=basal,
        )

    def _own(self, draws: Draws) -> np.ndarray:
        """(n, D, individual parameters): each draw's with its own meal and sensitivity."""
        parameters = draws.parameters.copy()
        # of a meal that is under way, what stands in the stomach already differs from draw to draw
        waiting = self.eating.left / np.maximum(self.eating.left + self.eating.eaten, 1e-9)
        for j, (names, row, factor, _) in enumerate(self.disturbed):
            same = SAME.get(names[0], ())
            if not factor or not same:
                continue
            off = draws.disturbance[:, :, j] - self.belief.mean[:, row][:, None]
            share = waiting[:, None] if names[0] == "carbs" else 1.0
            for name in same:
                if name in self.individual:
                    parameters[:, :, self.individual[name]] *= np.exp(off * share)
        return parameters
