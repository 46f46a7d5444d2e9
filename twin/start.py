"""The belief a follower starts with: the prior of the effects, and the states that go with it."""

from __future__ import annotations

import numpy as np

from ..pkpd.individuals import individuals
from ..pkpd.population import starting_states
from .augmented import Layout
from .ukf import BEND, DISTANCE, FIRST, SECOND

__all__ = ["first_belief"]


def first_belief(
    layout: Layout,
    fixed: np.ndarray,
    eta: np.ndarray,
    centre: np.ndarray,
    omega: np.ndarray,
    start: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, L) and covariance (n, L, L) of the augmented state at the start.

    Where no start is given, the states are the model's own starting values, which depend on the effects; sigma points
    (`twin.ukf`) carry the effects' spread over to them.
    """
    f = layout.follow
    model, n = f.model, len(eta)
    nx, q, L = len(model.states), len(layout.effect_of), f.size
    mean, P = np.zeros((n, L)), np.zeros((n, L, L))
    mean[:, nx : nx + q] = centre
    P[:, nx : nx + q, nx : nx + q] = omega
    rows = np.arange(nx + q, L)
    P[:, rows, rows] = layout.first[rows] ** 2
    if start is not None:
        mean[:, :nx] = start
    else:
        theta, covariates = np.split(fixed, [len(model.parameters)], axis=1)
        root = _factor(omega)
        points = np.repeat(eta[:, None, :], 1 + 2 * q, axis=1)
        for i in range(n):  # one by one: the same bits in any batch
            points[i, 1 : 1 + q, layout.effect_of] += DISTANCE * root[i]
            points[i, 1 + q :, layout.effect_of] -= DISTANCE * root[i]
            p = individuals(model, np.repeat(covariates[i : i + 1], 1 + 2 * q, axis=0), points[i], theta[i])
            x = starting_states(layout.march.system, p)[:, :nx]
            up, down = x[1 : 1 + q] - x[0], x[1 + q :] - x[0]
            mean[i, :nx] = x[0] + BEND * (up + down).sum(axis=0)
            D1, D2 = FIRST * (up - down), SECOND * (up + down)
            P[i, :nx, :nx] = D1.T @ D1 + D2.T @ D2
            P[i, :nx, nx : nx + q] = D1.T @ root[i].T
            P[i, nx : nx + q, :nx] = P[i, :nx, nx : nx + q].T
    for i, name in enumerate(model.names("states")):
        noise = f.states.get(name)
        if noise:
            P[:, i, i] += noise.start_absolute**2 + (noise.start_relative * mean[:, i]) ** 2
    return mean, P


def _factor(omega: np.ndarray) -> np.ndarray:
    """A square root of each covariance, singular ones too: (n, q, q)."""
    values, vectors = np.linalg.eigh(omega)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])
