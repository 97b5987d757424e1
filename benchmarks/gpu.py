"""Ensembles on a GPU: our kernel for CUDA, our eager loop, our kernels for the CPU, and peers; trajectories a second.

    python benchmarks/gpu.py --out gpu.jsonl [--quick] [--device cpu] [--only kernel] [--limit 6] [--total 170]

Starting values are spread by up to 1 percent. A row: the first call apart, the median and the range of five more
(fewer where they take longer than the limit of a cell), the error max|y - r| / max|r| of the first 1000 trajectories against
Rodas5P or Tsit5 at rtol 1e-11 (median), tries of a trajectory. A cell that fails or takes too long is a row with the reason,
and when the total is over the run ends wherever it is. Our kernel comes first. Tables at the end are those of `gpu_page.py`,
operations of a try are counted by `gpu_operations.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_cases import CASES, Solve, contenders, family
from gpu_operations import operations
from gpu_page import figures, read

import odebridge as ob
from odebridge.bench.contests import peers
from odebridge.bench.environment import environment
from odebridge.bench.limit import Overdue, limited
from odebridge.integrate.engine import build

BATCHES = (100, 1000, 10_000, 100_000, 1_000_000)
CHECKED = 1000  # trajectories whose error is taken


def measured(solve: Solve, truth: torch.Tensor, b: int, limit: float) -> dict[str, Any]:
    """One row: first call, the median of more, error."""

    def timed(solve: Solve) -> tuple[float, tuple[torch.Tensor, float]]:
        _wait()
        began = time.perf_counter()
        out = solve()
        _wait()
        return time.perf_counter() - began, out

    first, (x1, tries) = timed(solve)
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) + first < limit:
        seconds.append(timed(solve)[0])
    x1 = x1[: len(truth)].double().cpu()
    error = ((x1 - truth).abs().amax(1) / truth.abs().amax(1)).nanmedian()
    median = statistics.median(seconds or [first])
    return {
        "first": first, "seconds": median, "low": min(seconds or [first]), "high": max(seconds or [first]), "n": len(seconds),
        "per_second": b / median, "error": float(error), "lost": int(torch.isnan(x1).any(1).sum()), "tries": tries,
    }  # fmt: skip


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def about(device: str, cores: int) -> dict[str, Any]:
    """The first row: where the others were measured."""
    found: dict[str, Any] = {"environment": environment(), "torch": torch.__version__, "threads": cores, "peers": peers()}
    found["kernel"] = f"odebridge, {device} kernel"
    if device == "cuda":
        found |= {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.max.sm", "--format=csv,noheader"]
        found["driver"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return found


def problem(case: str, b: int, device: str) -> dict[str, Any]:
    """The arguments of `integrate`."""
    field, x0, k = family(case, b, device)
    method, end, rtol, atol = CASES[case]
    return dict(field=field, x0=x0, over=(0.0, end), args=k, method=method, rtol=rtol, atol=atol, max_steps=100_000)


def truth(case: str, device: str) -> torch.Tensor:
    """Of the first trajectories."""
    tight = dict(method="tsit5" if "tsit5" in case else "rodas5p", rtol=1e-11, atol=1e-14, max_steps=1_000_000)
    given = problem(case, CHECKED, "cpu" if build.compiler() else device) | tight
    return ob.integrate(**given, compile=True).x1.cpu()


def cells(given: argparse.Namespace, cores: int, write: Callable[[dict[str, Any]], None], over: Callable[[], bool]) -> None:
    """All rows but the first."""
    truths = {}
    for case in CASES:
        write({"case": case} | operations(problem(case, CHECKED, given.device)))
        truths[case] = truth(case, given.device)
    slow: dict[tuple[str, str], float] = {}  # seconds expected, by contender and case
    sizes = BATCHES[: 2 if given.quick else None]
    order = [
        (b, case, name, make) for b in sizes for case in CASES for name, make in contenders(case, given.device, cores).items()
    ]
    for b, case, name, make in sorted(order, key=lambda cell: cell[2] != f"odebridge, {given.device} kernel"):
        if given.only not in name:
            continue
        row: dict[str, Any] = {"case": case, "b": b, "solver": name}
        expected = slow.get((name, case), 0.0)
        if over() or expected > given.limit:
            reason = "no time left" if expected <= given.limit else "failed or too slow at the size before"
            write(row | {"skipped": reason})
            continue
        try:
            solve = make(b)  # outside the limit: a half import would spoil the next one
            with limited(3 * given.limit):
                row |= measured(solve, truths[case][:b], b, given.limit)
            slow[name, case] = row["seconds"] * (10 if "cpu" in name or row["seconds"] > 1 else 1)
        except (Exception, Overdue) as error:
            row["failed"] = f"{type(error).__name__}: {error}"[:200]
            slow[name, case] = float("inf")
        write(row)


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="batches of 100 and 1000 only")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="contenders whose name has this in it")
    parser.add_argument("--limit", type=float, default=6.0, help="seconds of a cell for repeated calls; 3 times that in all")
    parser.add_argument("--total", type=float, default=170.0, help="seconds after which the run ends, wherever it is")
    given = parser.parse_args()
    began, cores = time.monotonic(), torch.get_num_threads()

    def end() -> None:
        print(figures(read(given.out)), flush=True)
        sys.stderr.flush()
        os._exit(0)  # also out of a call that does not come back

    watch = threading.Timer(given.total, end)
    watch.daemon = True
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", encoding="utf-8") as file:

        def write(row: dict[str, Any]) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(json.dumps(row), flush=True)

        write(about(given.device, cores))
        watch.start()
        cells(given, cores, write, lambda: time.monotonic() - began > 0.95 * given.total)
    watch.cancel()
    end()


if __name__ == "__main__":
    main()
