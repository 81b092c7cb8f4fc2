"""Writing LLVM code that reads and writes memory, through pointers that know no element type.

LLVM has had one pointer type since version 17, and llvmlite is giving up its own typed ones: there
`as_pointer`, `.pointee` and every load, element address or call that takes its type from a pointer
will be gone. The functions here let all of the kernels' code do without them. Numba still returns
and expects typed pointers for its own types: `context.get_value_type` says which.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

I64 = ir.IntType(64)
POINTER = ir.PointerType()


def pointer(builder: Any, address: Any) -> Any:
    """Return the pointer to an address, an integer."""
    return builder.inttoptr(address, POINTER)


def element(builder: Any, kind: Any, base: Any, index: Any) -> Any:
    """Return the pointer to element `index` of those of type `kind` at `base`."""
    return builder.gep(base, [I64(index) if isinstance(index, int) else index], source_etype=kind)


def store(builder: Any, value: Any, at: Any, align: int | None = None) -> None:
    """Write a value, of whatever type."""
    if not getattr(at.type, "is_opaque", True):  # Numba's, and what `alloca` returns
        at = builder.bitcast(at, ir.PointerType(value.type))
    builder.store(value, at, align=align)


def store_released(builder: Any, value: Any, address: Any) -> None:
    """Write a word; whoever reads it by `load_acquired` sees all that was written before."""
    try:
        builder.store_atomic(value, pointer(builder, address), "release", 8)
    except AttributeError:  # llvmlite up to 0.50 asks even an opaque pointer for its type
        typed = builder.inttoptr(address, ir.PointerType(I64))
        builder.store_atomic(value, typed, "release", 8)


def load_acquired(builder: Any, address: Any) -> Any:
    """Return the word at an address."""
    return builder.load_atomic(pointer(builder, address), "acquire", 8, typ=I64)


def call(builder: Any, kind: Any, function: Any, arguments: list[Any]) -> Any:
    """Call a function of type `kind` through its pointer."""
    return builder.call(_Callee(kind, function), arguments)


class _Callee:
    """The type of a called function: llvmlite asks for it, and a pointer does not know it."""

    def __init__(self, kind: Any, function: Any) -> None:
        self.function_type, self.type = kind, function.type
        self.get_reference = function.get_reference
