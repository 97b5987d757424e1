"""The plain neural ODE and the augmented one: a classifier of points, or the right-hand side behind series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from odebridge.core.names import lookup
from odebridge.data import Points, Series
from odebridge.nets.node import Augment, MLPField, NeuralODE, VaryingField
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import REGULAR_OPTIONS, SOLVER_OPTIONS, classifier, following, scales, solver_of
from odebridge.train.task import Task

# How the field depends on the depth, by name: dimension, width -> field.
DEPTHS: dict[str, Callable[[int, int], nn.Module]] = {
    "time": lambda d, w: MLPField(d, (w, w), time=True),
    "none": lambda d, w: MLPField(d, (w, w)),
    "linear": lambda d, w: VaryingField(d, (w, w), basis="linear"),
    "galerkin": lambda d, w: VaryingField(d, (w, w), basis="galerkin"),
}
# How the state is augmented, by name: input and further dimensions -> lift.
LIFTS: dict[str, Callable[[int, int], nn.Module]] = {
    "zeros": lambda _d, extra: Augment(extra),
    "learned": lambda d, extra: Augment(net=nn.Linear(d, extra)),
    "input": lambda d, extra: nn.Linear(d, d + extra),
}


def plain(
    data: Points | Series, seed: int, width: int, window: int, depth: str, regulariser: str, strength: float, **solver: Any
) -> Task:  # fmt: skip
    """A field width-width: for points by depth, for series autonomous and in the unit of the data."""
    how = solver_of(**solver)
    if isinstance(data, Points):
        field = lookup("depth", depth, DEPTHS)(2, width)
        net = NeuralODE(field, head=nn.Linear(2, data.classes), solver=how)
        return classifier(net, data, [field], seed, regulariser, strength)
    if regulariser != "none":
        raise ValueError(f"regulariser: {regulariser!r} is for classifiers of points; series are trained without.")
    scale, centre = scales(data)
    field = MLPField(len(scale), (width, width), scale=scale, centre=centre, dtype=scale.dtype)
    net = NeuralODE(field, solver=how)
    return following(net, net.path, data, [field], window)


def augmented(
    data: Points, seed: int, width: int, extra: int, lift: str, regulariser: str, strength: float, **solver: Any
) -> Task:  # fmt: skip
    """A time-dependent field in 2 + extra dimensions."""
    d = 2 + extra
    field = MLPField(d, (width, width), time=True)
    lifted = lookup("lift", lift, LIFTS)(2, extra)
    net = NeuralODE(field, lift=lifted, head=nn.Linear(d, data.classes), solver=solver_of(**solver))
    return classifier(net, data, [field], seed, regulariser, strength)


NODE = Recipe(
    "node", "the plain neural ODE, h' = f(t, h)", "annuli", plain, ("moons", "pendulum", "lotka-volterra"),
    {"width": 32, "window": 6, "depth": "time", **REGULAR_OPTIONS, **SOLVER_OPTIONS},
)  # fmt: skip
ANODE = Recipe(
    "anode", "a neural ODE with more dimensions than its input", "annuli", augmented, ("moons",),
    {"width": 32, "extra": 3, "lift": "zeros", **REGULAR_OPTIONS, **SOLVER_OPTIONS},
)  # fmt: skip
