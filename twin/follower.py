"""The estimator in the loop: one call of `Follower.step` for each control interval.

::

    follower = Follower(statement, covariates, count=1)
    belief = follower.observe(reading)                    # at the start, no time has passed
    while True:
        draws = follower.draws(30)                        # states, parameters, offsets for the controller
        belief = follower.step(inputs, reading, reading_time)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..pkpd.engine import _threads
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import covariate_matrix, individuals
from . import outlook, ukf
from .augmented import layout_of
from .belief import Bands, Belief, Draws, bands
from .engines import ENGINES
from .follow import Follow
from .intake import intake
from .start import first_belief

__all__ = ["Follower"]

THREAD_PATIENTS = 16  # fewer patients than this for each thread are done sooner than a thread is woken
_pool: list[ThreadPoolExecutor] = []


def share_out(work: Callable[[int, int], None], n: int) -> None:
    """Run ``work(first, last)`` over n patients, by threads where it pays. Patients do not depend on one another."""
    parts = min(_threads[0], n // THREAD_PATIENTS)
    if parts <= 1:
        work(0, n)
        return
    if not _pool or _pool[0]._max_workers < parts:
        _pool[:] = [ThreadPoolExecutor(parts, thread_name_prefix="doseloop-follow")]
    edges = np.linspace(0, n, 4 * parts + 1).astype(int)
    for task in [_pool[0].submit(work, int(a), int(b)) for a, b in itertools.pairwise(edges)]:
        task.result()


class Follower:
    """Follows n patients of one statement, sample by sample.

    A patient's numbers do not depend on the batch, the place in it or the number of threads.

    Args:
        follow: what is estimated and how it is measured.
        covariates: as in `pkpd.individuals.covariate_matrix`: a mapping, a sequence of n mappings, (n, covariates).
        count: n, where ``covariates`` is one mapping or None (default: as many as there are covariates).
        mean: prior mean of all the model's random effects, (effects,) or (n, effects); default 0.
        covariance: prior covariance of all of them, (effects, effects) or (n, effects, effects); default the model's.
        start: states at the start, (states,) or (n, states); default the model's own for these effects, with their
            spread.
        time: now.
        seed: of draws; (n,) or one number.
        theta: other typical values than the published ones.
        method: "ukf", "particle" or "horizon" (docs/following.md says which for what, and why).
        options: of the method: ``particles``; ``window``, ``iterations``.

    Raises:
        DoseloopError: listing everything that has the wrong shape or is not finite.
    """

    def __init__(
        self,
        follow: Follow,
        covariates: Any = None,
        count: int | None = None,
        *,
        mean: np.ndarray | None = None,
        covariance: np.ndarray | None = None,
        start: np.ndarray | None = None,
        time: float = 0.0,
        seed: int | np.ndarray = 0,
        theta: np.ndarray | None = None,
        method: str = "ukf",
        **options: Any,
    ) -> None:
        self.follow, self.layout = follow, layout_of(follow)
        model = follow.model
        matrix = covariate_matrix(model, covariates, count)
        n, E = len(matrix), len(model.effects)
        if count is not None and n != count:
            raise DoseloopError(f"{n} rows of covariates for {count} patients")
        self.n, self.at, self.now = n, float(time), 0
        typical = model.theta if theta is None else np.asarray(theta, dtype=float)
        given = {"mean": (mean, (E,)), "covariance": (covariance, (E, E)), "start": (start, (len(model.states),))}
        bad, arrays = [], {}
        for name, (value, shape) in given.items():
            if value is None:
                continue
            array = np.asarray(value, dtype=float)
            if array.shape not in (shape, (n, *shape)):
                bad.append(f"{name} has shape {array.shape}; {shape} or {(n, *shape)} is meant")
            elif not np.isfinite(array).all():
                bad.append(f"{name} is not finite")
            else:
                arrays[name] = np.array(np.broadcast_to(array, (n, *shape)))
        if method not in ENGINES:
            bad.append(f"no method '{method}'; there are {', '.join(ENGINES)}")
        if bad:
            raise DoseloopError([f"following '{model.id}': {b}" for b in bad])
        self.covariates, self.theta = matrix, typical
        self._fixed = np.ascontiguousarray(np.hstack([np.broadcast_to(typical, (n, len(typical))), matrix]))
        self._eta = arrays.get("mean", np.zeros((n, E)))
        whole = arrays.get("covariance", np.broadcast_to(model.omega, (n, E, E)))
        chosen = self.layout.effect_of
        centre = np.ascontiguousarray(self._eta[:, chosen])
        omega = np.ascontiguousarray(whole[:, chosen[:, None], chosen[None, :]])
        self.delay = self._delay_of(matrix, typical)
        longest = self.delay.max(initial=0.0) + follow.sensor.quality_delay * (1.0 - follow.sensor.quality / 100.0)
        slots = int(np.rint(longest / follow.interval)) + int(np.ceil(follow.late / follow.interval)) + 2
        first = first_belief(self.layout, self._fixed, self._eta, centre, omega, arrays.get("start"))
        seeds = np.broadcast_to(np.asarray(seed, dtype=np.int64), (n,)).copy()
        self.engine = ENGINES[method](
            self.layout, slots, self._fixed, self._eta, centre, omega, *first, seeds, **options
        )
        self._none = np.zeros((n, len(follow.signals)))
        output, sensor = model.output(follow.output), follow.sensor
        self._low = float(output.low if sensor.low is None else sensor.low)
        self._high = float(output.high if sensor.high is None else sensor.high)
        self._run(False, self._none, None, None, None)

    def _delay_of(self, matrix: np.ndarray, typical: np.ndarray) -> np.ndarray:
        f, delay = self.follow, self.follow.sensor.delay
        if not isinstance(delay, str):
            return np.full(len(matrix), float(delay))
        p = individuals(f.model, matrix, self._eta, typical)
        return np.clip(p[:, list(f.model.individual_units).index(delay)], 0.0, f.longest_delay)

    @property
    def time(self) -> float:
        """Now."""
        return self.at + self.now * self.follow.interval

    def __len__(self) -> int:
        return self.n

    def step(
        self,
        inputs: np.ndarray,
        reading: Any = np.nan,
        reading_time: Any = None,
        quality: Any = None,
    ) -> Belief:
        """An interval has passed: move on, and learn from a reading.

        Args:
            inputs: (n, signals) or (signals,) held over the interval, in the order of ``Follow.signals``: inputs, then
                one rate for each route (a bolus: amount / interval).
            reading: (n,) or a number; NaN where there is none.
            reading_time: when the sensor took it (its own delay is known to the statement); default now. It is put at
                the nearest interval's end. One that is older is put in its place and what came after is done again.
            quality: 0–100, where the sensor tells.

        Raises:
            DoseloopError: an array of the wrong shape, or inputs that are not finite.
        """
        u = self._inputs(inputs, (self.n, len(self.follow.signals)), "inputs")
        self.now += 1
        self._run(True, u, reading, reading_time, quality)
        return self.belief()

    def observe(self, reading: Any, reading_time: Any = None, quality: Any = None) -> Belief:
        """Learn from a reading while no time passes: the first one, or one that was sent later. See `step`."""
        self._run(False, self._none, reading, reading_time, quality)
        return self.belief()

    def _inputs(self, inputs: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
        u = np.array(inputs, dtype=float)  # a copy that may be written: one compiled signature
        if u.shape != shape:
            try:
                u = np.array(np.broadcast_to(u, shape), order="C")
            except ValueError:
                raise DoseloopError(f"{what} have shape {u.shape}; {shape} is meant") from None
        if not np.isfinite(u).all():
            raise DoseloopError(f"{what} are not finite for patient(s) {np.unique(np.argwhere(~np.isfinite(u))[:, 0])}")
        return u

    def _row(self, value: Any, default: float, what: str) -> np.ndarray:
        v = np.array(default if value is None else value, dtype=float)
        if v.shape != (self.n,):
            if v.shape not in ((), (1,)):
                raise DoseloopError(f"{what} has shape {v.shape}; ({self.n},) is meant")
            v = np.full(self.n, v.item())
        return v

    def _run(self, advance: bool, u: np.ndarray, reading: Any, reading_time: Any, quality: Any) -> None:
        f, e, n, now = self.follow, self.engine, self.n, self.now
        y = self._row(reading, np.nan, "reading")
        t = self._row(reading_time, self.time, "reading_time")
        q = self._row(quality, 100.0, "quality")
        slot, noise, fate = np.empty(n, dtype=np.int64), np.empty(n), np.empty(n, dtype=np.int64)
        s = f.sensor
        intake(
            advance, now, self.at, f.interval, self._low, self._high, max(s.quality, 1e-3), s.quality_delay, self.delay,
            y, t, q, e.y, e.stamp, slot, noise, fate,
        )  # fmt: skip
        share_out(lambda a, b: e.run(a, b, now, self.at, advance, u, slot, y, noise), n)
        strange = fate != ukf.FATE_USED
        e.fate[strange] = fate[strange]

    def belief(self) -> Belief:
        """What is believed now."""
        e = self.engine
        eta, row = self._eta, e.s.T.copy()
        nx, q = len(self.follow.model.states), len(self.layout.effect_of)

        def parameters(m: np.ndarray) -> np.ndarray:
            every = eta.copy()
            every[:, self.layout.effect_of] = m[:, nx : nx + q]
            return individuals(self.follow.model, self.covariates, every, self.theta)

        return Belief(
            self.follow, self.time, e.m.copy(), e.P.copy(), row[ukf.EXPECTED], row[ukf.EXPECTED_SD], row[ukf.TRUTH],
            row[ukf.TRUTH_SD], row[ukf.INNOVATION], row[ukf.CONSISTENCY], row[ukf.LOG_EVIDENCE], row[ukf.INCREMENT],
            row[ukf.ESS], row[ukf.WIDENESS], row[ukf.GATED], row[ukf.IN_ROW], row[ukf.WIDENED], e.fate.copy(),
            parameters,
        )  # fmt: skip

    def draws(self, k: int) -> Draws:
        """k equally weighted draws of each patient's belief; one draw is the mean.

        Draws come in antithetic pairs from a counter-based stream of (seed, now): the same call gives the same bits.
        """
        if not 1 <= k < 65536:
            raise DoseloopError(f"{k} draws; 1 to 65535 are meant")
        f, e, n = self.follow, self.engine, self.n
        z, p = np.empty((n, k, f.size)), np.empty((n, k, len(f.model.individual_units)))

        def work(first: int, last: int) -> None:
            outlook.draw(e.A, first, last, self.now, e.seed, e.fixed, e.eta, e.m, e.P, z, p)

        share_out(work, n)
        nx, q, d = len(f.model.states), len(self.layout.effect_of), len(f.disturbed)
        effects = np.repeat(self._eta[:, None, :], k, axis=1)
        effects[:, :, self.layout.effect_of] = z[:, :, nx : nx + q]
        offset = z[:, :, nx + q + d].copy() if f.offset is not None else np.zeros((n, k))
        return Draws(z[:, :, :nx].copy(), p, offset, z[:, :, nx + q : nx + q + d].copy(), effects)

    def predict(self, inputs: np.ndarray, coverage: float = 0.9) -> Bands:
        """Bands of readings and of the truth over the coming intervals.

        Args:
            inputs: (H, signals) or (n, H, signals), what will be held.
            coverage: of the bands, between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise DoseloopError(f"a coverage lies between 0 and 1, not {coverage}")
        u = np.asarray(inputs, dtype=float)
        nu = len(self.follow.signals)
        if u.ndim == 2:
            u = u[None]
        if u.ndim != 3 or u.shape[0] not in (1, self.n) or u.shape[2] != nu:
            shape = f"(H, {nu}) or ({self.n}, H, {nu})"
            raise DoseloopError(f"inputs ahead have shape {np.shape(inputs)}; {shape} is meant")
        u = self._inputs(u, u.shape, "inputs ahead")
        out, e = np.empty((self.n, u.shape[1], 4)), self.engine
        held = np.ascontiguousarray(e.u[:, self.now % e.slots])

        def work(first: int, last: int) -> None:
            outlook.ahead(
                e.A, first, last, self.now, self.at, u, held, e.fixed, e.eta, e.centre, e.omega, e.m, e.P, e.s, out
            )

        share_out(work, self.n)
        times = self.time + self.follow.interval * np.arange(1, u.shape[1] + 1)
        return bands(times, out[..., 0], out[..., 1], out[..., 2], out[..., 3], coverage)
