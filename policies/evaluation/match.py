"""A match: policies on the same held-out patients under the same noise, in blocks of lanes, each block a task.

Lane k of a match has one seed, whoever plays; it decides who the patient is, what happens to him, and what the sensor
adds. The seeds are chosen so that every lane holds another person of the test split: n episodes are n patients. Blocks
do not depend on one another or on their size, so they may be played anywhere, in any order (`policies.sweep`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import gymnasium
import numpy as np

from ...pkpd.errors import DoseloopError
from ..episodes import Episodes, play
from ..sweep import sweep
from .arms import arm
from .clinical import clinical_scores
from .contestants import contestants

__all__ = ["Result", "Task", "block", "match", "seeds_of"]

BLOCK = 128  # lanes of a task: an hour of work is then some hundred tasks, and a killed one costs a minute


@dataclass(frozen=True)
class Task:
    """One block: which environment, policy and arm, which seeds, out of how many persons. Can be sent anywhere."""

    env: str
    policy: str
    arm: str
    seeds: tuple[int, ...]
    persons: int
    overrides: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """What a policy did in an arm, n episodes.

    Attributes:
        env, policy, arm: names.
        seeds, who: (n,) the lanes' seeds, and which person of the test split each was.
        group: (n,) the patients' groups: strata.
        returns, cost: (n,) sums of rewards and costs over the whole horizon.
        ended: (n,) whether the run ended before its time.
        parts: sums by name of part. scores: clinical scores by name, (n,) each.
        decisions: made; ``seconds`` processor seconds of the policy for all of them.
        filter: of a guarded policy, (n,) each: ``changed`` decisions, ``asked`` of them in all, ``withheld`` of that
            (the actuators' amounts), ``failed`` decisions without a belief.
    """

    env: str
    policy: str
    arm: str
    seeds: np.ndarray
    who: np.ndarray
    group: np.ndarray
    returns: np.ndarray
    cost: np.ndarray
    ended: np.ndarray
    parts: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    decisions: int
    seconds: float
    filter: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def harm(self) -> np.ndarray:
        """(n,) the cost without what only counts doses that the environment's guard refused or lowered."""
        return np.asarray(self.cost - self.parts.get("cost/guard", 0.0))

    @classmethod
    def joined(cls, blocks: Sequence[Result]) -> Result:
        """Blocks of one policy and arm as one result."""
        first, rows = blocks[0], lambda of: np.concatenate([of(b) for b in blocks])
        fields: dict[str, Any] = {
            name: {k: rows(lambda b, n=name, k=k: getattr(b, n)[k]) for k in getattr(first, name)}
            for name in ("parts", "scores", "filter")
        }
        fields |= {k: rows(lambda b, k=k: getattr(b, k)) for k in ("seeds", "who", "group", "returns", "cost", "ended")}
        return cls(
            first.env, first.policy, first.arm, **fields,
            decisions=sum(b.decisions for b in blocks), seconds=sum(b.seconds for b in blocks),
        )  # fmt: skip


class _Timed:
    """A policy with a clock: processor time of this process."""

    def __init__(self, act: Callable[[Any, np.ndarray], np.ndarray]) -> None:
        self.act, self.seconds = act, 0.0

    def begin(self, env: Any) -> None:
        if begin := getattr(self.act, "begin", None):
            begin(env)

    def __call__(self, env: Any, observations: np.ndarray) -> np.ndarray:
        start = time.process_time()
        actions = self.act(env, observations)
        self.seconds += time.process_time() - start
        return actions


def environment(id: str, n: int, persons: int, **keywords: Any) -> Any:
    """An environment of n lanes over the first persons of the test split."""
    return gymnasium.make_vec(
        f"{__package__.split('.')[0]}.envs:{id}", num_envs=n, split="test", patients=persons, **keywords
    )


@lru_cache(maxsize=64)
def seeds_of(env: str, patients: int, seed: int, persons: int) -> tuple[int, ...]:
    """The first ``patients`` seeds from ``seed`` on whose lanes hold persons who have not been met yet.

    Raises:
        DoseloopError: there are fewer persons than patients are asked for.
    """
    if not 1 <= patients <= persons:
        raise DoseloopError(f"{patients} patients of {persons} persons: 1 or more, and no more than there are")
    found: list[int] = []
    met: set[int] = set()
    lanes, first = max(64, patients), seed
    probe = environment(env, lanes, persons)
    while len(found) < patients:
        probe.reset(seed=first)
        for k, who in enumerate(probe.unwrapped.world.who.tolist()):
            if who not in met and len(found) < patients:
                met.add(who)
                found.append(first + k)
        first += lanes
    return tuple(found)


def block(task: Task) -> Result:
    """Play one block.

    Raises:
        DoseloopError: a policy or an arm that there is not, or a network that does not fit the environment.
    """
    where, (who,) = arm(task.env, task.arm), contestants(task.env, [task.policy])
    keywords = {**who.keywords, **where.keywords, **dict(task.overrides)}
    env = environment(task.env, len(task.seeds), task.persons, **keywords)
    base = env.unwrapped
    shown = int(base.single_observation_space.shape[0])
    if who.reads not in (None, shown):
        raise DoseloopError(f"{task.policy}: it reads {who.reads} numbers; {task.env} shows {shown} with {keywords}")
    act = who.make(base, where)
    timed = _Timed(act)
    played: Episodes = play(env, timed, list(task.seeds))
    return Result(
        task.env,
        task.policy,
        task.arm,
        np.array(task.seeds),
        played.who.copy(),
        np.asarray(base.world.people.group)[played.who],
        played.reward,
        played.cost,
        played.ended,
        played.parts,
        clinical_scores(base, played),
        int(played.length.sum()),
        timed.seconds * float(played.length.sum()) / (len(task.seeds) * int(played.length.max())),
        act.told() if hasattr(act, "told") else {},
    )


def match(
    env: str,
    policies: Sequence[str],
    arms: Sequence[str],
    patients: int,
    seed: int = 0,
    *,
    size: int = BLOCK,
    backend: str = "serial",
    workers: int = 1,
    cluster: str | None = None,
    done: Mapping[tuple[str, str], Result] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Iterator[Result]:
    """Play every policy in every arm, row after row.

    Args:
        env: id of the environment.
        policies, arms: by name (`contestants`, `arms`).
        patients: how many, each another person.
        seed: of the first lane.
        size: lanes of a block.
        backend, workers, cluster: see `policies.sweep`.
        done: rows (policy, arm) that are known already and are handed back as they are.
        progress: called with episodes played, of how many, and what is being played.
        overrides: keywords of the environment that go before all others (shorter episodes, for tests).

    Yields:
        A result for each arm and policy, in that order, as soon as it is complete.

    Raises:
        DoseloopError: listing every policy and arm that there is not.
    """
    bad: list[str] = []
    for name in arms:
        try:
            arm(env, name)
        except DoseloopError as e:
            bad += e.problems  # type: ignore[arg-type]
    try:
        who = [c.name for c in contestants(env, policies)]
    except DoseloopError as e:
        bad += e.problems  # type: ignore[arg-type]
    if bad or not arms:
        raise DoseloopError(bad or ["no arm is named"])
    persons = 2 * patients
    seeds = seeds_of(env, patients, seed, persons)
    chunks = [seeds[k : k + size] for k in range(0, patients, size)]
    fixed = tuple(sorted((overrides or {}).items()))
    rows = [(p, a) for a in arms for p in who]
    tasks = [Task(env, p, a, c, persons, fixed) for p, a in rows if (p, a) not in (done or {}) for c in chunks]
    blocks = _counted(sweep(block, tasks, backend=backend, workers=workers, address=cluster), tasks, progress)
    for row in rows:
        known = (done or {}).get(row)
        yield known if known is not None else Result.joined([next(blocks) for _ in chunks])


def _counted(
    results: Iterable[Result], tasks: Sequence[Task], progress: Callable[[int, int, str], None] | None
) -> Iterator[Result]:
    total, played = sum(len(t.seeds) for t in tasks), 0
    for task, result in zip(tasks, results):
        played += len(result)
        if progress is not None:
            progress(played, total, f"{task.policy}, {task.arm}")
        yield result
