"""A checker for vector environments, as Gymnasium has one for single environments only.

::

    check_vector_env(
        lambda **how: gymnasium.make_vec("doseloop/Glucose-v0", hours=0.5, **how),
        single=lambda: gymnasium.make("doseloop/Glucose-v0", hours=0.5).unwrapped,
    )

It knows Gymnasium's interface and nothing of ours: any `gymnasium.vector.VectorEnv` can be checked. Each rule of
`envs.checks` runs on environments of its own, so that one broken rule hides no other, and every fault is reported at
once, in words.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from ..pkpd.errors import DoseloopError

__all__ = ["Case", "Event", "check_vector_env", "corner", "lane_of", "leaves", "same", "vector_env_faults"]


def check_vector_env(make: Callable[..., VectorEnv], **how: Any) -> None:
    """Raise if a vector environment breaks a rule.

    Args:
        make, **how: see `vector_env_faults`.

    Raises:
        DoseloopError: listing every fault.
    """
    if faults := vector_env_faults(make, **how):
        raise DoseloopError(faults)


def vector_env_faults(
    make: Callable[..., VectorEnv],
    *,
    single: Callable[[], gymnasium.Env] | None = None,
    num_envs: int = 5,
    steps: int = 24,
    seed: int = 11,
) -> list[str]:
    """Every rule that a vector environment breaks, one sentence each.

    Args:
        make: ``make(num_envs=…, autoreset_mode=…)``, a new environment each time. Its episodes should end within some
            steps, or the rules of autoreset cannot be looked at (which is a fault, too).
        single: makes the single environment that a lane should equal, where there is one. Unwrapped: wrappers of
            `gymnasium.make` add to its infos.
        num_envs, steps: of each run.
        seed: of the first lane.
    """
    from .checks import RULES  # which reads this module

    found: list[str] = []
    for name, rule in RULES.items():
        case = Case(make, single, num_envs, steps, seed)
        try:
            found += [f"{name}: {fault}" for fault in rule(case)]
        except Exception as e:  # whatever an environment raises is a fault of it, and is told
            found.append(f"{name}: raised {type(e).__name__}: {e}")
        finally:
            found += case.close()
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a lane lives through: its episode begins, or a decision has passed.

    Attributes:
        kind: "begin" or "move".
        result: observation; of a move also reward, terminated, truncated, info.
    """

    kind: str
    result: tuple[Any, ...]


class Case:
    """What the rules are run on: environments made on demand, and one script of actions for each lane."""

    def __init__(
        self,
        make: Callable[..., VectorEnv],
        single: Callable[[], gymnasium.Env] | None,
        num_envs: int,
        steps: int,
        seed: int,
    ) -> None:
        self.make, self.single, self.n, self.steps, self.seed = make, single, num_envs, steps, seed
        self._open: list[Any] = []
        self._scripts: dict[int, list[Any]] = {}

    def env(self, mode: AutoresetMode = AutoresetMode.NEXT_STEP, n: int | None = None) -> VectorEnv:
        """A new environment, which is closed at the end."""
        env = self.make(num_envs=self.n if n is None else n, autoreset_mode=mode)
        self._open.append(env)
        return env

    def close(self) -> list[str]:
        """Close all that were made; what went wrong."""
        found = []
        for env in self._open:
            try:
                env.close()
            except Exception as e:  # told, like all others
                found.append(f"closing: raised {type(e).__name__}: {e}")
        return found

    def script(self, env: Any, lane: int) -> list[Any]:
        """The actions of a lane, by number of decision: corners first, then random ones."""
        if lane not in self._scripts:
            space = copy.deepcopy(getattr(env, "single_action_space", env.action_space))
            space.seed(1000 + lane)
            sampled = [space.sample() for _ in range(self.steps)]
            self._scripts[lane] = [corner(space, True), corner(space, False), *sampled]
        return self._scripts[lane]

    def lives(self, mode: AutoresetMode, n: int | None = None, first: int = 0) -> list[list[Event]]:
        """What each lane of a batch lives through, empty steps left out: the same in every autoreset mode.

        Args:
            mode: the autoreset mode.
            n: lanes (default: all).
            first: number of the first lane, whose seed and script are used.
        """
        env, n = self.env(mode, n), self.n if n is None else n
        scripts = [self.script(env, first + k) for k in range(n)]
        seeds: Any = [self.seed + first + k for k in range(n)]  # Gymnasium's annotation has forgotten the list
        observations, _ = env.reset(seed=seeds)
        lives = [[Event("begin", (o,))] for o in _rows(env, observations)]
        over, moves = np.zeros(n, dtype=bool), [0] * n
        for step in range(self.steps):
            if mode is AutoresetMode.DISABLED and over.any():
                observations, _ = env.reset(options={"reset_mask": over.copy()})
                rows = _rows(env, observations)
                for k in np.flatnonzero(over).tolist():
                    lives[k].append(Event("begin", (rows[k],)))
                over[:] = False
            # on a step that only begins an episode the action must not matter: it is another in each mode
            idle = corner(env.single_action_space, step % 2 == 0)
            chosen = [idle if over[k] else scripts[k][moves[k]] for k in range(n)]
            observations, rewards, terminated, truncated, info = env.step(batch(env, chosen))
            rows, done = _rows(env, observations), np.asarray(terminated) | np.asarray(truncated)
            for k in range(n):
                if over[k]:
                    lives[k].append(Event("begin", (rows[k],)))
                    continue
                moves[k] += 1
                last = mode is AutoresetMode.SAME_STEP and bool(done[k])
                seen, told = (info["final_obs"][k], info["final_info"]) if last else (rows[k], info)
                ends = (bool(terminated[k]), bool(truncated[k]))
                lives[k].append(Event("move", (seen, float(rewards[k]), *ends, lane_of(told, k))))
                if last:
                    lives[k].append(Event("begin", (rows[k],)))
            over = done.copy() if mode is not AutoresetMode.SAME_STEP else over
        return lives

    def life_alone(self, lane: int) -> list[Event]:
        """What the single environment lives through with this lane's seed and script."""
        assert self.single is not None
        env = self.single()
        self._open.append(env)
        script = self.script(env, lane)
        seen, _ = env.reset(seed=self.seed + lane)
        life = [Event("begin", (seen,))]
        for action in script[: self.steps]:
            seen, reward, terminated, truncated, info = env.step(action)
            life.append(Event("move", (seen, float(reward), bool(terminated), bool(truncated), dict(info))))
            if terminated or truncated:
                seen, _ = env.reset()
                life.append(Event("begin", (seen,)))
        return life


# the words in which the rules are written
# ----------------------------------------


def batch(env: VectorEnv, actions: Sequence[Any]) -> Any:
    """Actions of the lanes as one of the batch."""
    space = env.single_action_space
    empty: Any = create_empty_array(space, n=len(actions), fn=np.zeros)
    return concatenate(space, actions, empty)


def _rows(env: VectorEnv, observations: Any) -> list[Any]:
    """Observations of the lanes, copied."""
    return [copy.deepcopy(o) for o in iterate(env.observation_space, observations)]


def corner(space: spaces.Space, high: bool) -> Any:
    """The highest or lowest action of a space (a sample, where there is no such thing)."""
    if isinstance(space, spaces.Box):
        edge = space.high if high else space.low
        return np.clip(edge, -1e3, 1e3).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        return space.start + (space.n - 1 if high else 0)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start + (space.nvec - 1 if high else 0)
    if isinstance(space, spaces.Tuple):
        return tuple(corner(s, high) for s in space.spaces)
    if isinstance(space, spaces.Dict):
        return {k: corner(s, high) for k, s in space.spaces.items()}
    return space.sample()


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """The arrays in what an environment returns, with where they stand."""
    if isinstance(value, dict):
        for k, v in value.items():
            yield from leaves(v, f"{path}[{k!r}]")
    elif isinstance(value, tuple | list):
        for i, v in enumerate(value):
            yield from leaves(v, f"{path}[{i}]")
    elif isinstance(value, np.ndarray):
        yield path, value
        if value.dtype == object:
            for i, v in enumerate(value):
                yield from leaves(v, f"{path}[{i}]")


def lane_of(info: dict[str, Any], k: int) -> dict[str, Any]:
    """A lane's own infos out of those of a batch (``_key`` is the mask of who has ``key``)."""
    out = {}
    for key, value in info.items():
        if key.startswith("_") or key in ("final_obs", "final_info"):
            continue
        if f"_{key}" in info and not info[f"_{key}"][k]:
            continue
        out[key] = lane_of(value, k) if isinstance(value, dict) else copy.copy(value[k])
    return out


def same(a: Any, b: Any) -> bool:
    """Equal bit for bit, through dicts, tuples and arrays; NaN equals NaN, a NumPy scalar its array of no dimension."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    x, y = np.asarray(a), np.asarray(b)
    if x.dtype == object or y.dtype == object:
        return x.shape == y.shape and all(p is q or same(p, q) for p, q in zip(x.flat, y.flat))
    return bool(np.array_equal(x, y, equal_nan=x.dtype.kind in "fc" and y.dtype.kind in "fc"))
