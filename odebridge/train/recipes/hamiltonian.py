"""Hamiltonian nets on a pendulum: the energy is learned, the motion keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from odebridge.core.names import lookup
from odebridge.data import Series
from odebridge.nets.node import Energy, HamiltonianODE, SeparableEnergy
from odebridge.train.recipes.base import Recipe
from odebridge.train.recipes.tasks import SOLVER_OPTIONS, following, solver_of
from odebridge.train.task import Task

ENERGIES: dict[str, Callable[..., Energy | SeparableEnergy]] = {"separable": SeparableEnergy, "any": Energy}


def build(data: Series, _seed: int, width: int, window: int, energy: str, **solver: Any) -> Task:
    """Two nets T(p) and V(q), or one H(q, p), of width-width."""
    kind = data.train.dtype
    net = HamiltonianODE(
        lookup("energy", energy, ENERGIES)(len(data.components) // 2, (width, width), dtype=kind), solver_of(**solver)
    )
    counted: list[nn.Module] = [net.energy.counted]
    return following(net, net.path, data, counted, window)


HNN = Recipe(
    "hnn", "q' = dH/dp, p' = -dH/dq with a learned energy H, by a symplectic method", "pendulum", build, (),
    {"width": 32, "window": 6, "energy": "separable", **SOLVER_OPTIONS, "method": "verlet", "steps": 2},
)  # fmt: skip
