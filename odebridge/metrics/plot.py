"""A profile as a picture: NSI over the blocks, and the step sizes below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from odebridge.core.plot import COLOURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from odebridge.metrics.profile import Profile

SAMPLES = 100  # thin lines; more are a blot


def plot_profile(profile: Profile, title: str = "") -> Figure:
    """One panel, or two where there are step sizes, over the blocks in the order in which the network runs them."""
    gates = [(i, s.double().numpy()) for i, s in enumerate(profile.steps) if s is not None]
    panels = 2 if gates else 1
    fig, axes = plt.subplots(panels, 1, sharex=True, squeeze=False, figsize=(7.2, 2.6 * panels), layout="constrained")
    top, blocks = axes[0, 0], range(len(profile.names))
    index = profile.nsi.double()
    top.plot(blocks, index[:SAMPLES].T.numpy(), color=COLOURS[0], alpha=0.15, lw=0.6)
    _envelope(top, blocks, index, COLOURS[1], "median over samples")
    top.set_ylabel("NSI  |x' - x| / |x|")
    top.legend(fontsize=8, frameon=False)
    if gates:
        at = [i for i, _ in gates]
        low, middle, high = np.stack([np.quantile(s, (0.1, 0.5, 0.9)) for _, s in gates], 1)
        below = axes[1, 0]
        below.fill_between(at, low, high, color=COLOURS[2], alpha=0.25, lw=0, label="10 to 90 per cent")
        below.plot(at, middle, color=COLOURS[2], marker="o", ms=3, label="median over samples and channels")
        below.set_ylabel("step size h")
        below.legend(fontsize=8, frameon=False)
    for axis in axes[:, 0]:
        axis.grid(alpha=0.25)
    _named(axes[-1, 0], profile.names)
    if title:
        fig.suptitle(title)
    return fig


def plot_profiles(profiles: Mapping[str, Profile], title: str = "") -> Figure:
    """One panel with the median and the envelope of every network, a stage at a time: between two the space changes."""
    names = {p.names for p in profiles.values()}
    if len(names) != 1:
        raise ValueError(
            f"compare: give profiles of networks with the same blocks, got {len(profiles)} with {len(names)} kinds."
        )
    (blocks,) = names
    fig, axes = plt.subplots(figsize=(7.2, 3.2), layout="constrained")
    stages = [name.rsplit("[", 1)[0] if "[" in name else name.rsplit(".", 1)[0] for name in blocks]
    first = [i for i, s in enumerate(stages) if i == 0 or s != stages[i - 1]]
    for colour, (label, p) in enumerate(profiles.items()):
        for begin, end in zip(first, [*first[1:], len(blocks)], strict=True):
            shown = p.nsi[:, begin:end].double()
            _envelope(axes, range(begin, end), shown, COLOURS[colour % len(COLOURS)], label if begin == 0 else None)
    for begin in first[1:]:
        axes.axvline(begin - 0.5, color="0.6", lw=0.8, ls=":")
    axes.set_ylabel("NSI  |x' - x| / |x|")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False, title="median; dashed: smallest, largest sample", title_fontsize=7)
    axes.grid(alpha=0.25)
    _named(axes, blocks)
    if title:
        fig.suptitle(title)
    return fig


def _envelope(axis: Axes, blocks: range, index: Tensor, colour: str, label: str | None) -> None:
    """The median over samples, and dashed the smallest and the largest."""
    axis.plot(blocks, index.median(0).values.numpy(), color=colour, marker="o", ms=3, label=label)
    for edge in (index.amin(0), index.amax(0)):
        axis.plot(blocks, edge.numpy(), color=colour, ls="--", lw=0.9)


def _named(axis: Axes, names: Sequence[str]) -> None:
    axis.set_xlabel("residual block")
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
