"""Phenobarbital in newborns with seizures: a dose every twelve hours of a drug that stays for a week."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pkpd.model import Model
from ..virtual.bedside_cohort import phenobarbital_cohort
from ..virtual.levels import Levels
from ..virtual.people import People
from .bedside import WardVectorEnv
from .single import DosingEnv
from .spaces import Feature, Lever

__all__ = ["PhenobarbitalEnv", "PhenobarbitalVectorEnv"]


class PhenobarbitalVectorEnv(WardVectorEnv):
    """n newborns on phenobarbital for two weeks, the loading dose included.

    With a half-life of six days a dose stays for the whole episode, and too much cannot be taken back.

    Args:
        num_envs: n.
        split: "train", "validation" or "test" of the published cohort.
        patients: how many of it, of whom each episode draws one; or `virtual.people.People` of your own.
        model: the plant's model.
        interval: h between decisions: 8, 12 or 24 (the guard refuses doses that are closer than 8 h).
        days: length of an episode.
        action: "per kg" (mg/kg), "dose" (mg) or "usual" (multiples of 2.25 mg/kg). The guard rounds down to 0.1 mg.
        levels: when samples are drawn, and the laboratory: "usual" (before the dose on days 2, 4, 6 …), "daily",
            "pair", "none", or a `virtual.levels.Levels`.
        maturation: rise of clearance with each day, share of the first day's; the model of 1985 finds none.
        guard: False gives what is asked unjudged; ``metadata["guard"]`` tells.
        observation: "raw", or "belief": behind the rest stands what the twin believes (`envs.ward_belief`).
        twin: for "belief": the model the twin believes in, or its id; default the therapy's first, as the MPC's,
            whatever the plant's is.
        belief: whether the expectation of the guard's plain rules (level, AUC24, ratio of measured to expected, doubt)
            is observed; it is no twin's posterior, which ``observation`` shows.
        randomise: ranges (low, high) by name of what each episode draws beside its patient (`envs.randomise`); default
            nothing.
        threads: that share the lanes.
        **base: see `vector.DosingVectorEnv`: max_episode_steps, grid, stack, autoreset_mode.

    Raises:
        DoseloopError: listing what does not fit.
    """

    name = "doseloop/Phenobarbital-v0"
    drug = "phenobarbital"
    rewards, costs = ("under", "over"), ("high", "toxic", "guard")
    worst_cost = 3.0
    persons = (
        Feature("weight", "kg", 0.5, 4, 0.3, 6, "birth weight"),
        Feature("apgar", "1", 1, 10, 0, 10, "Apgar score at 5 minutes"),
    )
    action_kinds = ("per kg", "dose", "usual")
    levers_of = {  # noqa: RUF012
        "per kg": Lever("dose", "mg/kg", 0, 20, "now, over half an hour; 0 skips"),
        "dose": Lever("dose", "mg", 0, 75, "the same, for every weight; 20 mg/kg of the heaviest infant"),
        "usual": Lever("dose", "× 2.25 mg/kg", 0, 8, "the same, in multiples of the label's maintenance dose"),
    }
    usual = 2.25
    scored = "level"

    def __init__(
        self,
        num_envs: int = 1,
        *,
        split: str = "train",
        patients: int | People = 1000,
        model: str = "phenobarbital_neonate_grasela1985",
        interval: float = 12.0,
        days: float = 14.0,
        action: str = "per kg",
        levels: Levels | str = "usual",
        maturation: Any = 0.0,
        guard: bool = True,
        belief: bool = False,
        observation: str = "raw",
        twin: Model | str | None = None,
        randomise: Mapping[str, tuple[float, float]] | None = None,
        threads: int = 1,
        **base: Any,
    ) -> None:
        people = patients if isinstance(patients, People) else phenobarbital_cohort(model, split, int(patients))
        super().__init__(
            num_envs, people, interval=interval, days=days, action=action, levels=levels, renal="stable",
            maturation=maturation, guard=guard, belief=belief,
            observation=observation, twin=twin, randomise=randomise, threads=threads, **base,
        )  # fmt: skip
        self.worst = 2.0 * self.share

    def _outlook(self, lanes: np.ndarray) -> np.ndarray:
        which = np.zeros(self.num_envs, dtype=bool)
        which[lanes] = True
        level = self.world.ahead(24.0, which)[0][lanes]
        return -np.clip((level - 40.0) / 20.0, 0.0, 2.0).mean(axis=1)


class PhenobarbitalEnv(DosingEnv):
    """One of them."""

    kind = PhenobarbitalVectorEnv
