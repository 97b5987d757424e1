"""How a neural ODE is integrated: one object that every variant takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odebridge.core.over import Grid
from odebridge.core.protocols import Method
from odebridge.core.result import Solution
from odebridge.integrate import Adjoint, At, Direct, Every, Forward, Last, Replay, integrate
from odebridge.integrate.save import Save

STEPS_FOUND, END = Replay(), Last()


@dataclass(frozen=True)
class Solver:
    """The settings of `ob.integrate` for a neural ODE, in one object that the variants share.

    method, rtol, atol, gradient: as for `integrate`. steps None: adaptive, each sample on its own step; n: n equal steps in the
    span, or between two times of a path, with plain autograd and no gradient policy. more: other keywords of `integrate`.
    ValueError for steps below 1. Caveat: methods without an error estimate (euler, rk4, verlet ...) need `steps`.
    Use: `NeuralODE(field, solver=Solver("rk4", steps=8))`.
    """

    method: str | Method = "tsit5"
    rtol: float = 1e-3
    atol: Any = 1e-4
    gradient: Replay | Direct | Adjoint | Forward = STEPS_FOUND
    steps: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps is not None and (not isinstance(self.steps, int) or self.steps < 1):
            raise ValueError(f"Solver: steps must be None (adaptive) or a whole number of at least 1, got {self.steps!r}.")

    def solve(
        self, f: Callable[..., Any], x0: Any, span: tuple[Any, Any], *, args: Any = None, save: Save = END, **more: Any
    ) -> Solution:  # fmt: skip
        """Solve x' = f(t, x) from x0 over the span (t0, t1); with `steps`, both ends are floats, save Last() or Every()."""
        settings = {"method": self.method, "args": args, "save": save, **self.more, **more}
        if self.steps is None:
            return integrate(f, x0, span, rtol=self.rtol, atol=self.atol, gradient=self.gradient, **settings)
        t0, t1 = (float(t) for t in span)
        nodes = [t0 + (t1 - t0) * i / self.steps for i in range(self.steps)]
        return integrate(f, x0, Grid((*nodes, t1)), **settings)

    def path(
        self, f: Callable[..., Any], x0: Float[Tensor, "b *s"], times: Float[Tensor, "*b k"], *, args: Any = None
    ) -> tuple[Float[Tensor, "b k *s"], Solution]:
        """The states at `times`, from x0 at the first of them, and the solve. With `steps`: so many between two.

        times (k,), or (b, k), a clock for each trajectory, which only adaptive steps can follow.
        """
        exact = torch.as_tensor(times, dtype=torch.float64, device=x0.device)
        if self.steps is None:
            ends = (exact[:, 0], exact[:, -1]) if exact.dim() == 2 else (float(exact[0]), float(exact[-1]))
            sol = self.solve(f, x0, ends, args=args, save=At(exact))
            assert isinstance(sol.xs, Tensor)
            return sol.xs, sol
        if exact.dim() != 1:
            raise ValueError(f"times: with steps={self.steps} they are shared by the batch, (k,); got {tuple(exact.shape)}.")
        clock = exact.tolist()
        nodes = [a + (b - a) * i / self.steps for a, b in pairwise(clock) for i in range(self.steps)]
        sol = integrate(f, x0, Grid((*nodes, clock[-1])), method=self.method, args=args, save=Every(), **self.more)
        assert isinstance(sol.xs, Tensor)
        return sol.xs[:, :: self.steps], sol


DEFAULT = Solver()
