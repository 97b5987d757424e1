"""CVODE through scikit-sundae, with the same field and the analytic Jacobian where the problem has one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from odebridge.core.optional import installed
from odebridge.methods import borrowed_sundials
from odebridge.peers.base import EnsembleRun, PeerRun, looped, missing, timed
from odebridge.peers.scipy import task_of
from odebridge.problems.base import Problem


@dataclass(frozen=True)
class SundialsPeer:
    """CVODE's BDF of orders 1 to 5, dense, or banded where the problem says so.

    Counts: accepted steps, f evaluations, Jacobians. CVODE also counts error test failures and LU decompositions, but
    scikit-sundae 1.2 does not hand them on. Caveat: it calls the field through Python, about 2 microseconds a call beside the
    field's own; CVODE on a compiled field is about a fifth faster on the small problems of the library.
    """

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return "sundials:BDF"

    @property
    def version(self) -> str | None:
        """Version of scikit-sundae."""
        return installed("scikit-sundae")

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system from t0 to t1."""
        if borrowed_sundials.library() is None:
            return missing(self.name, problem, "pip install scikit-sundae")
        deadline = None if time_limit is None else time.monotonic() + time_limit
        task = replace(task_of(problem, rtol, float(atol)), max_steps=max_steps or 1_000_000, deadline=deadline)
        with timed() as clock:
            walk = borrowed_sundials.walk(task)
        ok = not walk.stop
        x1 = walk.y if ok else np.full(task.y0.shape, np.nan)
        message = "" if ok else f"{walk.stop} at t={walk.t:.6g} {walk.message}".strip()
        return PeerRun(x1, walk.counts, clock.seconds, ok, message, clock.cpu)

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """One after the other."""
        return looped(self, problem, rtol, atol, max_steps, time_limit)
