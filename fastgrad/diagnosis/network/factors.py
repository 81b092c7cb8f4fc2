"""Factors by name: 64 is the number of samples, 1/64 the division by it."""

from __future__ import annotations

from dataclasses import dataclass

from fastgrad.diagnosis.network.model import Model

__all__ = ["Factor", "Factors"]


@dataclass(frozen=True)
class Factor:
    """A factor of an array, its name, and the kind of mistake it is."""

    value: float
    words: str
    kind: str
    named: bool = True


class Factors:
    """The factors that mean something for a network and a batch."""

    def __init__(self, model: Model) -> None:
        self.model = model
        n, k = model.n, model.width(model.layers)
        counts = {n: f"the {n} samples", k: f"the {k} outputs", n * k: f"all {n * k} elements"}
        widths = {model.width(i): f"the width of layer {i}" for i in range(model.layers, 0, -1)}
        widths[model.width(0)] = "the number of inputs"
        self.table: dict[float, tuple[str, str]] = {-1.0: ("the sign is turned", "sign")}
        for count, words in (counts | {c: w for c, w in widths.items() if c not in counts}).items():
            if count > 1:
                self.table.setdefault(float(count), (f"it is not divided by {words}", "factor"))
                self.table.setdefault(1.0 / count, (f"it is divided by {words}", "factor"))
        self.table.setdefault(2.0, ("it is doubled", "factor"))
        self.table.setdefault(0.5, ("it is halved: the 2 of a square is missing", "factor"))
        for value, (words, kind) in list(self.table.items()):
            if value > 0:
                self.table.setdefault(-value, (f"{words}, and its sign is turned", kind))
                for two in (2.0, 0.5):
                    more = "and doubled" if two == 2.0 else "and halved"
                    self.table.setdefault(two * value, (f"{words}, {more}", kind))

    def name(self, step: str, value: float, accuracy: float) -> Factor:
        """Return a factor by name; the nearest within `accuracy` (relative)."""
        near = min(self.table, key=lambda v: abs(v - value))
        if abs(near - value) > accuracy * abs(near):
            return Factor(value, f"a factor of {value:.6g}", "factor", named=False)
        words, kind = self.table[near]
        n = float(self.model.n)
        if step in ("weights", "bias") and near == 1.0 / n and n > 1:
            return Factor(near, "the mean over the samples where the sum belongs", "mean for sum")
        if step == "loss":
            divisor = self.model.loss.divisor(self.model.a[-1])
            if near == divisor != 1.0:
                return Factor(
                    near, f"the sum where the division by {divisor:.0f} belongs", "sum for mean"
                )
            if divisor == 1.0 and near in (1.0 / n, 1.0 / self.model.a[-1].size):
                return Factor(
                    near, f"the mean over {1.0 / near:.0f} where the sum belongs", "mean for sum"
                )
        return Factor(near, f"a factor of {near:.6g}: {words}", kind)
