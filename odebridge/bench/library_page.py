"""The section of the report on the library of problems: work and precision of every method, and who needs the least work."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from odebridge.bench import words
from odebridge.bench.equal import Point, median, time_at
from odebridge.bench.findings import of_part
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, table_of, word
from odebridge.bench.svg import MARKERS, SERIES, key_panel, panel

TITLE = "Work and precision over the library of problems"
PART = "library"
DIGITS = 6.0  # mescd at which work is compared
STYLES = {
    "dopri5": (SERIES[0], ":"), "tsit5": (SERIES[0], "-"), "dopri8": (SERIES[5], "-"), "rosenbrock23": (SERIES[3], ":"),
    "rodas4": (SERIES[1], "--"), "rodas5p": (SERIES[1], "-"), "tr_bdf2": (SERIES[2], ":"), "kvaerno3": (SERIES[2], "--"),
    "kvaerno5": (SERIES[2], "-"), "kencarp4": (SERIES[3], "-"), "radau5": (SERIES[4], "-"), "bdf": (SERIES[4], "--"),
    "auto": (SERIES[5], "--"), "scipy:Radau": ("#7f7f7f", "-"), "scipy:BDF": ("#7f7f7f", "--"), "scipy:LSODA": ("#7f7f7f", ":"),
    "sundials:BDF": ("#7f7f7f", "-."),
}  # fmt: skip


def sentences(rows: Sequence[Row]) -> list[str]:
    """Who needs the fewest f evaluations at six digits, and what did not get there."""
    mine = of_part(rows, PART)
    best: dict[bool, dict[str, list[str]]] = {True: defaultdict(list), False: defaultdict(list)}
    for name, stiff in dict.fromkeys((r["configuration"]["problem"], bool(r["configuration"]["stiff"])) for r in mine):
        work = {m: w for m, w in ((r["configuration"]["method"], _work_at(r)) for r in mine if _of(r, name)) if w is not None}
        if work:
            best[stiff][min(work, key=lambda m: work[m])].append(words.problem(name))
    out = []
    for stiff, title in ((True, "stiff"), (False, "other")):
        if best[stiff]:
            said = [f"{words.method(m)} on {words.listed(names)}" for m, names in best[stiff].items()]
            out.append(
                f"Fewest evaluations of f for {DIGITS:g} correct digits (mescd), on {title} problems: {'; '.join(said)}. "
                "Jacobians and LU decompositions are not among them."
            )
    reached = sum(code == "OK" for r in mine for code in r["values"].get("result", []))
    total = sum(len(r["configuration"]["rtols"]) for r in mine)
    ours = [error for r in mine if not _peer(r) for error, _ in _excess(r)]
    if ours:
        half = words.number(median(ours), 2)
        out.append(f"Of {total} solves {reached} ended well; the error of ours at the end is in the median {half} tolerances.")
    out += [said for stiff, title in ((True, "stiff"), (False, "other")) if (said := _largest(mine, stiff, title))]
    return out


def _largest(rows: Sequence[Row], stiff: bool, title: str) -> str | None:
    """The largest error of ours, in tolerances, with OK; and what the best of ours and the worst peer have on that problem."""
    found = [(*e, r) for r in rows if bool(r["configuration"]["stiff"]) is stiff for e in _excess(r)]
    mine = [f for f in found if not _peer(f[2])]
    if not mine:
        return None
    worst, rtol, row = max(mine, key=lambda f: f[0])
    problem = row["configuration"]["problem"]
    there = [f for f in found if f[2]["configuration"]["problem"] == problem]
    least, _, best = min((f for f in there if f[1] == rtol and not _peer(f[2])), key=lambda f: f[0])
    said = (
        f"The largest on {title} problems is {words.number(worst, 2)} tolerances (rtol {words.power(rtol)}), by "
        f"{_method(row)} on {words.problem(problem)}"
    )
    said += "" if best is row else f", where {_method(best)} has {words.number(least, 2)}"
    most, _, peer = max((f for f in there if _peer(f[2])), key=lambda f: f[0], default=(0.0, 0.0, None))
    return said + ("." if peer is None else f" and the peers have up to {words.number(most, 2)} ({_method(peer)}).")


def _method(row: Row) -> str:
    return words.method(row["configuration"]["method"])


def _peer(row: Row) -> bool:
    return ":" in row["configuration"]["method"]


def _excess(row: Row) -> list[tuple[float, float]]:
    """Error over the tolerance, and the tolerance, of every solve that ended well."""
    v = row["values"]
    columns = zip(v.get("error_over_rtol", []), v.get("rtol", []), v.get("result", []), strict=True)
    return [(e, rtol) for e, rtol, code in columns if e is not None and code == "OK"]


def section(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    """A picture for every problem, and every solve as a row."""
    names = list(dict.fromkeys(r["configuration"]["problem"] for r in of_part(rows, PART)))
    used = {r["configuration"]["method"] for r in of_part(rows, PART)}
    entries = [
        (words.method(m), {"color": c, "ls": ls, "marker": _mark(m), "ms": 4}) for m, (c, ls) in STYLES.items() if m in used
    ]
    drawn = [picture for n in names if (picture := _picture(rows, n)) is not None]
    figures = figures_of(library=[*drawn, key_panel("library-key", entries, 2)] if drawn else [])
    flat = [one for r in of_part(every, PART) for one in _flat(r)]
    columns: dict[str, Callable[[Row], Cell]] = {
        "problem": lambda r: word(words.problem(str(r["configuration"]["problem"]))),
        "method": lambda r: word(words.method(r["configuration"]["method"])),
        "rtol": lambda r: cell(r["values"].get("rtol"), words.power),
        "mescd": lambda r: cell(r["values"].get("mescd"), lambda v: f"{v:.2f}"),
        "error / rtol": lambda r: cell(r["values"].get("error_over_rtol"), lambda v: words.number(v, 2)),
        **{title: _count(key) for title, key in (
            ("f evaluations", "f_evals"), ("accepted", "accepted"), ("rejected", "rejected"), ("Jacobians", "jacobians"),
            ("LU", "factorisations"), ("solves", "solves"), ("Newton iterations", "newton_iterations"),
        )},
    }  # fmt: skip
    table = table_of("All solves", columns, flat, merged, named=3)
    return Section("library", TITLE, {"digits": DIGITS}, sentences(rows), figures, [table])


def _count(key: str) -> Callable[[Row], Cell]:
    return lambda r: cell(r["values"].get(key), words.number)


def _of(row: Row, problem: str) -> bool:
    return row["configuration"]["problem"] == problem and row["status"] == "ok"


def _points(row: Row, key: str) -> list[Point]:
    v = row["values"]
    columns = zip(v["rtol"], v["mescd"], v[key], v["result"], strict=True)
    return [Point(r, 10.0**-m, (float(c),)) for r, m, c, code in columns if m is not None and c and code == "OK"]


def _work_at(row: Row) -> float | None:
    """F evaluations at the error, interpolated between two tolerances that bracket it."""
    if "f_evals" not in row["values"]:
        return None
    found = time_at(_points(row, "f_evals"), 10.0**-DIGITS)
    return found[0] if found else None


def _mark(method: str) -> str:
    names = list(STYLES)
    return MARKERS[names.index(method) % len(MARKERS)] if method in names else "."


def _picture(rows: Sequence[Row], problem: str) -> str | None:
    mine = [r for r in of_part(rows, PART) if _of(r, problem) and "f_evals" in r["values"]]
    if not mine:
        return None
    title = words.problem(problem)
    described = f"{title}: correct digits against evaluations of f, for {len(mine)} methods."
    with panel(f"library-{problem}", title, described) as drawn:
        for r in mine:
            method, points = r["configuration"]["method"], _points(r, "f_evals")
            colour, line = STYLES.get(method, ("#7f7f7f", ":"))
            digits, work = [-math.log10(p.error) for p in points], [p.times[0] for p in points]
            drawn.axes.plot(digits, work, color=colour, ls=line, marker=_mark(method), ms=4, lw=1.2)
            for p, d, w in zip(points, digits, work, strict=True):
                drawn.tip(d, w, f"{words.method(method)}, rtol {p.rtol:.0e}: {d:.2f} digits, {w:.0f} evaluations of f")
        drawn.axes.set(yscale="log", xlabel="correct digits at the end (mescd)", ylabel="evaluations of f")
    return drawn.svg


def _flat(row: Row) -> list[Row]:
    """A row for every tolerance; a case without any is a row still."""
    v = row["values"]
    if not v.get("rtol"):
        return [row]
    out = []
    for i, code in enumerate(v["result"]):
        one: dict[str, Any] = {k: some[i] for k, some in v.items() if isinstance(some, list) and len(some) == len(v["result"])}
        said = one.get("message") or ("" if code == "OK" else code)
        out.append({**row, "values": one, "status": "ok" if code == "OK" else "failed", "message": said})
    return out
