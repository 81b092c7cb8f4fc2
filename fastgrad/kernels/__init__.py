"""The compiled kernels. Only here is Numba imported; nothing here knows the public API."""
