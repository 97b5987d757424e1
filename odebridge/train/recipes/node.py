"""The plain neural ODE: a classifier of points, or the right-hand side behind series."""

from __future__ import annotations

from typing import Any

from torch import nn

from odebridge.data import Points, Series
from odebridge.nets.node import MLPField, NeuralODE
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import SOLVER_OPTIONS, classification, following, solver_of
from odebridge.train.task import Task


def build(data: Points | Series, _seed: int, width: int, window: int, **solver: Any) -> Task:
    """A field width-width, time-dependent for points, autonomous and in the unit of the data for series."""
    how = solver_of(**solver)
    if isinstance(data, Points):
        field = MLPField(2, (width, width), time=True)
        net = NeuralODE(field, head=nn.Linear(2, data.classes), solver=how)
        return classification(net, data, field)
    flat = data.train.flatten(0, 1)
    d, kind = flat.shape[-1], data.train.dtype
    field = MLPField(d, (width, width), scale=flat.std(0), centre=flat.mean(0), dtype=kind)
    net = NeuralODE(field, solver=how)
    return following(net, net.path, data, field, window)


NODE = Recipe(
    "node", "the plain neural ODE, h' = f(t, h)", "annuli", build, ("moons", "pendulum", "lotka-volterra"),
    {"width": 32, "window": 6, **SOLVER_OPTIONS},
)  # fmt: skip
