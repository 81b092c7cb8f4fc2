"""The kernels' code reads and writes through pointers without an element type: see memory_ir."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from conftest import output, start

import fastgrad
from fastgrad.activations import BUILT_IN
from fastgrad.kernels.units import DTYPES, UNITS
from fastgrad.layers.kinds import KINDS
from fastgrad.losses import LOSSES
from fastgrad.optimizers import OPTIMIZERS

ROOT = Path(fastgrad.__file__).parent
ROWS = [name for name in BUILT_IN if name != "softmax"]
ALL = [
    *UNITS,
    *(f"rows.{name}" for name in BUILT_IN),
    *(f"slopes.{name}" for name in ROWS),
    *(f"stage.{kind}" for kind in KINDS),
    *(f"loss.{name}" for name in LOSSES),
    *sorted({f"update.{kind.kernel}" for kind in OPTIMIZERS.values()}),
]
# Of each way to write code one: tiles, sums, Numba's pointers, atomic words.
SAME = ["panel", "dot", "rows.softmax", "plan"]
TYPED = {"as_pointer", "pointee"}

WRITTEN = """
import importlib, sys
sys.path.insert(0, {tests!r})
import opaque
opaque.plant()
import llvmlite.binding as llvm
from fastgrad.kernels import units
from fastgrad.kernels.toolchain import compile
from fastgrad.kernels.toolchain.front_end import collector_paused, numba_enabled, numba_front_end
compile._optimized = lambda text, vectors=True: text  # LLVM's part, after all pointers are opaque
with numba_enabled(), numba_front_end(), collector_paused():
    for name in {names}:
        unit = units.unit(name)
        module = importlib.import_module("fastgrad.kernels." + unit.module)
        row = () if unit.argument is None else (unit.argument,)
        made = llvm.parse_assembly(module.build({dtype!r}, *row))
        made.verify()
        defined = {{f.name for f in made.functions if not f.is_declaration}}
        for function in unit.functions:
            assert units.symbol(function, {dtype!r}) in defined, name
"""
CODE = """
import hashlib, sys
sys.path.insert(0, {tests!r})
if {planted}:
    import opaque
    opaque.plant()
from fastgrad.kernels import units
from fastgrad.kernels.toolchain.library import build
for name in {names}:
    print(name, hashlib.sha256(build(units.unit(name), "float32")).hexdigest())
"""
TESTS = str(Path(__file__).parent)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_unit_is_written_without_typed_pointers(dtype: str) -> None:
    code = WRITTEN.format(tests=TESTS, names=ALL, dtype=dtype)
    output(start(code, LLVMLITE_ENABLE_IR_LAYER_TYPED_POINTERS="0"), timeout=300)


def test_the_machine_code_is_the_same() -> None:
    """To the byte, and so its results are."""
    made = []
    for planted in (False, True):
        code = CODE.format(tests=TESTS, names=SAME, planted=planted)
        made.append(start(code, LLVMLITE_ENABLE_IR_LAYER_TYPED_POINTERS=str(int(not planted))))
    typed, opaque = (output(process, timeout=300) for process in made)
    assert typed == opaque
    assert len(typed.splitlines()) == len(SAME)


def test_a_typed_pointer_would_be_seen() -> None:
    """What the test above plants refuses what it should, and lets Numba alone."""
    code = f"""
import sys
sys.path.insert(0, {TESTS!r})
import opaque
opaque.plant()
opaque.OURS = "<string>"  # this code is now fastgrad's
from llvmlite import ir
i64 = ir.IntType(64)
function = ir.Function(ir.Module(), ir.FunctionType(i64, [i64.as_pointer()]), "f")
builder = ir.IRBuilder(function.append_basic_block())
for use in (
    lambda at: builder.load(at),
    lambda at: builder.gep(at, [i64(1)]),
    lambda at: builder.load_atomic(at, "acquire", 8),
    lambda at: builder.call(builder.bitcast(at, function.type), [at]),
    lambda at: at.type.pointee,
):
    try:
        use(function.args[0])
    except (ValueError, AttributeError, TypeError) as error:
        print(type(error).__name__)
from numba import njit
assert njit(lambda a: a[1])((1.5, 2.5)) == 2.5
"""
    refused = output(start(code, LLVMLITE_ENABLE_IR_LAYER_TYPED_POINTERS="0")).split()
    assert len(refused) == 5


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.name)
def test_no_file_asks_for_a_typed_pointer(path: Path) -> None:
    """But memory_ir, where llvmlite or Numba still wants one."""
    where = os.path.relpath(path, ROOT)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in TYPED, f"{where}:{node.lineno}: {node.attr}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("PointerType"):
            assert not node.args or path.name == "memory_ir.py", f"{where}:{node.lineno}"
