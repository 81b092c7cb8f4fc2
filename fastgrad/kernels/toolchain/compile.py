"""How kernels are compiled: the only place with jit options. Importing it imports Numba."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

import llvmlite.binding as llvm
import numpy as np
from numba import cfunc, njit, types

from fastgrad.kernels.toolchain import pipeline
from fastgrad.kernels.toolchain.fallback import numba_alone
from fastgrad.kernels.toolchain.library import machine
from fastgrad.kernels.units import symbol

# error_model="numpy": no ZeroDivisionError branches. No fastmath: policy. NUMBA_DEBUGINFO
# and NUMBA_BOUNDSCHECK do not change the kernels. In a user's function an index out of bounds
# raises, and so gives NaN.
_PLAIN: dict[str, Any] = {"error_model": "numpy", "debug": False}
_SCALAR: dict[str, Any] = {**_PLAIN, "boundscheck": True}
_OPTIONS: dict[str, Any] = {**_PLAIN, "boundscheck": False}
# Two of Numba's private options leave out the wrappers for calls from Python and C, which only
# units' own functions need (a third of the compile time).
_PRIVATE = {**pipeline.OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _callee(*signature: Any, **private: Any) -> Any:
    """Return the decorator of functions that only kernels call."""
    more = {} if numba_alone() else {**_PRIVATE, **private}
    return njit(*signature, **_OPTIONS, nogil=True, **more)


_PROCESS = ctypes.CDLL(None)  # whose functions LLVM finds by name: those of the C library

# Kernels never raise, but Numba's wrappers keep the paths that would, with calls of its own
# runtime. Ending these paths here removes all symbols that only `import numba` provides.
_NUMBA_RUNTIME = re.compile(r"^declare ([^@\n]*@(?:numba|NRT)_\w+\([^)\n]*\)).*$", re.MULTILINE)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` for its annotations; LLVM decides about inlining.

    A function of words (``int``) is compiled once, for machine words, instead of once per
    literal that its callers pass. Pointers and elements are ``Any``: typed by the callers.
    """
    annotations = get_type_hints(function)
    result = _numba_type(annotations.pop("return", None))
    arguments = [_numba_type(hint) for hint in annotations.values()]
    if None in arguments or result is None:
        return _callee()(function)
    return _callee(result(*arguments))(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile `function` into each of its callers."""
    return _callee(forceinline=True)(function)


# With float32 constants the sum and the product have the dtype of the other operand.
_NAN, _NOTHING = np.float32(np.nan), np.float32(-0.0)


def users(function: Callable[..., Any], options: dict[str, Any] | None = None) -> Any:
    """Compile a function that a user wrote, or calls from one, with options of the user's own."""
    return njit(**(_SCALAR if options is None else options | {"boundscheck": True}))(function)


def scalar(function: Callable[..., Any]) -> Any:
    """Compile a call of a user's function of one number that Numba knows: NaN if it raises.

    If it cannot raise, LLVM removes that check.
    """

    def call(z: Any) -> Any:  # math.sin and the like are compiled only as callees
        try:
            return function(z) + _NOTHING  # no None
        except Exception:
            return z * _NAN

    return njit(**_SCALAR)(call)


def scalar_of_two(function: Callable[..., Any]) -> Any:
    """Compile a call of a user's function of two numbers, as `scalar` does of one."""

    def call(a: Any, b: Any) -> Any:
        try:
            return function(a, b) + _NOTHING
        except Exception:
            return a * _NAN

    return njit(**_SCALAR)(call)


def c_function(signature: Any, function: Callable[..., Any]) -> Any:
    """Compile `function` for callers outside of Numba."""
    return cfunc(signature, **_OPTIONS, **({} if numba_alone() else pipeline.OPTIONS))(function)


def _numba_type(hint: Any) -> Any:
    if get_origin(hint) is tuple:
        return types.Tuple([_numba_type(item) for item in get_args(hint)])
    known = {int: types.intp, float: types.float64, bool: types.boolean, type(None): types.void}
    return known.get(hint)


def external(function: str, dtype: str, signature: Any) -> Any:
    """Return a function of another unit, linked by its symbol."""
    name = symbol(function, dtype)
    # Numba's own engine makes machine code at once, which never runs: any address will do for what
    # is not loaded yet.
    if numba_alone() and llvm.address_of_symbol(name) is None:
        llvm.add_symbol(name, llvm.address_of_symbol("malloc"))
    return types.ExternalFunction(name, signature)


def assemble(
    dtype: str, functions: dict[str, tuple[Any, Callable[..., Any]]], parallel: int = 0
) -> str:
    """Compile ``{name: (signature, function)}`` to the optimized LLVM IR of one unit.

    With `parallel` given, LLVM is told that the steps of innermost loops are independent (no step
    reads what another writes), and vector loops take `parallel` vectors side by side.
    """
    module = llvm.parse_assembly("")
    for name, (signature, function) in functions.items():
        compiled = c_function(signature, function)
        part = llvm.parse_assembly(compiled.inspect_llvm())
        part.get_function(compiled.native_name).name = symbol(name, dtype)
        module.link_in(part)
    text = _NUMBA_RUNTIME.sub(r"define internal \1 { unreachable }", str(module))
    if parallel:
        text = _parallel(_optimized(text, vectors=False), parallel)
    return _optimized(text)


def assemble_alone(
    dtype: str, name: str, signature: Any, function: Callable[..., Any]
) -> str | None:
    """Return what `assemble` does, or None if a function calls what LLVM cannot link.

    The wrapper for C, which would report exceptions, does not count: nothing raises.
    """
    compiled = c_function(signature, function)
    module = llvm.parse_assembly(compiled.inspect_llvm())
    for part in module.functions:
        outside = part.is_declaration and not part.name.startswith(
            ("llvm.", "numba_", "NRT_", "Py")
        )
        inside = not part.is_declaration and part.name != compiled.native_name
        if outside and not hasattr(_PROCESS, part.name):
            return None
        if inside and re.search(r"@(?:numba_|NRT_|Py)", str(part)):
            return None
    module.get_function(compiled.native_name).name = symbol(name, dtype)
    return _optimized(_NUMBA_RUNTIME.sub(r"define internal \1 { unreachable }", str(module)))


def _optimized(text: str, vectors: bool = True) -> str:
    """Return LLVM IR after LLVM's passes at -O3; with innermost loops as they are, or vectorized.

    Numba itself would run them on every function and again on every caller: see
    `front_end.numba_front_end`.
    """
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    # LLVM's own 250 writes the checks of an array's header into each place that needs them: then
    # the entry points of layers take 0.55 s instead of 0.33 and each call 0.03 to 0.1 us longer.
    tuning.inlining_threshold = 100
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = vectors
    builder = llvm.create_pass_builder(machine(), tuning)
    module = llvm.parse_assembly(text)
    builder.getModulePassManager().run(module, builder)
    return str(module)


_LABEL = re.compile(r"([^\s:]+):")
_BRANCH = re.compile(r"  br i1 [^,]+, label %([^\s,]+), label %([^\s,]+)")
_ACCESS = re.compile(r"  (?:%\S+ = load|store) ")
_WISH = 1_000_000  # a number of metadata that no module of ours reaches; the loops' own follow


def _parallel(text: str, count: int) -> str:
    """Return LLVM IR that marks the steps of each loop of a single block as independent.

    So results may overwrite what they are made of, and the loop still becomes vector code. LLVM is
    asked for `count` vectors per step: by itself it interleaves only short loops, and the long
    chain of fmas of an exponential keeps a processor waiting (gelu float64 3.95 ns an element, with
    four chains 2.85).
    """
    lines: list[str] = []
    nodes = [f'!{_WISH} = !{{!"llvm.loop.interleave.count", i32 {count}}}']
    block = ""
    accesses: list[int] = []
    for line in text.splitlines():
        if label := _LABEL.match(line):
            block, accesses = label[1], []
        elif _ACCESS.match(line):
            accesses.append(len(lines))
        elif (branch := _BRANCH.match(line)) and block in branch.groups():
            group, promise, loop = (f"!{_WISH + len(nodes) + i}" for i in range(3))
            nodes.append(f"{group} = distinct !{{}}")
            nodes.append(f'{promise} = !{{!"llvm.loop.parallel_accesses", {group}}}')
            nodes.append(f"{loop} = distinct !{{{loop}, !{_WISH}, {promise}}}")
            for place in accesses:
                lines[place] += f", !llvm.access.group {group}"
            line += f", !llvm.loop {loop}"
        lines.append(line)
    return "\n".join([*lines, *nodes, ""])
