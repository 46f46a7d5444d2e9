"""The predictive safety filter: any policy, behind a look at what its dose would do to every patient still possible.

::

    asked dose ──▶ does a safe continuation exist for every draw of the belief: this dose, then none?
                     yes: it is given as asked
                     no, but one exists after no dose: the largest share of the dose after which one does
                     no, not even after none; or there is no belief: nothing
    then: what the plain rules of the environment's guard would let through of that

After Wabersich and Zeilinger 2018 (IEEE CDC; 2021, Automatica 129:109597): accept what a policy wants as long as a
backup can still keep the constraints, else the nearest input with which it can. The backup gives nothing, and all of
these drugs act in one direction, so nearest is largest. What is safe is judged by `policies.foresight`, which trusts
its model; the environment's own guard of plain rules, which trusts none, stays in place behind it. It is asked
beforehand, so that what a guarded policy asks for is what is given.

It acts in whatever levers the policy has: a lever is proportional to what it gives, so a share of a dose is the
same share of the lever; on a grid, the place next below it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError
from ..safety import Code
from .foresight import Foresight, foresight_of
from .levers import allowed_of, doses_of

__all__ = ["GUARD", "Shield"]

GUARD = "+guard"
PARTS = 8  # into which a share is cut in each round
ROUNDS = 4
ACCEPTED, LOWERED, REFUSED, BLIND, RULED = range(5)


class Shield:
    """A policy behind the filter, for `episodes.play`.

    Args:
        act: ``act(env, observations) -> actions``, with a ``begin(env)`` if it needs one.
        foresight: of the environment's therapy.

    Attributes:
        verdict: (n,) ACCEPTED, LOWERED, REFUSED or BLIND, of the last decision; RULED where the plain rules alone
            stood against it.
        reasons: (n,) mask of theirs.
        wished, allowed: (n,) amounts of the last decision, ``foresight.unit``.
    """

    def __init__(self, act: Callable[[Any, np.ndarray], np.ndarray], foresight: Foresight) -> None:
        self.act, self.foresight = act, foresight

    @classmethod
    def of(
        cls, env: Any, act: Callable[[Any, np.ndarray], np.ndarray], announced: bool = True, draws: int | None = None
    ) -> Shield:
        """Around a policy, for an unwrapped environment; arguments as of `foresight.foresight_of`."""
        return cls(act, foresight_of(env, announced, draws))

    def begin(self, env: Any) -> None:
        """Begin with the patients of the lanes.

        Raises:
            DoseloopError: an environment whose levers, or grids, do not begin at 0.
        """
        least = [v.low for v in env.actions.levers]
        least += [] if env.actions.grid is None else [row.min() for row in env.actions.grid]
        if any(v != 0 for v in least):
            raise DoseloopError(f"{env.name}: the filter lowers doses down to nothing: levers and grids from 0 up")
        if begin := getattr(self.act, "begin", None):
            begin(env)
        n = env.num_envs
        self.foresight.reset({k: v.copy() for k, v in env.known.items()}, n)
        self.verdict = np.zeros(n, dtype=np.int64)
        self.reasons = np.zeros(n, dtype=np.int64)
        self.counts = np.zeros((n, 5), dtype=np.int64)
        self.asked, self.withheld, self.step = np.zeros(n), np.zeros(n), 0

    def __call__(self, env: Any, observations: np.ndarray) -> np.ndarray:
        """Actions (n, levers): the policy's own, bit for bit, where nothing stands against them."""
        self.foresight.see(env.seen)
        actions = np.asarray(self.act(env, observations))
        if env.actions.grid is None:
            actions = actions.astype(float)
        levers = env.actions.asked(actions, env.num_envs, np.empty((env.num_envs, len(env.actions.levers))))
        doses = doses_of(env, levers)
        self.wished = self.foresight.amount(doses)
        safe = self.shares(self.wished)[:, None] * doses
        given, self.reasons = allowed_of(env, safe)
        ruled = (given < safe).any(axis=1)
        self.verdict[ruled & (self.verdict == ACCEPTED)] = RULED
        share = np.divide(given, doses, out=np.ones_like(doses), where=doses > 0)[:, : levers.shape[1]]
        lowered = levers * share
        if env.actions.grid is not None:
            lowered, places = _next_below(env.actions.grid, lowered)
            given = doses_of(env, lowered)
        self.allowed = self.foresight.amount(given)
        # a lane whose episode is over has begun another, which is nobody's business
        live = env.elapsed == self.step
        self.step += 1
        self.counts[np.flatnonzero(live), self.verdict[live]] += 1
        self.asked += np.where(live, self.wished, 0.0)
        self.withheld += np.where(live, self.wished - self.allowed, 0.0)
        if env.actions.grid is not None:
            return places[:, 0] if actions.ndim == 1 else places
        half = np.array([(v.high - v.low) / 2 for v in env.actions.levers])
        return np.where(share < 1.0, lowered / half - 1.0, actions)

    def shares(self, wished: np.ndarray) -> np.ndarray:
        """(n,) the share of each amount that has a safe continuation; sets ``verdict``."""
        n, f = len(wished), self.foresight
        lanes = np.arange(n)
        margin = f.margin(lanes, wished)
        self.verdict = np.where(margin >= 0, ACCEPTED, REFUSED)
        self.verdict[~np.isfinite(margin) | ~np.isfinite(wished)] = BLIND
        share = (self.verdict == ACCEPTED).astype(float)
        # who asks for nothing gets it, whatever is to come
        self.verdict[(wished <= 0) & (self.verdict == REFUSED)] = ACCEPTED
        unsafe = np.flatnonzero(self.verdict == REFUSED)
        if len(unsafe):
            least = f.margin(unsafe, np.zeros(len(unsafe)))
            self.verdict[unsafe[~np.isfinite(least)]] = BLIND
            open_ = unsafe[least >= 0]
            share[open_] = self._largest(open_, wished[open_])
            # less than an increment of the pump is nothing
            share[open_] = np.where(share[open_] * wished[open_] < f.increment, 0.0, share[open_])
            self.verdict[open_[share[open_] > 0]] = LOWERED
        return np.where((wished <= 0) & (self.verdict == ACCEPTED), 1.0, share)

    def _largest(self, lanes: np.ndarray, wished: np.ndarray) -> np.ndarray:
        """(m,) largest safe share, to an increment: 0 is safe, 1 is not; a bracket is cut in parts again and again."""
        low, width = np.zeros(len(lanes)), np.ones(len(lanes))
        for _ in range(ROUNDS):
            todo = np.flatnonzero(width * wished > self.foresight.increment)
            if not len(todo):
                break
            cuts = low[todo, None] + width[todo, None] * np.arange(1, PARTS) / PARTS
            amounts = (cuts * wished[todo, None]).ravel()
            good = self.foresight.margin(np.repeat(lanes[todo], PARTS - 1), amounts).reshape(cuts.shape) >= 0
            safe = np.cumprod(good, axis=1).sum(axis=1)  # how many in a row from below
            width[todo] /= PARTS
            low[todo] += safe * width[todo]
        return low

    def told(self) -> dict[str, np.ndarray]:
        """(n,) each, over the episode: decisions ``changed``, of them by the plain rules alone (``ruled``), amounts
        ``asked`` and ``withheld``, and decisions for which there was no belief (``failed``)."""
        return {
            "changed": self.counts[:, LOWERED:].sum(axis=1).astype(float),
            "ruled": self.counts[:, RULED].astype(float),
            "asked": self.asked,
            "withheld": self.withheld,
            "failed": self.counts[:, BLIND].astype(float),
        }

    def sentence(self, patient: int) -> str:
        """Why the last decision for a patient is what it is, in words."""
        f, asked, given = self.foresight, self.wished[patient], self.allowed[patient]
        rules = ", ".join(c.name.lower().replace("_", " ") for c in Code if self.reasons[patient] & c.bit)
        every = f"of {f.draws} draws of what is believed"
        return {
            ACCEPTED: f"{asked:.3g} {f.unit} as asked: with nothing after it {f.bound} {every}.",
            LOWERED: f"Asked {asked:.3g} {f.unit}, given {given:.3g}: the most with which, nothing following, "
            f"{f.bound} {every}.",
            REFUSED: f"Asked {asked:.3g} {f.unit}, given nothing: only then, or not even then, {f.bound} {every}.",
            RULED: f"Asked {asked:.3g} {f.unit}, given {given:.3g}: no more passes the plain rules ({rules}).",
            BLIND: f"Asked {asked:.3g} {f.unit}, given nothing: there is no finite forecast of this patient.",
        }[int(self.verdict[patient])]


def _next_below(grid: list[np.ndarray], levers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest values of each lever's grid that are not above levers (n, levers), and their places."""
    places = np.empty(levers.shape, dtype=np.int64)
    for j, row in enumerate(grid):
        order = np.argsort(row, kind="stable")
        places[:, j] = order[np.searchsorted(row[order], levers[:, j], side="right") - 1]
    return np.stack([row[places[:, j]] for j, row in enumerate(grid)], axis=1), places
