"""`solve`: a problem of the library by name, or one's own, in one line."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from odebridge.core.protocols import Method
from odebridge.core.result import Solution, SolveError
from odebridge.integrate.api import integrate
from odebridge.problems.base import Problem
from odebridge.problems.catalogue import problem as named


def solve(problem: Problem | str, *, method: Method | str = "auto", throw: bool = True, **options: Any) -> Solution:
    """Solve a `Problem`, or one of the library by its name (`list_problems()`), over its span.

    Takes the keywords of `integrate` after the problem. For one system, x0 (n,), the batch axis is taken off the solution
    again: x1 (n,), ts (k,), xs (k, n). Raises ValueError for an unknown name, with the nearest valid one; SolveError as
    `integrate` does. Caveat: the default tolerances are loose, rtol=1e-3 and atol=1e-6; chemistry needs a smaller atol.
    Example: `ob.solve("robertson", method="rodas5p", rtol=1e-6, atol=1e-10).x1`
    """
    task = named(problem) if isinstance(problem, str) else problem
    if not isinstance(task, Problem):
        raise TypeError(f"problem: give an ob.Problem or the name of one, got {type(task).__name__}.")
    for owned in ("args", "jacobian", "mass", "sparsity", "discontinuities"):
        if owned in options:
            raise TypeError(f"{owned}: belongs to the problem; write ob.Problem(f, x0, span, {owned}=...).")
    many = task.batched()
    atol = options.get("atol")
    if task.single and isinstance(atol, Tensor) and atol.dim() == 1:
        options["atol"] = atol[None]
    given = {"mass": many.mass, "sparsity": many.sparsity, "discontinuities": many.discontinuities or None}
    options |= {name: value for name, value in given.items() if value is not None}
    sol = integrate(
        many.field, many.x0, many.span, args=many.args, jacobian=many.jacobian, method=method, throw=False, **options
    )
    sol = sol.unbatched() if task.single else sol
    if throw and sol.failures:
        raise SolveError(sol)
    return sol
