#!/usr/bin/env bash
# MLPRegressor with several outputs follows a gradient that is not the gradient of its loss.
#
# Its squared error is averaged over samples and over outputs, but the gradient of the last layer is
# divided by the number of samples alone. So with k outputs the gradient is k times that of loss_,
# beside a penalty that is not. SGD and Adam minimize k times the reported loss; L-BFGS gets a value
# and a slope that do not belong together. One small step of plain gradient descent shows it: the
# loss falls by 1/k of learning rate * |gradient|**2. Seen with scikit-learn 1.9.1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "scikit-learn==1.9.1" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import sklearn
from sklearn.neural_network import MLPRegressor

warnings.simplefilter("ignore")
print("scikit-learn", sklearn.__version__, "numpy", np.__version__)
rng = np.random.default_rng(0)
x, rate = rng.standard_normal((40, 3)), 1e-5
wrong = False
for outputs in (1, 2, 5):
    y = rng.standard_normal((40, outputs))
    y = y[:, 0] if outputs == 1 else y
    model = MLPRegressor(
        hidden_layer_sizes=(), activation="identity", solver="sgd", alpha=0.0, batch_size=40,
        max_iter=1, learning_rate_init=rate, momentum=0.0, nesterovs_momentum=False,
        random_state=0, warm_start=True,
    )
    weights, losses = [], []
    for _ in range(3):  # loss_ is that of the weights before the one step of a fit
        model.fit(x, y)
        weights.append([a.copy() for a in (*model.coefs_, *model.intercepts_)])
        losses.append(model.loss_)
    steps = zip(weights[0], weights[1])
    gradient = sum(float(((a - b) ** 2).sum()) for a, b in steps) / rate**2
    fell = (losses[1] - losses[2]) / rate
    print(f"{outputs} outputs: the loss falls by {fell / gradient:.3f} of rate * |gradient|**2")
    wrong |= abs(fell / gradient - 1 / outputs) > 0.02
raise SystemExit("the behaviour has changed" if wrong else 0)
PYTHON
