"""Vancomycin in adults: a dose every twelve hours, guided by few levels and a creatinine that lags."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..virtual.bedside_cohort import vancomycin_cohort
from ..virtual.levels import Levels
from ..virtual.people import People
from ..virtual.renal import Renal
from .bedside import WardVectorEnv
from .bedside_code import auc_parts
from .single import DosingEnv
from .spaces import Feature, Lever

__all__ = ["VancomycinEnv", "VancomycinVectorEnv"]


class VancomycinVectorEnv(WardVectorEnv):
    """n adults on vancomycin."""

    name = "doseloop/Vancomycin-v0"
    drug = "vancomycin"
    rewards, costs = ("under", "over"), ("toxic", "trough", "guard")
    worst_cost = 3.0
    persons = (
        Feature("weight", "kg", 40, 120, 30, 260, "body weight"),
        Feature("age", "year", 18, 95, 15, 110, "age"),
        Feature("sex", "1", 0, 1, what="0 male, 1 female"),
        Feature("height", "cm", 145, 205, 120, 220, "height"),
    )
    dose = Lever("dose", "mg", 0, 3000, "vancomycin now, over an hour or longer; 0 skips")
    usual = 15.0

    def __init__(
        self,
        num_envs: int = 1,
        *,
        split: str = "train",
        patients: int | People = 1000,
        model: str = "vancomycin_adult_goti2018",
        interval: float = 12.0,
        days: float = 7.0,
        action: str = "dose",
        levels: Levels | str = "usual",
        renal: Renal | str = "usual",
        guard: str = "on",
        belief: bool = False,
        threads: int = 1,
        **base: Any,
    ) -> None:
        people = patients if isinstance(patients, People) else vancomycin_cohort(model, split, int(patients))
        super().__init__(
            num_envs, people, interval=interval, days=days, action=action, levels=levels, renal=renal, maturation=0.0,
            guard=guard, belief=belief, threads=threads, **base,
        )  # fmt: skip
        self.worst = 2.0 * self.share

    def _parts(self, asked: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        parts = np.empty((5, self.num_envs))
        exposure, course, true = self.world.raw
        auc_parts(parts, exposure, course, true, self.elapsed, self.share, self.num_envs, asked, allowed, self._step)
        return parts

    def _outlook(self, lanes: np.ndarray) -> np.ndarray:
        which = np.zeros(self.num_envs, dtype=bool)
        which[lanes] = True
        area = self.world.ahead(24.0, which)[1][lanes]
        return -np.clip((area - 600.0) / 300.0, 0.0, 2.0)


class VancomycinEnv(DosingEnv):
    """One of them."""

    kind = VancomycinVectorEnv
