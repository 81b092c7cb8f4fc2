"""One layer in three frameworks
=============================

One fused layer in PyTorch, JAX and autograd, beside what each computes itself.
"""

from __future__ import annotations

import autograd
import jax
import numpy as np
import torch
from autograd import numpy as anp

from fastgrad.autograd import dense as autograd_dense
from fastgrad.jax import dense as jax_dense
from fastgrad.torch import dense as torch_dense
from fastgrad.torch import from_module

RNG = np.random.default_rng(0)
X, W, B = (RNG.standard_normal(shape).astype("float32") for shape in ((6, 4), (4, 3), (3,)))


def main() -> None:
    """Print how far apart the gradients of w are in each."""
    leaf = torch.tensor(W, requires_grad=True)
    x, b = torch.tensor(X), torch.tensor(B)
    (mine,) = torch.autograd.grad(torch_dense(x, leaf, b, "tanh").sum(), leaf)
    (theirs,) = torch.autograd.grad(torch.tanh(x @ leaf + b).sum(), leaf)
    print(f"PyTorch: {float((mine - theirs).abs().max()):.1e}")

    both = [
        jax.jit(jax.grad(lambda w, layer=layer: layer(w).sum()))(W)
        for layer in (
            lambda w: jax_dense(X, w, B, "tanh"),
            lambda w: jax.numpy.tanh(jax.numpy.asarray(X) @ w + B),
        )
    ]
    print(f"JAX: {float(abs(both[0] - both[1]).max()):.1e}")

    both = [
        autograd.grad(lambda w, layer=layer: anp.sum(layer(w)))(W)
        for layer in (
            lambda w: autograd_dense(X, w, B, "tanh"),
            lambda w: anp.tanh(anp.dot(X, w) + B),
        )
    ]
    print(f"autograd: {float(abs(both[0] - both[1]).max()):.1e}")

    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    net, params = from_module(module)
    apart = np.abs(net.predict(params, X) - module(x).detach().numpy()).max()
    print(f"a module as a network: {float(apart):.1e}")


if __name__ == "__main__":
    main()
