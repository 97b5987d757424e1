"""Neural ODEs and their relatives, all through `ob.integrate` but the networks that undo their own steps."""

from __future__ import annotations

from odebridge.nets.node.augment import Augment, First
from odebridge.nets.node.deq import DEQ, TanhCell
from odebridge.nets.node.fields import MLPField, mlp, with_time
from odebridge.nets.node.hamiltonian import Energy, HamiltonianODE, SeparableEnergy
from odebridge.nets.node.neural_ode import NeuralODE
from odebridge.nets.node.regularise import REGULARISERS, Terms, regularised
from odebridge.nets.node.reversible import HamiltonianStep, LeapfrogStep, MomentumStep, Reversible
from odebridge.nets.node.second_order import SecondOrderField
from odebridge.nets.node.solver import Solver
from odebridge.nets.node.varying import VaryingField

__all__ = [
    "DEQ", "REGULARISERS", "Augment", "Energy", "First", "HamiltonianODE", "HamiltonianStep", "LeapfrogStep", "MLPField",
    "MomentumStep", "NeuralODE", "Reversible", "SecondOrderField", "SeparableEnergy", "Solver", "TanhCell", "Terms",
    "VaryingField", "mlp", "regularised", "with_time",
]  # fmt: skip
