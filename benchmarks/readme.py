"""Write README's measured section from committed rows: `python benchmarks/readme.py`. A test fails when they differ.

The rows are those of `odebridge bench quick --seed 0`, kept in benchmarks/results/quick; the page with the pictures comes
from them by `odebridge report benchmarks/results/quick --out report.html`.
"""

from __future__ import annotations

from pathlib import Path

from odebridge.bench.record import read
from odebridge.bench.report import machines, sentences

RESULTS = Path(__file__).parent / "results" / "quick"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def section() -> str:
    """The findings of the committed run, one bullet each, with the machine."""
    where = "; ".join(machines(read(RESULTS).rows))
    lines = [f"`odebridge bench quick` on {where} ([rows](benchmarks/results/quick/results.jsonl)):", ""]
    lines += [f"- {text}" for part in sentences([RESULTS]).values() for text in part]
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """README with the section of today."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + section() + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
