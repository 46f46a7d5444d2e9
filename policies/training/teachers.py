"""Who teaches: the model-predictive controllers, and what their doses are on a pupil's levers.

The teacher follows the patient with its estimator and asks for a dose; the pupil sees the environment's observation and
has that environment's levers. `Lesson` says what the pupil should have asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...pkpd.errors import DoseloopError
from ..anaesthesia_mpc import AnaesthesiaMPC
from ..glucose_mpc import GlucoseMPC
from ..policy import Policy
from ..ward_mpc import WardMPC

__all__ = ["Lesson", "teacher"]

TARGET, ABOVE = 140.0, 150.0  # mg/dL: what the environment's usual bolus corrects to, and from (envs/glucose_step.py)


def teacher(env: Any, announced: bool = True) -> Policy:
    """The controller of an environment (unwrapped); where meals are not announced it looks for them."""
    if env.name == "doseloop/Glucose-v0":
        return GlucoseMPC(interval=env.world.interval, announced=announced)
    if env.name == "doseloop/Propofol-v0":
        return AnaesthesiaMPC(interval=env.world.interval)
    return WardMPC(env.therapy, interval=env.world.interval)


class Lesson:
    """A teacher's doses as a pupil's actions.

    Args:
        env: unwrapped, begun.

    Raises:
        DoseloopError: levers for which no rule is written.
    """

    def __init__(self, env: Any) -> None:
        self.env, self.levers = env, env.actions.levers
        self.column = {f.name: j for j, f in enumerate(env.scale.features)}
        self.low = np.array([v.low for v in self.levers])
        self.half = np.array([(v.high - v.low) / 2 for v in self.levers])
        units = tuple(v.unit for v in self.levers)
        rules = {
            ("× programmed", "× usual"): self._multiples,
            ("U/h", "U"): lambda doses: (doses, np.ones_like(doses)),
            ("× 6 mg/kg/h",): lambda doses: self._per(doses * 60.0 / 6.0),
            ("mg/min",): lambda doses: (doses, np.ones_like(doses)),
            ("mg/kg",): self._per,
            ("mg",): lambda doses: (doses, np.ones_like(doses)),
            ("× 15 mg/kg",): lambda doses: self._per(doses / 15.0),
            ("× 2.25 mg/kg",): lambda doses: self._per(doses / 2.25),
        }
        if units not in rules or env.actions.grid is not None:
            raise DoseloopError(
                f"imitation: {env.name}: no rule makes levers {', '.join(units)} of the teacher's doses"
            )
        self.rule = rules[units]

    def __call__(self, doses: np.ndarray, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (n, levers) from −1 to 1, and how much each counts (n, levers): 0 where a lever moves nothing."""
        self.seen = self.env.scale.values(observations)
        levers, counts = self.rule(np.asarray(doses, dtype=float))
        return np.clip((levers - self.low) / self.half - 1.0, -1.0, 1.0), counts

    def _per(self, doses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return doses / self.env.known["weight"][:, None], np.ones_like(doses)

    def _multiples(self, doses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the programmed basal rate and of the usual bolus.

        A bolus without an announced meal, which the second lever cannot give, goes into the rate of the interval.
        """
        announced, glucose = self.seen[:, self.column["announced"]], self.seen[:, self.column["glucose"]]
        usual = announced / self.env.known["carb_ratio"]
        usual += np.where(glucose > ABOVE, (glucose - TARGET) / self.env.known["correction"], 0.0)
        meal = announced > 0.5  # an observation is float32: what is none may not be 0 to the last bit
        interval = self.env.world.interval
        rate = doses[:, 0] + np.where(meal, 0.0, doses[:, 1] * 60.0 / interval)
        multiple = np.where(meal, doses[:, 1] / np.where(meal, usual, 1.0), 1.0)
        counts = np.column_stack([np.ones(len(doses)), meal.astype(float)])
        return np.column_stack([rate / self.env.known["basal"], multiple]), counts
