"""What the two environments of a ward share: patients, world, guard, what is observed, how a dose is meant."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from .. import therapies
from ..pkpd.calls import addresses
from ..pkpd.errors import DoseloopError
from ..pkpd.lanes import LANES
from ..pkpd.model import Model
from ..therapies.bedside_gate import BedsideGate, infusion_of
from ..virtual.bedside_world import BedsideObservation, BedsideWorld
from ..virtual.levels import Levels
from ..virtual.people import People
from ..virtual.renal import Renal
from . import bedside_code as code
from . import loop_core as e
from .bedside_code import BELIEF, KIDNEYS, WARD
from .belief import believed
from .episode import episode_draws
from .randomise import Randomised
from .spaces import Feature, Lever
from .vector import DosingVectorEnv
from .ward_belief import WardBelieved

__all__ = ["WardVectorEnv"]

FEATURES = (
    Feature("time", "h", 0, 168, 0, 1440, "since admission"),
    Feature("level", "mg/L", 0, 40, 0, 200, "newest known; 0: none, or below the limit of quantification"),
    Feature("level age", "h", 0, 72, 0, 240, "since that sample; 240 and more: none"),
    Feature("level after", "h", 0, 24, 0, 72, "from the start of the dose before that sample to it; 72: none"),
    Feature("level dose", "mg/kg", 0, 30, 0, 60, "that dose"),
    Feature("level 2", "mg/L", 0, 40, 0, 200, "the newest but one, as above"),
    Feature("level 2 age", "h", 0, 72, 0, 240, "since that sample"),
    Feature("level 2 after", "h", 0, 24, 0, 72, "from the dose before it"),
    Feature("level 2 dose", "mg/kg", 0, 30, 0, 60, "that dose"),
    Feature("dose 1", "mg/kg", 0, 30, 0, 60, "given in the last interval"),
    Feature("dose 2", "mg/kg", 0, 30, 0, 60, "in the one before"),
    Feature("dose 3", "mg/kg", 0, 30, 0, 60, "in the one before that"),
    Feature("since dose", "h", 0, 48, 0, 96, "from the start of the last dose; 96: none"),
    Feature("given", "mg/kg", 0, 250, 0, 1000, "since admission"),
)
RENAL = (
    Feature("creatinine", "mg/dL", 0, 4, 0, 20, "the laboratory's of the day"),
    Feature("creatinine rise", "1", -0.5, 0.5, -2, 2, "its logarithm less that of the day before"),
    Feature("clearance", "mL/min", 0, 150, 0, 400, "by Cockcroft and Gault from it"),
)
EXPECTED = (
    Feature("expected level", "mg/L", 0, 40, 0, 400, "now, by the plain rules of `therapies.bedside_rules`"),
    Feature("expected AUC", "mg*h/L", 0, 1000, 0, 5000, "of the last 24 h, by the same"),
    Feature("ratio", "1", -1, 1, -4, 4, "log of measured over expected levels, filtered"),
    Feature("doubt", "1", 0, 0.5, 0, 2, "its standard deviation"),
)


class WardVectorEnv(DosingVectorEnv, abc.ABC):
    """n patients of a drug dosed by the hour. A subclass says who they are, in what doses, and what the truth costs.

    Attributes:
        world, gate, therapy: what is inside. guard: whether doses pass the gate. believed: the twin whose belief is
            observed, or None. randomised: what episodes draw.
    """

    drug = ""
    persons: tuple[Feature, ...] = ()  # of `People.known`, by name
    levers_of: Mapping[str, Lever]  # by the keyword ``action``: units mg, mg/kg, or multiples of ``usual``
    action_kinds: tuple[str, ...] = ()
    usual = 0.0  # mg/kg
    scored = "auc"  # what the truth costs by: "auc" of 24 h, or "level"
    _loop = staticmethod(code.ward_env_step)

    def __init__(
        self,
        num_envs: int,
        people: People,
        *,
        interval: float,
        days: float,
        action: str,
        levels: Levels | str,
        renal: Renal | str,
        maturation: Any,
        guard: bool,
        belief: bool,
        observation: str,
        twin: Model | str | None,
        randomise: Mapping[str, tuple[float, float]] | None,
        threads: int,
        **base: Any,
    ) -> None:
        therapy = therapies.load(self.drug)
        known = people.known
        kinds = ", ".join(self.levers_of)
        bad = [] if action in self.levers_of else [f"action '{action}'; there are {kinds}"]
        bad += [] if isinstance(guard, bool) else [f"guard is True or False, not {guard!r}"]
        bad += [f"patients: known['{f.name}'] is missing" for f in self.persons if f.name not in known]
        if not (days > 0 and abs(days * 24 / interval - round(days * 24 / interval)) < 1e-9):
            bad.append(f"days {days}: a whole number of intervals of {interval} h is meant")
        if bad:
            raise DoseloopError([f"{self.name}: {b}" for b in bad])
        self.world = BedsideWorld(
            people,
            interval=interval,
            infusion=infusion_of(therapy),
            levels=levels,
            renal=renal,
            maturation=maturation,
            n=num_envs,
            threads=threads,
        )
        self.randomised = Randomised(self.name, randomise, self.world)
        self.interval, self.share = interval, interval / 24.0
        self.therapy, self.guard, self.belief = therapy, guard, belief
        self.gate = BedsideGate(therapy, num_envs, interval)
        self.kidneys = "scr" in people.model.names("covariates")
        self._step = float(therapy.limits.actions[0].increment.value)
        lever = self.levers_of[action]
        self._per_kg = {"mg": 0.0, "mg/kg": 1.0}.get(lever.unit, self.usual)
        extra = (*(RENAL if self.kidneys else ()), *(EXPECTED if belief else ()))
        features = (*FEATURES, *extra, *self.persons)
        self._filled = WARD + KIDNEYS * self.kidneys + BELIEF * belief
        laboratory = Levels.named(levels) if isinstance(levels, str) else levels
        kind = partial(
            WardBelieved, people, num_envs, twin or therapy.model_ids[0], interval=interval,
            infusion=infusion_of(therapy), usual=self.usual, loq=laboratory.loq, threads=threads,
        )  # fmt: skip
        self.believed = believed(kind, observation, self.name)
        super().__init__(
            num_envs, features=features, levers=(lever,), steps=round(days * 24 / interval),
            beside=() if self.believed is None else self.believed.features, **base,
        )  # fmt: skip
        self._own = len(features)
        self.metadata["guard"] = guard
        self._build()

    def _build(self) -> None:
        """The job of the compiled step: `bedside_code`, in the layout of `loop_core`."""
        n, width, wide = self.num_envs, self.world.blocks * LANES, self.scale.box.shape[0]
        self._form, self._shown = np.zeros((width, self._own)), np.zeros((width, wide), dtype=np.float32)
        self._arrays = {
            "ASKED": np.zeros((width, 1)),
            "PARTS": self._table,
            "ALLOWED": np.zeros((width, 1)),
            "MASKS": np.zeros((width, 1), dtype=np.int64),
            "SCALE": np.ascontiguousarray(self.scale.affine()[: self._own]),
            "FORM": self._form,
            "ELAPSED": self.elapsed,
            "OWN_NUMBERS": np.array([self._per_kg, self.share, self._step, self.gate.volume]),
        }
        values = {
            "WORLD": self.world.address,
            "GATE": self.gate.address,
            "PEOPLE": n,
            "WIDTH": width,
            "LEVERS": 1,
            "GUARDED": int(self.guard),
            "SHOWN": int(self._shown.ctypes.data),
            "WIDE": wide,
            "FEATURES": self._own,
            "ENDED": self._table.ctypes.data + 8 * width * (self._many + 4),
            "AUC": int(self.scored == "auc"),
            "WITH_KIDNEYS": int(self.kidneys),
            "WITH_BELIEF": int(self.belief),
            "PART_ROWS": len(self._table),
        }
        self._job = np.zeros(code.SLOTS, dtype=np.int64)
        for name, value in (values | dict(zip(self._arrays, addresses(list(self._arrays.values()))))).items():
            self._job[getattr(code, name, None) or getattr(e, name)] = value
        self._address = int(self._job.ctypes.data)
        self._asked = self._arrays["ASKED"][:n]

    @property
    def seen(self) -> BedsideObservation:
        """What the ward knows now; each patient's own time is ``clock``."""
        return self.world.observe()

    @property
    def known(self) -> Mapping[str, np.ndarray]:  # type: ignore[override]
        """What the usual protocol knows of who is in the lanes, (n,) by name."""
        who = self.world.who
        return {k: v[who] for k, v in self.world.people.known.items()}

    def _admit(self, lanes: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> None:
        rows = np.flatnonzero(lanes)
        u = episode_draws(seeds[rows], episodes[rows], 1)
        self.randomised.draw(rows, seeds[rows], episodes[rows])
        who = (u[:, 0] * len(self.world.people)).astype(np.int64)
        self.world.admit(rows, seeds[rows], who, episodes[rows])
        known = self.known
        self.gate.reset(known, lanes)
        for j, f in enumerate(self.persons):
            self._form[rows, self._filled + j] = known[f.name][rows]
        self._arrays["MASKS"][rows], self._arrays["ALLOWED"][rows] = 0, 0.0
        code.ward_admit(self._address, 0, self.world.blocks)
        if self.believed is not None:
            self._put_belief(self.believed.admit(lanes, self.world.who, self.seen))

    def _advance(self, asked: np.ndarray) -> None:  # already where the loop reads it
        self.world.run(self._loop, self._address)
        if self.believed is not None:
            self._put_belief(self.believed.step(self.seen))

    def _put_belief(self, columns: np.ndarray) -> None:
        self._shown[: self.num_envs, self._own :] = columns

    def _move(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError("the compiled step writes its rows itself")

    def _observe(self) -> np.ndarray:
        return self._shown[: self.num_envs].copy()

    def _features(self) -> np.ndarray:
        return self._form[: self.num_envs].copy()

    def _notes(self) -> dict[str, np.ndarray]:
        n = self.num_envs
        return {"allowed": self._arrays["ALLOWED"][:n].copy(), "guard": self._arrays["MASKS"][:n].copy()}

    def privileged(self) -> Mapping[str, np.ndarray]:
        """The plant's true outputs, state, parameters of the day, kidneys, AUC of the last intervals, and who it is."""
        w = self.world
        return {
            **w.outputs,
            "state": w.state,
            "parameters": w.parameters,
            "truth": w.truth,
            **w.renal,
            "exposure": w.exposure,
            "who": w.who,
        }
