"""Every link between the built pages leads somewhere: `python docs/check_links.py docs/_build`.

A link of a page leads to a file, and to a place in it that has that name. Addresses of other sites
are not asked.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The names of places in a page, and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names, self.links = {"", "top"}, set[str]()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag names and where it leads."""
        for key, value in attrs:
            if key == "id" or (key == "name" and tag == "a"):
                self.names.add(value or "")
            elif key in ("href", "src") and value:
                self.links.add(value)


def broken(root: Path) -> list[str]:
    """Return a sentence for each link under `root` that leads nowhere."""
    root = root.resolve()
    files = sorted(path for path in root.rglob("*.html") if "_static" not in path.parts)
    pages = {path: Page(path) for path in files}
    if not pages:
        return [f"{root} has no pages: build them first"]
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].names if target in pages else {unquote(parts.fragment)}
            if not target.is_file():
                found.append(f"{path.relative_to(root)}: {link}: there is no such file")
            elif unquote(parts.fragment) not in known:
                found.append(f"{path.relative_to(root)}: {link}: no such place in it")
    return found


if __name__ == "__main__":
    sentences = broken(Path(sys.argv[1]))
    print("\n".join(sentences))
    sys.exit(bool(sentences))
