"""What every peer answers, whatever its own interface looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from odebridge.problems.base import Problem


@dataclass(frozen=True)
class PeerRun:
    """The outcome of one solve by a peer.

    x1 (n,) float64: state at the end, NaN where the peer did not get there. counts: as the peer itself counts, with the names
    of our `Stats` where they mean the same; what it does not report is left out. seconds: wall time of the solve alone.
    """

    x1: np.ndarray
    counts: Mapping[str, int]
    seconds: float
    ok: bool
    message: str


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


def missing(name: str, problem: Problem, hint: str) -> PeerRun:
    """The answer of a peer that is not installed."""
    library = name.partition(":")[0]
    return PeerRun(np.full(problem.x0.shape, np.nan), {}, 0.0, False, f"{name}: {library} is not installed; {hint}.")
