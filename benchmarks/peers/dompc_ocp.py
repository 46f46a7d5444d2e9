"""The control problem in do-mpc: its own discretisation (Radau collocation of degree 2), warm start and IPOPT settings.

Draws of the patient are states of one large model, since they stand at different states and share their moves. With
several of them IPOPT's linear solver miscounts the KKT matrix's inertia at its own pivot tolerance (two equal draws:
3,000 iterations and no end; one: 15), so that a larger one is set there; with one draw all settings are do-mpc's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
import casadi as ca  # noqa: E402
import do_mpc  # noqa: E402
import numpy as np  # noqa: E402
from ocp import Ocp, Solved, chain, read  # noqa: E402
from worker import serve  # noqa: E402


def controller(q: Ocp, now: list[int]) -> Any:
    """The MPC of a problem; ``now`` holds the index of the snapshot."""
    what, (N, D, n) = q.what, (q.stages, q.draws, q.x0.shape[2])
    model = do_mpc.model.Model("continuous")
    x, u = model.set_variable("_x", "x", (D * n, 1)), model.set_variable("_u", "u")
    held = model.set_variable("_tvp", "held", (q.held.shape[2], 1))
    model.set_variable("_tvp", "offset", (D * q.offset.shape[2], 1))
    model.set_variable("_tvp", "reference")
    p = [ca.DM(a) for a in q.p]
    model.set_rhs("x", ca.vertcat(*(q.rhs(0, x[d * n : (d + 1) * n], p[d], q.signal(u, held)) for d in range(D))))
    model.setup()
    mpc = do_mpc.controller.MPC(model)
    quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": 0} | (
        {"ipopt.mumps_pivtol": 1e-2} if D > 1 else {}
    )
    mpc.set_param(n_horizon=N, t_step=what["interval"], store_full_solution=False, nlpsol_opts=quiet)
    seen = [
        q.outputs(0, model.x["x"][d * n : (d + 1) * n], p[d])
        + model.tvp["offset"][d * q.offset.shape[2] : (d + 1) * q.offset.shape[2]]
        for d in range(D)
    ]
    move = what["weight"] * ((model.u["u"] - model.tvp["reference"]) / what["scale"]) ** 2
    mpc.set_objective(
        mterm=ca.sum1(ca.vertcat(*(q.goals(y, last=True) for y in seen))),
        lterm=ca.sum1(ca.vertcat(*(q.goals(y) for y in seen))) + move,
    )
    mpc.set_rterm(u=what["change_weight"])  # do-mpc weighs changes of the scaled moves
    mpc.bounds["lower", "_u", "u"], mpc.bounds["upper", "_u", "u"] = float(q.low.min()), float(q.high.max())
    mpc.scaling["_x", "x"], mpc.scaling["_u", "u"] = np.tile(q.size, D), what["scale"]
    template = mpc.get_tvp_template()

    def ahead(_: float) -> Any:
        """Known inputs over the horizon at the current snapshot."""
        for k in range(N + 1):
            template["_tvp", k, "held"] = q.held[now[0], min(k, N - 1)]
            template["_tvp", k, "offset"] = q.offset[now[0]].ravel()
            template["_tvp", k, "reference"] = q.reference[now[0]]
        return template

    mpc.set_tvp_fun(ahead)
    mpc.setup()
    for k in range(N):  # bounds of single stages; do-mpc divides them by the scaling
        mpc.lb_opt_x["_u", k, 0], mpc.ub_opt_x["_u", k, 0] = q.low[k], q.high[k]
    return mpc


def build(job: dict[str, Any], folder: Path) -> tuple[int, Callable[[int, Any], Solved]]:
    q, now = read(folder), [0]
    mpc, scale = controller(q, now), q.what["scale"]

    def solve(k: int, before: Solved | None) -> Solved:
        now[0] = k
        mpc.u0 = np.array([q.last[k]])
        if before is None:
            mpc.x0 = q.x0[k].ravel()
            mpc.set_initial_guess()
            # from constant states IPOPT does not always find its way: a course of the model, as the others begin with
            u = np.clip(np.full(q.stages, 0.25 * scale), q.low, q.high)
            course = (q.rolled(k, u) / q.size).reshape(q.stages + 1, -1)
            for j in range(q.stages):
                mpc.opt_x_num["_u", j, 0] = u[j] / scale
                mpc.opt_x_num["_x", j, 0, :-1] = [course[j + 1]] * (len(mpc.opt_x_num["_x", j, 0]) - 1)
                mpc.opt_x_num["_x", j + 1, 0, -1] = course[j + 1]
            mpc.opt_x_num["_x", 0, 0, -1] = course[0]
        elif k == 1:  # the chain begins anew
            mpc.opt_x_num.master = before.memory
        mpc.make_step(q.x0[k].reshape(-1, 1))
        moves = np.array([float(mpc.opt_x_num["_u", j, 0]) * scale for j in range(q.stages)])
        return Solved(np.clip(moves, q.low, q.high), ca.DM(mpc.opt_x_num.master) if before is None else None)

    return q.count, solve


if __name__ == "__main__":
    serve(chain(build), "do-mpc", "casadi", "numpy")
