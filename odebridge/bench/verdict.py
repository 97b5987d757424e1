"""What contests have shown, as JSON lines and as a table in Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from odebridge.bench.contest import Cell, Contest, points
from odebridge.bench.environment import PACKAGES, commit, environment, versions
from odebridge.bench.equal import Spread, bootstrap, bracket, median, ratio, spread, time_at
from odebridge.bench.record import finite, now
from odebridge.core.files import write_atomic
from odebridge.peers import faults_of

PEERS = ("scikit-sundae", "torchdiffeq", "torchode", "jax", "diffrax")
LIBRARIES = (*PACKAGES, *PEERS)


def verdicts(contest: Contest, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row for each target and contender: trajectories per processor second at that error, and how many times ours does."""
    rows = []
    for target in contest.targets:
        best, mine, bounded = _ours_at(contest, cells, target)
        for who in contest.contenders:
            found = points(cells, who.name)
            its = [c for c in cells if c.contender == who.name]
            row: dict[str, Any] = {
                "contest": contest.name, "target": target, "contender": who.name, "lanes": its[0].lanes if its else 0,
                "compile_seconds": max((c.compile_seconds for c in its), default=0.0),
                "failed": max((c.failed for c in its), default=0),
            }  # fmt: skip
            times = time_at(found, target)
            if times is None:
                row["status"] = _why_not(found, its, target)
            else:
                loose, tight = bracket(found, target) or (found[0], found[0])
                row |= {"status": "ok", "rtols": [loose.rtol, tight.rtol], "rounds": len(times)}
                row["per_second"] = asdict(spread([1 / t for t in times]))
                if mine is not None and who.name != best:
                    row |= {"ratio": asdict(ratio(times, mine)), "at_least": bounded}
                    row["interval"] = bootstrap([a / b for a, b in zip(times, mine, strict=False)])
            rows.append(row)
    return rows


def _ours_at(contest: Contest, cells: Sequence[Cell], target: float) -> tuple[str, tuple[float, ...] | None, bool]:
    """The best of ours at the target, and its times.

    Only where none of ours brackets the target: the times of one whose loosest tolerance is more accurate than asked for.
    They can only be longer than those that the target needs, so a ratio with them is a lower bound (True).
    """
    mine = {who.name: points(cells, who.name) for who in contest.contenders if who.name.startswith(contest.ours)}
    exact = {name: times for name, found in mine.items() if (times := time_at(found, target)) is not None}
    better = [(name, max(found, key=lambda p: p.rtol)) for name, found in mine.items() if found]
    bounds = {name: p.times for name, p in better if p.error < target}
    some = exact or bounds
    if not some:
        return "", None, False
    best = min(some, key=lambda name: median(some[name]))
    return best, some[best], not exact


def _why_not(found: Sequence[Any], its: Sequence[Cell], target: float) -> str:
    said = next((c.message for c in reversed(its) if c.message), "")
    if not found:
        return said or "not run"
    if max(p.error for p in found) < target:
        return "more accurate at its loosest tolerance"
    return f"did not reach this error in the time it was given{': ' + said if said else ''}"


def markdown(title: str, text: str, rows: Sequence[dict[str, Any]], cells: dict[str, Sequence[Cell]], command: str) -> str:
    """The page: a table for each contest, the cells behind it, known faults, versions, hardware."""
    out = [f"# {title}", "", text, ""]
    rule = "|---|---|---|---|---|---|"
    titles = "| solver | trajectories per CPU second | their time / our best | rtol | trajectories | compiling, s |"
    every = "| solver | rtol | error, median | 99 % | failed | ms per trajectory |"
    for contest in dict.fromkeys(row["contest"] for row in rows):
        out += [f"## {contest}", ""]
        for target in dict.fromkeys(r["target"] for r in rows if r["contest"] == contest):
            out += [f"At error {target:.0e}:", "", titles, rule]
            out += [_line(r) for r in rows if r["contest"] == contest and r["target"] == target] + [""]
        out += ["<details><summary>every tolerance</summary>", "", every, rule]
        for c in cells.get(contest, ()):
            each = f"{1e3 * median(c.cpu):.4g}" if c.cpu else "-"
            out.append(f"| {c.contender} | {c.rtol:.0e} | {c.error:.1e} | {c.worst:.1e} | {c.failed} of {c.lanes} | {each} |")
        out += ["", "</details>", ""]
    out += _faults({r["contender"] for r in rows}) + _foot(command)
    return "\n".join(out) + "\n"


def _line(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return f"| {row['contender']} | {row['status']} | - | - | {row['lanes']} | {row['compile_seconds']:.1f} |"
    pair = " and ".join(f"{r:.0e}" for r in row["rtols"])
    times = f"{'at least ' if row['at_least'] else ''}{_range(row['ratio'])}" if "ratio" in row else "-"
    rate = _range(row["per_second"])
    return f"| {row['contender']} | {rate} | {times} | {pair} | {row['lanes']} | {row['compile_seconds']:.1f} |"


def _range(values: dict[str, float] | Spread) -> str:
    v = values if isinstance(values, dict) else asdict(values)
    return f"{v['median']:.3g} ({v['low']:.3g} to {v['high']:.3g})"


def _faults(names: set[str]) -> list[str]:
    known = list(dict.fromkeys(fault for name in sorted(names) for fault in faults_of(name)))
    lines = [f"- `{fault.peer}` ({fault.versions}): {fault.what} {fault.remedy}" for fault in known]
    return ["## Known faults of the peers", "", *lines, ""] if lines else []


def _foot(command: str) -> list[str]:
    where = environment()
    found = ", ".join(f"{k} {v}" for k, v in versions(LIBRARIES).items())
    return [
        "## Where and how", "",
        f"- {where['cpu']}, {where['cores']} cores of which one was used, {where['system']}; {now()}",
        f"- {found}",
        f"- commit {commit()}; `{command}`",
    ]  # fmt: skip


def head(title: str, command: str) -> dict[str, Any]:
    """The first line of a results file: what, how, when and where."""
    page = {"kind": "run", "title": title, "command": command, "commit": commit(), "utc": now(), **environment()}
    return {**page, "versions": versions(LIBRARIES)}


def write(
    folder: Path, title: str, text: str, rows: Sequence[dict[str, Any]], cells: dict[str, Sequence[Cell]], command: str
) -> None:
    """results.jsonl (a head, every cell, every verdict) and table.md."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [head(title, command)]
    lines += [{"kind": "cell", "contest": name, **asdict(c)} for name, of in cells.items() for c in of]
    lines += [{"kind": "verdict", **row} for row in rows]
    text_lines = [json.dumps(finite(line)[0], allow_nan=False) for line in lines]
    write_atomic(folder / "results.jsonl", ("\n".join(text_lines) + "\n").encode())
    write_atomic(folder / "table.md", markdown(title, text, rows, cells, command).encode())


def told(row: dict[str, Any]) -> str:
    """A verdict as one line on the screen."""
    where = f"{row['contest']} at {row['target']:.0e}: {row['contender']}"
    if row["status"] != "ok":
        return f"{where}: {row['status']}"
    times = (
        f", {'at least ' if row['at_least'] else ''}{_range(row['ratio'])} their time over our best" if "ratio" in row else ""
    )
    return f"{where}: {_range(row['per_second'])} trajectories per CPU second{times}"
