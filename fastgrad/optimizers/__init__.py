"""Optimizers: their settings, what they remember, and their steps on a script's arrays.

The formulas are PyTorch's, computed in the dtype of the parameters; scalars such as
``lr / (1 - beta1**t)`` are computed in float64 and then rounded.

To add one
----------
``fastgrad/optimizers/kinds.py``
    Its class: the settings and their bounds, the name of its kernel, what that is given and what
    it remembers. A row of OPTIMIZERS, and its name in ``__all__``. `powers` is 2 if the kernel
    keeps beta1**t and beta2**t.
``fastgrad/kernels/network/update.py``
    Its kernel: one step over arrays of one dtype.
``fastgrad/reference/optimizers.py``, ``fastgrad/loops/optimizers.py``
    Its step in NumPy, and in plain loops; its name in ``__all__``.
``fastgrad/__init__.py``
    Its name in `_LATER`, to make it public.
``tests/test_training.py``, ``tests/twins.py``
    Settings to try it with, and its formula in `first_steps`. The compiled steps are held against
    that and against the twins'; those against the class of its name in `torch.optim`, as ``step``
    is by ``tests/test_tree_steps.py``. Of one that PyTorch has not, both need a step of their own.
``README.md``
    Its name in the table of all.
``benchmarks/networks.py`` times what OPTIMIZERS holds.

``tests/test_architecture.py`` names the place that is missing.
"""

from fastgrad.optimizers import kinds, schedules
from fastgrad.optimizers.kinds import *  # noqa: F403 - its __all__ is what is public
from fastgrad.optimizers.optimizer import Memory, Optimizer

__all__ = ["Memory", "Optimizer", "schedules", *kinds.__all__]
