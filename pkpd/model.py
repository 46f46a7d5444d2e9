"""What a published PK/PD model is: declarations with units and sources, and plain functions.

A model is written once, as one file::

    def individual(theta, cov, eta):
        return {"cl": theta.cl * cov.weight * exp(eta.cl), "v": theta.v * cov.weight * exp(eta.v)}

    def rhs(t, x, p, u):
        return {"central": -p.cl / p.v * x.central}

    def outputs(t, x, p):
        return {"concentration": x.central / p.v}

``individual`` turns typical values, covariates and random effects into this patient's parameters; ``rhs`` gives the
time derivative of every state; ``outputs`` what is measured or predicted. Doses are not written in ``rhs``: a
:class:`Route` says into which state an amount (bolus) or a rate (infusion) enters.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .errors import ModelError

__all__ = [
    "Covariance",
    "Covariate",
    "Effect",
    "Input",
    "Model",
    "Output",
    "Parameter",
    "Printed",
    "Residual",
    "Route",
    "State",
]

KINDS = frozenset({"bolus", "infusion"})


@dataclass(frozen=True, slots=True)
class State:
    """One state: usually the amount in a compartment."""

    name: str
    unit: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A typical (population) value, its unit, and where the number stands in the paper."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Covariate:
    """A covariate: unit, typical value, the range the paper covers, other column names it goes by in data files.

    ``low`` and ``high`` bound what the paper's patients had; outside them a prediction is an extrapolation and is said
    to be one. ``unit`` "1" is a plain number or a code (sex, dialysis).
    """

    name: str
    unit: str
    typical: float
    low: float
    high: float
    source: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Effect:
    """A random effect, normal with mean 0 and this variance; ``occasion`` marks between-occasion variability."""

    name: str
    variance: float
    source: str
    occasion: bool = False


@dataclass(frozen=True, slots=True)
class Covariance:
    """The covariance of two random effects."""

    first: str
    second: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Residual:
    """Residual error of an output: variance = additive² + (proportional · prediction)², or a log-normal one.

    Args:
        additive: standard deviation in the output's unit.
        proportional: coefficient of variation (0.15 is 15 %).
        log: standard deviation of log(observed) around log(predicted); excludes the other two.
        source: where the number stands.
    """

    additive: float = 0.0
    proportional: float = 0.0
    log: float = 0.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A predicted quantity: unit, residual error (None where it is never measured), physical range of a reading."""

    name: str
    unit: str
    residual: Residual | None = None
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True, slots=True)
class Route:
    """Where a dose enters.

    Args:
        name: what a regimen calls it ("iv", "oral").
        into: the state it enters; its unit is the dose's unit.
        kinds: "bolus" (an amount at once, also first-order absorption into a depot) and/or "infusion".
        bioavailability, lag, duration, rate: names of individual parameters, where the model has them
            (NONMEM's F, ALAG, D and R).
    """

    name: str
    into: str
    kinds: frozenset[str] = KINDS
    bioavailability: str | None = None
    lag: str | None = None
    duration: str | None = None
    rate: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A signal from outside that is held between events (a meal's rate, a stimulus); read as ``u.name``.

    ``typical`` holds where nothing is said; ``usual`` is a value in ordinary use, for tests and benchmarks (default
    the typical one).
    """

    name: str
    unit: str
    typical: float = 0.0
    usual: float | None = None


@dataclass(frozen=True, slots=True)
class Printed:
    """A number the paper prints, as a check: ``compute`` gets the typical individual's parameters (floats)."""

    what: str
    value: float
    digits: int
    source: str
    compute: Callable[[Any], float]
    covariates: Mapping[str, float] = field(default_factory=dict)


Function = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Model:
    """One published model. Frozen; two models are equal only if they are the same object (``digest`` compares text).

    Args:
        id: short unique name, ``drug_population_author_year``.
        drug, title, citation: what it is and the paper.
        time_unit: unit of time of the equations and of every regimen given to it.
        states, parameters, covariates, effects, covariances, outputs, routes, inputs: the declarations.
        individual_units: the unit of every parameter that ``individual`` returns.
        individual, rhs, outputs_of, initial: the equations (``initial(p)`` gives states' starting values; default 0).
        method: "auto" (exact where linear, else adaptive) or "stiff".
        step: longest step of the fixed Runge-Kutta method in loops that run by the minute (time unit); its error is
            said where it is chosen. A linear model needs none: it advances exactly.
        printed: numbers to come back.

    Attributes:
        place: file and line where the model was declared.

    Raises:
        ModelError: listing everything wrong with the declarations.
    """

    id: str
    drug: str
    title: str
    citation: str
    time_unit: str
    states: Sequence[State]
    parameters: Sequence[Parameter]
    individual_units: Mapping[str, str]
    individual: Function
    rhs: Function
    outputs: Sequence[Output]
    outputs_of: Function
    routes: Sequence[Route]
    covariates: Sequence[Covariate] = ()
    effects: Sequence[Effect] = ()
    covariances: Sequence[Covariance] = ()
    inputs: Sequence[Input] = ()
    initial: Function | None = None
    method: str = "auto"
    step: float = math.inf
    printed: Sequence[Printed] = ()
    notes: str = ""
    place: tuple[str, int] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("states", "parameters", "outputs", "routes", "covariates", "effects", "covariances", "inputs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "printed", tuple(self.printed))
        object.__setattr__(self, "individual_units", dict(self.individual_units))
        object.__setattr__(self, "place", _declared_at())
        problems = list(_declaration_problems(self))
        if problems:
            raise ModelError(
                [f"model '{self.id}': {p}" for p in problems], file=self.place[0], line=self.place[1], function="Model"
            )

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of the declared "states", "parameters", "covariates", "effects", "outputs", "routes" or "inputs"."""
        return tuple(item.name for item in getattr(self, kind))

    def output(self, name: str) -> Output:
        """The declared output of that name (KeyError if there is none)."""
        return {o.name: o for o in self.outputs}[name]

    def route(self, name: str) -> Route:
        """The declared route of that name (KeyError if there is none)."""
        return {r.name: r for r in self.routes}[name]

    @cached_property
    def theta(self) -> np.ndarray:
        """Typical values, shape (parameters,)."""
        return np.array([p.value for p in self.parameters], dtype=float)

    @cached_property
    def omega(self) -> np.ndarray:
        """Covariance matrix of the random effects, shape (effects, effects)."""
        index = {e.name: i for i, e in enumerate(self.effects)}
        omega = np.diag([e.variance for e in self.effects]) if self.effects else np.zeros((0, 0))
        for c in self.covariances:
            i, j = index[c.first], index[c.second]
            omega[i, j] = omega[j, i] = c.value
        return omega

    @cached_property
    def typical_covariates(self) -> dict[str, float]:
        """Typical covariates by name."""
        return {c.name: c.typical for c in self.covariates}

    def __repr__(self) -> str:
        return f"<Model {self.id}: {self.drug}, {len(self.states)} states, {len(self.effects)} random effects>"


def _declared_at() -> tuple[str, int]:
    """File and line of the call that makes the model: the first frame that is not this file or the dataclass's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename in (__file__, dataclasses.__file__, "<string>"):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _declaration_problems(m: Model) -> list[str]:
    bad: list[str] = []
    for kind in ("states", "parameters", "covariates", "effects", "outputs", "routes", "inputs"):
        names = m.names(kind)
        bad += [f"{kind}: '{n}' is declared twice" for n in sorted({n for n in names if names.count(n) > 1})]
        bad += [f"{kind}: '{n}' is not a Python name" for n in names if not n.isidentifier()]
    if not m.states:
        bad.append("it has no states")
    if not m.outputs:
        bad.append("it has no outputs")
    for p in m.parameters:
        if not math.isfinite(p.value):
            bad.append(f"parameter '{p.name}' is {p.value}")
        if not p.source.strip():
            bad.append(f"parameter '{p.name}' names no source")
    for c in m.covariates:
        if not (c.low <= c.typical <= c.high):
            bad.append(f"covariate '{c.name}': typical value {c.typical} is outside its range {c.low} to {c.high}")
    for e in m.effects:
        if not (math.isfinite(e.variance) and e.variance > 0):
            bad.append(f"random effect '{e.name}' has variance {e.variance}; it must be above 0")
    effects = set(m.names("effects"))
    for v in m.covariances:
        for n in (v.first, v.second):
            if n not in effects:
                bad.append(f"covariance of '{v.first}' and '{v.second}': no random effect '{n}'")
    states, individual = set(m.names("states")), set(m.individual_units)
    for r in m.routes:
        if r.into not in states:
            bad.append(f"route '{r.name}' enters '{r.into}', which is no state")
        if not r.kinds or not r.kinds <= KINDS:
            bad.append(f"route '{r.name}' has kinds {sorted(r.kinds)}; known: bolus, infusion")
        for what in ("bioavailability", "lag", "duration", "rate"):
            n = getattr(r, what)
            if n is not None and n not in individual:
                bad.append(f"route '{r.name}': its {what} '{n}' is not among the individual parameters")
    for o in m.outputs:
        s = o.residual
        if s is not None:
            sizes = (s.additive, s.proportional, s.log)
            if not all(math.isfinite(v) and v >= 0 for v in sizes) or not any(sizes):
                bad.append(f"output '{o.name}': residual error {sizes} must be non-negative and not all 0")
            elif s.log and (s.additive or s.proportional):
                bad.append(f"output '{o.name}': a log residual excludes additive and proportional ones")
    if m.method not in ("auto", "stiff"):
        bad.append(f"method '{m.method}' is unknown; known: auto, stiff")
    if not m.step > 0:
        bad.append(f"step is {m.step}; it must be above 0")
    if not bad and m.effects:
        smallest = float(np.linalg.eigvalsh(m.omega).min())
        if smallest <= 0:
            bad.append(
                f"the covariance matrix of the random effects is not positive definite (eigenvalue {smallest:.3g})"
            )
    return bad
