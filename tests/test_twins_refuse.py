"""What the twins' networks and optimizers cannot take is refused, with the text that says why."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Array
from twins import impls, make

from fastgrad.activations import BUILT_IN
from fastgrad.losses import LOSSES

X, T, P = np.ones((5, 3)), np.ones((5, 2)), np.zeros(8)
KNOWN_ACTS, KNOWN_LOSSES = ", ".join(BUILT_IN), ", ".join(LOSSES)
TYPES = "give float32, float64, float16, an integer type or bool"


def classifier(impl: ModuleType, **changes: Any) -> Any:
    return make(impl, loss="softmax_cross_entropy", **changes)


def read_only() -> Array:
    array = np.zeros(8)
    array.flags.writeable = False
    return array


WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    # the settings
    "sizes_short": (lambda m: make(m, sizes=(3,), activations=()), ValueError,
        "MLP: sizes is (3,): give at least two positive widths"),
    "sizes_zero": (lambda m: make(m, sizes=(3, 0)), ValueError,
        "MLP: sizes is (3, 0): give at least two positive widths"),
    "sizes_float": (lambda m: make(m, sizes=(3, 2.0)), TypeError,
        "MLP: sizes is (3, 2.0): give a sequence of integers"),
    "sizes_number": (lambda m: make(m, sizes=3), TypeError,
        "MLP: sizes is 3: give a sequence of integers"),
    "activations_string": (lambda m: make(m, activations="tanh"), TypeError,
        "MLP: activations is 'tanh': give a sequence, one per layer"),
    "activations_none": (lambda m: make(m, activations=None), TypeError,
        "MLP: activations is None: give a sequence, one per layer"),
    "activations_count": (lambda m: make(m, activations=("tanh", None)), ValueError,
        "MLP: activations has 2 entries for 1 layers: give one per layer"),
    "activation_unknown": (lambda m: make(m, activations=("tnah",)), ValueError,
        f"MLP: activations[0] is 'tnah': choose from {KNOWN_ACTS}"),
    "activation_function": (lambda m: make(m, activations=(np.tanh,)), TypeError,
        "MLP: activations[0] is a ufunc: give None, a name or an activation object"),
    "loss_unknown": (lambda m: make(m, loss="mes"), ValueError,
        f"MLP: loss is 'mes': choose from {KNOWN_LOSSES}"),
    "loss_none": (lambda m: make(m, loss=None), TypeError,
        "MLP: loss is a NoneType: give a name or a loss object"),
    "reduction": (lambda m: make(m, reduction="none"), ValueError,
        "MLP: reduction is 'none': choose from mean, sum, samples"),
    "samples": (lambda m: make(m, samples="row"), ValueError,
        "MLP: samples is 'row': choose from rows, columns"),
    "dtype": (lambda m: make(m, dtype="float16"), ValueError,
        "MLP: dtype is 'float16': choose from float32, float64"),
    "dtype_unknown": (
        lambda m: make(m, dtype="tensor"),
        ValueError,
        "MLP: dtype is 'tensor': choose from float32, float64",
    ),
    "dtype_none": (lambda m: make(m, dtype=None), ValueError,
        "MLP: dtype is None: choose from float32, float64"),
    # the flat vector
    "layers_list": (lambda m: make(m).layers([0.0] * 8), TypeError,
        "MLP.layers: params is a list: give a NumPy array"),
    "layers_length": (lambda m: make(m).layers(np.zeros(7)), ValueError,
        "MLP.layers: params has shape (7,): this network has 8 parameters, it needs shape (8,)"),
    "pack_count": (lambda m: make(m).pack([]), ValueError,
        "MLP.pack: layers has 0 entries: this network has 1 layers"),
    "pack_pair": (lambda m: make(m).pack([np.ones((3, 2))]), ValueError,
        "MLP.pack: layer 0 is not a pair (w, b)"),
    "pack_w": (lambda m: make(m).pack([(np.ones((2, 3)), np.ones(2))]), ValueError,
        "MLP.pack: w of layer 0 has shape (2, 3): it needs (3, 2)"),
    "pack_b": (lambda m: make(m).pack([(np.ones((3, 2)), np.ones(3))]), ValueError,
        "MLP.pack: b of layer 0 has shape (3,): it needs (2,)"),
    "pack_no_b": (lambda m: make(m).pack([(np.ones((3, 2)), None)]), ValueError,
        "MLP.pack: layer 0: this network has bias=True: give a bias"),
    "pack_a_b": (lambda m: make(m, bias=False).pack([(np.ones((3, 2)), np.ones(2))]), ValueError,
        "MLP.pack: layer 0: this network has bias=False: b must be None"),
    "pack_dtype": (lambda m: make(m).pack([(np.ones((3, 2), complex), np.ones(2))]), TypeError,
        f"MLP.pack: w of layer 0 has dtype complex128: {TYPES}"),
    # arguments
    "params_length": (lambda m: make(m).predict(np.zeros(9), X), ValueError,
        "MLP.predict: params has shape (9,): this network has 8 parameters, it needs shape (8,)"),
    "params_matrix": (lambda m: make(m).value_and_grad(np.zeros((1, 8)), X, T), ValueError,
        "MLP.value_and_grad: params has shape (1, 8): this network has 8 parameters, it needs "
        "shape (8,)"),
    "params_dtype": (lambda m: make(m).fit(np.zeros(8, complex), X, T), TypeError,
        f"MLP.fit: params has dtype complex128: {TYPES}"),
    "x_features": (lambda m: make(m).predict(P, np.ones((3, 5))), ValueError,
        "MLP.predict: x has shape (3, 5): this network has 3 inputs, it needs shape (n, 3) "
        "or (3,)"),
    "x_columns": (lambda m: make(m, samples="columns").value_and_grad(P, X, T), ValueError,
        "MLP.value_and_grad: x has shape (5, 3): this network has 3 inputs, it needs shape "
        "(3, n) or (3,)"),
    "x_axes": (lambda m: make(m).fit(P, X[None], T), ValueError,
        "MLP.fit: x has shape (1, 5, 3): this network has 3 inputs, it needs shape (n, 3) "
        "or (3,)"),
    "x_dtype": (lambda m: make(m).predict(P, X.astype(object)), TypeError,
        f"MLP.predict: x has dtype object: {TYPES}"),
    "target_shape": (lambda m: make(m).value_and_grad(P, X, np.ones((5, 1))), ValueError,
        "MLP.value_and_grad: target has shape (5, 1) and dtype float64: it needs shape (5, 2)"),
    "target_vector": (lambda m: make(m).value_and_grad(P, X, np.ones(5, int)), ValueError,
        "MLP.value_and_grad: target has shape (5,) and dtype int64: it needs shape (5, 2)"),
    "target_dtype": (lambda m: make(m).fit(P, X, np.array([["1", "0"]] * 5)), TypeError,
        f"MLP.fit: target has dtype <U1: {TYPES}"),
    "target_none": (lambda m: make(m).value_and_grad(P, X), TypeError,
        "MLP.value_and_grad: target is None: the loss mse needs one"),
    "target_given": (lambda m: make(m, loss="sum").fit(P, X, T), TypeError,
        "MLP.fit: the loss sum takes no target"),
    "classes_float": (lambda m: classifier(m).fit(P, X, np.ones(5)), ValueError,
        "MLP.fit: target has shape (5,) and dtype float64: it needs shape (5, 2), or integer "
        "classes of shape (5,)"),
    "classes_count": (lambda m: classifier(m).value_and_grad(P, X, [0, 1]), ValueError,
        "MLP.value_and_grad: target has shape (2,) and dtype int64: it needs shape (5, 2), or "
        "integer classes of shape (5,)"),
    "classes_one": (lambda m: classifier(m).value_and_grad(P, X[0], [[1]]), ValueError,
        "MLP.value_and_grad: target has shape (1, 1) and dtype int64: it needs shape (2,), or "
        "integer classes of shape ()"),
    "classes_range": (lambda m: classifier(m).value_and_grad(P, X, [0, 1, 2, 1, -1]), ValueError,
        "MLP.value_and_grad: target has classes from -1 to 2: they go from 0 to 1"),
    # out
    "out_list": (lambda m: make(m).value_and_grad(P, X, T, [0.0] * 8), TypeError,
        "MLP.value_and_grad: out is a list: give a NumPy array"),
    "out_shape": (lambda m: make(m).value_and_grad(P, X, T, np.zeros(9)), ValueError,
        "MLP.value_and_grad: out has shape (9,) and dtype float64: it needs shape (8,) and dtype "
        "float64"),
    "out_dtype": (lambda m: make(m).predict(P, X, np.zeros((5, 2), "float32")), ValueError,
        "MLP.predict: out has shape (5, 2) and dtype float32: it needs shape (5, 2) and dtype "
        "float64"),
    "out_read_only": (lambda m: make(m).value_and_grad(P, X, T, read_only()), ValueError,
        "MLP.value_and_grad: out is read-only"),
    "out_params": (lambda m: make(m).value_and_grad(P, X, T, P), ValueError,
        "MLP.value_and_grad: out shares memory with an input"),
    # training
    "epochs": (lambda m: make(m).fit(P, X, T, epochs=0), ValueError,
        "MLP.fit: epochs is 0: give a positive integer"),
    "batch_size": (lambda m: make(m).fit(P, X, T, batch_size=2.0), TypeError,
        "MLP.fit: batch_size is a float: give a positive integer"),
    "optimizer": (lambda m: make(m).fit(P, X, T, "adam"), TypeError,
        "MLP.fit: optimizer is a str: give fg.SGD, fg.Adam or fg.AdamW"),
    "callback": (lambda m: make(m).fit(P, X, T, callback=1), TypeError,
        "MLP.fit: callback is a int: give a function"),
    "no_samples": (lambda m: make(m).fit(P, X[:0], T[:0]), ValueError,
        "MLP.fit: x has shape (0, 3): there are no samples"),
}  # fmt: skip


@impls
@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_is_named(impl: ModuleType, case: str) -> None:
    call, error, text = WRONG[case]
    with pytest.raises(error) as caught:
        call(impl)
    assert str(caught.value) == text
    assert not P.any()  # nothing was written
