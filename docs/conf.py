"""The documentation site: `python -m sphinx -E -W --keep-going docs docs/_build`."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "regression_template"]  # docs/regression_tracking.md quotes it

myst_heading_anchors = 3  # `page.md#a-heading`, as on GitHub

default_role = "py:obj"  # `dense` in a docstring is a link, `grad_y` is not
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*")]
templates_path = ["_templates"]
autodoc_mock_imports = ABSENT
autodoc_typehints = "none"  # signatures are short; the docstrings say more than the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template lists them

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
    "default_thumb_file": str(Path(__file__).parent / "_static" / "script.svg"),
}

html_theme = "pydata_sphinx_theme"
html_title = "fastgrad"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
# A page without others below it has no sidebar: more room for its text.
ALONE = ("start", "architecture", "my_gradient_is_wrong", "contributing", "changelog", "genindex")
html_sidebars = {page: [] for page in ALONE}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
}


def is_hidden(_app: Any, what: str, name: str, member: Any, *_: Any) -> bool | None:
    """Hide the methods of a class that are not ours, or not for users.

    Those for users have sections, here or in the class that they come from.
    """
    if what != "class":
        return None
    ours = inspect.isfunction(member) and member.__module__.startswith("fastgrad.")
    if not ours or (name.startswith("_") and name != "__call__"):
        return True
    owner = getattr(sys.modules[member.__module__], member.__qualname__.split(".")[0])
    docs = [inspect.getdoc(getattr(base, name, None)) or "" for base in owner.__mro__]
    return not any("\n---" in doc for doc in docs)


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", is_hidden)
