"""Clinical risk of eight patients at a time: what the rewards are made of."""

from __future__ import annotations

from functools import lru_cache

from ..pkpd.vcode import Code, Real
from ..pkpd.vmath import vexp, vlog

__all__ = ["BIS_ERRORS", "GLUCOSE_RISKS", "bis_kernel", "glucose_kernel"]

GLUCOSE_RISKS = ("magni", "kovatchev")
BIS_ERRORS = ("absolute", "squared")


def _log(x: Real) -> Real:
    return Real(x.code, vlog(x.code.emit, x.name))


def _power(x: Real, exponent: float) -> Real:
    """x to a power, x above 0."""
    return Real(x.code, vexp(x.code.emit, (_log(x) * exponent).name))


@lru_cache(maxsize=4)
def glucose_kernel(risk: str) -> int:
    """Adds, of one minute's glucose (row 0 of x, mg/dL), to the rows of out: risk, below 70, below 54.

    "magni": 10 (3.5506 (ln(G)^0.8353 − 3.7932))², G at least 10 (Magni 2007). "kovatchev": 10 f²,
    f = 1.509 (ln(G)^1.084 − 5.381), G within 20 to 600 (Kovatchev 1997).
    """
    c = Code()
    glucose = c.load("x", 0)
    if risk == "magni":
        value = _power(_log(glucose.most(10.0)), 0.8353) - 3.7932
        value = value * 3.5506
    else:
        value = (_power(_log(glucose.most(20.0).least(600.0)), 1.084) - 5.381) * 1.509
    low, lower = c.where(glucose < 70.0, 1.0, 0.0), c.where(glucose < 54.0, 1.0, 0.0)
    for row, more in enumerate((value * value * 10.0, low, lower)):
        c.store("out", row, c.load("out", row) + more)
    return c.address(f"risk of glucose, {risk}", "risk")


@lru_cache(maxsize=4)
def bis_kernel(error: str) -> int:
    """Adds, of one tick's BIS (row 0 of x), to the rows of out: error, below 40, below 30.

    "absolute": |BIS − 50| / 50 (the integral is Struys's IAE); "squared": ((BIS − 50) / 50)².
    """
    c = Code()
    bis = c.load("x", 0)
    away = abs(bis - 50.0) / 50.0
    low, lower = c.where(bis < 40.0, 1.0, 0.0), c.where(bis < 30.0, 1.0, 0.0)
    for row, more in enumerate((away if error == "absolute" else away * away, low, lower)):
        c.store("out", row, c.load("out", row) + more)
    return c.address(f"error of BIS, {error}", "risk")
