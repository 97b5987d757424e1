"""SciPy's solvers, with the same field and the analytic Jacobian where the problem has one."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np

from odebridge.peers.base import PeerRun, missing
from odebridge.problems.base import Problem

try:
    import scipy
    from scipy.integrate import BDF, LSODA, RK45, Radau
except ImportError:  # pragma: no cover - scipy is a dependency; the form is that of every peer
    scipy = None
    SOLVERS = {}
else:
    SOLVERS = {"RK45": RK45, "Radau": Radau, "BDF": BDF, "LSODA": LSODA}


@dataclass(frozen=True)
class ScipyPeer:
    """scipy.integrate's RK45, Radau, BDF or LSODA, stepped one by one as `solve_ivp` does, without saving the steps.

    The field is `problem.as_numpy()`: the library's own formulas on Python floats, so that SciPy does not pay for tensors.
    Counts: accepted steps, f evaluations, Jacobians, LU decompositions (`factorisations`); SciPy does not report rejected
    tries. Caveat: LSODA starts with Adams and switches to BDF by itself; its counts cover both.
    """

    method: str

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return f"scipy:{self.method}"

    @property
    def version(self) -> str | None:
        """Version of SciPy."""
        return None if scipy is None else scipy.__version__

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system from t0 to t1."""
        if scipy is None:
            return missing(self.name, problem, "pip install scipy")
        system = problem.as_numpy()
        given = {} if system.jac is None or self.method == "RK45" else {"jac": system.jac}
        steps, message, began = 0, None, time.perf_counter()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            solver = SOLVERS[self.method](system.fun, system.span[0], system.y0, system.span[1], rtol=rtol, atol=atol, **given)
            while solver.status == "running":
                message = solver.step()
                steps += 1
                if max_steps is not None and steps >= max_steps and solver.status == "running":
                    message = f"used up max_steps={max_steps}"
                    break
                if time_limit is not None and time.perf_counter() - began > time_limit:
                    message = f"used up time_limit={time_limit:.3g} s"
                    break
        seconds = time.perf_counter() - began
        ok = solver.status == "finished"
        x1 = np.asarray(solver.y, dtype=np.float64) if ok else np.full(system.y0.shape, np.nan)
        counts = {"accepted": steps, "f_evals": solver.nfev, "jacobians": solver.njev, "factorisations": solver.nlu}
        notes = [f"{message} at t={solver.t:.6g}"] if message else []
        notes += sorted({str(w.message) for w in said})
        return PeerRun(x1, {k: int(v) for k, v in counts.items()}, seconds, ok, "; ".join(notes))
