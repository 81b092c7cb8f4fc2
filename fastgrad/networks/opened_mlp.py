"""The two halves of a network's gradient: `MLP.forward` and `MLP.backward`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import ArrayLike

from fastgrad.arrays import Array
from fastgrad.networks.opened import NEED, Opened
from fastgrad.networks.plan import Network
from fastgrad.networks.shared.base import BaseMLP
from fastgrad.networks.shared.forms import Parameters
from fastgrad.networks.shared.tapes import Tape
from fastgrad.results import NetworkGrads


class OpenedMLP(BaseMLP):
    """A network whose output goes somewhere else, from where its gradient comes."""

    _architecture = Network
    _network: Network
    _opened: Opened

    def _settle(self, *args: Any, **settings: Any) -> None:
        super()._settle(*args, **settings)
        self._opened = Opened(self._network, repr(self))

    def forward(
        self, params: Parameters, x: ArrayLike, out: Array | None = None
    ) -> tuple[Array, Tape]:
        """Return the last layer's output, and what `backward` needs.

        The network's loss plays no part: with `backward` the gradient may come from any other
        function of the output, such as a loss of one's own, or a second network.

        Parameters
        ----------
        params : array_like, dict or list
            The flat vector, or another form: see `named`.
        x : array_like
            Rows ``(n, d)``, columns ``(d, n)``, or one sample ``(d,)``.
        out : ndarray, optional
            Where to put the output: as in `predict`.

        Returns
        -------
        y : ndarray
            The same as that of `predict`, to the bit. It may be changed.
        tape : Tape
            For `backward`, any number of times. It holds the outputs of all hidden layers, that of
            the last one if its activation's derivative is computed from it, and what some
            activations (gelu, silu, mish) and layer normalization keep: n times the sum of these
            widths. `params` and `x` are not copied if they have the network's dtype.

        Raises
        ------
        TypeError, ValueError
            For dtypes, shapes or an `out` that do not fit.

        Examples
        --------
        >>> import fastgrad as fg, numpy as np
        >>> net = fg.MLP((2, 3, 1), ("tanh", None), "mse", dtype="float64")
        >>> params, x = net.init(seed=0), np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> y, tape = net.forward(params, x)
        >>> grad_y = np.cosh(y) * np.sinh(y)  # of the loss sum(sinh(y)**2) / 2
        >>> grads = net.backward(grad_y, tape)
        >>> grads.params.shape, grads.x.shape
        ((13,), (2, 2))
        """
        return self._opened.forward(params, x, out)

    def backward(
        self,
        grad_y: ArrayLike,
        tape: Tape,
        need: Iterable[str] = NEED,
        out: Any = None,
        accumulate: bool = False,
    ) -> NetworkGrads:
        """Return the gradients of a loss, from its gradient with respect to the output.

        Parameters
        ----------
        grad_y : array_like
            ``dL/dy``, of the shape of y.
        tape : Tape
            From `forward`. If `params` (or, where their gradient is needed, `x`) has been changed
            in place since then, that is an error: some 64 elements of each are checked, all of a
            smaller one. An array that a dict's key was bound to since then makes no difference.
        need : iterable of {"params", "x"}
            Which gradients to compute. Without "x" the first layer's product is left out, without
            "params" half of all products.
        out : NetworkGrads, mapping or object with fields params and x, optional
            Where to put them: of their shapes and dtypes, params in the form of `params`. A missing
            field or None is a new array.
        accumulate : bool
            Add to the arrays of `out` instead of overwriting them.

        Returns
        -------
        NetworkGrads
            ``params``: the flat vector, or in the form in which `forward` got the parameters; of
            the network's dtype, or float64 if they were. ``x``: like x, float64 if that was. Summed
            in the order of `value_and_grad`: the gradient of the network's own loss gives the same
            bits, except that the penalties `l1` and `l2` are left out.

        Raises
        ------
        TypeError, ValueError
            For dtypes, shapes, names or outputs that do not fit; for a tape of another network, or
            of parameters that have been changed.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP((2, 1), ("tanh",), "mse", bias=False, dtype="float64")
        >>> y, tape = net.forward([0.0, 0.0], [[1.0, 2.0]])
        >>> net.backward([[1.0]], tape, need=("params",)).params
        array([1., 2.])
        """
        return self._opened.backward(grad_y, tape, need, out, accumulate)
