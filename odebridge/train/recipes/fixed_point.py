"""The deep equilibrium model as a classifier of points."""

from __future__ import annotations

from torch import Tensor, nn

from odebridge.data import Points
from odebridge.nets.node import DEQ, TanhCell
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import classification
from odebridge.train.task import Task


def build(data: Points, _seed: int, width: int, rtol: float) -> Task:
    """A tanh cell and a linear head."""
    cell = TanhCell(2, width)
    net = DEQ(cell, width, head=nn.Linear(width, data.classes), rtol=rtol)

    def count(x: Tensor) -> dict[str, float]:
        """Residuals on the way; Jacobians are not f evaluations, here as elsewhere. The backward pass starts from one more."""
        return {"forward": net.solve(x).stats.f_evals.double().mean().item(), "backward": 1.0}

    return classification(net, data, [cell], count=count)


DEEP = Recipe(
    "deq", "the fixed point z = f(z, x): a neural ODE at rest", "annuli", build, ("moons",), {"width": 32, "rtol": 1e-4}
)
