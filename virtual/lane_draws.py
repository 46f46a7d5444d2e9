"""Random numbers for a whole block at once: the kernel form of `virtual.streams`, eight lanes in explicit vectors.

Numba does not vectorise Philox or the normal quantile by itself, and drawing one patient after another took most of a
propofol step. The kernel is called as every other one: ``kernel(seeds, patients, counts, –, –, out)``, the first
three 8 integers of 64 bits, ``out`` four rows of uniforms (the same bits as `streams.uniforms`) and then as many rows
of normals.

With 32 bits the quantile's far tail (beyond 1e-11) is never reached, so its third branch is left out here.
"""

from __future__ import annotations

from functools import lru_cache

from ..pkpd.vcode import Code, Real
from ..pkpd.vmath import Emit, vlog

__all__ = ["ROWS", "draws_kernel"]

ROWS = 8  # of ``out``
_MULTIPLIERS, _WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF

# Wichura 1988, AS 241 (PPND16): numerator and denominator from the constant term on
_CENTRE = (
    (3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125, 45921.953931549871457,
     67265.770927008700853, 33430.575583588128105, 2509.0809287301226727),
    (1.0, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
     39307.89580009271061, 28729.085735721942674, 5226.495278852545925),
)  # fmt: skip
_TAIL = (
    (1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
     1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4),
    (1.0, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459,
     0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9),
)  # fmt: skip


def _words(e: Emit, counter: list[str], key: list[str]) -> list[str]:
    """Ten rounds of Philox 4x32."""
    a, b, c, d = counter
    low, shift = e.iconst(_LOW), e.iconst(32)
    for _ in range(10):
        first, second = (e.int2("mul", v, e.iconst(m)) for v, m in zip((a, c), _MULTIPLIERS))
        a, b, c, d = (
            e.int2("xor", e.int2("xor", e.int2("lshr", second, shift), b), key[0]),
            e.int2("and", second, low),
            e.int2("xor", e.int2("xor", e.int2("lshr", first, shift), d), key[1]),
            e.int2("and", first, low),
        )
        key = [e.int2("and", e.int2("add", k, e.iconst(w)), low) for k, w in zip(key, _WEYL)]
    return [a, b, c, d]


def _uniform(e: Emit, word: str) -> str:
    """(word + ½) / 2³²: the word in the low bits of 2^52, from which 2^52 is taken off."""
    number = e.sub(e.double(e.int2("or", word, e.iconst(0x4330000000000000))), e.const(2.0**52))
    return e.mul(e.add(number, e.const(0.5)), e.const(2.0**-32))


def _normal(e: Emit, u: str) -> str:
    """The standard normal quantile, both branches in every lane."""
    q = e.sub(u, e.const(0.5))
    r = e.sub(e.const(0.180625), e.mul(q, q))
    centre = e.mul(q, e.div(e.horner(r, _CENTRE[0]), e.horner(r, _CENTRE[1])))
    size = e.call("fabs", q)
    s = e.call("sqrt", e.neg(vlog(e, e.sub(e.const(0.5), size))))
    s = e.sub(s, e.const(1.6))
    tail = e.call("copysign", e.div(e.horner(s, _TAIL[0]), e.horner(s, _TAIL[1])), q)
    return e.select(e.cmp("ole", size, e.const(0.425)), centre, tail)


@lru_cache(maxsize=64)
def draws_kernel(stream: int, normals: int) -> int:
    """Address of the kernel that draws from a stream: four uniforms, then ``normals`` (0 to 4) of them as normals."""
    c = Code()
    e, (seed, patient, count) = c.emit, (c.load_whole(array, 0).name for array in ("s", "x", "p"))
    low, shift = e.iconst(_LOW), e.iconst(32)
    counter = [e.int2("and", count, low), e.int2("lshr", count, shift), e.iconst(stream), e.int2("and", patient, low)]
    words = _words(e, counter, [e.int2("and", seed, low), e.int2("lshr", seed, shift)])
    values = [_uniform(e, w) for w in words]
    values += [_normal(e, u) for u in values[:normals]]
    for r, value in enumerate(values):
        c.store("out", r, Real(c, value))
    return c.address(f"draws of stream {stream}", "draws")
