"""The passes of Numba that a kernel goes through, from its source to LLVM IR.

Numba makes 27 passes over each function, most of them for what no kernel has: closures,
comprehensions, `with`, exceptions, array expressions, calls of overloads worth inlining. These
eleven do the rest: the first gradient of a process takes 5.2 instead of 5.6 s. If another version
of Numba keeps one of them elsewhere, or `fallback` has given them up, kernels go through all 27,
which only costs time.
"""

from __future__ import annotations

from typing import Any

from fastgrad.kernels.toolchain.fallback import numba_alone

try:
    from numba.core.compiler import Compiler
    from numba.core.compiler_machinery import PassManager
    from numba.core.typed_passes import (
        AnnotateTypes,
        IRLegalization,
        NativeLowering,
        NoPythonBackend,
        NopythonTypeInference,
        PreLowerStripPhis,
    )
    from numba.core.untyped_passes import (
        DeadBranchPrune,
        FixupArgs,
        IRProcessing,
        ReconstructSSA,
        TranslateByteCode,
    )
except ImportError:
    OPTIONS: dict[str, Any] = {}
else:
    _PASSES = {
        TranslateByteCode: "from bytecode to Numba's IR",
        FixupArgs: "arguments",
        IRProcessing: "definitions",
        DeadBranchPrune: "branches on constants of the source, as in rows.forward_kernel",
        ReconstructSSA: "one variable for each assignment",
        NopythonTypeInference: "types",
        PreLowerStripPhis: "phi nodes become assignments",
        IRLegalization: "lifetimes",
        AnnotateTypes: "what NoPythonBackend wants",
        NativeLowering: "from Numba's IR to LLVM's",
        NoPythonBackend: "the result",
    }

    class _Kernels(Compiler):  # type: ignore[misc]  # Numba has no types
        def define_pipelines(self) -> Any:
            if numba_alone():
                return super().define_pipelines()
            passes = PassManager("kernels")
            for step, purpose in _PASSES.items():
                passes.add_pass(step, purpose)
            passes.finalize()
            return [passes]

    OPTIONS = {"pipeline_class": _Kernels}
