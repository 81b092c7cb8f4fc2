#!/usr/bin/env bash
# Inside jax.pure_callback the thread flushes subnormal numbers to zero: plain NumPy computes other numbers there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "numpy==2.4.6" "jax==0.10.2"
"$work/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

small = np.float32(1e-40)


def double(x):
    return np.asarray(x) * np.float32(2)


outside = double(small)
shape = jax.ShapeDtypeStruct((), np.float32)
inside = np.asarray(jax.jit(lambda x: jax.pure_callback(double, shape, x))(jnp.float32(1)))
plain = np.asarray(
    jax.jit(lambda x: jax.pure_callback(lambda _: double(small), shape, x))(jnp.float32(1))
)
print(f"jax {jax.__version__}, numpy {np.__version__}")
print(f"2 * 1e-40 by NumPy: {outside}, by NumPy inside a callback: {plain}")
assert inside == 2 and outside > 0 and plain == 0
PYTHON
