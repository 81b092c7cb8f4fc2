"""Plain text for a terminal: a table, a progress bar, and numbers with units."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

__all__ = ["Progress", "duration", "factor", "table"]


def table(header: Sequence[str], rows: Sequence[Sequence[str] | None], left: int = 1) -> str:
    """Return an aligned table.

    Parameters
    ----------
    header : sequence of str
        Column titles.
    rows : sequence of sequences of str
        None is an empty line.
    left : int
        How many columns, from the left, to align left. The others are numbers.

    Examples
    --------
    >>> print(table(["layer", "time"], [["tanh", "1.5 us"], ["softmax", "12 us"]]))
    layer      time
    -------  ------
    tanh     1.5 us
    softmax   12 us
    """
    lines = [row for row in rows if row is not None]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header), rule, *("" if row is None else line(row) for row in rows)])


def duration(seconds: float | None) -> str:
    """Return a time with three digits and a unit; "-" for None.

    >>> duration(0.001234), duration(4.2e-7), duration(None)
    ('1.23 ms', '0.42 us', '-')
    """
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds * 1e6)} us"


def factor(ratio: float | None) -> str:
    """Return a ratio with three digits; "-" for None.

    >>> factor(4.567), factor(1234.5), factor(None)
    ('4.57x', '1234x', '-')
    """
    return "-" if ratio is None else f"{_three_digits(ratio)}x"


def _three_digits(value: float) -> str:
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


class Progress:
    """A progress bar on standard error, where that is a terminal.

    Parameters
    ----------
    show : bool, optional
        Whether to show it. By default only if `stream` is a terminal.
    stream : file, optional
        Standard error by default.

    Examples
    --------
    >>> with Progress(show=False) as progress:
    ...     for done, name in enumerate(["tanh", "relu"]):
    ...         progress.update(done, 2, name)
    """

    WIDTH = 24

    def __init__(self, show: bool | None = None, stream: TextIO | None = None) -> None:
        stream = sys.stderr if stream is None else stream  # None in a process without a console
        self._stream: Any = stream
        self._show = stream is not None and (stream.isatty() if show is None else show)
        self._start = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._show:  # leave no trace: clear the line
            self._stream.write("\r\033[K")
            self._stream.flush()

    def update(self, done: int, total: int, name: str) -> None:
        """Draw the bar: so many steps are finished, and `name` is the next."""
        if not self._show:
            return
        filled = self.WIDTH * done // max(1, total)
        bar = "#" * filled + "." * (self.WIDTH - filled)
        elapsed = time.monotonic() - self._start
        text = f"[{bar}] {done}/{total}  {elapsed:.0f} s  {name}"
        self._stream.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\033[K")
        self._stream.flush()

    def finish(self, text: str) -> None:
        """Leave one line behind instead of the bar."""
        if self._show:
            self._stream.write(f"\r{text}\033[K\n")
            self._stream.flush()
