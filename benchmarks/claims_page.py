"""docs/claims.md: `python benchmarks/claims_page.py`.

From the rows of results/attention, refine, stiffness, tickets and depth, each a run folder of `odebridge bench` as it was
written. A test fails when the page is not what the rows say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from odebridge.bench.attention_page import compared
from odebridge.bench.claims import PAPER, TRIAL, UNMEASURED, Claim, judged
from odebridge.bench.grouped import groups, said
from odebridge.bench.inference import known
from odebridge.bench.record import RESULTS, read, read_run
from odebridge.bench.refine_page import curves, envelopes
from odebridge.bench.report import latest, machines
from odebridge.bench.words import DASH, GATES, between, number

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "claims.md"
FOLDERS = HERE / "results"
SUITES = ("attention", "refine", "stiffness", "tickets", "depth")
HEAD = """\
# Claims, measured

What the paper *Understanding Self-attention Mechanism via Dynamical System Perspective* (Huang, Liang, Qin, Zhong &
Lin, ICCV 2023) and a first trial of it say, and what a run of this package says of it. This page is made by `python
benchmarks/claims_page.py` from committed rows; no figure on it is typed by hand. Differences are paired by seed,
intervals are 95 %. *Holds* and *does not hold at this scale* speak of the data, the size and the rule in the row and of
nothing else; where a difference is not shown, it is not shown to be absent unless the row says "equal". The equations
of StepNet are not public: StepNet here is a reconstruction, and nothing on this page claims the accuracy tables of the
paper.
"""

Row = dict[str, Any]


def records() -> dict[str, list[Row]]:
    """The committed rows by suite."""
    return {s: latest(read(FOLDERS / s).rows) for s in SUITES if (FOLDERS / s / RESULTS).exists()}


def commands() -> dict[str, str]:
    """What repeats the record of a suite."""
    return {s: read_run(FOLDERS / s).get("command", f"odebridge bench {s}") for s in SUITES}


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def table(claims: Sequence[Claim], found: dict[str, list[Row]]) -> list[str]:
    """One row per claim."""
    lines = [line(("claim", "how it is measured", "data and size", "n", "figure", "verdict", "command")), "|" + "---|" * 7]
    repeat = commands()
    for claim, said_of in judged(claims, found):
        cells = (claim.text, claim.how, said_of.data, said_of.n, said_of.figure, f"**{said_of.verdict}**")
        lines.append(line((*cells, f"`{repeat[claim.suite]}`")))
    return [*lines, ""]


def unmeasured() -> list[str]:
    """Claims that no committed run can judge."""
    lines = [line(("claim", "why", "verdict")), "|" + "---|" * 3]
    return [*lines, *(line((text, why, f"**{verdict}**")) for text, why, verdict in UNMEASURED), ""]


def gates(rows: Sequence[Row]) -> list[str]:
    """The table of `odebridge bench attention`."""
    lines: list[str] = []
    for about, by in groups(rows, "attention"):
        heads = ("steps", "n", "accuracy, %", "sd", "parameters", "seconds", "TNS", "minus step 1", "p (Holm)")
        heads = (*heads, "minus learned constant", "p (Holm)", "p (not equal)")
        lines += [f"{said(about)}:", "", line(heads), "|" + "---|" * len(heads)]
        for c in compared(by):
            one, other = (between(d.mean, d.low, d.high) if d else DASH for d in (c.to_plain, c.to_constant))
            p, q, r = (number(known(v), 2) for v in (c.holm_plain, c.holm_constant, c.equal))
            cells = (GATES[c.controller], str(c.accuracy.n), f"{c.accuracy.mean:.2f}", number(known(c.accuracy.sd), 2))
            cost = (str(c.parameters), number(c.seconds), number(c.tns.mean if c.tns else None))
            lines.append(line((*cells, *cost, one, p, other, q, r)))
        lines.append("")
    return lines


def pictures(found: dict[str, list[Row]]) -> dict[str, tuple[str, str]]:
    """Name of a file in docs/images -> what it shows, and the SVG."""
    drawn: dict[str, tuple[str, str]] = {}
    for i, (about, by) in enumerate(groups(found.get("refine", []), "refine")):
        for name, make, text in (("refine", curves, "Accuracy under finer steps"), ("nsi", envelopes, "NSI per block")):
            if svg := make(i, by):
                drawn[f"claims-{name}-{i}.svg"] = (f"{text}: {said(about)}", svg)
    return drawn


def page() -> str:
    """The page as text."""
    found = records()
    lines = [HEAD, "## The paper", "", *table(PAPER, found), "## The first trial", "", *table(TRIAL, found)]
    lines += ["## Not measured here", "", *unmeasured()]
    drawn = pictures(found)
    if drawn:
        lines += ["## Pictures", "", "Thin lines are seeds; dashed lines the smallest and the largest sample.", ""]
        lines += [part for name, (text, _) in drawn.items() for part in (f"{text}:", "", f"![{text}](images/{name})", "")]
    if "attention" in found:
        lines += ["## Gates, paired seeds", "", *gates(found["attention"])]
    if found:
        rows = [row for some in found.values() for row in some]
        lines += ["## Measured on", "", *(f"- {m}" for m in machines(rows)), ""]
    else:
        lines += ["No record is committed yet.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
    for name, (_, svg) in pictures(records()).items():
        alone = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" style="background: white" ', 1)  # not in a page
        (PAGE.parent / "images" / name).write_text(alone)
    print(f"wrote {PAGE.relative_to(HERE.parent)}")
