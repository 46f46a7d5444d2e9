"""What the guard of a two-drug loop is told will happen: both effect sites, and the blood pressure in 2 minutes."""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..pkpd.calls import addresses, call_kernel
from ..pkpd.individuals import individuals
from ..pkpd.jit import jit
from ..pkpd.lanes import LANES
from ..pkpd.march import march, march_of, pack, prepare, unpack
from ..pkpd.model import Model
from ..pkpd.population import starting_states
from .monitor import EffectSiteMonitor

__all__ = ["TwoDrugMonitor"]

ROW = 8 * LANES  # bytes


@jit
def _advance(blocks, kernel, before, s, x, p, u, k, rows_x, rows_p, rows_u, h, intervals):
    """Move blocks of lanes by ``intervals`` intervals under their rates; addresses but for the numbers."""
    for b in range(blocks):
        X, P, U = x + b * rows_x * ROW, p + b * rows_p * ROW, u + b * rows_u * ROW
        prepare(before, s, P, k, h)
        for _ in range(intervals):
            march(kernel, s, X, P, U, k, 0.0, h)


@jit
def _outputs(blocks, kernel, s, x, p, u, k, y, rows_x, rows_p, rows_u, rows_y):
    """Outputs of blocks of lanes as they stand."""
    for b in range(blocks):
        X, P, U = x + b * rows_x * ROW, p + b * rows_p * ROW, u + b * rows_u * ROW
        call_kernel(kernel, s, X, P, U, k, y + b * rows_y * ROW)


class TwoDrugMonitor:
    """The peak of each drug's effect site, and mean arterial pressure in 2 minutes.

    The pressure is that of the typical patient with these covariates under what the pumps confirmed, times the ratio of
    what was read to what he would have had: the mean log ratio, which forgets in 2 min. A projection lets the asked
    rate run for one interval, then nothing, as for the effect sites. Without a reading of the last 6 min the pressure
    is unknown.

    Args:
        sites: of each drug's effect site, in the order of the columns.
        model: of the pressure: output ``map``, a route for each column.
        known: covariates by name, (n,) each.
        n, interval: patients; min between decisions.
        column: of the pressure among the measurements.
    """

    AHEAD, MEMORY, OLDEST = 2.0, 2.0, 6.0  # min
    REAL = (15.0, 250.0)  # mmHg: what is outside is no pressure

    def __init__(
        self,
        sites: Sequence[EffectSiteMonitor],
        model: Model,
        known: Mapping[str, np.ndarray],
        n: int,
        interval: float,
        column: int = 1,
    ) -> None:
        self.sites, self.column, self.n = tuple(sites), column, n
        self.now, self.newest, self.ratio = np.zeros(n), np.full(n, -np.inf), np.ones(n)
        cov = np.column_stack([np.broadcast_to(known.get(c.name, c.typical), n) for c in model.covariates])
        p = individuals(model, np.ascontiguousarray(cov, dtype=float), np.zeros((n, len(model.effects))))
        self._march = m = march_of(model, interval, interval)
        S, self._rest = m.system, max(0, round(self.AHEAD / interval) - 1)
        self._p, self.x = pack(p), pack(starting_states(S, p))
        self._map, self._route = model.names("outputs").index("map"), len(model.inputs)
        self._none = np.zeros((len(self._p), S.rows_u, LANES))
        self._none[:, : self._route] = np.array([i.typical for i in model.inputs]).reshape(-1, 1)
        self._s, self._k = np.zeros((2, LANES)), np.zeros((m.rows_k, LANES))
        self._y = np.zeros((len(self._p), S.rows_y, LANES))

    def _move(self, x: np.ndarray, u: np.ndarray, intervals: int) -> None:
        m, S = self._march, self._march.system
        places = addresses([self._s, x, self._p, u, self._k])
        _advance(len(x), m.kernel, m.propagator, *places, S.rows_x, S.rows_p, S.rows_u, m.h, intervals)

    def _read(self, x: np.ndarray) -> np.ndarray:
        """(n,) mmHg of typical patients in those states."""
        m, S = self._march, self._march.system
        places = addresses([self._s, x, self._p, self._none, self._k, self._y])
        _outputs(len(x), m.outputs, *places, S.rows_x, S.rows_p, S.rows_u, S.rows_y)
        return unpack(self._y, self.n)[:, self._map]

    def _under(self, rates: np.ndarray) -> np.ndarray:
        """Inputs of the blocks with those rates (n, columns)."""
        u = self._none.copy()
        u[:, self._route : self._route + rates.shape[1]] = pack(rates)
        return u

    def see(self, reading: np.ndarray, time: np.ndarray, announced: np.ndarray) -> None:
        """Take in the pressure (mmHg), whose time is the clock whether there is a value or not."""
        value, self.now = reading[:, self.column], time[:, self.column]
        new = (value >= self.REAL[0]) & (value <= self.REAL[1]) & (self.now > self.newest)
        if not new.any():
            return
        fresh = np.where(new, value, np.nan) / self._read(self.x)
        share = np.exp(-(self.now - self.newest) / self.MEMORY)  # 0 before the first
        mixed = self.ratio**share * fresh ** (1.0 - share)
        self.ratio, self.newest = np.where(new, mixed, self.ratio), np.where(new, self.now, self.newest)

    def given(self, delivered: np.ndarray) -> None:
        """Confirmed rates (mg/min, ug/min)."""
        for j, site in enumerate(self.sites):
            site.given(delivered[:, j : j + 1])
        self._move(self.x, self._under(delivered), 1)

    def pressure(self, rates: np.ndarray) -> np.ndarray:
        """(n,) mmHg in 2 minutes if ``rates`` (n, columns) run for one interval; NaN without a recent reading."""
        x = self.x.copy()
        self._move(x, self._under(rates), 1)
        self._move(x, self._none, self._rest)
        known = self.now - self.newest <= self.OLDEST + 1e-9
        return np.where(known, self.ratio * self._read(x), np.nan)

    def project(
        self, column: int, asked: np.ndarray, allowed: np.ndarray, pending: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Peak effect-site concentration of the column's drug (the model's unit), pressure in 2 min (mmHg)."""
        nothing, given = self.sites[column].project(0, asked, allowed, pending[:, column : column + 1])
        rates = allowed.copy()
        rates[:, column] = 0.0
        free = self.pressure(rates)
        rates[:, column] = asked
        return np.column_stack([nothing, free]), np.column_stack([given, self.pressure(rates)])
