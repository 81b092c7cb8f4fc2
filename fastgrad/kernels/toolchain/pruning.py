"""The cache does not grow for ever: what other versions left in it goes, the oldest first.

Only a process that has just compiled something looks, once. It removes files that have the names of
kernels, belong to this user, and are not those this process would load. Removing a file that
another process is reading does no harm, nor does losing one: its version compiles again.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Bytes of all kernels in the cache. One version for one processor takes 2.3 MiB for both dtypes.
MOST_KEPT = 64 * 1024 * 1024
UNFINISHED = 24 * 3600.0  # seconds after which nobody is still writing a file

_KERNEL = re.compile(r"([a-z0-9_.]+)-(float32|float64)-[0-9a-f]{24}\.o")
_PART = re.compile(_KERNEL.pattern + r"\..*\.part")


def prune(directory: Path, current: Callable[[str, str], str]) -> None:
    """Remove old kernels from `directory` until those left take at most `MOST_KEPT` bytes.

    Parameters
    ----------
    directory : Path
        The cache. Files of others, and all with other names, stay.
    current : callable
        Returns the name of the file of a unit and dtype that this process would load: it stays.
    """
    total, old = 0, []
    for entry in _files(directory):
        with suppress(OSError):  # another process was faster
            about = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != _user(about):
                continue
            if _PART.fullmatch(entry.name):  # of a process that was killed
                if time.time() - about.st_mtime > UNFINISHED:
                    os.unlink(entry.path)
            elif kernel := _KERNEL.fullmatch(entry.name):
                total += about.st_size
                if entry.name != current(kernel[1], kernel[2]):
                    # Most systems note a day in which a file was read, if not the hour.
                    used = max(about.st_atime, about.st_mtime)
                    old.append((used, entry.path, about.st_size))
    for _, path, size in sorted(old):
        if total <= MOST_KEPT:
            return
        with suppress(OSError):
            os.unlink(path)
        total -= size


def _files(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []


def _user(about: os.stat_result) -> int:
    return os.geteuid() if hasattr(os, "geteuid") else about.st_uid
