"""What the twin's tests share: the infants, and an objective that stands on none of the twin's code.

The objective moves one or two compartments by closed forms in plain floats from one event to the next; parameters come
from the model's own Python function (`pkpd.reference`), densities from SciPy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import doseloop
import numpy as np
from doseloop.models import load
from doseloop.pkpd import reference
from doseloop.pkpd.model import Covariance, Effect, Model, Output, Parameter, Residual, Route, State
from doseloop.pkpd.nonmem import CovariateSpec, Layout, OutputSpec, RouteSpec, read
from doseloop.pkpd.ops import exp
from doseloop.pkpd.record import CovariateRow, Record
from doseloop.pkpd.regimen import Infusion, Regimen
from scipy.optimize import minimize
from scipy.special import log_ndtr

DATA = Path(doseloop.__file__).parent / "therapies" / "data"
PHENOBARBITAL = load("phenobarbital_neonate_grasela1985")
VANCOMYCIN = load("vancomycin_adult_goti2018")
PHENYTOIN = load("phenytoin_adult_grasela1983")


@functools.cache
def infants() -> tuple[Record, ...]:
    layout = Layout(
        time_unit="h",
        routes=(RouteSpec("iv", 1, "mg", frozenset({"bolus", "infusion"})),),
        outputs=(OutputSpec("concentration", "mg/L", 1, 0, 200),),
        covariates=(
            CovariateSpec("weight", "kg", ("WT",), 0.3, 6, True, None),
            CovariateSpec("apgar", "1", ("APGAR",), 0, 10, True, None),
        ),
    )
    return tuple(read(DATA / "phenobarbital_neonates.csv", layout))


def with_residual(model: Model, residual: Residual, name: str) -> Model:
    outputs = [replace(o, residual=residual) for o in model.outputs]
    return replace(model, id=f"{model.id}_{name}", outputs=outputs)


def one_compartment(
    name: str = "toy", cl: float = 1.0, v: float = 10.0, sd: float = 0.3, residual: Residual | None = None
) -> Model:
    """CL and V with log-normal effects; no covariates."""
    return Model(
        id=f"twin_{name}",
        drug="test",
        title="",
        citation="",
        time_unit="h",
        states=[State("central", "mg")],
        parameters=[Parameter("cl", cl, "L/h", "test"), Parameter("v", v, "L", "test")],
        individual_units={"cl": "L/h", "v": "L"},
        individual=lambda theta, cov, eta: {"cl": theta.cl * exp(eta.cl), "v": theta.v * exp(eta.v)},
        rhs=lambda t, x, p, u: {"central": -p.cl / p.v * x.central},
        outputs=[Output("concentration", "mg/L", residual or Residual(proportional=0.1))],
        outputs_of=lambda t, x, p: {"concentration": x.central / p.v},
        routes=[Route("iv", "central")],
        effects=[Effect("cl", sd**2, "test"), Effect("v", sd**2, "test")],
    )


def occasion_model() -> Model:
    """Effects of the subject (CL, V) and, correlated, of each occasion (CL, V); declared in mixed order on purpose."""

    def individual(theta, cov, eta):
        return {"cl": theta.cl * exp(eta.cl + eta.cl_occ), "v": theta.v * exp(eta.v + eta.v_occ)}

    return replace(
        one_compartment("occasion"),
        individual=individual,
        effects=[
            Effect("cl_occ", 0.04, "test", occasion=True),
            Effect("cl", 0.09, "test"),
            Effect("v_occ", 0.01, "test", occasion=True),
            Effect("v", 0.05, "test"),
        ],
        covariances=[Covariance("cl", "v", 0.03, "test"), Covariance("cl_occ", "v_occ", 0.01, "test")],
    )


# the independent objective -------------------------------------------------------------------------------------------


def _move(x: Sequence[float], dt: float, rate: float, p: dict[str, float]) -> tuple[float, float]:
    """Amounts after ``dt`` under a constant rate into the centre; one compartment where there is no q."""
    if "q" not in p:
        k = p["cl"] / p["v"]
        return (x[0] - rate / k) * math.exp(-k * dt) + rate / k, 0.0
    k10, k12, k21 = p["cl"] / p["v1"], p["q"] / p["v1"], p["q"] / p["v2"]
    still = (rate / k10, rate / k10 * k12 / k21)
    y = (x[0] - still[0], x[1] - still[1])
    b = k10 + k12 + k21
    root = math.sqrt(b * b - 4 * k10 * k21)
    l1, l2 = -(b + root) / 2, -2 * k10 * k21 / (b + root)
    e1, e2 = math.exp(l1 * dt), math.exp(l2 * dt)
    # exp(A t) = (e1 (A − l2) − e2 (A − l1)) / (l1 − l2)
    a = (-(k10 + k12) * y[0] + k21 * y[1], k12 * y[0] - k21 * y[1])
    new = [(e1 * (a[i] - l2 * y[i]) - e2 * (a[i] - l1 * y[i])) / (l1 - l2) for i in range(2)]
    return new[0] + still[0], new[1] + still[1]


@functools.cache
def _course(record: Record, regimen: Regimen) -> list[tuple[float, float, float, float, object, int, float]]:
    """From moment to moment: length, rate, middle, end, covariates that hold, levels read at the end, bolus after."""
    doses = regimen.expanded().doses
    cuts = {d.time for d in doses} | {r.time for r in record.covariates} | set(record.occasions)
    cuts |= {d.time + (d.duration or 0.0) for d in doses} | {m.time for m in record.observed}
    moments, course = sorted(cuts), []
    for now, time in zip([moments[0], *moments], moments):
        rate = sum(d.amount / d.duration for d in doses if d.duration and d.time <= now < d.time + d.duration)
        middle = 0.5 * (now + time)
        covariates = tuple(record.covariates_at(middle).items())
        read_here = sum(m.time == time for m in record.observed)
        bolus = sum(d.amount for d in doses if d.time == time and not d.duration)
        course.append((time - now, rate, middle, time, covariates, read_here, bolus))
    return course


def levels(
    model: Model, record: Record, eta_at: Callable[[float], Sequence[float]], regimen: Regimen | None = None
) -> list[float]:
    """Concentrations at the record's measurements; a measurement at a dose's time comes before it."""
    x, got = (0.0, 0.0), []
    known: dict[object, dict[str, float]] = {}
    for dt, rate, middle, _, covariates, read_here, bolus in _course(record, regimen or record.given):
        eta = tuple(eta_at(middle))
        if (covariates, eta) not in known:
            known[covariates, eta] = reference.individual(model, dict(covariates) or None, eta)
        p = known[covariates, eta]
        x = _move(x, dt, rate, p)
        got += [x[0] / p["v1" if "v1" in p else "v"]] * read_here
        x = (x[0] + bolus, x[1])
    return got


def minus_log_likelihood(model: Model, record: Record, predicted: Sequence[float]) -> float:
    total = 0.0
    for m, f in zip(record.observed, predicted):
        r = model.output(m.output).residual
        size = r.log or math.hypot(r.additive, r.proportional * f)
        z = (math.log(m.value / f) if r.log else m.value - f) / size
        if m.censored:
            total -= float(log_ndtr(z))
        else:
            total += 0.5 * z * z + math.log(size * math.sqrt(2 * math.pi)) + (math.log(m.value) if r.log else 0.0)
    return total


def plain_objective(model: Model, record: Record, regimen: Regimen | None = None) -> Callable[[np.ndarray], float]:
    """−log posterior up to a constant, of one vector of the model's effects."""
    precision = np.linalg.inv(model.omega)

    def objective(eta: np.ndarray) -> float:
        f = levels(model, record, lambda t: eta.tolist(), regimen)
        return minus_log_likelihood(model, record, f) + 0.5 * float(eta @ precision @ eta)

    return objective


def gradient(objective: Callable[[np.ndarray], float], eta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """By central differences."""
    return np.array([(objective(eta + d) - objective(eta - d)) / (2 * step) for d in np.eye(len(eta)) * step])


def optimum(objective: Callable[[np.ndarray], float], size: int) -> np.ndarray:
    """SciPy's, from the prior mean."""
    jac = lambda eta: gradient(objective, eta)  # noqa: E731
    return minimize(objective, np.zeros(size), jac=jac, method="BFGS", options={"gtol": 1e-7}).x


# simulated patients --------------------------------------------------------------------------------------------------


def vancomycin_patients(count: int, seed: int = 0) -> list[Record]:
    """Adults drawn from the model's prior; every second one's creatinine changes twice."""
    from doseloop.pkpd.record import Measurement

    rng = np.random.default_rng(seed)
    chol, records = np.linalg.cholesky(VANCOMYCIN.omega), []
    for i in range(count):
        base = {"weight": rng.uniform(45, 120), "age": rng.uniform(20, 85), "sex": float(i % 3 == 0), "dialysis": 0.0}
        creatinine = rng.uniform(0.6, 2.5) * (np.array([1.0, rng.uniform(0.6, 1.8), rng.uniform(0.6, 1.8)]))
        rows = [CovariateRow(t, base | {"scr": float(s)}) for t, s in zip((0.0, 20.0, 41.0), creatinine)]
        every = float(rng.choice([8, 12, 24]))
        dose = Infusion(float(rng.choice([750, 1000, 1250])), 0.0, duration=1.5, every=every, times=int(72 / every))
        times = np.sort(rng.uniform(2, 72, rng.integers(1, 5)))
        blank = [Measurement(float(t), "concentration", 1.0) for t in times]
        record = Record(f"v{i}", tuple(rows if i % 2 else rows[:1]), Regimen(dose), tuple(blank), 72.0)
        eta = chol @ rng.standard_normal(3)
        f = np.array(levels(VANCOMYCIN, record, lambda t, eta=eta: eta))
        y = np.maximum(f + np.hypot(3.4, 0.227 * f) * rng.standard_normal(len(f)), 0.5)
        records.append(replace(record, observed=tuple(replace(m, value=float(v)) for m, v in zip(blank, y))))
    return records
