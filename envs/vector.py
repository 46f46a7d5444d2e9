"""The vector environment: n patients, one episode each, moved together by one decision. The base of every environment.

::

    env = gymnasium.make_vec("doseloop.envs:doseloop/Glucose-v0", num_envs=1024)
    observations, info = env.reset(seed=7)                     # lane k: seed 7 + k
    observations, rewards, terminated, truncated, info = env.step(actions)

There is one implementation: the single environment (`envs.single`) is this one with one lane. No Python runs for each
lane; lane k of 4,096 gives the bits of a single environment with its seed, on one thread or two, as everything random
is a function of (seed, episode, counter).

**To add an environment**, subclass `DosingVectorEnv` and write three methods; everything else (spaces, scaling, seeds,
episodes, refusal of NaN, truncation, what an early end costs, both kinds of autoreset, infos) is here:

    class VancomycinVectorEnv(DosingVectorEnv):
        name = "doseloop/Vancomycin-v0"
        rewards, costs = ("auc",), ("toxic", "guard")          # names of the parts
        worst = 1.0                                            # reward of a step at the worst risk is −worst
        worst_cost = 2.0                                       # largest cost of a step

        def __init__(self, num_envs=1, *, split="train", patients=300, …, **base):
            …make people, world, gate…
            super().__init__(num_envs, features=[Feature(…), …], levers=[Lever(…), …], steps=14, **base)

        def _admit(self, lanes, seeds, episodes): …            # new patients in the lanes of the mask
        def _move(self, asked): return parts, ended            # one decision of everybody
        def _features(self): return values                     # what a bedside has now, in units

- ``_admit(lanes, seeds, episodes)``: ``lanes`` a mask (n,); ``seeds`` and ``episodes`` (n,) int64, to be read where the
  mask is set. Draw who comes from `episode.episode_draws(seeds[lanes], episodes[lanes], k)`; give the world
  ``reset(seeds, only=lanes, who=…, place=episodes)``. The first call admits everybody.
- ``_move(asked)``: ``asked`` (n, levers) in the levers' units. The guard, the world, then ``parts``
  (rewards + costs, n), a new array: each reward part (at most 0, at least −``worst`` together; integrated over the
  interval, never a difference of potentials) and each cost part (at least 0); and ``ended`` (n,) booleans: the run is
  over for good. Lanes whose episode is over and which the next reset replaces are moved too; what comes of them is
  thrown away.
- ``_features()``: (n, features) finite float64, a new array. Only what a bedside has.
- set ``self.seen`` (`virtual.world.Observation`) and ``self.known`` (name to (n,)), which policies act on.
- optional: ``_outlook(lanes)``: (m,) what the end of an episode still costs (at most 0); ``_notes()``: more arrays
  (n, …) for ``info``; ``privileged()``: the truth by name.

For the single environment write ``class VancomycinEnv(DosingEnv): kind = VancomycinVectorEnv`` beside it, and add a
line to `envs.registration`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ..pkpd.calls import addresses
from ..pkpd.errors import DoseloopError
from ..pkpd.lanes import LANES
from .film import RENDER_MODES, Film
from .spaces import Actions, Feature, Lever, Scale
from .tally import tally

__all__ = ["DosingVectorEnv"]


class DosingVectorEnv(VectorEnv, abc.ABC):
    """n dosing episodes side by side; see the module for how to subclass.

    Args:
        num_envs: n.
        features, levers: what is observed and what is decided. beside: features behind the history, which a subclass
            writes itself.
        steps: decisions of an episode.
        max_episode_steps: decisions of an episode, in place of the usual number (`gymnasium.make_vec` hands it on;
            `gymnasium.make` keeps it for a `TimeLimit` that cuts episodes without what their end costs: name the hours,
            minutes or days there).
        grid: see `spaces.Actions`.
        stack: how many past values of the stacked features stand in an observation beside the newest (0: none).
        autoreset_mode: `AutoresetMode` or its value: "NextStep", "SameStep", or "Disabled" (then ``reset`` with a
            ``reset_mask`` begins episodes anew).
        render_mode: "rgb_array" or "ansi": then the course of each episode is kept for `render`.

    Attributes:
        seed, episode: (n,) int64: what the lanes' random numbers come from.
        elapsed: (n,) decisions since the episode began.
        seen: what the bedside knows now. known: what the usual protocol knows of each patient, (n,) by name.

    Raises:
        DoseloopError: listing what does not fit.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 12}  # noqa: RUF012
    name = "dosing"
    rewards: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()
    worst = 1.0
    worst_cost = 1.0
    seen: Any  # `virtual.world.Observation`, or the ward's
    known: Mapping[str, np.ndarray]

    def __init__(
        self,
        num_envs: int = 1,
        *,
        features: Sequence[Feature],
        levers: Sequence[Lever],
        steps: int,
        max_episode_steps: int | None = None,
        grid: Sequence[Any] | None = None,
        stack: int = 0,
        beside: Sequence[Feature] = (),
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        n, most = int(num_envs), steps if max_episode_steps is None else int(max_episode_steps)
        bad = [] if n >= 1 else [f"num_envs must be 1 or more, not {num_envs}"]
        bad += [] if most >= 1 else [f"an episode has 1 decision or more, not {most}"]
        bad += [] if stack >= 0 else [f"stack must be 0 or more, not {stack}"]
        try:
            self.autoreset = AutoresetMode(autoreset_mode)
        except ValueError:
            bad.append(f"autoreset_mode '{autoreset_mode}'; there are {', '.join(m.value for m in AutoresetMode)}")
        if render_mode is not None and render_mode not in self.metadata.get("render_modes", []):
            bad.append(f"render_mode '{render_mode}'; there are {self.metadata.get('render_modes', [])}")
        if bad:
            raise DoseloopError([f"{self.name}: {b}" for b in bad])
        self.num_envs, self.horizon, self.render_mode = n, most, render_mode
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset}
        self.scale, self.stack = Scale([*features, *_past(features, stack), *beside]), stack
        self._stacked = np.array([i for i, f in enumerate(features) if f.stacked], dtype=np.int64)
        self._past, self._now = np.zeros((n, stack, len(self._stacked))), np.zeros((n, len(self._stacked)))
        self.actions = Actions(levers, grid, self.name)
        self.single_observation_space, self.single_action_space = self.scale.box, self.actions.space
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.seed, self.episode = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.elapsed, self._done = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
        self._ending, self._nobody = False, np.zeros(n, dtype=bool)
        self._fresh, self._begun = np.zeros(n, dtype=bool), False
        self._asked = np.zeros((n, len(levers)))
        # rows of a step: the parts, then what `tally` adds to them
        self._many = parts = len(self.rewards) + len(self.costs)
        self._table, self._over = np.zeros((parts + 6, -(-n // LANES) * LANES)), np.zeros(n, dtype=np.int64)
        names = [f"reward/{k}" for k in self.rewards] + [f"cost/{k}" for k in self.costs]
        self._names = (*names, "reward/end", "cost/end", "cost")
        self._places = addresses([self.elapsed, self._over])
        table = addresses([self._table])[0]
        self._rows = (table, self._table.shape[1], n, len(self.rewards), len(self.costs), self._places[0])
        self._film = None if render_mode is None else Film(self)

    # what a subclass writes
    # ----------------------

    @abc.abstractmethod
    def _admit(self, lanes: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> None:
        """New patients in the lanes of a mask."""

    @abc.abstractmethod
    def _move(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One decision of everybody: parts (rewards + costs, n), ended (n,)."""

    @abc.abstractmethod
    def _features(self) -> np.ndarray:
        """What a bedside has now, (n, features), in units."""

    def _advance(self, asked: np.ndarray) -> None:
        """One decision of everybody, into the rows of the step."""
        n, parts = self.num_envs, self._many
        self._table[:parts, :n], self._table[parts + 4, :n] = self._move(asked)

    def _outlook(self, lanes: np.ndarray) -> np.ndarray:
        """(m,) what the end of the episode still costs in these lanes (indices), at most 0: nothing."""
        return np.zeros(len(lanes))

    def _notes(self) -> dict[str, np.ndarray]:
        """More of the last step for ``info``, new arrays (n, …)."""
        return {}

    def privileged(self) -> Mapping[str, np.ndarray]:
        """The truth by name, (n, …) each: for oracles and scores, never in an observation or an info.

        Raises:
            NotImplementedError: the environment tells none.
        """
        raise NotImplementedError(f"{self.name} tells nothing privileged")

    # Gymnasium
    # ---------

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | np.ndarray | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: s: lane k has seed s + k; a list: one for each lane, None for a lane that goes on to its next episode;
                None: all go on to their next episode (the first time: seeds are drawn from the system's entropy).
            options: ``{"reset_mask": (n,) booleans}`` begins these lanes only.

        Raises:
            DoseloopError: a seed or a mask that does not fit.
        """
        n, options = self.num_envs, options or {}
        mask = np.ones(n, dtype=bool)
        bad = [f"unknown option '{k}'; there is reset_mask" for k in options if k != "reset_mask"]
        if "reset_mask" in options:
            mask = options["reset_mask"]
            if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (n,) or not mask.any():
                bad.append(f"reset_mask is an array of ({n},) booleans, one of them True, not {mask!r}")
            elif not (self._begun or mask.all()):
                bad.append("the first reset begins every lane")
        seeds, fresh = self._seeds(seed, bad)
        if bad:
            raise DoseloopError([f"{self.name}: reset: {b}" for b in bad])
        renewed, further = mask & fresh, mask & ~fresh
        self.seed[renewed], self.episode[renewed] = seeds[renewed], 0
        self.episode[further] += 1
        self._begin(mask)
        self._begun = True
        if self._film is not None:
            self._film.begin(mask)
        return self._observe(), self._notes()

    def _seeds(self, seed: Any, bad: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(n,) seeds, and which lanes get one."""
        n = self.num_envs
        if seed is None or isinstance(seed, int | np.integer):
            each: list[Any] = [None] * n if seed is None else [int(seed) + k for k in range(n)]
        else:
            each = list(seed)
        if len(each) != n:
            bad.append(f"{len(each)} seeds for {n} lanes")
            return np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
        good = [s is None or (isinstance(s, int | np.integer) and 0 <= int(s) < 2**63) for s in each]
        if not all(good):
            bad.append(f"a seed is a whole number from 0 to 2^63 − 1, not {each[good.index(False)]!r}")
            return np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
        fresh = np.array([s is not None for s in each])
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
        if not self._begun and not fresh.all():
            drawn = self.np_random.integers(0, 2**62, n)
            each = [int(d) if s is None else s for s, d in zip(each, drawn)]
            fresh[:] = True
        return np.array([0 if s is None else int(s) for s in each], dtype=np.int64), fresh

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One decision of every lane; see `gymnasium.vector.VectorEnv`.

        Raises:
            DoseloopError: not reset yet, an action that is no number or of another shape (it says whose), or, without
                autoreset, a lane whose episode is over.
        """
        if not self._begun:
            raise DoseloopError(f"{self.name}: step: reset first")
        asked = self.actions.asked(actions, self.num_envs, self._asked)
        over, again = self._done, self._ending
        if again and self.autoreset is AutoresetMode.DISABLED:
            rows = np.flatnonzero(over)[:5].tolist()
            raise DoseloopError(f"{self.name}: step: the episodes of lanes {rows} are over; reset them first")
        if self.stack:
            self._past[:, 1:] = self._past[:, :-1].copy()
            self._past[:, 0] = self._now
        self._advance(asked)
        if again:
            self._over[:] = over
        found = tally(*self._rows, self._places[1] if again else 0, self.horizon, self.worst, self.worst_cost)
        if again:  # NEXT_STEP: this step only begins their next episode
            self.episode[over] += 1
            self._begin(over)
        parts = self._many
        if found & 2:
            lanes = np.flatnonzero(self._table[parts + 5, : self.num_envs])
            outlook = self._outlook(lanes)
            self._table[parts, lanes] += outlook
            self._table[parts + 3, lanes] += outlook
        table = self._table[: parts + 4, : self.num_envs].copy()
        info: dict[str, Any] = dict(zip(self._names, table))
        flags = self._table[parts + 4 :, : self.num_envs] > 0.0
        reward, terminated, truncated = table[parts + 3], flags[0], flags[1]
        info |= self._notes()
        if self._film is not None:
            self._film.take(reward, info["cost"])
            if again:
                self._film.begin(over)
        observations, done = self._observe(), terminated | truncated if found else self._nobody
        if self.autoreset is AutoresetMode.SAME_STEP and found:
            info = self._restart(done, observations, info)
            observations, done, found = self._observe(), self._nobody, 0
        self._done, self._ending = done, found > 0
        return observations, reward, terminated, truncated, info

    def _restart(self, done: np.ndarray, observations: np.ndarray, info: dict[str, Any]) -> dict[str, Any]:
        """SAME_STEP: the next episodes begin at once; the last observations and infos go into ``info``."""
        last = np.full(self.num_envs, None, dtype=object)
        for k in np.flatnonzero(done):  # Gymnasium wants an array of objects; only finished lanes cost a loop
            last[k] = observations[k].copy()
        final: dict[str, Any] = {}
        for key, value in info.items():
            final[key], final[f"_{key}"] = value.copy(), done.copy()
        self.episode[done] += 1
        self._begin(done)
        if self._film is not None:
            self._film.begin(done)
        return info | {"final_obs": last, "_final_obs": done.copy(), "final_info": final, "_final_info": done.copy()}

    def _begin(self, lanes: np.ndarray) -> None:
        self.elapsed[lanes] = 0
        self._done = self._done & ~lanes
        self._ending = bool(self._done.any())
        self._admit(lanes, self.seed, self.episode)
        self._fresh = self._fresh | lanes

    def _observe(self) -> np.ndarray:
        """The observations (n, …) of everybody as they stand."""
        values = self._features()
        if self.stack:
            self._now = values[:, self._stacked]
            self._past[self._fresh] = self._now[self._fresh, None]
            self._fresh[:] = False
            values = np.concatenate([values, self._past.reshape(self.num_envs, -1)], axis=1)
        return self.scale.observe(values)

    def render(self) -> tuple[Any, ...] | None:
        """Each lane's episode until now: pictures (height, width, 3), or texts; None without a render mode."""
        return None if self._film is None or self.render_mode is None else self._film.draw(self.render_mode)

    def close_extras(self, **kwargs: Any) -> None:
        """Nothing is open."""


def _past(features: Sequence[Feature], stack: int) -> list[Feature]:
    """The features of a history, newest first."""
    return [
        Feature(f"{f.name}, {k} before", f.unit, f.low, f.high, f.least, f.most, f.what)
        for k in range(1, stack + 1)
        for f in features
        if f.stacked
    ]
