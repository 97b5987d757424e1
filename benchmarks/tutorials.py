"""Seconds of every tutorial, as a page read from top to bottom: `python benchmarks/tutorials.py [--full] [NAMES ...]`.

Each runs in a process of its own on one thread; imports count. Limits: 15 s of processors in the fast size, 120 s in the full
one. A tutorial above its limit, or that fails, makes the exit status 1. Writes benchmarks/results/tutorials/<size>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*\n?(.*?)^```", re.MULTILINE | re.DOTALL)
MACHINE = {
    "cores": os.cpu_count(),
    "torch": torch.__version__,
    "python": platform.python_version(),
    "machine": platform.machine(),
}
LIMITS = {"fast": 15.0, "full": 120.0}


def timed(path: Path, size: str) -> dict[str, Any]:
    """One tutorial: seconds by the clock and of the processor, and whether every cell ran."""
    chosen = {"ODEBRIDGE_TUTORIALS": "full"} if size == "full" else {}
    more = {**chosen, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    env = {k: v for k, v in os.environ.items() if k != "ODEBRIDGE_TUTORIALS"} | more
    text = "\n".join(CELL.findall(path.read_text()))
    began, before = time.perf_counter(), used()
    done = subprocess.run([sys.executable, "-"], input=text, env=env, capture_output=True, text=True, check=False)
    seconds, cpu = time.perf_counter() - began, used() - before
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return {"tutorial": path.stem, "ok": done.returncode == 0, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


def used() -> float:
    """Processor seconds of all processes that have ended below this one."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> int:
    """Time them, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("names", nargs="*", help="beginnings of file names; all if none")
    given = parser.parse_args()
    size = "full" if given.full else "fast"
    out = ROOT / "benchmarks" / "results" / "tutorials" / f"{size}.json"
    had = json.loads(out.read_text())["rows"] if out.exists() else []
    rows = {row["tutorial"]: row for row in had}
    out.parent.mkdir(parents=True, exist_ok=True)
    bad = 0
    for path in sorted((ROOT / "tutorials").glob("[0-9]*.md")):
        if given.names and not path.name.startswith(tuple(given.names)):
            continue
        row = timed(path, size)
        rows[path.stem] = row
        late = not row["ok"] or row["cpu_seconds"] > LIMITS[size]
        bad += late
        cost = f"{row['seconds']:6.1f} s, {row['cpu_seconds']:6.1f} s of processors" if row["ok"] else "failed"
        print(f"{path.stem:28} {cost}{'  <-- above the limit' if late else ''}", flush=True)
        page = {"size": size, "limit": LIMITS[size], **MACHINE, "rows": [rows[name] for name in sorted(rows)]}
        out.write_text(json.dumps(page, indent=1) + "\n")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
