"""What a diagnosis says: its findings, the place first, and a row for each array."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastgrad.arrays import Array
from fastgrad.diagnosis.whole_text import WholeText
from fastgrad.gradcheck.finding import Finding
from fastgrad.terminal import table

__all__ = ["ArrayVerdict", "Diagnosis", "Finding"]

WIDTH = 100  # of printed lines
STATES = {"ok": "ok", "wrong": "WRONG", "inconclusive": "INCONCLUSIVE"}
HEADER = ("array", "shape", "difference / bound", "verdict")


@dataclass(frozen=True)
class ArrayVerdict:
    """How one array of the gradient compares.

    Attributes
    ----------
    name : str
        The array, as the script has it: ``grads['dW2']``.
    shape : tuple of int
        Its shape.
    difference : float
        Its largest difference from the right gradient, relative to the bound of rounding and of
        the method's own error: at most 1 is right. NaN if nothing could be compared.
    verdict : {"ok", "wrong", "inconclusive"}
        Inconclusive: not known to be wrong, but an error could be too small to be seen.
    relative : ndarray or None
        For `Diagnosis.plot`, of the array's shape: the difference of each entry, relative to the
        right gradient's largest; NaN where none was looked at.
    """

    name: str
    shape: tuple[int, ...]
    difference: float
    verdict: str
    relative: Array | None = field(default=None, repr=False, compare=False)

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row of the printed table."""
        size = "-" if np.isnan(self.difference) else f"{self.difference:.2g}"
        return self.name, str(self.shape), size, self.verdict


@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis:
    """What `diagnose` found. True if every array is right; print it to read it.

    Attributes
    ----------
    state : {"ok", "wrong", "inconclusive"}
        Inconclusive: nothing is known to be wrong, but something could be without being seen.
    findings : tuple of Finding
        The mistakes, in the order in which they enter: ``.array .kind .layer .evidence .hint``.
    arrays : tuple of ArrayVerdict
        Each array of the gradient: ``.name .shape .difference .verdict``.
    notes : tuple of str
        What else there is to know: what was compared, and how exactly.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgrad as fg
    >>> x, t = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]), np.array([1.0, 0.0, 2.0])
    >>> def loss(p):
    ...     return np.sum((x @ p["w"] + p["b"] - t) ** 2)
    >>> params = {"w": np.array([0.5, -1.0]), "b": np.array(0.1)}
    >>> dz = 2 * (x @ params["w"] + params["b"] - t)
    >>> bool(fg.diagnose(loss, params, {"dw": x.T @ dz, "db": dz.sum()}))
    True
    >>> report = fg.diagnose(loss, params, {"dw": -x.T @ dz, "db": dz.sum()})
    >>> report.state, [(a.name, a.verdict) for a in report.arrays]
    ('wrong', [("grads['dw']", 'wrong'), ("grads['db']", 'ok')])
    >>> print(str(report).splitlines()[0])
    WRONG: grads['dw'] (sign)
    """

    state: str
    findings: tuple[Finding, ...]
    arrays: tuple[ArrayVerdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every array is right, as far as differences and rounding can tell."""
        return self.state == "ok"

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return WholeText(self)

    def headline(self) -> str:
        """Return the verdict in one line, the places first."""
        if self.ok:
            count = len(self.arrays)
            return f"ok: {count} array{'s' * (count != 1)}"
        places = [f"{f.array} ({f.kind})" for f in self.findings]
        places += [
            a.name
            for a in self.arrays
            if a.verdict == self.state and not any(f.array == a.name for f in self.findings)
        ]
        more = f", and {len(places) - 3} more" if len(places) > 3 else ""
        return f"{STATES[self.state]}: {', '.join(places[:3])}{more}"

    def _lines(self) -> Iterator[str]:
        yield self.headline()
        for finding in self.findings:
            yield ""
            yield str(finding)
            yield from _paragraph("  evidence: ", finding.evidence)
            yield from _paragraph("  hint:     ", finding.hint)
        if self.arrays:
            yield ""
            yield from table(HEADER, [a.cells() for a in self.arrays], left=2).splitlines()
        if self.notes:
            yield ""
        for note in self.notes:
            yield from _paragraph("- ", note)

    def _repr_html_(self) -> str:
        """Return the report for Jupyter."""
        found = "".join(
            f"<li><b>{_escaped(str(f))}</b><br>{_escaped(f.evidence)}<br>"
            f"<i>{_escaped(f.hint)}</i></li>"
            for f in self.findings
        )
        head = "".join(f"<th>{_escaped(cell)}</th>" for cell in HEADER)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in a.cells())}</tr>"
            for a in self.arrays
        )
        notes = "".join(f"<li>{_escaped(note)}</li>" for note in self.notes)
        return (
            f"<b>{_escaped(self.headline())}</b><ul>{found}</ul>"
            f"<table><tr>{head}</tr>{rows}</table><ul>{notes}</ul>"
        )

    def plot(self) -> Any:
        """Draw each array as a heat map of its relative difference.

        Returns
        -------
        matplotlib.figure.Figure
            A panel for each array; grey entries are those that were not looked at. In Jupyter it
            is shown; elsewhere, ``report.plot().savefig("gradient.png")``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from fastgrad.diagnosis.picture import draw

        return draw(self.headline(), self.arrays)


def _paragraph(head: str, text: str) -> list[str]:
    """Return lines that begin with `head`, the others indented as far. Code keeps its lines."""
    indent = " " * len(head)
    lines = [
        line
        for part in text.splitlines() or [""]
        for line in textwrap.wrap(part, WIDTH - len(head), break_on_hyphens=False) or [""]
    ]
    return [(indent if i else head) + line for i, line in enumerate(lines)]


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")
