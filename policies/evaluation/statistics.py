"""Numbers with their uncertainty: means, interquartile means, worst cases, differences, profiles, all by bootstrap.

Episodes are the unit: each is another patient, so they are independent. Resampling is stratified (within each stratum,
such as an age group, as many are drawn as it has), which keeps the composition that was designed; intervals are
percentile intervals of 95 % (Efron 1993). Interquartile mean and performance profiles: Agarwal 2021 (NeurIPS), whose
``rliable`` computes the same. Conditional value at risk: Rockafellar 2000.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...pkpd.errors import DoseloopError

__all__ = ["STATISTICS", "Estimate", "bootstrap", "iqm", "mean", "median", "paired", "profile", "worst"]

DRAWS, COVERAGE, TAIL = 2000, 0.95, 0.05
CHUNK = 500_000  # numbers resampled at a time

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def mean(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis."""
    return np.asarray(values.mean(axis=-1))


def median(values: np.ndarray) -> np.ndarray:
    """Median along the last axis; infinite where most values are."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.median(values, axis=-1))


def iqm(values: np.ndarray) -> np.ndarray:
    """Mean of the middle half along the last axis: ⌊n/4⌋ values are left out at either end."""
    n, cut = values.shape[-1], values.shape[-1] // 4
    parted = np.partition(values, (cut, n - cut - 1), axis=-1)
    return np.asarray(np.sort(parted[..., cut : n - cut], axis=-1).mean(axis=-1))  # sorted: one order, one sum


def worst(values: np.ndarray) -> np.ndarray:
    """Conditional value at risk: mean of the lowest 5 % along the last axis (at least one value)."""
    many = max(1, int(np.ceil(TAIL * values.shape[-1] - 1e-9)))
    return np.asarray(np.partition(values, many - 1, axis=-1)[..., :many].mean(axis=-1))


STATISTICS: dict[str, Statistic] = {"mean": mean, "iqm": iqm, "worst": worst, "median": median}


def bootstrap(
    values: np.ndarray,
    statistic: Statistic = mean,
    strata: np.ndarray | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """A statistic of n values with its interval.

    Args:
        values: (n,) one an episode; infinite values are allowed where the statistic is (a median).
        statistic: along the last axis.
        strata: (n,) labels; each stratum is resampled on its own. Default: one.
        draws, seed: resamples, and where they come from.

    Raises:
        DoseloopError: no value, NaN, or strata of another length.
    """
    v = np.asarray(values, dtype=float)
    groups = np.zeros(v.shape, dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    if v.ndim != 1 or not len(v) or np.isnan(v).any() or groups.shape != v.shape:
        raise DoseloopError(
            f"bootstrap: (n,) numbers and as many strata are meant, not {v.shape} with {int(np.isnan(v).sum())} NaN "
            f"and strata {groups.shape}"
        )
    found = [statistic(v[picked]) for picked in _picked(groups.astype(np.int32).tobytes(), draws, seed)]
    # a value that was drawn, not one between two, of which one may be infinite
    low, high = np.quantile(np.concatenate(found), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], method="inverted_cdf")
    return Estimate(float(statistic(v)), float(low), float(high))


@lru_cache(maxsize=4)
def _picked(groups: bytes, draws: int, seed: int) -> list[np.ndarray]:
    """Which episodes each resample holds, in chunks (resamples, n): the same for all that is asked of a match."""
    of = np.frombuffer(groups, dtype=np.int32)
    rows = [np.flatnonzero(of == g).astype(np.int32) for g in range(int(of.max()) + 1)]
    rng, many = np.random.default_rng(seed), max(1, CHUNK // len(of))
    sizes = [min(many, draws - first) for first in range(0, draws, many)]
    return [np.concatenate([r[rng.integers(0, len(r), (k, len(r)))] for r in rows], axis=1) for k in sizes]


def paired(
    better: np.ndarray, than: np.ndarray, statistic: Statistic = mean, strata: np.ndarray | None = None
) -> Estimate:
    """Difference ``better - than``, episode by episode, of two policies that met the same patients and noise.

    Raises:
        DoseloopError: they are not as many.
    """
    a, b = np.asarray(better, dtype=float), np.asarray(than, dtype=float)
    if a.shape != b.shape:
        raise DoseloopError(f"paired difference: {a.shape} against {b.shape} episodes")
    return bootstrap(a - b, statistic, strata)


def profile(values: np.ndarray, at: np.ndarray, draws: int = 500, seed: int = 0) -> np.ndarray:
    """Performance profile: (3, points): share of episodes with a value of at least ``at``, and its pointwise band."""
    v = np.sort(np.asarray(values, dtype=float))
    share = lambda s: 1.0 - np.searchsorted(s, at, side="left") / len(s)  # noqa: E731
    rng = np.random.default_rng(seed)
    drawn = np.array([share(np.sort(v[rng.integers(0, len(v), len(v))])) for _ in range(draws)])
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
    return np.stack([share(v), low, high])
