"""Stable-Baselines3 on a vector environment of Gymnasium: arrays go through, Python runs for finished lanes only.

::

    from doseloop.envs.sb3 import SB3VecEnv
    env = gymnasium.make_vec("doseloop/Glucose-v0", num_envs=256, autoreset_mode="SameStep")
    PPO("MlpPolicy", SB3VecEnv(env), n_steps=64, batch_size=4096).learn(1_000_000)

SB3 and sb3-contrib come with ``pip install "doseloop[rl]"``; nothing else of the package imports this module.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from ..pkpd.errors import DoseloopError
from .checker import lane_of

try:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as e:
    raise ModuleNotFoundError(
        'training with Stable-Baselines3 needs stable-baselines3: pip install "doseloop[rl]"', name=e.name
    ) from None

__all__ = ["SB3VecEnv"]


class SB3VecEnv(VecEnv):
    """A vector environment as SB3's algorithms want it.

    Each finished lane's info holds what SB3 and its loggers look for: ``terminal_observation``, ``TimeLimit.truncated``
    (cut off by time and not ended by the patient, so that its value is bootstrapped), ``episode`` (``r`` return, ``l``
    decisions, ``t`` seconds since the start, ``cost`` if the environment tells one) and the last step's own infos. No
    `Monitor` is needed around it.

    Args:
        env: made with ``autoreset_mode="SameStep"``, as SB3 knows no other.
        notes: names of infos that every lane's dict holds at every step (each costs n entries of a dict a step).

    Attributes:
        env: the environment.
        info: its infos of the last step, as arrays.
        cost: (n,) of the last step, of finished lanes too; zero where the environment tells none.

    Raises:
        DoseloopError: another mode of autoreset.
    """

    def __init__(self, env: VectorEnv, notes: Sequence[str] = ()) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise DoseloopError(f"SB3VecEnv: make the environment with autoreset_mode='SameStep', not {mode}")
        self.env, self.notes = env, tuple(notes)
        self.info: dict[str, Any] = {}
        self._actions: Any = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._returns, self._costs = np.zeros(self.num_envs), np.zeros(self.num_envs)
        self.cost = np.zeros(self.num_envs)
        self._lengths, self._start = np.zeros(self.num_envs, dtype=np.int64), time.time()

    def reset(self) -> Any:
        """Begin all episodes: with the seeds that `seed` left, else each lane's next.

        Raises:
            DoseloopError: options that differ from lane to lane.
        """
        options = self._options[0]
        if any(o != options for o in self._options):
            raise DoseloopError("SB3VecEnv: reset: the options of all lanes are one; they differ")
        seeds: Any = None if all(s is None for s in self._seeds) else list(self._seeds)
        observations, self.info = self.env.reset(seed=seeds, options=options or None)
        self.reset_infos = [lane_of(self.info, k) for k in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        for row in (self._returns, self._costs, self._lengths):
            row[:] = 0
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Hold the actions until `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One decision of every lane: observations, rewards, dones, infos."""
        observations, rewards, terminated, truncated, info = self.env.step(self._actions)
        self.info = info
        self._returns += rewards
        self._lengths += 1
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        final = info.get("final_info", info)
        if "cost" in info:
            self.cost = np.where(done, final["cost"], info["cost"]) if done.any() else info["cost"]
            self._costs += self.cost
        for name in self.notes:
            for told, value in zip(infos, info[name].tolist()):
                told[name] = value
        for k in np.flatnonzero(done).tolist():
            infos[k] = self._last(k, lane_of(final, k), info["final_obs"][k], bool(truncated[k] and not terminated[k]))
        if done.any():
            for row in (self._returns, self._costs, self._lengths):
                row[done] = 0
        return observations, rewards, done, infos

    def _last(self, k: int, told: dict[str, Any], seen: Any, truncated: bool) -> dict[str, Any]:
        episode = {"r": float(self._returns[k]), "l": int(self._lengths[k]), "t": round(time.time() - self._start, 6)}
        if "cost" in told:
            episode["cost"] = float(self._costs[k])
        return told | {"terminal_observation": seen, "TimeLimit.truncated": truncated, "episode": episode}

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    # what SB3 asks of each environment
    # ---------------------------------

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of each lane: its row where the environment holds an array of n rows, else one value for all."""
        return self._each(self._found(attr_name), indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute: rows of an array of n rows, or, for all lanes at once, anything else.

        Raises:
            DoseloopError: a value of some lanes only where there is one for all.
        """
        lanes = list(self._get_indices(indices))
        held = getattr(self.env.unwrapped, attr_name, None)
        if isinstance(held, np.ndarray) and held.shape[:1] == (self.num_envs,):
            held[lanes] = value
        elif len(lanes) == self.num_envs:
            setattr(self.env.unwrapped, attr_name, value)
        else:
            raise DoseloopError(f"SB3VecEnv: '{attr_name}' is one for all {self.num_envs} lanes; set it for all")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the environment, once for all lanes, and give each lane its row of the result.

        ``action_masks``, which MaskablePPO asks for, allows everything where a discrete environment has no such method.
        """
        return self._each(self._found(method_name)(*method_args, **method_kwargs), indices)

    def _found(self, name: str) -> Any:
        for env in (self.env, self.env.unwrapped):  # wrappers hide what they do not know
            if hasattr(env, name):
                return getattr(env, name)
        if name == "action_masks" and isinstance(self.action_space, spaces.Discrete | spaces.MultiDiscrete):
            return self._all_allowed
        raise AttributeError(f"{type(self.env.unwrapped).__name__} has no '{name}'")

    def _all_allowed(self) -> np.ndarray:
        space: Any = self.action_space
        width = int(space.n) if isinstance(space, spaces.Discrete) else int(np.sum(space.nvec))
        return np.ones((self.num_envs, width), dtype=bool)

    def _each(self, value: Any, indices: Any) -> list[Any]:
        rows = isinstance(value, np.ndarray | tuple | list) and len(value) == self.num_envs
        return [copy.copy(value[k]) if rows else value for k in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None) -> list[bool]:
        """Whether each lane tells what that wrapper tells: `Monitor`'s ``episode`` is here."""
        lanes: Iterable[int] = self._get_indices(indices)
        return [issubclass(wrapper_class, Monitor) for _ in lanes]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """The lanes' pictures."""
        pictures: Any = self.env.render()
        return list(pictures) if pictures is not None else [None] * self.num_envs
