"""An exact Kalman filter in NumPy, small statements to follow, and runs through them."""

import dataclasses
import math

import casadi as ca
import numpy as np
from doseloop.models import load
from doseloop.pkpd.individuals import individuals
from doseloop.pkpd.model import Residual
from doseloop.pkpd.regimen import Infusion, Regimen
from doseloop.pkpd.simulate import simulate
from doseloop.pkpd.trace import casadi_functions
from doseloop.twin.follow import Follow, Process, Sensor, Wander, Watch
from scipy.linalg import expm

LINEAR = "theophylline_adult_boeckmann1994"
SATURABLE = "phenytoin_adult_grasela1983"
MAN = {"weight": 70.0, "age": 40.0, "japanese": 0.0}


def linear_statement(**changes):
    """Theophylline, effects held: the model is then linear, and so is the whole augmented state."""
    model = load(LINEAR)
    arguments = {
        "sensor": Sensor(additive=0.4, coloured=(Wander(0.3, 2.0), Wander(0.4, 1.5, order=2)), low=-1e6, high=1e6),
        "effects": (),
        "states": {s: Process(absolute=2.0, start_absolute=5.0 * (1 + i)) for i, s in enumerate(model.names("states"))},
        "offset": Wander(0.5, 6.0),
        "late": 3.0,
        "signed": model.names("states"),
        "watch": Watch(alarm=1e9, gate=50.0),
    }
    return Follow(model, 0.5, model.names("outputs")[0], **(arguments | changes))


def with_additive_error(model, output, sd):
    """The same model, its residual error replaced by an additive one."""
    outputs = [dataclasses.replace(o, residual=Residual(additive=sd)) if o.name == output else o for o in model.outputs]
    return dataclasses.replace(model, outputs=outputs)


def nonlinear_statement(**changes):
    """Phenytoin: saturable elimination, both effects estimated."""
    arguments = {
        "sensor": Sensor(additive=0.8, low=-20.0),
        "states": {"central": Process(relative=0.01), "depot": Process(relative=0.02)},
        "memory": 500.0,
        "late": 12.0,
        "step": 0.5,
    }
    return Follow(load(SATURABLE), 2.0, "concentration", **(arguments | changes))


def doses(steps, rate=20.0, every=6):
    """Intravenous phenytoin (signals: oral, iv), mg/h held over intervals of 2 h."""
    u = np.zeros((steps, 2))
    u[:, 1], u[::every, 1] = 0.2 * rate, rate
    return u


def truth_of(statement, u, eta):
    """Concentrations at the end of each interval, (steps,), of the patient with these effects."""
    h = statement.interval
    regimen = Regimen(*(Infusion(r * h, k * h, duration=h, route="iv") for k, r in enumerate(u[:, 1]) if r > 0))
    times = h * np.arange(1, len(u) + 1)
    return simulate(statement.model, None, regimen, times, covariates=MAN, eta=eta)["concentration"][0]


def patient(statement, steps=40, seed=0, sd=0.8):
    """Inputs and noisy readings of a patient drawn from the population."""
    rng = np.random.default_rng(seed)
    u = doses(steps)
    eta = rng.multivariate_normal(np.zeros(2), statement.model.omega)
    return u, truth_of(statement, u, eta) + sd * rng.standard_normal(steps), eta


def same(a, b):
    """Whether two beliefs have the same bits."""
    names = ("mean", "covariance", "parameters", "expected", "expected_sd", "truth", "truth_sd", "innovation")
    names += ("consistency", "log_evidence", "wideness", "gated", "in_row", "widened")
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=True) for n in names)


def sound(belief):
    """Whether a belief is finite, its covariance positive semidefinite, and no amount negative."""
    nx = len(belief.follow.model.states)
    finite = all(np.isfinite(v).all() for v in (belief.mean, belief.covariance, belief.parameters, belief.truth_sd))
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", belief.covariance), 1e-6))
    least = np.linalg.eigvalsh(belief.covariance / scale[:, :, None] / scale[:, None, :]).min() if finite else -1
    return bool(finite and least > -1e-9 and (belief.mean[:, :nx] >= 0).all())


class Exact:
    """The exact filter of a linear statement: A, B by the matrix exponential, Joseph-free textbook updates."""

    def __init__(self, statement, covariates):
        f, model = statement, statement.model
        functions, p = casadi_functions(model), individuals(model, covariates)[0]
        nx, nu = len(model.states), len(f.signals)
        x, u = ca.SX.sym("x", nx), ca.SX.sym("u", nu)
        rhs = functions["rhs"](0, x, p, u)
        A = np.array(ca.DM(ca.jacobian(rhs, x)))
        B = np.array(ca.DM(ca.jacobian(rhs, u)))
        y = functions["outputs"](0, x, p)[model.names("outputs").index(f.output)]
        h = np.array(ca.DM(ca.jacobian(y, x))).ravel()
        big = np.zeros((nx + nu, nx + nu))
        big[:nx, :nx], big[:nx, nx:] = A, B
        E = expm(big * f.interval)
        first, smooth = f.sensor.coloured
        L = nx + 4
        self.F, self.G = np.eye(L), np.zeros((L, nu))
        self.F[:nx, :nx], self.G[:nx] = E[:nx, :nx], E[:nx, nx:]
        self.Q, self.m, self.P = np.zeros((L, L)), np.zeros(L), np.zeros((L, L))
        for i, w in enumerate((f.offset, first)):
            rho = math.exp(-f.interval / w.tau)
            self.F[nx + i, nx + i], self.Q[nx + i, nx + i] = rho, w.sd**2 * (1 - rho**2)
            self.P[nx + i, nx + i] = w.sd**2
        for i, s in enumerate(model.names("states")):
            self.Q[i, i] = f.states[s].absolute ** 2 * f.interval
            self.P[i, i] = f.states[s].start_absolute ** 2
        # value and rate (in units of SD / tau) of white noise through a critically damped filter
        rate, rows = 1 / smooth.tau, slice(nx + 2, nx + 4)
        M = expm(f.interval * rate * np.array([[0.0, 1.0], [-1.0, -2.0]]))
        self.F[rows, rows] = M
        self.P[rows, rows] = smooth.sd**2 * np.eye(2)
        self.Q[rows, rows] = self.P[rows, rows] - M @ self.P[rows, rows] @ M.T
        self.H, self.R, self.log = np.concatenate([h, [1.0, 1.0, 1.0, 0.0]]), f.sensor.additive**2, 0.0
        self.truth = np.concatenate([h, [1.0, 0.0, 0.0, 0.0]])

    def step(self, u, reading):
        self.m = self.F @ self.m + self.G @ u
        self.P = self.F @ self.P @ self.F.T + self.Q
        self.learn(reading)

    def learn(self, reading):
        if not np.isfinite(reading):
            return
        S = self.H @ self.P @ self.H + self.R
        K, r = self.P @ self.H / S, reading - self.H @ self.m
        self.m = self.m + K * r
        self.P = self.P - np.outer(K, K) * S
        self.log += -0.5 * (math.log(2 * math.pi * S) + r * r / S)
