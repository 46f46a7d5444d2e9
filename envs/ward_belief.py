"""What ``observation="belief"`` adds on a ward: the twin's posterior of each patient, and what it says of the day.

The twin is the estimator of the ward's MPC (`twin.bedside`), with 2K cubature points in the place of random draws. It
is refitted where a new result came back from the laboratory, and moved ahead by the recorded doses elsewhere. A lane
that is reset begins its twin anew; the other lanes' go on. Nothing here is the truth, and a lane's numbers do not
depend on the other lanes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..models import load
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import individuals, individuals_with_derivatives
from ..pkpd.model import Model
from ..twin.bedside import BedsideTracker, Seen, cubature, moments
from ..twin.bedside_march import DAY, TICK
from ..virtual.bedside_world import Infusion
from ..virtual.people import People
from .spaces import Feature, Scale

__all__ = ["WardBelieved"]

TIMES = math.log(5.0)  # of the typical person's, at which a parameter is shown as −1 or 1
BELIEF = "of that belief"
NOTHING, UNIT = "if nothing is given", "added by 1 mg/kg given now"


class WardBelieved:
    """The columns of n lanes.

    Args:
        people: whom the lanes may hold. lanes: n.
        twin: the model the twin believes in, or its id.
        interval: h between decisions.
        infusion: how long doses run in. usual: mg/kg, of whose duration the dose of 1 mg/kg is taken to be.
        loq: mg/L, the laboratory's limit of quantification.
        threads: that share the lanes.

    Attributes:
        features: of the columns. tracker: the twin. fed: what it is fed with, in words.

    Raises:
        DoseloopError: a model that does not fit.
    """

    fed = "results that are back from the laboratory, recorded doses and each morning's creatinine"

    def __init__(
        self,
        people: People,
        lanes: int,
        twin: Model | str,
        *,
        interval: float,
        infusion: Infusion,
        usual: float,
        loq: float,
        threads: int = 1,
    ) -> None:
        model = load(twin) if isinstance(twin, str) else twin
        bad = [
            f"twin '{model.id}': nobody knows its covariate '{c}'"
            for c in model.names("covariates")
            if c not in (*people.known, "scr", "dialysis")
        ]
        bad += [f"twin '{model.id}': no output concentration"] * ("concentration" not in model.names("outputs"))
        bad += [f"twin '{model.id}': no route iv"] * ("iv" not in model.names("routes"))
        if bad:
            raise DoseloopError(bad)
        self.model, self.infusion, self.usual = model, infusion, usual
        self.tracker = BedsideTracker(
            model, people.known, len(people), cubature(len(model.effects)), interval=interval,
            who=np.zeros(lanes, dtype=np.int64), loq=loq, threads=threads,
        )  # fmt: skip
        self.weights = np.broadcast_to(np.asarray(people.known["weight"], dtype=float), (len(people),))
        self.weight = np.ones(lanes)
        own = np.abs(individuals_with_derivatives(model)[1][0]).max(axis=0) > 0
        self.shown = np.flatnonzero(own)  # parameters in which persons differ
        self.features = tuple(self._features())
        self.scale = Scale(self.features)

    def _features(self) -> Sequence[Feature]:
        pair = lambda name, unit, most, sd, what: [  # noqa: E731
            Feature(name, unit, 0.0, most, 0.0, 10.0 * most, what),
            Feature(f"{name}, SD", unit, 0.0, sd, 0.0, 10.0 * sd, BELIEF),
        ]
        out = [
            *pair("level, twin", "mg/L", 40.0, 10.0, "believed to be now"),
            *pair("AUC24, twin", "mg*h/L", 1000.0, 200.0, "of the last 24 h, or of what there was of them"),
            *pair("AUC24 to come", "mg*h/L", 1000.0, 200.0, f"of the next 24 h, {NOTHING}"),
            *pair("AUC24 per mg/kg", "mg*h/L", 40.0, 10.0, f"of the next 24 h, {UNIT}"),
            *pair("level to come", "mg/L", 40.0, 10.0, f"at the next decision, {NOTHING}"),
            *pair("level per mg/kg", "mg/L", 2.0, 0.5, f"at the next decision, {UNIT}"),
        ]
        names, spread = list(self.model.individual_units), self._prior_spread()
        typical = individuals(self.model)[0]
        for k, sd in zip(self.shown, spread):
            name, unit = names[k], self.model.individual_units[names[k]]
            middle = math.log(typical[k])
            what = f"natural logarithm of the patient's {name} of the day in {unit}; the typical one's is {middle:.3g}"
            ends = (middle - TIMES, middle + TIMES, middle - 4 * TIMES, middle + 4 * TIMES)
            out += [
                Feature(f"log {name}", f"log {unit}", *ends, what),
                Feature(f"log {name}, SD", "1", 0.0, sd, 0.0, 3.0 * sd, f"{BELIEF}; of the population {sd:.3g}"),
            ]
        return out

    def _prior_spread(self) -> list[float]:
        """SD of the logarithm of each parameter that is shown, in the population."""
        eta = cubature(len(self.model.effects)) @ np.linalg.cholesky(self.model.omega).T
        p = individuals(self.model, None, eta)[None, :, self.shown]
        return [float(v) for v in moments(p, logs=True)[0, :, 1]]

    def admit(self, lanes: np.ndarray, who: np.ndarray, seen: Seen) -> np.ndarray:
        """Others stand in the lanes of a mask: the columns of everybody, (n, columns) scaled.

        Args:
            lanes: (n,) mask; the first time all of them. who: (n,) which of the people. seen: now.
        """
        self.tracker.restart(lanes, who)
        self.weight[lanes] = self.weights[who[lanes]]
        self.tracker.see(seen, lanes)
        return self.scale.observe(self._columns())

    def step(self, seen: Seen) -> np.ndarray:
        """An interval has passed for everybody: the columns, scaled."""
        self.tracker.see(seen)
        return self.scale.observe(self._columns())

    def _columns(self) -> np.ndarray:
        """(n, columns), in units."""
        t, plant, w = self.tracker, self.tracker.plant, self.weight
        n, steps = len(w), round(DAY / t.interval)
        length = np.maximum(self.infusion.shortest, self.usual * w / self.infusion.fastest)
        length = np.minimum(TICK * np.ceil(length / TICK - 1e-9), t.interval)
        none, once = np.zeros((n, steps)), np.zeros((n, steps))
        once[:, 0] = w
        long = np.repeat(length[:, None], steps, axis=1)
        _, come, ahead = plant.run(t.parameters, t.state, none, long)
        _, per, up = plant.run(t.parameters, np.zeros_like(t.state), once, long)
        values = [
            t.level,
            _sum(np.moveaxis(t.areas, 1, 2)),
            _sum(come),
            _sum(per),
            ahead[:, :, 0, -1],
            up[:, :, 0, -1],
        ]
        found = [moments(np.stack(values, axis=2)), moments(t.parameters[:, :, self.shown], logs=True)]
        return np.concatenate(found, axis=1).reshape(n, -1)


def _sum(areas: np.ndarray) -> np.ndarray:
    """(n, S, intervals) to (n, S), in one order whatever the batch."""
    return np.asarray(sum(areas[:, :, k] for k in range(areas.shape[2])))
