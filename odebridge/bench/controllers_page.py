"""The section of `odebridge bench controllers`: what a calibrated law saves, family by family."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from odebridge.bench import words
from odebridge.bench.findings import of_part
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, of, table_of
from odebridge.bench.svg import GRID, MARKERS, SERIES, panel
from odebridge.train.calibration.equal import interval

TITLE = "Calibrated step laws"
TUNED = "tuned on the family"


def finished(rows: Sequence[Row], method: str | None = None) -> list[Row]:
    """Rows with figures."""
    mine = [r for r in of_part(rows, "controllers") if r["status"] == "ok"]
    return mine if method is None else [r for r in mine if r["configuration"]["method"] == method]


def methods(rows: Sequence[Row]) -> list[str]:
    """Those that have rows, in order."""
    return list(dict.fromkeys(r["configuration"]["method"] for r in finished(rows)))


def over_families(rows: Sequence[Row], method: str, law: str) -> tuple[float, float, float, int]:
    """Geometric mean of the ratio over the families, its 95 % interval over them, and how many there are."""
    logs = np.array([math.log(v) for r in finished(rows, method) if (v := r["values"]["ratios"][law]["ratio"])])
    middle, low, high = (math.exp(v) for v in interval(logs))
    return middle, low, high, len(logs)


def in_time(row: Row, law: str = TUNED) -> float:
    """The ratio in processor time: of f evaluations, times what one of them costs with either law."""
    return row["values"]["ratios"][law]["ratio"] * row["values"]["time_per_f"]["ratio"]


def sentences(rows: Sequence[Row]) -> list[str]:
    """What it saves, and where it does not."""
    out = []
    for method in methods(rows):
        mine = finished(rows, method)
        middle, low, high, n = over_families(rows, method, TUNED)
        pi = over_families(rows, method, "pi42")[0]
        best = min(mine, key=lambda r: r["values"]["ratios"][TUNED]["ratio"])
        worst = max(mine, key=lambda r: r["values"]["ratios"][TUNED]["ratio"])
        ends = [f"{_named(r)} {words.number(r['values']['ratios'][TUNED]['ratio'], 2)}" for r in (best, worst)]
        out.append(
            f"{words.method(method)}: {_two(middle)} [{_two(low)}, {_two(high)}] times the f evaluations of the filter tuned "
            f"on the family at equal error (geometric mean over {n} families, 95 % interval over them), "
            f"{words.number(pi, 2)} times those of PI42; from {ends[0]} to {ends[1]}."
        )
        kept = [_named(r) for r in mine if r["values"]["report"]["kept"] != "learned"]
        if kept:
            out.append(f"{words.method(method)}: the classical law was kept for {', '.join(kept)}.")
        failed = sum(r["values"]["failed"] for r in mine)
        if failed:
            out.append(f"{words.method(method)}: of the solves of calibrated laws, {failed} failed.")
    return out


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """The section of the report."""
    columns: dict[str, Callable[[Row], Cell]] = {
        "family": of("configuration", "family", str),
        "method": of("configuration", "method", words.method),
        "kept": lambda r: cell(r["values"].get("report", {}).get("kept"), str),
        "f / tuned": lambda r: _ratio(r, TUNED),
        "interval": lambda r: _bounds(r, TUNED),
        "f / PI42": lambda r: _ratio(r, "pi42"),
        "f / predictive": lambda r: _ratio(r, "predictive"),
        "time / tuned": lambda r: cell(in_time(r) if "ratios" in r["values"] else None, _two),
        "rejected": lambda r: _share(r, "calibrated"),
        "rejected, tuned": lambda r: _share(r, TUNED),
        "failed": of("values", "failed", str),
        "calibration, s": lambda r: cell(r["values"].get("report", {}).get("seconds"), words.number),
    }
    mine = finished(rows)
    about = mine[0]["configuration"] if mine else {"instances": 0, "fresh": 0}
    table = table_of("All families", columns, of_part(every, "controllers"), merged)
    drawn = [_bars(rows, method) for method in methods(rows)]
    return Section("controllers", TITLE, about, sentences(rows), figures_of(controllers=drawn), [table])


def _named(r: Row) -> str:
    return str(r["configuration"]["family"]).replace("_", " ")


def _two(v: float) -> str:
    return words.number(v, 3)


def _ratio(r: Row, law: str) -> Cell:
    return cell(r["values"].get("ratios", {}).get(law, {}).get("ratio"), _two)


def _bounds(r: Row, law: str) -> Cell:
    found: dict[str, Any] = r["values"].get("ratios", {}).get(law, {})
    return cell(found.get("low"), lambda v: f"{words.number(v, 3)} to {words.number(found['high'], 3)}")


def _share(r: Row, law: str) -> Cell:
    return cell(r["values"].get("rejected", {}).get(law), lambda v: f"{100 * v:.1f} %")


def _bars(rows: Sequence[Row], method: str) -> str:
    mine = sorted(finished(rows, method), key=lambda r: r["values"]["ratios"][TUNED]["ratio"])
    title = words.method(method)
    with panel(
        f"controllers-{method}", f"{title}: work at equal error", f"Ratios of f evaluations by family, {title}."
    ) as drawn:
        axes = drawn.axes
        axes.axvline(1.0, color=GRID, lw=1.2)
        for at, r in enumerate(mine):
            v = r["values"]["ratios"][TUNED]
            axes.plot([v["low"], v["high"]], [at, at], color=SERIES[0], lw=1.5)
        axes.plot(
            [r["values"]["ratios"][TUNED]["ratio"] for r in mine], range(len(mine)), ls="", marker=MARKERS[0], color=SERIES[0]
        )
        axes.set_yticks(range(len(mine)), [_named(r) for r in mine])
        axes.set(ylim=(len(mine) - 0.5, -0.5), xlabel="f evaluations / those of the tuned filter")
    return drawn.svg
