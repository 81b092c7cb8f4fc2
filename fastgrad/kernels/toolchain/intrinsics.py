"""Floating-point operations that Numba has no name for, for float32 and float64 alike.

Each is one LLVM instruction (or a chain of them, `polynomial`), so a loop over scalars becomes
a loop over vectors with the same bits. All arguments take the type of the first, so a plain
Python constant may stand for the others: ``fma(x, 2.0, 1.0)`` is float32 where `x` is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _llvm(name: str, arguments: int) -> Callable[[Any, Any, Any, Any], Any]:
    """Return the code generator for LLVM's own function `name` of equal floats."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = args[0].type
        signature = ir.FunctionType(element, [element] * arguments)
        function = builder.module.declare_intrinsic(name, [element], signature)
        return builder.call(function, args)

    return codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""
    return a(a, a, a), _llvm("llvm.fma", 3)


@intrinsic
def fabs(typingctx: Any, a: Any) -> Any:
    """Return a without its sign."""
    return a(a), _llvm("llvm.fabs", 1)


@intrinsic
def copysign(typingctx: Any, a: Any, b: Any) -> Any:
    """Return a with the sign of b."""
    return a(a, a), _llvm("llvm.copysign", 2)


@intrinsic
def select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    """Return a if condition else b; both are computed, nothing branches."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


@intrinsic
def bits(typingctx: Any, a: Any) -> Any:
    """Return the bit pattern of a float as an integer of its size."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(sig.return_type))

    return {types.float32: types.int32, types.float64: types.int64}[a](a), codegen


@intrinsic
def from_bits(typingctx: Any, pattern: Any, like: Any) -> Any:
    """Return the float of `like`'s type with this bit pattern (its low bits, if it is wider)."""
    integer = {types.float32: types.int32, types.float64: types.int64}[like]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(like))

    return like(integer, like), codegen


@intrinsic
def shift_right(typingctx: Any, pattern: Any, count: Any) -> Any:
    """Return a bit pattern moved right, zeros coming in (`>>` brings in the sign)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.lshr(*args)

    return pattern(pattern, pattern), codegen


def polynomial(coefficients: tuple[float, ...]) -> Any:
    """Return a function of x: the sum of coefficients[i] * x**i.

    Horner's rule: one chain of fmas, or above five coefficients two, of the even and the odd
    powers. Estrin's scheme has shorter chains still, but its multiplications cost more than
    that saves (measured: 0-15 % slower).
    """

    @intrinsic
    def evaluate(typingctx: Any, x: Any) -> Any:
        fused = _llvm("llvm.fma", 3)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            (x,) = args

            def horner(variable: Any, part: tuple[float, ...]) -> Any:
                value = ir.Constant(x.type, part[-1])
                for coefficient in part[-2::-1]:
                    addend = ir.Constant(x.type, coefficient)
                    value = fused(context, builder, sig, (value, variable, addend))
                return value

            if len(coefficients) <= 5:
                return horner(x, coefficients)
            square = builder.fmul(x, x)
            even, odd = horner(square, coefficients[0::2]), horner(square, coefficients[1::2])
            return fused(context, builder, sig, (odd, x, even))

        return x(x), codegen

    return evaluate
