"""Environments over the worlds of the closed loops: one compiled call a step, the gate inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..pkpd.calls import addresses
from ..pkpd.errors import DoseloopError
from ..pkpd.lanes import LANES
from ..therapies.closed_loop import LoopTherapy
from ..therapies.gate import HARMLESS, Gate
from ..virtual.world import LoopWorld, Observation
from . import loop_core as e
from .belief import Believed
from .episode import episode_draws
from .randomise import Randomised
from .spaces import Feature, Lever
from .vector import DosingVectorEnv

__all__ = ["LoopVectorEnv"]


class LoopVectorEnv(DosingVectorEnv):
    """n patients of a loop's therapy in a world; `GlucoseVectorEnv` and `PropofolVectorEnv` say which.

    Attributes:
        world, gate, therapy: what is inside. guard: whether doses pass the gate. believed: the twin whose belief is
            observed, or None. randomised: what episodes draw.
    """

    _loop: Callable[[int, int, int], None]
    _settle: Callable[[int, int, int], None]
    known_names: tuple[str, ...] = ()

    def _build(
        self,
        therapy: LoopTherapy,
        world: LoopWorld,
        *,
        features: Sequence[Feature],
        levers: Sequence[Lever],
        steps: int,
        mode: int,
        kernel: int,
        guard: bool,
        rows: int,
        base: Mapping[str, Any],
        believed: Believed | None,
        randomised: Randomised,
    ) -> None:
        beside = () if believed is None else believed.features
        super().__init__(world.n, features=features, levers=levers, steps=steps, beside=beside, **base)
        self.believed, self.randomised = believed, randomised
        if not isinstance(guard, bool):
            raise DoseloopError(f"{self.name}: guard is True or False, not {guard!r}")
        if len(world.actions) != len(therapy.actuators):  # the compiled step writes one row for each actuator
            raise DoseloopError(
                f"{self.name}: model '{world.people.model.id}' takes {', '.join(world.actions)}; this "
                f"environment gives {', '.join(f'{x.name} {x.unit}' for x in therapy.actuators)}"
            )
        self.therapy, self.world, self.guard = therapy, world, guard
        self.metadata["guard"] = guard
        self.gate = Gate(therapy, world.interval)
        known = world.people.known
        self.gate.seat(known, world.n)
        blocks, a = world.blocks, len(therapy.actuators)
        width, wide = blocks * LANES, self.scale.box.shape[0]
        scale = self.scale.affine()[: len(features)]
        minutes = 2 * np.pi * np.arange(1440) / 1440.0
        spare = LANES * (self.gate.shape("GATE")[1] + self.gate.shape("MONITOR")[1])
        self._arrays = {
            "ASKED": np.zeros((width, len(levers))),
            "PARTS": self._table,
            "ALLOWED": np.zeros((width, a)),
            "MASKS": np.zeros((width, a), dtype=np.int64),
            "WHICH": np.append(self._stacked, 0).astype(np.int64),
            "SCALE": np.ascontiguousarray(scale),
            "OWN": np.column_stack([np.asarray(known[k], dtype=float) for k in self.known_names]),
            "OWN_STATE": np.zeros((blocks, rows, LANES)),
            "SPARE": np.zeros(spare),
            "CLOCK": np.column_stack([np.sin(minutes), np.cos(minutes)]),
            "TERMS": np.zeros((blocks, 8, LANES)),
        }
        self._shown = np.zeros((width, wide), dtype=np.float32)
        values = {
            "WORLD": world.address,
            "GATE": self.gate.address,
            "PEOPLE": world.n,
            "WIDTH": width,
            "LEVERS": len(levers),
            "MODE": mode,
            "GUARDED": int(guard),
            "HARMLESS": HARMLESS,
            "SHOWN": int(self._shown.ctypes.data),
            "WIDE": wide,
            "FEATURES": len(features),
            "STACK": self.stack,
            "STACKED": len(self._stacked),
            "OWN_COUNT": len(self.known_names),
            "OWN_ROWS": rows,
            "RISK": kernel,
            "ENDED": self._table.ctypes.data + 8 * width * (self._many + 4),
            "ROW": getattr(self.gate.monitor, "at", 0),
        }
        self._job = np.zeros(40, dtype=np.int64)
        for name, value in (values | dict(zip(self._arrays, addresses(list(self._arrays.values()))))).items():
            self._job[getattr(e, name)] = value
        self._address = int(self._job.ctypes.data)
        self._asked = self._arrays["ASKED"][: world.n]

    @property
    def seen(self) -> Observation:
        """What the bedside knows now; each patient's own time is ``clock``."""
        return self.world.observe()

    @property
    def known(self) -> Mapping[str, np.ndarray]:  # type: ignore[override]
        """What the usual protocol knows of who is in the lanes, (n,) by name."""
        who = self.world.who
        return {k: v[who] for k, v in self.world.people.known.items()}

    def _draw(self, lanes: np.ndarray, u: np.ndarray) -> None:
        """What else an episode draws: uniforms (m, 7) of these lanes (indices)."""

    def _admit(self, lanes: np.ndarray, seeds: np.ndarray, episodes: np.ndarray) -> None:
        rows = np.flatnonzero(lanes)
        u = episode_draws(seeds[rows], episodes[rows], 8)
        who = (u[:, 0] * len(self.world.people)).astype(np.int64)
        self._draw(rows, u[:, 1:])
        self.randomised.draw(rows, seeds[rows], episodes[rows])
        self.world.admit(rows, seeds[rows], who, episodes[rows])
        self._settle(self._address, 0, self.world.blocks)
        self._arrays["MASKS"][rows], self._arrays["ALLOWED"][rows] = 0, 0.0
        if self.believed is not None:
            self._put_belief(self.believed.admit(lanes, self.world.who, self.seen))

    def _advance(self, asked: np.ndarray) -> None:  # already where the loop reads it
        self.world.run(self._loop, self._address)
        if self.believed is not None:
            self._put_belief(self.believed.step(self.seen))

    def _put_belief(self, columns: np.ndarray) -> None:
        self._shown[: self.num_envs, -columns.shape[1] :] = columns

    def _move(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError("the compiled step writes its rows itself")

    def _observe(self) -> np.ndarray:
        return self._shown[: self.num_envs].copy()

    def _features(self) -> np.ndarray:
        return self.scale.values(self._shown[: self.num_envs])[:, : self._job[e.FEATURES]]

    def _notes(self) -> dict[str, np.ndarray]:
        n = self.num_envs
        return {"allowed": self._arrays["ALLOWED"][:n].copy(), "guard": self._arrays["MASKS"][:n].copy()}

    def privileged(self) -> dict[str, np.ndarray]:
        """The plant's true outputs and states, the truth of the last interval, who is in the lanes, and their true
        parameters."""
        world = self.world
        return {
            **world.outputs,
            "truth": world.truth,
            "state": world.state,
            "who": world.who,
            "parameters": world.parameters,
        }
