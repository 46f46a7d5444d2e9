"""Calling a compiled kernel by its address from Numba code."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["call_kernel"]


@intrinsic
def call_kernel(typingctx: Any, entry: Any, s: Any, x: Any, p: Any, u: Any, k: Any, out: Any) -> Any:
    """``entry(s, x, p, u, k, out)``: seven addresses (int64). Callers keep the arrays alive over the call."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 6)
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [builder.inttoptr(a, pointer) for a in args[1:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen
