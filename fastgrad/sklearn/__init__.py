"""Scikit-learn's MLPClassifier and MLPRegressor, at fastgrad's speed, with the same numbers.

``pip install "fastgrad[sklearn]"``, then change one import::

    from fastgrad.sklearn import MLPClassifier  # was: from sklearn.neural_network import ...
"""

from fastgrad.sklearn.estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
