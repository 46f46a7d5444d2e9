"""How well glucose was held, from the true glucose of each minute: consensus times in range, risk indices, endings.

A run that ended (below 10 or above 600 mg/dL) is out of range on that side for all the time that was left: otherwise
the earliest death would have the best time in range.

- Times in range, coefficient of variation: international consensus, Battelino 2019 (Diabetes Care 42:1593), Battelino
  2023 (tight range 70–140).
- LBGI, HBGI: Kovatchev 1997, 2006: f = 1.509 (ln(G)^1.084 − 5.381), risk 10 f², low where f < 0.
- Magni risk: Magni 2007, 10 (3.5506 (ln(G)^0.8353 − 3.7932))², as simulators and learning environments use it.
- GRI: Klonoff 2022: 3.0 (<54) + 2.4 (54–70) + 1.6 (>250) + 0.8 (180–250), per cent of time, at most 100.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..pkpd.errors import DoseloopError

__all__ = ["SCORES", "glucose_scores", "kovatchev_risk", "magni_risk", "persist"]

LOWEST, HIGHEST = 10.0, 600.0  # mg/dL: outside, a run has ended

SCORES = {
    "tir": "% of time 70–180 mg/dL",
    "titr": "% of time 70–140",
    "tbr": "% of time below 70",
    "tbr54": "% of time below 54",
    "tar": "% of time above 180",
    "tar250": "% of time above 250",
    "mean": "mg/dL",
    "cv": "coefficient of variation, %",
    "lbgi": "low blood glucose index",
    "hbgi": "high blood glucose index",
    "magni": "mean Magni risk",
    "gri": "glycaemia risk index",
    "ended": "1 where the run ended early",
}


def kovatchev_risk(glucose: np.ndarray) -> np.ndarray:
    """Signed: −10 f² where f < 0, 10 f² above (f of Kovatchev 1997; mg/dL, from 20 to 600, ends outside)."""
    f = 1.509 * (np.log(np.clip(glucose, 20.0, 600.0)) ** 1.084 - 5.381)
    return np.sign(f) * 10.0 * f**2


def magni_risk(glucose: np.ndarray) -> np.ndarray:
    """Magni 2007: 0 at 139 mg/dL, rising to both sides (glucose at least 10 mg/dL)."""
    return 10.0 * (3.5506 * (np.log(np.maximum(glucose, 10.0)) ** 0.8353 - 3.7932)) ** 2


def persist(glucose: np.ndarray, horizon: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A copy in which an ending lasts: from the first value below 10 or above 600 on, that value up to the horizon.

    Args:
        glucose: (n, minutes) mg/dL; what follows an ending may be anything, NaN too.
        horizon: minutes the run was meant to last (default: as many as are given).

    Returns:
        (n, horizon) mg/dL, and (n,) whether the run ended.

    Raises:
        DoseloopError: a value before the ending is not finite, or a run that did not end is short of its horizon.
    """
    g = np.array(glucose, dtype=float, ndmin=2)
    n, given = g.shape
    horizon = given if horizon is None else int(horizon)
    out = (g < LOWEST) | (g > HIGHEST)
    ended: np.ndarray = np.asarray(out.any(axis=1))
    first = np.where(ended, out.argmax(axis=1), given)
    before = np.arange(given) < first[:, None]
    bad = []
    if (~np.isfinite(g) & before).any():
        bad.append(
            f"glucose is not finite in {int((~np.isfinite(g) & before).any(axis=1).sum())} runs that had not ended"
        )
    if given < horizon and not ended.all():
        bad.append(f"{int((~ended).sum())} runs of {given} min did not end and are short of {horizon} min")
    if given > horizon:
        bad.append(f"{given} min are given; the horizon is {horizon}")
    if bad:
        raise DoseloopError([f"glucose scores: {b}" for b in bad])
    full = np.concatenate([g, np.full((n, horizon - given), np.nan)], axis=1)
    last = np.take_along_axis(g, np.minimum(first, given - 1)[:, None], axis=1)
    return np.where(np.arange(horizon) < first[:, None], full, last), ended


def glucose_scores(glucose: np.ndarray, horizon: int | None = None) -> Mapping[str, np.ndarray]:
    """Scores of n runs by name (`SCORES`), (n,) each.

    Args:
        glucose: (n, minutes) true glucose at each minute, mg/dL.
        horizon: see `persist`.
    """
    g, ended = persist(glucose, horizon)
    share = lambda mask: 100.0 * mask.mean(axis=1)  # noqa: E731
    below, low, high, above = share(g < 54), share((g >= 54) & (g < 70)), share((g > 180) & (g <= 250)), share(g > 250)
    risk, mean = kovatchev_risk(g), g.mean(axis=1)
    return {
        "tir": share((g >= 70) & (g <= 180)),
        "titr": share((g >= 70) & (g <= 140)),
        "tbr": share(g < 70),
        "tbr54": below,
        "tar": share(g > 180),
        "tar250": above,
        "mean": mean,
        "cv": 100.0 * g.std(axis=1) / mean,
        "lbgi": np.maximum(-risk, 0.0).mean(axis=1),
        "hbgi": np.maximum(risk, 0.0).mean(axis=1),
        "magni": magni_risk(g).mean(axis=1),
        "gri": np.minimum(100.0, 3.0 * below + 2.4 * low + 1.6 * above + 0.8 * high),
        "ended": ended.astype(float),
    }
