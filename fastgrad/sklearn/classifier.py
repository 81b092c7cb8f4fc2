"""MLPClassifier: scikit-learn's parameters, attributes and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from fastgrad.arrays import Array
from fastgrad.sklearn.base import BaseNetwork, checked_data

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, BaseNetwork):
    """A network that predicts classes: scikit-learn's, with fastgrad's kernels.

    Given `random_state`, the initial weights, the validation split, the batches and so the losses
    and the predictions are scikit-learn's, to rounding. Its documentation is the reference:
    https://scikit-learn.org/stable/modules/generated/sklearn.neural_network.MLPClassifier.html

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}
        The optimizer.
    alpha : float
        Strength of the penalty ``alpha / 2 * sum(w**2) / n`` on weights; n is the batch's size.
    batch_size : int or "auto"
        Samples of a step; "auto" is 200, or all if they are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}
        Schedule of SGD's rate.
    learning_rate_init, power_t : float
        The rate at first, and the exponent of "invscaling".
    max_iter : int
        Epochs, or iterations of L-BFGS, at most.
    shuffle : bool
        Whether epochs have random orders.
    random_state : int, RandomState or None
        Of weights, split and orders.
    tol, n_iter_no_change : float, int
        Training ends when the loss, or the validation score, did not improve by `tol` in so many
        epochs.
    verbose : bool
        Whether to print each epoch's loss.
    warm_start : bool
        Whether `fit` continues from the weights that are there.
    momentum, nesterovs_momentum : float, bool
        Of SGD.
    early_stopping, validation_fraction : bool, float
        Whether to hold samples back, and to stop by their score.
    beta_1, beta_2, epsilon : float
        Of Adam.
    max_fun : int
        Calls of the loss that L-BFGS may make.

    Attributes
    ----------
    classes_ : ndarray
        The classes.
    coefs_, intercepts_ : list of ndarray
        Weights ``(inputs, outputs)`` and biases of each layer: views of one vector.
    loss_, best_loss_, loss_curve_ : float, float, list of float
        The last epoch's loss, the smallest, and each epoch's.
    validation_scores_, best_validation_score_ : list of float, float
        With `early_stopping`.
    n_iter_, t_ : int
        Epochs, and samples seen.
    n_features_in_, feature_names_in_ : int, ndarray
        Of X.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        Of the network.

    Raises
    ------
    ValueError
        From `fit`, for parameters and data that do not fit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastgrad.sklearn import MLPClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> MLPClassifier((8,), solver="lbfgs", random_state=0).fit(x, y).score(x, y) > 0.9
    True
    """

    def _output(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _targets(self, x: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array]:
        x, y = checked_data(self, x, y, reset)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start:
                if set(classes) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same classes as in the "
                        f"previous call to fit. Previously got {self.classes_}, `y` has {classes}"
                    )
            elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    "`y` has classes not in `self.classes_`. `self.classes_` has "
                    f"{self.classes_}. 'y' has {classes}."
                )
        if self._label_binarizer.y_type_ == "multiclass":  # checked above: a third of transform
            return x, y[:, np.newaxis] == self.classes_
        return x, self._label_binarizer.transform(y).astype(bool)

    @available_if(lambda self: self._can_partial_fit())
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """Make one epoch over the given samples.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The inputs.
        y : array_like, shape (n_samples,)
            Their classes.
        sample_weight : array_like, shape (n_samples,), optional
            Weights of the samples.
        classes : array_like, optional
            All classes; needed in the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For data that do not fit, and without `classes` in the first call.
        """
        known = getattr(self, "classes_", None)
        if known is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is not None:
            if known is None:
                self.classes_ = unique_labels(classes)
                several = type_of_target(y).startswith("multilabel")
                self._label_binarizer = LabelBinarizer().fit(y if several else classes)
            elif not np.array_equal(known, unique_labels(classes)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                    f"{known!r}"
                )
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the class of each sample, or its labels if there are several.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray, shape (n_samples,) or (n_samples, n_classes)
            Of the classes' dtype.

        Raises
        ------
        ValueError
            For X that does not fit.
        """
        return self._classes_of(self._outputs(X))

    def _classes_of(self, outputs: Array) -> Array:
        made: Array
        if self.out_activation_ == "softmax":
            made = self.classes_[outputs.argmax(axis=1)]
        else:
            outputs = outputs.ravel() if self.n_outputs_ == 1 else outputs
            made = self._label_binarizer.inverse_transform(outputs)
        return made

    def _score_of(self, y: Array, outputs: Array, weights: Any) -> float:
        return float(accuracy_score(y, self._classes_of(outputs), sample_weight=weights))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        ValueError
            For X that does not fit.
        """
        outputs = self._outputs(X)
        if self.n_outputs_ == 1:
            return np.concatenate([1 - outputs, outputs], axis=1)
        return outputs

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        ValueError
            For X that does not fit.
        """
        made: Array = np.log(self.predict_proba(X))
        return made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn 1.5
        return {"multilabel": True}
