"""Clinical scores of what was played, by their own names: the field's, not the reward's.

All are of the true output at every tick, for the whole horizon: a run that ended early stays where it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...virtual.anaesthesia_scores import anaesthesia_scores
from ...virtual.glucose_scores import glucose_scores
from ..episodes import Episodes

__all__ = ["SHOWN", "Shown", "clinical_scores"]

AUC, TROUGH = (400.0, 600.0), 20.0  # mg·h/L, mg/L: Rybak 2020, as `therapies.vancomycin` has them
LEVELS, TOXIC = (15.0, 40.0), 50.0  # mg/L: as `therapies.phenobarbital` has them


@dataclass(frozen=True, slots=True)
class Shown:
    """A score in tables: what it is, and what stands for many of it ("mean"; "median" where it can be infinite)."""

    label: str
    by: str = "mean"


SHOWN: Mapping[str, Mapping[str, Shown]] = {
    "doseloop/Glucose-v0": {
        "tir": Shown("TIR 70-180, %"),
        "tbr": Shown("TBR <70, %"),
        "tbr54": Shown("<54, %"),
        "tar": Shown("TAR >180, %"),
        "cv": Shown("CV, %"),
        "lbgi": Shown("LBGI"),
        "hbgi": Shown("HBGI"),
        "gri": Shown("GRI"),
        "severe": Shown("runs with <54 mg/dL, %"),
    },
    "doseloop/Propofol-v0": {
        "in_range": Shown("BIS 40-60, %"),
        "below40": Shown("BIS <40, %"),
        "went_below40": Shown("runs with BIS <40, %"),
        "mdpe": Shown("MDPE, %"),
        "mdape": Shown("MDAPE, %"),
        "wobble": Shown("wobble, %"),
        "divergence": Shown("divergence, %/h"),
        "global": Shown("global score", "median"),
        "settling": Shown("settling, min", "median"),
    },
    "doseloop/Vancomycin-v0": {
        "auc_inside": Shown("days with AUC24 in 400-600, %"),
        "auc_below": Shown("below 400, %"),
        "auc_above": Shown("above 600, %"),
        "attained": Shown("AUC24 of day 2 in 400-600, % of patients"),
        "trough_above": Shown("troughs >20 mg/L, %"),
    },
    "doseloop/Phenobarbital-v0": {
        "inside": Shown("time in 15-40 mg/L, %"),
        "below": Shown("below 15, %"),
        "above": Shown("above 40, %"),
        "toxic": Shown("above 50, %"),
        "attained": Shown("in 15-40 at the end, % of patients"),
    },
}


def clinical_scores(env: Any, played: Episodes) -> dict[str, np.ndarray]:
    """Scores by name (`SHOWN` of the environment), (n,) each.

    Args:
        env: the unwrapped environment it was played in.
        played: by `policies.episodes.play`.
    """
    return {k: np.asarray(v, dtype=float) for k, v in _BY_NAME[env.name](env, played.truth).items()}


def _glucose(env: Any, truth: np.ndarray) -> dict[str, np.ndarray]:
    return {**glucose_scores(truth, truth.shape[1]), "severe": np.where((truth < 54.0).any(axis=1), 100.0, 0.0)}


def _propofol(env: Any, truth: np.ndarray) -> dict[str, np.ndarray]:
    scores = dict(anaesthesia_scores(truth, env.world.tick))
    return scores | {"went_below40": 100.0 * scores["went_below40"]}


def _vancomycin(env: Any, truth: np.ndarray) -> dict[str, np.ndarray]:
    areas = daily_auc(truth, env.world.tick)
    troughs = truth[:, env.world.ticks - 1 :: env.world.ticks]
    below, above = 100.0 * (areas < AUC[0]).mean(axis=1), 100.0 * (areas > AUC[1]).mean(axis=1)
    second = areas[:, min(1, areas.shape[1] - 1)]
    return {
        "auc_inside": 100.0 - below - above,
        "auc_below": below,
        "auc_above": above,
        "attained": 100.0 * ((second >= AUC[0]) & (second <= AUC[1])),
        "trough_above": 100.0 * (troughs > TROUGH).mean(axis=1),
    }


def _phenobarbital(env: Any, truth: np.ndarray) -> dict[str, np.ndarray]:
    below, above = 100.0 * (truth < LEVELS[0]).mean(axis=1), 100.0 * (truth > LEVELS[1]).mean(axis=1)
    last = truth[:, -1]
    return {
        "inside": 100.0 - below - above,
        "below": below,
        "above": above,
        "toxic": 100.0 * (truth > TOXIC).mean(axis=1),
        "attained": 100.0 * ((last >= LEVELS[0]) & (last <= LEVELS[1])),
    }


def daily_auc(truth: np.ndarray, tick: float) -> np.ndarray:
    """(n, days) AUC24 from the levels at the end of each tick (h), by the trapezoid; rewards use the exact integral."""
    before = np.concatenate([np.zeros((len(truth), 1)), truth[:, :-1]], axis=1)
    days = truth.shape[1] // round(24.0 / tick)
    pieces = ((before + truth) * (tick / 2))[:, : days * round(24.0 / tick)]
    return np.asarray(pieces.reshape(len(truth), days, -1).sum(axis=2))


_BY_NAME = {
    "doseloop/Glucose-v0": _glucose,
    "doseloop/Propofol-v0": _propofol,
    "doseloop/Vancomycin-v0": _vancomycin,
    "doseloop/Phenobarbital-v0": _phenobarbital,
}
