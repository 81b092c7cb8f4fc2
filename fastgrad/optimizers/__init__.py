"""Optimizers: what each is set to and remembers, and their steps on the arrays of a script.

The formulas are PyTorch's, computed in the dtype of the parameters; scalars such as
``lr / (1 - beta1**t)`` are computed in float64 and then rounded.

To add one
----------
``fastgrad/optimizers/kinds.py``
    Its class: the settings and their bounds, the name of its kernel, what that is given and what
    it remembers. A row of OPTIMIZERS. `powers` is 2 if the kernel keeps beta1**t and beta2**t.
``fastgrad/kernels/network/update.py``
    Its kernel: one step over arrays of one dtype.
``fastgrad/reference/optimizers.py``, ``fastgrad/loops/optimizers.py``
    Its step in NumPy, and in plain loops.
``fastgrad/optimizers/__init__.py``, ``fastgrad/__init__.py``
    Its name, to make it public: among the imports and in ``__all__``; in `_LATER`.
``fastgrad/reference/__init__.py``, ``fastgrad/loops/__init__.py``
    Its name, to make the twins public.
``tests/test_training.py``, ``tests/twins.py``
    Settings to try it with, and its formula in `first_steps`. The compiled steps are held against
    that and against the twins'; those against the class of its name in `torch.optim`, as ``step``
    is by ``tests/test_tree_steps.py``. Of one that PyTorch has not, both need a step of their own.
``README.md``
    Its name in the table of all.
``benchmarks/networks.py`` times what OPTIMIZERS holds.

``tests/test_architecture.py`` names the place that is missing.
"""

from fastgrad.optimizers import schedules
from fastgrad.optimizers.kinds import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, RMSprop
from fastgrad.optimizers.optimizer import Memory, Optimizer

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Memory",
    "Optimizer",
    "RMSprop",
    "schedules",
]
