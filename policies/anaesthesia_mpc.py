"""Propofol by model-predictive control of BIS: an estimator follows the patient, a plan is made every few seconds.

What it knows: the population of its model, age, weight, height and sex, the monitor's readings and their quality, what
the pump confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..controller.ladder import Trust
from ..controller.problem import Goal, Move, Problem
from ..controller.snapshot import Snapshot
from ..models import load
from ..twin.follow import Follow
from ..twin.statements import follow_propofol
from ..virtual.world import Observation
from .following import FollowingPolicy
from .target_controlled import TargetControlled

__all__ = ["AnaesthesiaMPC", "AnaesthesiaTuning"]

TRUST = Trust(oldest=0.5, discrepancy=(2.0,))  # min; BIS
PATIENCE = 2.0  # min without a signal, then target-controlled infusion; our own choice
USUAL = 0.1  # mg/kg/min: a maintenance rate


@dataclass(frozen=True, slots=True)
class AnaesthesiaTuning:
    """What may be chosen; the defaults were tuned on the cohort's train split (docs/control.md).

    Args:
        target: BIS; ``low``, ``high`` the soft band.
        weight, low_weight, high_weight: per BIS².
        change_weight: of (change of rate / 0.1 mg/kg/min)².
        stages: of the control interval in the horizon; ``blocks`` lengths of blocks of constant rate, the rest is one.
        draws: of the belief, over which the plan is made.
        rate: largest rate, mg/kg/min.
        passing: min with which stimulation is expected to pass.
        margin: BIS by which the soft band stands higher at first, while the patient is unknown; it falls by a line
            to 0 at ``arrival`` min. How sensitive he is shows only after the reading's delay, and what was given by
            then cannot be taken back.
    """

    target: float = 50.0
    low: float = 43.0
    high: float = 60.0
    weight: float = 1 / 10**2
    low_weight: float = 10.0
    high_weight: float = 0.01
    change_weight: float = 0.03
    stages: int = 60
    blocks: tuple[int, ...] = (1, 1, 2, 2, 4, 8, 12)
    draws: int = 8
    rate: float = 2.5
    passing: float = 8.0
    margin: float = 5.0
    arrival: float = 10.0


class AnaesthesiaMPC(FollowingPolicy):
    """Model-predictive control of propofol for n patients at once.

    Args:
        model_id: the model it believes in.
        interval: min between decisions.
        tuning: see `AnaesthesiaTuning`.
        follow: what is estimated; default `twin.statements.follow_propofol`.
        threads: for the solves.
    """

    def __init__(
        self,
        model_id: str = "propofol_eleveld2018",
        interval: float = 1 / 12,
        tuning: AnaesthesiaTuning | None = None,
        follow: Follow | None = None,
        threads: int = 1,
    ) -> None:
        self.tuning = t = tuning or AnaesthesiaTuning()
        model = load(model_id)
        # without drug BIS has no slope: a little weight on a usual rate starts the search
        move = Move("propofol", 0.0, 400.0, reference=7.0, weight=1e-5, change_weight=t.change_weight, scale=7.0)
        problem = Problem(
            model,
            interval,
            t.stages,
            moves=[move],
            goals=[Goal("bis", t.target, t.weight, t.low, t.low_weight, t.high, t.high_weight)],
            draws=t.draws,
            blocks=(*t.blocks, t.stages - sum(t.blocks)),
        )
        super().__init__(model, interval, follow or follow_propofol(model, interval), problem, TRUST, PATIENCE, threads)
        self.usual = TargetControlled(interval=interval)
        self.passes = -np.expm1(-interval * np.arange(1, t.stages + 1) / t.passing)

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n patients: age, weight, height, sex."""
        self.begin(known, n)
        self.usual.reset(known, n)
        self.weight = np.asarray(known["weight"], dtype=float)

    def act(self, seen: Observation) -> np.ndarray:
        """(n, 1) mg/min."""
        snapshot, high = self.perceive(seen), self.tuning.rate * self.weight
        return self.decide(snapshot, self.usual.act(seen)[:, 0], np.zeros(self.n), high)[:, None]

    def perceive(self, seen: Observation) -> Snapshot:
        """Take in what is seen: the patients now, by the draws of what is believed."""
        t = self.tuning
        belief = self.observe(seen, {"propofol": seen.delivered[:, 0]})
        if t.draws > 1:
            draws = self.follower.draws(t.draws)
            states, parameters, offset = draws.states, draws.parameters, draws.offset
        else:
            states, parameters = belief.states[:, None], belief.parameters[:, None]
            offset = belief.mean[:, self.row["offset"]][:, None]
        usual = (USUAL * self.weight)[:, None]
        # a band that stands higher is a depth that counts as lower, with the target moved alike
        margin = t.margin * max(1.0 - seen.time / t.arrival, 0.0)
        # the plan holds the stimulation as it is; by the time drug acts on it, part of it has passed
        passed = belief.mean[:, self.row["offset"]][:, None] * self.passes
        return Snapshot(
            states=states,
            parameters=parameters,
            last=np.nan_to_num(seen.delivered[:, :1]),
            offset=offset[:, :, None] - margin,
            high=(t.rate * self.weight)[:, None],
            scale=usual,
            reference=usual,
            target=(t.target - margin + passed)[:, :, None],
        )
