"""The limits of insulin by a pump, for one patient and for many: age class, programmed basal rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..safety import (
    Kind,
    Limits,
    OwnLimits,
)

__all__ = ["GROUPS", "glucose_limits", "glucose_limits_of_many"]

AAPS = "AndroidAPS 3, HardLimits"
OWN = "doseloop's own choice, to be reviewed by whoever uses it"

# By age class: largest bolus (U), basal rate (U/h), insulin on board (U).
GROUPS = {
    "child": (5.0, 2.0, 7.0),
    "teen": (10.0, 5.0, 13.0),
    "adult": (17.0, 10.0, 22.0),
    "resistant": (25.0, 12.0, 30.0),
    "pregnant": (60.0, 25.0, 70.0),
}


def glucose_limits(group: str, basal: float) -> Limits:
    """The table of one patient.

    Args:
        group: age class, one of `GROUPS`.
        basal: programmed basal rate (U/h), what the pump gives without the loop.

    Raises:
        LimitsError: the basal rate is no number, or over the largest of the age class.
    """
    raise NotImplementedError


def glucose_limits_of_many(groups: Sequence[str], basal: Any) -> tuple[Limits, dict[Kind, OwnLimits]]:
    """The table of the widest age class among n patients, and each one's own limits for a bolus and for a rate.

    ``guard_batch(Batch(kind=kind, own=own[kind], …), limits)`` then judges each as `guard` does by `glucose_limits`.
    """
    raise NotImplementedError
