"""CasADi's solvers on the same problem: Gauss-Newton SQP with a QP solver of the wheel, and IPOPT as reference.

`Sqp` is single shooting with the sensitivities condensed in the graph, as the real-time back end does it; `Ipopt` is
multiple shooting with exact second derivatives of a smoothed reading of the model. Both take and return what
`realtime.RealTime` does, one patient after another.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np

from ..pkpd import reference
from ..pkpd.errors import SolverError
from ..pkpd.trace import traced
from .casadi_problem import CasadiSolver, Case
from .problem import Problem
from .smooth import WIDTH, smoothed

__all__ = ["Ipopt", "Sqp"]

QP: dict[str, dict[str, Any]] = {
    "daqp": {"error_on_fail": False},
    "qrqp": {"error_on_fail": False, "print_iter": False, "print_header": False},
    "osqp": {"error_on_fail": False, "osqp": {"verbose": False, "eps_abs": 1e-10, "eps_rel": 1e-10, "max_iter": 50000}},
    "highs": {"error_on_fail": False, "highs": {"output_flag": False, "threads": 1}},
}
SMALL = 200_000  # instructions
SAMPLES = 64  # points that set the scale of each kink


class _Once(ca.Callback):
    """A function of (moves, parameters) that remembers its last moves: `sqpmethod` asks for first and second
    derivatives one after another. Whoever changes the parameters sets ``at`` to None.
    """

    def __init__(self, function: ca.Function) -> None:
        ca.Callback.__init__(self)
        self.function = function
        self.at: Any = None
        self.got: Any = None
        self.construct("once", {})

    def get_n_in(self) -> int:
        """As the function."""
        return int(self.function.n_in())

    def get_n_out(self) -> int:
        """As the function."""
        return int(self.function.n_out())

    def get_sparsity_in(self, i: int) -> ca.Sparsity:
        """As the function."""
        return self.function.sparsity_in(i)

    def get_sparsity_out(self, i: int) -> ca.Sparsity:
        """As the function."""
        return self.function.sparsity_out(i)

    def eval(self, arg: list[ca.DM]) -> Any:
        """The function's values, computed anew only at another point."""
        at = arg[0].nonzeros()
        if at != self.at:
            self.at, self.got = at, self.function.call(arg)
        return self.got


class Sqp(CasadiSolver):
    """Single shooting, Gauss-Newton Hessian, CasADi's `sqpmethod`.

    Args:
        problem: what to solve.
        qp: QP solver: daqp, qrqp, osqp or highs.
        iterations, tolerance: most iterations, and of the projected gradient in scaled moves.
    """

    def __init__(self, problem: Problem, qp: str = "daqp", *, iterations: int = 100, tolerance: float = 1e-4) -> None:
        super().__init__(problem)
        if qp not in QP:
            raise SolverError(f"QP solver '{qp}' is unknown; known: {', '.join(QP)}")
        self.qp, self.iterations, self.tolerance = qp, iterations, tolerance

    @cached_property
    def _goals(self) -> ca.Function:
        """Share of the objective, its slope and curvature by all watched outputs (stages, watched) of a draw."""
        p = self.problem
        y, target, weight = ca.SX.sym("y", p.stages, len(p.watched)), self.common_symbols[1], self.draw_symbols[4]
        yy, cost, down, curves = ca.SX.sym("y", len(p.watched)), ca.SX(0), [], []
        for k in range(p.stages):
            r = ca.vertcat(*self.residuals(yy, k, target, weight), ca.SX(0, 1))
            J = ca.jacobian(r, yy)
            at = ca.Function("r", [yy, target, weight], [ca.sumsqr(r), 2 * J.T @ r, 2 * J.T @ J])
            value, slope, curve = at(y[k, :].T, target, weight)
            cost += value
            down.append(slope)
            curves.append(curve)
        return ca.Function("goals", [y, target, weight], [cost, ca.vertcat(*down), ca.diagcat(*curves)])

    @cached_property
    def _draw(self) -> ca.Function:
        """One draw: outputs, share of the objective, its gradient and Gauss-Newton Hessian, slopes of the outputs.

        The sensitivities are carried stage by stage, as products of matrices around one small graph of scalars: one
        graph of everything is too long for a processor's cache, and takes twice the time.
        """
        e, p = self.expressions, self.problem
        jac = ca.Function("stage_jacobian", [e.s, e.x, e.p, e.u, e.k], [e.after, e.y, e.A, e.B, e.C], {"cse": True})
        sv, (shared, _, by, _, _, begin) = ca.SX.sym("v", self.nc), self.common_symbols
        inputs = ca.Function(
            "inputs", [sv, shared, by], [ca.horzcat(*(self.inputs_of(sv, k) for k in range(p.stages)))]
        )
        clock = ca.horzcat(*(ca.vertcat(begin + k * p.interval, self.h) for k in range(p.stages)))
        v = ca.MX.sym("v", self.nc)
        draws, common = _symbols(self.draw_symbols), _symbols(self.common_symbols)
        x, par, k_, offset, weight = draws
        held, target, scale, _, _, time = common
        u = ca.horzsplit(inputs(v, held, scale))
        s = ca.horzsplit(ca.Function("clock", [begin], [clock])(time))
        M, nc = len(p.moves), self.nc
        S, ys, slopes = ca.MX(len(e.relevant), 0), [], []
        for k in range(p.stages):
            x, y, A, B, C = jac(s[k], x, par, u[k], k_)
            width, before = (int(p.block_of[k]) + 1) * M, S.shape[1]  # later moves do not act yet
            own = ca.densify(B @ ca.diag(scale))
            S = A @ S if before else S
            S = ca.horzcat(S, own) if width > before else S + ca.horzcat(ca.MX(S.shape[0], width - M), own)
            ys.append((y + offset).T)
            slopes.append(ca.horzcat(ca.densify(C @ S), ca.MX(len(p.watched), nc - width)))
        course, Y = ca.vertcat(*ys), ca.vertcat(*slopes)
        cost, down, curve = self._goals(course, target, weight)
        out = [course, cost, Y.T @ down, ca.densify(Y.T @ (curve @ Y)), ca.densify(Y)]
        return ca.Function("draw", [v, *draws, *common], out)

    @cached_property
    def _solver(self) -> ca.Function:
        """The solver; its parameters are `packed`."""
        p, nc = self.problem, self.nc
        D = p.draws
        v = ca.MX.sym("v", nc)
        P, draws, common = self.unpacked()
        given = [*draws, *common]
        one = self._draw if D == 1 else self._draw.map(D)
        spread = [
            *given[: len(draws)],
            *(given[len(draws) :] if D == 1 else [ca.repmat(a, 1, D) for a in given[len(draws) :]]),
        ]
        vs = v if D == 1 else ca.repmat(v, 1, D)
        y, f, g, H, Y = one(vs, *spread)
        y_only, f_only = (self.course if D == 1 else self.course.map(D))(vs, *spread)
        own = ca.SX.sym("v", nc)
        r = ca.vertcat(*self.move_residuals(own), ca.SX(0, 1))
        R = ca.jacobian(r, own)
        mine = ca.Function("own", [own, *self.common_symbols], [ca.sumsqr(r), 2 * R.T @ r, ca.densify(2 * R.T @ R)])
        fo, go, Ho = mine(v, *given[len(draws) :])
        fo_only = self.own_cost(v, *given[len(draws) :])
        fold = lambda a, width: sum((a[:, d * width : (d + 1) * width] for d in range(D)), ca.MX(0))  # noqa: E731
        cost = fo + ca.sum2(f)
        gradient, hessian = go + ca.sum2(g), Ho + fold(H, nc) + 1e-10 * ca.DM.eye(nc)
        rates, ny = self.differences, len(p.watched)
        # constraints: outputs stage by stage of each draw where an item may bound them, then differences of the moves
        paths = lambda y: [ca.vec(y[:, d * ny : (d + 1) * ny].T) for d in range(D)] if self.items else []  # noqa: E731
        slopes = [Y[:, d * nc : (d + 1) * nc] for d in range(D)] if self.items else []
        G = ca.vertcat(*paths(y_only), rates @ v)
        J = ca.vertcat(*slopes, ca.MX(rates))
        whole = [cost, gradient, hessian, ca.vertcat(*paths(y), rates @ v), J]
        self._once = _Once(ca.Function("whole", [v, P], whole))
        cost, gradient, hessian, path, J = self._once(v, P)
        lam_f, lam_g = ca.MX.sym("lam_f"), ca.MX.sym("lam_g", G.numel())
        hess = ca.Function(
            "nlp_hess_l", [v, P, lam_f, lam_g], [lam_f * hessian], ["x", "p", "lam_f", "lam_g"], ["hess_gamma_x_x"]
        )
        both = ca.Function(
            "nlp_jac_fg", [v, P], [cost, gradient, path, J], ["x", "p"], ["f", "grad_f_x", "g", "jac_g_x"]
        )
        options = {
            "print_header": False,
            "print_iteration": False,
            "print_status": False,
            "print_time": False,
            "max_iter": self.iterations,
            "tol_du": self.tolerance,
            "tol_pr": 1e-7,
            "error_on_fail": False,
            "qpsol": self.qp,
            "qpsol_options": QP[self.qp],
            "hess_lag": hess,
            "jac_fg": both,
            "calc_lam_p": False,  # a reverse sweep over all parameters that nobody asks for
            "no_nlp_grad": True,
        }
        return ca.nlpsol("mpc", "sqpmethod", {"x": v, "p": P, "f": fo_only + ca.sum2(f_only), "g": G}, options)

    def optimise(self, case: Case, v: np.ndarray, on: np.ndarray) -> tuple[np.ndarray, bool, int]:
        """Scaled moves, whether the solver is content, its iterations."""
        solver = self._solver
        self._once.at = None  # it compares moves only
        lbg, ubg = np.zeros(0), np.zeros(0)
        if self.items:
            low, high = self.limits_of(on)
            lbg, ubg = low.ravel(), high.ravel()
        most = self.largest(case)
        got = solver(
            x0=v,
            p=self.packed(case),
            lbx=(case.low / case.scale).ravel(),
            ubx=(case.high / case.scale).ravel(),
            lbg=np.concatenate([lbg, -most]),
            ubg=np.concatenate([ubg, most]),
        )
        stats = solver.stats()
        return np.array(got["x"]).ravel(), bool(stats["success"]), int(stats["iter_count"])


class Ipopt(CasadiSolver):
    """Multiple shooting with IPOPT on a smoothed reading of the model (`smooth.smoothed`), exact second derivatives.

    Args:
        problem: what to solve.
        width: relative width of the smoothing; 0 for the exact reading (which may wander at kinks).
        options: IPOPT's own, by name without "ipopt.".
    """

    def __init__(self, problem: Problem, *, width: float = WIDTH, options: dict[str, Any] | None = None) -> None:
        super().__init__(problem)
        self.options = {"print_level": 0, "sb": "yes", "tol": 1e-9, "max_iter": 500} | (options or {})
        self.smooth = smoothed(self.stage, self._samples(), width) if width > 0 else self.stage

    def _samples(self) -> list[list[np.ndarray]]:
        """States around the typical patient's start, under moves within their bounds."""
        model, rng = self.problem.model, np.random.Generator(np.random.Philox(key=[1, 2]))
        m = traced(model)
        p = np.array(list(reference.individual(model).values()))
        x0 = np.array(ca.Function("x0", [m.p], [m.x0])(p)).ravel()
        typical = np.array([*(v.typical for v in model.inputs), *(0.0 for _ in model.routes)])
        scale = np.array([mv.high if mv.scale is None else mv.scale for mv in self.problem.moves])
        probe = Case.__new__(Case)
        probe.p, probe._entries = p[None], None
        k = probe.entries(self.problem)[0]
        out = []
        for _ in range(SAMPLES):
            u = typical.copy()
            u[self.problem.columns] = scale * rng.uniform(0, 1, len(scale))
            x = x0 * np.exp(rng.normal(0, 0.4, len(x0))) + (x0 == 0) * rng.uniform(0, 1, len(x0))
            out.append([np.array([0.0, self.h]), x, p, u, k])
        return out

    @cached_property
    def _solver(self) -> tuple[ca.Function, ca.Function]:
        p, e = self.problem, self.expressions
        N, D, M, n, ny = p.stages, p.draws, len(p.moves), e.x.numel(), len(p.watched)
        one = ca.Function("stage", self.smooth.sx_in(), self.smooth(*self.smooth.sx_in()), {"cse": True})
        v = ca.MX.sym("v", self.nc)
        draws, common = _symbols(self.draw_symbols, D), _symbols(self.common_symbols)
        held, target, scale, _, _, time = common
        x = [ca.MX.sym(f"x{d}", n, N) for d in range(D)]
        size = ca.MX.sym("size", n)  # the states' sizes, by which they are divided
        yy, tt, ww = ca.SX.sym("y", ny), ca.SX.sym("t", N, len(p.goals)), ca.SX.sym("w")
        terms = [ca.sumsqr(ca.vertcat(*self.residuals(yy, k, tt, ww), 0)) for k in (0, N - 1)]
        goal = ca.Function("goal", [yy, tt[0, :].T, ww], [ca.substitute(terms[0], tt[N - 1, :].T, tt[0, :].T)])
        final = ca.Function("final", [yy, tt[N - 1, :].T, ww], [terms[1]])
        own = ca.SX.sym("v", self.nc)
        mine = ca.Function("own", [own, *self.common_symbols], [ca.sumsqr(ca.vertcat(*self.move_residuals(own), 0))])
        cost = mine(v, *common)
        defects, path = [], []
        for d in range(D):
            before = draws[0][:, d]
            for k in range(N):
                u = held[k, :].T
                for a, column in enumerate(p.columns):
                    u[int(column)] = v[int(p.block_of[k]) * M + a] * scale[a]
                s = ca.vertcat(time + k * p.interval, self.h)
                after, y = one(s, before, draws[1][:, d], u, draws[2][:, d])
                y = y + draws[3][:, d]
                here = x[d][:, k] * size
                defects.append((here - after) / size)
                term = final if k == N - 1 else goal
                cost += term(y, target[k, :].T, draws[4][:, d])
                path.append(y)
                before = here
        rates = self.differences
        g = ca.vertcat(*defects, *(path if self.items else []), rates @ v)
        w = ca.vertcat(v, *(ca.vec(a) for a in x))
        parameters = ca.vertcat(*(ca.vec(a) for a in [*draws, *common]), size)
        pack = ca.Function("pack", [*draws, *common, size], [parameters])
        P = ca.MX.sym("P", parameters.numel())
        sizes = np.cumsum([0, *(a.numel() for a in [*draws, *common, size])]).tolist()
        parts = [ca.reshape(a, *b.shape) for a, b in zip(ca.vertsplit(P, sizes), [*draws, *common, size])]
        inside = ca.Function("nlp", [v, *x, *draws, *common, size], [cost, g])
        wv = ca.MX.sym("w", w.numel())
        pieces = ca.vertsplit(wv, np.cumsum([0, self.nc, *[n * N] * D]).tolist())
        cost, g = inside(pieces[0], *(ca.reshape(a, n, N) for a in pieces[1:]), *parts)
        # as one graph of scalars where that stays small: its second derivatives are several times faster
        small = N * D * self.smooth.n_instructions() < SMALL
        options = {f"ipopt.{k}": value for k, value in self.options.items()} | {"print_time": False, "expand": small}
        return ca.nlpsol("mpc", "ipopt", {"x": wv, "p": P, "f": cost, "g": g}, options), pack

    def optimise(self, case: Case, v: np.ndarray, on: np.ndarray) -> tuple[np.ndarray, bool, int]:
        """Scaled moves, whether IPOPT is content, its iterations."""
        solver, pack = self._solver
        p, n = self.problem, self.expressions.x.numel()
        draws, common = self.numbers(case)
        # a course of the start, which also gives the states' sizes
        xs = np.empty((p.draws, p.stages, n))
        u = case.held.copy()
        u[:, p.columns] = v.reshape(-1, len(p.moves))[p.block_of] * case.scale
        for d in range(p.draws):
            x = case.x0[d]
            for k in range(p.stages):
                s = [case.time + k * p.interval, self.h]
                x = np.array(self.stage(s, x, draws[1][:, d], u[k], draws[2][:, d])[0]).ravel()
                xs[d, k] = x
        size = np.maximum(np.abs(xs).max(axis=(0, 1)), np.abs(case.x0).max(axis=0))
        size[size < 1e-12] = 1.0
        zeros = np.zeros(p.draws * p.stages * n)
        low, high = self.limits_of(on) if self.items else (np.zeros(0), np.zeros(0))
        most = self.largest(case)
        far = np.full(len(zeros), np.inf)
        got = solver(
            x0=np.concatenate([v, (xs / size).ravel()]),
            p=pack(*draws, *common, size),
            lbx=np.concatenate([(case.low / case.scale).ravel(), -far]),
            ubx=np.concatenate([(case.high / case.scale).ravel(), far]),
            lbg=np.concatenate([zeros, low.ravel(), -most]),
            ubg=np.concatenate([zeros, high.ravel(), most]),
        )
        stats = solver.stats()
        return np.array(got["x"]).ravel()[: self.nc], bool(stats["success"]), int(stats["iter_count"])


def _symbols(like: list[ca.SX], columns: int = 0) -> list[ca.MX]:
    """MX symbols shaped like SX ones; with ``columns``, that many columns of each."""
    return [
        ca.MX.sym(f"a{i}", a.numel(), columns) if columns else ca.MX.sym(f"a{i}", *a.shape) for i, a in enumerate(like)
    ]
