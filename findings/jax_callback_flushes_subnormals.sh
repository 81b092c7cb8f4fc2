#!/usr/bin/env bash
# NumPy code that JAX calls back computes other numbers than the same code called directly.
#
# jax.pure_callback runs a Python function on a thread of XLA's CPU client, and that thread has the
# processor's flush-to-zero and denormals-are-zero modes on. So every result below 2**-126 (float32)
# or 2**-1022 (float64) that NumPy computes inside the callback is 0, and subnormal inputs count as
# 0; outside, NumPy keeps them. Nothing warns. Seen with jax 0.10.2 and numpy 2.4.6 on x86-64.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PYTHON'
import platform

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
print("jax", jax.__version__, "numpy", np.__version__, platform.machine())
wrong = False
for dtype, small in ((np.float32, 1e-20), (np.float64, 1e-160)):
    a = np.full(4, small, dtype)

    def square(a):
        a = np.asarray(a)
        return a * a

    direct = square(a)
    called = np.asarray(jax.pure_callback(square, jax.ShapeDtypeStruct(a.shape, a.dtype), a))
    print(f"{a.dtype}: {small} squared is {direct[0]} in NumPy, {called[0]} in NumPy in a callback")
    wrong |= not (direct[0] > 0 and called[0] == 0)
raise SystemExit("the behaviour has changed" if wrong else 0)
PYTHON
