"""The control problem by hand in CasADi: multiple shooting, exact second derivatives, IPOPT.

As a user would write it: one NLP whose numbers are parameters, states divided by their sizes, the graph expanded to
scalars, warmed by the shifted last solution and its multipliers with a small first barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
from ocp import Ocp, Solved, chain, read
from worker import serve

WARM = {
    "warm_start_init_point": "yes",
    "mu_init": 1e-2,
    "warm_start_bound_push": 1e-6,
    "warm_start_mult_bound_push": 1e-6,
}


class Nlp:
    """The NLP of a problem and its two solvers, for a cold and for a warm start."""

    def __init__(self, q: Ocp) -> None:
        self.q, what = q, q.what
        N, D, n = q.stages, q.draws, q.x0.shape[2]
        step, size = q.step(), ca.DM(q.size)
        v, X = ca.MX.sym("v", N), [ca.MX.sym(f"x{d}", n, N) for d in range(D)]
        x0, held = ca.MX.sym("x0", n, D), ca.MX.sym("held", q.held.shape[2], N)
        offset, last, reference = ca.MX.sym("o", q.offset.shape[2], D), ca.MX.sym("last"), ca.MX.sym("ref")
        y, p = ca.SX.sym("y", q.offset.shape[2]), [ca.DM(a) for a in q.p]
        goal, final = ca.Function("goal", [y], [q.goals(y)]), ca.Function("final", [y], [q.goals(y, last=True)])
        cost = what["weight"] * ca.sumsqr(v - reference / what["scale"])
        cost += what["change_weight"] * ca.sumsqr(v - ca.vertcat(last / what["scale"], v[:-1]))
        defects = []
        for d in range(D):
            before = x0[:, d]
            for k in range(N):
                after = step(before, q.signal(v[k] * what["scale"], held[:, k]), p[d])
                before = X[d][:, k] * size
                defects.append((before - after) / size)
                cost += (final if k == N - 1 else goal)(q.outputs(0, before, p[d]) + offset[:, d])
        w = ca.vertcat(v, *(ca.vec(a) for a in X))
        P = ca.vertcat(ca.vec(x0), ca.vec(held), ca.vec(offset), last, reference)
        nlp = {"x": w, "p": P, "f": cost, "g": ca.vertcat(*defects)}
        quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False, "ipopt.max_iter": 500}
        quiet |= {"calc_lam_p": False, "expand": True}
        self.cold = ca.nlpsol("cold", "ipopt", nlp, quiet)
        self.warm = ca.nlpsol("warm", "ipopt", nlp, quiet | {f"ipopt.{k}": a for k, a in WARM.items()})
        far = np.full(D * N * n, np.inf)
        self.lower = np.concatenate([q.low / what["scale"], -far])
        self.upper = np.concatenate([q.high / what["scale"], far])

    def solve(self, k: int, before: Solved | None) -> Solved:
        """The plan of snapshot k."""
        q, scale = self.q, self.q.what["scale"]
        N = q.stages
        P = np.concatenate([q.x0[k].ravel(), q.held[k].ravel(), q.offset[k].ravel(), [q.last[k], q.reference[k]]])
        if before is None:
            u = np.clip(np.full(N, 0.25 * scale), q.low, q.high)
            x = q.rolled(k, u)[1:] / q.size
            guess = np.concatenate([u / scale, x.transpose(1, 0, 2).ravel()])
            got = self.cold(x0=guess, p=P, lbx=self.lower, ubx=self.upper, lbg=0, ubg=0)
        else:
            parts = [self._shift(a, moves) for a, moves in zip(before.memory, (True, True, False))]
            got = self.warm(
                x0=parts[0], lam_x0=parts[1], lam_g0=parts[2], p=P, lbx=self.lower, ubx=self.upper, lbg=0, ubg=0
            )
        memory = [np.array(got[name]).ravel() for name in ("x", "lam_x", "lam_g")]
        return Solved(np.clip(memory[0][:N] * scale, q.low, q.high), memory)

    def _shift(self, a: np.ndarray, moves: bool) -> np.ndarray:
        q = self.q
        head = q.shifted(a[: q.stages]) if moves else a[:0]
        rest = a[len(head) :].reshape(q.draws, q.stages, -1)
        return np.concatenate([head, np.stack([q.shifted(r) for r in rest]).ravel()])


def build(job: dict[str, Any], folder: Path) -> tuple[int, Callable[[int, Any], Solved]]:
    q = read(folder)
    return q.count, Nlp(q).solve


if __name__ == "__main__":
    serve(chain(build), "casadi", "numpy")
