"""The neural controlled differential equation: a state that is driven by a path through the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odebridge.core.result import Solution
from odebridge.integrate.save import Save
from odebridge.nets.node.fields import mlp
from odebridge.nets.node.solver import DEFAULT, END, Solver
from odebridge.nets.node.splines import Spline


class MatrixField(nn.Module):
    """F(z) (b, hidden, channels) = tanh(net(z)): what a change of each channel does to the state.

    hidden: size of the state, inner: sizes between. The tanh keeps a long product of changes in bounds. Shapes: z (b, hidden).
    Source: Kidger et al., NeurIPS 2020. Use: `MatrixField(16, channels=3)`.
    """

    def __init__(self, hidden: int, channels: int, inner: Sequence[int] = (32,), dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.net = mlp([hidden, *inner, hidden * channels], "softplus", dtype=dtype)
        self.shape = (hidden, channels)

    def forward(self, z: Float[Tensor, "b h"]) -> Float[Tensor, "b h c"]:
        """The matrix at z."""
        return torch.tanh(self.net(z)).unflatten(-1, self.shape)


class NeuralCDE(nn.Module):
    """dz = F(z) dX,  z(t0) = lift(X(t0)),  y = head(z(t1));  solved as z' = F(z) dX/dt.

    field: F, z (b, hidden) -> (b, hidden, channels). lift: channels -> hidden; head: None is the identity. The control X is a
    `Spline` from `natural_cubic` or `hermite_cubic`, with the time as one of its channels if the speed matters: without it the
    end does not depend on how fast the path is run through.
    Shapes: a Spline of b paths, span (t0, t1) floats or (b,) -> those of the head. Any method and gradient policy.
    Source: Kidger, Morrill, Foster & Lyons, NeurIPS 2020, arXiv 2005.08926. Caveat: the third derivative of X jumps at its
    knots (the second of a Hermite control), which costs high orders; a control of white noise is stiff for the field.
    Use: `NeuralCDE(MatrixField(16, 3), nn.Linear(3, 16), nn.Linear(16, 2))(natural_cubic(times, values), (0.0, 6.0))`.
    """

    def __init__(self, field: nn.Module, lift: nn.Module, head: nn.Module | None = None, solver: Solver = DEFAULT) -> None:
        super().__init__()
        self.field, self.lift, self.head, self.solver = field, lift, head or nn.Identity(), solver

    def solve(self, control: Spline, span: tuple[Any, Any], *, save: Save = END, **more: Any) -> Solution:
        """The solve behind the layer; keywords are those of `integrate`."""
        start = torch.as_tensor(span[0], dtype=control.a.dtype, device=control.a.device).expand(len(control.a))
        return self.solver.solve(self._driven, self.lift(control.value(start)), span, args=control, save=save, **more)

    def forward(self, control: Spline, span: tuple[Any, Any]) -> Float[Tensor, "b *r"]:
        """The head's view of the end state."""
        return self.head(self.solve(control, span).x1)

    def _driven(self, t: Tensor, z: Float[Tensor, "b h"], control: Spline) -> Float[Tensor, "b h"]:
        """F(z) dX/dt."""
        return (self.field(z) * control.slope(t)[:, None]).sum(-1)
