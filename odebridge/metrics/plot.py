"""A profile as a picture: NSI over the blocks, and the step sizes below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from odebridge.core.plot import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    top.plot(blocks, index.median(0).values.numpy(), color=COLOURS[1], marker="o", ms=3, label="median over samples")
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
    axes[-1, 0].set_xlabel("residual block")
    axes[-1, 0].set_xticks(list(blocks), profile.names, rotation=90, fontsize=6)
    if title:
        fig.suptitle(title)
    return fig
