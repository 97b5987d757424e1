"""Neural ODEs and their relatives, all through `ob.integrate`."""

from __future__ import annotations

from odebridge.nets.node.cde import MatrixField, NeuralCDE
from odebridge.nets.node.cnf import CNF
from odebridge.nets.node.correction import Correction
from odebridge.nets.node.fields import MLPField, mlp, with_time
from odebridge.nets.node.neural_ode import NeuralODE
from odebridge.nets.node.series import ODERNN, LatentODE
from odebridge.nets.node.solver import Solver
from odebridge.nets.node.splines import Spline, hermite_cubic, natural_cubic
from odebridge.nets.node.stiff import Kinetics, StiffNODE

__all__ = [
    "CNF", "ODERNN", "Correction", "Kinetics", "LatentODE", "MLPField", "MatrixField", "NeuralCDE", "NeuralODE", "Solver", "Spline", "StiffNODE",
    "hermite_cubic", "natural_cubic", "mlp", "with_time",
]  # fmt: skip
