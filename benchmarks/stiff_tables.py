"""docs/stiff.md from the rows of benchmarks/results/stiff: the table of work and accuracy, and every exception by name.

    python benchmarks/stiff_tables.py [--check]

--check writes nothing and fails if the page is not what the rows say.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from odebridge.methods import METHODS
from odebridge.problems import PROBLEMS

ROWS = Path(__file__).parent / "results" / "stiff"
PAGE = Path(__file__).parent.parent / "docs" / "stiff.md"
BOUND = 100.0
SHOWN = (1e-3, 1e-5, 1e-7, 1e-9)
# Why a cell that ends with OK may be above the bound, by problem and method ("*": all of them).
REASONS: dict[tuple[str, str], str] = {
    (
        "prothero_robinson",
        "gauss6",
    ): "Gauss methods do not damp (R(∞) is 1 or -1): errors of the stiff component are carried on "
    "to the end, and an estimate of order 3 does not see them. Use a method that is L-stable.",
}

Row = dict[str, Any]


def load(name: str) -> list[Row]:
    """Rows of a file, none if it is not there."""
    path = ROWS / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def power(value: float) -> str:
    """A tolerance in words."""
    return f"1e{round(math.log10(value))}"


def cell(row: Row | None) -> str:
    """Digits, then the work: accepted+rejected steps, f evaluations / Jacobians / factorisations."""
    if row is None:
        return ""
    if row["result"] != "OK":
        return row["result"].lower()
    if row["mescd"] is None:
        return "OK, but not finite"
    steps = f"{row['accepted']}+{row['rejected']}" if row.get("rejected") is not None else f"{row['accepted']}"
    counts = [str(row.get(k, "")) for k in ("f_evals", "jacobians", "factorisations")]
    return f"**{row['mescd']:.1f}** · {steps} · {'/'.join(counts)}"


def kappa_of(problem: str, amplified: dict[str, float]) -> float:
    """The problem's amplification; 1 where it was not measured."""
    kappa = amplified.get(problem, 1.0)
    return kappa if math.isfinite(kappa) else 1.0


def exceptions(rows: Iterable[Row], amplified: dict[str, float]) -> list[Row]:
    """Rows that end with OK and are further off than the bound."""
    return [
        r
        for r in rows
        if r["result"] == "OK" and (r["error_over_rtol"] or math.inf) > BOUND * kappa_of(r["problem"], amplified)
    ]


def reason(row: Row) -> str:
    """The sentence for an exception; a missing one is a fault."""
    for key in ((row["problem"], row["method"]), (row["problem"], "*"), ("*", row["method"])):
        if key in REASONS:
            return REASONS[key]
    raise SystemExit(f"no reason given for {row['problem']} by {row['method']} at rtol {row['rtol']}")


def page() -> str:
    """The whole page."""
    problems, methods = list(PROBLEMS), list(METHODS)
    rows, peers = load("sweep.jsonl"), load("peers.jsonl")
    rows.sort(key=lambda r: (problems.index(r["problem"]), methods.index(r["method"]), -r["rtol"]))
    amplified = {r["problem"]: r["amplification"] for r in load("amplification.jsonl")}
    where = json.loads((ROWS / "environment.json").read_text())
    by: dict[str, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    for r in [*rows, *peers]:
        by[r["problem"]][r["method"]][power(r["rtol"])] = r
    bad = exceptions(rows, amplified)
    results: dict[str, int] = defaultdict(int)
    for r in rows:
        results[r["result"]] += 1
    lines = [
        "# Work and accuracy on every problem with a reference",
        "",
        "Made by `python benchmarks/stiff.py sweep`, `python benchmarks/stiff.py peers` and",
        f"`python benchmarks/stiff_tables.py` (torch {where['versions']['torch']}, {where['cpu']}); all rows are in",
        "`benchmarks/results/stiff/`. The tolerances of a method are lanes of one batch, each on its own steps. A cell holds",
        "**mescd** (correct digits of the end state, the error of a component being relative to its size plus atol/rtol),",
        "accepted+rejected steps, and f evaluations / Jacobians / factorisations. A code in place of them is what the solver",
        "itself says. κ: by how much the problem magnifies a small perturbation on its way (`amplification` in",
        "`benchmarks/stiff.py`). The peers get the same field, analytic Jacobian and tolerances; their counts are their own,",
        "without rejected steps where they do not tell.",
        "",
        f"The sweep took {where['seconds']} s with {where['jobs']} cells at once." if "seconds" in where else "",
        "",
        f"{len(rows)} solves: " + ", ".join(f"{n} {code}" for code, n in sorted(results.items())) + ".",
        "",
        "## Exceptions",
        "",
        f"A solve that ends with OK should be off by at most {BOUND:.0f} times its tolerance times κ. "
        + (f"These {len(bad)} are not:" if bad else "None is not."),
        "",
    ]
    if bad:
        lines += ["| problem | method | rtol | error / rtol | κ | reason |", "| --- | --- | --- | --- | --- | --- |"]
        lines += [
            f"| {r['problem']} | {r['method']} | {power(r['rtol'])} | {r['error_over_rtol']:.3g} "
            f"| {kappa_of(r['problem'], amplified):.3g} | {reason(r)} |"
            for r in bad
        ]
        lines.append("")
    for name, solved in by.items():
        kappa = amplified.get(name)
        lines += [f"## {name}", "", f"κ = {kappa:.3g}" if kappa and math.isfinite(kappa) else "κ not measured (a DAE).", ""]
        lines += ["| method | " + " | ".join(map(power, SHOWN)) + " |", "| --- |" + " --- |" * len(SHOWN)]
        for method, cells in solved.items():
            lines.append(f"| {method} | " + " | ".join(cell(cells.get(power(r))) for r in SHOWN) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write the page, or compare."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text() != text:
            raise SystemExit("docs/stiff.md is not what the rows say; run python benchmarks/stiff_tables.py")
        return
    PAGE.write_text(text)
    print(f"docs/stiff.md: {len(text.splitlines())} lines")


if __name__ == "__main__":
    main()
