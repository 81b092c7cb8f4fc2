"""How units are compiled: Numba stays as it was for the user, and long chains run side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import output, start

from fastgrad.kernels import front_end, library, units


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
from fastgrad.kernels import library, units
code = library.build(units.unit("slopes.relu"), "float32")
from fastgrad.kernels import pipeline
print(pipeline.OPTIONS, b"fastgrad_backward_z_relu_float32" in code)
"""


def test_this_numba_has_all_passes() -> None:
    from fastgrad.kernels import pipeline

    assert list(pipeline.OPTIONS) == ["pipeline_class"]


def test_a_numba_with_other_passes_compiles_with_its_own(tmp_path: Path) -> None:
    printed = output(start(OTHER_NUMBA, FASTGRAD_CACHE_DIR=str(tmp_path)))
    assert printed.split() == ["{}", "True"]


@pytest.mark.parametrize("dtype", units.DTYPES)
def test_long_chains_run_side_by_side(dtype: str) -> None:
    """As many vectors as INTERLEAVE, each with a chain of its own: see compile._parallel."""
    from fastgrad.kernels import coefficients, rows, target

    with front_end.numba_enabled(), front_end.numba_front_end():
        text = rows.build(dtype, "exp")
    kind = f"v{target.tile(dtype).lanes}{'f32' if dtype == 'float32' else 'f64'}"
    chain = len(getattr(coefficients, dtype.upper()).exp)
    assert text.count(f"@llvm.fma.{kind}(") >= rows.INTERLEAVE * chain  # backward has none
