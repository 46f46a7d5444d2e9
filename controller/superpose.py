"""Sums of courses, compiled: a regimen of a linear model is its doses' own courses on the one without them."""

from __future__ import annotations

import numpy as np

from ..pkpd.jit import jit

__all__ = ["first_and_rest", "regimens"]


@jit
def first_and_rest(units, at):
    """A unit dose at the first start, and one at every other start together.

    Args:
        units: (draws, lengths, lags) course of a unit dose by infusion length and time since its start.
        at: (starts, times) place among the lags of the time since each start; −1 before it.

    Returns:
        two arrays (draws, lengths, times).
    """
    draws, lengths, _ = units.shape
    starts, times = at.shape
    first, rest = np.zeros((draws, lengths, times)), np.zeros((draws, lengths, times))
    for d in range(draws):
        for j in range(lengths):
            for t in range(times):
                if at[0, t] >= 0:
                    first[d, j, t] = units[d, j, at[0, t]]
                total = 0.0
                for s in range(1, starts):
                    if at[s, t] >= 0:
                        total += units[d, j, at[s, t]]
                rest[d, j, t] = total
    return first, rest


@jit
def regimens(base, first, rest, which, amounts):
    """Courses of regimens of a first dose and a repeated one.

    Args:
        base: (draws, times) the course without them; ``first``, ``rest``: see `first_and_rest`.
        which: (regimens, 2) infusion length of the first and of the repeated dose; ``amounts`` (regimens, 2).

    Returns:
        (draws, regimens, times).
    """
    draws, times = base.shape
    out = np.empty((draws, len(which), times))
    for d in range(draws):
        for q in range(len(which)):
            i, k, a, b = which[q, 0], which[q, 1], amounts[q, 0], amounts[q, 1]
            for t in range(times):
                out[d, q, t] = first[d, i, t] * a + rest[d, k, t] * b + base[d, t]
    return out
