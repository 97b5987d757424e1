"""Write the GPU's figures into docs/engine.md from benchmarks/results/gpu/results.jsonl: `python benchmarks/gpu_page.py`.

A test fails when they differ. `gpu.py` prints the same table at its end.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "engine.md"
RECORD = HERE / "results" / "gpu" / "results.jsonl"
BEGIN, END = "<!-- gpu figures: begin -->\n", "<!-- gpu figures: end -->\n"
PEAKS = {"H100": 34e12, "H200": 34e12, "A100": 9.7e12}  # float64 operations a second, a product and a sum counted as two


def read(path: Path = RECORD) -> list[dict[str, Any]]:
    """The rows; the first one says where they come from."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pivot(rows: list[dict[str, Any]], case: str) -> list[str]:
    """One case: a line for each size, a column for each solver; below, the errors at the largest size that each has reached."""
    mine = [r for r in rows if r.get("case") == case and ("seconds" in r or "failed" in r)]
    solvers, sizes = list(dict.fromkeys(r["solver"] for r in mine)), sorted({r["b"] for r in mine})
    by = {(r["solver"], r["b"]): r for r in mine}
    lines = [f"| {case}: batch | {' | '.join(solvers)} |", "| --- " * (1 + len(solvers)) + "|"]
    lines += [f"| {b} | {' | '.join(cell(by.get((s, b))) for s in solvers)} |" for b in sizes]
    errors = {r["solver"]: f"{r['error']:.1e}" for r in mine if "seconds" in r}
    return [*lines, f"| error | {' | '.join(errors.get(s, '') for s in solvers)} |", ""]


def cell(row: dict[str, Any] | None) -> str:
    """Trajectories per second, or the kind of the failure."""
    if row is None:
        return ""
    if "failed" in row:
        return f"failed ({row['failed'].split(':')[0]})"
    three = float(f"{row['per_second']:.3g}")
    return f"{three:,.0f}" + (f" ({row['lost']} NaN)" if row["lost"] else "")


def spread(rows: list[dict[str, Any]]) -> str:
    """How far the calls of a cell lie apart, over its median: in the middle and at most, for our kernel and for all."""
    some = [((r["high"] - r["low"]) / r["seconds"], r["solver"]) for r in rows if r.get("n", 0) > 1]
    mine = [v for v, solver in some if solver == rows[0]["kernel"]]
    if not mine:
        return ""
    every = [v for v, _ in some]
    ours, all_ = (f"{100 * median(v):.0f} % (at most {100 * max(v):.0f} %)" for v in (mine, every))
    return f"The slowest and the fastest call of a cell lie {ours} of its median apart for our kernel, and {all_} for all."


def tries(rows: list[dict[str, Any]]) -> list[str]:
    """What a try of our kernel costs, by the largest batch of each case, against the card's peak."""
    peak = next((v for k, v in PEAKS.items() if k in rows[0].get("card", "")), None)
    out = [
        "| case | batch | ns a try | operations a try | registers | share of the peak | first solve, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for counted in (r for r in rows if "operations" in r):
        ours = [r for r in rows if r.get("case") == counted["case"] and "seconds" in r and r["solver"] == rows[0]["kernel"]]
        for row in ours[-1:]:
            nanoseconds = 1e9 * row["seconds"] / (row["b"] * row["tries"])
            share = f"{100 * counted['operations'] / (1e-9 * nanoseconds) / peak:.1f} %" if peak else "-"
            out.append(
                f"| {row['case']} | {row['b']} | {nanoseconds:.3g} | {counted['operations']:.0f} "
                f"| {counted.get('registers', '-')} | {share} | {counted['first_of_all']:.1f} |"
            )
    return out


def figures(rows: list[dict[str, Any]]) -> str:
    """The tables, with the machine; without the sizes that were skipped."""
    about, cases = rows[0], [r["case"] for r in rows if "operations" in r]
    where = f"{about['card']}, CUDA {about['cuda']}, " if "card" in about else ""
    peers = "".join(f", {name} {version}" for name, version in about.get("peers", {}).items())
    head = f"{where}{about['environment']['cpu']}, torch {about['torch']}{peers}. Trajectories per second:"
    tables = [line for case in cases for line in pivot(rows, case)]
    return "\n".join([head, "", *tables, spread(rows), "", *tries(rows)]) + "\n"


def updated(text: str) -> str:
    """The page with the figures of today; none before there is a record."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + (figures(read()) if RECORD.exists() else "") + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
