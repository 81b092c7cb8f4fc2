"""Where compiled units are kept, and whether machine code found there may be run.

Anybody who can write a file that this process loads can run code as this user. So paths are
absolute (the working directory may be anybody's), and directory and file must belong to this user
or to root, and be writable only by their owner. Everybody who may read them may use them:
kernels that root compiled in an image serve every user.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

MOST_BYTES = 1 << 26  # of a file; the largest unit has 0.2 MiB


def cache_directory() -> Path | None:
    """Return where compiled units are kept, or None where there is no place for them.

    ``FASTGRAD_CACHE_DIR``, else the user's cache directory. Never a shared temporary directory.
    """
    asked = os.environ.get("FASTGRAD_CACHE_DIR")
    if asked:
        return _absolute(asked)
    if sys.platform == "win32":
        return _below(os.environ.get("LOCALAPPDATA"), "fastgrad")
    shared = _below(os.environ.get("XDG_CACHE_HOME"), "fastgrad")
    if shared is not None:
        return shared
    caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return _below(os.environ.get("HOME"), f"{caches}/fastgrad")


def _absolute(name: str) -> Path | None:
    path = Path(os.path.expanduser(name))
    return path if path.is_absolute() else None


def _below(parent: str | None, name: str) -> Path | None:
    found = _absolute(parent) if parent else None
    return None if found is None else found / name


def refusal() -> str:
    """Return why compiled code is neither loaded from the cache nor kept there; "" if it is."""
    directory = cache_directory()
    if directory is None:
        asked = os.environ.get("FASTGRAD_CACHE_DIR")
        return f"FASTGRAD_CACHE_DIR is {asked!r}: give an absolute path" if asked else "no home"
    try:
        return distrust(os.stat(directory))
    except FileNotFoundError:
        return ""  # it will be made
    except OSError as error:
        return error.strerror or str(error)


def distrust(about: os.stat_result, running: os.stat_result | None = None) -> str:
    """Return why somebody else may have put code into a file or directory; "" if nobody can.

    `running` describes a file whose code this process runs already: whoever can write that one need
    not write another.
    """
    if not hasattr(os, "geteuid"):  # Windows: a user's own directories are the user's alone
        return ""
    if running is not None and _writers(about) <= _writers(running):
        return ""
    if about.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {about.st_uid}, neither to you nor to root"
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write there (its mode is {stat.S_IMODE(about.st_mode):o}): chmod go-w"
    return ""


def _writers(about: os.stat_result) -> set[str]:
    """Return who can write a file, root aside."""
    group = {f"group {about.st_gid}"} if about.st_mode & stat.S_IWGRP else set()
    others = {"others"} if about.st_mode & stat.S_IWOTH else set()
    return {f"user {about.st_uid}"} | group | others


def make(directory: Path) -> None:
    """Make a directory that all may read and its owner alone may write; an old one stays as it is.

    Raises
    ------
    OSError
        If it cannot be made, or code from it would not be run.
    """
    try:
        directory.mkdir(parents=True, mode=0o755)
        directory.chmod(0o755)  # whatever the umask took away
    except FileExistsError:
        if reason := distrust(os.stat(directory)):
            raise OSError(reason) from None


def read(path: Path, beside: str = "") -> bytes | None:
    """Return what is in a file that only this user or root can have written, else None.

    Or also, for files of an installation, who can write the file `beside` of it, whose code runs.
    """
    try:
        running = os.stat(beside) if beside else None
        if distrust(os.stat(path.parent), running):
            return None
        # Without O_NONBLOCK, opening a pipe would wait for ever for its other end.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        with open(handle, "rb", buffering=0) as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
                return None
            return None if distrust(about, running) else file.read()
    except OSError:
        return None


_BINARY = getattr(os, "O_BINARY", 0)  # Windows
