"""docs/reliability.md, made of what benchmarks/faults.py and benchmarks/reliability.py have measured.

Run: python benchmarks/reliability_page.py    (from results/reliability/faults.json and summary.json)
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from textwrap import fill
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "reliability"
PAGE = ROOT / "docs" / "reliability.md"
GRADES = ("ok", "told", "failed", "WRONG", "NAN", "ACCEPTED", "HANG")
SILENT = GRADES[3:]


def table(head: list[str], rows: list[list[Any]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def solves(made: dict[str, Any]) -> str:
    """The part on random problems."""
    total, codes = made["all"], list(made["all"]["codes"])
    n = total["problems"]
    head = [
        "method",
        "problems",
        *codes,
        "median",
        "99 %",
        "99.9 %",
        "largest",
        "above 20",
        "above 100, told",
        "above 100, silent",
    ]
    rows = []
    for name, of in {**made["methods"], "all": total}.items():
        shares = [f"{100.0 * of['codes'].get(c, 0) / of['problems']:.1f} %" for c in codes]
        sizes = [number(of[k]) for k in ("median", "of_99_in_100", "of_999_in_1000", "largest")]
        rows.append([f"`{name}`" if name != "all" else name, of["problems"], *shares, *sizes, of["above_20"],
                     of["above_100_and_told"], of["above_100_and_silent"]])  # fmt: skip
    steps = {k: of["largest_per_step"] for k, of in made["methods"].items() if of["above_100_and_told"]}
    share = ", ".join(f"`{k}` {number(v)}" for k, v in steps.items())
    each: Counter[str] = Counter()
    for row in made["beyond"]:
        each[f"`{row['method']}` on {row['family']} at rtol {row['rtol']:g}"] += row["problems"]
    named = "; ".join(f"{key}: {count}" for key, count in each.items()) or "none"
    verdict = fill(
        f"A tolerance bounds the error of a step. Of the solves that say OK, {total['above_100_and_silent']} are more than 100 "
        f"tolerances off without a word, and {total['above_100_and_told']} with one: the warning that the errors of many steps "
        f"add up, see [](choosing.md). There a step leaves at most this part of a tolerance: {share or '-'}. Those beyond "
        f"100, by where: {named}.", 128, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return f"""## Is a solve that says OK right?

{n:,} random problems with known solutions: stiff and non-stiff linear systems, normal and not, growing ones, Prothero and
Robinson's made non-linear, the logistic equation, x' = x² before and beyond its pole; stiffness ratios up to 1e8, rtol 1e-3,
1e-5 and 1e-8, every adaptive method. By `python benchmarks/reliability.py`, results in `benchmarks/results/reliability/`. The
columns of codes are shares of all problems. The others are of the solves that say OK: the error at the end in units of the
tolerance times the problem's own amplification, which is the largest |dx(t1) / dx(τ)| over the span.

{table(head, rows)}

{verdict}
"""


def inputs(made: dict[str, Any]) -> str:
    """The part on bad input."""
    rows, limit = made["rows"], made["about"]["limit_seconds"]
    who = [k for k in rows[0] if k != "case"]
    sums = {w: Counter(r[w]["grade"] for r in rows) for w in who}
    silent = "\n".join(f"- {w}: {sum(sums[w][g] for g in SILENT)} of {len(rows)} silent faults or hangs." for w in who)
    cases = table(["case", *who], [[r["case"], *(r[w]["grade"] for w in who)] for r in rows])
    return f"""## Bad input and hard problems

By `python benchmarks/faults.py`; `benchmarks/results/reliability/faults.json` has the words of every answer. Explicit methods
of order 5 throughout, Tsit5 and Dormand and Prince's, but for CVODE, which answers by its BDF through scikit-sundae. Each case
runs in a process of its own with {limit} s of processor time.

- ok: the right value. told: an exception, status or warning that names the cause. failed: another exception or status.
- WRONG: a finite value that is off. NAN: a value that is not finite. ACCEPTED: input that cannot be meant. All without a word.
- HANG: no end within the limit: a dead loop, or steps so short that the end is far and nothing bounds their number.

The grades are given by rules in the script: a message names the cause if it holds one of the words written with the case.
CVODE's function writes into an array of the right shape, `yp[:] = f(t, y)`: NumPy broadcasts there, before CVODE sees it.

{silent}

{cases}

{table(["sum", *who], [[g, *(sums[w][g] for w in who)] for g in GRADES])}

What the contract says, rule by rule, is tested in `tests/test_faults.py`, `tests/test_faults_cli.py` and
`tests/test_faults_files.py`, every case with a limit of processor time.
"""


def page() -> str:
    """The page of what is committed."""
    faults = json.loads((RESULTS / "faults.json").read_text(encoding="utf-8"))
    problems = json.loads((RESULTS / "summary.json").read_text(encoding="utf-8"))
    return f"""# Reliability

What happens on hard problems and to bad input. Written by `python benchmarks/reliability_page.py` from committed measurements.

{solves(problems)}
{inputs(faults)}"""


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
