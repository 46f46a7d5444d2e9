"""Three compartments and an effect site: the one text of these equations, for every anaesthetic in the folder.

States ``central``, ``fast`` and ``slow`` hold amounts, ``effect`` a concentration; parameters ``v1 v2 v3`` (volumes),
``cl q2 q3`` (clearances) and ``ke0``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..pkpd.model import State

__all__ = ["AMOUNTS_PROPOFOL", "AMOUNTS_REMIFENTANIL", "CLEARANCES", "VOLUMES", "Given", "Named", "flow", "named"]

VOLUMES = {"v1": "L", "v2": "L", "v3": "L"}
CLEARANCES = {"cl": "L/min", "q2": "L/min", "q3": "L/min"}


def _states(amount: str, concentration: str) -> tuple[State, ...]:
    return (
        State("central", amount, "blood and what mixes with it at once"),
        State("fast", amount, "well perfused tissues"),
        State("slow", amount, "poorly perfused tissues"),
        State("effect", concentration, "effect-site concentration; the site holds no drug to speak of"),
    )


AMOUNTS_PROPOFOL = _states("mg", "ug/mL")
AMOUNTS_REMIFENTANIL = _states("ug", "ng/mL")


def flow(x: Any, p: Any) -> dict[str, Any]:
    """Time derivatives: exchange with two compartments, elimination from the central one, effect site by ke0."""
    c1 = x.central / p.v1
    fast = p.q2 * (c1 - x.fast / p.v2)
    slow = p.q3 * (c1 - x.slow / p.v3)
    return {"central": -p.cl * c1 - fast - slow, "fast": fast, "slow": slow, "effect": p.ke0 * (c1 - x.effect)}


class Named:
    """Fields read under a suffix: ``Named(x, "_remifentanil").central`` is ``x.central_remifentanil``.

    So one drug's functions serve in a model of two drugs.
    """

    __slots__ = ("_fields", "_suffix")

    def __init__(self, fields: Any, suffix: str) -> None:
        self._fields, self._suffix = fields, suffix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fields, name + self._suffix)


class Given:
    """Fields with some values given: ``Given(cov, opioid=1.0).opioid`` is 1, all others are ``cov``'s."""

    __slots__ = ("_fields", "_values")

    def __init__(self, fields: Any, **values: float) -> None:
        self._fields, self._values = fields, values

    def __getattr__(self, name: str) -> Any:
        return self._values[name] if name in self._values else getattr(self._fields, name)


def named(values: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    """The same values under names with the suffix."""
    return {name + suffix: value for name, value in values.items()}
