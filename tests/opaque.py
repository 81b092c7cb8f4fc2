"""llvmlite as it will be: to fastgrad's own code it gives opaque pointers, and takes no others.

Numba still writes its part with typed pointers, in the same modules: so each question is answered
by who asks, the nearest caller outside of llvmlite.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fastgrad

OURS = str(Path(fastgrad.__file__).parent)


def _ours() -> bool:
    frame: Any = sys._getframe(2)
    while "llvmlite" in frame.f_code.co_filename:
        frame = frame.f_back
    name: str = frame.f_code.co_filename
    return name.startswith(OURS)


def plant() -> None:
    """Take typed pointers away from fastgrad's code in this process.

    A load, an element address or a call that takes its type from a pointer then raises ValueError
    or AttributeError, and so does `.pointee`.
    """
    from llvmlite import ir, ir_layer_typed_pointers_enabled
    from llvmlite.ir import instructions, types, values

    assert not ir_layer_typed_pointers_enabled  # it prints none, either

    def pointee(kind: Any) -> Any:
        if _ours():
            raise AttributeError("'PointerType' object has no attribute 'pointee'")
        return kind.__dict__["pointee"]

    def same(kind: Any, other: Any) -> bool:  # as it is, `bitcast` asks it for Numba's types
        if not isinstance(other, types.PointerType):
            return False
        pointees = [of.__dict__.get("pointee") for of in (kind, other)]
        return None in pointees or pointees[0] == pointees[1]

    def store_atomic(self: Any, value: Any, ptr: Any, ordering: str, align: int) -> Any:
        made = instructions.StoreAtomicInstr(self.block, value, ptr, ordering, align)
        self._insert(made)
        return made

    typed = types._TypedPointerType
    typed.is_opaque = property(lambda kind: _ours(), lambda kind, value: None)
    typed.pointee = property(pointee, lambda kind, to: kind.__dict__.update(pointee=to))
    typed.__eq__ = same
    ir.IRBuilder.store_atomic = store_atomic  # which asks even an opaque pointer, up to 0.50
    values.Function.function_type = property(lambda function: function.ftype)
