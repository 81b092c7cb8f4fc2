"""The documentation site: `sphinx-build -W --keep-going docs docs/_build`."""

from __future__ import annotations

import ast
import os
import re
from importlib.util import find_spec
from pathlib import Path

import fastgrad

EXAMPLES = Path(__file__).parent.parent / "examples"
# The bridges' libraries are optional here, too: what is not installed is imported as a mock.
ABSENT = [
    name
    for name in ("torch", "jax", "autograd", "sklearn", "scipy", "dask", "distributed")
    if find_spec(name) is None
]


def runs_here(script: Path) -> bool:
    """Return whether all that an example imports is installed."""
    names = []
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append((node.module or "").removeprefix("fastgrad."))
    return not any(name.split(".")[0] in ABSENT for name in names)


project = "fastgrad"
author = copyright = "The fastgrad developers"
version = release = fastgrad.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3  # `page.md#a-heading`, as on GitHub

autodoc_mock_imports = ABSENT
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": str(EXAMPLES),
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": "|".join(
        re.escape(os.sep + path.name) + "$"
        for path in sorted(EXAMPLES.glob("*.py"))
        if runs_here(path)
    ),
    "write_computation_times": False,
    "show_signature": False,
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "fastgrad"
