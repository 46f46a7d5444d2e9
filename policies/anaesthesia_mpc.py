"""Propofol by model-predictive control of BIS: an estimator follows the patient, a plan is made every few seconds.

What it knows: the population of its model, age, weight, height and sex, the monitor's readings and their quality, what
the pump confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..controller.plan import Plan
from ..controller.problem import Goal, Move, Problem
from ..controller.realtime import RealTime, SolverOptions
from ..controller.snapshot import Snapshot
from ..models import load
from ..pkpd.model import Model
from ..twin.belief import Belief
from ..twin.follow import Follow, Sensor, Wander
from ..twin.follower import Follower
from ..virtual.world import Observation
from .policy import Policy

__all__ = ["AnaesthesiaMPC", "Tuning", "follow_bis"]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be chosen; the defaults were tuned on the cohort's train split (docs/control.md).

    Args:
        target: BIS; ``low``, ``high`` the soft band.
        weight, low_weight, high_weight: per BIS².
        change_weight: of (change of rate / scale)², the scale being 0.1 mg/kg/min.
        stages: of the control interval in the horizon; ``blocks`` lengths of blocks of constant rate.
        draws: of the belief, over which the plan is made.
        rate: largest rate, mg/kg/min.
    """

    target: float = 50.0
    low: float = 42.0
    high: float = 58.0
    weight: float = 1 / 10**2
    low_weight: float = 10 / 10**2
    high_weight: float = 1 / 10**2
    change_weight: float = 1e-3
    stages: int = 60
    blocks: tuple[int, ...] = (1, 1, 2, 2, 4, 8, 12)
    draws: int = 8
    rate: float = 2.0


def follow_bis(model: Model, interval: float, *, offset: Wander = Wander(8.0, 4.0, start=1.0), noise: float = 2.0,
               coloured: Wander | None = Wander(3.0, 0.3), effects: tuple[str, ...] | None = None) -> Follow:  # fmt: skip
    """What is estimated under anaesthesia: concentrations, the patient's effects, the stimulation, the monitor's noise."""
    return Follow(
        model,
        interval,
        "bis",
        Sensor(additive=noise, coloured=coloured, delay="delay", quality=50.0),
        effects=effects,
        offset=offset,
        late=1.0,
        longest_delay=4.0,
    )


class AnaesthesiaMPC(Policy):
    """Model-predictive control of propofol for n patients at once.

    Args:
        model_id: the model it believes in.
        interval: min between decisions.
        tuning: see `Tuning`.
        follow: what is estimated; default `follow_bis`.
        threads: for the solves.
    """

    def __init__(
        self,
        model_id: str = "propofol_eleveld2018",
        interval: float = 1 / 12,
        tuning: Tuning | None = None,
        follow: Follow | None = None,
        threads: int = 1,
    ) -> None:
        self.name = "MPC"
        self.model, self.interval, self.tuning = load(model_id), interval, tuning or Tuning()
        self.follow = follow or follow_bis(self.model, interval)
        t = self.tuning
        blocks = [*t.blocks, t.stages - sum(t.blocks)]
        self.problem = Problem(
            self.model,
            interval,
            t.stages,
            moves=[Move("propofol", 0.0, 400.0, reference=7.0, weight=1e-5, change_weight=t.change_weight, scale=7.0)],
            goals=[Goal("bis", t.target, t.weight, t.low, t.low_weight, t.high, t.high_weight)],
            draws=t.draws,
            blocks=blocks,
        )
        self.solver = RealTime(self.problem, SolverOptions(iterations=30, tolerance=1e-6, threads=threads))

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        self.known, self.n = known, n
        cov = np.zeros((n, len(self.model.covariates)))
        for j, c in enumerate(self.model.covariates):
            cov[:, j] = known[c.name] if c.name in known else c.typical
        self.follower = Follower(self.follow, cov)
        self.weight = known["weight"]
        self.plan: Plan | None = None
        self.started = False
        self.last = np.zeros(n)

    def observe(self, seen: Observation) -> Belief:
        """Take in what is seen."""
        if not self.started:
            self.started = True
            return self.follower.observe(seen.reading, seen.reading_time, seen.quality)
        u = np.zeros((self.n, len(self.follow.signals)))
        self.last = seen.delivered[:, 0]
        u[:, self.follow.signals.index("propofol")] = self.last
        return self.follower.step(u, seen.reading, seen.reading_time, seen.quality)

    def act(self, seen: Observation) -> np.ndarray:
        t = self.tuning
        self.belief = b = self.observe(seen)
        if t.draws > 1:
            d = self.follower.draws(t.draws)
            states, parameters, offset = d.states, d.parameters, d.offset
        else:
            states, parameters = b.states[:, None], b.parameters[:, None]
            offset = b.mean[:, self.follow.names.index("offset")][:, None]
        snap = Snapshot(
            states=states,
            parameters=parameters,
            last=self.last[:, None],
            offset=offset[:, :, None],
            high=(t.rate * self.weight)[:, None],
            scale=(0.1 * self.weight)[:, None],
            reference=(0.1 * self.weight)[:, None],
        )
        self.plan = self.solver.solve(snap, self.plan)
        rate = np.where(self.plan.usable, self.plan.first[:, 0], 0.0)
        return rate[:, None]
