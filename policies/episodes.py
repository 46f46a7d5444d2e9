"""Policies of this room inside an environment: the environment is handed over, and is never imported here.

A policy asks for doses in the units of the therapy's actuators, so the environment's levers have to be those
(``action="dose"``, or ``"rate"`` for propofol). The environment's guard judges as it judges everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError
from .policy import Policy

__all__ = ["Episodes", "play", "with_doses"]


@dataclass(frozen=True, eq=False)
class Episodes:
    """One episode of each of n lanes.

    Attributes:
        reward, cost: (n,) sums over the episode. parts: the same of each part by name.
        length: (n,) decisions. ended: (n,) whether the patient's run ended before its time.
        truth: (n, ticks) the scored output; held at its last value where a run has ended.
        who: (n,) which person of the environment's library it was.
    """

    reward: np.ndarray
    cost: np.ndarray
    parts: dict[str, np.ndarray]
    length: np.ndarray
    ended: np.ndarray
    truth: np.ndarray
    who: np.ndarray


def play(env: Any, act: Callable[[Any, np.ndarray], np.ndarray], seed: int | Sequence[int]) -> Episodes:
    """Play one episode in every lane.

    Args:
        env: one of our vector environments (NextStep or Disabled autoreset).
        act: ``act(env, observations) -> actions``; its attribute ``begin(env)``, if it has one, is called after the
            reset.
        seed: s: lane k has seed s + k; or the seed of each lane.
    """
    base = env.unwrapped
    if base.autoreset.value == "SameStep":
        raise DoseloopError("episodes: with SameStep the last truth of an episode is gone; use NextStep")
    observations, _ = env.reset(seed=seed)
    if begin := getattr(act, "begin", None):
        begin(base)
    n, who = base.num_envs, base.world.who
    goes_on, length, ended = np.ones(n, dtype=bool), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    reward, cost = np.zeros(n), np.zeros(n)
    parts: dict[str, np.ndarray] = {}
    truth: list[np.ndarray] = []
    while goes_on.any():
        observations, rewards, terminated, truncated, info = env.step(act(base, observations))
        reward += rewards * goes_on
        cost += info["cost"] * goes_on
        for key, row in info.items():
            if key.startswith(("reward/", "cost/")):
                parts[key] = parts.get(key, 0.0) + row * goes_on
        tick = base.world.truth
        if truth:
            tick = np.where(goes_on[:, None], tick, truth[-1][:, -1:])
        truth.append(tick)
        length += goes_on
        ended |= terminated & goes_on
        goes_on &= ~(terminated | truncated)
    return Episodes(reward, cost, parts, length, ended, np.concatenate(truth, axis=1), who)


class with_doses:  # noqa: N801 - it reads as a function
    """A policy's doses as actions of an environment, for `play`.

    Raises:
        DoseloopError: the environment's levers are not the therapy's actuators, or an action is a place on a grid.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def begin(self, env: Any) -> None:
        """Begin with the patients of the lanes."""
        levers, given = [v.unit for v in env.actions.levers], getattr(env.therapy, "actuators", None)
        wanted = [a.unit for a in given] if given else [env.therapy.action.unit]
        if levers != wanted or env.actions.grid is not None:
            raise DoseloopError(
                f"{env.name}: a policy asks for {', '.join(wanted)}; the levers are {', '.join(levers)}"
                f"{' on a grid' if env.actions.grid is not None else ''}"
            )
        self.low = np.array([v.low for v in env.actions.levers])
        self.half = np.array([(v.high - v.low) / 2 for v in env.actions.levers])
        self.policy.reset({k: v.copy() for k, v in env.known.items()}, env.num_envs)

    def __call__(self, env: Any, observations: np.ndarray) -> np.ndarray:
        """Actions (n, levers), float64: rounding to float32 could lose an increment of the pump."""
        doses = np.asarray(self.policy.act(env.seen), dtype=float)
        return np.clip((doses - self.low) / self.half - 1.0, -1.0, 1.0)
