"""What a twin assumes of the meals it was told of: eaten at a steady pace from the moment they are announced."""

from __future__ import annotations

import numpy as np

__all__ = ["PACE", "Eating"]

PACE = 5.0  # g/min, as the usual simulators eat


class Eating:
    """n patients' announced meals: what is still to be eaten, and the model's ``meal`` input (see `virtual.meal`).

    Attributes:
        left: (n,) g announced and not eaten yet.
        base: (n,) g in the stomach when the present meal began.
        eaten: (n,) g eaten since.
        under_way: (n,) whether a meal is being eaten.
    """

    def __init__(self, n: int, pace: float = PACE) -> None:
        self.pace = pace
        self.left, self.base, self.eaten = np.zeros(n), np.zeros(n), np.zeros(n)
        self.under_way = np.zeros(n, dtype=bool)

    def restart(self, lanes: np.ndarray) -> None:
        """Others stand in the lanes of a mask, who have eaten nothing."""
        for row in (self.left, self.base, self.eaten):
            row[lanes] = 0.0
        self.under_way[lanes] = False

    def announce(self, grams: np.ndarray, stomach: np.ndarray) -> None:
        """Meals announced now.

        Args:
            grams: (n,) announced; 0 for none.
            stomach: (n,) g believed to be in the stomach.
        """
        fresh = (grams > 0) & ~self.under_way
        self.base = np.where(fresh, stomach, self.base)
        self.eaten = np.where(fresh, 0.0, self.eaten)
        self.left = self.left + grams
        self.under_way |= fresh

    def ahead(self, interval: float, stages: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean rate of eating (g/min) and the meal's size so far (g) over each coming stage, (n, stages) each."""
        done = np.minimum(self.left[:, None], self.pace * interval * np.arange(stages + 1))
        carbs = np.diff(done, axis=1) / interval
        # in the middle of what is eaten during the stage
        meal = (self.base + self.eaten)[:, None] + 0.5 * (done[:, 1:] + done[:, :-1])
        return carbs, np.where(meal > 0, meal, 0.0)

    def pass_by(self, interval: float) -> tuple[np.ndarray, np.ndarray]:
        """An interval goes by: its mean rate of eating and meal's size, (n,) each, as `ahead` said."""
        carbs, meal = (a[:, 0] for a in self.ahead(interval, 1))
        took = carbs * interval
        self.left, self.eaten = self.left - took, self.eaten + took
        self.under_way = self.left > 1e-9
        return carbs, meal
