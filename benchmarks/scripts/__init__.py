"""Steps of scripts with hand-written backpropagation: by hand in NumPy, and with fastgrad.

``python -m benchmarks.scripts`` times each of them in turns, in one process, and prints the bar
beside what was measured. To add one: a `Script`, an entry in the tuple at the foot of its file.
"""

from __future__ import annotations

from collections.abc import Callable

from .adam import ALONE
from .agents import AGENTS
from .classifiers import CLASSIFIERS
from .columns import COLUMNS
from .recurrent import RECURRENT
from .regularized import REGULARIZED
from .script import Script
from .words import WORDS

__all__ = ["GROUPS", "Script"]

# Called to make a script: its data is only made where it runs.
GROUPS: dict[str, tuple[Callable[[], Script], ...]] = {
    "classifiers": CLASSIFIERS,
    "regularized": REGULARIZED,
    "columns": COLUMNS,
    "agents": AGENTS,
    "words": WORDS,
    "recurrent": RECURRENT,
    "optimizers": ALONE,  # no whole steps: they do not count in the mean
}
