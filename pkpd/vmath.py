"""exp, log, tanh and pow on explicit vector lanes, as LLVM IR text.

LLVM's wheels carry no vector maths library, so each word is written out here as straight-line code on ``<W x double>``:
reduction, polynomial, select. Nothing may be re-ordered (no fast-math flag), a NaN stays a NaN, and 0, ±inf and
subnormals come out as IEEE 754 and C's Annex F say. ``tests/test_vmath.py`` holds each to ≤ 2 ulp against mpmath.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

LN2_HI = 6.93147180369123816490e-01  # ln 2 with its last 21 bits zero, so that k·LN2_HI is exact (fdlibm)
LN2_LO = 1.90821492927058770002e-10
LOG2E = 1.4426950408889634074

# (tanh(√z)/√z − 1)/z on 0 ≤ z ≤ 0.3026: mpmath.chebyfit at 60 digits, 11 terms, largest error 7.7e-18.
TANH = (
    -0.33333333333333332558,
    0.13333333333332712905,
    -0.053968253967431738911,
    0.021869488493563038118,
    -0.0088632343954180955945,
    0.003592110347096176598,
    -0.0014556615775702363613,
    0.00058893480724470277213,
    -0.00023463104528300405602,
    0.000085107079273541127234,
    -0.000020598556673275166703,
)


# (exp r − 1 − r)/r² on |r| ≤ ln2/2: mpmath.chebyfit at 60 digits, 11 terms; rounded so, exp errs by 3.4e-19.
EXP = (
    0.5,
    0.1666666666666667,
    0.04166666666666667,
    0.008333333333326141,
    0.0013888888888883752,
    0.00019841269874800512,
    2.4801587325533377e-05,
    2.7557255425720897e-06,
    2.75572736613304e-07,
    2.510520638458724e-08,
    2.091467938417506e-09,
)


class Emit:
    """Writes one function body: every method appends one line and returns the name of the value."""

    def __init__(self, lanes: int) -> None:
        self.w = lanes
        self.V = f"<{lanes} x double>"
        self.I = f"<{lanes} x i64>"
        self.B = f"<{lanes} x i1>"
        self.lines: list[str] = []
        self.intrinsics: set[str] = set()
        self.n = 0

    def op(self, text: str) -> str:
        """Append ``%vN = text``."""
        self.n += 1
        name = f"%v{self.n}"
        self.lines.append(f"  {name} = {text}")
        return name

    def const(self, value: float) -> str:
        """The same double in every lane, written by its bits so that no digit is lost."""
        bits = struct.unpack("<Q", struct.pack("<d", float(value)))[0]
        return "<" + ", ".join([f"double 0x{bits:016X}"] * self.w) + ">"

    def iconst(self, value: int) -> str:
        """The same 64-bit integer in every lane."""
        return "<" + ", ".join([f"i64 {value}"] * self.w) + ">"

    def add(self, a: str, b: str, flags: str = "") -> str:
        """a + b."""
        return self.op(f"fadd {flags}{self.V} {a}, {b}")

    def sub(self, a: str, b: str, flags: str = "") -> str:
        """a − b."""
        return self.op(f"fsub {flags}{self.V} {a}, {b}")

    def mul(self, a: str, b: str, flags: str = "") -> str:
        """a · b."""
        return self.op(f"fmul {flags}{self.V} {a}, {b}")

    def div(self, a: str, b: str) -> str:
        """a / b."""
        return self.op(f"fdiv {self.V} {a}, {b}")

    def neg(self, a: str) -> str:
        """−a."""
        return self.op(f"fneg {self.V} {a}")

    def cmp(self, how: str, a: str, b: str) -> str:
        """Lane by lane comparison (``how`` as in LLVM: ogt, olt, uno, …)."""
        return self.op(f"fcmp {how} {self.V} {a}, {b}")

    def select(self, c: str, a: str, b: str) -> str:
        """a where c holds, else b."""
        return self.op(f"select {self.B} {c}, {self.V} {a}, {self.V} {b}")

    def call(self, name: str, *args: str) -> str:
        """An LLVM intrinsic such as ``sqrt``, ``fabs``, ``rint``, ``fma`` on the whole vector."""
        full = f"llvm.{name}.v{self.w}f64"
        self.intrinsics.add(f"declare {self.V} @{full}({', '.join([self.V] * len(args))})")
        return self.op(f"call {self.V} @{full}({', '.join(f'{self.V} {a}' for a in args)})")

    def fma(self, a: str, b: str, c: str) -> str:
        """a · b + c, rounded once."""
        return self.call("fma", a, b, c)

    def bits(self, a: str) -> str:
        """The bits of the doubles as integers."""
        return self.op(f"bitcast {self.V} {a} to {self.I}")

    def double(self, a: str) -> str:
        """The doubles with these bits."""
        return self.op(f"bitcast {self.I} {a} to {self.V}")

    def int2(self, how: str, a: str, b: str) -> str:
        """An operation on two integer vectors."""
        return self.op(f"{how} {self.I} {a}, {b}")

    def horner(self, x: str, coefficients: tuple[float, ...] | list[float]) -> str:
        """c0 + c1 x + c2 x² + …, by fused multiply-add from the last."""
        p = self.const(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            p = self.fma(p, x, self.const(c))
        return p

    def polynomial(self, x: str, coefficients: tuple[float, ...] | list[float]) -> str:
        """c0 + c1 x + c2 x² + …, by fused multiply-add.

        Pairs, then pairs of pairs (Estrin): a step of a model waits for its longest chain, and Horner's is one
        operation a coefficient long.
        """
        terms = [self.const(c) for c in coefficients]
        power = x
        while len(terms) > 1:
            odd = [terms[-1]] if len(terms) % 2 else []
            terms = [self.fma(power, b, a) for a, b in zip(terms[::2], terms[1::2])] + odd
            if len(terms) > 1:
                power = self.mul(power, power)
        return terms[0]


def _exp_parts(e: Emit, hi: str, lo: str | None) -> str:
    """exp(hi + lo) with lo a small correction; saturates to 0 and inf, keeps NaN."""
    x = hi
    # exp(710) overflows to inf and exp(-746) rounds to 0 by themselves; a NaN passes both selects
    x = e.select(e.cmp("ogt", x, e.const(710.0)), e.const(710.0), x)
    x = e.select(e.cmp("olt", x, e.const(-746.0)), e.const(-746.0), x)
    # the nearest whole number k: added to 1.5·2^52 it stands in the low bits (conversions of doubles to 64-bit
    # integers have no vector instruction before AVX-512); 2046 more, so that k + 2046 is positive
    shifted = e.fma(x, e.const(LOG2E), e.const(1.5 * 2.0**52 + 2046))
    k = e.sub(shifted, e.const(1.5 * 2.0**52 + 2046))
    r = e.fma(k, e.const(-LN2_HI), x)
    r = e.fma(k, e.const(-LN2_LO), r)
    if lo is not None:
        r = e.add(r, lo)
    p = e.add(e.const(1.0), e.fma(e.mul(r, r), e.polynomial(r, EXP), r))
    # two factors 2^⌊k/2⌋ and 2^(k − ⌊k/2⌋), so that a result near the overflow bound or below the normal range is
    # scaled and rounded once; the shift to the exponent's place drops the bits of 1.5·2^52
    both = e.bits(shifted)
    half = e.int2("lshr", both, e.iconst(1))
    rest = e.int2("sub", both, half)
    factors = [e.double(e.int2("shl", bits, e.iconst(52))) for bits in (half, rest)]
    return e.mul(e.mul(p, factors[0]), factors[1])


def vexp(e: Emit, x: str) -> str:
    """exp(x)."""
    return _exp_parts(e, x, None)


def _split(e: Emit, x: str) -> tuple[str, str]:
    """x = 2^k · m with m in [√½, √2): (m, k as double); x must be positive and finite."""
    tiny = e.cmp("olt", x, e.const(2.2250738585072014e-308))
    x = e.select(tiny, e.mul(x, e.const(2.0**54)), x)
    b = e.bits(x)
    # shift the cut from [1, 2) to [√½, √2): fdlibm's trick of adding the distance before taking the exponent
    shifted = e.int2("add", b, e.iconst(0x3FF0000000000000 - 0x3FE6A09E667F3BCD))
    biased = e.int2("lshr", shifted, e.iconst(52))
    m = e.double(e.int2("sub", b, e.int2("shl", e.int2("sub", biased, e.iconst(1023)), e.iconst(52))))
    # a whole number below 2^52, set into the low bits of 2^52, is a double without a conversion
    k = e.sub(e.double(e.int2("or", biased, e.iconst(0x4330000000000000))), e.const(2.0**52 + 1023))
    return m, e.sub(k, e.select(tiny, e.const(54.0), e.const(0.0)))


# 2 atanh(s) = 2s + s·R(s²) with R = 2/3 s² + 2/5 s⁴ + …, |s| ≤ 0.1716: fdlibm's minimax Lg1…Lg7, |error| < 2^-58
_LG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)


def _log_edges(e: Emit, x: str, y: str) -> str:
    y = e.select(e.cmp("oeq", x, e.const(0.0)), e.const(-math.inf), y)
    y = e.select(e.cmp("olt", x, e.const(0.0)), e.const(math.nan), y)
    y = e.select(e.cmp("oeq", x, e.const(math.inf)), e.const(math.inf), y)
    return e.select(e.cmp("uno", x, x), x, y)


def vlog(e: Emit, x: str) -> str:
    """log(x)."""
    m, k = _split(e, x)
    f = e.sub(m, e.const(1.0))
    s = e.div(f, e.add(f, e.const(2.0)))
    z = e.mul(s, s)
    r = e.mul(z, e.polynomial(z, _LG))
    h = e.mul(e.const(0.5), e.mul(f, f))
    inner = e.fma(s, e.add(h, r), e.mul(k, e.const(LN2_LO)))
    y = e.fma(k, e.const(LN2_HI), e.sub(f, e.sub(h, inner)))
    return _log_edges(e, x, y)


def vtanh(e: Emit, x: str) -> str:
    """tanh(x): an odd polynomial below 0.55, 1 − 2/(e^{2|x|} + 1) above."""
    a = e.call("fabs", x)
    z = e.mul(x, x)
    small = e.fma(e.mul(x, z), e.polynomial(z, TANH), x)
    d = e.add(vexp(e, e.add(a, a)), e.const(1.0))
    big = e.sub(e.const(1.0), e.div(e.const(2.0), d))
    return e.call("copysign", e.select(e.cmp("olt", a, e.const(0.55)), small, big), x)


def _two_product(e: Emit, a: str, b: str) -> tuple[str, str]:
    p = e.mul(a, b)
    return p, e.fma(a, b, e.neg(p))


def _fast_two_sum(e: Emit, a: str, b: str) -> tuple[str, str]:
    s = e.add(a, b)
    return s, e.sub(b, e.sub(s, a))


def _two_sum(e: Emit, a: str, b: str) -> tuple[str, str]:
    s = e.add(a, b)
    bb = e.sub(s, a)
    return s, e.add(e.sub(a, e.sub(s, bb)), e.sub(b, bb))


def _log_double(e: Emit, x: str) -> tuple[str, str]:
    """log(x) as an unevaluated sum of two doubles, relative error below 2^-63, for x positive and finite."""
    m, k = _split(e, x)
    f = e.sub(m, e.const(1.0))  # exact
    d_hi, d_lo = _two_sum(e, f, e.const(2.0))
    inverse = e.div(e.const(1.0), d_hi)
    s_hi = e.mul(f, inverse)
    # residual of the quotient, exactly: f − s·d_hi by fma, then d_lo
    s_lo = e.mul(e.fma(e.neg(s_hi), d_lo, e.fma(e.neg(s_hi), d_hi, f)), inverse)
    z_hi, z_lo = _two_product(e, s_hi, s_hi)
    z_lo = e.fma(e.add(s_hi, s_hi), s_lo, z_lo)
    # 2 atanh s = 2s·(1 + z·(1/3 + z·t)), t = 1/5 + z/7 + …; 1/3 and its product with z in two doubles
    t = e.polynomial(z_hi, [1 / (2 * j + 5) for j in range(12)])
    third = 1 / 3
    c_hi, c_err = _fast_two_sum(e, e.const(third), e.mul(z_hi, t))
    c_lo = e.add(c_err, e.const(float.fromhex("0x1.5555555555555p-56")))  # 1/3 − double(1/3)
    q_hi, q_lo = _two_product(e, z_hi, c_hi)
    q_lo = e.fma(z_hi, c_lo, e.fma(z_lo, c_hi, q_lo))
    one_hi, one_lo = _fast_two_sum(e, e.const(1.0), q_hi)
    one_lo = e.add(one_lo, q_lo)
    s2_hi, s2_lo = e.add(s_hi, s_hi), e.add(s_lo, s_lo)
    y_hi, y_lo = _two_product(e, s2_hi, one_hi)
    y_lo = e.fma(s2_hi, one_lo, e.fma(s2_lo, one_hi, y_lo))
    # + k ln2; k·LN2_HI is exact
    a_hi, a_lo = _two_sum(e, e.mul(k, e.const(LN2_HI)), y_hi)
    a_lo = e.add(a_lo, e.fma(k, e.const(LN2_LO), y_lo))
    # ln 2 beyond LN2_HI + LN2_LO (2^-97 of it): k·1.16e-26 is under 2^-76, below what we keep
    return _fast_two_sum(e, a_hi, a_lo)


def vpow(e: Emit, x: str, y: str) -> str:
    """pow(x, y) with C's rules for 0, inf, NaN and a negative base with an integral exponent."""
    ax = e.call("fabs", x)
    one, zero, inf = e.const(1.0), e.const(0.0), e.const(math.inf)
    usable = e.op(f"and {e.B} {e.cmp('ogt', ax, zero)}, {e.cmp('olt', ax, inf)}")
    base = e.select(usable, ax, one)
    l_hi, l_lo = _log_double(e, base)
    # keep y finite and the product representable for the error-free product; the result saturates all the same
    yc = e.select(e.cmp("ogt", y, e.const(1e300)), e.const(1e300), y)
    yc = e.select(e.cmp("olt", yc, e.const(-1e300)), e.const(-1e300), yc)
    p_hi = e.mul(yc, l_hi)
    far = e.cmp("ogt", e.call("fabs", p_hi), e.const(800.0))
    p_lo = e.fma(yc, l_lo, e.fma(yc, l_hi, e.neg(p_hi)))
    p_lo = e.select(far, zero, p_lo)
    r = _exp_parts(e, p_hi, p_lo)
    # |x| of 0 and inf
    y_pos, y_neg = e.cmp("ogt", y, zero), e.cmp("olt", y, zero)
    x_zero, x_inf = e.cmp("oeq", ax, zero), e.cmp("oeq", ax, inf)
    r = e.select(x_zero, e.select(y_pos, zero, inf), r)
    r = e.select(x_inf, e.select(y_neg, zero, inf), r)
    # infinite exponents: decided by |x| against 1
    y_inf = e.cmp("oeq", e.call("fabs", y), inf)
    grows = e.op(f"xor {e.B} {e.cmp('olt', ax, one)}, {y_pos}")
    r = e.select(y_inf, e.select(grows, inf, zero), r)
    # a negative base: real only for integral y, odd ones keep the sign
    whole = e.cmp("oeq", e.call("rint", y), y)
    h = e.mul(y, e.const(0.5))
    odd = e.op(f"and {e.B} {whole}, {e.cmp('une', e.call('rint', h), h)}")
    sign_bit = e.cmp("olt", e.call("copysign", one, x), zero)
    negative = e.op(f"and {e.B} {odd}, {sign_bit}")
    r = e.select(negative, e.neg(r), r)
    not_real = e.op(f"and {e.B} {e.cmp('olt', x, zero)}, {e.cmp('une', e.call('rint', y), y)}")
    finite_x = e.cmp("olt", ax, inf)
    not_real = e.op(f"and {e.B} {not_real}, {finite_x}")
    r = e.select(not_real, e.const(math.nan), r)
    nan = e.op(f"or {e.B} {e.cmp('uno', x, x)}, {e.cmp('uno', y, y)}")
    r = e.select(nan, e.const(math.nan), r)
    # pow(x, 0) and pow(1, y) are 1 even for a NaN; so is pow(−1, ±inf)
    r = e.select(e.cmp("oeq", y, zero), one, r)
    r = e.select(e.cmp("oeq", x, one), one, r)
    unit = e.op(f"and {e.B} {y_inf}, {e.cmp('oeq', ax, one)}")
    return e.select(unit, one, r)


WORDS: dict[str, tuple[int, Callable[..., str]]] = {
    "exp": (1, vexp),
    "log": (1, vlog),
    "tanh": (1, vtanh),
    "pow": (2, vpow),
}


def definition(word: str, lanes: int) -> tuple[str, set[str]]:
    """The IR function ``@doseloop_word`` and the intrinsics it declares."""
    arity, write = WORDS[word]
    e = Emit(lanes)
    names = ["%a", "%b"][:arity]
    result = write(e, *names)
    head = f"define internal {e.V} @doseloop_{word}({', '.join(f'{e.V} {n}' for n in names)}) alwaysinline {{"
    return "\n".join([head, *e.lines, f"  ret {e.V} {result}", "}"]), e.intrinsics
