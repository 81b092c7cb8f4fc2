"""What cannot be computed is refused, by name: function, argument, shape or dtype, and the rule.

Each argument of each function is wrong in turn. Texts are compared whole where they are the
contract's; a refused call has written nothing. `out=` is refused in `test_out_refused.py`.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from calls import B, W, X, Y, backward, cache_of, columns, dense
from conftest import output, start

import fastgrad as fg
from fastgrad.activations import BUILT_IN

KNOWN = ", ".join(BUILT_IN)


def nested(depth: int) -> list[Any]:
    """Return a number in so many lists."""
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value  # type: ignore[no-any-return]


class Wrong(NamedTuple):
    """A call, the error it must raise and its text; ``...`` at the end stands for any rest."""

    call: Callable[[], Any]
    error: type[Exception]
    text: str


TYPES = "give float32, float64, float16, an integer type or bool"
SAME = "they need the same shape"
# Values no function takes as an array, and what is said about them.
NO_NUMBERS: dict[str, tuple[Any, str]] = {
    "complex": (np.ones((3, 4), complex), f"has dtype complex128: {TYPES}"),
    "complex64": (np.ones((3, 4), np.complex64), f"has dtype complex64: {TYPES}"),
    "longdouble": (np.ones((3, 4), np.longdouble), f"has dtype {np.dtype(np.longdouble)}: {TYPES}"),
    "object": (np.ones((3, 4), object), f"has dtype object: {TYPES}"),
    "string": (np.full((3, 4), "1"), f"has dtype <U1: {TYPES}"),
    "bytes": (np.full((3, 4), b"1"), f"has dtype |S1: {TYPES}"),
    "datetime": (np.full((3, 4), np.datetime64("2020-01-01")), f"has dtype datetime64[D]: {TYPES}"),
    "timedelta": (np.ones((3, 4), "m8[s]"), f"has dtype timedelta64[s]: {TYPES}"),
    "structured": (np.ones((3, 4), [("a", "f8")]), f"has dtype [('a', '<f8')]: {TYPES}"),
    "none": (None, f"has dtype object: {TYPES}"),
    "text": ("abc", f"has dtype <U3: {TYPES}"),
    "dict": ({1: 2}, f"has dtype object: {TYPES}"),
    "date": (datetime.date(2020, 1, 1), f"has dtype object: {TYPES}"),
    "ragged": ([[1.0], [1.0, 2.0]], "is not an array of numbers ("),
}
MASKED = np.ma.masked_array(np.ones((3, 4)), mask=False)


def mask_text(name: str) -> str:
    return f"is a masked array, whose mask would be lost: pass {name}.filled(value) or {name}.data"


# Every array argument: a function of its value, and how messages call it.
ARGUMENTS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "dense x": ("dense", "x", lambda v: fg.dense(v, W, B)),
    "dense w": ("dense", "w", lambda v: fg.dense(X, v, B)),
    "dense b": ("dense", "b", lambda v: fg.dense(X, W, v)),
    "forward x": ("dense_forward", "x", lambda v: fg.dense_forward(v, W, B)),
    "forward w": ("dense_forward", "w", lambda v: fg.dense_forward(X, v, B)),
    "forward b": ("dense_forward", "b", lambda v: fg.dense_forward(X, W, v)),
    "columns x": ("dense", "x", lambda v: fg.dense(v, W.T, B, samples="columns")),
    "backward grad_y": ("dense_backward", "grad_y", lambda v: backward(v)()),
    "value z": ("tanh", "z", lambda v: fg.tanh(v)),
    "softmax z": ("softmax", "z", lambda v: fg.softmax(v)),
    "derivative z": ("gelu.derivative", "z", lambda v: fg.gelu.derivative(v)),
    "vjp grad_y": ("silu.backward", "grad_y", lambda v: fg.silu.backward(v, X)),
    "vjp z": ("silu.backward", "z", lambda v: fg.silu.backward(X, v)),
    "softmax vjp z": ("softmax.backward", "z", lambda v: fg.softmax.backward(X, v)),
    "from output y": (
        "sigmoid.backward_from_output", "y", lambda v: fg.sigmoid.backward_from_output(X, v)
    ),
    "loss pred": ("mse", "pred", lambda v: fg.losses.mse(v, X)),
    "loss target": ("mse", "target", lambda v: fg.losses.mse(X, v)),
    "gradient pred": (
        "mae.value_and_grad", "pred", lambda v: fg.losses.mae.value_and_grad(v, X)
    ),
    "gradient target": (
        "mae.value_and_grad", "target", lambda v: fg.losses.mae.value_and_grad(X, v)
    ),
    "one array y": (
        "squared_l2.value_and_grad", "y", lambda v: fg.losses.squared_l2.value_and_grad(v)
    ),
    "sum y": ("sum", "y", lambda v: fg.losses.sum(v)),
    "cross-entropy pred": (
        "softmax_cross_entropy", "pred", lambda v: fg.losses.softmax_cross_entropy(v, X)
    ),
}  # fmt: skip
OPTIONAL = ("dense b", "forward b")  # None means something there
# A missing target is dangerous: see test_a_missing_target below.
MISSING = ("loss target", "gradient target")


@pytest.mark.parametrize("argument", list(ARGUMENTS))
@pytest.mark.parametrize("kind", [*NO_NUMBERS, "masked"])
def test_what_is_no_array_of_numbers(kind: str, argument: str) -> None:
    function, name, call = ARGUMENTS[argument]
    if kind == "none" and argument in (*OPTIONAL, *MISSING):
        return
    value, text = NO_NUMBERS.get(kind, (MASKED, mask_text(name)))
    with pytest.raises(TypeError) as error:
        call(value)
    assert str(error.value).startswith(f"{function}: {name} {text}")


SHAPES: dict[str, Wrong] = {
    "contract": Wrong(
        lambda: fg.dense_forward(np.ones((3, 4)), np.ones((5, 2))),
        ValueError,
        "dense_forward: w has shape (5, 2) but x has shape (3, 4): "
        "w needs 4 rows, one per input feature",
    ),
    "w of dense": Wrong(
        lambda: fg.dense(np.ones((3, 4)), np.ones((5, 2))),
        ValueError,
        "dense: w has shape (5, 2) but x has shape (3, 4): w needs 4 rows, one per input feature",
    ),
    "w in columns": Wrong(
        columns(w=np.ones((2, 5))),
        ValueError,
        "dense_forward: w has shape (2, 5) but x has shape (4, 3): "
        "w needs 4 columns, one per input feature",
    ),
    "w for a vector": Wrong(
        dense(x=np.ones(5)),
        ValueError,
        "dense_forward: w has shape (4, 2) but x has shape (5,): "
        "w needs 5 rows, one per input feature",
    ),
    "w for batch axes": Wrong(
        dense(x=np.ones((2, 3, 5))),
        ValueError,
        "dense_forward: w has shape (4, 2) but x has shape (2, 3, 5): "
        "w needs 5 rows, one per input feature",
    ),
    "w a vector": Wrong(
        dense(w=np.ones(4)),
        ValueError,
        "dense_forward: w has shape (4,): it needs two axes, (d, k)",
    ),
    "w a cube": Wrong(
        columns(w=np.ones((2, 4, 1))),
        ValueError,
        "dense_forward: w has shape (2, 4, 1): it needs two axes, (k, d)",
    ),
    "w a number": Wrong(
        dense(w=2.0), ValueError, "dense_forward: w has shape (): it needs two axes, (d, k)"
    ),
    "x a number": Wrong(
        dense(x=2.0),
        ValueError,
        "dense_forward: x has shape (): samples='rows' take (n, d), (..., d) or (d,)",
    ),
    "x a number in columns": Wrong(
        columns(x=2.0),
        ValueError,
        "dense_forward: x has shape (): samples='columns' take (d, n) or (d,)",
    ),
    "x a cube in columns": Wrong(
        columns(x=np.ones((4, 3, 2))),
        ValueError,
        "dense_forward: x has shape (4, 3, 2): samples='columns' take (d, n) or (d,)",
    ),
    "b too long": Wrong(
        dense(b=np.ones(3)),
        ValueError,
        "dense_forward: b has shape (3,) but w has shape (4, 2): "
        "b needs shape (2,) or (1, 2), one entry per output",
    ),
    "b a number": Wrong(
        dense(b=1.0),
        ValueError,
        "dense_forward: b has shape () but w has shape (4, 2): "
        "b needs shape (2,) or (1, 2), one entry per output",
    ),
    "b of one entry": Wrong(
        dense(b=np.ones(1)),
        ValueError,
        "dense_forward: b has shape (1,) but w has shape (4, 2): "
        "b needs shape (2,) or (1, 2), one entry per output",
    ),
    "b a column for rows": Wrong(
        dense(b=np.ones((2, 1))),
        ValueError,
        "dense_forward: b has shape (2, 1) but w has shape (4, 2): "
        "b needs shape (2,) or (1, 2), one entry per output",
    ),
    "b a row for columns": Wrong(
        columns(b=np.ones((1, 2))),
        ValueError,
        "dense_forward: b has shape (1, 2) but w has shape (2, 4): "
        "b needs shape (2,) or (2, 1), one entry per output",
    ),
    "b a full matrix": Wrong(
        dense(b=np.ones((3, 2))),
        ValueError,
        "dense_forward: b has shape (3, 2) but w has shape (4, 2): "
        "b needs shape (2,) or (1, 2), one entry per output",
    ),
    "grad_y too wide": Wrong(
        backward(np.ones((3, 3))),
        ValueError,
        f"dense_backward: grad_y has shape (3, 3) but y has shape (3, 2): {SAME}",
    ),
    "grad_y too short": Wrong(
        backward(np.ones((2, 2))),
        ValueError,
        f"dense_backward: grad_y has shape (2, 2) but y has shape (3, 2): {SAME}",
    ),
    "grad_y transposed": Wrong(
        backward(np.ones((2, 3))),
        ValueError,
        f"dense_backward: grad_y has shape (2, 3) but y has shape (3, 2): {SAME}",
    ),
    "grad_y a number": Wrong(
        backward(1.0),
        ValueError,
        f"dense_backward: grad_y has shape () but y has shape (3, 2): {SAME}",
    ),
    "grad_y a vector for one row": Wrong(
        lambda: fg.dense_backward(np.ones(2), cache_of(x=X[:1])),
        ValueError,
        f"dense_backward: grad_y has shape (2,) but y has shape (1, 2): {SAME}",
    ),
    "grad_y one row for a vector": Wrong(
        lambda: fg.dense_backward(np.ones((1, 2)), cache_of(x=X[0])),
        ValueError,
        f"dense_backward: grad_y has shape (1, 2) but y has shape (2,): {SAME}",
    ),
    "grad_y flat for batch axes": Wrong(
        lambda: fg.dense_backward(np.ones((6, 2)), cache_of(x=np.ones((2, 3, 4)))),
        ValueError,
        f"dense_backward: grad_y has shape (6, 2) but y has shape (2, 3, 2): {SAME}",
    ),
    "vjp": Wrong(
        lambda: fg.tanh.backward(np.ones((3, 1)), X),
        ValueError,
        f"tanh.backward: grad_y has shape (3, 1) but z has shape (3, 4): {SAME}",
    ),
    "vjp of softmax": Wrong(
        lambda: fg.softmax.backward(np.ones(4), X),
        ValueError,
        f"softmax.backward: grad_y has shape (4,) but z has shape (3, 4): {SAME}",
    ),
    "vjp from output": Wrong(
        lambda: fg.softmax.backward_from_output(np.ones((4, 3)), X),
        ValueError,
        f"softmax.backward_from_output: grad_y has shape (4, 3) but y has shape (3, 4): {SAME}",
    ),
    "softmax of a number": Wrong(
        lambda: fg.softmax(1.0), ValueError, "softmax: axis is -1 but z has shape ()"
    ),
    "target broadcasts": Wrong(
        lambda: fg.losses.mse(np.ones((3, 1)), np.ones(3)),
        ValueError,
        f"mse: target has shape (3,) but pred has shape (3, 1): {SAME}",
    ),
    "target of the gradient": Wrong(
        lambda: fg.losses.mae.value_and_grad(X, X.T),
        ValueError,
        f"mae.value_and_grad: target has shape (4, 3) but pred has shape (3, 4): {SAME}",
    ),
    "pred a number": Wrong(
        lambda: fg.losses.mse(1.0, 1.0),
        ValueError,
        "mse: pred has shape (): it needs at least one axis",
    ),
    "y a number": Wrong(
        lambda: fg.losses.sum.value_and_grad(1.0),
        ValueError,
        "sum.value_and_grad: y has shape (): it needs at least one axis",
    ),
    "pred a cube in columns": Wrong(
        lambda: fg.losses.mse(np.ones((2, 3, 4)), np.ones((2, 3, 4)), samples="columns"),
        ValueError,
        "mse: pred has shape (2, 3, 4): columns take (d, n) or (d,)",
    ),
    "classes of another number": Wrong(
        lambda: fg.losses.softmax_cross_entropy(X, [0, 1]),
        ValueError,
        "softmax_cross_entropy: target has shape (2,) and dtype int64 but pred has shape (3, 4): "
        "give integer classes of shape (3,), or an array like pred",
    ),
    "classes of floats": Wrong(
        lambda: fg.losses.softmax_cross_entropy(X, [0.0, 1.0, 2.0]),
        ValueError,
        "softmax_cross_entropy: target has shape (3,) and dtype float64 but pred has shape "
        "(3, 4): give integer classes of shape (3,) (labels.astype(int)), or an array like pred",
    ),
    "classes of bools": Wrong(
        lambda: fg.losses.softmax_cross_entropy(X, [True, False, True]),
        ValueError,
        "softmax_cross_entropy: target has shape (3,) and dtype bool but pred has shape "
        "(3, 4): give integer classes of shape (3,) (labels.astype(int)), or an array like pred",
    ),
    "classes in columns": Wrong(
        lambda: fg.losses.softmax_cross_entropy(X, [0, 1, 2], samples="columns"),
        ValueError,
        "softmax_cross_entropy: target has shape (3,) and dtype int64 but pred has shape "
        "(3, 4): give integer classes of shape (4,), or an array like pred",
    ),
    "a class too high": Wrong(
        lambda: fg.losses.softmax_cross_entropy(X, [0, 4, 2]),
        ValueError,
        "softmax_cross_entropy: target has classes from 0 to 4 but pred has 4 classes: "
        "they go from 0 to 3",
    ),
    "a negative class": Wrong(
        lambda: fg.losses.softmax_cross_entropy.value_and_grad(X, [0, -1, 2]),
        ValueError,
        "softmax_cross_entropy.value_and_grad: target has classes from -1 to 2 but pred has "
        "4 classes: they go from 0 to 3",
    ),
    "a huge class": Wrong(
        lambda: fg.losses.softmax_cross_entropy(X, np.array([0, 2**63 + 1, 2], np.uint64)),
        ValueError,
        "softmax_cross_entropy: target has classes from 0 to 9223372036854775809 but pred has "
        "4 classes: they go from 0 to 3",
    ),
    "one-hot of another width": Wrong(
        lambda: fg.losses.softmax_cross_entropy(X, np.ones((3, 5))),
        ValueError,
        f"softmax_cross_entropy: target has shape (3, 5) but pred has shape (3, 4): {SAME}",
    ),
}

CHOICES = "choose from 'rows', 'columns'"
NAMES: dict[str, Wrong] = {
    "samples": Wrong(
        dense(samples="cols"), ValueError, f"dense_forward: samples is 'cols': {CHOICES}"
    ),
    "samples None": Wrong(
        dense(samples=None), ValueError, f"dense_forward: samples is None: {CHOICES}"
    ),
    "samples a list": Wrong(
        dense(samples=["rows"]), ValueError, f"dense_forward: samples is ['rows']: {CHOICES}"
    ),
    "samples of a loss": Wrong(
        lambda: fg.losses.mse(X, X, samples="column"), ValueError,
        f"mse: samples is 'column': {CHOICES}",
    ),
    "reduction": Wrong(
        lambda: fg.losses.mse.value_and_grad(X, X, "average"), ValueError,
        "mse.value_and_grad: reduction is 'average': choose from 'mean', 'sum', 'samples'",
    ),
    "reduction None": Wrong(
        lambda: fg.losses.sum(X, None), ValueError,
        "sum: reduction is None: choose from 'mean', 'sum', 'samples'",
    ),
    "reduction a list": Wrong(
        lambda: fg.losses.mse.value_and_grad(X, X, ["mean"]), ValueError,
        "mse.value_and_grad: reduction is ['mean']: choose from 'mean', 'sum', 'samples'",
    ),
    "a target for a loss without": Wrong(
        lambda: fg.losses.sum(X, X), ValueError,
        "sum: reduction is ...",
    ),
    "activation unknown": Wrong(
        dense(activation="sigmoidal"), ValueError,
        f"dense_forward: unknown activation 'sigmoidal': did you mean 'sigmoid'? Else choose from "
        f"{KNOWN}",
    ),
    "activation of dense": Wrong(
        lambda: fg.dense(X, W, B, "TANH"), ValueError,
        f"dense: unknown activation 'TANH': did you mean 'tanh'? Else choose from {KNOWN}",
    ),
    "activation a number": Wrong(
        dense(activation=5), TypeError,
        "dense_forward: activation is a int: give None, a name, an fg.Activation or a callable",
    ),
    "activation a list": Wrong(
        dense(activation=["tanh"]), TypeError,
        "dense_forward: activation is a list: give None, a name, an fg.Activation or a callable",
    ),
    "activation of another shape": Wrong(
        dense(activation=np.sum), ValueError,
        "dense_forward: activation returned shape () for an array of shape (3, 2): "
        "it must be elementwise",
    ),
    "activation returns text": Wrong(
        dense(activation=lambda z: np.full(z.shape, "a")), TypeError,
        "dense_forward: what the activation returned has dtype ...",
    ),
    "activation returns complex": Wrong(
        dense(activation=lambda z: z * 1j), TypeError,
        "dense_forward: what the activation returned has dtype ...",
    ),
    "need": Wrong(
        backward(need=("x", "y")), ValueError,
        "dense_backward: need is 'y': choose from 'x', 'w', 'b', 'z'",
    ),
    "need a number": Wrong(
        backward(need=5), ValueError,
        "dense_backward: need is '5': choose from 'x', 'w', 'b', 'z'",
    ),
    "accumulate without a truth value": Wrong(
        backward(accumulate=np.array([True, False])), TypeError,
        "dense_backward: accumulate is a ndarray: give True or False",
    ),
    "a mask in a list": Wrong(
        lambda: fg.tanh([np.ma.masked_array([1.0, 2.0], [True, False])]), TypeError,
        "tanh: z is a masked array, whose mask would be lost: pass z.filled(value) or z.data",
    ),
    "samples an array of a loss": Wrong(
        lambda: fg.losses.mse.value_and_grad(X, X, "mean", np.array(["rows", "rows"])), ValueError,
        "mse.value_and_grad: samples is ...",
    ),
    "axis an array": Wrong(
        lambda: fg.softmax(X, axis=np.array([0, 1])), TypeError,
        "softmax: axis is a ndarray: give an integer",
    ),
    "a step of differences": Wrong(
        lambda: fg.deriv(np.sin, X, delta="small"), TypeError,
        "deriv: delta is a str: give a number",
    ),
    "pack of a number": Wrong(
        lambda: fg.MLP((2, 1), (None,), "mse").pack(5), TypeError,
        "MLP.pack: layers is a int: give a pair (w, b) per layer",
    ),
    "a network larger than memory": Wrong(
        lambda: fg.MLP((2**40, 2**40), (None,), "mse"), ValueError,
        "MLP: sizes is (1099511627776, 1099511627776): 1208925819615728686333952 parameters are "
        "more than memory can be",
    ),
    "warmup of a number": Wrong(
        lambda: fg.warmup(5), TypeError, "warmup: dtypes is a int: give names of dtypes"
    ),
    "a list nested too deep": Wrong(
        lambda: fg.relu(nested(3000)), TypeError,
        "relu: z is a list that holds itself, or is nested too deep",
    ),
    "cache of lists": Wrong(
        lambda: fg.dense_backward(Y, cache_of()._replace(w="weights")), TypeError,
        "dense_backward: cache.w has dtype ...",
    ),
    "cache without a layer": Wrong(
        lambda: fg.dense_backward(Y, cache_of()._replace(layer=None)), TypeError,
        "dense_backward: cache.layer is a NoneType: leave it as dense_forward made it",
    ),
    "cache None": Wrong(
        lambda: fg.dense_backward(Y, None), TypeError,
        "dense_backward: cache is a NoneType: give what dense_forward returned",
    ),
    "cache an array": Wrong(
        backward(cache=(1, 2, 3, 4, 5, 6, 7)), TypeError,
        "dense_backward: cache is a tuple: give what dense_forward returned",
    ),
    "axis too large": Wrong(
        lambda: fg.softmax(X, axis=2), ValueError,
        "softmax: axis is 2 but z has shape (3, 4)",
    ),
    "axis too small": Wrong(
        lambda: fg.softmax.backward(X, X, axis=-3), ValueError,
        "softmax.backward: axis is -3 but grad_y has shape (3, 4)",
    ),
    "axis a float": Wrong(
        lambda: fg.softmax(X, axis=0.5), TypeError, "softmax: axis is a ..."
    ),
    "axis None": Wrong(
        lambda: fg.softmax(X, axis=None), TypeError, "softmax: axis is a ..."
    ),
    "axis of an elementwise one": Wrong(
        lambda: fg.tanh(X, axis=0), TypeError, "tanh: unexpected argument axis"
    ),
    "unknown keyword": Wrong(
        lambda: fg.softmax(X, dim=0), TypeError,
        "Activation.__call__() got an unexpected keyword argument 'dim'",
    ),
    "define: name": Wrong(
        lambda: fg.define_activation(5, abs, abs), TypeError,
        "define_activation: name is a int: give a str",
    ),
    "define: no identifier": Wrong(
        lambda: fg.define_activation("my act", abs, abs), ValueError,
        "define_activation: the name 'my act' is not an identifier: choose another",
    ),
    "define: built in": Wrong(
        lambda: fg.define_activation("tanh", abs, abs), ValueError,
        "define_activation: the name 'tanh' is built in: choose another",
    ),
    "define: no function": Wrong(
        lambda: fg.define_activation("mine", abs, 1.0), TypeError,
        "define_activation: derivative is not callable",
    ),
    "jacobian of softmax": Wrong(
        lambda: fg.softmax.derivative(X), ValueError,
        "softmax.derivative: the derivative of softmax is a matrix per row, not an array like z: "
        "use softmax.backward(grad_y, z)",
    ),
}  # fmt: skip

CASES = {**{f"shape: {k}": v for k, v in SHAPES.items()}, **NAMES}


@pytest.mark.parametrize("case", list(CASES))
def test_texts(case: str) -> None:
    call, kind, text = CASES[case]
    with pytest.raises(kind) as error:
        call()
    if text.endswith("..."):
        assert str(error.value).startswith(text[:-3])
    else:
        assert str(error.value) == text


MISSING_TARGET = """
import numpy as np, fastgrad as fg
loss = fg.losses.{name}
for call in (loss, loss.value_and_grad):
    try:
        call(np.ones((2, 3)), None)
    except TypeError as error:
        assert "target" in str(error), error
    else:
        raise SystemExit("no error")
print("refused")
"""


@pytest.mark.parametrize("name", ["mse", "softmax_cross_entropy"])
def test_a_missing_target_is_refused(name: str) -> None:
    """In a process of its own: a kernel that believes there is one reads address 0."""
    assert output(start(MISSING_TARGET.format(name=name))) == "refused"


@pytest.mark.parametrize("name", ["no_such", "MLPP", "reluu"])
def test_unknown_public_name(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'fastgrad' has no attribute '{name}'"):
        getattr(fg, name)
