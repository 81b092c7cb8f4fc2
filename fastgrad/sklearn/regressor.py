"""MLPRegressor: scikit-learn's parameters, attributes and numbers."""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from fastgrad.arrays import Array
from fastgrad.sklearn.base import BaseNetwork, checked_data

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, BaseNetwork):
    """A network that predicts numbers: scikit-learn's, with fastgrad's kernels.

    Given `random_state`, the initial weights, the validation split, the batches and so the losses
    and the predictions are scikit-learn's, to rounding. Its documentation is the reference:
    https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPRegressor.html

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        Half of the squares, or half of the Poisson deviance, whose outputs are exponentials.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate : as of MLPClassifier
        Widths, optimizer, penalty, batches, schedule.
    learning_rate_init, power_t, momentum, nesterovs_momentum : as of MLPClassifier
        The rate, and SGD.
    beta_1, beta_2, epsilon, max_fun : as of MLPClassifier
        Adam, and L-BFGS.
    max_iter, shuffle, random_state, verbose, warm_start : as of MLPClassifier
        How training runs.
    tol, n_iter_no_change, early_stopping, validation_fraction : as of MLPClassifier
        When it ends.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights ``(inputs, outputs)`` and biases of each layer: views of one vector.
    loss_, best_loss_, loss_curve_ : float, float, list of float
        The last epoch's loss, the smallest, and each epoch's. Squares of several outputs have the
        mean over the outputs here, and the sum in the gradient, as in scikit-learn.

    Raises
    ------
    ValueError
        From `fit`, for parameters and data that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.sklearn import MLPRegressor
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=(20,), activation="tanh", solver="lbfgs")
    >>> model.fit(x, x.ravel() ** 2).score(x, x.ravel() ** 2) > 0.99
    True
    """

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.loss = loss

    def _output(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _targets(self, x: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array]:
        return checked_data(self, x, y, reset, y_numeric=True)

    @available_if(lambda self: self._can_partial_fit())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Make one epoch over the given samples.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The inputs.
        y : array_like, shape (n_samples,) or (n_samples, n_outputs)
            Their numbers.
        sample_weight : array_like, shape (n_samples,), optional
            Weights of the samples.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For data that do not fit.
        """
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the numbers of each sample.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray, shape (n_samples,) or (n_samples, n_outputs)
            The outputs.

        Raises
        ------
        ValueError
            For X that does not fit.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _score_of(self, y: Array, outputs: Array, weights: Any) -> float:
        return float(r2_score(y, outputs, sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        return super().__sklearn_tags__()  # scikit-learn looks for it beside _more_tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn 1.5
        return {"multioutput": True}
