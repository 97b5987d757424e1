"""The tables of docs/variants.md: `python benchmarks/variants_page.py`.

From the rows of results/variants, reversible, corrected and stiff_node. A test fails when they differ.
"""

from __future__ import annotations

import json
import runpy
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "variants.md"
RESULTS = HERE / "results"

Row = dict[str, Any]


def load(path: Path) -> list[Row]:
    """Rows of a file, none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def canonical(value: Any) -> str:
    """As `odebridge.bench.record.canonical` writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and range."""
    mean, low, high = statistics.fmean(values), min(values), max(values)
    return f"{mean:.{digits}g}" if low == high else f"{mean:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"


def score(rows: Sequence[Row]) -> str:
    """The metric over the seeds, and how many trainings ended as planned."""
    if not rows:
        return ""
    good = [r["score"] for r in rows if r["score"] is not None and r["ended"] in ("done", "time budget")]
    late = sum(r["ended"] == "time budget" for r in rows)
    lost = len(rows) - len(good)
    said = spread(good, 4) if good else "none"
    return said + (f"; {late} stopped by the clock" if late else "") + (f"; {lost} of {len(rows)} failed" if lost else "")


def of(rows: Sequence[Row], *keys: str, lowest: float | None = None) -> str:
    """The mean of a figure that rows hold under these keys, each at least `lowest`; empty if none does."""
    values = []
    for row in rows:
        value: Any = row
        for key in keys:
            value = value.get(key) if value is not None else None
        if value is not None:
            values.append(value if lowest is None else max(lowest, value))
    return f"{statistics.fmean(values):.3g}" if values else ""


def metric(row: Row) -> str:
    """Name, unit and direction."""
    kind = row["metric"]
    return f"{kind['name']}{', ' if kind['unit'] else ''}{kind['unit']} ({'high' if kind['high'] else 'low'} is better)"


ENERGY = "energy_drift_to_50"


def further(rows: Sequence[Row]) -> str:
    """What else the runs tell, by name, means over the seeds."""
    names = dict.fromkeys(k for r in rows for k in (r.get("extras") or {}) if k != ENERGY)
    return "; ".join(f"{name.replace('_', ' ')} {of(rows, 'extras', name)}" for name in names)


def variants(rows: Sequence[Row]) -> list[str]:
    """One table for each data set and metric, the residual network of the same size in the last columns."""
    by, nets = defaultdict(list), defaultdict(list)
    for row in rows:
        if row["group"] == "variants":
            by[row["data"], metric(row), row["variant"], canonical(row["options"])].append(row)
        elif row["group"] == "beside":
            nets[row["data"], metric(row), row["beside"]].append(row)
    lines = []
    for data, kind in dict.fromkeys(key[:2] for key in by):
        mine = {key[2:]: found for key, found in by.items() if key[:2] == (data, kind)}
        energy, more = any(of(f, "extras", ENERGY) for f in mine.values()), any(map(further, mine.values()))
        net_of = {key: nets.get((data, kind, canonical([key[0], json.loads(key[1])])), []) for key in mine}
        beside = any(net_of.values())
        heads = ["variant", "runs", "parameters", "seconds", "f forward", "f backward", "metric"]
        heads += (
            ["ResNet", "its seconds"] * beside
            + ["energy drift"] * energy
            + ["ResNet's"] * (energy and beside)
            + ["also"] * more
        )
        lines += [f"**{data}**, {kind}:", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for (variant, options), found in mine.items():
            net = net_of[variant, options]
            name = ", ".join([variant, *(f"{k} {v}" for k, v in json.loads(options).items())])
            cells = [
                name,
                str(len(found)),
                str(found[0]["parameters"]),
                of(found, "seconds"),
                of(found, "evaluations", "forward"),
            ]
            cells += [of(found, "evaluations", "backward", lowest=0.0), score(found)]
            cells += [score(net), of(net, "seconds")] * beside + [of(found, "extras", ENERGY)] * energy
            cells += [of(net, "extras", ENERGY)] * (energy and beside) + [further(found)] * more
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def regularisers(rows: Sequence[Row]) -> list[str]:
    """What each penalty costs in training and saves afterwards."""
    by = defaultdict(list)
    for row in rows:
        if row["group"] == "regularisers":
            by[row["variant"], row["options"]["regulariser"]].append(row)
        elif row["group"] == "variants" and row["data"] == "annuli" and not row["options"]:
            by[row["variant"], "none"].append(row)
    penalised = [v for v, penalty in by if penalty != "none"]
    if not penalised:
        return []
    lines = ["Regularisers, annuli, accuracy in per cent:", ""]
    lines += ["| variant | regulariser | runs | seconds | f forward | accuracy |", "|---|---|---|---|---|---|"]
    for variant in dict.fromkeys(penalised):
        for penalty in dict.fromkeys(p for v, p in by if v == variant):
            found = by[variant, penalty]
            forward = [r["evaluations"]["forward"] for r in found if r["evaluations"]]
            cells = [variant, penalty, str(len(found)), of(found, "seconds"), spread(forward) if forward else "", score(found)]
            lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def reversible(rows: Sequence[Row]) -> list[str]:
    """Memory against depth, undone beside stored."""
    if not rows:
        return []
    lines = ["Memory of a training step, batch 1024, width 64, float32 (undone / stored):", ""]
    lines += [
        "| network | depth | kept by autograd, MiB | peak growth, MiB | seconds | gradient off by |",
        "|---|---|---|---|---|---|",
    ]
    pairs = defaultdict(dict)
    for row in rows:
        pairs[row["net"], row["depth"]][row["store"]] = row
    for (net, depth), both in pairs.items():
        undone, stored = both[False], both[True]

        def two(key: str, scale: float, undone: Row = undone, stored: Row = stored) -> str:
            return f"{undone[key] / scale:.3g} / {stored[key] / scale:.3g}"

        error = undone["gradient_error"]
        off = ("not finite" if error is None else f"{error:.0e}") + (", refused" if undone["refused"] else "")
        cells = [net, str(depth), two("saved_bytes", 2**20), two("peak_growth_kib", 2**10), two("seconds", 1.0), off]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def where(folder: str) -> str:
    """The machine of a record."""
    path = RESULTS / folder / "environment.json"
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    versions = found["versions"]
    return f"{found['cpu']}, one thread, torch {versions['torch']}, Python {versions['python']}."


def tables() -> str:
    """All tables, with their machines; a sentence in the place of those that have no record."""
    rows, memory = load(RESULTS / "variants" / "rows.jsonl"), load(RESULTS / "reversible" / "rows.jsonl")
    lines: list[str] = []
    if rows:
        head = f"`python benchmarks/variants.py`, {where('variants')} Means over the runs, one a seed; in brackets the range."
        lines += [head, "", *variants(rows), *regularisers(rows)]
    else:
        lines += ["There is no record of `python benchmarks/variants.py` yet.", ""]
    if memory:
        lines += [f"`python benchmarks/reversible.py`, {where('reversible')}", "", *reversible(memory)]
    else:
        lines += ["There is no record of `python benchmarks/reversible.py` yet.", ""]
    return "\n".join(lines)


def one_table(script: str, file: str) -> str:
    """The table that a script makes of its own record, and its command and machine."""
    sys.path.insert(0, str(HERE))  # they import each other by name
    found = json.loads((RESULTS / file).read_text())
    versions, cpu = found["environment"]["versions"], found["environment"]["cpu"]
    head = f"`python benchmarks/{script}.py`, {cpu}, one thread, torch {versions['torch']}, Python {versions['python']}."
    return f"{head}\n\n{runpy.run_path(str(HERE / f'{script}.py'), run_name='script')['table'](found['rows'])}\n"


def updated(text: str) -> str:
    """The page with the tables of the committed rows."""
    made = {
        "tables": tables(),
        "corrected": one_table("corrected", "corrected.json"),
        "stiff": one_table("stiff_node", "stiff_node.json"),
    }
    for name, table in made.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        head, rest = text.split(begin)
        text = head + begin + table + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
