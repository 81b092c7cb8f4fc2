"""A whole network in one compiled call: the flat vector, value and gradient, prediction.

`MLP` turns its layers into a plan (`kernels.network.plan_table`), a table that one compiled
function reads; so a new network compiles nothing. A call first tries the compiled entry point on
its arguments as they are; if that refuses them, `passes` checks and converts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import ArrayLike

from fastgrad.activations import Activation
from fastgrad.arrays import Array
from fastgrad.layers.compiled_layer import resolve
from fastgrad.losses import LOSSES, ArrayLoss, Loss
from fastgrad.networks.calls import GRADIENT, PREDICTION
from fastgrad.networks.fit import fit
from fastgrad.networks.opened_mlp import OpenedMLP
from fastgrad.networks.passes import Passes
from fastgrad.networks.shared.fit_arguments import FitOptions
from fastgrad.networks.shared.forms import Parameters
from fastgrad.networks.shared.settings import loss_of, refuse_callable, warn_of_logits
from fastgrad.networks.shared.training import FitResult, FitState
from fastgrad.optimizers import Optimizer
from fastgrad.results import LayerParams, NormParams

__all__ = ["MLP", "LayerParams", "NormParams"]


_SETTINGS = ("sizes", "activations", "loss", "reduction", "bias", "samples", "dtype")
_ADDED = ("normalize", "l1", "l2", "dropout")
_OF_PROCESS = ("_network", "_passes", "_opened")  # plans, workspaces, compiled functions


class MLP(OpenedMLP):
    """A network of fused dense layers and a loss, differentiated in one compiled call.

    The parameters are one flat vector, and so is the gradient: for each layer w, then b, and for a
    normalized hidden layer then gain and shift.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input and of each layer's output.
    activations : sequence
        One per layer: None, a name or an `Activation` (`define_activation` makes new ones).
    loss : str or loss
        A name or an object of `fastgrad.losses`.
    reduction : {"mean", "sum", "samples"}
        How the loss's terms are reduced: see `losses`.
    bias : bool
        Whether layers have a bias.
    samples : {"rows", "columns"}
        Rows: x ``(n, d)``, w ``(d, k)``, b ``(k,)``. Columns: x ``(d, n)``, w ``(k, d)``, b
        ``(k, 1)``.
    dtype : {"float32", "float64"}
        What it computes in; params, inputs and targets are converted to it.
    normalize : {None, "layer"}
        What is done to hidden layers before their activation. ``"layer"``: layer normalization
        (Ba, Kiros and Hinton, arXiv:1607.06450), see the notes.
    l1, l2 : float
        Penalties on large weights: ``l1 * sum(abs(w)) + l2 / 2 * sum(w**2)`` over all layers' w,
        never biases, gains and shifts, is added to the loss, its gradient ``l1 * sign(w) + l2 * w``
        to that of w. Where w is 0, l1 has the gradient 0. They are part of `value_and_grad` and
        `fit`, but not of `backward`, which goes back from any gradient of the output.
    dropout : float or sequence of float
        Rate at which `fit` sets outputs of hidden layers to 0, after their activation, and divides
        the others by ``1 - rate``; or one rate per hidden layer. From 0 to below 1. The elements
        are those that ``fg.dropout_forward(y, rate, seed, step, layer=...)`` drops of a batch's
        outputs with samples in rows, where layer is 0, 1 ... So they depend on neither threads nor
        layout. `predict` drops nothing, nor does `value_and_grad` without a `seed`.

    Attributes
    ----------
    size : int
        Number of parameters.

    Raises
    ------
    TypeError, ValueError
        For settings that do not fit, or with which nothing can be learnt: softmax, or its
        cross-entropy, of one output.

    Warns
    -----
    SettingsWarning
        If the last activation gives probabilities, but the loss expects logits and applies that
        activation itself.

    Notes
    -----
    With ``normalize="layer"`` a hidden layer's output is ``activation(gain * h + shift)``, where
    ``h = (z - mean(z)) / sqrt(var(z) + 1e-5)`` and ``z = x @ w + b``; mean and variance (divided by
    k) are those of each sample's k numbers. `gain` and `shift`, of k numbers each, begin as ones
    and zeros. The last layer is not normalized.

    Blocks of 256 samples go forward, through the loss and backward one after the other, so the
    workspace does not grow with the batch. Gradients are summed over these blocks in order: the
    bits depend on neither the number of threads nor the memory layout.

    The workspace is at most twice the parameters (weights packed for the products, once for all
    threads, their rows padded to whole tiles of at most 32). Each thread adds 256 samples of every
    layer, six times those of the widest, and 2 MiB. The network keeps it for the next call. If
    memory runs out, fewer threads share the work.

    Examples
    --------
    >>> import fastgrad as fg, numpy as np
    >>> net = fg.MLP((2, 3, 1), ("tanh", None), "mse", dtype="float64")
    >>> params = net.init(seed=0)
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> target = np.array([[0.0], [1.0], [1.0], [0.0]])
    >>> value, grad = net.value_and_grad(params, x, target)
    >>> fg.check_grad(lambda p: net.value_and_grad(p, x, target)[0], grad, params).ok
    True
    >>> result = net.fit(params, x, target, fg.Adam(lr=0.05), epochs=200, batch_size=4)
    >>> (net.predict(result.params, x) > 0.5).ravel().tolist()
    [False, True, True, False]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[Any],
        loss: str | Loss | ArrayLoss,
        reduction: str = "mean",
        bias: bool = True,
        samples: str = "rows",
        dtype: Any = "float32",
        normalize: str | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(
            sizes, activations, loss, reduction, bias, samples, dtype, normalize, l1, l2, dropout
        )
        warn_of_logits(self.activations[-1], self.loss)

    def _activation(self, given: Any) -> Activation:
        activation, function = resolve("MLP", given)
        return activation if function is None else refuse_callable()

    def _loss(self, given: Any) -> Loss | ArrayLoss:
        return given if isinstance(given, Loss | ArrayLoss) else loss_of(given, LOSSES)

    def _settle(self, *args: Any, **settings: Any) -> None:
        super()._settle(*args, **settings)
        self._passes = Passes(self._network)

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes its own.
        return {name: value for name, value in self.__dict__.items() if name not in _OF_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        lacking = [name for name in _SETTINGS if name not in state]
        if lacking:
            raise ValueError(f"MLP: the pickled network lacks {', '.join(lacking)}")
        # Checked like any other network's settings, since kernels read what follows from them.
        # No second warning. Pickles of 0.1 have none of these.
        settings = {name: state[name] for name in _SETTINGS}
        added = {name: state[name] for name in _ADDED if name in state}
        self._settle(**settings, **added)
        self.__dict__.update({n: v for n, v in state.items() if n not in self.__dict__})

    # -- the compiled calls -----------------------------------------------------------------
    def predict(self, params: Parameters, x: ArrayLike, out: Array | None = None) -> Array:
        """Return the last layer's output for every sample.

        Parameters
        ----------
        params : array_like, dict or list
            The flat vector, or another form: see `named`.
        x : array_like
            Rows ``(n, d)``, columns ``(d, n)``, or one sample ``(d,)``.
            Samples in rows may be a SciPy sparse matrix or array (CSR, CSC or COO).
        out : ndarray, optional
            Where to put it: of the shape below and the network's dtype, sharing no memory with
            `params` or `x`.

        Returns
        -------
        ndarray
            Rows ``(n, k)``, columns ``(k, n)``, one sample ``(k,)``, of the network's dtype.

        Raises
        ------
        TypeError, ValueError
            For dtypes, shapes or an `out` that do not fit.

        Examples
        --------
        >>> import fastgrad as fg
        >>> net = fg.MLP((2, 1), ("relu",), "mse", bias=False, dtype="float64")
        >>> net.predict([1.0, 2.0], [[3.0, 4.0], [-3.0, 1.0]])
        array([[11.],
               [ 0.]])
        """
        passes = self._passes
        direct = passes.direct_predict
        if direct is not None:
            spaces = passes.spaces
            try:
                space = spaces.pop()
            except IndexError:  # other threads are using all there are
                space = passes.network.take_space()
            y = direct(params, x, out, passes.words, space)
            spaces.append(space)
            if y is None:
                y = passes.converted_prediction(params, x, out)
            if y is not None:
                return y  # type: ignore[no-any-return]
        return PREDICTION.checked((params, x), (out,), passes)  # type: ignore[no-any-return]

    def value_and_grad(
        self,
        params: Parameters,
        x: ArrayLike,
        target: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        out: Array | None = None,
        *,
        seed: int | None = None,
        step: int = 0,
    ) -> tuple[float, Array]:
        """Return the loss, and its gradient with respect to the parameters.

        It fits ``scipy.optimize.minimize(net.value_and_grad, start, args=(x, target), jac=True)``
        with `start` in float64 (``net.init().astype("float64")``): CG, BFGS, L-BFGS-B, TNC, SLSQP
        and trust-constr then also train a float32 network. Newton-CG needs a float64 network: it
        takes differences of gradients so small that float32 has none. SLSQP and TNC refuse a
        float32 start.

        Parameters
        ----------
        params : array_like, dict or list
            The flat vector, of length `size`, or another form: see `named`.
        x : array_like
            Rows ``(n, d)``, columns ``(d, n)``, or one sample ``(d,)``. It may be a read-only
            `numpy.memmap` far larger than memory.
            Samples in rows may be a SciPy sparse matrix or array (CSR, CSC or COO): the bits are
            those of ``x.toarray()``, see `dense_forward`.
        target : array_like
            Of the shape of the output, or integer classes ``(n,)`` for softmax cross-entropy; None
            for losses of one array.
        weights : array_like, optional
            What each term of the loss is multiplied by, finite and at least 0: ``(n,)``, one per
            sample, or (unless the loss has one term per sample) of the shape of the output.
            ``reduction="mean"`` then divides by the sum of the weights of all terms. A term of
            weight 0 is left out: its target or class may be anything, and so may x of a sample
            without weight, NaN included.
        out : ndarray, optional
            Where to put the gradient: ``(size,)`` of the dtype below, then nothing is allocated; or
            in the form of `params`, where a dict's key may also be "dW1" or "grad_W1".
        seed, step : int
            With a `seed` layers drop what `fit` would in this step: see `dropout` of `MLP`.

        Returns
        -------
        value : float
            With the penalties, if the network has `l1` or `l2`.
        grad : ndarray
            Of the network's dtype, in the order of the parameters: see `layers`; or in the form of
            `params`, as views of one flat vector. float64 if `params` is float64, whatever the
            network computes in: optimizers that work in float64, as those of ``scipy.optimize``
            do, add it to vectors of their own.

        Raises
        ------
        TypeError, ValueError
            For dtypes, shapes, classes, weights or an `out` that do not fit, and for a mean over
            weights that are all 0.

        Examples
        --------
        >>> import fastgrad as fg, numpy as np
        >>> net = fg.MLP((2, 1), (None,), "mse", bias=False, dtype="float64")
        >>> net.value_and_grad([1.0, 1.0], [[1.0, 2.0]], [[0.0]])
        (9.0, array([ 6., 12.]))
        >>> x, target = [[1.0, 2.0], [1.0, 0.0]], [[0.0], [np.nan]]
        >>> net.value_and_grad([1.0, 1.0], x, target, weights=[3.0, 0.0])
        (9.0, array([ 6., 12.]))
        """
        if weights is not None or seed is not None:
            return self._passes.unusual_gradient(params, x, target, weights, out, seed, step)
        passes = self._passes
        direct = passes.direct
        if direct is not None:
            spaces = passes.spaces
            try:
                space = spaces.pop()
            except IndexError:  # other threads are using all there are
                space = passes.network.take_space()
            pair = direct(params, x, target, out, passes.words, space)
            spaces.append(space)
            if pair is None:
                pair = passes.converted_gradient(params, x, target, out)
            if pair is not None:
                return pair  # type: ignore[no-any-return]
        return GRADIENT.checked((params, x, target), (out,), passes)  # type: ignore[no-any-return]

    def fit(
        self,
        params: Parameters | None,
        x: ArrayLike,
        target: ArrayLike | None = None,
        optimizer: Optimizer | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        progress: bool = False,
        callback: Callable[[FitState], Any] | None = None,
        weights: ArrayLike | None = None,
        resume: FitResult | None = None,
        validation: Sequence[Any] | None = None,
        restore_best: bool = False,
        clip_norm: float | None = None,
    ) -> FitResult:
        """Train, and return new parameters and the loss of each epoch.

        Parameters
        ----------
        params : array_like, dict or list
            Where to start, in any form; not changed. With `resume` None, or the result's own.
        x, target : array_like
            As in `value_and_grad`. They are never reordered, and used in place. What is not
            of the network's dtype is converted once if that makes at most 64 MiB, else a few
            samples at a time; classes that are not contiguous int64 always once.
            A sparse x is never made dense: batches are rows of its CSR form, made once.
        optimizer : Optimizer, optional
            One of `optimizers`. Default: ``Adam()``; with `resume` that of the result.
            Its weight decay is for weights, not for biases, gains and shifts, or for those of
            which ``decay(key, array)`` is true: keys are "W1", "b1", "gain1", "shift1", "W2" ...
        epochs : int
            Passes over all samples; with `resume` how many more.
        batch_size : int
            Samples per step; the last batch of an epoch may be smaller.
        shuffle : bool
            Take the samples in a new random order each epoch.
        seed : int
            Seed of these orders, and of dropout, whose key is the first ``rng.integers(2**63)`` and
            whose steps are the optimizer's. Every call of `fit` restarts them, and the optimizer's
            momentum, moments and step count, too: ten calls with ``epochs=1`` use the same order
            ten times, and are not ``epochs=10``. To train in pieces give `resume`, which ignores
            `seed`; or at least another seed, or one ``np.random.Generator``, whose orders continue.
        progress : bool
            Show epoch, loss and samples per second on stderr.
        callback : callable, optional
            Called with a `FitState` after each epoch; training stops when it returns True (or
            NumPy's True, as a comparison gives). Any other result is ignored. `EarlyStopping`
            makes such a callback.
        weights : array_like, optional
            As in `value_and_grad`; they stay with their samples. Each batch's gradient is that of
            its own weights: of a mean, divided by their sum. The gradient of a batch without any
            weight is 0, and the optimizer makes its step with that. The loss of an epoch is the
            sum of the weighted terms divided by that of all weights.
        resume : FitResult, optional
            The result of an earlier call, or the ``result`` of a KeyboardInterrupt: continue as
            if training had not ended. 2 and 3 epochs are 5 epochs, to the bit, with the same
            samples and settings. `losses` includes the earlier epochs, and callbacks see epoch
            numbers that continue. An optimizer of the same kind may have other settings. An
            epoch that was interrupted is finished first, and counts as one of `epochs`.
        validation : (x, target) or (x, target, weights), optional
            Samples on which the loss is computed after each epoch, without penalties:
            ``result.validation_losses``. Callbacks see it, `EarlyStopping` waits for it, and
            `progress` shows it.
        restore_best : bool
            Return the parameters after the epoch with the least validation loss. A resumed
            training goes on from the last epoch all the same, to the bit.
        clip_norm : float, optional
            Scale the gradient of each batch, penalties included, so that its norm is at most this:
            see `clip_norm`.

        Returns
        -------
        FitResult
            ``params``, the flat vector whatever the form of `params` (`named` and `layers` give
            its arrays), and ``losses``: per epoch, the loss over its samples, each with the
            parameters when it was used, and the mean over the samples of the penalties `l1` and
            `l2` of these parameters. ``stopped`` says what ended training early; with
            `validation` there are ``validation_losses`` and ``best_epoch``.

        Warns
        -----
        TrainingWarning
            Once, if an epoch gives a loss or parameters that are not finite: training stops, and
            the result is that of the epochs before. The warning names the first sample that is
            not finite, if any. Parameters that are not finite from the start do not count.

        Raises
        ------
        TypeError, ValueError
            For arguments that do not fit.
        KeyboardInterrupt
            On Ctrl-C, within half a second; its ``result`` is the FitResult so far. (It has none
            while `params` itself is being converted.)

        Examples
        --------
        >>> import fastgrad as fg, numpy as np
        >>> x = np.linspace(-1, 1, 64)[:, None]
        >>> net = fg.MLP((1, 8, 1), ("tanh", None), "mse", dtype="float64")
        >>> result = net.fit(net.init(), x, x**2, fg.Adam(lr=0.02), epochs=200, batch_size=16)
        >>> bool(result.losses[-1] < 1e-3)
        True
        """
        options = FitOptions(
            optimizer,
            epochs,
            batch_size,
            shuffle,
            seed,
            progress,
            callback,
            resume,
            validation,
            restore_best,
            clip_norm,
        )
        return fit(self._network, params, x, target, weights, options)
