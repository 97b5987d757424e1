"""One panel as an inline SVG that follows the colours of the page it stands in."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@contextmanager
def panel(name: str, title: str, described: str) -> Iterator[Panel]:
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
        drawn.svg = _inline(out.getvalue(), described)


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


def _opening(described: str) -> str:
    label = escape(described, quote=True).replace("\\", r"\\")
    return rf'<svg viewBox="\1" role="img" aria-label="{label}">'
