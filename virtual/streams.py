"""Random numbers by counter: what patient 17 draws does not depend on who else is in the batch.

Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is a function, not a sequence: its
key is the seed, its counter says how many draws before, which stream, which patient. Any lane on any thread gets its
numbers without asking the others, a snapshot needs no generator's state, and streams never share numbers.

Uniforms have 32 bits, (word + ½) / 2³², never 0 or 1. Normals are their inverse cumulative distribution by Wichura's
AS 241 (PPND16, 1988), relative error about 1e-15; with 32 bits they end at ±6.3.
"""
# The compiled functions carry no annotations: Numba infers the types.

from __future__ import annotations

import math

import numpy as np

from ..pkpd.jit import jit

__all__ = [
    "COMPRESSION",
    "GAP",
    "INSERTION",
    "LEVEL",
    "LIFE",
    "MEALS",
    "PRESSURE",
    "RENAL",
    "SENSOR",
    "SIGNAL",
    "SURGERY",
    "normal_of",
    "philox",
    "uniforms",
]

# streams: one number for each purpose, for ever (a changed number changes every published run)
SENSOR, SIGNAL, MEALS, LIFE, SURGERY, PRESSURE, GAP, COMPRESSION, INSERTION, RENAL, LEVEL = range(1, 12)

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
_SCALE = 2.0**-32


@jit
def philox(c0, c1, c2, c3, k0, k1):
    """Four words of 32 bits (uint64 each) from a counter of four and a key of two words; ten rounds."""
    for _ in range(10):
        a, b = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (b >> _SHIFT) ^ c1 ^ k0, b & _LOW, (a >> _SHIFT) ^ c3 ^ k1, a & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@jit
def uniforms(seed, patient, stream, count):
    """Four uniforms in (0, 1): draw ``count`` (≥ 0) of a stream of a patient under a seed (all integers)."""
    key, n = np.uint64(seed), np.uint64(count)
    a, b, c, d = philox(
        n & _LOW, n >> _SHIFT, np.uint64(stream) & _LOW, np.uint64(patient) & _LOW, key & _LOW, key >> _SHIFT
    )
    return (
        (np.float64(a) + 0.5) * _SCALE,
        (np.float64(b) + 0.5) * _SCALE,
        (np.float64(c) + 0.5) * _SCALE,
        (np.float64(d) + 0.5) * _SCALE,
    )


@jit
def normal_of(u):
    """The standard normal quantile of u in (0, 1): Wichura 1988, AS 241, algorithm PPND16."""
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = 2509.0809287301226727 * r + 33430.575583588128105
        top = ((top * r + 67265.770927008700853) * r + 45921.953931549871457) * r + 13731.693765509461125
        top = ((top * r + 1971.5909503065514427) * r + 133.14166789178437745) * r + 3.387132872796366608
        low = 5226.495278852545925 * r + 28729.085735721942674
        low = ((low * r + 39307.89580009271061) * r + 21213.794301586595867) * r + 5394.1960214247511077
        low = ((low * r + 687.1870074920579083) * r + 42.313330701600911252) * r + 1.0
        return q * top / low
    r = math.sqrt(-math.log(u if q < 0 else 1 - u))
    if r <= 5.0:
        r -= 1.6
        top = 7.7454501427834140764e-4 * r + 0.0227238449892691845833
        top = ((top * r + 0.24178072517745061177) * r + 1.27045825245236838258) * r + 3.64784832476320460504
        top = ((top * r + 5.7694972214606914055) * r + 4.6303378461565452959) * r + 1.42343711074968357734
        low = 1.05075007164441684324e-9 * r + 5.475938084995344946e-4
        low = ((low * r + 0.0151986665636164571966) * r + 0.14810397642748007459) * r + 0.68976733498510000455
        low = ((low * r + 1.6763848301838038494) * r + 2.05319162663775882187) * r + 1.0
    else:
        r -= 5.0
        top = 2.01033439929228813265e-7 * r + 2.71155556874348757815e-5
        top = ((top * r + 0.0012426609473880784386) * r + 0.026532189526576123093) * r + 0.29656057182850489123
        top = ((top * r + 1.7848265399172913358) * r + 5.4637849111641143699) * r + 6.6579046435011037772
        low = 2.04426310338993978564e-15 * r + 1.4215117583164458887e-7
        low = ((low * r + 1.8463183175100546818e-5) * r + 7.868691311456132591e-4) * r + 0.0148753612908506148525
        low = ((low * r + 0.13692988092273580531) * r + 0.59983220655588793769) * r + 1.0
    return math.copysign(top / low, q)
