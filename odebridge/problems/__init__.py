"""Test problems as data: field, Jacobian, initial value, span, parameters, reference end state and its source."""

from odebridge.problems.arrays import NumpyProblem
from odebridge.problems.base import Problem
from odebridge.problems.catalogue import PROBLEMS, list_problems, problem
from odebridge.problems.chemistry import hires, orego, pollu, robertson
from odebridge.problems.linear import prothero_robinson
from odebridge.problems.mechanics import arenstorf, pleiades
from odebridge.problems.oscillators import lorenz, lotka_volterra, van_der_pol
from odebridge.problems.solve import solve
from odebridge.problems.spread import Spread

__all__ = [
    "PROBLEMS",
    "NumpyProblem",
    "Problem",
    "Spread",
    "arenstorf",
    "hires",
    "list_problems",
    "lorenz",
    "lotka_volterra",
    "orego",
    "pleiades",
    "pollu",
    "problem",
    "prothero_robinson",
    "robertson",
    "solve",
    "van_der_pol",
]
