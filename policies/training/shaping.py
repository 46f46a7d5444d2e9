"""What the algorithm sees of reward and cost; and the multiplier of the Lagrangian variant."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

__all__ = ["Multiplier", "Shaped"]


class Multiplier:
    """λ of PPO-Lagrangian (Ray, Achiam, Amodei 2019): raised while episodes cost more than the limit, else lowered.

    Args:
        limit: mean cost of an episode that is allowed.
        rate: change of log λ a round at a cost of twice the limit.

    Attributes:
        value: λ.
    """

    def __init__(self, limit: float, rate: float = 0.3, value: float = 0.1) -> None:
        self.limit, self.rate, self.value = limit, rate, value

    def update(self, cost: float) -> None:
        """After a round whose episodes cost this much on average.

        The logarithm moves, at most by ``rate``, so that λ stays positive and neither scale of cost nor of reward has
        to be known.
        """
        excess = np.clip(cost / self.limit - 1.0, -1.0, 1.0)
        self.value = float(np.clip(self.value * np.exp(self.rate * excess), 1e-4, 1e3))


class Shaped(VecEnvWrapper):
    """Rewards scaled, cut off below and, with a multiplier, less the cost: scale · (max(r, floor) − λ c)/(1 + λ).

    Episodes are told in the environment's own reward and cost.

    Args:
        env: with an attribute ``cost`` (n,) of the last step (`envs.sb3.SB3VecEnv`).
        scale, floor: see above.
        multiplier: None leaves the cost alone.
    """

    def __init__(self, env: VecEnv, scale: float, floor: float, multiplier: Multiplier | None = None) -> None:
        super().__init__(env)
        self.scale, self.floor, self.multiplier = scale, floor, multiplier
        self.costs: list[float] = []

    def reset(self) -> Any:
        """Begin all episodes."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """One decision of every lane."""
        observations, rewards, done, infos = self.venv.step_wait()
        shaped = self.scale * np.maximum(rewards, self.floor)
        if self.multiplier is not None:
            weight, cost = self.multiplier.value, self.venv.cost  # type: ignore[attr-defined]
            shaped = (shaped - self.scale * weight * cost) / (1.0 + weight)
            self.costs += [infos[k]["episode"]["cost"] for k in np.flatnonzero(done)]
        return observations, shaped, done, infos

    def adapt(self) -> None:
        """End a round: the multiplier looks at the episodes that ended in it."""
        if self.multiplier is not None and self.costs:
            self.multiplier.update(float(np.mean(self.costs)))
        self.costs.clear()
