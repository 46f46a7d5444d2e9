"""What the two model-predictive policies share: an estimator of n patients, a solver, plans that warm the next."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..controller.plan import Plan
from ..controller.problem import Problem
from ..controller.realtime import RealTime, SolverOptions
from ..models import load
from ..pkpd.model import Model
from ..twin.belief import Belief
from ..twin.follow import Follow
from ..twin.follower import Follower
from ..virtual.world import Observation
from .policy import Policy

__all__ = ["FollowingPolicy", "covariates_of"]


def covariates_of(model: Model, known: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """(n, covariates) of a model, typical where they are not known."""
    columns = [np.broadcast_to(np.asarray(known.get(c.name, c.typical), dtype=float), (n,)) for c in model.covariates]
    return np.ascontiguousarray(np.column_stack(columns)) if columns else np.zeros((n, 0))


class FollowingPolicy(Policy):
    """Follows n patients by one estimator and plans by one solver. A base; see the policies of each therapy.

    Attributes:
        belief: what was believed at the last decision; ``plan`` what was planned then.
    """

    name = "MPC"

    def __init__(self, model: Model | str, interval: float, follow: Follow, problem: Problem, threads: int) -> None:
        self.model = load(model) if isinstance(model, str) else model
        self.interval, self.follow, self.problem = interval, follow, problem
        self.solver = RealTime(problem, SolverOptions(iterations=30, tolerance=1e-6, threads=threads))
        self.column = {name: j for j, name in enumerate(follow.signals)}
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
        cov = covariates_of(self.model, known, n)
        self.follower = Follower(self.follow, cov, mean=mean, covariance=covariance)
        self.plan: Plan | None = None
        self.past: np.ndarray | None = None

    def observe(self, seen: Observation, given: Mapping[str, np.ndarray]) -> Belief:
        """Take in what is seen, and what the pump confirmed by route (rates, the models' units)."""
        if self.past is None:
            self.belief = self.follower.observe(seen.reading, seen.reading_time, seen.quality)
        else:
            for route, rate in given.items():
                self.past[:, self.column[route]] = rate
            self.belief = self.follower.step(self.past, seen.reading, seen.reading_time, seen.quality)
        return self.belief

    def hold(self, **inputs: np.ndarray | float) -> None:
        """The inputs of the coming interval; routes are filled in once the pump has confirmed them."""
        self.past = np.zeros((self.n, len(self.follow.signals)))
        for i in self.model.inputs:
            self.past[:, self.column[i.name]] = inputs.get(i.name, i.typical)
