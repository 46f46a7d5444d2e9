"""The graphs a simulation needs, from the trace: right-hand side, step maps, propagator, outputs, derivatives.

``directions`` K is the number of sensitivity directions carried along (0 for plain simulation). Rows:

- state: ``n`` rows (the model's states, then with ``integrals`` one ∫output dt for each output), then for each
  direction k the ``n`` rows of ∂state/∂direction k;
- parameters: ``m`` rows, then for each direction the ``m`` rows of ∂parameter/∂direction;
- u: ``inputs + routes`` rows, then for each direction as many rows of ∂u/∂direction;
- outputs: ``outputs`` rows (then with ``integrals`` as many for their integrals), then for each direction as many.
"""

from __future__ import annotations

import weakref
from functools import cached_property
from math import factorial

import casadi as ca

from .interval import constants_of, interval_ir
from .lanes import Graph, propagator_ir, straight_ir
from .model import Model
from .objects import address
from .trace import graph_of, traced

__all__ = ["System", "individual_graph", "system"]

# exp's Taylor sum of degree 12 is right to 2^-53 where the shifted matrix has norm ≤ 1/4 (also in the small entries
# of a chain of five compartments, which matter relatively): tests/test_propagator.py
THRESHOLD = 0.25

# Dormand & Prince 1980, RK5(4)7M; the same numbers as SciPy's RK45
_DP_C = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_DP_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_DP_E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class System:
    """One model with K directions, with or without the outputs' integrals, as graphs and as compiled kernels."""

    def __init__(self, model: Model, directions: int = 0, integrals: bool = False) -> None:
        m = traced(model)
        self.model, self.directions, self.integrals = model, directions, integrals
        self.n_model = m.x.numel()
        f, x, y = m.f, m.x, m.y
        if integrals:
            sums = ca.SX.sym("integral", m.y.numel())
            f, x, y = ca.vertcat(f, m.y), ca.vertcat(x, sums), ca.vertcat(y, sums)
        self.n, self.m, self.nu, self.ny = x.numel(), m.p.numel(), m.u.numel(), y.numel()
        K = directions
        self.rows_x, self.rows_p, self.rows_u = self.n * (1 + K), self.m * (1 + K), self.nu * (1 + K)
        self.rows_y = self.ny * (1 + K)
        self._t, self._x, self._p, self._u, self._f, self._y = m.t, x, m.p, m.u, f, y
        self._h = ca.SX.sym("h")
        self._X = ca.vertcat(x, ca.SX.sym("dx", self.n * K)) if K else x
        self._P = ca.vertcat(m.p, ca.SX.sym("dp", self.m * K)) if K else m.p
        self._U = ca.vertcat(m.u, ca.SX.sym("du", self.nu * K)) if K else m.u

    def _direction(self, whole: ca.SX, size: int, k: int) -> ca.SX:
        return whole[size * (k + 1) : size * (k + 2)]

    @cached_property
    def linear(self) -> bool:
        """True where the rhs is A(p)·x + B(p)·u + c(p): then time advances by the matrix exponential, exactly."""
        z = ca.vertcat(self._t, self._x, self._u)
        return not ca.depends_on(ca.jacobian(self._f, ca.vertcat(self._x, self._u)), z) and not ca.depends_on(
            self._f, self._t
        )

    @cached_property
    def flow(self) -> ca.Function:
        """The right-hand side of state and directions: (t, X, P, U) -> dX/dt."""
        out = [self._f]
        for k in range(self.directions):
            d = ca.jtimes(self._f, self._x, self._direction(self._X, self.n, k))
            d += ca.jtimes(self._f, self._p, self._direction(self._P, self.m, k))
            d += ca.jtimes(self._f, self._u, self._direction(self._U, self.nu, k))
            out.append(d)
        return ca.Function("flow", [self._t, self._X, self._P, self._U], [ca.cse(ca.vertcat(*out))])

    def _graph(self, name: str, out: ca.SX, k: ca.SX | None = None, scalars: ca.SX | None = None) -> Graph:
        s = ca.vertcat(self._t, self._h) if scalars is None else scalars
        return graph_of(name, [s, self._X, self._P, self._U, ca.SX(0, 1) if k is None else k], out)

    def initial(self) -> Graph:
        """Starting states and their directions (integrals 0)."""
        m, zero = traced(self.model), ca.SX.zeros(self.n - self.n_model)
        out = [m.x0, zero]
        for k in range(self.directions):
            out += [ca.jtimes(m.x0, self._p, self._direction(self._P, self.m, k)), zero]
        return self._graph("initial", ca.vertcat(*out))

    def rhs(self) -> Graph:
        """dX/dt."""
        return self._graph("rhs", self.flow(self._t, self._X, self._P, self._U))

    def outputs(self) -> Graph:
        """Outputs and their directions."""
        out = [self._y]
        for k in range(self.directions):
            d = ca.jtimes(self._y, self._x, self._direction(self._X, self.n, k))
            out.append(d + ca.jtimes(self._y, self._p, self._direction(self._P, self.m, k)))
        return self._graph("outputs", ca.vertcat(*out))

    def rk4(self) -> Graph:
        """One classical Runge–Kutta step of size h."""
        F, t, X, h = self.flow, self._t, self._X, self._h
        a = F(t, X, self._P, self._U)
        b = F(t + h / 2, X + h / 2 * a, self._P, self._U)
        c = F(t + h / 2, X + h / 2 * b, self._P, self._U)
        d = F(t + h, X + h * c, self._P, self._U)
        return self._graph("rk4", X + h / 6 * (a + 2 * (b + c) + d))

    def dopri5(self) -> Graph:
        """One Dormand–Prince step: rows of X(t+h), of the error estimate, of the last stage (the next step's first)."""
        F, h = self.flow, self._h
        first = ca.SX.sym("k1", self.rows_x)
        stages, X = [first], self._X
        for c, row in zip(_DP_C, _DP_A):
            X = self._X + h * sum(a * k for a, k in zip(row, stages) if a)
            stages.append(F(self._t + c * h, X, self._P, self._U))
        error = h * sum(e * k for e, k in zip(_DP_E, stages) if e)
        return self._graph("dopri5", ca.vertcat(X, error, stages[-1]), k=first)

    def jacobian(self) -> Graph:
        """dX/dt, ∂/∂t of it, and its Jacobian with respect to X, column by column (for the stiff method)."""
        F = self.flow(self._t, self._X, self._P, self._U)
        J = ca.densify(ca.jacobian(F, self._X))
        return self._graph("jacobian", ca.vertcat(F, ca.densify(ca.jacobian(F, self._t)), ca.vec(J)))

    # the linear case: exp of [[A, B, c], [0, 0, 0]] and its derivative in each direction ----------------------------

    @cached_property
    def _matrix(self) -> tuple[ca.SX, list[ca.SX]]:
        x0, u0 = ca.SX.zeros(self.n), ca.SX.zeros(self.nu)
        A = ca.jacobian(self._f, self._x)
        B = ca.jacobian(self._f, self._u)
        c = ca.substitute(self._f, ca.vertcat(self._x, self._u), ca.vertcat(x0, u0))
        top = ca.horzcat(A, B, ca.sparsify(c))
        M = ca.vertcat(top, ca.SX(self.nu + 1, self.n + self.nu + 1))
        D = []
        for k in range(self.directions):
            d = ca.jtimes(ca.densify(ca.vec(M)), self._p, self._direction(self._P, self.m, k))
            D.append(ca.project(ca.reshape(d, *M.shape), M.sparsity()))
        return M, D

    @cached_property
    def _pattern(self) -> ca.Sparsity:
        """Which entries of the exponential can differ from 0: the transitive closure of the matrix's own."""
        size = self.n + self.nu + 1
        S = ca.DM.eye(size) + ca.DM(self._matrix[0].sparsity(), 1)
        for _ in range(max(1, size.bit_length())):
            S = ca.sparsify(ca.DM(ca.densify(S @ S) > 0))
        return S.sparsity()

    def _compact(self, M: ca.SX) -> ca.SX:
        return ca.vertcat(*ca.project(M, self._pattern).nonzeros())

    @property
    def rows_propagator(self) -> int:
        """Rows of the propagator kernel's output."""
        return self._pattern.nnz() * (1 + self.directions)

    def propagator_start(self) -> Graph:
        """exp of the matrix over a short step by Taylor's sum, its directions, and the norm (see `propagator_ir`)."""
        M, D = self._matrix
        step, shift = ca.SX.sym("step"), ca.SX.sym("shift")
        entries = ca.vertcat(*M.nonzeros())
        symbols = ca.SX.sym("a", entries.numel())
        E = self._taylor(ca.SX(M.sparsity(), symbols), shift, step)
        # the sum's derivative with the shift held: exp does not depend on it
        rows = [E, *(ca.jtimes(E, symbols, ca.vertcat(*d.nonzeros())) for d in D)]
        A = M[: self.n_model, : self.n_model]
        loss = [-A[i, i] for i in range(self.n_model)]
        mu = ca.SX(0)
        for v in loss:
            mu = ca.fmax(mu, v)
        norm = mu  # what the shift puts on the diagonal of the inputs, which have no loss of their own
        for j in range(self.n_model):
            column = sum((ca.fabs(A[i, j] + (mu if i == j else 0)) for i in range(self.n_model)), ca.SX(0))
            norm = ca.fmax(norm, column)
        out = ca.substitute(ca.vertcat(*rows), ca.vertcat(symbols, shift), ca.vertcat(entries, mu))
        return graph_of("propagator", [step, ca.SX(0, 1), self._P, ca.SX(0, 1), ca.SX(0, 1)], ca.vertcat(out, norm))

    def _taylor(self, M: ca.SX, shift: ca.SX, step: ca.SX) -> ca.SX:
        # Shifting by the largest loss rate makes a compartmental matrix non-negative: every sum below then adds like
        # signs, and small entries keep their relative accuracy (Xue & Ye 2013).
        eye = ca.SX.eye(M.shape[0])
        X = (M + shift * eye) * step
        c = [1 / factorial(j) for j in range(13)]
        X2 = X @ X
        X3 = X2 @ X
        E = c[12] * X3 + c[11] * X2 + c[10] * X + c[9] * eye
        for j in (6, 3, 0):
            E = E @ X3 + (c[j + 2] * X2 + c[j + 1] * X + c[j] * eye)
        E = ca.project(E, self._pattern) * ca.exp(-shift * step)
        for i in range(self.n_model, M.shape[0]):  # integrals and inputs are held: exactly, through all squarings
            E[i, i] = 1
        return self._compact(E)

    def _blocks(self, symbols: ca.SX) -> list[ca.SX]:
        nnz = self._pattern.nnz()
        return [ca.SX(self._pattern, symbols[nnz * k : nnz * (k + 1)]) for k in range(1 + self.directions)]

    def propagator_square(self) -> Graph:
        """E -> E², D -> E D + D E."""
        symbols = ca.SX.sym("e", self.rows_propagator)
        E, *D = self._blocks(symbols)
        out = [self._compact(E @ E), *(self._compact(E @ d + d @ E) for d in D)]
        none = ca.SX(0, 1)
        return graph_of("square", [none, symbols, none, none, none], ca.vertcat(*out))

    def advance(self) -> Graph:
        """State and directions after the step whose propagator stands in ``k``."""
        symbols = ca.SX.sym("e", self.rows_propagator)
        E, *D = self._blocks(symbols)
        z = ca.vertcat(self._x, self._u, 1)
        out = [(E @ z)[: self.n]]
        for k, d in enumerate(D):
            dz = ca.vertcat(self._direction(self._X, self.n, k), self._direction(self._U, self.nu, k), 0)
            out.append((E @ dz + d @ z)[: self.n])
        return self._graph("advance", ca.vertcat(*out), k=symbols)

    # compiled ---------------------------------------------------------------------------------------------------------

    def kernel(self, name: str) -> int:
        """Address of a compiled kernel: rhs, outputs, rk4, constants, dopri5, jacobian, propagator, advance."""
        if name not in self._kernels:
            if name == "propagator":
                ir = propagator_ir(self.propagator_start(), self.propagator_square(), THRESHOLD)
            elif name == "constants":
                ir = straight_ir(self._split[0])
            else:
                ir = straight_ir(getattr(self, name)())
            self._kernels[name] = address(f"{self.model.id} {name}", ir, name)
        return self._kernels[name]

    def interval(self, steps: int, pair: bool = False) -> int:
        """Address of the kernel that takes ``steps`` steps at once, x -> out (the same memory, if you like).

        A linear model takes one, exactly, by the propagator in ``k``; RK4 reads the kernel ``constants`` there.
        ``pair``: of two blocks that lie one behind the other.
        """
        name = f"interval {steps}{' pair' * pair}"
        if name not in self._kernels:
            ir = interval_ir(self.advance() if self.linear else self._split[1], steps, pair)
            self._kernels[name] = address(f"{self.model.id} {name}", ir, "interval")
        return self._kernels[name]

    @cached_property
    def _split(self) -> tuple[Graph, Graph]:
        return constants_of(self.rk4())

    @property
    def rows_constants(self) -> int:
        """Rows of the kernel ``constants``: what an RK4 step would compute from parameters alone, each time anew."""
        return self._split[0].out

    @cached_property
    def _kernels(self) -> dict[str, int]:
        return {}


_systems: weakref.WeakKeyDictionary[Model, dict[tuple[int, bool], System]] = weakref.WeakKeyDictionary()


def system(model: Model, directions: int = 0, integrals: bool = False) -> System:
    """The system of a model, made once for each number of directions."""
    known = _systems.setdefault(model, {})
    key = (directions, integrals)
    if key not in known:
        known[key] = System(model, directions, integrals)
    return known[key]


def individual_graph(model: Model, derivatives: bool) -> Graph:
    """Individual parameters of (eta as ``x``; theta then covariates as ``p``), then ∂/∂eta, effect by effect."""
    m = traced(model)
    out = [m.individual]
    if derivatives and m.eta.numel():
        out.append(ca.vec(ca.densify(ca.jacobian(m.individual, m.eta))))
    none = ca.SX(0, 1)
    return graph_of("individual", [none, m.eta, ca.vertcat(m.theta, m.cov), none, none], ca.vertcat(*out))
