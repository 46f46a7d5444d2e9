"""Straight-line code on eight lanes, written with operators: for rules that Numba would take lane by lane.

A kernel made here has the signature of every other (`pkpd.calls.call_kernel`), all six arguments being arrays of rows
of 8 numbers. Nothing is fused or re-ordered, so that each lane gives the bits of the same operations on plain floats;
comparisons with NaN are false, as in Python.

Where eight doubles have no register of their own (`objects.wide`), the body is written for four lanes and run twice:
truth values of eight lanes fit no register there and would be packed and unpacked at every use, a fourth of all
instructions.
"""

from __future__ import annotations

from typing import Any

from .calls import geti
from .jit import jit
from .lanes import LANES
from .objects import address, wide
from .vmath import Emit

__all__ = ["Code", "Flag", "Real", "Rows", "Whole", "marked"]

ARRAYS = ("s", "x", "p", "u", "k", "out")


class Real:
    """Eight doubles."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Code, name: str) -> None:
        self.code, self.name = code, name

    def _of(self, other: Real | float) -> str:
        return other.name if isinstance(other, Real) else self.code.emit.const(other)

    def _two(self, how: str, other: Real | float, swapped: bool = False) -> Real:
        a, b = (self._of(other), self.name) if swapped else (self.name, self._of(other))
        e = self.code.emit
        return Real(self.code, e.op(f"{how} {e.V} {a}, {b}"))

    def __add__(self, other: Real | float) -> Real:
        return self._two("fadd", other)

    def __radd__(self, other: float) -> Real:
        return self._two("fadd", other, True)

    def __sub__(self, other: Real | float) -> Real:
        return self._two("fsub", other)

    def __rsub__(self, other: float) -> Real:
        return self._two("fsub", other, True)

    def __mul__(self, other: Real | float) -> Real:
        return self._two("fmul", other)

    def __rmul__(self, other: float) -> Real:
        return self._two("fmul", other, True)

    def __truediv__(self, other: Real | float) -> Real:
        return self._two("fdiv", other)

    def __neg__(self) -> Real:
        return Real(self.code, self.code.emit.neg(self.name))

    def __abs__(self) -> Real:
        return Real(self.code, self.code.emit.call("fabs", self.name))

    def floor(self) -> Real:
        """The largest whole number not above."""
        return Real(self.code, self.code.emit.call("floor", self.name))

    def whole(self) -> Whole:
        """A whole number from 0 to 2^52 as an integer (its place in the low bits of 2^52: AVX2 has no conversion)."""
        e = self.code.emit
        return Whole(self.code, e.int2("xor", e.bits((self + 2.0**52).name), e.iconst(0x4330000000000000)))

    def _compare(self, how: str, other: Real | float) -> Flag:
        return Flag(self.code, self.code.emit.cmp(how, self.name, self._of(other)))

    def __lt__(self, other: Real | float) -> Flag:
        return self._compare("olt", other)

    def __le__(self, other: Real | float) -> Flag:
        return self._compare("ole", other)

    def __gt__(self, other: Real | float) -> Flag:
        return self._compare("ogt", other)

    def __ge__(self, other: Real | float) -> Flag:
        return self._compare("oge", other)

    def equals(self, other: Real | float) -> Flag:
        """Whether they are equal; a NaN equals nothing."""
        return self._compare("oeq", other)

    def finite(self) -> Flag:
        """Whether it is neither NaN nor infinite."""
        return abs(self) < float("inf")

    def least(self, other: Real | float) -> Real:
        """``other`` where it is below, else this (Python's ``min(self, other)``)."""
        other = other if isinstance(other, Real) else self.code.real(other)
        return self.code.where(other < self, other, self)

    def most(self, other: Real | float) -> Real:
        """``other`` where it is above, else this (Python's ``max(self, other)``)."""
        other = other if isinstance(other, Real) else self.code.real(other)
        return self.code.where(other > self, other, self)


class Flag:
    """Eight truth values."""

    def __init__(self, code: Code, name: str) -> None:
        self.code, self.name = code, name

    def _two(self, how: str, other: Flag) -> Flag:
        e = self.code.emit
        return Flag(self.code, e.op(f"{how} {e.B} {self.name}, {other.name}"))

    def __and__(self, other: Flag) -> Flag:
        return self._two("and", other)

    def __or__(self, other: Flag) -> Flag:
        return self._two("or", other)

    def __invert__(self) -> Flag:
        return self._two("xor", self.code.always)


class Whole:
    """Eight integers of 64 bits: masks."""

    def __init__(self, code: Code, name: str) -> None:
        self.code, self.name = code, name

    def __or__(self, other: Whole) -> Whole:
        return Whole(self.code, self.code.emit.int2("or", self.name, other.name))

    def only(self, bits: int) -> Whole:
        """These bits of it."""
        return Whole(self.code, self.code.emit.int2("and", self.name, self.code.emit.iconst(bits)))

    def has(self, bits: int) -> Flag:
        """Whether any of these bits is set."""
        e = self.code.emit
        low = e.int2("and", self.name, e.iconst(bits))
        return Flag(self.code, e.op(f"icmp ne {e.I} {low}, {e.iconst(0)}"))


class Code:
    """One kernel's body. ``array`` is one of "s", "x", "p", "u", "k", "out"."""

    def __init__(self) -> None:
        self.emit = Emit(LANES if wide() else LANES // 2)
        true, false = ("<" + ", ".join([f"i1 {v}"] * self.emit.w) + ">" for v in ("true", "false"))
        self.always, self.never = Flag(self, true), Flag(self, false)

    def _row(self, array: str, row: int) -> str:
        return self.emit.op(f"getelementptr inbounds double, ptr %{array}, i64 {row * LANES}")

    def real(self, value: float) -> Real:
        """The same number in every lane."""
        return Real(self, self.emit.const(value))

    def load(self, array: str, row: int) -> Real:
        """A row of an array."""
        return Real(self, self.emit.op(f"load {self.emit.V}, ptr {self._row(array, row)}, align 8"))

    def load_whole(self, array: str, row: int) -> Whole:
        """A row of integers."""
        return Whole(self, self.emit.op(f"load {self.emit.I}, ptr {self._row(array, row)}, align 8"))

    def store(self, array: str, row: int, value: Real | Whole) -> None:
        """Write a row."""
        kind = self.emit.V if isinstance(value, Real) else self.emit.I
        self.emit.lines.append(f"  store {kind} {value.name}, ptr {self._row(array, row)}, align 8")

    def mark(self, array: str, row: int, flag: Flag) -> None:
        """Write in which lanes it holds, for `marked`."""
        e = self.emit
        bits = e.op(f"zext i{e.w} {e.op(f'bitcast {e.B} {flag.name} to i{e.w}')} to i64")
        e.lines.append(f"  store i64 {e.op(f'shl i64 {bits}, %lane')}, ptr {self._row(array, row)}, align 8")

    def where(self, flag: Flag, a: Real | float, b: Real | float) -> Real:
        """a where the flag holds, else b."""
        a, b = (v if isinstance(v, Real) else self.real(v) for v in (a, b))
        return Real(self, self.emit.select(flag.name, a.name, b.name))

    def bits(self, flag: Flag, bits: int) -> Whole:
        """These bits where the flag holds, else 0."""
        e = self.emit
        return Whole(self, e.op(f"select {e.B} {flag.name}, {e.I} {e.iconst(bits)}, {e.I} {e.iconst(0)}"))

    def pick(self, flag: Flag, a: Whole, b: Whole) -> Whole:
        """a where the flag holds, else b, of integers."""
        e = self.emit
        return Whole(self, e.op(f"select {e.B} {flag.name}, {e.I} {a.name}, {e.I} {b.name}"))

    def any_of(self, flags: list[Flag]) -> Flag:
        """Whether one of them holds."""
        found = self.never
        for f in flags:
            found = found | f
        return found

    def address(self, name: str, symbol: str) -> int:
        """Compile (or fetch) the kernel; its entry address."""
        e = self.emit
        head = f"define void @KERNEL({', '.join(f'ptr noalias %all_{a}' for a in ARRAYS)}) nounwind {{"
        lines = ["entry:", "  br label %lanes", "lanes:", "  %lane = phi i64 [ 0, %entry ], [ %next, %lanes ]"]
        lines += [f"  %{a} = getelementptr inbounds double, ptr %all_{a}, i64 %lane" for a in ARRAYS]
        lines += [*e.lines, f"  %next = add i64 %lane, {e.w}", f"  %more = icmp slt i64 %next, {LANES}"]
        lines += ["  br i1 %more, label %lanes, label %done", "done:"]
        text = "\n".join([*sorted(e.intrinsics), head, *lines, "  ret void", "}", ""])
        return address(name, text, symbol)


class Rows:
    """Some rows of an array, in code."""

    def __init__(self, code: Code, array: str, first: int = 0) -> None:
        self.code, self.array, self.first = code, array, first

    def __getitem__(self, row: int) -> Real:
        return self.code.load(self.array, self.first + row)

    def __setitem__(self, row: int, value: Real) -> None:
        self.code.store(self.array, self.first + row, value)


@jit
def marked(row: Any) -> Any:
    """Of the row at an address that `Code.mark` wrote (0 before): an integer whose bit k is lane k."""
    return geti(row, 0) | geti(row, LANES // 2)
