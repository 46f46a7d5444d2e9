"""Closed forms of linear pharmacokinetics, at 40 digits, written anew from the textbook (Gibaldi & Perrier 1982).

The disposition after a unit dose into the central volume is Σ Cᵢ e^(−λᵢt); first-order absorption adds one more
exponential; trains of doses are geometric sums. Nothing here comes from the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import mpmath

mpf = mpmath.mpf
Form = Callable[[mpmath.mpf], mpmath.mpf]


def disposition(p: Mapping[str, float], compartments: int) -> list[tuple[mpmath.mpf, mpmath.mpf]]:
    """(Cᵢ, λᵢ) of the concentration after a unit bolus."""
    cl, v = mpf(p["cl"]), mpf(p["v"])
    k12 = [mpf(p[f"q{i}"]) / v for i in range(2, compartments + 1)]
    k21 = [mpf(p[f"q{i}"]) / mpf(p[f"v{i}"]) for i in range(2, compartments + 1)]
    # characteristic polynomial: (s + k10 + Σk12) Π(s + k21) − Σ k12ⱼ k21ⱼ Π_{i≠j}(s + k21ᵢ), with s = −λ
    out = cl / v + mpmath.fsum(k12)
    if compartments == 1:
        rates = [out]
    elif compartments == 2:
        b, c = out + k21[0], out * k21[0] - k12[0] * k21[0]
        root = mpmath.sqrt(b * b - 4 * c)
        rates = [(b + root) / 2, (b - root) / 2]
    else:
        a, b = k21
        # three real roots by cosines (Dubois, Bertrand & Mentré, PFIM's formulas)
        a2, a1 = out + a + b, out * (a + b) + a * b - k12[0] * a - k12[1] * b
        a0 = out * a * b - (k12[0] + k12[1]) * a * b
        low, shift = a1 - a2**2 / 3, 2 * a2**3 / 27 - a2 * a1 / 3 + a0
        radius = mpmath.sqrt(-(low**3) / 27)
        angle = mpmath.acos(-shift / (2 * radius))
        turns = [mpmath.cos((angle + 2 * mpmath.pi * k) / 3) for k in range(3)]
        rates = [a2 / 3 - 2 * mpmath.cbrt(radius) * turn for turn in turns]
    terms = []
    for i, rate in enumerate(rates):
        c = 1 / v
        for k in k21:
            c *= k - rate
        for j, other in enumerate(rates):
            if j != i:
                c /= other - rate
        terms.append((c, rate))
    return terms


def oral(terms: Sequence[tuple[mpmath.mpf, mpmath.mpf]], ka: float) -> list[tuple[mpmath.mpf, mpmath.mpf]]:
    """(Cᵢ, λᵢ) after a unit dose into the depot."""
    ka = mpf(ka)
    moved = [(c * ka / (ka - rate), rate) for c, rate in terms]
    return [*moved, (-mpmath.fsum(c for c, _ in moved), ka)]


class Response:
    """Concentration after one dose of a sum of exponentials, its trains and its integral.

    Args:
        terms: (Cᵢ, λᵢ) of the unit impulse.
        amount: amount that arrives (F times the dose).
        length: of the infusion; 0 is a bolus.
        lag: until it arrives.
    """

    def __init__(
        self, terms: Sequence[tuple[mpmath.mpf, mpmath.mpf]], amount: float, length: float = 0.0, lag: float = 0.0
    ) -> None:
        self.terms, self.amount, self.length, self.lag = list(terms), mpf(amount), mpf(length), mpf(lag)

    def __call__(self, t: float) -> mpmath.mpf:
        """At time t after the dose; just before it at t = lag."""
        t = mpf(t) - self.lag
        if t <= 0:
            return mpf(0)
        if self.length == 0:
            return self.amount * mpmath.fsum(c * mpmath.exp(-rate * t) for c, rate in self.terms)
        on, off = min(t, self.length), max(mpf(0), t - self.length)
        rise = (c / rate * -mpmath.expm1(-rate * on) * mpmath.exp(-rate * off) for c, rate in self.terms)
        return self.amount / self.length * mpmath.fsum(rise)

    def integral(self, t: float) -> mpmath.mpf:
        """∫ of it from the dose to t."""
        t = mpf(t) - self.lag
        if t <= 0:
            return mpf(0)
        if self.length == 0:
            return self.amount * mpmath.fsum(-c / rate * mpmath.expm1(-rate * t) for c, rate in self.terms)
        on, off = min(t, self.length), max(mpf(0), t - self.length)
        parts = (
            c / rate * (on + mpmath.expm1(-rate * on) / rate)
            + c / rate * mpmath.expm1(-rate * on) * mpmath.expm1(-rate * off) / rate
            for c, rate in self.terms
        )
        return self.amount / self.length * mpmath.fsum(parts)

    def steady(self, t: float, interval: float) -> mpmath.mpf:
        """At t after one of the doses of an infinite train; the doses up to now, at −n·interval for all n ≥ 0."""
        t, tau = mpf(t), mpf(interval)
        total, n = mpf(0), 0
        while t + n * tau - self.lag <= self.length:  # not yet, or still running
            total += self(t + n * tau)
            n += 1
        s = t + n * tau - self.lag
        for c, rate in self.terms:
            past = mpmath.exp(-rate * s) / -mpmath.expm1(-rate * tau)
            gain = mpf(1) if self.length == 0 else mpmath.expm1(rate * self.length) / (rate * self.length)
            total += self.amount * c * past * gain
        return total
