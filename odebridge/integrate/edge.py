"""What `integrate` takes beyond tensors: solutions to go on from, and states of several parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from odebridge.core.result import Result, Solution, SolveError
from odebridge.core.shapes import tree_map
from odebridge.integrate.nests import flattened, in_parts, is_nest

P = ParamSpec("P")


def edged(solver: Callable[P, Solution]) -> Callable[P, Solution]:
    """A solver of tensors that takes solutions and nests of tensors as x0, too."""

    @wraps(solver)
    def integrate(field: Any, x0: Any, over: Any, **options: Any) -> Solution:
        if not isinstance(x0, Solution) and not is_nest(x0):
            return solver(field, x0, over, **options)  # type: ignore[call-arg]
        single = isinstance(x0, Solution) and x0.single
        if isinstance(x0, Solution):
            x0, options = _going_on(x0, options)
        throw = options.pop("throw", True)
        if is_nest(x0):
            nest, field, x0, options = flattened(field, x0, options)
            sol = solver(field, x0, over, throw=False, **options)  # type: ignore[call-arg]
            sol = in_parts(nest, sol, getattr(options.get("save"), "of", None) is None)
        else:
            sol = solver(field, x0, over, throw=False, **options)  # type: ignore[call-arg]
        sol = sol.unbatched() if single else sol
        if throw and sol.failures:
            raise SolveError(sol)
        return sol

    return integrate  # type: ignore[return-value]


def _going_on(sol: Solution, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The end of a solution as x0, its next step as the first one; ValueError if a trajectory did not get there."""
    codes = sol.result.reshape(-1)
    failed = ((codes != int(Result.OK)) & (codes != int(Result.EVENT))).nonzero()
    if len(failed):
        i = int(failed[0, 0])
        raise ValueError(
            f"x0: trajectory {i} of this solution has failed ({Result(int(codes[i])).name}), so there is no state to go on "
            "from; give the x1 of those that have not, sol.x1[(sol.result == 0) | (sol.result == 7)]."
        )
    x0, h = tree_map(lambda v: v[None], (sol.x1, sol.h)) if sol.single else (sol.x1, sol.h)
    return x0, options if h is None or options.get("first_step") is not None else {**options, "first_step": h}
