"""`fastgrad.sklearn`: scikit-learn's numbers, its own tests, and its checks of estimators."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import rng_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own, at import
    sklearn: Any = pytest.importorskip("sklearn", exc_type=ImportError)
    from sklearn import neural_network as theirs
    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.estimator_checks import check_estimator

    from fastgrad import sklearn as ours

# Eight epochs do not converge, and both say so.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EPOCHS = 8
CLOSE = 1e-6  # of losses over EPOCHS epochs in float64
SMALL: dict[str, Any] = {
    "hidden_layer_sizes": (12, 7),
    "max_iter": EPOCHS,
    "random_state": 3,
    "batch_size": 40,
    "alpha": 0.1,
}
# Private methods, which are not ours.
PRIVATE = ("test_fit", "test_gradient")


def data(kind: str, n: int = 250) -> tuple[Any, Any]:
    rng = rng_of("sklearn", kind)
    x = rng.standard_normal((n, 9))
    score = x @ rng.standard_normal((9, 4)) + 0.5 * rng.standard_normal((n, 4))
    y = {
        "classes": score.argmax(axis=1),
        "words": np.array(["a", "b", "c", "d"])[score.argmax(axis=1)],
        "two": score[:, 0] > 0,
        "labels": (score[:, :3] > 0).astype(int),
        "numbers": score[:, 0],
        "several": score[:, :3],
        "counts": rng.poisson(np.exp(0.3 * score[:, 0])).astype(float),
        "several counts": rng.poisson(np.exp(0.3 * score[:, :2])).astype(float),
    }[kind]
    return x, y


def both(kind: str, weights: Any = None, **settings: Any) -> tuple[Any, Any, Any]:
    """Return x, and both libraries' estimators, fitted."""
    x, y = data(kind)
    name = "MLPRegressor" if kind in REGRESSION else "MLPClassifier"
    models = [getattr(library, name)(**(SMALL | settings)) for library in (ours, theirs)]
    more = {} if weights is None else {"sample_weight": weights}
    return x, *(model.fit(x, y, **more) for model in models)


REGRESSION = ("numbers", "several", "counts", "several counts")


def assert_same(x: Any, mine: Any, other: Any) -> None:
    curves = [getattr(m, "loss_curve_", [m.loss_]) for m in (mine, other)]
    np.testing.assert_allclose(*curves, rtol=CLOSE, atol=CLOSE)
    scores = [getattr(m, "validation_scores_", None) or [0.0] for m in (mine, other)]
    np.testing.assert_allclose(*scores, rtol=CLOSE, atol=CLOSE)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(mine, name) == getattr(other, name), name
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(mine, name), getattr(other, name), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    if hasattr(other, "classes_"):
        assert np.array_equal(mine.classes_, other.classes_)
        assert np.mean(mine.predict(x) == other.predict(x)) > 0.999
        assert mine.predict(x).dtype == other.predict(x).dtype
        np.testing.assert_allclose(mine.predict_proba(x), other.predict_proba(x), atol=1e-6)
        # 1 - p of a p near 1 has few digits left: one unit of p is much of its logarithm.
        with np.errstate(divide="ignore"):
            logs = [m.predict_log_proba(x)[other.predict_proba(x) > 1e-8] for m in (mine, other)]
        np.testing.assert_allclose(*logs, rtol=1e-5, atol=1e-5)
    else:
        assert mine.predict(x).shape == other.predict(x).shape
        np.testing.assert_allclose(mine.predict(x), other.predict(x), rtol=1e-5, atol=1e-6)


# -- the same numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_solvers_and_activations(solver: str, activation: str) -> None:
    assert_same(*both("classes", solver=solver, activation=activation))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["words", "two", "labels", "numbers", "several"])
def test_kinds_of_targets(solver: str, kind: str) -> None:
    assert_same(*both(kind, solver=solver))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", ["counts", "several counts"])
def test_poisson(solver: str, kind: str) -> None:
    if "loss" not in theirs.MLPRegressor().get_params():
        pytest.skip("scikit-learn has it from 1.7 on")
    assert_same(*both(kind, solver=solver, loss="poisson", learning_rate_init=1e-3))


def test_lbfgs_steps_that_are_wrong_for_certain() -> None:
    """There clipped probabilities decide: without them the line searches part."""
    for seed in (3, 10):
        assert_same(*both("labels", solver="lbfgs", random_state=seed))


OPTIONS: list[dict[str, Any]] = [
    {"early_stopping": True},
    {"early_stopping": True, "validation_fraction": 0.3, "tol": 0.5, "n_iter_no_change": 2},
    {"shuffle": False},
    {"batch_size": "auto"},
    {"batch_size": 7, "alpha": 0.0},
    {"hidden_layer_sizes": ()},
    {"hidden_layer_sizes": 5, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2, "power_t": 0.3},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1},
    {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
    {"tol": 10.0, "n_iter_no_change": 2},
    {"solver": "lbfgs", "max_fun": 3},
]


@pytest.mark.parametrize("kind", ["classes", "several"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(kind: str, options: dict[str, Any]) -> None:
    assert_same(*both(kind, **options))


@pytest.mark.parametrize("kind", ["classes", "two", "labels", "numbers", "several"])
@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
def test_weights(kind: str, options: dict[str, Any]) -> None:
    weights = rng_of("weights").random(250) + 0.1
    try:
        assert_same(*both(kind, weights, **options))
    except TypeError as error:
        if "sample_weight" not in str(error):
            raise
        pytest.skip("scikit-learn has sample_weight from 1.7 on")


def test_float32_stays_float32() -> None:
    x, y = data("classes")
    for solver, dtype in (("adam", "float32"), ("sgd", "float32"), ("lbfgs", "float64")):
        settings = SMALL | {"solver": solver}
        mine = ours.MLPClassifier(**settings).fit(x.astype("float32"), y)
        other = theirs.MLPClassifier(**settings).fit(x.astype("float32"), y)
        assert (
            {c.dtype.name for c in mine.coefs_} == {dtype} == {c.dtype.name for c in other.coefs_}
        )
        first = [getattr(m, "loss_curve_", [m.loss_])[0] for m in (mine, other)]
        assert first[0] == pytest.approx(first[1], rel=1e-5, abs=0)
        assert mine.predict_proba(x.astype("float32")).dtype == dtype


def test_warm_start_and_partial_fit() -> None:
    x, y = data("classes")
    for library_calls in ([], [1], [1, 2]):  # partial fits after the first
        models = []
        for library in (ours, theirs):
            model = library.MLPClassifier(**SMALL)
            model.partial_fit(x[:100], y[:100], classes=np.unique(y))
            for _ in library_calls:
                model.partial_fit(x[100:], y[100:])
            models.append(model)
        assert_same(x, *models)
    models = [lib.MLPClassifier(warm_start=True, **SMALL).fit(x, y).fit(x, y) for lib in LIBRARIES]
    assert_same(x, *models)


LIBRARIES = (ours, theirs)


def test_sparse_inputs() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x, y = data("classes")
    x[np.abs(x) < 1.2] = 0
    for make in (sparse.csr_matrix, sparse.csc_array):
        for solver in ("adam", "lbfgs"):
            models = [
                lib.MLPClassifier(**(SMALL | {"solver": solver})).fit(make(x), y)
                for lib in LIBRARIES
            ]
            assert_same(make(x), *models)


def test_verbose_output(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for library in LIBRARIES:
        x, y = data("classes")
        settings = SMALL | {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0}
        library.MLPClassifier(verbose=True, n_iter_no_change=1, **settings).fit(x, y)
        library.MLPClassifier(verbose=True, early_stopping=True, **SMALL).fit(x, y)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and "Setting learning rate to" in texts[0]


@pytest.mark.filterwarnings("default")
def test_warnings() -> None:
    x, y = data("classes")
    for library in LIBRARIES:
        with pytest.warns(ConvergenceWarning, match="Maximum iterations .8. reached"):
            library.MLPClassifier(**SMALL).fit(x, y)
        with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
            library.MLPClassifier(**(SMALL | {"solver": "lbfgs"})).fit(x, y)
        with pytest.warns(UserWarning, match="Got `batch_size` less than 1"):
            library.MLPClassifier(**(SMALL | {"batch_size": 999})).fit(x, y)


# -- at home in scikit-learn ---------------------------------------------------------------------


def test_clone_pickle_pipeline_and_search() -> None:
    x, y = data("classes")
    model = ours.MLPClassifier(**SMALL)
    assert clone(model).get_params() == model.get_params()
    names = theirs.MLPClassifier().get_params(), theirs.MLPRegressor().get_params()
    assert ours.MLPClassifier().get_params() == names[0]
    if "loss" in names[1]:
        assert ours.MLPRegressor().get_params() == names[1]
    model.fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(x), model.predict_proba(x))
    model.coefs_[0] = model.coefs_[0] * 0.0  # what a user puts there is used
    assert not np.array_equal(again.predict_proba(x), model.predict_proba(x))
    again.partial_fit(x, y)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), ours.MLPClassifier(**SMALL)),
        {"mlpclassifier__max_iter": [1, 60]},
        cv=2,
    ).fit(x, y)
    assert search.best_params_["mlpclassifier__max_iter"] == 60 and search.best_score_ > 0.5


def test_importing_fastgrad_does_not_import_scikit_learn() -> None:
    code = "import sys, fastgrad; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_scikit_learns_checks(name: str) -> None:
    model = getattr(ours, name)(max_iter=20)
    try:
        results = check_estimator(model, on_fail=None, on_skip=None)
    except TypeError:  # before 1.6 it raises, and after 20 epochs theirs fails there, too
        check_estimator(getattr(ours, name)())
        return
    failed = [r["check_name"] for r in results if r["status"] == "failed"]
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 40


def test_scikit_learns_own_tests(tmp_path: Path) -> None:
    """The tests of its package, with one import exchanged."""
    own = Path(theirs.__file__).parent / "tests" / "test_mlp.py"
    if not own.exists():
        pytest.skip("this scikit-learn comes without its tests")
    text, line = own.read_text(), "from sklearn.neural_network import MLPClassifier, MLPRegressor"
    assert text.count(line) == 1
    (tmp_path / "test_exchanged.py").write_text(
        text.replace(line, "from fastgrad.sklearn import MLPClassifier, MLPRegressor")
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    skipped = [f"--deselect=test_exchanged.py::{name}" for name in PRIVATE]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "sklearn.conftest", "-p", "no:cacheprovider",
         "test_exchanged.py", *skipped],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


# -- what is refused -----------------------------------------------------------------------------


def test_errors() -> None:
    x, y = data("classes")
    for settings, text in [
        ({"alpha": -1.0}, "'alpha' parameter of MLPClassifier must be a float in the range"),
        ({"solver": "lion"}, "'solver' parameter of MLPClassifier must be a str among"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        ({"momentum": 1.5}, "'momentum' parameter"),
        ({"max_iter": 0}, "'max_iter' parameter"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "validation set is too small"),
    ]:
        with pytest.raises(ValueError, match=text):
            ours.MLPClassifier(**(SMALL | settings)).fit(x, y)
    with pytest.raises(ValueError, match="non-zero"):
        ours.MLPClassifier(**SMALL).fit(x, y, np.zeros(250))
    with pytest.raises(ValueError, match="does not support early_stopping"):
        ours.MLPRegressor(early_stopping=True, **SMALL).partial_fit(x, y)
    with pytest.raises(ValueError, match="classes must be passed"):
        ours.MLPClassifier(**SMALL).partial_fit(x, y)
    assert not hasattr(ours.MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        settings = SMALL | {"solver": "sgd", "learning_rate_init": 1e200}
        ours.MLPRegressor(**settings).fit(x * 1e100, data("numbers")[1])
