"""Formulas of physiology that several models share, in the words of `pkpd.ops`.

They run on floats, on the symbols of the trace and on units alike; every number carries its unit.
"""

from __future__ import annotations

from typing import Any

from .ops import const, power, where

__all__ = ["cockcroft_gault", "fat_free_mass_al_sallami", "lean_body_mass_james"]


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


def fat_free_mass_al_sallami(age: Any, weight: Any, height: Any, sex: Any) -> Any:
    """Fat-free mass in kg, from infants to adults.

    Al-Sallami HS, Goulding A, Grant A, Taylor R, Holford N, Duffull SB. Clin Pharmacokinet 2015;54:1169-1178: the adult
    formula of Janmahasatian and others (Clin Pharmacokinet 2005;44:1051-1065) times a maturation.

    Args:
        age: year.
        weight: kg.
        height: cm.
        sex: 0 male, 1 female.
    """
    metres = height / const(100.0, "cm/m")
    bmi = weight / (metres * metres)
    adult_male = 9270.0 * weight / (6680.0 + const(216.0, "m^2/kg") * bmi)
    adult_female = 9270.0 * weight / (8780.0 + const(244.0, "m^2/kg") * bmi)
    male = 0.88 + 0.12 * _sigmoid(age / const(13.4, "year"), 12.7)
    female = 1.11 - 0.11 * _sigmoid(age / const(7.1, "year"), 1.1)
    return where(sex > 0.5, female * adult_female, male * adult_male)


def lean_body_mass_james(weight: Any, height: Any, sex: Any) -> Any:
    """Lean body mass in kg by James's formula, which has a maximum (BMI 43 in men, 37 in women) and falls beyond it.

    James WPT. Research on obesity. HMSO, London 1976. In extreme obesity it falls to 0 and below: a model that uses it
    is not meant for such patients.

    Args:
        weight: kg.
        height: cm.
        sex: 0 male, 1 female.
    """
    ratio = weight / height
    square = ratio * ratio
    male = 1.1 * weight - const(128.0, "cm^2/kg") * square
    female = 1.07 * weight - const(148.0, "cm^2/kg") * square
    return where(sex > 0.5, female, male)


def _sigmoid(ratio: Any, hill: float) -> Any:
    """x^h / (x^h + 1): the same as 1 / (1 + x^-h), and 0 rather than infinite inside at x = 0."""
    raised = power(ratio, hill)
    return raised / (raised + 1.0)
