"""A text that pytest shows whole when ``assert report`` fails."""

from __future__ import annotations

from typing import SupportsIndex

__all__ = ["WholeText"]


class WholeText(str):
    """The repr of a report.

    pytest shows at most 240 characters of a repr, its middle left out, and all in one line: it
    asks for the length, and replaces line breaks. In its explanations a line that begins with "~"
    stands for itself. To everything else this is the text it seems to be.
    """

    __slots__ = ()

    def __len__(self) -> int:
        return min(super().__len__(), 80)

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        """Replace as `str` does, but keep the lines that pytest would join."""
        return super().replace(old, "\n~" if (old, new) == ("\n", "\\n") else new, count)
