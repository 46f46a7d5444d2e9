"""Random patients, doses that suit a model, and how far apart two results are: what the suite of models stands on."""

from __future__ import annotations

import math

import casadi as ca
import numpy as np
from doseloop.pkpd import reference
from doseloop.pkpd.engine import Method
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.regimen import Bolus, Infusion, Regimen
from doseloop.pkpd.trace import casadi_functions
from helpers_pk import run_all

POINTS = 200


class Points:
    """Random patients, states and signals of a model; covariates inside their range and at its corners.

    One signal in five is 0 (no meal, no stimulus).

    ``beyond`` 1.25 puts the range's ends a quarter further out (codes excepted). A few of the full number are far out
    (random effects times 4, covariates a quarter beyond their range) or hold next to nothing, as floors and caps need.
    """

    def __init__(self, model, count=POINTS, beyond=1.0):
        rng = np.random.Generator(np.random.Philox(key=[len(model.id), count]))
        low, high = (np.array([getattr(c, side) for c in model.covariates]) for side in ("low", "high"))
        inside = rng.uniform(low, high, (count, len(low)))
        half, far = POINTS // 2, np.zeros(count, dtype=bool)
        if count == POINTS and beyond == 1.0:
            far[half + 5 : half + 45] = True
        out = np.where(far, 1.25, beyond)[:, None]
        corner = np.where(rng.random(inside.shape) < 0.5, low / out, high * out)
        codes = np.array([c.unit == "1" for c in model.covariates], dtype=bool)
        self.cov = np.where(((np.arange(count) % 2 == 0) & ~far)[:, None], inside, corner)
        self.cov = np.where(codes, np.round(np.clip(self.cov, low, high)), self.cov)
        self.eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, count) if model.effects else None
        self.eta = np.zeros((count, 0)) if self.eta is None else self.eta
        self.eta = np.where(far[:, None], 4 * self.eta, self.eta)
        self.t = rng.uniform(0, 100, count)
        self.x = np.exp(rng.uniform(np.log(1e-2), np.log(1e4), (count, len(model.states))))
        self.x[half : half + 5] = 1e-30
        self.u = rng.uniform(0, 10, (count, len(model.inputs) + len(model.routes)))
        self.u *= rng.random(self.u.shape) >= 0.2
        self.p = individuals(model, self.cov, self.eta)

    def columns(self):
        """The kernel's arguments: scalars, x, p, u, k, each (rows, count)."""
        scalars = np.vstack([self.t, np.zeros_like(self.t)])
        return scalars, self.x.T, self.p.T, self.u.T, np.empty((0, 0))


def typical(model):
    return reference.individual(model)


def rates_of(model):
    """The slowest and the fastest rate constant of a typical patient who holds little drug."""
    f, p = casadi_functions(model)["rhs"], list(typical(model).values())
    x = ca.SX.sym("x", len(model.states))
    J = ca.Function("J", [x], [ca.jacobian(f(0, x, p, [i.typical for i in model.inputs] + [0] * len(model.routes)), x)])
    rates = np.abs(np.linalg.eigvals(np.array(J(reference.initial(model, p) + 1e-3))))
    return rates[rates > 1e-9].min(), rates.max()


def signals_of(model, p=None, part=None):
    """Each input's usual value; with ``part``: so near the typical ones that the outputs move by about that part."""
    usual = {i.name: i.typical if i.usual is None else i.usual for i in model.inputs}
    if part is None or not usual:
        return usual
    rest = {i.name: i.typical for i in model.inputs}
    near = lambda s: {n: rest[n] + s * (usual[n] - rest[n]) for n in usual}  # noqa: E731
    return near(min(1.0, 1e-4 * part / _moved(model, p, [], near(1e-4))))


def _moved(model, p, doses, signals=None):
    """By what part of its first value a dose or a signal moves an output, at most."""
    p, span = list(typical(model).values()) if p is None else p, span_of(model)
    times, hold = np.linspace(0, span, 200), holding(model, span, p)
    changed, _ = run_all(model, p, Regimen(*hold, *doses), times, Method(), signals=signals)
    rest, _ = run_all(model, p, Regimen(*hold), times, Method())
    first = rest[0, 0]
    return (np.abs(changed - rest)[0].max(axis=0) / np.maximum(first, 1e-300))[first > 0].max()


def amount_of(model, route=None, p=None, part=0.1):
    """A dose that would give a tenth of the highest plausible reading, were all of it in every compartment.

    Where the outputs start from a level of their own: one that moves an output by this part (by a small dose's effect).
    """
    if model.initial is not None:
        return 1e-3 * part / _moved(model, p, [Bolus(1e-3, 0.0, route=(route or model.routes[0]).name)])
    y = reference.outputs(model, 0.0, np.ones(len(model.states)), typical(model))
    return max(0.1 * (o.high if math.isfinite(o.high) else 10.0) / v for o, v in zip(model.outputs, y) if v > 0)


def span_of(model):
    """The span of time that shows a dose."""
    return 3 / rates_of(model)[0]


def holding(model, until, p=None):
    """The infusions that the starting values are a steady state of (of a typical patient, or one with parameters p)."""
    p = typical(model) if p is None else p
    flow = reference.rhs(model, 0.0, reference.initial(model, p), p)
    needs = {r.name: -flow[model.names("states").index(r.into)] for r in model.routes}
    return [Infusion(rate * until, 0.0, duration=until, route=r) for r, rate in needs.items() if rate > 0]


def regimen_of(model, routes=None, hold=True, p=None, part=0.1):
    """Repeated boluses and an infusion by each route, and the span that shows them; ``hold``: with `holding`."""
    span = span_of(model)
    doses = holding(model, span, p) if hold else []
    for i, r in enumerate(routes or model.routes):
        amount = amount_of(model, r, p, part)
        if "bolus" in r.kinds:
            doses.append(Bolus(amount, 0.01 * i * span, route=r.name, every=span / 7, times=4))
        if "infusion" in r.kinds:
            doses.append(Infusion(amount, 0.1 * span, duration=span / 15, route=r.name))
    return Regimen(*doses), span


def worst(got, expected, scale=None):
    """Largest difference by size of what is compared, taken row by row."""
    scale = np.abs(expected).max(axis=-1, keepdims=True) if scale is None else scale
    return float(np.max(np.abs(got - expected) / np.maximum(scale, 1e-300), initial=0.0))


def central(f, h):
    """Derivative of f at 0 from four points, error of order h⁴."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)
