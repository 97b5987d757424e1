"""The section of `odebridge bench tickets`: does it matter which blocks keep their attention?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from odebridge.bench import inference, words
from odebridge.bench.findings import of_part
from odebridge.bench.grouped import said
from odebridge.bench.inference import Difference
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, of, table_of
from odebridge.bench.record import canonical
from odebridge.bench.svg import INK, MARKERS, SERIES, panel
from odebridge.bench.tickets import CHOICES

TITLE = "Which blocks need attention?"
Chosen = dict[tuple[str, float], dict[int, float]]  # choice and ratio -> seed -> accuracy in per cent
OF = ("choice", "ratio", "controller")


def tickets(rows: Sequence[Row]) -> list[tuple[dict[str, Any], Chosen]]:
    """By what was the same in them: accuracies of every choice."""
    found: dict[str, tuple[dict[str, Any], Chosen]] = {}
    for row in of_part(rows, "tickets"):
        if row["status"] != "ok":
            continue
        c = row["configuration"]
        about = {k: v for k, v in c.items() if k not in OF}
        _, by = found.setdefault(canonical(about), (about, {}))
        by.setdefault((c["choice"], c["ratio"]), {})[row["seed"]] = 100 * row["values"]["accuracy"]
    return list(found.values())


def against(by: Chosen, choice: str, other: str) -> Difference | None:
    """The one choice minus the other: for every seed the mean over the ratios that both have, then paired over the seeds."""
    ratios = [r for c, r in by if c == choice and (other, r) in by]
    pairs = {
        seed: [(by[choice, r][seed], by[other, r][seed]) for r in ratios if seed in by[choice, r] and seed in by[other, r]]
        for seed in sorted({s for some in by.values() for s in some})
    }
    mine, theirs = ([fmean(pair[i] for pair in some) for some in pairs.values() if some] for i in (0, 1))
    return inference.paired(mine, theirs) if mine else None


def beside(by: Chosen, key: tuple[str, float], other: tuple[str, float]) -> Difference | None:
    """One kind of network minus another, paired over the seeds that both have."""
    seeds = sorted(by.get(key, {}).keys() & by.get(other, {}).keys())
    return inference.paired([by[key][s] for s in seeds], [by[other][s] for s in seeds]) if seeds else None


def sentences(rows: Sequence[Row]) -> list[str]:
    """Top against bottom and random; the best ratio against all."""
    out = []
    for about, by in tickets(rows):
        out.append(f"{said(about)}; {max(map(len, by.values()))} seeds.")
        pairs = [(name, d) for other, name in (("bottom", "lowest"), ("random", "random")) if (d := against(by, "top", other))]
        if pairs:
            told = [f"the {name} blocks {words.between(d.mean, d.low, d.high)}" for name, d in pairs]
            out.append(
                "SE kept in the blocks of highest NSI, points over SE kept in as many others, over all shares: "
                f"{'; '.join(told)} (paired over seeds, 95 % intervals)."
            )
        full = beside(by, ("all", 1.0), ("none", 0.0))
        if full:
            out.append(f"SE everywhere minus no attention: {words.between(full.mean, full.low, full.high)} points.")
        parts = [(c, r, d) for c, r in by if c == "top" and (d := beside(by, (c, r), ("all", 1.0)))]
        if parts:
            told = [f"{100 * r:.0f} % {words.between(d.mean, d.low, d.high)}" for _, r, d in parts]
            out.append(f"The highest blocks alone, minus SE everywhere: {'; '.join(told)}.")
    return out


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """The section of the report."""
    columns: dict[str, Callable[[Row], Cell]] = {
        "attention": of("configuration", "choice", str),
        "share of the blocks": of("configuration", "ratio", words.number),
        "seed": lambda r: cell(r["seed"], str),
        "data": of("configuration", "data", str),
        "blocks kept": of("values", "kept", lambda v: ", ".join(map(str, v)) or "none"),
        "test accuracy": of("values", "accuracy", lambda v: f"{100 * v:.2f} %"),
        "parameters": of("values", "parameters", words.number),
        "training": of("values", "train_seconds", words.seconds),
    }
    table = table_of("All networks", columns, of_part(every, "tickets"), merged, named=3)
    drawn = [_picture(i, by) for i, (_, by) in enumerate(tickets(rows))]
    return Section("tickets", TITLE, {}, sentences(rows), figures_of(tickets=drawn), [table])


def _picture(number: int, by: Chosen) -> str:
    described = "Test accuracy against the share of the blocks that keep SE, by how they were chosen; every seed as a mark."
    with panel(f"tickets-{number}", "Attention in a share of the blocks", described) as drawn:
        axes = drawn.axes
        for key, style in ((("none", 0.0), ":"), (("all", 1.0), "--")):
            if key in by:
                axes.axhline(fmean(by[key].values()), color=INK, ls=style, lw=1.5, label=key[0])
        for i, choice in enumerate(CHOICES):
            ratios = sorted(r for c, r in by if c == choice)
            if not ratios:
                continue
            aside = 0.015 * (i - 1)
            for r in ratios:
                some = list(by[choice, r].values())
                axes.plot([r + aside] * len(some), some, ls="", marker=MARKERS[i], color=SERIES[i], alpha=0.45, ms=3.5)
            means = [fmean(by[choice, r].values()) for r in ratios]
            axes.plot([r + aside for r in ratios], means, marker=MARKERS[i], color=SERIES[i], label=choice)
        axes.set(xlim=(0.0, 1.0), xlabel="share of the blocks with SE", ylabel="test accuracy, per cent")
        axes.legend(fontsize=7)
    return drawn.svg
