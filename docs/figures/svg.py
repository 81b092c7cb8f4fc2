"""A few shapes of SVG, as text: what the drawings of docs/figures/draw.py are made of.

A figure is 460 wide, so that its letters can still be read on a telephone, and brings its own light
ground, so that they can be read on a dark page.
"""

from __future__ import annotations

from html import escape

WIDTH = 460
STYLE = """
  text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1d2733 }
  .code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12.5px }
  .small { font-size: 12px; fill: #53616f }
  .head { font-weight: 600 }
  .middle { text-anchor: middle }
  .end { text-anchor: end }
  .box { fill: #ffffff; stroke: #8796a5 }
  .cool { fill: #dcf0f3; stroke: #3b8c99 }
  .warm { fill: #fdebd3; stroke: #c98a35 }
  .hot { fill: #f6c48b; stroke: #b26f15 }
  .plain { fill: none; stroke: #8796a5 }
  .line { fill: none; stroke: #1d2733; stroke-width: 1.4 }
  .dashed { fill: none; stroke: #b03a2e; stroke-dasharray: 5 4 }
"""


class Figure:
    """Shapes on a light ground, with a text for those who cannot see them."""

    def __init__(self, height: float, title: str) -> None:
        self.height, self.title, self.shapes = height, title, list[str]()

    def box(self, x: float, y: float, w: float, h: float, kind: str = "box") -> None:
        """Draw a rectangle."""
        self.shapes.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="3"/>'
        )

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Write a line that begins at x, or ends or is centred there, as its kind says."""
        self.shapes.append(f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>')

    def labelled(
        self, x: float, y: float, w: float, h: float, words: str, kind: str = "box", small: str = ""
    ) -> None:
        """Draw a rectangle with a centred text, and a smaller one below it."""
        self.box(x, y, w, h, kind)
        up = 3 if small else -4
        self.text(x + w / 2, y + h / 2 - up, words, "middle")
        if small:
            self.text(x + w / 2, y + h / 2 + 13, small, "small middle")

    def line(self, *points: tuple[float, float], arrow: bool = True, kind: str = "line") -> None:
        """Draw a line through points, with a head at its end."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        head = ' marker-end="url(#head)"' if arrow else ""
        self.shapes.append(f'<path class="{kind}" d="{path}"{head}/>')

    def svg(self) -> str:
        """Return the file."""
        shapes = "\n".join(self.shapes)
        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" \
width="{WIDTH}" height="{self.height:g}" role="img">
<title>{escape(self.title)}</title>
<style>{STYLE}</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" fill="#1d2733"/></marker></defs>
<rect width="{WIDTH}" height="{self.height:g}" rx="6" fill="#f7f8fa"/>
{shapes}
</svg>
"""
