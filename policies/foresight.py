"""What a dose would do to every patient who is still possible: draws of the estimator's belief, simulated ahead.

Each continuation is the dose, then the backup, which gives nothing: no insulin, no propofol, no further dose. The bound
that must hold over the horizon is the therapy's hard one:

| therapy | bound | horizon | source |
|---|---|---|---|
| glucose | ≥ 70 mg/dL | 400 min, until insulin given now has spent itself | consensus (Battelino 2019) |
| propofol | BIS ≥ 40 | 5 min: the peak effect of a dose is 2 to 4 min away | band of general anaesthesia |
| vancomycin | AUC24 ≤ 677 mg·h/L, trough ≤ 20 mg/L | two days | the therapy's harms and their table |
| phenobarbital | level ≤ 50 and ≤ 40 mg/L | two days | the same |

In the loops no draw may break the bound. On a ward the therapy's table of limits says in what share of the draws each
harm is tolerated (20, 35 %; 5, 25 %): with a level every other day no useful dose is safe for every patient that is
still possible. With none tolerated, guarded vancomycin keeps AUC24 in 400-600 on 24 % of the days, MPC alone on 63 %.

The beliefs are those of the model-predictive policies, and their forecasts are made by the same compiled simulator that
verifies their plans.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..controller.snapshot import Snapshot
from ..controller.verify import courses
from ..pkpd.errors import DoseloopError
from .anaesthesia_mpc import AnaesthesiaMPC, AnaesthesiaTuning
from .glucose_mpc import GlucoseMPC, GlucoseTuning
from .ward_mpc import WardMPC

__all__ = ["AnaesthesiaForesight", "Foresight", "GlucoseForesight", "WardForesight", "foresight_of"]


class Foresight(abc.ABC):
    """Looks ahead for n patients.

    Attributes:
        bound: the hard bound in words. unit: of amounts. increment: least amount that is told apart.
        draws: of each patient.
    """

    bound = ""
    unit = ""
    increment = 0.0
    draws = 0

    @abc.abstractmethod
    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients."""

    @abc.abstractmethod
    def see(self, seen: Any) -> None:
        """Take in what is seen, before a decision; once."""

    @abc.abstractmethod
    def amount(self, doses: np.ndarray) -> np.ndarray:
        """(n,) what doses (n, actuators) amount to over the interval."""

    @abc.abstractmethod
    def margin(self, lanes: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """(m,) distance from the bound over draws and horizon, after amounts (m,) in these lanes (indices) and nothing
        after them. Negative where more draws break it than may; NaN where the forecast is not finite."""


class GlucoseForesight(Foresight):
    """Insulin; see the module.

    Args:
        env: the unwrapped environment. announced: whether meals are announced. draws: of each patient.
    """

    LOWEST = 70.0  # mg/dL
    bound = "glucose stays at 70 mg/dL or above in each"
    unit = "U"
    increment = 0.05  # of the usual pumps

    def __init__(self, env: Any, announced: bool = True, draws: int = 16) -> None:
        self.interval, self.draws = float(env.world.interval), draws
        self.mind = GlucoseMPC(interval=self.interval, announced=announced, tuning=GlucoseTuning(draws=draws))

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients."""
        self.mind.reset(known, n)

    def see(self, seen: Any) -> None:
        """Take in what is seen."""
        self.now, self.pending = self.mind.perceive(seen), np.nan_to_num(seen.pending[:, 1])

    def amount(self, doses: np.ndarray) -> np.ndarray:
        """(n,) U of basal rate (U/h) and bolus (U)."""
        return np.asarray(doses[:, 0] * self.interval / 60.0 + doses[:, 1])

    def margin(self, lanes: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """(m,) mg/dL; what the pump is still to deliver comes on top of the amounts."""
        problem = self.mind.problem
        given = np.zeros((len(lanes), problem.stages, 1))
        given[:, 0, 0] = (amounts + self.pending[lanes]) / problem.interval
        y = courses(problem, _rows(self.now, lanes), given)
        return np.asarray((y[..., 0] - self.LOWEST).min(axis=(1, 2)))


class AnaesthesiaForesight(Foresight):
    """Propofol; see the module. Stimulation that keeps a patient awake may end at any moment, and is not counted on.

    Args:
        env: the unwrapped environment. announced: without meaning. draws: of each patient.
    """

    LOWEST = 40.0
    bound = "BIS stays at 40 or above in each"
    unit = "mg"
    increment = 0.1

    def __init__(self, env: Any, announced: bool = True, draws: int = 32) -> None:
        self.interval, self.draws = float(env.world.interval), draws
        self.mind = AnaesthesiaMPC(interval=self.interval, tuning=replace(AnaesthesiaTuning(), draws=draws, margin=0.0))

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients."""
        self.mind.reset(known, n)

    def see(self, seen: Any) -> None:
        """Take in what is seen."""
        now = self.mind.perceive(seen)
        assert now.offset is not None
        self.offset, self.now = now.offset[:, :, 0], replace(now, offset=None)

    def amount(self, doses: np.ndarray) -> np.ndarray:
        """(n,) mg of a rate (mg/min)."""
        return np.asarray(doses[:, 0] * self.interval)

    def margin(self, lanes: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """(m,) BIS."""
        problem = self.mind.problem
        given = np.zeros((len(lanes), problem.stages, 1))
        given[:, 0, 0] = amounts / problem.interval
        y = courses(problem, _rows(self.now, lanes), given)[..., 0]
        off = np.minimum(self.offset[lanes], 0.0)[:, :, None]
        return np.asarray((y + off - self.LOWEST).min(axis=(1, 2)))


class WardForesight(Foresight):
    """Vancomycin and phenobarbital; see the module. Kinetics are linear: one forecast serves every amount.

    Args:
        env: the unwrapped environment. announced: without meaning. draws: of each patient.
        tolerated: share of the draws in which each harm may happen, by its name; default the table of limits.

    Raises:
        DoseloopError: a harm of another quantity than AUC24, peak or trough.
    """

    unit = "mg"

    def __init__(
        self, env: Any, announced: bool = True, draws: int = 32, tolerated: Mapping[str, float] | None = None
    ) -> None:
        therapy, self.draws = env.therapy, draws
        self.mind = WardMPC(therapy, interval=env.world.interval, draws=draws)
        listed = {h.name: float(h.probability_max.value) for h in therapy.limits.predicted}
        share = listed if tolerated is None else tolerated
        self.harms = [(h, share[h.name]) for h in therapy.harms]
        bad = [h for h, _ in self.harms if h.quantity not in ("auc24", "peak", "trough")]
        if bad:
            raise DoseloopError([f"{therapy.id}: no foresight of harm '{h.name}'" for h in bad])
        self.bound = " and ".join(f"no {h.name} in more than {100 * q:.0f} %" for h, q in self.harms)
        self.increment = float(therapy.limits.actions[0].increment.value)

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients."""
        self.mind.reset(known, n)

    def see(self, seen: Any) -> None:
        """Take in what is seen."""
        p, state, past, _ = self.mind.perceive(seen)
        mind, n, steps = self.mind, self.mind.n, self.mind.horizon
        length = np.full((n, steps), mind.therapy.action.duration(1.0, 1.0))
        none, once = np.zeros((n, steps)), np.zeros((n, steps))
        once[:, 0] = 1.0  # mg
        forecasts = [(mind.response(p, state, none, length), past), (mind.response(p, 0 * state, once, length), [])]
        # of each harm: what will be, and what a mg adds, (n, draws, times)
        self.ahead = [[self._quantity(h.quantity, *f) for f in forecasts] for h, _ in self.harms]

    def _quantity(self, name: str, response: tuple[np.ndarray, np.ndarray], past: list[np.ndarray]) -> np.ndarray:
        areas, levels = response
        if name == "auc24":
            return self._windows(areas, past)
        return levels[..., -1] if name == "trough" else levels.reshape(*levels.shape[:2], -1)

    def _windows(self, areas: np.ndarray, past: list[np.ndarray]) -> np.ndarray:
        """AUC24 (n, draws, horizon) at the end of each interval, from the intervals' and those of the last day."""
        per_day = round(24.0 / self.mind.interval)
        before = past[: per_day - 1][::-1]
        every = np.concatenate([np.stack(before, axis=2), areas], axis=2) if before else areas
        ends = range(len(before) + 1, every.shape[2] + 1)
        return np.stack([every[:, :, max(0, e - per_day) : e].sum(axis=2) for e in ends], axis=2)

    def amount(self, doses: np.ndarray) -> np.ndarray:
        """(n,) mg."""
        return np.asarray(doses[:, 0])

    def margin(self, lanes: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """(m,) the least over harms, each in its unit."""
        found = []
        for (harm, share), (base, per_mg) in zip(self.harms, self.ahead):
            y = base[lanes] + amounts[:, None, None] * per_mg[lanes]
            each = np.sort((harm.above - y).min(axis=2), axis=1)  # NaN stands last
            spared = min(int(share * self.draws + 1e-9), self.draws - 1)
            found.append(np.where(np.isfinite(each).all(axis=1), each[:, spared], np.nan))
        return np.asarray(np.min(found, axis=0))


def _rows(now: Snapshot, lanes: np.ndarray) -> Snapshot:
    """A snapshot of these lanes, repeated where they are: only what a forecast reads."""
    take = lambda v: v[lanes] if isinstance(v, np.ndarray) and v.ndim == 2 and len(v) == len(now) else v  # noqa: E731
    return Snapshot(
        states=now.states[lanes],
        parameters=now.parameters[lanes],
        last=now.last[lanes],
        inputs={k: take(v) for k, v in now.inputs.items()},
    )


def foresight_of(env: Any, announced: bool = True, draws: int | None = None) -> Foresight:
    """The foresight of an environment's therapy.

    Args:
        env: unwrapped. announced: whether meals are announced. draws: of each patient; default each therapy's own.
    """
    kinds: Mapping[str, type] = {"glucose": GlucoseForesight, "propofol": AnaesthesiaForesight}
    kind = kinds.get(env.therapy.id, WardForesight)
    made: Foresight = kind(env, announced) if draws is None else kind(env, announced, draws)
    return made
