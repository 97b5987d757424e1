"""scipy.integrate's RK45, Radau, BDF and LSODA, stepped one by one as `solve_ivp` does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from scipy.integrate import BDF, LSODA, RK45, Radau
from scipy.sparse import csc_matrix

from odebridge.methods.borrowed import NotFinite, OutOfTime, Task, Walk, Watched

SOLVERS: dict[str, Any] = {"RK45": RK45, "Radau": Radau, "BDF": BDF, "LSODA": LSODA}
# Before 1.16 SciPy handed LSODA a Jacobian in bands without the rows of fill-in that it wants, and raised (pull request 22283).
BANDS = tuple(int(part) for part in scipy.__version__.split(".")[:2]) >= (1, 16)
SPARSE_FROM = 50  # components: below, SciPy's dense LU is faster than its sparse one


def jacobian_options(method: str, task: Task) -> dict[str, Any]:
    """What a SciPy solver is told of df/dx: the function, sparse where a pattern pays, LSODA's bandwidths."""
    if method == "RK45":
        return {}
    if method == "LSODA":
        if task.bandwidths is not None and (BANDS or task.jac is None):
            return _banded(task)
        return {} if task.jac is None else {"jac": task.jac}
    sparse = task.pattern is not None and len(task.y0) >= SPARSE_FROM
    if task.jac is None:
        return {"jac_sparsity": csc_matrix(task.pattern)} if sparse else {}
    full = task.jac
    return {"jac": (lambda t, y: csc_matrix(full(t, y))) if sparse else full}


def _banded(task: Task) -> dict[str, Any]:
    assert task.bandwidths is not None
    lower, upper = task.bandwidths
    given: dict[str, Any] = {"lband": lower, "uband": upper}
    return given if task.jac is None else {**given, "jac": packed(task.jac, lower, upper)}


def packed(jac: Callable[[float, np.ndarray], np.ndarray], lower: int, upper: int) -> Callable[[float, np.ndarray], np.ndarray]:
    """The diagonals of jac(t, y) as LAPACK stores them: row upper + i - j, column j, holds entry (i, j)."""

    def bands(t: float, y: np.ndarray) -> np.ndarray:
        full = jac(t, y)
        n = len(full)
        out = np.zeros((lower + upper + 1, n))
        for k in range(-lower, upper + 1):
            out[upper - k, max(k, 0) : n + min(k, 0)] = np.diagonal(full, k)
        return out

    return bands


def walk(method: str, task: Task) -> Walk:
    """Solve one task; a failure is an answer, an exception of the user's field is not caught."""
    given = jacobian_options(method, task)
    if task.first_step is not None:
        given["first_step"] = min(task.first_step, abs(task.t1 - task.t0))
    if task.max_step is not None:
        given["max_step"] = task.max_step
    fun = Watched(task.fun, task.deadline)
    ts, ys, dense, tried, stop, message = [task.t0], [task.y0], [], 0, "", ""
    wanted = None if task.at is None else list(task.at)
    if wanted is not None:
        ts, ys = [], []
    sign = 1.0 if task.t1 > task.t0 else -1.0
    solver = None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            solver = SOLVERS[method](fun, task.t0, task.y0, task.t1, rtol=task.rtol, atol=task.atol, **given)
            while solver.status == "running":
                if tried >= task.max_steps:
                    stop = "max_steps"
                    break
                before = solver.t
                message = solver.step() or ""
                tried += 1
                if solver.status == "running" and solver.t == before:  # LSODA, for ever, once it has seen an infinite slope
                    stop = "not_finite" if fun.spoilt else "step"
                    break
                if solver.status == "failed":
                    stop = "newton" if "onverge" in message else "step"
                    break
                if wanted is None:
                    ts.append(solver.t)
                    ys.append(np.array(solver.y))
                if task.dense or (wanted and sign * wanted[0] <= sign * solver.t):
                    piece = solver.dense_output()
                    dense += [piece] if task.dense else []
                    while wanted and sign * wanted[0] <= sign * solver.t:
                        ts.append(wanted.pop(0))
                        ys.append(np.array(piece(ts[-1])))
        except OutOfTime:
            stop = "time_limit"
        except NotFinite as error:
            stop, message = "not_finite", str(error)
        except (ValueError, np.linalg.LinAlgError) as error:
            if fun.finite and not isinstance(error, np.linalg.LinAlgError):
                raise
            stop, message = "singular" if fun.finite else "not_finite", str(error)
    stop = "not_finite" if stop in ("step", "newton") and not fun.finite else stop
    if not stop and solver is not None and not np.isfinite(solver.y).all():
        stop = "not_finite"  # LSODA carries on with NaN and calls it a success
    notes = [message, *sorted({str(w.message) for w in said})]
    t, y = (task.t0, task.y0) if solver is None else (float(solver.t), np.array(solver.y))
    counts = {"accepted": tried - (stop in ("step", "newton")), "f_evals": fun.calls}
    if solver is not None:
        counts |= {"f_evals": int(solver.nfev), "jacobians": int(solver.njev), "factorisations": int(solver.nlu)}
    shape = (len(ts), len(task.y0))
    return Walk(np.array(ts), np.array(ys).reshape(shape), t, y, counts, stop, "; ".join(n for n in notes if n), tuple(dense))
