"""Data sets for offline learning: vector rollouts cut into episodes and written by Minari, on this machine only.

::

    create_dataset(
        "doseloop/glucose/usual-v0", "doseloop/Glucose-v0",
        lambda env, observations: usual_actions, expert=expert_actions, episodes=1000, folder="datasets",
        author="me", author_email="me@there", description="a day each under the usual protocol",
    )

Minari comes with ``pip install "doseloop[rl]"``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from ..pkpd.errors import DoseloopError

__all__ = ["Act", "create_dataset", "datasets_in", "record"]

Act = Callable[[Any, np.ndarray], np.ndarray]
"""``act(env, observations) -> actions``; one that remembers has a method ``begin(env)``, called after a reset."""


def record(
    env: VectorEnv, act: Act, episodes: int, seed: int = 0, notes: Sequence[str] = ("cost",)
) -> list[dict[str, Any]]:
    """Play, and cut what was played into episodes.

    Every lane gives the same number of episodes, give or take one: taking those that end first would prefer patients
    who die early.

    Args:
        env: with NextStep autoreset; lane k has seed + k.
        act: chooses the actions.
        episodes: how many.
        seed: of the first lane.
        notes: infos that are kept, (n,) each; a number a step, and 0 at an episode's beginning.

    Returns:
        Fields of `minari.data_collector.EpisodeBuffer`, in the order of rounds and lanes: observations (T + 1, …),
        actions (T, …), rewards, terminations, truncations (T), infos (T + 1); ``seed`` for a lane's first episode,
        which a single environment repeats.

    Raises:
        DoseloopError: another mode of autoreset, no episode asked for, or an ``act`` that remembers and would have to
            begin anew in one lane.
    """
    n, base = env.num_envs, env.unwrapped
    begin, rounds = getattr(act, "begin", None), -(-episodes // n)
    bad = [] if episodes >= 1 else [f"{episodes} episodes are asked for"]
    if env.metadata.get("autoreset_mode") is not AutoresetMode.NEXT_STEP:
        bad.append("autoreset_mode 'NextStep' is needed, where an episode's last observation is there")
    if begin is not None and rounds > 1:
        bad.append(f"a policy that remembers plays one episode a lane: num_envs at least {episodes}, not {n}")
    if bad:
        raise DoseloopError([f"record: {b}" for b in bad])
    quota = np.full(n, rounds) - (np.arange(n) >= episodes - (rounds - 1) * n)
    observations, _ = env.reset(seed=seed)
    if begin is not None:
        begin(base)
    lanes, at, over = np.arange(n), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    seen, chosen = _room(observations, 64), None
    rows = {k: np.zeros((64, n)) for k in ("reward", *notes)}
    seen[0] = observations
    found: list[list[dict[str, Any]]] = [[] for _ in lanes]
    while (quota > 0).any():
        actions = np.asarray(act(base, observations))
        chosen = _room(actions, len(seen)) if chosen is None else chosen
        chosen[at, lanes] = actions
        observations, rewards, terminated, truncated, info = env.step(actions)
        at = np.where(over, 0, at + 1)
        if at.max() >= len(seen):
            seen, chosen = (np.concatenate([a, np.zeros_like(a)]) for a in (seen, chosen))
            rows = {k: np.concatenate([a, np.zeros_like(a)]) for k, a in rows.items()}
        seen[at, lanes] = observations
        for key, row in (("reward", rewards), *((k, info[k]) for k in notes)):
            rows[key][at, lanes] = row * (at > 0)
        over = terminated | truncated
        for k in np.flatnonzero(over & (quota > 0)).tolist():
            found[k].append(_cut(k, int(at[k]), seen, chosen, rows, bool(terminated[k]), notes))
            found[k][-1]["seed"] = seed + k if len(found[k]) == 1 else None
        quota -= over
    return [found[k][r] for r in range(rounds) for k in range(n) if r < len(found[k])][:episodes]


def _room(values: np.ndarray, steps: int) -> np.ndarray:
    return np.zeros((steps, *values.shape), dtype=values.dtype)


def _cut(
    k: int,
    length: int,
    seen: np.ndarray,
    chosen: np.ndarray,
    rows: Mapping[str, np.ndarray],
    terminated: bool,
    notes: Sequence[str],
) -> dict[str, Any]:
    ends = np.zeros(length, dtype=bool)
    ends[-1] = True
    none = np.zeros(length, dtype=bool)
    return {
        "observations": seen[: length + 1, k].copy(),
        "actions": chosen[:length, k].copy(),
        "rewards": rows["reward"][1 : length + 1, k].copy(),
        "terminations": ends if terminated else none,
        "truncations": none if terminated else ends,
        "infos": {name: rows[name][: length + 1, k].copy() for name in notes},
    }


@contextmanager
def datasets_in(folder: str | Path | None) -> Iterator[None]:
    """Minari's data sets are read from and written to this folder; None: where Minari keeps them."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    if folder is not None:
        os.environ["MINARI_DATASETS_PATH"] = str(Path(folder).absolute())
    try:
        yield
    finally:
        if folder is not None:
            os.environ.pop("MINARI_DATASETS_PATH")
            os.environ.update({} if before is None else {"MINARI_DATASETS_PATH": before})


def create_dataset(
    dataset_id: str,
    env_id: str,
    act: Act,
    *,
    expert: Act,
    episodes: int,
    author: str,
    author_email: str,
    description: str,
    algorithm: str = "",
    how: Mapping[str, Any] | None = None,
    num_envs: int | None = None,
    seed: int = 0,
    references: int = 200,
    folder: str | Path | None = None,
    **record_how: Any,
) -> Any:
    """Record episodes and write them as a Minari data set. Nothing is fetched or sent.

    The reference scores in its metadata are mean returns over ``references`` episodes of other seeds: of random actions
    (``ref_min_score``) and of ``expert`` (``ref_max_score``).

    Args:
        dataset_id, env_id: names; ``how`` keywords of the environment, such as JSON can hold.
        act, expert: who acts in the data, and who sets the reference.
        episodes, num_envs, seed: see `record`; default one lane an episode.
        author, author_email, description, algorithm: see Minari.
        references: episodes for each reference score.
        folder: where data sets are kept; default Minari's own place.
        **record_how: see `record`.

    Returns:
        The `minari.MinariDataset`.

    Raises:
        ModuleNotFoundError: Minari is not installed.
        DoseloopError: see `record`.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError('data sets need minari: pip install "doseloop[rl]"', name=e.name) from None
    from .. import __version__

    kept, how = episodes if num_envs is None else num_envs, dict(how or {})
    played = record(gymnasium.make_vec(env_id, num_envs=kept, **how), act, episodes, seed, **record_how)
    scores = {}
    for name, who in (("ref_min_score", _random), ("ref_max_score", expert)):
        env = gymnasium.make_vec(env_id, num_envs=references, **how)
        env.action_space.seed(seed)
        scored = record(env, who, references, seed + 10**6, notes=())
        scores[name] = float(np.mean([e["rewards"].sum() for e in scored]))
    spec = copy.deepcopy(gymnasium.spec(env_id.split(":")[-1]))
    spec.kwargs.update(how)
    with datasets_in(folder):
        return minari.create_dataset_from_buffers(
            dataset_id,
            [EpisodeBuffer(id=i, **e) for i, e in enumerate(played)],
            env=spec,
            eval_env=spec,
            algorithm_name=algorithm or getattr(act, "__name__", type(act).__name__),
            author=author,
            author_email=author_email,
            code_permalink=f"doseloop {__version__}",
            description=description,
            num_episodes_average_score=references,
            requirements=[f"doseloop=={__version__}"],
            **scores,
        )


def _random(env: Any, observations: np.ndarray) -> np.ndarray:
    return np.asarray(env.action_space.sample())
