"""How the blood pressure was held, from the true mean arterial pressure of each tick.

Under 65 mmHg is where perioperative consensus puts the lower end (POQI, Sessler 2019, Br J Anaesth 122:563); under 55
kidney and heart are injured within minutes (Walsh 2013, Anesthesiology 119:507).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..pkpd.errors import DoseloopError

__all__ = ["PRESSURE_SCORES", "pressure_scores"]

PRESSURE_SCORES = {
    "map": "mean arterial pressure, mmHg",
    "map_below65": "% of time under 65 mmHg",
    "map_below55": "% of time under 55 mmHg",
    "map_least": "lowest mean of a minute, mmHg",
    "map_deficit": "mean shortfall below 65 mmHg, mmHg",
}


def pressure_scores(pressure: np.ndarray, tick: float = 1 / 12, since: float = 0.0) -> Mapping[str, np.ndarray]:
    """Scores of n operations by name (`PRESSURE_SCORES`), (n,) each.

    Args:
        pressure: (n, ticks) true mean arterial pressure at the end of each tick, from minute 0, mmHg.
        tick: min.
        since: min from which on the scores count.

    Raises:
        DoseloopError: a pressure is not finite, or nothing lies after ``since``.
    """
    whole = np.array(pressure, dtype=float, ndmin=2)
    if not np.isfinite(whole).all():
        raise DoseloopError("pressure scores: a pressure is not finite")
    p = whole[:, tick * np.arange(1, whole.shape[1] + 1) > since]
    if not p.shape[1]:
        raise DoseloopError(f"pressure scores: no tick after {since} min")
    wide = min(p.shape[1], max(1, round(1.0 / tick)))
    sums = np.cumsum(np.concatenate([np.zeros((len(p), 1)), p], axis=1), axis=1)
    return {
        "map": p.mean(axis=1),
        "map_below65": 100.0 * (p < 65.0).mean(axis=1),
        "map_below55": 100.0 * (p < 55.0).mean(axis=1),
        "map_least": ((sums[:, wide:] - sums[:, :-wide]) / wide).min(axis=1),
        "map_deficit": np.maximum(65.0 - p, 0.0).mean(axis=1),
    }
