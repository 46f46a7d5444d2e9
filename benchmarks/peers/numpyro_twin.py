"""NumPyro's NUTS on the patients of a folder: the posterior's truth.

The equations are doseloop's trace, written out as straight-line Python; how time is advanced (matrix exponential of
linear models, RK4 at steps of 0.1 h of the others), the likelihood and the sampler are JAX's and NumPyro's own.
Effects are sampled standardised by the prior's Cholesky factor.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from ivp import function, jax_words
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS
from worker import serve

WARMUP = 500
LONGEST = 0.1  # h: a step of RK4


def exponential(M: Any) -> Any:
    """exp of many small matrices: Taylor's sum of degree 12 at a 1,024th, squared ten times.

    (`jax.scipy.linalg.expm` computes all its Padé branches under `vmap`; this is several times faster here.)
    """
    M, eye = M / 1024, jnp.eye(M.shape[-1])
    E = eye + M / 12
    for k in range(11, 0, -1):
        E = eye + M @ E / k
    for _ in range(10):
        E = E @ E
    return E


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    about = json.loads((folder / "equations.json").read_text(encoding="utf-8"))
    with np.load(folder / "patients.npz") as data:
        patients = {k: jnp.asarray(data[k], dtype=int if k == "at" else float) for k in data.files}
    words = jax_words()
    individual_, rhs_, outputs_ = (function(about[k], words) for k in ("individual", "rhs", "outputs"))
    omega, (kind, a, b) = patients.pop("omega"), np.asarray(patients.pop("residual"))
    L, K, n = jnp.linalg.cholesky(omega), len(omega), about["states"]
    steps = max(1, int(np.ceil(float(patients["dt"].max()) / LONGEST)))

    def rhs(x: Any, p: Any, u: Any) -> Any:
        return jnp.stack([jnp.asarray(v, dtype=float) for v in rhs_([0.0, 0.0], x, p, u, [])])

    def advance(x: Any, p: Any, dt: Any, u: Any) -> Any:
        """RK4."""
        h = dt / steps

        def step(x: Any, _: Any) -> Any:
            k1 = rhs(x, p, u)
            k2 = rhs(x + h / 2 * k1, p, u)
            k3 = rhs(x + h / 2 * k2, p, u)
            k4 = rhs(x + h * k3, p, u)
            return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return jax.lax.scan(step, x, None, length=steps)[0]

    def levels(eta: Any, q: dict[str, Any]) -> Any:
        p = jnp.stack([jnp.asarray(v, dtype=float) for v in individual_([], eta, q["p"], [], [])])
        zero = jnp.zeros(n)
        if about["linear"]:
            A = jax.jacfwd(lambda x: rhs(x, p, jnp.zeros(q["u"].shape[1])))(zero)
            drive = jax.vmap(lambda u: rhs(zero, p, u))(q["u"])  # (segments, states)
            M = jnp.zeros((len(drive), n + 1, n + 1)).at[:, :n, :n].set(A).at[:, :n, n].set(drive)
            E = exponential(M * q["dt"][:, None, None])

            def go(x: Any, now: Any) -> Any:
                E, jump = now
                x = E[:n, :n] @ (x + jump) + E[:n, n]
                return x, x

            _, X = jax.lax.scan(go, zero, (E, q["jump"]))
        else:

            def march(x: Any, now: Any) -> Any:
                dt, jump, u = now
                x = advance(x + jump, p, dt, u)
                return x, x

            _, X = jax.lax.scan(march, zero, (q["dt"], q["jump"], q["u"]))
        return jax.vmap(lambda x: outputs_([0.0, 0.0], x, p, q["u"][0], [])[0])(X[q["at"]])

    def minus_log_likelihood(eta: Any, q: dict[str, Any]) -> Any:
        there = ~jnp.isnan(q["y"])
        f, y = levels(eta, q), jnp.where(there, q["y"], 1.0)
        if kind == 1:
            each = -dist.LogNormal(jnp.log(f), a).log_prob(y)
        else:
            each = -dist.Normal(f, jnp.sqrt(a**2 + (b * f) ** 2)).log_prob(y)
        return jnp.sum(jnp.where(there, each, 0.0))

    def model(q: dict[str, Any]) -> None:
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([K]).to_event(1))
        numpyro.factor("levels", -minus_log_likelihood(L @ z, q))

    prior = dist.MultivariateNormal(jnp.zeros(K), covariance_matrix=omega)
    objective = jax.jit(jax.vmap(lambda e, q: minus_log_likelihood(e, q) - prior.log_prob(e), in_axes=(0, None)))
    made: dict[int, MCMC] = {}

    def one(i: int, draws: int, seed: int) -> np.ndarray:
        if draws not in made:
            made[draws] = MCMC(
                NUTS(model), num_warmup=WARMUP, num_samples=draws, num_chains=1, progress_bar=False, jit_model_args=True
            )
        q = {k: v[i] for k, v in patients.items()}
        made[draws].run(jax.random.PRNGKey(seed), q)
        eta = np.asarray(made[draws].get_samples()["z"] @ L.T)
        chains = eta.reshape(4, -1, K)  # quarters of the one chain
        size, rhat = effective_sample_size(eta[None]).min(), split_gelman_rubin(chains).max()
        return np.stack(
            [eta.mean(axis=0), eta.std(axis=0), *np.quantile(eta, [0.05, 0.5, 0.95], axis=0), np.full(K, size),
             np.full(K, rhat)]
        )  # fmt: skip

    def run(job: dict[str, Any]) -> np.ndarray:
        if job["what"] == "objective":
            each = [objective(jnp.asarray(e), {k: v[i] for k, v in patients.items()}) for i, e in enumerate(job["eta"])]
            return np.array(each)
        return np.array([one(i, job["draws"], job.get("seed", 0)) for i in range(job["patients"])])

    return run


if __name__ == "__main__":
    serve(start, "numpyro", "jax", "numpy")
