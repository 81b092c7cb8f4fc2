"""``fastgrad check FILE.py[:NAME]``: the gradients of a script, diagnosed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fastgrad.diagnosis.diagnose import diagnose
from fastgrad.diagnosis.report import Diagnosis

__all__ = ["NotChecked", "check_script", "split_name"]

NAMES = ("params", "grads")
DATA = ("x", "target", "value", "intermediates")  # taken where there are any
WANTED = "loss, params and grads, or net, params, grads, x and target"
NEEDED = f"{WANTED}; or give FILE.py:NAME, a function without arguments that returns them"


class NotChecked(Exception):
    """The script cannot be checked, and its text says why."""


def split_name(text: str) -> tuple[Path, str | None]:
    """Return the file and the name of ``FILE.py:NAME``.

    >>> split_name("train.py:check"), split_name("train.py")
    ((PosixPath('train.py'), 'check'), (PosixPath('train.py'), None))
    """
    path, colon, name = text.rpartition(":")
    if colon and name.isidentifier() and not Path(text).exists():
        return Path(path), name
    return Path(text), None


def check_script(
    path: Path, name: str | None, seconds: float, seed: int, progress: bool | None
) -> Diagnosis:
    """Run a script, and return the diagnosis of what it defines.

    Parameters
    ----------
    path : Path
        The script. It is run as a module: what stands under ``if __name__ == "__main__"`` is not.
    name : str or None
        A function of the script that returns what is to be checked.
    seconds, seed, progress
        As for `diagnose`.

    Raises
    ------
    NotChecked
        If the script raises or does not define what is needed.
    """
    defined = _defined(path, name)
    kept = {key: defined[key] for key in DATA if defined.get(key) is not None}
    subject = defined["net"] if "loss" not in defined else defined["loss"]
    try:
        return diagnose(
            subject,
            defined["params"],
            defined["grads"],
            **kept,
            seconds=seconds,
            seed=seed,
            progress=progress,
        )
    except Exception as error:
        raise NotChecked(_said(path, error)) from None


def _defined(path: Path, name: str | None) -> Mapping[str, Any]:
    """Return what is to be checked, by name."""
    found = vars(_run(path))
    if name is None:
        return _complete(f"{path} defines", found)
    function = found.get(name)
    if not callable(function):
        what = f"{name} is a {type(function).__name__}" if name in found else f"has no {name}"
        raise NotChecked(f"{path}: {what}: NAME is a function that returns {WANTED}")
    try:
        result = function()
    except Exception as error:
        raise NotChecked(_said(path, error)) from None
    if isinstance(result, tuple | list) and len(result) in (3, 5):
        keys = ("net" if len(result) == 5 else "loss", *NAMES, "x", "target")
        result = dict(zip(keys, result, strict=False))
    if not isinstance(result, Mapping):
        kind = type(result).__name__
        raise NotChecked(f"{path}: {name}() returned a {kind}: return {WANTED}")
    return _complete(f"{path}: {name}() returned", result)


def _complete(where: str, found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was found, or raise if something is missing."""
    missing = [key for key in NAMES if found.get(key) is None]
    if "loss" not in found:
        missing = [*(["loss"] if "net" not in found else []), *missing]
        if "net" in found:
            missing += [key for key in DATA[:2] if found.get(key) is None]
    if missing:
        raise NotChecked(f"{where} no {' and no '.join(missing)}: it needs {NEEDED}")
    return found


def _run(path: Path) -> ModuleType:
    """Run a script as a module, with its folder first on the path, as Python does."""
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    sys.path.insert(0, str(path.resolve().parent))
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # dataclasses look themselves up
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except SystemExit as stop:
        raise NotChecked(
            f"{path} ended itself ({stop.code}): put what parses arguments and trains under "
            'if __name__ == "__main__", which is not run'
        ) from None
    except Exception as error:
        raise NotChecked(_said(path, error)) from None
    finally:
        if before is not None:
            sys.modules[path.stem] = before
    return module


def _said(path: Path, error: Exception) -> str:
    """Return an error's text, with the script's lines that led to it."""
    said = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        f"  {path}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in frames
        if frame.filename == str(path)
    ]
    if str(error).startswith("diagnose: ") and not lines:
        return str(error)
    return "\n".join([f"{path} raised an error", *lines, f"  {said}"])
