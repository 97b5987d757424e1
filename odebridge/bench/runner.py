"""Runs the cases of a benchmark part one after the other, inside the part's written time budget, and records each at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from odebridge.bench.record import Row


@dataclass(frozen=True)
class Outcome:
    """What a case measured; statuses as in `Row`."""

    values: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    message: str = ""


@dataclass(frozen=True)
class Case:
    """One run. label: what the progress shows. run: gets the seconds left for the whole part, not to be exceeded by much."""

    label: str
    configuration: Mapping[str, Any]
    run: Callable[[float], Outcome]
    seed: int | None = None


@dataclass(frozen=True)
class Part:
    """Cases that share a time budget in seconds. A case that begins after it has run out is recorded as skipped."""

    name: str
    budget: float
    cases: Sequence[Case]
    threads: int = 1


@dataclass(frozen=True)
class Event:
    """What the progress display is told: before a case (row None) and after it."""

    part: str
    label: str
    done: int  # cases of the part that are finished
    total: int
    row: Row | None = None


def run_part(part: Part, write: Callable[[Row], Any], tell: Callable[[Event], None]) -> list[Row]:
    """Run every case, write its row as soon as it is finished, and never let one case take the others with it."""
    began, rows = time.monotonic(), []
    for i, case in enumerate(part.cases):
        tell(Event(part.name, case.label, i, len(part.cases)))
        start = time.monotonic()
        left = part.budget - (start - began)
        if left <= 0.0:
            outcome = Outcome(
                status="skipped", message=f"The part's time budget of {part.budget:g} s was used up before this run."
            )
        else:
            try:
                outcome = case.run(left)
            except Exception as error:  # a fault in one case must not lose the rest of the night
                outcome = Outcome(status="error", message=f"{type(error).__name__}: {error}")
        row = Row(
            part.name, case.configuration, outcome.values, outcome.status, outcome.message, case.seed,
            time.monotonic() - start, threads=part.threads,
        )  # fmt: skip
        write(row)
        rows.append(row)
        tell(Event(part.name, case.label, i + 1, len(part.cases), row))
    return rows


def best_of(solve: Callable[[], Any], most: int = 5, enough: float = 0.5) -> tuple[Any, list[float]]:
    """The last outcome and the wall time of every run, in seconds: up to `most` runs, and none begun after `enough` seconds.

    A work-precision picture takes the smallest (SciMLBenchmarks does the same): other programs can only make a run slower.
    """
    times: list[float] = []
    while True:
        start = time.perf_counter()
        outcome = solve()
        times.append(time.perf_counter() - start)
        if len(times) >= most or sum(times) >= enough:
            return outcome, times


def affordable(epochs: int, seconds: float, one_epoch: Iterable[Callable[[], float]], repeats: int) -> int:
    """How many of the planned epochs fit into `seconds`.

    one_epoch: trains each kind of network for an epoch and returns the seconds it took; each kind is trained `repeats` times.
    Every network gets the same number, so that a slow machine shortens the training of all alike.
    """
    began = time.monotonic()
    per_epoch = repeats * sum(probe() for probe in one_epoch)
    left = seconds - (time.monotonic() - began)
    return max(1, min(epochs, int(0.9 * left / per_epoch)))  # a tenth in reserve for tests and profiles
