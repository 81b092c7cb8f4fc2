"""Docstrings have all that a reader looks up, and their examples run.

A failure here is a sentence that says which name lacks what.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import itertools
import pkgutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import BRIDGES

import fastgrad as fg
from fastgrad import loops, reference
from fastgrad.activations import BUILT_IN
from fastgrad.losses import LOSSES

ROOT = Path(fg.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# -- sections ------------------------------------------------------------------------------------

# What the library hands out and nobody makes: attributes instead of parameters, no errors.
RESULTS = {
    "DenseCache", "DenseGrads", "DropoutCache", "EmbeddingCache", "EmbeddingGrads", "EmbeddingRows",
    "FitResult", "FitState", "GradReport", "LayerParams",
    "LstmGrads", "NormCache", "NormGrads", "NormParams", "RecurrentCache", "RnnGrads",
    "losses.ArrayLoss", "losses.Loss",
    "Diagnosis", "Finding", "NetworkGrads", "Tape",
}  # fmt: skip

# Sections that a docstring need not have, though its kind does.
LACKING: dict[str, tuple[str, ...]] = {
    # Nothing can go wrong there.
    "Activation": ("Raises",),
    "EarlyStopping.__call__": ("Raises",),
    "get_num_threads": ("Raises", "Returns"),  # its summary says all
    "show_config": ("Raises",),
    "Diagnosis.headline": ("Raises", "Returns"),  # its summary says all
    "nn.Layer": ("Examples",),  # its subclasses have them
}


def bridge_module(name: str) -> Any:
    """Return a module that needs the library it is named after, or None without that."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own, at import
            return importlib.import_module(f"fastgrad.{name}")
    except ImportError:
        return None


def documented() -> dict[str, Any]:
    """Return all that a reader looks up, by name: functions and classes, then methods."""
    found: dict[str, Any] = {name: getattr(fg, name) for name in fg.__all__}
    found |= {f"nn.{name}": getattr(fg.nn, name) for name in fg.nn.__all__}
    found |= {f"losses.{kind}": getattr(fg.losses, kind) for kind in ("Loss", "ArrayLoss")}
    for bridge in BRIDGES:
        if module := bridge_module(bridge):
            found |= {f"{bridge}.{name}": getattr(module, name) for name in module.__all__}
    found = {k: v for k, v in found.items() if inspect.isfunction(v) or inspect.isclass(v)}
    for name, cls in list(found.items()):
        if inspect.isclass(cls):
            for method, value in vars(cls).items():
                public = method == "__call__" or not method.startswith("_")
                if public and inspect.isfunction(value):
                    found[f"{name}.{method}"] = value
    return found


DOCUMENTED = documented()


def sections(name: str) -> list[str]:
    """Return the sections that the docstring of a public name must have."""
    value = DOCUMENTED[name]
    if name in RESULTS:
        wanted = ["Attributes", "Examples"]
    elif inspect.isclass(value) and issubclass(value, Warning):
        wanted = ["Examples"]
    else:
        signature = inspect.signature(value)
        takes = [p for p in signature.parameters if p != "self"]
        returns = inspect.isfunction(value) and signature.return_annotation != "None"
        room, _, rest = name.partition(".")
        is_method = "." in (rest if room in ("nn", "losses", *BRIDGES) else name)
        wanted = [
            *(["Parameters"] if takes else []),
            *(["Returns"] if returns else []),
            "Raises",
            *([] if is_method else ["Examples"]),
        ]
    return [section for section in wanted if section not in LACKING.get(name, ())]


def overrides(name: str) -> bool:
    """Return whether a method's base class has documented it: then a summary is enough."""
    owner, _, method = name.rpartition(".")
    cls = DOCUMENTED.get(owner)
    return inspect.isclass(cls) and any(method in vars(base) for base in cls.__mro__[1:-1])


def has(name: str, section: str) -> bool:
    return f"{section}\n{'-' * len(section)}" in inspect.cleandoc(DOCUMENTED[name].__doc__)


@pytest.mark.parametrize("name", list(DOCUMENTED))
def test_docstrings_have_their_sections(name: str) -> None:
    value = DOCUMENTED[name]
    assert value.__doc__, f"fastgrad.{name} has no docstring: {inspect.getmodule(value)}"
    missing = [] if overrides(name) else [s for s in sections(name) if not has(name, s)]
    assert not missing, f"fastgrad.{name} documents no {', '.join(missing)}"


@pytest.mark.parametrize("name", [n for n in DOCUMENTED if not overrides(n)])
def test_docstrings_name_every_parameter(name: str) -> None:
    if name in RESULTS or "Parameters" not in sections(name):
        return
    doc = inspect.cleandoc(DOCUMENTED[name].__doc__)
    _, _, after = doc.partition("Parameters\n----------\n")
    lines = itertools.takewhile(lambda line: not line.startswith("---"), after.splitlines())
    heads = [line.split(" : ")[0] for line in lines if line and not line.startswith(" ")]
    known = {word.strip() for head in heads for word in head.split(",")}
    taken = set(inspect.signature(DOCUMENTED[name]).parameters) - {"self"}
    assert taken <= known, f"fastgrad.{name} does not document {', '.join(sorted(taken - known))}"


def test_what_is_lacking_is_no_more_than_said() -> None:
    """An exception that is not needed any more, or of a name that is gone, is taken out."""
    for name, lacking in LACKING.items():
        assert name in DOCUMENTED, f"{name} is not public: take it out of LACKING"
        found = [section for section in lacking if has(name, section)]
        assert not found, f"{name} documents its {', '.join(found)}: take that out of LACKING"
    assert set(DOCUMENTED) >= RESULTS


@pytest.mark.parametrize("name", fg.__all__)
def test_public_names_are_documented(name: str) -> None:
    assert inspect.getdoc(getattr(fg, name)), f"fastgrad.{name} has no docstring"


# Textbook functions without an author.
COMMON = {"identity", "sigmoid", "tanh", "softmax", "exp"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_activations_say_their_formula_and_source(name: str) -> None:
    row = fg.activations.ACTIVATIONS[name]
    assert row.formula in (row.__doc__ or "")
    assert (row.source != "") == (name not in COMMON), f"{name}: who described it?"
    assert row.source in (row.__doc__ or "")


@pytest.mark.parametrize("name", list(LOSSES))
def test_losses_say_their_formula(name: str) -> None:
    assert LOSSES[name].formula in (LOSSES[name].__doc__ or "")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_say_what_they_are_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree), f"{path.relative_to(ROOT.parent)} has no docstring"
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
        if public and "overload" not in [ast.unparse(d) for d in node.decorator_list]:
            assert ast.get_docstring(node), (
                f"{path.relative_to(ROOT.parent)}:{node.lineno} {node.name} has no docstring"
            )


# -- examples ------------------------------------------------------------------------------------

MODULES = ["fastgrad"] + [
    module.name
    for module in pkgutil.walk_packages(fg.__path__, "fastgrad.")
    if ".kernels" not in module.name and not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    bridge = name.split(".")[1:2]
    if bridge and bridge[0] in BRIDGES and bridge_module(bridge[0]) is None:
        pytest.skip(f"{bridge[0]} is not installed")
    # What an example defines must not be known to the other tests.
    tables: list[dict[str, Any]] = [fg.activations.ACTIVATIONS, fg.losses.LOSSES]
    tables += [loops.losses.LOSSES, reference.losses.LOSSES]
    before = [dict(table) for table in tables]
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    for table, known in zip(tables, before, strict=True):
        for defined in set(table) - set(known):
            del table[defined]
    assert result.failed == 0
