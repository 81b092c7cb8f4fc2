"""What the gradients of weighted batches are divided by: for a mean, the sum of their weights."""

from __future__ import annotations

from fastgrad.arrays import Array
from fastgrad.losses.detailed import sums
from fastgrad.networks.plan import Network


class Weighing:
    """The sums of the weights of a job's batches, for a network whose loss is a mean.

    `weights` are contiguous float64, one per sample or per output of each. A batch without any
    weight is divided by 0, which changes nothing: its terms and slopes are 0, not products.
    """

    def __init__(self, network: Network, weights: Array, batch: int) -> None:
        self.mean = network.reduction == "mean"
        self.weights, self.batch = weights, batch
        # A sample's weight is that of all its terms.
        self.terms = network.terms_of_sample if weights.ndim == 1 else 1
        if self.mean:
            self.total = float(self._sums(1, len(weights), None)[0])

    def of_batches(self, passes: int, order: Array | None) -> int:
        """Return the address of a divisor for each batch of these passes; 0 if not a mean."""
        if not self.mean:
            return 0
        self.divisors = self._sums(passes, self.batch, order)
        return self.divisors.ctypes.data

    def _sums(self, passes: int, batch: int, order: Array | None) -> Array:
        each = self.weights.size // len(self.weights)
        return sums(self.weights, each, batch, passes, order) * self.terms
