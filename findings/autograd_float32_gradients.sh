#!/usr/bin/env bash
# autograd: the gradient of a float32 maximum, max or mean is float64, and so is all that is computed
# after it on the way back. At a tie, maximum gives each side half.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet "autograd==1.9.1" "numpy==2.4.6"
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

import autograd.numpy as anp
import numpy as np
from autograd import grad

print("autograd", version("autograd"), "numpy", np.__version__)
x = np.array([-1.0, 0.0, 2.0], np.float32)
functions = {
    "sum of maximum(x, 0)": lambda x: anp.sum(anp.maximum(x, 0)),
    "max": lambda x: anp.max(x),
    "mean": lambda x: anp.mean(x),
    "sum of x * (x > 0)": lambda x: anp.sum(x * (x > 0)),
}
found = {}
for name, function in functions.items():
    gradient = grad(function)(x)
    found[name] = str(gradient.dtype)
    print(f"{name}: {x.dtype} in, gradient {gradient} of {gradient.dtype}")
half = grad(functions["sum of maximum(x, 0)"])(x)[1]
expected = dict.fromkeys(functions, "float64") | {"sum of x * (x > 0)": "float32"}
assert found == expected and half == 0.5, f"this version does otherwise: {found}, {half}"
PYTHON
