"""What the scripts against the peers share: a suite is run, and its contests are written as lines and as a page; no script."""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

from odebridge.bench.contest import Cell
from odebridge.bench.progress import Display
from odebridge.bench.record import read
from odebridge.bench.suite import Suite
from odebridge.bench.verdict import write

RESULTS = Path(__file__).parent / "results"


def run(suite: str, part: str, title: str, text: str) -> None:
    """`odebridge bench SUITE` with its contests alone; results.jsonl and table.md in the folder of that part."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="small batches, one round: does it run")
    parser.add_argument("--full", action="store_true", help="every batch size")
    parser.add_argument("--out", type=Path, default=None, help="folder for results.jsonl and table.md")
    given = parser.parse_args()
    options: dict[str, Any] = {"quick": given.quick, "full": given.full}
    if part == "single":
        options["only"] = "one *"
    with tempfile.TemporaryDirectory() as out, Display() as show:
        rows = read(Suite(suite)(out, tell=show, **options)).rows
    export(given.out or RESULTS / (f"{part}-quick" if given.quick else part), part, title, text, list(rows), given)


def export(folder: Path, part: str, title: str, text: str, rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """The contests of a run in the form that README's table is made from."""
    mine = [r for r in rows if r["part"] == part and r["status"] == "ok"]
    cells = {r["configuration"]["contest"]: [_cell(c) for c in r["values"]["cells"]] for r in mine}
    found = [v for r in mine for v in r["values"]["verdicts"]]
    size = " --quick" if given.quick else " --full" if given.full else ""
    write(folder, title, text, found, cells, f"python benchmarks/{part}.py{size}")


def _cell(kept: dict[str, Any]) -> Cell:
    """As it was measured: an error that is null was infinite."""
    return Cell(**{**kept, **{k: math.inf if kept[k] is None else kept[k] for k in ("error", "worst")}})
