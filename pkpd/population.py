"""One run of a population: schedules and parameters in, outputs out. What `simulate` and the twin stand on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .drive import NO_STEADY
from .engine import Method, People, execute, make_plan
from .errors import SolverError
from .individuals import evaluate
from .lanes import LANES
from .regimen import Dose
from .schedule import Packed, Schedule, packed
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
        schedules: one for each patient, or few that many share; as they are, or packed already.
        method: how time is advanced.
    """

    def __init__(self, system: System, schedules: Sequence[Schedule] | Packed, method: Method) -> None:
        self.system, self.method = system, method
        of = schedules if isinstance(schedules, Packed) else packed(schedules)
        self.events, self.observations, self.starts = of.events, of.observations, of.starts
        self.last_segment, self.steady = of.last_segment, of.steady
        self.plan = make_plan(system, method, of.doses)

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
            one = len(self.starts) == 1
            schedule_of = np.zeros(patients, dtype=np.int64) if one else np.arange(patients)
        # the loop reads parameters by bare address: no segment may lie outside them
        if (segment < 0).any() or (segment + self.last_segment[schedule_of] >= len(parameters)).any():
            raise SolverError(
                f"the run's parameters have {len(parameters)} rows; a patient's segments lie outside them"
            )
        if x0 is None:
            x0 = starting_states(system, parameters[segment])
        table, table_base, unsteady = self._table(parameters, schedule_of, segment)
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
        status[unsteady] = NO_STEADY
        return Y, status

    def _table(
        self, parameters: np.ndarray, schedule_of: np.ndarray, segment: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steady states for every patient's steady-state doses, dose by dose for all who share it, and who has none."""
        none = np.zeros(len(segment), dtype=bool)
        if not self.steady:
            return np.zeros((1, self.system.rows_x)), np.zeros(len(segment), dtype=np.int64), none
        counts = np.array([len(s) for s in self.steady])[schedule_of]
        base = np.zeros(len(segment), dtype=np.int64)
        np.cumsum(counts[:-1], out=base[1:])
        table = np.zeros((max(1, int(counts.sum())), self.system.rows_x))
        for j, doses in enumerate(self.steady):
            who = np.flatnonzero(schedule_of == j)
            for steady in doses:
                if len(who):
                    rows = parameters[segment[who] + steady.segment]
                    found = _steady_or_nan(self.system, self.method, steady.dose, rows)
                    none[who] |= np.isnan(found[:, 0])
                    table[base[who] + steady.entry] = found
        return table, base, none


def _steady_or_nan(system: System, method: Method, dose: Dose, parameters: np.ndarray) -> np.ndarray:
    """Steady states; NaN for people who have none, found by halving, so that one does not stop the others."""
    try:
        return steady_states(system, method, dose, parameters)
    except SolverError:
        if len(parameters) == 1:
            return np.full((1, system.rows_x), np.nan)
        half = len(parameters) // 2
        return np.concatenate([_steady_or_nan(system, method, dose, p) for p in (parameters[:half], parameters[half:])])
