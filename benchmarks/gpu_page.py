"""Write the GPU's figures into docs/engine.md from benchmarks/results/gpu/results.jsonl: `python benchmarks/gpu_page.py`.

A test fails when they differ. `gpu.py` prints the same table at its end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "engine.md"
RECORD = HERE / "results" / "gpu" / "results.jsonl"
BEGIN, END = "<!-- gpu figures: begin -->\n", "<!-- gpu figures: end -->\n"
PEAKS = {"H100": 34e12, "H200": 34e12, "A100": 9.7e12}  # float64 operations a second, a product and a sum counted as two


def read(path: Path = RECORD) -> list[dict[str, Any]]:
    """The rows; the first one says where they come from."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def line(row: dict[str, Any]) -> str:
    """One solver at one size."""
    head = f"| {row['case']} | {row['b']} | {row['solver']} "
    if "seconds" not in row:
        return head + f"| - | | | | {row['failed'].translate({10: ' ', 124: '/'})} |"
    low, high = (row["b"] / row[k] for k in ("high", "low"))
    note = f"{row['lost']} of the checked are NaN" if row["lost"] else ""
    spread = f"{low:.3g} to {high:.3g} ({row['n']})"
    return head + f"| {row['per_second']:.3g} | {spread} | {row['error']:.1e} | {row['first']:.2f} | {note} |"


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
    """Both tables, with the machine; without the sizes that were skipped."""
    about, cases = rows[0], [r["case"] for r in rows if "operations" in r]
    shown = sorted((r for r in rows if "seconds" in r or "failed" in r), key=lambda r: (cases.index(r["case"]), r["b"]))
    where = f"{about['card']}, CUDA {about['cuda']}, " if "card" in about else ""
    lines = [
        f"{where}{about['environment']['cpu']}, torch {about['torch']}.",
        "",
        "| case | batch | solver | trajectories per second | range (calls) | error | first call, s | |",
        "|---|---|---|---|---|---|---|---|",
        *map(line, shown),
        "",
        *tries(rows),
    ]
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The page with the figures of today; none before there is a record."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + (figures(read()) if RECORD.exists() else "") + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
