"""Write the figures of docs/engine.md from benchmarks/results/engine.json: `python benchmarks/engine_page.py`.

A test fails when they differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "engine.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def throughput(row: dict[str, Any]) -> str:
    """One line of the first table."""
    eager = f"{row['eager_seconds'] / row['seconds']:.0f}" if row.get("eager_seconds") else "-"
    return (
        f"| {row['problem']} | {row['method']} | {row['rtol']:.0e} | {row['b']} | {row['error']:.1e} | {row['tries']:.0f} "
        f"| {1e3 * row['seconds']:.1f} | {row['per_second']:.3g} | {row['ns_per_try']:.0f} | {eager} |"
    )


def figures() -> str:
    """All tables, with the machine."""
    found = json.loads((HERE / "results" / "engine.json").read_text())
    where, versions = found["environment"], found["environment"]["versions"]
    lines = [
        f"{where['cpu']}, one thread, torch {versions['torch']}, Python {versions['python']}.",
        "",
        "| problem | method | rtol | batch | error | tries | ms | trajectories per CPU second | ns per try | eager |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(throughput(row) for row in found["rows"]),
        "",
        "First call in a new process, processor seconds, with the import of the tracer: nothing kept, and with the kernel kept",
        "by an earlier process.",
        "",
        "| | cold | kept |",
        "|---|---|---|",
        *(f"| {r['problem']}, {r['method']} | {r['cold']:.1f} | {r['kept']:.1f} |" for r in found["first_call"]),
        "",
        "Saves, Robertson, Rodas5P, rtol 1e-4, ms (`At`: 50 times):",
        "",
        "| | batch | compiled | eager |",
        "|---|---|---|---|",
        *(f"| {r['save']} | {r['b']} | {1e3 * r['seconds']:.1f} | {1e3 * r['eager_seconds']:.0f} |" for r in found["saves"]),
    ]
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The page with the figures of today."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + figures() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
