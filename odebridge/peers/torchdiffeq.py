"""torchdiffeq's dopri5: one step size and one error norm for the whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from odebridge.core.optional import optional
from odebridge.peers.base import EnsembleRun, absent, no_ensemble, timed
from odebridge.peers.batched import BatchedPeer, Counted, OutOfTime
from odebridge.problems.base import Problem


def times_of(problem: Problem) -> tuple[Tensor, Tensor] | None:
    """The span that all trajectories share, or None where it differs."""
    t0, t1 = (torch.as_tensor(t, dtype=torch.float64).reshape(-1) for t in problem.span)
    same = bool((t0 == t0[0]).all()) and bool((t1 == t1[0]).all())
    return (t0[0], t1[0]) if same else None


@dataclass(frozen=True)
class TorchdiffeqPeer(BatchedPeer):
    """odeint(method=...) in float64, eager, without a graph. Counts: f evaluations of the batch; it reports no steps."""

    library: ClassVar[str] = "torchdiffeq"

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
