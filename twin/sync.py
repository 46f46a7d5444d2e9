"""Bring a patient's twin up to date: the record under a therapy's models."""

from __future__ import annotations

from ..pkpd.record import Record
from ..therapies import Therapy
from .posterior import Posterior, posterior

__all__ = ["sync"]


def sync(therapy: Therapy, record: Record, *, draws: int = 2000, seed: int = 0) -> Posterior:
    """The posterior of a patient under every rival model of a therapy.

    Args:
        therapy: whose models and prior weights.
        record: the patient's facts: covariates, doses given, levels.
        draws: proposals for each model.
        seed: of the random stream; the same record, therapy and seed give the same bits on one machine.

    Raises:
        RecordError: a covariate that a model needs is missing, or a reading no model predicts.
        SolverError: no starting point led to a most probable patient.
    """
    return posterior(therapy.models, record, therapy.prior_weights, draws=draws, seed=seed)
