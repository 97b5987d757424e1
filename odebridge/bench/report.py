"""One self-contained HTML page from the rows of one or several runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from odebridge.bench import findings, plots, words
from odebridge.bench.record import read, read_run
from odebridge.bench.solvers import REPEAT
from odebridge.core.files import write_atomic

Row = dict[str, Any]
Cell = tuple[str, Any]  # what is shown, and what is sorted by


@dataclass(frozen=True)
class Table:
    """Headings, for each row its cells and status, and a sentence for every row that did not succeed."""

    name: str
    headings: tuple[str, ...]
    rows: tuple[tuple[tuple[Cell, ...], str], ...]  # cells, status
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A row of panels; the caption of that name stands in templates/prose.html.j2."""

    name: str
    panels: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One part of the suite on the page; its introduction stands in templates/prose.html.j2 and may use `about`."""

    name: str
    title: str
    about: Mapping[str, Any]
    findings: Sequence[str]
    figures: Sequence[Figure]
    tables: Sequence[Table]


def write_report(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Read runs/<id> folders, write the page atomically, return its path.

    FileNotFoundError for a folder without results; ValueError where no row can be read.
    """
    page = render(folders)
    write_atomic(Path(path), page.encode())
    return Path(path)


def render(folders: Sequence[str | Path]) -> str:
    """The page as text. Pictures and sentences take the latest row of equal configuration and seed, tables show all."""
    every, runs = _gathered(folders)
    rows = latest(every)
    environment = Environment(loader=PackageLoader("odebridge.bench"), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(number=words.number, seconds=words.seconds)
    return environment.get_template("report.html.j2").render(
        sections=_sections(rows, every, len(runs) > 1),
        runs=runs,
        others=sorted({row["part"] for row in every} - set(SECTIONS)),
        failed=sum(row["status"] not in findings.GOOD for row in every),
        total=len(every),
        replaced=len(every) - len(rows),
        machines=machines(every),
    )


def sentences(folders: Sequence[str | Path]) -> dict[str, list[str]]:
    """The findings alone, by section, as the page has them."""
    rows = latest(_gathered(folders)[0])
    made = {"solvers": findings.solvers, "networks": findings.networks, "flowmap": findings.flowmap}
    return {TITLES[part]: make(rows) for part, make in made.items() if findings.of_part(rows, part)}


def _sections(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> list[Section]:
    return [build(rows, every, merged) for part, build in SECTIONS.items() if findings.of_part(rows, part)]


def _gathered(folders: Sequence[str | Path]) -> tuple[list[Row], list[dict[str, Any]]]:
    """Every row with the name of its run, and what is to be said about every run."""
    rows: list[Row] = []
    runs = []
    for folder in folders:
        results, about = read(folder), read_run(folder)
        name = str(about.get("id") or Path(folder).resolve().name)
        rows += [{**row, "run": name} for row in results.rows]
        runs.append({"name": name, "about": about, "torn": results.torn, "damaged": results.damaged, "rows": len(results.rows)})
    if not rows:
        raise ValueError(f"There is nothing to report: {', '.join(map(str, folders))} holds no finished run.")
    return rows, runs


def latest(rows: Sequence[Row]) -> list[Row]:
    """The last row of every configuration and seed, in the order of first appearance."""
    kept = {(row["part"], row["hash"], row["seed"]): row for row in sorted(rows, key=lambda r: r["utc"])}
    order = list(dict.fromkeys((row["part"], row["hash"], row["seed"]) for row in rows))
    return [kept[key] for key in order]


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
    "train": "Training runs",
}


def _solvers(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    problems = list(dict.fromkeys(r["configuration"]["problem"] for r in findings.of_part(rows, "solvers")))
    figures = _figures(
        time=[plots.work_precision(rows, p, "time") for p in problems],
        evaluations=[plots.work_precision(rows, p, "f_evals") for p in problems],
    )

    def method(row: Row) -> Cell:
        return _text(words.method(row["configuration"]["method"]) + (", one batch" if "lanes" in row["configuration"] else ""))

    def rtol(row: Row) -> Cell:
        return ("all", 1.0) if "lanes" in row["configuration"] else _cell(row["configuration"]["rtol"], words.power)

    columns: dict[str, Callable[[Row], Cell]] = {
        "problem": _of("configuration", "problem", lambda v: words.PROBLEMS.get(v, str(v))),
        "method": method,
        "rtol": rtol,
        "largest relative error": _of("values", "relative", _two),
        "mescd": _of("values", "mescd", words.number),
        "f evaluations": _of("values", "f_evals", words.number),
        "accepted": _of("values", "accepted", words.number),
        "rejected": _of("values", "rejected", words.number),
        "Jacobians": _of("values", "jacobians", words.number),
        "LU": _of("values", "factorisations", words.number),
        "time": _of("values", "time", words.seconds),
    }
    table = _table("All solves", columns, findings.of_part(every, "solvers"), merged, named=3)
    about = {"repeat": REPEAT}
    return Section("solvers", TITLES["solvers"], about, findings.solvers(rows), figures, [table])


def _networks(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    about = findings.of_part(rows, "networks")[0]["configuration"]
    figures = _figures(networks=[plots.accuracy(rows), plots.nsi(rows), plots.steps(rows)])
    columns: dict[str, Callable[[Row], Cell]] = {
        "steps": _of("configuration", "controller", _steps),
        "seed": lambda r: _cell(r["seed"], str),
        "test accuracy": _of("values", "accuracy", lambda v: f"{100 * v:.1f} %"),
        "training loss": _of("values", "train_loss", words.number),
        "parameters": _of("values", "parameters", words.number),
        "epochs": _of("values", "epochs", words.number),
        "training": _of("values", "train_seconds", words.seconds),
    }
    table = _table("All networks", columns, findings.of_part(every, "networks"), merged)
    return Section("networks", TITLES["networks"], about, findings.networks(rows), figures, [table])


def _flowmap(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    about = findings.of_part(rows, "flowmap")[0]["configuration"]
    against = (("evaluations", "median"), ("evaluations", "p90"), ("time", "median"))
    figures = _figures(flowmap=[plots.flow(rows, cost, error) for cost, error in against])
    columns: dict[str, Callable[[Row], Cell]] = {
        "run": lambda r: _text(_flow_name(r["configuration"])),
        "seed": lambda r: _cell(r["seed"], str),
        "evaluations": _of("values", "evaluations", words.number),
        "median error": _of("values", "median", _two),
        "90th percentile": _of("values", "p90", _two),
        "not finite": _of("values", "not_finite_states", words.number),
        "time": _of("values", "time", words.seconds),
        "training": _of("values", "train_seconds", words.seconds),
    }
    table = _table("All runs", columns, findings.of_part(every, "flowmap"), merged)
    return Section("flowmap", TITLES["flowmap"], about, findings.flowmap(rows), figures, [table])


def _trainings(rows: Sequence[Row], every: Sequence[Row], merged: bool) -> Section:
    columns: dict[str, Callable[[Row], Cell]] = {
        "model": _of("configuration", "model", str),
        "depth": _of("configuration", "depth", str),
        "steps": _of("configuration", "controller", _steps),
        "data": _of("configuration", "data", str),
        "seed": lambda r: _cell(r["seed"], str),
        "last test accuracy": lambda r: _cell(next(iter(r["values"]["accuracy"][-1:]), None), lambda v: f"{100 * v:.2f} %"),
        "training": _of("values", "train_seconds", words.seconds),
        "device": lambda r: _text(r["device"]),
    }
    table = _table("All training runs", columns, findings.of_part(every, "train"), merged, named=5)
    return Section("train", TITLES["train"], {}, [], _figures(train=[plots.training(rows)]), [table])


SECTIONS = {"solvers": _solvers, "networks": _networks, "flowmap": _flowmap, "train": _trainings}


def _flow_name(c: Mapping[str, Any]) -> str:
    if c["what"] == "data":
        return f"training data, {words.number(c['train'])} states"
    if c["what"] == "network":
        return f"network, {c['blocks']} blocks, {_steps(c['controller'])}"
    how = f"{c['steps']} steps" if "steps" in c else f"adaptive, rtol {words.power(c['rtol'])}"
    return f"{words.method(c['method'])}, {how}"


def _figures(**panels: Sequence[str | None]) -> list[Figure]:
    """Figures by name, without the panels that had no data."""
    drawn = {name: tuple(p for p in some if p is not None) for name, some in panels.items()}
    return [Figure(name, some) for name, some in drawn.items() if some]


def _table(name: str, columns: Mapping[str, Callable[[Row], Cell]], rows: Sequence[Row], merged: bool, named: int = 2) -> Table:
    """Every row closes with its status; on a merged page also with its run. The first `named` columns say which run it is."""
    more: dict[str, Callable[[Row], Cell]] = {"status": lambda r: _text(r["status"])}
    if merged:
        more["from run"] = lambda r: _text(r["run"])
    shown = {**columns, **more}
    headings, troubles = tuple(shown), []
    for r in rows:
        if r["status"] != "ok":
            texts = [(heading, shown[heading](r)[0]) for heading in headings[:named]]
            who = ", ".join(text if text[0].isalpha() else f"{heading} {text}" for heading, text in texts if text != words.DASH)
            troubles.append(": ".join(filter(None, (who, r["status"], r["message"]))))
    return Table(name, headings, tuple((tuple(cell(r) for cell in shown.values()), r["status"]) for r in rows), tuple(troubles))


def _cell(value: Any, show: Callable[[Any], str]) -> Cell:
    return (words.DASH, "") if value is None else (show(value), value)


def _text(value: str) -> Cell:
    return value, value


def _two(value: float) -> str:
    return words.number(value, 2)


def _steps(controller: str) -> str:
    return words.CONTROLLERS.get(controller, controller)


def _of(group: str, key: str, show: Callable[[Any], str]) -> Callable[[Row], Cell]:
    return lambda row: _cell(row[group].get(key), show)
