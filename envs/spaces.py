"""What an observation and an action are made of: named quantities with a unit and a fixed affine scale.

Every feature is ``(value − middle) / half`` of its usual range, so about −1 to 1, and is cut off at documented bounds,
so that an observation lies in its space whatever was done before. Nothing is estimated while training: no running
normaliser is needed, and a policy means the same in every environment of that kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from ..pkpd.errors import DoseloopError
from .tally import decode

__all__ = ["Actions", "Feature", "Lever", "Scale"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of an observation.

    Attributes:
        name, unit: what it is.
        low, high: its usual range: −1 and 1.
        least, most: beyond which it is cut off (default: the usual range).
        what: one sentence for the page of the environment.
        stacked: whether a history holds its past values too.
    """

    name: str
    unit: str
    low: float
    high: float
    least: float | None = None
    most: float | None = None
    what: str = ""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Lever:
    """One column of an action: −1 is ``low``, 1 is ``high``, in ``unit``."""

    name: str
    unit: str
    low: float
    high: float
    what: str = ""


class Scale:
    """Physical values (n, features) to observations, float32 within a Box, and back."""

    def __init__(self, features: Sequence[Feature]) -> None:
        low, high = (np.array([getattr(f, k) for f in features]) for k in ("low", "high"))
        self.features, self.middle, self.half = tuple(features), (low + high) / 2, (high - low) / 2
        self.least = np.array([f.low if f.least is None else f.least for f in features])
        self.most = np.array([f.high if f.most is None else f.most for f in features])
        bad = [f.name for f in features if not (f.low < f.high)]
        bad += [f.name for f, a, b in zip(features, self.least, self.most) if not (a <= f.low and b >= f.high)]
        if bad:
            raise DoseloopError(f"features: low < high, and both within what is cut off: {', '.join(bad)}")
        self._factor = 1.0 / self.half
        self._shift = -self.middle / self.half
        least, most = (self._scaled(v).astype(np.float32) for v in (self.least, self.most))
        self.box = spaces.Box(least, most, dtype=np.float32)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return values * self._factor + self._shift

    def observe(self, values: np.ndarray) -> np.ndarray:
        """Scaled, cut off, float32: (n, features)."""
        cut = self._scaled(np.clip(values, self.least, self.most)).astype(np.float32)
        # float32 of a bound may round past the float32 of the bound computed alone
        return np.clip(cut, self.box.low, self.box.high, out=cut)

    def affine(self) -> np.ndarray:
        """(features, 4): factor, shift, and the bounds after them."""
        return np.column_stack([self._factor, self._shift, self.box.low.astype(float), self.box.high.astype(float)])

    def values(self, observations: np.ndarray) -> np.ndarray:
        """What an observation says, in units (where it was not cut off)."""
        return np.asarray(observations, dtype=float) * self.half + self.middle


class Actions:
    """The action space of one patient, and what an action means.

    Args:
        levers: the columns.
        grid: None for a Box from −1 to 1 (affine; what lies outside is cut off); else the values that may be chosen, in
            the levers' units: one list for all of them or one for each. One lever: Discrete; several: MultiDiscrete.
        who: the name of the environment, for errors.

    Raises:
        DoseloopError: a grid that is empty, not finite or outside a lever's range.
    """

    def __init__(self, levers: Sequence[Lever], grid: Sequence[Any] | None, who: str) -> None:
        self.levers, self.who = tuple(levers), who
        self._low = np.array([v.low for v in levers])
        self._half = np.array([(v.high - v.low) / 2 for v in levers])
        self.grid: list[np.ndarray] | None = None
        if grid is None:
            self.space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (len(levers),), np.float32)
            return
        rows = list(grid)
        each = rows if rows and isinstance(rows[0], Sequence | np.ndarray) else [rows] * len(self.levers)
        found = [np.asarray(r, dtype=float) for r in each]
        bad = [] if len(found) == len(self.levers) else [f"{len(found)} rows for {len(self.levers)} levers"]
        for v, r in zip(self.levers, found):
            if r.ndim != 1 or not len(r) or not np.isfinite(r).all() or (r < v.low).any() or (r > v.high).any():
                bad.append(f"{v.name}: {r.tolist()}; finite values from {v.low:g} to {v.high:g} {v.unit} are meant")
        if bad:
            raise DoseloopError([f"{who}: grid: {b}" for b in bad])
        self.grid = found
        sizes = [len(r) for r in found]
        self.space = spaces.Discrete(sizes[0]) if len(sizes) == 1 else spaces.MultiDiscrete(sizes)

    def asked(self, actions: Any, n: int, out: np.ndarray) -> np.ndarray:
        """Actions of n patients to ``out`` (n, levers) in the levers' units.

        Raises:
            DoseloopError: another shape, NaN or infinity, or no place on the grid; it says whose.
        """
        given = np.asarray(actions)
        width = len(self.levers)
        if self.grid is None:
            if given.shape != (n, width) or given.dtype.kind not in "fiu":
                raise DoseloopError(
                    f"{self.who}: actions are ({n}, {width}) real numbers, not {given.dtype} of shape {given.shape}"
                )
            if decode(np.ascontiguousarray(given, dtype=np.float64), self._low, self._half, out) >= 0:
                rows = np.flatnonzero(~np.isfinite(given).all(axis=1))
                names = ", ".join(v.name for v in self.levers)
                raise DoseloopError(
                    [f"{self.who}: environment {i}: action ({names}) = {given[i].tolist()}" for i in rows[:5]]
                    + [f"{self.who}: an action is finite; {len(rows)} of {n} are not"]
                )
            return out
        if given.shape != ((n,) if width == 1 else (n, width)) or given.dtype.kind not in "iu":
            raise DoseloopError(
                f"{self.who}: actions are {'' if width == 1 else f'({n}, {width}) '}whole numbers, one row an "
                f"environment, not {given.dtype} of shape {given.shape}"
            )
        index = given.reshape(n, width)
        sizes = np.array([len(r) for r in self.grid])
        bad = np.flatnonzero(((index < 0) | (index >= sizes)).any(axis=1))
        if bad.size:
            raise DoseloopError(
                f"{self.who}: environment {bad[0]}: action {index[bad[0]].tolist()}; "
                f"the grid has {sizes.tolist()} places"
            )
        for j, r in enumerate(self.grid):
            out[:, j] = r[index[:, j]]
        return out
