"""What `integrate` takes beyond tensors: solutions to go on from, and states of several parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec

import torch

from odebridge.core.compiling import untraced
from odebridge.core.names import nearest
from odebridge.core.over import Grid
from odebridge.core.result import Result, Solution, SolveError
from odebridge.core.shapes import tree_map
from odebridge.integrate.nests import flattened, in_parts, is_nest

P = ParamSpec("P")


def edged(solver: Callable[P, Solution]) -> Callable[P, Solution]:
    """A solver of tensors that takes solutions and nests of tensors as x0, too."""
    known = [p.name for p in signature(solver).parameters.values() if p.kind is p.KEYWORD_ONLY]

    @wraps(solver)
    def integrate(field: Any, x0: Any, over: Any, **options: Any) -> Solution:
        if torch.compiler.is_compiling() and not isinstance(over, Grid):
            return untraced(integrate, field, x0, over, **options)
        if unknown := [name for name in options if name not in known]:
            raise TypeError(f"integrate: has no keyword {unknown[0]!r}: {_meant(unknown[0], known)}")
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


# What others call it.
ELSEWHERE = {
    "t_eval": "write save=ob.At(times).", "dense_output": "write save=ob.Dense().", "t_span": "it is the third argument.",
    "y0": "it is the second argument, x0.", "t": "give over=(t0, t1) and save=ob.At(times).",
    "solver": "did you mean 'method'?",
    "dt0": "did you mean 'first_step'?", "h0": "did you mean 'first_step'?", "dt": "did you mean 'first_step'?",
    "max_num_steps": "did you mean 'max_steps'?", "jac": "did you mean 'jacobian'?",
    "timeout": "did you mean 'time_limit'?", "timeout_s": "did you mean 'time_limit'?", "event_fn": "did you mean 'events'?",
    "jump_t": "did you mean 'discontinuities'?",
    "on_failure": "did you mean 'throw'?", "adjoint": "write gradient=ob.Adjoint().",
}  # fmt: skip


def _meant(name: str, known: list[str]) -> str:
    return ELSEWHERE.get(name) or nearest(name, known)


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
