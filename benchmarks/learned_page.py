"""The tables of docs/learned.md: `python benchmarks/learned_page.py`.

From the rows of results/controllers (`odebridge bench controllers`), results/tuned_laws.json and results/learned_picture.json. A
test fails when they differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from odebridge.bench.controllers_page import TUNED, finished, in_time, methods, over_families
from odebridge.bench.record import read

HERE = Path(__file__).parent
PAGE, RESULTS = HERE.parent / "docs" / "learned.md", HERE / "results"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def ratio(found: dict[str, Any]) -> str:
    """A ratio with its interval."""
    return f"{found['ratio']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def families(rows: list[dict[str, Any]]) -> list[str]:
    """A table for every method."""
    out = []
    for method in methods(rows):
        mine = finished(rows, method)
        middle, low, high, n = over_families(rows, method, TUNED)
        pi, *_ = over_families(rows, method, "pi42")
        predictive, *_ = over_families(rows, method, "predictive")
        out += [
            f"### {method}", "",
            f"Geometric mean over {n} families: **{middle:.3f}** [{low:.3f}, {high:.3f}] of the tuned filter's f evaluations at "
            f"equal error (95 % interval over families), {pi:.3f} of PI42's, {predictive:.3f} of the predictive law's.", "",
            "| family | n | kept | f / tuned filter | f / PI42 | f / predictive | time / tuned filter | rejected | tuned: rejected "
            "| failed | calibration, s |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for r in mine:
            v = r["values"]
            kept = "learned" if v["report"]["kept"] == "learned" else "classical"
            shares = " | ".join(f"{100 * v['rejected'][name]:.1f} %" for name in ("calibrated", TUNED))
            out.append(
                f"| {r['configuration']['family'].replace('_', ' ')} | {v['n']} | {kept} | {ratio(v['ratios'][TUNED])} | "
                f"{v['ratios']['pi42']['ratio']:.3f} | {v['ratios']['predictive']['ratio']:.3f} | {in_time(r):.2f} | {shares} | "
                f"{v['failed']} | {v['report']['seconds']:.0f} |"
            )
        out.append("")
    return out


def laws(page: dict[str, Any]) -> list[str]:
    """What tuned and named laws give, method by method, over PI42."""
    rows = list(page["rows"].values())
    if not rows:
        return []
    names = list(rows[0]["laws"])
    shown = ["tuned", *(n for n in names if n != "tuned" and not n.endswith("best safety") and n != "pi42")]
    out = [
        "| method | " + " | ".join(n if n == "tuned" else f"{n} (best safety)" for n in shown) + " |", "|---" * (len(shown) + 1) + "|",
    ]  # fmt: skip
    for row in rows:
        cells = []
        for name in shown:
            found = row["laws"][name]
            best = row["laws"].get(f"{name}, best safety")
            cells.append(ratio(found) if best is None else f"{found['ratio']:.3f} ({best['ratio']:.3f} at {best['safety']:g})")
        out.append(f"| {row['method']} | " + " | ".join(cells) + " |")
    return [*out, ""]


def picture(page: dict[str, Any]) -> list[str]:
    """The figures beside the picture."""
    tuned, ours = page["laws"]["tuned filter"], page["laws"]["calibrated"]
    key, wide = "correlation of log error and log worth", "spread of log(error x worth)"
    return [
        f"One fresh {page['family']}, {page['method']} at rtol {page['rtol']:g}: correlation of log error with log worth "
        f"{tuned[key]:+.2f} under the tuned filter and {ours[key]:+.2f} under the calibrated law; standard deviation of "
        f"log(error × worth), 0 where work is least, {tuned[wide]:.2f} and {ours[wide]:.2f}.", "",
    ]  # fmt: skip


def updated(text: str) -> str:
    """The page with its figures made anew."""
    rows = [dict(r) for r in read(RESULTS / "controllers").rows]
    run = json.loads((RESULTS / "controllers" / "run.json").read_text())
    drawn = json.loads((RESULTS / "learned_picture.json").read_text())
    tuned = RESULTS / "tuned_laws.json"
    first = rows[0]["configuration"]
    lines = [
        f"`{run['command']}`: {first['generations']} generations, {first['instances']} instances to search and choose on, figures "
        f"on {first['fresh']} others, rtol {first['rtols'][0]:g} to {first['rtols'][1]:g}, seed {run['settings']['seed']}. "
        f"{rows[0]['cpu']}, torch {rows[0]['versions']['torch']}, other jobs on the machine: seconds are upper bounds.", "",
        *families(rows), *picture(drawn),
    ]  # fmt: skip
    if tuned.exists():
        lines += ["### Laws tuned for a method", "", "`python benchmarks/tuned_laws.py`; f evaluations over PI42's:", ""]
        lines += laws(json.loads(tuned.read_text()))
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([before + BEGIN, *lines, END]) + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
