"""Plain text for a terminal: a table, a progress bar, and numbers with units."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

__all__ = ["Progress", "duration", "factor", "table"]

# What a stream raises that has no reader or no room, is closed, cannot encode or is no stream.
NOT_WRITABLE = (OSError, ValueError, AttributeError)


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
    """A progress bar if standard error is a terminal, else a line every ten seconds.

    If the stream fails (it is closed, its reader is gone, its disk is full), the bar disappears
    without an error, and the work goes on.

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
    BETWEEN_LINES = 10.0  # seconds, in a log file

    def __init__(self, show: bool | None = None, stream: TextIO | None = None) -> None:
        self._stream: Any = sys.stderr if stream is None else stream  # None without a console
        self._terminal = self._is_terminal()
        self._show = self._stream is not None and (self._terminal if show is None else show)
        self._start = time.monotonic()
        self._next_line = self._start

    def _is_terminal(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except NOT_WRITABLE:
            return False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:  # leave no trace: clear the line
            self._write("\r\033[K")

    def update(self, done: int, total: int, name: str) -> None:
        """Draw the bar: `done` of `total` steps are finished, the next is `name`."""
        if not self._show:
            return
        now = time.monotonic()
        text = f"{done}/{total}  {now - self._start:.0f} s  {name}"
        if self._terminal:
            filled = self.WIDTH * done // max(1, total)
            text = f"[{'#' * filled}{'.' * (self.WIDTH - filled)}] {text}"
            self._write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\033[K")
        elif now >= self._next_line:
            self._next_line = now + self.BETWEEN_LINES
            self._write(text + "\n")

    def finish(self, text: str) -> None:
        """Leave one line behind instead of the bar."""
        self._write(f"\r{text}\033[K\n" if self._terminal else text + "\n")

    def _write(self, text: str) -> None:
        if not self._show:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except TimeoutError:  # from an alarm's handler, not from the stream
            raise
        except NOT_WRITABLE:
            self._show = False
