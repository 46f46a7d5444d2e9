"""What an estimator believes of n patients at one moment, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from statistics import NormalDist

import numpy as np

from .follow import Follow

__all__ = ["Bands", "Belief", "Draws", "Fate", "bands"]


class Fate(IntEnum):
    """What became of the last reading."""

    USED = 0
    MISSING = 1
    """No reading, or not a finite number."""
    IMPLAUSIBLE = 2
    """Outside the sensor's range, of too low a quality, or from the future."""
    GATED = 3
    """Too many predicted SDs away: not used, and counted."""
    WIDENED = 4
    """Too far away again and again: the belief was widened, and the reading used."""
    DUPLICATE = 5
    """There was a reading of that moment already."""
    TOO_LATE = 6
    """Older than what is remembered."""


@dataclass(frozen=True, eq=False)
class Belief:
    """n patients' beliefs, each the mean and covariance of its augmented state (`Follow.names`).

    Attributes:
        follow: the statement.
        time: now.
        mean: (n, L); covariance: (n, L, L).
        expected, expected_sd: (n,) what the newest reading was predicted to be, and its predicted SD; where there is no
            reading, what a sensor that does not lag would show now.
        truth, truth_sd: (n,) the output itself with its offset, without the sensor's error.
        innovation: (n,) the newest used or gated reading minus its prediction, in predicted SDs (NaN before any).
        nis: (n,) its square; ``consistency`` the running mean of that, 1 where the belief is honest.
        log_evidence: (n,) summed log predictive densities of the readings that were used; ``increment`` the newest.
        ess: (n,) effective sample size of a particle filter, else NaN.
        wideness: (n,) factor on the process noise's variance, 1 where the belief is consistent.
        gated: (n,) readings not used because they were too far away, ``in_row`` how many of them just now in a row.
        widened: (n,) how often the belief was widened.
        fate: (n,) what became of the last reading (`Fate`).
        individuals: from means to individual parameters.
    """

    follow: Follow
    time: float
    mean: np.ndarray
    covariance: np.ndarray
    expected: np.ndarray
    expected_sd: np.ndarray
    truth: np.ndarray
    truth_sd: np.ndarray
    innovation: np.ndarray
    consistency: np.ndarray
    log_evidence: np.ndarray
    increment: np.ndarray
    ess: np.ndarray
    wideness: np.ndarray
    gated: np.ndarray
    in_row: np.ndarray
    widened: np.ndarray
    fate: np.ndarray
    individuals: Callable[[np.ndarray], np.ndarray]

    @cached_property
    def parameters(self) -> np.ndarray:
        """Individual parameters at the mean, (n, individual parameters)."""
        return self.individuals(self.mean)

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def nis(self) -> np.ndarray:
        """Squared normalised innovation, (n,)."""
        return self.innovation**2

    @property
    def consistent(self) -> np.ndarray:
        """(n,) whether the running mean of squared normalised innovations lies under the alarm."""
        return self.consistency <= self.follow.watch.alarm

    @property
    def states(self) -> np.ndarray:
        """Mean of the model's states, (n, states)."""
        return self.mean[:, : len(self.follow.model.states)]

    @property
    def effects(self) -> np.ndarray:
        """Mean of the estimated effects, (n, estimated effects)."""
        a = len(self.follow.model.states)
        return self.mean[:, a : a + len(self.follow.effects or ())]

    def of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and SD of one row of the augmented state, (n,) each.

        Raises:
            KeyError: no row has that name.
        """
        if name not in self.follow.names:
            raise KeyError(f"no row '{name}'; there are {', '.join(self.follow.names)}")
        i = self.follow.names.index(name)
        return self.mean[:, i], np.sqrt(np.maximum(self.covariance[:, i, i], 0.0))


@dataclass(frozen=True, eq=False)
class Draws:
    """Equally weighted draws from a belief, for a controller with scenarios.

    Attributes:
        states: (n, k, states), none negative that may not be.
        parameters: (n, k, individual parameters).
        offset: (n, k) to be added to the output (0 where the statement has none).
        disturbance: (n, k, disturbances) in the order of ``Follow.disturbed``.
        effects: (n, k, model's effects) all of them, in the model's order.
    """

    states: np.ndarray
    parameters: np.ndarray
    offset: np.ndarray
    disturbance: np.ndarray
    effects: np.ndarray


@dataclass(frozen=True, eq=False)
class Bands:
    """Predictions over the next intervals.

    Attributes:
        time: (H,).
        reading, reading_sd: (n, H) of the sensor's readings; ``truth``, ``truth_sd`` of the output with its offset.
        low, high: (n, H) ends of the band of readings; ``truth_low``, ``truth_high`` of the truth.
        coverage: that the bands aim at.
    """

    time: np.ndarray
    reading: np.ndarray
    reading_sd: np.ndarray
    truth: np.ndarray
    truth_sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    truth_low: np.ndarray
    truth_high: np.ndarray
    coverage: float


def bands(
    time: np.ndarray, truth: np.ndarray, variance: np.ndarray, reading: np.ndarray, spread: np.ndarray, coverage: float
) -> Bands:
    """Normal bands from means and variances of the truth and of readings, (n, H) each."""
    z = NormalDist().inv_cdf(0.5 + coverage / 2)
    sd, wide = np.sqrt(np.maximum(variance, 0.0)), np.sqrt(np.maximum(spread, 0.0))
    return Bands(
        time, reading, wide, truth, sd, reading - z * wide, reading + z * wide, truth - z * sd, truth + z * sd, coverage
    )
