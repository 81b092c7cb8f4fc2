"""The drawings of docs/architecture.md: `python docs/figures/draw.py` writes them beside this file.

`tests/test_site.py` asserts that they are those that this script draws.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from svg import Figure

# The floors from the top, as `FLOORS` of tests/test_architecture.py has them: what they are called,
# what they do, and their colour. A line of text is a border.
FLOORS = [
    ("command, __main__", "fastgrad compare, check, info, warmup", "box"),
    ("torch, jax, autograd, sklearn, dask", "bridges, each with an extra of its name", "box"),
    ("diagnosis", "which gradient is wrong, and what the mistake is", "box"),
    ("nn, networks", "layer objects; MLP: its plan, passes, jobs, training", "box"),
    ("the public names: __init__",),
    ("layers", "one file per kind; checks of a call; large layers in pieces", "warm"),
    ("activations, losses", "two tables, open to users", "warm"),
    ("gradcheck", "derivatives by differences, check_grad", "warm"),
    ("calls", "the protocol of a call", "warm"),
    ("reference, loops", "the twins: plain NumPy, naive loops", "warm"),
    ("networks.shared, layers.kinds", "what a network, a layer, a training is", "warm"),
    ("optimizers", "the third table; steps on a script's own arrays", "warm"),
    ("arguments, arrays, trees, results, threads", "checks, conversions, sharing", "warm"),
    ("Numba and LLVM only below",),
    ("kernels.calls", "compiled entry points that Python calls with arrays", "cool"),
    ("kernels.network", "the plan: stages of layers, optimizers' steps", "cool"),
    ("kernels.elementwise", "formulas, vector math, activations, losses", "cool"),
    ("kernels.product", "the register tile, packing, blocking, thin outputs", "cool"),
    ("kernels.toolchain", "compile, cache, load; vector IR; the processor", "cool"),
    ("kernels.flags, units, version", "constants, shared by both sides", "cool"),
]


def floors() -> Figure:
    """What imports what: each floor only what lies beneath it."""
    step, border = 40, 26
    height = 16 + sum(step if len(row) == 3 else border for row in FLOORS)
    figure = Figure(height, "The floors of fastgrad: each imports only from those below it")
    y = 8.0
    for row in FLOORS:
        if len(row) == 1:
            figure.line((10, y + 13), (30, y + 13), arrow=False, kind="dashed")
            figure.text(38, y + 17, row[0], "head")
            figure.line((250, y + 13), (450, y + 13), arrow=False, kind="dashed")
            y += border
            continue
        name, does, kind = row
        figure.box(10, y + 2, 440, step - 4, kind)
        figure.text(20, y + 17, name, "code head")
        figure.text(20, y + 32, does, "small")
        y += step
    return figure


def call() -> Figure:
    """The four steps of a call; most end with the first."""
    figure = Figure(396, "A call: as it is, shared, converted, checked")
    figure.labelled(20, 14, 180, 40, "arguments as they are")
    figure.labelled(20, 92, 180, 52, "compiled entry point", "cool", "checks the arrays itself")
    figure.labelled(330, 98, 110, 40, "result", "hot")
    figure.line((110, 54), (110, 90))
    figure.text(122, 77, "step 1", "head")
    figure.line((200, 118), (328, 118))
    figure.text(264, 110, "0.4 to 0.7 us", "small middle")
    figure.labelled(244, 188, 206, 52, "step 2: shared", "cool", "threads; pieces that see Ctrl-C")
    figure.line((170, 144), (170, 214), (242, 214))
    figure.text(178, 176, "True: large", "small")
    figure.line((385, 188), (385, 140))
    figure.labelled(14, 262, 222, 52, "step 3: converted", "cool", "dtypes, as NumPy promotes them")
    figure.line((60, 144), (60, 260))
    figure.text(52, 200, "None", "small end")
    figure.line((90, 262), (90, 146))
    figure.text(98, 250, "again: + 1.3 us", "small")
    figure.labelled(20, 336, 210, 46, "step 4: every argument", "warm", "convert, or raise: 8 us")
    figure.line((60, 314), (60, 334))
    figure.text(68, 329, "None", "small")
    figure.labelled(330, 339, 110, 40, "error text", "box")
    figure.line((230, 359), (328, 359))
    return figure


def plan() -> Figure:
    """A block of samples goes forward and backward before the next one starts."""
    figure = Figure(346, "The plan, depth first: one block of samples at a time")
    for top, number in ((14, 1), (182, 2)):
        figure.box(10, top, 440, 126, "plain")
        figure.text(20, top + 18, f"block {number}: 256 samples", "head")
        figure.text(440, top + 18, "in L2 all the way" if number == 1 else "", "small end")
        figure.labelled(20, top + 32, 50, 34, "x")
        for place, name in enumerate(("layer 1", "layer 2", "loss")):
            figure.labelled(110 + 115 * place, top + 32, 80, 34, name, "cool")
            figure.line(
                (115 * place + 75 - 5 * (not place), top + 49), (115 * place + 108, top + 49)
            )
        for place, name in enumerate(("dW1, db1", "dW2, db2")):
            figure.labelled(110 + 115 * place, top + 82, 80, 34, name, "warm")
        figure.line((380, top + 66), (380, top + 99), (307, top + 99))
        figure.line((225, top + 99), (192, top + 99))
    figure.line((150, 140), (150, 150), (215, 150), (215, 162))
    figure.line((265, 140), (265, 150), (245, 150), (245, 162))
    figure.text(230, 176, "added to the gradient, in the order of the blocks", "middle head")
    figure.text(230, 330, "one compiled call for all blocks, all steps, all of an epoch", "middle")
    return figure


def tile() -> Figure:
    """MR x NR accumulators, one row of B and one column of A per step of k."""
    figure = Figure(
        420, "The register tile: MR x NR outputs stay in registers while k runs over KC"
    )
    size, mr, nr, kc = 15, 6, 16, 7
    left, top = 198, 62
    figure.text(left + nr * size / 2, 20, "B: KC x NR, a packed panel", "middle head")
    figure.text(left + nr * size / 2, 36, "read as one stream, from L1", "middle small")
    for row in range(kc):
        for column in range(nr):
            kind = "hot" if row == 2 else "box"
            figure.box(left + column * size, top + row * size, size, size, kind)
    figure.text(left - 8, top + 2.5 * size + 4, "step p", "end head")
    figure.text(left + nr * size / 2, top - 8, "NR", "middle code")
    figure.text(left + nr * size + 6, top + kc * size / 2 + 4, "KC", "code")
    low = top + kc * size + 54
    figure.text(20, low - 36, "A: MC x KC, in L2", "head")
    figure.text(20, low - 20, "any strides: x, x.T, dz", "small")
    for row in range(mr):
        for column in range(kc):
            kind = "hot" if column == 2 else "box"
            figure.box(30 + column * size, low + row * size, size, size, kind)
    figure.text(25, low + mr * size / 2 + 4, "MR", "code end")
    figure.text(30 + kc * size / 2, low + mr * size + 16, "KC", "code middle")
    for row in range(mr):
        for column in range(nr):
            figure.box(left + column * size, low + row * size, size, size, "cool")
    figure.line((left + nr * size / 2, top + kc * size + 3), (left + nr * size / 2, low - 22))
    figure.text(left + nr * size / 2 + 8, low - 32, "NR / lanes vectors", "small")
    figure.line((30 + kc * size + 3, low + 45), (left - 3, low + 45))
    figure.text(166, low + 38, "broadcast", "small middle")
    figure.text(
        left + nr * size / 2, low - 6, "C: MR x NR accumulators, in registers", "middle head"
    )
    after = low + mr * size
    figure.text(
        left + nr * size / 2,
        after + 20,
        "c = fma(a, b, c), p = 0, 1, ...",
        "code middle",
    )
    figure.text(
        left + nr * size / 2,
        after + 38,
        "after 256 steps added to C, then from zero",
        "small middle",
    )
    figure.box(20, after + 56, 420, 40, "plain")
    figure.text(
        230, after + 73, "AVX2, float32: MR x NR = 6 x 16: 12 of 16 registers;", "middle small"
    )
    figure.text(230, after + 88, "AVX-512: 12 x 32: 24 of 32", "middle small")
    return figure


def bits() -> Figure:
    """An output is a fixed expression: chains of 256, added in order, then the bias."""
    figure = Figure(236, "One output element: chains of 256 fused multiply-adds, added in order")
    figure.text(20, 24, "y[i, j], a sum of 600 products: one fixed expression", "head")
    for place, (first, last) in enumerate(((0, 255), (256, 511), (512, 599))):
        x = 20 + 145 * place
        figure.labelled(x, 40, 130, 48, "0 + x w + x w ...", "cool", f"k = {first} ... {last}")
        figure.line((x + 65, 88), (x + 65, 120))
        if place:
            figure.line((x - 65, 136), (x + 50, 136), arrow=True)
    for place, name in enumerate(("s", "+", "+")):
        figure.labelled(20 + 145 * place + 52, 122, 26, 28, name, "hot")
    figure.line((375, 150), (375, 174))
    figure.labelled(310, 176, 130, 34, "+ b, then act", "warm")
    figure.text(20, 182, "Not part of it: tile, vector width,", "small")
    figure.text(20, 198, "threads, memory layout, alignment,", "small")
    figure.text(20, 214, "the other rows of the batch.", "small")
    return figure


def cache() -> Figure:
    """A kernel is compiled once; later processes load its file."""
    figure = Figure(300, "Compiled once: a hash of all it depends on names the object file")
    figure.text(20, 24, "the first process that needs a unit", "head")
    for place, (name, small) in enumerate(
        (("sources", "a few functions"), ("LLVM IR", "by Numba"), ("machine code", "by LLVM"))
    ):
        figure.labelled(20 + 150 * place, 36, 120, 46, name, "cool", small)
        if place:
            figure.line((20 + 150 * place - 30, 59), (18 + 150 * place, 59))
    figure.line((380, 82), (380, 112))
    figure.text(372, 101, "renamed when complete", "small end")
    figure.labelled(
        200, 114, 240, 50, "object file, with a checksum", "hot", "a few kilobytes, in your cache"
    )
    figure.labelled(14, 114, 156, 50, "hash", "warm", "sources, versions, CPU")
    figure.line((170, 139), (198, 139))
    figure.line((80, 82), (80, 112))
    figure.line((320, 164), (320, 214))
    figure.text(328, 194, "milliseconds", "small")
    figure.text(20, 200, "every later process", "head")
    figure.labelled(20, 216, 150, 46, "a call needs a unit")
    figure.line((170, 239), (198, 239))
    figure.labelled(200, 216, 240, 46, "checked, mapped, called", "cool", "Numba is not imported")
    figure.text(
        20, 286, "A wheel may bring files, too. What is broken or foreign is not loaded.", "small"
    )
    return figure


def threads() -> Figure:
    """Threads take blocks in turn; their parts are added in the order of the blocks."""
    figure = Figure(214, "Threads: each takes the next block; parts are added in the blocks' order")
    figure.text(450, 22, "time", "small end")
    figure.line((110, 18), (418, 18))
    for lane, blocks in enumerate(((0, 2, 4), (1, 3))):
        y = 36 + 52 * lane
        figure.text(10, y + 23, f"thread {lane + 1}")
        for turn, block in enumerate(blocks):
            x = 80 + 34 * lane + turn * 122
            figure.labelled(x, y, 96, 36, f"block {block}", "cool")
            figure.line((x + 96, y + 18), (x + 108, y + 18), (x + 108, 142))
    figure.box(80, 144, 370, 30, "hot")
    figure.text(265, 164, "gradient = 0 + part 0 + part 1 + part 2 + ...", "middle")
    figure.text(265, 196, "the same order, so the same bits, as with one thread", "middle small")
    return figure


FIGURES: tuple[Callable[[], Figure], ...] = (floors, call, plan, tile, bits, cache, threads)


def drawn() -> dict[str, str]:
    """Return the text of every figure, by file name."""
    return {f"{draw.__name__}.svg": draw().svg() for draw in FIGURES}


if __name__ == "__main__":
    for name, text in drawn().items():
        (Path(__file__).parent / name).write_text(text)
