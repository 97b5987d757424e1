"""The pictures of the quick suite: rows in, inline SVG out. A picture without data is None."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from odebridge.bench import words
from odebridge.bench.findings import GOOD, of_part
from odebridge.bench.svg import GRID, INK, MARKERS, SERIES, panel

Rows = Sequence[dict[str, Any]]
METHODS = ("rodas5p", "scipy:Radau", "scipy:LSODA", "dopri5")
SOLVER_CURVES = ("Euler", "Heun", "Tsit5", "Tsit5, adaptive", "Rosenbrock23")
NETWORK_STYLE = (("#7f7f7f", "*"), (SERIES[5], "X"), (INK, "p"))
CEILING = 1e2  # errors above are drawn at this height: they are wrong, and how wrong does not matter


def work_precision(rows: Rows, problem: str, cost: str) -> str | None:
    """Largest relative error at the end against time or f evaluations, one curve per method, one point per tolerance."""
    mine = [
        r
        for r in of_part(rows, "solvers")
        if r["configuration"]["problem"] == problem and r["status"] == "ok" and "lanes" not in r["configuration"]
    ]
    if not mine:
        return None
    label = {"time": "time of one solve, seconds", "f_evals": "evaluations of f"}[cost]
    title = words.problem(problem)
    methods = words.listed(sorted({words.method(r["configuration"]["method"]) for r in mine}))
    described = f"{title}: relative error against {label}, log-log, for {methods}."
    with panel(f"wp-{problem}-{cost}", title, described) as drawn:
        for i, method in enumerate(METHODS):
            points = sorted(
                (r["configuration"]["rtol"], r["values"]["relative"], r["values"][cost])
                for r in mine
                if r["configuration"]["method"] == method
            )
            if points:
                _, errors, costs = zip(*points, strict=True)
                drawn.axes.plot(errors, costs, color=SERIES[i], marker=MARKERS[i], label=words.method(method))
        drawn.axes.set(xscale="log", yscale="log", xlabel="largest relative error at the end", ylabel=label)
        drawn.axes.legend()
    return drawn.svg


def accuracy(rows: Rows) -> str | None:
    """Test accuracy of every seed, and the mean."""
    by = _by_controller(of_part(rows, "networks"))
    if not by:
        return None
    with panel("accuracy", "Digits: test accuracy", "Test accuracy of every seed and the mean, by kind of step size.") as drawn:
        for i, (controller, runs) in enumerate(by.items()):
            values = [100 * r["values"]["accuracy"] for r in runs]
            where, colour = list(words.CONTROLLERS).index(controller), SERIES[i]
            drawn.axes.plot([where] * len(values), values, ls="", marker=MARKERS[i], color=colour, alpha=0.75)
            drawn.axes.hlines(statistics.fmean(values), where - 0.25, where + 0.25, color=colour)
        names = [words.CONTROLLERS[c].replace(" ", "\n", 1) for c in by]
        drawn.axes.set_xticks([list(words.CONTROLLERS).index(c) for c in by], names)
        drawn.axes.set(ylabel="test accuracy, per cent", xlim=(-0.5, len(words.CONTROLLERS) - 0.5))
    return drawn.svg


def nsi(rows: Rows) -> str | None:
    """NSI per block: the median over images, averaged over seeds; the band spans the 10th to 90th percentile of the images."""
    label = r"NSI  $|x_{k+1} - x_k|\;/\;|x_k|$"
    return _over_blocks(rows, "nsi", "Activity over depth", label, ("nsi_median", "nsi_p10", "nsi_p90"))


def steps(rows: Rows) -> str | None:
    """Step sizes per block: the mean; the band spans the 10th to 90th percentile of channels and images."""
    return _over_blocks(rows, "steps", "Step sizes taken", "step size h", ("step_mean", "step_p10", "step_p90"))


def flow(rows: Rows, cost: str, error: str) -> str | None:
    """Error on held-out initial values against evaluations or time: solvers as curves, every network seed as a point."""
    mine = [r for r in of_part(rows, "flowmap") if r["values"].get(cost) is not None]
    solver = [r for r in mine if r["configuration"]["what"] == "solver"]
    nets = _by_controller([r for r in mine if r["configuration"]["what"] == "network"])
    if not solver and not nets:
        return None
    which = {"median": "median", "p90": "90th percentile"}[error]
    label = {"evaluations": "evaluations of f, or blocks", "time": "time for all held-out states, seconds"}[cost]
    described = f"{which} error of the flow map against {label}, log-log, for solvers and networks."
    with panel(f"flow-{cost}-{error}", f"Flow map: {which} error", described) as drawn:
        axes = drawn.axes
        curves = _solver_curves(solver, cost, error)
        for i, name in enumerate(SOLVER_CURVES):  # the same colour on every picture
            points = curves.get(name, [])
            if not points:
                continue
            style = {"color": SERIES[i], "marker": MARKERS[i], "ls": ""}
            _draw(axes, [(x, min(y, CEILING)) for x, y in points], color=SERIES[i], alpha=0.5)
            _draw(axes, [(x, y) for x, y in points if y < CEILING], label=name, **style)
            _draw(axes, [(x, CEILING) for x, y in points if y >= CEILING], mfc="none", **style)
        for i, (controller, runs) in enumerate(nets.items()):
            aside = 1.07 ** (i - 1) if cost == "evaluations" else 1.0  # marks of equal depth side by side
            points = [(aside * r["values"][cost], r["values"][error]) for r in runs if r["values"].get(error) is not None]
            colour, shape = NETWORK_STYLE[i % len(NETWORK_STYLE)]
            name = f"network, {words.CONTROLLERS[controller]}"
            _draw(axes, points, color=colour, marker=shape, ls="", ms=6, alpha=0.85, mew=0, label=name)
        axes.set(xscale="log", yscale="log", ylim=(None, 2 * CEILING))
        axes.set(xlabel=label, ylabel="error / standard deviation of x(T)")
        if cost == "evaluations":
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.axhline(CEILING, color=GRID, lw=0.8, ls="--")
        axes.legend(fontsize=7, loc="lower left")
    return drawn.svg


def training(rows: Rows) -> str | None:
    """Test accuracy after every epoch, a curve for each run."""
    mine = [r for r in of_part(rows, "train") if r["values"].get("accuracy")]
    if not mine:
        return None
    with panel("training", "Training", "Test accuracy over epochs, one curve for each run.") as drawn:
        for i, r in enumerate(mine):
            c, values = r["configuration"], [100 * v for v in r["values"]["accuracy"]]
            name = f"{c['data']}, {words.CONTROLLERS.get(c['controller'], c['controller'])}, seed {r['seed']}"
            style = {"color": SERIES[i % len(SERIES)], "marker": MARKERS[i % len(MARKERS)]}
            _draw(drawn.axes, list(zip(range(1, len(values) + 1), values, strict=True)), label=name, **style)
        drawn.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn.axes.set(xlabel="epoch", ylabel="test accuracy, per cent")
        drawn.axes.legend()
    return drawn.svg


def _solver_curves(rows: Rows, cost: str, error: str) -> dict[str, list[tuple[float, float]]]:
    """Points (cost, error) of every method in the order of their work, the adaptive one apart.

    An error without a value is infinite. Against time, runs that are off the scale are left out: overflowing numbers are
    slow, and say nothing about time.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for r in sorted(rows, key=lambda r: r["values"]["evaluations"]):
        name = words.method(r["configuration"]["method"]) + (", adaptive" if "rtol" in r["configuration"] else "")
        value = r["values"].get(error)
        known = math.inf if value is None else value
        if cost == "evaluations" or known < CEILING:
            curves.setdefault(name, []).append((r["values"][cost], known))
    return curves


def _over_blocks(rows: Rows, name: str, title: str, label: str, keys: tuple[str, str, str]) -> str | None:
    by = _by_controller(of_part(rows, "networks"))
    if not by:
        return None
    described = f"{title}: one curve for each kind of step size, over the residual blocks."
    with panel(name, title, described) as drawn:
        for i, (controller, runs) in enumerate(by.items()):
            middle, low, high = ([_mean(column) for column in zip(*(r["values"][k] for r in runs), strict=True)] for k in keys)
            where = range(1, len(middle) + 1)
            drawn.axes.plot(where, middle, color=SERIES[i], marker=MARKERS[i], label=words.CONTROLLERS[controller])
            drawn.axes.fill_between(where, low, high, color=SERIES[i], alpha=0.12, lw=0)
        drawn.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn.axes.set(xlabel="residual block", ylabel=label, ylim=(0, None))
        drawn.axes.legend()
    return drawn.svg


def _by_controller(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Finished rows by controller, in the order of the names."""
    good = [r for r in rows if r["status"] in GOOD and r["configuration"].get("controller") in words.CONTROLLERS]
    return {c: mine for c in words.CONTROLLERS if (mine := [r for r in good if r["configuration"]["controller"] == c])}


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return statistics.fmean(known) if known else math.nan


def _draw(axes: Axes, points: Sequence[tuple[float, float]], **style: Any) -> None:
    axes.plot([x for x, _ in points], [y for _, y in points], **style)
