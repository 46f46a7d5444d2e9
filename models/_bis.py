"""What every model of BIS shares: the sigmoid, guarded at no drug, and the monitor's delay."""

from __future__ import annotations

from typing import Any

from ..pkpd.ops import const, exp, maximum, power

__all__ = ["bis_of", "monitor_delay"]

# Of the concentration of half effect. Below it, power would have no derivative by its exponent (0 times log 0); with
# the smallest typical exponent, 1.4, BIS differs there by less than 1e-14.
LEAST = 1e-12


def bis_of(potency: Any, gamma: Any, e0: Any) -> Any:
    """BIS at an effect in units of the one that halves BIS; ``gamma`` may depend on it by `where`."""
    return e0 / (1.0 + power(maximum(potency, LEAST), gamma))


def monitor_delay(age: Any, by_age: Any) -> Any:
    """Delay of the BIS monitor in min: 15 s + exp(``by_age`` · age) s (Eleveld 2018)."""
    return (const(15.0, "s") + exp(by_age * age) * const(1.0, "s")) * const(1 / 60, "min/s")
