"""What a core can do at best: the same operations as a kernel's, in the same numbers, none waiting for another.

A micro-kernel is a straight line of vector instructions on a dozen independent registers, repeated in a loop. Its time
is the floor of any kernel with that arithmetic at that width: nothing waits, nothing is fetched from beyond the first
cache. The operations are those of LLVM's optimised text of a kernel (`counted`), so common subexpressions count once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from doseloop.pkpd.objects import address, processor

# what a kernel does, as micro-kernels know it; "choose" is a comparison with the selection it decides
KINDS = ("fma", "mul", "add", "div", "sqrt", "minmax", "choose", "bits", "round", "load", "store")
_OPCODES = {"fmul": "mul", "fadd": "add", "fsub": "add", "fdiv": "div", "load": "load", "store": "store"}
_CALLS = {"fma": "fma", "sqrt": "sqrt", "rint": "round", "floor": "round", "fabs": "bits", "copysign": "bits"}
_CALLS |= dict.fromkeys(("umax", "umin", "smax", "smin"), "bits")
_BITS = {"shl", "lshr", "ashr", "and", "or", "xor", "icmp", "add", "sub", "sitofp"}
_FREE = {"bitcast", "phi", "shufflevector", "getelementptr", "fneg", "insertelement", "sext", "zext", "br", "ret"}
chains = 14
LATENCY = {"fma": 4, "mul": 4, "add": 4, "div": 14, "sqrt": 20, "choose": 2, "round": 4, "load": 0, "store": 0}  # about
FLOPS = {"fma": 2, "mul": 1, "add": 1, "div": 1, "sqrt": 1, "minmax": 1}  # what "flop" counts


def _line(text: str) -> tuple[str, str, list[str]] | None:
    """(result, opcode or intrinsic, operands) of an instruction on vectors; None for any other line."""
    match = re.match(r"\s+(?:(%[\w.]+) = )?(?:tail )?([a-z]\w*) (.*)", text)
    if not match or ("x double>" not in text and "x i64>" not in text and "x i1>" not in text):
        return None
    result, code, rest = match[1] or "", match[2], match[3]
    if code == "call":
        called = re.search(r"@llvm\.([a-z.]+?)\.v\d+", rest)
        if not called:
            raise ValueError(f"a call that is no intrinsic: {text.strip()}")
        code = called[1]
    return result, code, re.findall(r"%[\w.]+|splat \([^)]*\)|zeroinitializer", rest)


def counted(text: str, loop: int = 1, label: str = "body") -> Counter[str]:
    """Operations of a kernel's optimised text, each on all its lanes; those of block ``label`` count ``loop`` times.

    Raises:
        ValueError: for an instruction or a call that is not known.
    """
    found = [[v, block] for block, lines in _blocks(text) for line in lines if (v := _line(line))]
    compared = {v[0]: v[2] for v, _ in found if v[1] == "fcmp"}
    spent, out = Counter[str](), Counter[str]()  # uses of each comparison by a maximum or minimum; operations
    for (_, code, operands), _ in found:
        if code == "select" and operands and set(operands[1:]) == set(compared.get(operands[0], ())):
            spent[operands[0]] += 1
    chosen = Counter(o for (_, code, operands), _ in found if code != "fcmp" for o in operands if o in compared)
    deciding = {operands[0] for (_, code, operands), _ in found if code == "select" and operands}
    for (result, code, operands), block in found:
        times = loop if block == label else 1
        if code == "select":
            own = set(operands[1:]) == set(compared.get(operands[0], ()))
            out["minmax" if own else "choose"] += times
        elif code == "fcmp":
            if chosen[result] > spent[result] and result not in deciding:
                out["bits"] += times  # stands in a condition of several: an operation of its own
        elif code in _OPCODES or code in _CALLS:
            out[{**_OPCODES, **_CALLS}[code]] += times
        elif code in _BITS or code.startswith("is.fpclass"):
            out["bits"] += times
        elif code not in _FREE and not code.startswith("vector.reduce"):
            raise ValueError(f"an instruction that is not counted: {code}")
    return out


def _blocks(text: str) -> list[tuple[str, list[str]]]:
    """Basic blocks of the one function defined in a module: (label, lines)."""
    body = text[text.index("\ndefine ") :].splitlines()[1:]
    out: list[tuple[str, list[str]]] = [("entry", [])]
    for line in body:
        label = re.match(r"([\w.]+):", line)
        if label:
            out.append((label[1], []))
        elif line.startswith("}"):
            break
        else:
            out[-1][1].append(line)
    return out


def _spread(mix: Mapping[str, int]) -> list[str]:
    """The operations of a mix in an order that has each kind evenly all along."""
    at = [((i + 0.5) / n, kind) for kind, n in mix.items() for i in range(n)]
    return [kind for _, kind in sorted(at)]


def width() -> int:
    """Doubles in one vector register of this processor."""
    features = processor()
    return 8 if "+avx512f" in features else 4 if "+avx" in features else 2


def registers() -> tuple[int, ...]:
    """How many chains to try; four registers hold operands."""
    return (11, 12, 13, 20, 24) if width() == 8 else (10, 11, 12, 13)


def micro(mix: Mapping[str, int], width: int, chains: int) -> int:
    """Address of a kernel that does a mix ``k[0]`` times on ``width`` lanes in some number of independent chains.

    ``p``: operands, rows of 8: 1.0, 0.0, 1.5, integer zeros. ``x``: 32 rows that are read and written; ``out``: a row
    for each chain.
    """
    V, whole, flags = (f"<{width} x {t}>" if width > 1 else t for t in ("double", "i64", "i1"))
    suffix = f"v{width}f64" if width > 1 else "f64"
    calls = {"fma": 3, "sqrt": 1, "rint": 1}
    lines, now = [], [f"%a{j}" for j in range(chains)]
    busy = [0] * chains  # so that every chain is equally long
    for n, kind in enumerate(_spread(mix)):
        j = busy.index(min(busy))
        busy[j] += LATENCY.get(kind, 1)
        a, r, t = now[j], f"%r{n}", f"%t{n}"
        if kind == "fma":
            lines.append(f"{r} = call {V} @llvm.fma.{suffix}({V} {a}, {V} %one, {V} %zero)")
        elif kind in ("mul", "add"):
            lines.append(f"{r} = f{kind} {V} {a}, {'%one' if kind == 'mul' else '%zero'}")
        elif kind == "div":
            lines.append(f"{r} = fdiv {V} %some, {a}")
        elif kind in ("sqrt", "round"):
            lines.append(f"{r} = call {V} @llvm.{'sqrt' if kind == 'sqrt' else 'rint'}.{suffix}({V} {a})")
        elif kind == "minmax":
            how, limit = (("olt", "%some"), ("ogt", "%one"))[n // chains % 2]
            lines += [f"{t} = fcmp {how} {V} {a}, {limit}", f"{r} = select {flags} {t}, {V} {a}, {V} {limit}"]
        elif kind == "choose":
            lines += [f"{t} = fcmp olt {V} {a}, %zero", f"{r} = select {flags} {t}, {V} %some, {V} {a}"]
        elif kind == "bits":
            lines += [
                f"{t} = bitcast {V} {a} to {whole}",
                f"{t}b = {('add', 'xor')[n // chains % 2]} {whole} {t}, %whole",
            ]
            lines.append(f"{r} = bitcast {whole} {t}b to {V}")
        elif kind in ("load", "store"):
            lines.append(f"{t} = getelementptr inbounds double, ptr %x, i64 {(n % 32) * 8}")
            if kind == "load":
                lines.append(f"{t}v = load volatile {V}, ptr {t}, align 8")
            else:
                lines.append(f"store volatile {V} {a}, ptr {t}, align 8")
            r = a
        now[j] = r
    into = [
        f"%{name} = load {kind}, ptr %{name}_at, align 8"
        for name, kind in (("one", V), ("zero", V), ("some", V), ("whole", whole))
    ]
    at = [
        f"%{name}_at = getelementptr inbounds double, ptr %p, i64 {8 * i}"
        for i, name in enumerate(("one", "zero", "some", "whole"))
    ]
    starts = [f"%a{j} = phi {V} [ %some, %entry ], [ {now[j]}, %body ]" for j in range(chains)]
    ends = []
    for j in range(chains):
        ends.append(f"%o{j} = getelementptr inbounds double, ptr %out, i64 {8 * j}")
        ends.append(f"store {V} {now[j]}, ptr %o{j}, align 8")
    text = "\n".join(
        [
            *(f"declare {V} @llvm.{name}.{suffix}({', '.join([V] * n)})" for name, n in calls.items()),
            "define void @KERNEL(ptr %s, ptr %x, ptr %p, ptr %u, ptr %k, ptr %out) nounwind {",
            "entry:",
            *at,
            *into,
            "%times = load i64, ptr %k, align 8",
            "br label %body",
            "body:",
            "%i = phi i64 [ 0, %entry ], [ %next, %body ]",
            *starts,
            *lines,
            "%next = add i64 %i, 1",
            "%more = icmp slt i64 %next, %times",
            "br i1 %more, label %body, label %done",
            "done:",
            *ends,
            "ret void",
            "}",
            "",
        ]
    )
    return address(f"micro-kernel, {width} lanes", text, f"micro{width}")
