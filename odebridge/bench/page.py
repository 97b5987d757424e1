"""What a section of the report is made of, and how rows become the cells of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from odebridge.bench import words

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


def figures_of(**panels: Sequence[str | None]) -> list[Figure]:
    """Figures by name, without the panels that had no data."""
    drawn = {name: tuple(p for p in some if p is not None) for name, some in panels.items()}
    return [Figure(name, some) for name, some in drawn.items() if some]


def table_of(
    name: str, columns: Mapping[str, Callable[[Row], Cell]], rows: Sequence[Row], merged: bool, named: int = 2
) -> Table:
    """Every row closes with its status; on a merged page also with its run. The first `named` columns say which run it is."""
    more: dict[str, Callable[[Row], Cell]] = {"status": lambda r: word(r["status"])}
    if merged:
        more["from run"] = lambda r: word(r["run"])
    shown = {**columns, **more}
    headings, troubles = tuple(shown), []
    for r in rows:
        if r["status"] != "ok":
            texts = [(heading, shown[heading](r)[0]) for heading in headings[:named]]
            who = ", ".join(t if t[0].isalpha() else f"{heading} {t}" for heading, t in texts if t != words.DASH)
            troubles.append(": ".join(filter(None, (who, r["status"], r["message"]))))
    return Table(name, headings, tuple((tuple(show(r) for show in shown.values()), r["status"]) for r in rows), tuple(troubles))


def cell(value: Any, show: Callable[[Any], str]) -> Cell:
    """A value as it is shown, a dash where there is none."""
    return (words.DASH, "") if value is None else (show(value), value)


def word(value: str) -> Cell:
    """A text, sorted as such."""
    return value, value


def two(value: float) -> str:
    """Two figures."""
    return words.number(value, 2)


def of(group: str, key: str, show: Callable[[Any], str]) -> Callable[[Row], Cell]:
    """The column of a key of the configuration or of the values."""
    return lambda row: cell(row[group].get(key), show)
