"""CVODE's BDF through scikit-sundae, an optional library."""

from __future__ import annotations

from typing import Any

import numpy as np

from odebridge.core.optional import optional
from odebridge.methods.borrowed import NotFinite, OutOfTime, Task, Walk, Watched

STOPS = {-1: "max_steps", -3: "step", -4: "newton", -5: "singular", -6: "singular", -8: "not_finite", -10: "not_finite"}
PER_STEP = 20  # field evaluations that a step can take at the very most; CVODE needs fewer than 2 on average


class TooManySteps(Exception):
    """So many field evaluations cannot belong to fewer than max_steps steps."""


def library() -> Any:
    """The module `sksundae.cvode`, or None where scikit-sundae is not installed."""
    return optional("sksundae.cvode")


def solver_of(task: Task, fun: Watched) -> Any:
    """A CVODE object for one task: dense or banded, with the Jacobian that is given or differences of its own."""

    def rhs(t: float, y: np.ndarray, yp: np.ndarray) -> None:
        yp[:] = fun(t, y)
        if fun.calls > PER_STEP * task.max_steps + 100:
            raise TooManySteps

    given: dict[str, Any] = {}
    if task.jac is not None:
        jac = task.jac

        def filled(t: float, y: np.ndarray, yp: np.ndarray, matrix: np.ndarray) -> None:  # noqa: ARG001
            matrix[:] = jac(t, y)

        given["jacfn"] = filled
    if task.bandwidths is not None:
        given |= {"linsolver": "band", "lband": task.bandwidths[0], "uband": task.bandwidths[1]}
    if task.first_step is not None:
        given["first_step"] = task.first_step
    if task.max_step is not None:
        given["max_step"] = task.max_step
    atol = np.asarray(task.atol, dtype=np.float64).tolist()
    return library().CVODE(rhs, method="BDF", rtol=task.rtol, atol=atol, max_num_steps=task.max_steps, **given)


def walk(task: Task) -> Walk:
    """Solve one task; the library has to be there. A failure is an answer, an exception of the user's field is not caught.

    Counts: accepted steps, f evaluations, Jacobians. scikit-sundae does not pass on CVODE's own counts of rejected tries and
    LU decompositions. Without a Jacobian f_evals leaves out those of CVODE's differences, as CVODE counts.
    """
    fun = Watched(task.fun, task.deadline)
    solver = solver_of(task, fun)
    n = len(task.y0)
    ts, ys = (np.empty(0), np.empty((0, n))) if task.at is not None else (np.array([task.t0]), task.y0[None])
    try:
        if task.at is None:
            out = solver.solve([task.t0, task.t1], task.y0)
            ts, ys, steps, status, message = out.t, out.y, len(out.t) - 1, int(out.status), str(out.message)
            if status < 0:  # the last row is where the step failed, no step of its own
                ts, ys, steps = ts[:-1], ys[:-1], steps - 1
            t, y = float(ts[-1]), ys[-1]
            nfev, njev = int(out.nfev), int(out.njev)
        else:
            ts, ys, t, y, steps, status, message, nfev, njev = _stepwise(solver, task)
    except OutOfTime:
        return Walk(ts, ys, task.t0, task.y0, {"f_evals": fun.calls}, "time_limit")
    except NotFinite as error:
        return Walk(ts, ys, task.t0, task.y0, {"f_evals": fun.calls}, "not_finite", str(error))
    except TooManySteps:
        return Walk(ts, ys, task.t0, task.y0, {"f_evals": fun.calls}, "max_steps" if fun.finite else "not_finite")
    stop = "" if status >= 0 else STOPS.get(status, "step")
    stop = stop if stop or np.isfinite(y).all() else "not_finite"
    stop = "not_finite" if stop in ("step", "newton", "singular") and not fun.finite else stop
    if steps > task.max_steps:
        keep = task.max_steps + 1
        ts, ys, steps, stop = (ts[:keep], ys[:keep], task.max_steps, "max_steps") if task.at is None else (ts, ys, steps, stop)
        t, y = (float(ts[-1]), ys[-1]) if task.at is None else (t, y)
    counts = {"accepted": steps, "f_evals": nfev, "jacobians": njev}
    return Walk(np.array(ts), np.array(ys).reshape(len(ts), n), t, np.array(y), counts, stop, message if status < -1 else "")


def _stepwise(solver: Any, task: Task) -> Any:
    """Step by step, so that steps are counted and the states between them interpolated by CVODE itself."""
    assert task.at is not None
    sign, todo = (1.0 if task.t1 > task.t0 else -1.0), list(task.at)
    solver.init_step(task.t0, task.y0)
    ts, ys, steps, t, y = [], [], 0, task.t0, task.y0
    nfev = njev = 0
    while True:
        out = solver.step(task.t1, "onestep", task.t1)
        nfev, njev, status, message = int(out.nfev), int(out.njev), int(out.status), str(out.message)
        if status < 0:
            break
        t, y, steps = float(out.t), out.y, steps + 1
        while todo and sign * todo[0] <= sign * t:
            ts.append(todo.pop(0))
            ys.append(y if ts[-1] == t else solver.step(ts[-1], "normal").y)
        if status == 1 or sign * t >= sign * task.t1:
            break
        if steps >= task.max_steps:
            status = -1
            break
    return np.array(ts), np.array(ys).reshape(len(ts), len(task.y0)), t, y, steps, status, message, nfev, njev
