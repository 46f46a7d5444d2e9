"""One stage of the prediction model as compiled lane kernels: the map, its Jacobian, and sensitivities carried along.

CasADi differentiates the traced model; `pkpd.lanes` writes the instructions on 8 lanes. What stands in the lanes is the
caller's business: candidates of a line search or draws of the patient in the map, stages of a known course in the
Jacobian, decisions in the sensitivities. That is where the speed comes from: a single patient fills all lanes.

Sensitivities are carried only for the states that a move reaches and a watched output sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import casadi as ca
import numpy as np

from ..pkpd import reference
from ..pkpd.lanes import ARGUMENTS, LANES, Graph, emit_graph, straight_ir
from ..pkpd.model import Model
from ..pkpd.objects import address
from ..pkpd.system import System, system
from ..pkpd.trace import graph_of, traced
from ..pkpd.vmath import Emit

__all__ = ["Expressions", "Stage", "expressions", "stable_substeps", "stage_of"]

REACH = 2.78  # the classical Runge-Kutta method is stable for real h·λ from −2.785 to 0
MARGIN = 1.6  # how much faster than the typical patient's the fastest rate of an individual may be


@dataclass(frozen=True, eq=False)
class Expressions:
    """A stage in CasADi's symbols: what kernels and CasADi's solvers are both made of.

    ``s`` = [t, h] with h the substep; ``k`` holds the propagator's entries of a linear model (else nothing).
    ``A`` (relevant, relevant) and ``B`` (relevant, moves) differentiate the relevant states after the stage by those
    before it and by the moves; ``C`` (watched, relevant) the outputs by the states, both after the stage.
    """

    s: ca.SX
    x: ca.SX
    p: ca.SX
    u: ca.SX
    k: ca.SX
    after: ca.SX
    y: ca.SX
    A: ca.SX
    B: ca.SX
    C: ca.SX
    relevant: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Stage:
    """Addresses and sizes.

    Kernels: ``map`` (s, x, p, u, k) -> states after the stage, then watched outputs there; ``jacobian`` (the same) ->
    entries of A, B, C; ``carry`` (x = sensitivities of the relevant states, then a mark per move; k = entries of one
    stage, every 8th number) -> sensitivities after the stage, then of the watched outputs.
    """

    system: System
    substeps: int
    h: float
    states: int
    parameters: int
    inputs: int
    watched: int
    moves: int
    relevant: int
    entries: int
    rows_k: int
    map: int
    jacobian: int
    carry: int
    propagator: int


def stable_substeps(model: Model, interval: float) -> int:
    """The fewest RK4 steps per stage that are stable for the typical patient, with a margin; 1 for linear models."""
    if system(model).linear:
        return 1
    m = traced(model)
    p = np.array(list(reference.individual(model).values()))
    inputs = [*(i.typical for i in model.inputs), *(0.0 for _ in model.routes)]
    F = ca.Function("rates", [m.t, m.x, m.p, m.u], [ca.jacobian(m.f, m.x)])
    x0 = ca.Function("initial", [m.p], [m.x0])(p)
    fastest = float(np.abs(np.linalg.eigvals(np.array(F(0.0, x0, p, inputs)))).max())
    return max(1, math.ceil(interval * fastest * MARGIN / REACH))


def _relevant(model: Model, columns: tuple[int, ...], watched: tuple[int, ...]) -> tuple[int, ...]:
    """States that a move reaches and a watched output sees."""
    m = traced(model)
    n = m.x.numel()
    pattern = lambda v, by: ca.DM(ca.jacobian(v, by).sparsity(), 1).full() != 0  # noqa: E731
    J = pattern(m.f, m.x)
    into = pattern(m.f, m.u)[:, list(columns)].any(axis=1)
    seen = pattern(m.y, m.x)[list(watched)].any(axis=0)
    for _ in range(n):
        into = into | (J & into[None, :]).any(axis=1)
        seen = seen | (J & seen[:, None]).any(axis=0)
    return tuple(int(i) for i in np.flatnonzero(into & seen))


@lru_cache(maxsize=64)
def expressions(model: Model, columns: tuple[int, ...], watched: tuple[int, ...], substeps: int) -> Expressions:
    """A stage of ``substeps`` RK4 steps of s[1] (of one exact step for a linear model), and its derivatives.

    Args:
        model: the prediction model.
        columns: where the moves stand in u; ``watched``: which outputs are seen.
        substeps: RK4 steps.
    """
    S, m = system(model), traced(model)
    n, where = S.n, _relevant(model, columns, watched)
    s = ca.SX.sym("s", 2)
    t, h = s[0], s[1]
    rows, cols = list(where), list(columns)
    if S.linear:
        k = ca.SX.sym("e", S.rows_propagator)
        E = ca.SX(S._pattern, k)
        after = (E @ ca.vertcat(m.x, m.u, 1))[:n]
        A, B = E[rows, rows], E[rows, [n + c for c in cols]]
        end = t + h
    else:
        k = ca.SX(0, 1)
        f = ca.Function("f", [m.t, m.x, m.p, m.u], [m.f])
        fx = ca.Function("fx", [m.t, m.x, m.p, m.u], [ca.jacobian(m.f, m.x)[rows, rows]])
        fu = ca.Function("fu", [m.t, m.x, m.p, m.u], [ca.jacobian(m.f, m.u)[rows, cols]])
        after, end = m.x, t
        D = ca.horzcat(ca.SX.eye(len(rows)), ca.SX(len(rows), len(cols)))

        def slope(t: ca.SX, x: ca.SX, D: ca.SX) -> tuple[ca.SX, ca.SX]:
            forced = ca.horzcat(ca.SX(len(rows), len(rows)), fu(t, x, m.p, m.u))
            return f(t, x, m.p, m.u), ca.sparsify(fx(t, x, m.p, m.u) @ D + forced)

        for _ in range(substeps):  # the variational equations by the same method: the exact derivative of its map
            a, da = slope(end, after, D)
            b, db = slope(end + h / 2, after + h / 2 * a, D + h / 2 * da)
            c, dc = slope(end + h / 2, after + h / 2 * b, D + h / 2 * db)
            d, dd = slope(end + h, after + h * c, D + h * dc)
            after, D = after + h / 6 * (a + 2 * b + 2 * c + d), D + h / 6 * (da + 2 * db + 2 * dc + dd)
            end = end + h
        A, B = D[:, : len(rows)], D[:, len(rows) :]
    outputs = ca.Function("outputs", [m.t, m.x, m.p], [m.y[list(watched)]])
    gradient = ca.Function("gradient", [m.t, m.x, m.p], [ca.jacobian(m.y[list(watched)], m.x)[:, rows]])
    y, C = outputs(end, after, m.p), gradient(end, after, m.p)
    return Expressions(s, m.x, m.p, m.u, k, after, y, ca.sparsify(A), ca.sparsify(B), ca.sparsify(C), where)


def _spread_ir(graph: Graph) -> str:
    """A kernel whose argument ``k`` is one number per row, 8 apart, the same for all lanes (no words, no loops)."""
    e = Emit(LANES)

    def load(argument: int, row: int) -> str:
        at = e.op(f"getelementptr inbounds double, ptr %{ARGUMENTS[argument]}, i64 {row * LANES}")
        if ARGUMENTS[argument] != "k":
            return e.op(f"load {e.V}, ptr {at}, align 8")
        one = e.op(f"load double, ptr {at}, align 8")
        first = e.op(f"insertelement {e.V} poison, double {one}, i32 0")
        return e.op(f"shufflevector {e.V} {first}, {e.V} poison, <{LANES} x i32> zeroinitializer")

    def store(row: int, value: str) -> None:
        at = e.op(f"getelementptr inbounds double, ptr %out, i64 {row * LANES}")
        e.lines.append(f"  store {e.V} {value}, ptr {at}, align 8")

    emit_graph(e, graph, load, store, set())
    arguments = ", ".join([*(f"ptr noalias readonly %{n}" for n in ARGUMENTS), "ptr noalias %out"])
    head = [f"; {graph.name}", *sorted(e.intrinsics), f"define void @KERNEL({arguments}) nounwind {{", "entry:"]
    return "\n".join([*head, *e.lines, "  ret void", "}", ""])


def _carry(e: Expressions) -> Graph:
    """Sensitivities after a stage from those before it: A S + B E, then C of that."""
    a, b, c = (v.sparsity() for v in (e.A, e.B, e.C))
    k = ca.SX.sym("k", a.nnz() + b.nnz() + c.nnz())
    A = ca.SX(a, k[: a.nnz()])
    B = ca.SX(b, k[a.nnz() : a.nnz() + b.nnz()])
    C = ca.SX(c, k[a.nnz() + b.nnz() :])
    x = ca.SX.sym("x", e.A.shape[0] + e.B.shape[1])
    after = A @ x[: e.A.shape[0]] + B @ x[e.A.shape[0] :]
    none = ca.SX(0, 1)
    return graph_of("carry", [none, x, none, none, k], ca.vertcat(after, C @ after))


@lru_cache(maxsize=64)
def stage_of(
    model: Model, interval: float, columns: tuple[int, ...], watched: tuple[int, ...], substeps: int | None = None
) -> Stage:
    """The compiled stage of a model.

    Args:
        model: the prediction model.
        interval: length of the stage (the model's time unit).
        columns: where the moves stand among the model's inputs and then its routes.
        watched: indices of the outputs that are seen.
        substeps: RK4 steps per stage; default `stable_substeps`.
    """
    S = system(model)
    steps = 1 if S.linear else (stable_substeps(model, interval) if substeps is None else substeps)
    e = expressions(model, columns, watched, steps)
    arguments = [e.s, e.x, e.p, e.u, e.k]
    entries = ca.vertcat(*(ca.vertcat(*v.nonzeros()) for v in (e.A, e.B, e.C) if v.nnz()))
    kernels = {
        "map": straight_ir(graph_of("map", arguments, ca.vertcat(e.after, e.y))),
        "jacobian": straight_ir(graph_of("jacobian", arguments, entries)),
        "carry": _spread_ir(_carry(e)),
    }
    where = {name: address(f"{model.id} stage {name}", ir, f"stage_{name}") for name, ir in kernels.items()}
    return Stage(
        S,
        steps,
        interval / steps,
        S.n,
        S.m,
        S.nu,
        len(watched),
        len(columns),
        len(e.relevant),
        entries.numel(),
        e.k.numel(),
        where["map"],
        where["jacobian"],
        where["carry"],
        S.kernel("propagator") if S.linear else 0,
    )
