"""`odebridge bench quick`: solvers against networks in under two minutes, the project's main picture in small."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from odebridge.bench import flowmap, networks, solvers
from odebridge.bench.pool import How, run_parts
from odebridge.bench.record import REPORT, RESULTS, RunFolder, finite
from odebridge.bench.report import write_report
from odebridge.bench.resume import finished, remaining
from odebridge.bench.runner import Event, Part

# One thread everywhere: the tensors are too small to gain from a second, and a busy neighbour cannot stall the first.
THREADS = 1
HERE = How()
BUDGET = solvers.BUDGET + networks.BUDGET + flowmap.BUDGET  # seconds, imports and report not counted


def parts(seed: int = 0) -> list[Part]:
    """The three parts, each with its own written time budget."""
    return [
        solvers.part(),
        networks.part(networks.Settings(seed=seed)),
        flowmap.part(flowmap.Settings(seed=seed)),
    ]


def quick(out: str | Path = "runs", seed: int = 0, tell: Callable[[Event], None] | None = None) -> Path:
    """Run all parts and write runs/<id>/run.json, results.jsonl and report.html; returns the folder.

    tell is called before and after every run. A crash or Ctrl-C loses nothing that was finished: `odebridge report` makes the
    page from what is there. Use: `folder = quick("runs", seed=0)`, which is `odebridge bench quick`.
    """
    return run_suite("quick", parts(seed), out, {"seed": seed}, tell or _silent, f"odebridge bench quick --seed {seed}")


def run_suite(
    name: str,
    todo: list[Part],
    out: str | Path,
    settings: dict[str, Any],
    tell: Callable[[Event], None],
    command: str,
    resume: Path | None = None,
    how: How = HERE,
) -> Path:
    """Parts one after the other into one run folder, and the report at the end.

    resume: go on in this run folder, with the cases that have no good row in it. how: where the cases run.
    """
    budgets = {part.name: finite(part.budget)[0] for part in todo}
    if resume is None:
        folder = RunFolder(out, name, {**settings, "threads": THREADS, "budgets_s": budgets}, command, _typed(settings))
    else:
        folder = RunFolder.reopened(resume, name)
        todo = [remaining(part, finished(resume)) for part in todo]
    with threads(THREADS):
        run_parts(todo, how, folder.append, tell)
    if (folder.path / RESULTS).exists():  # a share or a piece of a run may have nothing to do
        write_report([folder.path], folder.path / REPORT)
    return folder.path


def _typed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names of the options that choose them: a size is a flag, and the CPU is where all suites run."""
    size = settings.get("size")
    rest = {k: v for k, v in settings.items() if k != "size" and (k, v) != ("device", "cpu")}
    return {**rest, **({size: True} if size in ("quick", "full") else {})}


def _silent(event: Event) -> None:
    """Nobody watches."""


@contextmanager
def threads(n: int) -> Generator[None]:
    """PyTorch on n threads, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
