"""Target-controlled infusion as a policy: what most theatres do today, with or without an anaesthetist at the dial.

The pump imagines the typical patient of that age, weight, height and sex; it is not told how this one differs. Left
alone (``titration=None``) the target is what brings the imagined patient to BIS 50. Titrated, the target is moved by a
step every few minutes while BIS stays outside 40 to 60, and that of a second drug while the blood pressure is low or
high: plain rules in place of a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..controller.tci import TargetControlledInfusion, concentration_for
from ..models import load
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individuals
from ..virtual.world import Observation
from .policy import Policy

__all__ = ["Pump", "TargetControlled", "Titration"]


@dataclass(frozen=True, slots=True)
class Pump:
    """One drug's pump.

    Args:
        model: id of the model inside the pump.
        target: concentration of the site; None: where the pump's typical patient has the policy's BIS.
        site: "effect" or "plasma".
        limit: highest rate, amount/kg/min (propofol: 2 mg/kg/min; remifentanil: 2 µg/kg/min).
    """

    model: str = "propofol_eleveld2018"
    target: float | None = None
    site: str = "effect"
    limit: float = 2.0


@dataclass(frozen=True, slots=True)
class Titration:
    """When and by how much a pump's target is moved: ours, after clinical habit.

    Args:
        step: concentration. every: min at least between changes. low, high: BIS (mmHg), a mean of the last ``over``
            min: below, the target is lowered, above it is raised.
        least, most: concentrations between which the target stays.
    """

    step: float = 0.5
    every: float = 2.0
    low: float = 40.0
    high: float = 60.0
    over: float = 0.5
    least: float = 1.0
    most: float = 8.0


class TargetControlled(Policy):
    """Target-controlled infusion for n patients, one pump for each drug (each column of the action).

    Args:
        pumps: in the order of the actions; default propofol alone, Eleveld's model.
        interval: min between decisions.
        titration: of the first pump by BIS; None: the target stays. relief: of the last pump by the blood pressure.
        bis: what the target aims at where none is given.
        quality: readings of a lower signal quality are left out.
    """

    def __init__(
        self,
        pumps: Sequence[Pump] = (Pump(),),
        interval: float = 1 / 12,
        titration: Titration | None = None,
        relief: Titration | None = None,
        bis: float = 50.0,
        quality: float = 50.0,
    ) -> None:
        self.pumps, self.interval, self.titration = tuple(pumps), interval, titration
        self.bis, self.quality, self.relief = bis, quality, relief
        self.name = "tci" if titration is None else "tci, titrated"
        if not self.pumps:
            raise DoseloopError("target-controlled infusion: name at least one pump")

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients: ``weight``, and ``age``, ``height``, ``sex`` where a pump's model asks."""
        self._tci, self._targets, self._started = [], [], False
        for pump in self.pumps:
            m = load(pump.model)
            personal = {c.name for c in m.covariates} & {"age", "weight", "height", "sex"} | {"weight"}
            missing = sorted(personal - set(known))
            if missing:
                raise DoseloopError(f"target-controlled infusion with '{m.id}' needs {', '.join(missing)}")
            rows = [np.broadcast_to(np.asarray(known.get(c.name, c.typical), float), (n,)) for c in m.covariates]
            p = individuals(m, np.stack(rows, axis=1))
            limit = pump.limit * np.asarray(known["weight"], dtype=float)
            self._tci.append(TargetControlledInfusion(m, p, site=pump.site, interval=self.interval, limit=limit))
            goal = concentration_for(m, p, self.bis) if pump.target is None else np.full(n, pump.target)
            self._targets.append(np.array(goal, dtype=float))
        # of BIS, of the pressure: the mean, and when a target was moved for it
        self._level, self._changed = np.full((2, n), np.nan), np.zeros((2, n))

    @property
    def targets(self) -> np.ndarray:
        """(n, drugs) the targets now."""
        return np.stack(self._targets, axis=1)

    def act(self, seen: Observation) -> np.ndarray:
        """Rates (n, drugs)."""
        if self._started:
            for tci, given in zip(self._tci, np.asarray(seen.delivered, dtype=float).T):
                tci.advance(np.where(np.isfinite(given), given, 0.0))
        self._started = True
        if self.titration is not None:
            good = np.isfinite(seen.reading) & (seen.quality >= self.quality)
            self._titrate(0, 0, seen.reading, good, seen.time, self.titration)
        if self.relief is not None:
            self._titrate(1, len(self.pumps) - 1, seen.pressure, np.isfinite(seen.pressure), seen.time, self.relief)
        return np.stack([tci.rates(goal) for tci, goal in zip(self._tci, self._targets)], axis=1)

    def _titrate(self, k: int, pump: int, value: np.ndarray, good: np.ndarray, time: float, t: Titration) -> None:
        level, changed, target = self._level[k], self._changed[k], self._targets[pump]
        first = good & np.isnan(level)
        level[first] = value[first]
        share = -np.expm1(-self.interval / t.over)
        level += np.where(good, share * (value - level), 0.0)
        due = time - changed >= t.every - 1e-9
        # towards the target that the effect site has not reached yet there is nothing to add
        near = np.abs(self._tci[pump].effect - target) < 0.1 * target
        move = np.where(level > t.high, t.step, np.where(level < t.low, -t.step, 0.0))
        move = np.where(due & near, move, 0.0)
        target[:] = np.clip(target + move, t.least, t.most)
        changed[move != 0] = time
