"""The examples in the docstrings run, in every public module."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import fastgrad

MODULES = ["fastgrad"] + [
    module.name
    for module in pkgutil.walk_packages(fastgrad.__path__, "fastgrad.")
    if ".kernels" not in module.name and not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    # What an example defines must not be known to the other tests.
    before = dict(fastgrad.activations.ACTIVATIONS)
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    for defined in set(fastgrad.activations.ACTIVATIONS) - set(before):
        del fastgrad.activations.ACTIVATIONS[defined]
    assert result.failed == 0
