"""The loop: what is seen, what is asked, what the guard allows, what the pump gives, again and again."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..pkpd.errors import DoseloopError
from ..virtual.anaesthesia_world import AnaesthesiaWorld
from ..virtual.people import People
from ..virtual.world import LoopWorld, Observation
from .policy import Policy

__all__ = ["Gatekeeper", "Run", "run"]


class Gatekeeper(Protocol):
    """What stands between a policy and the pump (`therapies.gate.Gate`)."""

    def reset(self, known: dict[str, np.ndarray], n: int) -> None:
        """Begin with n new patients."""

    def judge(self, seen: Observation, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Allowed actions (n, actions), and masks of the guard's reason codes (n, actions)."""


@dataclass(frozen=True, eq=False)
class Run:
    """A closed loop that was run. S decisions of n patients.

    Attributes:
        policy: its name.
        people: the patients.
        interval: min between decisions; ``tick`` min between values of ``truth``.
        times: (S,) min, of the decisions.
        reading, announced: (S, n) as seen at the decisions.
        asked, allowed: (S, n, actions); ``masks`` (S, n, actions) the guard's reasons as bits.
        delivered: (S, n, actions) what the pump confirmed over the interval after each decision.
        outcomes: (S, n) how each decision came about, or None.
        truth: (n, ticks) the scored output, unseen by the policy.
        endings: (n,) why a run ended early (`virtual.world.ENDINGS`), 0 where it did not.
        seconds: wall time; ``thinking`` of it in the policy, ``guarding`` in the guard.
        pressure: (S, n) mean arterial pressure as seen (NaN between samples), and ``true_pressure`` (n, ticks), mmHg;
            None where the model has none.
    """

    policy: str
    people: People
    interval: float
    tick: float
    times: np.ndarray
    reading: np.ndarray
    announced: np.ndarray
    asked: np.ndarray
    allowed: np.ndarray
    masks: np.ndarray
    delivered: np.ndarray
    outcomes: np.ndarray | None
    truth: np.ndarray
    endings: np.ndarray
    seconds: float
    thinking: float
    guarding: float
    pressure: np.ndarray | None = None
    true_pressure: np.ndarray | None = None

    def __len__(self) -> int:
        return self.truth.shape[0]


def run(
    world: LoopWorld,
    policy: Policy,
    gate: Gatekeeper | None,
    duration: float,
    *,
    seed: int = 0,
    place: np.ndarray | None = None,
    records: bool = True,
    progress: Callable[[int, int, Observation], None] | None = None,
) -> Run:
    """Run a policy in a world for ``duration`` minutes.

    Args:
        world: the patients and what surrounds them (made with ``keep=True``).
        policy: chooses the actions.
        gate: the guard; None leaves it out, for benchmarks of what it costs.
        duration: min.
        seed: of the world.
        place: (n,) whole numbers: as which patients of the seed they draw (default 0, 1, …).
        records: keep what was seen, asked, allowed and delivered; without, these have no rows (S = 0), and a patient
            takes the memory of his truth only.
        progress: called with decisions made, of how many, and what is seen.

    Raises:
        DoseloopError: the duration is not above 0, or the policy asks for another shape.
    """
    if not duration > 0:
        raise DoseloopError(f"a loop runs for more than 0 min, not {duration}")
    n, a = world.n, len(world.actions)
    steps = round(duration / world.interval)
    seen = world.reset(seed, place=place)
    known = {k: v[world.who] for k, v in world.people.known.items()}
    policy.reset(known, n)
    if gate is not None:
        gate.reset(known, n)
    rows = steps if records else 0
    reading, announced = np.full((rows, n), np.nan), np.zeros((rows, n))
    asked, allowed, delivered = (np.zeros((rows, n, a)) for _ in range(3))
    masks, outcomes = np.zeros((rows, n, a), dtype=np.int64), np.zeros((rows, n), dtype=np.int8)
    pressure, pressures = np.full((rows, n), np.nan), []
    start, thinking, guarding, tells = clock.perf_counter(), 0.0, 0.0, False
    for k in range(steps):
        before, t0 = seen, clock.perf_counter()
        wish = np.asarray(policy.act(seen), dtype=float)
        if wish.shape != (n, a):
            raise DoseloopError(f"policy '{policy.name}' asks for actions of shape {wish.shape}; ({n}, {a}) is meant")
        t1 = clock.perf_counter()
        granted, mask = (wish, 0) if gate is None else gate.judge(seen, wish)
        t2 = clock.perf_counter()
        thinking, guarding = thinking + t1 - t0, guarding + t2 - t1
        seen = world.step(granted)
        if records:
            reading[k], announced[k], pressure[k] = before.reading, before.announced, before.pressure
            asked[k], allowed[k], masks[k], delivered[k] = wish, granted, mask, seen.delivered
            if policy.outcomes is not None:
                outcomes[k], tells = policy.outcomes, True
        if isinstance(world, AnaesthesiaWorld):
            pressures.append(world.pressure)
        if progress is not None:
            progress(k + 1, steps, seen)
    true = np.concatenate(pressures, axis=1) if pressures else np.zeros((n, 0))
    return Run(
        policy.name,
        world.people[world.who],
        world.interval,
        world.tick,
        world.interval * np.arange(rows),
        reading,
        announced,
        asked,
        allowed,
        masks,
        delivered,
        outcomes if tells else None,
        world.trace,
        world.endings,
        clock.perf_counter() - start,
        thinking,
        guarding,
        *((pressure, true) if np.isfinite(true).all() and true.size else ()),
    )
