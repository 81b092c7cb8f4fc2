#!/usr/bin/env bash
# SciPy and JAX subtract the maximum in uint8, where it wraps around: softmax of 0, 1, 2 is NaN.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "numpy==2.4.6" "scipy==1.17.1" "jax==0.10.2"
"$work/venv/bin/python" - <<'PYTHON'
import jax
import numpy as np
import scipy
from scipy.special import softmax

np.seterr(all="ignore")
logits = np.array([0, 1, 2], np.uint8)
results = {
    f"scipy {scipy.__version__}": softmax(logits),
    f"jax {jax.__version__}": np.asarray(jax.nn.softmax(logits)),
}
print("right:", np.exp([0.0, 1, 2]) / np.exp([0.0, 1, 2]).sum())
for name, result in results.items():
    print(f"{name}: {result}")
    assert np.isnan(result[:2]).all() and result[2] == 0
PYTHON
