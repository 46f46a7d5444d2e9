"""The quadratic program of a step, against DAQP."""

import casadi as ca
import numpy as np
import pytest
from doseloop.controller.quadratic import back, box, factor, rates


def program(rng, n, nd):
    A = np.tril(rng.normal(size=(n, n))) * np.exp(-np.arange(n) / 5) + 0.3 * np.eye(n)
    v = np.cumsum(rng.choice([-0.3, 0.3, 0.1, 0.0, -0.2], (n // nd, nd)), axis=0) + rng.uniform(0, 2)
    v = np.clip(v, 0, 5).ravel()
    return A.T @ A + 1e-3 * np.eye(n), 3 * rng.normal(size=n), v, -v, 5 - v


def daqp(H, g, low, high, D=None, most=None):
    n = len(g)
    D = np.zeros((0, n)) if D is None else D
    S = ca.conic("q", "daqp", {"h": ca.DM(H).sparsity(), "a": ca.DM(D).sparsity()}, {"error_on_fail": False})
    bounds = {} if most is None else {"lba": -most[0], "uba": most[1]}
    return np.array(S(h=H, g=g, a=D, lbx=low, ubx=high, **bounds)["x"]).ravel()


def space(n):
    return np.zeros((n, n)), *(np.zeros(n) for _ in range(3)), np.zeros(3 * n, dtype=np.int64)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 31])
def test_factor_solves(n):
    rng = np.random.Generator(np.random.Philox(key=[1, n]))
    H, g, *_ = program(rng, n, 1)
    U, y = H.copy(), g.copy()
    factor(U, n)
    back(U, n, y)
    np.testing.assert_allclose(H @ y, g, rtol=1e-9, atol=1e-9)


def test_bounds():
    rng = np.random.Generator(np.random.Philox(key=[2, 1]))
    for _ in range(100):
        n = int(rng.integers(1, 25))
        H, g, _, low, high = program(rng, n, 1)
        d = np.zeros(n)
        box(H, g, low, high, d, n, *space(n))
        np.testing.assert_allclose(d, daqp(H, g, low, high), atol=1e-8)
        assert ((d >= low) & (d <= high)).all()


def test_bounds_and_rates():
    rng = np.random.Generator(np.random.Philox(key=[3, 1]))
    for trial in range(100):
        n, nd = 24, 1 + trial % 2
        H, g, v, low, high = program(rng, n, nd)
        rate = np.array([0.3, 0.35])[:nd]
        d = np.zeros(n)
        box(H, g, low, high, d, n, *space(n))
        rates(H, g, low, high, d, n, nd, v, rate, *space(n))
        D = np.eye(n)[nd:] - np.eye(n)[:-nd]
        r = np.tile(rate, n)[nd:n]
        x = daqp(H, g, low, high, D, (r + D @ v, r - D @ v))
        mine, theirs = (0.5 * a @ H @ a + g @ a for a in (d, x))
        assert mine - theirs <= 1e-9 * (1 + abs(theirs))
        assert (np.abs(D @ (v + d)) <= r + 1e-12).all()
        assert ((d >= low) & (d <= high)).all()
