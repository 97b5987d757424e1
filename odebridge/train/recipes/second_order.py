"""Neural ODEs with a velocity: second order, heavy ball, general heavy ball."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from odebridge.data import Points, Series
from odebridge.nets.node import Augment, NeuralODE, SecondOrderField, with_time
from odebridge.nets.node.fields import mlp
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import REGULAR_OPTIONS, SOLVER_OPTIONS, classifier, following, solver_of
from odebridge.train.task import Task


class Force(nn.Module):
    """net([state, t]) with as many outputs as there are positions. Shapes: (b, seen) -> (b, d)."""

    def __init__(self, seen: int, d: int, width: int, *, time: bool, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.net, self.time = mlp([seen + time, width, width, d], dtype=dtype), time

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        """The force."""
        return self.net(with_time(t, state) if self.time else state)


def build(
    data: Points | Series, seed: int, width: int, window: int, regulariser: str, strength: float, damping: str, general: bool,
    **solver: Any,
) -> Task:  # fmt: skip
    """For points a learned first velocity; for series the first half of the components are positions, the others velocities."""
    how, double = solver_of(**solver), damping == "none"
    if isinstance(data, Points):
        force = Force(4 if double else 2, 2, width, time=True)
        field = SecondOrderField(force, damping=damping, general=general)
        net = NeuralODE(field, lift=Augment(net=nn.Linear(2, 2)), head=nn.Linear(4, data.classes), solver=how)
        return classifier(net, data, [field], seed, regulariser, strength)
    if regulariser != "none":
        raise ValueError(f"regulariser: {regulariser!r} is for classifiers of points; series are trained without.")
    d, kind = len(data.components) // 2, data.train.dtype
    field = SecondOrderField(Force(2 * d if double else d, d, width, time=False, dtype=kind), damping=damping, general=general)
    net = NeuralODE(field.to(kind), solver=how)
    return following(net, net.path, data, [field], window)


def _recipe(name: str, about: str, damping: str, general: bool = False) -> Recipe:
    options = {"width": 32, "window": 6, **REGULAR_OPTIONS, **SOLVER_OPTIONS}
    return Recipe(name, about, "annuli", partial(build, damping=damping, general=general), ("moons", "pendulum"), options)


SONODE = _recipe("sonode", "second order, x'' = f(x, x', t), with a learned first velocity", "none")
HBNODE = _recipe("hbnode", "heavy ball, x'' + g x' = f(x, t), with a trained damping g", "learned")
GHBNODE = _recipe("ghbnode", "general heavy ball: bounded velocities and a trained pull to or from the origin", "learned", True)
