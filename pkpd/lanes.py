"""From a traced graph (a list of scalar instructions) to LLVM IR on explicit vector lanes.

Every kernel has one signature: six pointers to float64 arrays of shape ``(rows, LANES)``, each row one quantity, each
column one patient::

    kernel(scalars, x, p, u, k, out)

Lanes never mix, so a patient's bits do not depend on who stands in the neighbouring lanes. What is fused is decided
here (`fused`) and nothing is re-ordered by the compiler: a NaN is kept, the result is the same whatever the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .vmath import WORDS, Emit, definition

LANES = 8
ARGUMENTS = ("scalars", "x", "p", "u", "k")

__all__ = [
    "ARGUMENTS",
    "LANES",
    "Graph",
    "Instruction",
    "emit_graph",
    "emit_steps",
    "fused",
    "kernel_text",
    "propagator_ir",
    "straight_ir",
]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One scalar step of a graph: ``into = word(*args)``; args index earlier values.

    ``input`` has ``args = (which argument, row)``, ``const`` has ``value``, ``output`` has ``into = row``.
    """

    word: str
    into: int
    args: tuple[int, ...] = ()
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Graph:
    """A traced function: instructions in order, rows of each of the five arguments, rows of the output."""

    name: str
    instructions: tuple[Instruction, ...]
    rows: tuple[int, int, int, int, int]
    out: int


def _emit_word(e: Emit, word: str, a: list[str], words: set[str]) -> str:
    one, zero = e.const(1.0), e.const(0.0)
    truth = lambda c: e.select(c, one, zero)  # noqa: E731
    if word in ("add", "sub", "mul"):
        return e.op(f"f{word} {e.V} {a[0]}, {a[1]}")
    if word == "fma":
        return e.fma(*a)
    if word == "fms":
        return e.fma(a[0], a[1], e.neg(a[2]))
    if word == "fnma":
        return e.fma(e.neg(a[0]), a[1], a[2])
    if word == "where":
        return e.select(e.cmp("une", a[0], zero), a[1], a[2])
    if word == "div":
        return e.div(a[0], a[1])
    if word == "neg":
        return e.neg(a[0])
    if word == "sq":
        return e.mul(a[0], a[0])
    if word == "twice":
        return e.add(a[0], a[0])
    if word == "inv":
        return e.div(one, a[0])
    if word == "copy":
        return a[0]
    if word in ("fabs", "sqrt"):
        return e.call(word, a[0])
    if word in WORDS:
        words.add(word)
        arguments = ", ".join(f"{e.V} {v}" for v in a)
        return e.op(f"call {e.V} @doseloop_{word}({arguments})")
    if word in ("max", "min"):
        how = "ogt" if word == "max" else "olt"
        if a[1].startswith("<") and a[0] != a[1]:  # a number, which is no NaN: a NaN in a loses and is chosen
            a = [a[1], a[0]]
        if a[0].startswith("<"):
            return e.select(e.cmp(how, a[0], a[1]), a[0], a[1])
        # a NaN in b loses the comparison and is chosen; a NaN in a is put back
        return e.select(e.cmp("uno", a[0], a[0]), a[0], e.select(e.cmp(how, a[0], a[1]), a[0], a[1]))
    if word in ("lt", "le", "eq", "ne"):
        return truth(e.cmp({"lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}[word], a[0], a[1]))
    if word == "not":
        return truth(e.cmp("oeq", a[0], zero))
    if word == "and":
        return e.mul(a[0], a[1])
    if word == "or":
        return truth(e.cmp("une", e.add(a[0], a[1]), zero))
    if word == "if":  # a[1] where a[0] is true, else 0
        return e.select(e.cmp("une", a[0], zero), a[1], zero)
    if word == "sign":
        s = e.sub(truth(e.cmp("ogt", a[0], zero)), truth(e.cmp("olt", a[0], zero)))
        return e.select(e.cmp("uno", a[0], a[0]), a[0], s)
    raise NotImplementedError(f"no lane form for the word '{word}'")


def _single(steps: Sequence[Instruction]) -> list[Instruction]:
    """The same steps, every value under a number of its own (a traced graph uses its places again)."""
    now: dict[int, int] = {}
    out = []
    for n, i in enumerate(steps):
        args = i.args if i.word == "input" else tuple(now[a] for a in i.args)
        if i.word == "output":
            out.append(Instruction(i.word, i.into, args))
        else:
            now[i.into] = n
            out.append(Instruction(i.word, n, args, i.value))
    return out


def _reciprocals(steps: Sequence[Instruction]) -> list[Instruction]:
    """Division by one value more than once becomes one reciprocal and products: a division costs as much as 16 sums."""
    times: dict[int, int] = {}
    for i in steps:
        if i.word == "div":
            times[i.args[1]] = times.get(i.args[1], 0) + 1
    numbers = {i.into: i.value for i in steps if i.word == "const"}
    known: dict[int, int] = {}
    out = []
    for i in steps:
        if i.word == "div" and times[i.args[1]] > 1 and numbers.get(i.args[0]) != 1.0:
            top, bottom = i.args
            if bottom not in known:
                known[bottom] = len(steps) + bottom
                out.append(Instruction("inv", known[bottom], (bottom,)))
            i = Instruction("mul", i.into, (top, known[bottom]))
        out.append(i)
    return out


def _joined(i: Instruction, made: dict[int, Instruction], once: set[int]) -> tuple[Instruction, tuple[int, ...]]:
    """A sum or difference joined with what is used in it alone: a product, or both branches of a ``where``."""
    a, b = i.args
    ways = [made[v] if v in once else None for v in (a, b)]
    if i.word == "add" and all(w is not None and w.word == "if" for w in ways):
        for yes, no in ((made[a], made[b]), (made[b], made[a])):
            other = made[no.args[0]]
            if other.word == "not" and other.args == yes.args[:1]:
                return Instruction("where", i.into, (*yes.args, no.args[1])), (a, b)
    # a running sum stands on the left, so the product on the right goes first
    words = ("fnma", "fms") if i.word == "sub" else ("fma", "fma")
    for product, v, rest, word in ((ways[1], b, a, words[0]), (ways[0], a, b, words[1])):
        if product is not None and product.word in ("mul", "sq"):
            return Instruction(word, i.into, (product.args[0], product.args[-1], rest)), (v,)
    return i, ()


def fused(graph: Graph) -> list[Instruction]:
    """The graph's steps with products that are used once, in a sum or difference, fused into it (rounded once).

    It is decided here and not by the compiler, which could decide otherwise in another width or for another processor.
    Values have numbers of their own. ``fma`` is a·b + c, ``fms`` a·b − c, ``fnma`` c − a·b, ``where`` (if, then, else).
    """
    steps = _reciprocals(_single(graph.instructions))
    uses: dict[int, int] = {}
    for i in steps:
        for a in () if i.word == "input" else i.args:
            uses[a] = uses.get(a, 0) + 1
    made = {i.into: i for i in steps if i.word != "output"}
    once = {v for v in made if uses.get(v) == 1}
    gone, out = set[int](), []
    for i in steps:
        if i.word in ("add", "sub"):
            i, taken = _joined(i, made, once)
            gone.update(taken)
        out.append(i)
    return [i for i in out if i.word == "output" or i.into not in gone]


def emit_steps(
    e: Emit,
    steps: Sequence[Instruction],
    values: dict[int, str],
    load: Callable[[int, int], str],
    store: Callable[[int, str], None],
    words: set[str],
) -> None:
    """Write straight-line code of fused steps; ``values`` holds what has been computed, and what is."""
    for i in steps:
        if i.word == "input":
            values[i.into] = load(i.args[0], i.args[1])
        elif i.word == "const":
            values[i.into] = e.const(i.value)
        elif i.word == "output":
            store(i.into, values[i.args[0]])
        else:
            values[i.into] = _emit_word(e, i.word, [values[a] for a in i.args], words)


def emit_graph(
    e: Emit, graph: Graph, load: Callable[[int, int], str], store: Callable[[int, str], None], words: set[str]
) -> None:
    """Write the graph's straight-line code; ``load(argument, row)`` and ``store(row, value)`` meet the world."""
    emit_steps(e, fused(graph), {}, load, store, words)


def _load(e: Emit, pointer: str, row: int) -> str:
    at = e.op(f"getelementptr inbounds double, ptr {pointer}, i64 {row * e.w}")
    return e.op(f"load {e.V}, ptr {at}, align 8")


def _store(e: Emit, pointer: str, row: int, value: str) -> None:
    at = e.op(f"getelementptr inbounds double, ptr {pointer}, i64 {row * e.w}")
    e.lines.append(f"  store {e.V} {value}, ptr {at}, align 8")


def kernel_text(e: Emit, words: set[str], title: str, in_place: bool = False) -> str:
    """The whole module of a kernel; ``in_place``: ``x`` and ``out`` may be the same memory."""
    helpers = []
    for word in sorted(words):
        text, intrinsics = definition(word, e.w)
        helpers.append(text)
        e.intrinsics |= intrinsics
    own = lambda n: "ptr" if in_place and n in ("x", "out") else "ptr noalias"  # noqa: E731
    arguments = ", ".join([*(f"{own(n)} readonly %{n}" for n in ARGUMENTS), f"{own('out')} %out"])
    return "\n".join(
        [
            f"; {title}",
            *sorted(e.intrinsics),
            *helpers,
            f"define void @KERNEL({arguments}) nounwind alignstack(64) {{",
            "entry:",
            *e.lines,
            "  ret void",
            "}",
            "",
        ]
    )


def straight_ir(graph: Graph, lanes: int = LANES) -> str:
    """The kernel of a graph without loops."""
    e, words = Emit(lanes), set[str]()
    emit_graph(
        e,
        graph,
        lambda argument, row: _load(e, f"%{ARGUMENTS[argument]}", row),
        lambda row, value: _store(e, "%out", row, value),
        words,
    )
    return kernel_text(e, words, graph.name)


def propagator_ir(start: Graph, square: Graph, threshold: float, lanes: int = LANES) -> str:
    """The kernel of a matrix exponential by scaling and squaring, lane by lane.

    ``start`` reads ``scalars[0]`` = h·2^−s (and p) and gives, as its last row, the norm bound ν of A (per unit time)
    and, before it, the rows of exp(A h 2^−s) to working accuracy wherever ν h 2^−s ≤ ``threshold``. It is written
    twice: once for ν alone (dead code falls away), once for the rows. ``square`` reads ``x`` = the rows and returns
    their square (with derivatives, where rows hold them). Each lane squares its own s times: no lane's count shows in
    another's bits.
    """
    e, words = Emit(lanes), set[str]()
    rows = start.out - 1
    h = _load(e, "%scalars", 0)

    def run(step: str) -> dict[int, str]:
        got: dict[int, str] = {}
        emit_graph(
            e,
            start,
            lambda argument, row: step if argument == 0 else _load(e, f"%{ARGUMENTS[argument]}", row),
            lambda row, value: got.__setitem__(row, value),
            words,
        )
        return got

    norm = run(e.const(0.0))[rows]
    # s = max(0, exponent of ν h / threshold + 1): the least integer with ν h 2^−s < threshold, read off the bits
    ratio = e.mul(e.call("fabs", e.mul(norm, h)), e.const(1 / threshold))
    exponent = e.int2("sub", e.int2("lshr", e.bits(ratio), e.iconst(52)), e.iconst(1022))
    low = e.op(f"icmp slt {e.I} {exponent}, {e.iconst(0)}")
    s = e.op(f"select {e.B} {low}, {e.I} {e.iconst(0)}, {e.I} {exponent}")
    # a NaN or inf has exponent 1025: 64 squarings show it as NaN, more would only cost time
    high = e.op(f"icmp sgt {e.I} {s}, {e.iconst(64)}")
    s = e.op(f"select {e.B} {high}, {e.I} {e.iconst(64)}, {e.I} {s}")
    scale = e.double(e.int2("shl", e.int2("sub", e.iconst(1023), s), e.iconst(52)))
    first = run(e.mul(h, scale))
    e.intrinsics.add(f"declare i64 @llvm.vector.reduce.smax.v{lanes}i64({e.I})")
    most = e.op(f"call i64 @llvm.vector.reduce.smax.v{lanes}i64({e.I} {s})")
    e.lines += ["  br label %head", "head:"]
    count = "%count"
    e.lines.append(f"  {count} = phi i64 [ 0, %entry ], [ %next, %body ]")
    phis = [f"%e{r}" for r in range(rows)]
    e.lines += [f"  {phis[r]} = phi {e.V} [ {first[r]}, %entry ], [ %n{r}, %body ]" for r in range(rows)]
    e.lines += [f"  %more = icmp slt i64 {count}, {most}", "  br i1 %more, label %body, label %done", "body:"]
    squared: dict[int, str] = {}
    emit_graph(e, square, lambda _, row: phis[row], lambda row, value: squared.__setitem__(row, value), words)
    lane_count = e.op(f"insertelement {e.I} poison, i64 {count}, i32 0")
    spread = e.op(f"shufflevector {e.I} {lane_count}, {e.I} poison, <{lanes} x i32> zeroinitializer")
    active = e.op(f"icmp slt {e.I} {spread}, {s}")
    e.lines += [f"  %n{r} = select {e.B} {active}, {e.V} {squared[r]}, {e.V} {phis[r]}" for r in range(rows)]
    e.lines += [f"  %next = add i64 {count}, 1", "  br label %head", "done:"]
    for r in range(rows):
        _store(e, "%out", r, phis[r])
    return kernel_text(e, words, start.name)


def listing(graph: Graph, names: Sequence[Sequence[str]] | None = None) -> str:
    """The same graph as readable Python (lane width 1), for reading and debugging; it runs."""
    infix = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
    lines = [f"def {graph.name}({', '.join(ARGUMENTS)}):", f"    out = [0.0] * {graph.out}"]
    for i in graph.instructions:
        a = [f"w{n}" for n in i.args]
        if i.word == "input":
            note = f"  # {names[i.args[0]][i.args[1]]}" if names and i.args[1] < len(names[i.args[0]]) else ""
            lines.append(f"    w{i.into} = {ARGUMENTS[i.args[0]]}[{i.args[1]}]{note}")
        elif i.word == "const":
            lines.append(f"    w{i.into} = {i.value!r}")
        elif i.word == "output":
            lines.append(f"    out[{i.into}] = {a[0]}")
        elif i.word in infix:
            text = f"{a[0]} {infix[i.word]} {a[1]}"
            lines.append(f"    w{i.into} = {f'float({text})' if i.word in ('lt', 'le', 'eq', 'ne') else text}")
        else:
            forms = {
                "neg": "-{0}",
                "sq": "{0} * {0}",
                "twice": "{0} + {0}",
                "inv": "1.0 / {0}",
                "copy": "{0}",
                "fabs": "abs({0})",
                "not": "float({0} == 0.0)",
                "and": "{0} * {1}",
                "or": "float({0} + {1} != 0.0)",
                "if": "where({0} != 0.0, {1}, 0.0)",
                "sign": "float(({0} > 0) - ({0} < 0))",
                "max": "maximum({0}, {1})",
                "min": "minimum({0}, {1})",
                "pow": "power({0}, {1})",
            }
            lines.append(f"    w{i.into} = " + forms.get(i.word, i.word + "({0})").format(*a))
    lines.append("    return out")
    return "\n".join(lines) + "\n"
