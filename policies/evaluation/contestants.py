"""Who plays: policies by name, made for an environment as it stands.

| name | what |
|---|---|
| random, zero | any action; nothing |
| usual | the therapy's usual protocol: basal-bolus, target-controlled infusion, the label's regimen |
| nomogram, pid | vancomycin by weight and creatinine; propofol by a tuned PID |
| mpc | model-predictive control with its estimator |
| oracle | the same, told the true patient (not the future): a yardstick, never advice |
| ppo, sac, … | a shipped network of that algorithm: of its seeds the best on the validation split |
| ppo-3, ppo-* | that seed; every seed |
| runs/x.npz | a network's file |
| …+guard | any of them behind the predictive safety filter (`policies.shield`) |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...pkpd.errors import DoseloopError
from .. import network
from ..anaesthesia_mpc import AnaesthesiaMPC
from ..basal_bolus import BasalBolus
from ..episodes import with_doses
from ..glucose_mpc import GlucoseMPC
from ..oracle import AnaesthesiaOracle, GlucoseOracle
from ..pid import PID
from ..policy import Policy
from ..shield import GUARD, Shield
from ..target_controlled import TargetControlled, Titration
from ..ward import Nomogram, UsualProtocol
from ..ward_mpc import WardMPC
from .arms import Arm

__all__ = ["LABELS", "Contestant", "Random", "Zero", "contestants", "names"]

LABELS = {
    "random": "random actions",
    "zero": "nothing given",
    "usual": "usual protocol",
    "nomogram": "nomogram by weight and creatinine",
    "pid": "PID",
    "mpc": "MPC with estimator",
    "oracle": "oracle: MPC told the true patient",
}

# Of the keywords a network was trained with, those that say what it reads and gives. What its patients and their world
# were stays behind: an evaluation brings its own.
# A belief is part of what it reads: its twin stays the model it was trained with, whatever the patient is.
INTERFACE = ("action", "grid", "stack", "observation", "twin", "belief", "history")

Make = Callable[[Any, Arm], Policy]  # from the unwrapped environment, and how it was made


_POLICIES: Mapping[str, Mapping[str, Make]] = {
    "doseloop/Glucose-v0": {
        "usual": lambda env, arm: BasalBolus(),
        "mpc": lambda env, arm: GlucoseMPC(interval=env.world.interval, announced=arm.announced),
        "oracle": lambda env, arm: GlucoseOracle(
            env.privileged,
            model_id=env.world.people.model.id,
            interval=env.world.interval,
            announced=arm.announced,
        ),
    },
    "doseloop/Propofol-v0": {
        "usual": lambda env, arm: TargetControlled(interval=env.world.interval, titration=Titration()),
        "pid": lambda env, arm: PID(env.world.interval),
        "mpc": lambda env, arm: AnaesthesiaMPC(interval=env.world.interval),
        "oracle": lambda env, arm: AnaesthesiaOracle(
            env.privileged, model_id=env.world.people.model.id, interval=env.world.interval
        ),
    },
    "doseloop/Phenobarbital-v0": {
        "usual": lambda env, arm: UsualProtocol(env.therapy),
        "mpc": lambda env, arm: WardMPC(env.therapy, interval=env.world.interval),
        "oracle": lambda env, arm: WardMPC(
            env.therapy, env.world.people.model, interval=env.world.interval, truth=env.privileged
        ),
    },
    "doseloop/Vancomycin-v0": {
        "usual": lambda env, arm: UsualProtocol(env.therapy),
        "nomogram": lambda env, arm: Nomogram(),
        "mpc": lambda env, arm: WardMPC(env.therapy, interval=env.world.interval),
        "oracle": lambda env, arm: WardMPC(
            env.therapy, env.world.people.model, interval=env.world.interval, truth=env.privileged
        ),
    },
}
_DOSES = {
    "doseloop/Glucose-v0": {"action": "dose"},
    "doseloop/Propofol-v0": {"action": "rate"},
    "doseloop/Phenobarbital-v0": {"action": "dose"},
    "doseloop/Vancomycin-v0": {"action": "dose"},
}


class Zero:
    """Gives nothing."""

    def __call__(self, env: Any, observations: np.ndarray) -> np.ndarray:
        """(n, levers): the low end of each, which is 0."""
        return np.full(env.action_space.shape, -1.0)


class Random:
    """Any action; those of a lane depend on its seed alone."""

    def begin(self, env: Any) -> None:
        """Draw every action of the episode."""
        shape = (env.horizon, len(env.actions.levers))
        draws = [np.random.Generator(np.random.Philox(key=int(s))).uniform(-1.0, 1.0, shape) for s in env.seed]
        self._actions, self._step = np.stack(draws, axis=1), 0

    def __call__(self, env: Any, observations: np.ndarray) -> np.ndarray:
        """(n, levers)."""
        self._step += 1
        return np.asarray(self._actions[self._step - 1])


@dataclass(frozen=True)
class Contestant:
    """One policy for one environment.

    Attributes:
        name: what was asked for, resolved ("ppo-3+guard").
        label: what tables call it.
        keywords: of the environment: what it observes, and what its actions mean.
        make: from the unwrapped environment and its arm to what `episodes.play` takes.
        meta: a network's, else empty; ``reads`` how many numbers it reads.
    """

    name: str
    label: str
    keywords: Mapping[str, Any]
    make: Callable[[Any, Arm], Any]
    meta: Mapping[str, Any] = field(default_factory=dict)
    reads: int | None = None


def names(env: str) -> list[str]:
    """What may be asked for by name, networks aside."""
    return ["random", "zero", *_POLICIES[env]]


def contestants(env: str, asked: Sequence[str]) -> list[Contestant]:
    """Policies by name, in the order asked; each once.

    Raises:
        DoseloopError: listing every name that is none, with what there is.
    """
    found: dict[str, Contestant] = {}
    bad: list[str] = []
    for name in asked:
        try:
            some = _of(env, name.removesuffix(GUARD))
        except DoseloopError as e:
            bad += map(str, e.problems)
            continue
        found |= {c.name: c for c in (map(_guarded, some) if name.endswith(GUARD) else some)}
    if not asked:
        bad.append("no policy is named")
    if bad:
        raise DoseloopError(bad)
    return list(found.values())


def _guarded(c: Contestant) -> Contestant:
    return Contestant(
        c.name + GUARD,
        f"{c.label}, guarded",
        c.keywords,
        lambda env, arm: Shield.of(env, c.make(env, arm), announced=arm.announced),
        c.meta,
        c.reads,
    )


def _of(env: str, name: str) -> list[Contestant]:
    if name in ("random", "zero"):
        return [Contestant(name, LABELS[name], {}, lambda *_: Random() if name == "random" else Zero())]
    if name in _POLICIES[env]:
        make = _POLICIES[env][name]
        return [Contestant(name, LABELS[name], _DOSES[env], lambda e, arm: with_doses(make(e, arm)))]
    if name.endswith(".npz"):
        return [_network(env, name, network.load(name))]
    short = env.split("/")[-1].split("-")[0].lower()
    shipped = {n.removeprefix(short + "-"): n for n in network.shipped() if n.startswith(short + "-")}
    if name in shipped:
        return [_network(env, name, network.load(shipped[name]))]
    every = name.endswith("-*")
    seeds = [k for k in shipped if k.rpartition("-")[0] == name.removesuffix("-*")]
    if not seeds:
        there = ", ".join([*names(env), *shipped])
        raise DoseloopError(f"policy '{name}': there are {there}, a network's file (.npz), and each with {GUARD}")
    made = [_network(env, k, network.load(shipped[k])) for k in sorted(seeds, key=lambda k: (len(k), k))]
    return made if every else [max(made, key=_score)]


def _network(env: str, name: str, net: network.Network) -> Contestant:
    told = net.meta["env"]
    if told["id"] != env:
        raise DoseloopError(f"policy '{name}' is a network for {told['id']}, not for {env}")
    keywords = {k: v for k, v in told["kwargs"].items() if k in INTERFACE}
    return Contestant(name, f"network {net.name}", keywords, lambda *_: net, net.meta, net.inputs)


def _score(c: Contestant) -> float:
    """A network's score on the validation split, as its file says."""
    told = c.meta.get("score", {})
    return float(told.get("score", -np.inf))
