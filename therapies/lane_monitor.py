"""Monitors that are written in lanes: the gate's compiled loop carries them along, and Python can ask them too."""

from __future__ import annotations

import abc

import numpy as np

from ..pkpd.calls import addresses
from ..pkpd.lanes import LANES
from ..pkpd.vcode import Code, Flag, Real, Rows
from .gate_loop import sweep

__all__ = ["LaneMonitor", "blocks_of", "rows_of"]


def blocks_of(columns: np.ndarray) -> np.ndarray:
    """(n, rows) as (blocks, rows, 8), idle lanes repeating the last."""
    n, rows = columns.shape
    full = np.concatenate([columns, np.repeat(columns[-1:], -n % LANES, axis=0)])
    return np.ascontiguousarray(full.reshape(-1, LANES, rows).transpose(0, 2, 1))


def rows_of(blocks: np.ndarray, n: int) -> np.ndarray:
    """(blocks, rows, 8) as (n, rows)."""
    return blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])[:n].copy()


class LaneMonitor(abc.ABC):
    """Projections of n patients, decision by decision (`monitor.Monitor`), in code for eight at a time.

    Args:
        own: (n, numbers) what differs from patient to patient.
        fresh: the state of a new patient.
        measures, actions, quantities: how many.

    Attributes:
        state: (blocks, rows, 8). A gate moves it along itself; `see` and `given` are for monitors that stand alone.
    """

    def __init__(self, own: np.ndarray, fresh: np.ndarray, measures: int, actions: int, quantities: int) -> None:
        self.n, self.library, self.fresh = len(own), np.ascontiguousarray(own), np.asarray(fresh, dtype=float)
        self.measures, self.actions, self.quantities = measures, actions, quantities
        self.own = blocks_of(self.library)
        self.state = np.ascontiguousarray(np.tile(self.fresh[None, :, None], (len(self.own), 1, LANES)))
        self._kernels: dict[str, int] = {}

    def hold(self, n: int) -> None:
        """Room for n patients out of the library, whom a gate admits."""
        self.n, blocks = n, -(-n // LANES)
        self.own = np.zeros((blocks, self.library.shape[1], LANES))
        self.state = np.zeros((blocks, len(self.fresh), LANES))

    @abc.abstractmethod
    def taken(self, x: Rows, p: Rows, delivered: list[Real], began: Flag) -> None:
        """Code: what the pump confirmed over the last interval, where there was one."""

    @abc.abstractmethod
    def seen(self, x: Rows, p: Rows, readings: list[tuple[Real, Real]], announced: Real) -> None:
        """Code: what was measured (NaN: nothing new) and when (min), and what was announced."""

    @abc.abstractmethod
    def ahead(self, x: Rows, p: Rows, column: int, asked: Real, pending: list[Real]) -> list[tuple[Real, Real]]:
        """Code: each quantity if nothing more is given in that column, and if ``asked`` is; not finite: unknown."""

    def _run(self, what: str, columns: list[np.ndarray], extra: int = 0) -> np.ndarray:
        """Run a piece of code over these inputs (n,) with ``extra`` rows for results."""
        if what not in self._kernels:
            self._kernels[what] = self._code(what)
        full = np.column_stack([*columns, *[np.zeros(self.n)] * extra])
        s = blocks_of(full.astype(float))
        a = addresses([s, self.state, self.own])
        sweep(self._kernels[what], *a, s.shape[1], self.state.shape[1], self.own.shape[1], len(s))
        return rows_of(s, self.n)[:, len(columns) :]

    def _code(self, what: str) -> int:
        c = Code()
        s, x, p, m = Rows(c, "s"), Rows(c, "x"), Rows(c, "p"), self.measures
        if what == "given":
            self.taken(x, p, [s[j] for j in range(self.actions)], c.always)
        elif what == "see":
            self.seen(x, p, [(s[j], s[m + j]) for j in range(m)], s[2 * m])
        else:
            found = self.ahead(x, p, int(what), s[0], [s[1 + j] for j in range(self.actions)])
            for f, pair in enumerate(found):
                for j in range(2):
                    s[1 + self.actions + 2 * f + j] = pair[j]
        return c.address(f"monitor {type(self).__name__}, {what}", "monitor")

    # as `monitor.Monitor`
    # --------------------

    def see(self, reading: np.ndarray, time: np.ndarray, announced: np.ndarray) -> None:
        """What was measured, (n, measurements) each, NaN where nothing new was, and announced (n,)."""
        self._run("see", [*reading.T, *time.T, announced])

    def given(self, delivered: np.ndarray) -> None:
        """What the pump confirmed over the last interval, (n, actions)."""
        self._run("given", list(delivered.T))

    def project(
        self, column: int, asked: np.ndarray, allowed: np.ndarray, pending: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n, quantities) if nothing more is given in that column, and if ``asked`` (n,) is."""
        found = self._run(str(column), [asked, *pending.T], 2 * self.quantities)
        return found[:, 0::2], found[:, 1::2]

    def row(self, row: int) -> np.ndarray:
        """(n,) one row of the state."""
        return self.state[:, row].reshape(-1)[: self.n].copy()
