"""What networks cannot take is refused by fastgrad and its twins, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Array
from twins import make

import fastgrad as fg
from fastgrad import loops, reference

X, T, P = np.ones((5, 3)), np.ones((5, 2)), np.zeros(8)


def classifier(impl: ModuleType, **changes: Any) -> Any:
    return make(impl, loss="softmax_cross_entropy", **changes)


def read_only() -> Array:
    array = np.zeros(8)
    array.flags.writeable = False
    return array


WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception]]] = {
    # the settings
    "sizes_short": (lambda m: make(m, sizes=(3,), activations=()), ValueError),
    "sizes_zero": (lambda m: make(m, sizes=(3, 0)), ValueError),
    "sizes_float": (lambda m: make(m, sizes=(3, 2.0)), TypeError),
    "sizes_number": (lambda m: make(m, sizes=3), TypeError),
    "activations_string": (lambda m: make(m, activations="tanh"), TypeError),
    "activations_none": (lambda m: make(m, activations=None), TypeError),
    "activations_count": (lambda m: make(m, activations=("tanh", None)), ValueError),
    "activation_unknown": (lambda m: make(m, activations=("tnah",)), ValueError),
    "activation_function": (lambda m: make(m, activations=(np.tanh,)), TypeError),
    "loss_unknown": (lambda m: make(m, loss="mes"), ValueError),
    "loss_none": (lambda m: make(m, loss=None), TypeError),
    "reduction": (lambda m: make(m, reduction="none"), ValueError),
    "samples": (lambda m: make(m, samples="row"), ValueError),
    "dtype": (lambda m: make(m, dtype="float16"), ValueError),
    "dtype_unknown": (lambda m: make(m, dtype="tensor"), ValueError),
    "dtype_none": (lambda m: make(m, dtype=None), ValueError),
    # the flat vector
    "layers_list": (lambda m: make(m).layers([0.0] * 8), TypeError),
    "layers_length": (lambda m: make(m).layers(np.zeros(7)), ValueError),
    "pack_count": (lambda m: make(m).pack([]), ValueError),
    "pack_pair": (lambda m: make(m).pack([np.ones((3, 2))]), ValueError),
    "pack_w": (lambda m: make(m).pack([(np.ones((2, 3)), np.ones(2))]), ValueError),
    "pack_b": (lambda m: make(m).pack([(np.ones((3, 2)), np.ones(3))]), ValueError),
    "pack_no_b": (lambda m: make(m).pack([(np.ones((3, 2)), None)]), ValueError),
    "pack_a_b": (lambda m: make(m, bias=False).pack([(np.ones((3, 2)), np.ones(2))]), ValueError),
    "pack_dtype": (lambda m: make(m).pack([(np.ones((3, 2), complex), np.ones(2))]), TypeError),
    # arguments
    "params_length": (lambda m: make(m).predict(np.zeros(9), X), ValueError),
    "params_matrix": (lambda m: make(m).value_and_grad(np.zeros((1, 8)), X, T), ValueError),
    "params_dtype": (lambda m: make(m).fit(np.zeros(8, complex), X, T), TypeError),
    "x_features": (lambda m: make(m).predict(P, np.ones((3, 5))), ValueError),
    "x_columns": (lambda m: make(m, samples="columns").value_and_grad(P, X, T), ValueError),
    "x_axes": (lambda m: make(m).fit(P, X[None], T), ValueError),
    "x_dtype": (lambda m: make(m).predict(P, X.astype(object)), TypeError),
    "target_shape": (lambda m: make(m).value_and_grad(P, X, np.ones((5, 1))), ValueError),
    "target_vector": (lambda m: make(m).value_and_grad(P, X, np.ones(5, int)), ValueError),
    "target_dtype": (lambda m: make(m).fit(P, X, np.array([["1", "0"]] * 5)), TypeError),
    "target_none": (lambda m: make(m).value_and_grad(P, X), TypeError),
    "target_given": (lambda m: make(m, loss="sum").fit(P, X, T), TypeError),
    "classes_float": (lambda m: classifier(m).fit(P, X, np.ones(5)), ValueError),
    "classes_count": (lambda m: classifier(m).value_and_grad(P, X, [0, 1]), ValueError),
    "classes_one": (lambda m: classifier(m).value_and_grad(P, X[0], [[1]]), ValueError),
    "classes_range": (lambda m: classifier(m).value_and_grad(P, X, [0, 1, 2, 1, -1]), ValueError),
    # out
    "out_list": (lambda m: make(m).value_and_grad(P, X, T, out=[0.0] * 8), TypeError),
    "out_shape": (lambda m: make(m).value_and_grad(P, X, T, out=np.zeros(9)), ValueError),
    "out_dtype": (lambda m: make(m).predict(P, X, np.zeros((5, 2), "float32")), ValueError),
    "out_read_only": (lambda m: make(m).value_and_grad(P, X, T, out=read_only()), ValueError),
    "out_params": (lambda m: make(m).value_and_grad(P, X, T, out=P), ValueError),
    # training
    "epochs": (lambda m: make(m).fit(P, X, T, epochs=0), ValueError),
    "batch_size": (lambda m: make(m).fit(P, X, T, batch_size=2.0), TypeError),
    "optimizer": (lambda m: make(m).fit(P, X, T, "adam"), TypeError),
    "callback": (lambda m: make(m).fit(P, X, T, callback=1), TypeError),
    "no_samples": (lambda m: make(m).fit(P, X[:0], T[:0]), ValueError),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_what_is_wrong_is_named(case: str) -> None:
    call, error = WRONG[case]
    texts = []
    for package in (fg, reference, loops):
        with pytest.raises(error, match=r"^MLP[.a-z_]*: ") as caught:
            call(package)
        texts.append(str(caught.value))
    assert texts[1:] == texts[:1] * 2
    assert not P.any()  # nothing was written
