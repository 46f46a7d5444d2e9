"""Between Stable-Baselines3's policies and the arrays of a network's file."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from torch import nn

from ...pkpd.errors import DoseloopError

__all__ = ["actor", "arrays", "choices", "explore", "head", "start_at"]


def actor(model: Any) -> nn.Sequential:
    """The layers from the features to the mean of the action, before its head; they share the model's weights."""
    policy = model.policy
    if hasattr(policy, "action_net"):  # PPO and its kin
        return nn.Sequential(*policy.mlp_extractor.policy_net, policy.action_net)
    return nn.Sequential(*policy.actor.latent_pi, policy.actor.mu)  # SAC, TQC


def head(model: Any) -> str:
    """What stands after the last layer."""
    if choices(model):
        return "choice"
    return "clip" if hasattr(model.policy, "action_net") else "tanh"


def choices(model: Any) -> list[int]:
    """Places of each lever's grid; empty where actions are real numbers."""
    space = model.action_space
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else []


def arrays(model: Any) -> tuple[dict[str, np.ndarray], str]:
    """The weights by the names of `network_file`, and the activation.

    Raises:
        DoseloopError: an architecture that the forward pass does not know.
    """
    out: dict[str, np.ndarray] = {}
    kinds = set()
    layers = list(actor(model))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            k = len(out) // 2
            out[f"w{k}"], out[f"b{k}"] = _array(layer.weight).T, _array(layer.bias)
        else:
            kinds.add(type(layer))
    if (
        len(kinds) > 1
        or not kinds <= {nn.Tanh, nn.ReLU}
        or getattr(model.policy, "squash_output", False) != (head(model) == "tanh")
    ):
        raise DoseloopError(f"export: only MLPs of tanh or ReLU with a Gaussian or squashed head, not {layers}")
    lstm = getattr(model.policy, "lstm_actor", None)
    if lstm is not None:
        if lstm.num_layers != 1:
            raise DoseloopError(f"export: one layer of LSTM, not {lstm.num_layers}")
        out["lstm_inner"], out["lstm_own"] = _array(lstm.weight_ih_l0).T, _array(lstm.weight_hh_l0).T
        out["lstm_bias"] = _array(lstm.bias_ih_l0) + _array(lstm.bias_hh_l0)
    return out, "relu" if kinds == {nn.ReLU} else "tanh"


def start_at(model: Any, action: np.ndarray, actions: Any) -> None:
    """Let the untrained network ask for this action (from −1 to 1), whatever it sees.

    On a grid, for the place next to it, in one half of the cases.

    Args:
        model: SB3's. action: (levers,). actions: the environment's (`envs.spaces.Actions`).
    """
    import torch

    last = actor(model)[-1]
    assert isinstance(last, nn.Linear)
    if actions.grid is not None:
        biases = []
        for x, lever, row in zip(action, actions.levers, actions.grid):
            dose = lever.low + (x + 1.0) * (lever.high - lever.low) / 2
            odds = np.zeros(len(row))
            odds[np.abs(row - dose).argmin()] = np.log(max(len(row) - 1, 1))
            biases.append(odds)
        with torch.no_grad():
            last.bias.copy_(torch.as_tensor(np.concatenate(biases), dtype=torch.float32))
        return
    wanted = np.arctanh(np.clip(action, -0.99, 0.99)) if head(model) == "tanh" else action
    with torch.no_grad():
        last.weight.mul_(0.1 if head(model) == "tanh" else 1.0)  # PPO's are small already
        last.bias.copy_(torch.as_tensor(wanted, dtype=torch.float32))


def explore(model: Any, log_std: float) -> None:
    """Fix the noise of the actions.

    A dose that varies at random harms by itself, so that the best mean under noise is not the best without; and left
    to itself the noise stays as it is for as long as a run lasts.

    Raises:
        DoseloopError: an algorithm whose noise is no parameter of its own (SAC, TQC), or doses on a grid.
    """
    import torch

    parameter = getattr(model.policy, "log_std", None)
    if parameter is None:
        raise DoseloopError("noise: only for PPO and its kin without a grid; SAC and TQC find their own")
    parameter.requires_grad_(False)
    with torch.no_grad():
        parameter.fill_(log_std)


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)
