"""Results that survive a crash: one strict-JSON line per finished run, and a folder that says first what is going to run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from odebridge.bench.environment import commit, cpu_model, environment, versions
from odebridge.core.files import name_file, parsed, sync_folder, write_atomic
from odebridge.core.toml import written_toml

SCHEMA = 1
RESULTS, RUN, REPORT, CONFIG = "results.jsonl", "run.json", "report.html", "config.toml"


@dataclass(frozen=True)
class Row:
    """One finished run.

    configuration: everything that was chosen; equal configurations have equal hashes. values: what was measured.
    status: "ok"; "failed" (the solver or the training gave up); "shortened" (stopped early by the time budget); "skipped" (not
    begun); "error" (a fault of the benchmark itself); message says why. seconds: wall time of the whole run, repeats included.
    order: the place of the case in its part, so that tables do not depend on which case was finished first.
    """

    part: str
    configuration: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    message: str = ""
    seed: int | None = None
    seconds: float | None = None
    device: str = "cpu"
    threads: int = 1
    order: int | None = None


@dataclass(frozen=True)
class Results:
    """What a results file holds: rows in the order written, and how many lines could not be read."""

    rows: tuple[dict[str, Any], ...]
    torn: int  # 1 if the last line was cut off by a crash
    damaged: int  # other lines that are no JSON object of ours
    foreign: int = 0  # whole JSON objects that never were rows

    @property
    def left_out(self) -> list[str]:
        """What was not read, in words; empty where everything was."""
        torn = ["the last line was cut off by a crash and is left out"] if self.torn else []
        damaged = [f"{_lines(self.damaged)} damaged and left out"] if self.damaged else []
        foreign = f"{_lines(self.foreign)} of an older or another format (no schema) and left out"
        return torn + damaged + ([foreign] if self.foreign else [])


def _lines(n: int) -> str:
    return "1 line is" if n == 1 else f"{n} lines are"


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: keys sorted, no spaces. ValueError or TypeError if JSON cannot hold it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """The sha256 of the canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(configuration).encode()).hexdigest()


def check_of(row: Mapping[str, Any]) -> str:
    """Start of the sha256 of a row without its own "check": a flipped byte costs the row, and is counted."""
    return configuration_hash({k: v for k, v in row.items() if k != "check"})[:16]


def finite(value: Any, path: str = "") -> tuple[Any, list[str]]:
    """The value with null in place of every NaN and infinity, and the paths of those: strict JSON has neither."""
    if isinstance(value, float):
        return (value, []) if math.isfinite(value) else (None, [path])
    if isinstance(value, Mapping):
        pairs = {str(k): finite(v, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
        return {k: v for k, (v, _) in pairs.items()}, [p for _, bad in pairs.values() for p in bad]
    if isinstance(value, (list, tuple)):
        items = [finite(v, f"{path}[{i}]") for i, v in enumerate(value)]
        return [v for v, _ in items], [p for _, bad in items for p in bad]
    return value, []


def now() -> str:
    """UTC in ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(row: Row, suite: str) -> dict[str, Any]:
    """The row as it is written, readable on its own. An "ok" with values that are not finite becomes "not finite"."""
    values, bad = finite(row.values)
    configuration, _ = finite(row.configuration)
    return {
        "schema": SCHEMA,
        "suite": suite,
        "part": row.part,
        "configuration": configuration,
        "hash": configuration_hash(configuration),
        "seed": row.seed,
        "order": row.order,
        "status": "not finite" if bad and row.status == "ok" else row.status,
        "message": row.message,
        "not_finite": bad,
        "values": values,
        "seconds": finite(row.seconds)[0],
        "device": row.device,
        "cpu": cpu_model(),
        "threads": row.threads,
        "versions": versions(),
        "utc": now(),
    }


class RunFolder:
    """runs/<id>/ of one run: run.json is written first, then every finished row at once, flushed to the disk.

    id = UTC time and the start of the hash of suite and settings. FileExistsError never: a second run within the same second
    gets a number. OSError, such as PermissionError, where the folder cannot be written. options: what was chosen, by the names
    of the command's options; config.toml keeps it in the form that `--config` takes.
    """

    def __init__(
        self, out: str | Path, suite: str, settings: Mapping[str, Any], command: str, options: Mapping[str, Any] | None = None
    ) -> None:
        self.suite = suite
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{configuration_hash({'suite': suite, **settings})[:8]}"
        self.path = _new_folder(Path(out), stem)
        page = {
            "schema": SCHEMA,
            "id": self.path.name,
            "suite": suite,
            "command": command,
            "settings": dict(settings),
            "hash": configuration_hash(settings),
            "commit": commit(),
            "utc": now(),
            **environment(),
        }
        write_atomic(self.path / RUN, json.dumps(page, indent=1, allow_nan=False).encode())
        if options is not None:
            again = f"{command.split(' --')[0]} --config {CONFIG}"
            write_atomic(self.path / CONFIG, written_toml(options, again).encode())

    @classmethod
    def reopened(cls, path: str | Path, suite: str) -> RunFolder:
        """A run folder that is there already, to append to."""
        folder = cls.__new__(cls)
        folder.suite, folder.path = suite, Path(path)
        return folder

    def append(self, row: Row) -> dict[str, Any]:
        """Write one row; when this returns it has reached the disk. Returns what was written.

        OSError with the name of the file where it cannot be written; the rows before are as they were.
        """
        written = line(row, self.suite)
        written["check"] = check_of(written)
        text = json.dumps(written, allow_nan=False) + "\n"
        path = self.path / RESULTS
        fresh = not path.exists()
        size = 0 if fresh else path.stat().st_size
        try:
            with path.open("ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            with contextlib.suppress(OSError):  # half a line would take the next one with it
                os.truncate(path, size)
            name_file(error, path)
            raise
        if fresh:
            sync_folder(self.path)
        return written


def read(folder: str | Path) -> Results:
    """The rows of runs/<id> (or of a results.jsonl itself). A line that a crash cut off is skipped and counted.

    So are damaged lines, and those of another format, which never had a schema; see `Results.left_out`.
    FileNotFoundError if there is none; ValueError for rows of a newer schema. Use: `read("benchmarks/results/quick").rows`.
    """
    path = Path(folder)
    path = path / RESULTS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"There are no results at {folder}: a run folder holds {RESULTS}.")
    lines = path.read_bytes().split(b"\n")
    rows: list[dict[str, Any]] = []
    torn = damaged = foreign = 0
    for i, text in enumerate(lines):
        if not text.strip():
            continue
        row = _parsed(text)
        if row is None and _is_foreign(text):
            foreign += 1
        elif row is None and i == len(lines) - 1:
            torn = 1
        elif row is None:
            damaged += 1
        elif row["schema"] > SCHEMA:
            raise ValueError(f"{path}: was written with schema {row['schema']}; this odebridge reads up to {SCHEMA}.")
        else:
            rows.append(row)
    return Results(tuple(rows), torn, damaged, foreign)


def mended(path: Path) -> None:
    """Cut off a last line that a crash has torn, so that the next row begins on a line of its own."""
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        last = text.rsplit(b"\n", 1)[-1]
        whole = text + b"\n" if _parsed(last) is not None else text[: len(text) - len(last)]
        write_atomic(path, whole)


def read_run(folder: str | Path) -> dict[str, Any]:
    """run.json of a run folder, or an empty dictionary where it is missing or damaged: the rows stand on their own."""
    try:
        page = parsed((Path(folder) / RUN).read_bytes())
    except (OSError, ValueError):
        return {}
    return page if isinstance(page, dict) else {}


# What every row has, whatever its suite, and of which kind.
WHOLE = (int, type(None))
SHAPE: Mapping[str, type | tuple[type, ...]] = {
    "schema": int, "part": str, "configuration": dict, "hash": str, "seed": WHOLE, "status": str, "message": str,
    "values": dict, "utc": str, "cpu": str, "device": str, "threads": int, "versions": dict,
}  # fmt: skip


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        row = parsed(text)
    except ValueError:  # JSON and UTF-8 errors alike
        return None
    if not isinstance(row, dict) or not isinstance(row.get("schema"), int):
        return None
    fits = all(k in row and isinstance(row[k], t) for k, t in SHAPE.items()) and isinstance(row.get("order"), WHOLE)
    if row["schema"] <= SCHEMA and not fits:
        return None
    try:  # rows of before checks were written have none
        sound = check_of(row) == row.get("check", check_of(row))
    except ValueError:  # an infinite number, which no row of ours holds
        return None
    return row if sound else None


# A row of ours keeps most of these, whichever byte of it is damaged.
MARKS = ("schema", "check", "hash", "configuration")


def _is_foreign(text: bytes) -> bool:
    """Whether a line is a whole JSON object with nothing of a row."""
    try:
        row = parsed(text)
    except ValueError:
        return False
    return isinstance(row, dict) and not any(mark in row for mark in MARKS)


def _new_folder(out: Path, stem: str) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = out / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
