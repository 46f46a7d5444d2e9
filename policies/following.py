"""What the two model-predictive policies share: an estimator of n patients, a solver, the ladder below it.

::

    readings, confirmed deliveries ──▶ estimator ──▶ draws ──▶ solver ──▶ plan ──▶ simulated again over the draws
                                                                                          │
                                              guard ◀── asked ◀── ladder: plan, last plan, usual protocol, safe action
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..controller.ladder import BLIND, Choice, Ladder, LoopOutcome, Trust
from ..controller.plan import Plan
from ..controller.problem import Problem
from ..controller.realtime import RealTime, SolverOptions
from ..controller.snapshot import Snapshot
from ..controller.verify import verify
from ..models import load
from ..pkpd.model import Model
from ..twin.belief import Belief, Fate
from ..twin.follow import Follow
from ..twin.tracker import Tracker
from ..virtual.world import Observation
from .policy import Policy

__all__ = ["FollowingPolicy"]

DEADLINE = 0.1  # s for one patient's solve: a hundred times what it takes, and a fraction of any interval


class FollowingPolicy(Policy):
    """Follows n patients by one estimator and plans by one solver. A base; see the policies of each therapy.

    Attributes:
        tracker: the estimator and what it is fed. plan: what was planned at the last decision; ``choice`` what the
            ladder took.
        silence: (n,) min since a reading was last used; beyond ``patience`` the usual protocol is followed.
        faults: (n,) `controller.realtime.Fault` to inject at the next decisions, or None.
    """

    name = "MPC"
    tracking: type[Tracker] = Tracker

    def __init__(
        self,
        model: Model | str,
        interval: float,
        follow: Follow,
        problem: Problem,
        trust: Trust,
        patience: float,
        threads: int,
    ) -> None:
        self.model = load(model) if isinstance(model, str) else model
        self.interval, self.follow, self.problem = interval, follow, problem
        self.trust, self.patience, self.threads = trust, patience, threads
        options = SolverOptions(iterations=30, tolerance=1e-6, deadline=DEADLINE, threads=threads)
        self.solver = RealTime(problem, options)
        self.faults: np.ndarray | None = None
        self.row = {name: j for j, name in enumerate(follow.names)}

    def begin(
        self,
        known: Mapping[str, np.ndarray],
        n: int,
        mean: np.ndarray | None = None,
        covariance: np.ndarray | None = None,
    ) -> None:
        """n new patients, with a prior of their random effects (default: the population's)."""
        self.known, self.n = known, n
        self.tracker = self.tracking(self.follow, known, n, mean=mean, covariance=covariance)
        self.follower = self.tracker.follower
        self.ladder = Ladder(self.problem, n, self.trust)
        self.plan: Plan | None = None
        self.choice: Choice | None = None
        self.silence = np.zeros(n)

    @property
    def belief(self) -> Belief:
        """What was believed at the last decision."""
        return self.tracker.belief

    def observe(self, seen: Observation, given: Mapping[str, np.ndarray]) -> Belief:
        """Take in what is seen, and what the pump confirmed by route (rates, the models' units)."""
        read = (seen.reading, seen.reading_time, seen.quality)
        if not self.tracker.begun:
            self.tracker.first(*read)
        else:
            self.tracker.step(given, *read)
            heard = np.isin(self.belief.fate, (Fate.USED, Fate.WIDENED))
            self.silence = np.where(heard, 0.0, self.silence + self.interval)
        return self.belief

    def decide(self, snapshot: Snapshot, protocol: np.ndarray, safe: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Solve, simulate the plan over the draws, and take the highest rung that can be trusted.

        Args:
            snapshot: the patients now.
            protocol: the rates that the usual protocol gives now, (n, moves), or (n,) where there is one;
                ``safe`` the safe action's; ``high`` the most that may be given now.

        Returns:
            The rates to ask for (the model's unit), finite, in the shape of ``protocol``.
        """
        shape = protocol.shape
        protocol, safe, high = (np.reshape(v, (self.n, -1)) for v in (protocol, safe, high))
        self.plan = self.solver.solve(snapshot, self.plan, faults=self.faults)
        found = verify(self.plan, snapshot, threads=self.threads)
        self.choice = self.ladder.choose(
            self.plan,
            protocol=protocol,
            safe=safe,
            low=np.zeros(protocol.shape),
            high=high,
            last=np.full(protocol.shape, np.nan),
            verification=found,
        )
        rates: np.ndarray = self.choice.moves
        # a belief that nothing has corrected for long is no ground for a plan, nor for withholding the usual treatment
        blind = self.silence > self.patience
        self.choice.outcome[blind] = int(LoopOutcome.PROTOCOL)
        self.choice.why[blind] |= BLIND
        rates[blind] = np.clip(protocol, 0.0, high)[blind]
        return rates.reshape(shape)

    @property
    def outcomes(self) -> np.ndarray | None:
        """(n,) `controller.ladder.LoopOutcome` of the last decision."""
        return None if self.choice is None else self.choice.outcome

    def sentence(self, patient: int) -> str:
        """Why the last decision for a patient is what it is."""
        return "" if self.choice is None else self.choice.sentence(patient)
