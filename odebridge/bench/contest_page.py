"""Sections of the report on contests: trajectories per processor second at equal error, and known faults of who took part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from odebridge.bench import words
from odebridge.bench.equal import median
from odebridge.bench.findings import of_part
from odebridge.bench.page import Cell, Row, Section, Table, cell, figures_of, table_of, word
from odebridge.bench.svg import MARKERS, SERIES, panel
from odebridge.peers import faults_of

TITLES = {
    "single": "One stiff trajectory, at equal error",
    "ensembles": "Stiff ensembles, at equal error",
    "nonstiff": "Non-stiff ensembles, at equal error",
    "gradients": "Gradients, at equal error",
}
OTHERS = {"growth": "How time and memory grow with the batch", "gradient-memory": "Memory of one gradient"}


def sentences_of(part: str) -> Callable[[Sequence[Row]], list[str]]:
    """The findings of one part."""
    return lambda rows: _findings(of_part(rows, part))


def section_of(part: str) -> Callable[[Sequence[Row], Sequence[Row], bool], Section]:
    """The builder of the section of one part."""

    def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
        mine = of_part(rows, part)
        figures = figures_of(contest=[picture for r in mine if (picture := _picture(r)) is not None])
        tables = [_verdicts(of_part(every, part), merged), _cells(of_part(every, part), merged)]
        return Section("contest", TITLES[part], {"faults": _faults(mine)}, _findings(mine), figures, tables)

    return section


def plain(part: str) -> Callable[[Sequence[Row], Sequence[Row], bool], Section]:
    """A table of whatever the rows of a part have."""

    def section(_rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
        mine = of_part(every, part)
        keys = dict.fromkeys(k for r in mine for k, v in r["values"].items() if isinstance(v, (int, float)) or v is None)
        names = dict.fromkeys(k for r in mine for k, v in r["configuration"].items() if isinstance(v, (int, float, str)))
        columns: dict[str, Callable[[Row], Cell]] = {k: _of("configuration", k) for k in names}
        columns |= {k: _of("values", k) for k in keys}
        about = {"what": OTHERS[part]}
        return Section("plain", OTHERS[part], about, [], [], [table_of("All runs", columns, mine, merged)])

    return section


def _of(group: str, key: str) -> Callable[[Row], Cell]:
    return lambda r: cell(r[group].get(key), lambda v: v if isinstance(v, str) else words.number(v))


def _findings(rows: Sequence[Row]) -> list[str]:
    """Ratios to our best, by contest, at the tightest error at which anything can be compared."""
    out = []
    for r in rows:
        verdicts = r["values"].get("verdicts", [])
        targets = sorted({v["target"] for v in verdicts})
        for target in targets:
            some = [v for v in verdicts if v["target"] == target and v.get("ratio")]
            mine = [v for v in verdicts if v["target"] == target and v["status"] == "ok" and _ours(v["contender"])]
            theirs = sorted((v for v in some if not _ours(v["contender"])), key=lambda v: v["ratio"]["median"])
            if not mine or not theirs:
                continue
            best = max(mine, key=lambda v: v["per_second"]["median"])
            fastest = theirs[0]
            kind = "faster" if fastest["ratio"]["median"] < 1 else "slower"
            out.append(
                f"{r['configuration']['contest']}, error {words.power(target)}: ours ({_name(best['contender'])}) makes "
                f"{words.number(best['per_second']['median'])} a second; the fastest peer, {_name(fastest['contender'])}, "
                f"is {kind}: it takes {_ratio(fastest)} the time, the slowest of {len(theirs)} {_ratio(theirs[-1])}."
            )
            break
        for missing in dict.fromkeys(r["values"].get("missing", [])):
            out.append(missing)
    return list(dict.fromkeys(out))


def _ours(name: str) -> bool:
    return name.startswith("odebridge")


def _name(contender: str) -> str:
    return contender.removeprefix("odebridge:")


def _ratio(v: dict[str, Any]) -> str:
    bounds = v.get("interval")
    more = "" if not bounds else f" [{words.number(bounds[0], 2)}, {words.number(bounds[1], 2)}]"
    return f"{'at least ' if v.get('at_least') else ''}{words.number(v['ratio']['median'], 2)}{more} times"


def _faults(rows: Sequence[Row]) -> list[str]:
    names = {c["contender"] for r in rows for c in r["values"].get("cells", [])}
    found = dict.fromkeys(fault for name in sorted(names) for fault in faults_of(name))
    return [f"{fault.peer} ({fault.versions}): {fault.what} {fault.remedy}" for fault in found]


def _picture(row: Row) -> str | None:
    """Error against processor time of one trajectory, a curve for each contender."""
    title = row["configuration"]["contest"]
    by: dict[str, list[tuple[float, float, float]]] = {}
    for c in row["values"].get("cells", []):
        if c["error"] and c["cpu"]:
            by.setdefault(c["contender"], []).append((c["error"], 1e3 * median(c["cpu"]), c["rtol"]))
    if not by:
        return None
    with panel(f"contest-{title}", title, f"{title}: error against time of one, log-log, for {len(by)} solvers.") as drawn:
        for i, (who, points) in enumerate(sorted(by.items(), key=lambda p: not _ours(p[0]))):
            colour, mark = SERIES[i % len(SERIES)], MARKERS[(i // len(SERIES) + i) % len(MARKERS)]
            style = {"color": colour, "ls": "-" if _ours(who) else ("--", ":", "-.")[i // len(SERIES) % 3], "lw": 1.2, "ms": 4}
            drawn.axes.plot([p[0] for p in points], [p[1] for p in points], marker=mark, label=_name(who), **style)
            for error, ms, rtol in points:
                drawn.tip(error, ms, f"{who}, rtol {rtol:.0e}: error {words.number(error, 2)}, {words.number(ms)} ms")
        drawn.axes.set(xscale="log", yscale="log", xlabel="error, median", ylabel="processor time of one, ms")
        drawn.axes.legend(fontsize=6)
    return drawn.svg


def _against(row: Row) -> Cell:
    v = row["values"]
    return (_ratio(v), v["ratio"]["median"]) if v.get("ratio") else cell(None, str)


def _verdicts(rows: Sequence[Row], merged: bool) -> Table:
    flat = []
    for r in rows:
        for v in r["values"].get("verdicts", []):
            good = v["status"] == "ok"
            flat.append({**r, "values": v, "status": "ok" if good else "failed", "message": "" if good else v["status"]})
    flat += [r for r in rows if not r["values"].get("verdicts")]
    columns: dict[str, Callable[[Row], Cell]] = {
        "contest": lambda r: word(r["configuration"]["contest"]),
        "solver": lambda r: word(r["values"].get("contender", words.DASH)),
        "error": lambda r: cell(r["values"].get("target"), words.power),
        "a second": lambda r: cell((r["values"].get("per_second") or {}).get("median"), words.number),
        "their time / our best": _against,
        "trajectories": lambda r: cell(r["values"].get("lanes"), words.number),
        "compiling": lambda r: cell(r["values"].get("compile_seconds"), words.seconds),
    }
    return table_of("Verdicts at equal error", columns, flat, merged, named=3)


def _cells(rows: Sequence[Row], merged: bool) -> Table:
    flat = [{**r, "values": c, "message": c["message"]} for r in rows for c in r["values"].get("cells", [])]
    columns: dict[str, Callable[[Row], Cell]] = {
        "contest": lambda r: word(r["configuration"]["contest"]),
        "solver": lambda r: word(r["values"]["contender"]),
        "rtol": lambda r: cell(r["values"]["rtol"], words.power),
        "error, median": lambda r: cell(r["values"]["error"], lambda v: words.number(v, 2)),
        "99 %": lambda r: cell(r["values"]["worst"], lambda v: words.number(v, 2)),
        "not reached": lambda r: cell(r["values"]["failed"], words.number),
        "of": lambda r: cell(r["values"]["lanes"], words.number),
        "ms for one": lambda r: cell(1e3 * median(c) if (c := r["values"]["cpu"]) else None, words.number),
    }
    return table_of("Every tolerance", columns, flat, merged, named=3)
