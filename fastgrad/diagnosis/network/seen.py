"""What the script has for one layer, and whether a planted result equals it.

A result of the way back, dz, is compared through a few combinations of the rows of the dw that
it gives (``probe @ dw = (probe @ a.T) @ dz``) and through db: an (n, k) product with 7 rows, not
with 784. A wrong entry of size e changes the combinations by about e. What fits is compared in
full before it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.network.model import Model
from fastgrad.diagnosis.network.step import Along, Plus, Product

__all__ = ["Seen", "Verdicts"]

ROWS = 6  # of the probe
FLOOR = 8.0  # roundings of a result
NEAR = 0.05  # relative difference: what differs by more is no explanation, whatever the bound
SLACK = 3.0  # a sum of squares through a random probe of 6 rows is at most this times too large


@dataclass
class Verdicts:
    """For each of some results: whether dw and db fit, and the relative difference."""

    weights: Array
    bias: Array
    apart: Array


class Seen:
    """A layer's gradients in the script, and a few combinations of them."""

    def __init__(
        self, model: Model, layer: int, weights: Array, bias: Array | None, unit: float
    ) -> None:
        self.model, self.layer = model, layer
        self.weights, self.bias = weights, bias
        d = len(weights)
        if d <= ROWS + 2:
            self.probe = np.eye(d)
        else:
            draw = np.random.default_rng(d)
            self.probe = draw.standard_normal((ROWS, d)) / ROWS**0.5
        self.rows = len(self.probe)
        self.of_weights = self.probe @ weights
        before = model.a[layer - 1]
        ones = [np.ones((1, len(before)))] if bias is not None else []
        self.left = np.concatenate([self.probe @ before.T, *ones])
        self.size_before = float(np.sqrt((before * before).sum()))
        self.penalty = model.penalty(layer)
        of_penalty = 0.0 if self.penalty is None else self.probe @ self.penalty
        self.of_penalty: Any = of_penalty
        parts = [self.of_weights - of_penalty]
        if bias is not None:
            parts.append(bias[None])
        self.features = np.concatenate(parts)
        self.equations = self.features.size
        # The script's arrays themselves are rounded, the sum with the penalty, too.
        own = np.stack([(weights * weights).sum(axis=0), np.zeros(weights.shape[1])])
        if self.penalty is not None:
            own[0] += (self.penalty * self.penalty).sum(axis=0)
        if bias is not None:
            own[1] = bias * bias
        self.floor = FLOOR * unit * np.sqrt(own)

    # -- how near is near -----------------------------------------------------------------------
    def measure(self, grad_z: Array, weights_bound: Array, bias_bound: Array | None) -> None:
        """Take the accuracy from the bounds of the right way: relative, per column."""
        size = np.sqrt((grad_z * grad_z).sum(axis=0))
        some = size > 0
        self.rho_w, self.rho_b = np.zeros(len(size)), np.zeros(len(size))
        if some.any():
            whole = np.sqrt((weights_bound * weights_bound).sum(axis=0))
            self.rho_w[some] = whole[some] / (self.size_before * size[some] + 1e-300)
            if bias_bound is not None:
                self.rho_b[some] = bias_bound[some] / (len(grad_z) ** 0.5 * size[some])
            self.rho_w = SLACK * np.maximum(self.rho_w, np.median(self.rho_w[some]))
            self.rho_b = SLACK * np.maximum(self.rho_b, np.median(self.rho_b[some]))
        self.rho = float(max(self.rho_w.max(initial=0.0), self.rho_b.max(initial=0.0)))

    # -- results of the way back: dz ------------------------------------------------------------
    def of(self, grad_z: Array) -> Array:
        """Return the combinations that a dz gives."""
        made: Array = self.left @ grad_z
        return made

    def tolerance(self, grad_z: Array) -> Array:
        """Return how far those of the script may be: of dw and of db, per column."""
        size = np.sqrt(np.einsum("ij,ij->j", grad_z, grad_z))
        found = np.stack(
            [self.rho_w * (self.size_before * size), self.rho_b * (len(grad_z) ** 0.5 * size)]
        )
        return np.asarray(found + self.floor)

    def factors(self, features: Array) -> Array:
        """Return the factors that fit best by dw and by db, (results, 2)."""
        r, some = self.rows, []
        for part in (slice(0, r), slice(r, None)):
            mine, theirs = self.features[part], features[:, part]
            with np.errstate(all="ignore"):
                top = (theirs * mine).sum(axis=(1, 2))
                some.append(top / (theirs * theirs).sum(axis=(1, 2)))
        return np.asarray(np.nan_to_num(np.stack(some, axis=1), nan=0.0, posinf=0.0, neginf=0.0))

    def judge(self, features: Array, tolerances: Array, factor: Any = 1.0) -> Verdicts:
        """Compare results, each times its factor, with the script."""
        r = self.rows
        scale = np.asarray(factor, np.float64).reshape(-1, 1, 1)
        with np.errstate(all="ignore"):
            made = features * scale
            apart = self.features - made
            squares = apart * apart
            allowed = tolerances * np.abs(scale) + 1e-300
            of_weights = np.sqrt(squares[:, :r].sum(axis=1))
            weights = (of_weights <= allowed[:, 0]).all(axis=1)
            bias: Array = np.ones(len(features), bool)
            if self.bias is not None:
                bias = np.asarray((np.sqrt(squares[:, r]) <= allowed[:, 1]).all(axis=1))
            larger = np.maximum((self.features**2).sum(), (made * made).sum(axis=(1, 2)))
            relative = np.sqrt(squares.sum(axis=(1, 2)) / larger)
        return Verdicts(weights, bias, np.nan_to_num(relative, nan=np.inf))

    # -- results of one product: dw -------------------------------------------------------------
    def of_product(self, result: Any) -> Array:
        """Return the combinations of a dw, the penalty included."""
        product = result.product if isinstance(result, Plus) else result
        if not isinstance(product, Product):
            return np.asarray(self.probe @ product)
        made: Array = (self.probe @ product.left.T) @ product.right
        if not isinstance(result, Plus):
            return np.asarray(made + self.of_penalty)
        return made + self.probe @ result.more if np.ndim(result.more) else made

    def near_product(self, result: Any) -> Array:
        """Return how far the script may be from it, per column."""
        product = result.product if isinstance(result, Plus) else result
        if isinstance(product, Product):
            size = np.sqrt(np.einsum("ij,ij->j", product.right, product.right))
            left = float(np.sqrt((product.left * product.left).sum()))
            return np.asarray(float(self.rho_w.max()) * left * size + self.floor[0])
        return np.asarray(self.rho * np.sqrt((result * result).sum(axis=0)))

    def resolved(self, result: Any) -> tuple[Any, float]:
        """Return a result whose unknown coefficient is fitted, and the coefficient."""
        if not isinstance(result, Along):
            return result, 1.0
        start = self.of_product(result.start)
        along = self.probe @ result.direction
        square = float((along * along).sum())
        c = float(((self.of_weights - start) * along).sum()) / square if square else 0.0
        return Plus(result.start.product, c * result.direction), c
