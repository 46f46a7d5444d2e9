"""Raw memory from Numba code: reading and writing by address, and calling a compiled kernel.

The event loop works on plain addresses: array objects would cost a reference count at each touch (half of the run
time, measured) and minutes of compilation. Addresses come from :func:`addresses` of arrays that the caller holds for
the whole call; their sizes and dtypes are checked in `pkpd.engine` before any loop starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .lanes import LANES

__all__ = [
    "addresses",
    "call_kernel",
    "copy_row",
    "fill_row",
    "flags_at",
    "floats_at",
    "get",
    "get_single",
    "geti",
    "prefetch",
    "put",
    "put_single",
    "puti",
    "wholes_at",
]


def addresses(arrays: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Addresses of C-contiguous float64 or int64 arrays; the caller keeps the arrays alive.

    Raises:
        TypeError: for any other layout or dtype.
    """
    for a in arrays:
        if a.dtype.char not in "dlq" or a.itemsize != 8 or not a.flags.c_contiguous:
            raise TypeError(f"a kernel reads contiguous float64 or int64, not {a.dtype} with strides {a.strides}")
    return tuple(a.ctypes.data for a in arrays)


@intrinsic
def call_kernel(typingctx: Any, entry: Any, s: Any, x: Any, p: Any, u: Any, k: Any, out: Any) -> Any:
    """``entry(s, x, p, u, k, out)``: seven addresses (int64)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 6)
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [builder.inttoptr(a, pointer) for a in args[1:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


def _element(builder: Any, base: Any, index: Any, kind: Any) -> Any:
    return builder.gep(builder.inttoptr(base, kind.as_pointer()), [index], source_etype=kind)


def _reader(kind: Any, result: Any) -> Any:
    def read(typingctx: Any, base: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_element(builder, args[0], args[1], kind), typ=kind)

        return result(types.int64, types.int64), codegen

    return intrinsic(read)


def _writer(kind: Any, value_type: Any) -> Any:
    def write(typingctx: Any, base: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], _element(builder, args[0], args[1], kind))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, value_type), codegen

    return intrinsic(write)


@intrinsic
def get_single(typingctx: Any, base: Any, index: Any) -> Any:
    """A float32 as a float."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single = ir.FloatType()
        value = builder.load(_element(builder, args[0], args[1], single), typ=single)
        return builder.fpext(value, ir.DoubleType())

    return types.float64(types.int64, types.int64), codegen


@intrinsic
def put_single(typingctx: Any, base: Any, index: Any, value: Any) -> Any:
    """A float, rounded, as float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single = ir.FloatType()
        builder.store(builder.fptrunc(args[2], single), _element(builder, args[0], args[1], single))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), codegen


get, put = _reader(ir.DoubleType(), types.float64), _writer(ir.DoubleType(), types.float64)
geti, puti = _reader(ir.IntType(64), types.int64), _writer(ir.IntType(64), types.int64)


# Eight numbers at once: the compiler must think that each number written could change the next one read, and would
# move them one by one.
_ROW = ir.VectorType(ir.DoubleType(), LANES)


def _row(builder: Any, base: Any) -> Any:
    return builder.inttoptr(base, _ROW.as_pointer())


@intrinsic
def copy_row(typingctx: Any, to: Any, of: Any) -> Any:
    """The eight numbers at ``of`` to ``to`` (addresses)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(_row(builder, args[1]), typ=_ROW, align=8)
        builder.store(value, _row(builder, args[0]), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def fill_row(typingctx: Any, to: Any, value: Any) -> Any:
    """The same number eight times, from the address ``to`` on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = ir.Constant(_ROW, ir.Undefined)
        for lane in range(LANES):
            row = builder.insert_element(row, args[1], ir.Constant(ir.IntType(32), lane))
        builder.store(row, _row(builder, args[0]), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), codegen


@intrinsic
def prefetch(typingctx: Any, at: Any) -> Any:
    """Ask the caches for the line at an address, which will be read (and written) soon; changes nothing."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, whole = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, whole, whole, whole])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        how = [ir.Constant(whole, v) for v in (0, 2, 1)]  # to read, into the second cache, data
        builder.call(function, [builder.inttoptr(args[0], pointer), *how])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _arrays(kind: Any, what: str) -> Any:
    pointer = types.CPointer(kind)

    def cast(typingctx: Any, base: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(pointer))

        return pointer(types.int64), codegen

    at = intrinsic(cast)

    def array(base: Any, shape: Any) -> Any:
        return carray(at(base), shape)

    array.__doc__ = f"The {what} at an address as a C-contiguous array of a shape, for functions that take arrays."
    return njit(nogil=True, error_model="numpy")(array)


floats_at = _arrays(types.float64, "float64")
wholes_at = _arrays(types.int64, "int64")
flags_at = _arrays(types.boolean, "booleans")
