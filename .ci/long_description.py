"""The text that a package index shows: README.md without links to files, which are not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"\[([^]]+)\]\((?!https?://|#)([^)#]+)[^)]*\)")  # a relative one


def without_links(text: str) -> str:
    """Return the text with the name of the file in place of each link to a file."""

    def name(link: re.Match[str]) -> str:
        shown, file = link.groups()
        return f"`{file}`" if shown == file else f"{shown} (`{file}`)"

    return LINK.sub(name, text)


class LongDescription(MetadataHookInterface):
    """Called by hatchling before it builds, or installs."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_links(text)}
