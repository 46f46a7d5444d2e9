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
from ..pkpd.individuals import individuals
from ..pkpd.march import march_of
from ..pkpd.model import Model
from ..pkpd.record import CovariateRow, Measurement, Record
from ..pkpd.regimen import Dose, Regimen
from ..therapies.bedside_gate import BedsideGate
from ..therapies.therapy import Therapy
from ..twin.cohort import Cohort
from ..twin.layout import lay_out
from ..virtual.bedside_world import BedsideObservation
from ..virtual.course import course
from .ward import WardPolicy

__all__ = ["WardMPC"]

TICK = 0.5  # h
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
        self.how = march_of(self.model, TICK, integrals=True)
        self.ticks = round(interval / TICK)

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients."""
        K = len(self.model.effects)
        rng = np.random.Generator(np.random.Philox([self.seed, 5]))
        self.known, self.n = known, n
        self.z = rng.standard_normal((1, self.draws, K)) if self.draws > 1 else np.zeros((1, 1, K))
        self.z = self.z - self.z.mean(axis=1, keepdims=True)
        self.map, self.factor = np.zeros((n, K)), np.tile(np.linalg.cholesky(self.model.omega), (n, 1, 1))
        self.given: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.serum: list[tuple[float, np.ndarray]] = []
        self.gate = BedsideGate(self.therapy, n, self.interval)
        self.gate.reset(known, np.ones(n, dtype=bool))

    def act(self, seen: BedsideObservation) -> np.ndarray:  # type: ignore[override]
        """The first doses of the best plans, mg."""
        p, state, past, now = self.perceive(seen)
        return self._plan(p, state, past, now)[:, None]

    def perceive(self, seen: BedsideObservation) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], float]:
        """Take in what is seen.

        Returns:
            parameters and states of every draw (n · draws, …), the AUC (n, draws) of the last day's intervals, newest
            first, and h since admission.
        """
        now = float(seen.clock[0])
        if (seen.clock != now).any():
            raise ValueError("these patients were not admitted together")
        if now > 0:
            self.given.append((now - self.interval, seen.delivered[:, 0].copy(), seen.duration.copy()))
        if now % 24.0 == 0:
            self.serum.append((now, seen.creatinine.copy()))
        self.gate.see(seen, np.ones(self.n, dtype=bool))
        if self.truth is None:
            self._fit(seen, now)
            state, past = self._courses()
            p = self._parameters(len(self.serum) - 1)
        else:
            told = self.truth()
            p = told["parameters"]
            state = np.concatenate([told["state"][:, : self.how.system.n_model], np.zeros((self.n, 1))], axis=1)
            past = [told["exposure"][:, [k]] for k in range(min(len(self.given), told["exposure"].shape[1]))]
        return p, state, past, now

    # what is believed
    # ----------------

    def _covariates(self, day: int) -> np.ndarray:
        """(n, covariates) with the creatinine of a day."""
        extra = {"scr": self.serum[day][1]} if "scr" in self.model.names("covariates") else {}
        columns = {**self.known, **extra}
        return np.column_stack([np.broadcast_to(columns.get(c, 0.0), self.n) for c in self.model.names("covariates")])

    def _parameters(self, day: int) -> np.ndarray:
        """(n · draws, parameters) of a day."""
        eta = self.map[:, None] + np.einsum(
            "nij,ndj->ndi", self.factor, np.broadcast_to(self.z, (self.n, *self.z.shape[1:]))
        )
        cov = np.repeat(self._covariates(day), self.draws, axis=0)
        return individuals(self.model, np.ascontiguousarray(cov), eta.reshape(self.n * self.draws, -1))

    def _fit(self, seen: BedsideObservation, now: float) -> None:
        """The most probable effects of patients who have a new result, and Laplace's covariance there."""
        rows = np.flatnonzero(seen.new > 0)
        if not len(rows):
            return
        days = [self._covariates(d) for d in range(len(self.serum))]
        names = self.model.names("covariates")
        layouts = []
        for i in rows.tolist():
            table = [CovariateRow(t, dict(zip(names, map(float, c[i])))) for (t, _), c in zip(self.serum, days)]
            doses = [Dose(t, float(d[i]), "iv", duration=float(h[i])) for t, d, h in self.given if d[i] > 0]
            found = [(t, v) for t, v in zip(seen.level_times[i], seen.levels[i]) if np.isfinite(t)]
            levels = [
                Measurement(float(t), "concentration", float(v))
                if v > 0
                else Measurement(float(t), "concentration", self.loq, lloq=self.loq, censored=True)
                for t, v in sorted(found)
            ]
            layouts.append(lay_out(self.model, Record(str(i), tuple(table), Regimen(*doses), tuple(levels), now)))
        fit = Cohort(layouts).fit(np.arange(len(rows)), np.zeros((len(rows), self.map.shape[1])))
        self.map[rows] = fit["eta"]
        cov = np.linalg.inv(fit["H"])
        self.factor[rows] = np.linalg.cholesky(0.5 * (cov + cov.transpose(0, 2, 1)))

    def _inputs(self, dose: np.ndarray, length: np.ndarray) -> np.ndarray:
        """(n · draws, ticks, rows) of one interval."""
        S = self.how.system
        u = np.zeros((self.n * self.draws, self.ticks, S.rows_u))
        rate = (np.arange(self.ticks) * TICK < length[:, None] - 1e-9) * (dose / length)[:, None]
        u[:, :, -1] = np.repeat(rate, self.draws, axis=0)
        return u

    def _courses(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Every draw's state now, and its AUC of the last day's intervals, newest first, (n, draws) each."""
        S = self.how.system
        x = np.zeros((self.n * self.draws, S.rows_x))
        areas: list[np.ndarray] = []
        p = None
        for time, dose, length in self.given:
            if time % 24.0 == 0 or p is None:
                p = self._parameters(min(int(time // 24), len(self.serum) - 1))
            x[:, S.n_model :] = 0.0
            _, x = course(self.how, p, x, self._inputs(dose, length))
            areas.append(x[:, S.n_model].reshape(self.n, self.draws).copy())
        return x, areas[::-1]

    # what is planned
    # ---------------

    def response(self, p: np.ndarray, state: np.ndarray, dose: np.ndarray, length: np.ndarray) -> tuple[Any, Any]:
        """AUC (n, draws, horizon) and levels (n, draws, horizon, 4) under doses (n, horizon)."""
        S, x = self.how.system, state.copy()
        areas, levels = [], []
        for j in range(self.horizon):
            x[:, S.n_model :] = 0.0
            y, x = course(self.how, p, x, self._inputs(dose[:, j], length[:, j]))
            areas.append(x[:, S.n_model].reshape(self.n, self.draws).copy())
            levels.append(y[:, self.ticks // 4 - 1 :: self.ticks // 4, 0].reshape(self.n, self.draws, -1))
        return np.stack(areas, axis=2), np.stack(levels, axis=2)

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
