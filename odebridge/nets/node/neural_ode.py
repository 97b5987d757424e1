"""The neural ODE: a layer whose output is the solution of an ODE."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.result import Solution
from odebridge.integrate.save import Save
from odebridge.nets.node.solver import DEFAULT, END, Solver


class NeuralODE(nn.Module):
    """y = head(h(t1)),  h' = f(t, h),  h(t0) = lift(x).

    field: f, a module or a function (t (b,), h (b, *s)) -> (b, *s). span: (t0, t1). lift, head: modules; None: the identity.
    solver: a `Solver`, any method and gradient policy. `solve(x)` gives the Solution with its statistics, `path(x, times)` the
    states on the way.
    Shapes: (b, ...) -> those of the head. Raises what `ob.integrate` raises: `SolveError` for a sample that fails.
    Source: Chen, Rubanova, Bettencourt & Duvenaud, NeurIPS 2018, arXiv 1806.07366.
    Caveat: a flow is a homeomorphism; without a lift into more dimensions it cannot take apart what is nested.
    Use: `net = NeuralODE(MLPField(2), head=nn.Linear(2, 2)); logits = net(x)`.
    """

    def __init__(
        self, field: Any, *, span: tuple[float, float] = (0.0, 1.0), lift: nn.Module | None = None,
        head: nn.Module | None = None, solver: Solver = DEFAULT,
    ) -> None:  # fmt: skip
        super().__init__()
        self.field, self.span, self.solver = field, span, solver
        self.lift, self.head = lift or nn.Identity(), head or nn.Identity()

    def solve(self, x: Float[Tensor, "b *s"], *, save: Save = END, **more: Any) -> Solution:
        """The solve behind the layer; keywords are those of `ob.integrate`."""
        return self.solver.solve(self.field, self.lift(x), self.span, save=save, **more)

    def forward(self, x: Float[Tensor, "b *s"]) -> Float[Tensor, "b *r"]:
        """The head's view of the end state."""
        return self.head(self.solve(x).x1)

    def path(self, x: Float[Tensor, "b *s"], times: Float[Tensor, "*b k"]) -> Float[Tensor, "b k *r"]:
        """The head's view of the states at `times`, from lift(x) at the first of them."""
        return self.head(self.solver.path(self.field, self.lift(x), times)[0])
