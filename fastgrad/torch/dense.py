"""`dense`: the fused layer as a pair of `autograd.Function`, with second derivatives and `vmap`."""

from __future__ import annotations

from typing import Any

import torch

from fastgrad.arrays import Array
from fastgrad.layers import batched
from fastgrad.torch.second import vjp_of_gradients

__all__ = ["dense"]

_DTYPES = (torch.float32, torch.float64)


def dense(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None, activation: Any = None
) -> torch.Tensor:
    """Return ``y = activation(x @ w + b)``, differentiable in PyTorch.

    The forward pass is `fastgrad.dense_forward`, the backward pass `fastgrad.dense_backward`: each
    one call, without copies of the tensors, whatever their strides.

    Parameters
    ----------
    x : Tensor, shape (..., d) or (d,)
        Samples in rows; float32 or float64, on the CPU.
    w : Tensor, shape (d, k)
        Weights: the transpose of what ``torch.nn.Linear`` keeps, ``linear.weight.T``.
    b : Tensor, shape (k,), optional
        Bias.
    activation : None, str, Activation or callable, optional
        As in `fastgrad.dense`.

    Returns
    -------
    Tensor, shape (..., k)
        Of the same dtype.

    Raises
    ------
    TypeError
        If an argument is no tensor, not float32 or float64, of another dtype than x, or not on the
        CPU.
    ValueError
        If the shapes do not fit.
    NotImplementedError
        When a second derivative is asked for of an activation that PyTorch does not have.

    Notes
    -----
    Gradients of gradients (``create_graph=True``) are computed by PyTorch from its own functions:
    right, but not fused. Under ``torch.func.vmap`` one w and b for all samples stay one fused call;
    gradients per sample, or a w for each, are one call for each.

    Examples
    --------
    >>> import torch
    >>> from fastgrad.torch import dense
    >>> x, w = torch.ones(2, 3), torch.full((3, 1), 0.5, requires_grad=True)
    >>> dense(x, w, activation="tanh").sum().backward()
    >>> w.grad.T
    tensor([[0.3614, 0.3614, 0.3614]])
    """
    for name, tensor in (("x", x), ("w", w), ("b", b)):
        if tensor is not None:
            _check(name, tensor, x)
    y: torch.Tensor = _Dense.apply(x, w, b, activation, 0)[0]
    return y


def _check(name: str, tensor: Any, x: torch.Tensor) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"torch.dense: {name} must be a tensor, not {type(tensor).__name__}")
    if tensor.device.type != "cpu":
        raise TypeError(f"torch.dense: {name} is on {tensor.device}: fastgrad computes on the CPU")
    if tensor.layout != torch.strided:
        raise TypeError(f"torch.dense: {name} has layout {tensor.layout}: pass a dense tensor")
    if tensor.dtype not in _DTYPES:
        raise TypeError(f"torch.dense: {name} has dtype {tensor.dtype}: float32 or float64 needed")
    if tensor.dtype != x.dtype:
        raise TypeError(
            f"torch.dense: {name} has dtype {tensor.dtype} but x has {x.dtype}: convert one of them"
        )


def _array(tensor: torch.Tensor | None) -> Any:
    """Return the tensor's memory as an array, which nobody writes."""
    return None if tensor is None else tensor.detach().numpy()


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(array)


def _in_front(tensor: Any, axis: int | None) -> Any:
    """Return a tensor with the axis of the batch, of size 1 if it has none, in front."""
    if not isinstance(tensor, torch.Tensor):
        return tensor
    return tensor.unsqueeze(0) if axis is None else tensor.movedim(axis, 0)


class _Dense(torch.autograd.Function):
    """Forward; `lead` batch axes are in front of every tensor."""

    @staticmethod
    def forward(
        x: torch.Tensor,
        w: torch.Tensor,
        b: torch.Tensor | None,
        activation: Any,
        lead: int,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        y, saved = batched.forward(_array(x), _array(w), _array(b), activation, lead)
        return _tensor(y), None if saved is y else _tensor(saved)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, w, b, ctx.activation, ctx.lead = inputs
        y, saved = output
        if saved is not None:
            ctx.mark_non_differentiable(saved)
        ctx.save_for_backward(x, w, b, y if saved is None else saved)

    @staticmethod
    def backward(ctx: Any, grad_y: torch.Tensor, _: Any) -> tuple[Any, ...]:
        need = tuple(
            name for name, is_needed in zip("xwb", ctx.needs_input_grad, strict=False) if is_needed
        )
        made = iter(_Gradients.apply(grad_y, *ctx.saved_tensors, ctx.activation, need, ctx.lead))
        return (*(next(made) if name in need else None for name in "xwb"), None, None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        tensors = [_in_front(*pair) for pair in zip(inputs[:3], in_dims[:3], strict=True)]
        activation, lead = inputs[3:]
        y, saved = _Dense.apply(*tensors, activation, lead + 1)
        return (y, saved), (0, None if saved is None else 0)


class _Gradients(torch.autograd.Function):
    """The gradients that are needed, in the order of x, w, b."""

    @staticmethod
    def forward(
        grad_y: torch.Tensor,
        x: torch.Tensor,
        w: torch.Tensor,
        b: torch.Tensor | None,
        saved: torch.Tensor,
        activation: Any,
        need: tuple[str, ...],
        lead: int,
    ) -> tuple[torch.Tensor, ...]:
        made = batched.backward(
            _array(grad_y), _array(x), _array(w), _array(b), _array(saved), activation, need, lead
        )
        return tuple(map(_tensor, made))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, _, ctx.activation, ctx.need, ctx.lead = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[Any, ...]:
        grad_y, x, w, b = ctx.saved_tensors
        made = vjp_of_gradients(cotangents, grad_y, x, w, b, ctx.activation, ctx.need, ctx.lead)
        return (*made, None, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        tensors = [_in_front(*pair) for pair in zip(inputs[:5], in_dims[:5], strict=True)]
        activation, need, lead = inputs[5:]
        made = _Gradients.apply(*tensors, activation, need, lead + 1)
        return made, (0,) * len(made)
