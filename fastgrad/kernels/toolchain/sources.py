"""What the kernels are made from, byte for byte: sources, or the bytecode that runs in their place.

A cache key that missed some of it would let two versions of fastgrad share machine code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

_UNCHECKED = b"\x01\0\0\0"  # flags of a .pyc that Python runs without checking its source


def contents(folder: Path, loader: Any) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each file of code in `folder` and below, in order of their names.

    `folder` may be in a zip file, from which `loader` loads. Nothing is yielded if the code cannot
    be found: then no key can be made of it.
    """
    if folder.is_dir():
        yield from _of_directory(str(folder))
    elif hasattr(loader, "archive"):
        yield from _of_archive(loader.archive, folder)


def _of_directory(folder: str) -> Iterator[tuple[str, bytes]]:
    below = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.endswith((".py", ".pyc")):
                yield entry.name, _read(entry.path)
                if entry.name.endswith(".py"):
                    yield from _unchecked_bytecode(entry.path)
            elif entry.name != "__pycache__" and entry.is_dir():
                below.append(entry)
    for entry in below:
        for name, content in _of_directory(entry.path):
            yield f"{entry.name}/{name}", content


def _unchecked_bytecode(source: str) -> Iterator[tuple[str, bytes]]:
    try:
        bytecode = cache_from_source(source)
        with open(bytecode, "rb", buffering=0) as file:
            if file.read(16)[4:8] == _UNCHECKED:
                yield os.path.basename(bytecode), _read(bytecode)
    except (OSError, NotImplementedError):
        pass  # none was written, or Python writes none


def _of_archive(archive: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    import zipfile  # only here: 4 ms

    within = folder.relative_to(archive).as_posix() + "/"
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
            if name.startswith(within) and name.endswith((".py", ".pyc")):
                yield name, opened.read(name)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
