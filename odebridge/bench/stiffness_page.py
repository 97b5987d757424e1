"""The section of `odebridge bench stiffness`: the index beside the steps that solvers take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from odebridge.bench import inference, words
from odebridge.bench.findings import of_part
from odebridge.bench.inference import Interval
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, of, table_of, word
from odebridge.bench.stiffness import METHODS
from odebridge.bench.svg import GRID, MARKERS, SERIES, panel

TITLE = "What the stiffness index measures"
MEASURES = {"local_error": "local error", "radius": "spectral radius", "log_norm": "logarithmic norm"}
NAMES = {"van_der_pol": "van der Pol", "robertson": "Robertson", "orego": "Oregonator"}


def equations(rows: Sequence[Row], method: str) -> list[Row]:
    """Finished solves by a method."""
    mine = [r for r in of_part(rows, "stiffness") if r["status"] == "ok" and r["configuration"].get("what") == "equation"]
    return [r for r in mine if r["configuration"]["method"] == method]


def networks(rows: Sequence[Row]) -> list[Row]:
    """Finished networks."""
    return [r for r in of_part(rows, "stiffness") if r["status"] == "ok" and r["configuration"].get("what") == "network"]


def over_networks(rows: Sequence[Row], key: str) -> Interval | None:
    """Mean of a correlation over the seeds."""
    found = [v for r in networks(rows) if (v := r["values"].get(key)) is not None]
    return inference.interval(found) if found else None


def named(c: dict[str, Any]) -> str:
    """The equation in words, its own settings with it."""
    if c["what"] == "network":
        return f"network on {c['data']}, blocks"
    more = [f"µ = {v:g}" if k == "mu" else f"{k} = {v:g}" for k, v in c["settings"].items()]
    return ", ".join([str(NAMES.get(c["problem"], c["problem"])), *more])


def sentences(rows: Sequence[Row]) -> list[str]:
    """Which step sizes the index goes with, and which the spectral radius."""
    out = []
    for method, kind in METHODS.items():
        mine = equations(rows, method)
        index, radius = (_listed(mine, key) for key in ("index_and_1/h", "radius_and_1/h"))
        if mine:
            out.append(
                f"{kind.capitalize()} method ({words.method(method)}), rank correlation of 1/h with the index |x'|/|x|: "
                f"{index}; with the spectral radius: {radius}."
            )
    short = [r for r in equations(rows, "dopri5") if r["values"]["reached"] < 0.999]
    if short:
        told = [f"{named(r['configuration'])} {100 * r['values']['reached']:.2g} %" for r in short]
        out.append(f"The explicit method was stopped by its limit of tries; of the span it had covered: {'; '.join(told)}.")
    found = {name: over_networks(rows, f"nsi_and_{key}") for key, name in MEASURES.items()}
    if all(v is not None for v in found.values()):
        told = [f"the {name} {words.between(v.mean, v.low, v.high)}" for name, v in found.items() if v is not None]
        out.append(
            f"In a small residual network, over blocks and samples, NSI goes with {'; '.join(told)} "
            f"(mean, 95 % interval; seeds: {len(networks(rows))})."
        )
    return out


def _listed(rows: Sequence[Row], key: str) -> str:
    return "; ".join(f"{named(r['configuration'])} {words.signed(r['values'].get(key))}" for r in rows)


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """The section of the report."""
    columns: dict[str, Callable[[Row], Cell]] = {
        "what": lambda r: word(named(r["configuration"])),
        "method": lambda r: cell(r["configuration"].get("method"), words.method),
        "seed": lambda r: cell(r["seed"], str),
        "steps kept": of("values", "steps", words.number),
        "share of the span": of("values", "reached", words.number),
        "index with 1/h": of("values", "index_and_1/h", words.signed),
        "radius with 1/h": of("values", "radius_and_1/h", words.signed),
        "index with radius": of("values", "index_and_radius", words.signed),
        "mean index": of("values", "index_mean", words.number),
        "mean radius": of("values", "radius_mean", words.number),
        "NSI with local error": of("values", "nsi_and_local_error", words.signed),
        "NSI with radius": of("values", "nsi_and_radius", words.signed),
        "NSI with logarithmic norm": of("values", "nsi_and_log_norm", words.signed),
    }
    table = table_of("All solves and networks", columns, of_part(every, "stiffness"), merged)
    drawn = [_bars(rows, method) for method in METHODS]
    return Section("stiffness", TITLE, {}, sentences(rows), figures_of(stiffness=drawn), [table])


def _bars(rows: Sequence[Row], method: str) -> str | None:
    mine = equations(rows, method)
    if not mine:
        return None
    title = f"{words.method(method)}, {METHODS[method]}"
    described = f"Rank correlation of 1/h of {title} with the index and with the spectral radius, by equation."
    with panel(f"stiffness-{method}", f"What goes with 1/h of {title}", described) as drawn:
        axes = drawn.axes
        axes.axvline(0.0, color=GRID, lw=1.2)
        for i, (key, name) in enumerate((("index_and_1/h", "index |x'|/|x|"), ("radius_and_1/h", "spectral radius"))):
            points = [(r["values"][key], at) for at, r in enumerate(mine) if r["values"].get(key) is not None]
            axes.plot(*zip(*points, strict=True), ls="", marker=MARKERS[i], ms=7, color=SERIES[i], label=name)
        axes.set_yticks(range(len(mine)), [named(r["configuration"]).replace(", ", "\n") for r in mine])
        axes.set(xlim=(-1.05, 1.05), ylim=(len(mine) - 0.5, -1.2), xlabel="rank correlation with 1/h")
        axes.legend(fontsize=7, loc="upper left", ncols=2)
    return drawn.svg
