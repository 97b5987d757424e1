"""Neural ODEs and their relatives, all through `ob.integrate`."""

from __future__ import annotations

from odebridge.nets.node.correction import Correction
from odebridge.nets.node.fields import MLPField, mlp, with_time
from odebridge.nets.node.neural_ode import NeuralODE
from odebridge.nets.node.solver import Solver
from odebridge.nets.node.stiff import Kinetics, StiffNODE

__all__ = ["Correction", "Kinetics", "MLPField", "NeuralODE", "Solver", "StiffNODE", "mlp", "with_time"]
