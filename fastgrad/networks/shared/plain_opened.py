"""`MLP.forward` and `MLP.backward` without kernels, shared by reference and loops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arrays import Array, deliver
from fastgrad.networks.shared.base import BaseMLP
from fastgrad.networks.shared.forms import Parameters
from fastgrad.networks.shared.tapes import (
    Tape,
    check_backward,
    check_forward,
    check_tape,
    refuse_changed,
)
from fastgrad.results import NetworkGrads


class PlainOpenedMLP(BaseMLP):
    """An MLP whose package computes all samples at a time."""

    # -- the package's own --------------------------------------------------------------------
    def _keeping(self, layers: list[Any], x: Array) -> tuple[Array, list[Any]]:
        """Return the last layer's output, and what each layer keeps for the backward pass."""
        raise NotImplementedError

    def _back(
        self, layers: list[Any], caches: list[Any], grad_y: Array, grads: list[Any], need_x: bool
    ) -> Any:
        """Write the parameters' gradients into `grads`, views of a flat vector; return that of x.

        It may be None if it is not needed.
        """
        raise NotImplementedError

    # -- forward and backward -----------------------------------------------------------------
    def forward(
        self, params: Parameters, x: ArrayLike, out: Array | None = None
    ) -> tuple[Array, Tape]:
        """Return the last layer's output, and what `backward` needs.

        Parameters
        ----------
        params : array_like, dict or list
            The flat vector, or another form: see `named`.
        x : array_like
            Rows ``(n, d)``, columns ``(d, n)``, or one sample ``(d,)``.
        out : ndarray, optional
            Where to put the output.

        Returns
        -------
        y : ndarray
            As from `predict`.
        tape : Tape
            For `backward`.
        """
        network = self._network
        call = check_forward(network, params, x, out)
        batch = call.x[:, None] if network.columns and call.x.ndim == 1 else call.x
        batch = batch[None] if batch.ndim == 1 else batch
        y, caches = self._keeping(network.views(call.params), batch)
        marks = call.params.tobytes(), call.x.tobytes()
        tape = Tape(call.params, call.x, caches, *marks, repr(self), call.given)
        # A copy: some caches refer to y.
        y = deliver(np.array(y, self.dtype).reshape(call.shape), self.dtype, call.out)
        return (y if out is None else out), tape

    def backward(
        self,
        grad_y: ArrayLike,
        tape: Tape,
        need: Iterable[str] = ("params", "x"),
        out: Any = None,
        accumulate: bool = False,
    ) -> NetworkGrads:
        """Return the gradients of a loss, from its gradient with respect to the output.

        Parameters
        ----------
        grad_y : array_like
            ``dL/dy``, of the shape of y.
        tape : Tape
            From `forward`; `params` and `x` must not have been changed since then.
        need : iterable of {"params", "x"}
            Which gradients to compute.
        out : NetworkGrads, mapping or object with fields params and x, optional
            Where to put them.
        accumulate : bool
            Add to the arrays of `out` instead of overwriting them.

        Returns
        -------
        NetworkGrads
            ``params`` in the form of the parameters, ``x`` like x.
        """
        network = self._network
        check_tape(repr(self), tape)
        call = check_backward(network, grad_y, tape, need, out, accumulate)
        if tape.params.tobytes() != tape.params_mark:
            refuse_changed("params")
        if "params" in call.names and tape.x.tobytes() != tape.x_mark:
            refuse_changed("x")
        shape = (network.outputs, -1) if network.columns else (-1, network.outputs)
        grad = np.empty(self.size, self.dtype)
        wanted = "x" in call.names
        grad_x = self._back(
            network.views(tape.params), tape.kept, call.grad_y.reshape(shape),
            network.views(grad), wanted,
        )  # fmt: skip
        made: dict[str, Any] = {}
        if "params" in call.names:
            if call.accumulate and call.outputs.arrays:
                grad = call.outputs.added(grad)
            made["params"] = call.outputs.deliver(grad)
        if wanted:
            grad_x = grad_x.reshape(tape.x.shape)
            if call.accumulate and call.out_x is not None:
                with np.errstate(all="ignore"):
                    grad_x = call.out_x + grad_x
            grad_x = deliver(grad_x, call.x_dtype, call.out_x)
            made["x"] = grad_x if call.out_x is None else call.given_x
        return NetworkGrads(**made)
