"""The matrix exponential kernel: entry by entry against mpmath at 60 digits, its edges, and its derivatives."""

import mpmath
import numpy as np
import pytest
from doseloop.pkpd.lanes import LANES
from doseloop.pkpd.model import Route
from doseloop.pkpd.system import System
from helpers_pk import call_address, make_model
from scipy.linalg import expm

mpf = mpmath.mpf


def chain(n):
    """a1 → a2 → … → an → out, with a way back from each and a loss from the last; doses into the first and last."""
    states = [f"a{i}" for i in range(n)]
    names = [f"k{i}" for i in range(n)] + [f"b{i}" for i in range(1, n)]

    def rhs(t, x, p, u):
        d = dict.fromkeys(states, 0.0)
        for i in range(n):
            out = getattr(p, f"k{i}") * getattr(x, states[i])
            d[states[i]] = d[states[i]] - out
            if i + 1 < n:
                d[states[i + 1]] = d[states[i + 1]] + out
                back = getattr(p, f"b{i + 1}") * getattr(x, states[i + 1])
                d[states[i + 1]] = d[states[i + 1]] - back
                d[states[i]] = d[states[i]] + back
        return d

    return make_model(
        f"chain{n}",
        dict.fromkeys(names, 1.0),
        states,
        rhs,
        {"c": lambda x, p: getattr(x, states[-1])},
        [Route("iv", states[0]), Route("last", states[-1])],
    )


def mp_matrix(n, p):
    """[[A, B, c], [0, 0, 0]] of `chain(n)`, at full precision, written anew."""
    M = mpmath.zeros(n + 3)
    k, b = p[:n], [0, *p[n:]]
    for i in range(n):
        M[i, i] -= mpf(k[i])
        if i + 1 < n:
            M[i + 1, i] += mpf(k[i])
        if i > 0:
            M[i, i] -= mpf(b[i])
            M[i - 1, i] += mpf(b[i])
    M[0, n] = M[n - 1, n + 1] = 1
    return M


def mp_exp(n, p, h):
    M = mp_matrix(n, p) * mpf(h)
    squarings = max(0, int(mpmath.log(max(1, mpmath.mnorm(M, 1)), 2)) + 8)
    M = M / mpf(2) ** squarings
    E = term = mpmath.eye(n + 3)
    for j in range(1, 24):
        term = term * M / j
        E = E + term
    for _ in range(squarings):
        E = E * E
    return E


def dense(E):
    return np.array(E.tolist(), dtype=float).reshape(E.rows, E.cols)


class Kernel:
    """The compiled propagator of a model, as dense matrices for up to 8 lanes."""

    def __init__(self, model, directions=0):
        self.S = System(model, directions)
        self.size = self.S.n + self.S.nu + 1
        self.rows, self.cols = (np.array(v) for v in self.S._pattern.get_triplet())

    def __call__(self, h, p):
        """(lanes, 1 + K, size, size) for steps h and parameter rows p, one for each of up to 8 lanes."""
        h, p = np.atleast_1d(np.asarray(h, dtype=float)), np.atleast_2d(np.asarray(p, dtype=float))
        count = max(len(h), len(p))
        scalars, P = np.ones((2, LANES)), np.ones((self.S.rows_p, LANES))
        scalars[0, :count], P[:, :count] = h, p.T
        out = np.full((self.S.rows_propagator, LANES), 7.0)
        call_address(self.S.kernel("propagator"), scalars, None, P, None, None, out)
        result = np.zeros((count, 1 + self.S.directions, self.size, self.size))
        entries = out.reshape(1 + self.S.directions, len(self.rows), LANES)
        for lane in range(count):
            result[lane][:, self.rows, self.cols] = entries[:, :, lane]
        return result


def largest_error(E, exact):
    """Largest relative error of an entry; entries below the normal range count absolutely."""
    exact = dense(exact)
    assert np.all(E[exact == 0] == 0)
    normal = np.abs(exact) > 1e-300
    assert np.all(np.abs(E - exact)[~normal] <= 1e-300)
    return np.max(np.abs(E - exact)[normal] / np.abs(exact)[normal])


def draws(n, count, seed, spread=1.0):
    """Rate constants, log-normal around 0.3/h."""
    return 0.3 * np.exp(np.random.default_rng(seed).normal(0, spread, (count, 2 * n - 1)))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_every_entry_to_1e_13_over_a_day(n):
    kernel = Kernel(chain(n))
    with mpmath.workdps(60):
        for h in (1e-12, 1e-7, 1e-3, 0.04, 0.5, 1.0, 4.0, 24.0):
            p = draws(n, 4, n)
            for E, row in zip(kernel(h, p)[:, 0], p):
                assert largest_error(E, mp_exp(n, row, h)) <= 1e-13, (h, row)


def size_of(n, p, h):
    """ν h: the norm of the shifted matrix that sets the number of squarings."""
    A = dense(mp_matrix(n, p))[:n, :n]
    return h * np.abs(A + np.eye(n) * np.max(-np.diag(A), initial=0.0)).sum(axis=0).max()


@pytest.mark.parametrize("n", [1, 3, 5])
def test_every_entry_over_weeks_and_when_stiff(n):
    """Squaring doubles a rounding error each time: 2e-15 · ν h where that exceeds 1e-13."""
    kernel = Kernel(chain(n))
    with mpmath.workdps(80):
        for h, spread in ((24.0, 2.0), (168.0, 1.0), (1000.0, 1.0), (2000.0, 2.0)):
            p = draws(n, 3, 10 + n, spread)
            for E, row in zip(kernel(h, p)[:, 0], p):
                limit = max(1e-13, 2e-15 * size_of(n, row, h))
                assert largest_error(E, mp_exp(n, row, h)) <= limit, (h, row)


@pytest.mark.parametrize("n", [2, 5])
def test_scipy_agrees(n):
    kernel = Kernel(chain(n))
    p = draws(n, 8, 3)
    for h in (0.1, 1.0, 12.0):
        for E, row in zip(kernel(h, p)[:, 0], p):
            expected = expm(dense(mp_matrix(n, row)) * h)
            assert np.max(np.abs(E - expected)) <= 2e-13 * np.max(expected)


def test_a_step_of_zero_is_the_identity_to_the_bit():
    for n, K in ((1, 0), (5, 0), (3, 2)):
        kernel = Kernel(chain(n), K)
        p = np.hstack([draws(n, 8, 1), np.ones((8, K * (2 * n - 1)))])
        E = kernel(0.0, p)
        assert np.array_equal(E[:, 0], np.tile(np.eye(kernel.size), (8, 1, 1)))
        assert not E[:, 1:].any()


def test_a_tiny_step_keeps_small_entries():
    """The far end of the chain after a minute-fraction: h⁴/24 times the rates, to the last digits."""
    p = draws(5, 1, 2)[0]
    h = 1e-10
    E = Kernel(chain(5))(h, p)[0, 0]
    assert E[4, 0] == pytest.approx(np.prod(p[:4]) * h**4 / 24, rel=1e-9)
    assert E[4, 0] > 0


def test_a_huge_step_ends_in_the_infusion_steady_state():
    for n in (1, 3, 5):
        p = draws(n, 1, 5)[0]
        for h in (1e4, 1e6, 1e7):
            E = Kernel(chain(n))(h, p)[0, 0]
            A, B = dense(mp_matrix(n, p))[:n, :n], dense(mp_matrix(n, p))[:n, n : n + 2]
            assert np.all(np.abs(E[:n, :n]) <= 1e-12)
            assert np.max(np.abs(E[:n, n : n + 2] / -np.linalg.solve(A, B) - 1)) <= 1e-12, (n, h)


def test_everything_stays_between_0_and_1():
    """An amount is not made, and does not turn negative: columns are ≥ 0 and sum to at most 1."""
    rng = np.random.default_rng(8)
    kernel = Kernel(chain(5))
    for _ in range(40):
        E = kernel(10 ** rng.uniform(-8, 5, 8), 10 ** rng.uniform(-4, 3, (8, 9)))[:, 0, :5, :5]
        assert (E >= 0).all()
        assert (E.sum(axis=1) <= 1 + 1e-12).all()


def test_two_half_steps_make_one():
    p = draws(4, 8, 9)
    kernel = Kernel(chain(4))
    half, whole = kernel(1.3, p)[:, 0], kernel(2.6, p)[:, 0]
    assert np.allclose(half @ half, whole, rtol=1e-13, atol=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_lane_is_nan_and_touches_no_other(bad):
    kernel = Kernel(chain(3))
    p = draws(3, 8, 4)
    good = kernel(2.0, p)[:, 0]
    for lane in range(8):
        q = p.copy()
        q[lane, 1] = bad
        E = kernel(2.0, q)[:, 0]
        others = np.arange(8) != lane
        assert np.array_equal(E[others], good[others])
        assert np.isnan(E[lane][:3, :3]).any()
        h = np.full(8, 2.0)
        h[lane] = bad
        E = kernel(h, p)[:, 0]
        assert np.array_equal(E[others], good[others])
        assert np.isnan(E[lane][:3, :3]).any()


def test_a_lane_s_bits_do_not_depend_on_its_neighbours_steps():
    """Each lane squares as often as it needs: a neighbour that needs 30 squarings changes nothing."""
    kernel = Kernel(chain(4), 1)
    p = np.hstack([draws(4, 8, 6), np.ones((8, 7))])
    steps = np.array([0.0, 1e-9, 0.3, 1.0, 24.0, 500.0, 1e4, 1e7])
    together = kernel(steps, p)
    for lane in range(8):
        alone = kernel(np.full(8, steps[lane]), np.tile(p[lane], (8, 1)))
        assert all(np.array_equal(alone[i], together[lane]) for i in range(8))


@pytest.mark.parametrize(("n", "h"), [(1, 3.0), (3, 0.01), (3, 1.0), (3, 24.0), (5, 6.0)])
def test_derivatives_against_mpmath(n, h):
    """∂exp(Ah)/∂p in two directions at once, by a difference of 60-digit numbers (step 1e-25)."""
    rng = np.random.default_rng(20 + n)
    m = 2 * n - 1
    p, V = draws(n, 1, 30 + n)[0], rng.normal(size=(2, m)) * 0.3
    E = Kernel(chain(n), 2)(h, np.concatenate([p, *V]))[0]
    with mpmath.workdps(70):
        for k in range(2):
            e = mpf(10) ** -25
            up = mp_exp(n, [mpf(a) + e * mpf(v) for a, v in zip(p, V[k])], h)
            down = mp_exp(n, [mpf(a) - e * mpf(v) for a, v in zip(p, V[k])], h)
            exact = dense((up - down) / (2 * e))
            size = np.maximum(np.abs(exact), 0.01 * dense(up))
            error = np.max(np.abs(E[1 + k] - exact)[exact != 0] / size[exact != 0])
            assert error <= 1e-12, (k, error)
            assert not E[1 + k][exact == 0].any()
