"""The section of the report on `solver-vs-network`: pictures by family, and the table of everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from odebridge.bench import versus_findings, words
from odebridge.bench.findings import of_part
from odebridge.bench.flows import FLOWS
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, table_of, two, word
from odebridge.bench.svg import INK, SERIES, key_panel, panel
from odebridge.bench.versus_data import PART, Measured, curve_of, error_of, label_of, measured, middle, said

TITLE = "Solver against network: the flow map of seven families"
CEILING, FLOOR = 1e2, 1e-9
SOLVERS: dict[str, dict[str, Any]] = {
    "Euler, equal steps": {"color": "#7f7f7f", "ls": ":", "marker": "."},
    "Heun, equal steps": {"color": "#7f7f7f", "ls": "--", "marker": "."},
    "RK4, equal steps": {"color": "#7f7f7f", "ls": "-", "marker": "."},
    "Rosenbrock23, equal steps": {"color": SERIES[3], "ls": ":", "marker": "."},
    "Rodas5P, equal steps": {"color": SERIES[1], "ls": ":", "marker": "."},
    "Tsit5": {"color": SERIES[0], "marker": "o"},
    "Dopri8": {"color": SERIES[5], "marker": "s"},
    "Rosenbrock23": {"color": SERIES[3], "marker": "D"},
    "Rodas5P": {"color": SERIES[1], "marker": "^"},
    "Kvaerno5": {"color": SERIES[2], "marker": "v"},
    "BDF": {"color": SERIES[4], "marker": "P"},
    "Tsit5, compiled": {"color": SERIES[0], "marker": "o", "mfc": "none", "ls": "--"},
    "Rodas5P, compiled": {"color": SERIES[1], "marker": "^", "mfc": "none", "ls": "--"},
    "Tsit5, compiled, calibrated": {"color": SERIES[0], "marker": "d", "mfc": "none", "ls": ":"},
    "Rodas5P, compiled, calibrated": {"color": SERIES[1], "marker": "d", "mfc": "none", "ls": ":"},
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": ("network, step 1/K", {"marker": "x", "color": "#7f7f7f"}),
    "constant": ("network, learned constant", {"marker": "+", "color": INK, "ms": 8}),
    "se": ("network, SE", {"marker": "X", "color": SERIES[3]}),
    "stepnet": ("network, StepNet*", {"marker": "*", "color": SERIES[1], "ms": 8}),
    "tied": ("network, one block", {"marker": "1", "color": INK, "ms": 8}),
    "continuous": ("continuous depth", {"marker": "2", "color": INK, "ms": 8}),
    "node": ("neural ODE", {"marker": "p", "color": INK, "mfc": "none"}),
    "deeponet": ("DeepONet", {"marker": "h", "color": INK, "mfc": "none"}),
    "hypersolver": ("hypersolver", {"marker": "<", "color": SERIES[2], "mfc": "none"}),
    "neurvec": ("NeurVec", {"marker": ">", "color": SERIES[2], "mfc": "none"}),
    "f_constant": ("on f, learned constant", {"marker": "+", "color": SERIES[4], "ms": 8}),
    "f_se": ("on f, SE", {"marker": "X", "color": SERIES[4]}),
    "f_stepnet": ("on f, StepNet*", {"marker": "*", "color": SERIES[4], "ms": 8}),
}


def sentences(rows: Sequence[Row]) -> list[str]:
    """The findings."""
    return versus_findings.sentences(rows)


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """Two pictures for every family, against operations and against time."""
    found = measured(rows)
    figures = figures_of(
        versus_time=[*(_picture(m, "time") for m in found), _key(found, True)],
        versus_work=[*(_picture(m, "equivalents") for m in found), _key(found, False)],
    )
    about = next(iter(of_part(rows, PART)))["configuration"]
    mine = [r for r in of_part(every, PART) if r["configuration"]["what"] in ("solver", "network")]
    mine += [r for r in of_part(every, PART) if r not in mine and r["status"] not in ("ok", "failed", "shortened")]
    return Section("versus", TITLE, about, sentences(rows), figures, [_table(mine, found, merged)])


def equivalents(row: Row) -> float | None:
    """Operations of one state, counted in evaluations of f."""
    v = row["values"]
    return v["flops"] / v["flops_f"] if v.get("flops") and v.get("flops_f") else None


def _x(m: Measured, row: Row, cost: str) -> float | None:
    if cost == "equivalents":
        return equivalents(row)
    times = m.times.get(label_of(row))
    return 1e6 * sorted(times)[len(times) // 2] / m.states if times else None


def _picture(m: Measured, cost: str) -> str | None:
    """Median error on held-out states, a point for each setting; of a network the middle seed, and a bar over the seeds."""
    label = {"time": "time for one of many states, µs", "equivalents": "operations, in evaluations of f"}[cost]
    name = f"versus-{m.family}-{cost}"
    if not any(_x(m, row, cost) for row in (*m.solvers, *m.networks)):
        return None
    with panel(name, m.title, f"{m.title}: median error against {label}, log-log, for solvers and networks.") as drawn:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in m.solvers:
            x, y = _x(m, row, cost), error_of(row, "median")
            if x is not None and y < CEILING:
                curve, y = curve_of(row["configuration"]), max(y, FLOOR)
                lines.setdefault(curve, []).append((x, y))
                drawn.tip(x, y, f"{label_of(row)}: error {words.number(y, 2)}, {words.number(x, 3)}")
        for curve, points in lines.items():
            style = {"lw": 1.1, "ms": 4, **SOLVERS.get(curve, {"color": "#7f7f7f", "marker": "."})}
            drawn.axes.plot(*zip(*sorted(points), strict=True), **style)
        for row in m.networks:
            x, y = _x(m, row, cost), error_of(row, "median")
            if x is None or not y < CEILING:
                continue
            known = [v for v in row["values"]["median"] if v is not None]
            style = {"ls": "", "ms": 6, **NETWORKS.get(row["configuration"]["kind"], ("", {"marker": "x", "color": INK}))[1]}
            drawn.axes.plot([x, x], [min(known), max(known)], color=style["color"], lw=0.8, alpha=0.6)
            drawn.axes.plot([x], [y], **style)
            drawn.tip(x, y, f"{said(row)}: error {words.number(y, 2)} (middle of {len(known)} seeds), {words.number(x, 3)}")
        drawn.axes.set(xscale="log", yscale="log", xlabel=label, ylabel="median error / sd of the end state")
    return drawn.svg


def _key(found: Sequence[Measured], timed: bool) -> str:
    seen = {curve_of(r["configuration"]) for m in found for r in m.solvers}
    entries = [(name, {"ms": 4, **s}) for name, s in SOLVERS.items() if name in seen and (timed or "compiled" not in name)]
    kinds = {r["configuration"]["kind"] for m in found for r in m.networks}
    entries += [(name, {"ls": "", "ms": 6, **s}) for kind, (name, s) in NETWORKS.items() if kind in kinds]
    return key_panel(f"versus-key-{timed}", entries, 2)


def _table(rows: Sequence[Row], found: Sequence[Measured], merged: bool) -> Any:
    times = {m.family: m for m in found}

    def error(key: str) -> Callable[[Row], Cell]:
        return lambda r: cell(v if math.isfinite(v := error_of(r, key)) else None, two)

    def time(row: Row) -> Cell:
        m = times.get(row["configuration"]["family"])
        return cell(None if m is None else _x(m, row, "time"), lambda v: f"{words.number(v, 3)} µs")

    def spread(row: Row) -> Cell:
        v = row["values"].get("median")
        known = [x for x in v if x is not None] if isinstance(v, list) else []
        return cell(middle(v), lambda _: f"{two(min(known))} to {two(max(known))}") if known else cell(None, str)

    def value(key: str, show: Callable[[Any], str] = words.number) -> Callable[[Row], Cell]:
        return lambda r: cell(r["values"].get(key), show)

    columns: dict[str, Callable[[Row], Cell]] = {
        "family": lambda r: word(_title(r["configuration"]["family"])),
        "run": lambda r: word(_name(r)),
        "median error": error("median"),
        "over seeds": spread,
        "90th percentile": error("p90"),
        "99th percentile": error("p99"),
        "f": value("f_calls"),
        "blocks": value("net_calls"),
        "operations, in f": lambda r: cell(equivalents(r), words.number),
        "time of a state": time,
        "training": value("train_seconds", words.seconds),
        "parameters": value("parameters"),
    }
    return table_of("All runs", columns, rows, merged)


def _title(family: str) -> str:
    return FLOWS[family].title.split(",")[0] if family in FLOWS else family


def _name(row: Row) -> str:
    c = row["configuration"]
    if c["what"] == "network":
        return said(row)
    return label_of(row) if c["what"] == "solver" else c["what"]
