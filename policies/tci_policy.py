"""Target-controlled infusion to an effect-site concentration, held: what a pump in the theatre does without BIS."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..controller.tci import TargetControlledInfusion
from ..models import load
from ..pkpd.individuals import individuals
from ..pkpd.model import Model
from ..virtual.world import Observation
from .following import covariates_of
from .policy import Policy

__all__ = ["EffectSiteTCI"]


PHARMACODYNAMICS = "propofol_eleveld2018"


class EffectSiteTCI(Policy):
    """A fixed effect-site target for each patient: the concentration at which the typical patient of that age has a BIS
    of ``bis`` by Eleveld 2018.

    Args:
        model_id: whose kinetics the pump holds.
        interval: min.
        bis: target index.
        rate: largest rate, mg/min.
    """

    name = "TCI"

    def __init__(
        self, model_id: str = PHARMACODYNAMICS, interval: float = 1 / 12, bis: float = 50.0, rate: float = 400.0
    ) -> None:
        self.model, self.interval, self.bis, self.rate = load(model_id), interval, bis, rate

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n patients: age, weight, height, sex, (n,) each."""
        effect = typical_patients(load(PHARMACODYNAMICS), known, n)
        ratio = effect["e0"] / self.bis - 1.0
        # the sigmoid is steeper below Ce50, where BIS is above half of E0, than above it
        gamma = np.where(ratio < 1.0, effect["gamma_low"], effect["gamma_high"])
        self.target = effect["ce50"] * ratio ** (1 / gamma)
        parameters = np.column_stack(list(typical_patients(self.model, known, n).values()))
        self.pump = TargetControlledInfusion(self.model, parameters, interval=self.interval, limit=self.rate)
        self._began = False

    def act(self, seen: Observation) -> np.ndarray:
        """(n, 1) mg/min."""
        if self._began:
            self.pump.advance(seen.delivered[:, 0])
        self._began = True
        return self.pump.rates(self.target)[:, None]


def typical_patients(model: Model, known: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
    """Individual parameters by name, (n,) each, of the typical patients with these covariates."""
    cov = covariates_of(model, known, n)
    p = individuals(model, cov, np.zeros((n, len(model.effects))))
    return dict(zip(model.individual_units, p.T))
