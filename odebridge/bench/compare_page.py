"""Several runs or machines side by side: are the counts equal, and how do the times compare?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from odebridge.bench import words
from odebridge.bench.equal import bootstrap, median
from odebridge.bench.page import Cell, Row, Section, cell, table_of, word

TITLE = "Runs side by side"
COUNTS = {
    "accepted", "rejected", "f_evals", "jacobians", "factorisations", "solves", "newton_iterations", "f_calls", "net_calls",
    "data_f_evals", "evaluations", "result", "flops", "parameters",
}  # fmt: skip
Key = tuple[str, str, int | None]


def section(every: Sequence[Row]) -> Section | None:
    """The first run beside every other with the same cases; None where no two runs have a case in common."""
    by: dict[str, dict[Key, Row]] = {}
    for r in every:
        by.setdefault(r["run"], {})[r["part"], r["hash"], r["seed"]] = r
    names = list(by)
    if len(names) < 2:
        return None
    said, differing = [], []
    first = names[0]
    for other in names[1:]:
        common = [k for k in by[first] if k in by[other]]
        if not common:
            continue
        changed = [k for k in common if list(counts_of(by[first][k]["values"])) != list(counts_of(by[other][k]["values"]))]
        said.append(
            f"{other} and {first} have {len(common)} cases in common; the counts of {len(common) - len(changed)} are equal."
        )
        ratios = [b / a for k in common if (a := _time(by[first][k])) and (b := _time(by[other][k]))]
        if ratios:
            bounds = bootstrap(ratios)
            more = "" if bounds is None else f" [{words.number(bounds[0], 2)}, {words.number(bounds[1], 2)}]"
            said.append(
                f"{other} ({_where(by[other])}) takes {words.number(median(ratios), 2)}{more} times as long as {first} "
                f"({_where(by[first])}), in the median over {len(ratios)} cases; they were not interleaved."
            )
        differing += [_difference(by[first][k], by[other][k]) for k in changed]
    if not said:
        return None
    columns: dict[str, Callable[[Row], Cell]] = {
        "part": lambda r: word(r["part"]),
        "case": lambda r: word(r["case"]),
        "count": lambda r: word(r["key"]),
        "first run": lambda r: cell(r["one"], str),
        "other run": lambda r: cell(r["two"], str),
    }
    tables = [table_of("Counts that differ", columns, differing, True)] if differing else []
    return Section("compare", TITLE, {}, said, [], tables)


def counts_of(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The counts among the values of a row: what two runs with one seed must agree on."""
    yield from ((k, values[k]) for k in sorted(COUNTS & values.keys()))
    for one in values.get("cells", ()):
        yield f"{one.get('contender')} {one.get('rtol')}", sorted(one.get("counts", {}).items())


def _time(row: Row) -> float | None:
    return row["values"].get("time") or row["seconds"]


def _where(rows: Mapping[Key, Row]) -> str:
    return words.listed(dict.fromkeys(f"{r['cpu']}, {r['device']}" for r in rows.values()))


def _difference(one: Row, two: Row) -> Row:
    a, b = dict(counts_of(one["values"])), dict(counts_of(two["values"]))
    key = next(k for k in {**a, **b} if a.get(k) != b.get(k))
    c = one["configuration"]
    case = ", ".join(str(c[k]) for k in ("family", "problem", "contest", "method", "kind", "steps", "rtol") if k in c)
    more = {"case": case, "key": key, "one": _short(a.get(key)), "two": _short(b.get(key))}
    return {**two, **more, "status": "differs", "message": f"{key}: {more['one']} and {more['two']}"}


def _short(value: Any) -> str | None:
    text = None if value is None else str(value)
    return text if text is None or len(text) < 60 else text[:57] + "..."
