"""What classifier and regressor share: checks, initial weights, the fit, fast predictions."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted

from fastgrad.arrays import Array
from fastgrad.sklearn.network import Model, Objective
from fastgrad.sklearn.optimizers import Rate, make_optimizer
from fastgrad.sklearn.parameters import check_parameters, check_sample_weight, hidden_widths
from fastgrad.sklearn.training import Data, run_epochs, run_lbfgs

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5

    def validate_data(estimator: Any, *arrays: Any, **settings: Any) -> Any:
        """Check arrays as the estimator's base class does."""
        return estimator._validate_data(*arrays, **settings)


__all__ = ["BaseNetwork", "checked_data"]


def checked_data(
    estimator: Any, x: Any, y: Any, reset: bool, y_numeric: bool = False
) -> tuple[Any, Array]:
    """Return X and y as scikit-learn's own network takes them."""
    x, y = validate_data(
        estimator,
        x,
        y,
        accept_sparse=["csr", "csc"],
        multi_output=True,
        y_numeric=y_numeric,
        dtype=(np.float64, np.float32),
        reset=reset,
    )
    return x, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


class BaseNetwork(BaseEstimator):
    """The parameters and the fit; a subclass checks y, and says what outputs mean."""

    def __init__(
        self,
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun

    def _targets(self, x: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array]:
        """Return checked x, and y of shape (n,) or (n, outputs)."""
        raise NotImplementedError

    def _output(self) -> str:
        """Return the name of the output activation."""
        raise NotImplementedError

    def _score_of(self, y: Array, outputs: Array, weights: Any) -> float:
        """Return the score by which early stopping decides."""
        raise NotImplementedError

    # -- fit --------------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit the network to X and y.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The inputs.
        y : array_like, shape (n_samples,) or (n_samples, n_outputs)
            Classes or numbers.
        sample_weight : array_like, shape (n_samples,), optional
            Weights of the samples.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters or data that do not fit, and for weights that become infinite.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        check_parameters(self)
        hidden = hidden_widths(self)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        x, y = self._targets(X, y, incremental, first)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, x.shape[0], x.dtype)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        widths = [x.shape[1], *hidden, y.shape[1]]
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._begin(widths, x.dtype)
        if self.solver == "lbfgs":
            self._fit_lbfgs(x, y, sample_weight)
        else:
            self._fit_epochs(x, y, sample_weight, incremental)
        if not np.isfinite(self._vector()).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _begin(self, widths: list[int], dtype: Any) -> None:
        """Draw weights as Glorot and Bengio (2010) do, in scikit-learn's order."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(widths)
        self.out_activation_ = self._output()
        self._model = Model(widths, self.activation, self.out_activation_, dtype)
        factor, rng, layers = 2.0 if self.activation == "logistic" else 6.0, self._random_state, []
        for fan_in, fan_out in itertools.pairwise(widths):
            bound = np.sqrt(factor / (fan_in + fan_out))
            w = rng.uniform(-bound, bound, (fan_in, fan_out))
            layers.append((w, rng.uniform(-bound, bound, fan_out)))
        self._keep(self._model.predictor(self._model.dtype).pack(layers))
        if self.solver != "lbfgs":
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            early = self.early_stopping
            self.validation_scores_: list[float] | None = [] if early else None
            self.best_validation_score_ = -np.inf if early else None
            self.best_loss_ = None if early else np.inf

    def _keep(self, vector: Array) -> None:
        self.coefs_, self.intercepts_ = self._model.views(vector)

    def _vector(self) -> Array:
        return self._model.take(self.coefs_, self.intercepts_)

    def _fit_lbfgs(self, x: Any, y: Array, weights: Array | None) -> None:
        # In float64 for float32 inputs too, as SciPy's vectors are.
        objective = Objective(self._model, np.float64, self.alpha, weights is not None)
        start = np.array(self._vector(), np.float64)
        self._keep(run_lbfgs(self, objective, start, Data(x, y, weights, objective)))

    def _fit_epochs(self, x: Any, y: Array, weights: Array | None, incremental: bool) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        params = np.array(self._vector())
        objective = Objective(self._model, params.dtype, self.alpha, weights is not None)
        if not incremental or not hasattr(self, "_optimizer"):
            self._rate = Rate(float(self.learning_rate_init), objective.scale)
            self._optimizer = make_optimizer(self, self._rate)
        self._keep(params)
        validate = None
        if self.early_stopping:
            x, y, weights, validate = self._split(x, y, weights)
            self._best = params.copy()
        try:
            data = Data(x, y, weights, objective)
            run_epochs(self, objective, params, data, validate, incremental)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=3)
        if self.early_stopping:
            params[:] = self._best

    def _split(self, x: Any, y: Array, weights: Array | None) -> tuple[Any, Array, Any, Any]:
        """Hold samples back; return what is left, and the function that scores on the others."""
        arrays = [x, y] if weights is None else [x, y, weights]
        parts = train_test_split(
            *arrays,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            # Classes in equal shares, but not of several labels.
            stratify=y if is_classifier(self) and self.n_outputs_ == 1 else None,
        )
        x_held, y_held = parts[1], parts[3]
        w_held = None if weights is None else parts[5]
        if x_held.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        if is_classifier(self):
            y_held = self._label_binarizer.inverse_transform(y_held)

        def validate() -> float:
            outputs = self._outputs_of_checked(x_held)
            if not np.isfinite(outputs).all():
                return float("nan")
            return self._score_of(y_held, outputs, w_held)

        return parts[0], parts[2], None if weights is None else parts[4], validate

    # -- predictions ------------------------------------------------------------------------------
    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs for X, which is checked."""
        check_is_fitted(self, "coefs_")
        plain = (
            type(X) is np.ndarray
            and X.ndim == 2
            and len(X) > 0
            and X.dtype in (np.float32, np.float64)
            and X.shape[1] == self.n_features_in_
            and not hasattr(self, "feature_names_in_")
            and np.isfinite(X).all()
        )
        if not plain:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return self._outputs_of_checked(X)

    def _outputs_of_checked(self, x: Any) -> Array:
        return self._model.predict(self.coefs_, self.intercepts_, x)

    # -- partial_fit, tags ------------------------------------------------------------------------
    def _can_partial_fit(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
