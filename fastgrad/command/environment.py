"""Compiling in advance, and what this process runs on."""

from __future__ import annotations

import platform
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastgrad.activations import ACTIVATIONS, BUILT_IN
from fastgrad.arguments import check_choice, check_count
from fastgrad.kernels.units import DTYPES, UNITS, symbol, unit
from fastgrad.layers.kinds import KINDS
from fastgrad.losses import BUILT_IN as LOSSES
from fastgrad.optimizers import OPTIMIZERS
from fastgrad.threads import get_num_threads

__all__ = ["arithmetic", "configuration", "described", "show_config", "warmup"]


def units() -> list[str]:
    """Return the name of every compiled unit, each after the units it builds on."""
    table = [ACTIVATIONS[name] for name in BUILT_IN]
    rows = [f"rows.{a.name}" for a in table]
    slopes = [f"slopes.{a.name}" for a in table if not a.rowwise]
    stages = [f"stage.{kind}" for kind in KINDS]
    losses = [f"{kind}.{name}" for kind in ("loss", "terms") for name in LOSSES]
    updates = dict.fromkeys(f"update.{kind.kernel}" for kind in OPTIMIZERS.values())
    return [*UNITS, *rows, *slopes, *stages, *losses, *updates]


def warmup(
    dtypes: Iterable[str] = DTYPES,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    jobs: int = 1,
) -> None:
    """Compile every kernel that is not in the cache yet, and load all of them.

    A script does not need this: kernels are compiled when first used and kept on disk. It moves
    the compilation to a better time: an installation or a container build. Kernels that came with
    the installation are for many processors; these are for this one.

    Parameters
    ----------
    dtypes : iterable of {"float32", "float64"}
        The dtypes to compile for.
    progress : callable, optional
        Called as ``progress(done, total, name)`` before each unit and once at the end.
    jobs : int
        How many processes compile.

    Raises
    ------
    TypeError
        If `dtypes` is neither a name nor an iterable of names, or `jobs` no integer.
    ValueError
        For an unknown dtype, or `jobs` below 1.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.warmup(dtypes=())
    """
    from fastgrad.command.processes import compile_in_processes
    from fastgrad.kernels.toolchain.library import LIBRARY
    from fastgrad.kernels.toolchain.object_cache import cache_path, look, refusal

    if not hasattr(dtypes, "__iter__"):
        raise TypeError(f"warmup: dtypes is a {type(dtypes).__name__}: give names of dtypes")
    chosen = [dtypes] if isinstance(dtypes, str) else list(dtypes)
    for dtype in chosen:
        check_choice("warmup", "dtypes", dtype, DTYPES)
    processes = check_count("warmup", "jobs", jobs)
    work = [(name, dtype) for dtype in chosen for name in units()]

    def say(done: int, name: str) -> None:
        if progress is not None:
            progress(done, len(work), name)

    if processes > 1 and not refusal():
        missing = [item for item in work if look(cache_path(*item)) is None]
        there = len(work) - len(missing)
        say(there, "")
        compiled = compile_in_processes(
            missing, processes, lambda done, name, dtype: say(there + done, f"{name} {dtype}")
        )
        LIBRARY.compiled += [f"{name}:{dtype}" for name, dtype in compiled]
    for done, (name, dtype) in enumerate(work):
        if processes == 1:  # else all that is left is loading, which takes milliseconds
            say(done, f"{name} {dtype}")
        LIBRARY.keep(name, dtype)
    say(len(work), "")


def configuration() -> dict[str, Any]:
    """Return versions, processor, tile sizes and the state of the cache, by name."""
    from importlib.metadata import version

    import numpy as np

    from fastgrad.kernels.toolchain.cache_place import cache_directory
    from fastgrad.kernels.toolchain.fallback import reasons
    from fastgrad.kernels.toolchain.object_cache import refusal
    from fastgrad.kernels.toolchain.target import host, tile
    from fastgrad.kernels.version import __version__

    target, directory, refused = host(), cache_directory(), refusal()
    cached = kept(DTYPES)
    alone = {symbol: note for symbol, (_, note) in cached.items() if note} | reasons
    tiles = {name: tile(name) for name in DTYPES}
    return {
        "fastgrad": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "numpy": np.__version__,
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
        "cpu": target.cpu,
        "arithmetic": arithmetic(),
        "vector bits": target.vector_bytes * 8,
        "register tile": ", ".join(f"{t.mr}x{t.nr} {name}" for name, t in tiles.items()),
        "threads": get_num_threads(),
        "passes": _passes(alone),
        "cache": f"none: {refused}" if refused else str(directory),
        "cached": _amount([size for size, _ in cached.values()]),
        "prebuilt": _prebuilt(),
        "loaded": _loaded(),
    }


def _amount(sizes: list[int]) -> str:
    return f"{len(sizes)} of {2 * len(units())} kernels, {sum(sizes) / 1024:.0f} KiB"


def _prebuilt() -> str:
    """Return which kernels came with the installation and fit this process."""
    from fastgrad.kernels.toolchain.prebuilt import FOLDER, level, look_prebuilt

    if not FOLDER.is_dir():
        return "none in this installation"
    chosen = level()
    looks = [look_prebuilt(name, dtype) for dtype in DTYPES for name in units()]
    found = [about for about in looks if about is not None]
    if chosen is None or not found:
        return "none for this processor, Python and NumPy"
    compilers = " and ".join(sorted({note for _, note in found}))
    return f"{_amount([size for size, _ in found])}, for {chosen.name}, by {compilers}"


def _loaded() -> str:
    """Return where the kernels came from that this process has loaded."""
    from fastgrad.kernels.toolchain.library import LIBRARY

    origins = Counter(LIBRARY.origins.values())
    return ", ".join(f"{count} {origin}" for origin, count in origins.items()) or "none yet"


def kept(dtypes: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return size and note of each unit that the cache holds, by the unit's first symbol."""
    from fastgrad.kernels.toolchain.object_cache import cache_path, look

    found = {}
    for name, dtype in ((name, dtype) for dtype in dtypes for name in units()):
        about = look(cache_path(name, dtype))
        if about is not None:
            found[symbol(unit(name).functions[0], dtype)] = about
    return found


def _passes(alone: Mapping[str, str]) -> str:
    """Return which of Numba's passes compiled the kernels: see `kernels.toolchain.fallback`."""
    if not alone:
        return "chosen by fastgrad"
    why = sorted(set(alone.values()))[0]
    return f"Numba's own for {len(alone)} functions, which takes longer: {why}"


def described(facts: Mapping[str, Any]) -> str:
    """Return facts by their names, a line each."""
    width = max(map(len, facts))
    return "\n".join(f"{name:{width}}  {value}" for name, value in facts.items())


def show_config() -> None:
    """Print versions, processor, threads and the state of the cache, a line each.

    The output is for people and for bug reports; its lines may change.

    Examples
    --------
    >>> import contextlib, io
    >>> import fastgrad as fg
    >>> with contextlib.redirect_stdout(io.StringIO()) as printed:
    ...     fg.show_config()
    >>> printed.getvalue().splitlines()[0].split() == ["fastgrad", fg.__version__]
    True
    """
    print(described(configuration()))


# -- how this thread rounds -----------------------------------------------------------------
# A processor keeps, for each thread, a rounding direction and whether subnormal numbers are
# replaced by zero. Other libraries change them (one built with ``-ffast-math``,
# `torch.set_flush_denormal`, XLA around its callbacks). From then on the thread's results differ,
# here and in NumPy.


def arithmetic() -> str:
    """Return how this thread rounds, found by sums and products of Python floats.

    Returns
    -------
    str
        ``"IEEE 754, to nearest, with subnormals"``, or how it differs.

    Examples
    --------
    >>> from fastgrad.command.environment import arithmetic
    >>> arithmetic()
    'IEEE 754, to nearest, with subnormals'
    """
    kept = _subnormals()
    rounding = _rounding()
    text = f"IEEE 754, {rounding}, {kept}"
    if (rounding, kept) == ("to nearest", "with subnormals"):
        return text
    return f"{text}: results are not those that docs/accuracy.md promises"


def _bits(number: float) -> bytes:
    """Return a float's bytes: with denormals-are-zero, comparisons do not see subnormals."""
    return struct.pack("<d", number)


def _float(bits: int) -> float:
    """Return the float with these bits: Python computes nothing here, and folds no constants."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def _subnormals() -> str:
    least_normal, half, large = _float(1 << 52), _float(0x3FE << 52), _float(0x7FE << 52)
    flushed = _bits(least_normal * half) != _bits(_float(1 << 51))
    taken_for_zero = _bits(_float(1 << 51) * large) == _bits(_float(0))
    if flushed and taken_for_zero:
        return "subnormals flushed to zero, in arguments and results"
    if flushed:
        return "subnormal results flushed to zero"
    return "subnormal arguments taken for zero" if taken_for_zero else "with subnormals"


def _rounding() -> str:
    one, little = _float(0x3FF << 52), _float(0x3C3 << 52)  # 2**-60
    if one + little > one:
        return "upwards"
    if -one - little < -one:
        return "downwards"
    return "towards zero" if one - little < one else "to nearest"
