"""Oracles: the model-predictive policies told the truth, as yardsticks of what better knowledge could bring.

The patient's true states, parameters and disturbance stand where the estimator's belief would; what the future brings
(meals, stimulation) they do not know either. Where the plant is the controller's own model nothing is left to estimate.
They are never advice: ``oracle`` is True, and their names say it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..twin.belief import Belief
from ..virtual.world import Observation
from .anaesthesia_mpc import AnaesthesiaMPC, AnaesthesiaTuning
from .following import FollowingPolicy
from .glucose_mpc import GlucoseMPC, GlucoseTuning

__all__ = ["AnaesthesiaOracle", "GlucoseOracle", "Truth"]

Truth = Callable[[], Mapping[str, np.ndarray]]
"""What `envs` call ``privileged``: ``state`` (n, states), ``parameters`` (n, individual parameters), ``truth``
(n, ticks) the scored output of the last interval, and each model output by name."""


class _Told(FollowingPolicy):
    """The estimator runs, and what it believes is overwritten."""

    oracle = True
    name = "MPC, oracle"
    truth: Truth

    def observe(self, seen: Observation, given: Mapping[str, np.ndarray]) -> Belief:
        believed, told = super().observe(seen, given), self.truth()
        output = told[str(self.follow.truth)]
        mean = believed.mean.copy()
        mean[:, len(self.model.states) :] = 0.0
        mean[:, : len(self.model.states)] = told["state"]
        if "offset" in self.row:
            # nothing has disturbed a patient who was just admitted
            offset = np.where(seen.clock > 0, told["truth"][:, -1] - output, 0.0)
            mean[:, self.row["offset"]] = offset
            output = output + offset
        parameters = told["parameters"]
        self.tracker.belief = replace(believed, mean=mean, truth=output, individuals=lambda _: parameters)
        return self.belief


class GlucoseOracle(_Told, GlucoseMPC):
    """`GlucoseMPC`, told the truth.

    Args:
        truth: see `Truth`. **how: see `GlucoseMPC`.
    """

    def __init__(self, truth: Truth, **how: Any) -> None:
        self.truth = truth
        super().__init__(tuning=replace(how.pop("tuning", None) or GlucoseTuning(), draws=1), **how)


class AnaesthesiaOracle(_Told, AnaesthesiaMPC):
    """`AnaesthesiaMPC`, told the truth.

    Args:
        truth: see `Truth`. **how: see `AnaesthesiaMPC`.
    """

    def __init__(self, truth: Truth, **how: Any) -> None:
        self.truth = truth
        super().__init__(tuning=replace(how.pop("tuning", None) or AnaesthesiaTuning(), draws=1), **how)
