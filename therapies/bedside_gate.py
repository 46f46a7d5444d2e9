"""The guard of a ward: every dose of n patients passes here, decision by decision, with what is recorded of each.

::

    confirmed doses, results, creatinine ──▶ record ──▶ plain rules ──▶ probabilities of harm
                                               │                              │
                             asked dose ──▶ the therapy's table of limits (safety.kernel.judge) ──▶ allowed

It keeps its own record and its own expectations (`bedside_rules`): what a policy believes does not reach it. A dose by
which a harm is likely is refused, not lowered: were it lowered to the most that is not, asking for too much would make
the guard a controller, and a good one (docs/virtual.md). A dose that a limit lowers runs in over the lower dose's time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..pkpd.errors import DoseloopError
from ..pkpd.threads import share, slices
from ..safety import Code, Kind
from ..safety.batch import tables_of
from ..safety.kernel import Numbers
from ..virtual.bedside_cohort import clearance
from ..virtual.bedside_world import BedsideObservation, Infusion
from .bedside_judge import SLOTS, bedside_judge, bedside_see
from .bedside_rules import AUC24, PEAK, TROUGH, Kinetics, Memory
from .therapy import Therapy

__all__ = ["KINETICS", "BedsideGate", "infusion_of"]

KINETICS = {
    # CL = 3.66 + 0.689 CrCl mL/min, V 0.72 to 0.90 L/kg: Matzke 1984, Antimicrob Agents Chemother 25:433 (by the
    # smaller V usual loading doses would be refused). Spread, drift, error: ours, of the size that population models
    # find; durations: as `therapies.vancomycin`
    "vancomycin": Kinetics(0.90, 0.0, 3.66 * 0.06, 0.689 * 0.06, 0.35, 0.10, 0.20, 2.0, 1.0, 600.0, 0.5, 12.0),
    # V about 0.9 L/kg; half-life 103 h in term and 141 h in preterm infants: Pacifici 2016, Curr Pediatr Rev 12:48; 120
    # h is between them. Spread, drift, error: ours; duration: as `therapies.phenobarbital`
    "phenobarbital": Kinetics(0.9, 0.9 * 0.6931 / 120.0, 0.0, 0.0, 0.20, 0.02, 0.12, 1.0, 0.5, np.inf, 0.5, 12.0),
}
QUANTITIES = {"auc24": AUC24, "trough": TROUGH, "peak": PEAK}


def infusion_of(therapy: Therapy) -> Infusion:
    """How long the therapy's doses run in, for a world."""
    q = KINETICS[therapy.id]
    return Infusion(q.shortest, q.fastest)


class BedsideGate:
    """Judges the doses of n patients.

    Args:
        therapy: vancomycin or phenobarbital: its limits and harms.
        n: patients. interval: h between decisions. threads: that share out the patients.

    Raises:
        DoseloopError: a therapy that has no plain rules here, or a harm of another quantity.
    """

    def __init__(self, therapy: Therapy, n: int, interval: float, threads: int = 1) -> None:
        limits, action = therapy.limits, therapy.action
        bad = [] if therapy.id in KINETICS else [f"there are no plain rules of '{therapy.id}'"]
        bad += [f"harm '{h.name}': no rule of '{h.quantity}'" for h in therapy.harms if h.quantity not in QUANTITIES]
        by_name = {h.name: h for h in therapy.harms}
        bad += [f"the table's harm '{h.name}' is not the therapy's" for h in limits.predicted if h.name not in by_name]
        bad += ["the table demands projections, which are not made here"] if limits.projected else []
        bad += [f"the table demands {m.name}" for m in limits.measured if m.name != therapy.output]
        if bad:
            raise DoseloopError([f"bedside gate: {b}" for b in bad])
        harms = [by_name[h.name] for h in limits.predicted]
        self.therapy, self.n, self.interval = therapy, n, interval
        self._q = KINETICS[therapy.id]._replace(interval=interval)
        self._kinds = np.array([QUANTITIES[h.quantity] for h in harms], dtype=np.int64)
        self._above = np.array([h.above for h in harms])
        units = tuple(r.unit for r in limits.measured)
        self._tables = tables_of(limits, Kind.DOSE, action.route, action.unit, "kg", units, ())
        longest = max([24.0, *(r.window.value for r in limits.rolling)])
        k, m, h = round(longest / interval) + 1, len(units), len(harms)
        self._memory = Memory(
            count=np.zeros(n, dtype=np.int64),
            amount=np.zeros((n, k)),
            time=np.zeros((n, k)),
            duration=np.zeros((n, k)),
            board=np.zeros((n, k)),
            loss=np.zeros((n, k)),
            area=np.zeros((n, k)),
            now=np.zeros(n),
            given=np.zeros(n),
            clear=np.zeros(n),
            ratio=np.zeros(n),
            doubt=np.zeros(n),
            used=np.full(n, -np.inf),
        )
        self.weight, self._made = np.ones(n), np.zeros(n)
        memory, clock, no = self._memory, np.zeros(n), np.zeros((n, 0))
        off, none = np.full(n, np.inf), np.zeros((n, k), dtype=bool)
        self._numbers = Numbers(
            amount=np.zeros(n), time=clock, duration=np.zeros(n), now=clock, weight=self.weight, record_time=clock,
            given_amount=memory.amount, given_time=memory.time, given_duration=memory.duration,
            measurement=np.zeros((n, m)), measurement_time=np.zeros((n, m)), quality=np.full((n, m), 100.0),
            previous=np.zeros((n, m)), previous_time=np.zeros((n, m)), probability=np.zeros((n, h)),
            projected_amount=no, if_nothing=no, if_given=no, given_rate=none, given_total=none, given_planned=none,
            measured=np.zeros((n, m), dtype=bool), has_previous=np.zeros((n, m), dtype=bool),
            predicted=np.ones((n, h), dtype=bool), projected=no.astype(bool), given_count=memory.count, maximum=off,
            unmeasured_max=off, unpredicted_max=off, total=np.full((n, len(limits.rolling)), np.inf), high=no,
        )  # fmt: skip
        self.allowed, self.masks = np.zeros(n), np.zeros(n, dtype=np.int64)
        self._seal()
        self._threads = min(threads, max(1, n // 64))
        self._slices = slices(n, self._threads)

    def _seal(self) -> None:
        """Write the job table: what the compiled steps read, by address; the arrays never move afterwards."""
        t, x = self._tables, self._numbers
        sizes = (self.n, self._memory.amount.shape[1], x.measurement.shape[1], x.probability.shape[1], x.total.shape[1])
        self._held = [
            np.array(self._q, dtype=float),
            np.array(t.table, dtype=float),
            self._kinds,
            self._above,
            self.weight,
            self._made,
            self.allowed,
            self.masks,
            np.ones(self.n, dtype=np.int64),
        ]
        arrays = [*self._held, *self._memory, *x, *t.bounds, *t.rows]
        numbers = [*sizes, t.request_faults, int(t.weight_unit_is_wrong), *(a.ctypes.data for a in arrays)]
        self._job = np.array(numbers, dtype=np.int64)
        assert len(self._job) == SLOTS
        assert all(a.flags.c_contiguous for a in arrays)
        self.address = int(self._job.ctypes.data)

    def reset(self, known: Mapping[str, np.ndarray], lanes: np.ndarray) -> None:
        """New patients, of whom nothing was given yet, in the lanes of a mask (n,); ``known`` of everybody."""
        m = self._memory
        m.count[lanes] = 0
        m.now[lanes] = m.given[lanes] = m.clear[lanes] = m.ratio[lanes] = 0.0
        m.doubt[lanes], m.used[lanes] = self._q.spread**2, -np.inf
        m.time[lanes], m.duration[lanes] = 0.0, 1.0
        self.weight[:] = known["weight"]
        if self._q.renal > 0:
            self._made[:] = clearance(known["age"], known["weight"], known["sex"], np.ones(self.n))

    def see(self, seen: BedsideObservation, lanes: np.ndarray) -> None:
        """Take in what is seen after an interval, or at admission, of the patients in a mask (n,): once each time."""
        given, values, times = (np.ascontiguousarray(a) for a in (seen.delivered, seen.levels.T, seen.level_times.T))
        self._share(
            lambda first, last: bedside_see(
                self.address, seen.creatinine, given, seen.duration, seen.clock, values, times,
                lanes, first, last,
            )
        )  # fmt: skip

    def judge(self, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Allowed doses (n,) of the asked ones (n,), mg, and masks of the guard's reasons (n,); arrays of the gate's
        own, to be copied if they are to be kept."""
        self._numbers.amount[:] = asked
        self._share(lambda first, last: bedside_judge(self.address, first, last))
        return self.allowed, self.masks

    def _share(self, part: Callable[..., None]) -> None:
        share(part, self._slices, self._threads)

    @property
    def memory(self) -> Memory:
        """What is recorded and expected of everybody: see `bedside_rules.Memory`. To be read only."""
        return self._memory

    @property
    def volume(self) -> float:
        """L/kg, of the plain rules."""
        return self._q.volume

    @property
    def expected(self) -> dict[str, np.ndarray]:
        """What the plain rules expect now, (n,) each: ``level`` (mg/L), ``auc`` of the last day (mg·h/L), ``ratio`` and
        ``doubt`` (mean and SD of the log of true over expected)."""
        m, past = self._memory, round(24.0 / self.interval)
        known = np.arange(m.area.shape[1]) < m.count[:, None]
        factor = np.exp(m.ratio)
        return {
            "level": factor * m.now / (self._q.volume * self.weight),
            "auc": factor * np.where(known, m.area, 0.0)[:, :past].sum(axis=1),
            "ratio": m.ratio.copy(),
            "doubt": np.sqrt(m.doubt),
        }

    def counts(self) -> dict[Code, int]:
        """How often each reason was found at the last decision."""
        return {code: int(np.count_nonzero(self.masks & code.bit)) for code in Code if (self.masks & code.bit).any()}
