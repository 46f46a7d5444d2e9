"""The moving-horizon problem of `twin.horizon`, once more, in CasADi: the slow reference it is tested against.

Multiple shooting: the augmented states of all slots are unknowns, tied together by the dynamics; IPOPT, exact
derivatives. The dynamics come from the same traced model; nothing of `twin.horizon` is used. Not for loops: some
hundred times slower (docs/following.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np

from ..pkpd.march import march_of
from ..pkpd.trace import casadi_functions
from .augmented import layout_of
from .follow import Follow

__all__ = ["CasadiWindow", "Solved"]


@dataclass(frozen=True)
class Solved:
    """A window's solution.

    Attributes:
        states: (slots, L) the augmented states.
        objective: its value.
        iterations: IPOPT's.
        success: whether it converged.
    """

    states: np.ndarray
    objective: float
    iterations: int
    success: bool


class CasadiWindow:
    """The problem over so many intervals of a statement, built once.

    Absolute process noise only: a relative one depends on the solution itself. No onset of a disturbance. States are
    not put on their floor, whose kink IPOPT does not take: solutions must stay above it.

    Args:
        follow: the statement.
        intervals: length of the window.
        covariates: (c,) of the patient; ``theta`` typical values, default the model's.
        eta: (effects,) all the model's effects (those not estimated stay there).
        omega: (q, q) covariance of the estimated ones.
    """

    def __init__(
        self,
        follow: Follow,
        intervals: int,
        covariates: np.ndarray,
        eta: np.ndarray,
        omega: np.ndarray,
        theta: np.ndarray | None = None,
    ) -> None:
        layout, model = layout_of(follow), follow.model
        f = casadi_functions(model)
        march = march_of(model, follow.interval, follow.step)
        steps = march.steps if not march.system.linear else 50
        nx, q, d = len(model.states), len(layout.effect_of), len(follow.disturbed)
        L, tail, nu = follow.size, len(layout.sensed), len(follow.signals)
        self.follow, self.K, self.L = follow, intervals, L
        typical = model.theta if theta is None else theta

        z, u, t = ca.SX.sym("z", L), ca.SX.sym("u", nu), ca.SX.sym("t")
        effects = ca.SX(eta)
        for i, e in enumerate(layout.effect_of):
            effects[int(e)] = z[nx + i]
        p = f["individual"](typical, covariates, effects)
        held = ca.SX(u)
        for r in range(nu):
            k = int(layout.signal_of[r])
            if k >= 0:
                held[r] = u[r] * ca.exp(z[nx + q + k]) if layout.scale[k] else u[r] + z[nx + q + k]
        x = z[:nx]
        h = follow.interval / steps
        for i in range(steps):
            now = t + i * h
            a = f["rhs"](now, x, p, held)
            b = f["rhs"](now + h / 2, x + h / 2 * a, p, held)
            c = f["rhs"](now + h / 2, x + h / 2 * b, p, held)
            e = f["rhs"](now + h, x + h * c, p, held)
            x = x + h / 6 * (a + 2 * b + 2 * c + e)
        keep, centre = layout.keep, eta[layout.effect_of]
        rest = [keep[nx + i] * z[nx + i] + (1 - keep[nx + i]) * centre[i] for i in range(q)]
        rest += [keep[nx + q + i] * z[nx + q + i] for i in range(d)]
        last = ca.DM(layout.move) @ z[L - tail :] if tail else ca.SX(0, 1)
        step = ca.Function("step", [z, u, t], [ca.vertcat(x, *rest, last)])
        y = f["outputs"](t, z[:nx], p)[model.names("outputs").index(follow.output)]
        if tail:
            y = y + ca.DM(layout.sensed).T @ z[L - tail :]
        read = ca.Function("read", [z, t], [y])

        Q = np.zeros((L, L))
        Q[:nx, :nx] = np.diag(layout.absolute)
        kept = keep[nx : nx + q]
        Q[nx : nx + q, nx : nx + q] = (1 - np.outer(kept, kept)) * omega
        Q[nx + q : nx + q + d, nx + q : nx + q + d] = np.diag(layout.gained[nx + q : nx + q + d] ** 2)
        if tail:
            Q[L - tail :, L - tail :] = layout.added
        root = self._root(Q)

        m, S = ca.MX.sym("m", L), ca.MX.sym("S", L, L)
        U, Y = ca.MX.sym("U", nu, intervals), ca.MX.sym("Y", intervals + 1)
        seen, at = ca.MX.sym("seen", intervals + 1), ca.MX.sym("at")
        xi, Z = ca.MX.sym("xi", L), [ca.MX.sym(f"z{i}", L) for i in range(intervals + 1)]
        noise = [ca.MX.sym(f"w{i}", root.shape[1]) for i in range(intervals)]
        cost, ties = 0.5 * ca.sumsqr(xi), [Z[0] - m - S @ xi]
        for i in range(intervals):
            cost += 0.5 * ca.sumsqr(noise[i])
            ties.append(Z[i + 1] - step(Z[i], U[:, i], at + i * follow.interval) - ca.DM(root) @ noise[i])
        for i in range(intervals + 1):
            residual = Y[i] - read(Z[i], at + i * follow.interval)
            cost += 0.5 * seen[i] * residual**2 / follow.sensor.additive**2
        self._unknowns = ca.vertcat(xi, *Z, *noise)
        problem = {
            "x": self._unknowns,
            "p": ca.vertcat(m, ca.vec(S), ca.vec(U), Y, seen, at),
            "f": cost,
            "g": ca.vertcat(*ties),
        }
        options = {"ipopt.print_level": 0, "print_time": False, "ipopt.sb": "yes", "ipopt.tol": 1e-10, "expand": True}
        self._solver = ca.nlpsol("window", "ipopt", problem, options)
        self._step, self._noises = step, root.shape[1]

    @staticmethod
    def _root(P: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(P)
        keep = values > 1e-14 * max(values.max(initial=0.0), 1e-300)
        return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))

    def solve(
        self, mean: np.ndarray, covariance: np.ndarray, inputs: np.ndarray, readings: np.ndarray, at: float = 0.0
    ) -> Solved:
        """Solve from a given arrival belief.

        Args:
            mean, covariance: (L,), (L, L) at the window's first slot, before its reading.
            inputs: (intervals, signals); readings: (intervals + 1,), NaN where there is none.
            at: time of the first slot.
        """
        root = np.zeros((self.L, self.L))
        part = self._root(covariance)
        root[:, : part.shape[1]] = part
        guess = [np.zeros(self.L), np.asarray(mean, dtype=float)]
        for i in range(self.K):
            guess.append(np.array(self._step(guess[-1], inputs[i], at + i * self.follow.interval)).ravel())
        guess.append(np.zeros(self.K * self._noises))
        seen = np.isfinite(readings)
        p = np.concatenate([mean, root.T.ravel(), inputs.ravel(), np.where(seen, readings, 0.0), seen, [at]])
        found = self._solver(x0=np.concatenate(guess), p=p, lbg=0, ubg=0)
        stats = self._solver.stats()
        x = np.array(found["x"]).ravel()[self.L : self.L * (self.K + 2)]
        return Solved(
            x.reshape(self.K + 1, self.L), float(found["f"]), int(stats["iter_count"]), bool(stats["success"])
        )
