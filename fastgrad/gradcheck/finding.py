"""What is wrong with one gradient, in words: the reports' common currency."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One mistake: where it is, what it is, how one can tell, and what to do.

    Attributes
    ----------
    array : str
        The place, as the script has it: ``grads['dW2']``, ``grads[0][1]``, ``loss``.
    kind : str
        The mistake in a few words: ``"sign"``, ``"factor"``, ``"transposed"``.
    layer : int or None
        The layer in which the mistake enters, from 1; None where the layers are not known.
    evidence : str
        A sentence: what the numbers are, and how exactly the mistake explains them.
    hint : str
        A sentence or a line of NumPy: where to look, or what to write instead.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> x = np.array([2.0, 5.0])
    >>> report = fg.diagnose(lambda x: (x**2).sum(), x, -2 * x)
    >>> report.findings[0].array, report.findings[0].kind
    ('grads', 'sign')
    """

    array: str
    kind: str
    layer: int | None
    evidence: str
    hint: str

    def __str__(self) -> str:
        layer = "" if self.layer is None else f" (layer {self.layer})"
        return f"{self.array}{layer}: {self.kind}"
