"""A smoothed reading of maximum, minimum, absolute, where and comparisons, for interior-point methods.

The simulator and the Gauss-Newton back ends read a model exactly, kinks and all. IPOPT wants two derivatives: on kinks
it can wander for thousands of iterations. `smoothed` rewrites the instructions of a traced function, each kink rounded
over a width that is a small part of what its arguments differ by in ordinary use. It is a reading of the same trace,
not a second model; `tests/test_mpc_casadi.py` says how far the two are apart.
"""

from __future__ import annotations

from typing import Any

import casadi as ca
import numpy as np

__all__ = ["smoothed"]

WIDTH = 1e-3

_TWO: dict[int, Any] = {
    ca.OP_ADD: lambda a, b: a + b,
    ca.OP_SUB: lambda a, b: a - b,
    ca.OP_MUL: lambda a, b: a * b,
    ca.OP_DIV: lambda a, b: a / b,
    ca.OP_POW: lambda a, b: a**b,
    ca.OP_CONSTPOW: lambda a, b: a**b,
}
_ONE: dict[int, Any] = {
    ca.OP_NEG: lambda a: -a,
    ca.OP_SQ: lambda a: a * a,
    ca.OP_TWICE: lambda a: a + a,
    ca.OP_INV: lambda a: 1 / a,
    ca.OP_ASSIGN: lambda a: a,
    ca.OP_SQRT: ca.sqrt,
    ca.OP_EXP: ca.exp,
    ca.OP_LOG: ca.log,
    ca.OP_TANH: ca.tanh,
}
# what is rounded: exact, and smooth with width w
_KINKS: dict[int, Any] = {
    ca.OP_FMAX: (ca.fmax, lambda a, b, w: 0.5 * (a + b + ca.sqrt((a - b) ** 2 + w**2))),
    ca.OP_FMIN: (ca.fmin, lambda a, b, w: 0.5 * (a + b - ca.sqrt((a - b) ** 2 + w**2))),
    ca.OP_LT: (lambda a, b: a < b, lambda a, b, w: 0.5 * (1 + ca.tanh((b - a) / w))),
    ca.OP_LE: (lambda a, b: a <= b, lambda a, b, w: 0.5 * (1 + ca.tanh((b - a) / w))),
    ca.OP_EQ: (lambda a, b: a == b, lambda a, b, w: ca.exp(-(((a - b) / w) ** 2))),
    ca.OP_NE: (lambda a, b: a != b, lambda a, b, w: 1 - ca.exp(-(((a - b) / w) ** 2))),
    ca.OP_FABS: (lambda a, b: ca.fabs(a), lambda a, b, w: ca.sqrt(a**2 + w**2)),
    ca.OP_SIGN: (lambda a, b: ca.sign(a), lambda a, b, w: ca.tanh(a / w)),
}
# words of truth values, which may now lie between 0 and 1
_TRUTHS: dict[int, Any] = {
    ca.OP_NOT: lambda a: 1 - a,
    ca.OP_AND: lambda a, b: a * b,
    ca.OP_OR: lambda a, b: a + b - a * b,
    ca.OP_IF_ELSE_ZERO: lambda a, b: a * b,
}


def _rewrite(f: ca.Function, widths: list[float] | None) -> tuple[ca.Function, list[ca.SX], list[ca.SX]]:
    """The function again with kinks of these widths (None: exact); its inputs, and the differences at its kinks."""
    inputs = [ca.SX.sym(f.name_in(i), f.sparsity_in(i)) for i in range(f.n_in())]
    outputs = [[ca.SX(0)] * f.nnz_out(i) for i in range(f.n_out())]
    values: dict[int, ca.SX] = {}
    differences: list[ca.SX] = []
    for k in range(f.n_instructions()):
        op, into, args = f.instruction_id(k), f.instruction_output(k), f.instruction_input(k)
        if op == ca.OP_INPUT:
            values[into[0]] = inputs[args[0]].nz[args[1]]
            continue
        if op == ca.OP_CONST:
            values[into[0]] = ca.SX(f.instruction_constant(k))
            continue
        if op == ca.OP_OUTPUT:
            outputs[into[0]][into[1]] = values[args[0]]
            continue
        a = [values[i] for i in args]
        if op in _TWO:
            v = _TWO[op](a[0], a[1])
        elif op in _ONE:
            v = _ONE[op](a[0])
        elif op in _KINKS:
            other = a[1] if len(a) > 1 else ca.SX(0)
            exact, smooth = _KINKS[op]
            v = exact(a[0], other) if widths is None else smooth(a[0], other, widths[len(differences)])
            differences.append(a[0] - other)
        elif op in _TRUTHS:
            if widths is None:
                v = ca.if_else(a[0], a[1], 0) if op == ca.OP_IF_ELSE_ZERO else _exact_truth(op, a)
            else:
                v = _TRUTHS[op](*a)
        else:
            raise NotImplementedError(f"CasADi operation {op} has no smoothed reading")
        values[into[0]] = v
    out = [ca.SX(f.sparsity_out(i), ca.vertcat(*o)) if o else ca.SX(f.sparsity_out(i)) for i, o in enumerate(outputs)]
    return ca.Function(f.name(), inputs, out, f.name_in(), f.name_out()), inputs, differences


def _exact_truth(op: int, a: list[ca.SX]) -> ca.SX:
    if op == ca.OP_NOT:
        return ca.logic_not(a[0])
    return ca.logic_and(a[0], a[1]) if op == ca.OP_AND else ca.logic_or(a[0], a[1])


def smoothed(f: ca.Function, samples: list[list[np.ndarray]], width: float = WIDTH) -> ca.Function:
    """The function (of SX) with its kinks rounded.

    Args:
        f: a function made of SX symbols.
        samples: points of ordinary use, each a list of ``f``'s inputs; they set the scale of each kink.
        width: of the rounding, relative to the largest difference of a kink's arguments over the samples.

    Raises:
        NotImplementedError: an operation that no model's words produce.
    """
    _, inputs, differences = _rewrite(f, None)
    if not differences:
        return f
    at = ca.Function("differences", inputs, [ca.vertcat(*differences)])
    seen = np.array([np.abs(np.array(at(*point)).ravel()) for point in samples])
    scale = np.where(np.isfinite(seen), seen, 0.0).max(axis=0)
    return _rewrite(f, [float(width * v) if v > 0 else width for v in scale])[0]
