"""The world of a closed loop: a batch of virtual patients, their sensors, pumps and disturbances, under one clock.

::

    world = GlucoseWorld(people, interval=5.0, sensor=CGM.named("dexcom_g6"), meals=Meals.named("by weight"))
    seen = world.reset(seed=7)
    while world.time < 1440:
        seen = world.step(policy.act(seen))        # (n, actions): held for the control interval
    world.trace                                     # the truth, for scores only

One jitted call moves everybody by one control interval; nothing of it is Python per patient. Threads share out slices
of blocks. Patient k's numbers depend on its seed and its own history only: alone or among 4,096, on one thread or
two, the same bits (tests/test_world.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ..pkpd.calls import addresses
from ..pkpd.errors import DoseloopError
from ..pkpd.lanes import LANES
from ..pkpd.march import march_of
from ..pkpd.population import starting_states
from ..pkpd.system import system
from ..pkpd.threads import share
from . import core as c
from .lane_draws import ROWS, draws_kernel
from .lanes_of import lanes_of
from .people import People
from .seen import Observation
from .streams import SENSOR

__all__ = ["ENDINGS", "LoopWorld", "Observation", "World", "lanes_of"]

Seen = TypeVar("Seen")
SLICE = 64  # least ticks of blocks in a slice (some 50 µs): waking a thread takes as long

ENDINGS = {
    c.RUNNING: "",
    c.LOW: "glucose below 10 mg/dL",
    c.HIGH: "glucose above 600 mg/dL",
    c.NOT_FINITE: "not finite",
}


class World(Generic[Seen]):
    """A batch of n patients of one model; `GlucoseWorld`, `AnaesthesiaWorld`, `BedsideWorld` say what surrounds them.

    Attributes:
        people: the library of patients; ``who`` (n,) says which of them stands in each lane.
        n: number of patients under way.
        interval: the control interval (``unit``: min, or h); ``tick``: the step of sensors, pumps and truth; ``ticks``
            of it.
        actions: names with units of the columns of an action.
        truth_name: the model output that is scored.
        varies: what may differ from lane to lane (`vary`), by name.
    """

    actions: tuple[str, ...] = ()
    unit = "min"
    integrals = False  # whether the state carries the integrals of the outputs
    _step: Callable[..., None]
    _reset: Callable[..., None]

    def __init__(
        self,
        people: People,
        *,
        n: int | None,
        interval: float,
        tick: float,
        truth: str,
        sensed: str,
        keep: bool,
        threads: int,
        normals: int,
        slots: Mapping[str, int],
        varies: Mapping[str, float],
        shares: Mapping[str, Sequence[str]],
    ) -> None:
        model, self.people = people.model, people
        self.n = len(people) if n is None else int(n)
        self.interval, self.tick = float(interval), float(tick)
        self.ticks = round(self.interval / self.tick)
        names, bad = model.names("outputs"), []
        if self.n < 1 or len(people) < 1:
            bad.append("there is nobody in it")
        if self.ticks < 1 or abs(self.ticks * self.tick - self.interval) > 1e-9 * self.interval:
            bad.append(f"interval {interval} {self.unit} is not a whole number of ticks of {tick} {self.unit}")
        if model.time_unit != self.unit:
            bad.append(f"model '{model.id}' counts time in {model.time_unit}; this loop in {self.unit}")
        bad += [f"model '{model.id}' has no output '{o}'" for o in (truth, sensed) if o not in names]
        if threads < 1:
            bad.append(f"threads must be 1 or more, not {threads}")
        if bad:
            raise DoseloopError([f"world: {b}" for b in bad])
        if any(i.word == "input" and i.args == (0, 0) for i in system(model).rhs().instructions):
            raise DoseloopError(f"world: model '{model.id}' reads the time itself; time-varying effects must be inputs")
        self.truth_name, self.threads = truth, int(threads)
        self.blocks = -(-self.n // LANES)
        self._march = march_of(model, self.tick, integrals=self.integrals)
        self._keep, self._kept = keep, []  # type: tuple[bool, list[np.ndarray]]
        self._slots = dict(slots)
        individual = tuple(model.individual_units)
        own = {k: [individual.index(p) for p in v if p in individual] for k, v in shares.items()}
        self._rows = {k: j for j, k in enumerate(varies)}
        self.varies = tuple(k for k in varies if own.get(k, [0]))
        self._plant(names.index(truth), names.index(sensed), normals)
        self._state["VARY"] = np.repeat(np.array(list(varies.values()), dtype=float)[:, None], LANES, axis=1)
        self._state["VARY"] = np.tile(self._state["VARY"], (self.blocks, 1, 1))
        self._sizes["VARY_ROWS"] = len(varies)
        for name, rows in own.items():
            self._fixed["VARY_OF"][rows] = self._rows[name]
        self.time, self._ready = 0.0, False

    def _plant(self, true: int, sensed: int, normals: int) -> None:
        m, S, B = self._march, self._march.system, self.blocks
        width = B * LANES
        start = self.people.start if self.people.start is not None else starting_states(S, self.people.parameters)
        self._fixed: dict[str, np.ndarray] = {
            "NUMBERS": np.array([self.tick, m.h]),
            "LIBRARY_P": np.ascontiguousarray(self.people.parameters, dtype=float),
            "LIBRARY_X": np.ascontiguousarray(start, dtype=float),
            "S": np.zeros((B, 2, LANES)),
            "MASK": np.zeros(width, dtype=np.int64),
            "ACTION": np.zeros((width, len(self.actions))),
            "OUT": np.zeros((c.O_DELIVERED + 2 * len(self.actions), width)),
            "TRUTH": np.full((self.ticks, width), np.nan),
            "COUNTS": np.zeros((B, 1, LANES), dtype=np.int64),
            "DRAWN": np.zeros((B, ROWS, LANES)),
            "VARY_OF": np.full(S.rows_p, -1, dtype=np.int64),
        }
        # all that changes: a snapshot copies these and nothing else
        self._state: dict[str, np.ndarray] = {
            "X": np.zeros((B, S.rows_x, LANES)),
            "P": np.zeros((B, S.rows_p, LANES)),
            "U": np.zeros((B, S.rows_u, LANES)),
            "K": np.zeros((B, m.rows_k, LANES)),
            "Y": np.zeros((B, S.rows_y, LANES)),
            "CLOCK": np.zeros(width),
            "ENDED": np.zeros(width),
            "KEY": np.zeros((2, width), dtype=np.int64),
            "WHO": np.zeros(width, dtype=np.int64),
        }
        self._sizes = {
            "BLOCKS": B,
            "PEOPLE": self.n,
            "TICKS": self.ticks,
            "KERNEL": m.kernel,
            "PAIR": m.pair,
            "PROPAGATOR": m.propagator,
            "OUTPUTS": m.outputs,
            "DRAW": draws_kernel(SENSOR, normals),
            "ROWS_X": S.rows_x,
            "ROWS_P": S.rows_p,
            "ROWS_U": S.rows_u,
            "ROWS_K": m.rows_k,
            "ROWS_Y": S.rows_y,
            "ACTIONS": len(self.actions),
            "TRUE": true,
            "SENSED": sensed,
        }

    def _seal(self) -> None:
        """Write the job table, once all arrays exist (they never move afterwards)."""
        self._job = np.zeros(128, dtype=np.int64)
        arrays = self._fixed | self._state
        places = dict(zip(arrays, addresses(list(arrays.values()))))
        for name, value in (self._sizes | places).items():
            self._job[self._slots[name] if name in self._slots else getattr(c, name)] = value
        self._address = int(self._job.ctypes.data)
        self._edges = self._slices()

    def _slices(self) -> list[tuple[int, int]]:
        """Blocks of each thread, whole pairs; fewer threads where a slice would be done sooner than a thread wakes."""
        parts = max(1, min(self.threads, -(-self.blocks // 2), self.blocks * self.ticks // SLICE))
        edges = [2 * round(i * self.blocks / parts / 2) for i in range(parts)] + [self.blocks]
        return list(itertools.pairwise(edges))

    @property
    def address(self) -> int:
        """Of the job table: for compiled loops around this world's own."""
        return self._address

    def run(self, loop: Callable[..., None], address: int) -> None:
        """Call ``loop(address, first, last)`` for slices of blocks that the threads share, and count one step."""
        self._run(loop, address)
        self.time += self.interval
        if self._keep:
            self._kept.append(self._fixed["TRUTH"][:, : self.n].copy())

    def _run(self, loop: Callable[..., None], address: int | None = None) -> None:
        where = self._address if address is None else address
        share(lambda first, last: loop(where, first, last), self._edges, self.threads)

    def reset(
        self,
        seed: int | Sequence[int] | np.ndarray,
        *,
        only: np.ndarray | None = None,
        who: Sequence[int] | np.ndarray | None = None,
        place: Sequence[int] | np.ndarray | None = None,
    ) -> Seen:
        """Admit patients: their starting state, clock at 0, new sensors and pumps, and the random streams from the
        start.

        Args:
            seed: one seed for the batch (lane k draws as patient k), or (n,) seeds (lane k as patient 0 under its own
                seed, so that it equals a lone world with that seed).
            only: (n,) mask of the lanes to admit; the others go on as they were. Default: all, and the time starts at
                0.
            who: (n,) which of ``people`` stands in each lane; default lane k gets person k, wrapping around.
            place: (n,) patient numbers for the streams, in place of k or 0 (an episode's number, for one).

        Raises:
            DoseloopError: shapes or numbers do not fit.
        """
        seeds = np.asarray(seed)
        mask = np.ones(self.n, dtype=bool) if only is None else np.asarray(only)
        people = np.arange(self.n) % len(self.people) if who is None else np.asarray(who)
        places = (
            (np.arange(self.n) if seeds.ndim == 0 else np.zeros(self.n, int)) if place is None else np.asarray(place)
        )
        bad = [] if seeds.dtype.kind in "iu" else [f"a seed is a whole number, not {seeds.dtype}"]
        bad += [] if seeds.shape in ((), (self.n,)) else [f"seed has shape {seeds.shape}; one or ({self.n},) is meant"]
        bad += [] if mask.dtype == bool and mask.shape == (self.n,) else [f"only is a mask of ({self.n},) booleans"]
        for name, row, high in (("who", people, len(self.people)), ("place", places, 2**32)):
            if row.shape != (self.n,) or row.dtype.kind not in "iu" or row.min() < 0 or row.max() >= high:
                bad.append(f"{name} wants ({self.n},) whole numbers from 0 to {high - 1}")
        if not (self._ready or mask.all()):
            bad.append("the first reset admits everybody")
        if bad:
            raise DoseloopError([f"reset: {b}" for b in bad])
        if only is None:
            self.time, self._kept = 0.0, []
        rows = np.flatnonzero(mask)
        given = np.broadcast_to(seeds, (self.n,))[rows].astype(np.uint64).view(np.int64)
        self.admit(rows, given, people[rows], places[rows])
        return self.observe()

    def admit(self, rows: np.ndarray, seeds: np.ndarray, who: np.ndarray, place: np.ndarray) -> None:
        """Admit patients to the lanes ``rows`` (ascending) as `reset` does, with (m,) whole numbers each and no check
        of them: for what resets some lanes of many at every step."""
        key, standing, mask = self._state["KEY"], self._state["WHO"], self._fixed["MASK"]
        mask[:] = 0
        key[0, rows], key[1, rows], standing[rows], mask[rows] = seeds, place, who, 1
        if mask[self.n - 1]:  # the last block's idle lanes repeat the last patient
            last, idle = self.n - 1, slice(self.n, None)
            key[0, idle], key[1, idle], standing[idle], mask[idle] = key[0, last], key[1, last], standing[last], 1
        self._run(self._reset)
        self._ready = True

    def vary(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Set what differs from lane to lane, for lanes that are admitted next.

        Args:
            name: one of ``varies``. rows: (m,) lanes. values: (m,).

        Raises:
            DoseloopError: no such name, or a value that is negative or not finite.
        """
        if name not in self.varies:
            raise DoseloopError(f"vary: nothing is called '{name}'; there are {', '.join(self.varies)}")
        if not (np.isfinite(values).all() and (np.asarray(values) >= 0).all()):
            raise DoseloopError(f"vary: {name} is a finite number of 0 or more")
        self._state["VARY"][rows // LANES, self._rows[name], rows % LANES] = values

    def varied(self, name: str) -> np.ndarray:
        """(n,) what differs from lane to lane, by name."""
        return self._lanes("VARY")[:, self._rows[name]]

    @property
    def who(self) -> np.ndarray:
        """(n,) which of ``people`` stands in each lane."""
        return self._state["WHO"][: self.n].copy()

    def step(self, action: np.ndarray) -> Seen:
        """Hold an action (n, actions) for one control interval; what is seen at its end.

        Raises:
            DoseloopError: not reset yet, another shape, or a number that is not finite or below 0 (it says whose).
        """
        asked = np.asarray(action, dtype=float)
        if not self._ready:
            raise DoseloopError("step: reset the world first")
        if asked.shape != (self.n, len(self.actions)):
            raise DoseloopError(f"step: an action is ({self.n}, {len(self.actions)}), not {asked.shape}")
        if not (asked.min() >= 0 and asked.max() < np.inf):  # a NaN fails the first
            rows = np.flatnonzero(~((asked >= 0) & (asked < np.inf)).all(axis=1))
            raise DoseloopError(
                [f"step: patient {i}: {dict(zip(self.actions, asked[i].tolist()))}" for i in rows[:5]]
                + [f"step: an action is finite and not below 0; {len(rows)} of {self.n} are not"]
            )
        self._fixed["ACTION"][: self.n] = asked
        self._run(self._step)
        self.time += self.interval
        if self._keep:
            self._kept.append(self.truth)
        return self.observe()

    def observe(self) -> Seen:
        """What the bedside sees now (the same until the next step)."""
        if not self._ready:
            raise DoseloopError("observe: reset the world first")
        return self._said(self._fixed["OUT"][:, : self.n].copy())

    def _said(self, out: np.ndarray) -> Seen:
        """The observation from the loop's rows (rows, n)."""
        raise NotImplementedError

    # the truth, for scores and rewards: no controller sees it
    # ----------------------------------------------------------

    @property
    def truth(self) -> np.ndarray:
        """(n, ticks) the scored output over the last step, at the end of each tick; held where a run has ended."""
        return self._fixed["TRUTH"][:, : self.n].T.copy()

    @property
    def trace(self) -> np.ndarray:
        """(n, ticks so far) the scored output since the reset of everybody (``keep=True``)."""
        if not self._keep:
            raise DoseloopError("trace: make the world with keep=True")
        return np.concatenate(self._kept, axis=1) if self._kept else np.empty((self.n, 0))

    def _lanes(self, name: str) -> np.ndarray:
        rows = self._state[name]
        return rows.transpose(0, 2, 1).reshape(-1, rows.shape[1])[: self.n].copy()

    @property
    def parameters(self) -> np.ndarray:
        """(n, parameters) now, in the order of the model's ``individual_units``."""
        return self._lanes("P")

    @property
    def state(self) -> np.ndarray:
        """(n, states) the plant's true state."""
        return self._state["X"].transpose(0, 2, 1).reshape(-1, self._march.system.rows_x)[: self.n].copy()

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """Each model output, true, (n,)."""
        rows = self._state["Y"].transpose(1, 0, 2).reshape(self._march.system.rows_y, -1)[:, : self.n]
        return {name: row.copy() for name, row in zip(self.people.model.names("outputs"), rows)}

    @property
    def endings(self) -> np.ndarray:
        """(n,) 0 where the run goes on, else why it ended (`ENDINGS`)."""
        return self._state["ENDED"][: self.n].astype(np.int64)

    def snapshot(self) -> dict[str, Any]:
        """All that changes, copied: `restore` goes on from there with the same bits."""
        arrays = {k: v.copy() for k, v in self._state.items()}
        return {"time": self.time, "out": self._fixed["OUT"].copy(), "kept": list(self._kept), "arrays": arrays}

    def restore(self, snapshot: Mapping[str, Any]) -> Seen:
        """Go back to a snapshot of this world or of one made alike."""
        shapes = {k: v.shape for k, v in self._state.items()}
        if {k: v.shape for k, v in snapshot["arrays"].items()} != shapes:
            raise DoseloopError("restore: the snapshot is of another kind of world")
        for name, array in snapshot["arrays"].items():
            self._state[name][:] = array
        self._fixed["OUT"][:] = snapshot["out"]
        self.time, self._kept, self._ready = snapshot["time"], list(snapshot["kept"]), True
        return self.observe()


class LoopWorld(World[Observation]):
    """A world with a sensor and pumps, by the minute or the second."""

    def _said(self, out: np.ndarray) -> Observation:
        return Observation(
            self.time,
            out[c.O_READING],
            out[c.O_STAMP],
            out[c.O_QUALITY],
            out[c.O_ANNOUNCED],
            out[c.O_DELIVERED : c.O_DELIVERED + len(self.actions)].T,
            out[c.O_ENDED] > 0,
            out[c.O_CLOCK],
            out[c.O_PRESSURE],
            out[c.O_DELIVERED + len(self.actions) :].T,
        )
