"""Glucose in type 1 diabetes: insulin by a pump, decided every five minutes from a continuous sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import therapies
from ..pkpd.errors import DoseloopError
from ..pkpd.model import Model
from ..twin.follow import Follow
from ..virtual.faults import Fault
from ..virtual.glucose_cohort import glucose_cohort
from ..virtual.glucose_scores import kovatchev_risk, magni_risk
from ..virtual.glucose_world import GlucoseWorld
from ..virtual.life import Life
from ..virtual.meals import Meals
from ..virtual.people import People
from ..virtual.pumps import InsulinPump
from ..virtual.sensors import CGM
from . import glucose_step as s
from .belief import GlucoseBelieved, believed
from .loop_vector import LoopVectorEnv
from .randomise import Randomised
from .risk import GLUCOSE_RISKS, glucose_kernel
from .single import DosingEnv
from .spaces import Feature, Lever

__all__ = ["GlucoseEnv", "GlucoseVectorEnv"]

SCALE = 100.0  # risk that costs 1
AFTER = 240.0  # min after the end that a low to come counts

FEATURES = (
    Feature("glucose", "mg/dL", 40, 260, 10, 600, "newest reading of the sensor (140 before the first)", True),
    Feature("age", "min", 0, 30, 0, 120, "since that reading was taken", True),
    Feature(
        "trend", "mg/dL/min", -4, 4, -10, 10, "line through the readings of the last 20 min; 0 with fewer than two"
    ),
    Feature("on board", "U", -5, 15, -40, 60, "insulin beyond the programmed basal rate that has not acted yet"),
    Feature("pending", "U", 0, 10, 0, 60, "what of a bolus the pump is still to deliver"),
    Feature("basal", "U/h", 0, 4, 0, 30, "what the pump confirmed over the last interval", True),
    Feature("bolus", "U", 0, 10, 0, 60, "what the pump confirmed over the last interval", True),
    Feature("announced", "g", 0, 100, 0, 400, "carbohydrate announced since the last decision", True),
    Feature("carbohydrate", "g", 0, 100, 0, 400, "announced carbohydrate still under way, fading with 40 min"),
    Feature("sine", "1", -1, 1, what="time of day: sin 2π h/24"),
    Feature("cosine", "1", -1, 1, what="time of day: cos 2π h/24"),
    Feature("weight", "kg", 15, 120, 5, 250, "body weight"),
    Feature("programmed", "U/h", 0, 2.5, 0, 10, "the usual protocol's basal rate"),
    Feature("ratio", "g/U", 2, 40, 0, 100, "carbohydrate ratio"),
    Feature("factor", "mg/dL/U", 0, 200, 0, 500, "correction factor"),
)

LEVERS = {
    "multiple": (
        Lever("basal", "× programmed", 0, 4, "of the programmed basal rate"),
        Lever("bolus", "× usual", 0, 2, "of the usual protocol's bolus, which is 0 unless a meal was announced"),
    ),
    "rate": (Lever("rate", "U/h", 0, 10, "one rate for all"),),
    "dose": (Lever("basal", "U/h", 0, 10, "rate"), Lever("bolus", "U", 0, 25, "bolus, begun at once")),
}


class GlucoseVectorEnv(LoopVectorEnv):
    """n people with type 1 diabetes, a day each.

    Args:
        num_envs: n.
        split: "train", "validation" or "test" of the published cohort.
        patients: how many of it, of whom each episode draws one; or `virtual.people.People` of your own.
        group: "adult", "adolescent", "child", "all".
        model: the plant's model.
        meals, sensor, pump, life, faults: what surrounds them (`virtual.glucose_world`). Default: meals announced with
            the usual error of counting, a Dexcom G6, an Omnipod.
        action: "multiple" of the usual protocol, "rate", or "dose" (basal and bolus).
        reward: "magni" or "kovatchev": the risk that counts.
        hours: length of an episode.
        start: hour of the day at which episodes begin; None draws one for each.
        interval: min between decisions (whole).
        scored: output of the model that is the truth of rewards and endings: "glucose" in plasma; "sensor", which the
            usual benchmark scores.
        guard: False hands what is asked to the pump unjudged; ``metadata["guard"]`` and every info tell.
        observation: "raw", or "belief": behind the history stands what the twin believes (`envs.belief`).
        twin: for "belief": the model the twin believes in (default: the plant's), its id, or a statement of what is
            estimated (`twin.follow.Follow`).
        randomise: ranges (low, high) by name of what each episode draws beside its patient (`envs.randomise`); default
            nothing.
        threads: that share the lanes.
        **base: see `vector.DosingVectorEnv`: max_episode_steps, grid, stack, autoreset_mode.

    Raises:
        DoseloopError: listing what does not fit.
    """

    name = "doseloop/Glucose-v0"
    rewards, costs = ("risk",), ("low", "very low", "guard")
    worst_cost = 3.0
    known_names = ("weight", "basal", "carb_ratio", "correction")
    _loop = staticmethod(s.glucose_env_step)
    _settle = staticmethod(s.glucose_admit)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        split: str = "train",
        patients: int | People = 300,
        group: str = "all",
        model: str = "glucose_t1d_uvapadova2008",
        meals: Meals | str = "counted",
        sensor: CGM | str = "dexcom_g6",
        pump: InsulinPump | str = "omnipod",
        life: Life | str = "even",
        faults: Sequence[Fault] = (),
        action: str = "multiple",
        reward: str = "magni",
        hours: float = 24.0,
        start: float | None = None,
        interval: float = 5.0,
        scored: str = "glucose",
        guard: bool = True,
        observation: str = "raw",
        twin: Follow | Model | str | None = None,
        randomise: Mapping[str, tuple[float, float]] | None = None,
        threads: int = 1,
        **base: Any,
    ) -> None:
        therapy = therapies.load_loop("glucose")
        bad = [] if action in LEVERS else [f"action '{action}'; there are {', '.join(LEVERS)}"]
        bad += [] if reward in GLUCOSE_RISKS else [f"reward '{reward}'; there are {', '.join(GLUCOSE_RISKS)}"]
        bad += [] if start is None or 0 <= start < 24 else [f"start {start}: an hour from 0 to 24"]
        if bad:
            raise DoseloopError([f"{self.name}: {b}" for b in bad])
        people = patients if isinstance(patients, People) else glucose_cohort(model, split, int(patients), group)
        world = GlucoseWorld(
            people,
            interval=interval,
            sensor=sensor,
            pump=pump,
            meals=meals,
            life=life,
            faults=faults,
            scored=scored,
            n=num_envs,
            threads=threads,
        )
        worn, eats = world.sensor, world.meals
        kind = partial(GlucoseBelieved, people, interval, twin, sensed=worn.error, announced=eats.silent < 1)
        self.start = start
        self._risk = magni_risk if reward == "magni" else kovatchev_risk
        self.worst = float(np.abs(self._risk(np.array([10.0])))[0]) / SCALE
        self._build(
            therapy,
            world,
            features=FEATURES,
            levers=LEVERS[action],
            steps=round(hours * 60 / interval),
            mode=list(LEVERS).index(action),
            kernel=glucose_kernel(reward),
            guard=guard,
            rows=1,
            base=base,
            randomised=Randomised(self.name, randomise, world),
            believed=believed(kind, observation, self.name),
        )

    def _draw(self, lanes: np.ndarray, u: np.ndarray) -> None:
        assert isinstance(self.world, GlucoseWorld)
        hour = np.floor(u[:, 0] * 288) / 12 if self.start is None else np.full(len(u), self.start)
        self.world.midnight[lanes] = 60.0 * hour

    def _outlook(self, lanes: np.ndarray) -> np.ndarray:
        """Insulin that is still to act is paid for, or an overdose in the last hours would cost nothing.

        From the true glucose at the end: less what the insulin on board (with what the pump still delivers) lowers by
        the correction factor, more by what announced carbohydrate under way raises. Where that is below 70 mg/dL, its
        risk for four hours.
        """
        known, n = self.known, self.num_envs
        board = self.gate.monitor.on_board[:n] + self.world.observe().pending[:, 1]  # type: ignore[attr-defined]
        carbs = self._arrays["OWN_STATE"][:, s.CARBS].reshape(-1)[:n]
        factor = known["correction"]
        ahead = self.world.truth[:, -1] - factor * np.maximum(board, 0.0) + factor / known["carb_ratio"] * carbs
        ahead = np.clip(ahead, 10.0, 600.0)[lanes]
        cost = AFTER / self.world.interval * np.abs(self._risk(ahead)) / SCALE
        return np.where(ahead < 70.0, -cost, 0.0)


class GlucoseEnv(DosingEnv):
    """One person with type 1 diabetes, a day: see `GlucoseVectorEnv`."""

    kind = GlucoseVectorEnv
