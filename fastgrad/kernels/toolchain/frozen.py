"""Copies of functions that later changes of their globals do not affect.

Numba reads globals and closures when it compiles, once for each dtype, at its first use. Functions
compiled here have copies of the numbers, arrays and modules that the source names, and of the
functions it calls, jitted or not. Their array look-ups are checked for bounds.
"""

from __future__ import annotations

import functools
import inspect
import sys
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.extending import is_jitted

from fastgrad.kernels.toolchain.compile import users

# Their attributes do not change, and Numba knows them by the module.
FIXED = {*sys.stdlib_module_names, "numpy", "numba", "scipy", "llvmlite"}


def frozen(function: Any) -> Any:
    """Return a jitted copy of a user's function of one number, with the current values it uses.

    Raises
    ------
    TypeError
        If Numba does not compile it; the message says what to give instead.
    """
    if isinstance(function, functools.partial):
        return _partial(function)
    if isinstance(function, FunctionType) or is_jitted(function):
        return _copy(function, {}, frozenset())
    if isinstance(function, BuiltinFunctionType | np.ufunc) or type(function).__name__ == "DUFunc":
        return function
    if isinstance(function, type):
        what = f"the class {function.__name__}"
    else:
        what = f"an object of class {type(function).__name__}"
    raise TypeError(
        f"is {what}, and Numba compiles functions: write one of z, def or lambda, that uses its "
        "numbers as variables"
    )


def _partial(function: Any) -> Any:
    """Return the function of the one argument that a `functools.partial` leaves."""
    try:
        source = getattr(function.func, "py_func", function.func)
        bound = inspect.signature(source).bind(*function.args, None, **function.keywords)
    except (TypeError, ValueError):
        bound = None
    if bound is None or bound.kwargs or not isinstance(source, FunctionType):
        raise TypeError(
            "is a functools.partial that leaves more or less than one positional argument of a "
            "Python function: write lambda z: ..."
        )
    inner = _copy(function.func, {}, frozenset())
    place = len(function.args)
    before, after = bound.args[:place], bound.args[place + 1 :]
    return users(lambda z: inner(*before, z, *after))


def _copy(value: Any, done: dict[int, Any], names: frozenset[str]) -> Any:
    """Return a value that a function names, as it is now."""
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, FunctionType):
        return _copied_function(value, value, None, done)
    if is_jitted(value):
        options = {k: v for k, v in value.targetoptions.items() if k != "nopython"}
        return _copied_function(value, value.py_func, options, done)
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) is tuple:
        return tuple(_copy(v, done, names) for v in value)
    if isinstance(value, ModuleType) and value.__name__.partition(".")[0] not in FIXED:
        module = done[id(value)] = ModuleType(value.__name__)
        for name in names & vars(value).keys():
            setattr(module, name, _copy(getattr(value, name), done, names))
        return module
    return value


def _copied_function(
    original: Any, function: FunctionType, options: dict[str, Any] | None, done: dict[int, Any]
) -> Any:
    """Return a jitted copy with its own globals and closure."""
    names = _names(function.__code__)
    space: dict[str, Any] = {"__builtins__": __builtins__, "__name__": function.__module__}
    cells = tuple(CellType() for _ in function.__closure__ or ())
    copy = FunctionType(
        function.__code__, space, function.__name__, function.__defaults__, cells or None
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    jitted = done[id(original)] = users(copy, options)
    for name in names & function.__globals__.keys():
        space[name] = _copy(function.__globals__[name], done, names)
    for cell, source in zip(cells, function.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _copy(source.cell_contents, done, names)
        except ValueError:  # nothing assigned yet: Numba says so
            continue
    return jitted


def _names(code: CodeType) -> frozenset[str]:
    """Return the names that code, and the functions in it, look up."""
    inner = [_names(c) for c in code.co_consts if isinstance(c, CodeType)]
    return frozenset(code.co_names).union(*inner)
