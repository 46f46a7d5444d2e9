"""The estimator in the loop: one call of `Follower.step` for each control interval.

::

    follower = Follower(statement, covariates, count=1)
    belief = follower.observe(reading)                    # at the start, no time has passed
    while True:
        draws = follower.draws(30)                        # states, parameters, offsets for the controller
        belief = follower.step(inputs, reading, reading_time)

Each patient counts its own intervals, so that a lane may begin anew with another patient while the others go on
(`Follower.restart`): from there it gives the bits of a follower made for that patient alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..pkpd.engine import _threads
from ..pkpd.errors import DoseloopError
from ..pkpd.individuals import covariate_matrix, individuals
from ..pkpd.threads import share, slices
from . import outlook, ukf
from .augmented import layout_of
from .belief import Bands, Belief, Draws, bands
from .engines import ENGINES
from .follow import Follow
from .intake import intake
from .start import first_belief

__all__ = ["Follower", "delays"]

THREAD_PATIENTS = 16  # fewer patients than this for each thread are done sooner than a thread is woken


def share_out(work: Callable[[int, int], None], n: int) -> None:
    """Run ``work(first, last)`` over n patients, by threads where it pays. Patients do not depend on one another."""
    parts = max(1, min(_threads[0], n // THREAD_PATIENTS))
    share(work, slices(n, 4 * parts if parts > 1 else 1), parts)


def delays(follow: Follow, covariates: np.ndarray, effects: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """(n,) how long each patient's sensor lags: the statement's own number, or its individual parameter."""
    delay = follow.sensor.delay
    if not isinstance(delay, str):
        return np.full(len(covariates), float(delay))
    p = individuals(follow.model, covariates, effects, theta)
    return np.clip(p[:, list(follow.model.individual_units).index(delay)], 0.0, follow.longest_delay)


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
        longest_delay: room for sensors that lag as long (default: the longest of these patients): of whoever `restart`
            brings.
        options: of the method: ``particles``; ``window``, ``iterations``.

    Attributes:
        now: (n,) intervals since each patient's start; ``steps`` since the follower's own.

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
        longest_delay: float | None = None,
        **options: Any,
    ) -> None:
        self.follow, self.layout = follow, layout_of(follow)
        model = follow.model
        matrix = covariate_matrix(model, covariates, count)
        n, E = len(matrix), len(model.effects)
        if count is not None and n != count:
            raise DoseloopError(f"{n} rows of covariates for {count} patients")
        self.n, self.at, self.steps, self.now = n, float(time), 0, np.zeros(n, dtype=np.int64)
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
        self.covariates, self.theta = matrix.copy(), typical  # a copy: `restart` writes to it
        self._fixed = np.ascontiguousarray(np.hstack([np.broadcast_to(typical, (n, len(typical))), matrix]))
        self._eta = arrays.get("mean", np.zeros((n, E)))
        whole = arrays.get("covariance", np.broadcast_to(model.omega, (n, E, E)))
        chosen = self.layout.effect_of
        centre = np.ascontiguousarray(self._eta[:, chosen])
        omega = np.ascontiguousarray(whole[:, chosen[:, None], chosen[None, :]])
        self.delay = delays(follow, matrix, self._eta, typical)
        self.longest_delay = float(self.delay.max(initial=0.0)) if longest_delay is None else float(longest_delay)
        if not self.delay.max(initial=0.0) <= self.longest_delay < math.inf:
            raise DoseloopError(
                f"following '{model.id}': sensors lag up to {self.delay.max():g}; there is room for "
                f"{self.longest_delay:g} (longest_delay)"
            )
        longest = self.longest_delay + follow.sensor.quality_delay * (1.0 - follow.sensor.quality / 100.0)
        slots = int(np.rint(longest / follow.interval)) + int(np.ceil(follow.late / follow.interval)) + 2
        first = first_belief(self.layout, self._fixed, self._eta, centre, omega, arrays.get("start"))
        seeds = np.broadcast_to(np.asarray(seed, dtype=np.int64), (n,)).copy()
        self._how = (method, options)
        self.engine = ENGINES[method](
            self.layout, slots, self._fixed, self._eta, centre, omega, *first, seeds, **options
        )
        self._none = np.zeros((n, len(follow.signals)))
        output, sensor = model.output(follow.output), follow.sensor
        self._low = float(output.low if sensor.low is None else sensor.low)
        self._high = float(output.high if sensor.high is None else sensor.high)
        self._all = np.ones(n, dtype=bool)
        self._strides = {1: self.engine.A}
        self._run(False, self._none, None, None, None, self._all)

    @property
    def time(self) -> float:
        """Now, by the follower's own clock: that of every patient who was never replaced."""
        return self.at + self.steps * self.follow.interval

    @property
    def clock(self) -> np.ndarray:
        """(n,) now, by each patient's own clock, which time stamps of readings mean."""
        return self.at + self.now * self.follow.interval

    def restart(
        self,
        lanes: np.ndarray,
        covariates: Any,
        *,
        mean: np.ndarray | None = None,
        covariance: np.ndarray | None = None,
        start: np.ndarray | None = None,
        seed: int | np.ndarray = 0,
    ) -> None:
        """New patients in some lanes, at the time at which the follower began; the others go on as they were.

        A restarted lane gives the bits of a new follower of that patient.

        Args:
            lanes: (n,) mask, m of them.
            covariates, mean, covariance, start, seed: of the m new patients, in the order of the lanes; as above.

        Raises:
            DoseloopError: as above; a mask that does not fit; a sensor that lags longer than there is room for.
        """
        lanes = np.asarray(lanes)
        if lanes.dtype != bool or lanes.shape != (self.n,):
            raise DoseloopError(f"restart: lanes is a mask of ({self.n},) booleans, not {lanes.dtype} {lanes.shape}")
        if not lanes.any():
            return
        method, options = self._how
        new = Follower(
            self.follow, covariates, int(lanes.sum()), mean=mean, covariance=covariance, start=start, time=self.at,
            seed=seed, theta=self.theta, method=method, longest_delay=self.longest_delay, **options,
        )  # fmt: skip
        self.engine.put(lanes, new.engine)
        mine = (self.now, self.covariates, self._fixed, self._eta, self.delay)
        for a, b in zip(mine, (new.now, new.covariates, new._fixed, new._eta, new.delay), strict=True):
            a[lanes] = b

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
            reading_time: when the sensor took it, by the patient's `clock` (its own delay is known to the statement);
                default now. It is put at the nearest interval's end. One that is older is put in its place and what
                came after is done again.
            quality: 0–100, where the sensor tells.

        Raises:
            DoseloopError: an array of the wrong shape, or inputs that are not finite.
        """
        u = self._inputs(inputs, (self.n, len(self.follow.signals)), "inputs")
        self.now += 1
        self.steps += 1
        self._run(True, u, reading, reading_time, quality, self._all)
        return self.belief()

    def observe(
        self, reading: Any, reading_time: Any = None, quality: Any = None, only: np.ndarray | None = None
    ) -> Belief:
        """Learn from a reading while no time passes: the first one, or one that was sent later. See `step`.

        ``only``: (n,) mask of the patients it is about; the others are left alone.
        """
        who = self._all if only is None else np.ascontiguousarray(only, dtype=bool)
        if who.shape != (self.n,):
            raise DoseloopError(f"only has shape {who.shape}; ({self.n},) is meant")
        self._run(False, self._none, reading, reading_time, quality, who)
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

    def _row(self, value: Any, default: float | np.ndarray, what: str) -> np.ndarray:
        v = np.array(default if value is None else value, dtype=float)
        if v.shape != (self.n,):
            if v.shape not in ((), (1,)):
                raise DoseloopError(f"{what} has shape {v.shape}; ({self.n},) is meant")
            v = np.full(self.n, v.item())
        return v

    def _run(
        self, advance: bool, u: np.ndarray, reading: Any, reading_time: Any, quality: Any, only: np.ndarray
    ) -> None:
        f, e, n, now = self.follow, self.engine, self.n, self.now
        y = self._row(reading, np.nan, "reading")
        t = self._row(reading_time, self.clock, "reading_time")
        q = self._row(quality, 100.0, "quality")
        slot, noise, fate = np.empty(n, dtype=np.int64), np.empty(n), np.empty(n, dtype=np.int64)
        s = f.sensor
        intake(
            advance, now, only, self.at, f.interval, self._low, self._high, max(s.quality, 1e-3), s.quality_delay,
            self.delay, y, t, q, e.y, e.stamp, slot, noise, fate,
        )  # fmt: skip
        share_out(lambda a, b: e.run(a, b, now, only, self.at, advance, u, slot, y, noise), n)
        strange = only & (fate != ukf.FATE_USED)
        e.fate[strange] = fate[strange]

    def belief(self) -> Belief:
        """What is believed now."""
        e = self.engine
        eta, covariates, row = self._eta.copy(), self.covariates.copy(), e.s.T.copy()
        nx, q = len(self.follow.model.states), len(self.layout.effect_of)

        def parameters(m: np.ndarray) -> np.ndarray:
            every = eta.copy()
            every[:, self.layout.effect_of] = m[:, nx : nx + q]
            return individuals(self.follow.model, covariates, every, self.theta)

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

    def predict(
        self, inputs: np.ndarray, coverage: float = 0.9, *, at: Sequence[int] | None = None, every: int = 1
    ) -> Bands:
        """Bands of readings and of the truth over the coming intervals.

        Args:
            inputs: (H, signals) or (n, H, signals), what will be held.
            coverage: of the bands, between 0 and 1.
            at: the rows of ``inputs`` at whose ends bands are wanted, rising from 0 (default: all).
            every: intervals for which a row is held, crossed in one go. Exact for a linear model whose states have no
                process noise; else noise comes in at the end of each row only, and the spread is a little too small.
        """
        u = np.asarray(inputs, dtype=float)
        nu = len(self.follow.signals)
        if u.ndim == 2:
            u = u[None]
        bad = [] if 0 < coverage < 1 else [f"a coverage lies between 0 and 1, not {coverage}"]
        if u.ndim != 3 or u.shape[0] not in (1, self.n) or u.shape[2] != nu:
            shape = f"(H, {nu}) or ({self.n}, H, {nu})"
            bad.append(f"inputs ahead have shape {np.shape(inputs)}; {shape} is meant")
        bad += [] if every >= 1 else [f"every is {every}; 1 or more is meant"]
        wanted = np.arange(u.shape[-2]) if at is None else np.asarray(at, dtype=np.int64)
        if wanted.ndim != 1 or (np.diff(wanted, prepend=-1) < 1).any() or (wanted >= u.shape[-2]).any():
            bad.append(f"at is {at}; rising numbers from 0 to {u.shape[-2] - 1} are meant")
        if bad:
            raise DoseloopError(bad)
        u = self._inputs(u, u.shape, "inputs ahead")
        out, e = np.empty((self.n, len(wanted), 4)), self.engine
        held = np.ascontiguousarray(e.u[np.arange(self.n), self.now % e.slots])
        long = every * self.follow.interval
        if every not in self._strides:
            self._strides[every] = layout_of(replace(self.follow, interval=long)).arrays()
        A, clock = self._strides[every], self.clock

        def work(first: int, last: int) -> None:
            outlook.ahead(A, first, last, clock, u, held, wanted, e.fixed, e.eta, e.centre, e.omega, e.m, e.P, e.s, out)

        share_out(work, self.n)
        times = self.time + long * (1 + wanted)
        return bands(times, out[..., 0], out[..., 1], out[..., 2], out[..., 3], coverage)
