"""diffrax on the problem of a folder: `vmap` over patients, `scan` over segments, one compilation for each method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from ivp import in_jax, read
from worker import serve

SOLVERS: dict[str, Callable[[], Any]] = {"Dopri8": dfx.Dopri8, "Tsit5": dfx.Tsit5, "Kvaerno5": dfx.Kvaerno5}


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    q = read(folder)
    rhs, outputs = in_jax(q)
    everybody = tuple(jnp.asarray(a) for a in (q.x0, q.p, q.u))
    columns, made = jnp.asarray(q.columns), {}
    steps = {"max_steps": 1_000_000}

    def controller(rtol: Any, atol: Any, jumps: Any = None) -> Any:
        pid = dfx.PIDController(rtol=rtol, atol=atol)
        return pid if jumps is None else dfx.ClipStepSizeController(pid, jump_ts=jumps)

    def held(solver: Any) -> Any:
        """Nothing jumps but inputs: one solution, which steps onto every edge."""
        edges, ts = jnp.asarray(q.edges), jnp.asarray(q.times)

        def now(t: Any, u: Any) -> Any:
            return u[jnp.clip(jnp.searchsorted(edges, t, side="right") - 1, 0, len(u) - 1)]

        term = dfx.ODETerm(lambda t, x, args: rhs(t, x, args[0], now(t, args[1])))

        def one(x0: Any, p: Any, u: Any, rtol: Any, atol: Any) -> Any:
            got = dfx.diffeqsolve(
                term, solver, edges[0], edges[-1], None, x0, (p, u), saveat=dfx.SaveAt(ts=ts),
                stepsize_controller=controller(rtol, atol, edges[1:-1]), **steps,
            )  # fmt: skip
            return jax.vmap(lambda t, x: outputs(t, x, p, now(t, u))[columns])(ts, got.ys)

        return one

    def dosed(solver: Any) -> Any:
        """A solution from dose to dose; long stretches in pieces, so that all are seen about equally often."""
        term = dfx.ODETerm(lambda t, x, args: rhs(t, x, *args))
        counts = np.diff(q.first)
        many = max(1, int(np.median(counts)))
        begin, end, jump, seen, which, kept = [], [], [], [], [], []
        for s, n in enumerate(counts):
            at = q.times[q.first[s] : q.first[s] + n]
            for k in range(0, max(n, 1), many):
                part = at[k : k + many]
                begin.append(q.edges[s] if k == 0 else at[k - 1])
                end.append(q.edges[s + 1] if k + many >= n else part[-1])
                jump.append(q.jump[s] * (k == 0))
                which.append(s)
                kept += [many * len(seen) + j for j in range(len(part))]
                seen.append(np.concatenate([part, np.full(many - len(part), end[-1])]))  # what is more is thrown away
        pieces = tuple(jnp.asarray(np.array(v)) for v in (begin, end, jump, seen))
        where, keep = jnp.asarray(which), jnp.asarray(kept)

        def one(x0: Any, p: Any, u: Any, rtol: Any, atol: Any) -> Any:
            def piece(x: Any, now: Any) -> Any:
                t0, t1, jump, ts, held = now
                got = dfx.diffeqsolve(
                    term, solver, t0, t1, None, x + jump, (p, held),
                    saveat=dfx.SaveAt(subs=[dfx.SubSaveAt(ts=ts), dfx.SubSaveAt(t1=True)]),
                    stepsize_controller=controller(rtol, atol), **steps,
                )  # fmt: skip
                levels, last = got.ys
                return last[-1], jax.vmap(lambda t, x: outputs(t, x, p, held)[columns])(ts, levels)

            _, y = jax.lax.scan(piece, x0, (*pieces, u[where]))
            return y.reshape(-1, len(q.columns))[keep]

        return one

    def run(how: dict[str, Any]) -> np.ndarray:
        name, n = how["method"], how["patients"]
        if name not in made:
            one = (dosed if q.jump.any() else held)(SOLVERS[name]())
            made[name] = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None, None)))
        return np.asarray(made[name](*(a[:n] for a in everybody), how["rtol"], how["atol"]))

    return run


if __name__ == "__main__":
    serve(start, "diffrax", "jax", "numpy")
