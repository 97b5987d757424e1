"""Who answers the cases of benchmarks/faults.py: one function for each, from a case to the end value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchdiffeq
import torchode
from faults_cases import Case
from scipy.integrate import solve_ivp
from sksundae.cvode import CVODE

import odebridge as ob
from odebridge.compat import torchdiffeq as drop_in


class Failed(Exception):
    """A failure that is told by a status."""


def tensors(case: Case) -> tuple[Any, Any]:
    """Start and times as torch has them."""
    y0 = torch.tensor(case.y0, dtype=getattr(torch, case.dtype))
    kind = torch.float32 if case.dtype == "float32" else torch.float64
    return y0, torch.tensor(case.t, dtype=kind)


def by_integrate(case: Case) -> Any:
    """Odebridge's own call."""
    y0 = torch.tensor(case.y0, dtype=getattr(torch, case.dtype))[None]

    def field(t: Any, x: Any) -> Any:
        out = case.f(t[0], x[0], torch)
        return out[None] if isinstance(out, torch.Tensor) else out

    more = {"save": ob.At(list(case.t[1:]))} if len(case.t) > 2 else {}
    return (
        ob.integrate(field, y0, (case.t[0], case.t[-1]), method="tsit5", rtol=case.rtol, atol=case.atol, **more).x1[0].tolist()
    )


def by(odeint: Any) -> Callable[[Case], Any]:
    """Torchdiffeq's call, of torchdiffeq or of ours."""

    def run(case: Case) -> Any:
        y0, t = tensors(case)
        return odeint(lambda s, y: case.f(s, y, torch), y0, t, rtol=case.rtol, atol=case.atol, method="dopri5")[-1].tolist()

    return run


def by_scipy(case: Case) -> Any:
    """solve_ivp, RK45."""
    t = np.asarray(case.t, dtype=float)
    y0 = np.asarray(case.y0, dtype=case.dtype)
    at = t if len(t) > 2 else None
    sol = solve_ivp(lambda s, y: case.f(s, y, np), (t[0], t[-1]), y0, t_eval=at, rtol=case.rtol, atol=case.atol)
    if not sol.success:
        raise Failed(sol.message)
    return sol.y[:, -1].tolist()


def by_torchode(case: Case) -> Any:
    """Its front door solve_ivp, tsit5, with its own PID controller."""
    y0, t = tensors(case)

    def field(s: Any, y: Any) -> Any:
        out = case.f(s[0], y[0], torch)
        return out[None] if isinstance(out, torch.Tensor) else out

    term = torchode.ODETerm(field)
    law = torchode.PIDController(term=term, atol=case.atol, rtol=case.rtol, pcoeff=0.2, icoeff=0.5, dcoeff=0.0)
    sol = torchode.solve_ivp(term, y0[None], t[None], method="tsit5", controller=law)
    if int(sol.status[0]) != torchode.Status.SUCCESS.value:
        raise Failed(torchode.Status(int(sol.status[0])).name)
    return sol.ys[0, -1].tolist()


def by_cvode(case: Case) -> Any:
    """CVODE through scikit-sundae, BDF as it is by default."""

    def rhs(s: float, y: Any, yp: Any) -> None:
        yp[:] = case.f(s, y, np)

    t, y0 = np.asarray(case.t, dtype=float), np.asarray(case.y0, dtype=case.dtype)
    sol = CVODE(rhs, rtol=case.rtol, atol=case.atol).solve(t, y0)
    if not sol.success:
        raise Failed(sol.message)
    return sol.y[-1].tolist()


WHO: dict[str, Callable[[Case], Any]] = {
    "odebridge": by_integrate, "odebridge's odeint": by(drop_in.odeint), "SciPy": by_scipy,
    "torchdiffeq": by(torchdiffeq.odeint), "torchode": by_torchode, "CVODE": by_cvode,
}  # fmt: skip
