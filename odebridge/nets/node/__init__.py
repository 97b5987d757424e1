"""Neural ODEs and their relatives, all through `ob.integrate` but the networks that undo their own steps."""

from __future__ import annotations

from odebridge.nets.node.augment import Augment, First
from odebridge.nets.node.cde import MatrixField, NeuralCDE
from odebridge.nets.node.cnf import CNF
from odebridge.nets.node.correction import Correction
from odebridge.nets.node.deq import DEQ, TanhCell
from odebridge.nets.node.fields import MLPField, mlp, with_time
from odebridge.nets.node.hamiltonian import Energy, HamiltonianODE, SeparableEnergy
from odebridge.nets.node.neural_ode import NeuralODE
from odebridge.nets.node.regularise import REGULARISERS, Terms, regularised
from odebridge.nets.node.reversible import HamiltonianStep, LeapfrogStep, MomentumStep, Reversible
from odebridge.nets.node.second_order import SecondOrderField
from odebridge.nets.node.series import ODERNN, LatentODE
from odebridge.nets.node.solver import Solver
from odebridge.nets.node.splines import Spline, hermite_cubic, natural_cubic
from odebridge.nets.node.stiff import Kinetics, StiffNODE
from odebridge.nets.node.varying import VaryingField

__all__ = [
    "CNF", "DEQ", "ODERNN", "REGULARISERS", "Augment", "Correction", "Energy", "First", "HamiltonianODE",
    "HamiltonianStep", "Kinetics", "LatentODE", "LeapfrogStep", "MLPField", "MatrixField", "MomentumStep", "NeuralCDE",
    "NeuralODE", "Reversible", "SecondOrderField", "SeparableEnergy", "Solver", "Spline", "StiffNODE", "TanhCell", "Terms",
    "VaryingField", "hermite_cubic", "mlp", "natural_cubic", "regularised", "with_time",
]  # fmt: skip
