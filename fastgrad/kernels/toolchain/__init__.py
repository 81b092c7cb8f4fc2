"""How kernels are compiled, cached and loaded: what relies on Numba, LLVM and CPython inside."""
