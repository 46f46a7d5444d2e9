"""The three estimators behind `Follower`: their memory, and one step of a slice of patients.

All leave the mean, the covariance and the figures of a belief in ``m``, ``P`` and ``s``: read, drawn and predicted from
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..pkpd.individuals import individual_kernel
from ..pkpd.march import march_of
from . import horizon_ring, particle_ring, ring, ukf
from .augmented import Layout

__all__ = ["ENGINES", "Engine", "Horizon", "Particle", "SigmaPoint"]


class Engine:
    """What all share: who the patients are, and what is believed of them.

    Args:
        layout: the statement's arrays.
        slots: length of the ring of intervals that are remembered.
        fixed, eta, centre, omega: (n, ...) typical values and covariates, effects, prior of the estimated ones.
        mean, covariance: (n, L), (n, L, L) at the start.
        seed: (n,).
    """

    def __init__(
        self,
        layout: Layout,
        slots: int,
        fixed: np.ndarray,
        eta: np.ndarray,
        centre: np.ndarray,
        omega: np.ndarray,
        mean: np.ndarray,
        covariance: np.ndarray,
        seed: np.ndarray,
    ) -> None:
        n, nu = len(fixed), len(layout.follow.signals)
        self.layout, self.A, self.slots, self.n = layout, layout.arrays(), slots, n
        self.fixed, self.eta, self.centre, self.omega, self.seed = fixed, eta, centre, omega, seed
        self.m, self.P, self.s = mean, covariance, np.zeros((n, ukf.FIGURES))
        self.s[:, [ukf.CONSISTENCY, ukf.WIDENESS]] = 1.0
        self.s[:, [ukf.INNOVATION, ukf.ESS]] = np.nan
        self.oldest, self.fate = np.zeros(n, dtype=np.int64), np.full(n, ukf.FATE_MISSING, dtype=np.int64)
        self.u, self.y, self.noise = np.zeros((n, slots, nu)), np.full((n, slots), np.nan), np.ones((n, slots))
        self.stamp = np.full((n, slots), np.nan)

    def run(
        self, first: int, last: int, now: np.ndarray, only: np.ndarray, at: float, advance: bool, *given: Any
    ) -> None:
        """One step of those of ``only`` (n,) among patients first to last.

        Args: ``now`` (n,) their slots; ``given``: inputs, slots of the readings, readings, noise.
        """
        raise NotImplementedError

    def of_patients(self) -> Iterator[np.ndarray]:
        """Every array with a row for each patient, in one order for all engines of a kind."""
        for name, value in vars(self).items():
            if name not in ("A", "extra"):  # the statement's and the model's
                yield from (a for a in (value if isinstance(value, tuple) else (value,)) if isinstance(a, np.ndarray))

    def put(self, lanes: np.ndarray, other: Engine) -> None:
        """The patients of another engine, made alike, in the lanes of a mask."""
        for mine, new in zip(self.of_patients(), other.of_patients(), strict=True):
            mine[lanes] = new


class SigmaPoint(Engine):
    """`twin.ukf`."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        n, L = self.m.shape
        self.before = (
            np.zeros((n, self.slots, L)),
            np.zeros((n, self.slots, L, L)),
            np.zeros((n, self.slots, len(self.s[0]))),
        )
        for store, value in zip(self.before, (self.m, self.P, self.s)):
            store[:, 0] = value

    def run(
        self, first: int, last: int, now: np.ndarray, only: np.ndarray, at: float, advance: bool, *given: Any
    ) -> None:
        """See `Engine.run`."""
        ring.follow(
            self.A, first, last, now, only, at, advance, *given, self.oldest, self.fixed, self.eta, self.centre,
            self.omega, self.m, self.P, self.s, *self.before, self.u, self.y, self.noise, self.fate,
        )  # fmt: skip


class Particle(Engine):
    """`twin.particle`; ``particles`` many."""

    def __init__(self, *given: Any, particles: int = 512) -> None:
        super().__init__(*given)
        (n, L), R, N, tail = self.m.shape, self.slots, int(particles), len(self.layout.sensed)
        self.cloud, self.logs, self.common = np.zeros((n, N, L)), np.zeros((n, N)), np.zeros((n, tail, tail))
        self.before = (
            np.zeros((n, R, N, L)), np.zeros((n, R, N)), np.zeros((n, R, tail, tail)), np.zeros((n, R, ukf.FIGURES)),
        )  # fmt: skip
        particle_ring.begin(self.A, 0, n, self.seed, self.m, self.P, self.s, self.cloud, self.common, *self.before)

    def run(
        self, first: int, last: int, now: np.ndarray, only: np.ndarray, at: float, advance: bool, *given: Any
    ) -> None:
        """See `Engine.run`."""
        particle_ring.follow(
            self.A, first, last, now, only, at, advance, *given, self.oldest, self.fixed, self.eta, self.centre,
            self.omega, self.seed, self.cloud, self.logs, self.common, self.m, self.P, self.s, *self.before, self.u,
            self.y, self.noise, self.fate,
        )  # fmt: skip


class Horizon(Engine):
    """`twin.horizon`: ``window`` intervals, at most so many Gauss-Newton ``iterations`` a sample."""

    def __init__(self, *given: Any, window: int = 24, iterations: int = 2) -> None:
        layout, slots, *rest = given
        self.window, self.iterations = max(int(window), slots), int(iterations)
        super().__init__(layout, self.window + 2, *rest)
        (n, L), R, f = self.m.shape, self.slots, layout.follow
        d = march_of(f.model, f.interval, f.step, 1)
        self.extra = np.array(
            [d.kernel, d.propagator, d.outputs, individual_kernel(f.model, True), d.rows_k], dtype=np.int64
        )
        self.begin, self.alpha = np.zeros(n, dtype=np.int64), np.zeros((n, L))
        self.arrival = (self.m.copy(), self.P.copy())
        self.beta, self.gamma, self.z = (
            np.zeros((n, R, L)),
            np.zeros((n, R, max(1, len(f.disturbed)))),
            np.zeros((n, R, L)),
        )
        self.ahead, self.wide = np.zeros((n, R, L, L)), np.ones((n, R))
        self.z[:, 0], self.ahead[:, 0] = self.m, self.P

    def run(
        self, first: int, last: int, now: np.ndarray, only: np.ndarray, at: float, advance: bool, *given: Any
    ) -> None:
        """See `Engine.run`."""
        horizon_ring.follow(
            self.A, self.extra, first, last, now, only, at, advance, *given, self.oldest, self.fixed, self.eta,
            self.centre, self.omega, self.window, self.iterations, self.m, self.P, self.s, self.begin, *self.arrival,
            self.alpha, self.beta, self.gamma, self.z, self.ahead, self.u, self.y, self.noise, self.wide, self.fate,
        )  # fmt: skip


ENGINES: dict[str, type[Engine]] = {"ukf": SigmaPoint, "particle": Particle, "horizon": Horizon}
