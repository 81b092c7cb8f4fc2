"""Errors that people meet first: each names function and argument, and says what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.arguments import choices

CE = fg.losses.softmax_cross_entropy
NET = fg.MLP((3, 4), (None,), "softmax_cross_entropy", dtype="float64")
PARAMS = NET.init()
implementations = pytest.mark.parametrize(
    "implementation", [fg, reference, loops], ids=lambda m: m.__name__
)


# -- classes -------------------------------------------------------------------------------------


@implementations
@pytest.mark.parametrize("samples", ["rows", "columns"])
def test_the_class_of_one_sample_is_a_scalar_or_one_element(
    samples: str, implementation: Any
) -> None:
    loss = implementation.losses.softmax_cross_entropy
    logits, x = np.array([0.5, 1.0, -1.0]), np.array([1.0, 2.0, 3.0])
    net = implementation.MLP((3, 4), (None,), "softmax_cross_entropy", samples=samples)
    value, grad = loss.value_and_grad(logits, 2, samples=samples)
    expected, expected_grad = net.value_and_grad(PARAMS, x, 3)
    for one in ([2], np.array([2], np.uint8), np.array(2), np.int64(2)):
        again, slope = loss.value_and_grad(logits, one, samples=samples)
        assert again == value == loss(logits, one, samples=samples)
        np.testing.assert_array_equal(slope, grad)
        for _ in range(3):
            again, slope = net.value_and_grad(PARAMS, x, np.asarray(one) + 1)
            assert again == expected
            np.testing.assert_array_equal(slope, expected_grad)
    for wrong in ([2.0], [1, 2], [[2]]):
        with pytest.raises(ValueError):
            loss(logits, wrong, samples=samples)
        with pytest.raises(ValueError):
            net.value_and_grad(PARAMS, x, wrong)


def test_a_column_of_classes() -> None:
    labels, logits = np.zeros((5, 1), int), np.zeros((5, 4))
    for call in (
        lambda: CE(logits, labels),
        lambda: CE(logits.T, labels.T, samples="columns"),
        lambda: NET.value_and_grad(PARAMS, np.zeros((5, 3)), labels),
        lambda: NET.fit(PARAMS, np.zeros((5, 3)), labels),
    ):
        with pytest.raises(ValueError, match=r"of classes give labels\.ravel\(\)$"):
            call()
    with pytest.raises(ValueError, match=r"\(labels\.astype\(int\)\)"):
        CE(logits, np.zeros(5))
    with pytest.raises(ValueError, match=r"\(labels\.astype\(int\)\)"):
        NET.value_and_grad(PARAMS, np.zeros((5, 3)), np.zeros(5))
    with pytest.raises(ValueError, match=r"or one class, a scalar$"):
        NET.value_and_grad(PARAMS, np.zeros(3), [1, 2])


@pytest.mark.parametrize(
    "labels",
    [["cat", "dog"], np.array(["cat", "dog"], object), np.array([b"cat", b"dog"])],
    ids=["strings", "objects", "bytes"],
)
def test_labels_of_text(labels: Any) -> None:
    for call in (
        lambda: CE(np.zeros((2, 4)), labels),
        lambda: NET.value_and_grad(PARAMS, np.zeros((2, 3)), labels),
        lambda: NET.fit(PARAMS, np.zeros((2, 3)), labels),
    ):
        with pytest.raises(TypeError, match=r"target has dtype .*np\.unique\(labels, return_inv"):
            call()
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    assert CE(np.zeros((2, 4)), classes) > 0


# -- arrays of others ----------------------------------------------------------------------------


class Tensor:
    """One that needs a gradient, or lies elsewhere."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise self.error("can't call numpy() on a tensor that requires grad")


CALLS: dict[str, Callable[[Any], Any]] = {
    "dense: x": lambda v: fg.dense(v, np.zeros((3, 2))),
    "dense: w": lambda v: fg.dense(np.zeros((2, 3)), v),
    "dense_forward: b": lambda v: fg.dense_forward(np.zeros((2, 3)), np.zeros((3, 2)), v),
    "dense_backward: grad_y": lambda v: fg.dense_backward(
        v, fg.dense_forward(np.zeros((2, 3)), np.zeros((3, 2)))[1]
    ),
    "tanh: z": lambda v: fg.tanh(v),
    "mse: pred": lambda v: fg.losses.mse(v, np.zeros((2, 3))),
    "mse.value_and_grad: target": lambda v: fg.losses.mse.value_and_grad(np.zeros((2, 3)), v),
    "MLP.predict: x": lambda v: NET.predict(PARAMS, v),
    "MLP.value_and_grad: params": lambda v: NET.value_and_grad(v, np.zeros((2, 3)), [0, 1]),
    "MLP.fit: x": lambda v: NET.fit(PARAMS, v, [0, 1]),
    "Linear.forward: x": lambda v: fg.nn.Linear(3, 2).forward(v),
}
calls = pytest.mark.parametrize("where", list(CALLS))


@calls
@pytest.mark.parametrize("error", [RuntimeError, TypeError, NotImplementedError, OSError])
def test_what_cannot_be_read_as_an_array(error: type[Exception], where: str) -> None:
    with pytest.raises(TypeError) as caught:
        CALLS[where](Tensor(error))
    text = str(caught.value)
    assert text.startswith(f"{where} is a Tensor that cannot be read as a NumPy array (can't call")
    assert text.endswith(f"of a tensor {where.split()[1]}.detach().cpu().numpy()")


@calls
@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "coo_array", "csc_matrix"])
def test_a_sparse_matrix(form: str, where: str) -> None:
    name = where.split()[1]
    if where in ("dense: x", "MLP.predict: x", "MLP.fit: x"):  # taken: tests/test_sparse.py
        return
    with pytest.raises(TypeError) as caught:
        CALLS[where](getattr(scipy.sparse, form)(np.eye(3)))
    assert str(caught.value) == f"{where} is a sparse {form}: give {name}.toarray()"


OTHERS = [
    np.dtype(getattr(ml_dtypes, name))
    for name in dir(ml_dtypes)
    if isinstance(getattr(ml_dtypes, name), type)
    and issubclass(getattr(ml_dtypes, name), np.generic)
]
EVERY = [np.dtype(c) for c in np.typecodes["All"] if c not in "SUV"] + [
    np.dtype("S3"), np.dtype("U3"), np.dtype("V4"), np.dtype([("a", "f4")]),
    np.dtype("M8[s]"), np.dtype("m8[s]"), *OTHERS,
]  # fmt: skip


def test_there_are_other_dtypes() -> None:
    assert {"bfloat16", "float8_e4m3fn", "int4"} <= {dtype.name for dtype in OTHERS}


@calls
@pytest.mark.parametrize("dtype", EVERY, ids=str)
def test_every_dtype_gives_a_result_or_the_error_that_names_it(
    dtype: np.dtype[Any], where: str
) -> None:
    shape = {"b": (2,), "params": (16,), "grad_y": (2, 2), "w": (3, 2)}.get(
        where.split()[1], (2, 3)
    )
    value = np.zeros(shape, dtype)
    if dtype.char in "?bhilqBHILQefd":
        CALLS[where](value)
        return
    with pytest.raises(TypeError) as caught:
        CALLS[where](value)
    assert str(caught.value).startswith(f"{where} has dtype {dtype}: give float32, float64")
    real = dtype in OTHERS and dtype.kind != "c"
    assert real == (".astype('float32')" in str(caught.value))


# -- pairs and names -----------------------------------------------------------------------------


def test_pack_wants_pairs() -> None:
    w, b = np.zeros((3, 4)), np.zeros(4)
    with pytest.raises(ValueError, match=r"give 1 pairs \(w, b\), one per layer: \[\(w1, b1\)"):
        NET.pack([w, b])
    with pytest.raises(ValueError, match=r"layer 0 is not a pair \(w, b\): give pairs \[\(w1"):
        NET.pack([w])
    assert NET.pack([(w, b)]).size == NET.size


ACTIVATION_NAMES = {
    "linear": "None or 'identity'", "ReLU": "'relu'", "logistic": "'sigmoid'", "Tanh": "'tanh'",
    "swish": "'silu'", "LeakyReLU": "'leaky_relu'", "GELU": "'gelu'", "SoftMax": "'softmax'",
    "sigmiod": "'sigmoid'", "leaky-relu": "'leaky_relu'", "gelu tanh": "'gelu_tanh'",
}  # fmt: skip
LOSS_NAMES = {
    "bce": "'binary_cross_entropy_with_logits'", "cross_entropy": "'softmax_cross_entropy'",
    "MSE": "'mse'", "mse_loss": "'mse'", "CrossEntropyLoss": "'softmax_cross_entropy'",
    "MSELoss": "'mse'", "mean_squared_error": "'mse'", "L1": "'mae'", "l1_loss": "'mae'",
    "BCEWithLogits": "'binary_cross_entropy_with_logits'", "smooth_l1": "'huber'",
    "Huber": "'huber'", "binary_crossentropy": "'binary_cross_entropy_with_logits'",
}  # fmt: skip


@pytest.mark.parametrize("name", list(ACTIVATION_NAMES))
def test_names_of_activations_from_elsewhere(name: str) -> None:
    for where, call in (
        ("dense", lambda: fg.dense(np.zeros((2, 3)), np.zeros((3, 2)), activation=name)),
        ("MLP", lambda: fg.MLP((3, 2), (name,), "mse")),
        ("Dense", lambda: fg.nn.Dense(3, 2, name)),
        ("Activation", lambda: fg.nn.Activation(name)),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        start = f"{where}: unknown activation {name!r}: did you mean {ACTIVATION_NAMES[name]}?"
        assert str(caught.value).startswith(start)
        assert "choose from identity, sigmoid" in str(caught.value)


@pytest.mark.parametrize("name", list(LOSS_NAMES))
def test_names_of_losses_from_elsewhere(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        fg.MLP((3, 2), (None,), name)
    assert str(caught.value).startswith(f"MLP: unknown loss {name!r}: did you mean ")
    assert LOSS_NAMES[name] in str(caught.value).split("?")[0]


def test_a_name_like_none_of_ours() -> None:
    assert choices("wavelet", ["tanh", "relu"]) == "choose from tanh, relu"
    assert choices("mse", ["tanh", "relu"]) == "choose from tanh, relu"
