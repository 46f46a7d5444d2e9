"""Vancomycin in adults: a dose every twelve hours, guided by few levels and a creatinine that lags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pkpd.model import Model
from ..virtual.bedside_cohort import vancomycin_cohort
from ..virtual.levels import Levels
from ..virtual.people import People
from ..virtual.renal import Renal
from .bedside import WardVectorEnv
from .single import DosingEnv
from .spaces import Feature, Lever

__all__ = ["VancomycinEnv", "VancomycinVectorEnv"]


class VancomycinVectorEnv(WardVectorEnv):
    """n adults on vancomycin for a week, the first dose included.

    The plant has an individual clearance and volumes that nobody knows, and kidneys that change from day to day; the
    ward has a creatinine every morning, which lags behind them, and a level now and then, whose result comes hours
    later or not at all. Loading and holding both matter: the AUC of the first day counts.

    Args:
        num_envs: n.
        split: "train", "validation" or "test" of the published cohort.
        patients: how many of it, of whom each episode draws one; or `virtual.people.People` of your own.
        model: the plant's model: goti2018, thomson2009 or buelga2005, which need not be the controller's.
        interval: h between decisions: 6, 8, 12 or 24.
        days: length of an episode.
        action: "dose" (mg) or "usual" (multiples of 15 mg/kg). Doses are rounded down to 250 mg by the guard; a grid
            such as ``grid=range(0, 3001, 250)`` makes them discrete.
        levels: when samples are drawn, and the laboratory: "usual" (before the dose on days 2, 4, 6 …), "daily",
            "pair", "none", or a `virtual.levels.Levels`.
        renal: how kidneys change: "usual", "stable", "improving", "falling", "injury", or a `virtual.renal.Renal`.
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
    action_kinds = ("dose", "usual")
    levers_of = {  # noqa: RUF012
        "dose": Lever("dose", "mg", 0, 3000, "now, over an hour or longer (600 mg/h at most); 0 skips"),
        "usual": Lever("dose", "× 15 mg/kg", 0, 3, "the same, in multiples of the usual dose"),
    }
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
        guard: bool = True,
        belief: bool = False,
        observation: str = "raw",
        twin: Model | str | None = None,
        randomise: Mapping[str, tuple[float, float]] | None = None,
        threads: int = 1,
        **base: Any,
    ) -> None:
        people = patients if isinstance(patients, People) else vancomycin_cohort(model, split, int(patients))
        super().__init__(
            num_envs, people, interval=interval, days=days, action=action, levels=levels, renal=renal, maturation=0.0,
            guard=guard, belief=belief, observation=observation, twin=twin, randomise=randomise, threads=threads,
            **base,
        )  # fmt: skip
        self.worst = 2.0 * self.share

    def _outlook(self, lanes: np.ndarray) -> np.ndarray:
        which = np.zeros(self.num_envs, dtype=bool)
        which[lanes] = True
        area = self.world.ahead(24.0, which)[1][lanes]
        return -np.clip((area - 600.0) / 300.0, 0.0, 2.0)


class VancomycinEnv(DosingEnv):
    """One of them."""

    kind = VancomycinVectorEnv
