"""Derivatives by differences, to compare analytic ones with.

A difference needs a step. Let ``eps`` be the relative rounding error of the numbers `f` returns,
and ``s = max(1, |x|)``. These steps balance the error of the formula and that of the arithmetic:

=============  =================================  =================  =====================
method         derivative                         step ``h``         error, about
=============  =================================  =================  =====================
``"central"``  ``(f(x + h) - f(x - h)) / 2h``     ``s eps**(1/3)``   ``h**2 + eps / h``
``"forward"``  ``(f(x + h) - f(x)) / h``          ``s eps**(1/2)``   ``h + eps / h``
``"complex"``  ``imag(f(x + ih)) / h``            ``s 1e-30``        ``eps``
=============  =================================  =================  =====================

``eps`` is that of the dtype `f` returns, unless what `noise` measures is 32 times as large: a
Python float from a float32 network has the digits of float32. Such an `f` may round its argument
to float32, so it is evaluated only at points that float32 can represent.

The complex step subtracts nothing, so it is exact to rounding; but `f` must be plain NumPy without
``abs``, ``maximum`` or the like, and fastgrad's own functions take no complex numbers.
At a kink (relu at 0) no difference is right: check gradients away from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgrad.arguments import check_choice, check_count, check_number, random_generator
from fastgrad.arrays import Array, as_array
from fastgrad.gradcheck.function import Function, float64, one_array
from fastgrad.gradcheck.sample import some_entries
from fastgrad.gradcheck.tree_loss import TreeLoss, is_tree, rebuilt
from fastgrad.trees import of_any_shape

__all__ = ["check_draw", "check_method", "deriv", "jacobian", "numerical_grad", "rays_of"]

METHODS = ("central", "forward", "complex")


def deriv(func: Callable[[Array], ArrayLike], x: ArrayLike, delta: float = 1e-3) -> Any:
    """Return the derivative of an elementwise function by a central difference.

    Parameters
    ----------
    func : callable
        Takes an array of any shape and returns one of the same shape. It is given private float64
        copies, which it may change.
    x : array_like
        Where to differentiate.
    delta : float
        Half the distance of the two points; the error is about ``delta**2 / 6 * func'''(x)``.

    Returns
    -------
    ndarray or float
        float64, of the shape of `x`.

    Raises
    ------
    ValueError
        If `delta` is not a positive number, or `func` is not elementwise.
    TypeError
        If `x` is not of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.deriv(np.square, [1.0, 2.0, 3.0]).round(6).tolist()
    [2.0, 4.0, 6.0]
    """
    delta = _check_delta("deriv", delta)
    point = float64(as_array("deriv", "x", x))
    with np.errstate(all="ignore"):
        above, below = point + delta, point - delta
    if np.any((above == below) & np.isfinite(point)):
        raise ValueError(_vanished("deriv", delta, point))
    y_above, y_below = (
        float64(as_array("deriv", "func(x)", func(p.copy()))) for p in (above, below)
    )
    for y in (y_above, y_below):
        if y.shape != point.shape:
            raise ValueError(
                f"deriv: func returned shape {y.shape} for x of shape {point.shape}: "
                "it must be elementwise"
            )
    with np.errstate(all="ignore"):
        # The points' true distance: x + delta and x - delta are rounded.
        return (y_above - y_below) / (above - below)


def numerical_grad(
    f: Callable[[Any], Any],
    x: Any,
    *,
    delta: float | None = None,
    method: str = "central",
    sample: int | None = None,
    directions: Any = None,
    seed: int = 0,
) -> Any:
    """Return the gradient of a scalar function, one entry of `x` at a time.

    Parameters
    ----------
    f : callable
        Takes an array of the shape of `x`, or a tree like it, and returns one number. It is given
        a private float64 (complex128 for the complex step) copy of `x` each time.
    x : array_like or tree of arrays
        Where to differentiate; never written. A tree is a dict, list or tuple of arrays, nested;
        arrays of one shape in a list are one array.
    delta : float, optional
        The step, the same for all entries. By default that of the module's table; choosing it
        takes a dozen values of `f` near `x`, some more if `f` is not exact.
    method : {"central", "forward", "complex"}
        See the module's table.
    sample : int, optional
        Differentiate only that many entries of each array, drawn at random; the others are NaN.
    directions : array_like or tree of arrays, optional
        ``(m, *x.shape)``: differentiate along these m directions instead of entry by entry.
    seed : int
        Of the draw.

    Returns
    -------
    ndarray, or tree of ndarrays
        float64, of the shape of `x`; for a tree one like it. With `directions` ``(m,)``: the sums
        of the gradient times each direction.

    Raises
    ------
    ValueError
        If `f` does not return one number, or not a complex one for the complex step; if it
        ignores its argument, as a function does that reads a global array; if `delta` is not
        positive or too small to change `x`; if `method` is unknown; if `directions` do not have
        the shape of `x`, or `sample` is given, too.
    TypeError
        If `x` is not of real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.numerical_grad(lambda x: np.sum(x**2), [[1.0, 2.0]]).round(6).tolist()
    [[2.0, 4.0]]
    >>> fg.numerical_grad(lambda x: np.sum(np.exp(x)), [0.0, 1.0], method="complex").tolist()
    [1.0, 2.718281828459045]
    >>> params = {"w": np.array([1.0, 2.0]), "b": np.array(3.0)}
    >>> grads = fg.numerical_grad(lambda p: np.sum(p["w"] ** 2) * p["b"], params)
    >>> grads["w"].round(6).tolist(), float(grads["b"].round(6))
    ([6.0, 12.0], 5.0)
    """
    function = "numerical_grad"
    delta = check_method(function, delta, method)
    draw = check_draw(function, sample, directions, seed)
    if directions is None and not is_tree(x):
        return _differences(function, f, x, delta, method, True, sample, draw)
    loss = TreeLoss(function, f, x if is_tree(x) else one_array(function, "x", x), "x")
    loss.writes()
    if directions is not None:
        along = loss.along(rays_of(function, loss, directions))
        return _slopes(_measured(along, delta, method), delta, method)
    if delta is None and method != "complex":
        loss.measure()
    found = []
    for i, array in enumerate(loss.arrays):
        some = some_entries(draw, array.shape, sample)
        found.append(_slopes(loss.of(i), delta, method, some))
    if not any(np.nan_to_num(part).any() for part in found):
        loss.joint.check_used()
    return rebuilt(loss.like, iter(found))


def jacobian(
    f: Callable[[Array], ArrayLike],
    x: ArrayLike,
    *,
    delta: float | None = None,
    method: str = "central",
) -> Array:
    """Return ``dy/dx`` of a function ``y = f(x)`` from arrays to arrays.

    Parameters
    ----------
    f : callable
        Takes an array of the shape of `x` and returns one of any shape, always the same. It is
        given a private float64 (complex128 for the complex step) copy of `x` each time.
    x : array_like
        Where to differentiate; never written.
    delta, method
        As for `numerical_grad`.

    Returns
    -------
    ndarray
        float64, of shape ``y.shape + x.shape``.

    Raises
    ------
    ValueError
        If `f` does not always return one shape, and complex numbers for the complex step; if it
        ignores its argument; if `delta` is not positive or too small to change `x`; if `method`
        is unknown.
    TypeError
        If `x`, or what `f` returns, is not of real numbers, or `x` is more than one array.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> fg.jacobian(lambda x: np.array([x[0] + x[1], x[0] * x[1]]), [2.0, 3.0]).round(6).tolist()
    [[1.0, 1.0], [3.0, 2.0]]
    """
    return _differences("jacobian", f, x, delta, method)


# -- shared -----------------------------------------------------------------------------------


def check_method(caller: str, delta: float | None, method: str) -> float | None:
    """Return `delta` as a float, or None; raise for a bad one and for an unknown method."""
    check_choice(caller, "method", method, METHODS)
    return None if delta is None else _check_delta(caller, delta)


def check_draw(caller: str, sample: int | None, directions: Any, seed: int) -> np.random.Generator:
    """Return the generator of the draw; raise for bad settings of it."""
    if sample is not None:
        check_count(caller, "sample", sample)
        if directions is not None:
            raise ValueError(f"{caller}: sample and directions are both given: give one of them")
    return random_generator(caller, seed)


def rays_of(caller: str, loss: TreeLoss, directions: Any) -> list[Array]:
    """Return the directions for each array of a tree, ``(m, *shape)``."""
    if loss.tree.kind == "array":
        directions = as_array(caller, "directions", directions)
    own, rays = of_any_shape(caller, loss.tree, directions, "directions", "x")
    for theirs, ray, ours, array in zip(
        own.names("directions"), rays, loss.names, loss.arrays, strict=True
    ):
        if ray.ndim == 0 or ray.shape[1:] != array.shape or len(ray) != len(rays[0]):
            raise ValueError(
                f"{caller}: {theirs} has shape {ray.shape} but {ours} has shape {array.shape}: "
                f"give shape (m, {', '.join(map(str, array.shape))}), m directions"
            )
    return [float64(ray) for ray in rays]


def _measured(f: Function, delta: float | None, method: str) -> Function:
    """Return f, its rounding measured where a step has to be chosen."""
    if delta is None and method != "complex":
        f.measure()
    return f


def _differences(
    caller: str,
    func: Callable[[Array], Any],
    x: ArrayLike,
    delta: float | None,
    method: str,
    scalar: bool = False,
    sample: int | None = None,
    draw: np.random.Generator | None = None,
) -> Array:
    """Return ``dy/dx`` of shape ``y.shape + x.shape``."""
    delta = check_method(caller, delta, method)
    f = _measured(Function(caller, func, x, scalar), delta, method)
    some = None if draw is None else some_entries(draw, f.point.shape, sample)
    result = _slopes(f, delta, method, some)
    if result.size and not np.nan_to_num(result).any():
        f.check_used()
    return result


def _slopes(
    f: Function, delta: float | None, method: str, some: Sequence[tuple[int, ...]] | None = None
) -> Array:
    """Return the derivatives with respect to all entries, or some and NaN for the others."""
    step = f.step(method) if delta is None else delta
    result = np.full((*f.y.shape, *f.point.shape), np.nan)
    for index in np.ndindex(f.point.shape) if some is None else some:
        column = (..., *index)
        here = float(f.point[index])
        h = step if delta is not None else step * max(1.0, abs(here))
        if method == "complex":
            result[column] = f.complex_slope(index, h)
            continue
        below = here - h if method == "central" else here
        above = here + h
        if f.coarse:
            below, above = float(np.float32(below)), float(np.float32(above))
        if above == below and np.isfinite(here):
            raise ValueError(_vanished(f.caller, h, f.point))
        y_above = f.at(index, above)
        y_below = f.at(index, below) if method == "central" else f.y
        with np.errstate(all="ignore"):
            result[column] = (y_above - y_below) / (above - below)
    return result


def _check_delta(function: str, delta: float) -> float:
    step = check_number(function, "delta", delta)
    if not 0 < step < np.inf:
        raise ValueError(f"{function}: delta is {delta}: give a positive number")
    return step


def _vanished(function: str, delta: float, point: Array) -> str:
    return (
        f"{function}: delta is {delta} but x reaches {np.abs(point).max():g}, "
        "where adding it changes nothing: give a larger delta"
    )
