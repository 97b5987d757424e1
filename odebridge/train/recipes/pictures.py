"""Pictures of trained variants."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from odebridge.core.plot import COLOURS
from odebridge.data import Points, Series

FINE = 60  # nodes of the grid that regions are drawn on, in each direction
SHOWN = 3  # series


def draw_regions(figure: Figure, logits: Callable[[Tensor], Tensor], data: Points) -> None:
    """Share of class 1 over the plane, and the test points on it."""
    axes = figure.add_subplot()
    low, high = data.test_x.min(0).values - 0.3, data.test_x.max(0).values + 0.3
    u, v = (torch.linspace(float(a), float(b), FINE) for a, b in zip(low, high, strict=True))
    grid = torch.cartesian_prod(u, v)
    share = logits(grid).softmax(-1)[:, 1].reshape(FINE, FINE).T
    shades = axes.contourf(u, v, share, levels=torch.linspace(0, 1, 11), cmap="RdBu", alpha=0.6)
    figure.colorbar(shades, label="probability of class 1")
    for label, colour in enumerate((COLOURS[1], COLOURS[0])):
        x = data.test_x[data.test_y == label]
        axes.plot(x[:, 0], x[:, 1], ".", ms=3, color=colour, label=f"class {label}")
    axes.set(xlabel="x[0]", ylabel="x[1]", aspect="equal")
    axes.legend(fontsize=8)


def draw_series(figure: Figure, predicted: Float[Tensor, "m k d"], data: Series) -> None:
    """The first test series: observed values as dots, the model as lines, one panel a component."""
    d = len(data.components)
    panels = figure.subplots(d, 1, sharex=True, squeeze=False)[:, 0]
    for c, axes in enumerate(panels):
        for i in range(min(SHOWN, len(data.test))):
            seen = torch.ones_like(data.times, dtype=torch.bool) if data.test_mask is None else data.test_mask[i, :, c]
            axes.plot(data.times[seen], data.test[i, seen, c], ".", ms=4, color=COLOURS[i])
            axes.plot(data.times, predicted[i, :, c], color=COLOURS[i], lw=1.2)
        axes.set_ylabel(data.components[c])
        axes.grid(alpha=0.25)
    panels[-1].set_xlabel("time t")
