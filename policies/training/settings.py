"""What is trained and how: one YAML file a task in ``policies/hyperparameters``, in the manner of rl-zoo.

::

    env: doseloop/Glucose-v0
    kwargs: {meals: counted}       # of the environment, when training and when judged
    prior: [-0.5, 0.0]             # what an untrained network asks for: a dose near the usual one
    round: 288                     # decisions of each lane between two checkpoints: whole episodes
    lessons: [5, 32]               # of the imitation: rounds, operations or days in each; a third: passes over all said
    ppo:                           # one section an algorithm
      steps: 3000000               # decisions of all lanes together
      lanes: 256
      decay: true                  # whether the learning rate falls to 0 along a line
      reward_scale: 1.0            # what the algorithm sees: scale × max(reward, reward_floor)
      reward_floor: -20.0
      noise: [-1.5, -3.0]          # log of the SD of exploration, from the first round to the last (PPO and its kin)
      policy: {net_arch: [64, 64], activation: tanh}
      n_steps: 288                 # all others: keywords of Stable-Baselines3's class
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...pkpd.errors import DoseloopError

__all__ = ["ALGORITHMS", "Settings", "settings", "tasks"]

ALGORITHMS = ("ppo", "sac", "tqc", "recurrent_ppo")
FOLDER = Path(__file__).parents[1] / "hyperparameters"
OURS = {"steps", "lanes", "decay", "reward_scale", "reward_floor", "noise", "policy"}
HEAD = {"env", "kwargs", "prior", "round", "lessons"}


@dataclass(frozen=True)
class Settings:
    """How one network is trained.

    Attributes:
        task, algorithm: which. env, kwargs: the environment's id and keywords.
        prior: action of the untrained network. round: decisions of each lane between checkpoints.
        steps: of all lanes together. lanes: side by side. decay, reward_scale, reward_floor, noise: see the
            module.
        policy: net_arch, activation, and more of SB3's ``policy_kwargs``. sb3: keywords of the algorithm's class.
        limit: of the mean cost of an episode (the Lagrangian variant); None leaves the cost alone.
        imitate: whether it begins as a pupil of the MPC. lessons: then, rounds of lessons, lanes in each, and, where
            they are told, passes over all that was said.
    """

    task: str
    algorithm: str
    env: str
    kwargs: Mapping[str, Any]
    prior: tuple[float, ...]
    round: int
    steps: int
    lanes: int
    decay: bool = True
    reward_scale: float = 1.0
    reward_floor: float = -1e9
    noise: Sequence[float] | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    sb3: Mapping[str, Any] = field(default_factory=dict)
    limit: float | None = None
    imitate: bool = False
    lessons: tuple[int, ...] = (4, 32)

    @property
    def rounds(self) -> int:
        """How many make up the steps: none where there are none, else at least one."""
        return -(-self.steps // (self.round * self.lanes))


def tasks() -> list[str]:
    """What can be trained: an environment, or a variant of one."""
    return sorted(p.stem for p in FOLDER.glob("*.yml"))


def settings(task: str, algorithm: str, steps: int | None = None, **changes: Any) -> Settings:
    """The settings of a task's file.

    Args:
        task, algorithm: see `tasks`, `ALGORITHMS`.
        steps: in place of the file's.
        **changes: of fields of `Settings`.

    Raises:
        DoseloopError: an unknown task or algorithm, a file that does not say what it must, fewer than 0 steps.
    """
    bad = [] if task in tasks() else [f"task '{task}': there are {', '.join(tasks())}"]
    bad += [] if algorithm in ALGORITHMS else [f"algorithm '{algorithm}': there are {', '.join(ALGORITHMS)}"]
    bad += [] if steps is None or steps >= 0 else [f"steps {steps}: 0 or more"]
    limit = changes.get("limit")
    bad += [] if limit is None or limit > 0 else [f"limit {limit}: a mean cost of an episode above 0"]
    if bad:
        raise DoseloopError(bad)
    told = parse((FOLDER / f"{task}.yml").read_text(encoding="utf-8"), f"{task}.yml")
    if algorithm not in told:
        known = ", ".join(a for a in ALGORITHMS if a in told)
        raise DoseloopError(
            f"{task}: no hyperparameters of '{algorithm}' (there are {known}): add a section to its file"
        )
    own = dict(told[algorithm])
    return Settings(
        task=task,
        algorithm=algorithm,
        env=told["env"],
        kwargs=told["kwargs"],
        prior=tuple(map(float, told["prior"])),
        round=told["round"],
        lessons=tuple(told["lessons"]),
        steps=own.pop("steps") if steps is None else (own.pop("steps"), steps)[1],
        **{k: own.pop(k) for k in OURS - {"steps"} if k in own},
        sb3=own,
        **changes,
    )


def parse(text: str, name: str) -> dict[str, Any]:
    """A task's file, checked.

    Raises:
        DoseloopError: everything that is wrong with it.
    """
    try:
        import yaml
    except ModuleNotFoundError as e:
        raise DoseloopError('training needs PyYAML and more: pip install "doseloop[rl]"') from e
    try:
        told = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise DoseloopError(f"{name}: no YAML: {e}") from None
    if not isinstance(told, dict):
        raise DoseloopError(f"{name}: a table is meant, with {', '.join(sorted(HEAD))} and a section an algorithm")
    bad = [f"'{k}' is missing" for k in sorted(HEAD - set(told))]
    bad += [f"unknown section '{k}'" for k in told if k not in HEAD | set(ALGORITHMS)]
    lessons = told.get("lessons", [1, 1])
    if not (isinstance(lessons, list) and len(lessons) in (2, 3) and all(type(k) is int and k > 0 for k in lessons)):
        bad.append(f"lessons {lessons}: [rounds, lanes] are meant, or [rounds, lanes, passes]")
    for key in [a for a in ALGORITHMS if a in told]:
        section = told[key]
        if not isinstance(section, dict) or not {"steps", "lanes"} <= set(section):
            bad.append(f"{key}: a table with at least 'steps' and 'lanes' is meant")
        elif "n_steps" in section and told.get("round", 0) % section["n_steps"]:
            bad.append(f"{key}: round {told['round']} is no multiple of n_steps {section['n_steps']}")
    if bad:
        raise DoseloopError([f"{name}: {b}" for b in bad])
    return told
