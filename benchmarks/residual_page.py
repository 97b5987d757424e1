"""The section on learned Euler steps and on neural ODEs in docs/learned.md: `python benchmarks/residual_page.py`.

From results/residual (benchmarks/residual.py), results/node_controllers.json and results/sights.json (the scripts of the same
names). A test fails when they differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from odebridge.bench.inference import holm, interval, paired
from odebridge.bench.residual import FAMILIES

HERE = Path(__file__).parent
PAGE, RESULTS = HERE.parent / "docs" / "learned.md", HERE / "results"
BEGIN, END = "<!-- residual: begin -->", "<!-- residual: end -->"
GATES = {"blind": "blind", "se": "SE", "stepnet": "StepNet*"}
BASE, LEVEL = "constant", 0.05
Row = dict[str, Any]
Cells = dict[tuple[str, int], dict[str, Row]]  # family, K -> kind -> row


def cells(rows: Sequence[Row], stepping: str) -> Cells:
    """The settings of one way of stepping of which all kinds are there, families in order, K rising."""
    found: Cells = {}
    for name in FAMILIES:
        for k in sorted({r["steps"] for r in rows}):
            its = {r["kind"]: r for r in rows if (r["family"], r["stepping"], r["steps"]) == (name, stepping, k)}
            if {BASE, "equal", *GATES} <= set(its) and (stepping != "clock" or "formula" in its):
                found[name, k] = its
    return found


def logs(row: Row, key: str = "rms") -> list[float]:
    """Of every seed."""
    return [math.log(s[key]) for s in row["seeds"]]


def mean(row: Row, key: str) -> float:
    """Geometric over the seeds for errors, arithmetic for shares."""
    if key == "blown":
        return sum(s[key] for s in row["seeds"]) / len(row["seeds"])
    return math.exp(sum(logs(row, key)) / len(row["seeds"]))


def compared(found: Cells) -> dict[tuple[str, int, str], tuple[float, float, float, float]]:
    """Ratio to learned constants with its interval, and Holm's p over all comparisons of the table."""
    keys = [(name, k, kind) for (name, k), its in found.items() for kind in GATES if kind in its]
    tests = [paired(logs(found[name, k][kind]), logs(found[name, k][BASE])) for name, k, kind in keys]
    ps = holm([t.p for t in tests])
    bounds = [tuple(math.exp(v) for v in (t.mean, t.low, t.high)) for t in tests]
    return {key: (*b, p) for key, b, p in zip(keys, bounds, ps, strict=True)}  # type: ignore[misc]


def table(found: Cells, formula: bool) -> list[str]:
    """A row for each family and K."""
    tests = compared(found)
    head = ["family", "K", "equal", *(["formula"] if formula else []), "learned constants"]
    head += [f"{name} / constants" for name in GATES.values()] + ["blown up: equal, constants, SE, StepNet*"]
    out = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (name, k), its in found.items():
        line = [FAMILIES[name].title, str(k), *(f"{mean(its[kind], 'rms'):.3g}" for kind in ("equal",))]
        line += [f"{mean(its['formula'], 'rms'):.3g}"] if formula else []
        line += [f"{mean(its[BASE], 'rms'):.3g}"]
        line += [ratio(tests.get((name, k, kind))) for kind in GATES]
        line += [", ".join(f"{100 * mean(its[kind], 'blown'):.1f}" for kind in ("equal", BASE, "se", "stepnet")) + " %"]
        out.append(f"| {' | '.join(line)} |")
    return [*out, ""]


def ratio(test: tuple[float, float, float, float] | None) -> str:
    """With its interval; bold where Holm's p is below 0.05."""
    if test is None:
        return "-"
    middle, low, high, p = test
    words = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
    return f"**{words}**" if p < LEVEL else words


PAIRS = (("blind", BASE), ("se", BASE), ("stepnet", BASE), ("se", "blind"), ("stepnet", "blind"), ("stepnet", "se"))


def overall(found: Cells) -> list[str]:
    """Every pair of kinds: ratios over the families, and in how many settings it differs, Holm's correction for each pair."""
    head = ["", "error", "median error", "better", "worse", "of"]
    out, named = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"], {BASE: "constants", **GATES}
    for kind, base in PAIRS:
        tests = {key: paired(logs(its[kind]), logs(its[base])) for key, its in found.items()}
        medians = {key: paired(logs(its[kind], "median"), logs(its[base], "median")).mean for key, its in found.items()}
        ps = holm([t.p for t in tests.values()])
        better, worse = (
            sum(1 for t, p in zip(tests.values(), ps, strict=True) if p < LEVEL and (t.mean < 0) == less)
            for less in (True, False)
        )
        both = [by_family({key: t.mean for key, t in tests.items()}), by_family(medians)]
        line = [f"{named[kind]} / {named[base]}", *both, str(better), str(worse), str(len(tests))]
        out.append(f"| {' | '.join(line)} |")
    return [*out, ""]


def by_family(means: dict[tuple[str, int], float]) -> str:
    """Geometric mean over families, each the mean of its settings, with the 95 % interval over the families."""
    names = dict.fromkeys(name for name, _ in means)
    each = [[v for (name, _), v in means.items() if name == one] for one in names]
    t = interval([sum(v) / len(v) for v in each])
    return f"{math.exp(t.mean):.2f} [{math.exp(t.low):.2f}, {math.exp(t.high):.2f}]"


def steps_said(found: Cells) -> list[str]:
    """What the sizes are: which formula does best, how much learned ones differ between states."""
    spread = {kind: [s["h_spread"] for its in found.values() for s in its[kind]["seeds"] if s["h_spread"]] for kind in GATES}
    names = sorted({its["formula"]["seeds"][0]["formula"].split()[0] for its in found.values()})
    counts = {name: sum(its["formula"]["seeds"][0]["formula"].startswith(name) for its in found.values()) for name in names}
    best = " and ".join(f"{name} in {n}" for name, n in counts.items())
    return [
        f"The best formula is {best} of {len(found)} settings. Relative deviation of a step over the held-out starts: SE "
        f"{sum(spread['se']) / len(spread['se']):.2f}, StepNet* {sum(spread['stepnet']) / len(spread['stepnet']):.2f}.", "",
    ]  # fmt: skip


def residual(rows: Sequence[Row], about: Row) -> list[str]:
    """The tables of the residual view."""
    clock, channel = cells(rows, "clock"), cells(rows, "channel")
    seconds = sum(s.get("cpu_seconds", 0.0) for r in rows for s in r["seeds"])
    return [
        f"`python benchmarks/residual.py`: {about['seeds']} seeds, {about['train']} training starts each, "
        f"{about['iterations']} iterations of {about['batch']}, at rates {', '.join(f'{r:g}' for r in about['rates'])}; "
        f"{about['cpu']}, torch {about['versions']['torch']}, {seconds / 60:.0f} processor minutes in all. Errors: root mean "
        "square over 1024 held-out starts in standard deviations of the ends, each at most 10. Bold: Holm's p below 0.05 in "
        "this table. In the tables of pairs: geometric means over families with 95 % intervals over them, and in how many "
        "settings the first is better or worse (paired over seeds, Holm's p below 0.05 for each pair). StepNet*: a "
        "reconstruction.", "",
        f"Settings of which all kinds are measured: {len(clock)} of {3 * len(FAMILIES)} on the clock, {len(channel)} of "
        f"{len(FAMILIES)} by channel.", "",
        "On the clock:", "", *table(clock, True), *overall(clock), *steps_said(clock),
        "By channel:", "", *table(channel, False), *overall(channel),
    ]  # fmt: skip


def spread_of(values: Sequence[float]) -> str:
    """Geometric mean and 95 % interval over seeds, by Student's t of logarithms."""
    t = paired([math.log(v) for v in values], [0.0] * len(values))
    return f"{math.exp(t.mean):.3f} [{math.exp(t.low):.3f}, {math.exp(t.high):.3f}]"


OURS, TUNED, MATCHED = "calibrated", "tuned on the family", ", equal error"


def node(page: Row) -> list[str]:
    """The tables of neural ODEs: at one rtol, at equal error, and how the law fits before and after."""
    rows, size = page["rows"], page["size"]
    names = list(dict.fromkeys(r["set"] for r in rows))
    own = rows[0]["own"]
    out = [
        f"`python benchmarks/node_controllers.py`: {size['warm']} iterations of warm-up, then {size['further']} under each "
        f"law, rtol {rows[0]['rtol']:g}, {size['generations']} generations. f: all evaluations of the solves of the training. "
        "Ratios are geometric means over seeds with 95 % intervals over them; the last loss is the mean of the last 30 "
        "iterations, the test loss and the error of a solve are those of held-out windows at the end.", "",
    ]  # fmt: skip
    pairs = [("at one rtol", OURS, own), ("at one rtol", OURS, TUNED)]
    pairs += [("at equal error", OURS + MATCHED, own), ("at equal error", OURS + MATCHED, TUNED + MATCHED)]
    pairs += [("at equal error", TUNED + MATCHED, own)]
    head = ["set", "training", "laws", "seeds", "f", "last loss", "test loss", "error of a solve"]
    out += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, (how, ours, base) in [(n, p) for n in names for p in pairs]:
        mine = [r["arms"] for r in rows if r["set"] == name and ours in r["arms"]]
        if not mine:
            continue
        both = [(figures(arms[ours]), figures(arms[base])) for arms in mine]
        ratios = [spread_of([a[i] / b[i] for a, b in both]) for i in range(4)]
        laws = f"{ours} / {base}".replace(MATCHED, "").replace(TUNED, "tuned")
        out.append(f"| {' | '.join([name, how, laws, str(len(mine)), *ratios])} |")
    head = ["set", f"f at equal error / {own}: before", "after", "/ tuned: before", "after", "learned law kept", "paid after"]
    out += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in names:
        mine = [r for r in rows if r["set"] == name]
        fits = [spread_of([r[when][base]["ratio"] for r in mine]) for base in (own, TUNED) for when in ("before", "after")]
        kept = f"{sum(r['report']['kept'] == 'learned' for r in mine)} of {len(mine)}"
        out.append(f"| {' | '.join([name, *fits, kept, paid_said([paid_after(r) for r in mine])])} |")
    failed = sum(a["failed"] for r in rows for a in r["arms"].values())
    some = [r for r in rows if OURS + MATCHED in r["arms"]]
    return [
        *out, "",
        f"Trained at equal error as well: {len(some)} of {len(rows)} rows. "
        f"Before and after: on the field when the law was made and after {size['further']} more iterations, on starts that no "
        "search has seen. Paid after: the iterations that save what the solves of the search have cost, against the own law "
        f"(at equal error, where that was trained), if every solve is as long as those of the test. Failed solves in all "
        f"trainings: {failed}.", "",
    ]  # fmt: skip


def figures(arm: Row) -> tuple[float, float, float, float]:
    """Evaluations, last loss, loss on held-out windows, error of a solve."""
    return arm["f_evals"], sum(arm["loss"][-3:]), arm["test"]["loss"], arm["test"]["solve_error"]


def paid_after(row: Row) -> float | None:
    """Iterations of training that save what the search has solved, every solve as long as those of the test; None: never."""
    arms = row["arms"]
    base, ours = arms[row["own"]], arms.get(OURS + MATCHED, arms[OURS])
    saved = (base["f_evals"] - ours["f_evals"]) / (10 * len(base["loss"]))
    return row["searched"] * base["test"]["f_evals"] / saved if saved > 0 else None


def paid_said(counts: Sequence[float | None]) -> str:
    """The median, where no seed has never."""
    known = sorted(v for v in counts if v is not None)
    if len(known) < len(counts):
        return f"never with {len(counts) - len(known)} of {len(counts)} seeds"
    return f"about {round(known[len(known) // 2], -2):,.0f}".replace(",", " ")


def sights(page: Row) -> list[str]:
    """What a gate that sees more of the state gives, over one that sees nothing of it, paired over seeds."""
    rows = {(r["family"], r["sight"], r["seed"]): r for r in page["rows"]}
    head = ["family", "sight", "seeds", "numbers", "f / best classical", "f / sight of nothing", "kept"]
    out = [
        f"`python benchmarks/sights.py`: {page['method']}, {page['generations']} generations, {page['instances']} instances."
    ]
    out += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, sight in dict.fromkeys((f, s) for f, s, _ in rows):
        seeds = [k for f, s, k in rows if (f, s) == (name, sight)]
        mine = [rows[name, sight, k] for k in seeds]
        beside = "-"
        if sight != "nothing":
            beside = spread_of([rows[name, sight, k]["ratio"] / rows[name, "nothing", k]["ratio"] for k in seeds])
        line = [name, sight, str(len(mine)), str(mine[0]["numbers"]), spread_of([r["ratio"] for r in mine]), beside]
        out.append(f"| {' | '.join(line)} | {sum(r['kept'] == 'learned' for r in mine)} of {len(mine)} |")
    return [*out, ""]


def updated(text: str) -> str:
    """The page with its figures made anew."""
    rows = [json.loads(line) for line in (RESULTS / "residual" / "rows.jsonl").read_text().splitlines()]
    about = json.loads((RESULTS / "residual" / "environment.json").read_text())
    trained = json.loads((RESULTS / "node_controllers.json").read_text())
    lines = ["### Euler steps on a known field", "", *residual(rows, about), "### Neural ODEs", "", *node(trained)]
    if (RESULTS / "sights.json").exists():
        lines += ["### What a gate sees of the state", "", *sights(json.loads((RESULTS / "sights.json").read_text()))]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([before + BEGIN, "", *lines, END]) + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
