"""The single environment: the vector environment with one lane, so that nothing exists twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from .vector import DosingVectorEnv

__all__ = ["DosingEnv"]


class DosingEnv(gymnasium.Env):
    """One patient: a subclass names its vector environment in ``kind``, whose keywords it takes.

    Attributes:
        vector: the vector environment with one lane; its ``seen``, ``known`` and ``privileged()`` are to be had from
            here too.
    """

    kind: type[DosingVectorEnv]
    metadata: dict[str, Any] = DosingVectorEnv.metadata

    def __init__(self, **how: Any) -> None:
        self.vector = vector = self.kind(1, autoreset_mode=AutoresetMode.DISABLED, **how)
        self.metadata = {k: v for k, v in vector.metadata.items() if k != "autoreset_mode"}
        self.render_mode = vector.render_mode
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: with a seed its first, without one the next of the same seed."""
        super().reset(seed=seed)
        if seed is None and not self.vector._begun:
            seed = int(self.np_random.integers(0, 2**62))
        observations, info = self.vector.reset(seed=seed, options=options)
        return observations[0], {k: v[0] for k, v in info.items()}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One decision."""
        observations, rewards, terminated, truncated, info = self.vector.step(np.asarray(action)[None])
        return (
            observations[0],
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {k: v[0] for k, v in info.items()},
        )

    @property
    def seen(self) -> Any:
        """What the bedside knows now (`virtual.world.Observation` of one patient)."""
        return self.vector.seen

    @property
    def known(self) -> Mapping[str, np.ndarray]:
        """What the usual protocol knows of the patient, (1,) each."""
        return self.vector.known

    def privileged(self) -> dict[str, np.ndarray]:
        """The truth: see `vector.DosingVectorEnv.privileged`."""
        return dict(self.vector.privileged())

    def render(self) -> Any:
        """What the vector environment renders of its one lane; see there."""
        drawn = self.vector.render()
        return None if drawn is None else drawn[0]

    def close(self) -> None:
        """Close the vector environment."""
        self.vector.close()
