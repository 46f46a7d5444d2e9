"""Target-controlled infusion: the pump rate, interval by interval, that brings plasma or effect site to a target.

Open loop: the pump's own model of the patient (usually the typical one for age, weight, height and sex) is advanced by
what was given, and the next rate follows from it in closed form.

- **Plasma** (`site="plasma"`): the rate that puts the plasma at the target at the end of the interval (Jacobs, IEEE
  Trans Biomed Eng 1990;37:107-109).
- **Effect site** (`site="effect"`): the largest rate after which, with the pump off, the effect site's peak does not
  exceed the target (Shafer & Gregg, J Pharmacokinet Biopharm 1992;20:147-169; Jacobs & Williams, IEEE Trans Biomed Eng
  1993;40:993-999), or the rate that holds the plasma at the target where that is larger: plasma at the target does not
  lift the effect site above it. Within 0.1 % of the target the plasma is held, so that the rate does not hunt.

In the coordinates of the rate matrix's eigenvectors each course is a sum of exponentials: nothing is integrated, and
the peak is found by Newton's method on the exact course.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..pkpd.calls import call_kernel
from ..pkpd.errors import DoseloopError
from ..pkpd.jit import jit
from ..pkpd.march import pack, unpack
from ..pkpd.model import Model
from ..pkpd.system import system

__all__ = ["TargetControlledInfusion", "concentration_for"]

GRID = 48  # points of the course that are looked at before Newton's method
BAND = 1e-3  # share of the target within which the effect site counts as there


class TargetControlledInfusion:
    """One drug for n patients.

    Args:
        model: a model whose kinetics are linear, such as ``propofol_eleveld2018``.
        parameters: (n, individual parameters) or (individual parameters,): the patients as the pump imagines them.
        route: the drug's route; default the model's only one.
        site: "effect" or "plasma".
        interval: control interval (the model's time unit).
        limit: the pump's highest rate (the route's unit per time unit), one for all or (n,).
        plasma, effect: names of the outputs, linear in the states.

    Raises:
        DoseloopError: the model does not suit, or an argument.
    """

    def __init__(
        self,
        model: Model,
        parameters: np.ndarray,
        *,
        route: str | None = None,
        site: str = "effect",
        interval: float = 1 / 12,
        limit: float | np.ndarray = math.inf,
        plasma: str = "cp",
        effect: str = "ce",
    ) -> None:
        p = np.atleast_2d(np.asarray(parameters, dtype=float))
        _check(model, p, route, site, interval, (plasma, effect))
        self.model, self.site, self.interval, self.n = model, site, float(interval), len(p)
        self.route = route or model.names("routes")[0]
        self.limit = _per_patient(limit, self.n, "limit", infinite=True)
        A, into, C = _matrices(model, p, self.route, (plasma, effect))
        rate, V = _eigen(A)
        W = np.linalg.inv(V)
        T = self.interval
        self._decay = np.exp(rate * T)
        self._rate, self._at_once = rate, np.ascontiguousarray(W[:, :, into])  # what one unit at once adds
        self._given = self._at_once * np.expm1(rate * T) / rate  # what one unit rate adds over an interval
        self._plasma, self._effect = (np.einsum("nk,nkj->nj", row, V) for row in C)
        self._times = _grid(rate, self._effect, self._at_once)
        self._z = np.zeros_like(rate)

    def reset(self, only: np.ndarray | None = None) -> None:
        """No drug in any of the patients (or in those of a mask)."""
        self._z[slice(None) if only is None else only] = 0.0

    @property
    def plasma(self) -> np.ndarray:
        """(n,) the plasma concentration that the pump believes in."""
        return (self._plasma * self._z).sum(axis=1)

    @property
    def effect(self) -> np.ndarray:
        """(n,) the effect-site concentration that the pump believes in."""
        return (self._effect * self._z).sum(axis=1)

    def rates(self, target: float | np.ndarray) -> np.ndarray:
        """(n,) the rate for the next interval; nothing moves yet.

        Args:
            target: concentration of the site, one for all or (n,), 0 or above.

        Raises:
            DoseloopError: a target that is below 0 or not finite.
        """
        goal, out = _per_patient(target, self.n, "target"), np.empty(self.n)
        if self.site == "plasma":
            plasma_rates(self._z, self._decay, self._given, self._plasma, goal, self.limit, out)
            return out
        effect_rates(
            self._z,
            self._rate,
            self._decay,
            self._given,
            self._plasma,
            self._effect,
            self._times,
            goal,
            self.limit,
            out,
        )
        return out

    def advance(self, rates: float | np.ndarray) -> None:
        """Move on by one interval in which the pump gave ``rates`` (its confirmation, not the request)."""
        self._z = self._z * self._decay + self._given * _per_patient(rates, self.n, "rates")[:, None]

    def step(self, target: float | np.ndarray) -> np.ndarray:
        """(n,) the rate for the next interval, taken as given."""
        rates = self.rates(target)
        self.advance(rates)
        return rates

    def bolus(self, target: float | np.ndarray) -> np.ndarray:
        """(n,) the amount that, given at once now, brings the site to the target (the effect site at its peak)."""
        goal, out = _per_patient(target, self.n, "target"), np.empty(self.n)
        if self.site == "plasma":
            now = np.ones_like(self._decay)
            plasma_rates(self._z, now, self._at_once, self._plasma, goal, np.full(self.n, np.inf), out)
        else:
            boluses(self._z, self._rate, self._at_once, self._effect, self._times, goal, out)
        return out

    def give(self, amount: float | np.ndarray) -> None:
        """Take a bolus as given now."""
        self._z = self._z + self._at_once * _per_patient(amount, self.n, "amount")[:, None]


def _per_patient(value: Any, n: int, what: str, infinite: bool = False) -> np.ndarray:
    row = np.asarray(value, dtype=float)
    if row.shape not in ((), (n,)):
        raise DoseloopError(f"{what} has shape {row.shape}; one number or ({n},) is meant")
    if not (row >= 0).all() or not (infinite or np.isfinite(row).all()):
        raise DoseloopError(f"{what} must be 0 or above and finite for everybody")
    return np.ascontiguousarray(np.broadcast_to(row, (n,)))


def _check(
    model: Model, p: np.ndarray, route: str | None, site: str, interval: float, outputs: tuple[str, str]
) -> None:
    bad, routes = [], model.names("routes")
    if not system(model).linear:
        bad.append("its kinetics are not linear: name the model of the drug alone")
    if route is None and len(routes) != 1:
        bad.append(f"it has the routes {', '.join(routes)}: name one")
    elif route is not None and route not in routes:
        bad.append(f"it has no route '{route}'; it has {', '.join(routes)}")
    bad += [f"it has no output '{o}'" for o in outputs if o not in model.names("outputs")]
    if p.ndim != 2 or p.shape[1] != len(model.individual_units):
        bad.append(f"parameters have shape {p.shape}; (n, {len(model.individual_units)}) is meant")
    elif not np.isfinite(p).all():
        bad.append("parameters are not finite")
    if site not in ("effect", "plasma"):
        bad.append(f"site '{site}' is unknown; known: effect, plasma")
    if not (interval > 0 and math.isfinite(interval)):
        bad.append(f"the interval must be above 0, not {interval}")
    if bad:
        raise DoseloopError([f"target-controlled infusion with '{model.id}': {b}" for b in bad])


# the model as matrices -----------------------------------------------------------------------------------------------


@jit
def _evaluate(kernel, s, x, p, u, out):
    """out[b] = kernel(x[b], p[b]) for every block; one block of x serves all."""
    for b in range(p.shape[0]):
        at = x[min(b, x.shape[0] - 1)]
        call_kernel(kernel, s.ctypes.data, at.ctypes.data, p[b].ctypes.data, u.ctypes.data, 0, out[b].ctypes.data)


def concentration_for(
    model: Model,
    parameters: np.ndarray,
    value: float,
    *,
    output: str = "bis",
    state: str = "effect",
    high: float = 20.0,
) -> np.ndarray:
    """(n,) the effect-site concentration at which an output has a value, in steady state and without other drugs.

    Args:
        model: whose ``output`` falls as ``state`` rises.
        parameters: (n, individual parameters).
        value: of the output. high: where the search ends; patients who need more get it.
    """
    S, p = system(model), np.atleast_2d(np.asarray(parameters, dtype=float))
    row, at = model.names("outputs").index(output), model.names("states").index(state)
    low, top, blocks = np.zeros(len(p)), np.full(len(p), float(high)), pack(p)
    s, u, out = np.zeros((2, 8)), np.zeros((max(1, S.rows_u), 8)), np.empty((len(blocks), S.rows_y, 8))
    for _ in range(60):
        x, middle = np.zeros((len(p), S.n)), 0.5 * (low + top)
        x[:, at] = middle
        _evaluate(S.kernel("outputs"), s, pack(x), blocks, u, out)
        above = unpack(out, len(p))[:, row] > value
        low, top = np.where(above, middle, low), np.where(above, top, middle)
    return 0.5 * (low + top)


def _matrices(
    model: Model, p: np.ndarray, route: str, outputs: tuple[str, str]
) -> tuple[np.ndarray, int, list[np.ndarray]]:
    """A (n, k, k), the row that the drug enters, and the outputs' rows [(n, k), …], over the states that it reaches.

    From the compiled model, one unit vector after another: there is no second text of the equations.
    """
    S, blocks = system(model), pack(p)
    names = model.names("outputs")
    s, u = np.zeros((2, 8)), np.zeros((max(1, S.rows_u), 8))

    def run(kernel: str, x: np.ndarray, rows: int) -> np.ndarray:
        out = np.empty((len(blocks), rows, 8))
        _evaluate(S.kernel(kernel), s, x, blocks, u, out)
        return unpack(out, len(p))

    unit = [np.repeat(np.eye(S.n)[None, :, j : j + 1], 8, axis=2) for j in range(S.n)]
    zero = np.zeros((1, S.n, 8))
    base, look = run("rhs", zero, S.rows_x), run("outputs", zero, S.rows_y)
    A = np.stack([run("rhs", e, S.rows_x) - base for e in unit], axis=2)
    wanted = [names.index(o) for o in outputs]
    C = np.stack([(run("outputs", e, S.rows_y) - look)[:, wanted] for e in unit], axis=2)
    into = model.names("states").index(model.route(route).into)
    near, reached = (A != 0).any(axis=0), np.zeros(S.n, dtype=bool)
    reached[into] = True
    for _ in range(S.n):
        reached |= near[:, reached].any(axis=1)
    keep = np.flatnonzero(reached)
    if not (C[:, :, keep] != 0).any(axis=(0, 2)).all():
        raise DoseloopError(f"'{model.id}': {route} does not reach both {outputs[0]} and {outputs[1]}")
    together = (run("outputs", zero + 2.0, S.rows_y) - look)[:, wanted]
    if not np.allclose(together, 2.0 * C.sum(axis=2), rtol=1e-9, atol=0):
        raise DoseloopError(f"'{model.id}': {outputs[0]} and {outputs[1]} must be linear in the states")
    return A[:, keep][:, :, keep], int(np.searchsorted(keep, into)), [C[:, i][:, keep] for i in range(len(outputs))]


def _eigen(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (n, k) and eigenvectors (n, k, k) of compartmental matrices, which are real.

    Where two all but coincide (a ke0 equal to a rate of the kinetics) there is no basis of eigenvectors: the diagonal
    is moved apart by a millionth.
    """
    rate, V = np.linalg.eig(A)
    size = np.abs(rate).max(axis=1)
    gap = np.abs(rate[:, :, None] - rate[:, None, :]) + np.where(np.eye(A.shape[1], dtype=bool), np.inf, 0)
    close = (gap.min(axis=(1, 2)) < 1e-6 * size) | (np.abs(np.imag(rate)).max(axis=1) > 0)
    if close.any():
        apart = 1e-6 * np.arange(1, A.shape[1] + 1) * np.einsum("nii->ni", A[close])
        rate, V = rate.astype(complex), V.astype(complex)
        rate[close], V[close] = np.linalg.eig(A[close] + np.einsum("ni,ij->nij", apart, np.eye(A.shape[1])))
    if np.abs(np.imag(rate)).max() > 1e-9 * size.max() or np.real(rate).max() >= 0:
        raise DoseloopError("target-controlled infusion: these kinetics oscillate or do not eliminate the drug")
    return np.ascontiguousarray(np.real(rate)), np.ascontiguousarray(np.real(V))


def _grid(rate: np.ndarray, effect: np.ndarray, at_once: np.ndarray) -> np.ndarray:
    """(n, GRID) times after which the effect site's peak may come: from 0 to ten times that after a bolus."""
    fast, slow = np.abs(rate).max(axis=1), np.abs(rate).min(axis=1)
    t = np.geomspace(1e-3 / fast, 10 / slow, 200, axis=1)
    course = np.einsum("nk,ntk->nt", effect * at_once, np.exp(rate[:, None, :] * t[:, :, None]))
    peak = t[np.arange(len(t)), course.argmax(axis=1)]
    steps = np.concatenate([[0.0], np.geomspace(0.02, 10.0, GRID - 1)])
    return np.ascontiguousarray(peak[:, None] * steps)


# the rates -----------------------------------------------------------------------------------------------------------


@jit
def _dot(a, b):
    total = 0.0
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@jit
def plasma_rates(z, decay, gain, plasma, target, limit, out):
    """What brings the plasma from modes z · decay to the target, from 0 to the limit."""
    for i in range(z.shape[0]):
        short = target[i] - _dot(z[i] * decay[i], plasma[i])
        out[i] = min(limit[i], max(0.0, short / _dot(gain[i], plasma[i])))


@jit
def _slopes(rate, free, unit, target, t):
    """At time t: what is left to the target and the unit's effect, and their first two derivatives."""
    left, l1, l2, h, h1, h2 = target, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(rate.shape[0]):
        e = math.exp(rate[k] * t)
        f, g, r = free[k] * e, unit[k] * e, rate[k]
        left, l1, l2 = left - f, l1 - r * f, l2 - r * r * f
        h, h1, h2 = h + g, h1 + r * g, h2 + r * r * g
    return left, l1, l2, h, h1, h2


@jit
def _largest(rate, free, unit, times, target):
    """The largest amount x ≥ 0 with free(t) + x · unit(t) ≤ target for all t ≥ 0.

    It is the least of (target − free)/unit: looked for on the grid, then by Newton's method on its derivative between
    the grid's neighbours.
    """
    best, at = math.inf, -1
    for j in range(times.shape[0]):
        left, _, _, h, _, _ = _slopes(rate, free, unit, target, times[j])
        if left <= 0.0:
            return 0.0
        if h > 0.0 and left / h < best:
            best, at = left / h, j
    if at < 0:
        return 0.0
    low, high = times[max(0, at - 1)], times[min(at + 1, times.shape[0] - 1)]
    t = times[at]
    for _ in range(30):
        left, l1, l2, h, h1, h2 = _slopes(rate, free, unit, target, t)
        if left <= 0.0:
            return 0.0
        if h > 0.0:
            best = min(best, left / h)
        slope = l1 * h - left * h1  # its sign is the quotient's derivative's
        if slope > 0.0:
            high = t
        else:
            low = t
        bend = l2 * h - left * h2
        fresh = t - slope / bend if bend > 0.0 else low
        if not low < fresh < high:
            fresh = 0.5 * (low + high)
        if abs(fresh - t) <= 1e-7 * high:
            break
        t = fresh
    return best


@jit
def boluses(z, rate, at_once, effect, times, target, out):
    """The largest bolus after which the effect site does not exceed the target."""
    for i in range(z.shape[0]):
        out[i] = _largest(rate[i], effect[i] * z[i], effect[i] * at_once[i], times[i], target[i])


@jit
def effect_rates(z, rate, decay, given, plasma, effect, times, target, limit, out):
    """See the module's head."""
    for i in range(z.shape[0]):
        later, goal = z[i] * decay[i], target[i]
        now, then = _dot(effect[i], z[i]), _dot(effect[i], later)
        if goal <= 0.0 or then > goal * (1.0 + BAND):
            out[i] = 0.0
            continue
        best = max(0.0, (goal - _dot(plasma[i], later)) / _dot(plasma[i], given[i]))
        if abs(now - goal) > BAND * goal:
            best = max(best, _largest(rate[i], effect[i] * later, effect[i] * given[i], times[i], goal))
        # within an interval a rate that holds the plasma can still lift the effect site
        most = (goal * (1.0 + BAND) - then) / _dot(effect[i], given[i])
        out[i] = min(limit[i], best, max(0.0, most))
