"""docs/regression_template works when copied: asv finds a slow commit of it, and a wrong one."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastgrad
from fastgrad.kernels.toolchain.cache_place import cache_directory

TEMPLATE = Path(__file__).parent.parent / "docs" / "regression_template"


def in_place_of(name: str, folder: Path) -> None:
    """Write a wheel of that name, which holds nothing but the packages that are installed here.

    asv makes an environment and lets pip install into it. No network is needed for what pip finds
    there already: a `.pth` file names the folders this process imports from.
    """
    paths = [str(Path(fastgrad.__file__).parent.parent), *(p for p in sys.path if "-packages" in p)]
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}_packages.pth", "\n".join(paths))
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


class Project:
    """A git repository with the template in it, and what runs there without network."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "project"
        shutil.copytree(TEMPLATE, self.home, ignore=shutil.ignore_patterns("__pycache__", ".asv"))
        for place in ("wheels", "home"):
            (folder / place).mkdir()
        in_place_of("wheel", folder / "wheels")  # asv asks pip for it, and nothing here uses it
        try:
            importlib.metadata.distribution("fastgrad")
        except importlib.metadata.PackageNotFoundError:  # imported from the checkout
            in_place_of("fastgrad", folder / "wheels")
        self.environment = os.environ | {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder / "wheels"),
            "HOME": str(folder / "home"),  # where asv writes down the machine
            "FASTGRAD_CACHE_DIR": str(cache_directory()),  # not below that home
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_NAME": "Somebody" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "somebody@example.org" for who in ("AUTHOR", "COMMITTER")},
        }
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.commit("The template as it is")
        self.run(sys.executable, "-m", "asv", "machine", "--yes")

    def run(self, *command: str, status: int = 0) -> str:
        """Return what a command prints; it ends with `status`."""
        done = subprocess.run(
            command,
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def change(self, old: str, new: str) -> None:
        """Commit the module with one piece of its text replaced."""
        module = self.home / "model.py"
        text = module.read_text()
        assert text.count(old) == 1
        module.write_text(text.replace(old, new))
        self.commit(f"{new} in place of {old}")

    def continuous(self, *commits: str, status: int) -> str:
        # Quick: each call once, and the factor of 1.1 alone decides, without statistics.
        command = (sys.executable, "-m", "asv", "continuous", "--quick", *commits)
        return self.run(*command, status=status)


def test_a_slow_commit_and_a_wrong_one_are_found(tmp_path: Path) -> None:
    for tool in ("asv", "virtualenv"):
        pytest.importorskip(tool)
    project = Project(tmp_path)

    project.change("import fastgrad as fg", "import time\n\nimport fastgrad as fg")
    project.change("    hidden, first", "    time.sleep(0.1)\n    hidden, first")
    said = project.continuous("HEAD~2", "HEAD", status=1)
    worse = [line for line in said.splitlines() if line.startswith("| +")]
    name = "gradients.ValueAndGrads.time_value_and_grads"
    assert len(worse) == 4  # two dtypes, two sizes
    assert all(name in line for line in worse)
    assert "PERFORMANCE DECREASED" in said

    # The first layer's gradient twice what it is: as fast as before, and no times are compared.
    project.change("time.sleep(0.1)", "")
    project.change("top.x, first", "2 * top.x, first")
    said = project.continuous("HEAD~4", "HEAD", status=2)
    assert "WRONG: grads['W1'] (factor)" in said
