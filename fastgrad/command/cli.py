"""The command line: ``fastgrad compare``, ``info``, ``warmup`` and ``check``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastgrad
from fastgrad.activations import BUILT_IN
from fastgrad.command.blas import slowed
from fastgrad.command.cases import NETS, layer_case, net_case
from fastgrad.command.environment import described
from fastgrad.command.machine import THREAD_VARIABLES, facts
from fastgrad.kernels.toolchain.processor import UnknownProcessor
from fastgrad.terminal import Progress

__all__ = ["main"]

Shape = tuple[int, int, int]

DTYPES = ("float32", "float64")
LAYERS = ("identity", "sigmoid", "tanh", "relu", "softmax", "gelu", *NETS)
ALL_LAYERS = (*BUILT_IN, *NETS)
# Samples x inputs x outputs. With 64 inputs and few enough samples, the input is images of digits.
SHAPES = "1x8x8,32x64x10,32x64x64,256x64x64,64x128x128,256x784x256,4096x64x64"
QUICK_SHAPES = "1x8x8,32x64x10,32x64x64"
GRID = (
    "1x8x8,32x16x16,32x64x64,64x128x128,128x256x256,256x784x256,512x1024x1024,4096x64x64,100000x3x2"
)
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name. By default, this process's.

    Returns
    -------
    int
        0; 1 if a check of ``compare`` fails, ``warmup`` cannot store what it compiled, or ``check``
        finds a gradient wrong or cannot tell; 2 for bad arguments, a script that cannot be checked,
        too little memory, or output that cannot be written; 130 after Ctrl-C.
    """
    try:
        status = _run(argv)
    except KeyboardInterrupt:
        return 130
    except (OSError, MemoryError, UnknownProcessor) as error:
        _complain(str(error))
        return 2
    return status if _printed(end="") else 2


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why, or printed the help
        return int(stop.code or 0)
    if args.command is _compare:
        if sentence := slowed():
            _complain(sentence)
            return 2
        if argv is None and not _pinned(args.threads):
            return _with_pinned_threads(args.threads)
    command: Callable[[argparse.Namespace], int] = args.command
    return command(args)


# -- output that cannot be written -------------------------------------------------------------


def _complain(sentence: str) -> None:
    with suppress(OSError):  # standard error may be what is broken
        print(f"fastgrad: {sentence}", file=sys.stderr, flush=True)


def _printed(text: str = "", end: str = "\n") -> bool:
    """Print it, and flush. If the output cannot be written, say so and return False."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        _complain(f"cannot print: {error.strerror or error}")
        with suppress(OSError, ValueError):  # at exit Python would try again, and complain
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        return False
    return True


def _written(path: Path, write: Callable[[], None]) -> bool:
    """Write a file and print its path. If that fails, say so and return False."""
    try:
        write()
    except OSError as error:
        _complain(f"cannot write {path}: {error.strerror or error}")
        return False
    return _printed(f"wrote {path}")


# -- arguments ---------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastgrad", description="Fused dense-layer kernels with hand-written gradients."
    )
    parser.add_argument("--version", action="version", version=fastgrad.__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    compare = commands.add_parser(
        "compare",
        help="verify and time fastgrad against NumPy and naive loops",
        description="Run layers and networks, forward and backward, as naive Python loops, plain "
        "NumPy and fastgrad: verify that they agree and that the gradients are right, then time "
        "them in turns. Exit status 1 if a check fails.",
    )
    add = compare.add_argument
    add("--layers", type=_layers, default=list(LAYERS), metavar="NAME,...",
        help=f"activations of single layers, and networks; or 'all' (default: {','.join(LAYERS)}; "
        f"also {','.join(n for n in ALL_LAYERS if n not in LAYERS)})")  # fmt: skip
    add("--shapes", type=_shapes, metavar="NxDxK,...",
        help=f"samples x inputs x outputs of the layers (default: {SHAPES}); or 'grid', for "
        f"{GRID}")  # fmt: skip
    add("--dtype", choices=(*DTYPES, "both"), default="both", help="default: both")
    add("--threads", type=thread_count, default=1, metavar="N",
        help="threads of fastgrad and of NumPy's BLAS (default: 1)")  # fmt: skip
    add("--quick", action="store_true", help=f"measure less: {QUICK_SHAPES} unless told otherwise")
    add("--json", type=output_path, metavar="FILE", help="write everything there")
    add("--plot", type=_plot, metavar="FILE.png", help="draw a bar chart (needs matplotlib)")
    compare.set_defaults(command=_compare)

    info = commands.add_parser("info", help="show versions, processor, threads and the cache")
    info.set_defaults(command=_info)

    warm = commands.add_parser("warmup", help="compile what is not in the cache yet")
    warm.add_argument("--dtype", choices=(*DTYPES, "both"), default="both", help="default: both")
    warm.add_argument("--jobs", type=_job_count, default=1, metavar="N",
                      help="processes that compile (default: 1)")  # fmt: skip
    warm.set_defaults(command=_warmup)

    check = commands.add_parser(
        "check",
        help="say which gradients of a script are wrong, and what the mistake is",
        description="Run a script that defines loss, params and grads, or net, params, grads, x "
        "and target; compare the gradients with the loss, and say which are wrong, where the "
        "mistake enters and what it is (fastgrad.diagnose). Exit status 1 if a gradient is wrong "
        "or cannot be told, 2 if the script cannot be checked. What stands under "
        'if __name__ == "__main__" is not run.',
    )
    add = check.add_argument
    add("script", type=_script, metavar="FILE.py[:NAME]",
        help="the script; NAME is a function of it, without arguments, that returns "
        "(loss, params, grads) or (net, params, grads, x, target), or a dict of them")  # fmt: skip
    add("--seconds", type=_seconds, default=2.0, metavar="S",
        help="about how long differences may take (default: 2)")  # fmt: skip
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the entries that are drawn (default: 0)",
    )
    add("--plot", type=_plot, metavar="FILE.png", help="draw heat maps (needs matplotlib)")
    check.set_defaults(command=_check)

    for command in (compare, warm, check):
        command.add_argument(
            "--progress", action=argparse.BooleanOptionalAction,
            help="show a progress bar (default: if standard error is a terminal)",
        )  # fmt: skip
    return parser


def _layers(text: str) -> list[str]:
    names = list(ALL_LAYERS) if text == "all" else _items(text)
    for name in names:
        if name not in ALL_LAYERS:
            known = ", ".join(ALL_LAYERS)
            raise argparse.ArgumentTypeError(f"unknown layer {name!r}: choose from {known}, or all")
    return names


def _shapes(text: str) -> list[Shape]:
    return [_shape(item) for item in _items(GRID if text == "grid" else text)]


def _shape(text: str) -> Shape:
    try:
        n, d, k = map(int, text.split("x"))
        if min(n, d, k) < 1:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a shape: give samples x inputs x outputs, each at least 1, like "
            "32x64x10"
        ) from None
    if max(n * d, d * k, n * k) > sys.maxsize // 8:
        raise argparse.ArgumentTypeError(f"{text!r} is larger than memory can be")
    return n, d, k


def thread_count(text: str) -> int:
    """Return the number of threads that an argument asks for."""
    return _count(text, "threads")


def _job_count(text: str) -> int:
    return _count(text, "processes")


def _count(text: str, what: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {what}: give 1 or more")
    return int(text)


def output_path(text: str) -> Path:
    """Check before a minute of work that its result can be written."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write {text}: no such directory, or no right to")
    return path


def _plot(text: str) -> Path:
    path = output_path(text)
    if path.suffix not in PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(PLOT_SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError(
            "there is no matplotlib here: pip install 'fastgrad[plot]', or leave --plot out"
        )
    return path


def _script(text: str) -> tuple[Path, str | None]:
    from fastgrad.command.check import split_name

    path, name = split_name(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path}")
    return path, name


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds: give more than 0")


def _items(text: str) -> list[str]:
    """Return the items between commas, each once."""
    items = list(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    if not items:
        raise argparse.ArgumentTypeError("give at least one")
    return items


def _dtypes(choice: str) -> tuple[str, ...]:
    return DTYPES if choice == "both" else (choice,)


# -- threads -----------------------------------------------------------------------------------


def _pinned(count: int) -> bool:
    return all(os.environ.get(name) == str(count) for name in THREAD_VARIABLES)


def _with_pinned_threads(count: int) -> int:
    """Run the same command line again, in a process whose BLAS starts with `count` threads.

    A BLAS library reads its variables when NumPy is imported, and here it already is. The new
    program replaces this one, so no signal can end one without the other.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(count))}
    if sys.platform != "win32":  # where the new one would run beside this one
        os.execve(sys.executable, command, environment)
    return subprocess.call(command, env=environment)


# -- commands ----------------------------------------------------------------------------------


def _compare(args: argparse.Namespace) -> int:
    # Imported here: `info` and `--help` should not wait for it.
    from fastgrad.command.compare import geometric_means, report, run_case

    seconds = 0.03 if args.quick else 0.3  # per case
    shapes = args.shapes or _shapes(QUICK_SHAPES if args.quick else SHAPES)
    dtypes = _dtypes(args.dtype)
    plan: list[tuple[str, Shape | None, str]] = [
        (name, shape, dtype)
        for shape in (*shapes, None)
        for dtype in dtypes
        for name in args.layers
        if (name in NETS) == (shape is None)
    ]
    results = []
    start = time.monotonic()
    before = fastgrad.get_num_threads()
    fastgrad.set_num_threads(args.threads)
    try:
        with Progress(args.progress) as progress:
            for done, (name, shape, dtype) in enumerate(plan):
                case = net_case(name, dtype) if shape is None else layer_case(name, shape, dtype)
                progress.update(done, len(plan), case.label)
                results.append(run_case(case, seconds))
        elapsed = time.monotonic() - start
        about = facts()
    finally:
        fastgrad.set_num_threads(before)

    measured = (
        f"Forward and backward (networks: and loss), median times. fastgrad {about['fastgrad']}, "
        f"NumPy {about['numpy']} ({about['BLAS']}), {about['processor']}. "
        f"Threads: {about['threads']}, BLAS {about['BLAS threads']}."
    )
    ok = not any(r.failures for r in results)

    def write_json() -> None:
        content: dict[str, Any] = {
            "ok": ok,
            "machine": about,
            "seconds": elapsed,
            "geometric_mean_speedups": geometric_means(results),
            "cases": [r.as_dict() for r in results],
        }
        args.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")

    def draw() -> None:
        from fastgrad.command.chart import draw

        draw(results, args.plot, measured)

    text = f"{measured}\n\n{report(results)}\n{len(plan)} cases in {elapsed:.0f} s"
    # Each is tried even if another fails: they hold minutes of work.
    through = [_printed(text)]
    through += [
        _written(path, write)
        for path, write in ((args.json, write_json), (args.plot, draw))
        if path is not None
    ]
    return int(not ok) if all(through) else 2


def _info(args: argparse.Namespace) -> int:
    return 0 if _printed(described(facts())) else 2


def _warmup(args: argparse.Namespace) -> int:
    from fastgrad.kernels.toolchain.cache_place import cache_directory
    from fastgrad.kernels.toolchain.library import LIBRARY
    from fastgrad.kernels.toolchain.object_cache import refusal

    before = len(LIBRARY.compiled)
    start = time.monotonic()
    with Progress(args.progress) as progress:
        fastgrad.warmup(_dtypes(args.dtype), progress=progress.update, jobs=args.jobs)
    compiled = len(LIBRARY.compiled) - before
    about = facts()
    took = f"compiled {compiled} kernels in {time.monotonic() - start:.1f} s"
    if not _printed(f"{took}\ncached: {about['cached']} in {about['cache']}"):
        return 2
    if why := refusal() or next(iter(LIBRARY.not_kept.values()), ""):
        place = cache_directory() or "anywhere"
        _complain(f"kernels are not kept in {place}, so every process compiles again: {why}")
        return 1
    return 0


def _check(args: argparse.Namespace) -> int:
    from fastgrad.command.check import NotChecked, check_script

    path, name = args.script
    try:
        report = check_script(path, name, args.seconds, args.seed, args.progress)
    except NotChecked as error:
        _complain(str(error))
        return 2
    through = [_printed(str(report))]
    if args.plot is not None:
        through.append(_written(args.plot, lambda: report.plot().savefig(args.plot)))
    return int(not report) if all(through) else 2
