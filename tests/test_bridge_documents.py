"""The examples of the bridges run, where the libraries are installed."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = {
    "h_cluster": (["dask.array", "distributed", "scipy"], "same bits True"),
    "i_scikit_learn": (["sklearn"], "times as fast"),
    "j_in_frameworks": (["torch", "jax", "autograd"], "a module as a network"),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the libraries' own
    pytest.mark.usefixtures("same_environment"),
]


def need(libraries: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in libraries:
            pytest.importorskip(library, exc_type=ImportError)


@pytest.mark.parametrize("example", list(EXAMPLES))
def test_examples(
    example: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries, shown = EXAMPLES[example]
    need(libraries)
    path = ROOT / "examples" / f"{example}.py"
    spec = importlib.util.spec_from_file_location(example, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, example, module)
    monkeypatch.syspath_prepend(str(path.parent))
    spec.loader.exec_module(module)
    module.main()
    printed = capsys.readouterr().out
    assert shown in printed
    for apart in re.findall(r": (\d\.\de[+-]\d+)", printed):
        assert float(apart) < 1e-5
