"""Fastgrad in PyTorch: a differentiable fused layer, and modules to networks and back.

``pip install "fastgrad[torch]"``. Tensors are on the CPU, float32 or float64; they share memory
with the arrays that the kernels read and write.
"""

from fastgrad.torch.dense import dense
from fastgrad.torch.modules import from_module, to_module

__all__ = ["dense", "from_module", "to_module"]
