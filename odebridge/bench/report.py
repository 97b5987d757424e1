"""One self-contained HTML page from the rows of one or several runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError

from odebridge.bench import (
    attention_page,
    compare_page,
    contest_page,
    controllers_page,
    depth_page,
    findings,
    library_page,
    plots,
    refine_page,
    stiffness_page,
    tickets_page,
    versus_page,
    words,
)
from odebridge.bench.page import Cell, Row, Section, cell, figures_of, of, table_of, two, word
from odebridge.bench.record import RESULTS, RUN, read, read_run
from odebridge.bench.solvers import REPEAT
from odebridge.core.files import write_atomic


def write_report(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Read runs/<id> folders, write the page atomically, return its path.

    FileNotFoundError for a folder without results; ValueError where no row can be read.
    Use: `write_report(["runs/<id>"], "report.html")`.
    """
    page = render(folders)
    write_atomic(Path(path), page.encode())
    return Path(path)


def render(folders: Sequence[str | Path]) -> str:
    """The page as text. Pictures and sentences take the latest row of equal configuration and seed, tables show all."""
    written, runs = _gathered(folders)
    every, rows = in_order(written), latest(written)
    environment = Environment(loader=PackageLoader("odebridge.bench"), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(number=words.number, seconds=words.seconds)
    filled = {
        "sections": _sections(rows, every, runs),
        "raw": _raw(every),
        "runs": runs,
        "others": sorted({row["part"] for row in every} - set(SECTIONS)),
        "failed": sum(row["status"] not in findings.GOOD for row in every),
        "total": len(every),
        "replaced": len(every) - len(rows),
        "machines": machines(every),
    }
    parts = ", ".join(map(repr, dict.fromkeys(row["part"] for row in every)))
    return _shown(parts, environment.get_template("report.html.j2").render, filled)


def sentences(folders: Sequence[str | Path]) -> dict[str, list[str]]:
    """The findings alone, by section, as the page has them."""
    rows = latest(_gathered(folders)[0])
    made = {
        "solvers": findings.solvers, "networks": findings.networks, "flowmap": findings.flowmap,
        "attention": attention_page.sentences, "refine": refine_page.sentences, "stiffness": stiffness_page.sentences,
        "tickets": tickets_page.sentences, "versus": versus_page.sentences, "library": library_page.sentences,
        "depth": depth_page.sentences, "controllers": controllers_page.sentences,
        **{part: contest_page.sentences_of(part) for part in contest_page.TITLES},
    }  # fmt: skip
    return {TITLES[part]: _shown(repr(part), make, rows) for part, make in made.items() if findings.of_part(rows, part)}


def _shown(part: str, make: Callable[..., Any], *given: Any) -> Any:
    """What is made of the rows of a part; ValueError where they are not what this version writes."""
    try:
        return make(*given)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, TemplateError) as error:
        raise ValueError(
            f"report: the rows of part {part} cannot be shown ({type(error).__name__}: {error}); they are of another "
            "version, or were changed by hand."
        ) from error


def _sections(
    rows: Sequence[Row], every: Sequence[Row], runs: Sequence[dict[str, Any]]
) -> list[tuple[str, list[str], Section]]:
    """Every part with its commands; runs that have cases in common are compared first."""
    built = [(part, _commands(part, every, runs), build) for part, build in SECTIONS.items() if findings.of_part(rows, part)]
    out = [(part, commands, _shown(repr(part), build, rows, every, len(runs) > 1)) for part, commands, build in built]
    beside = compare_page.section(every) if len(runs) > 1 else None
    return out if beside is None else [("", [], beside), *out]


def _commands(part: str, every: Sequence[Row], runs: Sequence[dict[str, Any]]) -> list[str]:
    """What was typed for the rows of a part."""
    used = {row["run"] for row in every if row["part"] == part}
    found = [str(run["about"].get("command") or "") for run in runs if run["name"] in used]
    return list(dict.fromkeys(filter(None, found)))


def _raw(every: Sequence[Row]) -> dict[str, str]:
    """The rows of every part as JSON that can stand in a page."""
    parts = dict.fromkeys(row["part"] for row in every)
    return {part: json.dumps([r for r in every if r["part"] == part]).replace("<", "\\u003c") for part in parts}


def _gathered(folders: Sequence[str | Path]) -> tuple[list[Row], list[dict[str, Any]]]:
    """Every row with the name of its run, and what is to be said about every run."""
    rows: list[Row] = []
    runs = []
    for folder in folders:
        if len(folders) > 1 and (Path(folder) / RUN).exists() and not (Path(folder) / RESULTS).exists():
            continue  # a share of a run that had nothing to do yet
        results, about = read(folder), read_run(folder)
        name = str(about.get("id") or Path(folder).resolve().name)
        rows += [{**row, "run": name} for row in results.rows]
        runs.append({"name": name, "about": about, "torn": results.torn, "damaged": results.damaged, "rows": len(results.rows)})
    if not rows:
        raise ValueError(f"There is nothing to report: {', '.join(map(str, folders))} holds no finished run.")
    return rows, runs


def latest(rows: Sequence[Row]) -> list[Row]:
    """The last row of every configuration and seed, in the order of the cases, whichever was finished first."""
    kept = {(row["part"], row["hash"], row["seed"]): row for row in sorted(rows, key=lambda r: r["utc"])}
    order = list(dict.fromkeys((row["part"], row["hash"], row["seed"]) for row in in_order(rows)))
    return [kept[key] for key in order]


def in_order(rows: Sequence[Row]) -> list[Row]:
    """By run, then by the place of the case in its part; rows without one stay as they were written."""
    runs = list(dict.fromkeys(row.get("run") for row in rows))
    return sorted(rows, key=lambda r: (runs.index(r.get("run")), -1 if r.get("order") is None else r["order"]))


def machines(rows: Sequence[Row]) -> list[str]:
    """Where the rows come from, each combination once, in words."""
    found = []
    for row in rows:
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        found.append(f"{row['cpu']}, {row['device']}, {row['threads']} thread{'s' if row['threads'] != 1 else ''}; {versions}")
    return list(dict.fromkeys(found))


TITLES = {
    "solvers": "Stiff solvers against published end states",
    "networks": "Residual networks as Euler integrators",
    "flowmap": "Solver against network on one axis",
    "attention": attention_page.TITLE,
    "refine": refine_page.TITLE,
    "stiffness": stiffness_page.TITLE,
    "tickets": tickets_page.TITLE,
    "versus": versus_page.TITLE,
    "library": library_page.TITLE,
    **contest_page.TITLES,
    "depth": depth_page.TITLE,
    "controllers": controllers_page.TITLE,
    "train": "Training runs",
}


def _solvers(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    problems = list(dict.fromkeys(r["configuration"]["problem"] for r in findings.of_part(rows, "solvers")))
    figures = figures_of(
        time=[plots.work_precision(rows, p, "time") for p in problems],
        evaluations=[plots.work_precision(rows, p, "f_evals") for p in problems],
    )

    def method(row: Row) -> Cell:
        return word(words.method(row["configuration"]["method"]) + (", one batch" if "lanes" in row["configuration"] else ""))

    def rtol(row: Row) -> Cell:
        return ("all", 1.0) if "lanes" in row["configuration"] else cell(row["configuration"]["rtol"], words.power)

    columns: dict[str, Callable[[Row], Cell]] = {
        "problem": of("configuration", "problem", lambda v: words.problem(str(v))),
        "method": method,
        "rtol": rtol,
        "largest relative error": of("values", "relative", two),
        "mescd": of("values", "mescd", words.number),
        "f evaluations": of("values", "f_evals", words.number),
        "accepted": of("values", "accepted", words.number),
        "rejected": of("values", "rejected", words.number),
        "Jacobians": of("values", "jacobians", words.number),
        "LU": of("values", "factorisations", words.number),
        "time": of("values", "time", words.seconds),
    }
    table = table_of("All solves", columns, findings.of_part(every, "solvers"), merged, named=3)
    about = {"repeat": REPEAT}
    return Section("solvers", TITLES["solvers"], about, findings.solvers(rows), figures, [table])


def _networks(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    about = findings.of_part(rows, "networks")[0]["configuration"]
    figures = figures_of(networks=[plots.accuracy(rows), plots.nsi(rows), plots.steps(rows)])
    columns: dict[str, Callable[[Row], Cell]] = {
        "steps": of("configuration", "controller", _steps),
        "seed": lambda r: cell(r["seed"], str),
        "test accuracy": of("values", "accuracy", lambda v: f"{100 * v:.1f} %"),
        "training loss": of("values", "train_loss", words.number),
        "parameters": of("values", "parameters", words.number),
        "epochs": of("values", "epochs", words.number),
        "training": of("values", "train_seconds", words.seconds),
    }
    table = table_of("All networks", columns, findings.of_part(every, "networks"), merged)
    return Section("networks", TITLES["networks"], about, findings.networks(rows), figures, [table])


def _flowmap(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    about = findings.of_part(rows, "flowmap")[0]["configuration"]
    against = (("evaluations", "median"), ("evaluations", "p90"), ("time", "median"))
    figures = figures_of(flowmap=[plots.flow(rows, cost, error) for cost, error in against])
    columns: dict[str, Callable[[Row], Cell]] = {
        "run": lambda r: word(_flow_name(r["configuration"])),
        "seed": lambda r: cell(r["seed"], str),
        "evaluations": of("values", "evaluations", words.number),
        "median error": of("values", "median", two),
        "90th percentile": of("values", "p90", two),
        "not finite": of("values", "not_finite_states", words.number),
        "time": of("values", "time", words.seconds),
        "training": of("values", "train_seconds", words.seconds),
    }
    table = table_of("All runs", columns, findings.of_part(every, "flowmap"), merged)
    return Section("flowmap", TITLES["flowmap"], about, findings.flowmap(rows), figures, [table])


def _trainings(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    columns: dict[str, Callable[[Row], Cell]] = {
        "model": of("configuration", "model", str),
        "depth": of("configuration", "depth", str),
        "steps": of("configuration", "controller", _steps),
        "data": of("configuration", "data", str),
        "seed": lambda r: cell(r["seed"], str),
        "last test accuracy": lambda r: cell(next(iter(r["values"]["accuracy"][-1:]), None), lambda v: f"{100 * v:.2f} %"),
        "training": of("values", "train_seconds", words.seconds),
        "device": lambda r: word(r["device"]),
    }
    table = table_of("All training runs", columns, findings.of_part(every, "train"), merged, named=5)
    return Section("train", TITLES["train"], {}, [], figures_of(train=[plots.training(rows)]), [table])


SECTIONS: dict[str, Callable[[Sequence[Row], Sequence[Row], bool], Section]] = {
    "versus": versus_page.section,
    "library": library_page.section,
    **{part: contest_page.section_of(part) for part in contest_page.TITLES},
    **{part: contest_page.plain(part) for part in contest_page.OTHERS},
    "solvers": _solvers,
    "networks": _networks,
    "flowmap": _flowmap,
    "attention": attention_page.section,
    "refine": refine_page.section,
    "stiffness": stiffness_page.section,
    "tickets": tickets_page.section,
    "depth": depth_page.section,
    "controllers": controllers_page.section,
    "train": _trainings,
}


def _flow_name(c: Mapping[str, Any]) -> str:
    if c["what"] == "data":
        return f"training data, {words.number(c['train'])} states"
    if c["what"] == "network":
        return f"network, {c['blocks']} blocks, {_steps(c['controller'])}"
    how = f"{c['steps']} steps" if "steps" in c else f"adaptive, rtol {words.power(c['rtol'])}"
    return f"{words.method(c['method'])}, {how}"


def _steps(controller: str) -> str:
    return words.CONTROLLERS.get(controller, controller)
