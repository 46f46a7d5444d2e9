"""One interface for everything that chooses a dose in a loop."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import numpy as np

from ..virtual.world import Observation

__all__ = ["Policy"]


class Policy(abc.ABC):
    """Chooses the actions of n patients at every decision. It sees what the bedside sees, and nothing else.

    Attributes:
        name: what tables and plots call it.
        oracle: whether it was given what no bedside has (the true patient); such a policy is a yardstick, never advice.
    """

    name: str = "policy"
    oracle: bool = False

    @abc.abstractmethod
    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients.

        Args:
            known: what the usual protocol knows of each, (n,) each (`People.known`).
            n: how many.
        """

    @abc.abstractmethod
    def act(self, seen: Observation) -> np.ndarray:
        """The asked actions (n, actions), in the units of the therapy's actuators. The guard has the last word."""

    @property
    def outcomes(self) -> np.ndarray | None:
        """(n,) how the last decision came about, as `controller.ladder` numbers it; None for a plain protocol."""
        return None

    def sentence(self, patient: int) -> str:
        """Why the last decision for a patient is what it is, in words."""
        return ""
