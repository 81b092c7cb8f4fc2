"""Scikit-learn's MLPClassifier and MLPRegressor, at fastgrad's speed, with the same numbers.

``pip install "fastgrad[sklearn]"``, then change one import::

    from fastgrad.sklearn import MLPClassifier  # was: from sklearn.neural_network import ...
"""

from fastgrad.sklearn.classifier import MLPClassifier
from fastgrad.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
