"""torchdiffeq's dopri5: one step size and one error norm for the whole batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odebridge.core.optional import installed, optional
from odebridge.peers.base import EnsembleRun, PeerRun, absent, no_ensemble, timed
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


def times_of(problem: Problem) -> tuple[Tensor, Tensor] | None:
    """The span that all trajectories share, or None where it differs."""
    t0, t1 = (torch.as_tensor(t, dtype=torch.float64).reshape(-1) for t in problem.span)
    same = bool((t0 == t0[0]).all()) and bool((t1 == t1[0]).all())
    return (t0[0], t1[0]) if same else None


@dataclass(frozen=True)
class TorchdiffeqPeer:
    """odeint(method=...) in float64, eager, without a graph. Counts: f evaluations of the batch; it reports no steps."""

    method: str

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return f"torchdiffeq:{self.method}"

    @property
    def version(self) -> str | None:
        """Version of torchdiffeq."""
        return installed("torchdiffeq")

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system from t0 to t1."""
        return one_of(self._solve(problem.batched(), rtol, atol, max_steps, time_limit))

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """All trajectories as one batch with one step size."""
        return self._solve(problem, rtol, atol, max_steps, time_limit)

    def _solve(
        self, problem: Problem, rtol: float, atol: float, max_steps: int | None, time_limit: float | None
    ) -> EnsembleRun:
        torchdiffeq = optional("torchdiffeq")
        if torchdiffeq is None:
            return no_ensemble(problem, absent(self.name))
        span = times_of(problem)
        if span is None or problem.mass is not None:
            return no_ensemble(problem, f"{self.name}: takes one span for all trajectories, and no mass.")
        f, x0, end, message = Counted(problem, time_limit), problem.x0.double(), None, ""
        options = {} if max_steps is None else {"max_num_steps": max_steps}
        with torch.no_grad(), timed() as clock:
            try:
                end = torchdiffeq.odeint(f, x0, torch.stack(span), rtol=rtol, atol=atol, method=self.method, options=options)
            except OutOfTime:
                message = f"used up time_limit={time_limit:.3g} s"
            except AssertionError as error:  # its way to say that the step became too small or too many
                message = str(error)
        x1 = np.full(tuple(x0.shape), np.nan) if end is None else end[-1].numpy()
        ok = np.asarray(np.isfinite(x1).all(1))
        return EnsembleRun(x1, {"f_evals": f.calls * len(x0)}, clock.seconds, clock.cpu, 0.0, ok, message)
