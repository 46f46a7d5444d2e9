"""The limits of propofol and of remifentanil by a pump, for one patient and for many: age, body weight."""

from __future__ import annotations

from typing import Any

from ..safety import Kind, Limits, OwnLimits

__all__ = ["propofol_limits", "propofol_limits_of_many", "remifentanil_limits", "remifentanil_limits_of_many"]


def propofol_limits(age: float, weight: float, pressure: bool = False) -> Limits:
    """The table of one patient.

    Args:
        age: years.
        weight: body weight (kg).
        pressure: whether blood pressure is measured and predicted; the table then has its rows.
    """
    raise NotImplementedError


def propofol_limits_of_many(age: Any, weight: Any, pressure: bool = False) -> tuple[Limits, dict[Kind, OwnLimits]]:
    """One table for n patients, and each one's own limits for a bolus and for a rate."""
    raise NotImplementedError


def remifentanil_limits(age: float, weight: float, pressure: bool = False) -> Limits:
    """The same for remifentanil (µg)."""
    raise NotImplementedError


def remifentanil_limits_of_many(age: Any, weight: Any, pressure: bool = False) -> tuple[Limits, dict[Kind, OwnLimits]]:
    """The same for remifentanil (µg)."""
    raise NotImplementedError
