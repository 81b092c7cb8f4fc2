"""Hatchling's hook: with FASTGRAD_PREBUILD=1 a wheel holds compiled kernels, without it none.

    FASTGRAD_PREBUILD=1 pip wheel --no-deps .

Then the wheel is for one Python and one platform, and building it needs Numba and takes minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WANTED = os.environ.get("FASTGRAD_PREBUILD", "") not in ("", "0")


class PrebuiltKernels(BuildHookInterface):
    """Compile the kernels into the wheel, if asked."""

    def dependencies(self) -> list[str]:
        """Return what the build needs beyond Hatchling: what fastgrad itself does."""
        return list(self.metadata.core.dependencies) if WANTED else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say where the files go and that the wheel fits this Python only."""
        if not WANTED or version == "editable":
            return
        self.folder = tempfile.TemporaryDirectory()
        path = os.pathsep.join(filter(None, (self.root, os.environ.get("PYTHONPATH"))))
        subprocess.run(
            [sys.executable, "-m", "fastgrad.command.prebuild", self.folder.name],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
        )
        for level in sorted(Path(self.folder.name).iterdir()):
            build_data["force_include"][str(level)] = f"fastgrad/data/prebuilt/{level.name}"
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the files that are in the wheel now."""
        if hasattr(self, "folder"):
            self.folder.cleanup()
