#!/usr/bin/env bash
# scipy.optimize.minimize with float32 gradients: SLSQP raises an error named "error", and BFGS, CG and
# Newton-CG end without success beside the minimum that L-BFGS-B, TNC and trust-constr report.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "numpy==2.4.6" "scipy==1.17.1"
"$work/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import scipy
from scipy.optimize import minimize

rng = np.random.default_rng(0)
a = rng.standard_normal((40, 6)).astype(np.float32)
b = rng.standard_normal(40).astype(np.float32)


def value_and_gradient(p):
    r = a @ p.astype(np.float32) - b
    return float(r @ r), 2 * (a.T @ r)  # a float32 gradient


best = np.linalg.lstsq(a.astype(float), b.astype(float), rcond=None)[0]
lowest = value_and_gradient(best)[0]
print("scipy", scipy.__version__, "- least value", lowest)
found = {}
for method in ("BFGS", "CG", "L-BFGS-B", "Newton-CG", "SLSQP", "TNC", "trust-constr"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = minimize(value_and_gradient, np.zeros(6), jac=True, method=method)
            gap = result.fun / lowest - 1
            found[method] = "success" if result.success else "no success"
            print(f"{method}: {found[method]}, {gap:.0e} above the least value")
        except Exception as error:
            found[method] = "raised"
            print(f"{method}: raised {type(error).__name__}: {error}")
assert found == {
    "BFGS": "no success", "CG": "no success", "Newton-CG": "no success", "SLSQP": "raised",
    "L-BFGS-B": "success", "TNC": "success", "trust-constr": "success",
}, found
PYTHON
