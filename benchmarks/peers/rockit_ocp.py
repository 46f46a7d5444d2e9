"""The control problem in rockit, multiple shooting, solved by fatrop (Riccati recursions) through CasADi.

The last move is a state of its own, so that what a change of the move costs is a term of one stage, as fatrop wants it.
Draws of the patient are states of one large model. As C code (CasADi's ``jit``)
12 stages of Hovorka's model took 75 s to compile and a sixth off the time of a step: not done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
from ocp import Ocp, Solved, chain, read
from rockit import MultipleShooting
from rockit import Ocp as Rockit
from worker import serve


def function(q: Ocp) -> ca.Function:
    """Moves and states of the solution from the snapshot's numbers and a guess of both."""
    what, (N, D, n) = q.what, (q.stages, q.draws, q.x0.shape[2])
    size, scale, p = ca.DM(q.size), what["scale"], [ca.DM(a) for a in q.p]
    ocp = Rockit(T=N * what["interval"])
    z, before, v = ocp.state(D * n), ocp.state(), ocp.control()  # states and moves divided by their sizes
    start, held = ocp.parameter(D * n), ocp.parameter(q.held.shape[2], grid="control")
    given = ocp.parameter()
    offset, reference = ocp.parameter(D * q.offset.shape[2]), ocp.parameter()
    low, high = ocp.parameter(grid="control"), ocp.parameter(grid="control")
    open_ = ocp.parameter(grid="control")
    for parameter in (start, held, given, offset, reference, low, high, open_):
        ocp.set_value(parameter, 0)  # rockit wants one before it writes the problem out
    x = [z[d * n : (d + 1) * n] * size for d in range(D)]
    signal = q.signal(v * open_ * scale, held)
    ocp.set_der(z, ca.vertcat(*(q.rhs(0, x[d], p[d], signal) / size for d in range(D))))
    ocp.set_next(before, v)
    m = q.offset.shape[2]
    seen = [q.outputs(0, x[d], p[d]) + offset[d * m : (d + 1) * m] for d in range(D)]
    every = sum(q.goals(y) for y in seen)
    every += what["weight"] * (v - reference) ** 2 + what["change_weight"] * (v - before) ** 2
    ocp.add_objective(ocp.sum(every, grid="control", include_last=False))
    ocp.add_objective(ocp.at_tf(sum(q.goals(y, last=True) for y in seen)))
    ocp.subject_to(ocp.at_t0(z) == start)
    ocp.subject_to(ocp.at_t0(before) == given)
    ocp.subject_to(low <= (v <= high), include_last=False)
    quiet = {"print_time": False, "expand": True, "structure_detection": "auto", "fatrop": {"print_level": 0}}
    ocp.solver("fatrop", quiet)
    ocp.method(MultipleShooting(N=N, M=what["substeps"], intg="rk", expand=True))
    sample = lambda a, grid="control": ocp.sample(a, grid=grid)[1]  # noqa: E731
    moves, states = sample(v, "control-"), sample(z)
    lasts = sample(before)
    into = [
        start,
        sample(held, "control-"),
        given,
        offset,
        reference,
        sample(low, "control-"),
        sample(high, "control-"),
    ]
    return ocp.to_function("plan", [*into, sample(open_, "control-"), moves, states, lasts], [moves, states, lasts])


def build(job: dict[str, Any], folder: Path) -> tuple[int, Callable[[int, Any], Solved]]:
    q = read(folder)
    f, scale, N = function(q), q.what["scale"], q.stages
    free = q.high > q.low
    # a move that is bound to be 0 is multiplied by 0: an interior point wants room between the bounds
    low, high = (np.where(free, a, b) / scale for a, b in ((q.low, q.low.min()), (q.high, q.high.max())))

    def solve(k: int, before: Solved | None) -> Solved:
        if before is None:
            u = np.clip(np.full(N, 0.25 * scale), q.low, q.high)
            z = (q.rolled(k, u) / q.size).reshape(N + 1, -1)
            guess = (u / scale)[None], z.T, np.append(q.last[k], u)[None] / scale
        else:
            v, z, lasts = before.memory
            guess = tuple(q.shifted(a.T).T for a in (v, z, lasts))
        given = q.x0[k] / q.size
        got = f(
            given.ravel(),
            q.held[k].T,
            q.last[k] / scale,
            q.offset[k].ravel(),
            q.reference[k] / scale,
            low,
            high,
            free.astype(float),
            *guess,
        )
        memory = [np.array(a) for a in got]
        return Solved(np.clip(memory[0].ravel() * scale * free, q.low, q.high), memory)

    return q.count, solve


if __name__ == "__main__":
    serve(chain(build), "rockit-meco", "casadi", "numpy")
