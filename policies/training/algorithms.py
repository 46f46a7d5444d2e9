"""The algorithms of Stable-Baselines3 and sb3-contrib, made from settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.logger import KVWriter, Logger
from torch import nn

from ...pkpd.errors import DoseloopError
from .settings import Settings

__all__ = ["events", "make"]

ACTIVATION = {"tanh": nn.Tanh, "relu": nn.ReLU}


class _Events(KVWriter):
    """What SB3 logs, into the run's own TensorBoard file."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        """Numbers only."""
        for key, value in key_values.items():
            if isinstance(value, int | float) or getattr(value, "shape", None) == ():
                self.writer.add_scalar(key, float(value), step)

    def close(self) -> None:
        """The run closes its writer."""


def events(writer: Any) -> Logger:
    """A logger into TensorBoard's `SummaryWriter`."""
    return Logger(None, [_Events(writer)])


def make(settings: Settings, env: Any, left: Callable[[], float]) -> Any:
    """An untrained model.

    Args:
        settings: what and how.
        env: SB3's.
        left: what is left of the learning rate, 1 at the start.

    Raises:
        DoseloopError: hyperparameters that the algorithm does not take, or doses on a grid for SAC or TQC.
    """
    if settings.algorithm in ("sac", "tqc") and not isinstance(env.action_space, spaces.Box):
        raise DoseloopError(f"{settings.task}: {settings.algorithm} gives real numbers; on a grid ppo or recurrent_ppo")
    kind, policy = _kind(settings.algorithm)
    sb3, net = dict(settings.sb3), dict(settings.policy)
    activation = net.pop("activation", "tanh")
    if activation not in ACTIVATION:
        raise DoseloopError(f"{settings.task}: activation '{activation}'; there are {', '.join(ACTIVATION)}")
    rate = float(sb3.pop("learning_rate", 3e-4))
    try:
        model = kind(
            policy,
            env,
            learning_rate=lambda _: rate * left(),
            policy_kwargs={**net, "activation_fn": ACTIVATION[activation]},
            device="cpu",
            **sb3,
        )
    except TypeError as e:
        raise DoseloopError(f"{settings.task}, {settings.algorithm}: {e}") from None
    model.set_logger(Logger(None, []))
    return model


def _kind(algorithm: str) -> tuple[Any, str]:
    if algorithm == "ppo":
        return PPO, "MlpPolicy"
    if algorithm == "sac":
        return SAC, "MlpPolicy"
    from sb3_contrib import TQC, RecurrentPPO

    return (TQC, "MlpPolicy") if algorithm == "tqc" else (RecurrentPPO, "MlpLstmPolicy")
