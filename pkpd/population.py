"""One run of a population: schedules and parameters in, outputs out. What `simulate` and the twin stand on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .engine import Method, People, execute, make_plan
from .individuals import evaluate
from .lanes import LANES
from .schedule import Schedule, pack
from .steady import steady_states
from .system import System

__all__ = ["Prepared", "starting_states"]


def starting_states(system: System, parameters: np.ndarray) -> np.ndarray:
    """The model's starting states (and directions) for these parameters, (patients, rows_x)."""
    x0 = np.zeros((len(parameters), system.rows_x))
    if system.model.initial is not None and len(parameters):
        memory = [np.zeros((max(1, rows), LANES)) for rows in (0, system.rows_p, system.rows_x)]
        evaluate(system.kernel("initial"), np.zeros((len(parameters), 0)), parameters, *memory, x0)
    return x0


class Prepared:
    """Schedules packed once, to be run many times with other parameters.

    Args:
        system: equations, directions, integrals.
        schedules: one for each patient, or few that many share.
        method: how time is advanced.
    """

    def __init__(self, system: System, schedules: Sequence[Schedule], method: Method) -> None:
        self.system, self.schedules, self.method = system, list(schedules), method
        self.events = pack(self.schedules)
        self.plan = make_plan(system, method, max(s.doses for s in self.schedules))
        self.observations = np.array([s.observations for s in self.schedules])
        self.starts = np.array([s.start for s in self.schedules])
        self.steady = any(s.steady for s in self.schedules)

    def run(
        self,
        parameters: np.ndarray,
        schedule_of: np.ndarray | None = None,
        segment: np.ndarray | None = None,
        x0: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Outputs of everybody and a status for each.

        Args:
            parameters: (segments, rows_p); one row per patient, or ``segment`` says where each patient's rows begin.
            schedule_of: which schedule each patient follows; default the i-th, or the only one.
            segment: first row of each patient in ``parameters``.
            x0: starting states, (patients, rows_x); default the model's own.

        Returns:
            outputs (all observations, rows_y), patient after patient; status (patients,), 0 where all went well.
        """
        system = self.system
        parameters = np.ascontiguousarray(parameters, dtype=float)
        segment = np.arange(len(parameters)) if segment is None else np.asarray(segment, dtype=np.int64)
        patients = len(segment)
        if schedule_of is None:
            one = len(self.schedules) == 1
            schedule_of = np.zeros(patients, dtype=np.int64) if one else np.arange(patients)
        if x0 is None:
            x0 = starting_states(system, parameters[segment])
        table, table_base = self._table(parameters, schedule_of, segment)
        counts = self.observations[schedule_of]
        y_base = np.zeros(patients, dtype=np.int64)
        np.cumsum(counts[:-1], out=y_base[1:])
        people = People(
            np.ascontiguousarray(schedule_of, dtype=np.int64),
            parameters,
            segment,
            np.ascontiguousarray(x0),
            table,
            table_base,
            self.starts[schedule_of],
            y_base,
            np.zeros(patients, dtype=np.int64),
        )
        Y, _, status = execute(self.plan, self.events, people, int(counts.sum()))
        return Y, status

    def _table(
        self, parameters: np.ndarray, schedule_of: np.ndarray, segment: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Steady states for every patient's steady-state doses, solved dose by dose for all who share it."""
        if not self.steady:
            return np.zeros((1, self.system.rows_x)), np.zeros(len(segment), dtype=np.int64)
        counts = np.array([len(s.steady) for s in self.schedules])[schedule_of]
        base = np.zeros(len(segment), dtype=np.int64)
        np.cumsum(counts[:-1], out=base[1:])
        table = np.zeros((max(1, int(counts.sum())), self.system.rows_x))
        for j, s in enumerate(self.schedules):
            who = np.flatnonzero(schedule_of == j)
            for steady in s.steady:
                if len(who):
                    rows = parameters[segment[who] + steady.segment]
                    table[base[who] + steady.entry] = steady_states(self.system, self.method, steady.dose, rows)
        return table, base
