"""One panel as an inline SVG that follows the colours of the page it stands in."""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from odebridge.core.plot import COLOURS

# Colours that no curve uses stand for the page's own and are replaced in the text of the picture.
INK, GRID = "#010203", "#040506"
NAMES = ("blue", "red", "green", "pink", "orange", "sky")  # Okabe & Ito, without the two greys, as in core/plot.py
SERIES = COLOURS[: len(NAMES)]
MARKERS = ("o", "s", "^", "D", "v", "P")  # a second difference beside the colour
WIDTH, HEIGHT = 4.5, 3.4  # inches: one panel fills the width of a phone

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # looks the same with every font
    "font.size": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "axes.axisbelow": True,
}


@dataclass
class Panel:
    """Axes to draw on; `svg` holds the picture once the `panel` block is left."""

    axes: Axes
    svg: str = ""
    tips: list[tuple[float, float, str]] = field(default_factory=list)

    def tip(self, x: float, y: float, text: str) -> None:
        """What a reader sees who points at (x, y)."""
        self.tips.append((x, y, text))


@contextmanager
def panel(name: str, title: str, described: str) -> Generator[Panel]:
    """Draw inside the block. name: unique on the page, keeps the ids of two pictures apart. described: for screen readers."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_title(title)
        axes.grid(True)
        drawn = Panel(axes)
        yield drawn
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        drawn.svg = _with_tips(_inline(out.getvalue(), described), drawn, figure)


def key_panel(name: str, entries: Sequence[tuple[str, dict[str, Any]]], columns: int = 1) -> str:
    """A panel that holds nothing but the legend of the others: names with the style of their lines."""
    with panel(name, "Key", "Key to colours and marks: " + ", ".join(text for text, _ in entries)) as drawn:
        drawn.axes.set_axis_off()
        handles = [drawn.axes.plot([], [], label=text, **style)[0] for text, style in entries]
        drawn.axes.legend(
            handles=handles,
            loc="upper left",
            ncols=columns,
            fontsize=7.5,
            borderaxespad=0.0,
            handlelength=2.2,
            columnspacing=1.0,
        )
    return drawn.svg


def _inline(text: str, described: str) -> str:
    """The <svg> element alone, without anything that points to the network, in the page's colours."""
    text = text[text.index("<svg") :]
    # The picture's own style sheet would apply to the whole page; what it says stands there.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<svg\b[^>]*?viewBox="([^"]*)"[^>]*>', _opening(described), text, count=1, flags=re.DOTALL)
    text = text.replace(INK, "currentColor").replace(GRID, "var(--grid, #d0d0d0)")
    for name, colour in zip(NAMES, SERIES, strict=True):
        text = text.replace(colour.lower(), f"var(--{name}, {colour.lower()})")
    return text.strip()


def _with_tips(text: str, drawn: Panel, figure: Figure) -> str:
    """Circles without colour over the points, that say what they are when they are pointed at."""
    if not drawn.tips:
        return text
    high, scale, marks = 72.0 * figure.get_size_inches()[1], 72.0 / figure.dpi, []
    for x, y, said in drawn.tips:
        px, py = (scale * v for v in drawn.axes.transData.transform((x, y)))
        marks.append(f'<circle cx="{px:.1f}" cy="{high - py:.1f}" r="5"><title>{escape(said)}</title></circle>')
    return text.removesuffix("</svg>") + f'<g class="tips" fill-opacity="0">{"".join(marks)}</g></svg>'


def _opening(described: str) -> str:
    label = escape(described, quote=True).replace("\\", r"\\")
    return rf'<svg viewBox="\1" role="img" aria-label="{label}">'
