"""The table of losses: one row each, and what a row can do.

A loss is a sum of terms: one per element, or one per sample for softmax cross-entropy, hinge and
nll. `reduction` says what the sum is divided by: ``"mean"`` the number of terms, ``"sum"`` nothing,
``"samples"`` the number of samples.

To add one
----------
``fastgrad/losses/__init__.py``
    An object below, and its name in `LOSSES`.
``fastgrad/kernels/elementwise/loss.py``
    Its terms and slopes. Terms are float64 for both dtypes; functions of ``vector_math`` are
    bound to local names outside of the term: Numba does not look into a namespace. One with a
    term per sample stands in ``kernels/elementwise/loss_rows.py`` beside it.
``fastgrad/reference/losses.py``, ``fastgrad/loops/losses.py``
    Its twins.
``tests/truth.py``
    Its true terms, and its name in PyTorch.
``benchmarks/common.py``
    Its name, to have it timed.
``README.md``
    Its name in the table of all.

Most tests follow from the row, and ``tests/test_architecture.py``, ``tests/test_to_add_one.py`` and
``tests/test_benchmarks_cover.py`` say what is missing elsewhere.
"""

from __future__ import annotations

from fastgrad.losses.adjustable import AdjustedLoss, Hinge, Huber
from fastgrad.losses.array_loss import ArrayLoss
from fastgrad.losses.define import BUILT_IN, define_loss
from fastgrad.losses.loss import LOSSES, LogitLoss, Loss, _lookup

__all__ = [
    "BUILT_IN",
    "LOSSES",
    "AdjustedLoss",
    "ArrayLoss",
    "LogitLoss",
    "Loss",
    "_lookup",
    "define_loss",
]

mse = Loss(
    "mse",
    "(pred - target)**2",
    note="Half of it, as many scripts have it, is ``huber.with_(delta=math.inf)``.",
)
mae = Loss("mae", "|pred - target|")
huber = Huber(
    "huber",
    "d**2 / 2 if |d| <= 1 else |d| - 1/2, d = pred - target",
    note="Huber's function with delta = 1 (Annals of Mathematical Statistics 35, 1964); "
    "``huber.with_(delta=2.0)``\nhas another.",
)
log_cosh = Loss(
    "log_cosh",
    "log(cosh(pred - target))",
    note="About half the square of a small difference, and the size of a large one less log(2). "
    "The gradient\nis ``tanh(pred - target)``.",
)
binary_cross_entropy_with_logits = LogitLoss(
    "binary_cross_entropy_with_logits",
    "log(1 + exp(pred)) - target * pred",
    probabilities=True,
    note="Computed as ``max(pred, 0) - target * pred + log(1 + exp(-|pred|))``, which does not "
    "overflow. The\ngradient is ``sigmoid(pred) - target``.",
)
softmax_cross_entropy = LogitLoss(
    "softmax_cross_entropy",
    "-sum(target * log(softmax(pred)))",
    rowwise=True,
    note="Computed as ``sum(target * (log(sum(exp(pred - top))) + top - pred))`` with ``top = "
    "max(pred)``,\nwhich does not overflow. The gradient is ``softmax(pred) * sum(target) - "
    "target``. Of one class both are 0.",
)
poisson = Loss(
    "poisson",
    "exp(pred) - target * pred",
    note="The negative log-likelihood of counts whose mean is ``exp(pred)``, without the terms of "
    "the target alone.\nThe gradient is ``exp(pred) - target``.",
)
hinge = Hinge(
    "hinge",
    "sum(max(0, pred_j - pred_c + margin) for j != c), c the class",
    rowwise=True,
    note="The multiclass hinge loss of Weston and Watkins (ESANN 1999), as CS231n has it, with "
    "margin = 1;\n``hinge.with_(margin=0.5)`` has another. A target like `pred` counts each class "
    "as often as it says.\nThe slope at a kink is 0.",
)
nll = Loss(
    "nll",
    "-sum(target * log(pred))",
    rowwise=True,
    note="The negative log-likelihood of probabilities, as a softmax gives them: of logits "
    "`softmax_cross_entropy`\nis more accurate. A class of probability 0 in the target adds "
    "nothing. The gradient is ``-target / pred``.",
)
sum = ArrayLoss("sum", "y")
squared_l2 = ArrayLoss("squared_l2", "y**2")

LOSSES |= {
    loss.name: loss
    for loss in (
        mse, mae, huber, log_cosh, binary_cross_entropy_with_logits, poisson, softmax_cross_entropy,
        hinge, nll, sum, squared_l2,
    )
}  # fmt: skip

BUILT_IN += LOSSES
