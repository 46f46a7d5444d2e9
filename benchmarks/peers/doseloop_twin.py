"""doseloop's MAP and posterior on a case of benchmarks/twin_cases.py, and SciPy's optimisers on the same likelihood.

SciPy's optimisers see doseloop's compiled −log posterior; their gradients and Hessians are central differences whose
points are all evaluated by one call, which is more than a user of `minimize` would get by default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from doseloop.twin.cohort import Cohort
from doseloop.twin.layout import lay_out
from doseloop.twin.posterior import posterior, starting_points
from scipy.optimize import minimize
from twin_cases import CASES
from worker import serve


def derivatives(objective: Callable[[np.ndarray], np.ndarray], K: int, h: float = 1e-4) -> tuple[Any, Any]:
    """Gradient and Hessian by central differences, each by one call."""
    step = h * np.eye(K)
    pairs = [(i, j) for i in range(K) for j in range(i)]
    cross = np.array([[s * step[i] + t * step[j] for s in (1, -1) for t in (1, -1)] for i, j in pairs])

    def gradient(x: np.ndarray) -> np.ndarray:
        f = objective(x + np.concatenate([step, -step]))
        return (f[:K] - f[K:]) / (2 * h)

    def hessian(x: np.ndarray) -> np.ndarray:
        points = np.concatenate([x[None], x + step, x - step, *(x + c for c in cross)])
        f = objective(points)
        H = np.diag((f[1 : K + 1] - 2 * f[0] + f[K + 1 : 2 * K + 1]) / h**2)
        for k, (i, j) in enumerate(pairs):
            a, b, c, d = f[2 * K + 1 + 4 * k : 2 * K + 5 + 4 * k]
            H[i, j] = H[j, i] = (a - b - c + d) / (4 * h**2)
        return H

    return gradient, hessian


def start(folder: Path) -> Callable[[dict[str, Any]], np.ndarray]:
    case = CASES[(folder / "name.txt").read_text(encoding="utf-8")]()
    everybody = Cohort([lay_out(case.model, r) for r in case.records])
    alone = [Cohort([lay_out(case.model, r)]) for r in case.records]
    starts, K, n = starting_points(case.model.omega), everybody.K, len(case.records)
    zero, eight = np.zeros((1, K)), np.zeros(8, dtype=np.int64)

    def best(fit: dict[str, np.ndarray]) -> np.ndarray:
        f = fit["f"].reshape(-1, len(starts))
        return fit["eta"].reshape(len(f), -1, K)[np.arange(len(f)), f.argmin(axis=1)]

    def scipy(method: str, count: int) -> np.ndarray:
        found = []
        for c in alone[:count]:
            one = lambda x, c=c: c.objective(0, np.atleast_2d(x))  # noqa: E731
            gradient, hessian = derivatives(one, K)
            more = {} if method == "Nelder-Mead" else {"jac": gradient}
            more |= {"hess": hessian} if method.startswith("trust") else {}
            found.append(minimize(lambda x, f=one: f(x)[0], zero[0], method=method, **more).x)
        return np.array(found)

    def draws(count: int, each: int) -> np.ndarray:
        """Mean, SD, 5, 50 and 95 % of every effect, and the effective draws as a last column; (patients, 6, K)."""
        out = []
        for r in case.records[:count]:
            part = posterior([case.model], r, draws=each).parts[0]
            mean = part.weights @ part.eta
            sd = np.sqrt(part.weights @ (part.eta - mean) ** 2)
            q = [np.quantile(part.eta[:, k], [0.05, 0.5, 0.95], weights=part.weights, method="inverted_cdf")
                 for k in range(K)]  # fmt: skip
            size = part.ess if part.chains is None else part.chains.ess
            out.append(np.stack([mean, sd, *np.array(q).T, np.full(K, size)]))
        return np.array(out)

    def run(job: dict[str, Any]) -> np.ndarray:
        what, count = job["what"], job["patients"]
        if what == "cohort, 1 start":
            return everybody.fit(np.arange(n), np.zeros((n, K)))["eta"]
        if what == "cohort, 8 starts":
            return best(everybody.fit(np.repeat(np.arange(n), 8), np.tile(starts, (n, 1))))
        if what == "alone, 1 start":
            return np.concatenate([c.fit(eight[:1], zero)["eta"] for c in alone[:count]])
        if what == "alone, 8 starts":
            return np.concatenate([best(c.fit(eight, starts)) for c in alone[:count]])
        if what == "alone, 8 starts, from the record":
            cohorts = [Cohort([lay_out(case.model, r)]) for r in case.records[:count]]
            return np.concatenate([best(c.fit(eight, starts)) for c in cohorts])
        if what == "posterior":
            return draws(count, job["draws"])
        if what == "objective":
            return np.array([c.objective(0, np.array(e)) for c, e in zip(alone, job["eta"])])
        return scipy(what, count)

    return run


if __name__ == "__main__":
    serve(start, "doseloop", "numba", "scipy", "numpy")
