"""The tables of docs/learned.md: `python benchmarks/learned_page.py`.

From the rows of results/controllers (`odebridge bench controllers`), results/learned_check.json, results/gate_cost.json and
results/learned_picture.json. A test fails when they differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from odebridge.bench import controller_families
from odebridge.bench.controllers_page import TUNED, finished, in_time, methods, over_families
from odebridge.bench.record import read

HERE = Path(__file__).parent
PAGE, RESULTS = HERE.parent / "docs" / "learned.md", HERE / "results"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def ratio(found: dict[str, Any]) -> str:
    """A ratio with its interval."""
    return f"{found['ratio']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def size(method: str, row: dict[str, Any]) -> int:
    """Components of a family."""
    return controller_families.families(method)[row["configuration"]["family"]]().x0.numel()


COLUMNS = (
    "family", "n", "kept", "f / tuned filter", "f / PI42", "f / predictive", "time / tuned filter", "rejected",
    "rejected, tuned", "failed", "calibration, s",
)  # fmt: skip


def families(rows: list[dict[str, Any]]) -> list[str]:
    """A table for every method."""
    out = []
    for method in methods(rows):
        mine = finished(rows, method)
        middle, low, high, n = over_families(rows, method, TUNED)
        others = [over_families(rows, method, law)[0] for law in ("pi42", "predictive")]
        out += [
            f"### {method}", "",
            f"Geometric mean over {n} families: **{middle:.3f}** [{low:.3f}, {high:.3f}] of the tuned filter's f evaluations",
            f"at equal error (95 % interval over families), {others[0]:.3f} of PI42's and {others[1]:.3f} of the predictive",
            "law's.",
            "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|",
        ]  # fmt: skip
        out += [f"| {' | '.join(cells(method, r))} |" for r in mine] + [""]
    return out


def cells(method: str, r: dict[str, Any]) -> list[str]:
    """The row of a family."""
    v, name = r["values"], r["configuration"]["family"].replace("_", " ")
    return [
        name, str(size(method, r)), "learned" if v["report"]["kept"] == "learned" else "classical", ratio(v["ratios"][TUNED]),
        *(f"{v['ratios'][law]['ratio']:.3f}" for law in ("pi42", "predictive")), f"{in_time(r):.2f}",
        *(f"{100 * v['rejected'][law]:.1f} %" for law in ("calibrated", TUNED)), str(v["failed"]),
        seconds(v["report"]),
    ]  # fmt: skip


def second_opinion(page: dict[str, Any]) -> list[str]:
    """Ratios by another measure."""
    head = ("family", "method", "f / tuned filter", "f / PI42", "f / predictive")
    rows = [
        (family.replace("_", " "), method, *(f"{row['ratios'][law]:.3f}" for law in (TUNED, "pi42", "predictive")))
        for (family, method), row in ((name.split(":"), row) for name, row in page["rows"].items())
    ]
    return [
        "### A second opinion", "",
        "`python benchmarks/learned_check.py` shares nothing with the search but the solver: truth by SciPy,",
        f"{page['instances']} other instances, the eager loop, the largest error at even times, means over instances before",
        "curves are compared.", "",
        *table(head, rows),
    ]  # fmt: skip


def gate_cost(page: dict[str, Any]) -> list[str]:
    """What a gate adds to a step."""
    rows = [
        (r["family"].replace("_", " "), r["method"], str(r["n"]), f"{1000 * r['us_per_try']:.0f}",
         f"{r['ratio']:.3f} [{r['low']:.3f}, {r['high']:.3f}]") for r in page["rows"]
    ]  # fmt: skip
    return [
        "### What the gate adds to a step", "",
        "`python benchmarks/gate_cost.py`: a gate of zero weights takes the same steps as its filter.",
        f"B = {page['b']}, processor time over the filter's, in turns; medians of {page['rows'][0]['rounds']} rounds with",
        f"quartiles; {page['cpu']}.", "",
        *table(("family", "method", "n", "ns a try, filter", "with the gate"), rows),
    ]  # fmt: skip


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Markdown."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(r)} |" for r in rows), ""]


def seconds(report: dict[str, Any]) -> str:
    """Elapsed, and the processor's where the row has them: these do not depend on what else the machine did."""
    own = f" ({report['cpu_seconds']:.0f} of processor)" if "cpu_seconds" in report else ""
    return f"{report['seconds']:.0f}{own}"


def picture(page: dict[str, Any]) -> list[str]:
    """The figures beside the picture."""
    tuned, ours = page["laws"]["tuned filter"], page["laws"]["calibrated"]
    key, wide = "correlation of log error and log worth", "spread of log(error x worth)"
    return [
        f"One fresh {page['family']}, {page['method']} at rtol {page['rtol']:g}: correlation of log error with log worth "
        f"{tuned[key]:+.2f} under the tuned filter and {ours[key]:+.2f} under the calibrated law; standard deviation of "
        f"log(error times worth), 0 where work is least, {tuned[wide]:.2f} and {ours[wide]:.2f}.", "",
    ]  # fmt: skip


def updated(text: str) -> str:
    """The page with its figures made anew."""
    rows = [dict(r) for r in read(RESULTS / "controllers").rows]
    run = json.loads((RESULTS / "controllers" / "run.json").read_text())
    drawn = json.loads((RESULTS / "learned_picture.json").read_text())
    checked, cost = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("learned_check", "gate_cost"))
    how, seed = rows[0]["configuration"], run["settings"]["seed"]
    lines = [
        f"`{run['command']}`: {how['generations']} generations, {how['instances']} instances to search and choose on, figures",
        f"on {how['fresh']} others, rtol {how['rtols'][0]:g} to {how['rtols'][1]:g}, seed {seed}. {rows[0]['cpu']},",
        f"torch {rows[0]['versions']['torch']}, beside other jobs: the seconds of calibrations are upper bounds.", "",
        *families(rows), *second_opinion(checked), *gate_cost(cost), *picture(drawn),
    ]  # fmt: skip
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([before + BEGIN, *lines, END]) + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
