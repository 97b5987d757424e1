"""SciPy's solvers, with the same field and the analytic Jacobian where the problem has one."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from scipy.integrate import odeint

from odebridge.methods.borrowed import Task
from odebridge.methods.borrowed_scipy import SOLVERS, jacobian_options, packed
from odebridge.peers.base import EnsembleRun, PeerRun, looped, timed
from odebridge.problems.base import Problem


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
    def version(self) -> str:
        """Version of SciPy."""
        return scipy.__version__

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system from t0 to t1."""
        task = task_of(problem, rtol, atol)
        given = jacobian_options(self.method, task)
        # Not `borrowed_scipy.walk`: its watch over the field and its notes of every step would be charged to SciPy.
        steps, message, began, cpu = 0, None, time.perf_counter(), time.process_time()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            solver = SOLVERS[self.method](task.fun, task.t0, task.y0, task.t1, rtol=rtol, atol=atol, **given)
            while solver.status == "running":
                message = solver.step()
                steps += 1
                if max_steps is not None and steps >= max_steps and solver.status == "running":
                    message = f"used up max_steps={max_steps}"
                    break
                if time_limit is not None and time.perf_counter() - began > time_limit:
                    message = f"used up time_limit={time_limit:.3g} s"
                    break
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        ok = solver.status == "finished"
        x1 = np.asarray(solver.y, dtype=np.float64) if ok else np.full(task.y0.shape, np.nan)
        counts = {"accepted": steps, "f_evals": solver.nfev, "jacobians": solver.njev, "factorisations": solver.nlu}
        notes = [f"{message} at t={solver.t:.6g}"] if message else []
        notes += sorted({str(w.message) for w in said})
        return PeerRun(x1, {k: int(v) for k, v in counts.items()}, seconds, ok, "; ".join(notes), cpu)

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """One after the other."""
        return looped(self, problem, rtol, atol, max_steps, time_limit)


@dataclass(frozen=True)
class OdeintPeer:
    """ODEPACK's LSODA with its loop in compiled code, `scipy.integrate.odeint`: several times less overhead than stepping.

    Counts: steps, f evaluations, Jacobians. Caveats: no time limit inside a solve, nor an end that is not stepped over: the
    end state is interpolated, and the field is asked beyond it.
    """

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return "scipy:odeint"

    @property
    def version(self) -> str:
        """Version of SciPy."""
        return scipy.__version__

    def __call__(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> PeerRun:
        """Solve one system from t0 to t1."""
        task = task_of(problem, rtol, atol)
        given: dict[str, Any] = {} if task.jac is None else {"Dfun": task.jac}
        if task.bandwidths is not None:
            lower, upper = task.bandwidths
            given |= {"ml": lower, "mu": upper}
            if task.jac is not None:
                given["Dfun"] = packed(task.jac, lower, upper)
        with warnings.catch_warnings(record=True) as said, timed() as clock:
            warnings.simplefilter("always")
            ys, info = odeint(
                task.fun, task.y0, [task.t0, task.t1], tfirst=True, rtol=rtol, atol=atol, full_output=True,
                mxstep=max_steps or 1_000_000, **given,
            )  # fmt: skip
        ok = info["message"] == "Integration successful." and bool(np.isfinite(ys[-1]).all())
        counts = {"accepted": int(info["nst"][0]), "f_evals": int(info["nfe"][0]), "jacobians": int(info["nje"][0])}
        message = "" if ok else "; ".join([info["message"], *sorted({str(w.message) for w in said})])
        x1 = np.asarray(ys[-1]) if ok else np.full(task.y0.shape, np.nan)
        return PeerRun(x1, counts, clock.seconds, ok, message, clock.cpu)

    def ensemble(
        self, problem: Problem, rtol: float, atol: float, *, max_steps: int | None = None, time_limit: float | None = None
    ) -> EnsembleRun:
        """One after the other."""
        return looped(self, problem, rtol, atol, max_steps, time_limit)


def task_of(problem: Problem, rtol: float, atol: float) -> Task:
    """One system as SciPy's and SUNDIALS' drivers take it: the field and its Jacobian on NumPy arrays."""
    system = problem.as_numpy()
    own = problem.sparsity if isinstance(problem.sparsity, tuple) else None
    bandwidths = (int(own[0]), int(own[1])) if own is not None and system.sparsity is not None else None
    return Task(system.fun, system.y0, *system.span, rtol, atol, system.jac, bandwidths=bandwidths, pattern=system.sparsity)
