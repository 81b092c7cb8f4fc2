"""How units are compiled: Numba stays as it was for the user, and long chains run side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import output, start

from fastgrad.kernels import units
from fastgrad.kernels.toolchain import front_end, library


def test_compiling_leaves_numba_as_it_was() -> None:
    """Units are compiled without Numba's own optimization; what a user compiles is not."""
    from numba import config
    from numba.core.registry import cpu_target

    codegen = cpu_target.target_context.codegen()
    before = config.OPT, config.DISABLE_JIT, codegen._engine
    code = library.build(units.unit("slopes.relu"), "float32")
    assert code[:4] == b"\x7fELF" or sys.platform != "linux"
    assert before == (config.OPT, config.DISABLE_JIT, codegen._engine)
    assert type(config.OPT) is type(before[0])
    with pytest.raises(ZeroDivisionError), front_end.numba_front_end():
        assert config.OPT == 0
        assert codegen._engine is not before[2]
        _ = 1 / 0
    assert before == (config.OPT, config.DISABLE_JIT, codegen._engine)


USERS_CODE = """
import numpy as np, fastgrad as fg
if {first}:
    fg.dense(np.ones((2, 3)), np.ones((3, 2)))
from numba import njit

@njit
def f(a):
    total = 0.0
    for x in a:
        total += x * x if x > 0.3 else x * 3.0
    return total

f(np.ones(3))
print(next(iter(f.inspect_asm().values())))
"""


def test_users_code_is_compiled_as_before(tmp_path: Path) -> None:
    """Numba's code generator is made for the user, also where our kernels come first."""
    code = [
        output(start(USERS_CODE.format(first=first), FASTGRAD_CACHE_DIR=str(tmp_path)))
        for first in (True, False)
    ]
    instructions = [
        [line.split()[0] for line in text.splitlines() if line.startswith("\t")] for text in code
    ]
    assert instructions[0] == instructions[1]


OTHER_NUMBA = """
import numba.core.compiler
from numba.core import untyped_passes
del untyped_passes.FixupArgs
from fastgrad.kernels.toolchain import library
from fastgrad.kernels import units
code = library.build(units.unit("slopes.relu"), "float32")
from fastgrad.kernels.toolchain import pipeline
print(pipeline.OPTIONS, b"fastgrad_backward_z_relu_float32" in code)
"""


def test_this_numba_has_all_passes() -> None:
    from fastgrad.kernels.toolchain import pipeline

    assert list(pipeline.OPTIONS) == ["pipeline_class"]


def test_a_numba_with_other_passes_compiles_with_its_own(tmp_path: Path) -> None:
    printed = output(start(OTHER_NUMBA, FASTGRAD_CACHE_DIR=str(tmp_path)))
    assert printed.split() == ["{}", "True"]


@pytest.mark.parametrize("dtype", units.DTYPES)
def test_long_chains_run_side_by_side(dtype: str) -> None:
    """As many vectors as INTERLEAVE, each with a chain of its own: see compile._parallel."""
    from fastgrad.kernels.elementwise import coefficients, rows
    from fastgrad.kernels.toolchain import target

    with front_end.numba_enabled(), front_end.numba_front_end():
        text = rows.build(dtype, "exp")
    kind = f"v{target.tile(dtype).lanes}{'f32' if dtype == 'float32' else 'f64'}"
    chain = len(getattr(coefficients, dtype.upper()).exp)
    assert text.count(f"@llvm.fma.{kind}(") >= rows.INTERLEAVE * chain  # backward has none


# -- Numba's private parts, moved ------------------------------------------------------------------

# What another version of Numba may refuse. Each must refuse us alone: then Numba still works.
OURS = """
def ours():
    frame = sys._getframe(2)
    return any("fastgrad" in f.f_code.co_filename for f in [frame, frame.f_back])
"""
PLANTED = {
    "engine": """
from numba.core import codegen
codegen.JitEngine.brand_new = lambda self: None
add = codegen.JITCPUCodegen._add_module
def _add_module(self, module):
    self._engine.brand_new()
    return add(self, module)
codegen.JITCPUCodegen._add_module = _add_module
""",
    "engine of other arguments": """
from numba.core import codegen
finalize = codegen.JitEngine.finalize_object
codegen.JitEngine.finalize_object = lambda self, how=None: finalize(self)
add = codegen.JITCPUCodegen._add_module
def _add_module(self, module):
    add(self, module)
    self._engine.finalize_object(how="all")
codegen.JITCPUCodegen._add_module = _add_module
""",
    "add_pass": """
from numba.core.compiler_machinery import PassManager
add_pass = PassManager.add_pass
def changed(self, step, purpose):
    if ours(): raise TypeError("add_pass() missing 1 required argument: 'stage'")
    return add_pass(self, step, purpose)
PassManager.add_pass = changed
""",
    "PassManager": """
from numba.core.compiler_machinery import PassManager
init = PassManager.__init__
def changed(self, name):
    if name == "kernels": raise KeyError("kernels")
    init(self, name)
PassManager.__init__ = changed
""",
    "no registry": """
from numba.core.registry import CPUTarget
context = CPUTarget.target_context.fget
def changed(self):
    if ours(): raise AttributeError("target_context")
    return context(self)
CPUTarget.target_context = property(changed)
""",
    "no OPT": """
from numba import config
from numba.core import codegen
class Without:
    def __getattr__(self, name):
        if name == "OPT" and ours(): raise AttributeError(name)
        return getattr(config, name)
import numba
numba.config = Without()
""",
    "jit options": """
import numba
njit = numba.njit
def changed(*args, **options):
    for name in ("pipeline_class", "forceinline", "no_cpython_wrapper", "no_cfunc_wrapper"):
        if name in options: raise KeyError(f"unrecognized options: {name}")
    return njit(*args, **options)
numba.njit = changed
""",
}
STOCK = """
import ctypes, sys, numpy as np
import numba.core.compiler
{ours}
{plant}
import fastgrad as fg
from fastgrad.kernels.toolchain.fallback import reasons
from fastgrad.kernels.toolchain.library import LIBRARY
for unit, function in {units}:
    at = LIBRARY.address(unit, function, "float32")
z = np.linspace(-3, 3, 21, dtype=np.float32)
y = np.empty_like(z)
at = LIBRARY.address("rows.relu", "forward_relu", "float32")
ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 6)(at)(z.ctypes.data, 7, y.ctypes.data, 7, 3, 7)
assert (y == np.maximum(z, 0)).all()
print(len(LIBRARY.compiled), len(reasons))
fg.show_config()
"""
SMALL = [("rows.relu", "forward_relu")]


@pytest.mark.parametrize("part", list(PLANTED))
def test_a_moved_part_costs_time_only(part: str, tmp_path: Path) -> None:
    """Compiled once more, no warning; show_config tells of it, in later processes, too."""
    # pack_b is called by another function of its unit: Numba's own engine asks where it is.
    units = [("panel", "panel"), ("thin", "thin"), ("gemm", "gemm"), *SMALL]
    asked = units if part == "add_pass" else SMALL
    code = STOCK.format(ours=OURS, plant=PLANTED[part], units=asked)
    printed = output(start(code, FASTGRAD_CACHE_DIR=str(tmp_path)), timeout=300).splitlines()
    built, alone = map(int, printed[0].split())
    assert built >= len(asked)  # and what these need
    assert 1 <= alone <= built  # units made without Numba have nothing to give up
    (passes,) = (line for line in printed if line.startswith("passes "))
    assert f"Numba's own for {alone} functions, which takes longer: " in passes
    told = output(
        start("import fastgrad as fg; fg.show_config()", FASTGRAD_CACHE_DIR=str(tmp_path))
    )
    assert passes in told.splitlines()


def test_a_kernel_that_numba_cannot_type_is_not_compiled_twice() -> None:
    from numba import TypingError, njit

    from fastgrad.kernels.toolchain import fallback

    tried = []

    def make() -> None:
        tried.append(fallback.numba_alone())
        njit("int64(int64)")(lambda n: n + "x")

    with pytest.raises(TypingError):
        fallback.compiled("wrong", make)
    assert tried == [False]


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()])
def test_what_is_not_numbas_fault_is_not_compiled_twice(error: BaseException) -> None:
    from fastgrad.kernels.toolchain import fallback

    tried = []

    def make() -> None:
        tried.append(fallback.numba_alone())
        raise error

    with pytest.raises(type(error)):
        fallback.compiled("wrong", make)
    assert tried == [False]


def test_what_fails_twice_is_an_error_and_the_next_is_tried_by_our_passes() -> None:
    from fastgrad.kernels.toolchain import fallback

    tried = []

    def make() -> None:
        tried.append(fallback.numba_alone())
        raise AttributeError("moved")

    for _ in range(2):
        with pytest.raises(AttributeError, match="moved"):
            fallback.compiled("wrong", make)
    assert tried == [False, True] * 2
    assert "wrong" not in fallback.reasons


def test_ones_own_activation_where_a_part_has_moved(tmp_path: Path) -> None:
    code = f"""
import sys, numpy as np
import numba.core.compiler
{OURS}
{PLANTED["add_pass"]}
import fastgrad as fg
z = np.arange(-4, 5, dtype=np.float32)
cube = fg.define_activation("cube", lambda z: z * z * z, lambda z: 3 * z * z)
assert (cube(z) == z**3).all() and (cube.derivative(z) == 3 * z**2).all()
from fastgrad.kernels.toolchain.fallback import reasons
print(all(name in reasons for name in ("cube forward float64", "cube backward_z float64")))
"""
    assert output(start(code, FASTGRAD_CACHE_DIR=str(tmp_path)), timeout=300) == "True"
