"""Glucose in type 1 diabetes: insulin by a pump, decided every five minutes from a continuous sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import therapies
from ..safety import Code
from ..therapies.gate import Gate
from ..therapies.monitor import GlucoseMonitor
from ..virtual.faults import Fault
from ..virtual.glucose_cohort import glucose_cohort
from ..virtual.glucose_scores import magni_risk
from ..virtual.glucose_world import GlucoseWorld
from ..virtual.life import Life
from ..virtual.meals import Meals
from ..virtual.people import People
from ..virtual.pumps import InsulinPump
from ..virtual.sensors import CGM
from ..virtual.world import Observation
from .episode import episode_draws
from .single import DosingEnv
from .spaces import Feature, Lever
from .vector import DosingVectorEnv

__all__ = ["GlucoseEnv", "GlucoseVectorEnv"]

HARMLESS = Code.INCREMENT.bit | Code.MINIMUM.bit | Code.SUSPENDED_LONG.bit  # rounding and notices: no violation
SCALE = 100.0  # Magni risk that costs 1: about 33 mg/dL, or 590

FEATURES = (
    Feature("glucose", "mg/dL", 40, 260, 10, 600, "newest reading of the sensor", True),
    Feature("age", "min", 0, 30, 0, 120, "since that reading was taken", True),
    Feature("trend", "mg/dL/min", -4, 4, -10, 10, "line through the readings of the last 20 min"),
    Feature("on board", "U", -5, 15, -40, 60, "insulin beyond the programmed basal rate that has not acted yet"),
    Feature("basal", "U/h", 0, 4, 0, 30, "what the pump confirmed over the last interval", True),
    Feature("bolus", "U", 0, 10, 0, 60, "what the pump confirmed over the last interval", True),
    Feature("announced", "g", 0, 100, 0, 400, "carbohydrate announced since the last decision", True),
    Feature("sine", "1", -1, 1, what="time of day: sin 2π h/24"),
    Feature("cosine", "1", -1, 1, what="time of day: cos 2π h/24"),
    Feature("weight", "kg", 15, 120, 5, 250, "body weight"),
    Feature("programmed", "U/h", 0, 2.5, 0, 10, "the usual protocol's basal rate"),
    Feature("ratio", "g/U", 2, 40, 0, 100, "carbohydrate ratio"),
    Feature("factor", "mg/dL/U", 0, 200, 0, 500, "correction factor"),
)


class GlucoseVectorEnv(DosingVectorEnv):
    """n people with type 1 diabetes, a day each."""

    name = "doseloop/Glucose-v0"
    rewards, costs = ("risk",), ("low", "very low", "guard")
    worst = float(magni_risk(np.array([10.0]))[0]) / SCALE
    worst_cost = 3.0

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
        hours: float = 24.0,
        threads: int = 1,
        **base: Any,
    ) -> None:
        therapy = therapies.load_loop("glucose")
        people = patients if isinstance(patients, People) else glucose_cohort(model, split, int(patients), group)
        self.world = GlucoseWorld(
            people,
            interval=therapy.interval,
            sensor=sensor,
            pump=pump,
            meals=meals,
            life=life,
            faults=faults,
            n=num_envs,
            threads=threads,
        )
        self.gate, self.interval = Gate(therapy), therapy.interval
        self._watch: Any = None
        super().__init__(
            num_envs,
            features=FEATURES,
            levers=(Lever("basal", "× programmed", 0, 4), Lever("bolus", "× usual", 0, 2)),
            steps=round(hours * 60 / therapy.interval),
            **base,
        )

    def _admit(self, lanes: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> None:
        u = episode_draws(seeds[lanes], episodes[lanes], 2)
        who = self.world.who if self._begun else np.zeros(self.num_envs, dtype=np.int64)
        who[lanes] = (u[:, 0] * len(self.world.people)).astype(np.int64)
        start = self.world._fixed["MIDNIGHT"]
        start[: self.num_envs][lanes] = np.floor(u[:, 1] * 288) * 5.0
        self.seen: Observation = self.world.reset(seeds, only=lanes if self._begun else None, who=who, place=episodes)
        self.known = {k: v[who] for k, v in self.world.people.known.items()}
        self._renew(lanes)
        self._see(lanes)

    def _renew(self, lanes: np.ndarray) -> None:
        """A new record of the gate for these lanes; the others keep theirs."""
        if not self._begun:
            self.gate.seat(self.world.people.known, self.num_envs)
        self.gate.admit(lanes, self.world.who)
        watch = GlucoseMonitor(self.known, self.num_envs, self.interval)
        if self._watch is not None:
            keep = np.concatenate([~lanes, np.ones(-self.num_envs % 8, dtype=bool)]).reshape(-1, 1, 8)
            watch.state[:] = np.where(keep, self._watch.state, watch.state)
        self._watch = watch
        self._masks = np.zeros((self.num_envs, 2), dtype=np.int64)

    def _see(self, lanes: np.ndarray) -> None:
        """Take in what is seen: newest readings of everybody."""
        n = self.num_envs
        if not hasattr(self, "_glucose"):
            self._glucose, self._when = np.full(n, 140.0), np.zeros(n)
        self._glucose[lanes], self._when[lanes] = 140.0, 0.0
        new = np.isfinite(self.seen.reading)
        self._glucose[new], self._when[new] = self.seen.reading[new], self.seen.reading_time[new]
        reading = np.where(new, self.seen.reading, np.nan)[:, None]
        self._watch.see(reading, self.seen.reading_time[:, None], self.seen.announced)

    def _move(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        basal, ratio, factor = (self.known[k] for k in ("basal", "carb_ratio", "correction"))
        correction = np.where(self._glucose > 150.0, (self._glucose - 140.0) / factor, 0.0)
        usual = np.where(self.seen.announced > 0, self.seen.announced / ratio + correction, 0.0)
        wish = asked * np.column_stack([basal, usual])
        allowed, masks = self.gate.judge(self.seen, wish)
        self.seen = self.world.step(allowed)
        self._watch.given(self.seen.delivered)
        self._see(np.zeros(self.num_envs, dtype=bool))
        truth, self._masks = self.world.truth, masks
        parts = np.stack(
            [
                -magni_risk(truth).mean(axis=1) / SCALE,
                (truth < 70).mean(axis=1),
                (truth < 54).mean(axis=1),
                ((masks & ~HARMLESS) != 0).any(axis=1).astype(float),
            ]
        )
        return parts, self.seen.ended

    def _features(self) -> np.ndarray:
        seen, known = self.seen, self.known
        hour = 2 * np.pi * (seen.clock + self.world._fixed["MIDNIGHT"][: self.num_envs]) / 1440.0
        return np.column_stack(
            [
                self._glucose,
                seen.clock - self._when,
                np.nan_to_num(self._watch.trend()),
                self._watch.on_board,
                seen.delivered,
                seen.announced,
                np.sin(hour),
                np.cos(hour),
                known["weight"],
                known["basal"],
                known["carb_ratio"],
                known["correction"],
            ]
        )

    def _notes(self) -> dict[str, np.ndarray]:
        return {"guard": self._masks.copy()}

    def privileged(self) -> Mapping[str, np.ndarray]:
        """The plant's true outputs, states and person."""
        return {**self.world.outputs, "state": self.world.state, "who": self.world.who}


class GlucoseEnv(DosingEnv):
    """One of them."""

    kind = GlucoseVectorEnv
