"""The work of fixed solves in exact counts, so that a change of work between two commits is seen at once.

    odebridge bench counters --out counters.json
    odebridge bench counters --against benchmarks/history/counters.json

Counts do not depend on how fast a machine is. They may depend on its rounding: a file says which processor and versions made
it, and where those differ, counts that are within two per cent are called near instead of different.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from odebridge.bench.environment import commit, cpu_model, versions
from odebridge.bench.library import COUNTS, run_cell
from odebridge.bench.record import now
from odebridge.bench.runner import Event
from odebridge.core.files import parsed, write_atomic
from odebridge.methods.catalogue import METHODS
from odebridge.problems import problem

RTOLS = (1e-3, 1e-5)
EVERY = ("hires", "lotka_volterra")  # by every adaptive method
MORE = ("robertson", "van_der_pol", "orego", "pollu", "chemical_akzo_nobel")  # by these:
FEW = ("rodas5p", "kvaerno5", "radau5", "bdf")
SLOW = ("dopri8",)  # on stiff problems nothing but step after step
NEAR = 0.02
FILE = "counters.json"
Counts = dict[str, dict[str, list[int]]]


def cells() -> list[tuple[str, str]]:
    """What is solved: problem and method."""
    adaptive = [m for m in METHODS if METHODS[m].error_order is not None and m not in SLOW]
    return [(p, m) for p in EVERY for m in adaptive] + [(p, m) for p in MORE for m in FEW]


def counted(todo: list[tuple[str, str]], tell: Callable[[str], None] = lambda _: None) -> Counts:
    """For "problem, method" the counts of every tolerance, and the result codes."""
    out: Counts = {}
    for name, method in todo:
        if problem(name).mass is not None and not getattr(METHODS[method], "takes_mass", False):
            continue
        rows = list(run_cell(problem(name), method, list(RTOLS)))
        out[f"{name}, {method}"] = {k: [r[k] for r in rows] for k in (*COUNTS, "result")}
        tell(f"{name}, {method}")
    return out


def page(counts: Counts) -> dict[str, Any]:
    """The file: what was counted, and where."""
    where = {"commit": commit(), "utc": now(), "cpu": cpu_model(), "versions": versions()}
    return {"schema": 1, "rtols": list(RTOLS), **where, "counts": counts}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Sentences about what differs, and about what is near: less than two per cent, on another machine or version."""
    same = all(old.get(k) == new.get(k) for k in ("cpu", "versions"))
    different, near = [], []
    for name in sorted(old["counts"].keys() | new["counts"].keys()):
        a, b = old["counts"].get(name), new["counts"].get(name)
        if a is None or b is None:
            different.append(f"{name}: {'is new' if a is None else 'is gone'}")
            continue
        for key in a.keys() & b.keys():
            for rtol, x, y in zip(old["rtols"], a[key], b[key], strict=True):
                if x != y:
                    close = isinstance(x, int) and not same and abs(y - x) <= NEAR * max(abs(x), 1)
                    (near if close else different).append(f"{name}, rtol {rtol:.0e}: {key} {x} -> {y}{_change(x, y)}")
    return different, near


def _kept(path: Path) -> dict[str, Any]:
    """A file of counts, checked."""
    if not path.is_file():
        raise FileNotFoundError(
            f"against: there is no file {str(path)!r}; `odebridge bench counters --out FILE.json` writes one."
        )
    wrong = ValueError(f"against: {str(path)!r} is damaged, or no file that `odebridge bench counters` wrote.")
    try:
        old = parsed(path.read_bytes())
    except ValueError as error:
        raise wrong from error
    if not isinstance(old, dict) or not isinstance(old.get("rtols"), list) or not isinstance(old.get("counts"), dict):
        raise wrong
    columns = [c for cell in old["counts"].values() for c in (cell.values() if isinstance(cell, dict) else [None])]
    if not all(isinstance(c, list) and len(c) == len(old["rtols"]) for c in columns) or old["rtols"] != list(RTOLS):
        raise wrong
    return old


def _change(x: Any, y: Any) -> str:
    return f" ({100 * (y - x) / x:+.1f} %)" if isinstance(x, int) and x else ""


def counters(
    out: str | Path = FILE,
    seed: int = 0,  # noqa: ARG001 - every suite has one; nothing here is drawn
    tell: Callable[[Event], None] | None = None,
    *,
    against: Path | None = None,
) -> Path:
    """Count, and write `out` (a .json file, or counters.json in a folder); against: a file to compare with.

    ValueError, with the differences, where counts differ, or before anything is counted for a file that holds no counts;
    FileNotFoundError for no such file.
    """
    old = None if against is None else _kept(Path(against))
    todo, done = cells(), 0

    def say(label: str) -> None:
        nonlocal done
        done += 1
        if tell is not None:
            tell(Event("counters", label, done, len(todo)))

    new = page(counted(todo, say))
    path = Path(out) if Path(out).suffix == ".json" else Path(out) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(new, indent=1) + "\n").encode())
    if old is not None:
        different, near = differences(old, new)
        said = f"{against} (commit {old.get('commit')})"
        if different:
            raise ValueError("\n".join([f"counters: {len(different)} counts differ from {said}:", *different]))
        if near and tell is not None:
            tell(Event("counters", f"{len(near)} counts are near those of {said}", len(todo), len(todo)))
    return path
