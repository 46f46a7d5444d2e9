"""The most a controller may ask for at once, by the usual calculator's numbers and not by its own model."""

from __future__ import annotations

import numpy as np

__all__ = ["Allowance"]


class Allowance:
    """n patients' usual boluses, less the insulin on board.

    ::

        meal      trust · (carbohydrate not absorbed yet / ratio + correction) − on board
        between   (glucose − target) / correction factor − what is on board and needed by no carbohydrate

    as bolus calculators of pumps have it, at every decision: so that a meal whose bolus the guard refused (it was
    announced below 70 mg/dL) is dosed once glucose has come up, as far as its carbohydrate is still to come, and a
    controller that is wrong about the patient cannot heap correction on correction. Carbohydrate is absorbed by two
    compartments of 40 min, insulin on board (beyond the programmed basal rate) leaves by two of 55 min (Hovorka 2004).

    Attributes:
        carbs: (n, 2) g announced and not absorbed yet. insulin: (n, 2) U on board.
    """

    CARBS, INSULIN = 40.0, 55.0  # min

    def __init__(self, basal: np.ndarray, carb_ratio: np.ndarray, correction: np.ndarray, trust: float) -> None:
        self.trust = trust
        self.basal, self.carb_ratio, self.correction = basal, carb_ratio, correction  # U/min, g/U, mg/dL per U
        self.carbs, self.insulin = np.zeros((len(basal), 2)), np.zeros((len(basal), 2))

    def pass_by(self, interval: float, given: np.ndarray) -> None:
        """An interval goes by over which the pump confirmed this mean rate, (n,) U/min."""
        self.insulin[:, 0] += (given - self.basal) * interval
        for amount, tau in ((self.carbs, self.CARBS), (self.insulin, self.INSULIN)):
            keep = np.exp(-interval / tau)
            amount[:, 1] = (amount[:, 1] + amount[:, 0] * interval / tau) * keep
            amount[:, 0] *= keep

    def announce(self, grams: np.ndarray) -> None:
        """Meals announced now, (n,) g; 0 for none."""
        self.carbs[:, 0] += grams

    def meal(self, glucose: np.ndarray, target: float, fresh: np.ndarray) -> np.ndarray:
        """(n,) U open for what was announced; where that is ``fresh``, with the correction of glucose (mg/dL)."""
        usual = self.carbs.sum(axis=1) / self.carb_ratio + np.where(fresh, self._correction(glucose, target), 0.0)
        left: np.ndarray = np.maximum(self.trust * usual - self.board, 0.0)
        return left

    def between(self, glucose: np.ndarray, target: float) -> np.ndarray:
        """(n,) U open for high glucose (mg/dL), less what is on board and needed by no carbohydrate."""
        spare = np.maximum(self.board - self.carbs.sum(axis=1) / self.carb_ratio, 0.0)
        left: np.ndarray = np.maximum(self._correction(glucose, target) - spare, 0.0)
        return left

    @property
    def board(self) -> np.ndarray:
        """(n,) U on board beyond the programmed rate."""
        total: np.ndarray = np.maximum(self.insulin.sum(axis=1), 0.0)
        return total

    def _correction(self, glucose: np.ndarray, target: float) -> np.ndarray:
        units: np.ndarray = np.maximum(glucose - target, 0.0) / self.correction
        return units
