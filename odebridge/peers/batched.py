"""What peers share that solve a batch in PyTorch: one system is a batch of one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from odebridge.core.optional import installed
from odebridge.peers.base import EnsembleRun, PeerRun
from odebridge.problems.base import Problem


class OutOfTime(Exception):
    """The time limit has been used up inside a field evaluation."""


class Counted:
    """The field of a batch with its arguments bound; counts its calls and gives up at a deadline."""

    def __init__(self, problem: Problem, time_limit: float | None) -> None:
        self.problem, self.calls = problem, 0
        self.deadline = None if time_limit is None else time.monotonic() + time_limit

    def __call__(self, t: Any, x: Tensor) -> Tensor:
        """f(t, x), (b, n), for a clock that all share or one each."""
        self.calls += 1
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime
        more = () if self.problem.args is None else (self.problem.args,)
        return self.problem.field(t.expand(len(x)), x, *more)


def one_of(run: EnsembleRun) -> PeerRun:
    """The only trajectory of a batch."""
    return PeerRun(run.x1[0], run.counts, run.seconds, bool(run.ok[0]), run.message, run.cpu, run.compile_seconds)


@dataclass(frozen=True)
class BatchedPeer(ABC):
    """A method of a library whose solver takes batches; `_solve` says how."""

    method: str
    library: ClassVar[str]

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return f"{self.library}:{self.method}"

    @property
    def version(self) -> str | None:
        """Version of the library."""
        return installed(self.library)

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system from t0 to t1."""
        return one_of(self._solve(problem.batched(), rtol, atol, max_steps, time_limit))

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """All trajectories as one batch."""
        return self._solve(problem, rtol, atol, max_steps, time_limit)

    @abstractmethod
    def _solve(
        self, problem: Problem, rtol: float, atol: float, max_steps: int | None, time_limit: float | None
    ) -> EnsembleRun: ...
