"""The guard at the pump of a loop: every action of n patients passes here, decision by decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..pkpd.calls import addresses
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..safety import Code, Kind, Limits, OwnLimits
from ..virtual.world import Observation
from . import gate_loop as g
from .closed_loop import LoopTherapy
from .gate_code import HOUR, MOST, Layout, column_kernel, forget_after, history_kernels, take_kernel
from .gate_rules import Column, column_of, own_rows
from .lane_monitor import LaneMonitor
from .monitor import Monitor

__all__ = ["HARMLESS", "Drug", "Gate"]

HARMLESS = Code.INCREMENT.bit | Code.MINIMUM.bit | Code.SUSPENDED_LONG.bit  # roundings, and notices that change nothing


@dataclass(frozen=True, slots=True)
class Drug:
    """One drug's table: limits, the own limits of each patient, and the columns of its measured rows."""

    limits: Limits
    own: Mapping[Kind, OwnLimits]
    rows: tuple[int, ...]


class Gate:
    """Judges actions by the patients' limits tables, with what the pumps confirmed and what monitors project.

    It keeps its own record: what a policy believes does not reach it. Every measurement that a table demands is taken
    from the observation's field that the therapy declares for it. One that never came is missing, one that came long
    ago is stale, and both hold the drug to what the table allows without.

    Eight patients at a time in compiled code (`gate_loop`, `gate_rules`), in the layout of worlds: an environment runs
    the same code inside its own step (`address` and `width` are for it).

    Args:
        therapy: its limits, monitor, measurements and actuators.
        interval: min between decisions (default: the therapy's).

    Attributes:
        drugs: by route, since the last reset.
        monitor: what projects; its state moves along with the gate's.
        counts: how often each reason was found since the last reset, by `Code`.
    """

    def __init__(self, therapy: LoopTherapy, interval: float | None = None) -> None:
        self.therapy, self.interval = therapy, therapy.interval if interval is None else interval

    def reset(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Begin with n new patients, of whom nothing was given yet.

        Raises:
            DoseloopError: a table demands a measurement that the therapy does not declare, or the reverse, or an
                actuator's route has no table.
        """
        self.seat(known, n)
        self.admit(np.ones(n, dtype=bool), np.arange(n))

    def seat(self, known: Mapping[str, np.ndarray], n: int) -> None:
        """Make room for n patients out of a library, of whom ``known`` tells; `admit` puts them into their lanes."""
        t, h = self.therapy, self.interval / HOUR
        weight = np.asarray(known["weight"], dtype=float)
        tables = t.limits_of_many(known)
        self._check(tables)
        names, a = [m.name for m in t.measured], len(t.actuators)
        limits = {route: table for route, (table, _) in tables.items()}
        rows = {r: tuple(names.index(row.name) for row in table.measured) for r, table in limits.items()}
        self.drugs = {route: Drug(table, own, rows[route]) for route, (table, own) in tables.items()}
        self.monitor: Monitor = t.monitor(known, len(weight), self.interval)
        lanes = self.monitor if isinstance(self.monitor, LaneMonitor) else None
        self._layout = layout = Layout(limits, h, len(names), a)
        columns, own = self._columns_of(tables, weight)
        self.n = n
        blocks, f = -(-n // LANES), max(len(table.projected) for table in limits.values())
        zeros = lambda r: np.zeros((blocks, r, LANES))  # noqa: E731
        if lanes is not None:
            lanes.hold(n)
        self._library = np.ascontiguousarray(np.column_stack(own))
        kernels = [column_kernel(layout, c, j, lanes) for j, c in enumerate(columns)]
        numbers = [h]
        for c, x in zip(columns, t.actuators):
            rate = x.kind is Kind.RATE
            numbers += [c.length, c.hours if rate else 0.0, forget_after(c.limits)]
        rings = {r: sum(len(layout.rings[q]) for q in list(limits)[:i]) for i, r in enumerate(limits)}
        places = [(layout.places[x.route], x) for x in t.actuators]
        actions = [
            [p.newest[x.kind], p.slots, p.count, rings[x.route], len(layout.rings[x.route]), p.used] for p, x in places
        ]
        drugs = [
            [p.slots, p.count, p.used, p.sums, p.windows, *history_kernels(p, limits[r])]
            for r, p in layout.places.items()
        ]
        self._arrays = {
            "IN": zeros(g.I_MEASURES + 3 * len(names) + 3 * a),
            "GATE": zeros(layout.rows),
            "OWN": zeros(len(own)),
            "MONITOR": zeros(1) if lanes is None else lanes.state,
            "MONITOR_OWN": zeros(2 * f) if lanes is None else lanes.own,
            "OUT": zeros(2 * a + len(names)),
            "COLUMN": np.array(kernels, dtype=np.int64),
            "ACTION": np.array(actions, dtype=np.int64),
            "DRUG": np.array(drugs, dtype=np.int64),
            "NUMBERS": np.array(numbers),
            "RINGS": np.array([ring for r in limits for ring in layout.rings[r]], dtype=float),
            "LIBRARY": self._library,
            "FRESH": np.concatenate([layout.fresh, np.zeros(1) if lanes is None else lanes.fresh]),
        }
        if lanes is not None:
            self._arrays["MONITOR_LIBRARY"] = lanes.library
        self._job = np.zeros(64, dtype=np.int64)
        sizes = {f"ROWS_{k}": self._arrays[k].shape[1] for k in ("IN", "GATE", "OWN", "MONITOR", "MONITOR_OWN", "OUT")}
        sizes |= {"ACTIONS": a, "MEASURES": len(names)}
        sizes |= {"TAKE": take_kernel(layout, t.measured, lanes), "DRUGS": len(drugs)}
        for name, value in (sizes | dict(zip(self._arrays, addresses(list(self._arrays.values()))))).items():
            self._job[getattr(g, name)] = value
        self.address, self.blocks = int(self._job.ctypes.data), blocks
        self._clock = np.full(n, -np.inf)
        self.counts = dict.fromkeys(Code, 0)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one of the arrays: (blocks, rows, 8)."""
        return self._arrays[name].shape

    def _columns_of(
        self, tables: Mapping[str, tuple[Limits, Mapping[Kind, OwnLimits]]], weight: np.ndarray
    ) -> tuple[list[Column], list[np.ndarray]]:
        """The columns of an action, and the own numbers of the library, (people,) each."""
        h = self.interval / HOUR
        columns: list[Column] = []
        own: list[np.ndarray] = []
        for x in self.therapy.actuators:
            limits, theirs = tables[x.route]
            length = h if x.kind is Kind.RATE else 1 / 3600
            mine = own_rows(limits, x.kind, x.route, theirs[x.kind], weight, length)
            before = tuple(
                (i, c.length, c.hours if c.kind is Kind.RATE else 0.0)
                for i, c in enumerate(columns)
                if c.route == x.route
            )
            rows = self.drugs[x.route].rows
            columns.append(column_of(limits, x.kind, x.route, length, rows, len(own), mine, before))
            own += list(mine.values())
        return columns, own

    def admit(self, lanes: np.ndarray, who: np.ndarray) -> None:
        """New patients in the lanes of a mask (n,): people ``who`` (n,) of the library."""
        idle = self.blocks * LANES - self.n
        full = [np.concatenate([v, np.repeat(v[-1:], idle)]).astype(np.int64) for v in (lanes, who)]
        _admit_many(self.address, *full)
        self._clock[lanes] = -np.inf

    def _check(self, tables: Mapping[str, tuple[Limits, Mapping[Kind, OwnLimits]]]) -> None:
        t = self.therapy
        declared = [m.name for m in t.measured]
        demanded = {row.name: limits.therapy for limits, _ in tables.values() for row in limits.measured}
        bad = [
            f"{drug}'s table demands {name}, which no field of an observation feeds"
            for name, drug in demanded.items()
            if name not in declared
        ]
        bad += [f"{name} is declared, and no table has a row for it" for name in declared if name not in demanded]
        bad += [
            f"'{a.name}' goes by route '{a.route}', of which there is no table"
            for a in t.actuators
            if a.route not in tables
        ]
        pairs = [(a.kind, a.route) for a in t.actuators]
        bad += [
            f"'{a.name}' is the second of its kind and route" for a, p in zip(t.actuators, pairs) if pairs.count(p) > 1
        ]
        if bad:
            raise DoseloopError([f"gate of '{t.id}': {b}" for b in bad])

    def _put(self, first: int, columns: np.ndarray) -> None:
        """Columns (n, k) into rows of what comes in; idle lanes keep their zeros."""
        rows = self._arrays["IN"]
        for j in range(columns.shape[1]):
            flat = np.zeros(self.blocks * LANES)
            flat[: self.n] = columns[:, j]
            rows[:, first + j] = flat.reshape(-1, LANES)

    def judge(self, seen: Observation, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Allowed actions (n, actions), and masks of the guard's reasons (n, actions).

        The columns are judged one after the other, each with what was allowed of those before it.

        Raises:
            ValueError: a clock that is no number or goes back.
        """
        t, n = self.therapy, self.n
        if not ((seen.clock >= self._clock) & (seen.clock < np.inf)).all():
            rows = np.flatnonzero(~((seen.clock >= self._clock) & (seen.clock < np.inf)))[:5].tolist()
            raise ValueError(f"decisions come in order of time; the clocks of patients {rows} do not")
        self._clock = seen.clock.copy()
        first = g.I_MEASURES + 3 * len(t.measured)
        self._put(g.I_NOW, np.column_stack([seen.clock / HOUR, seen.announced]))
        for j, m in enumerate(t.measured):
            quality = np.full(n, 100.0) if m.quality is None else getattr(seen, m.quality)
            columns = np.column_stack([getattr(seen, m.value), getattr(seen, m.time), quality])
            self._put(g.I_MEASURES + 3 * j, columns)
        self._put(first, np.column_stack([seen.delivered, seen.pending, np.asarray(asked, dtype=float)]))
        if isinstance(self.monitor, LaneMonitor):
            g.gate_judge(self.address, 0, self.blocks)
        else:
            self._project(seen, np.asarray(asked, dtype=float))
        allowed, masks = self._verdict()
        self.count(masks)
        return allowed, masks

    def preview(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What `judge` would answer to actions (n, actions) at the moment that was taken in last; nothing is recorded.

        Raises:
            TypeError: a therapy whose monitor projects in Python.
        """
        if not isinstance(self.monitor, LaneMonitor):
            raise TypeError(f"gate of '{self.therapy.id}': its projections are made for one question")
        a = len(self.therapy.actuators)
        self._put(g.I_MEASURES + 3 * len(self.therapy.measured) + 2 * a, np.asarray(asked, dtype=float))
        for j in range(a):
            g.gate_column(self.address, j, 0, self.blocks)
        return self._verdict()

    def _verdict(self) -> tuple[np.ndarray, np.ndarray]:
        """Allowed actions and masks as they stand."""
        a = len(self.therapy.actuators)
        out = self._arrays["OUT"].transpose(0, 2, 1).reshape(self.blocks * LANES, -1)[: self.n]
        return np.ascontiguousarray(out[:, :a]), np.ascontiguousarray(out[:, a : 2 * a]).view(np.int64)

    def count(self, masks: np.ndarray) -> None:
        """Add reasons to ``counts``."""
        found = int(np.bitwise_or.reduce(masks, axis=None))
        for code in Code:
            if found & code.bit:
                self.counts[code] += int(np.count_nonzero(masks & code.bit))

    def _project(self, seen: Observation, asked: np.ndarray) -> None:
        """Judge with a monitor that Python asks, column by column."""
        n, a, out = self.n, len(self.therapy.actuators), self._arrays["OUT"]
        began = self._arrays["GATE"][0, g.G_COUNT, 0] > 0
        g.gate_take(self.address, 0, self.blocks)
        fresh = out[:, 2 * a :].transpose(0, 2, 1).reshape(self.blocks * LANES, -1)[:n]
        if began:
            self.monitor.given(seen.delivered)
        times = np.array([getattr(seen, m.time) for m in self.therapy.measured]).reshape(-1, n).T
        self.monitor.see(fresh, times, seen.announced)
        allowed = np.zeros((n, a))
        for j in range(a):
            meant = np.clip(np.where(np.isfinite(asked[:, j]), asked[:, j], 0.0), 0.0, MOST)
            pairs = self.monitor.project(j, meant, allowed, seen.pending)
            rows = np.zeros((self.blocks * LANES, self._arrays["MONITOR_OWN"].shape[1]))
            for side, values in enumerate(pairs):
                rows[:n, side : 2 * values.shape[1] : 2] = values
            self._arrays["MONITOR_OWN"][:] = rows.reshape(self.blocks, LANES, -1).transpose(0, 2, 1)
            g.gate_column(self.address, j, 0, self.blocks)
            allowed[:, j] = out[:, j].reshape(-1)[:n]


@jit
def _admit_many(job, mask, who):
    for i in range(mask.size):
        if mask[i]:
            g.gate_admit(job, i // LANES, i % LANES, who[i])
