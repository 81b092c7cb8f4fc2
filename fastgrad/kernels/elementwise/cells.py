"""Row kernels of recurrent cells: what a step does with its gates, forward and backward.

Gates are side by side in a row of `a`, each k wide and already activated; states are contiguous
rows of k. All functions take m rows. `next` is the first part of the gradient of the state before
this step: the recurrent product is added to it afterwards.

LSTM, with gates i, f at 0 and k, and o, g at the places given:

    c = f * c' + i * g,  h = o * tanh(c)

GRU, with gates r, u, n at 0, k and 2 k: r resets, u is what is kept of the state before:

    h = (1 - u) * n + u * h'
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastgrad.kernels.toolchain.compile import assemble, inlined
from fastgrad.kernels.toolchain.intrinsics import fma
from fastgrad.kernels.toolchain.pointers import as_pointer, shift

# Every argument is one word: sizes, places in a row of gates, addresses (a prime: a step before).
LSTM_STATE = types.void(*([types.intp] * 6))  # m k g | a | c' c
LSTM_BACK = types.void(*([types.intp] * 11))  # m k o g | a c' tanh(c) | dh dc next | da
GRU_STATE = types.void(*([types.intp] * 5))  # m k | a | h' h
GRU_BACK = types.void(*([types.intp] * 9))  # m k | a h' | dh next | da row | q or 0
GRU_RESET_BACK = types.void(*([types.intp] * 7))  # m k | a h' s | dh | da
GATED = types.void(*([types.intp] * 6))  # m k | gate row | value | out
ADD_GATED = types.void(*([types.intp] * 6))  # m k | gate row | value | sum


def build(dtype_name: str) -> str:
    """Return the LLVM IR of the cells' row kernels for one dtype."""
    dtype = getattr(types, dtype_name)
    size = dtype.bitwidth // 8
    one = dtype(1)

    @inlined
    def slope(y):
        """Return the derivative of the sigmoid from its value."""
        return y * (one - y)

    def lstm_state(m: int, k: int, g_at: int, a_at: int, before_at: int, c_at: int) -> None:
        for row in range(m):
            i = as_pointer(a_at + row * 4 * k * size, dtype)
            f, g = shift(i, k), shift(i, g_at)
            before = as_pointer(before_at + row * k * size, dtype)
            c = as_pointer(c_at + row * k * size, dtype)
            for j in range(k):
                c[j] = fma(f[j], before[j], i[j] * g[j])

    def gated(m: int, k: int, gate_at: int, row: int, value_at: int, out_at: int) -> None:
        """Write gate * value: the gate is read from rows of gates, the others are rows of k."""
        for i in range(m):
            gate = as_pointer(gate_at + i * row * size, dtype)
            value = as_pointer(value_at + i * k * size, dtype)
            out = as_pointer(out_at + i * k * size, dtype)
            for j in range(k):
                out[j] = gate[j] * value[j]

    def lstm_back(
        m: int, k: int, o_at: int, g_at: int, a_at: int, before_at: int, tanh_at: int,
        dh_at: int, dc_at: int, next_at: int, da_at: int,
    ) -> None:  # fmt: skip
        for row in range(m):
            i = as_pointer(a_at + row * 4 * k * size, dtype)
            f, o, g = shift(i, k), shift(i, o_at), shift(i, g_at)
            di = as_pointer(da_at + row * 4 * k * size, dtype)
            df, do, dg = shift(di, k), shift(di, o_at), shift(di, g_at)
            before = as_pointer(before_at + row * k * size, dtype)
            tanh_c = as_pointer(tanh_at + row * k * size, dtype)
            dh = as_pointer(dh_at + row * k * size, dtype)
            dc = as_pointer(dc_at + row * k * size, dtype)
            following = as_pointer(next_at + row * k * size, dtype)
            for j in range(k):
                grad, t = dh[j], tanh_c[j]
                inner = fma(grad * o[j], fma(-t, t, one), dc[j])
                do[j] = grad * t * slope(o[j])
                df[j] = inner * before[j] * slope(f[j])
                di[j] = inner * g[j] * slope(i[j])
                dg[j] = inner * i[j] * fma(-g[j], g[j], one)
                dc[j] = inner * f[j]
                dh[j] = following[j]

    def gru_state(m: int, k: int, a_at: int, before_at: int, h_at: int) -> None:
        for row in range(m):
            u = as_pointer(a_at + (row * 3 + 1) * k * size, dtype)
            n = shift(u, k)
            before = as_pointer(before_at + row * k * size, dtype)
            h = as_pointer(h_at + row * k * size, dtype)
            for j in range(k):
                h[j] = fma(one - u[j], n[j], u[j] * before[j])

    def add_gated(m: int, k: int, gate_at: int, row: int, value_at: int, sum_at: int) -> None:
        """Add gate * value to a sum, which is also stored in rows of gates."""
        for i in range(m):
            gate = as_pointer(gate_at + i * row * size, dtype)
            total = as_pointer(sum_at + i * row * size, dtype)
            value = as_pointer(value_at + i * k * size, dtype)
            for j in range(k):
                total[j] = fma(gate[j], value[j], total[j])

    def gru_back(
        m: int, k: int, a_at: int, before_at: int, dh_at: int, next_at: int,
        da_at: int, da_row: int, q_at: int,
    ) -> None:  # fmt: skip
        """Compute the gates' gradients; that of r only if r is applied after the product q.

        The gradient of q is stored behind the gates' in a row of da.
        """
        for row in range(m):
            r = as_pointer(a_at + row * 3 * k * size, dtype)
            u, n = shift(r, k), shift(r, 2 * k)
            dr = as_pointer(da_at + row * da_row * size, dtype)
            du, dn, dq = shift(dr, k), shift(dr, 2 * k), shift(dr, 3 * k)
            before = as_pointer(before_at + row * k * size, dtype)
            dh = as_pointer(dh_at + row * k * size, dtype)
            following = as_pointer(next_at + row * k * size, dtype)
            for j in range(k):
                grad, keep, new = dh[j], u[j], n[j]
                dn[j] = grad * (one - keep) * fma(-new, new, one)
                du[j] = grad * (before[j] - new) * slope(keep)
                dh[j] = fma(grad, keep, following[j])
            if q_at != 0:
                q = as_pointer(q_at + row * k * size, dtype)
                for j in range(k):
                    dr[j] = dn[j] * q[j] * slope(r[j])
                    dq[j] = dn[j] * r[j]

    def gru_reset_back(
        m: int, k: int, a_at: int, before_at: int, s_at: int, dh_at: int, da_at: int
    ) -> None:
        """Compute the gradient of an r applied before the product: s is the gradient of r * h'."""
        for row in range(m):
            r = as_pointer(a_at + row * 3 * k * size, dtype)
            dr = as_pointer(da_at + row * 3 * k * size, dtype)
            before = as_pointer(before_at + row * k * size, dtype)
            s = as_pointer(s_at + row * k * size, dtype)
            dh = as_pointer(dh_at + row * k * size, dtype)
            for j in range(k):
                dr[j] = s[j] * before[j] * slope(r[j])
                dh[j] = fma(s[j], r[j], dh[j])

    functions: dict[str, tuple[Any, Any]] = {
        "lstm_state": (LSTM_STATE, lstm_state),
        "lstm_back": (LSTM_BACK, lstm_back),
        "gru_state": (GRU_STATE, gru_state),
        "gru_back": (GRU_BACK, gru_back),
        "gru_reset_back": (GRU_RESET_BACK, gru_reset_back),
        "gated": (GATED, gated),
        "add_gated": (ADD_GATED, add_gated),
    }
    return assemble(dtype_name, functions, parallel=1)
