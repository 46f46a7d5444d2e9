"""From a solve to what is given: the ladder that a loop walks down when a solve fails, is late or cannot be trusted.

::

    the plan, converged and verified                                PLANNED
      │ stopped early, late or limits cannot be met
    its best iterate, verified                                      EARLY, LATE, LIMITED
      │ no plan, or not verified
    the last plan, shifted to now, while it is young                LAST_PLAN
      │ none
    the usual protocol                                              PROTOCOL
      │ not a number
    the therapy's safe action                                       SAFE

Every rung passes the same clamp (bounds now, largest change, numbers only), so none can give a wild dose; every
ending has a number and a sentence, so none is silent. All of it is arithmetic on arrays and deterministic: force a
failure or lateness with `realtime.Fault`, or hand in a plan of your own.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from ..pkpd.errors import SolverError
from .plan import Plan, Status
from .problem import Problem
from .verify import Verification

__all__ = ["BLIND", "WHY", "Choice", "Ladder", "LoopOutcome", "Trust"]

BLIND = 128  # bit of `WHY` that a loop sets itself


class LoopOutcome(enum.IntEnum):
    """How one decision of a loop came about; ``sentence`` says it in words."""

    PLANNED = 0
    EARLY = 1
    LATE = 2
    LIMITED = 3
    LAST_PLAN = 4
    PROTOCOL = 5
    SAFE = 6

    @property
    def sentence(self) -> str:
        """The outcome in words that a clinician can read."""
        return SENTENCES[int(self)]


SENTENCES = (
    "The optimised plan is followed.",
    "The optimisation ended before its tolerance was met; its best plan is followed.",
    "The optimisation ran out of time; its best plan so far is followed.",
    "The limits cannot all be kept; the plan that misses them least is followed.",
    "There is no new plan that can be trusted; the last one is followed, shifted to now.",
    "There is no plan that can be trusted; the usual protocol is followed, within its bounds.",
    "Nothing that can be trusted is at hand; the safe action is taken.",
)

# Why a rung was left, by bit of `Choice.why`.
WHY = {
    1: "the solver failed",
    2: "a prediction was not a finite number",
    4: "the simulation differed from the plan's prediction by more than is trusted",
    8: "the simulation counted more harm than the plan allows",
    16: "no solve was made",
    32: "the last plan is too old",
    64: "the usual protocol gave no number",
    128: "there was no reading for too long",
}


@dataclass(frozen=True, slots=True)
class Trust:
    """When a plan may be followed.

    Args:
        oldest: how long a plan may be followed after it was made (time unit of the model).
        discrepancy: largest distance of the accurate simulation from the plan's own prediction, one for each watched
            output (its unit); None: not looked at.
        slack: by how much the counted probability of a chance may exceed its bound under the accurate simulation.
        violation: by how much a path limit may be missed there (the output's unit).
    """

    oldest: float
    discrepancy: tuple[float, ...] | None = None
    slack: float = 0.05
    violation: float = 1.0


@dataclass(frozen=True, eq=False)
class Choice:
    """What is to be given, before the guard.

    Attributes:
        moves: (n, moves), finite, within bounds and largest change.
        outcome: (n,) `LoopOutcome` as integers.
        why: (n,) bits of `WHY` for the rungs above that were left.
        status: (n,) `Status` of the solve, −1 where none was made.
        verified: whether the plans were simulated accurately before.
    """

    moves: np.ndarray
    outcome: np.ndarray
    why: np.ndarray
    status: np.ndarray
    verified: bool

    def sentence(self, i: int) -> str:
        """The outcome of patient i in words, with the reasons."""
        reasons = [text for bit, text in WHY.items() if self.why[i] & bit]
        outcome = LoopOutcome(int(self.outcome[i]))
        sentence = outcome.sentence
        if outcome <= LoopOutcome.LIMITED:
            sentence += " It was verified by simulation." if self.verified else " It was not verified by simulation."
        return sentence + (f" (Because {', and '.join(reasons)}.)" if reasons else "")


class Ladder:
    """The ladder of n patients: remembers the last plan that was trusted.

    Args:
        problem: what the plans solve.
        n: patients.
        trust: when a plan may be followed.

    Raises:
        SolverError: listing everything wrong with ``trust``.
    """

    def __init__(self, problem: Problem, n: int, trust: Trust) -> None:
        bad = []
        if not trust.oldest >= 0:
            bad.append(f"oldest is {trust.oldest}; a number of at least 0 is meant")
        if trust.discrepancy is not None and len(trust.discrepancy) != len(problem.watched):
            bad.append(f"discrepancy has {len(trust.discrepancy)} numbers; one for each of {problem.watched} is meant")
        if not (trust.slack >= 0 and trust.violation >= 0):
            bad.append(f"slack {trust.slack} and violation {trust.violation} must be numbers of at least 0")
        if bad:
            raise SolverError([f"trust: {b}" for b in bad])
        self.problem, self.n, self.trust = problem, n, trust
        self._moves = np.full((n, problem.stages, len(problem.moves)), np.nan)
        self._age = np.full(n, np.inf)

    def choose(
        self,
        plan: Plan | None,
        *,
        protocol: np.ndarray,
        safe: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        last: np.ndarray,
        verification: Verification | None = None,
        elapsed: float | None = None,
    ) -> Choice:
        """The moves to give now.

        Args:
            plan: plans made now; None where no solve was made.
            protocol: (n, moves) what the usual protocol would give; NaN where it has nothing to say.
            safe: (n, moves) the therapy's safe action: finite.
            low, high: (n, moves) bounds now.
            last: (n, moves) what is given now, from which the largest change counts; NaN: not known, none counts.
            verification: of ``plan``; without it nothing but finiteness is looked at.
            elapsed: time since the last call; default ``problem.renewed``.

        Raises:
            SolverError: arrays of wrong shapes, bounds that are no numbers or cross, a safe action that is not finite:
                all at once.
        """
        arrays = {"protocol": protocol, "safe": safe, "low": low, "high": high, "last": last}
        arrays = {k: np.asarray(v, dtype=float) for k, v in arrays.items()}
        self._check(arrays, plan)
        n, stages, trust = self.n, self.problem.stages, self.trust
        self._age += self.problem.renewed if elapsed is None else elapsed
        status = np.full(n, -1) if plan is None else np.asarray(plan.status).astype(np.int64)
        why = np.full(n, 16) if plan is None else self._mistrust(plan, verification)
        good = why == 0
        if plan is not None:
            self._moves[good], self._age[good] = plan.moves[good], 0.0
        # what each rung would give, the safe action below all
        moves, outcome = arrays["safe"].copy(), np.full(n, int(LoopOutcome.SAFE))
        known = np.isfinite(arrays["protocol"]).all(axis=1)
        moves[known], outcome[known] = arrays["protocol"][known], int(LoopOutcome.PROTOCOL)
        stage = np.floor(np.where(np.isfinite(self._age), self._age, 0.0) / self.problem.interval + 1e-9).astype(int)
        young = (self._age <= trust.oldest) & (stage < stages) & ~good
        now = self._moves[np.arange(n), np.minimum(stage, stages - 1)]
        young &= np.isfinite(now).all(axis=1)
        moves[young], outcome[young] = now[young], int(LoopOutcome.LAST_PLAN)
        rungs = {
            Status.SOLVED: LoopOutcome.PLANNED,
            Status.STALLED: LoopOutcome.EARLY,
            Status.ITERATIONS: LoopOutcome.EARLY,
            Status.LATE: LoopOutcome.LATE,
            Status.INFEASIBLE: LoopOutcome.LIMITED,
        }
        if plan is not None:
            for ending, rung in rungs.items():
                who = good & (status == int(ending))
                moves[who], outcome[who] = plan.moves[who, 0], int(rung)
        why = np.where(~good & ~young, why | 32 * (np.isfinite(self._age) & (self._age > trust.oldest)), why)
        why = np.where(outcome == int(LoopOutcome.SAFE), why | 64, why)
        return Choice(self._clamp(moves, arrays), outcome, why, status, verification is not None)

    def _mistrust(self, plan: Plan, v: Verification | None) -> np.ndarray:
        """Bits of `WHY` against each plan; 0 where it may be followed."""
        trust, problem = self.trust, self.problem
        failed = ~plan.usable | ~np.isfinite(plan.moves).reshape(self.n, -1).all(axis=1)
        why = np.where(failed, 1, 0)
        if v is None:
            return why
        why = why | np.where(~failed & ~v.finite, 2, 0)
        judged = ~failed & v.finite
        if trust.discrepancy is not None:
            why = why | np.where(judged & (v.discrepancy > np.array(trust.discrepancy)).any(axis=1), 4, 0)
        alpha = np.array([c.probability for c in problem.chances])
        harm = (v.probability > alpha + trust.slack).any(axis=1) | (v.violation > trust.violation)
        # a plan that misses the limits least is followed for that, and says so
        return why | np.where(judged & harm & (plan.status != int(Status.INFEASIBLE)), 8, 0)

    def _clamp(self, moves: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Within the largest change from what is given now, then within the bounds, which win."""
        change = np.array([m.largest_change for m in self.problem.moves])
        last = arrays["last"]
        known = np.isfinite(last)
        near = np.clip(moves, np.where(known, last - change, -np.inf), np.where(known, last + change, np.inf))
        return np.clip(near, arrays["low"], arrays["high"])

    def _check(self, arrays: dict[str, np.ndarray], plan: Plan | None) -> None:
        shape = (self.n, len(self.problem.moves))
        bad = [f"{k} has shape {a.shape}; {shape} is meant" for k, a in arrays.items() if a.shape != shape]
        if plan is not None and plan.moves.shape != (self.n, self.problem.stages, shape[1]):
            bad.append(
                f"the plan's moves have shape {plan.moves.shape}; {(self.n, self.problem.stages, shape[1])} is meant"
            )
        if not bad:
            if not np.isfinite(arrays["safe"]).all():
                bad.append("the safe action is not finite")
            if not (np.isfinite(arrays["low"]).all() and np.isfinite(arrays["high"]).all()):
                bad.append("a bound is not finite")
            elif (arrays["low"] > arrays["high"]).any():
                bad.append("a lower bound lies above its upper one")
        if bad:
            raise SolverError([f"ladder: {b}" for b in bad])
