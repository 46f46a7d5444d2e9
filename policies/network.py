"""A trained policy as a plain forward pass: no torch, microseconds, the same bits for one patient as for thousands.

::

    from doseloop.policies import network
    net = network.load("glucose-ppo-0")              # one that ships (network.shipped()), or a path
    net.reset(n)                                     # forget the last patients (a recurrent one remembers)
    actions = net.act(observations)                  # (n, inputs) -> (n, levers), float32 within ±1; on a grid, places

    from doseloop.policies.episodes import play
    play(network.environment(net, num_envs=300, split="test"), net, seed=20_000)

It reads the observations, and gives the actions, of the environment named in ``meta["env"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from ..pkpd.errors import DoseloopError
from . import network_file
from .network_pass import ACTIVATIONS, HEADS, dense, recurrent

__all__ = ["Network", "environment", "load", "shipped"]

FOLDER = Path(__file__).parent / "trained"


class Network:
    """A multilayer perceptron, behind an LSTM where it is recurrent.

    Args:
        meta, arrays: what a file holds (`network_file`).

    Attributes:
        name: what tables call it. meta: what it is and how it came about. arrays: its weights.
        inputs, outputs: width of an observation, of an action. choices: places of each lever's grid, where it chooses.
    """

    oracle = False

    def __init__(self, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self.meta, self.arrays, self.name = dict(meta), dict(arrays), str(meta["name"])
        layers = sum(1 for k in arrays if k.startswith("w"))
        parts = [np.ravel(arrays[f"{k}{i}"]) for i in range(layers) for k in "wb"]
        self._weights = np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)
        widths = [arrays["w0"].shape[0], *(len(arrays[f"b{i}"]) for i in range(layers))]
        self._sizes = np.array(widths, dtype=np.int64)
        self._how = ACTIVATIONS.index(meta["activation"]), HEADS.index(meta["head"])
        self._lstm = tuple(np.ascontiguousarray(arrays[k]) for k in network_file.LSTM if k in arrays)
        self.choices: list[int] = list(meta["choices"]) if meta["head"] == "choice" else []
        self.inputs, self.outputs = (len(self._lstm[0]) if self._lstm else widths[0]), len(self.choices) or widths[-1]
        self.reset(1)

    @property
    def recurrent(self) -> bool:
        """Whether it remembers."""
        return bool(self._lstm)

    def reset(self, n: int) -> None:
        """Begin with n new patients."""
        width = self._sizes[0] if self._lstm else 0
        self._hidden, self._cell = (np.zeros((n, width), dtype=np.float32) for _ in range(2))

    def act(self, observations: np.ndarray) -> np.ndarray:
        """Actions (n, levers) float32 from −1 to 1, of observations (n, inputs).

        With `choices` the likeliest place of each lever's grid, whole numbers; (n,) of one lever, as Gymnasium's
        `Discrete` has it.

        Raises:
            DoseloopError: observations of another width, or, of a recurrent one, of another n than `reset` was told.
        """
        seen = np.ascontiguousarray(observations, dtype=np.float32)
        if seen.ndim != 2 or seen.shape[1] != self.inputs:
            raise DoseloopError(f"{self.name}: observations are (n, {self.inputs}), not of shape {seen.shape}")
        out = np.empty((len(seen), self._sizes[-1]), dtype=np.float32)
        if self._lstm:
            if len(seen) != len(self._hidden):
                raise DoseloopError(f"{self.name}: reset for {len(self._hidden)} patients, not {len(seen)}")
            recurrent(seen, *self._lstm, self._hidden, self._cell)
            seen = self._hidden
        dense(seen, self._weights, self._sizes, *self._how, out)
        if not self.choices:
            return out
        ends = np.cumsum(self.choices)[:-1]
        places = [part.argmax(axis=1) for part in np.split(out, ends, axis=1)]
        return places[0] if len(places) == 1 else np.stack(places, axis=1)

    # what `episodes.play` calls
    # --------------------------

    def begin(self, env: Any) -> None:
        """Begin with the patients of an environment's lanes."""
        self.reset(env.num_envs)

    def __call__(self, env: Any, observations: np.ndarray) -> np.ndarray:
        """The same as `act`."""
        return self.act(observations)


def load(source: str | Path) -> Network:
    """A network by the name of one that ships, or from a file (a path with ``.npz`` at its end).

    Raises:
        DoseloopError: there is none, or the file is no network; it says why.
    """
    if str(source).endswith(".npz"):
        return Network(*network_file.read(Path(source)))
    if source not in shipped():
        raise DoseloopError(f"network '{source}': there are {', '.join(shipped())}; a file's name ends in .npz")
    return Network(*network_file.read(FOLDER / f"{source}.npz"))


def shipped() -> list[str]:
    """Names of the networks that ship with doseloop."""
    return sorted(p.stem for p in FOLDER.glob("*.npz"))


def environment(network: Network, **how: Any) -> Any:
    """The vector environment a network was made for.

    Args:
        network: whose.
        **how: more keywords (``num_envs``, ``split``, …), which go before those it was trained with.

    Raises:
        DoseloopError: its spaces are not the network's.
    """
    env = network.meta["env"]
    made: Any = gymnasium.make_vec(f"{__package__.split('.')[0]}.envs:{env['id']}", **{**env["kwargs"], **how})
    spaces = made.single_observation_space.shape, made.single_action_space.shape
    actions = made.unwrapped.actions
    there = [] if actions.grid is None else [len(row) for row in actions.grid]
    if spaces[0] != (network.inputs,) or len(actions.levers) != network.outputs or there != network.choices:
        chooses = f" out of {network.choices}" if network.choices else ""
        raise DoseloopError(
            f"{network.name}: it reads {network.inputs} numbers and gives {network.outputs}{chooses}; the observations "
            f"and actions of {env['id']} with {how} are of shapes {spaces}{f' out of {there}' if there else ''}"
        )
    return made
