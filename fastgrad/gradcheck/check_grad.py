"""Is this gradient right? `check_grad` compares it with finite differences (`differences`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad.arguments import check_count, check_number
from fastgrad.arrays import Array
from fastgrad.gradcheck.differences import check_draw, check_method, deriv, jacobian, numerical_grad
from fastgrad.gradcheck.function import Function, one_array, private
from fastgrad.gradcheck.grad_report import GradReport, joined, judged
from fastgrad.gradcheck.noise import gradient_rounding, unit_of
from fastgrad.gradcheck.sample import directions as drawn_directions
from fastgrad.gradcheck.sample import some_entries
from fastgrad.gradcheck.slopes import find_slopes
from fastgrad.gradcheck.tree_loss import TreeLoss, is_tree
from fastgrad.trees import gradients

__all__ = ["GradReport", "check_grad", "deriv", "jacobian", "numerical_grad"]


def check_grad(
    f: Callable[[Any], Any],
    grad: Any,
    x: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    delta: float | None = None,
    method: str = "central",
    sample: int | None = None,
    directions: int | None = None,
    seed: int = 0,
) -> GradReport:
    """Compare a gradient with differences of the function it belongs to.

    The rounding of `f` is measured first, so a float32 network, whose loss is a Python float, is
    checked like any other function. Each entry is differentiated with two steps; their difference
    and the rounding of `f` bound the error. Where the bound is large, or the gradient is not
    within it, more steps are tried. This takes four values of `f` for an entry, up to forty for
    one in doubt, and two dozen for the rounding.

    Parameters
    ----------
    f : callable
        Takes an array, or a tree, and returns one number; as for `numerical_grad`.
    grad : array_like, tree of arrays, or callable
        The gradient at `x`, or a function that returns it for (a copy of) `x`. In dicts the
        gradient of "W1" may be called "dW1" or "grad_W1".
    x : array_like or tree of arrays
        Where to compare. Each array of a tree is judged by its own largest entry.
    rtol, atol : float, optional
        An entry is right if it differs by at most ``atol + rtol * abs(numerical)``. By default
        `rtol` is 1e-8, or 1.2e-5 where the gradient or `f` has the digits of float32, and `atol`
        that times the largest entry, plus the error bound of the entry's own difference.
    delta, method
        As for `numerical_grad`; with a `delta` no other step is tried.
    sample : int, optional
        Compare only that many entries of each array, drawn at random.
    directions : int, optional
        Compare the sums of the gradient along that many random directions instead of its entries:
        a wrong entry shows in each of them, however many entries there are.
    seed : int
        Of the draw.

    Returns
    -------
    GradReport
        True if all entries are right; NaN and inf never are. Inconclusive, which counts as False,
        where differences cannot decide: at a kink of `f`, and where the tolerance would be more
        than a tenth of the largest entry; with an `atol`, where the error bound is larger than
        the tolerance.

    Raises
    ------
    ValueError
        If the gradient's shape is not that of `x`, a tolerance is negative, and where
        `numerical_grad` raises it.
    TypeError
        If `x` or the gradient is not of real numbers, or only one of both is a tree.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> x = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> bool(fg.check_grad(lambda x: np.sum(x**2), 2 * x, x))
    True
    >>> print(fg.check_grad(lambda x: np.sum(x**3), 3 * x, x, rtol=0, atol=1e-6))
    gradient check (central differences): FAIL, 2 of 4 entries
      worst entry  [1, 1]
      analytic     9
      numerical    27
      difference   18, allowed 1e-06
    >>> print(fg.check_grad(lambda x: np.abs(x).sum(), [1.0, 0.0], [2.0, 0.0]))
    gradient check (central differences): INCONCLUSIVE, 1 of 2 entries
      worst entry  [0]
      analytic     1
      numerical    1
      difference   0, allowed 2e-08
      kink         at [1]: the slope is -1 to the left, 1 to the right
    >>> params = {"w": np.array([1.0, 2.0]), "b": np.array(3.0)}
    >>> print(fg.check_grad(lambda p: np.sum(p["w"]) * p["b"], {"dw": [3, 3], "db": 2}, params))
    gradient check (central differences): FAIL, 1 of 3 entries
    grad['db']: FAIL, 1 of 1 entries
      worst entry  []
      analytic     2
      numerical    3
      difference   1, allowed 6e-08
    """
    function = "check_grad"
    for name, tol in (("rtol", rtol), ("atol", atol)):
        if tol is not None and not check_number(function, name, tol) >= 0:
            raise ValueError(f"{function}: {name} is {tol}: give a number >= 0")
    delta = check_method(function, delta, method)
    draw = check_draw(function, sample, None, seed)
    if directions is not None:
        if sample is not None:
            check_draw(function, sample, directions, seed)
        check_count(function, "directions", directions)
    tree = is_tree(x)
    loss: TreeLoss | None = None
    if tree or directions is not None:
        loss = TreeLoss(function, f, x if tree else one_array(function, "x", x), "x")
        loss.writes()
    if callable(grad):
        if loss is None:
            grad = grad(private(one_array(function, "x", x)))
        else:
            grad = grad(loss.build([private(a) for a in loss.given]))
    settings = (rtol, atol, delta, method)
    if loss is None:
        point = one_array(function, "x", x)
        given = _one_gradient(function, grad, point)
        func = Function(function, f, point, scalar=True)
        func.measure()
        return _checked(func, given, *settings, some_entries(draw, point.shape, sample))
    if not tree:
        grad = _one_gradient(function, grad, loss.given[0])
    own, arrays = gradients(function, loss.tree, grad, loss.given, "grad", "x")
    if directions is not None:
        rays = [drawn_directions(draw, a.shape, directions) for a in loss.arrays]
        along = loss.along(rays)
        along.measure()
        sums = sum(r.reshape(directions, -1) @ a.ravel() for r, a in zip(rays, arrays, strict=True))
        unit = max(unit_of(a.dtype) for a in arrays)
        return _checked(along, np.asarray(sums), *settings, None, unit)
    loss.measure()
    parts = {}
    for i, (name, array) in enumerate(zip(own.names("grad"), arrays, strict=True)):
        some = some_entries(draw, array.shape, sample)
        parts[name] = _checked(loss.of(i), array, *settings, some)
    if not any(np.nan_to_num(part.numerical).any() for part in parts.values()):
        loss.joint.check_used()
    return joined(parts)


def _one_gradient(function: str, grad: Any, point: Array) -> Array:
    analytic = one_array(function, "grad", grad)
    if analytic.shape != point.shape:
        raise ValueError(
            f"{function}: grad has shape {analytic.shape} but x has shape {point.shape}: "
            "they need the same shape"
        )
    return analytic


def _checked(
    func: Function,
    analytic: Array,
    rtol: float | None,
    atol: float | None,
    delta: float | None,
    method: str,
    some: list[tuple[int, ...]] | None,
    unit: float = 0.0,
) -> GradReport:
    """Return the report on one array; `some` entries of it, or all."""
    small = gradient_rounding(max(unit, unit_of(analytic.dtype)), func.coarse)
    with np.errstate(all="ignore"):
        analytic = analytic.astype(np.float64)
    found = find_slopes(func, analytic, delta, method, small, some)
    return judged(analytic, found, small, rtol, atol, float(func.noise), method, func.point)
