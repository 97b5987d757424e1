"""torchode's dopri5 and tsit5: step sizes of their own for the trajectories of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from odebridge.core.optional import optional
from odebridge.peers.base import EnsembleRun, absent, no_ensemble, timed
from odebridge.peers.batched import BatchedPeer, Counted, OutOfTime
from odebridge.problems.base import Problem


@dataclass(frozen=True)
class TorchodePeer(BatchedPeer):
    """torchode's method with its own PID defaults (0.2, 0.5, 0), float64, eager, without a graph.

    Counts: steps, accepted ones, f evaluations, as it reports them per trajectory. Caveat: the documented speed-up by
    TorchScript needs a field that scripts, which formulas on components do not.
    """

    library: ClassVar[str] = "torchode"

    def _solve(
        self, problem: Problem, rtol: float, atol: float, max_steps: int | None, time_limit: float | None
    ) -> EnsembleRun:
        torchode = optional("torchode")
        if torchode is None:
            return no_ensemble(problem, absent(self.name))
        if problem.mass is not None:
            return no_ensemble(problem, f"{self.name}: takes no mass.")
        x0 = problem.x0.double()
        t0, t1 = (torch.as_tensor(t, dtype=torch.float64).expand(len(x0)).contiguous() for t in problem.span)
        f, end, message = Counted(problem, time_limit), None, ""
        term = torchode.ODETerm(f)
        method = {"dopri5": torchode.Dopri5, "tsit5": torchode.Tsit5}[self.method](term=term)
        law = torchode.PIDController(term=term, atol=atol, rtol=rtol, pcoeff=0.2, icoeff=0.5, dcoeff=0.0)
        solver = torchode.AutoDiffAdjoint(method, law, max_steps=max_steps)
        with torch.no_grad(), timed() as clock:
            try:
                ivp = torchode.InitialValueProblem(x0, t0, t1, torch.stack([t0, t1], 1))
                end = solver.solve(ivp, term=term)
            except OutOfTime:
                message = f"used up time_limit={time_limit:.3g} s"
        if end is None:
            x1, ok, counts = np.full(tuple(x0.shape), np.nan), np.zeros(len(x0), dtype=bool), {"f_evals": f.calls * len(x0)}
        else:
            x1, status = end.ys[:, -1].numpy(), end.status.numpy()
            ok = (status == torchode.Status.SUCCESS.value) & np.isfinite(x1).all(1)
            x1 = np.where(ok[:, None], x1, np.nan)  # what it has not reached is memory that was never written
            names = {"n_steps": "steps", "n_accepted": "accepted", "n_f_evals": "f_evals"}
            counts = {ours: int(end.stats[its].sum()) for its, ours in names.items() if its in end.stats}
            message = "" if ok.all() else f"status {sorted(set(status[~ok].tolist()))}"
        return EnsembleRun(x1, counts, clock.seconds, clock.cpu, 0.0, ok, message)
