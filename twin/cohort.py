"""Many fits of one model, laid out in arrays: the bridge between layouts and the compiled loops.

A cohort is a list of patients' layouts for one model with the same number of random effects. Its evaluation points
(fits or draws) each name their patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..pkpd import engine
from ..pkpd.engine import Method, People
from ..pkpd.errors import SolverError
from ..pkpd.individuals import individual_kernel
from ..pkpd.lanes import LANES
from ..pkpd.model import Model
from ..pkpd.population import Prepared, starting_states
from ..pkpd.schedule import Packed, packed
from ..pkpd.system import system
from . import gauss_newton as gn
from .layout import Layout
from .likelihood import kind_of, total_of_many

__all__ = ["Cohort", "Patients", "Points", "error_of", "stack"]


# An optimum is flat: sensitivities at 1e-6 move the MAP of an ODE model by 1e-8, and cost half of those at 1e-8
FIT = Method(rtol=1e-6, atol=1e-8)


class Points:
    """Evaluation points of a cohort: whose they are, and where their segments and observations stand."""

    def __init__(self, cohort: Cohort, patient: np.ndarray, directions: bool, integrals: bool) -> None:
        self.cohort, self.directions = cohort, directions
        self.patient = np.ascontiguousarray(patient, dtype=np.int64)
        model, K = cohort.model, cohort.K
        self.system = system(model, K if directions else 0, integrals)
        key = (directions, integrals)
        if key not in cohort.prepared:
            method = cohort.fit_method if directions else cohort.method
            cohort.prepared[key] = Prepared(self.system, cohort.patients.schedules, method)
        self.prepared = cohort.prepared[key]
        segments = np.diff(cohort.seg_start)[self.patient]
        self.base = np.zeros(len(self.patient), dtype=np.int64)
        np.cumsum(segments[:-1], out=self.base[1:])
        self.parameters = np.zeros((int(segments.sum()), self.system.rows_p))
        counts = self.prepared.observations[self.patient]
        self.y_base = np.zeros(len(self.patient), dtype=np.int64)
        np.cumsum(counts[:-1], out=self.y_base[1:])
        self.rows = int(counts.sum())
        self.blocks = -(-len(self.patient) // LANES)
        rows = (len(model.effects), cohort.fixed.shape[1], len(model.individual_units) * (1 + len(model.effects)))
        self.memory = tuple(np.zeros((max(1, r), LANES)) for r in rows)

    def fill(self, eta: np.ndarray) -> np.ndarray:
        """Individual parameters of every segment at these effects, (segments, rows_p)."""
        c = self.cohort
        kernel = individual_kernel(c.model, self.directions)
        m = len(c.model.individual_units)
        for block in range(self.blocks):
            gn.fill(block, kernel, eta, self.parameters, self.base, self.patient, c.seg_start, c.fixed, c.where, m,
                    self.directions, *self.memory)  # fmt: skip
        return self.parameters

    def run(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (rows, rows_y) and status at these effects (points, K)."""
        parameters = self.fill(np.ascontiguousarray(eta, dtype=float))
        return self.prepared.run(parameters, schedule_of=self.patient, segment=self.base)


@dataclass(frozen=True)
class Patients:
    """Records laid out for one model, as arrays; n of them.

    Attributes:
        model: the model.
        schedules: their events.
        seg_start: (n + 1,) first parameter segment of each; ``fixed`` (segments, theta + covariates), ``where``
            (segments, effects) the place of each of the model's effects in the full vector.
        omega: (n, K, K) prior covariance of the full vector.
        obs_start: (n + 1,) first measurement of each; ``data`` (measurements, 3) value and the two sizes of its error,
            ``columns`` (measurements, 3) kind of error, output, 1 where censored (`twin.likelihood`).
    """

    model: Model
    schedules: Packed
    seg_start: np.ndarray
    fixed: np.ndarray
    where: np.ndarray
    omega: np.ndarray
    obs_start: np.ndarray
    data: np.ndarray
    columns: np.ndarray


def stack(layouts: Sequence[Layout]) -> Patients:
    """Layouts as arrays.

    Raises:
        SolverError: for an empty or mixed list, or a measured output without a residual error.
    """
    if not layouts:
        raise SolverError("a cohort needs at least one patient")
    model, K = layouts[0].model, len(layouts[0].effects.names)
    if any(lay.model is not model or len(lay.effects.names) != K for lay in layouts):
        raise SolverError("a cohort's patients must share the model and the number of random effects")
    theta, outputs = model.theta, model.names("outputs")
    data, columns, start = [], [], [0]
    for lay in layouts:
        for m in lay.measurements:
            kind, a, b = error_of(model, m.output)
            data.append((m.value, a, b))
            columns.append((kind, outputs.index(m.output), int(m.censored)))
        start.append(len(data))
    return Patients(
        model,
        packed([lay.schedule for lay in layouts]),
        np.concatenate([[0], np.cumsum([len(lay.occasion) for lay in layouts])]).astype(np.int64),
        np.concatenate([np.hstack([np.tile(theta, (len(lay.covariates), 1)), lay.covariates]) for lay in layouts]),
        np.concatenate([lay.effects.of_occasion[lay.occasion] for lay in layouts]),
        np.array([lay.effects.omega for lay in layouts]),
        np.array(start, dtype=np.int64),
        np.array(data, dtype=float).reshape(-1, 3),
        np.array(columns, dtype=np.int64).reshape(-1, 3),
    )


def error_of(model: Model, output: str) -> tuple[int, float, float]:
    """Kind and the two sizes of an output's residual error.

    Raises:
        SolverError: it has none.
    """
    residual = model.output(output).residual
    if residual is None:
        raise SolverError(f"model '{model.id}' has no residual error for output '{output}'")
    return kind_of(residual)


class Cohort:
    """Patients of one model, with data and priors as arrays.

    Args:
        patients: layouts, all for the same model and the same number of random effects; or such already as arrays.
        method: how time is advanced; by default fits are done at a looser tolerance than predictions.

    Raises:
        SolverError: for an empty or mixed list.
    """

    def __init__(self, patients: Sequence[Layout] | Patients, method: Method | None = None) -> None:
        self.patients = p = patients if isinstance(patients, Patients) else stack(patients)
        self.method, self.fit_method = method or Method(), method or FIT
        self.model, self.K = p.model, p.omega.shape[1]
        self.prepared: dict[tuple[bool, bool], Prepared] = {}
        self.fixed, self.where, self.seg_start, self.omega = p.fixed, p.where, p.seg_start, p.omega
        self.inverse = np.ascontiguousarray(np.linalg.inv(self.omega)) if self.K else self.omega
        self.data, self.columns, self.obs_start = p.data, p.columns, p.obs_start
        whole = np.linalg.slogdet(2 * np.pi * self.omega)[1] if self.K else np.zeros(len(self.omega))
        self.deviation_constant = 0.5 * whole

    def points(self, patient: np.ndarray, directions: bool = False, integrals: bool = False) -> Points:
        """Evaluation points, one for each entry of ``patient`` (indices of layouts)."""
        return Points(self, patient, directions, integrals)

    def objective(self, patient: int, eta: np.ndarray) -> np.ndarray:
        """−log posterior (up to the evidence) of one patient at many effects (draws, K); inf where a run failed."""
        points = self.points(np.full(len(eta), patient))
        Y, status = points.run(eta)
        lo, hi = self.obs_start[patient], self.obs_start[patient + 1]
        n, d, c = hi - lo, self.data[lo:hi], self.columns[lo:hi]
        per = int(points.prepared.observations[patient])
        Y = np.ascontiguousarray(Y.reshape(len(eta), per, -1)[:, :n].reshape(len(eta) * n, Y.shape[1]))
        out = np.zeros(len(eta))
        columns = [np.ascontiguousarray(v) for v in (d[:, 0], c[:, 0], d[:, 1], d[:, 2], c[:, 1])]
        y, kind, a, b, column = columns
        total_of_many(Y, y, kind, a, b, column, np.ascontiguousarray(c[:, 2] == 1), out)
        out += 0.5 * np.einsum("di,ij,dj->d", eta, self.inverse[patient], eta) + self.deviation_constant[patient]
        return np.where((status == 0) & np.isfinite(out), out, np.inf)

    def fit(self, patient: np.ndarray, start: np.ndarray) -> dict[str, np.ndarray]:
        """Minimise from these starting points; see `gauss_newton`. Arrays: eta, f, g, H, state, iterations."""
        points = self.points(patient, directions=True)
        fits, K, c = len(points.patient), self.K, self
        eta = np.ascontiguousarray(start, dtype=float).copy()
        trial = eta.copy()
        r = {
            "eta": eta,
            "f": np.full(fits, np.inf),
            "g": np.zeros((fits, K)),
            "H": np.zeros((fits, K, K)),
            "damping": np.zeros(fits),
            "state": np.zeros(fits, dtype=np.int64),
            "iterations": np.zeros(fits, dtype=np.int64),
        }
        scratch = (np.zeros(K), np.zeros((K, K)), np.zeros((K, K)), np.zeros(K))
        ny = points.system.ny
        if points.prepared.steady or self.model.initial is not None:
            for _ in range(gn.MAX_ITERATIONS + 1):
                Y, status = points.run(trial)
                going = [
                    gn.gather(b, status, trial, Y, points.y_base, points.patient, c.obs_start, c.data, c.columns, ny,
                              c.inverse, *r.values(), *scratch)
                    for b in range(points.blocks)
                ]  # fmt: skip
                if not any(going):
                    break
        else:
            self._fit_compiled(points, trial, r, scratch, ny)
        r["f"] += self.deviation_constant[points.patient]
        return r

    def _fit_compiled(
        self, points: Points, trial: np.ndarray, r: dict[str, np.ndarray], scratch: tuple, ny: int
    ) -> None:
        c, fits = self, len(points.patient)
        Y = np.full((points.rows, points.system.rows_y), np.nan)
        status = np.zeros(fits, dtype=np.int64)
        people = People(
            points.patient,
            points.parameters,
            points.base,
            starting_states(points.system, points.parameters[points.base]),
            np.zeros((1, points.system.rows_x)),
            np.zeros(fits, dtype=np.int64),
            points.prepared.starts[points.patient],
            points.y_base,
            np.zeros(fits, dtype=np.int64),
        )
        table, held = engine.job(
            points.prepared.plan,
            engine.arrays_of(points.prepared.events, people, Y, np.zeros((1, points.system.rows_x)), status),
            fits,
        )
        kernel, m = individual_kernel(self.model, True), len(self.model.individual_units)
        gn.fit_blocks(int(table.ctypes.data), 0, points.blocks, kernel, points.parameters, points.base, c.seg_start,
                      c.fixed, c.where, m, *points.memory, status, trial, Y, points.y_base, points.patient, c.obs_start,
                      c.data, c.columns, ny, c.inverse, *r.values(), *scratch)  # fmt: skip
        del held
