"""One trajectory as a picture: components, step sizes, scaled errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from odebridge.core.result import Solution

# Okabe & Ito: distinguishable with every kind of colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")


def plot_solution(sol: Solution, trajectory: int = 0, title: str = "") -> Figure:
    """Three panels over time: components, step sizes (log), scaled errors of the kept steps (log)."""
    if sol.ts is None or sol.xs is None or sol.hs is None:
        raise ValueError("Only a solution with kept steps can be plotted; solve again with save=ob.Every().")

    b = 1 if sol.single else len(sol.xs)
    if isinstance(trajectory, bool) or not isinstance(trajectory, int) or not -b <= trajectory < b:
        raise ValueError(f"trajectory: is {trajectory!r}, but there are {b}; give a number from 0 to {b - 1}.")

    def row(v: Any) -> np.ndarray:
        return (v if sol.single else v[trajectory]).detach().cpu().double().numpy()

    ts, xs, hs = row(sol.ts), row(sol.xs), row(sol.hs)
    keep = np.isfinite(ts)
    ts, xs = ts[keep], xs[keep].reshape(keep.sum(), -1)
    if len(ts) < 2:
        raise ValueError("There is nothing to plot: this trajectory took no step.")
    hs = np.abs(hs[: len(ts) - 1].reshape(len(ts) - 1, -1))
    panels = 2 if sol.errors is None else 3
    fig, axes = plt.subplots(panels, 1, sharex=True, figsize=(7.2, 2.3 * panels), layout="constrained")
    components = range(min(xs.shape[1], len(COLOURS)))
    scale = np.nanmax(np.abs(xs), axis=0)
    far_apart = scale.max() > 1e2 * max(scale[scale > 0].min(initial=np.inf), 1e-300) if np.isfinite(scale).all() else False
    for i in components:
        axes[0].plot(ts, xs[:, i], marker="." if len(ts) < 80 else None, ms=4, color=COLOURS[i], label=f"x[{i}]", lw=1.4)
    axes[0].set_ylabel("state x")
    if far_apart and xs.min() >= 0:
        axes[0].set_yscale("log")
        axes[0].set_ylim(bottom=scale[scale > 0].min() / 1e4, top=3 * scale.max())
    elif far_apart:
        axes[0].set_yscale("symlog", linthresh=max(scale[scale > 0].min() / 10, 1e-300))
    axes[0].legend(ncols=4, fontsize=8, framealpha=0.8, edgecolor="none")
    if xs.shape[1] > len(COLOURS):
        axes[0].set_title(f"first {len(COLOURS)} of {xs.shape[1]} components", fontsize=9)
    axes[1].semilogy(ts[1:], np.median(hs, 1), color=COLOURS[0], lw=1.2)
    axes[1].set_ylabel("step size h")
    if sol.errors is not None:
        axes[2].semilogy(ts[1:], row(sol.errors)[: len(ts) - 1], ".", color=COLOURS[1], ms=3)
        axes[2].axhline(1.0, color="0.5", lw=0.8)
        axes[2].set_ylim(top=max(3.0, axes[2].get_ylim()[1]))  # the line is not the frame
        axes[2].set_ylabel("error / tolerance")
    if ts[0] >= 0 and len(ts) > 2 and np.median(ts) < 1e-3 * ts[-1]:  # most steps near the start: a logarithmic clock
        axes[0].set_xscale("log")
        axes[0].set_xlim(0.5 * ts[1], 2.0 * ts[-1])
    axes[-1].set_xlabel("time t")
    for axis in axes:
        axis.grid(alpha=0.25)
    if title:
        fig.suptitle(title)
    return fig


def plot_fit(times: np.ndarray, measured: np.ndarray, curve_times: np.ndarray, curve: np.ndarray, title: str = "") -> Figure:
    """Measured values (k, d) at times (k,) as points, a fitted curve (m, d) at (m,) as lines, one panel for each component."""
    d = min(measured.shape[1], len(COLOURS))
    fig, axes = plt.subplots(d, 1, sharex=True, figsize=(7.2, max(1.9 * d, 2.6)), layout="constrained", squeeze=False)
    for i, axis in enumerate(axes[:, 0]):
        axis.plot(curve_times, curve[:, i], color=COLOURS[i], lw=1.4, label="fitted")
        axis.plot(times, measured[:, i], "o", ms=3.5, color="0.25", label="measured")
        axis.set_ylabel(f"y[{i}]")
        axis.grid(alpha=0.25)
    axes[0, 0].legend(ncols=2, fontsize=8, frameon=False)
    positive = times[times > 0]
    if len(positive) > 2 and times.min() >= 0 and np.median(positive) < 1e-2 * positive.max():
        axes[-1, 0].set_xscale("log")
    axes[-1, 0].set_xlabel("time t")
    if title:
        fig.suptitle(title)
    return fig
