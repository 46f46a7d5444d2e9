"""How well depth was held, from the true BIS of each tick.

- Performance error PE = 100 (BIS − target)/target; MDPE its median, MDAPE the median of |PE|, wobble the median of
  |PE − MDPE|, divergence the slope of |PE| over time, % per hour: Varvel 1992 (J Pharmacokinet Biopharm 20:63),
  Struys 2001.
- Global score (MDAPE + wobble) / share of time in 40–60: Liu 2006 (Anesthesiology 104:686).
- Settling: first time from which BIS stays in 40–60 for 30 s. IAE: ∫|BIS − target| dt, BIS·s. Overshoot: how far BIS
  fell below target at most before the end of induction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..pkpd.errors import DoseloopError

__all__ = ["SCORES", "anaesthesia_scores"]

SCORES = {
    "in_range": "% of time with BIS 40–60",
    "below40": "% of time with BIS below 40",
    "above60": "% of time with BIS above 60",
    "went_below40": "1 where BIS was below 40 at any time",
    "mdpe": "median performance error, %",
    "mdape": "median absolute performance error, %",
    "wobble": "%",
    "divergence": "% per hour",
    "global": "global score",
    "settling": "min until BIS has come to 40–60 for 30 s; infinite where it never did",
    "iae": "integral of |BIS − target|, BIS·s",
    "overshoot": "BIS below target at most",
}


def anaesthesia_scores(
    bis: np.ndarray, tick: float = 1 / 12, target: float = 50.0, since: float = 0.0, until: float | None = None
) -> Mapping[str, np.ndarray]:
    """Scores of n operations by name (`SCORES`), (n,) each.

    Args:
        bis: (n, ticks) true BIS at the end of each tick, from minute 0.
        tick: min.
        target: BIS.
        since, until: min between which the scores count (all but ``settling``, which counts from 0).

    Raises:
        DoseloopError: BIS is not finite or not within 0 to 100, or the window holds nothing.
    """
    whole = np.array(bis, dtype=float, ndmin=2)
    if not ((whole >= 0) & (whole <= 100)).all():
        raise DoseloopError("anaesthesia scores: BIS lies between 0 and 100")
    time = tick * np.arange(1, whole.shape[1] + 1)
    inside = (time > since) & (time <= (np.inf if until is None else until) + 1e-9)
    if not inside.any():
        raise DoseloopError(f"anaesthesia scores: no tick between {since} and {until} min")
    b, t = whole[:, inside], time[inside]
    error = 100.0 * (b - target) / target
    mdpe = np.median(error, axis=1)
    mdape = np.median(np.abs(error), axis=1)
    wobble = np.median(np.abs(error - mdpe[:, None]), axis=1)
    hours = (t - t.mean()) / 60.0
    spread = (hours**2).sum()
    slope = (np.abs(error) * hours).sum(axis=1) / spread if spread > 0 else np.zeros(len(b))
    share = lambda mask: 100.0 * mask.mean(axis=1)  # noqa: E731
    in_range = share((b >= 40) & (b <= 60))
    with np.errstate(divide="ignore"):
        score = np.where(in_range > 0, (mdape + wobble) / (in_range / 100.0), np.inf)
    return {
        "in_range": in_range,
        "below40": share(b < 40),
        "above60": share(b > 60),
        "went_below40": (b < 40).any(axis=1).astype(float),
        "mdpe": mdpe,
        "mdape": mdape,
        "wobble": wobble,
        "divergence": slope,
        "global": score,
        "settling": _settling(whole, tick),
        "iae": np.abs(b - target).sum(axis=1) * tick * 60.0,
        "overshoot": np.maximum(target - b.min(axis=1), 0.0),
    }


def _settling(bis: np.ndarray, tick: float, hold: float = 0.5) -> np.ndarray:
    """The first time from which BIS lies in 40–60 for ``hold`` minutes, min."""
    need = max(1, round(hold / tick)) + 1  # samples from the first to ``hold`` minutes later
    good = (bis >= 40) & (bis <= 60)
    count = np.cumsum(np.concatenate([np.zeros((len(bis), 1)), good], axis=1), axis=1)
    if bis.shape[1] < need:
        return np.full(len(bis), np.inf)
    runs = count[:, need:] - count[:, :-need] == need
    found = runs.any(axis=1)
    return np.where(found, tick * (runs.argmax(axis=1) + 1), np.inf)
