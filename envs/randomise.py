"""Domain randomisation: what an episode draws beside its patient, within ranges that the user names.

::

    gymnasium.make_vec("doseloop.envs:doseloop/Glucose-v0", num_envs=256,
                       randomise={"sensor_noise": (0.5, 2), "carbohydrate_error": (0, 0.5)})

Each quantity has its own column of the episode's uniforms (`envs.episode`), so that naming one does not move another,
a lane draws the same alone and among thousands, and who the patient is does not change. Factors are log-uniform (half
and double are equally far from 1), other quantities uniform. Nothing is drawn by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..pkpd.errors import DoseloopError
from ..virtual.world import World
from .episode import episode_draws

__all__ = ["QUANTITIES", "Quantity", "Randomised"]

FIRST = 8  # the columns before are the episode's own


@dataclass(frozen=True, slots=True)
class Quantity:
    """What may be randomised: between ``low`` and ``high``; ``factor``: log-uniform. ``what`` for the page."""

    what: str
    low: float = 0.1
    high: float = 10.0
    factor: bool = True


# in the order of their columns, which is for ever: new ones are added at the end
GLUCOSE: Mapping[str, Quantity] = {
    "carbohydrate_error": Quantity("SD of log(announced / eaten) of each meal", 0.0, 2.0, factor=False),
    "meal_size": Quantity("on the grams of all random meals"),
    "silent": Quantity("share of the meals of which nothing is said", 0.0, 1.0, factor=False),
    "sensitivity": Quantity("on insulin's action, all day long; what the usual protocol knows stays", 0.2, 5.0),
    "sensor_noise": Quantity("on the sensor's error"),
}
PROPOFOL: Mapping[str, Quantity] = {
    "clearance": Quantity("on all clearances", 0.2, 5.0),
    "volume": Quantity("on all volumes", 0.2, 5.0),
    "ce50": Quantity("on the effect-site concentration of half the effect", 0.2, 5.0),
    "stimulation": Quantity("on what surgery adds to BIS"),
    "sensor_noise": Quantity("on the monitor's noise and on what artefacts add"),
}
WARD: Mapping[str, Quantity] = {
    "clearance": Quantity("on the drug's clearance", 0.2, 5.0),
    "volume": Quantity("on its volumes", 0.2, 5.0),
    "level_noise": Quantity("on the laboratory's error of levels"),
    "creatinine_noise": Quantity("on its error of creatinine, where the model reads one"),
}
QUANTITIES = {
    "doseloop/Glucose-v0": GLUCOSE,
    "doseloop/Phenobarbital-v0": WARD,
    "doseloop/Propofol-v0": PROPOFOL,
    "doseloop/Vancomycin-v0": WARD,
}


class Randomised:
    """Draws for episodes that begin.

    Args:
        name: of the environment. ranges: (low, high) by quantity; None: nothing. world: where they are set.

    Raises:
        DoseloopError: listing every name that is unknown or of no use for the plant's model, and every range that is
            none.
    """

    def __init__(self, name: str, ranges: Mapping[str, Any] | None, world: World[Any]) -> None:
        known, bad = QUANTITIES[name], []
        self.world, self.ranges = world, {}
        for k, given in (ranges or {}).items():
            q = known.get(k)
            if q is None:
                bad.append(f"'{k}' is unknown; there are {', '.join(known)}")
                continue
            if k not in world.varies:
                bad.append(f"'{k}': the model '{world.people.model.id}' has nothing of that kind")
            try:
                low, high = (float(v) for v in given)
            except (TypeError, ValueError):
                bad.append(f"'{k}' is {given!r}; a pair (low, high) is meant")
                continue
            if not q.low <= low <= high <= q.high:
                bad.append(f"'{k}' is ({low:g}, {high:g}); {q.low:g} ≤ low ≤ high ≤ {q.high:g} is meant")
            self.ranges[k] = (low, high)
        if bad:
            raise DoseloopError([f"{name}: randomise: {b}" for b in bad])
        self._places = {k: (FIRST + j, q.factor) for j, (k, q) in enumerate(known.items()) if k in self.ranges}
        self._columns = FIRST + len(known)

    def draw(self, rows: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> None:
        """Set the world's lanes ``rows`` for the episodes that begin there, before they are admitted.

        Args:
            rows, seeds, episodes: (m,) each.
        """
        if not self._places:
            return
        u = episode_draws(seeds, episodes, self._columns)
        for k, (column, factor) in self._places.items():
            low, high = self.ranges[k]
            drawn = low * (high / low) ** u[:, column] if factor else low + (high - low) * u[:, column]
            self.world.vary(k, rows, drawn)
