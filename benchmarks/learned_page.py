"""The tables of docs/learned.md: `python benchmarks/learned_page.py`.

From the rows of results/controllers (`odebridge bench controllers`) and results/learned_picture.json. A test fails when they
differ.
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
    how, seed = rows[0]["configuration"], run["settings"]["seed"]
    lines = [
        f"`{run['command']}`: {how['generations']} generations, {how['instances']} instances to search and choose on, figures",
        f"on {how['fresh']} others, rtol {how['rtols'][0]:g} to {how['rtols'][1]:g}, seed {seed}. {rows[0]['cpu']},",
        f"torch {rows[0]['versions']['torch']}, beside other jobs: the seconds of calibrations are upper bounds.", "",
        *families(rows), *picture(drawn),
    ]  # fmt: skip
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([before + BEGIN, *lines, END]) + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
