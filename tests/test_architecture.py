"""The shape of the package: who may import whom, and that every table row has its other places.

A failure here is a sentence that says which file to edit.
"""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_training
import twins
from conftest import BRIDGES

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.activations import BUILT_IN
from fastgrad.kernels.units import PACKING
from fastgrad.layers.kinds import KINDS
from fastgrad.losses import LOSSES
from fastgrad.optimizers import OPTIMIZERS

ROOT = Path(fg.__file__).parent

# The floors of the house, the public one first. A file imports only from its own floor and those
# beneath, and files do not import each other in a circle.
FLOORS = [
    ("__main__", "command"),
    ("sklearn", "dask", "torch", "jax", "autograd"),
    ("diagnosis",),
    ("nn", "networks"),
    ("__init__",),  # it names everything public, and loads the rest when asked
    ("layers",),
    ("activations", "losses"),
    ("gradcheck",),
    ("calls",),
    ("reference", "loops"),
    # What a layer, a network and its training are, whoever computes them: the twins use it, too.
    # Of the layers' files, which lie where their users look for them, some have such a floor.
    ("networks.shared",),
    (
        *("layers.dense_arguments", "layers.recurrent_arguments", "layers.dropout_arguments"),
        *("layers.embedding_arguments", "layers.norm_arguments", "layers.kinds"),
        "layers.sparse_arguments",
    ),
    ("optimizers",),
    (
        "results",
        "arguments",
        "arrays",
        "loss_arguments",
        "terminal",
        "threads",
        "trees",
        "warning_categories",
    ),
    ("kernels.calls",),
    ("kernels.network",),
    ("kernels.elementwise",),
    ("kernels.product",),
    ("kernels.toolchain",),
    ("kernels.flags", "kernels.units", "kernels.version", "kernels.__init__"),
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MOST_MODULES, MOST_PACKAGES = 10, 11  # at the top: a stranger finds the room before the file


def module_of(path: Path) -> str:
    """Return a file's name within the package: ``kernels/product/gemm.py`` is a dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def room_of(module: str) -> str:
    """Return the room of a module: its folder, or its file if that has a floor of its own."""
    parts = module.split(".")
    two = ".".join(parts[:2])
    return two if parts[0] == "kernels" or two in FLOOR else parts[0]


FILES = sorted(p for p in ROOT.rglob("*.py"))


@functools.cache
def imports(path: Path) -> list[tuple[str, int, bool]]:
    """Return what a file imports, also inside functions: (module, line, only for typing)."""
    tree = ast.parse(path.read_text())
    for_typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    package = ".".join(("fastgrad", *path.relative_to(ROOT).parent.parts))
    found: list[tuple[str, int, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(name, node.lineno, id(node) in for_typing) for name in names]
    return found


@functools.cache
def known_modules() -> set[str]:
    return {module_of(p) for p in FILES}


def target_of(name: str) -> str | None:
    """Return the module that an import names, None for other packages."""
    parts = name.split(".")
    if parts[0] != "fastgrad":
        return None
    rest = parts[1:]
    while rest:
        for candidate in (".".join(rest), ".".join([*rest, "__init__"])):
            if candidate in known_modules():
                return candidate
        rest = rest[:-1]
    return "__init__"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_only_what_stands_beneath(path: Path) -> None:
    module = module_of(path)
    room = room_of(module)
    assert room in FLOOR, f"{room} has no floor: add it to FLOORS of {Path(__file__).name}"
    if module == "__init__":
        return
    for name, line, _ in imports(path):
        target = target_of(name)
        if target is None or room_of(target) == room:
            continue
        assert FLOOR[room_of(target)] >= FLOOR[room], (
            f"{path.relative_to(ROOT.parent)}:{line} imports fastgrad.{target}, which does not "
            f"stand beneath {module}: move what is shared further down"
        )


def test_no_circles() -> None:
    """No file imports what imports it, at whatever distance: each can be read by itself."""
    below = {
        module_of(p): {t for n, _, typing in imports(p) if not typing and (t := target_of(n))}
        for p in FILES
    }
    del below["__init__"]  # it is loaded before any other, and names most of them
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        circle = " -> ".join((*above, module))
        assert module not in above, f"imports in a circle: {circle}"
        if module not in done:
            for other in sorted(below[module] - {module, "__init__"}):
                visit(other, (*above, module))
            done.add(module)

    for module in below:
        visit(module, ())


def test_few_rooms_at_the_top() -> None:
    modules = {p.stem for p in ROOT.glob("*.py") if not p.stem.startswith("__")} - set(BRIDGES)
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")} - set(BRIDGES)
    assert len(modules) <= MOST_MODULES, f"{len(modules)} modules at the top: {modules}"
    assert len(packages) <= MOST_PACKAGES, f"{len(packages)} packages at the top: {packages}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_who_may_import_other_packages(path: Path) -> None:
    """Numba and llvmlite only under kernels, matplotlib in pictures, a library in its bridge."""
    module, relative = module_of(path), path.relative_to(ROOT.parent)
    allowed = {"numpy"}
    if module.startswith("kernels."):
        allowed |= {"numba", "llvmlite"}
    if module.split(".")[0] in BRIDGES:
        allowed |= {module.split(".")[0], "scipy"}
    if module in {"command.chart", "diagnosis.picture"}:
        allowed |= {"matplotlib"}
    foreign = {"scipy", "torch", "jax", "numba", "llvmlite", "matplotlib", "numpy", "tqdm", "rich"}
    foreign |= set(BRIDGES)
    for name, line, _ in imports(path):
        package = name.split(".")[0]
        assert package not in foreign or package in allowed, (
            f"{relative}:{line} imports {package}: {module} may only import {sorted(allowed)}"
        )


# What reference and loops have in common with fastgrad: checks, conversions, `out=`, result types.
# Arithmetic is each one's own: the kernels are held against it.
SHARED = (
    *("arguments", "arrays", "loss_arguments", "optimizers", "results", "terminal", "trees"),
    "warning_categories",
    *("layers.dense_arguments", "layers.recurrent_arguments", "layers.dropout_arguments"),
    *("layers.embedding_arguments", "layers.norm_arguments", "layers.sparse_arguments"),
    *("layers.kinds", "networks.shared"),
)
COMPUTING = {
    *("sum", "dot", "matmul", "einsum", "mean", "prod", "cumsum", "reduce"),
    *("exp", "expm1", "log", "log1p", "tanh", "erf", "sqrt", "cbrt", "square", "power", "fsum"),
}
# Of shapes, of the bounds of a target, and of what weights begin as, which is a convention:
# `test_the_flat_vector_in_numbers` has it in numbers.
COMPUTED_ALL_THE_SAME = {
    *(("loss_arguments", "prod"), ("loss_arguments", "reduce"), ("loss_arguments", "sum")),
    ("networks.shared.plain", "sum"),  # of a batch's weights
    *(("layers.kinds", "prod"), ("layers.kinds", "sum"), ("layers.kinds", "sqrt")),
}


@pytest.mark.parametrize("package", ["reference", "loops"])
def test_twins_share_no_arithmetic(package: str) -> None:
    """They import NumPy, the standard library and what checks arguments, no kernels."""
    for path in sorted((ROOT / package).glob("*.py")):
        for name, line, _ in imports(path):
            target = target_of(name)
            where = f"{path.relative_to(ROOT.parent)}:{line} imports {name}"
            assert target is None or room_of(target) in (package, *SHARED), (
                f"{where}: the twins share {', '.join(SHARED)} and no formula, no sum"
            )
            assert not name.startswith("fastgrad.arrays.TO_FLOAT"), f"{where}: that is compiled"


SHARED_FILES = [
    module
    for module in map(module_of, FILES)
    if room_of(module) in SHARED and module not in ("optimizers.compiled_step", "optimizers.clip")
]


@pytest.mark.parametrize("module", SHARED_FILES)
def test_what_twins_share_computes_nothing(module: str) -> None:
    file = f"{module.replace('.', '/')}.py"
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        name = getattr(node, "attr", getattr(node, "id", None))
        if (module, name) in COMPUTED_ALL_THE_SAME:
            continue
        assert name not in COMPUTING and not isinstance(node, ast.MatMult), (
            f"fastgrad/{file} computes ({name}): reference and loops use it, and "
            "fastgrad is held against them. Formulas and sums stand in each of them"
        )


def test_one_place_with_jit_options() -> None:
    """Only kernels/toolchain/compile.py calls njit and its like."""
    makers = {"njit", "cfunc", "jit", "vectorize", "guvectorize"}
    for path in FILES:
        for name, line, _ in imports(path):
            if name.split(".")[0] == "numba" and name.split(".")[-1] in makers:
                assert module_of(path) == "kernels.toolchain.compile", (
                    f"{path.relative_to(ROOT.parent)}:{line} imports {name}: "
                    "use the decorators of kernels/toolchain/compile.py"
                )


# -- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_activation_has_its_other_places(name: str) -> None:
    from fastgrad.kernels.elementwise.formulas import formulas
    from fastgrad.kernels.elementwise.softmax import softmax_kernels
    from fastgrad.kernels.toolchain.front_end import numba_front_end
    from fastgrad.kernels.units import unit

    for package, file in ((reference, "reference"), (loops, "loops")):
        assert name in package.ACTIVATIONS, (
            f"{name} has no twin: add it to fastgrad/{file}/activations.py"
        )
        twin = getattr(package, name)
        assert twin is package.ACTIVATIONS[name], (
            f"{name} is not public in fastgrad.{file}: add it to __all__ of its activations.py"
        )
        assert twin.from_output == fg.activations.ACTIVATIONS[name].from_output, (
            f"{name}.from_output differs: fastgrad/activations.py, fastgrad/{file}/activations.py"
        )
    row = fg.activations.ACTIVATIONS[name]
    assert name in fg.__all__, f"{name} is not public: add it to __all__ of fastgrad/__init__.py"
    assert getattr(fg, name, None) is row, (
        f"fastgrad.{name} is not the row of that name: see the imports of fastgrad/__init__.py and "
        "the unpacking in fastgrad/activations.py"
    )
    exported = set(unit(f"rows.{name}").functions)
    if row.rowwise:
        with numba_front_end():
            made = set(softmax_kernels("float32"))
        assert exported == made, (
            f"{name}: fastgrad/kernels/elementwise/softmax.py makes {made}, "
            f"kernels/units.py wants {exported}"
        )
        return
    table = formulas("float32")
    assert name in table, (
        f"{name} has no formula: add it to fastgrad/kernels/elementwise/formulas.py"
    )
    assert (table[name].from_output is not None) == row.from_output, (
        f"{name}: from_output in fastgrad/activations.py and the formula from y in "
        "fastgrad/kernels/elementwise/formulas.py must agree"
    )
    kinds = {"forward", "backward_y"}
    if not row.from_output:
        kinds = {"forward", "forward_and_slope", "backward_slope"}
    made = {f"{kind}_{name}" for kind in kinds}
    assert exported == made, (
        f"{name}: fastgrad/kernels/elementwise/formulas.py makes {made}, but KEEP_SLOPE in "
        f"fastgrad/kernels/units.py exports {exported}"
    )


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_has_its_other_places(name: str) -> None:
    from fastgrad.kernels.elementwise.loss import elementwise_terms

    for package, file in ((reference, "reference"), (loops, "loops")):
        assert name in package.LOSSES, f"{name} has no twin: add it to fastgrad/{file}/losses.py"
        assert getattr(package.losses, name) is package.LOSSES[name], (
            f"{name} is not public in fastgrad.{file}.losses: see fastgrad/{file}/losses.py"
        )
    if LOSSES[name].rowwise:
        from fastgrad.kernels.elementwise import loss, loss_rows

        assert hasattr(loss, name) or name in loss_rows.NAMES, (
            f"{name} has no kernel: add it to fastgrad/kernels/elementwise/loss_rows.py"
        )
    else:
        try:
            elementwise_terms("float32", name)
        except KeyError:
            pytest.fail(f"{name} has no terms: add them to fastgrad/kernels/elementwise/loss.py")


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_has_its_other_places(name: str) -> None:
    kind = OPTIMIZERS[name]
    assert name in fg.__all__, f"{name} is not public: add it to _LATER of fastgrad/__init__.py"
    assert getattr(fg.optimizers, name, None) is kind, (
        f"{name} is not public in fastgrad.optimizers: add it to fastgrad/optimizers/__init__.py"
    )
    assert getattr(fg, name) is kind, f"fastgrad.{name} is not the row of OPTIMIZERS"
    update = ROOT / "kernels" / "network" / "update.py"
    functions = {n.name for n in ast.walk(ast.parse(update.read_text())) if hasattr(n, "name")}
    assert kind.kernel in functions, (
        f"{name} has no kernel: add {kind.kernel} to fastgrad/kernels/network/update.py"
    )
    for package, file in ((reference, "reference"), (loops, "loops")):
        twin = getattr(package.optimizers, name, None)
        assert twin is not None and issubclass(twin, kind), (
            f"{name} has no step: add a class of that name to fastgrad/{file}/optimizers.py"
        )
        assert twin.start is not package.optimizers.Optimizer.start, (
            f"{name} has no step: write its `start` in fastgrad/{file}/optimizers.py"
        )
        assert name in package.__all__ and getattr(package, name) is twin, (
            f"{name} is not public in fastgrad.{file}: add it to __all__ of its optimizers.py"
        )
    assert name in {case.split()[0] for case in test_training.OPTIMIZERS}, (
        f"{name} is not tried: add settings to OPTIMIZERS of tests/test_training.py"
    )
    assert name in {kind for kind, _ in twins.OPTIMIZERS.values()}, (
        f"{name} is not tried: add settings to OPTIMIZERS of tests/twins.py"
    )


@pytest.mark.parametrize("name", list(KINDS))
def test_every_layer_kind_has_its_other_places(name: str) -> None:
    kind = KINDS[name]
    assert (ROOT / "kernels" / "network" / f"{name}.py").exists(), (
        f"{name} has no stages: write them in fastgrad/kernels/network/{name}.py"
    )
    settings = (True,) if name == "dense" else ()
    layer = kind(3, 3, 0, fg.tanh, *settings)
    forward, backward, pack = layer.stages("float32")
    assert forward and backward and forward != backward
    assert bool(pack) == (name in PACKING)
    fields, shapes = layer.parameters._fields, layer.shapes()
    assert len(fields) == len(shapes) == len(layer.init(np.random.default_rng(0))), (
        f"{name}: fastgrad/layers/kinds.py must say a name, a shape and a beginning of each "
        "parameter"
    )


def test_tables_hold_nothing_more() -> None:
    """Twins without a row are left over from something."""
    from fastgrad.kernels.elementwise.formulas import formulas

    elementwise = {n for n in BUILT_IN if not fg.activations.ACTIVATIONS[n].rowwise}
    assert set(formulas("float32")) == elementwise, (
        "fastgrad/kernels/elementwise/formulas.py has other rows"
    )
    for package in (reference, loops):
        assert list(package.ACTIVATIONS) == list(BUILT_IN), f"{package.__name__}.ACTIVATIONS differ"
        assert list(package.LOSSES) == list(LOSSES), f"{package.__name__}.LOSSES differ"


LAYERS = ("dense", "rnn", "lstm", "gru", "dropout", "embedding", "layer_norm", "batch_norm")


@pytest.mark.parametrize(
    "name", ["dense", *(f"{name}_{way}" for name in LAYERS for way in ("forward", "backward"))]
)
def test_twins_have_the_same_signatures(name: str) -> None:
    expected = inspect.signature(getattr(fg, name))
    for package in (reference, loops):
        twin = inspect.signature(getattr(package, name))
        for own, other in zip(expected.parameters.values(), twin.parameters.values(), strict=True):
            assert (own.name, own.kind, own.default) == (other.name, other.kind, other.default), (
                f"{package.__name__}.{name}: parameter {other} where fastgrad has {own}"
            )


METHODS = ("init", "layers", "named", "pack", "predict", "value_and_grad", "forward", "backward")
NETWORKS = ["MLP", *(f"MLP.{m}" for m in METHODS)]


@pytest.mark.parametrize("name", [*NETWORKS, "MLP.fit", *OPTIMIZERS])
def test_networks_have_the_same_signatures(name: str) -> None:
    def parameters(package: Any) -> list[tuple[str, Any]]:
        value = functools.reduce(getattr, name.split("."), package)
        return [(p.name, p.default) for p in inspect.signature(value).parameters.values()]

    for package in (reference, loops):
        assert parameters(package) == parameters(fg), f"{package.__name__}.{name} differs"


@pytest.mark.parametrize("method", ["__call__", "value_and_grad"])
@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_have_the_same_signatures(name: str, method: str) -> None:
    own = inspect.signature(getattr(LOSSES[name], method)).parameters.values()
    for package in (reference, loops):
        other = inspect.signature(getattr(package.LOSSES[name], method)).parameters.values()
        assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in other], (
            f"fastgrad.{package.__name__.rsplit('.')[-1]}.losses.{name}.{method} differs"
        )
