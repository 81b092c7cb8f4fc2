"""The solvers: epochs of minibatches as scikit-learn draws them, and SciPy's L-BFGS."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches

from fastgrad.arrays import Array
from fastgrad.sklearn.network import Objective

__all__ = ["Data", "run_epochs", "run_lbfgs"]


class Data:
    """Training samples, put into each epoch's order in memory of their own."""

    def __init__(self, x: Any, y: Array, weights: Array | None, objective: Objective) -> None:
        target, constants = objective.target_of(y), objective.constants(y)
        self.whole = (x, target, weights, constants)
        self.n = x.shape[0]
        self.ordered: tuple[Any, ...] = self.whole

    def put(self, order: Array) -> None:
        """Bring all arrays into this order."""
        if self.ordered is self.whole:
            self.ordered = tuple(
                np.empty_like(a, order="C") if isinstance(a, np.ndarray) else a for a in self.whole
            )
        made = []
        for array, space in zip(self.whole, self.ordered, strict=True):
            if isinstance(array, np.ndarray):
                np.take(array, order, axis=0, out=space, mode="clip")
                made.append(space)
            else:
                made.append(None if array is None else array[order])
        self.ordered = tuple(made)


def run_epochs(
    estimator: Any,
    objective: Objective,
    params: Array,
    data: Data,
    validate: Any,
    incremental: bool,
) -> None:
    """Train `params` in place; `validate()` gives the validation score, or is None."""
    n, rng, optimizer = data.n, estimator._random_state, estimator._optimizer
    size = min(200, n)
    if estimator.batch_size != "auto":
        if estimator.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=4,
            )
        size = int(np.clip(estimator.batch_size, 1, n))
    batches = list(gen_batches(n, size))
    order, grad = np.arange(n), np.empty_like(params)
    estimator.n_iter_ = 0
    for _ in range(estimator.max_iter):
        if estimator.shuffle:
            places = np.arange(n)
            rng.shuffle(places)
            order = order[places]
            data.put(order)
        x, y, weights, constants = data.ordered
        total = 0.0
        for batch in batches:
            some = None if weights is None else weights[batch]
            value = objective.value_and_grad(params, x[batch], y[batch], some, grad)
            if constants is not None:
                value += float(np.average(constants[batch], weights=some))
            total += value * (batch.stop - batch.start)
            optimizer.step(params, grad)
        estimator.n_iter_ += 1
        estimator.loss_ = total / n
        estimator.t_ += n
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        _count_without_improvement(estimator, params, validate)
        if estimator.learning_rate == "invscaling" and estimator.solver == "sgd":
            start = float(estimator.learning_rate_init)
            estimator._rate.value = start / (estimator.t_ + 1) ** estimator.power_t
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            what = (
                f"Training loss did not improve more than tol={estimator.tol:f}"
                if validate is None
                else f"Validation score did not improve more than tol={estimator.tol:f}"
            )
            if _stops(estimator, f"{what} for {estimator.n_iter_no_change} consecutive epochs."):
                break
            estimator._no_improvement_count = 0
        if incremental:
            break
        if estimator.n_iter_ == estimator.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )


def _count_without_improvement(estimator: Any, params: Array, validate: Any) -> None:
    if validate is None:
        loss = estimator.loss_curve_[-1]
        better = loss <= estimator.best_loss_ - estimator.tol
        estimator._no_improvement_count = 0 if better else estimator._no_improvement_count + 1
        estimator.best_loss_ = min(estimator.best_loss_, loss)
        return
    score = validate()
    estimator.validation_scores_.append(score)
    if estimator.verbose:
        print(f"Validation score: {score:f}")
    worse = score < estimator.best_validation_score_ + estimator.tol
    estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
    if score > estimator.best_validation_score_:
        estimator.best_validation_score_ = score
        estimator._best[:] = params


def _stops(estimator: Any, message: str) -> bool:
    """Return whether training ends; an adaptive rate becomes smaller instead."""
    rate = estimator._rate
    if estimator.solver != "sgd" or estimator.learning_rate != "adaptive":
        message, stops = f"{message} Stopping.", True
    elif rate.value <= 1e-6:
        message, stops = f"{message} Learning rate too small. Stopping.", True
    else:
        rate.value /= 5.0
        message, stops = f"{message} Setting learning rate to {rate.value:f}", False
    if estimator.verbose:
        print(message)
    return stops


def run_lbfgs(estimator: Any, objective: Objective, params: Array, data: Data) -> Array:
    """Return the parameters that SciPy finds from `params`, all float64."""
    x, y, weights, constants = data.whole
    grad = np.empty_like(params)
    constant = 0.0 if constants is None else float(np.average(constants, weights=weights))

    classifies = objective.model.output in ("softmax", "logistic")
    evaluate = objective.clipped if classifies else objective.value_and_grad

    def value_and_grad(vector: Array) -> tuple[float, Array]:
        value = evaluate(vector, x, y, weights, grad)
        return value + constant, grad / objective.scale

    options: dict[str, Any] = {
        "maxfun": estimator.max_fun,
        "maxiter": estimator.max_iter,
        "gtol": estimator.tol,
    }
    result = minimize(value_and_grad, params, method="L-BFGS-B", jac=True, options=options)
    if estimator.verbose:
        print(f"L-BFGS: {result.nit} iterations, loss = {result.fun:.8f}")
    if result.status != 0:
        message = str(result.message)
        warnings.warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}):\n"
            f"{message}\n\nIncrease the number of iterations to improve the convergence "
            f"(max_iter={estimator.max_iter}).\nYou might also want to scale the data: "
            "https://scikit-learn.org/stable/modules/preprocessing.html",
            ConvergenceWarning,
            stacklevel=4,
        )
    # SciPy may count one more iteration than it was allowed.
    estimator.n_iter_ = min(result.nit, estimator.max_iter)
    estimator.loss_ = result.fun
    found: Array = result.x
    return found
