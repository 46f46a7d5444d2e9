"""What an environment's levers ask for, in the units of the therapy's actuators.

These are the environments' own conversions, known by the levers' units. A test compares with what unguarded
environments hand to the pump.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError
from ..therapies.gate import HARMLESS

__all__ = ["allowed_of", "doses_of"]

TARGET, ABOVE = 140.0, 150.0  # mg/dL: the usual bolus corrects to, and from
MAINTENANCE = 6.0 / 60.0  # mg/kg/min


def doses_of(env: Any, levers: np.ndarray) -> np.ndarray:
    """(n, actuators) of the levers' values (n, levers), which are in the levers' units.

    Args:
        env: the unwrapped environment, at a decision.

    Raises:
        DoseloopError: levers of which nothing is known here.
    """
    units, known = tuple(v.unit for v in env.actions.levers), env.known
    if not hasattr(env.therapy, "actuators"):  # a ward: one dose, in mg, mg/kg or multiples of the usual mg/kg
        per_kg = {"mg": 0.0, "mg/kg": 1.0}.get(units[0], env.usual)
        return np.asarray(levers * (per_kg * known["weight"])[:, None] if per_kg else levers, dtype=float)
    if units == ("U/h", "U") or units == ("mg/min",):
        return levers.astype(float)
    if units == ("U/h",):
        return np.column_stack([levers[:, 0], np.zeros(len(levers))])
    if units == ("× programmed", "× usual"):
        seen, newest = env.seen, env.gate.monitor.row(env.gate.monitor.NEWEST)[: env.num_envs]
        with np.errstate(invalid="ignore"):
            correction = np.where(newest > ABOVE, (newest - TARGET) / known["correction"], 0.0)
        usual = np.where(seen.announced > 0, seen.announced / known["carb_ratio"] + correction, 0.0)
        return np.column_stack([levers[:, 0] * known["basal"], levers[:, 1] * usual])
    if units == ("× 6 mg/kg/h",):
        return np.asarray(levers * (MAINTENANCE * known["weight"])[:, None])
    if units == ("mg",):
        return np.asarray(levers / env.world.interval)
    raise DoseloopError(f"{env.name}: levers in {', '.join(units)} cannot be filtered")


def allowed_of(env: Any, doses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the environment's guard would let through of doses (n, actuators), and the mask (n,) of its reasons.

    Roundings to the pump's increments are left to the pump. Without a guard everything passes.

    Args:
        env: the unwrapped environment, at a decision.
        doses: as of `doses_of`.
    """
    if not env.guard:
        return doses, np.zeros(len(doses), dtype=np.int64)
    if hasattr(env.therapy, "actuators"):
        allowed, masks = env.gate.preview(doses)
        lowered = (masks & ~HARMLESS != 0) & (allowed < doses)
    else:
        allowed, masks = (x[:, None].copy() for x in env.gate.judge(doses[:, 0]))
        lowered = doses - allowed > float(env.therapy.limits.actions[0].increment.value)
    return np.where(lowered, allowed, doses), np.bitwise_or.reduce(np.where(lowered, masks, 0), axis=1)
