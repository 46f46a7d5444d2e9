"""Model-predictive dosing on a ward: each patient's most probable parameters, draws around them, the best two doses.

::

    doses, levels, creatinine ──▶ MAP by the twin's cohort fit ──▶ Laplace draws ──▶ courses of the draws until now
                                                                                              │
       dose ◀── the best whose first dose the guard's plain rules pass ◀── (dose now, dose after) on a grid ◀─┘

A plan is one dose now and one dose at each later decision of the horizon. Its cost is the mean over the draws of the
goal's penalty, interval by interval. All n patients are planned for at once; they stand at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..models import load
from ..pkpd.model import Model
from ..therapies.bedside_gate import BedsideGate
from ..therapies.therapy import Therapy
from ..twin.bedside import BedsideTracker
from ..twin.bedside_march import Intervals
from ..virtual.bedside_world import BedsideObservation
from .ward import WardPolicy

__all__ = ["WardMPC"]

CHUNK = 40  # patients whose plans are compared at a time


class WardMPC(WardPolicy):
    """Plans the doses of n patients; see the module.

    Args:
        therapy: vancomycin or phenobarbital.
        model: the controller's model or its id (default: the therapy's first), which need not be the plant's.
        interval: h between decisions. horizon: decisions ahead.
        draws: of each patient's parameters. seed: of the draws.
        loq: mg/L, the laboratory's limit of quantification.
        truth: the environment's ``privileged``: then parameters and state are the true ones, and nothing is estimated
            (an oracle; what kidneys will do it does not know either).
    """

    name = "MPC"

    def __init__(
        self,
        therapy: Therapy,
        model: Model | str | None = None,
        *,
        interval: float = 12.0,
        horizon: int = 4,
        draws: int = 32,
        seed: int = 0,
        loq: float = 2.0,
        truth: Callable[[], Mapping[str, np.ndarray]] | None = None,
    ) -> None:
        chosen = model or therapy.model_ids[0]
        self.therapy, self.model = therapy, load(chosen) if isinstance(chosen, str) else chosen
        self.interval, self.horizon, self.seed, self.loq, self.truth = interval, horizon, seed, loq, truth
        self.draws = 1 if truth else draws
        self.oracle = truth is not None
        self.name = "oracle" if truth else "MPC"
        self.plant = Intervals(self.model, interval)

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients."""
        K = len(self.model.effects)
        rng = np.random.Generator(np.random.Philox([self.seed, 5]))
        self.known, self.n = known, n
        z = rng.standard_normal((1, self.draws, K))[0] if self.draws > 1 else np.zeros((1, K))
        self.tracker = BedsideTracker(
            self.model, known, n, z - z.mean(axis=0, keepdims=True), interval=self.interval, loq=self.loq
        )
        self.gate = BedsideGate(self.therapy, n, self.interval)
        self.gate.reset(known, np.ones(n, dtype=bool))

    def act(self, seen: BedsideObservation) -> np.ndarray:  # type: ignore[override]
        """The first doses of the best plans, mg."""
        p, state, past, now = self.perceive(seen)
        return self._plan(p, state, past, now)[:, None]

    def perceive(self, seen: BedsideObservation) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], float]:
        """Take in what is seen.

        Returns:
            parameters and states of every draw (n, draws, …), the AUC (n, draws) of the last day's intervals, newest
            first, and h since admission.
        """
        now = float(seen.clock[0])
        if (seen.clock != now).any():
            raise ValueError("these patients were not admitted together")
        self.gate.see(seen, np.ones(self.n, dtype=bool))
        known = round(now / self.interval)
        if self.truth is None:
            t = self.tracker
            t.see(seen)
            return t.parameters, t.state, [t.areas[:, k] for k in range(min(known, t.areas.shape[1]))], now
        told = self.truth()
        state = np.concatenate([told["state"][:, : len(self.model.states)], np.zeros((self.n, 1))], axis=1)
        past = [told["exposure"][:, [k]] for k in range(min(known, told["exposure"].shape[1]))]
        return told["parameters"][:, None], state[:, None], past, now

    # what is planned
    # ---------------

    def response(self, p: np.ndarray, state: np.ndarray, dose: np.ndarray, length: np.ndarray) -> tuple[Any, Any]:
        """AUC (n, draws, horizon) and levels (n, draws, horizon, 4) under doses (n, horizon)."""
        return self.plant.run(p, state, dose, length, kept=4)[1:]

    def _plan(self, p: np.ndarray, state: np.ndarray, past: list[np.ndarray], now: float) -> np.ndarray:
        n, H = self.n, self.horizon
        weight = self.known["weight"]
        if self.therapy.goal.quantity == "auc24":
            first = np.tile(np.arange(0.0, 3001.0, 250.0), (n, 1))
            later = np.tile(np.arange(0.0, 2001.0, 250.0), (n, 1))
        else:
            step = float(self.therapy.limits.actions[0].increment.value)
            down = lambda rate: np.floor(rate * weight[:, None] / step + 1e-9) * step  # noqa: E731
            first = down(np.array([*np.arange(0.0, 8.0, 0.5), *range(8, 21)]))
            later = down(np.arange(0.0, 6.1, 0.5))
        passed = np.stack([self.gate.judge(c)[0] == c for c in first.T.copy()], axis=1)
        one = 1000.0 if self.therapy.goal.quantity == "auc24" else 10.0
        unit = np.full(n, one)
        # linear kinetics: what is there, a dose now, the same dose later
        length = np.full((n, H), self.therapy.action.duration(one, 1.0))
        none, now_, then = np.zeros((n, H)), np.zeros((n, H)), np.tile(unit[:, None], (1, H))
        now_[:, 0], then[:, 0] = unit, 0.0
        empty = np.zeros_like(state)
        levels = int(self.therapy.goal.quantity != "auc24")
        base = self.response(p, state, none, length)[levels]
        once, again = (self.response(p, empty, d, length)[levels] for d in (now_, then))
        best = np.zeros(n)
        for a in range(0, n, CHUNK):
            at = slice(a, min(n, a + CHUNK))
            d, m = first[at] / one, later[at] / one
            shape = (slice(None), slice(None), None, None, *(None,) * (1 + levels))
            q = base[at][:, None, None] + d[shape] * once[at][:, None, None]
            q = q + np.moveaxis(m[shape], 1, 2) * again[at][:, None, None]
            cost = self._penalty(q, [v[at] for v in past], now)
            cost = cost.mean(axis=3) + 1e-3 * m[:, None, :]  # of equals, the plan that gives less
            cost = cost.min(axis=2) + np.where(passed[at], 0.0, np.inf)
            best[at] = first[at][np.arange(cost.shape[0]), cost.argmin(axis=1)]
        return best

    def _penalty(self, q: np.ndarray, past: list[np.ndarray], now: float) -> np.ndarray:
        """(n, doses, later doses, draws): the goal's penalty over the horizon, with a little for what is off target."""
        low, high, aim = self.therapy.goal.low, self.therapy.goal.high, self.therapy.goal.target
        if self.therapy.goal.quantity != "auc24":
            under, over = np.maximum(0.0, (low - q) / low), np.minimum(2.0, np.maximum(0.0, (q - high) / 20.0))
            return (under + over + 0.02 * np.abs(q - aim) / aim).mean(axis=(4, 5))
        per_day = round(24.0 / self.interval)
        older = [v[:, None, None] for v in past[: per_day - 1]]
        total = np.zeros(q.shape[:4])
        for j in range(self.horizon):
            window = [q[..., i] for i in range(max(0, j - per_day + 1), j + 1)]
            window += older[: per_day - len(window)]
            w = sum(window) * (per_day / len(window))
            under, over = np.maximum(0.0, (low - w) / low), np.minimum(2.0, np.maximum(0.0, (w - high) / 300.0))
            total = total + under + over + 0.02 * np.abs(w - aim) / aim
        return total / self.horizon
