"""What every peer answers, whatever its own interface looks like."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from odebridge.problems.base import Problem

PIP = {
    "scipy": "pip install scipy",
    "sundials": "pip install scikit-sundae",
    "torchdiffeq": "pip install torchdiffeq",
    "torchode": "pip install torchode",
    "diffrax": "pip install diffrax jax",
    "yabi": "pip install yabi-torch",
}


@dataclass(frozen=True)
class PeerRun:
    """The outcome of one solve by a peer.

    x1 (n,) float64: state at the end, NaN where the peer did not get there. counts: as the peer itself counts, with the names
    of our `Stats` where they mean the same; what it does not report is left out. seconds: wall time of the solve alone.
    cpu: processor time of the same. compile_seconds: wall time that went into compiling before, 0 where a compiled solver was
    at hand or nothing is compiled.
    """

    x1: np.ndarray
    counts: Mapping[str, int]
    seconds: float
    ok: bool
    message: str
    cpu: float = 0.0
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class EnsembleRun:
    """The outcome of one solve of a batch of trajectories by a peer.

    x1 (b, n) float64, NaN where ok (b,) is False. counts: summed over the trajectories. Times as in `PeerRun`.
    """

    x1: np.ndarray
    counts: Mapping[str, int]
    seconds: float
    cpu: float
    compile_seconds: float
    ok: np.ndarray
    message: str = ""


class Peer(Protocol):
    """One method of one library, with its default controller."""

    @property
    def name(self) -> str:
        """Name in the catalogue, "library:method"."""
        ...

    @property
    def version(self) -> str | None:
        """Version of the library; None if it is not installed."""
        ...

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system; a failure is an answer, not an exception. time_limit in seconds."""
        ...

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """Solve a batch of systems in the way the library is best at; trajectories that fail are answers, too.

        max_steps: of each trajectory. time_limit: of all, in seconds, as far as the library can be stopped.
        """
        ...


@dataclass
class Clock:
    """Wall and processor seconds of what ran under `timed`."""

    seconds: float = field(default=0.0)
    cpu: float = field(default=0.0)


@contextmanager
def timed() -> Generator[Clock]:
    """Time the block, also when it raises."""
    clock = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield clock
    finally:
        clock.seconds, clock.cpu = time.perf_counter() - wall, time.process_time() - cpu


def no_run(problem: Problem, message: str) -> PeerRun:
    """The answer of a peer that cannot take the problem."""
    return PeerRun(np.full(problem.x0.shape, np.nan), {}, 0.0, False, message)


def no_ensemble(problem: Problem, message: str) -> EnsembleRun:
    """The same for a batch."""
    x0 = problem.x0
    return EnsembleRun(np.full(x0.shape, np.nan), {}, 0.0, 0.0, 0.0, np.zeros(len(x0), dtype=bool), message)


def missing(name: str, problem: Problem, hint: str) -> PeerRun:
    """The answer of a peer that is not installed."""
    return no_run(problem, absent(name, hint))


def absent(name: str, hint: str | None = None) -> str:
    """The sentence of a peer that is not installed, with the line that would install it."""
    library = name.partition(":")[0]
    return f"{name}: {library} is not installed; {hint or PIP[library]}."


def looped(
    peer: Peer, problem: Problem, rtol: float, atol: float, max_steps: int | None = None, time_limit: float | None = None
) -> EnsembleRun:
    """A batch one trajectory after the other. time_limit: for all of them; those it leaves out are not ok."""
    b = len(problem.x0)
    x1, ok, said = np.full(tuple(problem.x0.shape), np.nan), np.zeros(b, dtype=bool), ""
    runs: list[PeerRun] = []
    for i in range(b):
        left = None if time_limit is None else time_limit - sum(r.seconds for r in runs)
        if left is not None and left <= 0:
            said = said or f"used up time_limit={time_limit:.3g} s after {i} of {b} trajectories"
            break
        run = peer(problem.trajectory(i), rtol, atol, max_steps=max_steps, time_limit=left)
        runs.append(run)
        x1[i], ok[i] = run.x1, run.ok
        said = said or ("" if run.ok else f"trajectory {i}: {run.message}")
    counts = summed(r.counts for r in runs)
    return EnsembleRun(x1, counts, sum(r.seconds for r in runs), sum(r.cpu for r in runs), 0.0, ok, said)


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts of all trajectories together."""
    total: dict[str, int] = {}
    for one in counts:
        for name, value in one.items():
            total[name] = total.get(name, 0) + value
    return total
