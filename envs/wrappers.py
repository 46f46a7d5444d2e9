"""Wrappers: Safety-Gymnasium's six-tuple, and the truth for an oracle. Each for a single and for a vector environment.

::

    env = SafetyVectorEnv(gymnasium.make_vec("doseloop/Glucose-v0", num_envs=64))
    observations, rewards, costs, terminated, truncated, info = env.step(actions)

    env = PrivilegedVectorEnv(gymnasium.make_vec("doseloop/Glucose-v0", num_envs=64), ("state",))
    env.metadata["privileged"]           # ("state",): whoever learned from this was an oracle
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from ..pkpd.errors import DoseloopError

__all__ = ["PrivilegedEnv", "PrivilegedVectorEnv", "SafetyEnv", "SafetyVectorEnv"]


class SafetyEnv(gymnasium.Wrapper, RecordConstructorArgs):
    """``step`` returns observation, reward, cost, terminated, truncated, info, as Safety-Gymnasium has it.

    The cost is ``info["cost"]``; it stays there, too.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple[Any, float, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        """One decision."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), float(info["cost"]), terminated, truncated, info


class SafetyVectorEnv(VectorWrapper):
    """The same for many: costs (n,).

    Where an episode ends in the same step as the next begins, the cost is that of the step that ended it.
    """

    def step(  # type: ignore[override]
        self, actions: Any
    ) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One decision of every lane."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        costs = np.asarray(info["cost"], dtype=float)
        if "final_info" in info:
            costs = np.where(info["_final_info"], info["final_info"]["cost"], costs)
        return observations, rewards, costs, terminated, truncated, info


class PrivilegedEnv(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """An oracle's environment: what no bedside has stands behind the observation. Never advice, never the default.

    Args:
        env: a single environment of ours.
        names: of what `vector.DosingVectorEnv.privileged` tells, laid end to end, unscaled.

    Attributes:
        metadata: ``["privileged"]`` are the names.
        oracle: True.

    Raises:
        DoseloopError: a name that is not there.
    """

    oracle = True

    def __init__(self, env: gymnasium.Env, names: Sequence[str] = ("state",)) -> None:
        RecordConstructorArgs.__init__(self, names=tuple(names))
        gymnasium.ObservationWrapper.__init__(self, env)
        self.names = tuple(names)
        if not env.unwrapped.vector._begun:  # type: ignore[attr-defined]
            env.reset(seed=0)  # to see how much there is; whoever uses it resets it anyhow
        self.observation_space = _wider(env.observation_space, self._truth())
        self.metadata = {**env.metadata, "privileged": self.names}

    def _truth(self) -> np.ndarray:
        return _laid_out(self.env.unwrapped.privileged(), self.names, 1)[0]  # type: ignore[attr-defined]

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The observation and, behind it, the truth."""
        return np.concatenate([observation, self._truth()]).astype(np.float32)


class PrivilegedVectorEnv(VectorWrapper):
    """The same for many.

    Raises:
        DoseloopError: a name that is not there, or an environment whose episodes begin in the step that ends the last
            one: their final truth is gone by then.
    """

    oracle = True

    def __init__(self, env: VectorEnv, names: Sequence[str] = ("state",)) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP:
            raise DoseloopError("privileged: with SameStep the truth at an episode's end is not known; use NextStep")
        self.names = tuple(names)
        if not env.unwrapped._begun:  # type: ignore[attr-defined]
            env.reset(seed=0)
        self.single_observation_space = _wider(env.single_observation_space, self._truth()[0])
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.metadata = {**env.metadata, "privileged": self.names}

    def _truth(self) -> np.ndarray:
        told: Mapping[str, np.ndarray] = self.env.unwrapped.privileged()  # type: ignore[attr-defined]
        return _laid_out(told, self.names, self.env.num_envs)

    def _widened(self, observations: np.ndarray) -> np.ndarray:
        return np.concatenate([observations, self._truth()], axis=1).astype(np.float32)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes."""
        observations, info = self.env.reset(seed=seed, options=options)
        return self._widened(observations), info

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One decision of every lane."""
        observations, *rest = self.env.step(actions)
        return self._widened(observations), *rest


def _laid_out(told: Mapping[str, np.ndarray], names: Sequence[str], n: int) -> np.ndarray:
    if missing := [k for k in names if k not in told]:
        raise DoseloopError([f"privileged: there is no '{k}'; there are {', '.join(sorted(told))}" for k in missing])
    return np.concatenate([np.asarray(told[k], dtype=np.float32).reshape(n, -1) for k in names], axis=1)


def _wider(space: Any, truth: np.ndarray) -> spaces.Box:
    edge = np.full(truth.shape, np.inf, dtype=np.float32)
    low, high = np.concatenate([space.low, -edge]), np.concatenate([space.high, edge])
    return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
