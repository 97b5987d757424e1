"""Residual networks that undo their own steps, as classifiers of points."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from odebridge.data import Points
from odebridge.nets.node import HamiltonianStep, LeapfrogStep, MomentumStep, Reversible, mlp
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import classification
from odebridge.train.task import Task

# width, hidden, depth -> one step, and the modules whose calls count as f evaluations
Step = Callable[[int, int, int], tuple[nn.Module, list[nn.Module]]]


def _momentum(width: int, hidden: int, _depth: int) -> tuple[nn.Module, list[nn.Module]]:
    block = mlp([width, hidden, width])
    return MomentumStep(block, 0.9), [block]


def _leapfrog(width: int, hidden: int, depth: int) -> tuple[nn.Module, list[nn.Module]]:
    block = mlp([width, hidden, width])
    return LeapfrogStep(block, 2.0 / depth), [block]


def _hamiltonian(width: int, hidden: int, depth: int) -> tuple[nn.Module, list[nn.Module]]:
    step = HamiltonianStep(width, hidden, 2.0 / depth)
    return step, [step.first, step.second]


def build(data: Points, _seed: int, width: int, hidden: int, depth: int, store: bool, step: Step, start: str) -> Task:
    """A linear lift into `width`, the steps, a linear head."""
    made = [step(width, hidden, depth) for _ in range(depth)]
    body = Reversible([s for s, _ in made], start=start, store=store)
    net = nn.Sequential(nn.Linear(2, width), body, nn.Linear(width, data.classes))
    return classification(net, data, [m for _, counted in made for m in counted])


def _recipe(name: str, about: str, step: Step, start: str, hidden: int) -> Recipe:
    options = {"width": 4, "hidden": hidden, "depth": 10, "store": False}
    return Recipe(name, about, "annuli", partial(build, step=step, start=start), ("moons",), options)


MOMENTUM = _recipe("momentum", "momentum ResNet, v' = g v + (1 - g) f(x), undone instead of stored", _momentum, "zeros", 12)
LEAPFROG = _recipe(
    "leapfrog", "leapfrog ResNet, y'' = f(y) by Stormer's method, undone instead of stored", _leapfrog, "same", 12
)
HAMILTONIAN = _recipe("hamiltonian", "two-layer Hamiltonian ResNet, undone instead of stored", _hamiltonian, "same", 12)
