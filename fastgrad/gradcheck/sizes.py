"""Factors by their names: 64 is "the number of samples", 0.5 is "1/2"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

__all__ = ["Sizes"]

LARGEST = 4096  # an integer that people write


class Sizes:
    """What the numbers may be that a gradient is multiplied by mistakenly.

    Parameters
    ----------
    named : iterable of (int, str)
        Sizes and what they are, the most likely ones first.
    """

    def __init__(self, named: Iterable[tuple[int, str]]) -> None:
        self._known: dict[int, list[str]] = {}
        for size, name in named:
            if size > 1:
                self._known.setdefault(size, []).append(name)
        self._products: dict[int, tuple[int, int]] = {}
        for i, a in enumerate(self._known):
            for b in list(self._known)[i:]:
                if a * b not in self._known:
                    self._products.setdefault(a * b, (a, b))

    def read(self, number: float, error: float) -> str | None:
        """Return a number that somebody may have written, as text: "64", "1/64", "0.01"; or None.

        >>> sizes = Sizes([(64, "the number of samples")])
        >>> [sizes.read(n, 1e-9) for n in (64.0, -2.0, 1 / 64, 0.01, 2 / 3, 0.8147236)]
        ['64', '-2', '1/64', '0.01', '2/3', None]
        """
        return self._read(number, error, self._forms)

    def decimal(self, number: float, error: float) -> str | None:
        """Return a number of a few digits as text, such as a penalty's; or None.

        >>> Sizes([(100, "the width")]).decimal(0.01, 1e-9)
        '0.01'
        """
        return self._read(number, error, lambda size: iter([(f"{size:.3g}", float(f"{size:.3g}"))]))

    def _read(
        self, number: float, error: float, forms: Callable[[float], Iterator[tuple[str, float]]]
    ) -> str | None:
        size = abs(number)
        slack = max(3 * error, 1e-9 * size)
        if not 0 < size < 1e12 or slack > 2e-3 * size:
            return None
        sign = "-" if number < 0 else ""
        for text, value in forms(size):
            if abs(size - value) <= slack:
                return sign + text
        return None

    def _forms(self, size: float) -> Iterator[tuple[str, float]]:
        """Yield what a positive number may have been written as, the likeliest first."""
        whole, inverse = round(size), round(1 / size)
        if whole and self._written(whole):
            yield str(whole), whole
        if inverse > 1 and (inverse < 10 or inverse in self._known):
            yield f"1/{inverse}", 1 / inverse
        yield f"{size:.2g}", float(f"{size:.2g}")
        if inverse > 1 and self._written(inverse):
            yield f"1/{inverse}", 1 / inverse
        near = Fraction(size).limit_denominator(9)
        yield str(near), float(near)
        for top in self._known:
            for bottom in self._known:
                yield f"{top}/{bottom}", top / bottom

    def meaning(self, number: float, error: float) -> str:
        """Return what a factor may be, for a sentence; "" if it is no known size.

        >>> sizes = Sizes([(64, "the number of samples"), (10, "the number of columns of target")])
        >>> sizes.meaning(1 / 64, 1e-12)
        '64 is the number of samples'
        >>> sizes.meaning(640, 1e-9)
        '640 is 64 * 10, the number of samples times the number of columns of target'
        """
        size = abs(number)
        slack = max(3 * error / max(size, 1e-300), 1e-9)
        for value in (size, 1 / size if size else 0.0):
            whole = round(value)
            if whole < 2 or abs(value - whole) > slack * value:
                continue
            if whole in self._known:
                names = self._known[whole]
                return f"{whole} is {' or '.join(names[:3])}"
            if whole in self._products:
                a, b = self._products[whole]
                return f"{whole} is {a} * {b}, {self._known[a][0]} times {self._known[b][0]}"
        return ""

    def _written(self, whole: int) -> bool:
        return whole <= LARGEST or whole in self._known or whole in self._products
