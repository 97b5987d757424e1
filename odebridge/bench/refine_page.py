"""The section of `odebridge bench refine`: points lost under finer steps, and what NSI goes with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from matplotlib.ticker import MaxNLocator

from odebridge.bench import inference, words
from odebridge.bench.findings import of_part
from odebridge.bench.grouped import ByGate, groups, said, values
from odebridge.bench.inference import Interval
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, of, table_of
from odebridge.bench.refinement import SUBSTEPS, UNTRAINED, stages
from odebridge.bench.svg import INK, MARKERS, SERIES, panel

TITLE = "The same weights, finer steps"
PLAIN = "fixed"


def lost(by: ByGate) -> dict[str, dict[int, Interval]]:
    """Points lost with so many substeps, mean over the seeds, by kind of step."""
    out: dict[str, dict[int, Interval]] = {}
    for controller, rows in by.items():
        columns = list(zip(*values(rows, "lost"), strict=True))
        if columns:
            out[controller] = {k: inference.interval(column) for k, column in zip(SUBSTEPS, columns, strict=True)}
    return out


def correlation(by: ByGate, key: str) -> Interval | None:
    """A rank correlation over all trained networks of the group, plain and gated."""
    found = [v for controller, rows in by.items() if controller != UNTRAINED for v in values(rows, key)]
    return inference.interval(found) if found else None


def error_ranks_loss(by: ByGate) -> tuple[float, float, int]:
    """Rank correlation over the networks of the points lost at most substeps with the summed local error, and with TNS."""
    rows = [r["values"] for c, mine in by.items() if c != UNTRAINED for r in mine.values()]
    ends = [r["lost"][-1] for r in rows]
    return (
        inference.rank([r["summed_error"] for r in rows], ends),
        inference.rank([r["tns"] for r in rows], ends),
        len(rows),
    )


def sentences(rows: Sequence[Row]) -> list[str]:
    """Losses, correlations, the null model."""
    out = []
    for about, by in groups(rows, "refine"):
        out.append(f"{said(about)}; {max(map(len, by.values()))} seeds.")
        ends = {c: some[SUBSTEPS[-1]] for c, some in lost(by).items()}
        if ends:
            told = [f"{words.GATES.get(c, c)} {words.between(v.mean, v.low, v.high, 1)}" for c, v in ends.items()]
            out.append(f"Points of accuracy lost when every block takes {SUBSTEPS[-1]} Euler substeps: {'; '.join(told)}.")
        out += _correlations(by) + _null(by)
    return out


def _correlations(by: ByGate) -> list[str]:
    across, inside = correlation(by, "error_blocks"), correlation(by, "error_samples")
    if across is None or inside is None:
        return []
    by_error, by_tns, n = error_ranks_loss(by)
    more = (
        f" Over {n} networks the loss goes with the summed local error by {words.signed(by_error)}, "
        f"with TNS by {words.signed(by_tns)}."
    )
    return [
        "Rank correlation of NSI with the local error of the Euler step: across blocks "
        f"{words.between(across.mean, across.low, across.high)}, across the samples in a block "
        f"{words.between(inside.mean, inside.low, inside.high)} (mean and 95 % interval over {across.n} networks)."
        + (more if n > 2 else "")
    ]


def _null(by: ByGate) -> list[str]:
    """The law that equal increments give without any training."""
    told = []
    for controller in (UNTRAINED, PLAIN):
        found = values(by.get(controller, {}), "exponent")
        if found:
            v = inference.interval(found)
            told.append(f"{words.GATES[controller]}: {words.between(v.mean, v.low, v.high)}")
    if not told:
        return []
    return [
        f"NSI falls within a stage as (number of the block)^p, where equal increments alone give p = -0.5; {'; '.join(told)}."
    ]


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """The section of the report."""
    found = groups(rows, "refine")
    columns: dict[str, Callable[[Row], Cell]] = {
        "steps": of("configuration", "controller", lambda c: str(words.GATES.get(c, c))),
        "seed": lambda r: cell(r["seed"], str),
        "data": of("configuration", "data", str),
        **{f"accuracy, {k} substeps": _refined(i) for i, k in enumerate(SUBSTEPS)},
        "TNS": of("values", "tns", words.number),
        "NSI with local error, blocks": of("values", "error_blocks", words.signed),
        "samples": of("values", "error_samples", words.signed),
        "exponent": of("values", "exponent", words.signed),
    }
    table = table_of("All networks", columns, of_part(every, "refine"), merged)
    refined = [curves(i, by) for i, (_, by) in enumerate(found)]
    nsi = [envelopes(i, by) for i, (_, by) in enumerate(found)]
    return Section("refine", TITLE, {}, sentences(rows), figures_of(refine=refined, envelopes=nsi), [table])


def _refined(i: int) -> Callable[[Row], Cell]:
    def show(row: Row) -> Cell:
        some = row["values"].get("refined")
        return cell(some[i] if some else None, lambda v: f"{100 * v:.1f} %")

    return show


def curves(number: int, by: ByGate) -> str | None:
    """Accuracy against the number of substeps, a thin line for every seed and a thick one for their mean."""
    trained = {c: values(rows, "refined") for c, rows in by.items()}
    trained = {c: some for c, some in trained.items() if some}
    if not trained:
        return None
    described = "Test accuracy against the number of Euler substeps a block takes, for every kind of step."
    with panel(f"refine-{number}", "Accuracy under finer steps", described) as drawn:
        for i, (controller, some) in enumerate(trained.items()):
            style: dict[str, Any] = {"color": SERIES[i % len(SERIES)]}
            for one in some:
                drawn.axes.plot(SUBSTEPS, [100 * v for v in one], lw=0.6, alpha=0.5, **style)
            mean = [100 * fmean(column) for column in zip(*some, strict=True)]
            name = words.GATES.get(controller, controller)
            drawn.axes.plot(SUBSTEPS, mean, marker=MARKERS[i % len(MARKERS)], label=name, **style)
        drawn.axes.set_xscale("log", base=2)
        drawn.axes.set_xticks(SUBSTEPS, [str(k) for k in SUBSTEPS])
        drawn.axes.set(xlabel="Euler substeps of a block", ylabel="test accuracy, per cent")
        drawn.axes.legend(fontsize=7)
    return drawn.svg


def envelopes(number: int, by: ByGate, shown: Sequence[str] = (PLAIN, "se")) -> str | None:
    """NSI of every block: the mean, and dashed the smallest and largest sample, each averaged over the seeds."""
    mine = {c: list(by[c].values()) for c in (UNTRAINED, *shown) if c in by}
    if not mine:
        return None
    described = "NSI over the residual blocks: mean over samples, and dashed lines for the smallest and the largest sample."
    with panel(f"envelope-{number}", "NSI per block", described) as drawn:
        for i, (controller, rows) in enumerate(mine.items()):
            colour = SERIES[i % len(SERIES)]
            middle, low, high = (_over(rows, k) for k in ("nsi", "nsi_low", "nsi_high"))
            # Every stage is a curve of its own, as in the paper's figure: between them the space changes.
            for first, last in stages(rows[0]["values"]["blocks"]):
                at, part = range(first + 1, last + 1), slice(first, last)
                name = words.GATES.get(controller, controller) if first == 0 else None
                drawn.axes.plot(at, middle[part], color=colour, marker=MARKERS[i], label=name)
                if controller != UNTRAINED:
                    drawn.axes.plot(at, low[part], color=colour, ls="--", lw=0.9)
                    drawn.axes.plot(at, high[part], color=colour, ls="--", lw=0.9)
                if i == 0 and first:
                    drawn.axes.axvline(first + 0.5, color=INK, lw=0.8, ls=":")
        drawn.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawn.axes.set(xlabel="residual block", ylabel=r"NSI  $|x_{k+1} - x_k|\;/\;|x_k|$", ylim=(0, None))
        drawn.axes.legend(fontsize=7)
    return drawn.svg


def _over(rows: Sequence[Row], key: str) -> list[float]:
    return [fmean(column) for column in zip(*(r["values"][key] for r in rows), strict=True)]
