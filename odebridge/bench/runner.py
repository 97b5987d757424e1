"""Runs the cases of a benchmark part one after the other, inside the part's written time budget, and records each at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from odebridge.bench.limit import Overdue, limited
from odebridge.bench.record import Row

PATIENCE, GRACE = 2.0, 120.0  # times its limit, and seconds more, after which a case is stopped


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
    """Cases that share a time budget in seconds. A case that begins after it has run out is recorded as skipped.

    each: seconds for one case, whatever the others have taken; cases of such a part do not depend on each other and may run
    anywhere, at the same time. orders: the place of every case in the whole part, where this is a piece of it. grace: seconds
    beyond twice its own after which a case is stopped from outside.
    """

    name: str
    budget: float
    cases: Sequence[Case]
    threads: int = 1
    each: float | None = None
    orders: Sequence[int] | None = None
    grace: float = GRACE

    def numbered(self) -> list[tuple[int, Case]]:
        """The cases with their places, which do not change when some of them are done or run elsewhere."""
        return list(zip(range(len(self.cases)) if self.orders is None else self.orders, self.cases, strict=True))

    def without(self, drop: Callable[[int, Case], bool]) -> Part:
        """The part without some of its cases; the others keep their places."""
        kept = [(i, case) for i, case in self.numbered() if not drop(i, case)]
        return replace(self, cases=[case for _, case in kept], orders=[i for i, _ in kept])


@dataclass(frozen=True)
class Event:
    """What the progress display is told: before a case (row None) and after it."""

    part: str
    label: str
    done: int  # cases of the part that are finished
    total: int
    row: Row | None = None


def run_part(part: Part, write: Callable[[Row], Any], tell: Callable[[Event], None], until: float = math.inf) -> list[Row]:
    """Run every case, write its row as soon as it is finished, and never let one case take the others with it.

    until: a reading of `time.monotonic` after which no case is begun; those get no row, and a resumed run has them before it.
    """
    began, rows = time.monotonic(), []
    for i, (order, case) in enumerate(part.numbered()):
        start = time.monotonic()
        if start >= until:
            break
        tell(Event(part.name, case.label, i, len(part.cases)))
        row = run_case(part, case, order, part.budget - (start - began))
        write(row)
        rows.append(row)
        tell(Event(part.name, case.label, i + 1, len(part.cases), row))
    return rows


def run_case(part: Part, case: Case, order: int, left: float) -> Row:
    """The row of one case; a fault in it becomes a row, so that it does not lose the rest of the night.

    One that goes on and on, as a library may that does not look at its limit, is stopped, and its row says so.
    """
    start = time.monotonic()
    if left <= 0.0:
        outcome = Outcome(status="skipped", message=f"The part's time budget of {part.budget:g} s was used up before this run.")
    else:
        mine = left if part.each is None else min(left, part.each)
        try:
            with limited(PATIENCE * mine + part.grace):
                outcome = case.run(mine)
        except Overdue as late:
            outcome = Outcome(status="failed", message=f"Stopped, {late}: the limit of {mine:.3g} s was not kept.")
        except Exception as error:
            outcome = Outcome(status="error", message=f"{type(error).__name__}: {error}")
    return Row(
        part.name, case.configuration, outcome.values, outcome.status, outcome.message, case.seed, time.monotonic() - start,
        threads=part.threads, order=order,
    )  # fmt: skip


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
