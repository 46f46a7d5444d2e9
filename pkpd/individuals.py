"""Individual parameters: from typical values, covariates and random effects, by the compiled kernel."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .calls import call_kernel
from .errors import RecordError
from .jit import jit
from .lanes import LANES, straight_ir
from .model import Model
from .objects import address
from .system import individual_graph

__all__ = ["covariate_matrix", "individual_kernel", "individuals", "individuals_with_derivatives"]


@jit
def evaluate(kernel, eta, fixed, x, p, out, result):
    """result[i] = kernel(eta[i], fixed[i]) in lanes; x, p, out are working memory of (rows, LANES)."""
    people = eta.shape[0]
    W = x.shape[1]
    for first in range(0, people, W):
        for lane in range(W):
            i = min(first + lane, people - 1)
            for r in range(eta.shape[1]):
                x[r, lane] = eta[i, r]
            for r in range(fixed.shape[1]):
                p[r, lane] = fixed[i, r]
        call_kernel(kernel, 0, x.ctypes.data, p.ctypes.data, 0, 0, out.ctypes.data)
        for lane in range(min(W, people - first)):
            for r in range(result.shape[1]):
                result[first + lane, r] = out[r, lane]


_kernels: weakref.WeakKeyDictionary[Model, dict[bool, int]] = weakref.WeakKeyDictionary()


def individual_kernel(model: Model, derivatives: bool) -> int:
    """Address of the kernel (eta; theta and covariates) -> parameters [, their derivatives by effect]."""
    known = _kernels.setdefault(model, {})
    if derivatives not in known:
        ir = straight_ir(individual_graph(model, derivatives))
        known[derivatives] = address(f"{model.id} individual", ir, "individual")
    return known[derivatives]


def covariate_matrix(model: Model, covariates: Any, count: int | None = None) -> np.ndarray:
    """Covariates as an array (people, covariates) in the model's order.

    Args:
        model: whose covariates.
        covariates: None (typical), one mapping, a sequence of mappings, or such an array.
        count: number of people; one mapping is repeated that often.

    Raises:
        RecordError: names every covariate that is missing, unknown or not a finite number.
    """
    names = model.names("covariates")
    if isinstance(covariates, np.ndarray):
        matrix = np.ascontiguousarray(covariates, dtype=float)
        if matrix.ndim != 2 or matrix.shape[1] != len(names):
            raise RecordError(f"covariates have shape {matrix.shape}; model '{model.id}' wants (people, {len(names)})")
        return matrix
    typical = covariates is None
    rows: Sequence[Mapping[str, float]]
    rows = (
        [model.typical_covariates] if typical else [covariates] if isinstance(covariates, Mapping) else list(covariates)
    )
    problems: list[str] = []
    for i, row in enumerate(rows):
        where = f"person {i}: " if len(rows) > 1 else ""
        missing = [n for n in names if n not in row]
        if missing:
            problems.append(f"{where}model '{model.id}' needs the covariate(s) {', '.join(missing)}")
        for n in names:
            value = row.get(n, 0.0)
            if isinstance(value, bool | str) or not np.isfinite(value):
                problems.append(f"{where}covariate {n} is {value!r}, not a finite number")
    if problems:
        raise RecordError(problems)
    matrix = np.array([[float(row[n]) for n in names] for row in rows], dtype=float).reshape(len(rows), len(names))
    return np.repeat(matrix, count, axis=0) if count is not None and len(rows) == 1 else matrix


def _run(
    model: Model, covariates: np.ndarray, eta: np.ndarray, theta: np.ndarray | None, derivatives: bool
) -> np.ndarray:
    fixed = np.empty((len(eta), len(model.theta) + covariates.shape[1]))
    fixed[:, : len(model.theta)] = model.theta if theta is None else theta
    fixed[:, len(model.theta) :] = covariates
    m, e = len(model.individual_units), len(model.effects)
    result = np.empty((len(eta), m * (1 + e) if derivatives else m))
    if len(eta):
        memory = [np.zeros((max(1, rows), LANES)) for rows in (e, fixed.shape[1], result.shape[1])]
        evaluate(individual_kernel(model, derivatives), np.ascontiguousarray(eta, dtype=float), fixed, *memory, result)
    return result


def _effects(model: Model, eta: Any, covariates: Any) -> tuple[np.ndarray, np.ndarray]:
    e = len(model.effects)
    if eta is None:
        matrix = covariate_matrix(model, covariates)
        return np.zeros((len(matrix), e)), matrix
    etas = np.asarray(eta, dtype=float)
    etas = etas[None, :] if etas.ndim == 1 else etas
    if etas.ndim != 2 or etas.shape[1] != e:
        raise RecordError(f"eta has shape {np.shape(eta)}; model '{model.id}' has {e} random effects")
    matrix = covariate_matrix(model, covariates, len(etas))
    if len(matrix) != len(etas):
        if len(etas) != 1:
            raise RecordError(f"{len(etas)} rows of eta for {len(matrix)} people")
        etas = np.repeat(etas, len(matrix), axis=0)
    return etas, matrix


def individuals(model: Model, covariates: Any = None, eta: Any = None, theta: np.ndarray | None = None) -> np.ndarray:
    """Individual parameters, shape (people, parameters), in the order of ``model.individual_units``.

    Args:
        model: the model.
        covariates: None (typical), a mapping, a sequence of mappings, or an array (people, covariates).
        eta: None (0), or random effects of shape (effects,) or (people, effects).
        theta: other typical values than the published ones, shape (parameters,).

    Raises:
        RecordError: listing every covariate that is missing or not a number.
    """
    etas, matrix = _effects(model, eta, covariates)
    return _run(model, matrix, etas, theta, False)


def individuals_with_derivatives(
    model: Model, covariates: Any = None, eta: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (people, parameters) and their derivatives by effect, (people, effects, parameters)."""
    etas, matrix = _effects(model, eta, covariates)
    both, m = _run(model, matrix, etas, None, True), len(model.individual_units)
    return both[:, :m], both[:, m:].reshape(len(both), len(model.effects), m)
