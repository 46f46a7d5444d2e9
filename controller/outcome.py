"""How a recommendation can end; every ending is a sentence that a clinician can read."""

from __future__ import annotations

import enum

__all__ = ["Outcome"]


class Outcome(enum.Enum):
    """The endings of :func:`doseloop.recommend`."""

    RECOMMENDED = "A regimen is recommended."
    HOLD = "No dose is advised for now."
    DATA = "No dose is advised: the record does not allow a safe one."
    UNTRUSTED = "No dose is advised: the patient's parameters could not be determined reliably."
    FAILED = "No dose is advised: a computation failed."

    @property
    def gives(self) -> bool:
        """Whether a dose is advised."""
        return self is Outcome.RECOMMENDED
