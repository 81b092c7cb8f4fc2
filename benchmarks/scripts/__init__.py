"""Steps of scripts with hand-written backpropagation: by hand in NumPy, and with fastgrad.

``python -m benchmarks.scripts`` times each of them in turns, in one process, and prints the bar
beside what was measured. To add one: a function that returns `Step`s, a row of GROUPS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .recurrent import recurrent
from .step import Step
from .trained import trained

__all__ = ["GROUPS", "Step"]

GROUPS: dict[str, Callable[[], Iterator[Step]]] = {
    "recurrent": recurrent,
    "trained": trained,
}
