"""Phenobarbital in newborns with seizures: a dose every twelve hours of a drug that stays for a week."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..virtual.bedside_cohort import phenobarbital_cohort
from ..virtual.levels import Levels
from ..virtual.people import People
from .bedside import WardVectorEnv
from .bedside_code import level_parts
from .single import DosingEnv
from .spaces import Feature, Lever

__all__ = ["PhenobarbitalEnv", "PhenobarbitalVectorEnv"]


class PhenobarbitalVectorEnv(WardVectorEnv):
    """n newborns on phenobarbital."""

    name = "doseloop/Phenobarbital-v0"
    drug = "phenobarbital"
    rewards, costs = ("under", "over"), ("high", "toxic", "guard")
    worst_cost = 3.0
    persons = (
        Feature("weight", "kg", 0.5, 4, 0.3, 6, "birth weight"),
        Feature("apgar", "1", 1, 10, 0, 10, "Apgar score at 5 minutes"),
    )
    dose = Lever("dose", "mg/kg", 0, 20, "phenobarbital now, over half an hour; 0 skips")
    per_kg = True
    usual, most_usual = 2.25, 9.0

    def __init__(
        self,
        num_envs: int = 1,
        *,
        split: str = "train",
        patients: int | People = 1000,
        model: str = "phenobarbital_neonate_grasela1985",
        interval: float = 12.0,
        days: float = 14.0,
        action: str = "dose",
        levels: Levels | str = "usual",
        maturation: Any = 0.0,
        guard: str = "on",
        belief: bool = False,
        threads: int = 1,
        **base: Any,
    ) -> None:
        people = patients if isinstance(patients, People) else phenobarbital_cohort(model, split, int(patients))
        super().__init__(
            num_envs, people, interval=interval, days=days, action=action, levels=levels, renal="stable",
            maturation=maturation, guard=guard, belief=belief, threads=threads, **base,
        )  # fmt: skip
        self.worst = 2.0 * self.share

    def _parts(self, asked: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        parts = np.empty((5, self.num_envs))
        _, course, true = self.world.raw
        level_parts(parts, course, true, self.share, self.num_envs, asked, allowed, self._step)
        return parts

    def _outlook(self, lanes: np.ndarray) -> np.ndarray:
        which = np.zeros(self.num_envs, dtype=bool)
        which[lanes] = True
        level = self.world.ahead(24.0, which)[0][lanes]
        return -np.clip((level - 40.0) / 20.0, 0.0, 2.0).mean(axis=1)


class PhenobarbitalEnv(DosingEnv):
    """One of them."""

    kind = PhenobarbitalVectorEnv
