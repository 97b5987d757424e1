"""Test problems as data: field, Jacobian, initial value, span, parameters, reference end state and its source."""

from odebridge.problems.arrays import NumpyProblem
from odebridge.problems.base import Problem
from odebridge.problems.beam import beam
from odebridge.problems.catalogue import PROBLEMS, list_problems, problem
from odebridge.problems.chemistry import hires, orego, pollu, robertson
from odebridge.problems.electronics import ring_modulator, transistor_amplifier
from odebridge.problems.enright_pryce import stiff_a2, stiff_a3, stiff_b1, stiff_b5, stiff_c5
from odebridge.problems.enright_pryce_nonlinear import stiff_d4, stiff_d6, stiff_e1, stiff_e3, stiff_f1, stiff_f3, stiff_f5
from odebridge.problems.kinetics import chemical_akzo_nobel, e5
from odebridge.problems.linear import prothero_robinson
from odebridge.problems.mechanics import arenstorf, henon_heiles, pleiades
from odebridge.problems.neurons import fitzhugh_nagumo, hodgkin_huxley
from odebridge.problems.oscillators import duffing, lorenz, lotka_volterra, rossler, van_der_pol
from odebridge.problems.reaction_diffusion import brusselator_1d, brusselator_2d, gray_scott, medical_akzo_nobel
from odebridge.problems.solve import solve
from odebridge.problems.spread import Spread
from odebridge.problems.waves_fronts import allen_cahn, burgers, heat, kuramoto_sivashinsky

__all__ = [
    "PROBLEMS",
    "NumpyProblem",
    "Problem",
    "Spread",
    "allen_cahn",
    "arenstorf",
    "beam",
    "brusselator_1d",
    "brusselator_2d",
    "burgers",
    "chemical_akzo_nobel",
    "duffing",
    "e5",
    "fitzhugh_nagumo",
    "gray_scott",
    "heat",
    "henon_heiles",
    "hires",
    "hodgkin_huxley",
    "kuramoto_sivashinsky",
    "list_problems",
    "lorenz",
    "lotka_volterra",
    "medical_akzo_nobel",
    "orego",
    "pleiades",
    "pollu",
    "problem",
    "prothero_robinson",
    "ring_modulator",
    "robertson",
    "rossler",
    "solve",
    "stiff_a2",
    "stiff_a3",
    "stiff_b1",
    "stiff_b5",
    "stiff_c5",
    "stiff_d4",
    "stiff_d6",
    "stiff_e1",
    "stiff_e3",
    "stiff_f1",
    "stiff_f3",
    "stiff_f5",
    "transistor_amplifier",
    "van_der_pol",
]
