"""The section of `odebridge bench depth`: accuracy by the network's own steps and by adaptive ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from odebridge.bench import inference, words
from odebridge.bench.depth import Trained, name
from odebridge.bench.findings import of_part
from odebridge.bench.grouped import said
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, of, table_of
from odebridge.bench.record import canonical
from odebridge.bench.svg import MARKERS, SERIES, panel

TITLE = "Networks of continuous depth by another solver"
OF = ("depth_weights", "steps")
BySchemes = dict[Trained, dict[int, Row]]


def schemes(rows: Sequence[Row]) -> list[tuple[dict[str, Any], BySchemes]]:
    """By what was the same in them: the good rows of every scheme and seed."""
    found: dict[str, tuple[dict[str, Any], BySchemes]] = {}
    for row in of_part(rows, "depth"):
        if row["status"] != "ok":
            continue
        c = row["configuration"]
        about = {k: v for k, v in c.items() if k not in OF}
        _, by = found.setdefault(canonical(about), (about, {}))
        by.setdefault(Trained(c["depth_weights"], c["steps"]), {})[row["seed"]] = row
    return list(found.values())


def lost(rows: dict[int, Row]) -> inference.Interval:
    """Points lost by adaptive steps, over the seeds."""
    return inference.interval([r["values"]["lost"] for r in rows.values()])


def sentences(rows: Sequence[Row]) -> list[str]:
    """What each scheme loses, and what the adaptive steps cost."""
    out = []
    for about, by in schemes(rows):
        out.append(f"{said(about)}; {max(map(len, by.values()))} seeds; trained by Euler steps, tested by {about['method']}.")
        every = {name(s): lost(mine) for s, mine in by.items()}
        told = [f"{scheme} {words.between(v.mean, v.low, v.high, 1)}" for scheme, v in every.items()]
        out.append(f"Points of accuracy lost with adaptive steps at rtol {about['rtol']:g}: {'; '.join(told)}.")
        cost = [f"{name(s)} {fmean(sum(r['values']['f_evals']) for r in mine.values()):.0f}" for s, mine in by.items()]
        out.append(f"Evaluations of a block an image, all stages together: {'; '.join(cost)}.")
    return out


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """The section of the report."""
    columns: dict[str, Callable[[Row], Cell]] = {
        "trained with": lambda r: cell(
            name(Trained(r["configuration"]["depth_weights"], r["configuration"]["steps"])), str
        ),
        "seed": lambda r: cell(r["seed"], str),
        "data": of("configuration", "data", str),
        "own steps": of("values", "own", lambda v: f"{100 * v:.1f} %"),
        "adaptive steps": of("values", "adaptive", lambda v: f"{100 * v:.1f} %"),
        "evaluations, by stage": of("values", "f_evals", lambda v: ", ".join(f"{n:.0f}" for n in v)),
        "training": of("values", "train_seconds", words.seconds),
    }  # fmt: skip
    table = table_of("All networks", columns, of_part(every, "depth"), merged, named=2)
    drawn = [_picture(i, by) for i, (_, by) in enumerate(schemes(rows))]
    return Section("depth", TITLE, {}, sentences(rows), figures_of(depth=drawn), [table])


def _picture(number: int, by: BySchemes) -> str:
    """Points lost, a mark for every seed."""
    described = "Points of accuracy that a network loses by adaptive steps, by how it was trained; every seed as a mark."
    with panel(f"depth-{number}", "Lost by another solver", described) as drawn:
        for i, mine in enumerate(by.values()):
            points = [r["values"]["lost"] for r in mine.values()]
            drawn.axes.plot([i] * len(points), points, ls="", marker=MARKERS[i % 5], color=SERIES[i % len(SERIES)])
        drawn.axes.axhline(0.0, color="0.6", lw=0.8)
        drawn.axes.set_xticks(range(len(by)), [name(s).replace(", ", "\n") for s in by], fontsize=7)
        drawn.axes.set(ylabel="points lost", xlim=(-0.5, len(by) - 0.5))
    return drawn.svg
