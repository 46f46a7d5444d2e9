"""A whole control interval of fixed steps as one kernel: the loop stands inside, and what it repeats stands before it.

A step of a model repeats, four times a step, much that only the patient decides (a quotient of two parameters, the
logarithm of a third). `constants_of` takes it out, once for a patient: what costs a division or more and hangs on
parameters alone goes into rows of ``k`` that a kernel of its own writes. Of the rest, `interval_ir` computes what does
not change over the interval before the loop of the steps.

A pair of blocks may be advanced together (``pair``): two independent chains of arithmetic keep a processor with wide
vectors busy where one waits for itself. Each lane's numbers are the same as without.
"""

from __future__ import annotations

from collections.abc import Sequence

from .lanes import ARGUMENTS, LANES, Graph, Instruction, emit_steps, fused, kernel_text
from .vmath import Emit

__all__ = ["constants_of", "interval_ir", "long_first"]

LONG = {"exp", "log", "tanh", "pow"}  # words of dozens of operations, each waiting for the last
COSTLY = {"div", "inv", "sqrt", "exp", "log", "tanh", "pow"}
SCALARS, X, P, U, K = range(5)


def constants_of(graph: Graph) -> tuple[Graph, Graph]:
    """Split a graph: what is costly and hangs on parameters alone (from ``p`` to rows of ``k``), and the rest.

    The second reads these rows from ``k``, which must be free in the graph.
    """
    steps = fused(graph)
    fixed, costly = set[int](), set[int]()
    for i in steps:
        if i.word == "const" or (i.word == "input" and i.args[0] == P):
            fixed.add(i.into)
        elif i.word not in ("input", "output") and fixed.issuperset(i.args):
            fixed.add(i.into)
            if i.word in COSTLY or not costly.isdisjoint(i.args):
                costly.add(i.into)
    asked = {a for i in steps if i.word != "input" and (i.word == "output" or i.into not in fixed) for a in i.args}
    rows = {n: row for row, n in enumerate(sorted(costly & asked))}
    before = [i for i in steps if i.word != "output" and i.into in fixed]
    before += [Instruction("output", row, (n,)) for n, row in rows.items()]
    after = [
        Instruction("input", i.into, (K, rows[i.into])) if i.word != "output" and i.into in rows else i
        for i in steps
        if i.word == "output" or i.into not in costly or i.into in rows
    ]
    s, x, p, u, _ = graph.rows
    return (
        Graph("constants", tuple(_needed(before)), (0, 0, p, 0, 0), len(rows)),
        Graph(graph.name, tuple(_needed(after)), (s, x, p, u, len(rows)), graph.out),
    )


def _needed(steps: list[Instruction]) -> list[Instruction]:
    """Those whose values some output rests on."""
    wanted, out = set[int](), []
    for i in reversed(steps):
        if i.word == "output" or i.into in wanted:
            wanted |= set(() if i.word == "input" else i.args)
            out.append(i)
    return out[::-1]


def long_first(steps: Sequence[Instruction]) -> list[Instruction]:
    """The same steps, the long words (and what they rest on) before all else, those on the longest way first.

    A step waits for them: begun early and side by side, the rest of the arithmetic is done meanwhile. No value changes.
    """
    place = {i.into: j for j, i in enumerate(steps) if i.word != "output"}
    needs = [[place[a] for a in i.args if a in place] if i.word != "input" else [] for i in steps]
    ahead = [0] * len(steps)  # how many long words stand on the longest way from here to the end
    for j in reversed(range(len(steps))):
        ahead[j] += steps[j].word in LONG
        for k in needs[j]:
            ahead[k] = max(ahead[k], ahead[j])
    done = [False] * len(steps)
    out: list[Instruction] = []

    def take(j: int) -> None:
        todo = [j]
        while todo:
            missing = [k for k in needs[todo[-1]] if not done[k]]
            if missing:
                todo.append(missing[0])
                continue
            k = todo.pop()
            if not done[k]:
                done[k] = True
                out.append(steps[k])

    for j in sorted((j for j, i in enumerate(steps) if i.word in LONG), key=lambda j: -ahead[j]):
        take(j)
    for j in range(len(steps)):
        take(j)
    return out


def interval_ir(step: Graph, count: int, pair: bool = False) -> str:
    """``count`` equal steps of h from t (scalars) in one kernel, ``step`` being one of them: x -> out, rows of x.

    ``x`` and ``out`` may be the same memory. ``pair`` advances two blocks, the second of which lies directly behind
    the first in every argument; t and h are the first one's.
    """
    e, words, blocks = Emit(LANES * (2 if pair else 1)), set[str](), 2 if pair else 1
    eight = f"<{LANES} x double>"
    both = ", ".join(f"i32 {j}" for j in range(2 * LANES))

    def at(pointer: str, row: int, rows: int, block: int) -> str:
        return e.op(f"getelementptr inbounds double, ptr {pointer}, i64 {(block * rows + row) * LANES}")

    def load(argument: int, row: int) -> str:
        rows = 0 if argument == SCALARS else step.rows[argument]  # both blocks have the first one's t and h
        parts = [
            e.op(f"load {eight}, ptr {at(f'%{ARGUMENTS[argument]}', row, rows, b)}, align 8") for b in range(blocks)
        ]
        if not pair:
            return parts[0]
        return e.op(f"shufflevector {eight} {parts[0]}, {eight} {parts[1]}, <{2 * LANES} x i32> <{both}>")

    def store(row: int, value: str) -> None:
        for b in range(blocks):
            part = value
            if pair:
                places = ", ".join(f"i32 {b * LANES + j}" for j in range(LANES))
                part = e.op(f"shufflevector {e.V} {value}, {e.V} poison, <{LANES} x i32> <{places}>")
            e.lines.append(f"  store {eight} {part}, ptr {at('%out', row, step.rows[X], b)}, align 8")

    steps = fused(step)
    moving = set[int]()
    before: list[Instruction] = []
    inside: list[Instruction] = []
    for i in steps:
        changes = i.word == "output" or (
            i.args[0] == X or i.args == (SCALARS, 0) if i.word == "input" else not moving.isdisjoint(i.args)
        )
        if changes and i.word != "output":
            moving.add(i.into)
        (inside if changes else before).append(i)
    values: dict[int, str] = {}
    emit_steps(e, before, values, load, store, words)
    start = [load(X, row) for row in range(step.rows[X])]
    if count == 1:
        now, time = start, ""
    else:
        time = load(SCALARS, 0)
        h = load(SCALARS, 1)
        e.lines += ["  br label %body", "body:", "  %step = phi i64 [ 0, %entry ], [ %next, %body ]"]
        now = [f"%x{row}" for row in range(step.rows[X])]
        e.lines += [
            f"  {v} = phi {e.V} [ {a}, %entry ], [ %n{row}, %body ]" for row, (v, a) in enumerate(zip(now, start))
        ]
        if any(i.word == "input" and i.args == (SCALARS, 0) for i in steps):
            number = e.op("sitofp i64 %step to double")
            first = e.op(f"insertelement {e.V} poison, double {number}, i32 0")
            spread = e.op(f"shufflevector {e.V} {first}, {e.V} poison, <{e.w} x i32> zeroinitializer")
            time = e.add(time, e.mul(spread, h))
    ends: dict[int, str] = {}
    emit_steps(
        e,
        long_first(inside),
        values,
        lambda argument, row: now[row] if argument == X else time if count > 1 else load(argument, row),
        ends.__setitem__,
        words,
    )
    if count > 1:
        e.lines += [f"  %n{row} = select i1 true, {e.V} {ends[row]}, {e.V} {ends[row]}" for row in range(step.rows[X])]
        e.lines += ["  %next = add i64 %step, 1", f"  %more = icmp slt i64 %next, {count}"]
        e.lines += ["  br i1 %more, label %body, label %done", "done:"]
    for row in range(step.rows[X]):
        store(row, f"%n{row}" if count > 1 else ends[row])
    return kernel_text(e, words, f"{step.name} {count} steps", in_place=True)
