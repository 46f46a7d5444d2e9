"""Random numbers by counter: known answers, the quantile function, and that streams share nothing."""

import numpy as np
import pytest
from doseloop.pkpd.calls import call_kernel
from doseloop.pkpd.jit import jit
from doseloop.virtual import streams
from doseloop.virtual.lane_draws import ROWS, draws_kernel
from doseloop.virtual.streams import normal_of, philox, uniforms
from scipy import stats
from scipy.special import ndtri

# Random123's known answer tests (kat_vectors, philox4x32 with 10 rounds): counter, key, output
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, answer):
    assert tuple(int(w) for w in philox(*map(np.uint64, counter + key))) == answer


def draws(count, seed=7, patient=3, stream=streams.SENSOR):
    return np.array([uniforms(seed, patient, stream, k) for k in range(count)]).ravel()


def test_uniforms_are_uniform_and_never_0_or_1():
    u = draws(20_000)
    assert u.min() > 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / np.sqrt(len(u))


def test_the_ends_of_the_words_stay_inside():
    low, high = 0.5 * 2.0**-32, (2.0**32 - 0.5) * 2.0**-32
    assert 0 < low < high < 1
    assert abs(normal_of(low)) == pytest.approx(normal_of(high), rel=1e-9)
    assert 6.3 < normal_of(high) < 6.4


def test_quantiles_agree_with_scipy():
    u = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 4001), 10.0 ** -np.arange(1, 300), 1 - 10.0 ** -np.arange(1, 16)])
    u = u[u != 0.5]
    got = np.array([normal_of(v) for v in u])
    assert np.max(np.abs(got / ndtri(u) - 1)) < 1e-13
    assert normal_of(0.5) == 0.0


def test_normals_are_normal():
    z = np.array([normal_of(u) for u in draws(10_000, seed=11)])
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_seed_patient_stream_and_count_each_change_every_number():
    base = draws(50)
    for other in (draws(50, seed=8), draws(50, patient=4), draws(50, stream=streams.MEALS)):
        assert not set(base) & set(other)
    assert len(set(draws(2000))) == 8000
    assert (draws(50) == base).all()


def test_large_seeds_and_counts_use_all_their_bits():
    assert uniforms(1, 0, 1, 0) != uniforms(1 + 2**32, 0, 1, 0)
    assert uniforms(1, 0, 1, 0) != uniforms(1, 0, 1, 2**32)


def test_streams_have_different_numbers():
    names = [n for n in streams.__all__ if n.isupper()]
    assert len({getattr(streams, n) for n in names}) == len(names)


@jit
def run(kernel, seeds, patients, counts, out):
    call_kernel(kernel, seeds, patients, counts, 0, 0, out)


def test_the_kernel_of_a_block_draws_the_same():
    rng = np.random.default_rng(0)
    seeds, patients = rng.integers(-(2**62), 2**62, 8), rng.integers(0, 2**32, 8)
    out = np.zeros((ROWS, 8))
    for stream, normals in ((streams.SENSOR, 4), (streams.GAP, 1)):
        kernel = draws_kernel(stream, normals)
        for start in [*range(300), 2**31, 2**32 - 4, 2**40]:
            counts = start + np.arange(8)
            run(kernel, *(a.ctypes.data for a in (seeds, patients, counts, out)))
            for lane in range(8):
                u = uniforms(seeds[lane], patients[lane], stream, counts[lane])
                assert tuple(out[:4, lane]) == u
                z = [normal_of(v) for v in u[:normals]]
                np.testing.assert_allclose(out[4 : 4 + normals, lane], z, rtol=1e-14)
