"""The section of `odebridge bench attention`: the table of paired differences, what it says, its pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from odebridge.bench import inference, words
from odebridge.bench.findings import of_part
from odebridge.bench.grouped import ByGate, groups, points, said, shared, values
from odebridge.bench.inference import Difference, Interval
from odebridge.bench.page import Cell, Row, Section, Table, cell, figures_of, of, table_of, two, word
from odebridge.bench.svg import GRID, MARKERS, SERIES, panel

TITLE = "Attention as step size: paired seeds"
MARGIN = 0.5  # points; half of the gain that the paper's group reports for SE on CIFAR-100
LEVEL = 0.05
PLAIN, CONTROL = "fixed", "constant"


@dataclass(frozen=True)
class Compared:
    """One kind of step. to_plain, to_constant: paired differences in points; holm_*: corrected p; equal: p of equivalence."""

    controller: str
    accuracy: Interval
    parameters: int
    seconds: float
    tns: Interval | None
    to_plain: Difference | None
    holm_plain: float
    to_constant: Difference | None
    holm_constant: float
    equal: float
    shares: dict[str, float] | None


def compared(by: ByGate) -> list[Compared]:
    """Every gate against a step of 1 and against the learned constant, pair by pair of seeds.

    Two families for Holm's correction: all gates against a step of 1, and all but that against the constant.
    """

    def against(controller: str, other: str) -> Difference | None:
        if controller == other or other not in by:
            return None
        seeds = shared(by[controller], by[other])
        return inference.paired(points(by[controller], seeds), points(by[other], seeds)) if seeds else None

    plain = {c: against(c, PLAIN) for c in by}
    constant = {c: against(c, CONTROL) if c != PLAIN else None for c in by}
    return [
        Compared(
            c, inference.interval(points(rows)), next(iter(rows.values()))["values"]["parameters"],
            fmean(values(rows, "train_seconds")), inference.interval(found) if (found := values(rows, "tns")) else None,
            plain[c], _corrected(plain)[c], constant[c], _corrected(constant)[c], _equal(by, c), _shares(list(rows.values())),
        )
        for c, rows in by.items()
    ]  # fmt: skip


def _corrected(family: dict[str, Difference | None]) -> dict[str, float]:
    return dict(zip(family, inference.holm([math.nan if d is None else d.p for d in family.values()]), strict=True))


def _equal(by: ByGate, controller: str) -> float:
    if controller in (PLAIN, CONTROL) or CONTROL not in by:
        return math.nan
    seeds = shared(by[controller], by[CONTROL])
    return inference.equivalent(points(by[controller], seeds), points(by[CONTROL], seeds), MARGIN) if seeds else math.nan


def _shares(rows: Sequence[Row]) -> dict[str, float] | None:
    found = [r["values"]["variance"] for r in rows if r["values"].get("variance")]
    return {k: fmean(v[k] for v in found) for k in ("samples", "channels", "blocks")} if found else None


def sentences(rows: Sequence[Row]) -> list[str]:
    """What the differences say, group by group."""
    out = []
    for about, by in groups(rows, "attention"):
        table = compared(by)
        out.append(f"{said(about)}; {_counted(by)}; the backbone of a seed begins alike for all, and sees the images alike.")
        ahead = [c for c in table if c.to_plain and c.holm_plain < LEVEL and c.to_plain.mean > 0]
        behind = [c for c in table if c.to_plain and c.holm_plain < LEVEL and c.to_plain.mean < 0]
        if PLAIN in by and len(by) > 1:
            out += _verdicts("better than a step of 1", ahead, lambda c: c.to_plain)
            out += _verdicts("worse than a step of 1", behind, lambda c: c.to_plain)
            if not ahead and not behind:
                out.append("No gate differs from a step of 1 at 5 %, corrected by Holm.")
        out += _beside_constant(table)
        out += _looked(table)
    return out


def _counted(by: ByGate) -> str:
    counts = sorted({len(rows) for rows in by.values()})
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def _verdicts(what: str, some: Sequence[Compared], difference: Callable[[Compared], Difference | None]) -> list[str]:
    if not some:
        return []
    told = [f"{words.GATES.get(c.controller, c.controller)} {_told(difference(c))}" for c in some]
    return [f"Points {what}, with 95 % intervals, p below 0.05 after Holm's correction: {'; '.join(told)}."]


def _told(d: Difference | None) -> str:
    return words.DASH if d is None else words.between(d.mean, d.low, d.high)


def _beside_constant(table: Sequence[Compared]) -> list[str]:
    looking = [c for c in table if c.to_constant is not None and c.to_constant.n > 1]
    if not looking:
        return []
    name = {c.controller: words.GATES.get(c.controller, c.controller) for c in looking}
    apart = [name[c.controller] for c in looking if c.holm_constant < LEVEL]
    same = [name[c.controller] for c in looking if c.equal < LEVEL]
    return [
        f"Against the learned constant, which sees no input, {words.listed(apart) if apart else 'no gate'} "
        f"differ{'s' if len(apart) < 2 else ''} (p below 0.05 after Holm's correction); equal to it within {MARGIN:g} points "
        f"(two one-sided tests at 5 %): {words.listed(same) if same else 'none that could be shown'}."
    ]


def _looked(table: Sequence[Compared]) -> list[str]:
    told = [
        f"{words.GATES.get(c.controller, c.controller)} {' / '.join(f'{share:.2f}' for share in c.shares.values())}"
        for c in table
        if c.shares
    ]
    return [f"Variance of the step sizes between samples / channels / blocks: {'; '.join(told)}."] if told else []


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """The section of the report."""
    found = groups(rows, "attention")
    tables = [_summary(about, by) for about, by in found]
    columns: dict[str, Callable[[Row], Cell]] = {
        "steps": of("configuration", "controller", lambda c: str(words.GATES.get(c, c))),
        "seed": lambda r: cell(r["seed"], str),
        "data": of("configuration", "data", str),
        "test accuracy": of("values", "accuracy", lambda v: f"{100 * v:.2f} %"),
        "TNS": of("values", "tns", words.number),
        "parameters": of("values", "parameters", words.number),
        "training": of("values", "train_seconds", words.seconds),
    }
    tables.append(table_of("All networks", columns, of_part(every, "attention"), merged))
    drawn = [_picture(i, by, other) for i, (_, by) in enumerate(found) for other in (PLAIN, CONTROL)]
    about = {"margin": MARGIN}
    return Section("attention", TITLE, about, sentences(rows), figures_of(attention=drawn), tables)


def _summary(about: dict[str, Any], by: ByGate) -> Table:
    def line(c: Compared) -> tuple[Cell, ...]:
        return (
            word(words.GATES.get(c.controller, c.controller)),
            cell(c.accuracy.n, str),
            cell(c.accuracy.mean, lambda v: f"{v:.2f}"),
            cell(inference.known(c.accuracy.sd), lambda v: f"{v:.2f}"),
            cell(c.parameters, words.number),
            cell(c.seconds, words.seconds),
            cell(c.tns and c.tns.mean, words.number),
            cell(c.to_plain and c.to_plain.mean, lambda _: _told(c.to_plain)),
            cell(inference.known(c.holm_plain), two),
            cell(c.to_constant and c.to_constant.mean, lambda _: _told(c.to_constant)),
            cell(inference.known(c.holm_constant), two),
            cell(inference.known(c.equal), two),
            *(cell(c.shares and c.shares[k], lambda v: f"{v:.2f}") for k in ("samples", "channels", "blocks")),
        )

    headings = (
        "steps", "n", "accuracy, %", "sd", "parameters", "training", "TNS", "minus step 1", "p (Holm)", "minus constant",
        "p (Holm) ", f"p of a difference of {MARGIN:g} or more", "of samples", "of channels", "of blocks",
    )  # fmt: skip
    return Table(f"Paired differences, {said(about)}", headings, tuple((line(c), "ok") for c in compared(by)), ())


def _picture(number: int, by: ByGate, other: str) -> str | None:
    table = [(c, c.to_plain if other == PLAIN else c.to_constant) for c in compared(by)]
    known = [(c, d) for c, d in table if d is not None]
    if not known:
        return None
    name = words.GATES[other]
    described = f"Paired difference of test accuracy to {name} in points, with 95 % intervals, for every kind of step."
    with panel(f"attention-{number}-{other}", f"Accuracy minus that of {name}", described) as drawn:
        axes = drawn.axes
        axes.axvline(0.0, color=GRID, lw=1.2)
        if other == CONTROL:
            axes.axvspan(-MARGIN, MARGIN, color=GRID, alpha=0.35, lw=0)
        for i, (_, d) in enumerate(known):
            colour = SERIES[i % len(SERIES)]
            if math.isfinite(d.low):
                axes.hlines(i, d.low, d.high, color=colour)
            axes.plot([d.mean], [i], marker=MARKERS[i % len(MARKERS)], color=colour, ls="")
        axes.set_yticks(range(len(known)), [words.GATES.get(c.controller, c.controller).replace(" (", "\n(") for c, _ in known])
        axes.invert_yaxis()
        axes.set(xlabel="points")
    return drawn.svg
