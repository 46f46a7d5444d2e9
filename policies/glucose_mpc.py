"""Insulin by model-predictive control: an estimator follows the patient, a plan is made at every reading.

What it knows: the population of its model, the usual protocol's numbers of the patient (basal rate, carbohydrate ratio,
correction factor, weight, age class), its readings, what was announced and what the pump confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..controller.ladder import Trust
from ..controller.problem import Goal, Move, Problem
from ..controller.snapshot import Snapshot
from ..models import load
from ..pkpd.model import Model
from ..twin.follow import Disturbed, Follow, Process, Sensor, Wander
from ..virtual.glucose_prior import glucose_prior
from ..virtual.world import Observation
from .eating import Eating
from .following import FollowingPolicy

__all__ = ["BRETON", "DEXCOM_G6", "GlucoseMPC", "GlucoseTuning", "follow_glucose"]

Prior = Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]
# The sensor's slow error, mg/dL and min: Breton & Kovatchev 2008 is an AR(1) of 0.7 each 15 min; a Dexcom G6
# (Vettoretti 2019) has a faster part and a drift over its days.
BRETON = (Wander(11.0, 42.0),)
DEXCOM_G6 = (Wander(6.0, 20.0), Wander(8.0, 2000.0))
TRUST = Trust(oldest=20.0, discrepancy=(30.0,))  # min; mg/dL: coarse steps of the optimiser and no more
PATIENCE = 20.0  # min without a sensor, then the profile's basal rate (Tandem Control-IQ)
UNEXPLAINED = Wander(0.25, 120.0)  # mg/kg/min, min


@dataclass(frozen=True, slots=True)
class GlucoseTuning:
    """What may be chosen; the defaults were tuned on the cohorts' train split (docs/control.md).

    Args:
        target: mg/dL; ``low``, ``high`` the soft band.
        weight, low_weight, high_weight: per (mg/dL)².
        move_weight: of ((rate - basal)/basal)² a stage.
        horizon: min: until insulin given now has spent itself, else its late lows are not seen.
        blocks: lengths in stages of the blocks of constant rate; what is left of the horizon is the last block.
        draws: of the belief, over which the plan is made.
        bolus: largest bolus, U; at a meal at most ``trust`` times that of the usual calculator.
        micro: between meals at most this multiple of the basal rate.
    """

    target: float = 120.0
    low: float = 85.0
    high: float = 180.0
    weight: float = 1 / 50**2
    low_weight: float = 10 / 10**2
    high_weight: float = 0.3 / 10**2
    move_weight: float = 1e-3
    horizon: float = 400.0
    blocks: tuple[int, ...] = (1, 1, 2, 2, 4, 6, 10)
    draws: int = 8
    bolus: float = 20.0
    trust: float = 1.3
    micro: float = 4.0


def follow_glucose(
    model: Model,
    interval: float,
    *,
    unexplained: Wander = UNEXPLAINED,
    carbs: float = 0.15,
    effects: Sequence[str] | None = None,
    memory: float = math.inf,
    coloured: Sequence[Wander] = DEXCOM_G6,
) -> Follow:
    """What is estimated of a patient: states, the effects that matter, an unexplained flux of glucose, each meal's true
    size, the sensor's slow error.

    Args:
        model: the model that is believed in.
        interval: min between decisions.
        unexplained: how the flux wanders (mg/kg/min).
        carbs: SD of log(eaten / announced).
        effects: which of the model's; default those that move glucose most.
        memory: min over which effects drift back to their prior.
        coloured: the sensor's slow error (mg/dL).
    """
    names = model.names("states")
    uva = "meal" in model.names("inputs")
    if effects is None:
        effects = ("kp3", "vmx", "kabs", "kmax", "p2u", "kmin") if uva else model.names("effects")
    noise = {
        "gp": Process(relative=0.003),
        "q1": Process(relative=0.003),
        "qgut": Process(relative=0.02),
        "d2": Process(relative=0.02),
    }
    return Follow(
        model,
        interval,
        "sensor",
        Sensor(additive=2.0, coloured=coloured),
        effects=effects,
        memory=memory,
        disturbed=(
            Disturbed(("dawn",), unexplained),
            Disturbed(("carbs",), Wander(carbs, 1e9, start=carbs), scale=True, onset=True),
        ),
        states={k: v for k, v in noise.items() if k in names},
        signed=("x",) if uva else (),
        late=30.0,
        truth="glucose",
    )


class GlucoseMPC(FollowingPolicy):
    """Model-predictive control of insulin for n patients at once.

    Args:
        model_id: the model it believes in.
        interval: min between decisions.
        tuning: see `GlucoseTuning`.
        prior: what the usual protocol's numbers say of the model's random effects: mean (n, effects) and covariance;
            default `virtual.glucose_prior`.
        follow: what is estimated; default `follow_glucose`.
        threads: for the solves.
    """

    def __init__(
        self,
        model_id: str = "glucose_t1d_uvapadova2008",
        interval: float = 5.0,
        tuning: GlucoseTuning | None = None,
        prior: Prior | None = None,
        follow: Follow | None = None,
        threads: int = 1,
    ) -> None:
        self.tuning = t = tuning or GlucoseTuning()
        model = load(model_id)
        stages = math.ceil(t.horizon / interval)
        problem = Problem(
            model,
            interval,
            stages,
            moves=[Move("sc", 0.0, t.bolus / interval, reference=0.02, weight=t.move_weight, scale=0.02)],
            goals=[Goal("glucose", t.target, t.weight, t.low, t.low_weight, t.high, t.high_weight)],
            draws=t.draws,
            blocks=(*t.blocks, stages - sum(t.blocks)),
        )
        super().__init__(model, interval, follow or follow_glucose(model, interval), problem, TRUST, PATIENCE, threads)
        self.prior: Prior = prior or glucose_prior(model)
        self.stomach = [model.names("states").index(s) for s in ("qsto1", "qsto2") if s in model.names("states")]
        wander = self.follow.disturbed[0].wander
        self.fades = np.exp(-(np.arange(stages) + 0.5) * interval / wander.tau)

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n patients: ``basal`` U/h, ``carb_ratio`` g/U, ``correction`` mg/dL per U, weight, group."""
        mean, covariance = self.prior(known)
        self.begin(known, n, mean, covariance)
        self.eating = Eating(n)
        self.basal = np.asarray(known["basal"], dtype=float) / 60.0

    def act(self, seen: Observation) -> np.ndarray:
        """(n, 2): basal rate U/h, bolus U."""
        given = seen.delivered[:, 0] / 60.0 + seen.delivered[:, 1] / self.interval
        belief = self.observe(seen, {"sc": given})
        announced = np.nan_to_num(seen.announced)
        self.eating.announce(announced, belief.states[:, self.stomach].sum(axis=1) / 1000.0)
        snapshot = self._snapshot(announced)
        assert snapshot.high is not None
        bolus = announced / self.known["carb_ratio"]
        rate = self.decide(snapshot, self.basal + bolus / self.interval, self.basal, snapshot.high[:, 0, 0])
        carbs, meal = self.eating.pass_by(self.interval)
        self.hold(carbs=carbs, meal=meal)
        steady = np.minimum(rate, self.tuning.micro * self.basal)
        # what the pump is still to deliver of the last bolus is not asked for again
        bolus = np.maximum((rate - steady) * self.interval - seen.pending[:, 1], 0.0)
        return np.stack([steady * 60.0, bolus], axis=1)

    def _snapshot(self, announced: np.ndarray) -> Snapshot:
        t, b, stages = self.tuning, self.belief, self.problem.stages
        carbs, meal = self.eating.ahead(self.interval, stages)
        inputs = {
            "carbs": carbs * np.exp(b.mean[:, self.row["disturbed carbs"]])[:, None],
            "dawn": b.mean[:, self.row["disturbed dawn"]][:, None] * self.fades,
            "meal": meal,
        }
        high = np.repeat((t.micro * self.basal)[:, None], stages, axis=1)
        usual = announced / self.known["carb_ratio"] + np.maximum(b.truth - t.target, 0.0) / self.known["correction"]
        bolus = np.minimum(t.bolus, t.trust * usual) / self.interval + self.basal
        high[:, 0] = np.where(announced > 0, np.maximum(high[:, 0], bolus), high[:, 0])
        if t.draws > 1:
            draws = self.follower.draws(t.draws)
            states, parameters = draws.states, draws.parameters
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
