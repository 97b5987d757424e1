"""Steady states by integration in pseudo-time until nothing moves any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from odebridge.core.protocols import Method
from odebridge.core.result import Failure, Result, Solution, SolveError
from odebridge.core.tolerance import rms
from odebridge.integrate import check, probe
from odebridge.integrate.api import integrate
from odebridge.integrate.events import Event
from odebridge.integrate.nests import flattened, in_parts, is_nest
from odebridge.integrate.system import BoundField


def steady_state(
    field: Callable[..., Any],
    x0: Any,
    *,
    args: Any = None,
    method: Method | str = "rosenbrock23",
    t_max: float = 1e8,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    jacobian: Callable[..., Tensor] | None = None,
    max_steps: int = 10_000,
    throw: bool = True,
) -> Solution:
    """A stable x with f(t, x) = 0, where the solution of x' = f(t, x) from x0 settles.

    A trajectory has settled when rms(f / (atol + rtol |x|)) <= 1: in one unit of time it would move by no more than the
    tolerance. It is integrated from t = 0 until that happens, located like an `Event`, at most to t_max.
    field, x0 (b, *s) or a nest, args, rtol, atol, jacobian, max_steps, throw: as for `integrate`. Returns a `Solution`: x1 and
    t1 are the steady state and when it was reached; `result` is EVENT for trajectories that have settled on the way, OK for
    those that were settled at the start, and MAX_STEPS for those that had not settled at t_max or after max_steps tries.
    ValueError, TypeError: bad input. SolveError: a trajectory has not settled, and `throw`. Gradients are those of x at the
    time of the event, and approach dx/dp = -(df/dx)^-1 df/dp as the tolerances fall.
    Caveats: the unit of time matters, a system that is slow in it settles early; the field should not depend on t.
    Use: `ob.steady_state(lambda t, x: 1.0 - x * x, torch.full((1, 1), 0.2))`.
    """
    check.functions(field=field, jacobian=jacobian)
    check.positive("t_max", t_max)
    options: dict[str, Any] = {"jacobian": jacobian, "atol": atol}
    nest = None
    if is_nest(x0):
        nest, field, x0, options = flattened(field, x0, options)
    x = check.state(x0)
    check.spanned_state(x)
    check.arguments(args, x)
    tol = check.tolerance(rtol, options["atol"], x)
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    slope = probe.first_slope(BoundField(field, args), zero, zero + t_max, x)
    settled = (rms(slope / tol.weights(x, x)) <= 1.0).detach()

    def moves(t: Tensor, x: Tensor, given: dict[str, Any]) -> Tensor:
        return BoundField(field, given["args"])(t, x)

    def unsettled(t: Tensor, x: Tensor, given: dict[str, Any]) -> Tensor:
        return rms(moves(t, x, given) / given["tol"].weights(x, x)) - 1.0

    def bound_jacobian(t: Tensor, x: Tensor, given: dict[str, Any]) -> Tensor:
        assert jacobian is not None
        return jacobian(t, x) if given["args"] is None else jacobian(t, x, given["args"])

    sol = integrate(
        moves, x, (0.0, torch.where(settled, 0.0, zero + t_max)), args={"args": args, "tol": tol}, method=method, rtol=rtol,
        atol=options["atol"], jacobian=None if jacobian is None else bound_jacobian,
        events=Event(unsettled, direction=-1), max_steps=max_steps, throw=False,
    )  # fmt: skip
    restless = (sol.result == int(Result.OK)) & ~settled
    advice = f"has not settled by t_max={t_max:g}; raise it, loosen rtol and atol, or there is no stable steady state near"
    late = [Failure(int(i), Result.MAX_STEPS, t_max, float(sol.h[i]), None, advice) for i in restless.nonzero()[:, 0]]  # type: ignore[index]
    failures = tuple(sorted([*sol.failures, *late], key=lambda f: f.trajectory))
    codes = torch.where(restless, int(Result.MAX_STEPS), sol.result)
    x1 = torch.where(restless.reshape(-1, *(1,) * (x.dim() - 1)), torch.nan, sol.x1)
    sol = replace(sol, x1=x1, codes=codes, failures=failures)
    sol = sol if nest is None else in_parts(nest, sol, True)
    if throw and sol.failures:
        raise SolveError(sol)
    return sol
