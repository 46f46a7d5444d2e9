"""Formulas of physiology that several models share, in the words of `pkpd.ops`.

They run on floats, on the symbols of the trace and on units alike; every number carries its unit.
"""

from __future__ import annotations

from typing import Any

from .ops import const, where

__all__ = ["cockcroft_gault"]


def cockcroft_gault(age: Any, weight: Any, sex: Any, scr: Any) -> Any:
    """Creatinine clearance in mL/min: (140 − age) · weight / (72 · SCr), times 0.85 in women.

    Cockcroft & Gault, Nephron 1976;16:31-41. Which weight (total, ideal, adjusted), and any floor on SCr or cap on the
    result, are the calling model's: papers differ.

    Args:
        age: year.
        weight: kg.
        sex: 0 male, 1 female.
        scr: serum creatinine, mg/dL.
    """
    per = const(72.0, "year*kg*dL*min/(mg*mL)")
    return (const(140.0, "year") - age) * weight / (per * scr) * where(sex > 0.5, 0.85, 1.0)
