"""Neural ODEs and their relatives, all through `ob.integrate`."""

from __future__ import annotations

from odebridge.nets.node.fields import MLPField, mlp, with_time
from odebridge.nets.node.neural_ode import NeuralODE
from odebridge.nets.node.solver import Solver

__all__ = ["MLPField", "NeuralODE", "Solver", "mlp", "with_time"]
